#!/usr/bin/env python3
"""Flashes without end, with faults: looks for the one that is reported done and isn't.

    soak.py [-n FLASHES] [--seed SEED] [--seconds S] [--workers N] [--boards N]

Several daemons side by side, each with boards of its own on ptys and without pacing, and small packages: what a flash costs is
processor time, and the time limits that lost replies wait for pass on many boards at once. Half of the daemons are told by a
command to flash boards on ports from the configuration, half flash by their policy what is plugged into simulated USB; half
of each are killed and restarted in between, the others live to the end, so that growth would show. Every flash has its own
handful of faults: on the wire, in the chip, at the cable, at the job.

What is held against every job: one that is "done" has left the flash file as the package wants it, byte for byte; the
config block, NVS and file system are the board's own, whatever became of the job; its record says what was seen of it. At the
end: no job is missing in the history or there twice, no job is open, as many files are open as in the beginning. At each 5 %
of the run memory and files are noted; of a daemon that lived through it the last quarter must not be above the first one.

The seed is printed, and gives the same boards, packages and faults again; when they strike is up to the machine's load. The
last line says "N passed, N failed", a job each; the exit code is 1 when one failed. Daemons that are quicker do more of them.
"""
import argparse
import collections
import contextlib
import multiprocessing
import os
import random
import re
import resource
import signal
import statistics
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "integration"))

import packages  # noqa: E402
import simstub  # noqa: E402
from harness import (CONFIG, DEVICE, FINAL, JOB, MB, SANITIZED, Bench, DBusError, Variant, lived_in_flash, phases,  # noqa: E402
                     wait_for)

TOP, MANAGER = "/org/wipyd1", "org.wipyd1.Manager"
OWN = (slice(0x9000, 0x10000), slice(0x380000, 0x3FF000), CONFIG)  # NVS, file system, config block
JOB_LIMIT_S = 90
WATCH_S = 0.1
RSS_LIMIT_KIB = 32 * 1024  # of a daemon with all its boards
RSS_GROWTH_KIB = 2 * 1024  # from the first quarter's median to the last one's; SQLite's pages fill up to 2000 KiB meanwhile
N_SAMPLES = 20
WARM = 150  # flashes after which all that is kept of finished jobs (128 of them) is there
MEMORY = "/dev/shm"  # the disk's fsync is slower than all else, and power loss has a test of its own
SETTINGS = "[boards]\nsettle = 50\nlisten = 150\nsyncs = 3\npolicy = {policy}\n[flash]\nattempts = 50\n{loader}"

# (weight, request; N, K: small numbers, OP: an operation)
FAULTS = (
    (6, "on={op},nth={n} do=drop-reply"), (6, "on={op},nth={n} do=delay-reply,{ms}"), (8, "on={op},nth={n} do=garble-reply"),
    (8, "on={op},nth={n} do=garble-request"), (6, "on={op},nth={n} do=truncate-reply"), (10, "on={op},nth={n} do=duplicate-reply"),
    (6, "on={op},nth={n} do=refuse,{code}"), (6, "on={op},nth={n} do=noise,{k}"), (8, "on={data},nth={n} do=corrupt-flash"),
    (6, "on={data},nth={n} do=lose-bytes,{k}"), (4, "on={data},nth={n},moment=mid-frame,at={percent} do=reset"),
    (4, "on={data},nth={n},moment=mid-frame,at={percent} do=unplug"), (3, "on={op},nth={n},moment=busy do=unplug"),
    (3, "on={op},nth={n},moment=busy do=power-cut"), (3, "on={op},nth={n},moment=reply do=unplug"),
    (3, "on={op},nth={n},moment=reply do=reset"), (3, "on={op},nth={n} do=brownout"), (2, "on={op},nth={n} do=silence"),
    (2, "on={op},nth={n},moment=busy do=power-cut"), (4, "on={op},nth={n},times={n} do=duplicate-reply"),
)
OPS = ("SYNC", "READ_REG", "WRITE_REG", "MD5", "READ_FLASH_SLOW", "DEFL_BEGIN", "DEFL_DATA", "FLASH_BEGIN", "SPI_ATTACH", "any")
STUB_OPS = OPS + ("MEM_BEGIN", "MEM_DATA", "MEM_END", "READ_FLASH", "DEFL_END", "FLASH_END")
STUB_FAULTS = ((8, "on={data},nth={n} do=stub-write-error,c4"), (3, "on={data},nth={n} do=stub-write-error,c7"))
# (weight, what happens to the board or the job a while after it began)
EVENTS = ((60, None), (8, "reset"), (4, "power-cut"), (8, "unplug"), (6, "cancel"), (4, "set flip-rate 0.00003"))


def choose(rng, table):
    return rng.choices([row[1] for row in table], [row[0] for row in table])[0]


class Package:
    def __init__(self, path):
        self.path, self.bytes = path, path.read_bytes()
        self.erases, self.writes = packages.expected_steps(path, 4 * MB)
        self.release = None

    def applied(self, before):
        flash = bytearray(before)
        for offset, size in self.erases:
            begin, end = offset // 4096 * 4096, -(-(offset + size) // 4096) * 4096
            flash[begin:end] = b"\xff" * (end - begin)
        for offset, data in self.writes:
            flash[offset:offset + len(data)] = data
        return bytes(flash)


class Seat:
    """A board, and where it is in its flashes."""

    def __init__(self, worker, board, mac):
        self.worker, self.board, self.mac = worker, board, mac
        self.path = self.package = self.before = None
        self.plugged = not worker.by_policy
        self.events, self.deadline, self.replug_at, self.press_at = [], 0, None, None
        self.last_id = 0
        self.is_wire_bad = False
        self.done_here = 0  # jobs of this round that are done
        self.again_at = 0.0


class Wrong(Exception):
    """What must never happen."""


def names_range(warning, at):
    """Whether a job's Warning names a range that at lies in."""
    ranges = re.findall(r"0x([0-9a-f]+) to 0x([0-9a-f]+)", warning)
    return any(int(start, 16) <= at < int(end, 16) for start, end in ranges)


class Worker:
    def __init__(self, index, seed, n, left, total, n_boards, seconds, loader):
        """n: its share, for the sake of planning; left: how many of the total are to end yet, of all workers."""
        self.rng = random.Random(f"{seed} {index}")
        self.index, self.wanted, self.left, self.total, self.n_boards = index, n, left, total, n_boards
        self.by_policy, self.is_killed = index % 2 == 1, index // 2 % 2 == 1
        self.loader = loader
        self.end = time.monotonic() + seconds if seconds else None
        self.counts = collections.Counter()
        self.problems = []
        self.states = {}   # job id -> how it ended, as we saw it
        self.memory = []   # (flashes, KiB, files), when no job was open
        self.samples = []  # the same at each 5 % of the run, whatever is open; of ports and packages the files don't count
        self.kills_at = None

    # ---- setting up ----
    def run(self):
        boards, ordinary = [], []
        for i in range(self.n_boards):
            mac = f"30:ae:a4:{self.index:02x}:00:{i:02x}"
            ordinary.append(lived_in_flash(4 * MB, seed=self.rng.randrange(1 << 30), app_bytes=30_000))
            boards.append(dict(flash=ordinary[-1], options=("--fast", "--mac", mac), download=not self.by_policy))
        self.ordinary = ordinary
        stub = f"stub = {simstub.FILES['new']}\n" if self.loader == "stub" else "stub = off\n" if can_stub() else ""
        settings = SETTINGS.format(policy="wipy" if self.by_policy else "ask", loader=stub)
        with self.enter(boards=boards, usb=self.by_policy, config=settings, connect_timeout=20) as bench:
            self.bench = bench
            self.packages = [Package(bench.package(f"p{k}.tar.gz", release=f"1.20.{k + 1}.r1",
                                                   app_bytes=self.rng.randrange(8, 60) * 1024, seed=self.rng.randrange(1 << 30)))
                             for k in range(4)]
            if self.by_policy:
                bench.import_firmware(self.packages[-1].path)
            self.seats = []
            for board, options in zip(bench.boards, boards):
                board.ask("jumper on")
                board.ask(f"set seed {self.rng.randrange(1 << 30)}")
                self.seats.append(Seat(self, board, options["options"][-1]))
            self.files_before = self.open_files()
            self.loop()
            self.finish()
        return self.result()

    def result(self):
        return dict(counts=self.counts, problems=self.problems, memory=self.memory, samples=self.samples, index=self.index,
                    by_policy=self.by_policy, is_killed=self.is_killed, loader=self.loader)

    @staticmethod
    @contextlib.contextmanager
    def enter(**options):
        """A bench, as soon as the machine has inotify instances for its boards: other tests want some, too."""
        bench, end = None, time.monotonic() + 120
        while not bench:
            try:
                bench = Bench(**options).__enter__()
            except AssertionError as problem:
                if "wipysim said ''" not in str(problem) or time.monotonic() > end:
                    raise
                time.sleep(2)
        try:
            yield bench
        except BaseException:
            bench.__exit__(*sys.exc_info())
            raise
        bench.__exit__(None, None, None)

    # ---- the loop ----
    def n_ended(self):
        return len(self.states)

    def is_over(self):
        return self.left.value <= 0 or (self.end and time.monotonic() > self.end)

    def loop(self):
        self.next_look = min(150, max(20, self.wanted // 4))
        self.next_kill = self.rng.randrange(10, 60)
        while not self.is_over():
            for seat in self.seats:
                self.step(seat)
            if self.total - self.left.value >= self.total * len(self.samples) // N_SAMPLES:
                self.samples.append((self.n_ended(), self.resident_kib(), len(self.lasting_files())))
            if self.is_killed and self.n_ended() >= self.next_kill:
                self.next_kill = self.n_ended() + self.rng.randrange(10, 60)
                self.end_daemon()
            if not self.is_killed and self.n_ended() >= self.next_look:
                self.next_look = self.n_ended() + max(50, self.wanted // 6)
                self.drain()
                self.look_at_memory()
            time.sleep(0.01)

    def drain(self):
        end = time.monotonic() + 2 * JOB_LIMIT_S
        while any(seat.path or (self.by_policy and seat.plugged) for seat in self.seats):
            if time.monotonic() > end:
                raise Wrong(f"not over: {[(seat.mac, seat.path) for seat in self.seats if seat.path or seat.plugged]}")
            for seat in self.seats:
                if seat.path or seat.plugged and self.by_policy:
                    self.step(seat)
            time.sleep(0.01)

    def end_daemon(self):
        """Killed, or stopped politely; jobs that are on disk go on with the next one."""
        self.history(limit=1)
        if self.rng.random() < 0.6:
            self.bench.kill_wipyd()
            self.counts["daemon killed"] += 1
        else:
            self.bench.stop_wipyd(seconds=60)  # an MD5 that a silent chip doesn't answer is waited for: 8 s for each MB
            self.bench.connection.close()
            self.bench.connection = None
            self.counts["daemon stopped"] += 1
        self.bench.start_wipyd()

    # ---- one board ----
    def step(self, seat):
        now = time.monotonic()
        if not seat.path:
            if self.by_policy and seat.plugged:
                self.find_job(seat)
            elif now >= seat.again_at and not self.is_over():
                self.begin(seat)
            return
        while seat.events and now >= seat.events[0][0]:
            self.happen(seat, seat.events.pop(0)[1])
        if seat.replug_at and now >= seat.replug_at:
            seat.replug_at = None
            self.plug(seat)
        if now >= seat.again_at:
            seat.again_at = now + WATCH_S
            self.watch(seat)

    def order_faults(self, seat):
        rng, ops = self.rng, STUB_OPS if self.loader == "stub" else OPS
        table = FAULTS + (STUB_FAULTS if self.loader == "stub" else ())
        seat.is_wire_bad = False
        for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 3))):
            fault = choose(rng, table).format(op=rng.choice(ops), n=rng.choice((1, 1, 2, 3, 5, 8)), ms=rng.choice((20, 200, 3100)),
                                              data=rng.choice(("DEFL_DATA", "DEFL_DATA", "DEFL_DATA", "FLASH_DATA")),
                                              code=rng.choice(("05", "06", "07", "0b")), k=rng.choice((1, 3, 40, 200)),
                                              percent=rng.choice((1, 50, 99)))
            seat.board.fault(fault)
            seat.is_wire_bad |= "garble-request" in fault
            self.counts["fault " + fault.split("do=")[1].split(",")[0]] += 1
        event = choose(rng, EVENTS)
        seat.is_wire_bad |= bool(event) and "flip" in event
        seat.events = [(time.monotonic() + rng.choice((0.01, 0.03, 0.1, 0.3)), event)] if event else []

    def begin(self, seat):
        board, rng = seat.board, self.rng
        seat.done_here = 0
        seat.replug_at = seat.press_at = None
        seat.deadline = time.monotonic() + JOB_LIMIT_S
        if rng.random() < 0.1:  # its owner has written to it
            flash = bytearray(board.flash())
            for area in OWN:
                at = rng.randrange(area.start, area.stop - 64)
                flash[at:at + 64] = rng.randbytes(64)
            board.flash_path.write_bytes(flash)
        if self.by_policy:
            self.note_others(seat)
            # Somebody has erased its firmware, and nothing else: a policy flashes the same package to a board once.
            now, flash = board.flash(), bytearray(b"\xff" * 4 * MB)
            for area in OWN:
                flash[area] = now[area]
            board.flash_path.write_bytes(flash)
            seat.package = self.packages[-1]
        else:
            seat.package = rng.choice([package for package in self.packages if package is not seat.package])
        seat.before = board.flash()
        self.order_faults(seat)
        if self.by_policy:
            self.plug(seat)
            return
        try:
            seat.path = self.bench.start_flash(seat.package.bytes, board, **rng.choice(({}, {}, {"baud": 230400})))
        except DBusError as refused:
            self.counts[f"refused {refused.name.rsplit('.', 1)[1]}"] += 1
            seat.package, seat.again_at = None, time.monotonic() + 0.5
            self.tidy(seat)
            return
        seat.last_id = int(seat.path.rsplit("/", 1)[1])
        self.counts["begun"] += 1

    def note_others(self, seat):
        """A daemon that was started anew after a cancel looks at what is plugged in as for the first time, and flashes it."""
        for row in reversed(self.history(board=seat.mac, limit=20)):
            if row["id"] > seat.last_id and row["state"] in FINAL:
                seat.last_id = row["id"]
                if row["kind"] == "flash":
                    self.counts["flashed once more after a cancel and a start"] += 1
                    self.states[row["id"]] = row["state"]

    def plug(self, seat):
        seat.board.ask("jumper on")
        # The machine has so many inotify instances, and other tests want some.
        wait_for(lambda: "Too many" not in seat.board.try_ask("plug"), 60, "a pty")
        if self.by_policy:
            number = self.seats.index(seat)
            self.bench.plug(seat.board, slot=f"1-{number + 1}", name=f"ttyUSB{number}", serial=f"{number:04d}")
        else:
            seat.board.ask("plug")
        seat.plugged = True

    def unplug(self, seat):
        if self.by_policy:
            self.bench.unplug(seat.board)
        else:
            seat.board.ask("unplug")
        seat.plugged = False

    def happen(self, seat, what):
        self.counts[f"event {what.split()[0] if not what.startswith('set') else 'flips'}"] += 1
        if what == "unplug":
            if seat.plugged:
                self.unplug(seat)
            seat.replug_at = time.monotonic() + self.rng.choice((0.05, 0.3))
        elif what == "cancel":
            with contextlib.suppress(DBusError):
                self.bench.bus.call(seat.path, JOB, "Cancel")
        else:
            seat.board.ask(what)

    def find_job(self, seat):
        """The policy's own job, once there is one."""
        row = next(iter(self.history(board=seat.mac, limit=1)), None)
        if row and row["id"] > seat.last_id:
            if row["kind"] != "flash":
                seat.last_id = row["id"]
                return
            seat.last_id, seat.path = row["id"], f"{TOP}/job/{row['id']}"
            self.counts["begun"] += 1
            return
        status = seat.board.status()
        if not status["plugged"]:  # a fault pulled it out while it was looked at
            self.unplug(seat)
            self.plug(seat)
        elif status["mute"] or status["state"] != "download":
            if seat.press_at is None:
                seat.press_at = time.monotonic() + 0.3
            elif time.monotonic() > seat.press_at:
                seat.press_at = None
                seat.board.ask("reset")
        elif time.monotonic() > seat.deadline - JOB_LIMIT_S + 6:
            # Its faults have brought the look, or the jobs before, to an end: plug it in again, as its advice says, or
            # give the command where the policy has given up.
            self.counts["looked at again"] += 1
            with contextlib.suppress(DBusError):
                if self.bench.device(seat.board)["Rule"] == "failed-before":
                    self.counts["commanded, the policy had given up"] += 1
                    self.bench.bus.call(self.bench.device_path(seat.board), DEVICE, "Flash", "a{sv}", {})
                    seat.deadline += 6
                    return
            seat.board.fault("clear")
            seat.board.ask("set flip-rate 0")
            self.unplug(seat)
            self.plug(seat)
            seat.deadline += 6
        if time.monotonic() > seat.deadline + 3 * JOB_LIMIT_S:
            raise Wrong(f"{seat.mac}: plugged in, and nothing happens: {self.bench.device(seat.board)}")

    def watch(self, seat):
        bus, status = self.bench.bus, seat.board.status()
        try:
            state = bus.get(seat.path, JOB, "State")
        except DBusError:
            state = None  # over before the daemon ended, and history for the next one
        if state is None or state in FINAL:
            self.judge(seat, state)
            return
        if time.monotonic() > seat.deadline:
            raise Wrong(f"{seat.mac}: no end: {bus.get_all(seat.path, JOB)} {status}")
        if not status["plugged"] and not seat.replug_at and not seat.events:
            if self.by_policy and seat.plugged:
                self.unplug(seat)  # udev's event follows the hang-up
            seat.plugged = False
            seat.replug_at = time.monotonic() + 0.1
        elif state in ("waiting", "interrupted") or status["mute"]:
            # It asks for a reset, or may do so once it has looked at what was plugged in again: somebody presses.
            if seat.press_at is None:
                seat.press_at = time.monotonic() + (5 if state == "interrupted" else self.rng.choice((0.1, 0.5)))
            elif time.monotonic() > seat.press_at:
                seat.press_at = None
                seat.board.ask("set flip-rate 0")
                seat.board.ask("reset")
        if time.monotonic() > seat.deadline - JOB_LIMIT_S / 2:
            seat.board.ask("set flip-rate 0")

    # ---- what became of it ----
    def judge(self, seat, state):
        job = self.bench.job(seat.path) if state else self.kept(seat)
        state = job["State"]
        seat.board.fault("clear")
        seat.board.ask("set flip-rate 0")
        if not seat.board.status()["plugged"]:
            if seat.plugged and self.by_policy:
                self.unplug(seat)
            self.plug(seat)
        wait_for(lambda: not seat.board.status()["busy"], 10, "the chip is done")
        flash = seat.board.flash()
        self.counts[f"job {state}"] += 1
        with self.left.get_lock():
            self.left.value -= 1
        if state == "failed":
            self.counts["error " + job["Error"].rsplit(".", 1)[1]] += 1
        self.check(seat, state, job, flash)
        if self.states.setdefault(seat.last_id, state) != state:
            raise Wrong(f"{seat.path} was {self.states[seat.last_id]} and is {state}")
        seat.path = None
        self.tidy(seat)

    def kept(self, seat):
        """What history has of a job that is no object any more."""
        # One that was cancelled early has no board in its record.
        row = next((row for row in self.history(limit=400) if row["id"] == seat.last_id), None)
        if not row or row["state"] not in FINAL:
            raise Wrong(f"{seat.path} is gone, and history has {row}")
        return {"State": row["state"], "Error": row["error"], "ErrorText": row["error-text"], "Phase": row["phase"],
                "BytesDone": row["bytes"], "BytesTotal": row["bytes-total"], "Regions": [],
                "Warning": row["warning"]}

    def complain(self, seat, words):
        text = f"daemon {self.index}, {seat.mac}, {seat.path}: {words}"
        self.problems.append(text)
        print("WRONG: " + text, flush=True)

    def check(self, seat, state, job, flash):
        told = bytearray(seat.before)  # and what the job itself says has changed
        for area in OWN:
            if flash[area] == seat.before[area]:
                continue
            if state == "done" and names_range(job["Warning"], area.start):
                self.counts["changed between attempts, and told"] += 1
                told[area] = flash[area]
                continue
            if state != "done" and seat.is_wire_bad and area is not CONFIG:
                # A command that was damaged on the wire erased elsewhere; nobody said that all is well.
                self.counts["damage by a damaged command, not told as done"] += 1
                continue
            self.complain(seat, f"{state}, and what is the board's own at 0x{area.start:x} has changed: {job['ErrorText']}")
        if state == "done":
            wanted = seat.package.applied(bytes(told))
            if flash != wanted:
                wrong = [at for at in range(0, 4 * MB, 4096) if flash[at:at + 4096] != wanted[at:at + 4096]]
                self.counts["sectors changed between attempts, and told"] += sum(names_range(job["Warning"], at) for at in wrong)
                if not all(names_range(job["Warning"], at) for at in wrong):
                    self.complain(seat, f"reported done, and the flash differs at {[hex(at) for at in wrong]}: {job}")
            left = [region for region in job["Regions"] if region[4] not in ("equal", "written")]
            if left or job["BytesDone"] != job["BytesTotal"] or job["Error"] or job["Phase"] != "done":
                self.complain(seat, f"done, and its record says {job}")
        elif not job["Error"] or not job["ErrorText"]:
            self.complain(seat, f"{state}, and no reason is given: {job}")

    def tidy(self, seat):
        """As its owner would leave it for the next flash."""
        if self.by_policy:
            if seat.plugged:
                self.unplug(seat)
            seat.board.fault("clear")
            seat.again_at = time.monotonic() + 0.05
            return
        status = seat.board.status()
        if status["mute"] or status["state"] != "download" or self.rng.random() < 0.3:
            seat.board.ask("reset")
        seat.again_at = 0.0

    # ---- the end ----
    def history(self, **query):
        kinds = {"board": "s", "limit": "u"}
        return self.bench.bus.call(TOP, MANAGER, "History", "a{sv}",
                                   {key: Variant(kinds[key], value) for key, value in query.items()})[0]

    def open_files(self):
        folder, found = f"/proc/{self.bench.wipyd.pid}/fd", []
        for fd in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(f"{folder}/{fd}"))
        # umockdev's preload library keeps sockets of its own open; memory files that are read are a job's.
        return sorted(name for name in found if not name.startswith("socket:"))

    def lasting_files(self):
        return [name for name in self.open_files() if not name.startswith(("/dev/pts/", "/memfd:"))]

    def resident_kib(self):
        text = Path(f"/proc/{self.bench.wipyd.pid}/status").read_text()
        return int(text[text.index("VmRSS:"):].split()[1])

    def look_at_memory(self):
        try:
            wait_for(lambda: len(self.open_files()) <= len(self.files_before), 15, "no more files are open than at the start")
        except AssertionError:
            self.problems.append(f"daemon {self.index}: files left open: {set(self.open_files()) - set(self.files_before)}")
        kib = self.resident_kib()
        self.memory.append((self.n_ended(), kib, len(self.open_files())))
        if kib > RSS_LIMIT_KIB and not SANITIZED:  # those keep what was freed
            self.problems.append(f"daemon {self.index}: {kib} KiB resident")

    def finish(self):
        self.drain()
        self.look_at_memory()
        if not SANITIZED and not self.is_killed:
            self.problems += [f"daemon {self.index}: {words}" for words in growth(self.samples)]
        rows = [row for row in self.history(limit=10000) if row["kind"] == "flash"]
        ids = [row["id"] for row in rows]
        if len(set(ids)) != len(ids):
            self.problems.append(f"daemon {self.index}: jobs that are there twice: {[i for i in set(ids) if ids.count(i) > 1]}")
        if set(ids) != set(self.states):
            self.problems.append(f"daemon {self.index}: lost {set(self.states) - set(ids)}, more than were begun {set(ids) - set(self.states)}")
        for row in rows:
            if row["id"] in self.states and row["state"] != self.states[row["id"]]:
                self.problems.append(f"daemon {self.index}: job {row['id']} was {self.states[row['id']]}, history has {row['state']}")
        self.counts["attempts"] += sum(row["attempts"] for row in rows)


def warm(samples):
    """Those that can be compared; none where they are too few to say anything."""
    found = [sample for sample in samples if sample[0] >= WARM]
    return found if len(found) >= 4 else []


def quarters(samples, column):
    """Of the first and the last quarter the medians; of files the least: some are open for a moment."""
    values = [sample[column] for sample in samples]
    n, pick = len(values) // 4, (None, statistics.median, min)[column]
    return pick(values[:n]), pick(values[-n:])


def growth(samples):
    """What a daemon that was never restarted has more of in the end."""
    samples = warm(samples)
    if not samples:
        return []
    first, last = quarters(samples, 1)
    words = [f"memory grows from {first} to {last} KiB: {samples}"] if last > first + RSS_GROWTH_KIB else []
    first, last = quarters(samples, 2)
    return words + ([f"open files grow from {first} to {last}: {samples}"] if last > first else [])


def slope(samples):
    """KiB for each 1000 flashes, fitted."""
    fit = statistics.linear_regression([sample[0] for sample in samples], [sample[1] for sample in samples])
    return f"{1000 * fit.slope:+.0f} KiB for each 1000 flashes"


def can_stub():
    """Whether this daemon knows the stub at all: its phases say so."""
    return "load-stub" in phases()


def work(pipe, folder, *arguments):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = Worker(*arguments)
    if folder and not worker.by_policy:  # what is under /dev would mean umockdev's own to a daemon with USB
        os.environ["WIPYD_TEST_FOLDER"] = folder
    try:
        result = worker.run()
    except BaseException as problem:
        traceback.print_exc()
        worker.problems.append(f"daemon {worker.index}: {problem}")
        result = worker.result()
    pipe.send(result)
    pipe.close()


def tell(left, total, started):
    """A line at each 5 %."""
    for part in range(1, N_SAMPLES):
        while total - left.value < total * part // N_SAMPLES:
            time.sleep(1)
        print(f"{100 * part // N_SAMPLES} %: {total - left.value} flashes in {time.monotonic() - started:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=20000, help="flashes, over all daemons")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seconds", type=float, help="begin nothing new after that")
    parser.add_argument("--workers", type=int, default=8, help="daemons")
    parser.add_argument("--boards", type=int, default=5, help="of each daemon; the kernel has 128 inotify instances, of which each takes one")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 30)
    loaders = ["rom", "stub"] if can_stub() and simstub.FILES["new"].exists() else ["rom"]
    print(f"soak: {arguments.n} flashes, SEED={seed}, {arguments.workers} daemons with {arguments.boards} boards each, "
          f"loaders: {', '.join(loaders)}", flush=True)
    with memory_folder() as folder:
        return run(arguments, seed, loaders, folder)


@contextlib.contextmanager
def memory_folder():
    if "WIPYD_TEST_FOLDER" in os.environ or not os.path.isdir(MEMORY):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="wipyd-", dir=MEMORY) as folder:
        yield folder


def run(arguments, seed, loaders, folder):
    started, running = time.monotonic(), []
    left = multiprocessing.Value("q", arguments.n)
    for index in range(arguments.workers):
        ours, theirs = multiprocessing.Pipe(duplex=False)
        # Of the four kinds of daemon, each comes with each loader before one comes again.
        loader = loaders[(index + index // 4) % len(loaders)]
        share = arguments.n // arguments.workers
        process = multiprocessing.Process(target=work, args=(theirs, folder, index, seed, share, left,
                                                             arguments.n, arguments.boards, arguments.seconds, loader))
        process.start()
        theirs.close()
        running.append((process, ours))

    threading.Thread(target=tell, args=(left, arguments.n, started), daemon=True).start()
    counts, problems, ended = collections.Counter(), [], 0
    for process, pipe in running:
        try:
            result = pipe.recv()
        except EOFError:
            problems.append("a daemon's driver died")
            continue
        process.join()
        counts.update(result["counts"])
        problems += result["problems"]
        ended += sum(count for name, count in result["counts"].items() if name.startswith("job "))
        print(f"daemon {result['index']}: {result['loader']}, {'policy' if result['by_policy'] else 'command'}, "
              f"{'killed now and then' if result['is_killed'] else 'never restarted'}; "
              f"(flashes, KiB, files): {result['memory']}")
        samples = warm(result["samples"])
        if samples and not result["is_killed"]:
            kib, files = quarters(samples, 1), quarters(samples, 2)
            print(f"daemon {result['index']}: at each 5 %: {samples}; first and last quarter {kib[0]:.0f} and {kib[1]:.0f} KiB, "
                  f"{files[0]:.0f} and {files[1]:.0f} files; {slope(samples)}")
    seconds = time.monotonic() - started
    for name in sorted(counts):
        print(f"{counts[name]:8} {name}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{ended} jobs in {seconds:.0f} s, {ended / seconds:.1f} a second, {1000 * (used.ru_utime + used.ru_stime) / ended:.0f} ms "
          f"of processor time each; SEED={seed}")
    for problem in problems:
        print(f"WRONG: {problem}")
    done = counts["job done"]
    if not done:
        problems.append("no flash was ever done")
        print("WRONG: no flash was ever done")
    print(f"{max(0, ended - len(problems))} passed, {len(problems)} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
