"""A short soak: a minute of tests/soak.py, under the loaders that there are."""
import os
import subprocess
import sys

from harness import BUILD, ROOT, SLOWNESS, VALGRIND, Skip, run_seed, takes

SEED = run_seed()


@takes(60, limit=240)
def test_a_minute_of_soak():
    if VALGRIND:
        raise Skip("an hour of it tells more than a minute in slow motion: make soak")
    print(f"WIPYD_SEED={SEED}")
    done = subprocess.run([sys.executable, ROOT / "tests/soak.py", "-n", "400", "--seed", str(SEED), "--seconds",
                           str(20 * SLOWNESS), "--workers", "4", "--boards", "3"], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "WIPYD_BUILD": str(BUILD)}, timeout=200 * SLOWNESS)
    lines = done.stdout.splitlines()
    print(done.stdout[-6000:], done.stderr[-3000:])
    assert done.returncode == 0, f"exit code {done.returncode}"
    print("note: " + lines[-2] + "; " + lines[-1])
    passed, failed = lines[-1].split(", ")
    assert int(passed.split()[0]) > 20 and failed == "0 failed", lines[-1]
