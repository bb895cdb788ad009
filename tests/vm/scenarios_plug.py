"""A board is plugged in, and what follows."""
import time

from rig import wait_for
from story import (BLANK, JUMPER, LARGE, MB, SMALL, arm, ask, bring_firmware, device, events, holds, in_the_middle,
                   is_let_go, is_untouched, jobs, lived_in_flash, nobody_is_there, scenario, wait_jobs, wait_rule)


@scenario(telling=True)
def blank_on_cp2102_armed(vm):
    """A blank WiPy on a CP2102 with reset lines, slot armed: flashed, verified, reset, running; nobody is logged in"""
    board = vm.board("a")
    arm(vm, board, 1)
    bring_firmware(vm)
    assert not jobs(vm) and board.status()["commands"].get("DEFL_BEGIN", 0) == 0
    nobody_is_there(vm)
    board.plug(1)
    told = wait_rule(vm, board, "confirmed")
    assert told["advice"] == "" and told["release"] == "1.20.1.r1", told
    job, = wait_jobs(vm)
    assert (job["by"], job["confirmed"], job["attempts"]) == ("policy", "1.20.1.r1", 1), job
    now = board.status()
    assert now["state"] == "running" and now["line_resets"] >= 2 and not now["jumper"], now
    assert now["commands"]["MD5"] >= 3, now  # it was read back
    holds(vm, board, SMALL)
    is_let_go(board)
    nobody_is_there(vm)


@scenario(telling=True)
def blank_on_ft230x_jumper(vm):
    """A blank WiPy on an FT230X without reset lines: told to join G23 and to press reset, flashed, told to take it off"""
    board = vm.board("b", chip="ft230x")
    bring_firmware(vm)
    board.plug(2)
    told = wait_rule(vm, board, "no-boot")
    assert told["verdict"] == "coach" and told["advice"] == JUMPER, told
    assert JUMPER in vm.must("wipyctl status")
    board.ask("jumper on")
    board.ask("reset")
    told = wait_rule(vm, board, "awaiting-start")
    assert "Take the wire off G23" in told["advice"], told
    holds(vm, board, SMALL)
    assert board.status()["line_resets"] == 0, "an Expansion Board 2.0 has no reset lines"
    board.ask("jumper off")
    board.ask("reset")
    told = wait_rule(vm, board, "confirmed")
    assert told["advice"] == "" and told["release"] == "1.20.1.r1", told
    job, = wait_jobs(vm)
    assert (job["by"], job["confirmed"]) == ("policy", "1.20.1.r1"), job
    assert board.status()["state"] == "running"
    is_let_go(board)


@scenario(telling=True)
def not_armed_not_touched(vm):
    """A running WiPy in a slot that isn't armed: no reset, no byte but SYNCs; under policy off the port is never opened"""
    before = lived_in_flash(4 * MB)
    board = vm.board("a", flash=before)
    bring_firmware(vm)
    board.plug(1)
    told = wait_rule(vm, board, "running-older", "running-other")
    assert not told["armed"], told
    time.sleep(3)
    is_untouched(board, before)
    assert not jobs(vm)
    vm.must(f"wipyctl policy {board.slot} off")
    board.unplug()
    opens = events(board, "open")
    assert opens, "it was looked at before"
    board.plug(1)
    wait_rule(vm, board, "policy-off")
    time.sleep(3)
    assert events(board, "open") == opens, "opened under policy off"
    is_untouched(board, before)


@scenario(telling=True)
def two_at_once(vm):
    """Two boards at once, one on each kind of adapter: both are flashed, at the same time"""
    first, second = vm.board("a"), vm.board("b", chip="ft230x", options=("--mac", "30:ae:a4:00:00:02"))
    arm(vm, first, 1)
    second.ask("jumper on")
    bring_firmware(vm, LARGE)
    first.plug(1)
    second.plug(2)
    wait_rule(vm, first, "confirmed", seconds=150)
    wait_rule(vm, second, "awaiting-start", "wire-left-on", seconds=150)
    one, other = wait_jobs(vm, ("done", "done"))
    assert {one["mac"], other["mac"]} == {"30:ae:a4:01:02:03", "30:ae:a4:00:00:02"}, (one, other)
    assert one["started"] < other["finished"] and other["started"] < one["finished"], (one, other)
    for board in first, second:
        holds(vm, board, LARGE)


@scenario()
def twenty_plugs(vm):
    """20 plug/unplug cycles in 20 seconds: nothing is left behind, and the next board is flashed"""
    board, other = vm.board("a"), vm.board("b", chip="ft230x")
    arm(vm, board, 1)
    pid = vm.must("systemctl show -P MainPID wipyd").strip()
    before = int(vm.must(f"ls /proc/{pid}/fd | wc -l"))
    began = time.monotonic()
    for cycle in range(20):
        one, where = (board, 3) if cycle % 2 else (other, 4)
        one.plug(where)
        time.sleep(max(0.0, began + cycle + 0.6 - time.monotonic()))
        one.unplug()
        time.sleep(max(0.0, began + cycle + 1 - time.monotonic()))
    took = time.monotonic() - began
    assert took < 30, f"the cycles took {took:.0f} s"
    print(f"note: 20 cycles in {took:.1f} s; "
          f"{sum(line.startswith('open') for b in (board, other) for line in events(b, 'open'))} times opened")
    vm.must("udevadm settle -t 60", 90)
    wait_for(lambda: not [d for d in ask(vm, "list") if d["present"]], 40, "no device is left")
    assert vm.must("systemctl show -P MainPID wipyd").strip() == pid, "wipyd was started again"
    assert vm.run("ls /dev/ttyUSB* /dev/wipy/by-slot/*").out.count("No such file") == 2, "a port is left"
    wait_for(lambda: int(vm.must(f"ls /proc/{pid}/fd | wc -l")) <= before, 20, f"no more than {before} descriptors")
    is_untouched(other, BLANK)
    bring_firmware(vm)
    board.plug(1)
    wait_rule(vm, board, "confirmed")
    wait_jobs(vm)
    holds(vm, board, SMALL)


@scenario(telling=True)
def ftdi_facts(vm):
    """FT230X: the latency timer is 1 ms, in sysfs and on the chip"""
    board = vm.board("b", chip="ft230x")
    board.plug(2)
    name = device(vm, board)["name"]
    vm.must("udevadm settle -t 60", 90)
    assert vm.must(f"cat /sys/bus/usb-serial/devices/{name}/latency_timer").strip() == "1"
    said = [line for line in events(board, "control") if "LATENCY" in line]
    assert said and said[-1] == "control SET_LATENCY_TIMER 1", said
    # Our rule does that, and not the driver.
    vm.must("echo 'SUBSYSTEMS==\"usb\", ATTRS{serial}==\"B0001\", ENV{WIPYD_ADAPTER}=\"0\"' "
            "> /etc/udev/rules.d/80-local.rules; udevadm control --reload")
    board.unplug()
    board.plug(2)
    vm.must(f"for i in $(seq 50); do [ -e /dev/{name} ] && break; sleep 0.2; done; udevadm settle -t 60", 90)
    without = vm.must(f"cat /sys/bus/usb-serial/devices/{name}/latency_timer").strip()
    assert without == "16", without


@scenario(telling=True)
def port_is_ours_alone(vm):
    """The port is locked while it is in use, let go afterwards, and its termios are put back"""
    board = vm.board("b", chip="ft230x")
    bring_firmware(vm)
    vm.must("systemctl stop wipyd")
    board.plug(2)
    vm.must("for i in $(seq 50); do [ -e /dev/ttyUSB0 ] && break; sleep 0.2; done; udevadm settle -t 60", 90)
    vm.must("systemctl start wipyd")
    wait_rule(vm, board, "no-boot")  # the coach listens
    said = vm.run("runuser -u visitor -- sh -c ': < /dev/ttyUSB0'")
    assert said.code != 0 and "Device or resource busy" in said.out, str(said)
    vm.must(f"wipyctl policy {board.slot} off")
    is_let_go(board)
    vm.must("runuser -u visitor -- sh -c ': < /dev/ttyUSB0'")
    vm.must("stty -F /dev/ttyUSB0 4800 cs7 parenb cstopb icanon -echo ixon")
    found = vm.must("stty -F /dev/ttyUSB0 -g")
    n_opens = len(events(board, "open"))
    vm.must(f"wipyctl policy {board.slot} wipy")
    wait_for(lambda: len(events(board, "open")) > n_opens and events(board, "rate")[-1].startswith("rate 115"), 40,
             "it is in use again")
    vm.must(f"wipyctl policy {board.slot} off")
    is_let_go(board)
    assert vm.must("stty -F /dev/ttyUSB0 -g") == found, "the termios were not put back"
    assert events(board, "rate")[-1].startswith("rate 48"), events(board, "rate")
