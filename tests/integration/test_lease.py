"""A port that an editor or a terminal has for a while, and two who want the same board."""
import os
import select
import signal
import time

import dbusmini
from doubles import Polkit, somebody_else
from harness import DEVICE, MANAGER, OURS, SLOWNESS, Bench, DBusError, Skip, takes, wait_for
from test_plug import jobs, the_job, usb_bench, wait_rule

TOP = "/org/wipyd1"


def refusal(call, *arguments):
    try:
        call(*arguments)
    except DBusError as refused:
        return refused
    raise AssertionError(f"{arguments}: not refused")


def lease(bench, bus=None, board=None, why="a test"):
    """The descriptor; the caller closes it."""
    bus = bus or bench.bus
    fd, = bus.call(bench.device_path(board), DEVICE, "Lease", "s", why)
    return fd


def lessee(bench, board=None):
    return bench.device(board)["Lessee"]


# ---- taken and given back --------------------------------------------------------------------------------------------

@takes(6)
def test_lease_ends_a_coach_and_its_end_goes_on_with_the_board():
    with usb_bench() as bench:
        bench.import_firmware(bench.package(app_bytes=100_000))
        bench.plug(bench.board)
        wait_rule(bench, "no-boot")
        wait_for(lambda: bench.board.status()["host_open"], 5, "the coach listens")
        fd = lease(bench)
        assert not bench.board.status()["host_open"], "the port is closed when the lease is there"
        told = wait_rule(bench, "leased")
        assert told["Verdict"] == "wait" and told["Advice"] == "", told
        assert told["Lessee"].startswith("python") and told["Lessee"].endswith(f"(uid {os.geteuid()}): a test"), told
        bench.board.download()
        received = bench.board.status()["bytes_received"]
        time.sleep(1)
        assert bench.board.status()["bytes_received"] == received and not jobs(bench), "it is left alone"
        os.close(fd)
        the_job(bench)  # the board is in download mode now
        assert lessee(bench) == ""
        assert any(row["event"] == "lease given back" for row in bench.bus.call(TOP, MANAGER, "Decisions", "a{sv}", {})[0])


@takes(4)
def test_everything_else_is_refused_and_says_who_has_it():
    with Bench() as bench:
        package = bench.package(app_bytes=50_000)
        bench.import_firmware(package)
        fd = lease(bench, why="uploading")
        device = bench.device_path()
        for method, signature, arguments in (("Flash", "a{sv}", [{}]), ("Identify", "a{sv}", [{}]), ("Look", "a{sv}", [{}]),
                                             ("Lease", "s", ["me too"])):
            refused = refusal(bench.bus.call, device, DEVICE, method, signature, *arguments)
            assert refused.name == OURS + "DeviceBusy" and "uploading" in refused.text, (method, refused)
        refused = refusal(bench.start_flash, package)
        assert refused.name == OURS + "DeviceBusy" and "uploading" in refused.text, refused
        assert bench.ctl("flash", "board", package).code == 5
        os.close(fd)
        wait_for(lambda: lessee(bench) == "", 5, "given back")
        bench.flash_well(package)


@takes(3)
def test_death_of_the_lessee_gives_back():
    with Bench() as bench:
        path = bench.device_path()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            with dbusmini.Connection(bench.address) as bus:
                bus.call(path, DEVICE, "Lease", "s", "about to die")
                os.write(writer, b"x")
                time.sleep(60 * SLOWNESS)
            os._exit(0)
        os.close(writer)
        assert os.read(reader, 1) == b"x"
        os.close(reader)
        assert "about to die" in lessee(bench)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        wait_for(lambda: lessee(bench) == "", 5, "given back")


@takes(3)
def test_lease_outlives_the_connection():
    """The descriptor counts, not the caller's connection: it may be handed on."""
    with Bench() as bench:
        with dbusmini.Connection(bench.address) as bus:
            fd = lease(bench, bus)
        time.sleep(0.2)
        assert lessee(bench)
        os.close(fd)
        wait_for(lambda: lessee(bench) == "", 5, "given back")


@takes(4)
def test_unplug_ends_the_lease():
    with usb_bench() as bench:
        bench.plug(bench.board)
        wait_for(lambda: any(DEVICE in objects for objects in bench.bus.managed().values()), 5, "a device")
        fd = lease(bench)
        os.set_blocking(fd, False)
        try:
            os.read(fd, 1)
            raise AssertionError("nothing is ever sent, and it isn't over")
        except BlockingIOError:
            pass
        bench.replug(bench.board)
        wait_for(lambda: select.select([fd], [], [], 0)[0], 5, "its end")
        assert os.read(fd, 1) == b""
        wait_for(lambda: lessee(bench) == "", 5, "the new device is nobody's")
        os.close(fd)


# ---- what is refused -------------------------------------------------------------------------------------------------

@takes(3)
def test_no_lease_below_a_job_and_two_who_flash():
    """The second of two gets an error that names the job."""
    with Bench(boards=[dict(download=False)], connect_timeout=60) as bench, dbusmini.Connection(bench.address) as second:
        package = bench.package(app_bytes=50_000)
        bench.import_firmware(package)
        device = bench.device_path()
        first = bench.bus.send(device, DEVICE, "Flash", "a{sv}", {})
        other = second.send(device, DEVICE, "Flash", "a{sv}", {})
        outcomes = []
        for bus, serial in (bench.bus, first), (second, other):
            try:
                outcomes.append(bus.wait(serial)[0])
            except DBusError as refused:
                outcomes.append(refused)
        job, = [outcome for outcome in outcomes if isinstance(outcome, str)]
        refused, = [outcome for outcome in outcomes if isinstance(outcome, DBusError)]
        number = job.rpartition("/")[2]
        assert refused.name == OURS + "DeviceBusy" and f"job {number} " in refused.text, refused
        refused = refusal(lease, bench)
        assert refused.name == OURS + "DeviceBusy" and f"job {number} " in refused.text, refused
        result = bench.ctl("flash", "board")
        assert result.code == 5 and f"job {number} " in result.err, result
        bench.bus.call(job, "org.wipyd1.Job", "Cancel")
        assert bench.wait_job(job)["State"] == "cancelled"
        os.close(lease(bench))


@takes(2)
def test_reasons_must_be_shown_without_harm():
    with Bench() as bench:
        for why in "", "x" * 81, "two\nlines", "\x1b[2J", "a\u202eb":
            refused = refusal(lease, bench, None, None, why)
            assert refused.name == OURS + "InvalidArgument", (why, refused)
        os.close(lease(bench, why="ü" * 40))


@takes(4)
def test_leases_are_bounded():
    if os.geteuid() != 0:
        raise Skip("root alone can try as somebody else")
    with Bench(boards=0, ports=[f"/dev/pts/wipyd-{i}" for i in range(20)]) as bench:
        paths = sorted(path for path, objects in bench.bus.managed().items() if DEVICE in objects)
        assert len(paths) == 20
        with Polkit(bench.address, "yes"), somebody_else(bench) as bus:
            fds = [bus.call(path, DEVICE, "Lease", "s", "all of them")[0] for path in paths[:16]]
            refused = refusal(bus.call, paths[16], DEVICE, "Lease", "s", "one more")
            assert refused.name == OURS + "TooManyLeases", refused
            own, = bench.bus.call(paths[16], DEVICE, "Lease", "s", "another user's")
            os.close(fds[0])
            wait_for(lambda: bench.bus.get(paths[0], DEVICE, "Lessee") == "", 5, "given back")
            fds[0], = bus.call(paths[17], DEVICE, "Lease", "s", "room again")
            for fd in fds:
                os.close(fd)
        # What root has ends with the daemon.
        wait_for(lambda: sum(bool(bench.bus.get(path, DEVICE, "Lessee")) for path in paths) == 1, 5, "all but one")


@takes(3)
def test_daemon_stops_with_leases_out():
    with Bench() as bench:
        fd = lease(bench)
        bench.stop_wipyd()
        assert os.read(fd, 1) == b"", "it comes to its end"
        os.close(fd)
        bench.connection.close()
        bench.connection = None
        bench.start_wipyd()
        assert lessee(bench) == ""
