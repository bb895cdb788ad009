"""Jobs that are cut off, on USB: the policy's own job goes on by itself, under the same id, wherever its board turns up
again, whatever has happened meanwhile: another port, another board in the slot, another daemon. And where that ends.
"""
import contextlib
import os
import sqlite3
import time

import packages
from harness import DEVICE, FINAL, JOB, MB, Bench, DBusError, Variant, lived_in_flash, memfd, takes, wait_for
from moments import BAUD, HOLD_MS, MOMENTS, Scene
from test_plug import JUMPER, MAC, MANAGER, QUICK, ROOT, device, is_there, jobs, port_is_free, set_policy, usb_bench, wait_rule

CONFIG = QUICK + f"policy = %s\n[flash]\nbaud = {BAUD}\n"
OTHER_MAC = "30:ae:a4:00:00:02"
ELSEWHERE = dict(name="ttyUSB7", slot="1-4")


def flashes(bench):
    return [job for job in jobs(bench) if not job["dry-run"]]


def state(bench, path):
    return bench.bus.get(path, JOB, "State")


def wait_state(bench, path, word, seconds=15):
    wait_for(lambda: state(bench, path) in (word, *FINAL), seconds, f"{path} is {word}")
    job = bench.job(path)
    assert job["State"] == word, job
    return job


def job_path(bench, index=0, seconds=15):
    """Of the flash job that began so many before the last; once it is there."""
    wait_for(lambda: len(flashes(bench)) > index, seconds, "a job")
    return f"/org/wipyd1/job/{flashes(bench)[index]['id']}"


def device_of(bench, path):
    return bench.bus.get(path, JOB, "Device").rsplit("/", 1)[1]


def hold(board, op="DEFL_DATA", nth=3):
    board.fault(f"on={op},nth={nth} do=delay-reply,{HOLD_MS}")


def struck(board):
    wait_for(lambda: board.status()["faults_pending"] == 0, 15, "the moment")


def asking(boards=1, **options):
    """Under ask, with firmware at hand: nothing begins but on command."""
    return usb_bench(boards, config=QUICK + "policy = ask\n", **options)


def has_firmware(bench):
    bench.import_firmware(bench.package("at-hand.tar.gz", app_bytes=20_000))


def cut_off(bench, board, nth=3):
    """Plugged in, its own job begun, unplugged in the middle of it; the path of the job."""
    board.ask("jumper on")
    hold(board, nth=nth)
    bench.plug(board, **(board.socket or {}))
    struck(board)
    path = job_path(bench)
    bench.unplug(board)
    wait_state(bench, path, "interrupted")
    return path


def plug_again(bench, board, **where):
    bench.plug(board, **{**board.socket, **where})


def whole_flash(package, before=b"\xff" * 4 * MB):
    return packages.expected_flash(package, 4 * MB, before)


# ---- every phase ----------------------------------------------------------------------------------------------------

class Plugged(Scene):
    """The policy is changed from ask to wipy when all is counted: so the job that begins then is its own."""

    def set_up(self):
        self.bench = usb_bench([dict(flash=self.before)], config=CONFIG % "ask", connect_timeout=15).__enter__()
        self.board = self.bench.board
        self.make_package()
        self.bench.import_firmware(self.package)
        self.board.ask("jumper on")
        self.bench.plug(self.board)
        wait_rule(self.bench, "ask")
        if self.moment.phase == "prepare":
            self.make_it_unpack()
        if self.moment.stages:
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
        self.path = f"/org/wipyd1/job/{2 if self.moment.stages else 1}"  # after the rehearsal's
        set_policy(self.bench, "wipy")
        wait_for(self.is_begun, 10, "the policy's job")

    def is_begun(self):
        with contextlib.suppress(DBusError):
            return self.bench.bus.get(self.path, JOB, "Phase")

    def begin_sync(self):
        self.board.fault(f"on=SYNC,nth={self.earlier['SYNC'] + 1} do=silence")
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
        n_syncs = first.count("SYNC")
        bench.bus.call(bench.device_path(), DEVICE, "Look", "a{sv}", {})
        first.fault(f"on=SYNC,nth={first.count('SYNC') - n_syncs + 1} do=silence")
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


# ---- what people do -------------------------------------------------------------------------------------------------

@takes(6)
def test_cancel_of_an_interrupted_job():
    with usb_bench() as bench:
        board = bench.board
        bench.import_firmware(bench.package(app_bytes=200_000))
        path = cut_off(bench, board)
        result = bench.ctl("cancel", path.rsplit("/", 1)[1])
        assert result.code == 0, result
        job = bench.job(path)
        assert job["State"] == "cancelled" and job["UserAction"] == "" and len(job["Attempts"]) == 1, job
        result = bench.ctl("cancel", path.rsplit("/", 1)[1])
        assert result.code == 0 and "over already (cancelled)" in result.out + result.err, result
        assert flashes(bench)[0]["state"] == "cancelled"
        # The board itself isn't banned: plugged in again it is a board that is out of date.
        plug_again(bench, board)
        wait_for(lambda: len(flashes(bench)) == 2, 15, "a new job")
        assert bench.wait_job(job_path(bench))["State"] == "done" and state(bench, path) == "cancelled"


@takes(5)
def test_cancel_while_somebody_is_being_coached_towards_it():
    with usb_bench() as bench:
        board = bench.board
        bench.import_firmware(bench.package(app_bytes=200_000))
        path = cut_off(bench, board)
        board.ask("jumper off")
        plug_again(bench, board)
        wait_rule(bench, "pending")
        bench.bus.call(path, JOB, "Cancel")
        told = wait_rule(bench, "ended")
        assert told["Advice"] == "" and state(bench, path) == "cancelled", told
        port_is_free(board)


@takes(6)
def test_a_new_flash_takes_the_place_of_an_interrupted_one():
    with usb_bench() as bench:
        board = bench.board
        bench.import_firmware(bench.package("new.tar.gz", app_bytes=200_000))
        old = bench.package("old.tar.gz", release="1.18.1.r1", app_bytes=60_000)
        path = cut_off(bench, board, nth=1)
        board.ask("jumper off")
        plug_again(bench, board, **ELSEWHERE)
        wait_for(lambda: (is_there(bench, "ttyUSB7") or {}).get("Advice") == JUMPER, 15, "it is coached")
        client = bench.start_ctl("flash", "ttyUSB7", str(old))
        wait_for(lambda: len(flashes(bench)) == 2, 10, "the command's job")
        assert state(bench, path) == "interrupted", "nobody knows yet who is there"
        board.download()
        out, err = client.communicate(timeout=60)
        assert client.returncode == 0, (out, err)
        job = bench.job(path)
        assert job["State"] == "failed" and job["Error"].endswith("Superseded") and "job 2" in job["ErrorText"], job
        assert board.flash() == whole_flash(old)
        bench.unplug(board)
        plug_again(bench, board)
        wait_rule(bench, "chosen", "ttyUSB7")
        assert len(flashes(bench)) == 2


@takes(6)
def test_wipyctl_flash_follows_past_an_unplug():
    with asking() as bench:
        has_firmware(bench)
        board, package = bench.board, bench.package(app_bytes=200_000)
        board.ask("jumper on")
        bench.plug(board)
        wait_rule(bench, "ask")
        hold(board)
        client = bench.start_ctl("flash", "ttyUSB0", str(package))
        struck(board)
        path = job_path(bench)
        bench.unplug(board)
        wait_state(bench, path, "interrupted")
        time.sleep(0.3)
        assert client.poll() is None, client.communicate()
        plug_again(bench, board, **ELSEWHERE)  # under ask, too: it was commanded
        out, err = client.communicate(timeout=60)
        assert client.returncode == 0 and "written and verified" in out, (out, err)
        assert board.flash() == whole_flash(package)


@takes(6)
def test_two_clients_at_once():
    """Two that flash: one is told that the board is busy. Two that cancel: both are right, or one came late."""
    with asking() as bench:
        has_firmware(bench)
        board, package = bench.board, bench.package(app_bytes=200_000)
        board.ask("jumper on")
        bench.plug(board)
        wait_rule(bench, "ask")
        hold(board)
        clients = [bench.start_ctl("flash", "ttyUSB0", str(package)) for _ in range(2)]
        struck(board)
        bench.unplug(board)
        path = job_path(bench)
        wait_state(bench, path, "interrupted")
        # The port is gone for both: whoever has the job follows it, the other was told.
        plug_again(bench, board, **ELSEWHERE)
        ends = [(client.communicate(timeout=60), client.returncode) for client in clients]
        assert sorted(code for _, code in ends)[0] == 0 and sorted(code for _, code in ends)[1] != 0, ends
        loser = next(said for said, code in ends if code)
        assert "busy" in loser[1].lower() or "under way" in loser[1], loser
        assert len(flashes(bench)) == 1 and board.flash() == whole_flash(package)

        bench.unplug(board)
        board.flash_path.write_bytes(b"\xff" * 4 * MB)
        hold(board)
        plug_again(bench, board)
        wait_rule(bench, "ask", "ttyUSB7")
        path = bench.start_flash(package)
        struck(board)
        clients = [bench.start_ctl("cancel", path.rsplit("/", 1)[1]) for _ in range(2)]
        bench.unplug(board)
        ends = [(client.communicate(timeout=60), client.returncode) for client in clients]
        assert len(wait_state(bench, path, "cancelled")["Attempts"]) <= 1
        assert [code for _, code in ends] == [0, 0], ends


# ---- the daemon meanwhile -------------------------------------------------------------------------------------------

def spooled(bench):
    return sorted(path.name for path in (bench.state / "spool").iterdir())


@takes(8)
def test_a_package_that_was_handed_over_survives_the_daemon():
    with asking() as bench:
        has_firmware(bench)
        board, package = bench.board, bench.package(app_bytes=200_000)
        board.ask("jumper on")
        bench.plug(board)
        wait_rule(bench, "ask")
        hold(board)
        path = bench.start_flash(package)
        os.unlink(package)
        struck(board)
        assert flashes(bench)  # on disk
        bench.kill_wipyd()
        number = path.rsplit("/", 1)[1]
        assert spooled(bench) == [f"{number}.tar.gz"]
        bench.start_wipyd()
        job = bench.wait_job(path)
        assert job["State"] == "done" and job["Attempt"] == 2, job
        assert "without notice" in job["Attempts"][0][2] and job["Package"] == "package.tar.gz", job
        wait_for(lambda: not spooled(bench), 5, "the spool is empty")
        packages.make_package(package, app_bytes=200_000)
        assert board.flash() == whole_flash(package)


@takes(5)
def test_the_spool_is_empty_after_a_cancel_too():
    with asking() as bench:
        has_firmware(bench)
        board = bench.board
        board.ask("jumper on")
        bench.plug(board)
        wait_rule(bench, "ask")
        hold(board)
        path = bench.start_flash(bench.package(app_bytes=100_000))
        struck(board)
        bench.unplug(board)
        wait_state(bench, path, "interrupted")
        assert len(spooled(bench)) == 1
        bench.bus.call(path, JOB, "Cancel")
        wait_for(lambda: not spooled(bench), 5, "the spool is empty")
        assert state(bench, path) == "cancelled"


def daemon_meanwhile(end, n_times):
    """Killed or ended while a job is interrupted: it is still there, and no attempt is counted for that."""
    with usb_bench() as bench:
        board, package = bench.board, bench.package(app_bytes=200_000)
        bench.import_firmware(package)
        path = cut_off(bench, board)
        assert flashes(bench)[0]["state"] == "interrupted"
        for _ in range(n_times):
            end(bench)
            bench.start_wipyd()
            job = bench.job(path)
            assert job["State"] == "interrupted" and job["Attempt"] == 1 and job["Device"] == "/", job
            assert job["Mac"] == MAC and job["Attempts"][0][2] == "/dev/ttyUSB0 vanished while writing", job
            assert "Plug the board in again" in job["UserAction"], job
        plug_again(bench, board, **ELSEWHERE)
        job = bench.wait_job(path)
        assert job["State"] == "done" and job["Attempt"] == 2 and len(job["Attempts"]) == 1, job
        assert board.flash() == whole_flash(package) and len(flashes(bench)) == 1


@takes(6)
def test_killed_while_a_job_is_interrupted():
    daemon_meanwhile(Bench.kill_wipyd, 2)


@takes(6)
def test_ended_while_a_job_is_interrupted():
    def end(bench):
        bench.stop_wipyd()
        bench.connection.close()
        bench.connection = None
    daemon_meanwhile(end, 6)


@takes(6)
def test_the_board_was_moved_while_no_daemon_ran():
    with usb_bench() as bench:
        board, package = bench.board, bench.package(app_bytes=200_000)
        bench.import_firmware(package)
        board.ask("jumper on")
        hold(board)
        bench.plug(board)
        struck(board)
        path = job_path(bench)
        bench.kill_wipyd()
        bench.replug(board, **ELSEWHERE)
        bench.start_wipyd()
        job = bench.wait_job(path)
        assert job["State"] == "done" and device_of(bench, path) == "ttyUSB7", job
        assert "without notice" in job["Attempts"][0][2], job
        assert board.flash() == whole_flash(package) and len(flashes(bench)) == 1


# ---- at the same moment ---------------------------------------------------------------------------------------------

@takes(8)
def test_unplugged_at_any_time_from_the_plug_on():
    """Without a look at where it is: whatever it was, the board ends flashed by one job, or by one that was never cut off."""
    with usb_bench(config=QUICK + "[flash]\nattempts = 100\n") as bench:
        board, package = bench.board, bench.package(app_bytes=30_000)
        bench.import_firmware(package)
        board.ask("jumper on")
        for ms in (0, 40, 80, 120, 160, 200, 220, 240, 260, 280, 300, 350):
            bench.plug(board)
            time.sleep(ms / 1000)
            bench.unplug(board)
        bench.plug(board)
        wait_for(lambda: any(job["state"] == "done" for job in flashes(bench)), 30, "the end")
        assert board.flash() == whole_flash(package)
        found = flashes(bench)
        assert len(found) == 1, found


@takes(6)
def test_unplugged_and_cancelled_at_once_on_usb():
    with asking() as bench:
        has_firmware(bench)
        board, package = bench.board, bench.package(app_bytes=200_000)
        board.ask("jumper on")
        for cancel_first in (True, False, True, False):
            bench.plug(board)
            wait_rule(bench, "ask")
            hold(board, nth=2)
            path = bench.start_flash(package)
            struck(board)
            cancel = bench.bus.send(path, JOB, "Cancel") if cancel_first else None
            bench.unplug(board)
            if not cancel_first:
                cancel = bench.bus.send(path, JOB, "Cancel")
            bench.bus.wait(cancel)
            assert wait_state(bench, path, "cancelled")["UserAction"] == ""
        time.sleep(0.3)
        assert {job["state"] for job in flashes(bench)} == {"cancelled"}
