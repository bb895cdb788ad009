"""wipyctl follow: a client comes back to a job that somebody else began, and ends as that one does."""
import signal

import packages
from harness import MB, Bench, takes, wait_for
from test_client_boards import check_unknown, done
from test_plug import usb_bench

KB200 = dict(app_bytes=200_000)
HOLD = "on=DEFL_BEGIN,nth=2 do=delay-reply,"


class Held(Bench):
    """One with a flash under way, job 1, that stands still for a moment in its second region."""

    def __init__(self, hold_ms=700):
        super().__init__()
        self.hold_ms = hold_ms

    def __enter__(self):
        super().__enter__()
        self.wanted = self.package(**KB200)
        self.board.fault(f"{HOLD}{self.hold_ms}")
        self.job_path = self.start_flash(self.wanted)
        return self

    def is_flashed(self):
        return self.board.flash() == packages.expected_flash(str(self.wanted), 4 * MB, b"\xff" * 4 * MB)


def follow(bench, *arguments):
    """A client that has seen the job, or its end; the first line that it printed."""
    client = bench.start_ctl("follow", *arguments)
    return client, client.stdout.readline()


def end_of(client, seconds=30):
    out, err = client.communicate(timeout=seconds)
    return client.returncode, out, err


@takes(2)
def test_follows_by_number_and_by_device_to_the_end():
    with Held() as bench:
        names = ["1"], ["board"], [str(bench.board.tty)]
        clients = [follow(bench, *name) for name in names]
        for client, first in clients:
            assert first.startswith("board: "), first
            code, out, err = end_of(client)
            assert code == 0 and err == "" and "board: WiPy 1.20.1.r1 written and verified in" in out, (code, out, err)
            assert "Take the wire off" in out.splitlines()[-1], out
        assert bench.is_flashed()


def test_a_job_that_is_over_says_how_it_ended():
    with Held(0) as bench:
        assert bench.wait_job(bench.job_path)["State"] == "done"
        lines = done(bench.ctl("follow", "1")).out.splitlines()
        assert "written and verified in" in lines[0] and len(lines) <= 2, lines
        told = done(bench.ctl("follow", "1", "--json")).json
        assert (told["id"], told["state"], told["kind"]) == (1, "done", "flash"), told
        assert "written" not in done(bench.ctl("follow", "1", "-q")).out

        # A look that writes nothing doesn't say that it wrote.
        bench.board.download()
        done(bench.ctl("info", "board"))
        out = done(bench.ctl("follow", "2")).out
        assert "holds 1.20.1.r1. Nothing was written." in out and "verified" not in out, out


def test_without_a_job_is_exit_3():
    with Bench() as bench:
        for name in "1", "4294967295", "board", "nobody", "4294967296", "":
            check_unknown(bench, "follow", name)
        result = bench.ctl("follow", "board")
        assert "none is under way on board" in result.err and "wipyctl history" in result.err, result


def test_ends_as_a_job_that_fails_does():
    with Bench() as bench:
        bench.board.ask("jumper off")
        bench.board.ask("reset")
        started = bench.ctl("flash", "board", bench.package(**KB200), "--connect-timeout=1", "--no-block")
        assert "wipyctl follow 1" in done(started).out, started
        for _ in range(2):  # under way, and over
            result = bench.ctl("follow", "1")
            assert result.code == 1 and "board: " in result.err and "hint: " in result.err, result
        result = bench.ctl("follow", "1", "--json")
        assert result.code == 1 and result.err == "", result
        assert result.json["state"] == "failed" and result.json["message"] and result.json["hint"], result


def test_ends_with_6_when_somebody_cancels():
    with Held(1500) as bench:
        client, _ = follow(bench, "board")
        done(bench.ctl("cancel", "1"))
        code, out, err = end_of(client)
        assert code == 6, (code, out, err)
        assert bench.ctl("follow", "1").code == 6


@takes(2)
def test_ctrl_c_detaches_and_says_how_to_come_back():
    with Held(1000) as bench:
        client, _ = follow(bench, "board")
        client.send_signal(signal.SIGINT)
        code, out, err = end_of(client)
        assert code == 1 and "wipyctl follow 1" in err and "wipyctl cancel 1" in err, (code, out, err)
        done(bench.ctl("follow", "1"))
        assert bench.is_flashed()


def test_is_told_that_the_daemon_was_killed():
    with Held(2000) as bench:
        client, _ = follow(bench, "1")
        bench.kill_wipyd()
        code, out, err = end_of(client)
        assert code == 8 and "goes on by itself" in err, (code, out, err)


@takes(5)
def test_stays_with_a_job_that_is_cut_off_until_its_board_is_back():
    with usb_bench() as bench:
        board = bench.board
        bench.import_firmware(bench.package(**KB200))
        board.fault(f"{HOLD}3000")
        board.ask("jumper on")
        bench.plug(board)
        wait_for(lambda: board.begins() >= 2, 20, "the second region of a flash that nobody commanded")
        job = str(bench.ctl("status", "--json").json["jobs"][0]["id"])
        early, first = follow(bench, "ttyUSB0")
        assert first.startswith("ttyUSB0: "), first
        bench.unplug(board)
        late, first = follow(bench, job)
        assert "cut off" in first and "Plug the board in again" in first, first
        bench.plug(board, name="ttyUSB3")
        for client in early, late:
            code, out, err = end_of(client, 60)
            assert code == 0 and err == "", (code, out, err)
            assert "the board is back, the job goes on" in out and "ttyUSB3: WiPy 1.20.1.r1 written" in out, out
        done(bench.ctl("follow", job, "-q"))
