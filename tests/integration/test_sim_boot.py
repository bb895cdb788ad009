"""The simulated board's own promises about booting, the firmware in its flash, the prompt, and plugging."""
import hashlib
import os
import struct
import termios
import time
import zlib

from simboard import SYNC_DATA, Board, checksum, loader, packet, write_plain

MB = 1024 * 1024


def image(segments=((0x3F400020, b"x" * 32),), hashed=True):
    body = struct.pack("<BBBBI", 0xE9, len(segments), 2, 0x2F, 0x40080000) + bytes(15) + bytes([hashed])
    data = b""
    for address, content in segments:
        body += struct.pack("<II", address, len(content)) + content
        data += content
    body += bytes(-(len(body) + 1) % 16) + bytes([checksum(data)])
    return body + (hashlib.sha256(body).digest() if hashed else b"")


def app(board="WiPy", release="1.20.1.r1", git="v1.8.6-849-b0520f1", date="2018-08-29"):
    names = f"{board} with ESP32\0{git} on {date}\0{release}\0".encode()
    text = b"\0" * 0x2000 + b"; WiPy with ESP32\r\n\0" + names + b"\0" * 100
    return image(((0x3F400020, text), (0x40080000, b"code" * 500)))


def partitions(otadata=0x1FF000, ota_0=0x210000):
    def entry(kind, subtype, offset, size, label):
        return struct.pack("<BBBBII16sI", 0xAA, 0x50, kind, subtype, offset, size, label, 0)

    table = entry(1, 2, 0x9000, 0x7000, b"nvs") + entry(0, 0, 0x10000, 0x1EF000, b"factory")
    table += entry(1, 0, otadata, 0x1000, b"otadata") + entry(0, 0x10, ota_0, 0x1EF000, b"ota_0")
    return table + b"\xff" * (0xC00 - len(table))


def selector(active):
    words = struct.pack("<IIIII", active, 1, 0, 1220160, 0) + b"\xff" * 16
    return words + struct.pack("<I", zlib.crc32(words, 0xFFFFFFFF))


def install(flash_path, factory=None, ota_0=None, active=None):
    flash = bytearray(b"\xff" * 8 * MB)
    for offset, data in ((0x1000, image()), (0x8000, partitions()), (0x10000, factory), (0x210000, ota_0)):
        if data:
            flash[offset : offset + len(data)] = data
    if active is not None:
        flash[0x1FF000 : 0x1FF000 + 40] = selector(active)
    flash_path.write_bytes(flash)


def install_and_reset(board, **what):
    """The flash file is the flash: change it under the running board, then press reset."""
    with open(board.flash_path, "r+b") as f:
        other = board.dir / "new.flash"
        install(other, **what)
        f.write(other.read_bytes())
    board.ask("reset")


# ---- boot ------------------------------------------------------------


def test_boot_log_with_and_without_jumper():
    with Board() as board:
        board.open()
        board.ask("jumper on")
        board.ask("reset")
        log = (
            b"ets Jun  8 2016 00:22:57\r\n\r\n"
            b"rst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))\r\n"
            b"waiting for download\r\n"
        )
        assert board.read_until(b"waiting for download\r\n").endswith(log)
        board.wait_state("download")
        board.ask("jumper off")
        assert board.status()["state"] == "download"
        board.ask("reset")
        board.read_until(b"boot:0x13 (SPI_FAST_FLASH_BOOT)\r\nflash read err, 1000")
        board.read_until(b"rst:0x10 (RTCWDT_RTC_RESET),boot:0x13")
        # the watchdog's reset samples the straps again
        board.ask("jumper on")
        board.read_until(b"rst:0x10 (RTCWDT_RTC_RESET),boot:0x3")
        board.wait_state("download")
        board.ask("set no-tx-log on")
        board.ask("reset")
        board.read_quiet()
        board.wait_state("download")
        board.sync()


def test_reset_lines():
    with Board("--fast") as board:
        board.open()
        for lines in ("0 0", "1 1", "0 1"):
            board.ask(f"lines {lines}")
        assert board.status()["state"] == "held"
        board.ask("lines 1 0")
        board.wait_state("download")
        board.ask("lines 0 0")
        assert board.status()["state"] == "download"
        # classic order, line by line: EN rises before GPIO0 falls, but slowly
        for lines in ("0 0", "0 1", "1 1", "1 0"):
            board.ask(f"lines {lines}")
        board.wait_state("download")
        for lines in ("0 0", "0 1", "0 0"):
            board.ask(f"lines {lines}")
        board.wait_for(lambda s: s["state"] == "booting")


def test_firmware_that_the_flash_holds_runs():
    with Board("--fast") as board:
        board.open()
        install_and_reset(board, factory=app(release="1.18.1.r1"), ota_0=app(release="1.20.2.r4"), active=1)
        board.read_until(b"entry 0x40080000\r\n")
        board.read_until(b"Pycom MicroPython 1.20.2.r4 [v1.8.6-849-b0520f1] on 2018-08-29; WiPy with ESP32\r\n")
        board.read_until(b'Type "help()" for more information.\r\n>>> ')
        assert board.status()["state"] == "running" and board.status()["boots"] == 1
        # a bad selector: factory, and the bootloader writes its own
        install_and_reset(board, factory=app(release="1.18.1.r1"), ota_0=app(release="1.20.2.r4"))
        board.read_until(b"Pycom MicroPython 1.18.1.r1 ")
        words = board.flash_path.read_bytes()[0x1FF000 : 0x1FF000 + 40]
        assert words[:8] == bytes.fromhex("0000000001000000")
        assert struct.unpack_from("<I", words, 36)[0] == zlib.crc32(words[:36], 0xFFFFFFFF)
        # a broken app
        bad = bytearray(app())
        bad[300] ^= 1
        install_and_reset(board, factory=bytes(bad))
        board.read_until(b"Cannot load Firmware img in the active partition")
        assert board.status()["state"] == "halted"


def test_selector_example():
    assert selector(0).hex() == "00000000010000000000000040" + "9e1200" + "00000000" + "ff" * 16 + "1e8bc39b"


def test_repl():
    uname = (
        b"(sysname='WiPy', nodename='WiPy', release='1.20.1.r1', version='v1.8.6-849-b0520f1 on 2018-08-29', "
        b"machine='WiPy with ESP32')\r\n"
    )
    with Board("--fast") as board:
        board.open()
        install_and_reset(board, factory=app())
        board.read_until(b">>> ")
        board.write(b"\x02")
        board.read_until(b"\r\nPycom MicroPython 1.20.1.r1 ")
        board.read_until(b">>> ")
        board.write(b"import uos;print(uos.uname())\r")
        assert board.read_until(b">>> ") == b"import uos;print(uos.uname())\r\n" + uname + b">>> "
        board.write(b"\x03")
        board.read_until(b"\r\n>>> ")
        board.write(b"\x01")
        board.read_until(b"raw REPL; CTRL-B to exit\r\n>")
        board.write(b"import uos;print(uos.uname())\x04")
        assert board.read_until(b"\x04>") == b"OK" + uname + b"\x04\x04>"
        board.write(b"\x02")
        board.read_until(b">>> ")
        board.write(b"\x06")
        board.read_until(b"rst:0xc (SW_CPU_RESET)")
        board.read_until(b">>> ")
        assert board.status()["ctrl_f"] == 1
        board.ask("set main-py endless")
        board.ask("reset")
        board.read_until(b"entry 0x40080000\r\n")
        assert board.read_quiet() == b"" and board.status()["state"] == "running"
        board.write(b"x\x03")
        board.read_until(b"KeyboardInterrupt")


def test_basic_after_flash_end():
    with loader("--fast") as board:
        write_plain(board, 0x10000, b"\0" * 0x400)
        board.good(packet(0x04, struct.pack("<I", 1)))
        board.wait_state("basic")
        board.write(b"A\x08\0B")
        assert board.read_quiet() == b"A\x08 \x08B"
    with loader("--fast") as board:
        write_plain(board, 0x10000, b"\0" * 0x400)
        board.ask("jumper off")
        board.good(packet(0x04, struct.pack("<I", 0)))
        board.read_until(b"boot:0x3 ")  # straps are not sampled again
        board.wait_state("download")


# ---- plugging ------------------------------------------------------------


def test_unplug_and_plug():
    with loader("--fast") as board:
        board.ask("unplug")
        assert not board.tty_path.is_symlink()
        try:
            os.write(board.fd, b"x")
            raise AssertionError("write after unplug worked")
        except OSError:
            pass
        try:
            assert os.read(board.fd, 1) == b""
        except OSError:
            pass
        board.close()
        assert board.status()["state"] == "off"
        board.ask("plug")
        board.open()
        board.wait_state("download")
        board.sync()
        assert board.status()["resets"] == 2


def test_closed_port_keeps_nothing():
    with Board("--boot-strap", "download") as board:
        board.wait_state("download")
        assert not board.status()["host_open"]
        board.open()
        assert board.read_quiet(0.05) == b""  # the log came while nobody listened
        board.ask("reset")
        board.wait_state("download")
        board.close()
        board.wait_for(lambda s: not s["host_open"])
        board.open()
        assert board.read_quiet(0.05) == b""
        assert termios.tcgetattr(board.fd)[4] != 0


def test_counts_of_sync_and_other_bytes():
    with Board("--fast") as board:
        board.open()
        before = board.status()
        for _ in range(3):
            board.send(packet(0x08, SYNC_DATA))
        status = board.wait_for(lambda s: s["syncs"] - before["syncs"] == 3)
        assert status["non_sync_bytes"] == 0
        board.write(b"abc")
        board.wait_for(lambda s: s["non_sync_bytes"] == 3)


def test_idle_board_does_not_wake():
    with loader() as board:
        time.sleep(0.1)

        def wakes():
            with open(f"/proc/{board.process.pid}/status") as f:
                return sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)

        before = wakes()
        time.sleep(0.5)
        assert wakes() - before <= 1
