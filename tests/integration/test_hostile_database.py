"""Whatever lies where the database should be: the daemon starts and keeps what it found aside, or says in one sentence why
it doesn't start, and leaves it as it is."""
import contextlib
import os
import random
import shutil
import socket
import sqlite3
import subprocess
from pathlib import Path

from harness import BUILD, SLOWNESS, Bench, takes
from neighbour import MANAGER, Neighbour


def with_a_past(bench):
    """A database with a package, a job and a label in it, and the daemon stopped."""
    bench.start_wipyd()
    bench.import_firmware(bench.package(app_bytes=60_000))
    bench.flash_well(bench.package(app_bytes=60_000))
    bench.connection.close()
    bench.connection = None
    bench.stop_wipyd()
    return (bench.state / "wipyd.db").read_bytes()


def put(bench, data):
    for path in bench.state.glob("wipyd.db*"):
        path.unlink()
    (bench.state / "wipyd.db").write_bytes(data)


def check_starts(bench, case):
    """What can't be used was moved aside; the package is in the store, its file being there, and a flash works."""
    bench.board.download()
    bench.start_wipyd()
    try:
        with Neighbour(bench, fds_come_back=False) as watch:
            assert [path for path in bench.bus.managed() if "/firmware/" in path], f"{case}: the package is gone"
            job = bench.start_flash(bench.package(app_bytes=60_000))
            for _ in range(12):
                watch.ask()
            assert bench.wait_job(job)["State"] == "done", case
        assert isinstance(bench.bus.call("/org/wipyd1", MANAGER, "History", "a{sv}", {})[0], list)
    finally:
        if bench.connection:
            bench.connection.close()
            bench.connection = None
    bench.stop_wipyd()


def check_refuses(bench, case, *words):
    command = bench.wipyd_command(f"--bus={bench.address}", f"--config={bench.config_path}")
    done = subprocess.run(list(map(str, command)), env=bench.environment(), capture_output=True, text=True,
                          timeout=20 * SLOWNESS)
    said = done.stdout + done.stderr
    assert done.returncode == 1, f"{case}: {done.returncode}\n{said}"
    assert any(word in said for word in words) and "Sanitizer" not in said, f"{case}: {said}"


@takes(10)
def test_truncated_and_garbage():
    with Bench(wipyd=False) as bench:
        whole = with_a_past(bench)
        rng = random.Random(11)
        flipped = bytearray(whole)
        for _ in range(200):
            flipped[rng.randrange(100, len(flipped))] ^= 1 << rng.randrange(8)
        cases = {"empty": b"", "one byte": whole[:1], "half a header": whole[:50], "the header alone": whole[:100],
                 "half a page": whole[:2048], "the first page": whole[:4096], "half of it": whole[:len(whole) // 2],
                 "without its last page": whole[:-4096], "garbage": rng.randbytes(len(whole)),
                 "garbage behind a header": whole[:100] + rng.randbytes(len(whole) - 100), "flipped bits": bytes(flipped),
                 "zeros": bytes(len(whole))}
        for case, data in cases.items():
            put(bench, data)
            check_starts(bench, case)


@takes(4)
def test_logs_that_lie():
    """A -wal and a -shm of something else."""
    with Bench(wipyd=False) as bench:
        whole = with_a_past(bench)
        rng = random.Random(12)
        for case, wal, shm in (("garbage", rng.randbytes(40_000), rng.randbytes(32_768)), ("empty", b"", b""),
                               ("the database itself", whole, whole), ("one byte", b"\x37", b"\x18")):
            put(bench, whole)
            (bench.state / "wipyd.db-wal").write_bytes(wal)
            (bench.state / "wipyd.db-shm").write_bytes(shm)
            check_starts(bench, case)


@takes(2)
def test_from_the_future():
    with Bench(wipyd=False) as bench:
        with_a_past(bench)
        with contextlib.closing(sqlite3.connect(bench.state / "wipyd.db")) as database:
            database.execute("PRAGMA user_version = 99")
        before = (bench.state / "wipyd.db").read_bytes()
        check_refuses(bench, "from the future", "newer wipyd")
        assert (bench.state / "wipyd.db").read_bytes() == before and not list(bench.state.glob("*damaged*"))


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@takes(3)
def test_something_else_there():
    """No hanging, no following to where it doesn't belong, no crash."""
    with Bench(wipyd=False) as bench:
        with_a_past(bench)
        path = bench.state / "wipyd.db"
        listener = socket.socket(socket.AF_UNIX)
        makers = {"folder": lambda: path.mkdir(), "fifo": lambda: os.mkfifo(path),
                  "socket": lambda: (os.chdir(bench.state), listener.bind("wipyd.db"), os.chdir("/")),
                  "/dev/zero": lambda: path.symlink_to("/dev/zero"), "/dev/full": lambda: path.symlink_to("/dev/full"),
                  "a loop": lambda: path.symlink_to(path)}
        for case, make in makers.items():
            for old in bench.state.glob("wipyd.db*"):
                remove(old)
            make()
            check_refuses(bench, case, "wipyd.db")
            remove(path)
        listener.close()


@takes(2)
def test_read_only():
    """A file system that is mounted so; test_firmware_disk has one that turns so while the daemon runs."""
    from test_firmware_disk import small_disk
    with Bench(wipyd=False) as bench, small_disk("8m") as disk:
        with_a_past(bench)
        shutil.copytree(bench.state, Path(disk) / "state")
        bench.state = Path(disk) / "state"
        bench.write_config()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        check_refuses(bench, "read-only", "Read-only", "read-only", "readonly")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        check_starts(bench, "writable again")
    assert (BUILD / "wipyd").exists()
