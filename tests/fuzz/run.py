#!/usr/bin/env python3
"""Runs the fuzz targets for a time, side by side on all cores, and ends with one line: N targets, N executions, N crashes.

    run.py --build FOLDER [--seconds N] [-k NAME] [--again FILE]

A target begins with what seeds.py made, what earlier runs found (FOLDER/corpus/TARGET), and the words of its dictionary
(TARGET.dict here). An input that crashes, hangs (10 s), leaks or takes too much memory fails its target; it is kept in
FOLDER/crashes, and the command that runs it again is printed. A target that does nothing fails too.
"""
import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HANG_S, RSS_MIB, MALLOC_MIB = 10, 1024, 128
START_S = 120  # to read the corpus, and for the sanitizers' reports
EXECUTIONS_MIN = 100
# A package is some tens of KiB, a database some less; the others are read whole from small buffers.
BYTES_MAX = {"fuzz_package": 96 * 1024, "fuzz_records": 24 * 1024, "fuzz_image": 24 * 1024, "fuzz_script": 8192}
BYTES_MAX_ELSE = 4096


# What these keep from one input to the next isn't lost: only what is left at the end is, and that is looked for.
KEEP = {"fuzz_bus", "fuzz_records"}


class Outcome:
    def __init__(self, name, text, code, crashes):
        self.name, self.text, self.code, self.crashes = name, text, code, crashes
        self.executions = self.number(r"stat::number_of_executed_units: (\d+)")
        self.rate = self.number(r"stat::average_exec_per_sec: +(\d+)")
        self.edges = self.number(r"cov: (\d+)")
        self.failed = code != 0 or bool(crashes) or self.executions < EXECUTIONS_MIN

    def number(self, pattern):
        found = re.findall(pattern, self.text)
        return int(found[-1]) if found else 0


def environment(folder):
    env = dict(os.environ, TMPDIR=str(folder))
    env["ASAN_OPTIONS"] = ("detect_leaks=1:allocator_may_return_null=0:handle_abort=1:"
                           "quarantine_size_mb=16:malloc_context_size=8")  # quick, and a report still says where
    env["UBSAN_OPTIONS"] = "print_stacktrace=1"
    return env


def command(program, crashes, *more):
    return [str(program), f"-detect_leaks={int(program.name not in KEEP)}", f"-timeout={HANG_S}", f"-rss_limit_mb={RSS_MIB}", f"-malloc_limit_mb={MALLOC_MIB}",
            f"-artifact_prefix={crashes}/{program.name}-", *map(str, more)]


def run(program, build, seconds):
    """Gives an Outcome."""
    corpus, seeds, crashes = build / "corpus" / program.name, build / "seeds" / program.name, build / "crashes"
    corpus.mkdir(parents=True, exist_ok=True)
    seeds.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    before = set(crashes.glob(f"{program.name}-*"))
    more = [f"-max_total_time={seconds}", "-print_final_stats=1", "-reload=0",
            f"-max_len={BYTES_MAX.get(program.name, BYTES_MAX_ELSE)}"]
    dictionary = HERE / f"{program.name}.dict"
    if dictionary.exists():
        more.append(f"-dict={dictionary}")
    folder = tempfile.mkdtemp(prefix="wipyd-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    try:
        done = subprocess.run(command(program, crashes, *more, corpus, seeds), cwd=ROOT, env=environment(folder),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=seconds + START_S)
        text, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        text, code = (late.stdout or b"").decode(errors="replace") + "\nit did not end", -1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    (build / f"{program.name}.log").write_text(text)
    return Outcome(program.name, text, code, sorted(set(crashes.glob(f"{program.name}-*")) - before))


def again(build, path):
    """An input that was kept: FOLDER/crashes/TARGET-crash-DIGEST."""
    program = build / re.match(r"(fuzz_[a-z]+)-", path.name).group(1)
    with tempfile.TemporaryDirectory(prefix="wipyd-fuzz-") as folder:
        return subprocess.run(command(program, build / "crashes", path), cwd=ROOT, env=environment(folder)).returncode


def tell(outcome, build):
    mark = "FAIL" if outcome.failed else "ok"
    print(f"{mark:5}{outcome.name:16} {outcome.executions:>11,} executions {outcome.rate:>8,}/s "
          f"{outcome.edges:>6,} edges {len(outcome.crashes)} crashes", flush=True)
    if not outcome.failed:
        return
    lines = outcome.text.splitlines()
    first = next((i for i, line in enumerate(lines) if re.search(r"does not hold|ERROR: |runtime error", line)), -40)
    print("".join(f"     | {line}\n" for line in (lines[first:] if first < 0 else lines[first:first + 40])), end="")
    for path in outcome.crashes:
        print(f"     again: python3 tests/fuzz/run.py --build {build} --again {path}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, type=Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("-k", dest="name", default="")
    parser.add_argument("-j", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--again", type=Path)
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    if arguments.again:
        return again(build, arguments.again.resolve())
    subprocess.run([sys.executable, HERE / "seeds.py", build / "seeds"], check=True)
    programs = [build / path.stem for path in sorted(HERE.glob("fuzz_*.c")) if arguments.name in path.stem]
    failed = executions = crashes = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.j) as pool:
        for outcome in pool.map(lambda program: run(program, build, arguments.seconds), programs):
            tell(outcome, arguments.build)
            failed += outcome.failed
            executions += outcome.executions
            crashes += len(outcome.crashes)
    print(f"{len(programs)} targets, {executions:,} executions, {crashes} crashes" +
          (f"; {failed} targets failed" if failed else ""))
    return 1 if failed or not programs else 0


if __name__ == "__main__":
    sys.exit(main())
