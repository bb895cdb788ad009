"""wipyd among other programs, other people and the package manager."""
from rig import wait_for
from story import (LARGE, MB, SMALL, arm, ask, bring_firmware, device, events, holds, in_the_middle, is_let_go,
                   jobs, lived_in_flash, main_pid, scenario, status_of, wait_jobs, wait_rule)

# As a terminal program has a port: raw, locked, exclusive (TIOCEXCL).
HOLD = """stty -F /dev/ttyUSB0 115200 raw -echo
exec perl -e 'use Fcntl qw(:DEFAULT :flock);
    sysopen(my $port, "/dev/ttyUSB0", O_RDWR | O_NOCTTY | O_NONBLOCK) or die "$!\\n";
    flock($port, LOCK_EX | LOCK_NB) or die "locked\\n"; ioctl($port, 0x540C, 0) or die "$!\\n"; sleep 600'"""


def adapter_is_there(vm):
    vm.must("for i in $(seq 100); do [ -e /dev/ttyUSB0 ] && break; sleep 0.2; done; udevadm settle -t 60; test -e /dev/ttyUSB0", 120)


@scenario(telling=True)
def held_by_another(vm):
    """A program holds the port: it is named, the port is left to it, and the board is flashed once it is let go"""
    board = vm.board("a")
    arm(vm, board, 1)
    bring_firmware(vm)
    vm.must("systemctl stop wipyd")
    board.plug(1)
    adapter_is_there(vm)
    vm.must(f"cat > /run/hold <<'END'\n{HOLD}\nEND\nsystemd-run -q --unit=holder -p User=visitor sh /run/hold; "
            "pid=$(systemctl show -P MainPID holder); "
            "for i in $(seq 100); do grep -q \"FLOCK.* $pid \" /proc/locks && exit 0; sleep 0.2; done; exit 1")
    sent = board.status()["bytes_received"]
    vm.must("systemctl start wipyd")
    told = wait_rule(vm, board, "held")
    pid = vm.must("systemctl show -P MainPID holder").strip()
    assert told["holder"] == f"perl (pid {pid})", told
    assert f"perl (pid {pid})" in vm.must("wipyctl status"), "status names it"
    refused = vm.run("wipyctl flash ttyUSB0")
    assert refused.code == 5, str(refused)
    assert board.status()["bytes_received"] == sent, "something was sent while another had the port"
    vm.must("systemctl stop holder")
    wait_rule(vm, board, "confirmed", seconds=120)
    holds(vm, board, SMALL)


@scenario(telling=True)
def polkit_allows_and_refuses(vm):
    """An unprivileged user through the real polkit: refused from afar, allowed to who sits at the machine, and no more"""
    board = vm.board("b", chip="ft230x", flash=lived_in_flash(4 * MB))
    bring_firmware(vm)
    vm.must("wipyctl policy --default ask")
    board.ask("jumper on")
    board.plug(1)
    wait_rule(vm, board, "ask")
    for words in "flash ttyUSB0", f"arm {board.slot}", "policy --default any", "firmware refresh":
        refused = vm.run(f"runuser -u visitor -- wipyctl --no-ask-password {words}", 90)
        assert refused.code == 4, str(refused)
    assert vm.must("runuser -u visitor -- wipyctl list").count("ttyUSB0"), "looking is for everybody"
    assert not jobs(vm) and not device(vm, board)["armed"]
    # Somebody sits down at the machine: a login on its first virtual terminal.
    vm.must(r"""cat > /home/visitor/.profile <<'END'
for words in 'policy --default any' "arm SLOT" 'flash ttyUSB0'; do
    wipyctl --no-ask-password $words > /run/seat/said 2>&1 < /dev/null
    echo "$? $words" >> /run/seat/codes
done
: > /run/seat/done
sleep 300
END
        sed -i 's/SLOT/%s/' /home/visitor/.profile
        install -d -o visitor /run/seat
        mkdir -p /etc/systemd/system/getty@tty1.service.d
        printf '[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin visitor --noclear tty1 linux\nType=simple\n' \
            > /etc/systemd/system/getty@tty1.service.d/seat.conf
        systemctl unmask getty@tty1 && systemctl daemon-reload && systemctl start --no-block getty@tty1""" % board.slot)
    wait_for(lambda: vm.run("test -e /run/seat/done").code == 0, 120, "somebody at the machine has asked", 1)
    codes = vm.must("cat /run/seat/codes; cat /run/seat/said").splitlines()
    session = vm.must("loginctl list-sessions --no-legend").split()
    assert vm.must(f"loginctl show-session {session[0]} -P Active -P Seat -P Name").split() in (
        ["yes", "seat0", "visitor"], ["visitor", "seat0", "yes"]), vm.must(f"loginctl show-session {session[0]}")
    assert codes[:3] == ["4 policy --default any", f"4 arm {board.slot}", "0 flash ttyUSB0"], codes
    job, = wait_jobs(vm)
    uid = vm.must("id -u visitor").strip()
    assert job["by"] == f"uid {uid}" and job["user"] == "visitor", job
    assert ask(vm, "policy")["default_policy"] == "ask" and not device(vm, board)["armed"]


@scenario(telling=True)
def modem_manager_keeps_away(vm):
    """ModemManager runs, and none of its bytes reaches the board; without our rule it would talk to it"""
    board = vm.board("a", flash=lived_in_flash(4 * MB))
    assert vm.must("systemctl is-active ModemManager").strip() == "active"
    # Somebody has told it that modems are built with such chips; by itself it is shy of plain serial ports since 1.18.
    vm.must("""echo 'SUBSYSTEM=="usb", ENV{DEVTYPE}=="usb_device", ATTR{idVendor}=="10c4", ENV{ID_MM_DEVICE_PROCESS}="1"' \
            > /etc/udev/rules.d/78-modem.rules
        udevadm control --reload && wipyctl policy --default off""", 90)
    vm.run("systemctl stop wipyd")  # it is started again by the adapter
    board.plug(1)
    wait_rule(vm, board, "policy-off")
    assert vm.must("udevadm info -q property -n /dev/ttyUSB0 | grep ^ID_MM_PORT_IGNORE").strip() == "ID_MM_PORT_IGNORE=1"
    vm.must("sleep 12")
    now = board.status()
    assert now["bytes_received"] == 0 and not events(board, "open"), (now, events(board))
    board.unplug()
    vm.must("echo 'SUBSYSTEMS==\"usb\", ATTRS{idVendor}==\"10c4\", ENV{WIPYD_ADAPTER}=\"0\"' > /etc/udev/rules.d/80-local.rules; "
            "udevadm control --reload")
    board.plug(1)
    wait_for(lambda: board.status()["bytes_received"] > 0, 60, "ModemManager would talk to a port without our rule")


@scenario(telling=True)
def sandbox_is_there(vm):
    """The unit's sandbox is really there: user wipyd, no capability, no new privileges, seccomp, no device but ttys"""
    board = vm.board("a")
    board.plug(1)
    wait_rule(vm, board, "no-firmware")
    pid = main_pid(vm)
    now = status_of(vm, pid)
    wipyd, dialout = vm.must("id -u wipyd; getent group dialout | cut -d: -f3").split()
    assert now["Uid"].split() == [wipyd] * 4 and dialout in now["Groups"].split(), now
    assert (now["NoNewPrivs"], now["Seccomp"]) == ("1", "2"), now
    for kind in "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
        assert int(now[kind], 16) == 0, (kind, now)
    # Root itself in the service's control group: the device filter knows no user.
    inside = "echo $$ > /sys/fs/cgroup/system.slice/wipyd.service/cgroup.procs"
    for node, may in ("/dev/ttyUSB0", True), ("/dev/null", True), ("/dev/urandom", True), ("/dev/vda", False), \
            ("/dev/mem", False), ("/dev/kmsg", False), ("/dev/ttyS0", False), ("/dev/tty1", False), ("/dev/hpet", False):
        assert vm.run(f"test -c {node} -o -b {node}").code == 0, f"there is no {node}"
        said = vm.run(f"sh -c '{inside}; exec 3< {node}'")
        assert (said.code == 0) == may and (may or "Operation not permitted" in said.out), str(said)
        assert vm.run(f"sh -c 'exec 3< {node}'").code == 0, f"{node} can't be opened outside either"
    # In its mount namespace: nothing can be written but what is its own.
    enter = f"nsenter -t {pid} -m --"
    for place in "/etc", "/usr", "/var", "/boot", "/sys/kernel", "/proc/sys/kernel":
        said = vm.run(f"{enter} touch {place}/x")
        assert said.code != 0 and ("Read-only" in said.out or "No such file" in said.out or "denied" in said.out), str(said)
    vm.must(f"{enter} sh -c 'touch /var/lib/wipyd/x && rm /var/lib/wipyd/x'")
    vm.must("touch /home/visitor/secret /root/secret /tmp/theirs")
    for place in "/home/visitor/secret", "/root/secret", "/tmp/theirs":
        assert vm.run(f"{enter} test -e {place}").code != 0, f"{place} is seen"
    assert vm.must(f"readlink /proc/{pid}/ns/user") != vm.must("readlink /proc/1/ns/user")
    judged = vm.must("systemd-analyze security wipyd --no-pager --threshold=15 | tail -n 1", 90)
    print(f"note: {judged.strip()}")
    assert "OK" in judged, judged


@scenario(telling=True, limit=420)
def upgrade_and_purge(vm):
    """The package is upgraded in the middle of a write, which goes on; then purged: backups and firmware are kept"""
    board = vm.board("a")
    arm(vm, board, 1)
    bring_firmware(vm, LARGE)
    # dpkg takes its time here: the write takes more.
    vm.must("printf '[flash]\\nbaud = 115200\\n' > /etc/wipyd.conf.d/zz-slow.conf && systemctl reload wipyd")
    board.plug(1)
    in_the_middle(board)
    before = main_pid(vm)
    vm.must("DEBIAN_FRONTEND=noninteractive dpkg -i /run/payload/next.deb", 180)
    assert main_pid(vm) not in (0, before), "the upgrade did not start it again"
    assert vm.must("dpkg-query -W -f '${Version}' wipyd").endswith("+next")
    wait_rule(vm, board, "confirmed", seconds=150)
    wait_jobs(vm)
    holds(vm, board, LARGE)
    is_let_go(board)
    said = vm.must("DEBIAN_FRONTEND=noninteractive dpkg --purge wipyd", 180)
    assert "/var/backups/wipyd" in said, said
    assert vm.run("systemctl is-active wipyd").out.strip() in ("inactive", "unknown") and vm.run("pidof wipyd").code == 1
    kept = vm.must("find /var/backups/wipyd -type f").split()
    assert any("/backup/" in name for name in kept) and any("/firmware/" in name for name in kept), kept
    assert vm.must("stat -c %a /var/backups/wipyd").strip() == "700"
    vm.must("test ! -e /var/lib/wipyd && test ! -e /etc/wipyd.conf && test ! -e /usr/libexec/wipyd")
    assert vm.run("busctl --system call org.wipyd1 /org/wipyd1 org.freedesktop.DBus.Peer Ping").code != 0
    opens = len(events(board, "open"))
    board.unplug()
    board.plug(1)
    adapter_is_there(vm)
    assert vm.run("ls /dev/wipy/by-slot").code != 0, "a rule is left"
    assert len(events(board, "open")) == opens
    assert vm.run("systemctl is-system-running").out.strip() == "running", vm.run("systemctl --failed --no-legend").out
