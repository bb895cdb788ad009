#!/usr/bin/env python3
"""Checks that the README's threat model names tests that there are, and for each threat at least one.

    threats.py              prints what isn't right; exit 1 when something isn't
    threats.py --self-test  plants one mistake of each kind and sees that it is found

A test is a program of tests/unit, a file or a function of tests/integration, a scenario of tests/vm, a target of tests/fuzz,
or a path.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADING = "## Who could attack, and what stops it\n"


def tests():
    found = {path.stem for pattern in ("unit/test_*.c", "integration/test_*.py", "fuzz/fuzz_*.c")
             for path in (ROOT / "tests").glob(pattern)}
    for path in (ROOT / "tests/integration").glob("test_*.py"):
        found |= set(re.findall(r"^def (test_\w+)\(", path.read_text(), re.M))
    for path in (ROOT / "tests/vm").glob("scenarios_*.py"):
        found |= set(re.findall(r"^def (\w+)\(vm\b", path.read_text(), re.M))
    return found


def problems(text):
    if HEADING not in text:
        return ["README.md has no threat model"]
    section = text.split(HEADING)[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")][1:]
    told, known = [], tests()
    if len(rows) < 5:
        told.append(f"{len(rows)} threats only")
    for row in rows:
        if len(row) != 3:
            told.append(f"{row[0]}: {len(row)} cells")
            continue
        names = re.findall(r"`([^`]+)`", row[2])
        if not names:
            told.append(f"{row[0]}: no test")
        told += [f"{row[0]}: there is no {name}" for name in names
                 if name not in known and not ("/" in name and (ROOT / name).is_file())]
    return told


def self_test(text):
    assert problems(text.replace(HEADING, "")) and problems("")
    assert problems(text.replace("`test_authority`", "`test_nothing_of_that_name`"))
    assert problems(text.replace("`tests/check/rights.py`", "`tests/check/no_such_file.py`"))
    assert problems(text.replace("| `test_connections` |", "| |"))
    assert problems(text.replace("| `test_connections` |", "| `test_connections` | |"))


def main():
    text = (ROOT / "README.md").read_text()
    if "--self-test" in sys.argv:
        self_test(text)
        return 0
    told = problems(text)
    print("\n".join(told) or "all tests of the threat model are there")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
