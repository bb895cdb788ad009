#!/usr/bin/env python3
"""Checks `make install` and `make uninstall`, with a DESTDIR that is empty before.

    install.py BUILD   prints what is wrong; exit 1 when anything is

What the source has to offer must be there, each unit must name programs that are there, the configuration that somebody
changed must stay as it is, and uninstall must leave nothing else. Both with the usual folders and with others.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG_TEXT = "# mine\n[flash]\nbaud = 921600\n"


def files_below(folder):
    return {"/" + str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


def wanted(prefix, build):
    """What must be there, told from the source and not from the Makefile's list."""
    share = prefix + "/share"
    places = {
        "proto/*.xml": share + "/dbus-1/interfaces/",
        "udev/*.rules": prefix + "/lib/udev/rules.d/",
        "systemd/*.policy": share + "/polkit-1/actions/",
        "systemd/*.catalog": prefix + "/lib/systemd/catalog/",
        "systemd/man/*.1": share + "/man/man1/",
        "systemd/man/*.5": share + "/man/man5/",
        "systemd/man/*.8": share + "/man/man8/",
        "client/completions/_*": share + "/zsh/site-functions/",
        "client/completions/*.fish": share + "/fish/vendor_completions.d/",
    }
    files = {place + path.name for pattern, place in places.items() for path in ROOT.glob(pattern)}
    files |= {f"{prefix}/libexec/wipyd", f"{prefix}/bin/wipyctl", f"{prefix}/lib/systemd/system/wipyd.service",
              f"{prefix}/lib/sysusers.d/wipyd.conf", f"{share}/dbus-1/system.d/org.wipyd1.conf",
              f"{share}/dbus-1/system-services/org.wipyd1.service"}
    if (ROOT / "client/completions/wipyctl.bash").exists():
        files.add(share + "/bash-completion/completions/wipyctl")
    if (pathlib.Path(build) / "stub/esp32.json").exists():  # what `make stub` got
        files |= {share + "/wipyd/stub/esp32.json", share + "/wipyd/stub/README"}
    return files


def make(target, build, *settings):
    run = subprocess.run(["make", "-s", "--no-print-directory", "-C", ROOT, target, f"BUILD={build}", *settings],
                         capture_output=True, text=True, timeout=600)
    if run.returncode:
        raise SystemExit(f"make {target}: {run.stdout}{run.stderr}")


def check(build, prefix, sysconfdir):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        config = root / f"{sysconfdir}/wipyd.conf".lstrip("/")
        settings = [f"DESTDIR={folder}", f"PREFIX={prefix}", f"SYSCONFDIR={sysconfdir}"]
        make("install", build, *settings)
        there = files_below(root)
        should = wanted(prefix, build) | {f"{sysconfdir}/wipyd.conf"}
        yield from (f"install: {path} is missing" for path in sorted(should - there))
        yield from (f"install: {path} is not known to this check" for path in sorted(there - should))
        unit = root / f"{prefix}/lib/systemd/system/wipyd.service".lstrip("/")
        program = re.search(r"^ExecStart=(\S+)", unit.read_text(), re.M).group(1)
        if program not in there:
            yield f"install: the unit starts {program}, which is not there"
        config.write_text(CONFIG_TEXT)
        (root / "var/lib/wipyd").mkdir(parents=True)
        (root / "var/lib/wipyd/wipyd.db").write_text("records")
        make("install", build, *settings)
        if config.read_text() != CONFIG_TEXT:
            yield "install: a configuration that was there is another now"
        make("uninstall", build, *settings)
        left = files_below(root)
        stays = {f"{sysconfdir}/wipyd.conf", "/var/lib/wipyd/wipyd.db"}
        yield from (f"uninstall: {path} is left" for path in sorted(left - stays))
        yield from (f"uninstall: {path} is gone" for path in sorted(stays - left))


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    problems = [*check(arguments[0], "/usr", "/etc"), *check(arguments[0], "/opt/wipyd", "/opt/wipyd/etc")]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
