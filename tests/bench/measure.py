"""What the cases share: processes looked at from outside, one flash job in figures."""
import os
import statistics
import sys
import threading
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "integration"))

import packages  # noqa: E402
from harness import MB, Variant, lived_in_flash, newest_package  # noqa: E402,F401

TICKS = os.sysconf("SC_CLK_TCK")
MANAGER, DEVICE = "org.wipyd1.Manager", "org.wipyd1.Device"
WRITE_PHASES = "begin", "write"
BITS_PER_BYTE = 10
FLASH_BYTES = 4 * MB
LIMIT_S = 900


class Missing(Exception):
    """A case that can't be measured here; says why."""


# ---- processes -------------------------------------------------------------------------------------------------------

def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def machine_busy_seconds():
    """Of all processors since boot, with what other programs take."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def resident_kib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def wake_ups(pid):
    """How often its threads were switched away from, by themselves or not: who sleeps isn't."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if "ctxt_switches" in line:
                count += int(line.split()[1])
    return count


class Watch(threading.Thread):
    """The most that a process has resident while this runs, looked at every 50 ms; and the processor time it takes."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.most_kib, self.ended = pid, resident_kib(pid), threading.Event()

    def __enter__(self):
        self.cpu_before, self.began = cpu_seconds(self.pid), time.monotonic()
        self.start()
        return self

    def run(self):
        while not self.ended.wait(0.05):
            self.most_kib = max(self.most_kib, resident_kib(self.pid))

    def __exit__(self, *_):
        self.ended.set()
        self.join()
        self.wall_s = time.monotonic() - self.began
        self.cpu_s = cpu_seconds(self.pid) - self.cpu_before

    @property
    def resident_mib(self):
        return self.most_kib / 1024


# ---- boards ----------------------------------------------------------------------------------------------------------

def used_flash():
    """A board that has been in use, with another release, as long as the one to come so that all of it has to be erased,
    and as tidy as real ones: the firmware uses the first KiB of the config block (facts/pycom.md 3), the rest is blank."""
    flash = lived_in_flash(FLASH_BYTES, app_bytes=1_520_000)
    return flash[:0x3ff400] + b"\xff" * 0xc00 + flash[0x400000:]


def paced_board(number=0):
    """Arguments of harness.Board; nothing on the wire or in the chip takes less time than it really does."""
    return {"options": ("--mac", f"30:ae:a4:01:{number >> 8:02x}:{number & 255:02x}"), "flash": used_flash(),
            "flash_bytes": FLASH_BYTES}


def counters(board):
    status = board.status()
    return {key: status[key] for key in ("erase_us", "program_us", "md5_us")}


def ideal_wire_s(package, baud):
    """What the images take on the wire as one zlib stream each, at the strongest setting of zlib."""
    _, writes = packages.expected_steps(str(package), FLASH_BYTES)
    return sum(len(zlib.compress(data, 9)) for _, data in writes) * BITS_PER_BYTE / baud


# ---- one job ---------------------------------------------------------------------------------------------------------

def figures_of(job, before, after):
    """Seconds: the whole job, its write phase, everything else without what the chip took for MD5, which it never takes
    while a run is under way; of that, the saving of the board's own data, with its MD5s; the chip's own."""
    phases = dict(job["Timings"])
    total_s = sum(phases.values()) / 1000
    write_s = sum(phases.get(phase, 0) for phase in WRITE_PHASES) / 1000
    save_s = phases.get("save", 0) / 1000
    chip_s = (after["erase_us"] + after["program_us"] - before["erase_us"] - before["program_us"]) / 1e6
    md5_s = (after["md5_us"] - before["md5_us"]) / 1e6
    return {"total_s": total_s, "write_s": write_s, "save_s": save_s, "else_s": total_s - write_s - md5_s,
            "chip_s": chip_s, "md5_s": md5_s, "wire_bytes": sum(job["WireBytes"]), "phases_ms": phases, "baud": job["Baud"]}


def flash_all(bench, baud):
    """All boards, with what is in the store, all asked for at once; the jobs when they have ended."""
    paths = [bench.bus.call(bench.device_path(board), DEVICE, "Flash", "a{sv}", {"baud": Variant("u", baud)})[0]
             for board in bench.boards]
    jobs = [bench.wait_job(path, LIMIT_S) for path in paths]
    for job in jobs:
        assert job["State"] == "done", (job["State"], job["Phase"], job["Error"], job["ErrorText"])
    return jobs


def flash_once(bench, package, baud):
    """One flash of bench.board with what is in the store, checked byte by byte."""
    before, flash = counters(bench.board), bench.board.flash()
    job, = flash_all(bench, baud)
    assert bench.board.flash() == packages.expected_flash(str(package), FLASH_BYTES, flash), "the flash file is wrong"
    return figures_of(job, before, counters(bench.board))


def loop_figures(bench):
    manager = bench.bus.get_all("/org/wipyd1", MANAGER)
    return {"turn_most_ms": manager["LoopLongestTurn"] / 1000, "turn_p99_ms": manager["LoopTurn99"] / 1000,
            "turns": manager["LoopTurns"]}


def median_of(runs):
    """Of the same figures, run by run; texts and tables as in the first run."""
    return {key: statistics.median(run[key] for run in runs)
            if isinstance(value, (int, float)) and not isinstance(value, bool) else value
            for key, value in runs[0].items()}


def spread_of(runs):
    """How far the runs lie apart, as a share of their median: of each number that differs at all."""
    medians = median_of(runs)
    return {key: (max(values) - min(values)) / medians[key] for key, value in runs[0].items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
            for values in [[run[key] for run in runs]] if min(values) != max(values) and medians[key]}
