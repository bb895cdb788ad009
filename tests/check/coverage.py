#!/usr/bin/env python3
"""What the tests reach of daemon/ and client/, room by room, and whether that is enough.

    coverage.py FOLDER     FOLDER: built with COV=1, and the tests have run; exit 1 below a bar

Processes that a test killed count too: their counters lie in FOLDER/profiles while they run. A branch is a condition's
true or false side, as the source has it, each assert()'s failing side too. FOLDER/html has each line.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES, BRANCHES = 90.0, 80.0


def cov(verb, build, profile, *more, **options):
    """llvm-cov over all objects of the two programs: what no program has taken in counts as not reached. Not over the
    archives: ar(1) puts members at even places, and llvm-cov calls one malformed that isn't aligned to 8 bytes there."""
    objects = [path for room in ("daemon", "client") for path in sorted(build.glob(f"{room}/**/*.o"))
               if (ROOT / path.relative_to(build)).with_suffix(".c").exists()]
    return subprocess.run(["llvm-cov", verb, f"-instr-profile={profile}", objects[0],
                           *[f"-object={path}" for path in objects[1:]], "-ignore-filename-regex=proto/", *more],
                          check=True, cwd=ROOT, **options)


def measure(build):
    """Gives llvm-cov's summary of each file."""
    profile = build / "all.profdata"
    profiles = sorted((build / "profiles").glob("*.profraw"))
    if not profiles:
        sys.exit(f"{build}/profiles is empty: no test has run")
    subprocess.run(["llvm-profdata", "merge", "-o", profile, *profiles], check=True)
    cov("show", build, profile, "-format=html", "-show-branches=count", f"-output-dir={build}/html")
    done = cov("export", build, profile, "-summary-only", stdout=subprocess.PIPE)
    return json.loads(done.stdout)["data"][0]["files"]


class Count:
    def __init__(self):
        self.all, self.taken = {"lines": 0, "branches": 0}, {"lines": 0, "branches": 0}

    def add(self, summary):
        for kind in self.all:
            self.all[kind] += summary[kind]["count"]
            self.taken[kind] += summary[kind]["covered"]

    def share(self, kind):
        return 100 * self.taken[kind] / max(1, self.all[kind])

    def __str__(self):
        return "  ".join(f"{self.taken[kind]:>6} of {self.all[kind]:>6}  {self.share(kind):5.1f} %" for kind in self.all)


def room(name):
    parts = Path(name).parts
    return "/".join(parts[:2]) if len(parts) > 2 else parts[0] + "/"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    build = parser.parse_args().folder.resolve()
    rooms, total = {}, Count()
    for file in measure(build):
        name = file["filename"].removeprefix(f"{ROOT}/")
        rooms.setdefault(room(name), Count()).add(file["summary"])
        total.add(file["summary"])
    print(f"{'':18} {'lines':>16} {'':8} {'branches':>18}")
    for name in sorted(rooms):
        print(f"{name:18} {rooms[name]}")
    print(f"{'all':18} {total}")
    print(f"line by line: {build.relative_to(Path.cwd()) if build.is_relative_to(Path.cwd()) else build}/html/index.html")
    if total.share("lines") >= LINES and total.share("branches") >= BRANCHES:
        return 0
    print(f"wanted: {LINES} % of lines and {BRANCHES} % of branches")
    return 1


if __name__ == "__main__":
    sys.exit(main())
