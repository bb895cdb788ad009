"""Completions, in real shells: they offer the devices, jobs, versions, boards and slots that are there."""
import shutil
import subprocess

import harness
from harness import BUILD, ROOT, Bench, Skip, takes, wait_for
from terminal import Terminal
from test_client import bus_without_daemon, wipyctl
from test_client_boards import OWN_VERBS, VERBS, done
from test_client import FIRMWARE_VERBS
from test_client import VERBS as FIRST_VERBS

COMPLETIONS = ROOT / "client/completions"
MAC = "30:ae:a4:01:02:77"


class Busy(Bench):
    """One board with a label of its own and in a slot with a label, a package at hand, and a job that waits for
    a person."""

    def __init__(self):
        super().__init__([dict(options=("--fast", "--mac", MAC))], usb=True, config="[boards]\npolicy = ask\n")

    def __enter__(self):
        super().__enter__()
        self.plug(self.board, name="ttyUSB7")
        wait_for(lambda: self.device()["Mac"] == MAC, 20, "the board is known")
        done(self.ctl("label", "ttyUSB7", "left bench"))
        done(self.ctl("label", MAC, "robot"))
        self.import_firmware(self.package(app_bytes=50_000))
        self.board.ask("jumper off")
        self.board.ask("reset")
        self.job_path = self.start_flash(self.package("other.tar.gz", app_bytes=60_000), connect_timeout=600)
        return self

    def shell_environment(self):
        return self.environment(PATH=f"{BUILD}:/usr/bin:/bin", HOME=str(self.folder), PS1="$ ", INPUTRC="/dev/null",
                                HISTFILE="/dev/null")


def offered(*words, bus=None):
    result = wipyctl("__complete", *words, bus=bus)
    assert result.returncode == 0 and result.stderr == b"", result
    return [line.split("\t")[0] for line in result.stdout.decode().splitlines()]


def test_verbs_options_and_words_are_offered_without_a_daemon():
    with bus_without_daemon() as bus:
        assert set(FIRST_VERBS) | set(VERBS) | {"doctor"} <= set(offered("", bus=bus))
        assert offered("firmware", "", bus=bus) == FIRMWARE_VERBS
        for verb, owns in OWN_VERBS.items():
            assert offered(verb, "", bus=bus) == owns
        assert "--baud=" in offered("flash", "-", bus=bus) and "--csv" not in offered("flash", "-", bus=bus)
        assert "--csv" in offered("history", "--", bus=bus)
        assert offered("--json=", bus=bus) == ["--json=pretty", "--json=short", "--json=off"]
        assert "yesterday" in offered("history", "--since", "", bus=bus)
        assert offered("policy", "x", "", bus=bus) == ["off", "ask", "wipy", "any", "unset"]
        assert offered("firmware", "import", "", bus=bus) == [":files"]
        assert offered("info", "", bus=bus) == [] == offered("frobnicate", "", bus=bus)
    assert offered("info", "", bus="unix:path=/nonexistent") == []


@takes(3)
def test_offers_what_is_there():
    with Busy() as bench:
        slot, bus = bench.slot(bench.board), bench.address
        digits = bench.ctl("firmware", "list", "--json").json[0]["sha256"][:12]
        assert offered("info", "", bus=bus) == ["ttyUSB7"]
        assert offered("flash", "ttyUSB7", "", bus=bus) == ["1.20.1.r1", ":files"] == offered("flash", "--all", "", bus=bus)
        assert offered("flash", "--slot", "", bus=bus) == ["ttyUSB7", slot, "left bench"]
        assert offered("flash", "--slot=", bus=bus) == ["--slot=ttyUSB7", f"--slot={slot}", "--slot=left bench"]
        assert offered("board", "show", "", bus=bus) == ["ttyUSB7", MAC, "robot"]
        assert offered("slot", "forget", "", bus=bus) == [slot, "left bench"]
        assert offered("history", "--board", "", bus=bus) == [MAC, "robot"]
        assert offered("firmware", "show", "", bus=bus) == ["1.20.1.r1", digits]
        assert offered("cancel", "", bus=bus) == ["1"] and offered("follow", "", bus=bus) == ["ttyUSB7", "1"]
        assert offered("--bus", bus, "info", "") == ["ttyUSB7"] == offered(f"--bus={bus}", "info", "")
        assert offered("-H", "somewhere", "info", "", bus=bus) == []  # no ssh on a key press
        bench.bus.call(bench.job_path, harness.JOB, "Cancel")
        bench.wait_job(bench.job_path)
        assert offered("cancel", "", bus=bus) == []


def types(terminal, text, seen):
    """Text with tabs; what the shell makes of it stands at the end of the last line. A line is thrown away by Ctrl-U."""
    terminal.type(text)
    terminal.wait(lambda shown: shown.splitlines()[-1:] and shown.splitlines()[-1].endswith(seen), 20, f"{text!r} -> {seen!r}")
    terminal.type("\x15")
    terminal.wait(lambda shown: not shown.splitlines()[-1:] or not shown.splitlines()[-1].endswith(seen), 20, "an empty line")


def check_shell(terminal, bench):
    types(terminal, "wipyctl exp\t", "wipyctl explain")
    types(terminal, "wipyctl firmware ref\t", "wipyctl firmware refresh")
    types(terminal, "wipyctl info tt\t", "wipyctl info ttyUSB7")
    types(terminal, "wipyctl flash ttyUSB7 1.2\t", "wipyctl flash ttyUSB7 1.20.1.r1")
    types(terminal, "wipyctl flash --no-bl\t", "wipyctl flash --no-block")
    types(terminal, "wipyctl policy ttyUSB7 wi\t", "wipyctl policy ttyUSB7 wipy")
    types(terminal, "wipyctl board show rob\t", "wipyctl board show robot")
    types(terminal, "wipyctl cancel \t", "wipyctl cancel 1")


@takes(5)
def test_bash():
    if not shutil.which("bash"):
        raise Skip("no bash")
    with Busy() as bench, Terminal(["bash", "--norc", "--noprofile", "-i"], bench.shell_environment(), columns=120,
                                   strict=False, cwd=bench.folder) as terminal:
        terminal.wait(lambda shown: shown.endswith("$"))
        terminal.type(f"bind 'set enable-bracketed-paste off'; . {COMPLETIONS}/wipyctl.bash; clear\n")
        terminal.wait(lambda shown: shown == "$")
        check_shell(terminal, bench)
        types(terminal, "wipyctl board show 30:ae:a4\t", f"wipyctl board show {MAC}")
        types(terminal, "wipyctl slot forget pci\t", f"wipyctl slot forget {bench.slot(bench.board)}")
        types(terminal, "wipyctl flash --slot=lef\t", "wipyctl flash --slot=left\\ bench")
        types(terminal, "wipyctl --json=sh\t", "wipyctl --json=short")
        types(terminal, "wipyctl lease ttyUSB7 -- wipysi\t", "wipyctl lease ttyUSB7 -- wipysim")
        types(terminal, "wipyctl flash ttyUSB7 oth\t", "wipyctl flash ttyUSB7 other.tar.gz")


@takes(5)
def test_zsh():
    if not shutil.which("zsh"):
        raise Skip("no zsh")
    with Busy() as bench, Terminal(["zsh", "-f", "-i"], bench.shell_environment(), columns=120, strict=False,
                                   cwd=bench.folder) as terminal:
        terminal.wait(lambda shown: shown.endswith("$"))
        terminal.type(f"unsetopt zle_bracketed_paste prompt_sp; fpath=({COMPLETIONS} $fpath); autoload -Uz compinit; "
                      f"compinit -u -d {bench.folder}/zcompdump; clear\n")
        terminal.wait(lambda shown: shown == "$")
        check_shell(terminal, bench)
        types(terminal, "wipyctl board show 30\t", f"wipyctl board show {MAC}")
        types(terminal, "wipyctl lease ttyUSB7 -- wipysi\t", "wipyctl lease ttyUSB7 -- wipysim")


@takes(5)
def test_fish():
    if not shutil.which("fish"):
        raise Skip("no fish")

    def completed(line):
        command = f"source {COMPLETIONS}/wipyctl.fish; complete -C '{line}'"
        result = subprocess.run(["fish", "--no-config", "-c", command], env=bench.shell_environment(), cwd=bench.folder,
                                capture_output=True, text=True, timeout=30 * harness.SLOWNESS)
        assert result.returncode == 0 and result.stderr == "", result
        return [row.split("\t")[0] for row in result.stdout.splitlines()]

    with Busy() as bench:
        assert completed("wipyctl exp") == ["explain"]
        assert completed("wipyctl firmware ref") == ["refresh"]
        assert completed("wipyctl info tt") == ["ttyUSB7"]
        assert completed("wipyctl lease ttyUSB7 -- wipysi") == ["wipysim"]
        assert completed("wipyctl board show 30") == [MAC]
        assert completed("wipyctl cancel ") == ["1"]
        assert completed("wipyctl flash --no-bl") == ["--no-block"]
        assert "other.tar.gz" in completed("wipyctl flash ttyUSB7 oth")
