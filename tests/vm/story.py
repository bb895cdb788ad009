"""What scenarios say of the guest and its boards: small questions, asked through wipyctl as an administrator would."""
import json
import re

import packages
from harness import MB, lived_in_flash  # noqa: F401 (scenarios take it from here)
from rig import wait_for

BLANK = b"\xff" * 4 * MB
JUMPER = "Join G23 to GND, then press reset on the board."
SMALL, LARGE = "small.tar.gz", "large.tar.gz"
BLOCKS_IN = 15  # of a transfer that is in its middle


def scenario(telling=False, limit=480):
    """A function of a guest; its doc string is its row in the table. telling: part of `make vm`."""
    def mark(function):
        function.is_scenario, function.telling, function.limit = True, telling, limit
        return function
    return mark


# ---- through wipyctl -------------------------------------------------------------------------------------------------

def ask(vm, words):
    """What a verb says in JSON."""
    return json.loads(vm.must(f"wipyctl --json=short {words}"))


def find_device(vm, board):
    return next((device for device in ask(vm, "list") if device["slot"] == board.slot and device["present"]), None)


def device(vm, board, seconds=90):
    """Once it is there."""
    return wait_for(lambda: find_device(vm, board), seconds, f"{board.name} is seen")


def wait_rule(vm, board, *rules, seconds=150):
    """The device's properties once one of the rules holds."""
    last = {}

    def holds():
        last.clear()
        last.update(find_device(vm, board) or {})
        return last.get("rule") in rules

    try:
        wait_for(holds, seconds, " or ".join(rules))
    except AssertionError:
        raise AssertionError(f"{board.name}: not {' or '.join(rules)} but {last}") from None
    return last


def jobs(vm):
    """The flash jobs that were or are, the newest first."""
    return [job for job in ask(vm, "history") if job["kind"] == "flash" and not job["dry_run"]]


def wait_jobs(vm, states=("done",), seconds=150):
    """The jobs, once there are so many and each has its state."""
    def over():
        found = jobs(vm)
        return found if len(found) >= len(states) and all(job["state"] not in ("queued", "running", "interrupted")
                                                          for job in found) else None
    try:
        found = wait_for(over, seconds, "the end of the jobs", 0.5)
    except AssertionError:
        raise AssertionError(f"the jobs have not ended in {seconds} s: {jobs(vm)}") from None
    assert tuple(job["state"] for job in found) == tuple(states), found
    return found


def bring_firmware(vm, name=SMALL):
    vm.must(f"wipyctl firmware import /run/payload/{name}")


def arm(vm, board, where):
    """The slot, by an administrator, with the board plugged in there for a moment. Nothing is at hand to flash it with."""
    board.plug(where)
    device(vm, board)
    vm.must(f"wipyctl arm {board.slot}")
    board.unplug()
    wait_for(lambda: not find_device(vm, board), 20, f"{board.name} is gone")


# ---- boards ----------------------------------------------------------------------------------------------------------

def holds(vm, board, name, before=BLANK):
    """The package's bytes and what was there before, byte for byte; but for the boot selector of one that has booted,
    which the board's own bootloader writes."""
    expected, flash = packages.expected_flash(vm.ready.firmware(name), len(before), before), board.flash()
    if board.status()["boots"]:
        offset, size = packages.find_otadata(expected[0x8000:0x8C00])
        expected = expected[:offset] + flash[offset:offset + size] + expected[offset + size:]
    assert flash == expected, f"{board.name}: the flash isn't what the package means"


def is_let_go(board, seconds=40):
    """An FT230X isn't told of a close, but nobody reads it any more."""
    wait_for(lambda: events(board, "open", "close", "reading")[-1:] != ["open"], seconds, f"{board.name}'s port is closed")


def in_the_middle(board, blocks=BLOCKS_IN, seconds=150):
    """Once so many more blocks are on the chip."""
    def count():
        return board.status()["commands"].get("DEFL_DATA", 0)
    begin = count()
    wait_for(lambda: count() >= begin + blocks, seconds, f"{board.name} is written to", 0.02)


def events(board, *kinds):
    """Of usbboard's log without the times; all, or those of these kinds."""
    found = [line.split(" ", 1)[1] for line in board.controls() if " " in line]
    return [line for line in found if not kinds or line.split(" ", 1)[0] in kinds]


def is_untouched(board, before=None):
    """Nothing but a few SYNCs was sent, and of the modem lines only what the kernel does at open, and letting them go:
    both at once, which resets nobody."""
    now = board.status()
    assert now["line_resets"] == 0 and now["ctrl_f"] == 0, now
    assert now["bytes_other"] == 0 and now["syncs"] <= 4, now
    assert set(events(board, "lines")) <= {"lines dtr=1 rts=1", "lines dtr=0 rts=0"}, events(board, "lines")
    if before is not None:
        assert board.flash() == before, f"{board.name} was written to"


# ---- the guest -------------------------------------------------------------------------------------------------------

def main_pid(vm):
    return int(vm.must("systemctl show -P MainPID wipyd"))


def status_of(vm, pid):
    """/proc/PID/status."""
    return dict(re.findall(r"^(\w+):\s*(.*)$", vm.must(f"cat /proc/{pid}/status"), re.M))


def nobody_is_there(vm):
    assert vm.must("loginctl list-sessions --no-legend").strip() == "", "somebody is logged in"
