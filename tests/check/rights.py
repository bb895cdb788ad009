#!/usr/bin/env python3
"""Flashes a board with as few rights as the unit leaves to the daemon, as far as they can be had without systemd.

    rights.py              prints what doesn't work; exit 1 when anything doesn't
    rights.py --self-test  without the serial ports' group, and as somebody else than wipyd, it must not work

The daemon is the user that the unit names, who is in no group but the unit's, without capabilities, in a user namespace with
root and itself alone (PrivateUsers=), and can gain nothing. The bus has the shipped policy and no word more. The port is
root's and the group's, mode 0660, as udev leaves it. Says SKIP where it isn't run by root, who may make namespaces.
"""

import contextlib
import ctypes
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
UID, STRANGER = 64999, 64998
CLONE_NEWUSER, PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 0x10000000, 1, 24, 38


def unit_says(key):
    text = (ROOT / "systemd/wipyd.service").read_text()
    return re.search(rf"^{key}=(.*)$", text, re.M).group(1)


def group_id(name):
    import grp
    return grp.getgrnam(name).gr_gid


def drop_rights(uid, groups):
    """In the child, before the program."""
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.getpid()
    ready, done = os.pipe(), os.pipe()
    helper = os.fork()
    if helper == 0:  # stays outside, and says who is who inside
        os.close(ready[1])
        os.read(ready[0], 1)
        for kind in "uid", "gid":
            with open(f"/proc/{process}/{kind}_map", "w") as file:
                file.write(f"0 0 1\n{uid} {uid} 1\n")
        os._exit(0)
    os.close(done[0])
    os.close(done[1])
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups(groups)
    os.umask(0o077)
    if libc.unshare(CLONE_NEWUSER) < 0:
        raise OSError(ctypes.get_errno(), "no user namespace")
    os.write(ready[1], b"x")
    if os.waitpid(helper, 0)[1]:
        raise OSError("the user namespace can't be mapped")
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)


def status_of(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
                if ":\t" in line)


def flash_one(uid, groups):
    """None, or what doesn't work."""
    sys.path.insert(0, str(ROOT / "tests/integration"))
    import harness
    start = harness.start

    def start_lowly(command, **options):
        if pathlib.Path(command[0]).name != "wipyd":
            return start(command, **options)
        return subprocess.Popen([str(part) for part in command], preexec_fn=lambda: drop_rights(uid, groups), **options)

    harness.start = start_lowly
    harness.SYSTEM_POLICY = re.sub(r'\s*<policy user="\{user\}">.*?</policy>', "", harness.SYSTEM_POLICY, flags=re.S)
    assert "{user}" not in harness.SYSTEM_POLICY, "the harness has another form now"
    dialout = group_id(unit_says("SupplementaryGroups"))
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        os.environ["WIPYD_TEST_FOLDER"] = folder
        os.umask(0)  # the bus and the notifications have their sockets in the bench's folder
        with harness.Bench(wipyd=False) as bench:
            os.chmod(bench.folder, 0o755)
            bench.config_path.chmod(0o644)
            port = os.path.realpath(bench.board.tty)
            os.chown(port, 0, dialout)
            os.chmod(port, 0o660)
            bench.state.mkdir(mode=0o700)
            os.chown(bench.state, uid, uid)
            try:
                bench.start_wipyd()
            except AssertionError:
                bench.wipyd.wait(timeout=20)
                return bench_failed(bench, "it doesn't start")
            status = status_of(bench.wipyd.pid)
            if status["Uid"].split() != [str(uid)] * 4 or int(status["CapBnd"], 16) or int(status["CapPrm"], 16):
                return f"the check itself: the daemon has more rights than it should: {status}"
            result = bench.ctl("flash", "board", bench.package(app_bytes=200_000))
            if result.code:
                return f"{result}"
            owners = {path.stat().st_uid for path in bench.state.rglob("*")}
            if owners != {uid}:
                return f"the state belongs to {owners}"
    return None


def bench_failed(bench, what):
    bench.wipyd = None  # it has ended, and not well
    return f"{what}: {bench.log()}"


def inside(uid, groups):
    """In a mount namespace where the unit's user exists."""
    with tempfile.TemporaryDirectory() as folder:
        for name, line in (("passwd", "{}:x:{}:{}::/:/usr/sbin/nologin\n"), ("group", "{}:x:{}:\n")):
            copy = pathlib.Path(folder) / name
            lines = [text for text in pathlib.Path("/etc", name).read_text().splitlines(True)
                     if not text.startswith(("wipyd:", "stranger:"))]
            copy.write_text("".join(lines) + line.format(unit_says("User"), UID, UID)
                            + line.format("stranger", STRANGER, STRANGER))
            os.chmod(copy, 0o644)
            subprocess.run(["mount", "--bind", copy, f"/etc/{name}"], check=True)
        problem = flash_one(uid, groups)
    if problem:
        print(problem)
    return 10 if problem else 0


def try_as(who, groups):
    """(whether a board could be flashed, what was said)"""
    run = subprocess.run(["unshare", "--mount", sys.executable, __file__, "--inside", who, groups], capture_output=True,
                         text=True, timeout=300)
    if run.returncode not in (0, 10):
        raise SystemExit(f"rights: {run.stdout}{run.stderr}")
    return run.returncode == 0, run.stdout


def main(arguments):
    if arguments[:1] == ["--inside"] and len(arguments) == 3:
        groups = [group_id(name) for name in arguments[2].split()]
        return inside({"wipyd": UID, "stranger": STRANGER}[arguments[1]], groups)
    if arguments not in ([], ["--self-test"]):
        print(__doc__, file=sys.stderr)
        return 2
    if os.geteuid() or subprocess.run(["unshare", "--mount", "--user", "true"], capture_output=True).returncode:
        print("rights: SKIP: it takes root, and namespaces")
        return 0
    group = unit_says("SupplementaryGroups")
    if arguments:
        wrong = [f"{who} in {groups or 'no group'} can flash: {said}"
                 for who, groups, wanted in (("wipyd", "", "Permission denied"), ("stranger", group, "taking the name"))
                 for works, said in [try_as(who, groups)] if works or wanted not in said]
        print("\n".join(wrong) or "rights: self-test: 2 of 2 passed")
        return 1 if wrong else 0
    works, said = try_as("wipyd", group)
    if not works:
        print(said)
    return 0 if works else 1


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(130)
