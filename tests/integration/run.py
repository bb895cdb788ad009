#!/usr/bin/env python3
"""Runs the integration tests: every function test_* of every test_*.py in this folder, each in a process of its own with
a time limit and a folder that is removed afterwards.

    run.py [-k PATTERN] [-j N] [--list] [--build FOLDER] [--san] [--valgrind] [--times]

N tests run side by side, of those that want it quiet (harness.quiet) one a core, at the end.

PATTERN is a regular expression, sought in "test_flash.name"; a test that runs by the stub as well is "test_flash.name.stub"
then (loaders.py). What a test prints is shown when it fails; of one that
passes, the lines that begin with "note: ". See harness.py for the environment.
"""
import argparse
import ctypes
import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from loaders import loaders_of

HERE = Path(__file__).resolve().parent
AGAIN_MOST = 6
PASSED, FAILED, SKIPPED = 0, 1, 2
LIMIT_S = 120


class TimeIsUp(BaseException):
    """Past everything that catches Exception, so that the bench still prints its logs."""


class Test:
    def __init__(self, name, loader, function):
        self.name = name if loader in (None, "rom") else f"{name}.{loader}"
        self.loader, self.function = loader, function
        self.takes = getattr(function, "takes", 1)
        self.limit = getattr(function, "limit", None) or LIMIT_S
        self.is_quiet = getattr(function, "quiet", False)


def load(pattern):
    tests = []
    for path in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(path.stem)
        tests += [Test(f"{path.stem}.{name}", loader, thing) for name, thing in vars(module).items()
                  if name.startswith("test_") and callable(thing) and getattr(thing, "__module__", "") == path.stem
                  for loader in loaders_of(f"{path.stem}.{name}")]
    tests = [test for test in tests if re.search(pattern, test.name)]
    # The long ones first, those that want it quiet last; stable: else as they stand in the files.
    return sorted(tests, key=lambda test: (test.is_quiet, -test.takes))


# ---- one test, in its own process ------------------------------------------------------------------------------------

def on_alarm(*_):
    raise TimeIsUp("the time limit")


def run_here(test, folder, slowness):
    """Gives a code; what is printed goes to the report."""
    libc = ctypes.CDLL(None)
    libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not to outlive the runner
    libc.prctl(36, 1)              # PR_SET_CHILD_SUBREAPER: nobody slips away to init
    report = os.open(folder / "report", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(report, 1)
    os.dup2(report, 2)
    os.environ["WIPYD_TEST_FOLDER"] = str(folder)
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(test.limit * slowness)
    skips = tuple({module.Skip for module in list(sys.modules.values()) if hasattr(module, "Skip")})
    code = PASSED
    importlib.import_module("harness").use_loader(test.loader)
    try:
        test.function()
    except skips as skip:
        print(f"SKIP: {skip}")
        code = SKIPPED
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        code = FAILED
    sys.stdout.flush()
    return code


class Run:
    def __init__(self, test, slowness):
        self.test, self.started = test, time.monotonic()
        self.deadline = self.started + test.limit * slowness + 15
        self.folder = Path(tempfile.mkdtemp(prefix="wipyd-", dir="/tmp"))
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = FAILED
            try:
                code = run_here(test, self.folder, slowness)
            finally:
                os._exit(code)

    def poll(self):
        """None while it runs, then (code, seconds, report)."""
        pid, status, used = os.wait4(self.pid, os.WNOHANG)
        self.cpu_seconds = used.ru_utime + used.ru_stime  # with all that it has waited for
        seconds = time.monotonic() - self.started
        if pid == 0:
            if time.monotonic() > self.deadline:
                os.kill(self.pid, signal.SIGKILL)  # and with it, all that it started
                self.deadline = float("inf")
            return None
        report = self.folder / "report"
        text = report.read_text(errors="replace") if report.exists() else ""
        if os.WIFSIGNALED(status):
            text += f"\nkilled by signal {os.WTERMSIG(status)}"
        if not os.environ.get("WIPYD_TEST_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)
        return (os.WEXITSTATUS(status) if os.WIFEXITED(status) else FAILED), seconds, text


def tell(test, code, seconds, report):
    word = {PASSED: "ok", SKIPPED: "SKIP"}.get(code, "FAIL")
    reason = ""
    if code == SKIPPED:
        reason = "  " + next((line for line in report.splitlines() if line.startswith("SKIP: ")), "")[6:]
    print(f"{word:4} {seconds:6.1f} s  {test.name}{reason}", flush=True)
    if word == "ok":
        print("".join(f"     | {line[6:]}\n" for line in report.splitlines() if line.startswith("note: ")), end="",
              flush=True)
    if word == "FAIL":
        print("".join(f"     | {line}\n" for line in report.splitlines()[-150:]), end="", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", metavar="PATTERN", default="")
    cores = os.cpu_count() or 1
    parser.add_argument("-j", metavar="N", type=int)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--build", metavar="FOLDER")
    parser.add_argument("--san", action="store_true", help="the programs are sanitizer builds")
    parser.add_argument("--valgrind", action="store_true", help="run wipyd in valgrind")
    parser.add_argument("--times", action="store_true", help="say at the end which tests took longest, and their CPU time")
    arguments = parser.parse_args()
    if arguments.build:
        os.environ["WIPYD_BUILD"] = os.path.abspath(arguments.build)
    if arguments.san:
        os.environ["WIPYD_SAN"] = "1"
    if arguments.valgrind:
        os.environ["WIPYD_VALGRIND"] = "1"

    if not arguments.j:
        # Most of them wait for time limits to pass: three a core leave boards their time, under sanitizers two.
        is_slow = "1" in (os.environ.get("WIPYD_SAN"), os.environ.get("WIPYD_VALGRIND"))
        arguments.j = min((2 if is_slow else 3) * cores, 16)

    sys.path.insert(0, str(HERE))
    sys.dont_write_bytecode = True
    tests = load(arguments.k)
    if arguments.list:
        print("\n".join(test.name for test in tests))
        return 0
    harness = importlib.import_module("harness")
    slowness = harness.SLOWNESS
    harness.make_ready()
    waiting, running, counts, times, failed = list(tests), [], [0, 0, 0], [], []
    while waiting or running:
        while waiting and len(running) < (min(cores, arguments.j) if waiting[0].is_quiet else arguments.j):
            running.append(Run(waiting.pop(0), slowness))
        for run in list(running):
            ended = run.poll()
            if ended:
                running.remove(run)
                tell(run.test, *ended)
                counts[ended[0] if ended[0] in (PASSED, SKIPPED) else FAILED] += 1
                times.append((ended[1], run.cpu_seconds, run.test.name))
                if ended[0] not in (PASSED, SKIPPED):
                    failed.append(run.test)
        time.sleep(0.02)
    # Boards keep real time: what failed beside others may have been held up by them. Alone it has no excuse.
    if len(tests) > 1 and len(failed) <= AGAIN_MOST:
        for test in failed:
            run = Run(test, slowness)
            while not (ended := run.poll()):
                time.sleep(0.02)
            tell(test, *ended)
            if ended[0] == PASSED:
                counts[FAILED], counts[PASSED] = counts[FAILED] - 1, counts[PASSED] + 1
                print(f"     | {test.name} failed beside others, and passed alone", flush=True)
    if arguments.times:
        for seconds, cpu_seconds, name in sorted(times, reverse=True)[:15]:
            print(f"{seconds:8.1f} s {cpu_seconds:8.1f} s CPU  {name}")
        print(f"{sum(time[0] for time in times):8.1f} s {sum(time[1] for time in times):8.1f} s CPU  in all")
    print(f"{counts[PASSED]} passed, {counts[FAILED]} failed" +
          (f", {counts[SKIPPED]} skipped" if counts[SKIPPED] else ""))
    return 1 if counts[FAILED] or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
