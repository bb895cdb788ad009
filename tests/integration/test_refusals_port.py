"""Bad ports, one refusal after the other: held by others, gone, or no port at all."""
import os
import subprocess
import sys

from harness import MB, OURS, Bench, Result, Skip, lived_in_flash, start, takes, wait_for
from refusals import KB200, check_refusal, check_repeat, check_untouched


# ---- the port --------------------------------------------------------------------------------------------------------

HOLDER = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
if sys.argv[2] == "flock":
    fcntl.flock(fd, fcntl.LOCK_EX)
else:
    fcntl.ioctl(fd, 0x540C)  # TIOCEXCL
print("held", flush=True)
time.sleep(1000)
"""


def port_held_by(how):
    def test():
        before = lived_in_flash(4 * MB)
        with Bench([dict(flash=before)]) as bench:
            if how == "exclusively" and os.geteuid() == 0:
                raise Skip("root may open a port in spite of TIOCEXCL")
            package = bench.package(**KB200)
            holder = start([sys.executable, "-c", HOLDER, bench.board.tty, how], stdout=subprocess.PIPE)
            try:
                holder.stdout.readline()
                result = bench.ctl("flash", "board", package)
                check_refusal(bench, result, "PortBusy", rf"held by python3\S* \(pid {holder.pid}\)", code=5)
            finally:
                holder.kill()
                holder.wait()
                holder.stdout.close()
            check_untouched(bench, before)
            check_repeat(bench, package, before)
    test.__module__ = __name__
    return test


test_port_locked_by_another_program = port_held_by("flock")
test_port_held_exclusively_by_another_program = port_held_by("exclusively")


def test_two_daemons_share_a_port_one_after_the_other():
    """On two buses: the second names the first."""
    with Bench() as bench, Bench(boards=0, ports=[bench.board.tty]) as other:
        package = bench.package(**KB200)
        bench.board.fault("on=DEFL_BEGIN do=delay-reply,1500")
        path = bench.start_flash(package)
        wait_for(lambda: bench.job(path)["Phase"] == "begin", 10, "the first at work")
        result = other.ctl("flash", "board", package)
        check_refusal(other, result, "PortBusy", rf"wipyd \(pid {bench.wipyd.pid}\)" if "WIPYD_VALGRIND" not in os.environ else "pid",
                      code=5)
        assert bench.wait_job(path)["State"] == "done"
        result = other.ctl("flash", "board", package)
        assert result.code == 0 and "nothing was written" in result.out, result


def test_port_gone_before_the_job():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(**KB200)
        bench.board.ask("unplug")
        wait_for(lambda: bench.device()["Present"] is False, 5, "the daemon has seen it")
        assert "unplugged" in bench.ctl("status").out
        check_refusal(bench, bench.ctl("flash", "board", package), "PortGone", "No such file", job=None)
        bench.board.ask("plug")
        bench.board.ask("jumper on")
        bench.board.ask("reset")
        wait_for(lambda: bench.device()["Present"] is True, 5, "the daemon has seen it")
        check_repeat(bench, package, before)


def test_port_gone_while_waiting_for_the_board():
    with Bench([dict(download=False)], connect_timeout=30) as bench:
        client = bench.start_ctl("flash", "board", str(bench.package(**KB200)))
        wait_for(lambda: bench.bus.managed().get("/org/wipyd1/job/1", {}).get("org.wipyd1.Job", {}).get("State") == "waiting",
                 10, "the job waits")
        bench.board.ask("unplug")
        wait_for(lambda: bench.job("/org/wipyd1/job/1")["State"] == "interrupted", 5, "the job is cut off")
        (_, _, reason), = bench.job("/org/wipyd1/job/1")["Attempts"]
        assert "board vanished" in reason, reason
        assert client.poll() is None, "it waits for the board"
        assert bench.ctl("cancel", "1").code == 0
        out, err = client.communicate(timeout=10)
        check_refusal(bench, Result(["wipyctl"], client.returncode, out, err), "Cancelled", code=client.returncode)
        assert client.returncode != 0


@takes(5)
def test_port_gone_too_often():
    with Bench([dict(download=False)], config="[flash]\nattempts = 2\n", connect_timeout=30) as bench:
        path = bench.start_flash(bench.package(**KB200))
        for state in "interrupted", "failed":
            wait_for(lambda: bench.job(path)["State"] == "waiting", 10, "the job waits")
            bench.board.ask("unplug")
            wait_for(lambda: bench.job(path)["State"] == state, 5, state)
            bench.board.ask("plug")
        told = bench.job(path)
        assert told["Error"] == OURS + "TooManyAttempts" and "2 times" in told["ErrorText"], told
        assert len(told["Attempts"]) == 2, told


def test_an_adapter_that_is_not_served():
    with Bench(usb=True) as bench:
        bench.import_firmware(bench.package(**KB200))
        bench.plug(bench.board, vid="04d8", pid="f012", acm=1, name="ttyACM0")
        wait_for(lambda: "ttyACM0" in bench.ctl("list").out, 5, "the device")
        for verb in "flash", "info", "look":
            result = bench.ctl(verb, "ttyACM0")
            check_refusal(bench, result, "AdapterUnhandled", "protocol of its own", job=None)
        assert bench.board.status()["bytes_received"] == 0 and bench.device()["Rule"] == "adapter-unhandled"


def odd_port(make, error, *facts, job="/org/wipyd1/job/1"):
    def test():
        with Bench(boards=0, wipyd=False) as bench:
            port = bench.folder / "port"
            make(port)
            bench.ports = [port]
            bench.start_wipyd()
            result = bench.ctl("flash", "port", bench.package(**KB200))
            check_refusal(bench, result, error, *facts, job=job)
    test.__module__ = __name__
    return test


test_no_such_node = odd_port(lambda port: None, "PortGone", "No such file", job=None)
test_node_is_a_file = odd_port(lambda port: port.write_text("not a tty"), "PortFailed", "Inappropriate ioctl")
test_node_is_no_tty = odd_port(lambda port: port.symlink_to("/dev/null"), "PortFailed", "Inappropriate ioctl")
test_node_is_a_folder = odd_port(lambda port: port.mkdir(), "PortFailed", "directory")
test_node_is_a_fifo = odd_port(lambda port: os.mkfifo(port), "PortFailed", "Inappropriate ioctl")
test_node_is_a_loop_of_links = odd_port(lambda port: port.symlink_to(port), "PortFailed", "symbolic links")
