"""wipyctl lease: a port that a person, or a command, has to itself."""
import os
import signal

from harness import BUILD, Bench, takes, wait_for
from terminal import Terminal
from test_client_boards import check_unknown, done
from test_client_shell import offered
from test_plug import usb_bench

CTL = str(BUILD / "wipyctl")
OURS = f"wipyctl (uid {os.geteuid()}): "


def held(bench, *arguments, name="board"):
    """A client that holds the lease, and has said so."""
    client = bench.start_ctl("lease", name, *arguments)
    assert client.stderr.readline() == f"{name} is yours until you press Ctrl-C\n"
    return client


def end_of(client, seconds=20):
    out, err = client.communicate(timeout=seconds)
    return client.returncode, out, err


def lessee(bench):
    return bench.device()["Lessee"]


def given_back(bench):
    wait_for(lambda: lessee(bench) == "", 5, "given back")


# ---- with a command --------------------------------------------------------------------------------------------------

@takes(3)
def test_a_command_runs_with_the_port_leased_and_its_exit_code_is_passed_on():
    with Bench() as bench:
        script = f"{CTL} list --json=short; for fd in /proc/$$/fd/*; do readlink $fd >&2; done; exit 23"
        result = bench.ctl("lease", "board", "an upload", "--", "sh", "-c", script)
        assert result.code == 23 and result.json[0]["lessee"] == OURS + "an upload", result
        assert len(result.err.splitlines()) == 3, f"no descriptor of wipyctl's gets to the command: {result.err}"
        given_back(bench)

        # What is behind the "--" is the command's alone; without a reason, its name is one.
        script = f"echo $0 $# >&2; {CTL} status; kill -9 $$"
        result = bench.ctl("lease", "-q", "board", "--", "/bin/sh", "-c", script, "--json", "-q", "--", "x")
        assert result.code == 128 + signal.SIGKILL and result.err == "--json 3\n", result
        assert f"leased to {OURS}sh" in result.out, result.out
        given_back(bench)
        assert bench.ctl("lease", "board", "--", "true").out == ""


@takes(2)
def test_a_command_that_cannot_be_run():
    with Bench() as bench:
        result = bench.ctl("lease", "board", "--", "no-such-command")
        assert result.code == 127 and "'no-such-command' can't be run" in result.err, result
        result = bench.ctl("lease", "board", "--json", "--", "/")
        assert result.code == 126 and result.err == "" and "'/' can't be run" in result.json["message"], result
        assert done(bench.ctl("lease", "board", "--", "true")).err == ""
        given_back(bench)


@takes(2)
def test_ctrl_c_on_a_terminal_is_the_commands_own_affair():
    with Bench() as bench:
        script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done"
        with Terminal([CTL, "lease", "board", "--", "sh", "-c", script], bench.environment()) as terminal:
            terminal.wait(lambda shown: "ready" in shown)
            assert lessee(bench) == OURS + "sh"
            terminal.type("\x03")
            assert terminal.end() == 9 and "caught" in terminal.shown
        given_back(bench)


@takes(2)
def test_death_of_wipyctl_gives_back_whatever_the_command_does():
    with Bench() as bench:
        client = bench.start_ctl("lease", "board", "--", "sh", "-c", "echo $$; exec sleep 20")
        command = int(client.stdout.readline())
        assert lessee(bench) == OURS + "sh"
        client.kill()
        given_back(bench)
        os.kill(command, signal.SIGTERM)
        client.communicate(timeout=20)


# ---- without ---------------------------------------------------------------------------------------------------------

@takes(3)
def test_holds_until_ctrl_c_or_sigterm():
    with Bench() as bench:
        for number, why in (signal.SIGINT, ["debugging"]), (signal.SIGTERM, []):
            client = held(bench, *why)
            assert lessee(bench) == OURS + (why or ["wipyctl"])[0]
            client.send_signal(number)
            assert end_of(client) == (0, "", "")
            given_back(bench)

        client = bench.start_ctl("lease", "board", "--json=short")
        assert f'"lessee":"{OURS}wipyctl"' in client.stdout.readline()
        client.send_signal(signal.SIGINT)
        assert end_of(client) == (0, "", "")
        given_back(bench)

        client = bench.start_ctl("lease", "board", "-q")
        wait_for(lambda: lessee(bench), 10, "taken")
        client.kill()
        assert end_of(client)[1:] == ("", "")
        given_back(bench)


@takes(3)
def test_says_that_the_daemon_went_away():
    with Bench() as bench:
        client = held(bench)
        bench.kill_wipyd()
        code, out, err = end_of(client)
        assert code == 8 and out == "" and "wipyd went away." in err and "the lease of board ended" in err, (code, err)
    with Bench() as bench:
        client = held(bench)
        bench.stop_wipyd()
        code, out, err = end_of(client)
        assert code == 8 and out == "" and "wipyd went away." in err, (code, out, err)


@takes(2)
def test_a_command_goes_on_without_the_daemon_and_is_told_at_its_end():
    with Bench() as bench:
        flag = bench.folder / "flag"
        script = f"echo ready; until test -e {flag}; do sleep 0.05; done; exit 3"
        client = bench.start_ctl("lease", "board", "--", "sh", "-c", script)
        assert client.stdout.readline() == "ready\n"
        bench.stop_wipyd()
        assert client.poll() is None
        flag.touch()
        code, out, err = end_of(client)
        assert code == 3 and out == "" and "the lease of board ended" in err and "wipyd went away." in err, (code, err)


@takes(3)
def test_says_that_the_device_went_away():
    with usb_bench() as bench:
        bench.plug(bench.board)
        wait_for(lambda: bench.ctl("lease", "ttyUSB0", "--", "true").code == 0, 10, "a device")
        client = held(bench, name="ttyUSB0")
        bench.unplug(bench.board)
        code, out, err = end_of(client)
        assert code == 1 and out == "" and "the lease of ttyUSB0 ended" in err, (code, out, err)


# ---- refused ---------------------------------------------------------------------------------------------------------

@takes(3)
def test_busy_unknown_and_wrong():
    with Bench(boards=[dict(download=False)], connect_timeout=60) as bench:
        first = held(bench, "somebody else's")
        for extra in [], ["--", "sh", "-c", "exit 23"]:
            result = bench.ctl("lease", "board", *extra)
            assert result.code == 5 and "somebody else's" in result.err, result
        first.send_signal(signal.SIGINT)
        assert end_of(first)[0] == 0
        given_back(bench)
        job = bench.start_flash(bench.package(app_bytes=50_000))
        result = bench.ctl("lease", "board", "--", "sh", "-c", "exit 23")
        assert result.code == 5 and f"job {job.rpartition('/')[2]} " in result.err, result
        bench.bus.call(job, "org.wipyd1.Job", "Cancel")
        bench.wait_job(job)

        check_unknown(bench, "lease", "nobody")
        for why in "x" * 81, "two\nlines", "":
            assert bench.ctl("lease", "board", why, "--", "true").code == 2, why
        for wrong in [], ["--", "true"], ["board", "a", "b"], ["board", "--"], ["board", "--baud=9600"]:
            result = bench.ctl("lease", *wrong)
            assert result.code == 2 and "hint: " in result.err, result
        # A name that would do as no reason isn't one that wipyctl comes up with.
        command = bench.folder / ("x" * 90)
        command.symlink_to("/bin/true")
        done(bench.ctl("lease", "board", "--", command))
        assert offered("lease", "board", "--", "", bus=bench.address) == [":commands"]
        assert offered("lease", "board", "--", "cat", "", bus=bench.address) == [":files"]
        assert offered("lease", "", bus=bench.address) == ["board"]
