"""Jobs that are cut off, on USB, and what people and the daemon's own end do to them meanwhile, or at the same moment."""
import os
import time

import packages
from cutting import (ELSEWHERE, asking, cut_off, device_of, flashes, has_firmware, hold, job_path, plug_again, state, struck,
                     wait_state, whole_flash)
from harness import JOB, MB, Bench, takes, wait_for
from test_plug import JUMPER, MAC, QUICK, is_there, port_is_free, usb_bench, wait_rule


# ---- what people do -------------------------------------------------------------------------------------------------

@takes(6)
def test_cancel_of_an_interrupted_job():
    with usb_bench() as bench:
        board = bench.board
        bench.import_firmware(bench.package(app_bytes=200_000))
        path = cut_off(bench, board)
        result = bench.ctl("cancel", path.rsplit("/", 1)[1])
        assert result.code == 0, result
        job = bench.wait_job(path)
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
        assert "press reset" not in told["Advice"], told
        wait_state(bench, path, "cancelled")  # told once it is on record
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
