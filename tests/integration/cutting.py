"""How a test cuts a job off: a board on USB is unplugged while the simulator holds back an answer, and plugged in again."""
import packages
from harness import FINAL, JOB, MB, wait_for
from moments import HOLD_MS
from test_plug import QUICK, jobs, usb_bench

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
