"""Every phase of a job x {unplug, cancel, daemon killed, daemon ended, board reset, power cut, no reply, garbage, silence}; then a
job that goes on by itself, or another flash, and a flash file that is right.

Boards on ports from the configuration; test_cut_off.py has them on USB. moments.py has the phases. That a job is in its
phase is read over D-Bus before anything happens to it.
"""
import os
import time

import harness
import packages
from harness import DEVICE, FINAL, JOB, MB, Bench, Variant, lived_in_flash, memfd, phases, takes, wait_for
from moments import BAUD, HOLD_MS, MOMENTS, NO_MOMENT, Scene

SETTLE = "[boards]\nsettle = 50\n"
MANAGER = "org.wipyd1.Manager"


class Case(Scene):
    options = ("--fast",)

    def set_up(self):
        self.bench = Bench([dict(flash=self.before, options=self.options)], config=SETTLE, connect_timeout=15).__enter__()
        self.make_package()
        if self.stages:
            self.rehearse()

    def start(self, **options):
        self.path = self.bench.start_flash(self.package, **(options or dict(baud=BAUD)))

    def begin_sync(self):
        board = self.bench.board
        board.ask("jumper off")
        board.ask("reset")
        board.wait("state", "running")
        self.start()

    def check_second_flash(self):
        """Sends what isn't right yet, nothing else; then all is right."""
        now = self.check_flash_so_far()
        self.check_sent_what_was_wrong(self.bench.flash_well(self.package, baud=BAUD), now)

    def finished_by_itself(self):
        job = self.bench.wait_job(self.path)
        assert job["State"] == "done", (job["State"], job["Phase"], job["Error"], job["ErrorText"])
        assert job["Attempts"] == []
        self.first = job
        assert self.bench.board.flash() == self.wanted
        self.check_second_flash()


# ---- what happens ----------------------------------------------------------------------------------------------------

def unplug(case):
    board = case.bench.board
    if case.moment.mid_frame:
        case.strike_mid_frame("unplug")
    else:
        case.reach(f"delay-reply,{HOLD_MS}")
        case.check_phase()
        board.ask("unplug")
    job = case.wait_interrupted()
    # What was unpacked was unpacked: that the port is gone is seen when it is opened.
    assert job["Phase"] == ("open" if case.moment.phase == "prepare" else case.moment.phase), job["Phase"]
    wait_for(lambda: not case.bench.device()["Present"], 5, "the unplug is seen")
    told = case.bench.device()
    assert told["Job"] == "/" and told["Advice"] == "Plug the board in again.", told
    now = case.check_flash_so_far()
    board.ask("jumper on")
    board.ask("plug")
    case.check_went_on(now, str(board.tty))
    assert case.bench.device()["Job"] == "/"


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


def end_of_the_daemon(end, reason):
    """The next daemon finds the ROM wherever it was left, without a reset, and the same job goes on by itself."""
    def happen(case):
        board = case.bench.board

        def cut():
            # A daemon that dies before the job is on disk never had it: who asks for the history waits for that.
            case.bench.bus.call("/org/wipyd1", MANAGER, "History", "a{sv}", {})
            end(case.bench)
        if case.moment.mid_frame:
            mid_frame_by_pacing(case, cut, ends_the_frame=end is ended)
        else:
            case.reach(f"delay-reply,{HOLD_MS}")
            case.check_phase()
            cut()
        case.killed = end is Bench.kill_wipyd
        board.wait("host_open", False)
        resets = board.status()["resets"]
        if case.moment.phase == "sync":
            board.download()
            resets += 1
        now = case.check_flash_so_far()
        case.bench.start_wipyd()
        job = case.check_went_on(now, reason)
        assert job["Id"] == case.first["Id"]
        assert board.status()["resets"] == resets
    return happen


def ended(bench):
    bench.stop_wipyd()
    bench.connection.close()
    bench.connection = None


def by_hand(request):
    def happen(case):
        if case.moment.mid_frame:
            case.strike_mid_frame(request)
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


INTERRUPTIONS = {"unplug": unplug, "cancel": cancel,
                 "kill": end_of_the_daemon(Bench.kill_wipyd, "without notice"), "end": end_of_the_daemon(ended, "was stopped"),
                 "reset": by_hand("reset"), "power_cut": by_hand("power-cut"),
                 "no_reply": no_reply, "garbage": garbage, "silence": silence}
ON_A_REPLY = ("no_reply", "garbage", "silence")


# ---- in the middle of a frame ----------------------------------------------------------------------------------------

def mid_frame_by_pacing(case, act, ends_the_frame=False):
    """A board that takes its time: the blocks of a piece need half a second each."""
    board = case.bench.board
    board.fault(case.stages[0].fault(case.counts, f"delay-reply,{HOLD_MS}"))
    case.start(connect_timeout=15)  # at 115200
    case.struck()
    n_before = board.status()["rx_bytes"]
    wait_for(lambda: board.status()["rx_bytes"] > n_before + 9000, 10, "the middle of the second block")
    case.check_phase()
    frames = board.count("DEFL_DATA")
    act()
    assert ends_the_frame or board.count("DEFL_DATA") == frames, "the frame was over already"


# ---- the matrix ------------------------------------------------------------------------------------------------------

def make(name, moment, what):
    paced = moment.mid_frame and what in ("cancel", "kill", "end")

    @takes(6 if what in ON_A_REPLY else 8 if paced else 2)
    def test():
        with (PacedCase if paced else Case)(moment) as case:
            INTERRUPTIONS[what](case)
    test.__module__ = __name__
    test.__doc__ = f"{what} while {name}"
    return test


class PacedCase(Case):
    """Wire at its rate, but a flash that takes no time."""

    options = ("--timings", "sector_us=1,block_us=1,page_us=1,md5_us_per_kib=1")

    def set_up(self):
        self.bench = Bench([dict(flash=self.before, options=self.options)], config=SETTLE, connect_timeout=15).__enter__()
        self.make_package(app_bytes=100_000)


for name, moment in MOMENTS.items():
    for what in INTERRUPTIONS:
        if what in ON_A_REPLY and (not moment.by_stub or moment.mid_frame):
            continue  # no reply there that could fail
        if (what, name) == ("no_reply", "start_of_the_stub"):
            continue  # its hello is enough: test_stub.test_the_reply_to_the_jump_may_be_lost
        globals()[f"test_{what}_while_{name}"] = make(name, moment, what)


def test_every_phase_has_a_moment():
    known = {moment.phase for moment in MOMENTS.values()} | set(NO_MOMENT)
    assert set(phases()) == known, f"not in MOMENTS: {set(phases()) - known}, not in phase.h: {known - set(phases())}"
    assert not {moment.phase for moment in MOMENTS.values()} & set(NO_MOMENT)
    assert all(NO_MOMENT.values())


# ---- beside the matrix -----------------------------------------------------------------------------------------------

def test_cancel_right_behind_the_call():
    """As soon as the job has a name: who may begin one is asked first, so a cancel sent with it would come too early."""
    with Bench() as bench:
        package = bench.package(app_bytes=200_000)
        device, fd = bench.device_path(), memfd(package.read_bytes())
        flash = bench.bus.send(device, DEVICE, "FlashFile", "hsa{sv}", fd, "p", {})
        os.close(fd)
        assert bench.bus.wait(flash) == ["/org/wipyd1/job/1"]
        bench.bus.call("/org/wipyd1/job/1", JOB, "Cancel")
        job = bench.wait_job("/org/wipyd1/job/1")
        assert job["State"] == "cancelled" and job["Phase"] in ("queued", "prepare"), job
        assert bench.board.status()["frames"] == 0
        bench.flash_well(package)


@takes(8)
def test_killed_again_and_again_comes_to_an_end():
    """A daemon that dies every few blocks: each time what was written stays, so the work gets less. By the stub it is
    every file: each is one write."""
    at = "on=DEFL_BEGIN,nth=2" if harness.default_stub == "off" else "on=DEFL_END"
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)], config=SETTLE + "[flash]\nattempts = 20\n") as bench:
        package = bench.package(app_bytes=300_000)
        totals, path = [], None
        for _ in range(20):
            bench.board.fault(f"{at} do=delay-reply,{HOLD_MS}")
            if path:
                bench.start_wipyd()
            else:
                path = bench.start_flash(package)
            wait_for(lambda: bench.board.status()["faults_pending"] == 0 or bench.job(path)["State"] == "done", 10, "a block")
            job = bench.job(path)
            totals.append(job["BytesTotal"])
            if job["State"] == "done":
                break
            bench.kill_wipyd()
        bench.board.fault("clear")
        assert totals == sorted(totals, reverse=True) and len(totals) > 3 and job["State"] == "done", totals
        assert len(job["Attempts"]) == len(totals) - 1, job
        assert bench.board.flash() == packages.expected_flash(package, 4 * MB, before)


def cut_and_cancelled(act):
    """Whichever the daemon hears of first, the job is cancelled, and nothing goes on by itself."""
    with Bench(config=SETTLE) as bench:
        package = bench.package(app_bytes=200_000)
        for nth in (1, 2, 3):
            bench.board.fault(f"on=DEFL_DATA,nth={nth} do=delay-reply,{HOLD_MS}")
            path = bench.start_flash(package)
            wait_for(lambda: bench.board.status()["faults_pending"] == 0, 10, "a block")
            act(bench, lambda: bench.bus.call(path, JOB, "Cancel"))
            job = bench.wait_job(path)
            assert job["State"] == "cancelled" and len(job["Attempts"]) <= 1 and job["UserAction"] == "", job
            wait_for(lambda: not bench.device()["Present"], 5, "the unplug is seen")
            assert bench.device()["Advice"] == "", bench.device()
            bench.board.ask("plug")
            bench.board.download()
            wait_for(lambda: bench.device()["Rule"] == "by-hand", 5, "nobody waits for it")
        bench.flash_well(package)


def test_cancelled_and_then_unplugged_at_once():
    def act(bench, stop):
        stop()
        stop()  # twice does no harm
        bench.board.ask("unplug")
    cut_and_cancelled(act)


def test_unplugged_and_then_cancelled_at_once():
    def act(bench, stop):
        bench.board.ask("unplug")
        stop()
    cut_and_cancelled(act)


@takes(3)
def test_unplugged_right_when_the_job_begins():
    """Before, in the middle of, and after the call, without a look at where the job is."""
    with Bench(config=SETTLE + "[flash]\nattempts = 100\n") as bench:
        package = bench.package(app_bytes=30_000)
        for ms in (0, 1, 3, 10, 30):
            path = bench.start_flash(package)
            time.sleep(ms / 1000)
            bench.board.ask("unplug")
            wait_for(lambda: not bench.device()["Present"], 5, "the unplug is seen")
            wait_for(lambda: bench.bus.get(path, JOB, "State") in ("interrupted", *FINAL), 10, "the end of the attempt")
            bench.board.ask("plug")
            job = bench.wait_job(path)
            assert job["State"] == "done", job
            bench.board.wait("busy", False)
            assert bench.board.flash() == packages.expected_flash(package, 4 * MB, b"\xff" * 4 * MB)


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
