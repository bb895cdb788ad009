"""Packages at hand when the disk is full, turns read-only or fails, and when the daemon is killed (-9) in an import."""
import contextlib
import os
import random
import shutil
import subprocess
import threading
import time

from firmware_bench import OLD, FirmwareBench, check_refused, folder, release, release_bytes
from firmware_server import FirmwareServer
from harness import Skip, start, takes, wait_for

NEW = "1.20.1.r1"
NAME = f"WiPy-{NEW}.tar.gz"


# ---- the disk --------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def small_disk(size):
    """A folder with a file system of its own."""
    path = folder()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "wipyd-test", path], capture_output=True,
                          text=True)
    if done.returncode != 0:
        raise Skip(f"can't mount: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


class DiskBench(FirmwareBench):
    def __init__(self, disk, *arguments, **options):
        super().__init__(*arguments, **options)
        self.disk = disk

    def write_config(self, more=""):
        self.state = self.disk / "state"
        super().write_config(more)

    def fill(self, leave):
        stat = os.statvfs(self.disk)
        with open(self.disk / "filler", "wb") as file:
            with contextlib.suppress(OSError):
                file.write(bytes(max(0, stat.f_bavail * stat.f_frsize - leave)))


@takes(3)
def test_full_disk():
    with small_disk("8m") as disk, DiskBench(disk) as bench:
        assert bench.flash_stored() == OLD  # later, nothing has to be saved of the board first
        for leave in 0, 4096, 20_000, 40_000:
            bench.fill(leave)
            result = bench.ctl("firmware", "import", bench.put(release_bytes(NEW), NAME))
            check_refused(result, 1, "System", "No space left")
            assert bench.releases() == [OLD] and not bench.leftovers(), leave
            assert bench.flash_stored() == OLD
            (disk / "filler").unlink()
        bench.fill(0)
        bench.stop_wipyd()  # even a start finds no room
        bench.start_wipyd()
        # The last job, whose end found no room, goes on once the port has settled; until it ends a flash is refused.
        wait_for(lambda: bench.ctl("flash", bench.board.name).code == 0, 10, "a flash")
        assert bench.releases() == [OLD] and bench.flash_stored() == OLD
        (disk / "filler").unlink()
        assert bench.import_bytes(release_bytes(NEW), NAME)["state"] == "good"
        assert bench.ctl("firmware", "verify").code == 0
        bench.restart()
        assert bench.releases() == [NEW, OLD]
        bench.assert_small()


@takes(3)
def test_full_disk_in_a_download():
    with small_disk("8m") as disk, FirmwareServer(folder() / "server") as server, DiskBench(disk, server) as bench:
        server.add(*release(NEW))
        bench.ask(server.url("good/findupgrade"))
        bench.refresh_well()  # from here on it polls only when told to
        assert bench.ctl("firmware", "remove", NEW).code == 0
        for leave in 0, 30_000, 70_000:  # before, in the download, in the addition
            bench.fill(leave)
            result = bench.refresh()
            assert result.code == 1 and "No space left" in result.err, (leave, result)
            assert bench.releases() == [OLD]
            assert bench.manager()["PollState"] == "idle"
            (disk / "filler").unlink()
        bench.refresh_well()
        assert bench.releases() == [NEW, OLD] and not bench.leftovers()
        assert bench.flash_stored() == NEW


FILE_CHANGES = "pwrite64,pwritev,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,ftruncate,fallocate,mkdirat,mkdir"


@contextlib.contextmanager
def every_change_fails(bench, error="EROFS"):
    """strace does it: a file system with a file open for writing can't be made read-only under it."""
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    strace = start(["strace", "-f", "-q", "-p", bench.wipyd.pid, "-o", bench.folder / "trace",
                    "-e", f"trace={FILE_CHANGES}", "-e", f"inject={FILE_CHANGES}:error={error}"], stderr=subprocess.PIPE, text=True)
    try:
        def attached():
            with open(f"/proc/{bench.wipyd.pid}/status") as file:
                return f"TracerPid:\t{strace.pid}\n" in file.read() or strace.poll() is not None
        wait_for(attached, 5, "strace")
        if strace.poll() is not None:
            raise Skip(f"strace can't attach: {strace.stderr.read().strip()}")
        yield
    finally:
        strace.terminate()
        strace.wait()
        strace.stderr.close()


@takes(3)
def test_file_system_turns_read_only():
    with FirmwareServer(folder() / "server") as server, FirmwareBench(server) as bench:
        server.add(*release(NEW))
        bench.ask(server.url("good/findupgrade"))
        bench.refresh_well()  # from here on it polls only when told to
        assert bench.ctl("firmware", "remove", NEW).code == 0
        assert bench.flash_stored() == OLD
        other = bench.put(release_bytes("1.20.5.r1"), "other.tar.gz")
        for error, text in ("EROFS", "Read-only"), ("EIO", "Input/output"):
            with every_change_fails(bench, error):
                check_refused(bench.ctl("firmware", "import", other), 1, "System", text)
                result = bench.refresh()
                assert result.code == 1 and text in result.err, result
                for verb in ["pin"], ["remove", "--force"]:
                    check_refused(bench.ctl("firmware", *verb, OLD), 1, "System")  # SQLite knows I/O errors only
                assert bench.ctl("firmware", "unpin", OLD).code == 0, "it isn't pinned: nothing to do"
                assert bench.releases() == [OLD] and bench.flash_stored() == OLD
            assert bench.ctl("firmware", "verify").code == 0, error
        bench.refresh_well()
        assert bench.releases() == [NEW, OLD] and bench.flash_stored() == NEW
        bench.restart()
        assert bench.releases() == [NEW, OLD] and not bench.leftovers()


@takes(2)
def test_start_on_a_read_only_disk_is_refused_in_a_sentence():
    with small_disk("8m") as disk, DiskBench(disk) as bench:
        bench.stop_wipyd()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        done = subprocess.run([*bench.wipyd_command(f"--bus={bench.address}", f"--config={bench.config_path}")],
                              env=bench.environment(), capture_output=True, text=True, timeout=20)
        assert done.returncode not in (0, -6, -11) and "Read-only file system" in done.stdout + done.stderr, done
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        bench.start_wipyd()
        assert bench.releases() == [OLD] and bench.flash_stored() == OLD


# ---- kill -9 ---------------------------------------------------------------------------------------------------------

@takes(10)
def test_killed_in_an_import_at_random_moments():
    """Every system call of the store has its own test in test_store_killed.py; this one has the daemon around it."""
    rng = random.Random(9)
    with FirmwareBench(boards=0) as bench:
        path = bench.put(release_bytes(NEW), NAME)
        kept = 0
        start = time.monotonic()
        bench.import_bytes(release_bytes(NEW), NAME)
        usual = time.monotonic() - start
        assert bench.ctl("firmware", "remove", NEW).code == 0
        for n in range(20):
            client = bench.start_ctl("firmware", "import", str(path))
            killer = threading.Timer(rng.uniform(0, 1.2) * usual, bench.wipyd.kill)
            killer.start()
            killer.join()
            bench.kill_wipyd()
            assert client.wait(timeout=20) in (0, 1, 8), n
            bench.start_wipyd()
            rows = bench.firmware()
            assert {row["release"] for row in rows} in ({OLD}, {OLD, NEW}), (n, rows)
            assert all(row["state"] == "good" for row in rows), (n, rows)
            assert not bench.leftovers() and len(bench.store_files()) == len(rows), (n, bench.store_files())
            result = bench.ctl("firmware", "verify")
            assert result.code == 0, (n, result)
            if len(rows) == 2:
                kept += 1
                assert bench.ctl("firmware", "remove", NEW).code == 0, n
        print(f"kept {kept} of 20")
        assert bench.import_bytes(release_bytes(NEW), NAME)["state"] == "good"
