"""Bad input, one refusal after the other: its own error name, a sentence with the facts, a hint, an exit code, and a flash
that is untouched or a job that can be repeated."""
import contextlib
import os
import random
import re
import struct
import subprocess
import sys
import termios
import tty
from pathlib import Path

import packages
from simboard import packet, slip
from harness import (CONFIG, DEVICE, MB, OURS, ROOT, Bench, DBusError, Result, Skip, Variant, error_rows, lived_in_flash, memfd,
                     start, takes, wait_for)

KB200 = dict(app_bytes=200_000)
ROWS = error_rows()


def check_refusal(bench, result, error, *facts, code=1, job="/org/wipyd1/job/1"):
    """What the person, and what the program on the bus is told. Gives the job's properties."""
    sentence, hint = ROWS[error]
    assert result.code == code, result
    assert sentence in result.err, (sentence, result)
    assert not hint or f"hint: {hint}" in result.err, (hint, result)
    for fact in facts:
        assert re.search(fact, result.err), (fact, result)
    if not job:
        return None
    told = bench.job(job)
    assert told["Error"] == OURS + error and told["State"] in ("failed", "cancelled"), told
    assert told["ErrorText"] and told["FinishedAt"] >= told["StartedAt"] > 0, told
    for fact in facts:
        assert re.search(fact, told["ErrorText"]), (fact, told["ErrorText"])
    return told


def check_repeat(bench, package, before):
    """The same once more, now that nothing is in the way."""
    bench.flash_well(package)
    got = bench.board.flash()
    assert got == packages.expected_flash(package, bench.board.flash_bytes, before)


def check_untouched(bench, before):
    status = bench.board.status()
    assert bench.board.begins() == status["sectors_erased"] == status["pages_programmed"] == 0, status
    assert bench.board.flash() == before


# ---- the chip --------------------------------------------------------------------------------------------------------

def chip_is_refused(settings, error, *facts, options=("--fast",), cures=(), flash_bytes=4 * MB):
    def test():
        before = lived_in_flash(flash_bytes)
        with Bench([dict(flash=before, flash_bytes=flash_bytes, options=options)]) as bench:
            package = bench.package(**KB200)
            for setting in settings:
                bench.board.ask(f"set {setting}")
            check_refusal(bench, bench.ctl("flash", "board", package), error, *facts)
            check_untouched(bench, before)
            for cure in cures:
                bench.board.ask(f"set {cure}")
            if cures:
                check_repeat(bench, package, before)
    test.__module__ = __name__
    return test


test_another_chip = chip_is_refused(["magic 6921506f"], "NotEsp32", "0x6921506f", "0x00f01d83", cures=["magic 00f01d83"])
test_flash_encryption_with_one_bit = chip_is_refused(["efuse 0 00100000"], "FlashEncrypted", "0x00100000",
                                                     cures=["efuse 0 00300000"])  # an even number of ones: off again
test_flash_encryption_with_seven_bits = chip_is_refused(["efuse 0 07f00000"], "FlashEncrypted", "0x07f00000")
test_secure_boot_1 = chip_is_refused(["efuse 6 00000010"], "SecureBoot", "0x00000010", cures=["efuse 6 00000000"])
test_secure_boot_2 = chip_is_refused(["efuse 3 00008000", "efuse 5 00100000", "efuse 6 00000020"], "SecureBoot",
                                     "0x00000020", options=("--fast", "--blank-chip"))
test_flash_id_of_ones = chip_is_refused(["flash-id ffffff"], "FlashSizeUnknown", "ffffff", cures=["flash-id 1640c8"])
test_flash_id_of_zeros = chip_is_refused(["flash-id 0"], "FlashSizeUnknown", "000000")
test_flash_id_unknown = chip_is_refused(["flash-id 5540c8"], "FlashSizeUnknown", "5540c8")
test_flash_of_1_mb = chip_is_refused(["flash-id 1440c8"], "FlashTooSmall", "1024 KiB")
test_flash_of_2_mb = chip_is_refused(["flash-id 1540c8"], "FlashTooSmall", "2048 KiB", cures=["flash-id 1640c8"])
test_flash_of_16_mb = chip_is_refused(["flash-id 1840c8"], "FlashTooSmall", "16384 KiB")


def test_info_is_given_of_chips_that_are_not_flashed():
    """Identify writes nothing, so encryption and secure boot are no reason to refuse."""
    with Bench() as bench:
        bench.board.ask("set efuse 0 00100000")
        bench.board.ask("set efuse 6 00000010")
        result = bench.ctl("info", "board")
        assert result.code == 0 and "30:ae:a4:01:02:03" in result.out, result


# ---- the connection --------------------------------------------------------------------------------------------------

def start_and_reset(bench, package, resets=1):
    """wipyctl flash; while the job waits for a person, that person presses reset, with the jumper as it is."""
    client = bench.start_ctl("flash", "board", str(package), "--connect-timeout", "3")
    for _ in range(resets):
        wait_for(lambda: bench.bus.managed().get("/org/wipyd1/job/1", {}).get("org.wipyd1.Job", {}).get("State") == "waiting",
                 10, "the job waits")
        bench.board.ask("reset")
    out, err = client.communicate(timeout=20)
    return Result(["wipyctl"], client.returncode, out, err)


def test_running_firmware():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before, download=False)]) as bench:
        package = bench.package(**KB200)
        bench.board.wait("state", "running")
        result = start_and_reset(bench, package)
        check_refusal(bench, result, "NotInDownloadMode", "runs its firmware", r"boot:0x13|Pycom MicroPython 1\.17\.3\.b1")
        check_untouched(bench, before)
        bench.board.download()
        check_repeat(bench, package, before)


def test_running_firmware_that_was_not_reset():
    """It echoes what it gets: no boot log, but text."""
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before, download=False)], connect_timeout=1) as bench:
        bench.board.wait("state", "running")
        result = bench.ctl("flash", "board", bench.package(**KB200))
        check_refusal(bench, result, "NotInDownloadMode", "runs its firmware")
        check_untouched(bench, before)


def test_blank_flash_and_no_jumper():
    blank = b"\xff" * 4 * MB
    with Bench([dict(download=False)]) as bench:
        package = bench.package(**KB200)
        result = bench.ctl("flash", "board", package)
        check_refusal(bench, result, "NotInDownloadMode", "finds no firmware", "flash read err, 1000")
        check_untouched(bench, blank)
        bench.board.download()
        check_repeat(bench, package, blank)


def test_no_wire_from_us_to_the_board():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(**KB200)
        bench.board.ask("set rx-dead on")
        result = start_and_reset(bench, package)
        check_refusal(bench, result, "NoTransmit", "waiting for download")
        check_untouched(bench, before)
        bench.board.ask("set rx-dead off")
        check_repeat(bench, package, before)


def test_no_wire_from_the_board_to_us():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)], connect_timeout=1) as bench:
        package = bench.package(**KB200)
        bench.board.ask("set tx-dead on")
        check_refusal(bench, bench.ctl("flash", "board", package), "Silence", "no byte came")
        check_untouched(bench, before)
        bench.board.ask("set tx-dead off")
        check_repeat(bench, package, before)


def brownout_is_told(download):
    def test():
        """The supply gives way whenever the radio or the loader wakes up: the log comes again and again."""
        before = lived_in_flash(4 * MB)
        with Bench([dict(flash=before, download=download)]) as bench:
            package = bench.package(**KB200)
            if download:
                bench.board.fault("on=SYNC,times=1000 do=brownout")
                result = bench.ctl("flash", "board", package)
            else:
                result = run_with_brownouts(bench, package)
            check_refusal(bench, result, "Brownout", "Brownout detector was triggered")
            check_untouched(bench, before)
            bench.board.fault("clear")
            bench.board.download()
            check_repeat(bench, package, before)
    test.__module__ = __name__
    return test


def run_with_brownouts(bench, package):
    """The port of a board that restarts for ever: what a real one prints, written by us."""
    bench.board.ask("unplug")
    log = (b"\r\nBrownout detector was triggered\r\n\r\nets Jun  8 2016 00:22:57\r\n\r\nrst:0xc (SW_CPU_RESET),boot:0x13 "
           b"(SPI_FAST_FLASH_BOOT)\r\nconfigsip: 0, SPIWP:0x00\r\nmode:DIO, clock div:1\r\nentry 0x400a05d0\r\n")
    with talking_port(bench, "board", [log], 0.2):
        result = bench.ctl("flash", "board", package)
    bench.board.ask("plug")
    os.unlink(bench.folder / "board")
    (bench.folder / "board").symlink_to(bench.folder / "board.sim.tty")
    return result


test_brownout_in_download_mode = brownout_is_told(True)
test_brownout_of_a_running_board = brownout_is_told(False)

TALKER = """
import os, sys, time, pty, tty
master, slave = pty.openpty()
tty.setraw(slave)
link = sys.argv[1]
if os.path.lexists(link): os.unlink(link)
os.symlink(os.ttyname(slave), link)
print("ready", flush=True)
os.set_blocking(master, False)
while True:
    for text in sys.argv[3:]:
        try:
            os.write(master, bytes.fromhex(text))
        except BlockingIOError:
            pass
        try:
            os.read(master, 65536)
        except BlockingIOError:
            pass
        time.sleep(float(sys.argv[2]))
"""


@contextlib.contextmanager
def talking_port(bench, name, texts, pause):
    """A pty that says these things for ever, whatever it hears."""
    process = start([sys.executable, "-c", TALKER, bench.folder / name, str(pause), *[text.hex() for text in texts]],
                    stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        yield bench.folder / name
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def port_that_says(texts, pause, error, *facts, timeout=1):
    def test():
        with Bench(boards=0, wipyd=False, connect_timeout=timeout) as bench, \
                talking_port(bench, "port", texts, pause) as port:
            bench.ports = [port]
            bench.start_wipyd()
            result = bench.ctl("flash", "port", bench.package(**KB200))
            check_refusal(bench, result, error, *facts)
    test.__module__ = __name__
    return test


noise = random.Random(3)
test_noise = port_that_says([noise.randbytes(50) for _ in range(7)], 0.05, "Noise", r"\d+ bytes came that are no text")
test_silence = port_that_says([b""], 0.1, "Silence", "no byte came from .*port in 1 s")
test_text_of_another_program = port_that_says([b"login: \r\n"], 0.2, "NotInDownloadMode", "login:")
test_a_firmware_that_crashes = port_that_says(
    [b"Guru Meditation Error: Core  0 panic'ed (LoadProhibited)\r\n"], 0.2, "NotInDownloadMode", "crashes", "Guru Meditation")
test_a_loader_of_another_program = port_that_says(
    [bytes.fromhex("c0010802000000000000" "00c0")], 0.02, "Noise", "bytes came")
test_half_frames_for_ever = port_that_says([b"\xc0\x01\x08\x04\x00\x07", b"\xdb\xdb\xdb"], 0.02, "Noise")


def test_everything_garbled():
    """Another rate than the board's, or a bad wire: bytes arrive, but make no sense."""
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(**KB200)
        bench.board.ask("set baud-fail 9600 on")
        check_refusal(bench, start_and_reset(bench, package), "Noise", "no text")
        check_untouched(bench, before)
        bench.board.ask("set baud-fail 9600 off")
        bench.board.ask("reset")
        check_repeat(bench, package, before)


def leave_rom_at(board, baud):
    """As a job that was cut off leaves it."""
    board.ask("set xtal-error 0")
    board.ask("reset")
    board.wait("state", "download")
    fd = os.open(board.tty, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        tty.setraw(fd)
        attributes = termios.tcgetattr(fd)
        attributes[4] = attributes[5] = termios.B115200
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
        board.wait("host_open", True)
        syncs = board.count("SYNC")
        os.write(fd, slip(packet(0x08, bytes.fromhex("07071220") + b"\x55" * 32)))
        wait_for(lambda: board.count("SYNC") > syncs, 5, "SYNC")
        os.write(fd, slip(packet(0x0F, struct.pack("<II", baud, 0))))
        wait_for(lambda: abs(board.status()["baud"] - baud) < baud * 0.03, 5, f"the ROM at {baud}")
    finally:
        os.close(fd)


def rom_left_at(baud):
    def test():
        with Bench() as bench:
            leave_rom_at(bench.board, baud)
            package = bench.package(**KB200)
            bench.flash_well(package, connect_timeout=5)
            assert bench.board.status()["resets"] == 2, "nobody had to press reset"
            assert bench.board.flash() == packages.expected_flash(package, 4 * MB, b"\xff" * 4 * MB)
    test.__module__ = __name__
    return test


test_rom_left_at_230400_is_found = rom_left_at(230400)
test_rom_left_at_460800_is_found = rom_left_at(460800)
test_rom_left_at_921600_is_found = rom_left_at(921600)


def test_rom_left_at_an_unusual_rate_wants_a_reset():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)], connect_timeout=1) as bench:
        leave_rom_at(bench.board, 300000)
        package = bench.package(**KB200)
        result = bench.ctl("flash", "board", package)
        assert result.code == 1, result
        job = bench.job("/org/wipyd1/job/1")
        assert job["Error"] in (OURS + "Silence", OURS + "Noise"), job
        assert "press reset" in result.err, result
        check_untouched(bench, before)
        bench.board.ask("reset")
        check_repeat(bench, package, before)


def test_board_lost_in_the_baud_change():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)], connect_timeout=1) as bench:
        package = bench.package(**KB200)
        bench.board.ask("set baud-fail 300000 on")
        result = bench.ctl("flash", "board", package, "--baud", "921600")
        check_refusal(bench, result, "BaudFailed", "")
        check_untouched(bench, before)
        bench.board.ask("set baud-fail 300000 off")
        bench.board.ask("reset")
        check_repeat(bench, package, before)


@takes(10)
def test_a_line_that_spoils_every_other_frame_ends_in_bounded_time():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)], connect_timeout=1) as bench:
        package = bench.package(**KB200)
        bench.board.ask("set flip-rate 0.01")
        result = bench.ctl("flash", "board", package, seconds=100)
        assert result.code == 1 and "hint: " in result.err, result
        error = bench.job("/org/wipyd1/job/1")["Error"]
        assert error in {OURS + name for name in ("Noise", "Silence", "ChipRefused", "ChipReset", "NotEsp32", "NoTransmit",
                                                  "WriteFailed", "NotInDownloadMode", "FlashSizeUnknown")}, error
        bench.board.ask("set flip-rate 0")
        bench.board.ask("reset")
        assert bench.board.flash()[CONFIG] == before[CONFIG]
        bench.flash_well(package)
        assert bench.board.flash()[CONFIG] == before[CONFIG]


@takes(8)
def test_a_board_that_resets_over_and_over():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(**KB200)
        bench.board.fault("on=DEFL_DATA,nth=2,times=1000 do=reset")
        result = bench.ctl("flash", "board", package)
        check_refusal(bench, result, "ChipReset", r"rst:0x1|was reset")
        assert bench.board.flash()[CONFIG] == before[CONFIG]
        bench.board.fault("clear")
        check_repeat(bench, package, before)


def test_boards_swapped_in_the_middle():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(**KB200)
        bench.board.fault("on=DEFL_DATA,nth=3 do=delay-reply,400")
        client = bench.start_ctl("flash", "board", str(package))
        wait_for(lambda: bench.board.count("DEFL_DATA") == 3, 10, "the third block")
        bench.board.ask("set efuse 1 a4fffffe")
        bench.board.ask("reset")
        out, err = client.communicate(timeout=30)
        check_refusal(bench, Result(["wipyctl"], client.returncode, out, err), "WrongChip", "30aea4010203",
                      "[0-9a-f]{4}a4fffffe")


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
        check_refusal(other, result, "PortBusy", rf"wipyd \(pid {bench.wipyd.pid}\)" if "VALGRIND" not in os.environ else "pid",
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


# ---- the package -----------------------------------------------------------------------------------------------------

def package_is_refused(fault):
    def test():
        error = packages.FAULTS[fault]
        shape = "list" if fault == "app-truncated" else "object"
        with Bench() as bench:
            package = bench.package(fault=fault, shape=shape, app_bytes=150_000)
            result = bench.ctl("flash", "board", package)
            by_client = fault == "empty"
            check_refusal(bench, result, error, job=None if by_client else "/org/wipyd1/job/1")
            if not by_client:
                assert bench.job("/org/wipyd1/job/1")["Phase"] in ("prepare", "plan")
                assert len(bench.job("/org/wipyd1/job/1")["ErrorText"]) > 10, "a story"
            check_untouched(bench, b"\xff" * 4 * MB)
    test.__module__ = __name__
    return test


for fault in packages.FAULTS:
    globals()["test_package_with_" + fault.replace("-", "_")] = package_is_refused(fault)


def test_every_package_fault_after_the_other_in_one_daemon():
    """None of them leaves anything behind: the last package, a good one, works; and so does a list script's fault."""
    with Bench() as bench:
        for fault, error in packages.FAULTS.items():
            if fault in ("empty", "too-long", "total-too-large"):
                continue  # seen by the client, or heavy
            job = bench.flash(bench.package("bad.tar.gz", fault=fault, shape="both", app_bytes=150_000))
            assert job["Error"] == OURS + error, (fault, job["Error"], job["ErrorText"])
        check_untouched(bench, b"\xff" * 4 * MB)
        bench.flash_well(bench.package(**KB200))


def odd_package(bench, change, **options):
    draft = packages.Draft(**{"board": "WiPy", "release": "1.20.1.r1", "shape": "object", "app_bytes": 100_000, "seed": 1,
                              **options})
    change(draft)
    path = bench.folder / "odd.tar.gz"
    path.write_bytes(draft.pack())
    return path


def test_a_script_that_is_bad_for_the_other_flash_size_alone():
    for flash_bytes in (4 * MB, 8 * MB):
        with Bench([dict(flash_bytes=flash_bytes)]) as bench:
            package = odd_package(bench, lambda d: d.scripts["script_8MB"]["script"].append(["e", "0x3FF000", "0x1000"]))
            result = bench.ctl("flash", "board", package)
            if flash_bytes == 4 * MB:
                assert result.code == 0, result
                assert bench.board.flash() == packages.expected_flash(package, flash_bytes, b"\xff" * flash_bytes)
            else:
                check_refusal(bench, result, "ScriptProtected", "script_8MB|0x3ff000|config")
                check_untouched(bench, b"\xff" * flash_bytes)


def test_a_package_for_the_other_flash_size_alone():
    with Bench() as bench:
        package = odd_package(bench, lambda d: d.scripts.pop("script_4MB"))
        check_refusal(bench, bench.ctl("flash", "board", package), "ScriptMissing", "")
        check_untouched(bench, b"\xff" * 4 * MB)


def test_a_file_that_is_no_archive_or_too_large():
    with Bench() as bench:
        for name, data, error in [("page.tar.gz", b"<html>404 Not Found</html>\n", "PackageInvalid"),
                                  ("random.tar.gz", random.Random(1).randbytes(50_000), "PackageInvalid"),
                                  ("image.tar.gz", packages.application_image("WiPy", "1", 5000, 1), "PackageInvalid"),
                                  ("large.tar.gz", bytes(8 * MB + 1), "PackageTooLarge"),
                                  ("zeros.tar.gz", bytes(8 * MB), "PackageInvalid")]:
            path = bench.folder / name
            path.write_bytes(data)
            result = bench.ctl("flash", "board", path)
            check_refusal(bench, result, error, job=None)
        check_untouched(bench, b"\xff" * 4 * MB)


def test_packages_for_other_boards():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        for name in ("LoPy", "SiPy", "FiPy"):
            package = bench.package(board=name, **KB200)
            check_refusal(bench, bench.ctl("flash", "board", package), "WrongBoard", f"for {name}", r"WiPy 1\.17\.3\.b1",
                          job="/org/wipyd1/job/" + str(["LoPy", "SiPy", "FiPy"].index(name) + 1))
        check_untouched(bench, before)


def test_a_package_for_another_board_on_a_blank_one():
    with Bench() as bench:
        package = bench.package(board="LoPy", **KB200)
        check_refusal(bench, bench.ctl("flash", "board", package), "WrongBoard", "for LoPy")
        check_untouched(bench, b"\xff" * 4 * MB)


def another_board_is_refused(cluster_offset):
    def test():
        before = lived_in_flash(4 * MB, board="LoPy", cluster_offset=cluster_offset)
        with Bench([dict(flash=before)]) as bench:
            package = bench.package(**KB200)
            check_refusal(bench, bench.ctl("flash", "board", package), "WrongBoard", "for WiPy", r"LoPy 1\.17\.3\.b1")
            check_untouched(bench, before)
    test.__module__ = __name__
    return test


for offset in (0x2B40, 0x13D0C, 0x18380, 0x2204C):  # where real images have it
    globals()[f"test_a_lopy_with_its_name_at_{offset:x}_is_refused"] = another_board_is_refused(offset)


# ---- the flash -------------------------------------------------------------------------------------------------------

@takes(4)
def test_write_protected_flash():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(**KB200)
        bench.board.ask("set write-protect hard")
        result = bench.ctl("flash", "board", package)
        check_refusal(bench, result, "VerifyFailed", "region 0x", "MD5")
        assert bench.board.flash() == before
        bench.board.ask("set write-protect off")
        check_repeat(bench, package, before)


def test_a_flash_that_spoils_every_block():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(**KB200)
        bench.board.fault("on=DEFL_DATA,times=100000 do=corrupt-flash")
        result = bench.ctl("flash", "board", package)
        check_refusal(bench, result, "VerifyFailed", "region 0x1000 .bootloader.bin.", "MD5")
        assert bench.board.flash()[CONFIG] == before[CONFIG]
        bench.board.fault("clear")
        check_repeat(bench, package, before)


def always_refused(fault, error, *facts):
    def test():
        before = lived_in_flash(4 * MB)
        with Bench([dict(flash=before)]) as bench:
            package = bench.package(**KB200)
            bench.board.fault(fault)
            check_refusal(bench, bench.ctl("flash", "board", package), error, *facts)
            assert bench.board.flash()[CONFIG] == before[CONFIG]
            bench.board.fault("clear")
            check_repeat(bench, package, before)
    test.__module__ = __name__
    return test


test_begin_always_refused = always_refused("on=DEFL_BEGIN,times=1000 do=refuse,06", "WriteFailed", "region 0x1000", "operation failed")
test_data_always_refused = always_refused("on=DEFL_DATA,times=1000 do=refuse,07", "WriteFailed", "block 0", "checksum wrong")
test_reading_always_refused = always_refused("on=READ_FLASH_SLOW,times=1000 do=refuse,09", "ChipRefused", "flash read failed")
test_identifying_always_refused = always_refused("on=READ_REG,times=1000 do=refuse,05", "ChipRefused", "malformed")
test_attach_always_refused = always_refused("on=SPI_ATTACH,times=1000 do=refuse,06", "ChipRefused", "operation failed")
test_compare_always_refused = always_refused("on=MD5,times=1000 do=refuse,06", "ChipRefused", "comparing", "operation failed")


def test_the_config_block_changes_under_the_job():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(**KB200)
        bench.board.fault("on=DEFL_DATA,nth=4 do=touch-config")
        result = bench.ctl("flash", "board", package)
        check_refusal(bench, result, "GuardFailed", "config block", "backup")
        saved, = bench.state.glob("backup/30aea4010203/*/config.bin")
        assert saved.read_bytes() == before[CONFIG]


def test_no_place_for_the_backup():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(**KB200)
        (bench.state / "backup").write_text("in the way")
        result = bench.ctl("flash", "board", package)
        check_refusal(bench, result, "BackupFailed", "saving to", "Not a directory")
        check_untouched(bench, before)
        (bench.state / "backup").unlink()
        check_repeat(bench, package, before)


# ---- the caller ------------------------------------------------------------------------------------------------------

def check_bus_error(bench, error, call, *facts):
    try:
        call()
    except DBusError as refused:
        assert refused.name == (error if "." in error else OURS + error), refused
        assert refused.text, "a sentence"
        for fact in facts:
            assert re.search(fact, refused.text), (fact, refused)
    else:
        raise AssertionError(f"no {error}")


def test_packages_that_could_still_change():
    with Bench() as bench:
        data = bench.package(**KB200).read_bytes()

        def flash(fd):
            try:
                bench.bus.call(bench.device_path(), DEVICE, "FlashFile", "hsa{sv}", fd, "x", {})
            finally:
                os.close(fd)

        for seals in (0, 1, 2, 4, 8, 7, 14, 13, 11):
            check_bus_error(bench, "InvalidArgument", lambda: flash(memfd(data, seals)), "seal")
        path = bench.folder / "package.tar.gz"
        check_bus_error(bench, "InvalidArgument", lambda: flash(os.open(path, os.O_RDONLY)), "seal")
        check_bus_error(bench, "InvalidArgument", lambda: flash(os.open("/dev/zero", os.O_RDONLY)), "seal")
        reading, writing = os.pipe()
        check_bus_error(bench, "InvalidArgument", lambda: flash(reading), "seal")
        os.close(writing)
        check_bus_error(bench, "PackageInvalid", lambda: flash(memfd(b"")), "empty")
        check_bus_error(bench, "PackageTooLarge", lambda: flash(memfd(bytes(8 * MB + 1))), "8 MiB")
        assert bench.device()["Job"] == "/" and not [p for p in bench.bus.managed() if "/job/" in p]
        n_fds = len(os.listdir(f"/proc/{bench.wipyd.pid}/fd"))
        for _ in range(20):
            check_bus_error(bench, "InvalidArgument", lambda: flash(memfd(data, 0)))
        assert len(os.listdir(f"/proc/{bench.wipyd.pid}/fd")) <= n_fds + 1, "descriptors pile up"
        bench.flash_well(data)


def test_options_that_are_unknown_or_out_of_bounds():
    with Bench() as bench:
        bench.flash_well(bench.package(**KB200))
        path = bench.device_path()

        def call(method, options):
            return lambda: bench.bus.call(path, DEVICE, method, "a{sv}", options)

        number, text, flag = lambda n: Variant("u", n), lambda s: Variant("s", s), lambda b: Variant("b", b)
        for method, options, error, fact in [
            ("Flash", {"force": flag(True)}, "UnknownOption", "force"),
            ("Flash", {"": flag(True)}, "UnknownOption", ""),
            ("Flash", {"baud": number(115200), "Baud": number(1)}, "UnknownOption", "Baud"),
            ("Flash", {"baud": number(9599)}, "InvalidArgument", "9600 to 4000000, not 9599"),
            ("Flash", {"baud": number(4000001)}, "InvalidArgument", "4000001"),
            ("Flash", {"baud": number(0)}, "InvalidArgument", "not 0"),
            ("Flash", {"baud": Variant("i", 115200)}, "InvalidArgument", "type u"),
            ("Flash", {"baud": text("115200")}, "InvalidArgument", "type u"),
            ("Flash", {"connect-timeout": number(0)}, "InvalidArgument", "1 to 3600"),
            ("Flash", {"connect-timeout": number(3601)}, "InvalidArgument", "3601"),
            ("Flash", {"dry-run": number(1)}, "InvalidArgument", "type b"),
            ("Flash", {"version": number(1)}, "InvalidArgument", "type s"),
            ("Flash", {"version": text("nonsense")}, "NoSuchFirmware", "nonsense"),
            ("Flash", {"version": text("")}, "NoSuchFirmware", ""),
            ("Identify", {"dry-run": flag(True)}, "UnknownOption", "dry-run"),
            ("Identify", {"dry-run": flag(False)}, "UnknownOption", "dry-run"),
            ("Identify", {"version": text("1.20.1.r1")}, "UnknownOption", "version"),
            ("Identify", {"baud": number(1)}, "InvalidArgument", ""),
        ]:
            check_bus_error(bench, error, call(method, options), fact)
        fd = memfd(b"x")
        check_bus_error(bench, "UnknownOption", lambda: bench.bus.call(path, DEVICE, "FlashFile", "hsa{sv}", fd, "x",
                                                                      {"version": text("1")}), "version")
        os.close(fd)
        assert len([p for p in bench.bus.managed() if "/job/" in p]) == 1


def test_calls_for_what_is_not_there():
    with Bench() as bench:
        manager = ("/org/wipyd1", "org.wipyd1.Manager")
        for name in ("ttyUSB9", "", "/dev/null", "30:ae:a4:01:02:03", "x" * 5000):
            check_bus_error(bench, "NoSuchDevice", lambda: bench.bus.call(*manager, "FindDevice", "s", name))
        for number in (0, 1, 4294967295):
            check_bus_error(bench, "NoSuchJob", lambda: bench.bus.call(*manager, "FindJob", "u", number))
        check_bus_error(bench, "NoSuchFirmware", lambda: bench.bus.call(bench.device_path(), DEVICE, "Flash", "a{sv}", {}))
        job = bench.flash_well(bench.package(**KB200))
        check_bus_error(bench, "JobFinished", lambda: bench.bus.call(f"/org/wipyd1/job/{job['Id']}", "org.wipyd1.Job", "Cancel"),
                        "job 1 is done")
        for arguments, code in [(["flash", "ttyUSB9", "1.20.1.r1"], 3), (["info", "ttyUSB9"], 3), (["cancel", "99"], 3)]:
            result = bench.ctl(*arguments)
            assert result.code == code and "hint: " in result.err, result


def test_busy_device_on_the_bus():
    with Bench() as bench:
        package = bench.package(**KB200)
        bench.board.fault("on=DEFL_BEGIN do=delay-reply,600")
        path = bench.start_flash(package)
        wait_for(lambda: bench.job(path)["Phase"] == "begin", 5, "the job is at work")
        check_bus_error(bench, "DeviceBusy", lambda: bench.start_flash(package), "job 1 is under way on board")
        check_bus_error(bench, "DeviceBusy", lambda: bench.bus.call(bench.device_path(), DEVICE, "Identify", "a{sv}", {}))
        assert bench.wait_job(path)["State"] == "done"


def test_odd_names_for_a_package():
    with Bench() as bench:
        data = bench.package(**KB200).read_bytes()
        for name in ("", "x" * 20000, "ä" * 1000, "xä" * 1000, "\n\x1b[2J\x07", "../../etc/passwd", "%s%n"):
            fd = memfd(data)
            path, = bench.bus.call(bench.device_path(), DEVICE, "FlashFile", "hsa{sv}", fd, name, {"dry-run": Variant("b", True)})
            os.close(fd)
            job = bench.wait_job(path)
            assert job["State"] == "done", job["ErrorText"]
            # A long one is cut, between characters.
            assert job["Package"] == name if len(name) < 200 else name.startswith(job["Package"]), job["Package"]
            assert len(job["Package"].encode()) >= min(len(name.encode()), 254), job["Package"]
            assert path in bench.bus.managed()
            status = bench.ctl("status")
            assert status.code == 0 and "\x1b[2J" not in status.out and "\x07" not in status.out, status
        assert "\x1b" not in bench.log(), "a name steers the log's terminal"


# ---- all of them -----------------------------------------------------------------------------------------------------

NOT_HERE = {
    "None": "no error",
    "BaudUnsupported": "a pty takes every rate; see tests/unit/test_serial_port",
    "Quarantined": "test_client_firmware.test_quarantine_is_told_and_ended_by_a_person",
    "NoMemory": "memory does not run out here",
    "System": "nothing that the system refuses is left without a name of its own",
}


def test_every_error_is_provoked_somewhere():
    """Here, or where a unit test is the better place."""
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    units = "".join(path.read_text() for path in ROOT.glob("tests/unit/*.c"))
    raised = "".join(path.read_text() for path in ROOT.glob("daemon/**/*.c"))
    symbols = dict(re.findall(r'X\((\w+),\s*"(\w+)"', (ROOT / "proto/error.h").read_text()))
    missing = {name for symbol, name in symbols.items()
               if f'"{name}"' not in text and name not in NOT_HERE and name not in packages.FAULTS.values() and
               f"WIPYD_ERROR_{symbol}" in raised and f"WIPYD_ERROR_{symbol}" not in units}
    assert not missing, f"nothing provokes {sorted(missing)}"
    assert set(NOT_HERE) <= set(ROWS)
