"""wipyd under faults: what is asked of it, and what must be true of each answer."""
import contextlib
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

from faults import BUILD, MEMORY, Control, Names, excepted_abort, faults_of, harness
from firmware_bench import FirmwareBench, folder, release, release_bytes
from firmware_server import FirmwareServer
from harness import DEVICE, FINAL, FIRMWARE, JOB, MANAGER, MB, DBusError, lived_in_flash, memfd, wait_for

import packages

TOP = "/org/wipyd1"
CONFIG = "[boards]\npolicy = ask\nsettle = 20\nlisten = 50\nsyncs = 2\n"
GROWTH_KIB = 2048
KEPT_FILES = 4  # a connection to the server, what its resolver needs
# Of the bus's own names, those that sd-bus makes of an errno.
SYSTEM_ERRORS = re.compile(r"org\.freedesktop\.DBus\.Error\.(NoMemory|IOError|Failed|FileNotFound|LimitsExceeded|AccessDenied|"
                           r"InvalidArgs)|System\.Error\.E[A-Z]+")
OURS = re.compile(r"org\.wipyd1\.Error\.\w+")


class Refused(Exception):
    """An error with a name and a sentence: what a fault may end in."""

    def __init__(self, name, text):
        super().__init__(f"{name}: {text}")
        self.name = name
        assert OURS.fullmatch(name) or SYSTEM_ERRORS.fullmatch(name), f"no error of ours: {name}: {text}"
        assert len(text) >= 8, f"{name} has no sentence: {text!r}"


class Excepted(Exception):
    """A library has ended the daemon, and the table says that it may."""


class FaultBench(FirmwareBench):
    """One board on USB, and the daemon under the faults of self.control."""

    def __init__(self, server):
        super().__init__(server, boards=[dict(flash=lived_in_flash(4 * MB, app_bytes=30_000))], config=CONFIG, old=False, usb=True,
                         wipyd=False)
        self.config = self.keys(server.url("good/findupgrade"), timeout=5)
        self.n_releases = 0

    def __enter__(self):
        super().__enter__()
        self.control = Control(self.folder / "faults")
        self.plug(self.board)
        self.next_release()
        self.packages = []
        for i in range(2):
            path = self.folder / f"flash{i}.tar.gz"
            packages.make_package(path, release=f"1.20.{100 + i}.r1", app_bytes=30_000, seed=50 + i)
            self.packages.append(path)
        return self

    def preload(self, program):
        environment = super().preload(program)
        environment["LD_PRELOAD"] = ":".join([str(BUILD / "libfaults.so"), *filter(None, [environment.get("LD_PRELOAD")])])
        environment["WIPYD_FAULTS"] = str(self.control.folder)
        environment["ASAN_OPTIONS"] = self.environment()["ASAN_OPTIONS"] + ":verify_asan_link_order=0"
        return environment

    def manager_call(self, member, signature="", *arguments):
        return self.bus.call(TOP, MANAGER, member, signature, *arguments)

    def device_call(self, member, signature="", *arguments):
        return self.bus.call(self.device_path(), DEVICE, member, signature, *arguments)

    def next_release(self):
        self.n_releases += 1
        self.server.add(*release(f"1.21.{self.n_releases}.r1", app_bytes=30_000))
        return f"1.21.{self.n_releases}.r1"

    def ended_job(self, path):
        """Its properties; Refused when it has failed."""
        job = self.wait_job(path)
        if job["State"] == "failed":
            raise Refused(job["Error"], job["ErrorText"])
        return job

    def is_quiet(self):
        return self.device()["Job"] == "/"

    def start_wipyd(self):
        self.began_at = len(self.log())
        super().start_wipyd()

    def told(self):
        """By this daemon."""
        return self.log()[self.began_at:]

    def n_files(self):
        return len(os.listdir(f"/proc/{self.wipyd.pid}/fd"))

    def own_kib(self):
        return self.rss_kib("RssAnon")


# ---- the day's work: each step prepares, and gives what is to be done, and what must be true of its answer if there is one ----

def equal(wanted):
    def check(answer):
        assert answer == wanted, f"{answer!r} instead of {wanted!r}"
    return check


def question(ask):
    """The same answer as before the fault, or, where the daemon has moved on, as after it."""
    def step(bench):
        before = ask(bench)

        def check(answer):
            assert answer in (before, ask(bench)), f"{answer!r} instead of {before!r}"
        return lambda: ask(bench), check
    return step


def contents(fds):
    found = {}
    for part, fd in fds:
        with os.fdopen(fd, "rb") as file:
            found[part] = file.read()
    return found


def newest_backup(bench):
    mac, name = bench.manager_call("ListBackups", "s", "")[0][0][:2]
    return contents(bench.manager_call("OpenBackup", "ss", mac, name)[0])


def stored(bench, version):
    path, = bench.manager_call("FindFirmware", "s", version)
    return path


def firmware(bench):
    """A package in the store."""
    found = sorted(path for path, interfaces in bench.bus.managed().items() if FIRMWARE in interfaces)
    assert found, "nothing in the store"
    return found[-1]


def exported(bench, path):
    fd, = bench.bus.call(path, FIRMWARE, "Export")
    return contents([("", fd)])[""]


def export(bench):
    path = firmware(bench)
    return lambda: exported(bench, path), equal(exported(bench, path))


def take_in(bench):
    bench.n_releases += 1
    data = release_bytes(f"1.21.{bench.n_releases}.r1", app_bytes=30_000)
    path = bench.folder / "import.tar.gz"
    path.write_bytes(data)

    def check(found):
        assert exported(bench, found) == data, "what was taken in is another package"
        bench.bus.call(found, FIRMWARE, "Remove", "b", True)
    return lambda: bench.import_firmware(path), check


def verify(bench):
    path = firmware(bench)
    return lambda: bench.bus.call(path, FIRMWARE, "Verify"), equal(["good"])


def pin(bench):
    path = firmware(bench)

    def check(_):
        assert bench.bus.get(path, FIRMWARE, "Pinned")
        bench.bus.call(path, FIRMWARE, "Pin", "b", False)
    return lambda: bench.bus.call(path, FIRMWARE, "Pin", "b", True), check


def keep_only(bench, version):
    for path, interfaces in bench.bus.managed().items():
        if FIRMWARE in interfaces and interfaces[FIRMWARE]["Release"] != version:
            bench.bus.call(path, FIRMWARE, "Pin", "b", False)
            bench.bus.call(path, FIRMWARE, "Remove", "b", True)


def refresh(bench):
    wait_for(lambda: bench.manager()["PollState"] == "idle", 20, "the daemon's own poll is over")
    version = bench.next_release()

    def act():
        since = bench.manager()["PolledAt"]
        bench.manager_call("Refresh")

        def ended():
            manager = bench.manager()
            return manager if manager["PollState"] == "idle" and manager["PolledAt"] > since else None
        manager = wait_for(ended, 20, "the end of a poll")
        if manager["PollFailures"]:
            raise Refused("org.wipyd1.Error.SourceFailed", manager["PollResult"])
        return manager["PollResult"]

    def check(result):
        assert version in result, f"{result!r} instead of {version}"
        keep_only(bench, version)
    return act, check


def set_policy(bench):
    def act():
        bench.manager_call("SetDefaultPolicy", "s", "off")
        bench.manager_call("SetDefaultPolicy", "s", "ask")

    def check(_):
        assert bench.manager()["DefaultPolicy"] == "ask"
    return act, check


def set_label(bench):
    path = bench.manager_call("FindSlot", "s", bench.slot(bench.board))[0]
    text = f"place {time.monotonic_ns()}"

    def check(_):
        assert bench.bus.get(path, "org.wipyd1.Slot", "Label") == text
    return lambda: bench.bus.call(path, "org.wipyd1.Slot", "SetLabel", "s", text), check


def flash_with(start):
    def step(bench):
        bench.board.download()
        before = bench.board.flash()
        package = bench.packages[0]
        if packages.expected_flash(package, 4 * MB, before) == before:
            package = bench.packages[1]
        wanted = packages.expected_flash(package, 4 * MB, before)
        assert wanted != before

        def check(job):
            assert job["State"] == "done", job["State"]
            assert bench.board.flash() == wanted, "done, and the flash is another"
        return lambda: bench.ended_job(start(bench, package)), check
    return step


def flash_stored(bench):
    bench.board.download()
    before = bench.board.flash()
    version, data = bench.bus.get(firmware(bench), FIRMWARE, "Release"), exported(bench, firmware(bench))
    path = bench.folder / "stored.tar.gz"
    path.write_bytes(data)

    def act():
        return bench.ended_job(bench.device_call("Flash", "a{sv}", {})[0])

    def check(job):
        assert job["State"] == "done" and job["Release"] == version, job
        assert bench.board.flash() == packages.expected_flash(path, 4 * MB, before), "done, and the flash is another"
    return act, check


def cancel(bench):
    bench.board.download()

    def act():
        path = bench.start_flash(bench.packages[0])
        try:
            bench.bus.call(path, JOB, "Cancel")
        finally:
            job = bench.wait_job(path)
        return job

    def check(job):
        assert job["State"] in FINAL and (job["State"] != "failed" or job["ErrorText"]), job
    return act, check


def identify(bench):
    bench.board.download()

    def act():
        return bench.ended_job(bench.device_call("Identify", "a{sv}", {})[0])

    def check(job):
        assert job["State"] == "done" and bench.device()["Mac"] == "30:ae:a4:01:02:03", job
    return act, check


def look(bench):
    bench.board.download()

    def check(_):
        assert bench.device()["Mac"] == "30:ae:a4:01:02:03", bench.device()
    return lambda: bench.device_call("Look", "a{sv}", {}), check


def lease(bench):
    def act():
        fd, = bench.device_call("Lease", "s", "mine")
        try:
            assert bench.device()["Lessee"], "nobody's lease"
        finally:
            os.close(fd)
        wait_for(lambda: not bench.device()["Lessee"], 10, "the lease is given back")
    return act, lambda _: None


def replug(bench):
    def act():
        size = len(bench.log())
        bench.replug(bench.board)
        try:
            wait_for(lambda: bench.device()["Present"] and bench.device()["Mac"], 8, "the board is seen")
        except AssertionError:
            said = re.findall(r"^(?:warning|error) (.*)$", bench.log()[size:], re.M)
            assert said, f"the board isn't seen, and nothing is said about it: {bench.log()[size:]}"
            raise Refused("org.wipyd1.Error.NoSuchDevice", said[-1]) from None
    return act, lambda _: None


def reload_(bench):
    def act():
        size = len(bench.log())
        bench.wipyd.send_signal(signal.SIGHUP)
        said = wait_for(lambda: re.search(r"the configuration was read again|.*(stays in force|can't be read again).*",
                                          bench.log()[size:]), 10, "a word about the configuration")
        if said[1]:
            raise Refused("org.wipyd1.Error.System", said[0])
    return act, lambda _: None


FLASH = flash_with(lambda bench, package: bench.start_flash(package))
STEPS = {
    "refresh": refresh, "look": look, "identify": identify, "flash a file": FLASH, "flash": flash_stored, "cancel": cancel,
    "import": take_in, "export": export, "verify": verify, "pin": pin, "policy": set_policy, "label": set_label, "lease": lease,
    "explain": question(lambda bench: bench.device_call("Explain")), "history": question(lambda bench: bench.manager_call("History", "a{sv}", {})),
    "decisions": question(lambda bench: bench.manager_call("Decisions", "a{sv}", {})), "backups": question(newest_backup),
    "objects": question(lambda bench: sorted(bench.bus.managed())), "device": question(lambda bench: bench.device()),
    "reload": reload_, "plug": replug,
}
FIRST = list(STEPS)  # in an order in which each has what it needs


# ---- a daemon's life -------------------------------------------------------------------------------------------------

class Life:
    """A bench whose daemon meets one fault after the other, and lives."""

    def __init__(self, server, names):
        self.bench, self.names = FaultBench(server), names
        self.dealt, self.kib = [], None  # since the daemon's start

    def __enter__(self):
        self.bench.__enter__()
        return self

    def __exit__(self, *error):
        return self.bench.__exit__(*error)

    # ---- up and down ----
    def start(self, warm=True):
        bench = self.bench
        self.dealt, self.kib = [], None
        bench.start_wipyd()
        wait_for(lambda: bench.device()["Mac"], 20, "the board is seen at start")
        if warm:
            for _ in range(2):
                for name in FIRST:
                    self.do(name)
            self.settle()
            self.files, self.kib = bench.n_files(), bench.own_kib()

    def is_seen(self):
        try:
            return bool(self.bench.device()["Mac"])
        except DBusError:
            return False

    def wait_seen(self):
        """The fault may have been in the way of that; a crash shows."""
        end = time.monotonic() + 1.5 * harness.SLOWNESS
        while not self.is_seen() and time.monotonic() < end and self.bench.wipyd.poll() is None:
            time.sleep(0.02)
        assert self.bench.wipyd.poll() is None

    def replug_unseen(self):
        if not self.is_seen():
            self.bench.replug(self.bench.board)
            wait_for(self.is_seen, 10, "the board is seen when it is plugged in again")

    def settle(self):
        wait_for(self.bench.is_quiet, 20, "the last job is over")

    def ensure(self):
        if not self.bench.wipyd:
            self.start()

    def stop(self):
        """Checks what has gathered since the start."""
        bench = self.bench
        if not bench.wipyd:
            return
        if self.kib and not harness.SANITIZED:
            grown = bench.own_kib() - self.kib
            assert grown <= GROWTH_KIB, f"{grown} KiB more after {len(self.dealt)} faults: {self.dealt}"
        try:
            bench.stop_wipyd()
        except AssertionError as error:
            raise AssertionError(f"after {'; '.join(map(self.names.of, self.dealt[-60:]))}: {error}") from None
        self.drop()

    def drop(self):
        bench = self.bench
        bench.wipyd = None
        if bench.connection:
            bench.connection.close()
            bench.connection = None

    def do(self, name):
        act, check = STEPS[name](self.bench)
        check(act())

    def judge_end(self, when, fault):
        """The daemon has ended by itself."""
        bench = self.bench
        code = bench.wipyd.wait(timeout=10 * harness.SLOWNESS)
        log, told = bench.told(), bench.control.told()
        self.drop()
        harness.complain_of_sanitizer("wipyd", log)
        if library := excepted_abort(told, fault, self.names):
            raise Excepted(library)
        last = log.rstrip().rsplit("\n", 1)[-1]
        assert when == "at start" and code == 1, f"ended with {code}; {told}; {log[-1500:]}"
        said = [line for line in log.splitlines() if line.startswith("error ")]
        assert said and len(said[-1]) > 20, f"ended without a word about what failed; its last: {last!r}"
        return "ended with a sentence"

    def outcome(self, act, check, fault):
        """In a word; raises AssertionError where it must not be so."""
        bench = self.bench
        try:
            check(act())
            return "worked"
        except Refused as error:
            return error.name
        except DBusError as error:
            if error.name.endswith((".NoReply", ".ServiceUnknown", ".Disconnected")) and self.has_ended():
                self.judge_end("later", fault)
            return Refused(error.name, error.text).name
        except (OSError, EOFError, ConnectionError, TimeoutError, AssertionError):
            if self.has_ended():
                self.judge_end("later", fault)
            raise

    def has_ended(self):
        try:
            self.bench.wipyd.wait(timeout=0.5)
        except Exception:
            return False
        return True

    def check_after(self, name):
        """All is as before: the same step works, a flash does, and nothing is left open."""
        bench = self.bench
        self.replug_unseen()
        self.settle()
        if bench.manager()["DefaultPolicy"] != "ask":
            bench.manager_call("SetDefaultPolicy", "s", "ask")
        if name and name != "flash a file":
            self.do(name)
        self.do("flash a file")
        self.settle()

    # ---- the three kinds of moments ----
    def later(self, fault, name):
        """At a step that the daemon has done before."""
        bench = self.bench
        self.ensure()
        act, check = STEPS[name](bench)
        bench.control.arm(fault)
        try:
            word = self.outcome(act, check, fault)
            if word == "worked" and not bench.control.is_struck:
                time.sleep(0.2)
        except Excepted as library:
            self.start(warm=False)
            self.settle()
            self.do("flash a file")
            self.stop()
            return f"excepted: {library}"
        finally:
            bench.control.off()
        if self.has_gone():
            self.judge_end("later", fault)
        if not bench.control.is_struck:
            return "not met"
        self.dealt.append(fault)
        self.check_after(name)
        wait_for(lambda: bench.n_files() <= self.files + KEPT_FILES, 5, f"{bench.n_files()} files are open, {self.files} were")
        return word

    def has_gone(self):
        return self.bench.wipyd.poll() is not None

    def first_time(self, fault):
        """At what is done once in a life."""
        bench = self.bench
        self.stop()
        self.start(warm=False)
        word = "not met"
        for name in FIRST:
            act, check = STEPS[name](bench)
            bench.control.arm(fault)
            try:
                word = self.outcome(act, check, fault)
            except Excepted as library:
                self.start(warm=False)
                self.settle()
                self.do("flash a file")
                return f"excepted: {library}"
            finally:
                bench.control.off()
            if bench.control.is_struck:
                break
        else:
            return "not met"
        self.dealt.append(fault)
        self.check_after(name)
        self.stop()
        return word

    def at_start(self, fault):
        bench = self.bench
        self.stop()
        bench.control.arm(fault)
        word = "worked"
        try:
            try:
                bench.start_wipyd()
                self.wait_seen()
            except AssertionError:
                if not self.has_ended():
                    raise
                word = self.judge_end("at start", fault)
        except Excepted as library:
            word = f"excepted: {library}"
        finally:
            bench.control.off()
        struck = bench.control.is_struck
        if bench.wipyd and "USB adapters aren't noticed" in bench.told():
            word = "said what it can't do"
            self.stop()
        if bench.wipyd:
            self.replug_unseen()
        else:
            self.start(warm=False)
        self.dealt.append(fault)
        self.do("flash a file")
        self.settle()
        self.stop()
        return word if struck else "not met"

    def at_stop(self, fault):
        bench = self.bench
        self.stop()
        self.start(warm=False)
        bench.control.arm(fault)
        bench.wipyd.send_signal(signal.SIGTERM)
        try:
            code, library = bench.wipyd.wait(timeout=10 * harness.SLOWNESS), None
        except subprocess.TimeoutExpired:
            # libuv's handler reads a byte from a pipe, its lock, and leaves a signal alone if it can't.
            assert fault.name == "read" and self.names.find([fault.site])[fault.site][0] == "main", "SIGTERM doesn't end it"
            bench.wipyd.send_signal(signal.SIGTERM)
            code, library = bench.wipyd.wait(timeout=10 * harness.SLOWNESS), "libuv"
        bench.control.off()
        library = library or excepted_abort(bench.control.told(), fault, self.names)
        assert code == 0 or library, f"ended with {code}; {bench.control.told()}; {bench.told()[-1500:]}"
        self.drop()
        return (f"excepted: {library}" if library else "worked") if bench.control.is_struck else "not met"

    def run(self, case):
        moment, fault = case
        if moment == "start":
            return self.at_start(fault)
        if moment == "stop":
            return self.at_stop(fault)
        if moment == "first":
            return self.first_time(fault)
        return self.later(fault, moment)


def record(life, steps):
    """{moment: {(name, address)}} of start, first, the steps, and stop."""
    bench, control = life.bench, life.bench.control
    life.bench.control.record(1)
    life.start(warm=False)
    control.record(2)
    for name in FIRST:
        life.do(name)
    life.settle()
    control.record(3)
    for name in FIRST if steps == FIRST else ():
        life.do(name)
    for epoch, name in enumerate(FIRST, 10):
        if name not in steps:
            continue
        act, check = STEPS[name](bench)
        life.settle()
        control.record(epoch)
        check(act())
        life.settle()
        time.sleep(0.1)
        control.off()
    control.record(4)
    bench.stop_wipyd()
    control.off()
    life.drop()
    sites = control.sites()
    found = {name: sites.get(epoch, set()) for epoch, name in enumerate(FIRST, 10)}
    often = set().union(*found.values())
    once = (sites[2] | sites.get(3, set())) - often - sites[1] if steps == FIRST else set()
    return {"start": sites[1], "stop": sites.get(4, set()), **found, "first": once}


def cases_of(sites, faults_of):
    """Each fault once later, at the step that comes first, besides at start and at the end."""
    seen, cases = set(), []
    for moment in (*FIRST, "first", "stop", "start"):
        found = sites[moment] - seen if moment in FIRST else sites[moment]
        cases += [(moment, fault) for fault in faults_of(found)]
        seen |= found if moment in FIRST else set()
    return cases


def server():
    return FirmwareServer(folder() / "server")


# ---- for run.py ------------------------------------------------------------------------------------------------------

def plan(_pattern, options):
    names = Names(BUILD / "wipyd")
    # A part of all takes a part of the steps.
    steps = random.Random(f"{options.seed} steps").sample(FIRST, 6) if options.sites else FIRST
    with server() as web, Life(web, names) as life:
        sites = record(life, steps)
    names.find({site for found in sites.values() for _, site in found})
    return (names, sites), cases_of(sites, faults_of)


def texts(plan, cases):
    return [f"wipyd, {moment}: {plan[0].of(fault)}" for moment, fault in cases]


def n_sites(plan):
    sites = set().union(*plan[1].values())
    return sum(name in MEMORY for name, _ in sites), sum(name not in MEMORY for name, _ in sites)


class Worker:
    def __init__(self, plan):
        self.names = plan[0]
        self.stack = contextlib.ExitStack()
        self.life = None

    def run(self, case):
        if not self.life:
            self.life = self.stack.enter_context(Life(self.stack.enter_context(server()), self.names))
        return self.life.run(case)

    def give_up(self):
        """After a failure: all of it anew."""
        self.life = None
        with contextlib.suppress(Exception):
            self.stack.close()
        self.stack = contextlib.ExitStack()

    def end(self):
        if self.life:
            self.life.stop()
        self.give_up()
