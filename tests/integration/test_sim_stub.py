"""The simulated chip under an uploaded stub: what it answers, when it writes, and where the two lines differ."""
import hashlib
import random
import struct
import time
import zlib

from harness import SLOWNESS
from simboard import SYNC_DATA, block, packet, slip
from simstub import BLOCK, Stub, lines, stub_file
from test_sim import again_if_slow

FLASH_BEGIN, FLASH_DATA, FLASH_END, MEM_BEGIN, MEM_DATA, SYNC, READ_REG = 0x02, 0x03, 0x04, 0x05, 0x07, 0x08, 0x0A
SPI_ATTACH, CHANGE_BAUDRATE, DEFL_BEGIN, DEFL_DATA, DEFL_END, MD5 = 0x0D, 0x0F, 0x10, 0x11, 0x12, 0x13
ERASE_FLASH, ERASE_REGION, READ_FLASH = 0xD0, 0xD1, 0xD2
MAGIC = packet(READ_REG, struct.pack("<I", 0x40001000))
KIB64 = 0x10000


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def flash(stub, offset, size):
    return stub.board.flash_path.read_bytes()[offset : offset + size]


def begin(opcode, offset, size, blocks, block_size=BLOCK):
    return packet(opcode, struct.pack("<IIII", size, blocks, block_size, offset))


# ---- starting --------------------------------------------------------------------------------------


def test_upload_starts_the_stub():
    for line in lines():
        with Stub(line, "--fast") as stub:
            status = stub.board.status()
            assert (status["state"], status["loader"]) == ("download", f"stub-{line}"), status
            assert stub.read_reg(0x40001000) == 0x00F01D83
            stub.board.ask("reset")
            assert stub.board.wait_state("download")["loader"] == "rom"


def test_another_upload_is_unknown_code():
    """One bit of the text, one of the data, the data missing: the chip jumps to what nobody knows."""
    changes = {
        "text": lambda name, data: bytes([data[0] ^ 1]) + data[1:] if name == "text" else data,
        "data": lambda name, data: data[:-1] + bytes([data[-1] ^ 0x80]) if name == "data" else data,
        "short": lambda name, data: data[:-4] if name == "data" else data,
    }
    for line in lines():
        for name, change in changes.items():
            with Stub(line, "--fast", start=False) as stub:
                stub.upload(change)
                assert stub.board.wait_state("ram-code")["loader"] == "", name
                assert not stub.greeted(0.1), name


def test_reset_forgets_what_was_uploaded():
    for line in lines():
        with Stub(line, "--fast") as stub:
            stub.board.ask("reset")
            stub.board.wait_state("download")
            stub.board.read_quiet(0.05)
            stub.board.sync()
            stub.board.send(packet(0x06, struct.pack("<II", 0, stub.json["entry"])))
            stub.board.wait_state("ram-code")


def test_no_greeting_and_lost_reply_to_the_jump():
    for line in lines():
        with Stub(line, "--fast", start=False) as stub:
            stub.board.ask("set stub-no-ohai on")
            stub.upload()
            stub.board.wait_state("ram-code")
            assert not stub.greeted(0.2)
        with Stub(line, "--fast", start=False) as stub:
            stub.board.ask("set stub-lost-mem-end on")
            stub.upload()
            assert stub.board.frame(3.0) == b"OHAI"
            assert stub.read_reg(0x40001000) == 0x00F01D83
        with Stub(line, "--fast", start=False) as stub:
            stub.upload()
            assert stub.board.frame(3.0)[1] == 0x06, "without the setting the reply comes before OHAI"


def test_resident_stub_is_not_overwritten():
    for line in lines():
        with Stub(line, "--fast") as stub:
            at = stub.json["text_start"]
            for start, size, refused in ((at, 4, True), (at - 0x100, 0x101, True), (at - 0x100, 0x100, False)):
                answer = stub.command(packet(MEM_BEGIN, struct.pack("<IIII", size, 1, 0x1800, start)))
                assert (answer.error == 0xC0) == refused, (hex(start), size, answer.frame.hex())


# ---- answers ---------------------------------------------------------------------------------------


def test_sync_has_value_0_and_eight_replies():
    for line in lines():
        with Stub(line, "--fast") as stub:
            stub.board.send(packet(SYNC, SYNC_DATA))
            frames = [stub.board.frame(2.0) for _ in range(8)]
            assert frames == [bytes.fromhex("01080200000000000000")] * 8, frames
            assert stub.board.frame(0.1) is None


def test_lengths_and_unknown_commands():
    unknown = {"new": 0xC3, "legacy": 0xFF}
    for line in lines():
        with Stub(line, "--fast") as stub:
            assert stub.good(packet(SPI_ATTACH, bytes(4))).frame == bytes.fromhex("010d0200000000000000")
            assert stub.command(packet(SPI_ATTACH, bytes(8))).error in (0xC0, 0x01)
            assert stub.command(packet(0x0E, bytes(8))).error == unknown[line]
            assert stub.command(packet(0x77)).error == unknown[line]
            assert stub.command(packet(READ_REG, bytes(8))).error == 0xC0
            assert stub.command(packet(MD5, bytes(8))).error in (0xC0, 0x01)
            assert stub.command(begin(FLASH_BEGIN, 0, 4, 1) + b"\0").error == 0xC0 or line == "legacy"
            assert stub.good(MAGIC).value == 0x00F01D83


def test_attach_of_eight_bytes():
    with Stub("new", "--fast") as stub:
        assert stub.command(packet(SPI_ATTACH, bytes(8))).error == 0xC0


def test_md5_is_raw_and_flash_beyond_the_size_fails():
    for line in lines():
        with Stub(line, "--fast", size=0x400000) as stub:
            assert stub.md5(0, 0x1003) == hashlib.md5(b"\xff" * 0x1003).digest()
            assert stub.command(packet(MD5, struct.pack("<IIII", 0x3FFFFC, 8, 0, 0))).error == {
                "new": 0xC4, "legacy": 0x01}[line]


def test_baud_change():
    for line in lines():
        with Stub(line, "--fast") as stub:
            stub.set_baud(921600)
            assert stub.board.status()["baud"] == 921600
            stub.set_baud(2000000, 921600)
            assert stub.read_reg(0x40001000) == 0x00F01D83
    with Stub(lines()[-1], "--fast") as stub:
        # The second word counts for the legacy line only.
        stub.good(packet(CHANGE_BAUDRATE, struct.pack("<II", 921600, 460800)))
        time.sleep(0.02)
        assert stub.board.status()["baud"] == (921600 if stub.line == "new" else 115200 * 2)


# ---- writing ---------------------------------------------------------------------------------------


def test_plain_and_packed_writes():
    for line in lines():
        with Stub(line, "--fast") as stub:
            for seed, write in enumerate((stub.write, stub.write_packed)):
                data = noise(150001, seed) + bytes(90000)
                stub.board.flash_path.write_bytes(b"\0" * 0x800000)
                assert write(0x11000, data).error == 0
                assert stub.md5(0x11000, len(data)) == hashlib.md5(data).digest()
                assert flash(stub, 0x11000, len(data)) == data
                before, after = flash(stub, 0x10000, 0x1000), flash(stub, 0x11000 + len(data), 0x100)
                assert before == b"\0" * 0x1000 and after == b"\xff" * 0x100, "the last sector, and only it, is erased"


def test_padding_of_the_last_block_is_cut_off():
    for line in lines():
        with Stub(line, "--fast") as stub:
            assert stub.write(0, b"\x11" * 0x2000, size=0x1801).error == 0
            assert flash(stub, 0, 0x2000) == b"\x11" * 0x1801 + b"\xff" * 0x7FF


def test_short_packed_blocks_are_taken():
    """num_blocks x block_size is an upper bound, no promise."""
    for line in lines():
        with Stub(line, "--fast") as stub:
            data = noise(70000)
            assert stub.write_packed(0, data, step=1000).error == 0
            assert flash(stub, 0, len(data)) == data


def test_end_is_exact():
    for line in lines():
        missing = {"new": 0xC0, "legacy": 0xC8}[line]
        with Stub(line, "--fast") as stub:
            assert stub.end().error == 0xC6
            assert stub.end(DEFL_END).error == 0xC6
            assert stub.write(0, b"\x22" * 100, size=101).error == missing
            stub.begin(0, 100, 1)
            assert stub.end().error == missing
            stub.good(block(FLASH_DATA, 0, b"\x22" * 100))
            if line == "new":
                assert stub.command(packet(FLASH_END, struct.pack("<II", 1, 0))).error == 0xC0
            assert stub.end().error == 0
            assert stub.end().error == 0xC6


def test_end_with_flag_0():
    """The legacy stub resets, the new one goes on."""
    for line in lines():
        with Stub(line, "--fast") as stub:
            stub.begin(0, 4, 1)
            stub.good(block(FLASH_DATA, 0, b"1234"))
            resets = stub.board.status()["resets"]
            assert stub.end(flag=0).error == 0
            if line == "new":
                assert stub.read_reg(0x40001000) == 0x00F01D83
                assert stub.board.status()["resets"] == resets
            else:
                stub.board.wait_for(lambda s: s["resets"] == resets + 1 and s["loader"] == "rom")


def test_checksum_length_and_block_size():
    for line in lines():
        with Stub(line, "--fast") as stub:
            stub.begin(0, 100, 1)
            assert stub.command(block(FLASH_DATA, 0, bytes(100), check=0x55)).error == 0xC1
            head = struct.pack("<IIII", 99, 0, 0, 0)
            wrong = {"new": 0xC9, "legacy": 0xC0}[line]
            assert stub.command(packet(FLASH_DATA, head + bytes(100), 0xEF)).error in (wrong, 0xC1)
            assert stub.good(block(FLASH_DATA, 0, bytes(100))).error == 0, "a refused block may come again"
            assert stub.end().error == 0
            too_big = stub.command(begin(FLASH_BEGIN, 0, 0x8000, 1, 0x8000)).error
            assert too_big == {"new": 0, "legacy": 0xC2}[line]


def late_error(stub, error="c4"):
    """Two blocks, the first of which fails after its reply. Returns what block 2 says."""
    stub.board.ask(f"fault on=FLASH_DATA do=stub-write-error,{error}")
    stub.begin(0, 2 * BLOCK, 2)
    assert stub.command(block(FLASH_DATA, 0, b"\x33" * BLOCK)).error == 0, "a block's reply comes before its write"


def test_late_error_of_the_new_line_hits_the_next_command_of_any_kind():
    with Stub("new", "--fast") as stub:
        late_error(stub)
        answer = stub.command(packet(0x09, struct.pack("<IIII", 0x3FF5A0F0, 0x1234, 0xFFFFFFFF, 0)))
        assert (answer.opcode, answer.error) == (0x09, 0xC4)
        assert stub.read_reg(0x3FF5A0F0) == 0, "it was executed"
        assert stub.good(block(FLASH_DATA, 1, b"\x33" * BLOCK)), "and is forgotten"
        assert stub.end().error == 0xC0, "the first block is missing"


def test_late_error_of_the_legacy_line_sticks():
    if "legacy" not in lines():
        stub_file("legacy")
    with Stub("legacy", "--fast") as stub:
        late_error(stub)
        assert stub.read_reg(0x40001000) == 0x00F01D83, "other commands don't hear of it"
        for _ in range(2):
            assert stub.command(block(FLASH_DATA, 1, b"\x33" * BLOCK)).error == 0xC4
        assert flash(stub, 0, 4) == b"\xff" * 4
        stub.begin(0, 4, 1)
        stub.good(block(FLASH_DATA, 0, b"1234"))
        assert stub.end().error == 0, "BEGIN forgets it"


def test_errors_of_inflating_are_late():
    for line in lines():
        with Stub(line, "--fast") as stub:
            data = noise(3 * BLOCK)
            packed = bytearray(zlib.compress(data, 9))
            packed[2] = 0x07  # the first block of the stream is of a kind that doesn't exist
            stub.begin(0, len(data), 4, DEFL_BEGIN)
            assert stub.command(block(DEFL_DATA, 0, bytes(packed[:BLOCK]))).error == 0
            assert stub.command(block(DEFL_DATA, 1, bytes(packed[BLOCK : 2 * BLOCK]))).error == 0xC7
            assert stub.end(DEFL_END).error == {"new": 0xC0, "legacy": 0xC8}[line]
        with Stub(line, "--fast") as stub:
            packed = zlib.compress(b"x" * 100)
            stub.begin(0, 100, 1, DEFL_BEGIN)
            stub.good(block(DEFL_DATA, 0, packed[:-1] + bytes([packed[-1] ^ 1])))
            assert stub.end(DEFL_END).error == {"new": 0xC7, "legacy": 0xC8}[line], "wrong Adler-32"


def test_packed_data_reach_flash_by_full_32_kib():
    for line in lines():
        with Stub(line, "--fast") as stub:
            data = bytes(range(256)) * 240  # 60 KiB, next to nothing when packed
            packed = zlib.compress(data, 9)
            cut = len(packed) - 6
            stub.begin(0, len(data), 1, DEFL_BEGIN)
            stub.good(block(DEFL_DATA, 0, packed[:cut]))
            stub.read_reg(0x40001000)
            assert flash(stub, 0, 0x8000) == data[:0x8000]
            assert flash(stub, 0x8000, 0x7000) == b"\xff" * 0x7000
            stub.good(block(DEFL_DATA, 1, packed[cut:]))
            assert stub.end(DEFL_END).error == 0
            assert flash(stub, 0, len(data)) == data


def test_begin_over_an_abandoned_packed_write():
    """The new line starts afresh at block 0; the legacy one writes what was left over from the old stream first."""
    for line in lines():
        with Stub(line, "--fast") as stub:
            old, new = b"\x0f" * 3000, bytes(range(256)) * 32
            packed = zlib.compress(old)
            stub.begin(0, len(old), 1, DEFL_BEGIN)
            stub.good(block(DEFL_DATA, 0, packed[:-5]))
            answer = stub.write_packed(0x10000, new)
            is_right = flash(stub, 0x10000, len(new)) == new
            assert is_right == (line == "new"), answer.frame.hex()
            if line == "legacy":
                assert flash(stub, 0x10000, 100) == b"\x0f" * 100


# ---- time ------------------------------------------------------------------------------------------


def timed(what):
    started = time.monotonic()
    result = what()
    return time.monotonic() - started, result


SLOW_FLASH = "--timings=sector_us=20000,block_us=300000,page_us=2000"


@again_if_slow
def test_write_goes_on_while_the_next_block_arrives():
    """A block of 16 KiB takes 64 pages x 2 ms = 128 ms to program, and 178 ms at 921600 on the wire: the sum is not
    seen, and the barrier waits for the last block."""
    for line in lines():
        with Stub(line, SLOW_FLASH) as stub:
            stub.set_baud(921600)
            data = noise(BLOCK)
            stub.begin(0x1000, 2 * BLOCK, 2)
            wire = (len(slip(block(FLASH_DATA, 0, data))) + 12) * 10 / 921600
            chip = BLOCK / 256 * 0.002 + (0.1 if line == "legacy" else 0)
            first, _ = timed(lambda: stub.good(block(FLASH_DATA, 0, data)))
            second, _ = timed(lambda: stub.good(block(FLASH_DATA, 1, data)))
            end, answer = timed(stub.end)
            assert answer.error == 0
            assert first < wire + 0.03, f"{line}: the first reply waited {first:.3f} s"
            assert second < max(wire, chip) + 0.04, f"{line}: {second:.3f} s for {wire:.3f} on the wire"
            assert end > chip * 0.5, f"{line}: END came after {end:.3f} s, the last block needs {chip:.3f}"


@again_if_slow
def test_reply_waits_for_the_block_before():
    for line in lines():
        with Stub(line, "--timings=page_us=10000") as stub:
            stub.set_baud(921600)
            data = noise(BLOCK)
            stub.begin(0, 2 * BLOCK, 2)
            first, _ = timed(lambda: stub.good(block(FLASH_DATA, 0, data)))
            second, _ = timed(lambda: stub.good(block(FLASH_DATA, 1, data)))
            assert first < 0.3 and second > 0.6, f"{line}: {first:.3f} s, {second:.3f} s"


def test_erase_by_blocks_where_aligned():
    for line in lines():
        with Stub(line, "--fast", "--timings=sector_us=1000,block_us=1000000,page_us=0") as stub:
            dirty = b"\0" * 0x800000
            for offset, size, blocks, sectors in ((0, KIB64, 1, 0), (0x1000, KIB64, 0, 16), (0xF000, 2 * KIB64, 1, 16),
                                                 (KIB64, KIB64 - 0x1000, 0, 15)):
                stub.board.flash_path.write_bytes(dirty)
                before = stub.board.status()["erase_us"]
                assert stub.write(offset, b"\x44" * size).error == 0
                spent = stub.board.status()["erase_us"] - before
                assert spent == blocks * 1000000 + sectors * 1000, f"{line} {offset:#x} {size:#x}: {spent}"


def test_blank_sectors_are_skipped_by_the_new_line():
    with Stub("new", "--fast") as stub:
        def erased(dirty_from, dirty_to=0x800000):
            content = b"\xff" * dirty_from + b"\0" * (dirty_to - dirty_from) + b"\xff" * (0x800000 - dirty_to)
            stub.board.flash_path.write_bytes(content)
            before = stub.board.status()["sectors_erased"]
            assert stub.write(0, b"\x55" * 2 * KIB64).error == 0
            assert flash(stub, 0, 2 * KIB64) == b"\x55" * 2 * KIB64
            return stub.board.status()["sectors_erased"] - before

        assert erased(2 * KIB64) == 0
        assert erased(0) == 32
        assert erased(0x3000) == 29, "up to the first that isn't blank"
        assert erased(0x2000, 0x3000) == 30, "after that it looks no more"
    if "legacy" in lines():
        with Stub("legacy", "--fast") as stub:
            assert stub.write(0, b"\x55" * 2 * KIB64).error == 0
            assert stub.board.status()["sectors_erased"] == 32


def test_erase_region_and_chip():
    for line in lines():
        with Stub(line, "--fast") as stub:
            stub.board.flash_path.write_bytes(b"\0" * 0x800000)
            assert stub.command(packet(ERASE_REGION, struct.pack("<II", 0x1001, 0x1000))).error in (0xC0, 0x01)
            stub.good(packet(ERASE_REGION, struct.pack("<II", 0x1000, 0x20000)))
            assert flash(stub, 0, 0x22000) == b"\0" * 0x1000 + b"\xff" * 0x20000 + b"\0" * 0x1000
            status = stub.board.status()
            assert status["sectors_erased"] == 32
            assert abs(status["erase_us"] - (15 * 45000 + 150000 + 1 * 45000)) < 100, status["erase_us"]
            stub.good(packet(ERASE_FLASH))
            assert stub.board.flash_path.read_bytes() == b"\xff" * 0x800000


# ---- READ_FLASH ------------------------------------------------------------------------------------


def test_read_flash():
    for line in lines():
        with Stub(line, "--fast") as stub:
            content = noise(0x20000)
            stub.board.flash_path.write_bytes(content + b"\xff" * (0x800000 - len(content)))
            for offset, size, piece in ((0, 0x10000, 4096), (0x1234, 10001, 1000), (0x20, 5, 64)):
                data, digest = stub.read_flash(offset, size, piece)
                assert data == content[offset : offset + size]
                assert digest == hashlib.md5(data).digest()
            assert stub.read_reg(0x40001000) == 0x00F01D83, "the loader listens to commands again"


def test_read_flash_waits_for_each_acknowledgement():
    for line in lines():
        with Stub(line, "--fast") as stub:
            stub.good(packet(READ_FLASH, struct.pack("<IIII", 0, 8192, 4096, 64)))
            assert len(stub.board.frame(2.0)) == 4096
            assert stub.board.frame(0.2) is None, "the second packet came without an acknowledgement of the first"
            stub.board.send(b"12345")
            frame = stub.board.frame(2.0)
            assert frame == hashlib.md5(b"\xff" * 4096).digest(), "an acknowledgement of another length ends it"
            assert stub.read_reg(0x40001000) == 0x00F01D83


def test_faults_in_read_flash():
    for line in lines():
        with Stub(line, "--fast") as stub:
            stub.board.ask("fault on=READ_FLASH,nth=2 do=garble-reply")
            data, digest = stub.read_flash(0, 8192)
            assert data != b"\xff" * 8192 and digest == hashlib.md5(b"\xff" * 8192).digest()
            stub.board.ask("fault on=READ_FLASH,nth=2 do=unplug")
            stub.good(packet(READ_FLASH, struct.pack("<IIII", 0, 8192, 4096, 64)))
            stub.board.frame(2.0)
            try:
                stub.board.write(slip(struct.pack("<I", 4096)))
            except OSError:
                pass
            stub.board.wait_state("off")


# ---- the receiver ----------------------------------------------------------------------------------


def test_a_stray_delimiter_inverts_the_phase():
    """An empty pair leaves the receiver closed, one more C0 open: then every frame is between two, until one more."""
    with Stub("new", "--fast") as stub:
        stub.board.write(b"\xc0\xc0")
        assert not stub.silent(MAGIC)
        stub.board.write(b"\xc0")
        assert stub.silent(MAGIC), "C0 and C0 close nothing, what follows is outside"
        assert stub.silent(MAGIC)
        stub.board.write(b"\xc0")
        assert stub.good(MAGIC).value == 0x00F01D83


def test_half_a_frame_is_closed_by_one_delimiter():
    with Stub("new", "--fast") as stub:
        stub.board.write(slip(block(FLASH_DATA, 0, bytes(300)))[:200])
        stub.board.write(b"\xc0")
        frame = stub.board.frame(2.0)
        assert frame[1] == FLASH_DATA and frame[-2] == 0xC0, frame.hex()
        assert stub.good(MAGIC).value == 0x00F01D83


def test_bad_escape():
    for line in lines():
        with Stub(line, "--fast") as stub:
            stub.board.write(slip(MAGIC)[:-1] + b"\xdb\x01\xc0")
            if line == "new":
                assert stub.board.frame(0.2) is None
                assert stub.silent(MAGIC), "its closing C0 opened the next frame"
                stub.board.write(b"\xc0")
            else:
                assert stub.board.frame(2.0) is not None
            assert stub.good(MAGIC).value == 0x00F01D83


# ---- faults ----------------------------------------------------------------------------------------


def test_reply_faults_in_the_stub():
    for line in lines():
        with Stub(line, "--fast") as stub:
            for action, comes in (("drop-reply", 0), ("truncate-reply", 0), ("duplicate-reply", 2), ("refuse,c4", 1)):
                stub.board.ask(f"fault on=READ_REG do={action}")
                stub.board.send(MAGIC)
                frames = [f for f in (stub.board.frame(0.3) for _ in range(comes + 1)) if f]
                assert len(frames) == comes, (action, frames)
                assert (frames and frames[0][-2] or 0) == (0xC4 if action.startswith("refuse") else 0), action
                stub.board.read_quiet(0.02)


def test_power_is_cut_in_the_middle_of_a_blocks_write():
    """The reply has come, half of the block has not been written."""
    for line in lines():
        for pace in ((), ("--fast",)):
            with Stub(line, "--timings=page_us=3000", *pace) as stub:
                stub.board.ask("fault on=FLASH_DATA,moment=busy do=power-cut")
                stub.begin(0x100000, BLOCK, 1)
                assert stub.good(block(FLASH_DATA, 0, b"\x66" * BLOCK))
                stub.board.wait_for(lambda s: s["loader"] == "rom", 5 * SLOWNESS)
                written = flash(stub, 0x100000, BLOCK).count(b"\x66")
                assert 0 < written < BLOCK and written % 256 == 0, f"{line} {pace}: {written}"


def test_flash_is_corrupted_after_the_write():
    for line in lines():
        with Stub(line, "--fast") as stub:
            stub.board.ask("fault on=FLASH_DATA do=corrupt-flash")
            assert stub.write(0, b"\x77" * BLOCK).error == 0
            assert sum(a != 0x77 for a in flash(stub, 0, BLOCK)) == 1


def test_a_frame_too_many_is_lost():
    """One frame is received while a block is written; a second one finds no buffer."""
    for line in lines():
        with Stub(line, "--timings=page_us=3000") as stub:
            stub.begin(0, BLOCK, 1)
            stub.good(block(FLASH_DATA, 0, noise(BLOCK)))
            stub.board.send(MAGIC)
            stub.board.send(packet(READ_REG, struct.pack("<I", 0x3FF5A000)))
            assert stub.board.frame(3.0 * SLOWNESS) is not None
            assert stub.board.frame(0.2) is None
            assert stub.board.status()["rx_lost"] > 0
