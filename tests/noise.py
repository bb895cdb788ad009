#!/usr/bin/env python3
"""Boards one after the other at slots with bad cables: do all jobs succeed, and does each slot find its rate?

usage: noise.py [--rounds N] [--loader rom|stub] [--json FILE]

Real wipyd, real wipysim (without pacing, which the noise doesn't depend on), [flash] baud = auto, by the boot ROM and then by the stub
(SKIP without `make stub`). Each slot has a noise of
its own (wrong, lost or late bytes, 10^-7 to 10^-4 a byte) at and above a rate; 115200 is clean everywhere. In each round
every slot gets another blank board, which is flashed and compared byte by byte. Then, per slot: jobs done, from which
board on the beginning was right, how often it changed, and the rates that the boards began with. Exits with 1 unless
all three hold: 99.9 % of all jobs are done, and their flash is right; two boards are enough for a slot to begin with a rate
that works there; and it begins higher again only to try that, ever more seldom.

Jobs by the thousand, over a line that is only computed: tests/unit/test_rate_noise.c.
"""
import argparse
import json
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "integration"))

import packages  # noqa: E402
from harness import FINAL, JOB, MB, STUBS, Bench, Board, Skip, wait_for  # noqa: E402

CONFIG = "[boards]\nsettle = 0\nlisten = 20\nsyncs = 0\npolicy = ask\n[flash]\nbaud = auto\n"
BLANK = b"\xff" * 4 * MB
JOB_LIMIT_S = 240
# What, from which rate on, and whether no job can be done there.
CASES = [
    ("flip-rate 1e-7", 230400, False),
    ("flip-rate 1e-6", 921600, False),
    ("flip-rate 1e-5", 460800, False),
    ("flip-rate 1e-4", 921600, True),
    ("flip-rate 1e-4", 230400, True),
    ("drop-rate 1e-7", 230400, False),
    ("drop-rate 1e-6", 460800, False),
    ("drop-rate 1e-5", 921600, False),
    ("drop-rate 1e-4", 460800, True),
    ("stall-rate 1e-7 8000", 230400, False),
    ("stall-rate 1e-6 8000", 921600, False),
    ("stall-rate 1e-5 8000", 460800, False),
    ("stall-rate 1e-4 100", 230400, False),  # late, but in time
    ("stall-rate 1e-4 8000", 921600, True),
    ("baud-fail 460800 on", 460800, True),
]
SUCCESS = 0.999
LADDER = 115200, 230400, 460800, 921600, 1500000, 2000000, 3000000  # daemon/flash/ladder.c
RETRY = 8  # good boards until a rate is tried again: daemon/board/rate.h


class Slot:
    def __init__(self, number, case):
        self.name, (self.noise, self.at, self.is_hopeless) = f"1-{number + 1}", case
        self.board = self.path = None
        self.began, self.ended, self.failures, self.jobs = [], [], [], []

    def put(self, bench, n):
        name = f"s{self.name}n{n}"
        number = int(self.name[2:])
        self.board = Board(bench.folder, name=name, options=("--fast", "--mac", f"30:ae:a4:01:{number:02x}:{n:02x}"))
        bench.boards.append(self.board)
        self.board.ask("unplug")
        self.board.ask(f"set seed {1000 * number + n}")
        self.board.ask(f"set {self.noise}")
        self.board.ask(f"set noise-from {self.at}")
        bench.plug(self.board, slot=self.name, name=f"ttyUSB{number}")

    def start(self, bench):
        self.path = bench.start_flash(bench.image, self.board)

    def take(self, bench):
        job = bench.job(self.path)
        self.jobs.append(job["Id"])
        if job["State"] != "done":
            self.failures.append(f"board {len(self.jobs)}: {job['Error']}: {job['ErrorText']}")
        elif self.board.flash()[:0x3FF000] != bench.wanted[:0x3FF000]:
            self.failures.append(f"board {len(self.jobs)}: done, but its flash is wrong")

    def drop(self, bench):
        bench.unplug(self.board)
        bench.boards.remove(self.board)
        self.board.close()
        self.board.flash_path.unlink()

    def read_rates(self, ways):
        for job in self.jobs:
            way = ways.get(job, [115200])
            self.began.append(way[0])
            self.ended.append(way[-1])

    # ---- judging ----
    def too_high(self):
        """The boards, from 0, that began higher than they ended."""
        return [i for i, (began, ended) in enumerate(zip(self.began, self.ended)) if began > ended]

    def changes(self):
        return sum(a != b for a, b in zip(self.began[2:], self.began[3:]))

    def settled(self):
        """From which board on, from 1, the beginning was right; later tries of a higher rate left out."""
        return next((i + 1 for i in range(len(self.began)) if i not in self.too_high()), None)

    def _limit(self):
        """So many boards after the second may begin too high: tries of a rate that was given up, after 8, 16, 32, ...
        Any but a hopeless rate may do for one board and not for another: of each, a tenth of them may find that out."""
        tries, at, wait = 0, RETRY, RETRY
        while at < len(self.began):
            tries, wait = tries + 1, wait * 2
            at += wait
        n_noisy = sum(self.at <= rate <= max(self.began) for rate in LADDER)
        return tries if self.is_hopeless else max(tries, 1) + n_noisy * len(self.began) // 10

    def unsettled(self):
        late = [i + 1 for i in self.too_high() if i >= 2]
        if len(late) > self._limit():
            return f"boards {late} began too high: more than {self._limit()} after the second"
        if self.is_hopeless and len(self.began) > 2 and self.settled() not in (2, 3):
            return f"not settled within two boards: {self.began}"
        return None

    def restless(self):
        if self.changes() > 2 * self._limit() + 2:
            return f"the beginning changed {self.changes()} times, {2 * self._limit() + 2} are enough"
        return None


def verdict(slots):
    """[(what was to be shown, whether it was, figures, what was wrong)]"""
    n_jobs = sum(len(slot.jobs) for slot in slots)
    failures = [f"{slot.noise} from {slot.at}: {failure}" for slot in slots for failure in slot.failures]
    rows = [("success", len(failures) <= n_jobs * (1 - SUCCESS),
             f"{n_jobs - len(failures)} of {n_jobs} jobs ({100 * (1 - len(failures) / n_jobs):.2f} %), "
             f"wanted {100 * SUCCESS} %", failures)]
    for what, judge in ("settled within two boards", Slot.unsettled), ("no oscillation", Slot.restless):
        wrong = [f"{slot.noise} from {slot.at}: {judge(slot)}" for slot in slots if judge(slot)]
        rows.append((what, not wrong, f"{len(slots) - len(wrong)} of {len(slots)} slots", wrong))
    return rows


def ways_of(log):
    """{job: [rates tried or reached, in order]}"""
    ways = {}
    for job, reached, lost in re.findall(r"\[job (\d+)\] .*?(?:goes on at (\d+) baud|(\d+) baud does not work here)", log):
        ways.setdefault(int(job), []).append(int(reached or lost))
    return ways


def run(rounds, cases=None, app_bytes=150_000, loader=None):
    """The slots, after so many boards at each. loader: as STUBS has it, or the environment's."""
    slots = [Slot(i, case) for i, case in enumerate(cases or CASES)]
    with Bench(boards=0, usb=True, lines=True, config=CONFIG, connect_timeout=60,
               stub=STUBS[loader] if loader else None) as bench:
        bench.image = bench.package(app_bytes=app_bytes)
        bench.wanted = packages.expected_flash(bench.image, 4 * MB, BLANK)
        for n in range(rounds):
            for slot in slots:
                slot.put(bench, n)
            wait_for(lambda: len(bench.ctl("list", "--json").json) == len(slots), 20, "the devices")
            for slot in slots:
                slot.start(bench)
            wait_for(lambda: all(bench.bus.get(slot.path, JOB, "State") in FINAL for slot in slots), JOB_LIMIT_S, "the jobs")
            for slot in slots:
                slot.take(bench)
                slot.drop(bench)
            wait_for(lambda: not bench.ctl("list", "--json").json, 20, "the devices to go")
        ways = ways_of(bench.log())
    for slot in slots:
        slot.read_rates(ways)
    return slots


def shorten(rates):
    """921600 460800 x 7"""
    runs = []
    for rate in rates:
        if runs and runs[-1][0] == rate:
            runs[-1][1] += 1
        else:
            runs.append([rate, 1])
    return " ".join(f"{rate} x {n}" if n > 1 else str(rate) for rate, n in runs)


def show(slots):
    """Whether all was shown."""
    print(f"{'NOISE':22} {'FROM':>7} {'DONE':>8} {'SETTLED':>8} {'CHANGES':>8}  BEGAN WITH")
    for slot in slots:
        done = len(slot.jobs) - len(slot.failures)
        print(f"{slot.noise:22} {slot.at:7} {done:4}/{len(slot.jobs):<3} {slot.settled() or '-':>8} {slot.changes():8}  "
              f"{shorten(slot.began)}")
    rows = verdict(slots)
    for what, is_shown, figures, wrong in rows:
        print(f"{'ok' if is_shown else 'FAIL':5}{what}: {figures}")
        print("".join(f"     {line}\n" for line in wrong), end="")
    return all(is_shown for _, is_shown, _, _ in rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--loader", choices=["rom", "stub"])
    parser.add_argument("--json")
    options = parser.parse_args()
    told, is_well = [], True
    for loader in [options.loader] if options.loader else ["rom", "stub"]:
        began = time.monotonic()
        try:
            slots = run(options.rounds, loader=loader)
        except Skip as skip:
            print(f"SKIP by the {loader}: {skip}")
            continue
        print(f"by the {loader}, {options.rounds} boards at each slot, in {time.monotonic() - began:.0f} s")
        is_well &= show(slots)
        told += [{"loader": loader, "noise": slot.noise, "from": slot.at, "jobs": len(slot.jobs), "failures": slot.failures,
                  "began": slot.began, "ended": slot.ended, "settled": slot.settled(), "changes": slot.changes()}
                 for slot in slots]
    if options.json:
        Path(options.json).write_text(json.dumps(told, indent=1) + "\n")
    return 0 if told and is_well else 1


if __name__ == "__main__":
    sys.exit(main())
