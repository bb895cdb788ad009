"""The guest: a Debian of the host's own release on an ext4 disk, its kernel and a small initrd. Built from packages once,
and kept below build/vm/ by the names and versions of the packages and by what this file does with them.

    image = image.ensure(package)            # the project's .deb, for its dependencies; it is installed in the guest
    image.kernel, image.initrd, image.disk   # the disk is only ever read: each guest writes to a layer of its own

Runs as root or not. The sources are those of the machine's apt that are Debian's.
"""
import hashlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = (ROOT / os.environ.get("WIPYD_BUILD", "build")).resolve()
VM = BUILD / "vm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SECTIONS = {"main"}

# What a machine has that wipyd is installed on; its own dependencies come from its .deb.
PACKAGES = ["systemd-sysv", "udev", "dbus", "polkitd", "libpam-systemd", "modemmanager", "kmod", "util-linux", "procps"]
KERNEL = "linux-image-amd64"
INITRD_PACKAGE = "busybox-static"
RIG = ["init", "agent", "vmrig.service"]  # the rig's own part; the disk has nothing of it
# With all that they need. A driver of an adapter is loaded by udev, when one is plugged in.
MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "ext4", "crc32c_generic", "xhci_pci", "usbcore",
           "usbserial", "cp210x", "ftdi_sio", "cdc_acm", "autofs4"]
INITRD_MODULES = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"]
# Of no use in here, and slow without a CPU's help. udev, dbus, logind, journald, polkit and ModemManager are as they are.
MASKED = ["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
          "fstrim.timer", "getty@tty1.service", "serial-getty@ttyS0.service", "systemd-timesyncd.service",
          "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-random-seed.service",
          "systemd-pstore.service", "modprobe@efi_pstore.service", "modprobe@drm.service", "modprobe@fuse.service",
          "modprobe@configfs.service", "modprobe@dm_mod.service", "modprobe@loop.service", "sys-kernel-debug.mount",
          "sys-kernel-tracing.mount", "dev-hugepages.mount", "man-db.timer"]
DISK = "1500M"
BUILD_LIMIT_S = 1200


class Problem(Exception):
    """The rig can't run here; says why."""


def run(command, seconds=120, **options):
    """What it says on its output."""
    try:
        done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=seconds, **options)
    except FileNotFoundError:
        raise Problem(f"{command[0]} isn't installed") from None
    except subprocess.TimeoutExpired:
        raise Problem(f"{' '.join(map(str, command))}: not done in {seconds} s") from None
    if done.returncode:
        raise Problem(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


# ---- sources ---------------------------------------------------------------------------------------------------------

def codename():
    text = Path("/etc/os-release").read_text()
    found = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.M))
    if found.get("ID") != "debian" or not found.get("VERSION_CODENAME"):
        raise Problem("the programs under test are built on this machine, and the guest is a Debian: build on Debian")
    return found["VERSION_CODENAME"]


def stanzas():
    """The entries of the machine's apt: (uris, suites, components, who signs)."""
    for path in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]:
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        if path.suffix == ".sources":
            for block in re.split(r"\n\s*\n", text):
                block = re.sub(r"^#.*\n?", "", block, flags=re.M)
                fields = {key.lower(): value.split() for key, value in re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", block, re.M)}
                if "deb" in fields.get("types", []) and fields.get("enabled", ["yes"]) != ["no"]:
                    yield fields.get("uris", []), fields.get("suites", []), fields.get("components", []), \
                        " ".join(fields.get("signed-by", []))
        elif path.suffix == ".list":
            for options, uri, suite, sections in re.findall(r"^deb[ \t]+(?:\[([^]]*)\][ \t]*)?(\S+)[ \t]+(\S+)[ \t]+(.*)", text, re.M):
                signed = re.search(r"signed-by=(\S+)", options)
                yield [uri], [suite], sections.split("#")[0].split(), signed[1] if signed else ""


def sources():
    """One line for each, as apt reads them."""
    name, lines = codename(), []
    wanted = {name, f"{name}-updates", f"{name}-security"}
    for uris, suites, sections, signed in stanzas():
        if signed and KEYRING.stem not in signed:
            continue
        lines += [f"deb [signed-by={KEYRING}] {uri} {suite} main" for uri in uris for suite in suites
                  if suite in wanted and SECTIONS <= set(sections)]
    if not any(f" {name} " in line for line in lines):
        raise Problem(f"apt's configuration here names no source of Debian {name}, main")
    return list(dict.fromkeys(lines))


class Apt:
    """apt with lists and a cache of its own: needs no rights, and nothing of what is installed here counts."""

    def __init__(self, folder):
        self.folder = folder
        for name in "lists/partial", "archives/partial", "etc":
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        self.lines = sources()
        listed = folder / "etc/sources.list"
        if not listed.exists() or listed.read_text() != "\n".join(self.lines) + "\n":
            listed.write_text("\n".join(self.lines) + "\n")
            (folder / "updated").unlink(missing_ok=True)

    def call(self, tool, *arguments, **options):
        there = {"Dir::State": self.folder, "Dir::State::lists": self.folder / "lists",
                 "Dir::State::status": self.folder / "status", "Dir::Cache": self.folder,
                 "Dir::Etc::SourceList": self.folder / "etc/sources.list", "Dir::Etc::SourceParts": "-",
                 "Dir::Etc::Preferences": "-", "Dir::Etc::PreferencesParts": "-", "APT::Sandbox::User": "",
                 "Acquire::Languages": "none", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
                 "APT::Install-Recommends": "false"}
        settings = [word for key, value in there.items() for word in ("-o", f"{key}={value}")]
        return run([tool, *settings, *arguments], 300, **options)

    def update(self, hours=24):
        """Not more than once a day; with yesterday's lists if the network is away."""
        stamp = self.folder / "updated"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < hours * 3600:
            return
        try:
            self.call("apt-get", "-q", "--error-on=any", "update")
            stamp.touch()
        except Problem as problem:
            if not stamp.exists():
                raise Problem(f"packages can't be had: {problem}") from None
            print(f"  packages: the lists of {time.ctime(stamp.stat().st_mtime)}, as newer ones can't be had", flush=True)

    def versions(self, names):
        """All that an empty system gets with these and the kernel, and with what every system has: {name: version}, and
        the kernel's package. Asked once for each state of the lists: it takes seconds."""
        known, question = self.folder / "versions", [names, self.lines, (self.folder / "updated").stat().st_mtime_ns]
        if known.exists():
            then = json.loads(known.read_text())
            if then["question"] == question:
                return then["versions"], then["kernel"]
        kernel = re.search(r"Depends: (linux-image-[\w.+-]+)", self.call("apt-cache", "depends", KERNEL))
        if not kernel:
            raise Problem(f"apt has no kernel: {KERNEL}")
        said = self.call("apt-get", "-s", "install", "?essential", "?priority(required)", *names, kernel[1])
        found = dict(re.findall(r"^Inst (\S+) \((\S+)", said, re.M))
        if kernel[1] not in found:
            raise Problem(f"apt would not install {kernel[1]}: {said[-1000:]}")
        known.write_text(json.dumps({"question": question, "versions": found, "kernel": kernel[1]}))
        return found, kernel[1]

    def download(self, name, folder):
        """Unpacks a package into folder."""
        deb_folder = self.folder / "deb"
        deb_folder.mkdir(exist_ok=True)
        self.call("apt-get", "-q", "download", name, cwd=deb_folder)
        deb, = deb_folder.glob(f"{name}_*.deb")
        run(["dpkg-deb", "-x", deb, folder])
        deb.unlink()


def dependencies(package):
    """The names of what a .deb depends on; of alternatives the first. What it recommends may be in a later Debian only."""
    names = []
    for field in "Pre-Depends", "Depends":
        for entry in run(["dpkg-deb", "-f", package, field]).split(","):
            if entry.strip():
                names.append(re.split(r"[\s(|:]", entry.strip())[0])
    return names


# ---- parts -----------------------------------------------------------------------------------------------------------

def kernel_modules(tree, version, names):
    """The files of these modules and of all that they need, in an order in which they can be loaded."""
    found = []
    for name in names:
        said = run(["modprobe", "-d", tree, "-S", version, "--show-depends", name])
        for line in said.splitlines():
            if line.startswith("insmod ") and line.split()[1] not in found:
                found.append(line.split()[1])
    return [Path(path) for path in found]


def make_kernel(apt, name, work):
    """vmlinuz, and modules/ for the disk and the initrd."""
    tree = work / "linux"
    apt.download(name, tree)
    version = name.removeprefix("linux-image-")
    run(["depmod", "-b", tree, version])
    shutil.copy(tree / f"boot/vmlinuz-{version}", work / "vmlinuz")
    whole, there = tree / f"lib/modules/{version}", work / f"modules/lib/modules/{version}"
    for path in kernel_modules(tree, version, MODULES):
        (there / path.relative_to(whole)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, there / path.relative_to(whole))
    for extra in "modules.builtin", "modules.builtin.modinfo", "modules.order":
        shutil.copy(whole / extra, there / extra)
    run(["depmod", "-b", work / "modules", version])
    shutil.rmtree(tree)


def make_initrd(folder, version):
    """busybox, the disk's drivers, and a script that mounts it. Made each time: it takes a moment."""
    root = folder / "initrd.d"
    shutil.rmtree(root, ignore_errors=True)
    for name in "bin", "dev", "proc", "sys", "root", "modules":
        (root / name).mkdir(parents=True)
    shutil.copy(folder / "busybox", root / "bin/busybox")
    order = kernel_modules(folder / "modules", version, INITRD_MODULES)
    for path in order:
        shutil.copy(path, root / "modules" / path.name)
    (root / "modules.order").write_text("".join(f"{path.name}\n" for path in order))
    for name in RIG:
        shutil.copy(HERE / "guest" / name, root / name)
    for name in "init", "agent":
        (root / name).chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with open(folder / "initrd", "wb") as out:
        done = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root, input=names.encode(),
                              stdout=out, timeout=60)
    if done.returncode:
        raise Problem("cpio can't pack the initrd")
    shutil.rmtree(root)


FINISH = r"""set -eu
root=$1; work=$2
# mmdebstrap takes these away after this script only: with them no package may start its service.
rm -f "$root/usr/sbin/policy-rc.d"
if [ -e "$root/sbin/start-stop-daemon.REAL" ]; then
    mv "$root/sbin/start-stop-daemon.REAL" "$root/sbin/start-stop-daemon"
fi
mkdir -p "$root/usr/lib/modules"
cp -r "$work/modules/lib/modules/." "$root/usr/lib/modules/"
for unit in %(masked)s; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
echo vmrig > "$root/etc/hostname"
echo 127.0.0.1 localhost vmrig > "$root/etc/hosts"
echo /dev/vda / ext4 defaults 0 1 > "$root/etc/fstab"
: > "$root/etc/machine-id"; echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
mkdir -p "$root/var/log/journal"
chroot "$root" useradd -m -s /bin/sh visitor
chroot "$root" usermod -aG dialout visitor
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb \
    "$root"/usr/share/doc/* "$root"/usr/share/zoneinfo/* "$root"/usr/lib/*/gconv/* "$root"/var/log/*.log
truncate -s %(disk)s "$work/disk"
# Without what is mounted in there while it is made.
mkdir "$work/view"
view=$root
mountpoint -q "$root/proc" && mount --bind "$root" "$work/view" && view=$work/view
mkfs.ext4 -q -F -J size=16 -E lazy_itable_init=1,lazy_journal_init=1 -L root -d "$view" "$work/disk"
[ "$view" = "$root" ] || umount "$work/view"
rmdir "$work/view"
"""


def mmdebstrap_mode():
    if os.geteuid() == 0:
        return "root"
    subordinates = Path("/etc/subuid")
    me = pwd.getpwuid(os.getuid())
    if shutil.which("newuidmap") and re.search(rf"^({me.pw_name}|{me.pw_uid}):", subordinates.read_text(), re.M):
        return "unshare"
    if shutil.which("fakechroot") and shutil.which("fakeroot"):
        return "fakechroot"
    raise Problem("building the guest takes root, or newuidmap with a range in /etc/subuid (package uidmap), or the packages "
                  "fakechroot and fakeroot")


def make_disk(apt, names, work):
    script = work / "finish.sh"
    script.write_text(FINISH % {"masked": " ".join(MASKED), "disk": DISK})
    leave_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale", "info")]
    run(["nice", "mmdebstrap", "--quiet", "--variant=minbase", f"--mode={mmdebstrap_mode()}", "--format=null",
         f"--keyring={KEYRING}", f"--include={','.join(names)}", *leave_out, '--aptopt=Acquire::Languages "none"',
         f"--customize-hook=sh {script} \"$1\" {work}", codename(), "/dev/null", *apt.lines], BUILD_LIMIT_S)


# ---- the whole -------------------------------------------------------------------------------------------------------

class Image:
    def __init__(self, folder, version):
        make_initrd(folder, version)
        self.folder = folder
        self.kernel, self.initrd, self.disk = folder / "vmlinuz", folder / "initrd", folder / "disk"
        self.key = " ".join([folder.name, *[(HERE / "guest" / name).read_text() for name in RIG]])


def recipe():
    """What besides the packages makes the disk."""
    parts = [FINISH, DISK, *MASKED, *MODULES]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def ensure(package, cold=False):
    """The image that this package's dependencies want: the one that is there, or a new one. Says what it does, and how
    long it took."""
    began = time.monotonic()
    apt = Apt(VM / "apt")
    apt.update()
    names = sorted({*PACKAGES, *dependencies(package)})
    contents, kernel = apt.versions([*names, INITRD_PACKAGE])
    version = kernel.removeprefix("linux-image-")
    listed = json.dumps({"packages": contents, "recipe": recipe()}, sort_keys=True, indent=1)
    folder = VM / f"image-{hashlib.sha256(listed.encode()).hexdigest()[:16]}"
    if cold:
        shutil.rmtree(folder, ignore_errors=True)
    if (folder / "packages").exists():
        image = Image(folder, version)
        print(f"  image {folder.name}: there already, {len(contents)} packages ({time.monotonic() - began:.1f} s)", flush=True)
        return image
    for old in VM.glob("image-*"):
        shutil.rmtree(old)  # one is enough, they are large
    work = VM / "new"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    print(f"  image {folder.name}: {len(contents)} packages are put together, with {kernel} ...", flush=True)
    make_kernel(apt, kernel, work)
    apt.download(INITRD_PACKAGE, work / "unpacked")
    shutil.move(work / "unpacked/bin/busybox", work / "busybox")
    shutil.rmtree(work / "unpacked")
    make_disk(apt, names, work)
    (work / "packages").write_text(listed)
    work.rename(folder)
    print(f"  image {folder.name}: made in {time.monotonic() - began:.0f} s", flush=True)
    return Image(folder, version)


if __name__ == "__main__":
    try:
        ensure(next(BUILD.glob("wipyd_*.deb")), cold="--cold" in sys.argv)
    except Problem as why:
        sys.exit(f"image: {why}")
