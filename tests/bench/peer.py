"""The peer: the same boards flashed by esptool, one process a board, as people do it. Found as $ESPTOOL or on PATH."""
import os
import shutil
import subprocess
import threading
import time

import packages
from harness import _die_with_parent
from measure import FLASH_BYTES, Missing, resident_kib

LIMIT_S = 900


def program():
    path = os.environ.get("ESPTOOL") or shutil.which("esptool") or shutil.which("esptool.py")
    if not path or not shutil.which(path):
        raise Missing("esptool is not on PATH, and ESPTOOL= names none")
    return path


class Run(threading.Thread):
    """One board's flash; what the process took is known when it has ended."""

    def __init__(self, board, package, baud, folder):
        super().__init__(daemon=True)
        self.log = folder / f"{board.name}.esptool"
        files = []
        erases, writes = packages.expected_steps(str(package), FLASH_BYTES)
        # It has no erase in the middle of a write: blank sectors stand for it.
        for offset, data in sorted([*writes, *((offset, b"\xff" * size) for offset, size in erases)]):
            path = folder / f"{board.name}-{offset:x}.bin"
            path.write_bytes(data)
            files += [hex(offset), path]
        self.command = [program(), "--chip", "esp32", "--port", board.tty, "--baud", baud, "--before", "no_reset",
                        "--after", "no_reset", "write_flash", "-z", "--flash_mode", "keep", "--flash_freq", "keep",
                        "--flash_size", "keep", *files]

    def run(self):
        began = time.monotonic()
        with open(self.log, "wb") as log:
            process = subprocess.Popen(list(map(str, self.command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       preexec_fn=_die_with_parent)
        pid, most_kib = 0, 0
        while not pid:  # what rusage says of memory counts ours as well, from between fork and exec
            time.sleep(0.05)
            most_kib = max(most_kib, resident_kib(process.pid))
            if time.monotonic() - began > LIMIT_S:
                process.kill()
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.code, self.seconds = process.returncode, time.monotonic() - began
        self.cpu_s, self.resident_mib = used.ru_utime + used.ru_stime, most_kib / 1024


def flash(boards, package, baud, folder):
    """All at once; the figures: the slowest, and what all processes took together."""
    runs = [Run(board, package, baud, folder) for board in boards]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
        if run.code != 0:
            raise Missing(f"esptool ended with {run.code}: " + " ".join(run.log.read_text(errors="replace").split()[-20:]))
    return {"total_s": max(run.seconds for run in runs), "cpu_s": sum(run.cpu_s for run in runs),
            "resident_mib": sum(run.resident_mib for run in runs)}
