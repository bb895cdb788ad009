"""wipyctl's verbs for boards, slots and what was: policy, arm, label, board, slot, explain, look, history, backup."""
import csv
import datetime
import getpass
import io
import json
import os
import stat
import sys

from harness import CONFIG, MB, Bench, lived_in_flash, takes, wait_for
from test_client import bus_without_daemon, check_told, check_told_in_json, wipyctl

KB200 = dict(app_bytes=200_000)
VERBS = ["look", "lease", "explain", "policy", "arm", "disarm", "label", "board", "slot", "history", "backup"]
OWN_VERBS = {"board": ["list", "show", "pin", "unpin", "forget"], "slot": ["list", "forget"],
             "backup": ["list", "export", "restore"]}
NO_MAC = "02:00:00:00:00:99"  # of no board here


class Known(Bench):
    """A bench whose one board was asked what it is."""

    def __enter__(self):
        super().__enter__()
        try:
            self.get_ready()
            self.mac = self.device()["Mac"]
            assert self.mac
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def get_ready(self):
        done(self.ctl("info", "board"))


class Saved(Known):
    """One with a board that was in use and then flashed, so that its own data was saved first."""

    def __init__(self):
        super().__init__([dict(flash=lived_in_flash(4 * MB))])

    def get_ready(self):
        self.before = self.board.flash()
        done(self.ctl("flash", "board", self.package(**KB200)))
        self.out = self.folder / "out"
        self.out.mkdir()


def done(result):
    assert result.code == 0 and result.err == "", result
    return result


def check_unknown(bench, *arguments):
    """Exit code 3, for people and for scripts."""
    result = bench.ctl(*arguments)
    assert result.code == 3 and result.out == "" and "hint: " in result.err, result
    result = bench.ctl(*arguments, "--json")
    told = result.json[0] if isinstance(result.json, list) else result.json
    assert result.code == 3 and result.err == "" and told["error"].startswith("org.wipyd1.Error.NoSuch"), result


def check_wrong(bench, *arguments):
    result = bench.ctl(*arguments)
    assert result.code == 2 and result.out == "" and "hint: " in result.err, result


def the_board(bench):
    board, = [row for row in done(bench.ctl("board", "list", "--json")).json if row["mac"] == bench.mac]
    return board


def the_slot(bench):
    name = bench.device()["Slot"]
    slot, = [row for row in done(bench.ctl("slot", "list", "--json")).json if row["name"] == name]
    return slot


# ---- without a daemon ------------------------------------------------------------------------------------------------

USAGE_ERRORS = [
    ["look"], ["look", "a", "b"], ["look", "a", "--force"],
    ["explain"], ["explain", "a", "b"], ["explain", "a", "--repl"],
    ["policy", "a", "b", "c"], ["policy", "a", "always"], ["policy", "a", ""], ["policy", "--default", "wipy", "b"],
    ["policy", "--default", "sometimes"], ["policy", "--board"], ["policy", "a", "--board", "--slot"],
    ["policy", "--default", "--slot"], ["policy", "a", "--board=b"],
    ["arm"], ["disarm"], ["arm", "a", "--board"],
    ["label"], ["label", "a"], ["label", "a", "b", "c"], ["label", "a", "b", "--default"],
    ["board", "frobnicate"], ["board", "list", "x"], ["board", "show"], ["board", "pin"], ["board", "pin", "a", "b", "c"],
    ["board", "pin", "a", ""], ["board", "unpin", "a", "b"], ["board", "forget"],
    ["slot", "frobnicate"], ["slot", "list", "x"], ["slot", "forget"], ["slot", "forget", "a", "b"],
    ["history", "x"], ["history", "--limit=0"], ["history", "--limit=10001"], ["history", "--limit=x"],
    ["history", "--since=2026-02-30"], ["history", "--since=tomorrow"], ["history", "--since=3y"],
    ["history", "--since=2026-11-22T25:00"], ["history", "--since="], ["history", "--board"], ["list", "--board"],
    ["backup", "frobnicate"], ["backup", "list", "a", "b"], ["backup", "export"], ["backup", "export", "a", "b", "c"],
    ["backup", "export", "a", "--parts=nvs"], ["backup", "list", "-o", "x"], ["backup", "restore"],
    ["backup", "restore", "a", "b", "c"], ["backup", "restore", "a", "--parts=nvs,flash"],
    ["backup", "restore", "a", "--parts="], ["backup", "restore", "a", "--parts=nvs,"],
    ["backup", "restore", "a", "--mac=30:ae"], ["backup", "restore", "a", "--dry-run"],
]


def test_usage_errors_of_the_verbs_for_boards():
    with bus_without_daemon() as bus:
        for arguments in USAGE_ERRORS:
            check_told(wipyctl(*arguments, bus=bus), 2, "hint: ")
            if arguments[-1] != "--board" or arguments[0] != "history":  # where it swallows the next
                check_told_in_json(wipyctl("--json=short", *arguments, bus=bus), 2, "org.wipyd1.Error.InvalidArgument")
        check_told_in_json(wipyctl("history", "--csv", "--json", bus=bus), 2, "org.wipyd1.Error.InvalidArgument")


def test_help_of_the_verbs_for_boards():
    text = wipyctl("--help").stdout.decode()
    assert max(map(len, text.splitlines())) <= 100
    for verb in VERBS:
        assert f"\n  {verb} " in text, verb
        own = wipyctl(verb, "--help", bus="unix:path=/nonexistent")
        assert own.returncode == 0 and own.stderr == b"", verb
        own = own.stdout.decode()
        assert own.startswith(f"Usage: wipyctl [OPTION...] {verb}"), own
        assert ("--repl" in own) == (verb == "look"), own
        assert ("--csv" in own) == (verb == "history"), own
        assert ("--default" in own) == (verb == "policy"), own
        assert max(map(len, own.splitlines())) <= 110, own
    for verb, owns in OWN_VERBS.items():
        for own in owns:
            text = wipyctl(verb, own, "--help").stdout.decode()
            assert text.startswith(f"Usage: wipyctl [OPTION...] {verb} {own}"), text
            assert ("-o, --output" in text) == (own == "export"), text
            assert ("--parts" in text) == ("--baud" in text) == (own == "restore"), text
    policies = wipyctl("policy", "--help").stdout.decode()
    for word in "off", "ask", "wipy", "any", "unset", "--board":
        assert word in policies, word


def test_no_daemon_is_exit_8_for_the_verbs_for_boards():
    with bus_without_daemon() as bus:
        for arguments in [["look", "a"], ["explain", "a"], ["policy"], ["policy", "a"], ["policy", "--default"], ["arm", "a"],
                          ["disarm", "a"], ["label", "a", "b"], ["board"], ["board", "show", "a"], ["slot"],
                          ["slot", "forget", "a"], ["history"], ["history", "--board", NO_MAC, "--since", "2d"], ["backup"],
                          ["backup", "export", NO_MAC], ["backup", "restore", "a", "--mac", NO_MAC]]:
            check_told(wipyctl(*arguments, bus=bus), 8, "systemctl start wipyd")
            check_told_in_json(wipyctl("--json", *arguments, bus=bus), 8, "org.freedesktop.DBus.Error.ServiceUnknown")


# ---- policies, arming, labels ----------------------------------------------------------------------------------------

def test_policy_of_default_slot_and_board():
    with Known() as bench:
        assert done(bench.ctl("policy", "--json")).json == {"default_policy": "wipy", "boards": [], "slots": []}
        assert done(bench.ctl("policy", "--default")).out.startswith("default: wipy: ")
        assert done(bench.ctl("policy", "--default", "ask", "--json")).json == {"default_policy": "ask"}

        # A device means its slot, with --board the board that is on it; a MAC the board.
        assert done(bench.ctl("policy", "board", "off", "--json")).json["policy"] == "off"
        assert the_slot(bench)["policy"] == "off" and the_board(bench)["policy"] == ""
        assert bench.device()["Policy"] == "off" and bench.device()["PolicyFrom"] == "slot"
        refused = bench.ctl("flash", "board", "--json")
        assert refused.code == 1 and refused.json["error"] == "org.wipyd1.Error.PolicyOff", refused
        assert "its policy is off" in done(bench.ctl("status")).out
        result = done(bench.ctl("policy", "board", "--board", "ask"))
        assert result.out.startswith(f"board {bench.mac}: ask: "), result
        assert "ask" in done(bench.ctl("policy", bench.mac)).out
        assert bench.device()["Policy"] == "ask" and bench.device()["PolicyFrom"] == "board"
        # Whoever asks for the slot's is told that the board's goes before it.
        assert f"{bench.mac} there has one of its own: ask" in done(bench.ctl("policy", "board")).out

        table = done(bench.ctl("policy", "--no-legend")).out.splitlines()
        assert [row.split()[0] for row in table] == ["default", "board", "slot"], table
        told = done(bench.ctl("policy", "--json")).json
        assert [row["mac"] for row in told["boards"]] == [bench.mac] and len(told["slots"]) == 1, told

        for name in bench.mac, "board":
            assert done(bench.ctl("policy", name, "unset", "-q")).out == ""
        assert "none of its own" in done(bench.ctl("policy", "board")).out
        assert done(bench.ctl("policy", "--default", "unset", "--json")).json == {"default_policy": "wipy"}
        assert bench.device()["PolicyFrom"] == "default"

        check_wrong(bench, "policy", "board", "sometimes")
        check_unknown(bench, "policy", "nobody")
        check_unknown(bench, "policy", "nobody", "off")
        check_unknown(bench, "policy", "nobody", "--board")
        check_unknown(bench, "policy", NO_MAC, "--slot")


def test_policies_arming_and_labels_outlive_the_daemon():
    with Known() as bench:
        done(bench.ctl("policy", "board", "off"))
        done(bench.ctl("policy", "--default", "any"))
        done(bench.ctl("arm", "board"))
        done(bench.ctl("label", "board", "bench 3"))
        bench.kill_wipyd()
        bench.start_wipyd()
        slot = the_slot(bench)
        assert (slot["policy"], slot["armed"], slot["label"]) == ("off", True, "bench 3"), slot
        assert done(bench.ctl("policy", "--default", "--json")).json == {"default_policy": "any"}


def test_arm_and_disarm_tell_of_each():
    with Known() as bench:
        assert the_slot(bench)["armed"] is False
        result = done(bench.ctl("arm", "board"))
        assert result.out.startswith("slot ") and ": armed: " in result.out, result
        assert the_slot(bench)["armed"] is True and bench.device()["Armed"] is True
        row, = done(bench.ctl("disarm", bench.device()["Slot"], "--json")).json
        assert row["armed"] is False and bench.device()["Armed"] is False
        result = bench.ctl("arm", "nobody", "board")
        assert result.code == 7 and ": armed: " in result.out and "nobody: " in result.err, result
        result = bench.ctl("disarm", "board", "nobody", "--json")
        assert result.code == 7 and result.json[0]["armed"] is False, result
        assert result.json[1]["error"] == "org.wipyd1.Error.NoSuchSlot", result
        check_unknown(bench, "arm", "nobody")


def test_label_of_slot_and_board_names_the_device():
    with Known() as bench:
        assert done(bench.ctl("label", "board", "left desk", "--json")).json["label"] == "left desk"
        assert the_slot(bench)["label"] == "left desk" and the_board(bench)["label"] == ""
        assert done(bench.ctl("explain", "left desk", "--json")).json["device"] == "board"
        assert done(bench.ctl("label", "board", "--board", "robot")).out == f"board {bench.mac} (robot): labelled\n"
        assert the_board(bench)["label"] == "robot" and bench.device()["Label"] == "robot"
        assert done(bench.ctl("board", "show", "robot", "--json")).json["mac"] == bench.mac
        for verb in "status", "list":
            assert "robot" in done(bench.ctl(verb)).out, verb

        # What both are called needs a word more.
        done(bench.ctl("label", "board", "robot"))
        check_wrong(bench, "label", "robot", "x")
        done(bench.ctl("label", "robot", "", "--slot"))
        assert done(bench.ctl("label", "robot", "", "-q")).out == ""
        assert the_slot(bench)["label"] == "" and the_board(bench)["label"] == ""

        for bad in "x" * 64, "a\nb", "\x1b[2J":
            result = bench.ctl("label", "board", bad, "--json")
            assert result.code == 2 and result.json["error"] == "org.wipyd1.Error.InvalidArgument", result
        done(bench.ctl("label", "board", "x" * 63))
        check_unknown(bench, "label", "nobody", "x")


# ---- boards and slots ------------------------------------------------------------------------------------------------

def test_nothing_known_yet_is_said():
    with Bench(0) as bench:
        for verb, word in ("board", "No boards"), ("slot", "No slots"), ("backup", "No backups"), ("history", "No jobs"):
            assert word in done(bench.ctl(verb)).out, verb
            assert done(bench.ctl(verb, "-q")).out == "", verb
            assert done(bench.ctl(verb, "--json")).json == [], verb
        check_unknown(bench, "board", "show", NO_MAC)
        check_unknown(bench, "board", "forget", NO_MAC)
        check_unknown(bench, "board", "pin", NO_MAC)
        check_unknown(bench, "slot", "forget", "nowhere")
        check_unknown(bench, "explain", "nobody")
        check_unknown(bench, "look", "nobody")
        check_unknown(bench, "backup", "list", NO_MAC)
        check_unknown(bench, "backup", "export", NO_MAC)
        check_unknown(bench, "backup", "restore", "nobody")
        check_unknown(bench, "history", "--board", NO_MAC)
        check_unknown(bench, "history", "--board", "nobody")
        check_unknown(bench, "history", "--slot", "nowhere")


def test_board_list_and_show():
    with Known([dict(flash=lived_in_flash(4 * MB, release="1.18.1.r1"))]) as bench:
        board = the_board(bench)
        assert (board["board"], board["release"], board["flash_bytes"]) == ("WiPy", "1.18.1.r1", 4 * MB), board
        assert board["slot"] == bench.device()["Slot"] and board["device"] == bench.device_path(), board
        row, = done(bench.ctl("board", "--no-legend")).out.splitlines()
        assert row.split()[0] == bench.mac and "1.18.1.r1" in row, row
        for name in bench.mac, bench.mac.upper(), bench.mac.replace(":", ""), "board":
            assert done(bench.ctl("board", "show", name, "--json")).json == board, name
        assert bench.mac in done(bench.ctl("board", "show", bench.mac)).out
        slot = the_slot(bench)
        assert slot["mac"] == bench.mac and slot["device"] == bench.device_path(), slot
        assert bench.mac in done(bench.ctl("slot", "--no-legend")).out


def test_board_pin_and_unpin():
    with Bench([dict(flash=lived_in_flash(4 * MB, release="1.18.1.r1"), options=("--fast", "--mac", "30:ae:a4:00:00:01")),
                dict(options=("--fast", "--mac", "30:ae:a4:00:00:02"))]) as bench:
        for board in bench.boards:
            done(bench.ctl("info", board.name))
        old, blank = (bench.device(board)["Mac"] for board in bench.boards)
        assert done(bench.ctl("board", "pin", old)).out.endswith(": pinned to 1.18.1.r1\n")  # what it holds
        assert done(bench.ctl("board", "pin", old, "1.20.1.r1", "--json")).json["pin"] == "1.20.1.r1"
        assert done(bench.ctl("board", "unpin", old, "--json")).json["pin"] == ""
        assert done(bench.ctl("board", "unpin", old, "-q")).out == ""  # already so
        result = bench.ctl("board", "pin", blank)
        assert result.code == 2 and "wipyctl board pin MAC RELEASE" in result.err, result
        assert done(bench.ctl("board", "pin", blank, "1.20.1.r1", "--json")).json["pin"] == "1.20.1.r1"


def test_forget_is_refused_while_in_use_and_leaves_the_rest():
    with Known() as bench:
        slot = bench.device()["Slot"]
        for arguments in ["board", "forget", bench.mac], ["slot", "forget", slot]:
            result = bench.ctl(*arguments, "--json")
            assert result.code == 5 and result.json["error"] == "org.wipyd1.Error.InUse", result
        bench.stop_wipyd()
        bench.connection.close()
        bench.connection = None
        ports, bench.ports = bench.ports, []
        bench.start_wipyd()
        assert "forgotten" in done(bench.ctl("board", "forget", bench.mac)).out
        assert done(bench.ctl("slot", "forget", slot, "--json")).json["name"] == slot
        assert done(bench.ctl("board", "--json")).json == [] and done(bench.ctl("slot", "--json")).json == []
        check_unknown(bench, "board", "show", bench.mac)
        assert done(bench.ctl("history", "--board", bench.mac, "--json")).json, "the history stays"
        bench.ports = ports


# ---- why, and who ----------------------------------------------------------------------------------------------------

def test_explain_marks_the_rule_that_won():
    with Known() as bench:
        told = done(bench.ctl("explain", "board", "--json")).json
        assert told["verdict"] in ("leave", "wait", "look", "reset", "coach", "flash", "resume"), told
        assert told["rules"][-1]["rule"] == told["rule"] and told["rules"][-1]["applied"] is True, told
        assert not any(row["applied"] for row in told["rules"][:-1]), told
        assert told["text"] and told["decided_at"] and told["facts"], told
        shown = done(bench.ctl("explain", "board")).out.splitlines()
        assert told["text"] in shown[0] and told["verdict"] in shown[0], shown
        marked = [line for line in shown if line.startswith("*")]
        assert len(marked) == 1 and marked[0].split()[1] == told["rule"], marked
        assert len(done(bench.ctl("explain", "board", "-q")).out.splitlines()) <= 2
        for name in str(bench.board.tty), bench.mac, bench.device()["Slot"]:
            assert done(bench.ctl("explain", name, "--json")).json["device"] == "board", name


def test_look_sees_a_board_in_download_mode():
    with Bench(1) as bench:
        told = done(bench.ctl("look", "board", "--json")).json
        assert told["seen"] == "download" and told["name"] == "board", told
        assert "in download mode" in done(bench.ctl("look", "board")).out
        done(bench.ctl("policy", "board", "off"))
        result = bench.ctl("look", "board", "--repl", "--json")
        assert result.code == 1 and result.json["error"] == "org.wipyd1.Error.PolicyOff", result


def test_status_and_list_have_what_is_known():
    with Known() as bench:
        told = done(bench.ctl("status", "--json")).json
        assert [row["mac"] for row in told["boards"]] == [bench.mac] and len(told["slots"]) == 1, told
        assert told["default_policy"] == "wipy" and told["devices"][0]["policy_from"] == "default", told
        status = done(bench.ctl("status")).out
        advice = bench.device()["Advice"]
        assert bench.mac in status and (not advice or f"board: {advice}" in status), status
        listed = done(bench.ctl("list")).out
        for title in "SLOT", "ADAPTER", "LABEL", "POLICY", "ARMED":
            assert title in listed.splitlines()[0], listed
        assert bench.device()["Slot"] in listed, listed


def test_monitor_shows_people_what_changed_and_programs_all():
    with Known() as bench:
        people, program = bench.start_ctl("monitor"), bench.start_ctl("monitor", "--json")
        wait_for(lambda: people.stdout.readline().split()[1:3] == [f"board/{bench.mac.replace(':', '')}", "present"], 5, "a board")
        wait_for(lambda: json.loads(program.stdout.readline())["path"].endswith(bench.mac.replace(":", "")), 5, "a board")
        done(bench.ctl("label", bench.mac, "robot"))
        changed = f"board/{bench.mac.replace(':', '')} changed label=robot"
        wait_for(lambda: people.stdout.readline().split(" ", 1)[1].strip() == changed, 5, changed)
        told = wait_for(lambda: (lambda row: row["event"] == "changed" and row)(json.loads(program.stdout.readline())), 5, "news")
        assert told["properties"], told
        for client in people, program:
            client.terminate()
            assert client.wait(timeout=10) == 0, client.returncode


# ---- history ---------------------------------------------------------------------------------------------------------

def parse_csv(result):
    """The rows, by name; checks that every line ends as RFC 4180 wants it."""
    return list(csv.DictReader(io.StringIO(result.out, newline=""), strict=True))


def as_csv(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


@takes(5)
def test_history_as_table_json_and_csv():
    with Known() as bench:
        package = bench.package('odd, "name".tar.gz', **KB200)
        done(bench.ctl("flash", "board", package))
        rows = done(bench.ctl("history", "--json")).json
        assert [row["kind"] for row in rows] == ["flash", "identify"], rows  # the newest first
        flash = rows[0]
        assert flash["state"] == "done" and flash["mac"] == bench.mac and flash["package"] == package.name, flash
        assert flash["by"] == f"uid {os.geteuid()}" and flash["user"] == getpass.getuser(), flash
        assert flash["started"] <= flash["finished"] and flash["error"] in ("", None), flash

        result = done(bench.ctl("history", "--csv"))
        assert result.out.count("\r\n") == 3, repr(result.out)
        parsed = parse_csv(result)
        assert [list(row) for row in parsed] == [list(row) for row in rows], parsed
        assert [{key: as_csv(value) for key, value in row.items()} for row in rows] == parsed, parsed
        table = done(bench.ctl("history", "--no-legend")).out.splitlines()
        assert len(table) == 2 and bench.mac in table[0] and "done" in table[0], table

        assert len(done(bench.ctl("history", "--limit=1", "--json")).json) == 1
        for chosen in ["--board", bench.mac], ["--board", bench.mac.replace(":", "-").upper()], ["--slot", "board"], \
                ["--slot", bench.device()["Slot"]], ["--since", "2h"], ["--since", "yesterday"]:
            assert done(bench.ctl("history", *chosen, "--json")).json[0] == flash, chosen
        now = datetime.datetime.now()
        past = (now - datetime.timedelta(hours=1)).isoformat(timespec="minutes")
        assert done(bench.ctl("history", "--since", past, "--json")).json == rows
        ahead = (now + datetime.timedelta(hours=1)).isoformat(sep=" ", timespec="seconds")
        assert done(bench.ctl("history", "--since", ahead, "--json")).json == []
        header, = done(bench.ctl("history", "--since", ahead, "--csv")).out.splitlines()
        assert header.startswith("id,started,finished,"), header
        check_unknown(bench, "history", "--board", NO_MAC)


def test_history_of_decisions():
    with Known() as bench:
        done(bench.ctl("policy", "board", "off"))
        rows = done(bench.ctl("history", "--decisions", "--json")).json
        assert rows and set(rows[0]) == {"at", "device", "slot", "mac", "event", "verdict", "rule", "text"}, rows
        told = done(bench.ctl("explain", "board", "--json")).json
        newest = [row for row in rows if row["device"].endswith("board")][0]
        assert (newest["verdict"], newest["rule"], newest["text"]) == (told["verdict"], told["rule"], told["text"]), newest
        assert parse_csv(done(bench.ctl("history", "--decisions", "--csv", "--limit=1")))[0]["rule"] == rows[0]["rule"]
        assert told["rule"] in done(bench.ctl("history", "--decisions")).out


# ---- backups ---------------------------------------------------------------------------------------------------------

@takes(5)
def test_backup_list_and_export():
    with Saved() as bench:
        backup, = done(bench.ctl("backup", "list", "--json")).json
        parts = {row["part"]: row["bytes"] for row in backup["parts"]}
        assert backup["mac"] == bench.mac and parts["config"] == 0x1000 and "nvs" in parts, backup
        for name in bench.mac, bench.mac.replace(":", ""), "board":
            assert done(bench.ctl("backup", "list", name, "--json")).json == [backup], name
        row, = done(bench.ctl("backup", "--no-legend")).out.splitlines()
        assert bench.mac in row and backup["name"] in row and "config" in row, row

        folder = bench.out / f"{bench.mac.replace(':', '')}-{backup['name']}"
        result = done(bench.ctl("backup", "export", bench.mac, cwd=bench.out))
        assert folder.name in result.out, result
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert sorted(path.name for path in folder.iterdir()) == sorted(f"{part}.bin" for part in parts)
        for part, size in parts.items():
            file = folder / f"{part}.bin"
            assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.stat().st_size == size, file
        assert (folder / "config.bin").read_bytes() == bench.before[CONFIG]

        # Nothing is replaced, and nothing half done is left.
        (folder / "config.bin").write_bytes(b"mine")
        for arguments in [], [backup["name"]], ["-o", bench.out], [f"--output={bench.out}", "--json"]:
            result = bench.ctl("backup", "export", bench.mac, *arguments, cwd=bench.out)
            assert result.code == 1 and "File exists" in result.out + result.err, result
        assert (folder / "config.bin").read_bytes() == b"mine"
        result = bench.ctl("backup", "export", bench.mac, "-o", bench.out / "missing")
        assert result.code == 1 and "No such file" in result.err, result
        check_unknown(bench, "backup", "export", bench.mac, "20200101T000000.000Z-1")
        check_unknown(bench, "backup", "export", bench.mac, "../../etc")
        assert [path.name for path in bench.out.iterdir()] == [folder.name]

        other = bench.out / "other"
        other.mkdir()
        told = done(bench.ctl("backup", "export", "board", "-o", other, "--json")).json
        assert told["backup"] == backup and os.path.samefile(told["folder"], other / folder.name), told


@takes(8)
def test_backup_restore_puts_the_boards_own_data_back():
    with Saved() as bench:
        name = done(bench.ctl("backup", "list", "--json")).json[0]["name"]
        bench.board.download()
        check_unknown(bench, "backup", "restore", "board", "20200101T000000.000Z-1")
        result = done(bench.ctl("backup", "restore", "board", "--parts=config"))
        assert f"the backup of {bench.mac} is put back and verified" in result.out, result
        assert bench.board.flash()[CONFIG] == bench.before[CONFIG]
        bench.board.download()
        told = done(bench.ctl("backup", "restore", "board", name, "--mac", bench.mac, "--json")).json
        assert (told["kind"], told["state"], told["mac"]) == ("restore", "done", bench.mac), told


def test_backup_restore_needs_to_know_whose_it_is():
    with Bench(1) as bench:
        result = bench.ctl("backup", "restore", "board")
        assert result.code == 2 and "--mac" in result.err, result
        check_unknown(bench, "backup", "restore", "board", "--mac", NO_MAC)
        check_wrong(bench, "backup", "restore", "board", "--mac", "30:ae")
        result = bench.ctl("backup", "restore", "board", "--json")
        assert json.loads(result.out)["error"] == "org.wipyd1.Error.InvalidArgument", result
