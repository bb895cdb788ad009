"""A firmware server, or a package of its, that is wrong in every way thought of: each poll ends in bounded time with a clear
sentence, the daemon is idle and small afterwards, and the last good package stays and can be flashed."""
import contextlib
import gzip
import io
import os
import struct
import tarfile
import time
import zlib

import firmware_server
from doubles import Polkit, somebody_else
from firmware_bench import OLD, FirmwareBench, folder, int_version, release, release_bytes, side_by_side
from firmware_server import FirmwareServer
from harness import DEVICE, MANAGER, SLOWNESS, DBusError, takes, wait_for
from packages import MB

NEW = "1.20.1.r1"
NAME = f"WiPy-{NEW}.tar.gz"

# case: a word of what the poll says. The case is one of firmware_server.ANSWERS.
ANSWERS = {
    "404": "404",
    "412": "too old",
    "500": "500",
    "503": "503",
    "html": "HTML",
    "html-as-json": "HTML",
    "nothing": "empty",
    "not-json": "not JSON",
    "text": "a string, neither",
    "empty-array": "empty list",
    "version-list": "names no file",
    "other-board": "not for a WiPy",
    "no-key": 'no field "key"',
    "no-file": 'no field "file"',
    "no-version": 'no field "version"',
    "no-int-version": 'no field "intVersion"',
    "file-number": '"file" is a number',
    "file-ftp": "no http or https URL",
    "file-file": "no http or https URL",
    "version-number": '"version" is a number',
    "int-version-string": '"intVersion" is a string',
    "int-version-negative": "out of range",
    "hash-short": "40 hex digits",
    "hash-list": '"hash" is a list',
    "huge": "larger than",
    "huge-unannounced": "larger than",
    "endless-headers": "headers",
    "cut-answer": "closed",
    "closed": "Empty reply",
    "redirect-loop": "redirects",
    "redirect-file": "redirected to file",
    "redirect-http": "plain HTTP is not allowed",
    "redirect-gopher": "redirected to gopher",
    "gzip-bomb": "not JSON",
    "nested": "not JSON",
    "nested-objects": "no field",
    "many-values": "a number, not an object",
    "long-number": "out of range",
    "no-utf8": "not JSON",
    "escapes": "no version",
    "long-url": "no http or https URL",
    "length-negative": "Content-Length",
    "length-twice": "closed",
    "length-short": "not JSON",
    "chunks-broken": "chunk",
    "chunks-huge": "larger than",
}

# case: (source, keys, word); {port} stands for a URL of that port.
CONNECTIONS = {
    "refused": ("{refused}good/findupgrade", {"allow_http": "yes"}, "refused"),
    "DNS failure": ("https://no-such-host.invalid/findupgrade", {}, "resolve"),
    "plain HTTP where it isn't allowed": ("{http}good/findupgrade", {}, "plain HTTP is not allowed"),
    "another host's certificate": ("{wrong-host}good/findupgrade", {}, "does not match|no alternative certificate"),
    "an expired certificate": ("{expired}good/findupgrade", {}, "expired"),
    "a CA that nobody knows": ("{https}good/findupgrade", {"ca": False}, "certificate"),
    "no proxy there": ("{https}good/findupgrade", {"proxy": "{refused}"}, "refused"),
    "no TLS on that port": ("{plain-as-https}good/findupgrade", {}, "SSL|TLS|wrong version"),
    "a mirror that isn't there": ("mirror {https}404/packages/", {}, "404"),
    "a mirror without packages": ("mirror {https}html/packages/", {}, "no link"),
    "a folder that isn't there": ("folder /nonexistent/wipyd", {}, "No such file"),
}

# case of firmware_server.PACKAGES: a word.
DOWNLOADS = {
    "package-404": "404",
    "package-500": "500",
    "shorter": "cut off",
    "unannounced-end": "cut off",
    "huge-package": "larger than",
    "huge-package-unannounced": "larger than",
    "package-to-file": "redirected to file",
    "package-to-http": "plain HTTP is not allowed",
    "package-loop": "redirects",
    "package-to-dict": "redirected to dict",
    "package-endless-headers": "headers",
    "package-bomb": "unpacks to more than",
}

# The server says nothing wrong, but what it has is no good package: fault of packages.FAULTS, a word.
CONTENTS = {
    "absolute-name": "not a flat one",
    "dot-dot": "not a flat one",
    "slash": "not a flat one",
    "symlink": "not a regular file",
    "hardlink": "not a regular file",
    "device": "not a regular file",
    "directory": "not a flat one",
    "too-many-members": "more than 32 members",
    "member-too-large": "more than 8388608 bytes",
    "total-too-large": "unpacks to more than",
    "truncated": "cut off",
    "bad-crc": "damaged",
    "trailing-bytes": "follow",
    "not-gzip": "not a gzip file",
    "empty": "not a gzip file",
    "app-checksum": "checksum",
    "bootloader-corrupt": "bootloader.bin",
    "config-erase": "config block",
    "not-json": "JSON",
}

# What takes its time: (case, word, seconds at most with timeout = 1).
SLOW = {
    "silent": ("slow|time", 4),
    "slow": ("slow|time", 4),
    "slow-package": ("slow|time", 12),
    "cut-always": ("closed", 6),
    "longer": ("closed", 6),
    "slow-headers": ("slow|time", 4),
    "drip": ("time|larger", 6),
}


def check_kept(bench, case, words):
    """A failed poll, and nothing lost by it."""
    manager = bench.manager()
    assert manager["PollState"] == "idle" and manager["PollFailures"] > 0, (case, manager)
    assert any(word in manager["PollResult"] for word in words.split("|")), (case, words, manager["PollResult"])
    assert manager["NextPollAt"] > manager["PolledAt"], (case, manager)
    assert bench.releases() == [OLD], (case, bench.firmware())
    bench.assert_small()


def check_poll_fails(bench, case, words):
    start = time.monotonic()
    result = bench.refresh()
    assert result.code == 1, (case, result)
    assert any(word in result.err for word in words.split("|")), (case, words, result)
    assert "No source gave firmware." in result.err and "hint:" in result.err, (case, result)
    assert time.monotonic() - start < 3 * SLOWNESS, f"{case}: {time.monotonic() - start:.1f} s"
    check_kept(bench, case, words)


@contextlib.contextmanager
def asking(path="good/findupgrade", data=None):
    """(server, bench with a board and the package OLD), which asks for that. data: instead of a good package. At the end
    what is at hand is flashed."""
    with FirmwareServer(folder() / "server") as server, FirmwareBench(server) as bench:
        server.add(*release(NEW))
        if data is not None:
            server.add(NAME, data, NEW, int_version(NEW))
        bench.ask(server.url(path))
        yield server, bench
        assert bench.flash_stored() == OLD
        bench.assert_small()


@takes(5)
def test_answers():
    firmware_server.ANSWERS["changing"] = firmware_server.ANSWERS["404"]
    with asking("changing/findupgrade") as (server, bench):
        for case, words in ANSWERS.items():
            firmware_server.ANSWERS["changing"] = firmware_server.ANSWERS[case]
            check_poll_fails(bench, case, words)
        assert bench.manager()["PollFailures"] >= len(ANSWERS)
        assert server.count("changing/packages") == 0


@takes(6)
def test_connections():
    with asking() as (server, bench):
        urls = {port: server.url("", port) for port in server.ports}
        urls["plain-as-https"] = urls["http"].replace("http:", "https:")

        def fill(text):
            for port, url in urls.items():
                text = text.replace("{" + port + "}", url)
            return text
        server.reset()
        for case, (source, keys, words) in CONNECTIONS.items():
            bench.ask(fill(source), **{key: fill(value) if isinstance(value, str) else value for key, value in keys.items()})
            check_poll_fails(bench, case, words)
        assert server.count("good/findupgrade") == 0, "a connection that may not be trusted is not used"


@takes(3)
def test_downloads():
    firmware_server.PACKAGES["changing"] = firmware_server.PACKAGES["package-404"]
    with asking("changing/findupgrade") as (_, bench):
        [row] = bench.firmware()
        for case, words in DOWNLOADS.items():
            firmware_server.PACKAGES["changing"] = firmware_server.PACKAGES[case]
            check_poll_fails(bench, case, words)
            wait_for(lambda: bench.store_files() == [row["sha256"] + ".tar.gz"], 2, f"{case}: no file is left over")


@takes(5)
def test_contents():
    with asking(data=b"none") as (server, bench):
        for case, words in CONTENTS.items():
            server.add(NAME, release_bytes(NEW, fault=case), NEW, int_version(NEW))
            check_poll_fails(bench, case, words)
        wait_for(lambda: len(bench.store_files()) == 1, 2, "no file is left over")


def many_members():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as tar:
        for i in range(10_000):
            info = tarfile.TarInfo(f"m{i}")
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    return stream.getvalue()


def gigabyte_of_zeros():
    """A member of 1 GB, in a gzip file of 1 MB: one block again and again, so that it is made quickly."""
    info = tarfile.TarInfo("zeros.bin")
    info.size = 1024 * MB
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = info.tobuf(tarfile.GNU_FORMAT)
    zeros = bytes(MB)
    first = compressor.compress(head) + compressor.flush(zlib.Z_FULL_FLUSH)
    block = compressor.compress(zeros) + compressor.flush(zlib.Z_FULL_FLUSH)
    last = compressor.compress(bytes(10240)) + compressor.flush()
    checksum = zlib.crc32(head)
    for _ in range(1024):
        checksum = zlib.crc32(zeros, checksum)
    checksum = zlib.crc32(bytes(10240), checksum)
    size = len(head) + 1024 * MB + 10240
    return (b"\x1f\x8b\x08" + bytes(6) + b"\xff" + first + block * 1024 + last +
            struct.pack("<II", checksum, size & 0xFFFFFFFF))


def sparse_terabyte(how):
    """A member that is one hole of a terabyte, as GNU tar has it or as a pax header does."""
    info = tarfile.TarInfo("hole.bin")
    if how == "gnu":
        info.type = b"S"
        head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        head[386:386 + 24] = b"00000000000\0" + b"00000000000\0"          # one piece: nothing at 0
        head[482:483] = b"\0"
        head[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")           # the size when it is laid out
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        blocks = bytes(head)
    else:
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "hole.bin",
                            "GNU.sparse.realsize": str(1 << 40)}
        info.size = 512
        blocks = info.tobuf(tarfile.PAX_FORMAT) + b"1\n0\n0\n".ljust(512, b"\0")
    return gzip.compress(blocks + bytes(1024))


@takes(5)
def test_bombs():
    bombs = {"a hole of 1 TB": sparse_terabyte("gnu"), "a hole of 1 TB, pax": sparse_terabyte("pax"), "10,000 members": many_members(), "1 GB of zeros": gigabyte_of_zeros(),
             "gzip in gzip": gzip.compress(gzip.compress(bytes(MB)))}
    with asking(data=b"none") as (server, bench):
        for case, data in bombs.items():
            server.add(NAME, data, NEW, int_version(NEW))
            check_poll_fails(bench, case, "more than|tar")


@takes(8)
def test_slow_and_broken_servers():
    """All at once: they mostly wait."""
    with FirmwareServer(folder() / "server") as server, side_by_side(server, SLOW) as benches:
        server.add(*release(NEW))
        start = time.monotonic()
        for case, bench in benches.items():
            bench.ask(server.url(f"{case}/findupgrade"))
            bench.start_refresh()
        for case, (words, seconds) in sorted(SLOW.items(), key=lambda item: item[1][1]):
            benches[case].wait_poll(seconds)
            assert time.monotonic() - start < (seconds + 3) * SLOWNESS, case
            check_kept(benches[case], case, words)


@takes(3)
def test_daemon_answers_while_a_server_is_silent():
    """A board that is plugged in never waits for the network."""
    with asking() as (server, bench):
        bench.ask(server.url("silent/findupgrade"), timeout=30)
        bench.start_refresh()
        start = time.monotonic()
        assert bench.flash_stored() == OLD
        assert bench.firmware() and bench.manager()["PollState"] == "asking"
        assert time.monotonic() - start < 3 * SLOWNESS
        bench.stop_wipyd(seconds=2)  # nor does its end
        bench.start_wipyd()


@takes(3)
def test_version_that_goes_backwards():
    """An older release is kept, and isn't the newest. One whose number lies is by number, but no board is brought back to it
    unasked, and who asks for it asks for a downgrade."""
    with asking() as (server, bench):
        assert f"fetched: {NEW}" in bench.refresh_well()
        assert bench.flash_stored() == NEW
        slot = bench.bus.call("/org/wipyd1", MANAGER, "FindSlot", "s", bench.device()["Slot"])[0]
        bench.bus.call(slot, "org.wipyd1.Slot", "SetPolicy", "s", "wipy")
        server.add(*release("1.10.0.b1"))
        bench.refresh_well()
        assert bench.releases() == [NEW, OLD, "1.10.0.b1"] and bench.flash_stored() == NEW
        server.add("WiPy-1.11.0.b1.tar.gz", release_bytes("1.11.0.b1"), "9.9.9.r9", int_version("9.9.9.r9"))
        bench.refresh_well()
        assert bench.releases()[0] == "1.11.0.b1" and bench.show("1.11.0.b1")["server_version"] == "9.9.9.r9"
        bench.restart()  # it looks at the board anew
        bench.connection = None
        bench.bus.call(bench.device_path(), DEVICE, "Look", "a{sv}", {})
        wait_for(lambda: bench.device()["Rule"] == "newer", 10, "the decision not to")
        if os.geteuid() == 0:
            with Polkit(bench.address, "no") as polkit, somebody_else(bench) as nobody:
                check_not_authorized(nobody, bench.device_path())
                assert polkit.checks[-1].action == "org.wipyd1.downgrade", polkit.checks[-1].action
        assert bench.ctl("firmware", "remove", "1.11.0.b1").code == 0
        assert bench.ctl("firmware", "remove", "1.10.0.b1").code == 0
        assert bench.ctl("firmware", "remove", NEW).code == 0


def check_not_authorized(bus, device):
    try:
        bus.call(device, DEVICE, "Flash", "a{sv}", {})
    except DBusError as error:
        assert error.name.endswith("NotAuthorized"), error
    else:
        raise AssertionError("it is flashed")


@takes(2)
def test_server_gets_well_again():
    with FirmwareServer(folder() / "server") as server, FirmwareBench(server) as bench:
        server.add(NAME, release_bytes(NEW, fault="bad-crc"), NEW, int_version(NEW))
        bench.ask(server.url("good/findupgrade"))
        assert bench.refresh().code == 1
        assert bench.manager()["PollFailures"]
        server.add(*release(NEW))
        bench.refresh_well()
        assert bench.manager()["PollFailures"] == 0
        assert bench.flash_stored() == NEW
