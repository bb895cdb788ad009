"""The matrix: every phase of a job x everything that can come between x {ROM, stub} x {reset lines, jumper}.

The phases are proto/phase.h's rows. Where in a job a phase is, is found out, not written down: a rehearsal, in
which every answer waits until the phase was asked for, notes which commands fall into which. A cell is a phase and an interruption; it strikes at a command of that
phase, in its middle. What has no place says why: a phase that no command falls into can't lose an answer, one that nobody
ever saw the job in can't be unplugged in.

After each cell: what was pulled out is plugged in again, the job ends, and then the flash is what the package wants, the
config block and the other things of the board's own are as they were, the record says what was seen, and no file is left
open. A job that ended otherwise than done says why, and the next one is done.

WIPYD_MATRIX=all runs all cells (make matrix, which sums them up); without it a choice by a printed seed (WIPYD_SEED) is run, about two minutes.
"""
import contextlib
import os
import random
import select
import time

import packages
from harness import (CONFIG, FINAL, JOB, MANAGER, MB, SLOWNESS, STUB, Bench, DBusError, Skip, Variant, lived_in_flash, phases,
                     run_seed, takes, wait_for)

HOLD_MS, LATE_MS = 400, 3300
BAUD = 230400
OWN = (slice(0x9000, 0x10000), slice(0x380000, 0x3FF000), CONFIG)
SETTINGS = "[boards]\nsettle = 50\n[flash]\nattempts = 20\n"
LOADERS = {"rom": "off", "stub": STUB}
WIRES = {"jumper": False, "lines": True}
N_CHOSEN = 10  # groups of cells in the short run, two cells each
RSS_LIMIT_KIB = 32 * 1024
SEED = run_seed()
ALL = os.environ.get("WIPYD_MATRIX") == "all"


# ---- the bench and its rehearsal -----------------------------------------------------------------------------------

class Stage:
    def __init__(self, loader, wire):
        self.loader, self.wire = loader, wire
        self.before = lived_in_flash(4 * MB)
        self.lines = WIRES[wire]
        self.seen = {}      # phase -> commands (name, nth), in order
        self.watched = set()  # phases that somebody saw the job in

    def __enter__(self):
        self.bench = Bench([dict(flash=self.before, download=not self.lines)], config=SETTINGS, connect_timeout=15,
                           lines=self.lines, stub=LOADERS[self.loader]).__enter__()
        try:
            self.board = self.bench.board
            self.package = self.bench.package(app_bytes=150_000)
            self.wanted = packages.expected_flash(self.package, 4 * MB, self.before)
            self.bench.flash_well(self.package, seconds=60, baud=BAUD)  # what is the board's own is saved from now on
            self.rehearse()
            self.files = self.open_files()
        except BaseException as problem:
            self.bench.__exit__(type(problem), problem, None)
            raise
        return self

    def __exit__(self, *problem):
        return self.bench.__exit__(*problem)

    def begin(self):
        """The job, over the flash as it was in the beginning."""
        self.board.ask("fault clear")
        if not self.board.status()["plugged"]:
            self.board.ask("plug")
        wait_for(lambda: self.bench.device()["Present"], 10, "the board is there")
        self.board.flash_path.write_bytes(self.before)
        if not self.lines:
            self.board.download()  # a stub that was left running would not be loaded

    def start(self):
        return self.bench.start_flash(self.package, baud=BAUD, connect_timeout=15)

    def phase(self, path):
        with contextlib.suppress(DBusError):
            return self.bench.bus.get(path, JOB, "Phase")

    def rehearse(self):
        """Every answer is held back until the job's phase has been noted. On a busy machine that may take longer than the
        daemon waits for it: once more, then."""
        for _ in range(2):
            with contextlib.suppress(AssertionError):
                return self.rehearse_once()
            self.end_of_the_last_job()
        return self.rehearse_once()

    def rehearse_once(self):
        board, self.seen = self.board, {}
        self.begin()
        base = board.status()["commands"]
        board.fault("on=any,times=1000000 do=delay-reply,2500")
        path = self.start()
        end = time.monotonic() + 60 * SLOWNESS
        while time.monotonic() < end:
            status, phase = board.status(), self.phase(path)
            self.watched.add(phase)
            if status["busy"]:
                op = status["last_command"]
                if op and op != "SYNC":
                    self.seen.setdefault(phase, []).append((op, status["commands"][op] - base.get(op, 0)))
                board.ask("go")
                wait_for(lambda done=status["frames"]: not (now := board.status())["busy"] or now["frames"] != done, 5, "it goes on")
            elif self.bench.bus.get(path, JOB, "State") in FINAL:
                break
        job = self.bench.job(path)
        assert job["State"] == "done", (job["State"], job["ErrorText"])
        board.ask("fault clear")
        self.seen["sync"] = [("SYNC", 1)]
        assert {"identify", "plan", "compare", "save", "begin", "write", "verify", "guard-check"} <= set(self.seen), self.seen

    def open_files(self):
        folder, found = f"/proc/{self.bench.wipyd.pid}/fd", []
        for fd in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(f"{folder}/{fd}"))
        return sorted(name for name in found if not name.startswith("socket:"))

    # ---- in the phase ----
    def place(self, phase):
        """A command of that phase, in its middle."""
        commands = self.seen[phase]
        return commands[len(commands) // 2]

    def reach(self, phase, fault=None):
        """Starts a job; when this comes back it is in that phase, held there, or the fault has struck."""
        self.begin()
        if phase in self.seen:
            op, nth = self.place(phase)
            if fault:
                self.board.fault(fault.format(on=f"on={op},nth={nth}"))
            else:
                self.board.fault(f"on={op},nth={nth} do=delay-reply,{HOLD_MS}")
        path = self.start()
        if phase in self.seen:
            self.struck(path)
            if not fault and phase != "sync" and self.phase(path) != phase:
                raise Missed(phase)  # a time limit passed on a busy machine, and commands were sent again
        else:
            end = time.monotonic() + 15 * SLOWNESS
            while self.phase(path) != phase:
                if self.bench.bus.get(path, JOB, "State") in FINAL or time.monotonic() > end:
                    raise Missed(phase)
        return path

    def struck(self, path):
        wait_for(lambda: self.board.status()["faults_pending"] == 0 or self.bench.bus.get(path, JOB, "State") in FINAL, 20,
                 "the moment")

    # ---- afterwards ----
    def bring_to_an_end(self, path):
        """As people would: plug in what is out, press reset when asked to, or when the chip is dead."""
        end = time.monotonic() + 60 * SLOWNESS
        while time.monotonic() < end:
            status = self.board.status()
            state = self.bench.bus.get(path, JOB, "State")
            if state in FINAL:
                return self.bench.job(path)
            if not status["plugged"]:
                wait_for(lambda: self.bench.bus.get(path, JOB, "State") in ("interrupted", *FINAL), 15, "the job is cut off")
                self.board.ask("plug")
            elif (state == "waiting" or status["mute"]) and not self.lines:
                self.board.ask("reset")
                time.sleep(0.1)
            time.sleep(0.02)
        raise AssertionError(f"no end: {self.bench.job(path)}, {self.board.status()}")

    def end_of_the_last_job(self):
        """Whatever was begun for a cell without a place, or one that failed."""
        with contextlib.suppress(AssertionError, DBusError, IndexError):
            row = self.bench.bus.call("/org/wipyd1", MANAGER, "History", "a{sv}", {"limit": Variant("u", 1)})[0][0]
            self.bring_to_an_end(f"/org/wipyd1/job/{row['id']}")

    def check(self, path, states, may_damage=False):
        job = self.bring_to_an_end(path)
        assert job["State"] in states, (job["State"], job["Phase"], job["Error"], job["ErrorText"])
        row = next(row for row in self.bench.bus.call("/org/wipyd1", MANAGER, "History", "a{sv}", {"limit": Variant("u", 3)})[0]
                   if path.endswith(f"/{row['id']}"))
        assert (row["state"], row["error"]) == (job["State"], job["Error"]), (row, job)
        if job["State"] == "done":
            self.check_flash(job)
        else:
            assert job["Error"] and job["ErrorText"], job
        if may_damage and job["Error"].endswith(".GuardFailed"):
            assert self.board.flash() != self.wanted, "nothing was wrong"
            self.board.flash_path.write_bytes(self.before)
        self.check_own()
        if job["State"] != "done":
            self.board.ask("fault clear")
            if not self.board.status()["plugged"]:
                self.board.ask("plug")
            if not self.lines:
                self.board.download()
            self.check_flash(self.bench.flash_well(self.package, seconds=60))
            self.check_own()
        wait_for(lambda: len(self.open_files()) <= len(self.files), 10,
                 f"no file is left open: {set(self.open_files()) - set(self.files)}")
        text = open(f"/proc/{self.bench.wipyd.pid}/status").read()
        kib = int(text[text.index("VmRSS:"):].split()[1])
        assert SLOWNESS > 1 or kib < RSS_LIMIT_KIB, f"{kib} KiB"
        return job

    def check_own(self):
        flash = self.board.flash()
        for area in OWN:
            assert flash[area] == self.before[area], f"what is the board's own at 0x{area.start:x} has changed"

    def check_flash(self, job):
        wait_for(lambda: not self.board.status()["busy"], 5, "the chip is done")
        flash = self.board.flash()
        if self.lines:  # the bootloader writes its selector when the firmware starts
            offset, size = packages.find_otadata(self.wanted[0x8000:0x8C00])
            flash = flash[:offset] + self.wanted[offset:offset + size] + flash[offset + size:]
        wrong = [hex(at) for at in range(0, 4 * MB, 4096) if flash[at:at + 4096] != self.wanted[at:at + 4096]]
        assert not wrong, f"reported done, and the flash differs at {wrong}: {job['Regions']}"
        assert job["BytesDone"] == job["BytesTotal"] and not job["Error"], job


class Missed(Exception):
    """The job was through with that phase before anybody saw it there."""


# ---- what comes between ----------------------------------------------------------------------------------------------

def on_reply(fault, states=("done",), may_damage=False):
    def happen(stage, phase):
        if phase not in stage.seen:
            raise Missed("no command falls into it")
        return stage.check(stage.reach(phase, fault), states, may_damage)
    return happen


def unplug(stage, phase):
    path = stage.reach(phase)
    stage.board.ask("unplug")
    stage.check(path, ("done",))


def cancel(stage, phase):
    path = stage.reach(phase)
    with contextlib.suppress(DBusError):
        stage.bench.bus.call(path, JOB, "Cancel")
    stage.check(path, ("cancelled", "done") if phase in ("finish", "boot-check", "done") else ("cancelled",))


def end_daemon(end):
    def happen(stage, phase):
        path = stage.reach(phase)
        stage.bench.bus.call("/org/wipyd1", MANAGER, "History", "a{sv}", {})  # it is on disk
        end(stage.bench)
        if stage.bench.connection:
            stage.bench.connection.close()
            stage.bench.connection = None
        stage.bench.start_wipyd()
        try:
            stage.bench.bus.get(path, JOB, "State")
        except DBusError:  # it was over before, and is history
            row = stage.bench.bus.call("/org/wipyd1", MANAGER, "History", "a{sv}", {"limit": Variant("u", 1)})[0][0]
            assert row["state"] == "done", row
            if phase not in ("finish", "boot-check", "done"):
                raise Missed(phase) from None
            return
        stage.check(path, ("done",))
    return happen


def board_reset(stage, phase):
    path = stage.reach(phase)
    stage.board.ask("reset")
    stage.check(path, ("done",))


def another_program(stage, phase):
    """Opens the port, and takes some of the bytes that were the daemon's."""
    path = stage.reach(phase)
    try:
        fd = os.open(stage.board.tty, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:  # exclusive, for all but root
        stage.check(path, ("done",))
        return
    try:
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            if select.select([fd], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    os.read(fd, 64)
    finally:
        os.close(fd)
    # Which bytes it took is chance: what was read of the chip may be wrong, and be said so.
    stage.check(path, ("done", "failed"))


ACTIONS = {
    "unplug": unplug,
    "cancel": cancel,
    "shutdown": end_daemon(lambda bench: bench.stop_wipyd()),
    "kill": end_daemon(lambda bench: bench.kill_wipyd()),
    "timeout": on_reply("{on} do=drop-reply"),
    "late_reply": on_reply(f"{{on}} do=delay-reply,{LATE_MS}"),
    "garbage": on_reply("{on} do=noise,300"),
    "truncated_reply": on_reply("{on} do=truncate-reply"),
    # An answer without a checksum may be believed: what it said is then said to be the reason.
    "flipped_byte_back": on_reply("{on} do=garble-reply", ("done", "failed")),
    # A BEGIN has no checksum: what it erased elsewhere nobody can undo, but it must not be told as done.
    "flipped_byte_there": on_reply("{on} do=garble-request", ("done", "failed"), may_damage=True),
    "short_write": on_reply("{on} do=lose-bytes,3"),
    "duplicate_reply": on_reply("{on} do=duplicate-reply"),
    "board_reset": board_reset,
    "brownout": on_reply("{on} do=brownout"),
    "another_program": another_program,
}
assert len(ACTIONS) >= 13


# ---- the cells -------------------------------------------------------------------------------------------------------

def run_cells(phase, loader, wire, actions):
    if loader == "stub" and not STUB.exists():
        raise Skip(f"no {STUB}: make stub gets it")
    problems, placed = [], 0
    with Stage(loader, wire) as stage:
        for name in actions:
            cell = f"{phase} x {name} x {loader} x {wire}"
            if phase not in stage.seen and phase not in stage.watched:
                print(f"note: no place: {cell}: the job waits for nothing there; nobody saw it, though every answer was held back")
                continue
            try:
                for attempt in range(3):
                    try:
                        ACTIONS[name](stage, phase)
                        placed += 1
                        break
                    except Missed as missed:
                        stage.end_of_the_last_job()
                        if str(missed) != phase or attempt == 2:
                            why = missed if str(missed) != phase else "the job was through with it before it was seen there"
                            print(f"note: no place: {cell}: {why}")
                            break
            except (AssertionError, DBusError) as problem:
                problems.append(f"{cell}: {problem}")
                stage.board.ask("fault clear")
                stage.end_of_the_last_job()
        print(f"note: {phase} x {loader} x {wire}: {placed} cells held, {len(problems)} failed")
        assert not problems, "\n".join(problems)


def choose():
    groups = [(phase, loader, wire) for phase in phases() for loader in LOADERS for wire in WIRES]
    if ALL:
        return {group: list(ACTIONS) for group in groups}
    rng = random.Random(SEED)
    return {group: sorted(rng.sample(list(ACTIONS), 2)) for group in rng.sample(groups, N_CHOSEN)}


def make(group, actions):
    @takes(60 if ALL else 12, limit=600 if ALL else 150)
    def test():
        print(f"WIPYD_SEED={SEED}")
        run_cells(*group, actions)
    test.__module__ = __name__
    test.__doc__ = f"{' x '.join(group)}: {', '.join(actions)}"
    return test


for group_, actions_ in choose().items():
    globals()["test_" + "_".join(group_).replace("-", "_")] = make(group_, actions_)


def test_the_choice_can_be_made_again():
    print(f"note: WIPYD_SEED={SEED}, of {len(phases()) * len(LOADERS) * len(WIRES) * len(ACTIONS)} cells "
          f"{sum(map(len, choose().values()))} were chosen")
    assert choose() == choose()
