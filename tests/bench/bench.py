#!/usr/bin/env python3
"""Speed, memory and fairness on paced boards (real rate, real erase and program times) against the budgets.

usage: bench.py [--runs N] [--cases PATTERN] [--quick] [--json FILE] [--list]

Prints a row for each figure: the median of all runs, its budget, and what esptool takes for the same where ESPTOOL= or
PATH has it (once, and 8 processes side by side). Ratios are of one run: a slower machine changes little. A case that
can't be measured here says SKIP and why. Exit 1: a budget is missed, or a case has failed.

  --quick   a small image, no slow cases, one run: whether the bench works
"""
import argparse
import fnmatch
import json
import os
import platform
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import measure  # noqa: E402
import cases  # noqa: E402
import peer  # noqa: E402
from harness import Skip  # noqa: E402

COLUMNS = "{:<18} {:<22} {:>18} {:>11} {:>12}  {}"


def text(value, unit):
    if value is None:
        return "-"
    return f"{value:.3f}" if not unit else f"{value:.0f} {unit}" if abs(value) >= 1000 else f"{value:.2f} {unit}"


def print_rows(name, rows):
    for row in rows:
        verdict = "" if row.budget is None else "ok" if row.is_met else "OVER BUDGET"
        print(COLUMNS.format(name, row.what, text(row.value, row.unit), text(row.budget, row.unit),
                             text(row.peer, row.unit), verdict).rstrip(), flush=True)
        name = ""


def print_skip(name, why, word="SKIP"):
    print(f"{name:<18} {word}: {why}", flush=True)


def run_peer(case, options):
    if not case.peer:
        return {}
    try:
        return measure.median_of([cases.peer_figures(*case.peer, options) for _ in range(options.runs)])
    except measure.Missing as missing:
        print_skip(f"{case.name}, peer", missing)
        return {}


def run_case(case, options):
    """What goes into the JSON; prints the rows."""
    try:
        runs = [case.run(options) for _ in range(options.runs)]
    except (measure.Missing, Skip) as missing:
        print_skip(case.name, missing)
        return {"case": case.name, "skip": str(missing)}
    except Exception as problem:
        traceback.print_exc()
        print_skip(case.name, str(problem).split("\n")[0], "FAILED")
        return {"case": case.name, "failed": str(problem), "is_met": False}
    figures, other = measure.median_of(runs), run_peer(case, options)
    rows = case.rows(figures, other)
    print_rows(case.name, rows)
    return {"case": case.name, "figures": figures, "peer": other, "runs": runs, "spread": measure.spread_of(runs),
            "rows": [{"what": row.what, "value": row.value, "unit": row.unit, "budget": row.budget, "peer": row.peer}
                     for row in rows], "is_met": all(row.is_met for row in rows)}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, help="default 3; with --quick 1")
    parser.add_argument("--cases", default="*", metavar="PATTERN", help="names, * and ? allowed, several with commas")
    parser.add_argument("--quick", action="store_true", help="a small image, no slow cases, one run")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--list", action="store_true", help="the names of the cases")
    options = parser.parse_args()
    options.runs = options.runs or (1 if options.quick else 3)
    return options


def wanted_cases(options):
    patterns = options.cases.split(",")
    found = [case for case in cases.CASES if any(fnmatch.fnmatch(case.name, pattern) for pattern in patterns)]
    if not found:
        sys.exit(f"bench: no case is called {options.cases}; --list tells the names")
    return [case for case in found if not (options.quick and case.is_slow and options.cases == "*")]


def main():
    options = parse()
    if options.list:
        print("\n".join(case.name for case in cases.CASES))
        return 0
    try:
        options.peer = peer.program()
    except measure.Missing as missing:
        options.peer = None
        print(f"peer: SKIP: {missing}")
    print(COLUMNS.format("case", "figure", f"median of {options.runs}" if options.runs > 1 else "measured", "budget",
                         "esptool" if options.peer else "", ""), flush=True)
    results = [run_case(case, options) for case in wanted_cases(options)]
    if options.json:
        options.json.write_text(json.dumps({"processors": os.cpu_count(), "machine": platform.machine(), "quick": options.quick,
                                            "peer": options.peer, "runs": options.runs, "cases": results}, indent=2) + "\n")
    missed = [result["case"] for result in results if not result.get("is_met", True)]
    if missed:
        print(f"over budget or failed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
