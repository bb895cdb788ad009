#!/usr/bin/env python3
"""The whole matrix (tests/integration/test_matrix.py), and its counts at the end.

    matrix.py [OPTIONS OF integration/run.py]

Each group of cells says which of them have no place and why, how many held and how many failed; of a group that was run again
alone the last word counts. The exit code is that of the run.
"""
import collections
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
GROUP = re.compile(r"(\S+ x \w+ x \w+): (\d+) cells held, (\d+) failed")
NO_PLACE = re.compile(r"no place: (\S+) x (\w+) x (\w+ x \w+): (.*)")


def main():
    groups, no_place = {}, {}
    run = subprocess.Popen([sys.executable, "-u", HERE / "integration/run.py", "-k", "test_matrix", *sys.argv[1:]],
                           stdout=subprocess.PIPE, text=True, errors="replace", env={**os.environ, "WIPYD_MATRIX": "all"})
    for line in run.stdout:
        print(line, end="", flush=True)
        if found := NO_PLACE.search(line):
            phase, action, stage, reason = found.groups()
            no_place[phase, action, stage] = reason
        elif found := GROUP.search(line):
            groups[found[1]] = int(found[2]), int(found[3])
    code = run.wait()
    held, failed = (sum(column) for column in zip(*groups.values())) if groups else (0, 0)
    print(f"matrix: {held + failed + len(no_place)} cells in {len(groups)} groups: {held} held, {failed} failed, "
          f"{len(no_place)} without a place:")
    for reason, count in collections.Counter(no_place.values()).most_common():
        print(f"{count:8} {reason}")
    return code or failed > 0 or not held


if __name__ == "__main__":
    sys.exit(main())
