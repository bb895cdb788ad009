"""What a disk holds after the power is lost: a program's changes of files are recorded (strace), and replayed up to any
of them, without what was not synced by then.

A file's bytes are sure once the file is synced, its name once the folder it is in is. All else may be there or not:

    killed    all of it: the same as kill -9
    strict    nothing of it
    names     every name, but of the bytes only those that are synced: the empty files of a journal of metadata
    bytes     every byte, but of the names only those that are synced
    random    of the names those up to some moment, of the writes some, from a seed
"""
import bisect
import os
import random
import re
import shutil
from pathlib import Path

CALLS = ("open,openat,creat,write,writev,pwrite64,pwritev,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,unlink,"
         "unlinkat,rmdir,ftruncate,truncate,fallocate,mkdir,mkdirat,link,linkat,symlink,symlinkat,copy_file_range,sendfile,"
         "sendmsg")
VARIANTS = "killed", "strict", "names", "bytes", "random"
PAGE = 4096  # a write is torn at its borders


def strace(trace):
    return ["strace", "-f", "-y", "-xx", "-ttt", "-s", "8000000", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace)]


def unhex(text):
    return bytes.fromhex(text.replace("\\x", ""))


class Call:
    """One that succeeded: when it began (they are in the order of their ends), its name, its words, what it gave back."""

    def __init__(self, when, name, words, result):
        self.when, self.name, self.words, self.result = when, name, words, result

    @property
    def strings(self):
        return [unhex(text) for text in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', self.words)]

    @property
    def fd_path(self):
        found = re.match(r"\d+<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?", self.words)
        return None if not found or found[2] else os.fsdecode(unhex(found[1]))

    def paths(self):
        """Of its names; one that is relative to a descriptor is made whole."""
        pattern = r'(?:(?:AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)>, )?"((?:\\x[0-9a-f]{2})*)"'
        return [os.path.join(os.fsdecode(unhex(folder or "")), os.fsdecode(unhex(name)))
                for folder, name in re.findall(pattern, self.words)]


def read_calls(trace):
    calls, halves = [], {}
    with open(trace, errors="replace") as file:
        for line in file:
            pid, when, rest = line.rstrip("\n").split(None, 2)
            if rest.endswith("<unfinished ...>"):
                halves[pid] = when, rest[:-len("<unfinished ...>")]
                continue
            if resumed := re.match(r"<\.\.\. \w+ resumed>", rest):
                when, half = halves.pop(pid)
                rest = half + rest[resumed.end():]
            if whole := re.fullmatch(r"(\w+)\((.*)\) += (\d+)(<.*)?", rest):
                calls.append(Call(float(when), whole[1], whole[2], int(whole[3])))
    return calls


class Node:
    """A file: its changes as (when, offset, bytes) and (when, size, None), and when it was synced."""

    def __init__(self):
        self.changes, self.syncs = [], []

    def content(self, keep):
        data = bytearray()
        for when, offset, chunk in self.changes:
            for at, part in keep(self, when, offset, chunk):
                data.extend(bytes(max(0, at - len(data))))
                if part is None:
                    del data[at:]
                else:
                    data[at:at + len(part)] = part
        return bytes(data)


class Recording:
    """The changes below a folder that was empty when the recording began."""

    def __init__(self, trace, root):
        self.root = os.path.realpath(root)
        self.calls = read_calls(trace)
        self.names = []    # (when, folders, deed): deed(tree) does it
        self.syncs = {}    # folder: when
        self.nodes = []
        self.steps = []    # the numbers of the calls that change or sync something
        tree, positions = {}, {}
        for number, call in enumerate(self.calls):
            if self._note(number, call, tree, positions):
                self.steps.append(number)

    # ---- recording: the tree as the program sees it; a folder is a dict, a file a Node ----
    def _parts(self, path):
        path = os.path.normpath(path)
        return path[len(self.root):].strip("/").split("/") if path.startswith(self.root + "/") else None

    @staticmethod
    def _find(tree, parts):
        for part in parts:
            tree = tree.get(part) if isinstance(tree, dict) else None
        return tree

    def _name(self, number, parts, tree, deed, *others):
        self.names.append((number, {tuple(p[:-1]) for p in (parts, *others)}, deed))
        deed(tree)
        return True

    def _note(self, number, call, tree, positions):
        if call.name in ("open", "openat", "creat"):
            positions.pop(call.result, None)
            parts = self._parts(call.paths()[-1])
            if not parts:
                return False
            node = self._find(tree, parts)
            if node is None and "O_CREAT" in call.words:
                node = Node()
                self.nodes.append(node)
                return self._name(number, parts, tree, Put(parts, node))
            if isinstance(node, Node) and "O_TRUNC" in call.words and node.changes:
                node.changes.append((number, 0, None))
                return True
            return False
        if call.name in ("write", "pwrite64", "ftruncate", "fsync", "fdatasync", "fallocate"):
            parts = call.fd_path and self._parts(call.fd_path)
            if parts is None and call.fd_path != self.root:
                return False
            node = self._find(tree, parts or [])
            if isinstance(node, dict):
                self.syncs.setdefault(tuple(parts or ()), []).append(number)
                return True
            assert node is not None, f"unknown to the recording: {call.name} {call.fd_path}"
            fd = int(re.match(r"\d+", call.words)[0])
            if call.name.endswith("sync"):
                node.syncs.append(number)
            elif call.name == "ftruncate":
                node.changes.append((number, int(call.words.rsplit(", ", 1)[1]), None))
            elif call.name == "pwrite64":
                node.changes.append((number, int(call.words.rsplit(", ", 1)[1]), call.strings[0][:call.result]))
            elif call.name == "write":
                offset = positions.get(fd, 0)
                positions[fd] = offset + call.result
                node.changes.append((number, offset, call.strings[0][:call.result]))
            else:
                raise AssertionError(f"not understood: {call.name}({call.words})")
            return True
        if call.name == "sendmsg":
            return False
        inside = [self._parts(path) for path in call.paths()]
        if not any(inside):
            return False
        if call.name in ("mkdir", "mkdirat"):
            return self._name(number, inside[0], tree, Put(inside[0], None))
        if call.name in ("unlink", "unlinkat", "rmdir"):
            return self._name(number, inside[0], tree, Drop(inside[0]))
        if call.name in ("rename", "renameat", "renameat2"):
            assert all(inside), call.words
            return self._name(number, inside[0], tree, Move(*inside), inside[1])
        raise AssertionError(f"not understood: {call.name}({call.words})")

    # ---- replay ----
    def rebuild(self, folder, n, variant, seed=0):
        """Makes the folder as it is when the power is lost before the call of that number."""
        rng = random.Random(f"{seed} {n}")
        loses_names, loses_bytes = variant in ("strict", "bytes"), variant in ("strict", "names")

        def name_is_sure(when, folders):
            return all(any(when < sync < n for sync in self.syncs.get(folder, ())) for folder in folders)

        names = [row for row in self.names if row[0] < n]
        if loses_names:
            names = [row for row in names if name_is_sure(row[0], row[1])]
        elif variant == "random":
            sure = max((i + 1 for i, row in enumerate(names) if name_is_sure(row[0], row[1])), default=0)
            names = names[:rng.randint(sure, len(names))]
        tree = {}
        for _, _, deed in names:
            deed(tree)

        def keep(node, when, offset, chunk):
            if when >= n:
                return []
            last_sync = bisect.bisect_left(node.syncs, n)
            if (last_sync and when < node.syncs[last_sync - 1]) or variant in ("killed", "bytes"):
                return [(offset, chunk)]
            if loses_bytes:
                return []
            if chunk is None:
                return [(offset, chunk)] if rng.random() < 0.5 else []
            return [(offset + at, chunk[at:at + PAGE]) for at in range(0, len(chunk), PAGE) if rng.random() < 0.5]

        shutil.rmtree(folder, ignore_errors=True)
        self._lay(Path(folder), tree, keep)

    def _lay(self, folder, tree, keep):
        folder.mkdir(mode=0o700)
        for name, node in tree.items():
            if isinstance(node, dict):
                self._lay(folder / name, node, keep)
            else:
                path = folder / name
                path.write_bytes(node.content(keep))
                path.chmod(0o600)


# ---- deeds on a tree; what they are about may be missing: its folder's making was lost -------------------------------

class Put:
    def __init__(self, parts, node):
        self.parts, self.node = parts, node

    def __call__(self, tree):
        folder = Recording._find(tree, self.parts[:-1])
        if isinstance(folder, dict):
            folder.setdefault(self.parts[-1], {} if self.node is None else self.node)


class Drop:
    def __init__(self, parts):
        self.parts = parts

    def __call__(self, tree):
        folder = Recording._find(tree, self.parts[:-1])
        if isinstance(folder, dict):
            folder.pop(self.parts[-1], None)


class Move:
    def __init__(self, source, target):
        self.source, self.target = source, target

    def __call__(self, tree):
        source, target = (Recording._find(tree, parts[:-1]) for parts in (self.source, self.target))
        if isinstance(source, dict) and isinstance(target, dict) and self.source[-1] in source:
            target[self.target[-1]] = source.pop(self.source[-1])
