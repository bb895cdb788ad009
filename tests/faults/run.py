#!/usr/bin/env python3
"""Every call for memory and of the system fails once, at each place in our programs that makes it: see faults_shim.c.

    run.py [--sites N] [--seed N] [--workers N] [--seconds S] [-k PATTERN] [daemon] [client] [unit]

A first run records the sites that are met; then each fails once, with each errno that its call may have (faults.py).

daemon  wipyd in a day's work (daemon.py). At start it comes up, or ends with a sentence that names what failed. Later it
        lives: what met the fault is refused by an error with a sentence, or was done and is true; the same again, and a
        flash that is compared byte by byte, work; no file stays open, no memory gathers.
client  every verb of wipyctl (client.py): it fails with a sentence and an exit code, or its output is that without a fault.
unit    the unit programs (unit.py): no signal, no word from a sanitizer; an assertion of the test may fail. Faults in
        the tests' own lines are not dealt.

--sites: so many cases of each, chosen by the seed, which is printed. --seconds: as many as begin within that time.
-k: only cases whose line in the source, moment or program contains PATTERN. It ends with "N passed, N failed".
"""
import argparse
import collections
import contextlib
import multiprocessing
import os
import queue
import random
import shutil
import sys
import tempfile
import time
import traceback

import faults
from faults import BUILD, MEMORY, Names, faults_of, harness

import client
import daemon
import unit

AGAIN_MOST = 40
PARTS = {"daemon": daemon, "client": client, "unit": unit}




def work(part, plan, folder, cases, results):
    """In a process of its own."""
    harness._die_with_parent()
    os.environ["WIPYD_TEST_FOLDER"] = folder
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    worker = part.Worker(plan)
    case, number = None, None
    while True:
        try:
            number, case = cases.get(timeout=2)
        except queue.Empty:
            case = None
        if case is None:
            break
        results.put(("began", number, os.getpid()))
        try:
            word = worker.run(case)
        except BaseException:
            results.put(("failed", number, traceback.format_exc()))
            worker.give_up()
        else:
            results.put(("passed", number, word))
    try:
        worker.end()
    except BaseException:
        results.put(("end", None, traceback.format_exc()))
    results.put(("bye", None, os.getpid()))


class Tally:
    def __init__(self):
        self.words, self.n_failed, self.n_passed = collections.Counter(), 0, 0

    def fail(self, text, problem):
        self.n_failed += 1
        print(f"FAIL {text}\n" + "".join(f"     | {line[:1500]}\n" for line in problem.rstrip().splitlines()[-25:]), flush=True)

    def passed(self, word):
        self.n_passed += word != "not met"
        self.words[word] += 1


def run_cases(part, plan, cases, order, arguments, n_workers, folder, passed, failed):
    """In so many processes; passed and failed are told of each."""
    started = time.monotonic()
    todo, results = multiprocessing.Queue(), multiprocessing.Queue()
    for number in order:
        todo.put((number, cases[number]))
    workers = [multiprocessing.Process(target=work, args=(part, plan, folder, todo, results))
               for _ in range(min(n_workers, max(1, len(order))))]
    for worker in workers:
        worker.start()
    under_way, done = {}, set()
    while any(worker.is_alive() for worker in workers) or not results.empty():
        if arguments.seconds and time.monotonic() - started > arguments.seconds:
            with contextlib.suppress(queue.Empty):
                while True:
                    todo.get_nowait()
        try:
            kind, number, value = results.get(timeout=1)
        except queue.Empty:
            continue
        if kind == "began":
            under_way[value] = number
        elif kind == "end":
            failed(None, value)
        elif kind in ("passed", "failed"):
            done.add(number)
            (passed if kind == "passed" else failed)(number, value)
    for pid, number in under_way.items():
        if number not in done:
            failed(number, f"the process {pid} has gone")


def run_part(name, part, arguments, tally, folder):
    started = time.monotonic()
    plan, cases = part.plan(arguments.pattern, arguments)
    texts = part.texts(plan, cases)
    if arguments.pattern:
        chosen = [i for i, text in enumerate(texts) if arguments.pattern in text]
        cases, texts = [cases[i] for i in chosen], [texts[i] for i in chosen]
    order = list(range(len(cases)))
    if arguments.sites:
        order = random.Random(f"{arguments.seed} {name}").sample(order, min(arguments.sites, len(order)))
    n_memory, n_system = part.n_sites(plan)
    print(f"{name}: {n_memory} allocation sites, {n_system} system-call sites; {len(cases)} cases, {len(order)} of them now; "
          f"{time.monotonic() - started:.0f} s to find them", flush=True)
    again = {}

    def passed(number, word):
        tally.passed(word)
        if arguments.verbose:
            print(f"ok   {texts[number]}: {word}", flush=True)

    def failed_beside_others(number, problem):
        again[number] = problem

    def failed(number, problem):
        tally.fail(f"{name}: at the end" if number is None else texts[number], problem)

    run_cases(part, plan, cases, order, arguments, arguments.workers, folder, passed, failed_beside_others)
    # Boards keep real time: what failed beside others may have been held up by them. Alone it has no excuse, but leaks.
    numbers = [number for number in again if number is not None]
    if None in again or len(numbers) > AGAIN_MOST:
        for number, problem in again.items():
            failed(number, problem)
    elif numbers:
        print(f"{name}: {len(numbers)} failed beside others, and have a second try alone", flush=True)
        run_cases(part, plan, cases, numbers, arguments, 1, folder, passed, failed)
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    return n_memory, n_system


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--workers", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("-k", dest="pattern", default="")
    parser.add_argument("-v", dest="verbose", action="store_true")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    tally, n_memory, n_system = Tally(), 0, 0
    folder = tempfile.mkdtemp(prefix="wipyd-", dir="/tmp")
    os.environ["WIPYD_TEST_FOLDER"] = folder
    try:
        for name in arguments.parts or PARTS:
            memory, system = run_part(name, PARTS[name], arguments, tally, folder)
            n_memory, n_system = n_memory + memory, n_system + system
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(", ".join(f"{n} {word}" for word, n in tally.words.most_common()))
    print(f"{n_memory} allocation sites, {n_system} system-call sites; {tally.n_passed} passed, {tally.n_failed} failed")
    return 1 if tally.n_failed or not tally.n_passed else 0


if __name__ == "__main__":
    sys.exit(main())
