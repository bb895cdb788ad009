"""Every phase of a job x {unplug, cancel, daemon killed, board reset, power cut, no reply, garbage, silence}; then a flash that
succeeds and a flash file that is right.

The phases are read from proto/phase.h: a new one fails test_every_phase_has_a_moment until it stands in MOMENTS, or in
NO_MOMENT with the reason. The simulator holds the job in its phase by answering late; that it is in that phase is read
over D-Bus before anything happens to it.
"""
import os
import time

import packages
from harness import CONFIG, DEVICE, FINAL, JOB, MB, OURS, Bench, Variant, lived_in_flash, memfd, phases, takes, wait_for

BAUD = 230400  # a rate to climb to, so that raise-baud and finish have something to do
HOLD_MS = 400  # below every time limit of the link but SYNC's


class Stage:
    """Held at the nth OP; nth may depend on what the dry run counted."""

    def __init__(self, op, nth=1):
        self.op, self.nth = op, nth

    def fault(self, counts, action):
        nth = self.nth(counts) if callable(self.nth) else self.nth
        return f"on={self.op},nth={nth} do={action}"


class Moment:
    def __init__(self, phase, *stages, n_written=0, mid_frame=False):
        self.phase, self.stages, self.n_written, self.mid_frame = phase, stages, n_written, mid_frame


# At the third piece two are verified already, and one more is an erased one.
MOMENTS = {
    "prepare": Moment("prepare"),
    "sync": Moment("sync"),
    "identify": Moment("identify", Stage("READ_REG", 5)),
    "plan": Moment("plan", Stage("READ_FLASH_SLOW", 2)),
    "raise_baud": Moment("raise-baud", Stage("CHANGE_BAUDRATE")),
    "compare": Moment("compare", Stage("MD5", 4)),
    "save": Moment("save", Stage("MD5", lambda counts: counts["MD5"] + 1)),
    "save_in_the_middle_of_a_sector": Moment("save", Stage("READ_FLASH_SLOW", lambda counts: counts["READ_FLASH_SLOW"] + 20)),
    "begin_of_an_erase": Moment("begin", Stage("FLASH_BEGIN")),
    "begin": Moment("begin", Stage("DEFL_BEGIN", 3), n_written=2),
    "write": Moment("write", Stage("DEFL_BEGIN", 3), Stage("DEFL_DATA", 3), n_written=2),
    "write_in_the_middle_of_a_frame": Moment("write", Stage("DEFL_BEGIN", 3), Stage("DEFL_DATA", 2), n_written=2, mid_frame=True),
    "verify": Moment("verify", Stage("DEFL_BEGIN", 3), Stage("MD5"), n_written=2),
    "guard_check": Moment("guard-check", Stage("DEFL_BEGIN", lambda counts: counts["differ"]), Stage("MD5", 2), n_written=4),
    "finish": Moment("finish", Stage("CHANGE_BAUDRATE", 2), n_written=4),
}
NO_MOMENT = {
    "queued": "a job leaves it in the same turn of the loop: see test_cancel_right_behind_the_call",
    "open": "opening a pty is one system call",
    "reset": "a pty has no DTR and RTS: passed in no time; tests/vm has lines",
    "protect": "decides on what identify has read: no byte on the wire",
    "boot-check": "a pty has no DTR and RTS: passed in no time; tests/vm has lines",
    "done": "the job is over",
}


class Case:
    def __init__(self, moment):
        self.moment = moment

    def __enter__(self):
        self.before = lived_in_flash(4 * MB)
        self.bench = Bench([dict(flash=self.before)], connect_timeout=15).__enter__()
        try:
            # A large one takes a while to unpack.
            self.package = self.bench.package(app_bytes=1_700_000 if self.moment.phase == "prepare" else 200_000)
            self.wanted = packages.expected_flash(self.package, 4 * MB, self.before)
            if self.moment.stages:
                self._rehearse()
        except BaseException as problem:
            self.bench.__exit__(type(problem), problem, None)
            raise
        return self

    def __exit__(self, *problem):
        self.bench.__exit__(*problem)

    def _rehearse(self):
        """A dry run counts what comes before the first write."""
        job = self.bench.flash_well(self.package, dry_run=True, baud=BAUD)
        self.counts = dict(self.bench.board.status()["commands"])
        self.counts["differ"] = sum(region[2] == "write" and region[4] == "differs" for region in job["Regions"])

    # ---- to the moment ----
    def struck(self):
        wait_for(lambda: self.bench.board.status()["faults_pending"] == 0, 10, f"{self.moment.phase} is reached")

    def reach(self, action):
        """Starts the job; when this comes back, action has happened to the last stage's reply."""
        board, moment = self.bench.board, self.moment
        if moment.phase == "sync":
            board.ask("jumper off")
            board.ask("reset")
            board.wait("state", "running")
        last = moment.stages[-1] if moment.stages else None
        for stage in moment.stages:
            what = action if stage is last else f"delay-reply,{HOLD_MS}"
            board.fault(stage.fault(self.counts if stage is moment.stages[0] else {}, what))
            if stage is moment.stages[0]:
                self.path = self.bench.start_flash(self.package, baud=BAUD)
            self.struck()
        if not moment.stages:
            self.path = self.bench.start_flash(self.package, baud=BAUD)

    def check_phase(self):
        if not self.moment.stages:
            wait_for(lambda: self.bench.bus.get(self.path, JOB, "Phase") == self.moment.phase, 10, self.moment.phase)
        job = self.bench.job(self.path)
        assert job["Phase"] == self.moment.phase, f"in {job['Phase']}, not in {self.moment.phase}"
        assert job["State"] in ("running", "waiting"), job["State"]
        self.first = job
        written = sum(region[4] == "written" for region in job["Regions"])
        assert written >= self.moment.n_written, f"{written} regions are written"

    # ---- afterwards ----
    def check_end(self, state, error="", phase=None):
        job = self.bench.wait_job(self.path)
        assert (job["State"], job["Error"]) == (state, OURS + error if error else ""), \
            (job["State"], job["Phase"], job["Error"], job["ErrorText"])
        assert job["Phase"] == (phase or self.moment.phase), job["Phase"]
        assert not error or job["ErrorText"], "a story"
        assert self.bench.device()["Job"] == "/"
        self.first = job
        return job

    def check_flash_so_far(self):
        now = self.bench.board.flash()
        assert now[CONFIG] == self.before[CONFIG], "the config block has changed"
        assert now[0x9000:0x10000] == self.before[0x9000:0x10000], "NVS has changed"
        assert now[0x380000:0x3FF000] == self.before[0x380000:0x3FF000], "the file system has changed"
        return now

    def check_second_flash(self):
        """Sends what isn't right yet, nothing else; then all is right."""
        self.bench.board.wait("busy", False)  # what the chip had begun, it finishes
        now = self.check_flash_so_far()
        done_before = {region[:2] for region in self.first["Regions"] if region[4] == "written"}
        job = self.bench.flash_well(self.package, baud=BAUD)
        wrong = 0
        for offset, size, _, name, state in job["Regions"]:
            is_right = now[offset:offset + size] == self.wanted[offset:offset + size]
            assert state == ("equal" if is_right else "written"), (hex(offset), name, state, is_right)
            assert is_right or (offset, size) not in done_before, f"0x{offset:x} was verified once"
            wrong += 0 if is_right else size
        assert job["BytesTotal"] == job["BytesDone"] == wrong, (job["BytesTotal"], wrong)
        assert self.bench.board.flash() == self.wanted
        for saved in self.bench.state.glob("backup/30aea4010203/*/config.bin"):
            assert saved.read_bytes() == self.before[CONFIG]
        left = [path.name for path in self.bench.state.glob("backup/30aea4010203/.*")]
        assert not left or self.killed, f"half a backup: {left}"

    killed = False

    def finished_by_itself(self):
        job = self.bench.wait_job(self.path)
        assert job["State"] == "done", (job["State"], job["Phase"], job["Error"], job["ErrorText"])
        self.first = job
        assert self.bench.board.flash() == self.wanted
        self.check_second_flash()


# ---- what happens ----------------------------------------------------------------------------------------------------

def unplug(case):
    board = case.bench.board
    if case.moment.mid_frame:
        strike_mid_frame(case, "unplug")
    else:
        case.reach(f"delay-reply,{HOLD_MS}")
        case.check_phase()
        board.ask("unplug")
    case.check_end("failed", "PortGone", phase="open" if case.moment.phase == "prepare" else None)
    assert "board" in case.first["ErrorText"]
    case.check_flash_so_far()
    board.ask("plug")
    board.download()
    wait_for(lambda: case.bench.device()["Present"], 5, "the port is seen")
    case.check_second_flash()


def cancel(case):
    """The board is given back as it was found: nobody has to press reset."""
    board = case.bench.board
    if case.moment.mid_frame:
        mid_frame_by_pacing(case, lambda: case.bench.bus.call(case.path, JOB, "Cancel"))
    else:
        case.reach(f"delay-reply,{HOLD_MS}")
        case.check_phase()
        case.bench.bus.call(case.path, JOB, "Cancel")
    case.check_end("cancelled", "Cancelled")
    resets = board.status()["resets"]
    if case.moment.phase == "sync":
        board.download()
        resets += 1
    started = time.monotonic()
    case.check_second_flash()
    assert board.status()["resets"] == resets
    return time.monotonic() - started


def kill_daemon(case):
    """The next daemon finds the ROM wherever it was left, without a reset."""
    board = case.bench.board
    if case.moment.mid_frame:
        mid_frame_by_pacing(case, case.bench.kill_wipyd)
    else:
        case.reach(f"delay-reply,{HOLD_MS}")
        case.check_phase()
        case.bench.kill_wipyd()
    case.killed = True
    board.wait("host_open", False)
    resets = board.status()["resets"]
    if case.moment.phase == "sync":
        board.download()
        resets += 1
    case.bench.start_wipyd()
    case.check_second_flash()
    assert board.status()["resets"] == resets


def by_hand(request):
    def happen(case):
        if case.moment.mid_frame:
            strike_mid_frame(case, request)
        else:
            case.reach(f"delay-reply,{HOLD_MS}")
            case.check_phase()
            if case.moment.phase == "sync":
                case.bench.board.ask("jumper on")
            case.bench.board.ask(request)
        case.finished_by_itself()
    return happen


def no_reply(case):
    case.reach("drop-reply")
    case.check_phase()
    case.finished_by_itself()


def garbage(case):
    """The reply is noise and half a frame."""
    case.reach("truncate-reply")
    case.finished_by_itself()


def silence(case):
    """The chip hangs until somebody presses reset, which the job asks for."""
    case.reach("silence")
    case.check_phase()
    if case.moment.phase != "finish":  # there nothing more is wanted of the board
        job = wait_for(lambda: (lambda job: job["State"] in ("waiting", *FINAL) and job)(case.bench.job(case.path)), 20, "asks")
        assert "reset" in job["UserAction"], job
    case.bench.board.ask("reset")
    case.finished_by_itself()


INTERRUPTIONS = {"unplug": unplug, "cancel": cancel, "kill": kill_daemon, "reset": by_hand("reset"), "power_cut": by_hand("power-cut"),
                 "no_reply": no_reply, "garbage": garbage, "silence": silence}
ON_A_REPLY = ("no_reply", "garbage", "silence")


# ---- in the middle of a frame ----------------------------------------------------------------------------------------

def strike_mid_frame(case, action):
    """The simulator strikes by itself when half of a block is in."""
    board, moment = case.bench.board, case.moment
    board.fault(moment.stages[0].fault(case.counts, f"delay-reply,{HOLD_MS}"))
    case.path = case.bench.start_flash(case.package, baud=BAUD)
    case.struck()
    case.first = case.bench.job(case.path)
    board.fault(f"on=DEFL_DATA,nth={moment.stages[1].nth},moment=mid-frame do={action}")
    case.struck()


def mid_frame_by_pacing(case, act):
    """A board that takes its time: the blocks of a piece need half a second each."""
    board = case.bench.board
    board.fault(case.moment.stages[0].fault(case.counts, f"delay-reply,{HOLD_MS}"))
    case.path = case.bench.start_flash(case.package)  # at 115200
    case.struck()
    n_before = board.status()["rx_bytes"]
    wait_for(lambda: board.status()["rx_bytes"] > n_before + 9000, 10, "the middle of the second block")
    case.check_phase()
    frames = board.count("DEFL_DATA")
    act()
    assert board.count("DEFL_DATA") == frames, "the frame was over already"


# ---- the matrix ------------------------------------------------------------------------------------------------------

def make(name, moment, what):
    paced = moment.mid_frame and what in ("cancel", "kill")

    @takes(6 if what in ON_A_REPLY else 8 if paced else 2)
    def test():
        with (PacedCase if paced else Case)(moment) as case:
            INTERRUPTIONS[what](case)
    test.__module__ = __name__
    test.__doc__ = f"{what} while {name}"
    return test


class PacedCase(Case):
    """Wire at its rate, but a flash that takes no time."""

    def __enter__(self):
        self.before = lived_in_flash(4 * MB)
        quick = ("--timings", "sector_us=1,block_us=1,page_us=1,md5_us_per_kib=1")
        self.bench = Bench([dict(flash=self.before, options=quick)], connect_timeout=15).__enter__()
        try:
            self.package = self.bench.package(app_bytes=100_000)
            self.wanted = packages.expected_flash(self.package, 4 * MB, self.before)
            self.counts = {}
        except BaseException as problem:
            self.bench.__exit__(type(problem), problem, None)
            raise
        return self


for name, moment in MOMENTS.items():
    for what in INTERRUPTIONS:
        if what in ON_A_REPLY and (not moment.stages or moment.mid_frame):
            continue  # no reply there that could fail
        globals()[f"test_{what}_while_{name}"] = make(name, moment, what)


def test_every_phase_has_a_moment():
    known = {moment.phase for moment in MOMENTS.values()} | set(NO_MOMENT)
    assert set(phases()) == known, f"not in MOMENTS: {set(phases()) - known}, not in phase.h: {known - set(phases())}"
    assert not {moment.phase for moment in MOMENTS.values()} & set(NO_MOMENT)
    assert all(NO_MOMENT.values())


# ---- beside the matrix -----------------------------------------------------------------------------------------------

def test_cancel_right_behind_the_call():
    """Both are in the daemon's queue before it looks at either."""
    with Bench() as bench:
        package = bench.package(app_bytes=200_000)
        device, fd = bench.device_path(), memfd(package.read_bytes())
        flash = bench.bus.send(device, DEVICE, "FlashFile", "hsa{sv}", fd, "p", {})
        stop = bench.bus.send("/org/wipyd1/job/1", JOB, "Cancel")
        os.close(fd)
        assert bench.bus.wait(flash) == ["/org/wipyd1/job/1"]
        bench.bus.wait(stop)
        job = bench.wait_job("/org/wipyd1/job/1")
        assert job["State"] == "cancelled" and job["Phase"] in ("queued", "prepare"), job
        assert bench.board.status()["frames"] == 0
        bench.flash_well(package)


def test_killed_again_and_again_comes_to_an_end():
    """A daemon that dies every few blocks: each time what was verified stays, so the work gets less."""
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(app_bytes=300_000)
        totals = []
        for n in range(20):
            bench.board.fault(f"on=DEFL_BEGIN,nth=2 do=delay-reply,{HOLD_MS}")
            path = bench.start_flash(package)
            wait_for(lambda: bench.board.status()["faults_pending"] == 0 or bench.job(path)["State"] == "done", 10, "a block")
            job = bench.job(path)
            totals.append(job["BytesTotal"])
            if job["State"] == "done":
                break
            bench.kill_wipyd()
            bench.start_wipyd()
        bench.board.fault("clear")
        assert totals == sorted(totals, reverse=True) and len(totals) > 4 and job["State"] == "done", totals
        assert bench.board.flash() == packages.expected_flash(package, 4 * MB, before)


def test_unplugged_and_cancelled_at_once():
    with Bench() as bench:
        package = bench.package(app_bytes=200_000)
        bench.board.fault(f"on=DEFL_DATA,nth=3 do=delay-reply,{HOLD_MS}")
        path = bench.start_flash(package)
        wait_for(lambda: bench.board.count("DEFL_DATA") == 3, 10, "the third block")
        bench.bus.call(path, JOB, "Cancel")
        bench.bus.call(path, JOB, "Cancel")  # twice does no harm
        bench.board.ask("unplug")
        job = bench.wait_job(path)
        assert job["State"] == "cancelled", job
        bench.board.ask("plug")
        bench.board.download()
        bench.flash_well(package)


def test_interrupted_identify():
    """The other kind of job, in its long search: cancel, unplug, reset."""
    before = lived_in_flash(4 * MB, cluster_offset=0x1F003)
    with Bench([dict(flash=before)]) as bench:
        for action in ("cancel", "unplug", "reset"):
            bench.board.fault(f"on=READ_FLASH_SLOW,nth=100 do=delay-reply,{HOLD_MS}")
            path, = bench.bus.call(bench.device_path(), DEVICE, "Identify", "a{sv}", {"connect-timeout": Variant("u", 5)})
            wait_for(lambda: bench.board.status()["faults_pending"] == 0, 10, "the search")
            assert bench.job(path)["Phase"] == "plan"
            if action == "cancel":
                bench.bus.call(path, JOB, "Cancel")
            else:
                bench.board.ask(action)
            job = bench.wait_job(path)
            assert job["State"] == {"cancel": "cancelled", "unplug": "failed", "reset": "done"}[action], (action, job)
            if action == "unplug":
                bench.board.ask("plug")
                bench.board.download()
        assert bench.device()["Release"] == "1.17.3.b1"
        assert bench.board.flash() == before
