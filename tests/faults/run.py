#!/usr/bin/env python3
"""Every call for memory and of the system that wipyd makes fails once, at each place in the program that makes it.

    run.py [--sites N] [--seed N] [-k PATTERN]

A first run records the sites that a workload meets (start, plug, import, flash, history, backups, policy, look, cancel,
poll, stop); then the workload runs once for each, and that one call fails there once with an errno that it may have. The
daemon must not crash, must answer or refuse with an error of its own, and afterwards a flash must be done and the daemon end
well. It may end with a sentence at start, and when it has lost the bus: then the next one does the flash.
--sites: so many of them, chosen by the seed, which is printed. It ends with "N passed, N failed".
"""
import argparse
import concurrent.futures
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/integration"))
import harness  # noqa: E402
from harness import BUILD, DEVICE, MB, SLOWNESS, Bench, DBusError, lived_in_flash  # noqa: E402

MANAGER = "org.wipyd1.Manager"
MEMORY = {"ENOMEM": 12}
ERRORS = {
    "read": (5, 4), "write": (28, 5), "pread": (5,), "pread64": (5,), "pwrite": (28,), "pwrite64": (28, 5), "fsync": (5,),
    "fdatasync": (5,), "ftruncate": (28,), "rename": (28,), "renameat": (5,), "mkdir": (28,), "unlink": (5,), "unlinkat": (5,),
    "fstat": (5,), "socket": (24,), "connect": (111,), "sendmsg": (11, 105), "recvmsg": (4, 12), "epoll_create1": (24,),
    "epoll_ctl": (28,), "timerfd_create": (24,), "memfd_create": (24,), "pipe2": (24,), "getrandom": (11,), "mmap": (12,),
    "tcsetattr": (5,), "ioctl": (5,), "fcntl": (22,), "open": (24, 13), "openat": (24, 28), "malloc": (12,), "calloc": (12,),
    "realloc": (12,),
}
# Errors that a service's answer may have besides org.wipyd1.Error.*: sd-bus's own for an errno.
BUS_ERRORS = re.compile(r"org\.wipyd1\.Error\.|org\.freedesktop\.DBus\.Error\.(NoMemory|IOError|Failed|FileNotFound|"
                        r"LimitsExceeded|AccessDenied|NoReply|Disconnected|ServiceUnknown|UnknownObject|InvalidArgs)|"
                        r"System\.Error\.E[A-Z]+")


class Ended(Exception):
    pass


class FaultBench(Bench):
    fault = None
    is_struck_once = True

    def preload(self, program):
        environment = super().preload(program)
        if not self.is_struck_once:
            return environment
        environment["LD_PRELOAD"] = ":".join([str(BUILD / "libfaults.so"), *filter(None, [environment.get("LD_PRELOAD")])])
        environment["WIPYD_FAULTS_LOG"] = str(self.folder / "faults")
        if self.fault:
            environment["WIPYD_FAULT"] = self.fault
        return environment

    def told(self):
        path = self.folder / "faults"
        return path.read_text() if path.exists() else ""


def lease(bench):
    fd, = bench.bus.call(bench.device_path(), DEVICE, "Lease", "s", "mine")
    os.close(fd)
    harness.wait_for(lambda: bench.bus.get(bench.device_path(), DEVICE, "Lessee") == "", 10, "given back")


def workload(bench):
    """Each step may be refused; the daemon may not go away."""
    package = bench.package("a.tar.gz", app_bytes=60_000)

    def steps():
        yield lambda: bench.import_firmware(package)
        yield lambda: bench.bus.call("/org/wipyd1", MANAGER, "SetDefaultPolicy", "s", "ask")
        yield lambda: bench.wait_job(bench.bus.call(bench.device_path(), DEVICE, "Flash", "a{sv}", {})[0], 20)
        yield lambda: bench.bus.managed()
        yield lambda: bench.bus.call("/org/wipyd1", MANAGER, "History", "a{sv}", {})
        yield lambda: bench.bus.call("/org/wipyd1", MANAGER, "Decisions", "a{sv}", {})
        yield lambda: bench.bus.call("/org/wipyd1", MANAGER, "ListBackups", "s", "")
        yield lambda: bench.bus.call(bench.device_path(), DEVICE, "Explain")
        yield lambda: bench.bus.call("/org/wipyd1", MANAGER, "Refresh")
        yield lambda: lease(bench)
        yield lambda: bench.bus.call(bench.start_flash(package), harness.JOB, "Cancel")

    for step in steps():
        try:
            step()
        except DBusError as error:
            assert BUS_ERRORS.match(error.name), error
        except (OSError, EOFError, ConnectionError, TimeoutError, AssertionError) as problem:
            if bench.wipyd.poll() is None:
                raise
            raise Ended from problem
        if bench.wipyd.poll() is not None:
            raise Ended


def judge_end(bench, when):
    """The daemon has ended by itself."""
    code = bench.wipyd.wait(timeout=10)
    log, told = bench.log(), bench.told()
    bench.wipyd = None
    if bench.connection:
        bench.connection.close()
        bench.connection = None
    if library := re.search(r"abort (\S+)", told):
        name = os.path.basename(library[1])
        assert name.startswith("libuv"), f"{when}: abort() in {name}\n{log[-600:]}"
        return f"libuv aborts"
    assert code == 1, f"{when}: ended with {code}\n{log[-1200:]}"
    last = log.rstrip().rsplit("\n", 1)[-1]
    assert len(last) > 12, f"{when}: ended without a word"
    return "ended with a sentence"


def one(fault, folder):
    """Gives (word, text). fault: None records the sites."""
    os.environ["WIPYD_TEST_FOLDER"] = str(folder)
    bench = FaultBench([dict(flash=lived_in_flash(4 * MB))], wipyd=False)
    bench.fault = fault
    word = "went on"
    with bench:
        try:
            try:
                bench.start_wipyd()
            except AssertionError:
                bench.wipyd.wait(timeout=10)
                raise Ended from None
            workload(bench)
            bench.board.download()
        except Ended:
            word = judge_end(bench, fault)
            bench.is_struck_once = False
            bench.board.download()
            bench.start_wipyd()
        harness.wait_for(lambda: bench.bus.get(bench.device_path(), DEVICE, "Job") == "/", 20, "the last job is over")
        bench.flash_well(bench.package("b.tar.gz", app_bytes=50_000, release="1.20.2.r4"))
        if bench.fault and bench.is_struck_once:
            bench.stop_wipyd()
        told = bench.told()
    if fault and "struck" not in told:
        word = "not met again"
    return word, told


def in_a_child(fault):
    """A process for each, so that one that hangs or dies is one."""
    folder = tempfile.mkdtemp(prefix="wipyd-", dir="/tmp")
    done = subprocess.run([sys.executable, __file__, "--one", fault or "-", "--folder", folder], capture_output=True, text=True,
                          timeout=240 * SLOWNESS)
    subprocess.run(["rm", "-rf", folder], check=False)
    return fault, done.returncode, done.stdout, done.stderr


def name_of(site):
    """The line of ours."""
    done = subprocess.run(["addr2line", "-f", "-s", "-e", str(BUILD / "wipyd"), hex(int(site, 16) - 1)], capture_output=True,
                          text=True)
    return " ".join(done.stdout.split("\n")[:2])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sites", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("-k", dest="pattern", default="")
    parser.add_argument("--one", default="")
    parser.add_argument("--folder", default="/tmp")
    arguments = parser.parse_args()
    if arguments.one:
        word, told = one(None if arguments.one == "-" else arguments.one, arguments.folder)
        print(f"WORD {word}\n{told if arguments.one == '-' else ''}")
        return 0
    _, code, out, err = in_a_child(None)
    if code:
        print(out[-3000:], err[-3000:])
        print("0 passed, 1 failed")
        return 1
    sites = sorted(set(re.findall(r"^site (\w+) ([0-9a-f]+)$", out, re.M)))
    faults = [f"{name} {site} {number}" for name, site in sites for number in ERRORS[name]]
    faults = [fault for fault in faults if re.search(arguments.pattern, fault)]
    n_memory = sum(name.endswith("alloc") for name, _ in sites)
    print(f"{len(sites)} sites, {n_memory} of memory; {len(faults)} faults; seed {arguments.seed}", flush=True)
    if arguments.sites:
        faults = random.Random(arguments.seed).sample(faults, min(arguments.sites, len(faults)))
    words, n_failed = {}, 0
    with concurrent.futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        for fault, code, out, err in pool.map(in_a_child, faults):
            word = re.search(r"^WORD (.*)$", out, re.M)
            if code or not word:
                n_failed += 1
                print(f"FAIL {fault} {name_of(fault.split()[1])}\n{out[-2500:]}\n{err[-2500:]}", flush=True)
            else:
                words[word[1]] = words.get(word[1], 0) + 1
                if word[1] != "went on":
                    print(f"     {fault} {name_of(fault.split()[1])}: {word[1]}", flush=True)
    print(", ".join(f"{n} {word}" for word, n in sorted(words.items())))
    print(f"{len(faults) - n_failed} passed, {n_failed} failed")
    return 1 if n_failed or not faults else 0


if __name__ == "__main__":
    sys.exit(main())
