"""Power loss, and kill -9, before every change of a file that a day's work makes, in the store, the database, the backups
and the files of jobs: the daemon starts on what is left, and nothing that was reported saved is gone.

disk.py records the daemon's changes (strace) and rebuilds the folder as it may be then. A promise is due from the message
with which the daemon gave it, and until something else was asked. WIPYD_DURABILITY=all tries every moment in every variant
(make durability); else a sample of them, from a seed that is printed; WIPYD_SEED=N repeats one.
"""
import hashlib
import os
import random
import re
import shutil
import sqlite3
import subprocess
import time

from disk import VARIANTS, Recording, strace
from harness import MB, Bench, DBusError, Skip, Variant, lived_in_flash, run_seed, takes

MANAGER, FIRMWARE, SLOT = "org.wipyd1.Manager", "org.wipyd1.Firmware", "org.wipyd1.Slot"
N_SAMPLED = 40
STATE_IS_DONE = re.compile(rb"\x05\0\0\0State\0\x01s\0{1,4}\x04\0\0\0done\0")
CHIP_WRITES = b"\xc0\x00\x02", b"\xc0\x00\x10"  # FLASH_BEGIN, FLASH_DEFL_BEGIN (esp32-serial-protocol)


class TracedBench(Bench):
    """strace is wipyd's parent; what a test sends to wipyd goes to the child."""

    traced = True

    def wipyd_command(self, *arguments):
        command = super().wipyd_command(*arguments)
        return strace(self.folder / "trace") + command if self.traced else command

    def environment(self, **more):
        """Under ptrace no leak check is possible."""
        return super().environment(**more) | {"ASAN_OPTIONS": "detect_leaks=0:exitcode=98:allocator_may_return_null=1"}

    def stop_traced(self):
        """strace passes no SIGTERM on while it traces: its child is told."""
        children = open(f"/proc/{self.wipyd.pid}/task/{self.wipyd.pid}/children").read().split()
        os.kill(int(children[0]), 15)
        assert self.wipyd.wait(timeout=60) == 0
        self.wipyd = None
        self.drop_connection()
        self.traced = False

    def drop_connection(self):
        if self.connection:
            self.connection.close()
            self.connection = None


class Promise:
    """what: a function that takes a bench with a new daemon. From the message of a kind after a time on, until a time."""

    def __init__(self, name, since, told, check):
        self.name, self.since, self.told, self.check = name, since, told, check
        self.until = float("inf")

    def place(self, calls):
        """The number of the call that gave it, and of the first that may take it back."""
        self.first = next((n for n, call in enumerate(calls) if call.when >= self.since and self.told(call)), None)
        assert self.first is not None, f"{self.name}: never told"
        self.last = next((n for n, call in enumerate(calls) if call.when >= self.until), len(calls))


def is_reply(call):
    strings = call.strings if call.name == "sendmsg" else []
    return any(text[:2] == b"l\x02" for text in strings)


def is_word_of_end(call):
    text = b"".join(call.strings) if call.name == "sendmsg" else b""
    # The State, not the Phase: that one is done a moment before.
    return text[:2] == b"l\x04" and b"PropertiesChanged" in text and STATE_IS_DONE.search(text)


def is_chip_write(call):
    return call.name == "write" and "\\x70\\x74\\x73" in call.words[:120] and any(
        start in text for text in call.strings for start in CHIP_WRITES)


# ---- what is to be found ---------------------------------------------------------------------------------------------

def firmware_is(sha256, **wanted):
    def check(bench):
        path = bench.bus.call("/org/wipyd1", MANAGER, "FindFirmware", "s", sha256)[0]
        told = bench.bus.get_all(path, FIRMWARE)
        assert {key: told[key] for key in wanted} == wanted, told
        file = bench.state / "firmware" / f"{sha256}.tar.gz"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == sha256
    return check


def firmware_is_gone(sha256):
    def check(bench):
        try:
            path = bench.bus.call("/org/wipyd1", MANAGER, "FindFirmware", "s", sha256)[0]
        except DBusError:
            return
        raise AssertionError(f"{path} is back")
    return check


def default_policy_is(policy):
    def check(bench):
        assert bench.bus.get("/org/wipyd1", MANAGER, "DefaultPolicy") == policy
    return check


def label_is(label):
    def check(bench):
        path = bench.bus.call("/org/wipyd1", MANAGER, "FindSlot", "s", label)[0]
        assert bench.bus.get(path, SLOT, "Label") == label
    return check


def job_is(number, *states):
    def check(bench):
        jobs = {job["id"]: job for job in bench.bus.call("/org/wipyd1", MANAGER, "History", "a{sv}", {})[0]}
        assert number in jobs, f"no job {number} in {list(jobs)}"
        state = jobs[number]["state"]
        assert state in states, f"job {number} is {state}"
    return check


def backup_is(areas):
    """One whole generation that the daemon lists holds them."""
    def check(bench):
        boards = list((bench.state / "backup").iterdir()) if (bench.state / "backup").exists() else []
        listed = bench.bus.call("/org/wipyd1", MANAGER, "ListBackups", "s", "")[0]
        found = [{part.name: part.read_bytes() for part in generation.iterdir() if part.name != "SHA256SUMS"}
                 for board in boards for generation in board.iterdir() if not generation.name.startswith(".")]
        assert areas in found, f"{len(found)} generations, none with the board's data"
        assert listed, "the daemon doesn't list it"
        for sums in (bench.state / "backup").glob("*/2*/SHA256SUMS"):
            done = subprocess.run(["sha256sum", "--strict", "-c", sums.name], cwd=sums.parent, capture_output=True, text=True)
            assert done.returncode == 0, done
    return check


# ---- a day's work ----------------------------------------------------------------------------------------------------

class Day:
    def __init__(self, bench):
        self.bench, self.promises = bench, []

    def promise(self, name, deed, *checks, told=is_reply):
        """The deed, and what it promises."""
        since = time.time()
        answer = deed()
        made = [Promise(name, since, told, check) for check in checks]
        self.promises += made
        return answer, made

    def end(self, promises):
        for promise in promises:
            promise.until = time.time()

    def job_ended(self, name, number, began):
        self.promises.append(Promise(f"end of {name}", began, is_word_of_end, job_is(number, "done")))

    def live(self):
        bench, bus = self.bench, self.bench.bus
        names = "a.tar.gz", "b.tar.gz", "c.tar.gz"
        releases = "1.18.1.r1", "1.20.2.r4", "1.20.1.r1"
        files = [bench.package(name, release=release, app_bytes=60_000, seed=i)
                 for i, (name, release) in enumerate(zip(names, releases))]
        a, b, _ = (hashlib.sha256(file.read_bytes()).hexdigest() for file in files)

        self.promise("import a", lambda: bench.import_firmware(files[0]), firmware_is(a, State="good"))
        path, good = self.promise("import b", lambda: bench.import_firmware(files[1]), firmware_is(b, State="good"))
        self.promise("default policy", lambda: bus.call("/org/wipyd1", MANAGER, "SetDefaultPolicy", "s", "ask"),
                     default_policy_is("ask"))
        slot = bus.call("/org/wipyd1", MANAGER, "FindSlot", "s", bench.device()["Slot"])[0]
        self.promise("label", lambda: bus.call(slot, SLOT, "SetLabel", "s", "bench 7"), label_is("bench 7"))

        before = lived_in_flash(4 * MB)
        areas = {"config.bin": before[0x3FF000:0x400000], "nvs.bin": before[0x9000:0x10000],
                 "otadata.bin": before[0x190000:0x191000]}
        began = time.time()
        # The call's answer promises nothing: the record is written when the package is at hand.
        job = bench.start_flash(files[2])
        self.promises += [Promise("first write: backup", began, is_chip_write, backup_is(areas)),
                          Promise("first write: job", began, is_chip_write, job_is(1, "running", "interrupted", "waiting",
                                                                                  "done"))]
        ended = bench.wait_job(job)
        assert ended["State"] == "done", ended
        self.job_ended("flash", 1, began)

        self.end(good)
        self.promise("remove b", lambda: bus.call(path, FIRMWARE, "Remove", "b", True), firmware_is_gone(b))
        bench.board.download()
        began = time.time()
        job = bus.call(bench.device_path(), "org.wipyd1.Device", "Flash", "a{sv}",
                       {"version": Variant("s", "1.18.1.r1")})[0]
        ended = bench.wait_job(job)
        assert ended["State"] == "done", ended
        self.job_ended("flash from the store", 2, began)


def check_state(bench, due, where):
    """The daemon starts on it, keeps what is due, finds no damage, ends well."""
    bench.start_wipyd()
    for promise in due:
        try:
            promise.check(bench)
        except (AssertionError, DBusError) as problem:
            raise AssertionError(f"{where}: {promise.name}: {problem}\n{bench.log()[-1500:]}") from None
    bench.drop_connection()
    bench.stop_wipyd()
    damaged = [path.name for path in bench.state.rglob("*damaged*")]
    assert not damaged, f"{where}: {damaged}"
    database = sqlite3.connect(f"file:{bench.state / 'wipyd.db'}?mode=ro", uri=True)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)], where
    database.close()


def digest_of(folder):
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0")
        if path.is_file() and not path.name.endswith("-shm"):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@takes(30, limit=int(os.environ.get("WIPYD_DURABILITY_S", "600")))
def test_power_lost_at_every_step_of_a_days_work():
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode:
        raise Skip("strace can't trace")
    seed = run_seed()
    every = os.environ.get("WIPYD_DURABILITY") == "all"
    print(f"note: WIPYD_SEED={seed}")
    with TracedBench([dict(flash=lived_in_flash(4 * MB))], wipyd=False) as bench:
        bench.state.mkdir(mode=0o700)
        bench.start_wipyd()
        day = Day(bench)
        day.live()
        bench.stop_traced()
        recording = Recording(bench.folder / "trace", bench.state)
        for promise in day.promises:
            promise.place(recording.calls)
        bench.ports = []  # the boards are not there any more
        cases = [(n, variant) for n in recording.steps for variant in VARIANTS]
        chosen = cases if every else sorted(random.Random(seed).sample(cases, min(N_SAMPLED, len(cases))))
        seen, n_starts, problems = set(), 0, []
        for n, variant in chosen:
            recording.rebuild(bench.state, n, variant, seed)
            due = [promise for promise in day.promises if promise.first < n <= promise.last]
            key = digest_of(bench.state), tuple(promise.name for promise in due)
            if key in seen:
                continue
            seen.add(key)
            call = recording.calls[n]
            n_starts += 1
            try:
                check_state(bench, due, f"{variant}, before call {n} {call.name}({call.fd_path or call.paths()})")
            except AssertionError as problem:
                problems.append(str(problem))
                bench.drop_connection()
                if bench.wipyd:
                    bench.kill_wipyd()
                if not every or len(problems) >= 20:
                    break
        print(f"note: {len(recording.steps)} changes, {len(day.promises)} promises; {len(chosen)} losses of {len(cases)}, "
              f"{n_starts} different disks: {n_starts - len(problems)} passed, {len(problems)} failed")
        assert not problems, "\n".join(problems)
