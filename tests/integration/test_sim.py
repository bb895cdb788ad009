"""The simulated board's own promises: the wire, the flash, the loader, and the faults that it can be told to have."""
import hashlib
import os
import random
import struct
import time
import zlib

from harness import quiet
from simboard import SYNC_DATA, SYNC_REPLY, Board, block, download, loader, packet, slip, write_plain

FLASH_BEGIN, FLASH_DATA, DEFL_BEGIN, DEFL_DATA = 0x02, 0x03, 0x10, 0x11
MB = 1024 * 1024


# ---- wire ------------------------------------------------------------


def again_if_slow(test):
    """A busy machine can make one measurement late, but not three."""

    def measured():
        for attempt in range(3):
            try:
                return test()
            except AssertionError:
                if attempt == 2:
                    raise

    measured.__name__, measured.__doc__ = test.__name__, test.__doc__
    return quiet(measured)


@again_if_slow
def test_pacing_of_20_kb_to_the_chip():
    """MEM_DATA packets of 0x1800: nothing but wire time, and each must be acknowledged."""
    with loader() as board:
        for baud, count in ((115200, 4), (921600, 16)):
            if baud != 115200:
                board.change_baud(baud)
            data = b"\x5a" * 0x1800
            board.good(packet(0x05, struct.pack("<IIII", len(data) * count, count, 0x1800, 0x3FFB0000)))
            started = time.monotonic()
            wire_bytes = 0
            for i in range(count):
                frame = block(0x07, i, data)
                board.good(frame)
                wire_bytes += len(slip(frame)) + 14
            took = time.monotonic() - started
            ideal = wire_bytes * 10 / baud
            assert ideal * 0.99 < took < ideal * 1.02 + 0.0015 * count, f"{baud}: {took:.4f} s for {ideal:.4f} s"


@again_if_slow
def test_pacing_without_replies_is_exact():
    """20 KB in one stretch at a running board: the last byte has arrived within 1 % of its time."""
    with Board() as board:
        board.wait_state("booting")
        board.open()
        before = board.status()["rx_bytes"]
        started = time.monotonic()
        board.write(b"\0" * 20000)
        board.wait_for(lambda s: s["rx_bytes"] - before == 20000, 10)
        took = time.monotonic() - started
        ideal = 20000 * 10 / 115200
        assert ideal * 0.995 < took < ideal * 1.01 + 0.01, f"{took:.4f} s for {ideal:.4f} s"


@again_if_slow
def test_pacing_to_the_host():
    with loader() as board:
        started = time.monotonic()
        count = 40
        for _ in range(count):
            board.good(packet(0x0E, struct.pack("<II", 0, 64)))
        took = time.monotonic() - started
        ideal = count * (18 + 78) * 10 / 115200
        assert ideal * 0.99 < took < ideal * 1.05 + 0.001 * count, f"{took:.4f} s for {ideal:.4f} s"


def test_host_gets_back_pressure():
    with loader() as board:
        taken = 0
        try:
            while taken < 200000:
                taken += os.write(board.fd, b"\0" * 4096)
        except BlockingIOError:
            pass
        assert taken < 40000, f"{taken} bytes went into the queue at once"


def test_wrong_rate_garbles_both_ways():
    with loader("--fast") as board:
        before = board.status()
        board.set_baud(57600)
        board.send(packet(0x0A, struct.pack("<I", 0x40001000)))
        assert board.frame(0.2) is None
        assert board.status()["rx_garbled"] > before["rx_garbled"]
        assert board.status()["frames"] == before["frames"]
        board.set_baud(115200)
        board.sync()
        assert board.read_reg(0x40001000) == 0x00F01D83


def test_autobaud_takes_230400_but_not_460800():
    for baud, answers in ((230400, True), (460800, False)):
        with download("--fast") as board:
            board.set_baud(baud)
            board.send(packet(0x08, SYNC_DATA))
            assert (board.frame(0.3) is not None) == answers, baud


def test_rom_baud_change_needs_the_correction():
    with loader("--fast") as board:
        board.change_baud(921600)
        assert board.read_reg(0x40001000) == 0x00F01D83
        assert abs(board.status()["baud"] - 921600) < 921600 * 0.005
    with loader("--fast") as board:
        board.good(packet(0x0F, struct.pack("<II", 921600, 0)))
        time.sleep(0.02)
        assert abs(board.status()["baud"] - 921600) > 921600 * 0.03


def test_baud_settings():
    with loader("--fast") as board:
        board.ask("set ignore-baud on")
        board.good(packet(0x0F, struct.pack("<II", 460800, 0)))
        time.sleep(0.02)
        assert board.status()["baud"] == 115200
        board.ask("set ignore-baud off")
        board.ask("set baud-fail 460800 on")
        board.change_baud(460800)
        board.send(packet(0x0A, struct.pack("<I", 0x40001000)))
        assert board.frame(0.2) is None


def test_noise_from_a_rate_on():
    """By the agreed rate and not by the pace: also with --fast."""
    for noise in "flip-rate 1", "drop-rate 1":
        with loader("--fast") as board:
            board.ask(f"set {noise}")
            board.ask("set noise-from 460800")
            board.change_baud(230400)
            assert board.read_reg(0x40001000) == 0x00F01D83
            board.change_baud(460800)
            board.send(packet(0x0A, struct.pack("<I", 0x40001000)))
            assert board.frame(0.2) is None, noise


def test_noise_counts_and_seed():
    """Equal seeds hit equal places; about as many bytes as the chance says."""
    counts = []
    for seed in 1, 1, 2:
        with loader("--fast") as board:
            board.ask("set drop-rate 0.01")
            board.ask(f"set seed {seed}")
            board.write(b"\0" * 5000)
            board.wait_for(lambda status: status["bytes_received"] >= 5000)
            counts.append((board.status()["noise_drops"], board.status()["rx_bytes"]))
    assert counts[0] == counts[1], counts
    assert all(20 < drops < 100 for drops, _ in counts), counts


def test_noise_stalls():
    with loader("--fast") as board:
        board.read_reg(0x40001000)
        board.ask("set stall-rate 1 20")
        began = time.monotonic()
        assert board.read_reg(0x40001000) == 0x00F01D83
        took = time.monotonic() - began
        assert took > 0.02 * 14, f"{took:.3f} s"  # a frame of 14 bytes, each 20 ms late
        assert board.status()["noise_stalls"] >= 14


def test_busy_chip_keeps_128_bytes():
    with loader("--timings", "sector_us=200000") as board:
        board.send(packet(FLASH_BEGIN, struct.pack("<IIII", 0x1000, 4, 0x400, 0x10000)))
        board.write(b"\0" * 600)
        assert board.frame(2)[1] == FLASH_BEGIN
        lost = board.status()["rx_lost"]
        assert 440 <= lost <= 472 + 4, lost


def test_same_seed_same_garbage():
    seen = []
    for _ in range(2):
        with loader("--fast") as board:
            board.ask("set seed 7")
            board.ask("fault on=READ_REG do=noise,40")
            board.send(packet(0x0A, struct.pack("<I", 0x40001000)))
            seen.append(board.read_quiet())
    assert seen[0] == seen[1] and len(seen[0]) == 54


def test_flip_rate():
    with loader("--fast") as board:
        board.ask("set flip-rate 0.05")
        for _ in range(10):
            board.write(slip(packet(0x0A, struct.pack("<I", 0x40001000))))
        board.read_quiet()
        assert board.status()["rx_garbled"] > 0


# ---- flash ------------------------------------------------------------


def test_erase_and_program_semantics():
    with loader("--fast") as board:
        write_plain(board, 0x10000, b"\x0f" * 0x2000)
        flash = board.flash_path.read_bytes()
        assert flash[0xF000:0x13000] == b"\xff" * 0x1000 + b"\x0f" * 0x2000 + b"\xff" * 0x1000
        # no erase (size 0): bits are only cleared
        assert board.begin(0x10000, 0, 1, 0x400).status == 0
        board.good(block(FLASH_DATA, 0, b"\xf3" * 0x400))
        flash = board.flash_path.read_bytes()
        assert flash[0x10000:0x10800] == b"\x03" * 0x400 + b"\x0f" * 0x400
        # one byte of size erases its sector and no other
        assert board.begin(0x11000, 1, 1, 0x400).status == 0
        flash = board.flash_path.read_bytes()
        assert flash[0x11000:0x12000] == b"\xff" * 0x1000
        assert flash[0x10000:0x10800] == b"\x03" * 0x400 + b"\x0f" * 0x400
        assert board.md5(0x10000, 0x2000) == hashlib.md5(flash[0x10000:0x12000]).hexdigest()
        status = board.status()
        assert status["sectors_erased"] == 3 and status["pages_programmed"] == 36
        assert status["erase_us"] == 3 * 45000 and status["program_us"] == 36 * 600


def test_deflate_write():
    with loader("--fast") as board:
        data = random.Random(1).randbytes(30000) + bytes(70000)
        packed = zlib.compress(data, 9)
        blocks = [packed[i : i + 0x1800] for i in range(0, len(packed), 0x1800)]
        assert board.begin(0x3A0000, 102400, len(blocks), 0x1800, DEFL_BEGIN).status == 0
        for i, part in enumerate(blocks):
            board.good(block(DEFL_DATA, i, part))
        assert board.flash_path.read_bytes()[0x3A0000 : 0x3A0000 + 102400] == data + b"\xff" * 2400


@again_if_slow
def test_chip_time_is_charged():
    with loader() as board:
        started = time.monotonic()
        assert board.begin(0x10000, 0x5000, 1, 0x1800).status == 0
        erase = time.monotonic() - started
        assert 0.225 <= erase < 0.260, erase
        started = time.monotonic()
        board.good(block(FLASH_DATA, 0, b"\xff" * 0x1800))
        program = time.monotonic() - started
        wire = (0x1800 + 26 + 14) * 10 / 115200
        assert wire + 24 * 600e-6 <= program < wire + 24 * 600e-6 + 0.02, program
        started = time.monotonic()
        board.md5(0, 512 * 1024)
        digest = time.monotonic() - started
        assert 0.2 < digest < 0.23, digest


def test_limits_of_begin():
    with download("--fast") as board:
        board.sync()
        assert (board.begin(0x10000, 0x1000, 1, 0x400).error) == 0x06  # no SPI_ATTACH
        board.good(packet(0x0D, bytes(8)))
        assert board.begin(0x200000, 0x1000, 1, 0x400).error == 0x06  # 2 MiB without SPI_SET_PARAMS
        board.attach(8 * MB)
        assert board.begin(0x200000, 0x1000, 1, 0x400).status == 0
        assert board.begin(0x800000, 0x1000, 1, 0x400).error == 0x06
        assert board.begin(0x1001, 0x1000, 1, 0x400).error == 0x06
        assert board.begin(0x1000, 0x1000, 1, 0x1801).error == 0x05
        board.ask("set max-block 0x400")
        assert board.begin(0x1000, 0x1000, 1, 0x800).error == 0x05
        assert board.begin(0x1000, 0x1000, 1, 0x400).status == 0


def test_packet_counting():
    with loader("--fast") as board:
        assert board.begin(0x10000, 0x1000, 4, 0x400).status == 0
        board.good(block(FLASH_DATA, 0, b"\0" * 0x400))
        assert board.command(block(FLASH_DATA, 0, b"\0" * 0x400)).error == 0x05
        assert board.command(block(FLASH_DATA, 2, b"\0" * 0x400)).error == 0x05
        assert board.command(block(FLASH_DATA, 1, b"\x01" * 0x400, check=0)).error == 0x07
        assert board.command(block(FLASH_DATA, 1, b"\x01" * 0x400)).error == 0x05
        board.good(block(FLASH_DATA, 2, b"\x02" * 0x400))
        board.good(block(FLASH_DATA, 3, b"\x03" * 0x400))
        assert board.command(block(FLASH_DATA, 4, b"\x04" * 0x400)).error == 0x05


def test_half_a_packet_then_sync():
    with loader("--fast") as board:
        assert board.begin(0x10000, 0x1000, 4, 0x400).status == 0
        board.write(slip(block(FLASH_DATA, 0, b"\x11" * 0x400))[:500])
        for _ in range(3):
            board.send(packet(0x08, SYNC_DATA))
            time.sleep(0.02)
        assert board.read_quiet().count(SYNC_REPLY) >= 8
        assert board.read_reg(0x40001000) == 0x00F01D83


def test_write_protect_succeeds_and_changes_nothing():
    with loader("--fast") as board:
        board.ask("set write-protect on")
        write_plain(board, 0x10000, b"\x55" * 0x400)
        assert board.flash_path.read_bytes()[0x10000:0x10400] == b"\xff" * 0x400
        board.ask("set write-protect off")
        write_plain(board, 0x10000, b"\x55" * 0x400)
        assert board.flash_path.read_bytes()[0x10000:0x10400] == b"\x55" * 0x400


def test_power_cut_in_the_middle_of_an_erase():
    with loader() as board:
        board.ask("fault on=FLASH_BEGIN,moment=busy do=power-cut")
        with open(board.flash_path, "r+b") as f:
            f.seek(0x10000)
            f.write(b"\0" * 0x10000)
        board.send(packet(FLASH_BEGIN, struct.pack("<IIII", 0x10000, 1, 0x400, 0x10000)))
        board.wait_for(lambda s: s["resets"] == 2)
        flash = board.flash_path.read_bytes()[0x10000:0x20000]
        assert flash == b"\xff" * 0x8000 + b"\0" * 0x8000


# ---- identity ------------------------------------------------------------


def test_identity_of_both_boards():
    for option, size, revision, capacity in (("8M", 8 * MB, 1, 0x17), ("4M", 4 * MB, 0, 0x16)):
        with download("--fast", "--flash-size", option, "--mac", "24:0a:c4:11:22:33") as board:
            board.sync()
            assert board.flash_path.stat().st_size == size
            assert board.read_reg(0x3FF5A004) == 0xC4112233
            high = board.read_reg(0x3FF5A008)
            assert high & 0xFFFF == 0x240A and high >> 16 != 0
            assert board.read_reg(0x3FF5A00C) >> 15 & 1 == revision
            assert board.read_reg(0x3FF6607C) >> 31 == 0
            rdid = ((0x2C, 23), (0x1C, 0x90000000), (0x24, 0x7000009F), (0x80, 0), (0x00, 1 << 18))
            for address, value in rdid:
                board.good(packet(0x09, struct.pack("<IIII", 0x3FF42000 + address, value, 0xFFFFFFFF, 0)))
            assert board.read_reg(0x3FF42000) & 1 << 18 == 0
            assert board.read_reg(0x3FF42080) >> 16 == capacity


def test_efuse_magic_and_flash_id():
    with download("--fast", "--efuse", "6=0x10", "--efuse", "0=0x100000") as board:
        board.sync()
        assert board.read_reg(0x3FF5A018) == 0x10 and board.read_reg(0x3FF5A000) == 0x100000
        board.ask("set magic fff0c101")
        assert board.read_reg(0x40001000) == 0xFFF0C101


def test_config_block_of_an_8_mb_board_is_kept():
    with loader("--fast") as board:
        with open(board.flash_path, "r+b") as f:
            f.seek(0x3FF000)
            f.write(b"config" * 100)
        write_plain(board, 0x3FE000, b"\x77" * 0x1000)
        write_plain(board, 0x400000, b"\x88" * 0x1000)
        flash = board.flash_path.read_bytes()
        assert flash[0x3FF000:0x400000] == b"config" * 100 + b"\xff" * (0x1000 - 600)
        assert flash[0x400000:0x401000] == b"\x88" * 0x1000 and len(flash) == 8 * MB


# ---- faults ------------------------------------------------------------


def test_reply_faults():
    magic = packet(0x0A, struct.pack("<I", 0x40001000))
    plain = bytes.fromhex("c0010a0400831df00000000000c0")
    with loader("--fast") as board:
        for fault, check in (
            ("do=drop-reply", lambda r: r == b""),
            ("do=duplicate-reply", lambda r: r == plain + plain),
            ("do=truncate-reply", lambda r: r == plain[:7]),
            ("do=garble-reply", lambda r: r != plain and 14 <= len(r) <= 15),
            ("do=noise,5", lambda r: len(r) == 19 and r.endswith(plain)),
            ("do=refuse,07", lambda r: b"\x01\x07" in r),
        ):
            board.ask(f"fault on=READ_REG {fault}")
            board.send(magic)
            got = board.read_quiet(0.05)
            assert check(got), f"{fault}: {got.hex()}"
            board.send(magic)
            got = board.read_quiet(0.05)
            assert got == plain, f"after {fault}: {got.hex()}"
            assert board.ask("faults") == ""


@again_if_slow
def test_delayed_reply():
    with loader("--fast") as board:
        board.ask("fault on=READ_REG do=delay-reply,300")
        started = time.monotonic()
        board.read_reg(0x40001000)
        assert 0.3 <= time.monotonic() - started < 0.4


def test_nth_and_times():
    with loader("--fast") as board:
        board.ask("fault on=READ_REG,nth=2,times=2 do=refuse,05")
        results = [board.command(packet(0x0A, struct.pack("<I", 0x40001000))).status for _ in range(5)]
        assert results == [0, 1, 1, 0, 0]


def test_garbled_request_and_lost_bytes():
    with loader("--fast") as board:
        assert board.begin(0x10000, 0x1000, 4, 0x400).status == 0
        board.ask("fault on=FLASH_DATA do=garble-request")
        assert board.command(block(FLASH_DATA, 0, b"\0" * 0x400)).error == 0x07
        board.ask("fault on=FLASH_DATA do=lose-bytes,3")
        assert board.command(block(FLASH_DATA, 1, b"\0" * 0x400)).error == 0x05


def test_flash_faults():
    with loader("--fast") as board:
        board.ask("fault on=FLASH_DATA,nth=2 do=corrupt-flash")
        write_plain(board, 0x10000, b"\x5a" * 0x1000)
        wrong = [b for b in board.flash_path.read_bytes()[0x10400:0x10800] if b != 0x5A]
        assert len(wrong) == 1 and bin(wrong[0] ^ 0x5A).count("1") == 1
        board.ask("fault on=FLASH_DATA do=touch-config")
        write_plain(board, 0x20000, b"\x5a" * 0x400)
        assert board.flash_path.read_bytes()[0x3FF000] == 0xFE


def test_whole_board_faults_at_each_moment():
    data = block(FLASH_DATA, 0, b"\0" * 0x400)
    for moment in ("request", "mid-frame", "busy", "reply"):
        for action in ("reset", "unplug", "silence", "brownout", "power-cut"):
            with loader("--fast") as board:
                where = f"{moment} {action}"
                assert board.begin(0x10000, 0x1000, 4, 0x400).status == 0
                board.ask(f"fault on=FLASH_DATA,moment={moment} do={action}")
                try:
                    board.send(data)
                    got = board.read_quiet(0.05)
                except OSError:
                    assert action == "unplug", where
                    got = b""
                status = board.status()
                assert status["faults_pending"] == 0, where
                if action != "unplug":
                    assert (b"\x01\x03\x04\x00" in got) == (moment == "reply"), where
                if action == "unplug":
                    assert status["state"] == "off" and not status["plugged"], where
                elif action == "silence":
                    assert status["mute"], where
                    board.ask("reset")
                    board.wait_for(lambda s: s["resets"] == 2 and s["state"] == "download" and not s["mute"])
                elif action == "brownout":
                    assert b"Brownout detector was triggered" in got, where
                    board.wait_for(lambda s: s["resets"] == 4 and s["state"] == "download")
                else:
                    assert status["resets"] == 2 and b"waiting for download" in got, where


def test_bad_fault_is_refused():
    with Board("--fast") as board:
        for text in (
            "on=READ_REG",
            "do=explode",
            "do=refuse",
            "on=NOPE do=reset",
            "do=drop-reply,3",
            "moment=busy do=drop-reply",
        ):
            assert board.try_ask(f"fault {text}").startswith("error"), text
        assert board.try_ask("nonsense").startswith("error")


def test_dead_lines():
    with loader("--fast") as board:
        board.ask("set rx-dead on")
        board.send(packet(0x0A, struct.pack("<I", 0x40001000)))
        assert board.frame(0.1) is None
        board.ask("reset")
        board.read_until(b"waiting for download\r\n")
        board.ask("set rx-dead off")
        board.ask("set tx-dead on")
        board.ask("reset")
        assert board.read_quiet() == b""
