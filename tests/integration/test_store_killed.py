"""The store, killed (-9) before each of its system calls that change a file, in every deed: at the next start it is
consistent and nothing good is gone.

strace kills: it attaches to store_tool just before the deed and delivers the signal before the N-th call of one kind, for
each kind that the deed uses and N from 1 until the deed ends alive. So every state of the disk between two changes is met.
"""
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness import BUILD, Skip, start, takes

TOOL = BUILD / "unit" / "store_tool"
CHANGES = ("write,writev,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,ftruncate,fallocate,mkdir,"
           "mkdirat,copy_file_range,link,linkat,chmod,fchmod")
WRONG_SHA1 = "f6c30bf8b08c50d188f727822be320061ed7847b"
# One thread in the pool: strace counts each thread's calls by themselves. Under ptrace no leak check is possible.
ENVIRONMENT = dict(os.environ, UV_THREADPOOL_SIZE="1", ASAN_OPTIONS="detect_leaks=0")


class Store:
    """A folder with a store; a.tar.gz, which must outlive everything, and b.tar.gz, which the deeds are about."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(dir=os.environ.get("WIPYD_TEST_FOLDER")))
        self.path, self.pattern = self.folder / "store", self.folder / "pattern"
        self.pattern.mkdir()
        self.tool(self.folder, "packages")
        self.a, self.b = (hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in
                          ("a.tar.gz", "b.tar.gz"))
        self.tool(self.pattern, "add", self.folder / "a.tar.gz")

    def tool(self, folder, *arguments):
        command = [str(TOOL), str(folder), *map(str, arguments)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def begin(self):
        """As it was before the deed."""
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(self.pattern, self.path)

    def states(self):
        """{sha256: state} after a start; what can be flashed is whole, and nothing is left over."""
        states = dict(line.split()[:2] for line in self.tool(self.path, "list").splitlines())
        firmware = self.path / "firmware"
        for sha256, state in states.items():
            if state == "good":
                assert hashlib.sha256((firmware / f"{sha256}.tar.gz").read_bytes()).hexdigest() == sha256
        assert not [*firmware.glob(".new-*"), *firmware.glob("*.damaged-*")], list(firmware.iterdir())
        return states

    def file_of(self, sha256):
        return self.path / "firmware" / f"{sha256}.tar.gz"


def run_traced(store, pause, inject, *arguments):
    """Does the deed, traced after the pause. Whether it lived to the end."""
    tool = start([TOOL, store.path, *arguments], env=dict(ENVIRONMENT, STORE_TOOL_PAUSE=pause), stdin=subprocess.PIPE,
                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while (line := tool.stdout.readline()) != "ready\n":
            assert line, tool.communicate()
        strace = start(["strace", "-f", "-p", tool.pid, "-o", store.folder / "trace", "-e", f"trace={CHANGES}", *inject],
                       stderr=subprocess.PIPE, text=True)
        line = strace.stderr.readline()
        if "attached" not in line:
            raise Skip(f"strace can't attach: {line.strip()}")
        out, err = tool.communicate("\n", timeout=60)
        strace.communicate(timeout=60)
    finally:
        tool.kill()
        tool.wait()
    assert tool.returncode in (0, -9), f"{tool.returncode}\n{out}{err}"
    return tool.returncode == 0


def kinds_of_changes(store, pause, spoil, arguments):
    """The names of the calls with which the deed changes files, and how many there are."""
    store.begin()
    spoil(store)
    assert run_traced(store, pause, [], *arguments)
    calls = re.findall(r"^\d+ +(\w+)\(", (store.folder / "trace").read_text(), re.M)
    return sorted(set(calls)), len(calls)


def kill_at_every_step(allowed, deed, final, prepare=lambda store: None, spoil=lambda store: None, pauses=("deed", "close")):
    """prepare: once, on the pattern's copy; spoil: each time before the deed. allowed: what b may be after a kill;
    final: what it is when the deed is done again."""
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    if not TOOL.exists():
        raise Skip(f"{TOOL} has not been built")
    store = Store()
    store.begin()
    prepare(store)
    shutil.rmtree(store.pattern)
    shutil.copytree(store.path, store.pattern)
    arguments = deed(store)
    for pause in pauses:
        kinds, n_changes = kinds_of_changes(store, pause, spoil, arguments)
        n_kills = 0
        for kind in kinds:
            n, lived = 1, False
            while not lived:
                store.begin()
                spoil(store)
                lived = run_traced(store, pause, ["-e", f"inject={kind}:signal=KILL:when={n}"], *arguments)
                states = store.states()
                where = f"killed before {kind} {n} after {pause}: {states}\n{(store.folder / 'trace').read_text()[-600:]}"
                assert states.get(store.a) == "good", where
                assert states.get(store.b) in ([final] if lived or pause == "close" else allowed), where
                if pause == "deed" and states.get(store.b) != final:
                    store.tool(store.path, *arguments)
                    assert store.states().get(store.b) == final, where
                n, n_kills = n + 1, n_kills + (not lived)
        print(f"{pause}: {n_changes} changes, killed {n_kills} times")
        assert n_kills >= 3, "hardly a change was seen"


def add_b(store):
    store.tool(store.path, "add", store.folder / "b.tar.gz")


def quarantine_b(store):
    store.tool(store.path, "add", store.folder / "b.tar.gz", WRONG_SHA1)


def lose_database(store):
    for path in store.path.glob("wipyd.db*"):
        path.unlink()


def damage_database(store):
    (store.path / "wipyd.db").write_bytes(b"no database, no database, no database" * 300)


@takes(10, limit=600)
def test_killed_while_adding():
    kill_at_every_step([None, "good"], lambda store: ("add", store.folder / "b.tar.gz"), "good")


@takes(10, limit=600)
def test_killed_while_adding_what_has_another_hash():
    kill_at_every_step([None, "quarantined"], lambda store: ("add", store.folder / "b.tar.gz", WRONG_SHA1), "quarantined")


@takes(10, limit=600)
def test_killed_while_a_missing_file_is_added_again():
    kill_at_every_step(["missing", "good"], lambda store: ("add", store.folder / "b.tar.gz"), "good", prepare=add_b,
                       spoil=lambda store: store.file_of(store.b).unlink())


@takes(10, limit=600)
def test_killed_while_the_right_hash_ends_quarantine():
    def deed(store):
        sha1 = hashlib.sha1((store.folder / "b.tar.gz").read_bytes()).hexdigest()
        return ("add", store.folder / "b.tar.gz", sha1)
    kill_at_every_step(["quarantined", "good"], deed, "good", prepare=quarantine_b)


@takes(10, limit=600)
def test_killed_while_releasing():
    kill_at_every_step(["quarantined", "good"], lambda store: ("release", store.b), "good", prepare=quarantine_b)


@takes(10, limit=600)
def test_killed_while_pinning():
    kill_at_every_step(["good"], lambda store: ("pin", store.b), "good", prepare=add_b)


@takes(10, limit=600)
def test_killed_while_removing():
    kill_at_every_step(["good", "missing", None], lambda store: ("remove", store.b), None, prepare=add_b)


@takes(10, limit=600)
def test_killed_while_removing_from_quarantine():
    kill_at_every_step(["quarantined", "missing", None], lambda store: ("remove", store.b), None, prepare=quarantine_b)


@takes(10, limit=600)
def test_killed_while_adopting():
    kill_at_every_step(["good"], lambda store: ("list",), "good", prepare=add_b, spoil=lose_database, pauses=("open", "close"))


@takes(10, limit=600)
def test_killed_while_adopting_out_of_quarantine():
    kill_at_every_step(["quarantined"], lambda store: ("list",), "quarantined", prepare=quarantine_b, spoil=lose_database,
                       pauses=("open", "close"))


@takes(10, limit=600)
def test_killed_while_a_damaged_database_is_replaced():
    kill_at_every_step(["quarantined"], lambda store: ("list",), "quarantined", prepare=quarantine_b, spoil=damage_database,
                       pauses=("open", "close"))
