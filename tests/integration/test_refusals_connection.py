"""Bad connections, one refusal after the other: boards that are silent, garbled, elsewhere, or gone."""
import contextlib
import os
import random
import struct
import subprocess
import sys
import termios
import tty

import packages
from simboard import packet, slip
from harness import CONFIG, MB, OURS, Bench, Result, lived_in_flash, start, takes, wait_for
from refusals import KB200, check_refusal, check_repeat, check_untouched


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
        (bench.folder / name).unlink(missing_ok=True)  # the next pty on this machine may get the number
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
    [bytes.fromhex("c0010802000000000000" "00c0")], 0.02, "Noise", "identifying the chip: no reply")
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
