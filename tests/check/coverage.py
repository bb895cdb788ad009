#!/usr/bin/env python3
"""What the tests reach of daemon/ and client/, room by room, and whether that is enough.

    coverage.py FOLDER [--report]     FOLDER: built with COV=1, and the tests have run; exit 1 below a bar
                                      --report: says how it is, whatever it is

FOLDER/html has each line. Daemons that a test kills count nothing; all others write their counts when they end. Left out
of the branches, because no test could take them: those of an assert() that doesn't hold, and those that the compiler
makes without any code of ours (--exclude-unreachable-branches: a closing brace, say).
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES, BRANCHES = 90.0, 80.0


def gcovr(build):
    html = build / "html"
    html.mkdir(exist_ok=True)
    summary = build / "coverage.json"
    subprocess.run(["gcovr", "--root", ".", build, "--filter", "(.*/)?daemon/", "--filter", "(.*/)?client/",
                    "--exclude", "tests/.*", "--exclude-unreachable-branches",
                    "--exclude-branches-by-pattern", r".*\bassert\(.*", "--json-summary", summary,
                    "--html-details", html / "index.html"], cwd=ROOT, check=True)
    return json.loads(summary.read_text())["files"]


class Count:
    def __init__(self):
        self.lines = self.lines_taken = self.branches = self.branches_taken = 0

    def add(self, file):
        self.lines += file["line_total"]
        self.lines_taken += file["line_covered"]
        self.branches += file["branch_total"]
        self.branches_taken += file["branch_covered"]

    @property
    def line_share(self):
        return 100 * self.lines_taken / max(1, self.lines)

    @property
    def branch_share(self):
        return 100 * self.branches_taken / max(1, self.branches)

    def __str__(self):
        return (f"{self.lines_taken:>6} of {self.lines:>6}  {self.line_share:5.1f} %  "
                f"{self.branches_taken:>6} of {self.branches:>6}  {self.branch_share:5.1f} %")


def room(name):
    parts = name.split("/")
    return "/".join(parts[:2]) if len(parts) > 2 else parts[0] + "/"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    rooms, all_rooms = {}, Count()
    for file in gcovr(arguments.folder.resolve()):
        rooms.setdefault(room(file["filename"]), Count()).add(file)
        all_rooms.add(file)
    print(f"{'':18} {'lines':>16} {'':8} {'branches':>18}")
    for name in sorted(rooms):
        print(f"{name:18} {rooms[name]}")
    print(f"{'all':18} {all_rooms}")
    print(f"line by line: {arguments.folder}/html/index.html")
    enough = all_rooms.line_share >= LINES and all_rooms.branch_share >= BRANCHES
    if not enough:
        print(f"wanted: {LINES} % of lines and {BRANCHES} % of branches")
    return 0 if enough or arguments.report else 1


if __name__ == "__main__":
    sys.exit(main())
