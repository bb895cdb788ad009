"""Faults for one program: the control of libfaults.so, the sites it met, and their names in the source."""
import mmap
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/integration"))
import harness  # noqa: E402
from harness import BUILD  # noqa: E402

OFF, RECORD, ARMED = range(3)
CONTROL = struct.Struct("=IIIiQ32s")  # struct control of faults_shim.c
MEMORY = ("malloc", "calloc", "realloc")
EIO, EAGAIN, ENOMEM, EACCES, EINTR, ENFILE, EMFILE, ENOSPC, ENOBUFS, ECONNREFUSED, EINVAL = 5, 11, 12, 13, 4, 23, 24, 28, 105, 111, 22
ERRORS = {
    "malloc": (ENOMEM,), "calloc": (ENOMEM,), "realloc": (ENOMEM,), "mmap": (ENOMEM,), "read": (EIO, EINTR), "write": (ENOSPC, EIO),
    "pread": (EIO,), "pread64": (EIO,), "pwrite": (ENOSPC,), "pwrite64": (ENOSPC, EIO), "fsync": (EIO,), "fdatasync": (EIO,),
    "ftruncate": (ENOSPC,), "rename": (ENOSPC,), "renameat": (EIO,), "mkdir": (ENOSPC,), "unlink": (EIO,), "unlinkat": (EIO,),
    "fstat": (EIO,), "socket": (EMFILE,), "connect": (ECONNREFUSED,), "sendmsg": (EAGAIN, ENOBUFS), "recvmsg": (EINTR, ENOMEM),
    "epoll_create1": (EMFILE,), "epoll_ctl": (ENOSPC,), "timerfd_create": (EMFILE,), "memfd_create": (EMFILE,), "pipe2": (EMFILE,),
    "getrandom": (EAGAIN,), "tcsetattr": (EIO,), "ioctl": (EIO,), "fcntl": (EINVAL,), "open": (EMFILE, EACCES),
    "openat": (ENFILE, ENOSPC),
}

# What a library makes of a fault by itself: an abort() of its own is no failure, where the fault was dealt below that
# function of ours, or, None, below the very call that it aborts in; and why.
ABORTS = {
    ("libuv", None): "it takes for impossible that its threads can't be made, that its pipes and event fds can't be read and "
                     "written, that its epoll refuses, that its table of watchers can't grow",
    ("libsystemd", "service_new"): "it tidies up a node of its tree of objects that isn't in the tree yet, and asserts that it is",
}


class Fault(tuple):
    """(function of libc, address, errno)"""
    name, site, error = (property(lambda self, i=i: self[i]) for i in range(3))

    def __str__(self):
        return f"{self.name} {self.site:x} {self.error}"


def faults_of(sites):
    """sites: {(name, address)}"""
    return [Fault((name, site, error)) for name, site in sorted(sites) for error in ERRORS[name]]


class Control:
    """A folder for WIPYD_FAULTS."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "control"
        path.write_bytes(bytes(4096))
        with open(path, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), 4096)
        (self.folder / "told").write_text("")

    def _set(self, mode, epoch=0, error=0, site=0, name=""):
        # The mode comes last: a program that is running looks at the others only then.
        self.page[0:4] = struct.pack("=I", OFF)
        self.page[4:CONTROL.size] = CONTROL.pack(0, epoch, 0, error, site, name.encode())[4:]
        self.page[0:4] = struct.pack("=I", mode)

    def record(self, epoch):
        self._set(RECORD, epoch)

    def off(self):
        self.page[0:4] = struct.pack("=I", OFF)

    def arm(self, fault):
        (self.folder / "told").write_text("")
        self._set(ARMED, 0, fault.error, fault.site, fault.name)

    @property
    def is_struck(self):
        return CONTROL.unpack_from(self.page)[2] > 0

    def told(self):
        return (self.folder / "told").read_text()

    def sites(self):
        """{epoch: {(name, address)}}"""
        found = {}
        for epoch, name, site in re.findall(r"^site (\d+) (\w+) ([0-9a-f]+)$", self.told(), re.M):
            found.setdefault(int(epoch), set()).add((name, int(site, 16)))
        return found


class Names:
    """The source lines of a program's addresses."""

    def __init__(self, program):
        self.program, self.known = program, {}

    def find(self, addresses):
        """{address: (function, file, line)}: our line, where libc's headers have put a call of theirs into it. The
        address is one of return."""
        missing = sorted(set(addresses) - self.known.keys())
        if missing:
            done = subprocess.run(["addr2line", "-a", "-i", "-f", "-e", self.program], input="\n".join(hex(a - 1) for a in missing),
                                  capture_output=True, text=True, check=True)
            for told in re.split(r"^0x", done.stdout, flags=re.M)[1:]:
                address, *lines = told.splitlines()
                places = []
                for function, place in zip(lines[::2], lines[1::2]):
                    path, _, line = place.partition(":")
                    path = os.path.relpath(path, ROOT) if path.startswith("/") else os.path.normpath(path)
                    places.append((function, path, line.split(" ")[0]))
                ours = [place for place in places if not place[1].startswith("..")]
                self.known[int(address, 16) + 1] = (ours or places)[0]
        return {address: self.known[address] for address in addresses}

    def of(self, fault):
        function, path, line = self.find([fault.site])[fault.site]
        return f"{fault.name} fails with {os.strerror(fault.error)!r} at {path}:{line}, {function}()"


def excepted_abort(told, fault, names):
    """The library that gave up by itself, where the table says that it may; None: nobody did, or it may not."""
    found = re.search(r"^abort (\S+) ([0-9a-f]+)$", told, re.M)
    if not found:
        return None
    library = re.sub(r"\.so.*", "", os.path.basename(found[1]))
    is_same_call = int(found[2], 16) == fault.site
    function = names.find([fault.site])[fault.site][0]
    return library if (library, function) in ABORTS or (is_same_call and (library, None) in ABORTS) else None
