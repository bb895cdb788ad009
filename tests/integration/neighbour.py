"""What a daemon must keep up whatever its neighbours do: it answers, it stays small, it holds no descriptors.

Time is judged by the daemon's own meter (LoopLongestTurn, LoopTurn99) and by the median of many calls against the same
calls before and after, as a machine with other work makes any single call slow.
"""
import os
import re
import statistics
import time

from harness import SANITIZED, SLOWNESS, VALGRIND, wait_for

MANAGER = "org.wipyd1.Manager"
ANSWER_MS = 100
MOST_KIB = 32 * 1024


def memory_kib(bench, key="VmHWM"):
    return int(re.search(rf"{key}:\s+(\d+)", open(f"/proc/{bench.wipyd.pid}/status").read())[1])


def n_fds(bench):
    return len(os.listdir(f"/proc/{bench.wipyd.pid}/fd"))


class Neighbour:
    """with Neighbour(bench) as watch: ...; watch.ask() many times; checked at the end."""

    def __init__(self, bench, most_kib=MOST_KIB, fds_come_back=True):
        self.bench, self.most_kib, self.fds_come_back, self.answers = bench, most_kib, fds_come_back, []

    def once(self):
        """What `wipyctl status` asks, in milliseconds."""
        start = time.monotonic()
        self.bench.bus.managed()
        return (time.monotonic() - start) * 1000

    def __enter__(self):
        self.before = statistics.median(self.once() for _ in range(15))
        self.fds = n_fds(self.bench)
        return self

    def ask(self):
        self.answers.append(self.once())

    def __exit__(self, kind, *_):
        if kind:
            return
        bench = self.bench
        assert len(self.answers) >= 10, f"asked {len(self.answers)} times only"
        median = statistics.median(self.answers)
        # The answer is longer with each job that there was meanwhile, and the machine may be slower.
        self.before = max(self.before, statistics.median(self.once() for _ in range(15)))
        manager = {key: bench.bus.get("/org/wipyd1", MANAGER, key) / 1000 for key in ("LoopLongestTurn", "LoopTurn99")}
        most = max(ANSWER_MS * SLOWNESS, 12 * self.before)
        told = (f"status in {median:.1f} ms (median of {len(self.answers)}, at worst {max(self.answers):.0f}; without "
                f"{self.before:.1f}), turns 99 % {manager['LoopTurn99']:.1f} ms, longest {manager['LoopLongestTurn']:.1f} ms, "
                f"{memory_kib(bench) / 1024:.1f} MiB at most")
        print(f"note: {told}")
        assert median <= most, told
        # A turn's time is that of the clock on the wall: with n programs for each core it takes n times as long. Of few
        # turns 99 % are all, and the first are the start.
        if bench.bus.get("/org/wipyd1", MANAGER, "LoopTurns") >= 500:
            crowd = max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
            assert manager["LoopTurn99"] <= ANSWER_MS * SLOWNESS * crowd, told
        if not SANITIZED and not VALGRIND:
            assert memory_kib(bench) <= self.most_kib, told
        if self.fds_come_back:
            wait_for(lambda: n_fds(bench) <= self.fds, 5, f"descriptors: {self.fds} before, {n_fds(bench)} now")
