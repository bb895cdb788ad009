"""The daemon on its bus, and as a program: objects, signals, odd calls, start and stop, arguments and configuration."""
import os
import random
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import dbusmini
import packages
from harness import (DEVICE, FINAL, FIRMWARE, JOB, MANAGER, MB, OURS, ROOT, SLOWNESS, Bench, DBusError, Variant, lived_in_flash,
                     quiet, takes, wait_for)

KB200 = dict(app_bytes=200_000)
STANDARD = "org.freedesktop.DBus."
BOARD, SLOT = "org.wipyd1.Board", "org.wipyd1.Slot"


# ---- what is there ---------------------------------------------------------------------------------------------------

def of_xml(text):
    """{interface: {("method", name): (in, out), ("property", name): (type, access, emits), ("signal", name): args}}"""
    found = {}
    for interface in ElementTree.fromstring(text).iter("interface"):
        members = found.setdefault(interface.get("name"), {})
        for method in interface.iter("method"):
            arguments = [(arg.get("type"), arg.get("direction", "in")) for arg in method.iter("arg")]
            members["method", method.get("name")] = tuple(
                "".join(kind for kind, way in arguments if way == wanted) for wanted in ("in", "out"))
        for prop in interface.iter("property"):
            emits = next((note.get("value") for note in prop.iter("annotation") if note.get("name").endswith("EmitsChangedSignal")),
                         "true")
            members["property", prop.get("name")] = (prop.get("type"), prop.get("access"), emits)
        for sent in interface.iter("signal"):
            members["signal", sent.get("name")] = "".join(arg.get("type") for arg in sent.iter("arg"))
    return found


def objects(bench):
    package = bench.package(**KB200)
    bench.flash_well(package)
    mac = bench.device()["Mac"]
    return {MANAGER: "/org/wipyd1", DEVICE: bench.device_path(), JOB: "/org/wipyd1/job/1",
            FIRMWARE: bench.import_firmware(package),
            BOARD: bench.bus.call("/org/wipyd1", MANAGER, "FindBoard", "s", mac)[0],
            SLOT: bench.bus.call("/org/wipyd1", MANAGER, "FindSlot", "s", bench.board.name)[0]}


def test_introspection_is_what_the_xml_promises():
    with Bench() as bench:
        for interface, path in objects(bench).items():
            compared = subprocess.run([sys.executable, ROOT / "tests/check/introspection.py", ROOT / f"proto/{interface}.xml"],
                                      input=bench.bus.introspect(path), capture_output=True, text=True)
            assert compared.returncode == 0, f"{path}:\n{compared.stdout}{compared.stderr}"


def test_get_all_gives_every_property_in_its_type():
    with Bench() as bench:
        for interface, path in objects(bench).items():
            members = of_xml((ROOT / f"proto/{interface}.xml").read_text())[interface]
            values = bench.bus.get_all(path, interface)
            promised = {name for kind, name in members if kind == "property"}
            assert set(values) == promised, set(values) ^ promised
            for name, value in values.items():
                again = bench.bus.get(path, interface, name)
                assert again == value or members["property", name][2] == "false", (name, value, again)


def test_children_are_told_on_the_way_down():
    with Bench() as bench:
        paths = objects(bench).values()
        reached, todo = set(), ["/"]
        while todo:
            path = todo.pop()
            reached.add(path)
            todo += [path.rstrip("/") + "/" + node.get("name")
                     for node in ElementTree.fromstring(bench.bus.introspect(path)).iterfind("node") if node.get("name")]
        assert set(paths) <= reached, set(paths) - reached


def test_object_manager_tells_of_all_and_of_comings_and_goings():
    with Bench() as bench:
        bench.bus.subscribe()
        device = bench.device_path()

        def managed_here():
            """Without slots: they come when something is seen there."""
            return {path for path in bench.bus.managed() if "/slot/" not in path} - {"/org/wipyd1"}

        assert managed_here() == {device}
        package = bench.package(**KB200)
        firmware = bench.import_firmware(package)
        path = bench.start_flash(package)
        bench.wait_job(path)
        managed = bench.bus.managed()
        board, = bench.bus.call("/org/wipyd1", MANAGER, "FindBoard", "s", managed[device][DEVICE]["Mac"])
        assert managed_here() == {device, path, firmware, board}
        assert managed[path][JOB]["State"] == "done" and managed[device][DEVICE]["Board"] == "WiPy"
        assert managed[firmware][FIRMWARE]["Release"] == "1.20.1.r1"
        added = {signal.body[0]: signal.body[1] for signal in bench.bus.collect(0.1) if signal.member == "InterfacesAdded"}
        assert JOB in added[path] and FIRMWARE in added[firmware], added
        assert added[path][JOB]["State"] in ("queued", "running")


# ---- signals ---------------------------------------------------------------------------------------------------------

@takes(3)
def test_changes_are_told_at_most_five_times_a_second():
    with Bench(2) as bench:
        package = bench.package(app_bytes=500_000)
        bench.bus.subscribe()
        for board in bench.boards:
            board.fault("on=DEFL_DATA,times=200 do=delay-reply,20")
        paths = [bench.start_flash(package, board) for board in bench.boards]
        n_polls = 0
        while bench.bus.signals == [] or not all(bench.bus.get(path, JOB, "State") in FINAL for path in paths):
            bench.bus.collect(0.05)
            n_polls += 1
        bench.bus.collect(0.3)
        for path in paths:
            told = [message for message in bench.bus.signals
                    if message.path == path and message.member == "PropertiesChanged" and message.body[0] == JOB]
            times = [message.at for message in told]
            seconds = times[-1] - times[0]
            assert seconds > 1, "long enough to count"
            for first in times:
                within = sum(first <= at < first + 0.99 for at in times)
                # The end follows at once, and so does what a person is to do then.
                assert within <= 7, f"{within} signals within a second"
            assert len(told) > seconds * 3 / SLOWNESS, "a bar that moves"
            told_last = told[-1].body[1]
            assert told_last["State"] == "done" and told_last["Progress"] == 1.0 and told_last["FinishedAt"] > 0, told_last
            progress = [message.body[1]["Progress"] for message in told if "Progress" in message.body[1]]
            assert progress == sorted(progress)


def test_plugging_and_unplugging_is_told():
    with Bench() as bench:
        bench.bus.subscribe()
        path = bench.device_path()

        def told(value):
            bench.bus.collect(0.01)
            return any(message.path == path and message.member == "PropertiesChanged" and message.body[1].get("Present") is value
                       for message in bench.bus.signals)

        bench.board.ask("unplug")
        wait_for(lambda: told(False), 5, "the port is away")
        bench.board.ask("plug")
        wait_for(lambda: told(True), 5, "the port is back")


def test_a_job_s_first_signals_name_it_before_it_changes():
    """A client that listens first and calls then misses nothing."""
    with Bench() as bench:
        bench.bus.subscribe()
        path = bench.start_flash(bench.package(**KB200))
        bench.wait_job(path)
        about = [message for message in bench.bus.collect(0.1)
                 if path in (message.path, message.body[0] if message.body else None)]
        assert about[0].member == "InterfacesAdded" and about[0].body[0] == path
        assert about[-1].body[1]["State"] == "done"


# ---- odd calls -------------------------------------------------------------------------------------------------------

def error_of(call):
    try:
        call()
    except DBusError as refused:
        return refused.name
    return None


def test_unknown_objects_interfaces_methods_and_properties():
    with Bench() as bench:
        path, bus = bench.device_path(), bench.bus
        for wanted, call in [
            ("UnknownObject", lambda: bus.call("/org/wipyd1/device/none", DEVICE, "Identify", "a{sv}", {})),
            ("UnknownObject", lambda: bus.call("/org/wipyd1/job/1", JOB, "Cancel")),
            ("UnknownObject", lambda: bus.call("/org/wipyd1/job/01", JOB, "Cancel")),
            ("UnknownObject", lambda: bus.call("/org/wipyd1/firmware/0000000000000000", STANDARD + "Properties", "GetAll", "s", FIRMWARE)),
            ("UnknownObject", lambda: bus.call("/elsewhere", DEVICE, "Identify", "a{sv}", {})),
            ("UnknownMethod", lambda: bus.call(path, DEVICE, "Explode")),
            ("UnknownInterface", lambda: bus.call(path, "org.wipyd1.Nothing", "Flash")),
            ("UnknownProperty", lambda: bus.get(path, DEVICE, "Nothing")),
            ("UnknownProperty", lambda: bus.get(path, "org.wipyd1.Nothing", "Name")),
            ("PropertyReadOnly", lambda: bus.call(path, STANDARD + "Properties", "Set", "ssv", DEVICE, "Name", Variant("s", "x"))),
            ("InvalidArgs", lambda: bus.call(path, DEVICE, "Identify", "s", "x")),
            ("InvalidArgs", lambda: bus.call(path, DEVICE, "Identify")),
            ("InvalidArgs", lambda: bus.call("/org/wipyd1", MANAGER, "FindJob", "s", "1")),
        ]:
            got = error_of(call)
            assert got in (STANDARD + "Error." + wanted, STANDARD + "Error.UnknownMethod"), (wanted, got)
        assert bench.device()["Present"]


VALUES = {"s": ["", "x", "board", "\u00e4" * 300, "\n\x1b[0m"], "u": [0, 1, 7, 4294967295], "b": [True, False], "o": ["/", "/a/b"],
          "d": [0.0, -1.5, float("inf"), float("nan")], "y": [0, 255], "n": [-32768, 5], "t": [0, 2**64 - 1], "x": [-2**63, 0],
          "g": ["", "a{sv}"]}


def random_value(rng, kind):
    if kind in VALUES:
        return rng.choice(VALUES[kind])
    if kind == "v":
        inner = rng.choice(list("subodynt") + ["as", "a{sv}", "(su)", "v"])
        return Variant(inner, random_value(rng, inner))
    if kind == "a{sv}":
        keys = ["baud", "version", "dry-run", "connect-timeout", "repl", "parts", "board", "since", "limit", "force", "", "Baud",
                "x" * 300]
        return {rng.choice(keys): random_value(rng, "v") for _ in range(rng.randrange(4))}
    if kind[0] == "a":
        return [random_value(rng, kind[1:]) for _ in range(rng.randrange(4))]
    return tuple(random_value(rng, one) for one in dbusmini.split(kind[1:-1]))


@takes(60, limit=300)
def test_ten_thousand_random_calls():
    """Well-typed by the XML, or not; on objects that are there, or not. None is left without an answer."""
    rng = random.Random(2)
    with Bench(connect_timeout=1) as bench:
        paths = objects(bench)
        methods = [(interface, name, members[0]) for interface in paths
                   for (kind, name), members in of_xml((ROOT / f"proto/{interface}.xml").read_text())[interface].items()
                   if kind == "method"]
        answered = 0
        for _ in range(10_000):
            interface, name, signature = rng.choice(methods)
            if rng.random() < 0.2:
                signature = rng.choice(["", "s", "a{sv}", "hs", "v", "(sus)", "aas", "u" * 20])
            path = paths[interface] if rng.random() < 0.8 else rng.choice([*paths.values(), "/org/wipyd1/device/x_5f", "/"])
            fds = []
            arguments = []
            for kind in dbusmini.split(signature):
                if kind == "h":
                    fds.append(os.open(rng.choice(["/dev/null", "/proc/self/status", "/tmp"]), os.O_RDONLY))
                    arguments.append(fds[-1])
                else:
                    arguments.append(random_value(rng, kind))
            try:
                bench.bus.call(path, interface, name, signature, *arguments, seconds=10)
            except DBusError as refused:
                assert refused.name, refused
            answered += 1
            for fd in [*fds, *bench.bus.handed_over]:  # a lease among them would keep the port
                os.close(fd)
            bench.bus.handed_over = []
        assert answered == 10_000
        for path, interfaces in bench.bus.managed().items():  # whatever was begun comes to an end
            if JOB in interfaces:
                error_of(lambda: bench.bus.call(path, JOB, "Cancel"))
                bench.wait_job(path)
        bench.board.download()
        bench.flash_well(bench.package(**KB200))


def test_messages_that_are_cut_off_or_not_wanted():
    """No reply wanted; a client that goes away before the answer comes."""
    with Bench() as bench:
        path = bench.device_path()
        for _ in range(20):
            with dbusmini.Connection(bench.address) as hasty:
                hasty.send(path, DEVICE, "Identify", "a{sv}", {"connect-timeout": Variant("u", 1)}, flags=1)
                hasty.send(path, STANDARD + "Properties", "GetAll", "s", DEVICE)
        wait_for(lambda: bench.device()["Job"] == "/", 20, "the jobs are over")
        bench.flash_well(bench.package(**KB200))


def test_finished_jobs_do_not_pile_up():
    """At most 128 are kept; numbers are never used twice."""
    with Bench(boards=0, wipyd=False, ports=["/dev/null"]) as bench:
        bench.start_wipyd()
        path, = bench.bus.call("/org/wipyd1", MANAGER, "FindDevice", "s", "null")
        seen = set()
        for _ in range(150):
            job, = bench.bus.call(path, DEVICE, "Identify", "a{sv}", {})
            assert job not in seen
            seen.add(job)
            bench.wait_job(job)
        kept = [known for known in bench.bus.managed() if "/job/" in known]
        assert 100 <= len(kept) <= 130, len(kept)
        assert error_of(lambda: bench.bus.call("/org/wipyd1", MANAGER, "FindJob", "u", 1)) == OURS + "NoSuchJob"
        assert bench.bus.call("/org/wipyd1", MANAGER, "FindJob", "u", 150)[0] == job


# ---- start and stop --------------------------------------------------------------------------------------------------

def run_wipyd(bench, *arguments, seconds=10, environment=None):
    """To its end."""
    done = subprocess.run(list(map(str, bench.wipyd_command(*arguments))), env={**bench.environment(), **(environment or {})},
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds * 5, text=True)
    assert not re.search("Sanitizer|runtime error", done.stderr), done.stderr
    return done


def test_a_second_daemon_on_the_same_bus_gives_up():
    with Bench() as bench:
        done = run_wipyd(bench, f"--bus={bench.address}", f"--config={bench.config_path}")
        assert done.returncode == 1, done
        assert "another wipyd is running on this bus" in done.stderr, done.stderr
        bench.flash_well(bench.package(**KB200))  # the first one hasn't noticed


def stopped_while(phase, fault, seconds, by_stub=None):
    fault_text = fault or ""

    @takes(3)
    def test():
        before = lived_in_flash(4 * MB)
        with Bench([dict(flash=before, download=phase != "sync")]) as bench:
            package = bench.package(app_bytes=1_700_000 if phase == "prepare" else 200_000)
            bench.bus.subscribe()
            if fault:
                bench.board.fault(by_stub if by_stub and bench.stub != "off" else fault)
            path = bench.start_flash(package, connect_timeout=60)
            wait_for(lambda: bench.board.status()["faults_pending"] == 0, 10, "the fault strikes")
            wait_for(lambda: bench.bus.get(path, JOB, "Phase") == phase, 0.5 if fault else 10, phase)
            started = time.monotonic()
            client = None if phase == "prepare" else bench.start_ctl("monitor")
            bench.stop_wipyd(signal.SIGTERM, seconds)
            assert time.monotonic() - started < seconds * 3
            told = [message.body[1] for message in bench.bus.collect(0.2)
                    if message.path == path and message.member == "PropertiesChanged" and "Attempts" in message.body[1]]
            assert told and told[-1]["State"] == "interrupted" and told[-1]["Error"] == OURS + "ShuttingDown", told
            (number, _, reason), = told[-1]["Attempts"]
            assert number == 1 and reason.startswith("wipyd was stopped while "), told[-1]["Attempts"]
            assert "goes on by itself" in told[-1]["UserAction"], told[-1]
            if client:
                client.kill()
                client.communicate()
            bench.board.wait("host_open", False)
            if phase == "sync" or "silence" in fault_text:
                bench.board.download()
            bench.connection.close()
            bench.connection = None
            bench.start_wipyd()
            job = bench.wait_job(path)  # and it does
            assert job["State"] == "done" and job["Attempt"] == 2, job
            assert bench.board.flash() == packages.expected_flash(package, 4 * MB, before)
    test.__module__ = __name__
    return test


test_stopped_while_preparing = stopped_while("prepare", None, 5)
test_stopped_while_waiting_for_the_board = stopped_while("sync", None, 2)
test_stopped_while_saving = stopped_while("save", "on=READ_FLASH_SLOW,nth=40 do=delay-reply,1000", 3,
                                           "on=READ_FLASH,nth=24 do=delay-reply,1000")
test_stopped_while_erasing = stopped_while("begin", "on=DEFL_BEGIN,nth=2 do=delay-reply,1000", 3)
test_stopped_while_writing = stopped_while("write", "on=DEFL_DATA,nth=5 do=delay-reply,1000", 3)
test_stopped_while_the_chip_says_nothing = stopped_while("write", "on=DEFL_DATA,nth=5 do=silence", 9)


def test_client_is_told_that_the_daemon_was_stopped():
    with Bench() as bench:
        bench.board.fault("on=DEFL_DATA,nth=5 do=delay-reply,600")
        client = bench.start_ctl("flash", "board", str(bench.package(**KB200)))
        wait_for(lambda: bench.board.count("DEFL_DATA") == 5, 10, "the fifth block")
        bench.stop_wipyd()
        out, err = client.communicate(timeout=10)
        assert client.returncode in (1, 8) and "hint: " in err, (client.returncode, out, err)


def test_client_is_told_that_the_daemon_was_killed():
    with Bench() as bench:
        bench.board.fault("on=DEFL_DATA,nth=5 do=delay-reply,600")
        client = bench.start_ctl("flash", "board", str(bench.package(**KB200)))
        wait_for(lambda: bench.board.count("DEFL_DATA") == 5, 10, "the fifth block")
        bench.kill_wipyd()
        out, err = client.communicate(timeout=10)
        assert client.returncode == 8 and "hint: " in err, (client.returncode, out, err)


def test_sigint_is_as_good_as_sigterm():
    with Bench() as bench:
        bench.flash_well(bench.package(**KB200))
        bench.stop_wipyd(signal.SIGINT)


def test_stopped_twice_in_the_middle_of_a_job():
    with Bench() as bench:
        bench.board.fault("on=DEFL_BEGIN do=delay-reply,500")
        bench.start_flash(bench.package(**KB200))
        wait_for(lambda: bench.board.begins() == 1, 5, "the first region")
        bench.wipyd.send_signal(signal.SIGTERM)
        bench.stop_wipyd(signal.SIGTERM)


def test_the_bus_goes_away():
    """No bus, no daemon: it ends, in order, and says why; with a job under way too."""
    with Bench() as bench:
        bench.board.fault("on=DEFL_BEGIN do=delay-reply,300")
        bench.start_flash(bench.package(**KB200))
        wait_for(lambda: bench.board.begins() == 1, 5, "the first region")
        bench.bus_process.terminate()
        bench.bus_process.wait()
        process, bench.wipyd = bench.wipyd, None
        assert process.wait(timeout=20) == 1
        assert "the bus is gone" in bench.log() and "Sanitizer" not in bench.log(), bench.log()


def test_no_bus_to_begin_with():
    with Bench(boards=0, wipyd=False) as bench:
        for address in ("unix:path=/nonexistent", "nonsense", "unix:", ""):
            done = run_wipyd(bench, f"--bus={address}", f"--config={bench.config_path}")
            assert done.returncode == 1 and done.stderr.strip(), (address, done)
            assert not done.stderr.count("Assertion"), done.stderr


def test_a_bus_that_does_not_let_us_have_the_name():
    with Bench(boards=0, wipyd=False) as bench:
        with dbusmini.Connection(bench.address) as squatter:
            squatter.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su", "org.wipyd1", 4,
                          destination="org.freedesktop.DBus")
            done = run_wipyd(bench, f"--bus={bench.address}", f"--config={bench.config_path}")
            assert done.returncode == 1 and "another wipyd" in done.stderr, done


# ---- the program -----------------------------------------------------------------------------------------------------

def test_help_and_version():
    with Bench(boards=0, wipyd=False) as bench:
        done = run_wipyd(bench, "--help")
        assert done.returncode == 0 and not done.stderr
        for word in ("--bus", "--config", "--port", "--version", "--help"):
            assert word in done.stdout, word
        assert max(map(len, done.stdout.splitlines())) <= 100
        done = run_wipyd(bench, "--version")
        assert done.returncode == 0 and re.fullmatch(r"wipyd \d+\.\d+\.\d+\n", done.stdout), done.stdout


def test_bad_arguments_exit_2():
    with Bench(boards=0, wipyd=False) as bench:
        for arguments in (["--nonsense"], ["-x"], ["--bus"], ["--port"], ["extra"], ["--config"], ["--help=yes"],
                          [f"--port=/dev/p{i}" for i in range(65)]):
            done = run_wipyd(bench, *arguments)
            assert done.returncode == 2 and done.stderr.strip(), (arguments, done)
            assert not done.stdout


BAD_CONFIGS = [
    ("[flash]\nbaud = fast\n", r":2: baud = \"fast\".*9600 to 4000000"),
    ("[flash]\nbaud = 9599\n", r":2: baud"),
    ("[flash]\n\n\nbaud = 4000001\n", r":4: baud"),
    ("[flash]\nconnect-timeout = 0\n", r":2: connect-timeout"),
    ("[flash]\nspeed = 1\n", r":2: unknown key \"speed\""),
    ("[flush]\nbaud = 115200\n", r":1: unknown section \"flush\""),
    ("baud = 115200\n", r":1: .*baud"),
    ("[daemon]\nlog-level = loud\n", r":2: log-level.*debug"),
    ("[daemon]\nstate-directory = relative/path\n", r":2: state-directory.*absolute"),
    ("[daemon\n", r":1: "),
    ("[flash]\nwhatever\n", r":2: "),
    ("[ports]\nport = ttyUSB0\n", r":2: port.*absolute"),
    ("[flash]\nbaud = 115200\0\n", r":2: "),
]


def test_bad_configurations_name_file_and_line():
    with Bench(boards=0, wipyd=False) as bench:
        path = bench.folder / "bad.conf"
        for text, wanted in BAD_CONFIGS:
            path.write_text(text)
            done = run_wipyd(bench, f"--bus={bench.address}", f"--config={path}")
            assert done.returncode == 1, (text, done)
            assert re.search(re.escape(str(path)) + wanted, done.stderr), (text, done.stderr)


def test_a_bad_drop_in_is_named():
    with Bench(boards=0, wipyd=False) as bench:
        folder = bench.folder / "wipyd.conf.d"
        folder.mkdir()
        (folder / "10-good.conf").write_text("[flash]\nbaud = 230400\n")
        (folder / "20-bad.conf").write_text("[flash]\n\nbaud = x\n")
        (folder / "30-ignored.txt").write_text("rubbish")
        done = run_wipyd(bench, f"--bus={bench.address}", f"--config={bench.config_path}")
        assert done.returncode == 1 and re.search(r"20-bad\.conf:3: baud", done.stderr), done


def test_configuration_files_that_are_not_there():
    with Bench(boards=0, wipyd=False) as bench:
        for path in (bench.folder / "none.conf", bench.folder, bench.folder / "none/none.conf"):
            done = run_wipyd(bench, f"--bus={bench.address}", f"--config={path}")
            assert done.returncode == 1 and str(path) in done.stderr, (path, done)


def test_drop_ins_are_read_in_order():
    """The later one wins; the rate that was configured is the one that is climbed to."""
    with Bench(wipyd=False) as bench:
        folder = bench.folder / "wipyd.conf.d"
        folder.mkdir()
        (folder / "10.conf").write_text("[flash]\nbaud = 460800\n")
        (folder / "20.conf").write_text("[flash]\nbaud = 230400\n")
        bench.start_wipyd()
        package = bench.package(**KB200)
        bench.board.fault("on=DEFL_BEGIN do=delay-reply,200")
        path = bench.start_flash(package)
        wait_for(lambda: bench.job(path)["Phase"] == "begin", 5, "the first region")
        assert bench.job(path)["Baud"] == 230400
        assert bench.wait_job(path)["State"] == "done"


def test_ports_of_the_configuration():
    with Bench(wipyd=False) as bench:
        bench.ports = []
        bench.write_config(f"[ports]\nport = {bench.board.tty}\nport = /dev/nonexistent0\nport = {bench.board.tty}\n")
        bench.start_wipyd()
        devices = {path: interfaces[DEVICE] for path, interfaces in bench.bus.managed().items() if DEVICE in interfaces}
        assert {device["Name"]: device["Present"] for device in devices.values()} == {"board": True, "nonexistent0": False}, devices
        bench.flash_well(bench.package(**KB200))


def test_a_state_directory_that_cannot_be_made():
    """Nothing could be recorded: the daemon doesn't start, and names the place."""
    with Bench(boards=0, wipyd=False) as bench:
        (bench.folder / "file").write_text("")
        for state in (bench.folder / "none/state", bench.folder / "file"):
            bench.state = state
            bench.write_config()
            done = run_wipyd(bench, f"--bus={bench.address}", f"--config={bench.config_path}")
            assert done.returncode == 1 and str(state) in done.stderr, done


@quiet
def test_an_idle_daemon_holds_no_port_and_does_nothing():
    with Bench() as bench:
        bench.flash_well(bench.package(**KB200))
        bench.board.wait("host_open", False)
        fds = [os.readlink(f"/proc/{bench.wipyd.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{bench.wipyd.pid}/fd")]
        assert not [name for name in fds if name.startswith("/dev/pts")], fds

        def ticks():
            fields = open(f"/proc/{bench.wipyd.pid}/stat").read().rsplit(")", 1)[1].split()
            switches = re.findall(r"voluntary_ctxt_switches:\t(\d+)", open(f"/proc/{bench.wipyd.pid}/status").read())
            return int(fields[11]) + int(fields[12]), int(switches[0])

        time.sleep(0.3)  # what the job left to do
        before = ticks()
        time.sleep(1)
        after = ticks()
        assert after[1] - before[1] <= 1, f"woke up {after[1] - before[1]} times in a second"
