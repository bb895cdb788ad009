"""Jobs that are cut off, on USB: the policy's own job goes on by itself, under the same id, wherever its board turns up
again, whatever has been plugged in meanwhile. And where that ends. test_cut_off_by_people.py has the rest.
"""
import contextlib
import sqlite3
import time

from cutting import (ELSEWHERE, asking, cut_off, device_of, flashes, has_firmware, hold, job_path, plug_again, state, struck,
                     wait_state, whole_flash)
from harness import DEVICE, JOB, MB, DBusError, Skip, lived_in_flash, takes, wait_for
from moments import BAUD, HOLD_MS, MOMENTS, Scene
from test_plug import JUMPER, MAC, MANAGER, QUICK, ROOT, device, is_there, port_is_free, set_policy, usb_bench, wait_rule

CONFIG = QUICK + f"policy = %s\n[flash]\nbaud = {BAUD}\n"
OTHER_MAC = "30:ae:a4:00:00:02"


# ---- every phase ----------------------------------------------------------------------------------------------------

def hang_after_the_look(board, n_reads):
    """The look ends with so many reads of the flash; the job then finds nobody. SYNCs can't be counted: some are sent twice."""
    board.fault(f"on=READ_FLASH_SLOW,nth={n_reads},after=reply do=silence")


class Plugged(Scene):
    """The policy is changed from ask to wipy when all is counted: so the job that begins then is its own."""

    config = CONFIG % "ask"

    def set_up(self):
        self.bench = usb_bench([dict(flash=self.before)], config=self.config, connect_timeout=15).__enter__()
        self.board = self.bench.board
        self.make_package()
        self.bench.import_firmware(self.package)
        self.board.ask("jumper on")
        self.bench.plug(self.board)
        wait_rule(self.bench, "ask")
        if self.moment.phase == "prepare":
            self.make_it_unpack()
        if self.stages:
            self.rehearse()
        # The policy looks once more before it begins: what a look sends comes before the job.
        before = self.board.status()["commands"]
        self.bench.bus.call(self.bench.device_path(), DEVICE, "Look", "a{sv}", {})
        now = self.board.status()["commands"]
        self.earlier = {op: now[op] - before.get(op, 0) for op in now}
        port_is_free(self.board)

    def make_it_unpack(self):
        """The newest package is kept unpacked; one that the board is pinned to isn't."""
        self.bench.import_firmware(self.bench.package("newest.tar.gz", release="1.20.2.r4", app_bytes=20_000))
        result = self.bench.ctl("board", "pin", MAC, "1.20.1.r1")
        assert result.code == 0, result

    def start(self):
        self.path = f"/org/wipyd1/job/{2 if self.stages else 1}"  # after the rehearsal's
        set_policy(self.bench, "wipy")
        wait_for(self.is_begun, 10, "the policy's job")

    def is_begun(self):
        with contextlib.suppress(DBusError):
            return self.bench.bus.get(self.path, JOB, "Phase")

    def begin_sync(self):
        hang_after_the_look(self.board, self.earlier["READ_FLASH_SLOW"])
        self.start()
        self.struck()


def elsewhere(moment):
    with Plugged(moment) as case:
        bench, board = case.bench, case.board
        if moment.mid_frame:
            case.strike_mid_frame("unplug")
            bench.usb.ask("remove name=ttyUSB0 slot=1-1")
        else:
            case.reach(f"delay-reply,{HOLD_MS}")
            case.check_phase()
            bench.unplug(board)
        job = case.wait_interrupted()
        assert job["Phase"] == ("open" if moment.phase == "prepare" else moment.phase), job["Phase"]
        now = case.check_flash_so_far()

        plug_again(bench, board, **ELSEWHERE)
        wait_for(lambda: device_of(bench, case.path) == "ttyUSB7", 15, "the job is on the other port")
        job = case.check_went_on(now, "/dev/ttyUSB0")
        assert (job["Slot"], job["Mac"], job["By"]) == (bench.slot(board), MAC, "policy"), job
        kept, = flashes(bench)
        assert (kept["state"], kept["attempts"], kept["device"]) == ("done", 2, "ttyUSB7"), kept
        assert kept["from"] == "1.17.3.b1", kept
        told = wait_rule(bench, "awaiting-start", "ttyUSB7")
        assert told["Job"] == "/" and bench.job(case.path)["UserAction"] == told["Advice"], told


def make(name, moment):
    @takes(4)
    def test():
        elsewhere(moment)
    test.__module__ = __name__
    test.__doc__ = f"unplugged while {name}, and plugged in elsewhere"
    return test


for name, moment in MOMENTS.items():
    globals()[f"test_goes_on_elsewhere_after_{name}"] = make(name, moment)


@takes(8)
def test_a_command_that_never_reached_a_board_belongs_to_its_slot():
    """It was for whatever is plugged in there. The policy's own job is decided on a board, so it belongs to that one from
    its beginning, and goes on elsewhere even when it was cut off before its ROM answered: see the phases above."""
    with asking(connect_timeout=30) as bench:
        has_firmware(bench)
        board, package = bench.board, bench.package(app_bytes=60_000)
        bench.plug(board)
        wait_rule(bench, "ask-report")
        path = bench.start_flash(package, connect_timeout=30)
        wait_for(lambda: bench.bus.get(path, JOB, "Phase") == "sync", 10, "sync")
        bench.unplug(board)
        assert wait_state(bench, path, "interrupted")["Mac"] == ""

        # In another slot it is any board: the job waits for its own slot.
        board.ask("jumper on")
        plug_again(bench, board, **ELSEWHERE)
        wait_rule(bench, "ask", "ttyUSB7")
        time.sleep(0.5)
        assert state(bench, path) == "interrupted" and board.begins() == 0
        bench.unplug(board)

        plug_again(bench, board, name="ttyUSB3", slot="1-1")  # its own, under another name
        job = bench.wait_job(path)
        assert job["State"] == "done" and device_of(bench, path) == "ttyUSB3", job
        assert [reason for _, _, reason in job["Attempts"]] == ["/dev/ttyUSB0 vanished while looking for the boot ROM"], job
        assert board.flash() == whole_flash(package)


@takes(6)
def test_a_job_that_is_cancelled_before_anybody_has_looked_leaves_the_board_to_the_one_before():
    with usb_bench(config="[boards]\npolicy = ask\nsettle = 2000\n") as bench:
        board, package = bench.board, bench.package(app_bytes=60_000)
        board.ask("jumper on")
        board.fault("on=SYNC,times=50 do=silence")
        bench.plug(board)
        path = bench.start_flash(package)
        wait_for(lambda: bench.bus.get(path, JOB, "Phase") == "sync", 10, "sync")
        bench.unplug(board)
        assert wait_state(bench, path, "interrupted")["Mac"] == ""

        board.fault("clear")
        board.fault("on=SYNC do=delay-reply,1000")
        plug_again(bench, board)
        other = bench.start_flash(package)
        wait_for(lambda: bench.bus.get(other, JOB, "Phase") == "sync", 10, "sync")
        bench.bus.call(other, JOB, "Cancel")
        assert wait_state(bench, other, "cancelled")["Mac"] == ""
        job = bench.wait_job(path)
        assert job["State"] == "done" and job["Attempt"] == 2, job


# ---- what comes back ------------------------------------------------------------------------------------------------

@takes(6)
def test_back_without_the_wire_it_is_coached_and_goes_on():
    with usb_bench() as bench:
        board, package = bench.board, bench.package(app_bytes=200_000)
        bench.import_firmware(package)
        path = cut_off(bench, board)
        assert "Plug the board in again" in bench.job(path)["UserAction"]
        board.ask("jumper off")
        plug_again(bench, board, name="ttyUSB5")
        told = wait_rule(bench, "pending", "ttyUSB5")
        assert told["Verdict"] == "coach" and told["Advice"] == JUMPER and "Job 1 was cut off" in told["Reason"], told
        assert bench.job(path)["UserAction"] == JUMPER, bench.job(path)
        assert JUMPER in bench.ctl("status").out
        assert state(bench, path) == "interrupted"
        bench.unplug(board)
        wait_for(lambda: "Plug the board in again" in bench.job(path)["UserAction"], 5, "it is away again")
        plug_again(bench, board)
        wait_rule(bench, "pending", "ttyUSB5")
        board.download()
        assert bench.wait_job(path)["State"] == "done"
        assert board.flash() == whole_flash(package) and len(flashes(bench)) == 1


@takes(6)
def test_back_elsewhere_without_the_wire_nobody_knows_it_until_its_rom_speaks():
    with usb_bench() as bench:
        board, package = bench.board, bench.package(app_bytes=200_000)
        bench.import_firmware(package)
        path = cut_off(bench, board, nth=1)
        board.ask("jumper off")
        plug_again(bench, board, **ELSEWHERE)
        wait_for(lambda: (is_there(bench, "ttyUSB7") or {}).get("Advice") == JUMPER, 15, "the wire is asked for")
        assert device(bench, "ttyUSB7")["Rule"] == "no-boot" and state(bench, path) == "interrupted"
        board.download()
        assert bench.wait_job(path)["State"] == "done"
        assert board.flash() == whole_flash(package) and len(flashes(bench)) == 1


@takes(8)
def test_another_board_in_the_slot_is_treated_on_its_own():
    with usb_bench([dict(), dict(options=("--fast", "--mac", OTHER_MAC))]) as bench:
        first, second = bench.boards
        package = bench.package(app_bytes=200_000)
        bench.import_firmware(package)
        path = cut_off(bench, first)
        so_far = first.flash()

        second.ask("jumper on")
        bench.plug(second, slot="1-1", name="ttyUSB0")
        wait_for(lambda: len(flashes(bench)) == 2, 15, "its own job")
        own = bench.wait_job(job_path(bench))
        assert own["State"] == "done" and own["Mac"] == OTHER_MAC and own["By"] == "policy", own
        assert second.flash() == whole_flash(package)
        assert state(bench, path) == "interrupted" and bench.job(path)["Mac"] == MAC
        assert first.flash() == so_far

        plug_again(bench, first, **ELSEWHERE)
        job = bench.wait_job(path)
        assert job["State"] == "done" and device_of(bench, path) == "ttyUSB7" and job["Attempt"] == 2, job
        assert first.flash() == whole_flash(package)
        assert len(flashes(bench)) == 2


@takes(8)
def test_another_board_after_a_job_that_had_just_begun_is_treated_on_its_own():
    """Cut off before its ROM was asked who it is: what was decided for one board isn't done to the next."""
    before = lived_in_flash(4 * MB, release="1.20.2.r4")
    with usb_bench([dict(), dict(flash=before, options=("--fast", "--mac", OTHER_MAC))], config=CONFIG % "ask") as bench:
        first, second = bench.boards
        package = bench.package(app_bytes=60_000)
        bench.import_firmware(package)
        first.ask("jumper on")
        bench.plug(first)
        wait_rule(bench, "ask")
        n_reads = first.count("READ_FLASH_SLOW")
        bench.bus.call(bench.device_path(), DEVICE, "Look", "a{sv}", {})
        hang_after_the_look(first, first.count("READ_FLASH_SLOW") - n_reads)
        port_is_free(first)  # or the look is a fresh one
        set_policy(bench, "wipy")
        struck(first)
        path = job_path(bench)
        wait_for(lambda: bench.bus.get(path, JOB, "Phase") == "sync", 10, "sync")
        bench.unplug(first)
        assert wait_state(bench, path, "interrupted")["Mac"] == MAC

        second.ask("jumper on")
        bench.plug(second, slot="1-1", name="ttyUSB0")
        told = wait_rule(bench, "newer")
        assert told["Mac"] == OTHER_MAC, told
        assert second.flash() == before and state(bench, path) == "interrupted"
        bench.unplug(second)
        plug_again(bench, first)
        assert bench.wait_job(path)["State"] == "done"
        assert first.flash() == whole_flash(package)


class Hasty(Plugged):
    config = Plugged.config.replace("settle = 50", "settle = 0").replace("listen = 150", "listen = 0")


@takes(4)
def test_back_before_its_job_has_noticed():
    """While it unpacks, a job doesn't look at its port. It is waited for: no second job begins on its board."""
    with Hasty(MOMENTS["prepare"]) as case:
        bench, board = case.bench, case.board
        case.reach("")
        bench.replug(board, **ELSEWHERE)
        job = bench.wait_job(case.path)
        assert job["State"] == "done" and device_of(bench, case.path) == "ttyUSB7" and job["Attempt"] == 2, job
        assert len(flashes(bench)) == 1 and board.flash() == case.wanted
        found = bench.bus.call(ROOT, MANAGER, "Decisions", "a{sv}", {})[0]
        decided = [(decision["device"], decision["rule"]) for decision in found]
        if ("ttyUSB7", "job-under-way") not in decided:
            raise Skip("it had unpacked before the board was back")
        assert ("ttyUSB7", "resume") in decided, decided


@takes(4)
def test_a_command_before_its_job_has_noticed_takes_its_place():
    with Hasty(MOMENTS["prepare"]) as case:
        bench, board = case.bench, case.board
        other = bench.package("other.tar.gz", release="1.19.0.b4", app_bytes=20_000)
        case.reach("")
        bench.replug(board, **ELSEWHERE)
        wait_for(lambda: is_there(bench, "ttyUSB7"), 5, "it is there")
        try:
            command = bench.wait_job(bench.start_flash(other))
        except DBusError as error:
            assert error.name.endswith("DeviceBusy"), error
            raise Skip("it had unpacked, and gone on, before the command") from None
        assert command["State"] == "done", command
        job = bench.wait_job(case.path)
        assert job["State"] == "failed" and job["Error"].endswith("Superseded"), job
        assert len(flashes(bench)) == 2 and board.flash() == whole_flash(other, case.before)


@takes(5)
def test_back_at_once_under_the_same_name():
    """Faster than the job finds out, or the port settles."""
    with usb_bench() as bench:
        board, package = bench.board, bench.package(app_bytes=1_700_000)
        bench.import_firmware(package)
        board.ask("jumper on")
        bench.plug(board)
        path = job_path(bench)
        for _ in range(3):
            bench.replug(board)
            time.sleep(0.25)
        job = bench.wait_job(path, 60)
        assert job["State"] == "done" and len(flashes(bench)) == 1, (job, flashes(bench))
        assert board.flash() == whole_flash(package)


# ---- how often ------------------------------------------------------------------------------------------------------

@takes(6)
def test_a_chip_that_is_still_erasing_for_a_daemon_that_died_goes_on_when_it_is_done():
    with usb_bench() as bench:
        board, package = bench.board, bench.package(app_bytes=200_000)
        bench.import_firmware(package)
        board.ask("jumper on")
        hold(board)
        bench.plug(board)
        struck(board)
        path = job_path(bench)
        bench.kill_wipyd()
        board.fault("on=any,nth=1 do=delay-reply,3000")
        bench.start_wipyd()
        assert wait_rule(bench, "pending")["Seen"] in ("silent", "noise")  # a late reply
        job = bench.wait_job(path)
        assert job["State"] == "done" and job["Attempt"] == 2, job
        assert board.flash() == whole_flash(package)


def reasons_on_disk(bench, number):
    with contextlib.closing(sqlite3.connect(f"file:{bench.state}/wipyd.db?mode=ro", uri=True)) as database:
        return [row[0] for row in database.execute("SELECT reason FROM attempt WHERE job = ? ORDER BY number", (number,))]


@takes(12)
def test_cut_off_five_times_it_has_failed():
    with usb_bench() as bench:
        board = bench.board
        bench.import_firmware(bench.package(app_bytes=300_000))
        path = cut_off(bench, board, nth=2)
        for attempt in range(2, 6):
            assert bench.job(path)["Attempt"] == attempt - 1
            hold(board, nth=2)
            plug_again(bench, board, name=f"ttyUSB{attempt}", slot=f"1-{attempt}")
            struck(board)
            bench.unplug(board)
            wait_state(bench, path, "failed" if attempt == 5 else "interrupted")
        job = bench.job(path)
        assert job["Error"].endswith("TooManyAttempts") and "/dev/ttyUSB5 vanished" in job["ErrorText"], job
        reasons = [reason for _, _, reason in job["Attempts"]]
        assert [number for number, _, _ in job["Attempts"]] == [1, 2, 3, 4, 5], job
        assert reasons == [f"/dev/ttyUSB{n} vanished while writing" for n in (0, 2, 3, 4, 5)], reasons
        kept, = flashes(bench)
        assert (kept["state"], kept["attempts"], kept["error"]) == ("failed", 5, job["Error"]), kept
        assert kept["error-text"] == "5 times, the last first: " + "; ".join(reversed(reasons)), kept
        assert reasons_on_disk(bench, kept["id"]) == reasons

        # Plugged in again, it gets a new job, which goes on where the old one was.
        plug_again(bench, board)
        wait_for(lambda: len(flashes(bench)) == 2, 15, "a new job")
        assert bench.wait_job(job_path(bench))["State"] == "done"


def cut(bench, board, kills):
    if kills:
        bench.kill_wipyd()
        bench.unplug(board)
        bench.start_wipyd()
    else:
        bench.unplug(board)


def fails_for_ever(kills):
    """One attempt is allowed: three jobs, and no more; until somebody commands it."""
    with usb_bench(config=QUICK + "[flash]\nattempts = 1\n") as bench:
        board = bench.board
        bench.import_firmware(bench.package(app_bytes=100_000))
        board.ask("jumper on")
        for n in range(1, 4):
            hold(board, nth=1)
            bench.plug(board)
            struck(board)
            wait_for(lambda: len(flashes(bench)) == n, 10, "the job is on record")
            cut(bench, board, kills)
            wait_for(lambda: flashes(bench)[0]["state"] == "failed", 10, "the end of the job")
        bench.plug(board)
        told = wait_rule(bench, "failed-before")
        assert "wipyctl flash" in told["Advice"], told
        port_is_free(board)
        assert len(flashes(bench)) == 3 and all(job["error"].endswith("TooManyAttempts") for job in flashes(bench))
        result = bench.ctl("flash", "ttyUSB0")
        assert result.code == 0, result


@takes(8)
def test_the_policy_gives_up_on_a_board_that_is_always_unplugged():
    fails_for_ever(kills=False)


@takes(12)
def test_the_policy_gives_up_on_a_board_with_which_the_daemon_dies():
    fails_for_ever(kills=True)


# ---- what is none of the job's business, between two attempts --------------------------------------------------------

def own_area_between_attempts(is_damaged, kills=False, is_whole=False):
    with usb_bench() as bench:
        board, package = bench.board, bench.package(app_bytes=200_000)
        bench.import_firmware(package)
        board.ask("jumper on")
        hold(board)
        bench.plug(board)
        struck(board)
        path = job_path(bench)
        if kills:
            bench.kill_wipyd()
        bench.unplug(board)
        if not kills:
            assert wait_state(bench, path, "interrupted")["Warning"] == ""
        if is_whole:  # nothing is left to write
            with board.flash_path.open("r+b") as flash:
                flash.write(whole_flash(package))
        if is_damaged:
            with board.flash_path.open("r+b") as flash:
                flash.seek(0x9100)
                flash.write(bytes(16))
        if kills:
            bench.start_wipyd()
        plug_again(bench, board)
        job = bench.wait_job(path)
        assert job["State"] == "done" and job["Attempt"] == 2, job
        assert ("0x9000 to 0x" in job["Warning"]) == is_damaged and bool(job["Warning"]) == is_damaged, job["Warning"]
        assert flashes(bench)[0]["warning"] == job["Warning"]
        assert (f"wipyctl backup list {job['Mac']}" in job["Warning"]) == is_damaged, job["Warning"]
        assert ("with a warning" in bench.ctl("history").out) == is_damaged


@takes(8)
def test_what_changed_between_two_attempts_is_told():
    own_area_between_attempts(True)


@takes(8)
def test_what_changed_before_an_attempt_with_nothing_to_write_is_told():
    own_area_between_attempts(True, is_whole=True)


@takes(8)
def test_nothing_changed_between_two_attempts_and_nothing_is_told():
    own_area_between_attempts(False)


@takes(8)
def test_what_changed_while_the_daemon_was_dead_is_told():
    own_area_between_attempts(True, kills=True)
