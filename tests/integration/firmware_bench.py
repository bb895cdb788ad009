"""A bench whose daemon asks a firmware server on loopback.

    with FirmwareServer(folder()) as server, FirmwareBench(server) as bench:
        server.add(*release("1.20.1.r1"))
        bench.ask(server.url("good/findupgrade"))
        bench.refresh_well()
        assert bench.releases() == ["1.20.1.r1"]
"""
import contextlib
import functools
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import packages
from harness import MANAGER, OURS, SANITIZED, VALGRIND, Bench, error_row, wait_for

__all__ = ["OLD", "OURS", "FirmwareBench", "check_refused", "folder", "int_version", "release", "release_bytes",
           "side_by_side"]

OLD = "1.18.1.r1"  # of the package that is at hand before something goes wrong
APP_BYTES = 60_000  # small: most tests are not about size


def folder():
    return Path(tempfile.mkdtemp(dir=os.environ.get("WIPYD_TEST_FOLDER")))


@functools.cache
def release_bytes(version="1.20.1.r1", **options):
    """A package; options as make_package's."""
    with tempfile.NamedTemporaryFile() as file:
        packages.make_package(file.name, **{"release": version, "app_bytes": APP_BYTES, **options})
        return file.read()


def int_version(version):
    """Pycom's number (facts/pycom.md 1.3)."""
    major, minor, patch, kind, number = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)\.(a|b|rc|r)(\d+)", version).groups()
    return (int(major) << 26 | int(minor) << 19 | int(patch) << 9 | {"a": 0, "b": 1, "rc": 2, "r": 3}[kind] << 7 |
            int(number))


def release(version="1.20.1.r1", **options):
    """Arguments for FirmwareServer.add."""
    return f"WiPy-{version}.tar.gz", release_bytes(version, **options), version, int_version(version)


def check_refused(result, code, error, *words):
    """Also in JSON: then the result's stdout has all."""
    assert result.code == code, result
    told = result.json if result.out.startswith("{") else None
    if told:
        assert told["error"] == OURS + error, result
    sentence, hint = error_row(error)
    text = result.out + result.err
    for word in (sentence, hint, *words):
        assert word in text, (word, result)


class FirmwareBench(Bench):
    def __init__(self, server=None, boards=1, config="", old=True, **options):
        """old: import the package OLD, to have something that may not be lost."""
        super().__init__(boards=boards, **options)
        self.server, self.wants_old, self.base_config = server, old, config
        self.config = self.keys()
        self.asked_us = None  # when ask() started the daemon; None when told to poll since

    def __enter__(self):
        super().__enter__()
        try:
            if self.wants_old:
                self.import_bytes(release_bytes(OLD), f"WiPy-{OLD}.tar.gz")
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def keys(self, *sources, ca=True, **keys):
        """Text of the section [firmware]. Sources without a kind are findupgrade's; keys with a _ for a -."""
        lines = [f"source = {source if ' ' in source else 'findupgrade ' + source}" for source in sources]
        keys = {"timeout": 4 if VALGRIND else 1, **({"ca_file": self.server.ca_file} if self.server and ca else {}), **keys}
        lines += [f"{key.replace('_', '-')} = {value}" for key, value in keys.items()]
        return "\n".join(lines) + "\n" + self.base_config

    def ask(self, *sources, **keys):
        """The daemon asks these from now on: a restart."""
        if self.wipyd:
            self.stop_wipyd()
        self.config = self.keys(*sources, **keys)
        self.write_config()
        started_us = int(time.time() * 1_000_000)
        self.start_wipyd()
        self.asked_us = started_us

    def start_wipyd(self):
        self.asked_us = None
        super().start_wipyd()

    def restart(self):
        if self.wipyd:
            self.stop_wipyd()
        self.start_wipyd()

    # ---- what it says
    def manager(self):
        return self.bus.get_all("/org/wipyd1", MANAGER)

    def firmware(self, *arguments):
        result = self.ctl("firmware", "list", "--json", *arguments)
        assert result.code == 0, result
        return result.json

    def show(self, name):
        result = self.ctl("firmware", "show", name, "--json")
        assert result.code == 0, result
        return result.json

    def releases(self):
        """Of the good packages, the newest first."""
        return [row["release"] for row in self.firmware() if row["state"] == "good"]

    def refresh(self, seconds=30):
        self.asked_us = None
        return self.ctl("firmware", "refresh", seconds=seconds)

    def refresh_well(self):
        """What the poll says. The first one after ask() may be the daemon's own: soon after its start it polls anyway."""
        if self.asked_us:
            manager = self.first_poll()
            assert manager["PollFailures"] == 0, manager
            return manager["PollResult"]
        result = self.refresh()
        assert result.code == 0, result
        return result.out

    def first_poll(self):
        since, self.asked_us = self.asked_us, None
        if self.manager()["PolledAt"] < since:
            self.bus.call("/org/wipyd1", MANAGER, "Refresh")

        def ended():
            manager = self.manager()
            return manager if manager["PollState"] == "idle" and manager["PolledAt"] >= since else None
        return wait_for(ended, 20, "the end of a poll")

    def start_refresh(self):
        """Comes back when the daemon is at it."""
        self.bus.call("/org/wipyd1", MANAGER, "Refresh")
        wait_for(lambda: self.manager()["PollState"] != "idle" or self.manager()["PollResult"], 5, "the poll's start")

    def wait_poll(self, seconds=10):
        """The manager's properties once a poll has ended."""
        def ended():
            manager = self.manager()
            return manager if manager["PollState"] == "idle" and manager["PollResult"] else None
        return wait_for(ended, seconds, "the end of a poll")

    def rss_kib(self, name="VmRSS"):
        for line in Path(f"/proc/{self.wipyd.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
        raise AssertionError("wipyd has gone")

    def assert_small(self, kib=15 * 1024):
        assert self.wipyd.poll() is None, "wipyd has ended"
        if not SANITIZED and not VALGRIND:
            assert self.rss_kib() <= kib, f"{self.rss_kib()} KiB resident"

    # ---- what it does
    def put(self, data, name="package.tar.gz"):
        path = self.folder / name
        path.write_bytes(data)
        return path

    def import_bytes(self, data, name="package.tar.gz"):
        result = self.ctl("firmware", "import", self.put(data, name), "--json")
        assert result.code == 0, result
        return result.json[0]

    def flash_stored(self, *version):
        """The release that the board was given."""
        result = self.ctl("flash", self.board.name, *version, "--json")
        assert result.code == 0, result
        assert result.json["state"] == "done", result
        return result.json["release"]

    def leftovers(self):
        return [name for name in self.store_files() if name.startswith(".")]

    def store_files(self):
        return sorted(path.name for path in (self.state / "firmware").iterdir())


@contextlib.contextmanager
def side_by_side(server, cases):
    """{case: a bench without boards}: for what takes its time in waiting."""
    with contextlib.ExitStack() as stack:
        yield {case: stack.enter_context(FirmwareBench(server, boards=0)) for case in cases}
