"""A firmware server, or a package of its, that is wrong in every way thought of: each poll ends in bounded time with a clear
sentence, the daemon is idle and small afterwards, and the last good package stays and can be flashed."""
import contextlib
import gzip
import io
import struct
import tarfile
import time
import zlib

import firmware_server
from firmware_bench import OLD, FirmwareBench, folder, int_version, release, release_bytes, side_by_side
from firmware_server import FirmwareServer
from harness import SLOWNESS, takes, wait_for
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


@takes(5)
def test_bombs():
    bombs = {"10,000 members": many_members(), "1 GB of zeros": gigabyte_of_zeros(),
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
