"""A job is cut off in its middle, and goes on by itself: the same job, from the first region that isn't verified."""
import re

import packages
from rig import wait_for
from story import (BLANK, LARGE, SMALL, arm, ask, bring_firmware, find_device, holds, in_the_middle, jobs, main_pid, scenario,
                   wait_jobs, wait_rule)


def begin(vm):
    """A blank board in an armed slot, in the middle of its firmware."""
    board = vm.board("a")
    arm(vm, board, 1)
    bring_firmware(vm, LARGE)
    board.plug(1)
    in_the_middle(board)
    return board


def goes_on(vm, board, attempts=2, rule="confirmed"):
    """One job, done; the flash as it should be; of what was verified nothing was written twice."""
    wait_rule(vm, board, rule, seconds=150)
    job, = wait_jobs(vm)
    assert job["attempts"] == attempts and job["by"] == "policy", job
    holds(vm, board, LARGE)
    _, writes = packages.expected_steps(vm.ready.firmware(LARGE), len(BLANK))
    whole = sum(len(data) for _, data in writes) >> 10
    said = vm.must("journalctl -u wipyd -o cat --no-pager")
    left = [int(kib) for kib in re.findall(r"^(\d+) KiB have to be written", said, re.M)]
    assert left[-1] < whole, f"of {whole} KiB, {left} had to be written"


@scenario(telling=True, limit=480)
def unplug_and_another_port(vm):
    """Unplugged in the middle of a write and plugged into another port: goes on"""
    board = vm.board("b", chip="ft230x")
    board.ask("jumper on")
    bring_firmware(vm, LARGE)
    board.plug(1)
    in_the_middle(board)
    board.unplug()
    wait_for(lambda: [job["state"] for job in jobs(vm)] == ["interrupted"], 30, "the job is interrupted")
    assert not find_device(vm, board)
    board.plug(4)
    goes_on(vm, board, rule="awaiting-start")


@scenario(telling=True, limit=480)
def restart_in_the_middle(vm):
    """systemctl restart wipyd in the middle of a write: goes on"""
    board = begin(vm)
    before = main_pid(vm)
    vm.must("systemctl restart wipyd", 120)
    assert main_pid(vm) != before
    goes_on(vm, board)
    assert vm.must("systemctl show -P Result wipyd").strip() == "success"


@scenario(telling=True, limit=480)
def kill_in_the_middle(vm):
    """kill -9 of wipyd in the middle of a write: systemd starts it again, and it goes on"""
    board = begin(vm)
    before = main_pid(vm)
    vm.must(f"kill -9 {before}")
    wait_for(lambda: main_pid(vm) not in (0, before), 60, "systemd starts it again")
    goes_on(vm, board)
    assert vm.must("systemctl show -P NRestarts wipyd").strip() == "1"


@scenario(limit=900)
def reboot_in_the_middle(vm):
    """The machine is rebooted in the middle of a write: wipyd starts with it, and goes on"""
    board = begin(vm)
    vm.reboot()
    goes_on(vm, board)
    assert vm.must("systemctl is-system-running").strip() == "running"


@scenario(limit=480)
def clock_jumps(vm):
    """The machine stands still for 5 s in the middle of a write, and its clock jumps by 8 hours, then back by a day"""
    board = begin(vm)
    before = main_pid(vm)
    vm.jump(8 * 3600, stands_still=5)
    vm.jump(-24 * 3600)
    wait_rule(vm, board, "confirmed", seconds=150)
    job, = wait_jobs(vm)
    print(f"note: {job['attempts']} attempts, {job['retries']} retries")
    holds(vm, board, LARGE)
    assert main_pid(vm) == before, "wipyd was started again"
    assert ask(vm, "status")["poll_state"] == "idle"


@scenario(limit=480)
def full_disk(vm):
    """A full disk: nothing is written to a board whose data can't be saved, and the reason is told; then it goes by itself"""
    board = vm.board("a")
    arm(vm, board, 1)
    bring_firmware(vm)
    vm.must("""b=$(stat -f -c %S /); n=$(stat -f -c %f /)
        while ! fallocate -l $((n * b)) /var/fill 2>/dev/null; do n=$((n - 256)); done
        dd if=/dev/zero of=/var/fill2 bs=4096 status=none; sync; test $(stat -f -c %a /) = 0""", 120)
    board.plug(1)
    wait_for(lambda: board.status()["syncs"] > 0, 60, "it is looked at")
    wait_rule(vm, board, "ended", "failed-before")
    assert board.status()["commands"].get("DEFL_BEGIN", 0) == 0, "it was written to"
    assert board.flash() == BLANK
    told = vm.run("wipyctl follow 1")  # history needs a disk, too
    assert told.code == 1 and "No space left" in told.out, str(told)
    assert vm.must("systemctl is-active wipyd").strip() == "active"
    refused = vm.run(f"wipyctl firmware import /run/payload/{LARGE}")
    assert refused.code != 0 and ("space" in refused.out or "full" in refused.out), str(refused)
    vm.must("rm /var/fill /var/fill2; sync")
    board.unplug()
    board.plug(1)
    wait_rule(vm, board, "confirmed", seconds=90)
    holds(vm, board, SMALL)
