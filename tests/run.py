#!/usr/bin/env python3
"""Runs the unit tests and the integration tests, and ends with one line: N passed, N failed[, N skipped].

usage: run.py [-k PATTERN]     only tests whose program or name contains PATTERN
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("WIPYD_BUILD", "build"))
UNIT_LIMIT_S = 300
INTEGRATION_LIMIT_S = 30 * 60


def run_unit(program):
    """One cmocka program, in TAP. Gives (passed, failed, skipped) and the lines to show."""
    # As malloc is where there are no sanitizers: a size that nobody has is refused.
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", ASAN_OPTIONS="allocator_may_return_null=1")
    try:
        done = subprocess.run([program], cwd=ROOT, env=env, capture_output=True, text=True, errors="replace",
                              timeout=UNIT_LIMIT_S)
        out, code = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired as e:
        out, code = (e.stdout or b"").decode(errors="replace") + f"\nnot done in {UNIT_LIMIT_S} s", -1
    # cmocka's TAP calls a test that was skipped "not ok N # SKIP name".
    skipped = len(re.findall(r"^(?:not )?ok \d+ .*# SKIP", out, re.M))
    passed = len(re.findall(r"^ok \d+ (?!.*# SKIP)", out, re.M))
    failed = len(re.findall(r"^not ok \d+ (?!.*# SKIP)", out, re.M))
    if code != 0 and not failed:
        failed = 1  # it crashed, leaked, or did not end
    if not passed and not failed and not skipped:
        failed = 1  # a program that tests nothing is no test
    mark = "FAIL" if failed else "ok"
    lines = [f"{mark:5}{program.name}: {passed} passed" + (f", {failed} failed" if failed else "") +
             (f", {skipped} skipped" if skipped else "")]
    lines += ["     " + line for line in out.splitlines() if failed or re.search("skip", line, re.I)]
    return (passed, failed, skipped), lines


def run_integration(pattern):
    """The runner of its own; its last line counts."""
    command = [sys.executable, "tests/integration/run.py"] + (["-k", pattern] if pattern else [])
    last = ""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, errors="replace")
    for line in process.stdout:
        if last:
            print(last, flush=True)
        last = line.rstrip("\n")
    code = process.wait(timeout=INTEGRATION_LIMIT_S)
    match = re.fullmatch(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?", last)
    if not match:
        print(last)
        return 0, 1, 0
    passed, failed, skipped = (int(n or 0) for n in match.groups())
    if pattern and not passed and not failed and not skipped:
        return 0, 0, 0  # the pattern may mean a unit test; main() complains when it means none
    return passed, failed if failed or code == 0 else 1, skipped


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-k", dest="pattern", default="")
    pattern = parser.parse_args().pattern
    totals = [0, 0, 0]

    programs = [program for program in sorted((ROOT / BUILD / "unit").glob("test_*"))
                if not program.suffix and pattern in program.name]
    # Most of them wait for time to pass: three a core, as the longest takes a good part of it all anyway.
    with concurrent.futures.ThreadPoolExecutor(min(3 * (os.cpu_count() or 1), 12)) as pool:
        results = []
        for program, (counts, lines) in zip(programs, pool.map(run_unit, programs)):
            print("\n".join(lines), flush=True)
            results.append((program, counts))
    for program, counts in results:
        # Their time limits are real: what failed beside others has a second try, alone.
        if counts[1] and len(programs) > 1 and sum(bool(c[1]) for _, c in results) <= 3:
            counts, lines = run_unit(program)
            print("\n".join(lines + [f"     {program.name} failed beside others; this was it alone"]), flush=True)
        totals = [a + b for a, b in zip(totals, counts)]
    totals = [a + b for a, b in zip(totals, run_integration(pattern))]

    passed, failed, skipped = totals
    if not passed and not failed:
        print(f"no test's name contains {pattern!r}")
        failed = 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
