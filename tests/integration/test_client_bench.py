"""wipyctl with many boards: the live view, flash --all, names by a part of them; and its ways with a terminal."""
import os
import re
import shutil
import signal
import subprocess
import time

from harness import BUILD, MB, Bench, Skip, lived_in_flash, takes, wait_for
from terminal import Terminal
from test_client_boards import check_unknown, check_wrong, done

KB60 = dict(app_bytes=60_000)
PACED = ("--timings", "sector_us=8000,block_us=30000,page_us=100,md5_us_per_kib=50")


class Row(Bench):
    """Boards in a row, ttyUSB0 and so on, that wait for a download; nothing happens by itself."""

    def __init__(self, n, options=("--fast",), flash=None):
        super().__init__([dict(options=(*options, "--mac", f"30:ae:a4:01:{i // 256:02x}:{i % 256:02x}"), flash=flash)
                          for i in range(1, n + 1)], usb=True, config="[boards]\npolicy = ask\n")

    def __enter__(self):
        super().__enter__()
        for board in self.boards:
            self.plug(board)
        for board in self.boards:
            wait_for(lambda: self.device(board)["Seen"] == "download", 30, f"{board.port} is seen")
        return self

    def terminal(self, *arguments, rows=24, columns=100, **environment):
        return Terminal([str(BUILD / "wipyctl"), *map(str, arguments)], self.environment(**environment), rows, columns)


# ---- names -----------------------------------------------------------------------------------------------------------

@takes(4)
def test_an_unambiguous_part_of_a_name_does():
    with Row(2) as bench:
        done(bench.ctl("label", "ttyUSB1", "window left"))
        done(bench.ctl("label", "30:ae:a4:01:00:01", "robot"))

        def device(word):
            return done(bench.ctl("explain", word, "--json")).json["device"]

        for word in "USB0", "usb0", "0:1:1", "robo", "00:01", "a4010001", "A4-01-00-01":
            assert device(word) == "ttyUSB0", word
        for word in "window", "LEFT", "00:02", "usb-0:2:1.0":
            assert device(word) == "ttyUSB1", word
        assert done(bench.ctl("board", "show", "rob", "--json")).json["mac"] == "30:ae:a4:01:00:01"
        assert done(bench.ctl("board", "show", "00:02", "--json")).json["mac"] == "30:ae:a4:01:00:02"
        assert done(bench.ctl("board", "show", "USB1", "--json")).json["mac"] == "30:ae:a4:01:00:02"
        assert done(bench.ctl("arm", "window", "--json")).json[0]["label"] == "window left"
        assert done(bench.ctl("policy", "USB1", "any", "--json")).json["label"] == "window left"  # the slot
        assert done(bench.ctl("policy", "rob", "off", "--json")).json["mac"] == "30:ae:a4:01:00:01"  # the board

        for arguments in (["explain", "USB"], ["explain", "30:ae"], ["arm", "ttyUSB"], ["board", "show", "30:ae"]):
            result = bench.ctl(*arguments)
            assert result.code == 2 and result.out == "" and "is a part of 2 names" in result.err, result
        assert "ttyUSB0 (robot), ttyUSB1" in bench.ctl("explain", "USB").err
        told = bench.ctl("look", "USB", "--json").json
        assert told["error"] == "org.wipyd1.Error.InvalidArgument" and "ttyUSB0" in told["story"], told
        for word in "", "nobody", "ttyUSB01", "SB2", "0:a":
            check_unknown(bench, "explain", word)


@takes(2)
def test_a_number_is_taken_whole():
    with Bench(boards=1, usb=True, config="[boards]\npolicy = ask\n") as bench:
        bench.plug(bench.board, name="ttyUSB10")
        wait_for(lambda: bench.device()["Seen"] == "download", 30, "the board is seen")
        check_unknown(bench, "flash", "ttyUSB1")  # which was unplugged, say
        check_unknown(bench, "explain", "USB1")
        assert done(bench.ctl("explain", "USB10", "--json")).json["device"] == "ttyUSB10"


# ---- flash --all, --slot ---------------------------------------------------------------------------------------------

@takes(6)
def test_flash_all_tells_of_each_and_sums_up():
    with Row(3) as bench:
        package = bench.package(**KB60)
        done(bench.ctl("policy", "ttyUSB2", "off"))
        result = done(bench.ctl("flash", "--all", package))
        assert result.out.splitlines()[-1] == ("2 boards: 2 written and verified, 0 had it already, 0 failed, "
                                               "1 left alone by policy."), result
        assert "ttyUSB0: WiPy 1.20.1.r1 written and verified in" in result.out and "ttyUSB2" not in result.out, result
        done(bench.ctl("policy", "ttyUSB2", "unset"))

        bench.boards[0].fault("on=DEFL_BEGIN,times=99 do=refuse 05")
        bench.boards[0].fault("on=FLASH_BEGIN,times=99 do=refuse 05")
        other = bench.package("other.tar.gz", release="1.20.2.r1", app_bytes=61_000)
        wait_for(lambda: bench.device(bench.boards[2])["Seen"] == "download", 30, "ttyUSB2 is looked at")
        result = bench.ctl("flash", "--all", other, "--json")
        assert result.code == 7 and result.err == "", result
        assert [job["state"] for job in result.json] == ["failed", "done", "done"], result
        assert result.json[0]["message"] and "message" not in result.json[1], result
        assert [job["device"][-1] for job in result.json] == ["0", "1", "2"], result
        result = bench.ctl("flash", "--all", other)
        assert result.code == 7 and "3 boards: 0 written and verified, 2 had it already, 1 failed." in result.out, result
        assert "wipyctl: ttyUSB0: " in result.err and "ttyUSB1" not in result.err, result
        started = done(bench.ctl("flash", "--all", other, "--no-block", "--json")).json
        assert len(started) == 3
        for job in started:
            bench.wait_job(job["path"])


@takes(4)
def test_flash_all_on_a_terminal_is_a_line_for_each():
    with Row(3, PACED) as bench:
        package = bench.package(**KB60)
        with bench.terminal("flash", "--all", package, rows=10) as terminal:
            shown = terminal.wait(lambda shown: shown.count("writing") == 3)
            assert not terminal.cursor_shown
            assert [line.split()[0] for line in shown.splitlines()] == ["ttyUSB0", "ttyUSB1", "ttyUSB2"], shown
            assert terminal.end(60) == 0 and terminal.cursor_shown
            assert terminal.shown.count("100 %") == 3 and "3 boards: 3 written and verified" in terminal.shown, terminal.shown
        with bench.terminal("flash", "--all", bench.package("2.tar.gz", app_bytes=90_000)) as terminal:
            terminal.wait(lambda shown: "writing" in shown)
            terminal.type("\x03")
            assert terminal.end() == 1 and "detached; the jobs go on" in terminal.shown, terminal.shown


@takes(3)
def test_flash_by_slot_and_where_there_is_nothing():
    with Row(1) as bench:
        package = bench.package(**KB60)
        done(bench.ctl("label", "ttyUSB0", "bench 1"))
        job = done(bench.ctl("flash", "--slot", "bench", package, "--json")).json
        assert job["state"] == "done" and job["slot"] == bench.slot(bench.board), job
        check_wrong(bench, "flash", "--all", "--slot", "x")
        check_wrong(bench, "flash", "--all", package, "1.20.1.r1")
        check_unknown(bench, "flash", "--slot", "nothing", package)
        bench.unplug(bench.board)
        wait_for(lambda: done(bench.ctl("list", "--json")).json == [], 20, "it is gone")
        check_unknown(bench, "flash", "--all", package)


# ---- the live view ---------------------------------------------------------------------------------------------------

@takes(6)
def test_monitor_on_a_terminal_follows_the_bench():
    with Row(3, PACED, lived_in_flash(4 * MB)) as bench:
        done(bench.ctl("label", "ttyUSB1", "door"))
        bench.import_firmware(bench.package(**KB60))
        with bench.terminal("monitor", columns=110) as terminal:
            shown = terminal.wait(lambda shown: "ttyUSB2" in shown)
            assert shown.splitlines()[0].startswith("3 devices, 0 jobs under way"), shown
            assert "ttyUSB1 door" in shown and not terminal.cursor_shown
            draws, begun = terminal.n_draws, time.monotonic()
            started = done(bench.ctl("flash", "ttyUSB0", "--no-block", "--json")).json
            shown = terminal.wait(lambda shown: "KiB/s" in shown)
            line, = [line for line in shown.splitlines() if line.startswith("ttyUSB0")]
            assert re.search(r"▕█.*▏ +\d+ % +\d+ KiB/s +writing", line), shown
            assert "1 job under way" in shown, shown
            terminal.wait(lambda shown: "done: 1.20.1.r1" in shown, 60)
            assert bench.wait_job(started["path"])["State"] == "done"
            assert terminal.n_draws - draws <= 5 * (time.monotonic() - begun) + 2

            # Each at its place, however narrow or low it gets.
            terminal.resize(3, 60)
            os.kill(terminal.process.pid, signal.SIGWINCH)
            shown = terminal.wait(lambda shown: "more" in shown)
            assert "… and 3 more" in shown or "… and 2 more" in shown, shown
            assert max(map(len, shown.splitlines())) <= 60, shown
            terminal.resize(24, 110)
            os.kill(terminal.process.pid, signal.SIGWINCH)
            bench.unplug(bench.boards[1])
            shown = terminal.wait(lambda shown: "2 devices" in shown and "empty" in shown)
            assert [line for line in shown.splitlines() if "door" in line and line.endswith("empty")], shown
            terminal.type("\x03")
            assert terminal.end() == 0 and terminal.cursor_shown
            assert "ttyUSB0" in terminal.shown  # the last picture stays


@takes(3)
def test_monitor_gives_the_terminal_back_whatever_ends_it():
    with Row(1) as bench:
        for number in signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT:
            with bench.terminal("monitor") as terminal:
                terminal.wait(lambda shown: "ttyUSB0" in shown)
                terminal.process.send_signal(number)
                assert terminal.end() == 0 and terminal.cursor_shown, number
        with bench.terminal("monitor") as terminal:
            terminal.wait(lambda shown: "ttyUSB0" in shown)
            bench.kill_wipyd()
            assert terminal.end() == 8 and terminal.cursor_shown and "wipyd went away" in terminal.shown


@takes(2)
def test_monitor_of_many_names_how_many_it_leaves_out():
    with Row(8) as bench:
        with bench.terminal("monitor", rows=6, columns=80) as terminal:
            shown = terminal.wait(lambda shown: "more" in shown)
            assert len(shown.splitlines()) == 5 and shown.splitlines()[-1] == "… and 5 more", shown
        with bench.terminal("monitor", "--plain") as terminal:
            terminal.wait(lambda shown: "device/ttyUSB7 present" in terminal.text)
            assert "\x1b" not in terminal.text, terminal.text
            terminal.type("\x03")
            assert terminal.end() == 0


# ---- manners ---------------------------------------------------------------------------------------------------------

@takes(3)
def test_colours_and_pager_are_for_terminals_alone():
    with Row(1) as bench:
        with bench.terminal("list", SYSTEMD_PAGER="sed 's/^/paged: /'") as terminal:
            assert terminal.end() == 0 and "paged: DEVICE" in terminal.shown, terminal.shown
        with bench.terminal("--help", SYSTEMD_PAGER="sed 's/^/paged: /'") as terminal:
            assert terminal.end() == 0 and "paged: " in terminal.shown, terminal.shown
        for arguments, environment in ((["--no-pager"], {"SYSTEMD_PAGER": "false"}), ([], {"PAGER": "cat"}),
                                       (["--plain"], {"SYSTEMD_PAGER": "false"}), ([], {"SYSTEMD_PAGER": ""})):
            with bench.terminal("list", *arguments, **environment) as terminal:
                assert terminal.end() == 0 and terminal.shown.startswith("DEVICE"), terminal.shown
        with bench.terminal("explain", "nobody") as terminal:
            assert terminal.end() == 3 and "\x1b[1;31m" in terminal.text, terminal.text
        for arguments, environment in ((["--plain"], {}), ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"})):
            with bench.terminal("explain", "nobody", *arguments, **environment) as terminal:
                assert terminal.end() == 3 and "\x1b[1" not in terminal.text, terminal.text
        assert "\x1b" not in done(bench.ctl("list")).out


@takes(2)
def test_a_password_may_be_asked_for_unless_told_otherwise():
    with Bench(0) as bench:
        if not shutil.which("strace"):
            raise Skip("no strace")
        for arguments, flag in ([], 4), (["--no-ask-password"], 0):
            trace = bench.folder / f"trace{flag}"
            command = ["strace", "-o", trace, "-e", "trace=sendmsg,writev", "-xx", "-s", "8", BUILD / "wipyctl",
                       "policy", "--default", "ask", *arguments]
            result = subprocess.run(command, env=bench.environment(ASAN_OPTIONS="detect_leaks=0"), capture_output=True,
                                    timeout=60)
            if b"ptrace" in result.stderr:
                raise Skip("strace may not trace here")
            assert result.returncode == 0, result
            # Of a message's head: byte order, type (1: a call), flags, version. The first is Hello.
            calls = re.findall(r"x6c.x01.x0(.).x01", trace.read_text())
            assert calls[-1] == str(flag), (arguments, calls)


@takes(2)
def test_a_person_who_is_not_root_gets_an_agent_for_passwords():
    with Bench(0) as bench:
        if bench.folder.parent.name.startswith("wipyd-"):  # run.py's own
            os.chmod(bench.folder.parent, 0o755)
        os.chmod(bench.folder, 0o777)
        agent = bench.folder / "pkttyagent"
        agent.write_text('#!/bin/sh\necho "$@" > "$0.asked"\neval "exec $2>&-"\nexec sleep 60\n')
        agent.chmod(0o755)
        environment = bench.environment(PATH=f"{bench.folder}:/usr/bin:/bin", DBUS_SYSTEM_BUS_ADDRESS=bench.address)
        del environment["WIPYD_BUS"]
        somebody = {} if os.geteuid() else {"user": 65534, "group": 65534, "extra_groups": []}

        def run(*arguments):
            asked = bench.folder / "pkttyagent.asked"
            asked.unlink(missing_ok=True)
            try:
                with Terminal([str(BUILD / "wipyctl"), "--no-pager", *arguments], environment, **somebody) as terminal:
                    terminal.end()
            except PermissionError:
                raise Skip("another user can't run the build") from None
            return asked.read_text() if asked.exists() else ""

        assert "--notify-fd" in run("policy", "--default", "ask")
        assert run("policy", "--default", "ask", "--no-ask-password") == "" == run("list")


@takes(2)
def test_host_goes_through_ssh():
    with Bench(0) as bench:
        # What sd-bus starts: ssh ... -- HOST systemd-stdio-bridge.
        ssh = bench.folder / "ssh"
        ssh.write_text('#!/bin/sh\necho "$@" > "$0.asked"\nexec systemd-stdio-bridge --bus-path="$REMOTE"\n')
        ssh.chmod(0o755)
        environment = bench.environment(PATH=f"{bench.folder}:/usr/bin:/bin", REMOTE=bench.address)
        del environment["WIPYD_BUS"]
        with Terminal([str(BUILD / "wipyctl"), "-H", "me@there", "--json=short", "list"], environment) as terminal:
            assert terminal.end() == 0 and terminal.shown == "[]", terminal.shown
        assert "me@there" in (bench.folder / "ssh.asked").read_text()
        check_wrong(bench, "-H", "there", "--bus=system")
        ssh.write_text("#!/bin/sh\nexit 255\n")
        with Terminal([str(BUILD / "wipyctl"), "-H", "nowhere", "list"], environment) as terminal:
            assert terminal.end() == 8, terminal.shown


@takes(3)
def test_cancel_waits_when_it_is_told_to():
    with Row(1, PACED) as bench:
        started = done(bench.ctl("flash", "ttyUSB0", bench.package(app_bytes=200_000), "--no-block", "--json")).json
        result = done(bench.ctl("cancel", started["id"], "--wait", "--json"))
        assert result.json["state"] == "cancelled", result
        assert done(bench.ctl("cancel", started["id"], "--wait")).out == f"job {started['id']}: over already (cancelled).\n"
        # The last word counts.
        result = bench.ctl("flash", "ttyUSB0", bench.package(**KB60), "--no-block", "--wait", "--json")
        assert done(result).json["state"] == "done", result
