"""Callers on the bus that mean harm, or are broken: floods, leases without end, huge strings, wrong descriptors, packages
that change while they are read. Others are answered, their jobs end well, the daemon stays small."""
import contextlib
import fcntl
import hashlib
import os
import random
import select
import socket
import statistics
import threading
import time
from pathlib import Path

import dbusmini
from doubles import Polkit, somebody_else
from harness import (DEVICE, JOB, MB, SANITIZED, SLOWNESS, VALGRIND, Bench, DBusError, Skip, Variant, lived_in_flash, memfd,
                     quiet, takes, wait_for)
from neighbour import ANSWER_MS, MANAGER, Neighbour, memory_kib

ROOT_PATH, PROPERTIES, OBJECTS = "/org/wipyd1", "org.freedesktop.DBus.Properties", "org.freedesktop.DBus.ObjectManager"
CALLS_A_SECOND, FLOOD_S = 1000, 3


def flood(address, seconds, rate, report):
    """So many calls a second, that nobody waits for. Writes how many were sent."""
    connection = dbusmini.Connection(address)
    calls = [(ROOT_PATH, PROPERTIES, "GetAll", "s", MANAGER)] * 6 + [
        (ROOT_PATH, OBJECTS, "GetManagedObjects"), (ROOT_PATH, MANAGER, "History", "a{sv}", {}),
        (ROOT_PATH, MANAGER, "Decisions", "a{sv}", {}), (ROOT_PATH, MANAGER, "FindDevice", "s", "x" * 300)]
    start, n = time.monotonic(), 0
    while (now := time.monotonic()) < start + seconds:
        while n < (now - start) * rate:
            connection.send(*calls[n % len(calls)])
            n += 1
        while select.select([connection.socket], [], [], 0)[0]:
            connection.socket.recv(1 << 20)
        time.sleep(0.002)
    os.write(report, str(n).encode())
    connection.close()


@contextlib.contextmanager
def in_a_child(function, *arguments):
    """function(*arguments, fd) in a process of its own; the generator gives a function that waits for what it writes."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            function(*arguments, writing)
        finally:
            os._exit(0)
    os.close(writing)
    try:
        yield lambda: os.read(reading, 100)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(reading)


@takes(8)
def test_a_caller_floods():
    with Bench([dict(flash=lived_in_flash(4 * MB))]) as bench:
        package = bench.package(app_bytes=300_000)
        with Neighbour(bench) as watch, in_a_child(flood, bench.address, FLOOD_S * SLOWNESS, CALLS_A_SECOND) as flooded:
            job = bench.start_flash(package)
            end = time.monotonic() + FLOOD_S * SLOWNESS
            while time.monotonic() < end:
                watch.ask()
                time.sleep(0.02)
            sent = int(flooded())
            assert sent >= CALLS_A_SECOND * FLOOD_S * SLOWNESS // 3, f"no flood: {sent}"
            print(f"note: {sent} calls in {FLOOD_S * SLOWNESS} s")
            ended = bench.wait_job(job)
            assert ended["State"] == "done", ended
            assert bench.ctl("status").code == 0


def milliseconds_of_status(bench, times):
    """Of `wipyctl status` as people have it, its start and end included."""
    took = []
    for _ in range(times):
        start = time.monotonic()
        assert bench.ctl("status").code == 0
        took.append((time.monotonic() - start) * 1000)
    return statistics.median(took), max(took)


@quiet
@takes(6)
def test_status_while_many_flood():
    """1,000 calls a second from one connection, and the same from ten at once: a person is answered."""
    rate = CALLS_A_SECOND // (SLOWNESS if VALGRIND else 1)  # what a daemon that is so much slower has the same work with
    with Bench(boards=2) as bench:
        before, _ = milliseconds_of_status(bench, 15)
        for n in 1, 10:
            with contextlib.ExitStack() as stack:
                for _ in range(n):
                    stack.enter_context(in_a_child(flood, bench.address, 60 * SLOWNESS, rate // n))
                time.sleep(0.5)
                during, worst = milliseconds_of_status(bench, 15)
            print(f"note: wipyctl status while {n} flood: {during:.0f} ms (median of 15, at worst {worst:.0f}; before {before:.0f})")
            assert during <= max(ANSWER_MS * SLOWNESS, 6 * before), (n, during, before)


def refused(call, *arguments):
    try:
        call(*arguments)
    except DBusError as error:
        assert error.name.startswith("org.wipyd1.Error."), error
        return True
    return False


@takes(10)
def test_ten_thousand_leases():
    """Of one port over and over, and of others at once: those that are let out end with the caller."""
    with Bench(boards=0, ports=[f"/dev/pts/wipyd-{i}" for i in range(40)]) as bench:
        paths = sorted(path for path, objects in bench.bus.managed().items() if DEVICE in objects)
        greedy = dbusmini.Connection(bench.address)
        granted, denied, held = 0, 0, []
        with Neighbour(bench) as watch:
            for start in range(0, 10_000, 100):
                serials = [greedy.send(paths[n % len(paths)], DEVICE, "Lease", "s", "mine")
                           for n in range(start, start + 100)]
                for serial in serials:
                    try:
                        held += greedy.wait(serial)
                        granted += 1
                    except DBusError as error:
                        assert error.name.startswith("org.wipyd1.Error."), error
                        denied += 1
                if start % 500 == 400:
                    while held:
                        os.close(held.pop())
                watch.ask()
            greedy.close()
            wait_for(lambda: not any(bench.bus.get(path, DEVICE, "Lessee") for path in paths), 10, "all given back")
            assert granted + denied == 10_000 and granted >= 200, (granted, denied)
            print(f"note: {granted} leases granted, {denied} denied")


def forget_peak(bench):
    Path(f"/proc/{bench.wipyd.pid}/clear_refs").write_text("5")


@takes(4)
def test_huge_strings():
    with Bench() as bench:
        slot = bench.bus.call(ROOT_PATH, MANAGER, "FindSlot", "s", bench.device()["Slot"])[0]
        device = bench.device_path()
        with Neighbour(bench) as watch:
            for size in 65_536, MB, 4 * MB:
                text = "a" * size
                for call in ((ROOT_PATH, MANAGER, "FindDevice", "s", text), (ROOT_PATH, MANAGER, "FindFirmware", "s", text),
                             (ROOT_PATH, MANAGER, "FindSlot", "s", text), (ROOT_PATH, MANAGER, "FindBoard", "s", text),
                             (ROOT_PATH, MANAGER, "SetDefaultPolicy", "s", text),
                             (slot, "org.wipyd1.Slot", "SetLabel", "s", text),
                             (slot, "org.wipyd1.Slot", "SetPolicy", "s", text),
                             (ROOT_PATH, MANAGER, "History", "a{sv}", {"board": Variant("s", text)}),
                             (device, DEVICE, "Flash", "a{sv}", {"version": Variant("s", text)}),
                             (device, DEVICE, "Flash", "a{sv}", {text: Variant("s", "x")}),
                             (device, DEVICE, "Lease", "s", text), (ROOT_PATH, MANAGER, "ListBackups", "s", text)):
                    refused_as_too_long(bench.bus, *call)
                    watch.ask()
            for signature, argument in ("ay", bytes(MB)), ("as", ["x"] * 20_000), ("a{sv}", {"x": Variant("as", ["y" * 999] * 17)}):
                refused_as_too_long(bench.bus, ROOT_PATH, MANAGER, "History", signature, argument)
        # What a file, a label and a reason may be is far from the border.
        bench.bus.call(ROOT_PATH, MANAGER, "SetDefaultPolicy", "s", "ask")
        assert bench.flash_well(bench.package(app_bytes=60_000))


@takes(3)
def test_strings_as_long_as_the_bus_lets_through():
    """sd-bus has a message whole in its memory before anybody sees it: so much, once, and for a moment."""
    size = 31 * MB
    with Bench() as bench:
        assert bench.bus.managed()
        before = memory_kib(bench, "VmRSS")
        forget_peak(bench)
        callers = [dbusmini.Connection(bench.address, patience=SLOWNESS) for _ in range(3)]
        for _ in range(2):  # no more at once: the bus keeps 127 MB for who hasn't read them yet
            for caller, serial in [(caller, caller.send(ROOT_PATH, MANAGER, "FindDevice", "s", "a" * size)) for caller in callers]:
                assert refused(caller.wait, serial)
        peak = memory_kib(bench)
        print(f"note: two times three strings of 31 MiB: {before / 1024:.1f} MiB before, {peak / 1024:.1f} MiB at most")
        if not SANITIZED and not VALGRIND:
            assert peak <= before + size // 1024 + 3072, (before, peak)
            wait_for(lambda: memory_kib(bench, "VmRSS") <= before + 3072, 5, "what they took is given back")
        for caller in callers:
            caller.close()
        assert bench.flash_well(bench.package(app_bytes=60_000))


@takes(4)
def test_calls_that_wait_for_permission():
    """While polkit thinks, the calls are kept: so many, of so many bytes."""
    if os.geteuid() != 0:
        raise Skip("root alone can try as somebody else")
    with Bench() as bench, Polkit(bench.address, "never"), somebody_else(bench) as nobody:
        slot = nobody.call(ROOT_PATH, MANAGER, "FindSlot", "s", bench.device()["Slot"])[0]
        with Neighbour(bench) as watch:
            for size in [4 * MB] * 20 + [16_000] * 100:
                nobody.send(slot, "org.wipyd1.Slot", "SetLabel", "s", "a" * size)
                nobody.collect()
                watch.ask()
            nobody.collect(0.2)
            told = [reply.error for reply in nobody.replies.values()]
            waiting = 120 - len(told)
        assert told.count("org.wipyd1.Error.InvalidArgument") == 20, told
        assert waiting >= 50, f"{waiting} wait for permission only"
        print(f"note: {waiting} calls wait for permission")
        assert bench.flash_well(bench.package(app_bytes=60_000))


def refused_as_too_long(bus, *call):
    try:
        bus.call(*call)
    except DBusError as error:
        assert error.name == "org.wipyd1.Error.InvalidArgument" and "16 KiB" in error.text, f"{call[2]}: {error.name} {error.text[:200]}"
    else:
        raise AssertionError(f"{call[2]} was done")


def wrong_descriptors(bench):
    """(what, fd): each the caller's to close."""
    package = bench.package("right.tar.gz", app_bytes=60_000)
    fifo = bench.folder / "fifo"
    os.mkfifo(fifo)
    yield "folder", os.open(bench.folder, os.O_RDONLY | os.O_DIRECTORY)
    yield "O_PATH", os.open(package, os.O_PATH)
    yield "file for writing only", os.open(package, os.O_WRONLY)
    yield "/dev/zero", os.open("/dev/zero", os.O_RDONLY)
    yield "/dev/null", os.open("/dev/null", os.O_RDONLY)
    yield "fifo", os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    yield "fifo for both", os.open(fifo, os.O_RDWR)
    one, other = socket.socketpair()
    yield "socket", one.detach()
    other.close()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(bench.folder / "listening"))
    listener.listen()
    yield "listening socket", listener.detach()
    master, slave = os.openpty()
    os.close(slave)
    yield "pty", master
    epoll = select.epoll()
    yield "epoll", os.dup(epoll.fileno())
    epoll.close()
    yield "a process's memory", os.open("/proc/self/mem", os.O_RDONLY)
    sparse = os.memfd_create("sparse", os.MFD_ALLOW_SEALING)
    os.ftruncate(sparse, 1 << 40)
    fcntl.fcntl(sparse, 1033, 0xF)
    yield "a sparse terabyte", sparse


@takes(4)
def test_wrong_descriptors():
    with Bench() as bench:
        device = bench.device_path()
        with Neighbour(bench) as watch:
            for what, fd in wrong_descriptors(bench):
                for path, interface, member, signature, rest in (
                        (ROOT_PATH, MANAGER, "ImportFirmware", "hs", ("x.tar.gz",)),
                        (device, DEVICE, "FlashFile", "hsa{sv}", ("x.tar.gz", {}))):
                    assert refused(bench.bus.call, path, interface, member, signature, fd, *rest), f"{member}: {what}"
                os.close(fd)
                watch.ask()
        assert bench.device()["Job"] == "/" and not list((bench.state / "firmware").iterdir())
        assert bench.flash_well(bench.package(app_bytes=60_000))


@takes(5)
def test_a_package_that_changes_while_it_is_read():
    """Whatever is let in is what was checked: its name is the hash of its bytes. Sealed or not, on disk or in memory."""
    with Bench() as bench:
        rng = random.Random(3)
        good = Path(bench.package(app_bytes=400_000)).read_bytes()
        taken = denied = 0
        with Neighbour(bench) as watch:
            for seals, on_disk in (0, False), (0, True), (0x2, False), (0x6, False), (0x7, False):
                for _ in range(6):
                    if on_disk:
                        path = bench.folder / "changing.tar.gz"
                        path.write_bytes(good)
                        fd = os.open(path, os.O_RDWR)
                    else:
                        fd = memfd(good, seals)
                    stop = threading.Event()

                    def change(fd=fd, stop=stop):
                        while not stop.is_set():
                            os.pwrite(fd, rng.randbytes(16), rng.randrange(len(good) - 16))
                            time.sleep(0.0005)

                    thread = threading.Thread(target=change)
                    thread.start()
                    try:
                        bench.bus.call(ROOT_PATH, MANAGER, "ImportFirmware", "hs", fd, "changing.tar.gz")
                        taken += 1
                    except DBusError as error:
                        assert error.name.startswith("org.wipyd1.Error."), error
                        denied += 1
                    finally:
                        stop.set()
                        thread.join()
                        os.close(fd)
                    watch.ask()
        for file in (bench.state / "firmware").glob("*.tar.gz"):
            assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name[:64], file
        print(f"note: {taken} taken, {denied} refused")
        assert denied >= 20
        assert bench.flash_well(bench.package(app_bytes=60_000))
        assert bench.bus.get(bench.bus.call(ROOT_PATH, MANAGER, "FindJob", "u", 1)[0], JOB, "State") == "done"
