"""wipyctl under faults: each verb against a daemon that has none."""
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time

from daemon import FaultBench, exported, firmware, keep_only, newest_backup, server
from faults import BUILD, MEMORY, Control, Names, excepted_abort, faults_of, harness
from harness import DEVICE, FIRMWARE, MANAGER, MB, Bench, wait_for

import packages

VERBS_MOST = 2
MAC, TTY, RELEASE = "30:ae:a4:01:02:03", "ttyUSB0", "1.21.1.r1"


class ClientBench(FaultBench):
    """The daemon goes without faults; it has a package, a board that was flashed, its backup and its history."""

    def preload(self, program):
        return Bench.preload(self, program)

    def __enter__(self):
        super().__enter__()
        self.start_wipyd()
        wait_for(lambda: self.device()["Mac"], 20, "the board is seen")
        wait_for(lambda: self.manager()["PollState"] == "idle" and self.releases() == [RELEASE], 20, "the first poll is over")
        self.board.download()
        self.flash_well(self.packages[0])
        return self

    def settled(self):
        """Nothing goes on any more, and the board waits for download."""
        wait_for(lambda: self.is_quiet() and not self.device()["Lessee"], 20, "the last job is over")
        self.board.download()
        if not self.device()["Mac"]:
            self.replug(self.board)
        wait_for(lambda: self.device()["Mac"], 20, "the board is seen")

    def environment(self, **more):
        return super().environment(TZ="UTC", COLUMNS="120", **more)


# ---- verbs: the arguments, and what must be true when it has worked --------------------------------------------------

def reads(*arguments):
    return arguments, None, None


def writes(arguments, prepare, check):
    return arguments, prepare, check


def property_is(find, interface, name, wanted):
    def check(bench):
        path = find(bench)
        assert bench.bus.get(path, interface, name) == wanted, (name, bench.bus.get(path, interface, name))
    return check


def slot_path(bench):
    return bench.bus.call("/org/wipyd1", MANAGER, "FindSlot", "s", bench.slot(bench.board))[0]


def board_path(bench):
    return bench.bus.call("/org/wipyd1", MANAGER, "FindBoard", "s", MAC)[0]


def other_package(bench):
    """To flash: the one that isn't on the board."""
    bench.settled()
    bench.before = bench.board.flash()
    package = next(path for path in bench.packages if packages.expected_flash(path, 4 * MB, bench.before) != bench.before)
    (bench.folder / "other.tar.gz").write_bytes(package.read_bytes())
    bench.wanted = packages.expected_flash(package, 4 * MB, bench.before)


def is_flashed(bench):
    assert bench.board.flash() == bench.wanted, "the flash is another"


def is_untouched(bench):
    assert bench.board.flash() == bench.before, "something was written"


def stored_package(bench):
    bench.settled()
    bench.flash_well(bench.packages[0])
    bench.settled()
    bench.before = bench.board.flash()
    path = bench.put(exported(bench, firmware(bench)), "stored.tar.gz")
    bench.wanted = packages.expected_flash(path, 4 * MB, bench.before)


def new_package(bench):
    keep_only(bench, RELEASE)
    bench.n_releases += 1
    packages.make_package(bench.folder / "new.tar.gz", release=f"1.21.{bench.n_releases}.r1", app_bytes=30_000)


def is_stored(bench):
    data = (bench.folder / "new.tar.gz").read_bytes()
    found = [path for path, interfaces in bench.bus.managed().items() if FIRMWARE in interfaces]
    assert data in [exported(bench, path) for path in found], "it isn't in the store"


def one_too_many(bench):
    new_package(bench)
    bench.import_firmware(bench.folder / "new.tar.gz")


def is_gone(bench):
    assert bench.releases() == [RELEASE], bench.releases()


def no_output(bench):
    for path in bench.folder.glob("out*"):
        subprocess.run(["rm", "-r", path], check=True)
    (bench.folder / "out").mkdir()


def is_exported(bench):
    [path] = [path for path in bench.folder.glob("out.tar.gz")]
    assert path.read_bytes() == exported(bench, bench.bus.call("/org/wipyd1", MANAGER, "FindFirmware", "s", RELEASE)[0])


def backup_is_out(bench):
    found = {path.read_bytes() for path in (bench.folder / "out").rglob("*") if path.is_file()}
    assert set(newest_backup(bench).values()) <= found, "parts are missing"


def newer_release(bench):
    keep_only(bench, RELEASE)
    bench.version = bench.next_release()


def is_fetched(bench):
    assert bench.version in bench.releases(), bench.releases()


def settled(bench):
    bench.settled()
    bench.bus.call(board_path(bench), "org.wipyd1.Board", "SetPolicy", "s", "")


def nothing(_):
    pass


VERBS = [
    reads("--version"), reads("--help"), reads("firmware", "--help"), reads(), reads("status", "--json"), reads("list"),
    reads("list", "--json=short"), reads("explain", TTY), reads("explain", TTY, "--json"), reads("board"), reads("board", "--json"),
    reads("board", "show", MAC), reads("board", "show", MAC, "--json"), reads("slot"), reads("slot", "--json"), reads("history"),
    reads("history", "--json"), reads("history", "--csv"), reads("history", "--decisions"), reads("history", "--since", "2d"),
    reads("backup"), reads("backup", "--json"), reads("firmware"), reads("firmware", "--json"),
    reads("firmware", "show", RELEASE), reads("firmware", "verify"), reads("policy"), reads("policy", TTY), reads("doctor"),
    reads("doctor", "--json"), reads("follow", "1"), reads("cancel", "1"), reads("flash", "nobody"), reads("nonsense"),
    reads("monitor", "--plain"), reads("monitor", "--json"), reads("lease", TTY, "--", "true"),
    writes(("info", TTY), settled, nothing), writes(("info", TTY, "--json"), settled, nothing), writes(("look", TTY), settled, nothing),
    writes(("flash", TTY, "other.tar.gz"), other_package, is_flashed),
    writes(("flash", TTY, "other.tar.gz", "--json"), other_package, is_flashed),
    writes(("flash", TTY, "other.tar.gz", "--dry-run"), other_package, is_untouched),
    writes(("flash", "--all", "other.tar.gz"), other_package, is_flashed), writes(("flash", TTY, RELEASE), stored_package, is_flashed),
    writes(("backup", "restore", TTY), settled, nothing), writes(("backup", "export", MAC, "-o", "out"), no_output, backup_is_out),
    writes(("firmware", "import", "new.tar.gz"), new_package, is_stored),
    writes(("firmware", "export", RELEASE, "out.tar.gz"), no_output, is_exported),
    writes(("firmware", "remove", "1.21.*"), one_too_many, is_gone), writes(("firmware", "refresh"), newer_release, is_fetched),
    writes(("firmware", "pin", RELEASE), None, nothing), writes(("firmware", "unpin", RELEASE), None, nothing),
    writes(("label", TTY, "bench 1"), None, property_is(slot_path, "org.wipyd1.Slot", "Label", "bench 1")),
    writes(("label", TTY, ""), None, property_is(slot_path, "org.wipyd1.Slot", "Label", "")),
    writes(("policy", MAC, "off"), None, property_is(board_path, "org.wipyd1.Board", "Policy", "off")),
    writes(("policy", MAC, "unset"), None, nothing),
    writes(("policy", "--default", "ask"), None, nothing), writes(("arm", TTY), None, property_is(slot_path, "org.wipyd1.Slot", "Armed", True)),
    writes(("disarm", TTY), None, property_is(slot_path, "org.wipyd1.Slot", "Armed", False)),
    writes(("board", "pin", MAC, RELEASE), None, property_is(board_path, "org.wipyd1.Board", "Pin", RELEASE)),
    writes(("board", "unpin", MAC), None, property_is(board_path, "org.wipyd1.Board", "Pin", "")),
]


# ---- one run ---------------------------------------------------------------------------------------------------------

def run(bench, control, arguments):
    """(code, stdout, stderr); monitor is ended by Ctrl-C."""
    environment = bench.environment(LD_PRELOAD=str(BUILD / "libfaults.so"), WIPYD_FAULTS=str(control.folder))
    environment["ASAN_OPTIONS"] += ":verify_asan_link_order=0"
    names = [f"1.21.{bench.n_releases}.r1" if argument == "1.21.*" else argument for argument in arguments]
    client = subprocess.Popen([BUILD / "wipyctl", *names], cwd=bench.folder, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=harness._die_with_parent)
    if arguments[:1] == ("monitor",):
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(timeout=0.15 * harness.SLOWNESS)
        if client.poll() is None:
            client.send_signal(signal.SIGINT)
    try:
        out, err = client.communicate(timeout=40 * harness.SLOWNESS)
    except subprocess.TimeoutExpired:
        client.kill()
        client.communicate()
        raise AssertionError("it doesn't end") from None
    return client.returncode, out, err


def steady(out):
    """Without what a clock says."""
    return re.sub(r"\d+ (s|min) ago|next in \d+ \w+|\"\w*(next|turn|polled)\w*\": [^,\n]*", "", out)


def shape(out):
    """Of what is done anew each time, the numbers are its own; which phases are told of is up to the moment."""
    out = re.sub(r"^(ttyUSB0|firmware): [^.\n]*\n", "", out, flags=re.M)
    return re.sub(r"\b[0-9a-f]{10,}\b|\d+(\.\d+)*( (B|KiB|MiB)(/s)?)?", "#", re.sub(r"\d+\.\d+\.\d+\.r\d+", "RELEASE", out))


def judge(verb, fault, bench, control, before, after, names):
    """before: of a run without a fault. after: of one with it. Gives a word."""
    arguments, _, check = verb
    code, out, err = after
    harness.complain_of_sanitizer("wipyctl", err)
    if library := excepted_abort(control.told(), fault, names):
        return f"excepted: {library}"
    if "monitor" in arguments and code == -signal.SIGINT:
        return "ended with a sentence" if err.strip() or out.strip() else "worked"  # on its way out as ours came
    assert code >= 0, f"signal {-code}; {control.told()}; {err[-800:]}"
    is_json = any(argument.startswith("--json") for argument in arguments)
    told = None
    if is_json and out and "monitor" not in arguments:
        try:
            told = json.loads(out)
        except ValueError:
            raise AssertionError(f"exit code {code}, and this is no JSON: {out[-300:]!r}; {err[-300:]}") from None
    if code != before[0]:
        said = err + (out if arguments[:1] in (("doctor",), ("monitor",)) else "") + (told.get("message", "") + told.get("error", "") if is_json and isinstance(told, dict) else "")
        assert code != 0, f"exit code 0 instead of {before[0]}: {out[-500:]}"
        assert len(said.strip()) >= 12, f"exit code {code} without a sentence; {out[-300:]!r}"
        return "ended with a sentence"
    if code == 0 and check:
        check(bench)
    if arguments[:1] == ("monitor",):
        return "worked"  # it tells of what happens meanwhile
    if check:
        assert shape(out) == shape(before[1]), f"{shape(out)!r} instead of {shape(before[1])!r}; {err[-300:]}"
        return "worked"
    if steady(out) != steady(before[1]):
        again = run(bench, control, arguments)
        # Said to be cut short, it is no lie.
        assert steady(out) == steady(again[1]) or len(err.strip()) >= 12, f"{out[-1500:]!r} instead of {again[1][-1500:]!r}"
        return "worked" if steady(out) == steady(again[1]) else "worked in part, and said so"
    return "worked"


# ---- for run.py ------------------------------------------------------------------------------------------------------

def plan(_pattern, options):
    names = Names(BUILD / "wipyctl")
    found = {}
    with server() as web, ClientBench(web) as bench:
        control = Control(bench.folder / "client")
        chosen = range(len(VERBS))
        if options.sites:  # a part of all takes a part of the verbs
            chosen = sorted(random.Random(f"{options.seed} chosen").sample(chosen, 12))
        for number in chosen:
            arguments, prepare, check = VERBS[number]
            if prepare:
                prepare(bench)
            control.record(number)
            code, out, err = run(bench, control, arguments)
            control.off()
            if check:
                assert code == 0, (arguments, code, out, err)
                check(bench)
        sites = control.sites()
    found = {number: sites[number] for number in chosen}
    names.find({site for some in found.values() for _, site in some})
    return (names, found), few_of_each([(number, fault) for number in found for fault in faults_of(found[number])], options.seed)


def few_of_each(cases, seed):
    """What all verbs have in common fails in a few of them, chosen by the seed."""
    rng, by_fault = random.Random(f"{seed} verbs"), {}
    for number, fault in cases:
        by_fault.setdefault(fault, []).append(number)
    return [(number, fault) for fault, numbers in by_fault.items() for number in rng.sample(numbers, min(VERBS_MOST, len(numbers)))]


def texts(plan, cases):
    return [f"wipyctl {' '.join(VERBS[number][0])}: {plan[0].of(fault)}" for number, fault in cases]


def n_sites(plan):
    sites = set().union(*plan[1].values())
    return sum(name in MEMORY for name, _ in sites), sum(name not in MEMORY for name, _ in sites)


class Worker:
    def __init__(self, plan):
        self.names = plan[0]
        self.stack = contextlib.ExitStack()
        self.bench = None
        self.known = {}

    def run(self, case):
        number, fault = case
        if not self.bench:
            self.bench = self.stack.enter_context(ClientBench(self.stack.enter_context(server())))
            self.control = Control(self.bench.folder / "client")
            self.known = {}
        arguments, prepare, check = verb = VERBS[number]
        if not arguments[:1] == ("flash",) or number not in self.known:
            if prepare:
                prepare(self.bench)
            self.control.off()
            self.known[number] = run(self.bench, self.control, arguments)
        if prepare:
            prepare(self.bench)
        self.control.arm(fault)
        after = run(self.bench, self.control, arguments)
        self.control.off()
        if not self.control.is_struck:
            return "not met"
        return judge(verb, fault, self.bench, self.control, self.known[number], after, self.names)

    def give_up(self):
        self.bench = None
        with contextlib.suppress(Exception):
            self.stack.close()
        self.stack = contextlib.ExitStack()

    def end(self):
        self.give_up()
