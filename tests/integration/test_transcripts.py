"""The simulated board against what was recorded from the real mask ROM: fed the `>` lines it must answer the `<` lines.

The recordings are one session on one board, in the order of ORDER; a test replays those before its own to
come to the same state. Not compared, as the recordings' README says: the error byte where the status is 0,
the two bytes after it, and the value word outside READ_REG and SYNC.
"""
import struct

import simboard
from simboard import Board, checksum

ORDER = ["rom-connect", "rom-write-plain", "rom-write-deflate", "rom-errors"]
SYNC, READ_REG = 0x08, 0x0A


def exchanges(name):
    """[(request, [reply, ...]), ...]"""
    path = simboard.SHARED / "facts" / "rom-transcripts" / f"{name}.txt"
    if not path.exists():
        raise simboard.Skip(f"{path.name} is not here")
    result = []
    for line in path.read_text().splitlines():
        if line.startswith(">"):
            result.append((bytes.fromhex(line[1:]), []))
        elif line.startswith("<"):
            result[-1][1].append(bytes.fromhex(line[1:]))
        else:
            assert line.startswith("#") or not line, f"{name}: {line[:60]!r}"
    return result


def comparable(frame):
    """The frame with what isn't compared blanked."""
    if len(frame) < 12 or frame[0] != 0x01:
        return frame
    frame = bytearray(frame)
    if frame[1] not in (SYNC, READ_REG):
        frame[4:8] = b"\0\0\0\0"
    frame[-2:] = b"\0\0"
    if frame[-4] == 0:
        frame[-3] = 0
    return bytes(frame)


def replay(board, name):
    frames = 0
    for number, (request, replies) in enumerate(exchanges(name)):
        board.send(request)
        for expected in replies:
            got = board.frame()
            where = f"{name}, request {number} ({request[:24].hex(' ')})"
            assert got is not None, f"{where}: no reply, expected {expected.hex(' ')}"
            assert comparable(got) == comparable(expected), (
                f"{where}:\n got      {got.hex(' ')}\n expected {expected.hex(' ')}"
            )
            frames += 1
        extra = board.frame(0.02) if number % 8 == 0 else None
        assert extra is None, f"{name}, request {number}: one reply too many: {extra.hex(' ')}"
    return frames


def replay_up_to(name):
    """Replays all up to `name`; returns the flash file's bytes."""
    for needed in ORDER:
        exchanges(needed)
    with Board("--fast", "--blank-chip", "--flash-size", "4M", "--boot-strap", "download") as board:
        board.open()
        board.wait_state("download")
        for earlier in ORDER[: ORDER.index(name) + 1]:
            assert replay(board, earlier) > 0
        return board.flash_path.read_bytes()


def plain_image(name):
    """What the accepted FLASH_DATA packets write, one after the other from the last BEGIN on: {offset: bytes}."""
    image, offset = {}, None
    for request, replies in exchanges(name):
        if request[1] == 0x02 and replies[0][-4] == 0:
            offset = struct.unpack_from("<I", request, 20)[0]
        elif request[1] == 0x03 and replies[0][-4] == 0:
            assert checksum(request[24:]) == request[4]
            image[offset] = request[24:]
            offset += len(request) - 24
    return image


def test_rom_connect_transcript():
    assert replay_up_to("rom-connect") == b"\xff" * 0x400000


def test_rom_write_plain_transcript():
    flash = replay_up_to("rom-write-plain")
    expected = bytearray(b"\xff" * 0x400000)
    for offset, data in plain_image("rom-write-plain").items():
        expected[offset : offset + len(data)] = data
    assert flash == expected


def test_rom_write_deflate_transcript():
    flash = replay_up_to("rom-write-deflate")
    image = bytes(((i * 7) ^ (i >> 5)) & 0xFF for i in range(20000))
    for offset in (0x340000, 0x350000):
        assert flash[offset : offset + 20000] == image
        assert flash[offset + 20000 : offset + 0x5000] == b"\xff" * 480
    assert flash[0x345000:0x350000] == b"\xff" * 0xB000


def test_rom_errors_transcript():
    flash = replay_up_to("rom-errors")
    assert flash[0x301000:0x310000] == b"\xff" * 0xF000
    # packets 0 and 1 after the second BEGIN at 0x310000; then a refused zlib stream erased the two sectors again
    assert flash[0x310000:0x312000] == b"\xff" * 0x2000
    for offset, data in plain_image("rom-errors").items():
        if offset < 0x310000:
            assert flash[offset : offset + len(data)] == data
