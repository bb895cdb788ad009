"""A part of `make faults`, by a printed seed: calls for memory and of the system fail once, each at its place."""
import os
import re
import subprocess
import sys

from harness import BUILD, ROOT, SANITIZED, SLOWNESS, VALGRIND, Skip, run_seed, takes

SEED = run_seed()


def run_some(part):
    if VALGRIND:
        raise Skip("valgrind has its own malloc")
    if SANITIZED:
        raise Skip("the counters of coverage open files before the shim is there")
    print(f"WIPYD_SEED={SEED}")
    done = subprocess.run([sys.executable, ROOT / "tests/faults/run.py", "--sites", "60", "--seconds", str(15 * SLOWNESS), "--seed",
                           str(SEED), "--workers", "3", part], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "WIPYD_BUILD": str(BUILD)}, timeout=230 * SLOWNESS)
    print(done.stdout[-8000:], done.stderr[-3000:])
    assert done.returncode == 0, f"exit code {done.returncode}"
    last = done.stdout.splitlines()[-1]
    print(f"note: {part}: {last}; seed {SEED}")
    passed, failed = re.fullmatch(r"\d+ allocation sites, \d+ system-call sites; (\d+) passed, (\d+) failed", last).groups()
    assert int(passed) > 0 and failed == "0", last


@takes(40, limit=240)
def test_faults_in_wipyd():
    run_some("daemon")


@takes(25, limit=240)
def test_faults_in_wipyctl():
    run_some("client")


@takes(20, limit=240)
def test_faults_in_unit_programs():
    run_some("unit")
