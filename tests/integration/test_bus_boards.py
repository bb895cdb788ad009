"""Boards, slots, what is wanted for them, what was done and decided, and their backups: the bus alone, no client."""
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import dbusmini
from harness import (CONFIG, DEVICE, JOB, MANAGER, MB, OURS, ROOT, Bench, DBusError, Skip, Variant, lived_in_flash, takes,
                     wait_for)

TOP = "/org/wipyd1"
BOARD, SLOT = "org.wipyd1.Board", "org.wipyd1.Slot"
KB200 = dict(app_bytes=200_000)
MAC, OTHER_MAC = "30:ae:a4:01:02:03", "30:ae:a4:0a:0b:0c"
TWO_BOARDS = [{}, dict(options=("--fast", "--mac", OTHER_MAC))]
NOT_AUTHORIZED = OURS + "NotAuthorized"


def refusal(call, *arguments):
    """The name of the error, ours without the prefix; None: it was done."""
    try:
        call(*arguments)
    except DBusError as refused:
        assert refused.text, "a refusal has its story"
        return refused.name.removeprefix(OURS)
    return None


def manager(bench, method, signature="", *arguments):
    return bench.bus.call(TOP, MANAGER, method, signature, *arguments)


def board_path(bench, mac=MAC):
    return manager(bench, "FindBoard", "s", mac)[0]


def slot_path(bench, board=None):
    return manager(bench, "FindSlot", "s", (board or bench.board).name)[0]


def find_slot(bench, board=None):
    """Known a moment after the port was seen first."""
    return wait_for(lambda: refusal(slot_path, bench, board) is None, 5, "the slot is known") and slot_path(bench, board)


def policy_on(bench):
    device = bench.device()
    return device["Policy"], device["PolicyFrom"]


def restart(bench):
    bench.stop_wipyd()
    bench.connection.close()
    bench.connection = None
    bench.start_wipyd()


def query(**options):
    kinds = {"board": "s", "slot": "s", "since": "t", "limit": "u"}
    return {key: Variant(kinds[key], value) for key, value in options.items()}


def history(bench, **options):
    return manager(bench, "History", "a{sv}", query(**options))[0]


def decisions(bench, **options):
    return manager(bench, "Decisions", "a{sv}", query(**options))[0]


# ---- what is there ---------------------------------------------------------------------------------------------------

def test_boards_and_slots_are_what_the_xml_promises():
    with Bench() as bench:
        bench.flash_well(bench.package(**KB200))
        for interface, path in (BOARD, board_path(bench)), (SLOT, slot_path(bench)):
            contract = ROOT / f"proto/{interface}.xml"
            compared = subprocess.run([sys.executable, ROOT / "tests/check/introspection.py", contract],
                                      input=bench.bus.introspect(path), capture_output=True, text=True)
            assert compared.returncode == 0, f"{path}:\n{compared.stdout}{compared.stderr}"
            promised = {prop.get("name") for prop in ElementTree.parse(contract).iter("property")}
            assert set(bench.bus.get_all(path, interface)) == promised
            assert bench.bus.managed()[path][interface] == bench.bus.get_all(path, interface)


def test_a_board_is_known_once_its_rom_has_answered():
    with Bench() as bench:
        bench.bus.subscribe()
        assert refusal(board_path, bench) == "NoSuchBoard"
        job = bench.flash_well(bench.package(**KB200))
        path = board_path(bench)
        assert path == f"{TOP}/board/30aea4010203"
        for name in "30aea4010203", MAC.upper():
            assert board_path(bench, name) == path
        board = bench.bus.get_all(path, BOARD)
        assert board["Mac"] == job["Mac"] == MAC and board["Device"] == bench.device_path(), board
        assert board["Slot"] == bench.device()["Slot"] == bench.bus.get(slot_path(bench), SLOT, "Name"), board
        assert board["FlashedRelease"] == job["Release"] and board["FlashedAt"] > 0 and len(board["FlashedSha256"]) == 64, board
        assert bench.bus.get(slot_path(bench), SLOT, "Mac") == MAC
        added = [message.body[0] for message in bench.bus.collect(0.1) if message.member == "InterfacesAdded"]
        assert added.count(path) == 1, added


def test_a_job_says_who_asked():
    with Bench() as bench:
        path = bench.start_flash(bench.package(**KB200))
        wait_for(lambda: bench.job(path)["By"] == f"uid {os.geteuid()}", 5, "who asked")
        bench.wait_job(path)
        wait_for(lambda: history(bench)[0]["by"] == f"uid {os.geteuid()}", 5, "it is kept")


def test_where_a_board_is_follows_its_port():
    with Bench() as bench:
        bench.flash_well(bench.package(**KB200))
        board, slot = board_path(bench), slot_path(bench)
        bench.bus.subscribe()
        bench.board.ask("unplug")
        wait_for(lambda: not bench.device()["Present"], 5, "the port is away")
        for path, interface in (board, BOARD), (slot, SLOT):
            assert bench.bus.get(path, interface, "Device") == "/"
            told = [message.body[1] for message in bench.bus.collect(0.1)
                    if message.path == path and message.member == "PropertiesChanged" and message.body[0] == interface]
            assert any(changed.get("Device") == "/" for changed in told), told


# ---- what is wanted --------------------------------------------------------------------------------------------------

@takes(2)
def test_the_policy_nearest_to_the_board_holds_and_lasts():
    with Bench() as bench:
        bench.bus.subscribe()
        bench.flash_well(bench.package(**KB200))
        board, slot = board_path(bench), slot_path(bench)
        assert policy_on(bench) == ("wipy", "default")
        manager(bench, "SetDefaultPolicy", "s", "any")
        assert bench.bus.get(TOP, MANAGER, "DefaultPolicy") == "any"
        wait_for(lambda: policy_on(bench) == ("any", "default"), 5, "the default holds")
        bench.bus.call(slot, SLOT, "SetPolicy", "s", "off")
        wait_for(lambda: policy_on(bench) == ("off", "slot"), 5, "the slot's holds")
        bench.bus.call(board, BOARD, "SetPolicy", "s", "ask")
        wait_for(lambda: policy_on(bench) == ("ask", "board"), 5, "the board's holds")
        told = [message.body[1] for message in bench.bus.collect(0.2) if message.member == "PropertiesChanged"]
        assert any(changed.get("DefaultPolicy") == "any" for changed in told), "the default's change is told"

        restart(bench)
        assert bench.bus.get(TOP, MANAGER, "DefaultPolicy") == "any"
        assert bench.bus.get(board, BOARD, "Policy") == "ask"
        assert bench.bus.get(slot, SLOT, "Policy") == "off"
        for path, interface in (board, BOARD), (slot, SLOT):
            bench.bus.call(path, interface, "SetPolicy", "s", "")
            assert bench.bus.get(path, interface, "Policy") == ""
        wait_for(lambda: policy_on(bench) == ("any", "default"), 5, "back to the default")
        manager(bench, "SetDefaultPolicy", "s", "")
        assert bench.bus.get(TOP, MANAGER, "DefaultPolicy") == "wipy", "as configured"


def test_words_that_are_no_policy():
    with Bench() as bench:
        bench.flash_well(bench.package(**KB200))
        for path, interface, method in ((TOP, MANAGER, "SetDefaultPolicy"), (board_path(bench), BOARD, "SetPolicy"),
                                        (slot_path(bench), SLOT, "SetPolicy")):
            for word in "never", "OFF", " off", "wipy\n", "unset":
                assert refusal(bench.bus.call, path, interface, method, "s", word) == "InvalidArgument", (path, word)
        assert policy_on(bench) == ("wipy", "default")


def test_a_port_whose_policy_is_off_is_not_opened():
    with Bench() as bench:
        slot = find_slot(bench)
        bench.bus.call(slot, SLOT, "SetPolicy", "s", "off")
        wait_for(lambda: policy_on(bench) == ("off", "slot"), 5, "it is off")
        device = bench.device_path()
        assert refusal(bench.bus.call, device, DEVICE, "Look", "a{sv}", {}) == "PolicyOff"
        assert refusal(bench.start_flash, bench.package(**KB200)) == "PolicyOff"
        assert bench.board.status()["commands"] == {}, "nobody spoke to it"


def test_labels_name_boards_slots_and_devices():
    with Bench(TWO_BOARDS) as bench:
        package = bench.package(**KB200)
        for one in bench.boards:
            bench.flash_well(package, one)
        board, slot = board_path(bench), slot_path(bench)
        bench.bus.call(slot, SLOT, "SetLabel", "s", "bench 3, left")
        wait_for(lambda: bench.device()["Label"] == "bench 3, left", 5, "the slot's label shows")
        bench.bus.call(board, BOARD, "SetLabel", "s", "Löwe")
        wait_for(lambda: bench.device()["Label"] == "Löwe", 5, "the board's label goes before the slot's")
        restart(bench)
        assert board_path(bench, "Löwe") == board
        assert manager(bench, "FindSlot", "s", "bench 3, left")[0] == slot
        assert manager(bench, "FindSlot", "s", bench.bus.get(slot, SLOT, "Name"))[0] == slot
        assert manager(bench, "FindDevice", "s", "bench 3, left")[0] == bench.device_path()
        bench.bus.call(board_path(bench, OTHER_MAC), BOARD, "SetLabel", "s", "Löwe")
        assert refusal(board_path, bench, "Löwe") == "NoSuchBoard", "two are called so"
        for path, interface in (board, BOARD), (slot, SLOT):
            before = bench.bus.get(path, interface, "Label")
            for label in "x" * 64, "ä" * 32, "two\nlines", "\x1b[31mred", "\x7f", "\u0085", "turned \u202e round":
                assert refusal(bench.bus.call, path, interface, "SetLabel", "s", label) == "InvalidArgument", repr(label)
            assert bench.bus.get(path, interface, "Label") == before
            for label in "x" * 63, "":
                bench.bus.call(path, interface, "SetLabel", "s", label)
                assert bench.bus.get(path, interface, "Label") == label
        assert refusal(board_path, bench, "") == "NoSuchBoard" and refusal(manager, bench, "FindSlot", "s", "") == "NoSuchSlot"


def test_changes_that_are_sent_at_once_do_not_undo_one_another():
    with Bench() as bench:
        bench.flash_well(bench.package(**KB200))
        board = board_path(bench)
        serials = [bench.bus.send(board, BOARD, method, "s", value)
                   for method, value in [("SetPolicy", "ask"), ("SetLabel", "one"), ("Pin", "1.18.1.r1"), ("SetLabel", "two")]]
        bench.bus.wait(serials[-1])
        wanted = bench.bus.get_all(board, BOARD)
        assert (wanted["Policy"], wanted["Label"], wanted["Pin"]) == ("ask", "two", "1.18.1.r1"), wanted


def test_arm_and_pin_last():
    with Bench() as bench:
        bench.flash_well(bench.package(**KB200))
        board, slot = board_path(bench), slot_path(bench)
        assert not bench.device()["Armed"] and bench.bus.get(board, BOARD, "Pin") == ""
        bench.bus.call(slot, SLOT, "Arm", "b", True)
        wait_for(lambda: bench.device()["Armed"], 5, "armed")
        bench.bus.call(board, BOARD, "Pin", "s", "1.18.1.r1")
        for release in "1.18 r1", "1.18\n", "é", "x" * 64:
            assert refusal(bench.bus.call, board, BOARD, "Pin", "s", release) == "InvalidArgument", release
        restart(bench)
        assert bench.bus.get(slot, SLOT, "Armed") and bench.bus.get(board, BOARD, "Pin") == "1.18.1.r1"
        bench.bus.call(slot, SLOT, "Arm", "b", False)
        bench.bus.call(board, BOARD, "Pin", "s", "")
        wait_for(lambda: not bench.device()["Armed"], 5, "disarmed")
        assert bench.bus.get(board, BOARD, "Pin") == ""


def test_what_is_plugged_in_is_not_forgotten():
    with Bench() as bench:
        bench.flash_well(bench.package(**KB200))
        board, slot = board_path(bench), slot_path(bench)
        assert refusal(bench.bus.call, board, BOARD, "Forget") == "InUse"
        assert refusal(bench.bus.call, slot, SLOT, "Forget") == "InUse"
        assert board_path(bench) == board
        bench.bus.subscribe()
        bench.board.ask("unplug")
        wait_for(lambda: not bench.device()["Present"], 5, "the port is away")
        bench.bus.call(board, BOARD, "Forget")
        bench.bus.call(slot, SLOT, "Forget")
        removed = [message.body[0] for message in bench.bus.collect(0.2) if message.member == "InterfacesRemoved"]
        assert {board, slot} <= set(removed), removed
        assert refusal(board_path, bench) == "NoSuchBoard" and refusal(slot_path, bench) == "NoSuchSlot"
        assert bench.bus.managed().keys().isdisjoint({board, slot})
        assert history(bench, board=MAC), "its history stays"
        assert manager(bench, "ListBackups", "s", MAC)[0], "and its backups"
        restart(bench)
        assert refusal(board_path, bench) == "NoSuchBoard", "also on disk"


# ---- what was done and decided ---------------------------------------------------------------------------------------

JOB_KEYS = {"id": int, "kind": str, "state": str, "device": str, "slot": str, "mac": str, "by": str, "package": str, "sha256": str,
            "board": str, "from": str, "to": str, "confirmed": str, "bytes": int, "bytes-total": int, "baud": int, "loader": str,
            "warning": str,
            "retries": int,
            "attempts": int, "phase": str, "error": str, "error-text": str, "dry-run": bool, "started": int, "finished": int}
DECISION_KEYS = {"at": int, "device": str, "slot": str, "mac": str, "event": str, "verdict": str, "rule": str, "text": str}


@takes(2)
def test_history_by_board_slot_and_time():
    with Bench(TWO_BOARDS) as bench:
        package = bench.package(**KB200)
        first, second = bench.boards
        bench.flash_well(package, first)
        between = time.time_ns() // 1000
        bench.flash_well(package, second)
        bench.flash_well(package, first, dry_run=True)
        jobs = history(bench)
        assert [job["id"] for job in jobs] == [3, 2, 1], "newest first"
        for job in jobs:
            assert {key: type(value) for key, value in job.items()} == JOB_KEYS, job
            assert job["kind"] == "flash" and job["state"] == "done" and job["error"] == "" and job["attempts"] == 1, job
            assert between - 60_000_000 < job["started"] <= job["finished"], job
        assert [job["dry-run"] for job in jobs] == [True, False, False]
        assert jobs[2]["to"] == "1.20.1.r1" and jobs[2]["bytes-total"] > 0 and jobs[2]["package"] == package.name, jobs[2]
        assert [job["id"] for job in history(bench, board=MAC)] == [3, 1]
        assert [job["id"] for job in history(bench, board=OTHER_MAC.replace(":", "").upper())] == [2]
        assert [job["id"] for job in history(bench, slot=bench.device(second)["Slot"])] == [2]
        assert [job["id"] for job in history(bench, board=MAC, slot=bench.device(second)["Slot"])] == []
        assert [job["id"] for job in history(bench, since=between)] == [3, 2]
        assert [job["id"] for job in history(bench, limit=1)] == [3]
        assert history(bench, board="30:ae:a4:ff:ff:ff") == [] and history(bench, slot="nowhere") == []
        restart(bench)
        assert history(bench) == jobs, "it lasts"


def test_decisions_have_their_sentence():
    with Bench() as bench:
        bench.flash_well(bench.package(**KB200))
        slot = bench.device()["Slot"]
        found = wait_for(lambda: decisions(bench, slot=slot), 5, "a decision")
        for decision in found:
            assert {key: type(value) for key, value in decision.items()} == DECISION_KEYS, decision
            assert decision["verdict"] in ("leave", "wait", "look", "reset", "coach", "flash", "resume"), decision
            assert decision["rule"] and decision["text"] and decision["event"] and decision["slot"] == slot, decision
        times = [decision["at"] for decision in found]
        assert times == sorted(times, reverse=True), "newest first"
        assert len(decisions(bench, limit=1)) == 1
        assert decisions(bench, since=time.time_ns() // 1000 + 3_600_000_000) == []
        assert all(decision["mac"] == MAC for decision in decisions(bench, board=MAC))


def test_queries_that_are_wrong():
    with Bench() as bench:
        for method in "History", "Decisions":
            for key, variant, wanted in [
                ("mac", Variant("s", MAC), "UnknownOption"), ("", Variant("s", ""), "UnknownOption"),
                ("Board", Variant("s", MAC), "UnknownOption"), ("baud", Variant("u", 115200), "UnknownOption"),
                ("board", Variant("s", ""), "InvalidArgument"), ("board", Variant("s", "30:ae:a4"), "InvalidArgument"),
                ("board", Variant("s", "30:ae:a4:01:02:0g"), "InvalidArgument"), ("board", Variant("u", 1), "InvalidArgument"),
                ("slot", Variant("s", "x" * 256), "InvalidArgument"), ("slot", Variant("o", "/x"), "InvalidArgument"),
                ("since", Variant("u", 0), "InvalidArgument"), ("since", Variant("s", "today"), "InvalidArgument"),
                ("limit", Variant("u", 0), "InvalidArgument"), ("limit", Variant("u", 10001), "InvalidArgument"),
                ("limit", Variant("t", 5), "InvalidArgument"),
            ]:
                assert refusal(manager, bench, method, "a{sv}", {key: variant}) == wanted, (method, key, variant.value)
            assert refusal(manager, bench, method, "a{sv}", query(board=MAC, slot="x' OR '1'='1", since=0, limit=10000)) is None


def test_explain_ends_with_the_rule_that_won():
    with Bench() as bench:
        bench.flash_well(bench.package(**KB200))

        def explained():
            """The properties follow each decision: asked until both speak of the same one."""
            before = bench.device()
            answer = bench.bus.call(bench.device_path(), DEVICE, "Explain")
            return answer if before == bench.device() else None

        verdict, rule, text, rules, facts, decided_at = wait_for(explained, 5, "a moment's rest")
        device = bench.device()
        assert (verdict, rule, text) == (device["Verdict"], device["Rule"], device["Reason"]), (verdict, rule, text, device)
        assert [word for word, _, _ in rules][-1] == rule and rules[-1][2] is True, rules
        assert not any(applied for _, _, applied in rules[:-1]), rules
        assert all(word and question.endswith("?") for word, question, _ in rules), rules
        facts = dict(facts)
        assert facts["mac"].replace("%3a", ":") == MAC and facts["policy"] == "wipy", facts
        assert 0 < decided_at <= time.time_ns() // 1000


# ---- looking ---------------------------------------------------------------------------------------------------------

def test_look_answers_when_the_properties_have_it():
    with Bench() as bench:
        path = bench.device_path()
        bench.bus.call(path, DEVICE, "Look", "a{sv}", {})
        device = bench.device()
        assert device["Seen"] == "download" and device["Mac"] == MAC and device["SeenAt"] > 0, device
        assert refusal(bench.bus.call, path, DEVICE, "Look", "a{sv}", {"baud": Variant("u", 115200)}) == "UnknownOption"
        assert refusal(bench.bus.call, path, DEVICE, "Look", "a{sv}", {"repl": Variant("s", "yes")}) == "InvalidArgument"


def test_callers_that_go_before_the_answer_comes():
    with Bench() as bench:
        path, slot = bench.device_path(), find_slot(bench)
        for _ in range(5):
            with dbusmini.Connection(bench.address) as hasty:
                hasty.send(path, DEVICE, "Look", "a{sv}", {})
                hasty.send(slot, SLOT, "SetLabel", "s", "left by a hasty one")
                hasty.send(TOP, MANAGER, "History", "a{sv}", {})
                hasty.send(TOP, MANAGER, "ListBackups", "s", "")
        # Who has gone may not be told apart from others any more: then nothing is done for them.
        assert bench.bus.get(slot, SLOT, "Label") in ("", "left by a hasty one")

        def flashed():
            return refusal(bench.flash_well, bench.package(**KB200)) is None

        wait_for(flashed, 20, "the looks are over")


# ---- backups ---------------------------------------------------------------------------------------------------------

def read_all(parts):
    found = {}
    for part, fd in parts:
        with os.fdopen(fd, "rb") as file:
            found[part] = file.read()
    return found


def test_backups_are_listed_and_opened():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        assert manager(bench, "ListBackups", "s", "")[0] == []
        started = time.time_ns() // 1000
        bench.flash_well(bench.package(**KB200))
        (mac, name, saved, parts), = manager(bench, "ListBackups", "s", "")[0]
        assert mac == MAC and name in os.listdir(bench.state / "backup/30aea4010203"), (mac, name)
        assert started - 1_000_000 <= saved <= time.time_ns() // 1000
        wanted = {"config": before[CONFIG], "nvs": before[0x9000:0x10000], "otadata": before[0x190000:0x191000]}
        assert dict(parts) == {part: len(data) for part, data in wanted.items()}, parts
        for who in MAC, "30AEA4010203":
            assert read_all(manager(bench, "OpenBackup", "ss", who, name)[0]) == wanted
        assert manager(bench, "ListBackups", "s", MAC)[0] == manager(bench, "ListBackups", "s", "")[0]
        assert manager(bench, "ListBackups", "s", OTHER_MAC)[0] == []
        for other in "", ".", "..", "../30aea4010203/" + name, name + "/", name[:-1], "x" * 300, "/etc":
            assert refusal(manager, bench, "OpenBackup", "ss", MAC, other) == "NoSuchBackup", other
        assert refusal(manager, bench, "OpenBackup", "ss", OTHER_MAC, name) == "NoSuchBackup"
        for odd in "..", "30aea4010203/..", MAC + " ", "30:ae:a4:01:02-03":
            assert refusal(manager, bench, "OpenBackup", "ss", odd, name) == "InvalidArgument", odd
            assert refusal(manager, bench, "ListBackups", "s", odd) == "InvalidArgument", odd


def test_a_restore_is_a_job():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        bench.flash_well(bench.package(**KB200))
        (_, name, _, _), = manager(bench, "ListBackups", "s", MAC)[0]
        path = bench.device_path()

        def restore(mac=MAC, backup=name, **options):
            kinds = {"parts": "s", "baud": "u", "connect_timeout": "u", "dry_run": "b", "version": "s"}
            return bench.bus.call(path, DEVICE, "Restore", "ssa{sv}", mac, backup, {
                key.replace("_", "-"): Variant(kinds[key], value) for key, value in options.items()})[0]

        for options in dict(parts="wifi"), dict(parts="config,,nvs"), dict(mac="me"), dict(baud=1), dict(connect_timeout=0):
            assert refusal(lambda: restore(**options)) == "InvalidArgument", options
        for options in dict(dry_run=True), dict(version="1.18.1.r1"):
            assert refusal(lambda: restore(**options)) == "UnknownOption", options
        job = bench.wait_job(restore(backup="20010101T000000.000Z-1"))
        assert job["State"] == "failed" and job["Error"] == OURS + "NoSuchBackup" and job["Kind"] == "restore", job
        bench.board.download()
        job = bench.wait_job(restore(parts="config,nvs"))
        assert job["State"] == "done" and job["Kind"] == "restore" and job["Mac"] == MAC, job
        assert bench.board.flash()[CONFIG] == before[CONFIG] and bench.board.flash()[0x9000:0x10000] == before[0x9000:0x10000]


# ---- who may ask -----------------------------------------------------------------------------------------------------

def as_nobody(bench, calls):
    """Each call's outcome, as another user: null or the error's name."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        outcomes = []
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            with dbusmini.Connection(bench.address) as bus:
                for call in calls:
                    try:
                        bus.call(*call)
                        outcomes.append(None)
                    except DBusError as refused:
                        outcomes.append(refused.name)
        finally:
            os.write(writer, json.dumps(outcomes).encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        outcomes = json.loads(file.read())
    os.waitpid(child, 0)
    assert len(outcomes) == len(calls), "nobody could connect"
    return outcomes


@takes(2)
def test_others_may_look_but_not_change():
    if os.geteuid() != 0:
        raise Skip("root alone can try as somebody else")
    with Bench() as bench:
        for folder in bench.folder, bench.folder.parent:
            folder.chmod(0o711)
        bench.flash_well(bench.package(**KB200))
        device, board, slot = bench.device_path(), board_path(bench), slot_path(bench)
        (_, backup, _, _), = manager(bench, "ListBackups", "s", MAC)[0]
        properties = "org.freedesktop.DBus.Properties"
        may = [(TOP, MANAGER, "FindBoard", "s", MAC), (TOP, MANAGER, "FindSlot", "s", bench.board.name),
               (TOP, MANAGER, "History", "a{sv}", {}), (TOP, MANAGER, "Decisions", "a{sv}", {}), (device, DEVICE, "Explain"),
               (device, properties, "GetAll", "s", DEVICE), (board, properties, "GetAll", "s", BOARD),
               (slot, properties, "GetAll", "s", SLOT), (TOP, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")]
        may_not = [(TOP, MANAGER, "SetDefaultPolicy", "s", "any"), (TOP, MANAGER, "ListBackups", "s", ""),
                   (TOP, MANAGER, "OpenBackup", "ss", MAC, backup), (device, DEVICE, "Look", "a{sv}", {}),
                   (device, DEVICE, "Restore", "ssa{sv}", MAC, backup, {}), (device, DEVICE, "Flash", "a{sv}", {}),
                   (device, DEVICE, "Identify", "a{sv}", {}), ("/org/wipyd1/job/1", JOB, "Cancel"),
                   (board, BOARD, "SetPolicy", "s", "any"), (board, BOARD, "SetLabel", "s", "mine"), (board, BOARD, "Pin", "s", "1"),
                   (board, BOARD, "Forget"), (slot, SLOT, "SetPolicy", "s", "any"), (slot, SLOT, "SetLabel", "s", "mine"),
                   (slot, SLOT, "Arm", "b", True), (slot, SLOT, "Forget")]
        before = bench.bus.get_all(board, BOARD), bench.bus.get_all(slot, SLOT), history(bench)
        outcomes = as_nobody(bench, may + may_not)
        for call, outcome in zip(may + may_not, outcomes, strict=True):
            wanted = None if call in may else NOT_AUTHORIZED
            assert outcome == wanted, (call, outcome)
        assert before == (bench.bus.get_all(board, BOARD), bench.bus.get_all(slot, SLOT), history(bench))
        assert bench.bus.get(TOP, MANAGER, "DefaultPolicy") == "wipy"
