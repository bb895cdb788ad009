"""A guest that has booted and has the package installed, frozen: each scenario goes on from there, in about two seconds.

    ready = snapshot.ensure(image, package)
    with ready.restore(folder) as vm: ...
"""
import hashlib
import io
import re
import shutil
import sys
import tarfile
import time
from pathlib import Path

from image import VM, Problem, run
from rig import COMMAND_LINE, MACHINE, N_PORTS, Guest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

import packages  # noqa: E402

# What every scenario may need, at /run/payload in the guest.
FIRMWARE = {"small.tar.gz": dict(board="WiPy", release="1.20.1.r1", shape="both", app_bytes=60_000),
            "large.tar.gz": dict(board="WiPy", release="1.20.1.r1", shape="both", app_bytes=500_000)}
CONFIG = "[flash]\nbaud = 921600\n"
INSTALL_LIMIT_S = 400


def next_package(package, folder):
    """The same, as the next version."""
    run(["dpkg-deb", "-R", package, folder / "next"])
    control = folder / "next/DEBIAN/control"
    control.write_text(re.sub(r"^(Version: .*)$", r"\1+next", control.read_text(), flags=re.M))
    run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", folder / "next", folder / "next.deb"])
    shutil.rmtree(folder / "next")


def make_payload(package, path):
    folder = path.parent
    next_package(package, folder)
    for name, how in FIRMWARE.items():
        packages.make_package(folder / name, **how)
    with tarfile.open(path, "w") as tar:
        for name in FIRMWARE:
            tar.add(folder / name, name)
        tar.add(package, "wipyd.deb")
        tar.add(folder / "next.deb", "next.deb")
        info = tarfile.TarInfo("vm.conf")
        info.size = len(CONFIG)
        tar.addfile(info, io.BytesIO(CONFIG.encode()))


def layer(disk, on, kind):
    """A disk that keeps what is written to it, and reads the rest from another."""
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", on, "-F", kind, disk])


class Ready:
    def __init__(self, image, folder):
        self.image, self.folder = image, folder

    def firmware(self, name):
        """The package of that name, on the host."""
        return self.folder / name

    def restore(self, folder):
        folder = Path(folder)
        layer(folder / "disk.qcow2", self.folder / "disk.qcow2", "qcow2")
        vm = Guest(self.image, folder, folder / "disk.qcow2", self.folder / "payload.tar", self.folder / "memory")
        try:
            vm.go_on()
        except BaseException:
            vm.keep_logs()
            vm.close()
            raise
        return vm


def prepare(vm):
    """The package is installed as an administrator does it, and has no reason to complain."""
    state = vm.wait_boot()
    if state != "running":
        raise Problem(f"the guest is {state}: " + vm.run("systemctl --failed --no-legend --no-pager").out)
    vm.must("mkdir -p /run/payload && tar xf /dev/vdb -C /run/payload")
    said = vm.must("DEBIAN_FRONTEND=noninteractive dpkg -i /run/payload/wipyd.deb", INSTALL_LIMIT_S)
    if vm.run("systemctl is-active wipyd").code != 0:
        raise Problem("dpkg has installed the package, and did not start it: " + said)
    vm.must("mkdir -p /etc/wipyd.conf.d && cp /run/payload/vm.conf /etc/wipyd.conf.d/ && systemctl restart wipyd", 60)
    vm.must("systemctl is-active wipyd && wipyctl status >/dev/null && sync && echo 3 > /proc/sys/vm/drop_caches", 60)
    return said


def ensure(image, package, scratch, cold=False):
    """The snapshot of this image and this package: the one that is there, or a new one."""
    began = time.monotonic()
    digest = hashlib.sha256(Path(package).read_bytes())
    digest.update(f"{image.key} {Path(__file__).read_text()} {MACHINE} {COMMAND_LINE} {N_PORTS} "
                  f"{run(['qemu-system-x86_64', '--version'])}".encode())
    folder = VM / f"ready-{digest.hexdigest()[:16]}"
    if cold:
        shutil.rmtree(folder, ignore_errors=True)
    if (folder / "complete").exists():
        print(f"  snapshot {folder.name}: there already ({time.monotonic() - began:.1f} s)", flush=True)
        return Ready(image, folder)
    for old in VM.glob("ready-*"):
        shutil.rmtree(old)
    folder.mkdir(parents=True)
    make_payload(package, folder / "payload.tar")
    layer(folder / "disk.qcow2", image.disk, "raw")
    with Guest(image, scratch, folder / "disk.qcow2", folder / "payload.tar") as vm:
        prepare(vm)
        booted = time.monotonic() - began
        vm.migrate_to(folder / "memory")
    (folder / "complete").touch()
    print(f"  snapshot {folder.name}: booted, installed and frozen in {time.monotonic() - began:.0f} s "
          f"(until ready {booted:.0f} s), {(folder / 'memory').stat().st_size >> 20} MiB", flush=True)
    return Ready(image, folder)
