"""Flashes with what is a board's own: a config block and an NVS as boards in use have them (facts/pycom.md 2.7, 3).
"""
import random
import struct
import zlib

import packages
from harness import CONFIG, MB, otadata_sector

__all__ = ["BLANK", "CONFIG", "NVS", "config_block", "lived_in", "nvs", "own"]

NVS = slice(0x9000, 0x10000)  # in every layout
PAGE, ENTRIES = 0x1000, 126
BLANK = b"\xff"


def config_block(rng):
    """Keys, names and passwords of somebody; all else as it was erased."""
    block = bytearray(b"\xff" * 0x1000)

    def text(offset, size, value):
        block[offset:offset + size] = value.encode().ljust(size, b"\0")[:size]

    def word(letters, size):
        return "".join(rng.choice(letters) for _ in range(size))

    letters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789-_ !$"
    block[0:8] = bytes.fromhex("70b3d549") + rng.randbytes(4)         # LPWAN MAC
    block[8:12] = rng.randbytes(4)                                   # Sigfox: ID, PAC, keys
    block[12:20] = rng.randbytes(8)
    block[20:52] = rng.randbytes(32)
    block[52] = rng.choice([0, 1, 5, 7, 8, 255])                     # LoRa region
    block[53] = rng.randrange(256)                                   # WiFi bits
    text(54, 33, "Ferme du " + word(letters, 8))
    text(87, 65, word(letters, rng.randrange(8, 64)))
    block[152:162] = bytes([1, 0, 0, 0x7F, 0, 0, 0, 0x7F, 0, 0])     # heartbeat
    text(162, 40, "-".join(word("0123456789abcdef", n) for n in (8, 4, 4, 4, 12)))  # Pybytes token
    text(202, 40, "mqtt.pybytes.pycom.io")
    text(242, 100, word(letters, 20) + "@example.org")
    text(342, 55, '{"pref":["wifi","lora"]}')
    block[497:499] = b"\0\1"
    block[512:520] = struct.pack("<II", 1, 60000)                    # watchdog on boot
    block[520] = rng.randrange(2)                                    # LTE on boot
    block[533:535] = bytes([rng.choice([0, 1, 255]), rng.randrange(2)])
    text(536, 33, "wipy-wlan-" + word("0123456789abcdef", 4))
    text(569, 65, "www.pycom.io")
    text(634, 129, "standard")                                       # LTE: carrier, APN, type, cid, band, reset
    text(763, 129, "internet.example")
    text(892, 17, "IP")
    block[909:912] = bytes([1, 20, 1])
    return bytes(block)


def nvs(rng):
    """Pages of entries as ESP-IDF writes them: one that is full, the one that is written to, empty ones."""
    area = bytearray(b"\xff" * (NVS.stop - NVS.start))
    for page in range(rng.randrange(2, 5)):
        at = page * PAGE
        head = struct.pack("<IB19s", page, 0xFE, b"\xff" * 19)
        area[at:at + 4] = struct.pack("<I", 0xFFFFFFFC if page else 0xFFFFFFFE)
        area[at + 4:at + 28] = head
        area[at + 28:at + 32] = struct.pack("<I", zlib.crc32(head, 0xFFFFFFFF))
        n = ENTRIES if page else rng.randrange(3, ENTRIES)
        for i in range(n):
            area[at + 32 + i // 4] &= ~(1 << i % 4 * 2) & 0xFF       # 0b10: written
            start = struct.pack("<BBBB", 1 + i % 3, rng.choice([0x01, 0x02, 0x04, 0x14]), 1, 0xFF)
            rest = f"key{page}_{i}".encode().ljust(16, b"\0") + rng.randbytes(8)
            crc = struct.pack("<I", zlib.crc32(start + rest, 0xFFFFFFFF))
            area[at + 64 + i * 32:at + 96 + i * 32] = start + crc + rest
    return bytes(area)


def lived_in(flash_bytes, seed, is_old=True, release="1.17.3.b1", app_bytes=80_000, board="WiPy"):
    """A board in use, in the layout of 1.18 or of 1.20; the old one was updated over the air."""
    rng = random.Random(f"{flash_bytes} {seed} {is_old}")
    flash = bytearray(BLANK * flash_bytes)
    table = packages.TABLE_1_18 if is_old else packages.TABLE_4MB if flash_bytes == 4 * MB else packages.TABLE_8MB
    places = {label: offset for label, _, _, offset, _ in table}

    def put(offset, data):
        flash[offset:offset + len(data)] = data

    put(0x1000, packages.patched(packages.bootloader_image(seed), flash_bytes))
    put(0x8000, packages.partition_table(table, not is_old))
    put(NVS.start, nvs(rng))
    put(places["factory"], packages.application_image(board, release, app_bytes, seed, 0x2B40))
    put(places["otadata"], otadata_sector(1 if is_old else 0, app_bytes))
    put(places["ota_0"], packages.application_image(board, release, app_bytes, seed + 1, 0x2B40))
    put(0x380000 if flash_bytes == 4 * MB else 0x400000, rng.randbytes(0x8000))
    put(CONFIG.start, config_block(rng))
    return bytes(flash)


def own(flash):
    """Config block and NVS."""
    return flash[CONFIG], flash[NVS]
