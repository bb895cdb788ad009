"""What the rest of the system is told, and tells: logind, systemd's status line and watchdog, a reload."""
import os
import re
import signal
import socket
import time

from doubles import Logind
from harness import JOB, MANAGER, ROOT, SLOWNESS, Bench, takes, wait_for

TOP = "/org/wipyd1"
INHIBITED = ("sleep:shutdown", "wipyd", "A board is being flashed", "block")


class Notified(Bench):
    """A bench that hears what the daemon says to systemd after its start."""

    def __init__(self, watchdog_us=None, **options):
        super().__init__(**options)
        self.watchdog_us, self.heard, self.ear = watchdog_us, [], None

    def environment(self, **more):
        watchdog = {"WATCHDOG_USEC": str(self.watchdog_us)} if self.watchdog_us else {}
        return super().environment(**watchdog, **more)

    def listen(self):
        """In the place of the harness's socket, which is closed once the daemon is ready."""
        path = self.folder / f"notify{self.n_starts - 1}"
        path.unlink()
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ear.bind(str(path))
        self.ear.setblocking(False)

    def said(self):
        while True:
            try:
                self.heard.append(self.ear.recv(4096).decode())
            except BlockingIOError:
                return self.heard

    def __exit__(self, *what):
        try:
            super().__exit__(*what)
        finally:
            if self.ear:
                self.ear.close()


# ---- logind ----------------------------------------------------------------------------------------------------------

@takes(6)
def test_nobody_sleeps_while_flash_is_written():
    with Bench(boards=2) as bench, Logind(bench.address) as logind:
        job = bench.wait_job(bench.bus.call(bench.device_path(), "org.wipyd1.Device", "Identify", "a{sv}", {})[0])
        assert job["State"] == "done" and not logind.asked, "reading is no reason"
        path = bench.start_flash(bench.package(app_bytes=1_400_000))
        wait_for(lambda: logind.held() or bench.bus.get(path, JOB, "State") == "done", 20, "an inhibitor")
        assert bench.wait_job(path)["State"] == "done"
        assert logind.asked and set(logind.asked) == {INHIBITED}, logind.asked
        wait_for(lambda: not logind.held(), 5, "it is let go")


@takes(4)
def test_where_blocking_is_refused_sleep_is_delayed():
    with Bench() as bench, Logind(bench.address, refuses=("block",)) as logind:
        bench.flash_well(bench.package(app_bytes=300_000))
        wait_for(lambda: logind.asked and not logind.held(), 5, "asked, and let go")
        assert logind.asked[0] == INHIBITED, logind.asked
        # The work may be over before the refusal is there.
        assert {what[3] for what in logind.asked} <= {"block", "delay"}, logind.asked


@takes(3)
def test_logind_that_refuses_all_is_no_trouble():
    with Bench() as bench, Logind(bench.address, refuses=("block", "delay")):
        bench.flash_well(bench.package(app_bytes=100_000))
    with Bench() as bench:  # and one that isn't there is none either
        bench.flash_well(bench.package(app_bytes=100_000))
        assert not re.search("logind", re.sub("^debug.*", "", bench.log(), flags=re.M)), bench.log()


# ---- systemd ---------------------------------------------------------------------------------------------------------

@takes(3)
def test_status_line_says_what_is_going_on():
    with Notified(boards=[dict(download=False)], connect_timeout=60) as bench:
        bench.listen()
        path, = bench.bus.call(bench.device_path(), "org.wipyd1.Device", "Identify", "a{sv}", {})
        wait_for(lambda: "STATUS=1 port, 1 job under way" in bench.said(), 5, "a job")
        bench.bus.call(path, JOB, "Cancel")
        wait_for(lambda: bench.said()[-1] == "STATUS=1 port, 0 jobs under way", 5, "no job")


@takes(2)
def test_watchdog_is_kept_quiet_when_the_unit_asks_for_it():
    with Notified(watchdog_us=400_000) as bench:
        bench.listen()
        wait_for(lambda: bench.said().count("WATCHDOG=1") >= 3, 5, "signs of life")
    with Notified() as bench:
        bench.listen()
        time.sleep(0.5)
        assert "WATCHDOG=1" not in bench.said(), bench.heard


# ---- reload ----------------------------------------------------------------------------------------------------------

def reload(bench):
    """What the daemon has said in the log of it."""
    before, n = len(bench.log()), len(bench.said())
    bench.wipyd.send_signal(signal.SIGHUP)
    wait_for(lambda: "READY=1" in bench.said()[n:], 10, "the end of the reload")
    first = bench.heard[n:][0].split("\n")
    assert first[0] == "RELOADING=1" and re.fullmatch(r"MONOTONIC_USEC=\d+", first[1]), first
    assert abs(int(first[1].partition("=")[2]) / 1e6 - time.monotonic()) < 20 * SLOWNESS
    return bench.log()[before:]


@takes(4)
def test_reload_takes_what_it_can_and_names_what_it_can_not():
    with Notified(boards=[dict(download=False)], connect_timeout=60) as bench:
        bench.listen()
        path, = bench.bus.call(bench.device_path(), "org.wipyd1.Device", "Identify", "a{sv}", {})
        assert bench.bus.get(TOP, MANAGER, "DefaultPolicy") == "wipy"
        bench.connect_timeout = 1
        bench.write_config("proxy = http://proxy.example:8080\n[boards]\npolicy = ask\nsettle = 17\n"
                           "[ports]\nport = /dev/ttyS99\n[adapters]\nadapter = 1a86:7523 CH340\n")
        text = reload(bench)
        for key in "[firmware] proxy", "[ports] port", "[adapters] adapter":
            assert f"{key} has changed: that takes a restart" in text, (key, text)
        assert "settle" not in text and "policy" not in text and "state-directory" not in text, text
        assert bench.bus.get(TOP, MANAGER, "DefaultPolicy") == "ask"
        assert bench.bus.get(path, JOB, "State") in ("running", "waiting"), "the job goes on"
        bench.bus.call(path, JOB, "Cancel")
        bench.wait_job(path)
        began = time.monotonic()
        job = bench.wait_job(bench.bus.call(bench.device_path(), "org.wipyd1.Device", "Identify", "a{sv}", {})[0])
        assert job["State"] == "failed" and time.monotonic() - began < 8 * SLOWNESS, "the new connect-timeout"
        # What a person has said goes before the configuration.
        bench.bus.call(TOP, MANAGER, "SetDefaultPolicy", "s", "any")
        bench.write_config("[boards]\npolicy = off\n")
        text = reload(bench)
        assert bench.bus.get(TOP, MANAGER, "DefaultPolicy") == "any"
        assert "restart" not in text, "it is as it was at start"


@takes(3)
def test_a_wrong_configuration_is_named_and_the_old_one_stays():
    with Notified(boards=[dict(download=False)], connect_timeout=60) as bench:
        bench.listen()
        path, = bench.bus.call(bench.device_path(), "org.wipyd1.Device", "Identify", "a{sv}", {})
        bench.write_config("[boards]\npolicy = ask\nsyncs = many\n")
        text = reload(bench)
        line = bench.config_path.read_text().splitlines().index("syncs = many") + 1
        assert f"{bench.config_path}:{line}: syncs" in text and "the old configuration stays in force" in text, text
        assert bench.bus.get(TOP, MANAGER, "DefaultPolicy") == "wipy"
        assert bench.bus.get(path, JOB, "State") in ("running", "waiting"), "the job goes on"
        bench.write_config("[boards]\npolicy = ask\n")
        for _ in range(20):  # those that come in the middle of one are another
            os.kill(bench.wipyd.pid, signal.SIGHUP)
            bench.said()  # ten messages that nobody reads are all that a socket holds
        wait_for(lambda: bench.said() and bench.bus.get(TOP, MANAGER, "DefaultPolicy") == "ask", 5, "the new one")
        bench.bus.call(path, JOB, "Cancel")


# ---- the journal -----------------------------------------------------------------------------------------------------

def test_each_message_id_is_explained():
    events = dict(re.findall(r'#define (LOG_EVENT_\w+)\s+"([0-9a-f]{32})"', (ROOT / "daemon/base/log_events.h").read_text()))
    entries = re.split(r"^-- ", (ROOT / "systemd/wipyd.catalog").read_text(), flags=re.M)[1:]
    ids = [entry.split("\n", 1)[0] for entry in entries]
    assert len(events) > 8 and sorted(ids) == sorted(events.values()) and len(set(ids)) == len(ids)
    for entry in entries:
        head, _, body = entry.partition("\n\n")
        fields = dict(line.split(": ", 1) for line in head.split("\n")[1:])
        assert set(fields) == {"Subject", "Defined-By", "Documentation"} and len(body) > 20, entry
        assert set(re.findall(r"@(\w+)@", body)) <= {"DEVICE", "BOARD", "JOB", "PHASE"}, entry
    source = "".join(path.read_text() for path in sorted((ROOT / "daemon").glob("*/*.c")))
    assert {name for name in events if name not in source} == set(), "each is said somewhere"


@takes(4)
def test_what_administrators_search_for_is_said_once():
    with Bench() as bench:
        package = bench.package(app_bytes=100_000)
        bench.import_firmware(package)
        bench.flash_well(package)
        refused = bench.package("bad.tar.gz", board="LoPy", app_bytes=50_000)
        assert bench.flash(refused)["State"] == "failed"
        text = bench.log()
        for line, n in (("is kept: WiPy 1.20.1.r1", 1), ("job 1 began: flash package.tar.gz, by uid", 1), ("job 1 is done", 1),
                        ("job 2 failed: The package is for another board.", 1), ("job 1 failed", 0), ("cut off", 0)):
            assert text.count(line) == n, (line, text.count(line))
