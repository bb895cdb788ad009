#!/usr/bin/env python3
"""Checks the Debian package that `make deb` has built.

    package.py PACKAGE.deb   prints what is wrong; exit 1 when anything is

lintian must have nothing to say; the package must have what `make install` installs. Then it is installed, upgraded,
removed and purged with dpkg, in a copy of this system's root that is thrown away (an overlay in a mount namespace): what a
purge leaves is seen file by file. Says SKIP where there are no such rights.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What a purge may leave, besides the user, who owns what is kept: dpkg's and the triggers' own bookkeeping.
BOOKKEEPING = ("/var/lib/dpkg/", "/var/log/", "/var/cache/", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow",
               "/etc/subuid", "/etc/subgid", "/etc/.pwd.lock", "/var/lib/systemd/catalog/", "/tmp/", "/run/", "/dev/",
               "/var/lib/systemd/deb-systemd-helper-")
ENABLED = "/etc/systemd/system/multi-user.target.wants/wipyd.service"


class Copy:
    """This system's root, with whatever is written to it apart. In a mount namespace of its own."""

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)  # an overlay can't lie on an overlay
        self.upper, self.root, work = folder / "upper", folder / "root", folder / "work"
        for path in self.upper, self.root, work:
            path.mkdir()
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={self.upper},workdir={work}",
                        self.root], check=True)
        for path in "dev", "proc":
            subprocess.run(["mount", "--rbind", f"/{path}", self.root / path], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self.root / "run"], check=True)  # no systemd runs in there

    def run(self, *command):
        """What it says; a failure is an AssertionError."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        run = subprocess.run(["chroot", self.root, *command], capture_output=True, text=True, timeout=300, env=environment)
        assert run.returncode == 0, f"{' '.join(command)}: {run.stdout}{run.stderr}"
        return run.stdout + run.stderr

    def path(self, name):
        return self.root / name.lstrip("/")

    def has(self, name):
        return os.path.lexists(self.path(name))

    def new_files(self):
        """What is in here and not in the system that this is a copy of."""
        found = ("/" + str(path.relative_to(self.upper)) for path in self.upper.rglob("*")
                 if path.is_symlink() or path.is_file())
        return {name for name in found if not os.path.lexists(name) and not name.startswith(BOOKKEEPING)}


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def install(copy, package):
    copy.run("dpkg", "-i", package)
    expect("wipyd" in copy.run("id", "-nG", "wipyd") and "dialout" in copy.run("id", "-nG", "wipyd"),
           "the user wipyd is not in dialout")
    expect(copy.has(ENABLED), "the service is not enabled")
    expect(not copy.run("dpkg", "-V", "wipyd"), "files differ from what md5sums says")
    for program in "/usr/libexec/wipyd", "/usr/bin/wipyctl":
        copy.run(program, "--version")
    if shutil.which("man"):
        for page in "wipyctl.1", "wipyd.8", "wipyd.conf.5", "org.wipyd1.5":
            copy.run("man", "-w", page)


def fill(copy):
    """As a daemon would leave it that has worked."""
    for name in "backup/30aea4010203/20261122T100000", "firmware", "spool":
        copy.path(f"/var/lib/wipyd/{name}").mkdir(parents=True)
    copy.path("/var/lib/wipyd/wipyd.db").write_text("records")
    copy.path("/var/lib/wipyd/backup/30aea4010203/20261122T100000/config.bin").write_text("keys")
    copy.path("/var/lib/wipyd/firmware/0123.tar.gz").write_text("package")
    copy.path("/etc/wipyd.conf.d").mkdir()
    copy.run("chown", "-R", "wipyd:wipyd", "/var/lib/wipyd")


def life(copy, package):
    expect(not copy.has("/var/lib/wipyd") and not copy.has("/var/backups/wipyd"), "a wipyd is installed here already")
    name = "/tmp/" + pathlib.Path(package).name
    shutil.copy(package, copy.path(name))
    install(copy, name)
    # Changed by somebody, and disabled: both stay so.
    copy.path("/etc/wipyd.conf").write_text("[flash]\nbaud = 921600\n")
    copy.run("systemctl", "disable", "wipyd.service")
    copy.run("dpkg", "-i", "--force-confold", name)
    expect("921600" in copy.path("/etc/wipyd.conf").read_text(), "an upgrade changed the configuration")
    expect(not copy.has(ENABLED), "an upgrade enabled the service again")
    copy.run("dpkg", "--remove", "wipyd")
    expect(copy.has("/etc/wipyd.conf"), "the configuration went with remove")
    expect(not copy.has("/usr/bin/wipyctl"), "remove left a program")
    copy.run("dpkg", "--purge", "wipyd")
    left = copy.new_files()
    expect(not left, f"purge left {sorted(left)}")
    for kept in "wipyd", "wipyd.1":
        copy.run("dpkg", "-i", name)
        fill(copy)
        said = copy.run("dpkg", "--purge", "wipyd")
        place = f"/var/backups/{kept}"
        expect(place in said, f"purge says nothing of {place}: {said}")
        expect(copy.path(place).stat().st_mode & 0o777 == 0o700, f"others may look into {place}")
        expect(not copy.has("/var/lib/wipyd") and not copy.has("/etc/wipyd.conf.d"), "purge left a folder")
    left = copy.new_files()
    wanted = {f"/var/backups/{kept}/{file}" for kept in ("wipyd", "wipyd.1")
              for file in ("backup/30aea4010203/20261122T100000/config.bin", "firmware/0123.tar.gz")}
    expect(left == wanted, f"purge should keep {sorted(wanted)}, and left {sorted(left)}")


def inside(package):
    with tempfile.TemporaryDirectory() as folder:
        try:
            copy = Copy(folder)
        except (subprocess.CalledProcessError, PermissionError) as problem:
            print(f"package: SKIP: it can't be installed here: {problem}")
            return 0
        try:
            life(copy, package)
        except AssertionError as problem:
            print(problem)
            return 1
        finally:
            subprocess.run(["umount", "-R", "-l", folder], check=False)
    return 0


def check_content(package):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True, timeout=60)
        there = {path.name.removesuffix(".gz") for path in pathlib.Path(folder).rglob("*") if path.is_file()}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["make", "-s", "-C", ROOT, "install", f"DESTDIR={folder}", f"BUILD={pathlib.Path(package).parent}"],
                       check=True, capture_output=True, timeout=600)
        wanted = {path.name for path in pathlib.Path(folder).rglob("*") if path.is_file()}
    return [f"{name} is not in the package" for name in sorted(wanted - there)]


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "--inside":
        return inside(arguments[1])
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    package = os.path.realpath(arguments[0])
    lintian = subprocess.run(["lintian", "--fail-on", "error,warning", "--tag-display-limit", "0", package],
                             capture_output=True, text=True, timeout=600)
    problems = [line for line in lintian.stdout.splitlines() if line] if lintian.returncode else []
    if lintian.returncode and not problems:
        problems = [lintian.stderr]
    problems += check_content(package)
    for problem in problems:
        print(problem)
    if os.geteuid() != 0:
        print("package: SKIP: root is wanted to install it in a copy of this system")
        return 1 if problems else 0
    run = subprocess.run(["unshare", "--mount", sys.executable, __file__, "--inside", package], timeout=900)
    return 1 if problems or run.returncode else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
