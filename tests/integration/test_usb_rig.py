"""The rig for boards on USB: udev's side as another program sees it, and modem lines that reach the chip."""
import errno
import fcntl
import json
import os
import select
import struct
import subprocess
import sys
import termios
import time
import tty
from pathlib import Path

from harness import BUILD, Bench, wait_for

SYNC = bytes.fromhex("c0000824000000000007071220") + b"\x55" * 32 + b"\xc0"
DTR, RTS = 0x2, 0x4

# A client of the rig: runs in a process of its own, under the preload, and obeys lines: a Python expression each.
CLIENT = """
import ctypes, json, sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import test_usb_rig as rig
for line in sys.stdin:
    try:
        answer = eval(line, vars(rig))
    except OSError as error:
        answer = [type(error).__name__, error.errno]
    print(json.dumps(answer), flush=True)
"""


class Client:
    """with Client(bench) as client: client("expression over what stands below")"""

    def __init__(self, bench):
        environment = {"PATH": os.environ["PATH"], **os.environ, **bench.preload("/bin/true")}
        self.process = subprocess.Popen([sys.executable, "-c", CLIENT, str(Path(__file__).parent)], env=environment,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, expression):
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the client ended at {expression}"
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=20)


# ---- what a client does ----------------------------------------------------------------------------------------------

class Udev:
    """The bit of libudev that shows what a daemon would be told."""

    def __init__(self):
        import ctypes
        self.lib = lib = ctypes.CDLL("libudev.so.1")
        for name in ("udev_new", "udev_monitor_new_from_netlink", "udev_monitor_receive_device", "udev_enumerate_new",
                     "udev_enumerate_get_list_entry", "udev_list_entry_get_next", "udev_device_new_from_syspath",
                     "udev_device_get_parent_with_subsystem_devtype"):
            getattr(lib, name).restype = ctypes.c_void_p
        for name in ("udev_list_entry_get_name", "udev_device_get_sysname", "udev_device_get_devnode",
                     "udev_device_get_action", "udev_device_get_property_value", "udev_device_get_sysattr_value",
                     "udev_device_get_syspath"):
            getattr(lib, name).restype = ctypes.c_char_p
        self.pointer = ctypes.c_void_p
        self.udev = self.pointer(lib.udev_new())
        self.monitor = self.pointer(lib.udev_monitor_new_from_netlink(self.udev, b"udev"))
        lib.udev_monitor_filter_add_match_subsystem_devtype(self.monitor, b"tty", None)
        assert lib.udev_monitor_enable_receiving(self.monitor) >= 0
        self.fd = lib.udev_monitor_get_fd(self.monitor)

    def _tell(self, device):
        def text(value):
            return value.decode() if value else None
        device = self.pointer(device)
        usb = self.pointer(self.lib.udev_device_get_parent_with_subsystem_devtype(device, b"usb", b"usb_device"))
        told = {"name": text(self.lib.udev_device_get_sysname(device)), "node": text(self.lib.udev_device_get_devnode(device)),
                "action": text(self.lib.udev_device_get_action(device)),
                "slot": text(self.lib.udev_device_get_property_value(device, b"ID_PATH"))}
        if usb:
            told |= {key: text(self.lib.udev_device_get_sysattr_value(usb, key.encode()))
                     for key in ("idVendor", "idProduct", "serial")}
        return told

    def list(self):
        enumerate_ = self.pointer(self.lib.udev_enumerate_new(self.udev))
        self.lib.udev_enumerate_add_match_subsystem(enumerate_, b"tty")
        self.lib.udev_enumerate_scan_devices(enumerate_)
        entry = self.lib.udev_enumerate_get_list_entry(enumerate_)
        found = []
        while entry:
            name = self.lib.udev_list_entry_get_name(self.pointer(entry))
            found.append(self._tell(self.lib.udev_device_new_from_syspath(self.udev, name)))
            entry = self.lib.udev_list_entry_get_next(self.pointer(entry))
        return found

    def next(self):
        if not select.select([self.fd], [], [], 5)[0]:
            return None
        return self._tell(self.lib.udev_monitor_receive_device(self.monitor))


def udev():
    if not hasattr(udev, "one"):
        udev.one = Udev()
    return udev.one


def watch():
    return udev().fd >= 0


def open_tty(path, hupcl=False):
    """Raw, 115200."""
    open_tty.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(open_tty.fd)
    attributes = termios.tcgetattr(open_tty.fd)
    attributes[2] = attributes[2] | termios.HUPCL if hupcl else attributes[2] & ~termios.HUPCL
    attributes[4] = attributes[5] = termios.B115200
    termios.tcsetattr(open_tty.fd, termios.TCSANOW, attributes)
    return True


def close_tty():
    os.close(open_tty.fd)


def get_lines():
    return struct.unpack("i", fcntl.ioctl(open_tty.fd, termios.TIOCMGET, struct.pack("i", 0)))[0]


def lines(dtr, rts, request=termios.TIOCMSET):
    fcntl.ioctl(open_tty.fd, request, struct.pack("i", (DTR if dtr else 0) | (RTS if rts else 0)))


def reset(download):
    """The usual sequence: EN low, then GPIO0 low while EN rises."""
    lines(False, True)
    time.sleep(0.05)
    lines(download, False)
    time.sleep(0.05)
    lines(False, False)


def send(text):
    return os.write(open_tty.fd, bytes.fromhex(text))


def answers():
    """Whether a frame comes, after a boot log perhaps."""
    end = time.monotonic() + 5
    while select.select([open_tty.fd], [], [], max(0, end - time.monotonic()))[0]:
        if b"\xc0" in os.read(open_tty.fd, 4096):
            return True
    return False


# ---- udev ------------------------------------------------------------------------------------------------------------

def test_a_client_sees_what_is_plugged():
    with Bench(boards=2, usb=True, wipyd=False) as bench, Client(bench) as client:
        bench.plug(bench.boards[0], serial="0001")
        assert client("udev().list()") == [{"name": "ttyUSB0", "node": "/dev/ttyUSB0", "action": None,
                                            "slot": "pci-0000:00:11.0-usb-0:1:1.0", "idVendor": "0403",
                                            "idProduct": "6015", "serial": "0001"}]
        bench.plug(bench.boards[1], slot="2-1.4", name="ttyUSB7", vid="10c4", pid="ea60")
        told = client("udev().next()")
        assert told == {"name": "ttyUSB7", "node": "/dev/ttyUSB7", "action": "add",
                        "slot": bench.slot(bench.boards[1]), "idVendor": "10c4", "idProduct": "ea60", "serial": None}
        assert told["slot"] == "pci-0000:00:12.0-usb-0:1.4:1.0"
        bench.replug(bench.boards[0], name="ttyUSB3")
        told = [client("udev().next()") for _ in range(2)]
        assert [(event["action"], event["name"]) for event in told] == [("remove", "ttyUSB0"), ("add", "ttyUSB3")]
        assert [event["slot"] for event in told] == [bench.slot(bench.boards[0])] * 2
        bench.usb.ask("event name=ttyUSB3 slot=1-1 action=change")
        assert client("udev().next()")["action"] == "change"
        assert sorted(device["name"] for device in client("udev().list()")) == ["ttyUSB3", "ttyUSB7"]


def test_two_ports_of_one_adapter():
    with Bench(boards=2, usb=True, wipyd=False) as bench, Client(bench) as client:
        for i, board in enumerate(bench.boards):
            bench.plug(board, slot="1-3", vid="0403", pid="6010", interface=i)
        found = client("udev().list()")
        assert sorted(device["slot"] for device in found) == [bench.slot(board) for board in bench.boards]
        bench.unplug(bench.boards[0])
        found = client("udev().list()")
        assert [(device["name"], device["idProduct"]) for device in found] == [("ttyUSB1", "6010")]
        bench.unplug(bench.boards[1])
        assert client("udev().list()") == []


def test_more_events_than_a_queue_holds():
    """umockdev aborts when a listener's queue is full: the rig waits instead."""
    with Bench(boards=0, usb=True, wipyd=False) as bench, Client(bench) as client:
        client("watch()")
        bench.usb.process.stdin.write("".join(f"add name=ttyUSB{i} slot=1-{i} vid=0403 pid=6015\n" for i in range(64)))
        bench.usb.process.stdin.flush()
        time.sleep(0.3)
        assert [client("udev().next()")["name"] for _ in range(64)] == [f"ttyUSB{i}" for i in range(64)]
        assert [bench.usb.process.stdout.readline() for _ in range(64)] == ["ok\n"] * 64


def test_node_leads_to_the_board():
    with Bench(usb=True, wipyd=False) as bench, Client(bench) as client:
        bench.plug(bench.board)
        bench.board.wait("state", "download")
        client("open_tty('/dev/ttyUSB0')")
        client(f"send('{SYNC.hex()}')")
        assert client("answers()")
        assert bench.board.status()["syncs"] == 1
        bench.unplug(bench.board)
        assert client("send('00')")[1] == errno.EIO
        client("close_tty()")
        assert client("open_tty('/dev/ttyUSB0')")[1] == errno.ENOENT
        bench.plug(bench.board, name="ttyUSB1")
        client("open_tty('/dev/ttyUSB1')")
        client(f"send('{SYNC.hex()}')")
        assert client("answers()")


# ---- modem lines -----------------------------------------------------------------------------------------------------

def test_lines_reset_the_chip():
    with Bench(usb=True, lines=True, wipyd=False) as bench, Client(bench) as client:
        board = bench.board
        bench.plug(board)
        board.wait("state", "download")
        before = board.status()
        assert before["line_changes"] == 0
        client("open_tty('/dev/ttyUSB0')")
        assert client("get_lines()") == DTR | RTS
        client("lines(False, False)")
        status = board.status()
        assert (status["line_changes"], status["resets"]) == (2, before["resets"]), status
        board.ask("jumper off")
        client("reset(False)")
        wait_for(lambda: board.status()["state"] not in ("download", "held"), 5, "the reset")
        client("reset(True)")
        board.wait("state", "download")
        assert board.status()["line_changes"] == 7
        client(f"send('{SYNC.hex()}')")
        assert client("answers()")
        client("lines(True, False, termios.TIOCMBIS)")
        assert client("get_lines()") == DTR
        client("lines(True, False, termios.TIOCMBIC)")
        client("close_tty()")
        status = board.status()
        assert (status["line_changes"], status["dtr"], status["rts"]) == (9, False, False), status
        assert board.line_calls() == ["open 1 1", "get 1 1", "set 0 0", "set 0 1", "set 0 0", "set 0 0", "set 0 1", "set 1 0",
                                      "set 0 0", "set 1 0", "get 1 0", "set 0 0", "close 0 0"]


def test_close_drops_the_lines_where_hupcl_is_set():
    with Bench(usb=True, lines=True, wipyd=False) as bench, Client(bench) as client:
        bench.plug(bench.board)
        client("open_tty('/dev/ttyUSB0')")
        client("close_tty()")
        assert bench.board.status()["dtr"] and bench.board.status()["rts"]
        client("open_tty('/dev/ttyUSB0', hupcl=True)")
        client("close_tty()")
        assert not bench.board.status()["dtr"] and not bench.board.status()["rts"]


def test_lines_of_a_board_that_was_unplugged():
    with Bench(usb=True, lines=True, wipyd=False) as bench, Client(bench) as client:
        bench.plug(bench.board)
        client("open_tty('/dev/ttyUSB0')")
        bench.unplug(bench.board)
        assert client("lines(False, True)")[1] == errno.EIO
        assert client("get_lines()")[1] == errno.EIO
        client("close_tty()")


def test_without_lines_there_are_none():
    with Bench(usb=True, wipyd=False) as bench, Client(bench) as client:
        bench.plug(bench.board)
        client("open_tty('/dev/ttyUSB0')")
        assert client("get_lines()")[1] in (errno.ENOTTY, errno.EINVAL)
        assert bench.board.line_calls() == []


# ---- what a board was sent -------------------------------------------------------------------------------------------

def test_bytes_are_told_apart():
    with Bench(boards=[{"download": False}], usb=True, lines=True, wipyd=False) as bench, Client(bench) as client:
        board = bench.board
        bench.plug(board)
        client("open_tty('/dev/ttyUSB0')")
        client(f"send('{SYNC.hex()}0d0a')")
        board.wait("bytes_received", len(SYNC) + 2)
        status = board.status()
        assert (status["syncs"], status["bytes_other"]) == (1, 2), status
        client("reset(True)")
        board.wait("state", "download")
        client(f"send('{SYNC.hex()}')")
        assert client("answers()")
        client("send('c0000a0400000000000010f43fc0')")  # READ_REG: a loader's session
        board.wait("bytes_received", 2 * len(SYNC) + 2 + 14)
        status = board.status()
        assert (status["syncs"], status["bytes_other"], status["non_sync_bytes"]) == (2, 2, 15), status  # the last C0 may begin a SYNC
        client("reset(False)")
        wait_for(lambda: board.status()["state"] not in ("download", "held"), 5, "the reset")
        assert board.status()["non_sync_bytes"] == 16
        client("send('0d0a')")
        board.wait("bytes_other", 4)


# ---- the daemon under the preload ------------------------------------------------------------------------------------

def test_daemon_starts_and_ends_under_the_preload():
    """Also as a sanitizer build, whose runtime insists on being the first library."""
    with Bench(usb=True, lines=True) as bench:
        assert (BUILD / "liblines.so").exists()
        maps = Path(f"/proc/{bench.wipyd.pid}/maps").read_text()
        assert "liblines.so" in maps and "libumockdev-preload.so" in maps
        bench.plug(bench.board)
        bench.unplug(bench.board)
