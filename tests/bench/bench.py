#!/usr/bin/env python3
"""Speed and memory on paced boards (real rate, real erase and program times), as ratios to what wire and chip need.

usage: bench.py [--json FILE] [--runs N]

Per case: the write phase against (bytes on the wire x 10 / baud + the board's own erase and program time), which the
ROM loader can't overlap; everything else in the job, less the time that the chip itself takes for its MD5s; the daemon's resident memory while it flashes; its loop's longest
turn. Exits with 1 when a budget (DESIGN.md, "Budgets") is missed.
"""
import argparse
import json
import statistics
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "integration"))

import packages  # noqa: E402
from harness import MB, Bench, lived_in_flash, newest_package  # noqa: E402

MANAGER = "org.wipyd1.Manager"
WRITE_RATIO, OTHER_S, RESIDENT_MIB, TURN_MS = 1.05, 2.5, 15, 10
JOB_LIMIT_S = 600


class Resident(threading.Thread):
    """The most that the process has resident, looked at every 50 ms."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.path, self.most_kib, self.ended = Path(f"/proc/{pid}/status"), 0, threading.Event()

    def run(self):
        while not self.ended.wait(0.05):
            for line in self.path.read_text().splitlines():
                if line.startswith("VmRSS:"):
                    self.most_kib = max(self.most_kib, int(line.split()[1]))


def measure(baud):
    """One flash of a changed image at that rate; the figures as a dict."""
    flash = lived_in_flash(4 * MB)
    # The firmware uses the first KiB of the config block (facts/pycom.md 3); the rest is blank on a real board.
    flash = flash[:0x3ff400] + b"\xff" * 0xc00 + flash[0x400000:]
    with Bench(boards=[{"options": (), "flash": flash, "flash_bytes": 4 * MB}], connect_timeout=10) as bench:
        package = newest_package(bench.folder, app_bytes=1_500_000)
        before = bench.board.status()
        resident = Resident(bench.wipyd.pid)
        resident.start()
        job = bench.flash_well(package, seconds=JOB_LIMIT_S, baud=baud)
        resident.ended.set()
        resident.join()
        after = bench.board.status()
        assert bench.board.flash() == packages.expected_flash(str(package), 4 * MB, flash), "the flash file is wrong"
        longest_us = bench.bus.get("/org/wipyd1", MANAGER, "LoopLongestTurn")

    phases = dict(job["Timings"])
    write_s = (phases["begin"] + phases["write"]) / 1000
    other_s = (sum(phases.values()) - phases["begin"] - phases["write"]) / 1000
    wire_s = sum(job["WireBytes"]) * 10 / baud
    chip_s = (after["erase_us"] + after["program_us"] - before["erase_us"] - before["program_us"]) / 1e6
    md5_s = (after["md5_us"] - before["md5_us"]) / 1e6
    return {"baud": baud, "package": Path(package).name, "write_s": write_s, "wire_s": wire_s, "chip_s": chip_s,
            "write_ratio": write_s / (wire_s + chip_s), "other_s": other_s - md5_s, "chip_md5_s": md5_s, "phases_ms": dict(phases),
            "resident_mib": resident.most_kib / 1024, "longest_turn_ms": longest_us / 1000}


def median_of(runs):
    return {key: value if isinstance(value, (str, dict)) else statistics.median(run[key] for run in runs)
            for key, value in runs[0].items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    cases, is_met = [], True

    print(f"{'ROM loader at':>14} {'write':>8} {'wire':>8} {'chip':>8} {'ratio':>7} {'else':>7} {'MD5':>7} {'resident':>9} {'turn':>8}")
    for baud in (115200, 921600):
        case = median_of([measure(baud) for _ in range(options.runs)])
        cases.append(case)
        met = (case["write_ratio"] <= WRITE_RATIO and case["other_s"] <= OTHER_S and
               case["resident_mib"] <= RESIDENT_MIB and case["longest_turn_ms"] <= TURN_MS)
        is_met &= met
        print(f"{case['baud']:>14} {case['write_s']:>6.1f} s {case['wire_s']:>6.1f} s {case['chip_s']:>6.1f} s "
              f"{case['write_ratio']:>7.3f} {case['other_s']:>5.2f} s {case['chip_md5_s']:>5.2f} s {case['resident_mib']:>5.1f} MiB "
              f"{case['longest_turn_ms']:>5.1f} ms  {'ok' if met else 'OVER BUDGET'}", flush=True)
    print(f"{'budget':>14} {'':>28} {WRITE_RATIO:>7} {OTHER_S:>5} s {'':>7} {RESIDENT_MIB:>5} MiB {TURN_MS:>5} ms")
    if options.json:
        options.json.write_text(json.dumps(cases, indent=2) + "\n")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
