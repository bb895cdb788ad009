"""The unit programs under faults. Where a call of the test's own fails, nothing is said of us: those are left alone."""
import concurrent.futures
import os
import random
import re
import subprocess
import tempfile
import time

from faults import BUILD, MEMORY, ROOT, Control, Names, excepted_abort, faults_of, harness

LIMIT_S = 150
PROGRAMS_MOST = 2
SLOW_S = 10  # programs that take longer wait for time to pass, again and again


def environment(control, program):
    libraries = [str(BUILD / "libfaults.so"), *harness.sanitizer_library(program)]
    return {**os.environ, "LD_PRELOAD": ":".join(libraries), "WIPYD_FAULTS": str(control.folder), "CMOCKA_MESSAGE_OUTPUT": "TAP",
            "CMOCKA_TEST_ABORT": "1", "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1:verify_asan_link_order=0",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}


def start(control, program, seconds):
    """(exit code, output, seconds)"""
    began = time.monotonic()
    try:
        done = subprocess.run([program], cwd=ROOT, env=environment(control, program), stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=seconds * harness.SLOWNESS, preexec_fn=harness._die_with_parent)
    except subprocess.TimeoutExpired as error:
        return None, (error.stdout or b"").decode(errors="replace"), seconds
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace"), time.monotonic() - began


def record(program):
    with tempfile.TemporaryDirectory(dir=os.environ["WIPYD_TEST_FOLDER"]) as folder:
        control = Control(folder + "/faults")
        control.record(1)
        code, out, seconds = start(control, program, SLOW_S)
        return code, out, seconds, control.sites().get(1, set())


def is_ours(place):
    return place[1].startswith(("daemon/", "client/", "proto/"))


def plan(pattern, arguments):
    programs = [path for path in sorted((BUILD / "unit").glob("test_*")) if not path.suffix]
    if arguments.sites:  # a part of all takes a part of the programs
        programs = random.Random(f"{arguments.seed} programs").sample(programs, min(6, len(programs)))
    found, names = {}, {}
    with concurrent.futures.ThreadPoolExecutor(arguments.workers) as pool:
        for program, (code, out, _, sites) in zip(programs, pool.map(record, programs)):
            names[program] = Names(program)
            places = names[program].find({site for _, site in sites})
            found[program] = {(name, site) for name, site in sites if is_ours(places[site])}
            if code != 0 and arguments.verbose:
                print(f"     {program.name}: {code} while its sites were recorded: {out[-300:]!r}")
    return (names, found), few_of_each(names, found, arguments.seed)


def few_of_each(names, found, seed):
    """Each line of ours in a few of the programs that meet it, chosen by the seed."""
    rng, by_line = random.Random(f"{seed} programs"), {}
    for program in found:
        for fault in faults_of(found[program]):
            by_line.setdefault((fault.name, fault.error, *names[program].known[fault.site]), []).append((program, fault))
    return [case for cases in by_line.values() for case in rng.sample(cases, min(PROGRAMS_MOST, len(cases)))]


def texts(plan, cases):
    return [f"{program.name}: {plan[0][program].of(fault)}" for program, fault in cases]


def n_sites(plan):
    """Lines of ours, whichever programs meet them."""
    sites = {(name, *plan[0][program].known[site][1:]) for program, some in plan[1].items() for name, site in some}
    return sum(name in MEMORY for name, *_ in sites), sum(name not in MEMORY for name, *_ in sites)


class Worker:
    def __init__(self, plan):
        self.names = plan[0]

    def run(self, case):
        program, fault = case
        with tempfile.TemporaryDirectory(dir=os.environ["WIPYD_TEST_FOLDER"]) as folder:
            control = Control(folder + "/faults")
            control.arm(fault)
            code, out, _ = start(control, program, LIMIT_S)
            told = control.told()
        if not control.is_struck:
            return "not met"
        harness.complain_of_sanitizer(program.name, out)
        if library := excepted_abort(told, fault, self.names[program]):
            return f"excepted: {library}"
        assert code is not None, f"it doesn't end within {LIMIT_S} s; {out[-800:]}"
        assert code >= 0 and "abort " not in told, f"signal {-code}; {told}; {out[-800:]}"
        if found := re.search(r"^assertion (.*)$", told, re.M):
            assert found[1].removeprefix("./").startswith("tests/unit/"), found[1]
            return "refused, as the test noticed"
        return "worked"

    def give_up(self):
        pass

    def end(self):
        pass
