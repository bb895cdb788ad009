"""The cases. Each gives rows: what was measured, its budget where there is one, and the peer's figure where it has one.

One bench serves a loader at a rate: a changed image, the same again, one region that differs. A stub is looked for where
`make stub` puts it; without it a case that needs it says SKIP.
"""
import contextlib
import os
import random
import re
import time
from pathlib import Path

import harness
import packages
import peer
from harness import BUILD, Bench, wait_for
from measure import (FLASH_BYTES, Missing, Watch, counters, cpu_seconds, figures_of, flash_all, flash_once, ideal_wire_s,
                     loop_figures, machine_busy_seconds, newest_package, paced_board, resident_kib, used_flash, wake_ups)

STUB_FILE = BUILD / "stub/esp32.json"
IDLE_S = 10
REGION = 0x10000
DEVICES = "org.freedesktop.DBus.ObjectManager"


class Row:
    """budget: the most that it may be; None: for looking at. peer: the peer's figure, or None."""

    def __init__(self, what, value, unit="", budget=None, peer=None):
        self.what, self.value, self.unit, self.budget, self.peer = what, value, unit, budget, peer

    @property
    def is_met(self):
        return self.budget is None or self.value <= self.budget


# ---- the bench -------------------------------------------------------------------------------------------------------

def config(stub, more=""):
    return f"[boards]\npolicy = ask\nsettle = 0\nlisten = 0\nsyncs = 0\n[flash]\nstub = {stub}\n{more}"


class QuietBench(Bench):
    """Logs as much as a daemon does by default."""

    def write_config(self, more=""):
        self.config_path.write_text(f"[daemon]\nstate-directory = {self.state}\n[firmware]\nsource =\n"
                                    f"[flash]\nconnect-timeout = {self.connect_timeout}\n{self.config}{more}")


def stub_word(loader):
    """The value of [flash] stub for a case with that loader."""
    if loader == "rom":
        return "off"
    if not STUB_FILE.exists():
        raise Missing(f"no {STUB_FILE.relative_to(BUILD.parent)}: run make stub")
    return STUB_FILE


@contextlib.contextmanager
def bench_of(n, loader, **options):
    boards = [{**paced_board(i), **options} for i in range(n)]
    with QuietBench(boards=boards, connect_timeout=20, config=config(stub_word(loader))) as bench:
        yield bench


def package_of(bench, options):
    if options.quick:
        return bench.package(app_bytes=300_000)
    return newest_package(bench.folder, app_bytes=1_500_000)


def import_package(bench, options):
    package = package_of(bench, options)
    bench.import_firmware(package)
    return package


def check_loader(job, loader):
    used = job["phases_ms"].get("load-stub", 0) > 20  # to look for one takes no time
    if used != (loader == "stub"):
        raise AssertionError(f"the {loader} was wanted: {job['phases_ms']}")


def peer_figures(loader, baud, n, options):
    """Fresh boards of the same kind. Only where it goes the same way: it always uses its stub."""
    if loader != "stub" or not options.peer:
        return {}
    with bench_of(n, loader) as bench:
        bench.stop_wipyd()
        return peer.flash(bench.boards, package_of(bench, options), baud, bench.folder)


# ---- one board -------------------------------------------------------------------------------------------------------

def change_region(board, package):
    """64 KiB of the application, at a place where the daemon looks for regions."""
    flash = bytearray(board.flash())
    _, writes = packages.expected_steps(str(package), FLASH_BYTES)
    offset, data = max(writes, key=lambda write: len(write[1]))
    at = offset + len(data) // 2 // REGION * REGION
    flash[at:at + REGION] = random.Random(at).randbytes(REGION)
    with open(board.flash_path, "r+b") as file:
        file.write(flash)


def one_board(loader, baud, options):
    """Figures of a changed image, the same image again, and one region that differs."""
    with bench_of(1, loader) as bench:
        package = import_package(bench, options)
        with Watch(bench.wipyd.pid) as watch:
            full = flash_once(bench, package, baud)
        check_loader(full, loader)
        same = flash_once(bench, package, baud)
        change_region(bench.board, package)
        region = flash_once(bench, package, baud)
        loop = loop_figures(bench)
        wire_s = ideal_wire_s(package, baud) if loader == "stub" else full["wire_bytes"] * 10 / baud
    floor_s = max(wire_s, full["chip_s"]) if loader == "stub" else wire_s + full["chip_s"]
    return {"full": full, "same": same, "region": region, "total_s": full["total_s"], "write_s": full["write_s"],
            "wire_s": wire_s, "chip_s": full["chip_s"], "md5_s": full["md5_s"], "write_ratio": full["write_s"] / floor_s,
            "else_s": full["else_s"], "save_s": full["save_s"], "same_s": same["total_s"] - same["md5_s"],
            "region_share": (region["total_s"] - region["md5_s"]) / full["total_s"],
            "cpu_s": watch.cpu_s, "resident_mib": watch.resident_mib, "turn_p99_ms": loop["turn_p99_ms"],
            "turn_most_ms": loop["turn_most_ms"]}


def one_board_rows(loader, baud, figures, other):
    # A region is a large part of a small image; and by the ROM its erasing and sending alone come near it.
    region_limit = 5 if loader == "stub" and figures["full"]["wire_bytes"] > 10 * REGION else None
    limit = {"rom": 1.05, "stub": 1.03 if baud <= 921600 else 1.08}[loader]
    floor = "max(wire, chip)" if loader == "stub" else "(wire + chip)"
    return [
        Row("whole job", figures["total_s"], "s", peer=other.get("total_s")),
        Row("write phase", figures["write_s"], "s"),
        Row("wire, zlib -9" if loader == "stub" else "wire", figures["wire_s"], "s"),
        Row("chip: erase, program", figures["chip_s"], "s"),
        Row(f"write / {floor}", figures["write_ratio"], "", limit),
        Row("all else, less MD5", figures["else_s"], "s", 2.5),
        Row("of it saving, with MD5", figures["save_s"], "s"),
        Row("same again, less MD5", figures["same_s"], "s", 1.5),
        Row("one region, less MD5", 100 * figures["region_share"], "%", region_limit),
        Row("processor time", figures["cpu_s"], "s", peer=other.get("cpu_s")),
        Row("resident", figures["resident_mib"], "MiB", 15, peer=other.get("resident_mib")),
        Row("turn, 99 of 100", figures["turn_p99_ms"], "ms", 10),
    ]


# ---- many boards -----------------------------------------------------------------------------------------------------

def check_flashes(bench, package):
    wanted = packages.expected_flash(str(package), FLASH_BYTES, used_flash())
    for board in bench.boards:
        assert board.flash() == wanted, f"{board.name}: the flash file is wrong"


def cpu_sum(bench):
    return sum(cpu_seconds(board.process.pid) for board in bench.boards)


def many_boards(loader, n, baud, options):
    with bench_of(1, loader) as bench:
        import_package(bench, options)
        before = counters(bench.board)
        alone = figures_of(flash_all(bench, baud)[0], before, counters(bench.board))
        check_loader(alone, loader)
    with bench_of(n, loader) as bench:
        package = import_package(bench, options)
        before, busy = cpu_sum(bench), machine_busy_seconds()
        with Watch(bench.wipyd.pid) as watch:
            jobs = flash_all(bench, baud)
        simulators_s, busy_s = cpu_sum(bench) - before, machine_busy_seconds() - busy
        check_flashes(bench, package)
        loop = loop_figures(bench)
    times = sorted(sum(dict(job["Timings"]).values()) / 1000 for job in jobs)
    return {"n": n, "alone_s": alone["total_s"], "fastest_s": times[0], "slowest_s": times[-1], "wall_s": watch.wall_s,
            "ratio": times[-1] / alone["total_s"], "cpu_share": watch.cpu_s / watch.wall_s, "cpu_s": watch.cpu_s,
            "resident_mib": watch.resident_mib, "simulators_share": simulators_s / watch.wall_s,
            "machine_share": busy_s / watch.wall_s / os.cpu_count(), "alone_phases_ms": alone["phases_ms"],
            "slowest_phases_ms": dict(max(jobs, key=lambda job: sum(dict(job["Timings"]).values()))["Timings"]), **loop}


def many_boards_rows(figures, other):
    return [
        Row("one alone", figures["alone_s"], "s"),
        Row("the slowest", figures["slowest_s"], "s", peer=other.get("total_s")),
        Row("slowest / alone", figures["ratio"], "", 1.10),
        Row("processor", 100 * figures["cpu_share"], "%", 25),
        Row("processor time", figures["cpu_s"], "s", peer=other.get("cpu_s")),
        Row("resident", figures["resident_mib"], "MiB", 32, peer=other.get("resident_mib")),
        Row("turn, 99 of 100", figures["turn_p99_ms"], "ms", 10),
        Row("turn, the longest", figures["turn_most_ms"], "ms"),
        Row("simulators' processor", 100 * figures["simulators_share"], "%"),
        Row("machine busy", 100 * figures["machine_share"], "%"),
    ]


# ---- nothing to do ---------------------------------------------------------------------------------------------------

def idle(n, options):
    """All plugged in on USB, looked at and found to run what they should."""
    boards = [{**paced_board(i), "options": ("--fast", *paced_board(i)["options"]), "download": False} for i in range(n)]
    with QuietBench(boards=boards, usb=True, config="[boards]\nsettle = 0\nlisten = 0\nsyncs = 1\n"
                    "coach = 1\n") as bench:
        for i, board in enumerate(bench.boards):
            bench.plug(board, slot=f"1-{i // 8 + 1}.{i % 8 + 1}")
        wait_for(lambda: n_devices(bench) == n, 60, f"{n} devices")
        wait_for(lambda: is_quiet(bench), 60, "nothing to do")
        bench.connection.close()  # who listens to the bus is told
        bench.connection = None
        before, began = wake_ups(bench.wipyd.pid), cpu_seconds(bench.wipyd.pid)
        time.sleep(2 if options.quick else IDLE_S)
        count, cpu_s = wake_ups(bench.wipyd.pid) - before, cpu_seconds(bench.wipyd.pid) - began
        resident_mib = resident_kib(bench.wipyd.pid) / 1024
    return {"n": n, "wake_ups": count, "cpu_s": cpu_s, "resident_mib": resident_mib}


def n_devices(bench):
    return sum("/device/" in path for path in bench.bus.call("/org/wipyd1", DEVICES, "GetManagedObjects")[0])


def is_quiet(bench):
    """Two seconds without a turn of the loop but those that we cause."""
    before = wake_ups(bench.wipyd.pid)
    time.sleep(2)
    return wake_ups(bench.wipyd.pid) == before


def idle_rows(figures, _):
    return [Row(f"wake-ups in {IDLE_S} s", figures["wake_ups"], "", 0), Row("resident", figures["resident_mib"], "MiB", 20)]


# ---- instructions ----------------------------------------------------------------------------------------------------

class CallgrindBench(QuietBench):
    def wipyd_command(self, *arguments):
        return [harness.shutil.which("valgrind"), "--tool=callgrind", "-q", f"--callgrind-out-file={self.folder}/counts",
                BUILD / "wipyd", *arguments]

    def instructions(self):
        self.stop_wipyd()
        return int(re.search(r"^(?:summary|totals): (\d+)", (self.folder / "counts").read_text(), re.M).group(1))


def instructions(loader, _options):
    """Of a daemon's life with one job, less one's without: a board without pacing, so that waiting counts little."""
    if not harness.shutil.which("valgrind"):
        raise Missing("no valgrind")
    counts, stub, slowness = {}, stub_word(loader), harness.SLOWNESS
    harness.SLOWNESS = 10
    try:
        for what in "without", "with":
            board = {**paced_board(), "options": ("--fast", *paced_board()["options"])}
            with CallgrindBench(boards=[board], connect_timeout=20, config=config(stub)) as bench:
                bench.import_firmware(bench.package(app_bytes=200_000))
                if what == "with":
                    flash_all(bench, 921600)
                counts[what] = bench.instructions()
    finally:
        harness.SLOWNESS = slowness
    return {"instructions": counts["with"] - counts["without"], "life": counts["without"]}


def instructions_rows(figures, _):
    return [Row("a flash job", figures["instructions"] / 1e6, "M instr"), Row("start, import, end", figures["life"] / 1e6, "M instr")]


# ---- the list --------------------------------------------------------------------------------------------------------

class Case:
    """run(options): figures; rows(figures, peer's figures); peer: (loader, baud, boards) of the peer's run, or None."""

    def __init__(self, name, run, rows, peer=None, is_slow=False):
        self.name, self.run, self.rows, self.peer, self.is_slow = name, run, rows, peer, is_slow


def one(loader, baud, is_slow=False):
    return Case(f"{loader}-{baud}", lambda options: one_board(loader, baud, options),
                lambda figures, other: one_board_rows(loader, baud, figures, other), (loader, baud, 1), is_slow)


def many(loader, n, baud, is_slow=False):
    return Case(f"{loader}-{n}-boards", lambda options: many_boards(loader, n, baud, options), many_boards_rows,
                (loader, baud, n) if n <= 8 else None, is_slow)


CASES = [
    one("stub", 115200, is_slow=True),
    one("stub", 921600),
    one("stub", 2000000),
    one("stub", 3000000),
    one("rom", 115200, is_slow=True),
    one("rom", 921600),
    many("stub", 8, 921600),
    many("stub", 64, 921600, is_slow=True),
    many("rom", 64, 921600, is_slow=True),
    Case("idle-64-boards", lambda options: idle(64, options), idle_rows),
    Case("instructions-stub", lambda options: instructions("stub", options), instructions_rows),
    Case("instructions-rom", lambda options: instructions("rom", options), instructions_rows),
]
