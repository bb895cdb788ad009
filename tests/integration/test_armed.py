"""Armed slots: adapters with DTR and RTS, where boards are reset into download mode, flashed, started and asked who they
are, and nobody touches anything. What is reset, how often, and who is left alone.
"""
import time

import packages
from cutting import device_of, wait_state
from harness import DEVICE, JOB, MB, Bench, Variant, lived_in_flash, takes, wait_for
from test_plug import (MAC, MANAGER, QUICK, ROOT, SLOT, device, is_there, jobs, port_is_free, set_policy, the_job, usb_bench,
                       wait_rule)

OTHER_MAC = "30:ae:a4:00:00:02"
OLD = lived_in_flash(4 * MB)


def armed_bench(boards=1, config=QUICK, **options):
    wanted = [{} for _ in range(boards)] if isinstance(boards, int) else boards
    return Bench(boards=[{"download": False, **board} for board in wanted], usb=True, lines=True, config=config, **options)


def arm(bench, slot="ttyUSB0", armed=True):
    bench.bus.call(bench.bus.call(ROOT, MANAGER, "FindSlot", "s", slot)[0], SLOT, "Arm", "b", armed)


def plug_and_arm(bench, board, **where):
    """Armed before anything is at hand that it could be flashed with."""
    bench.plug(board, **where)
    wait_for(lambda: is_there(bench, board.port), 5, "the device")
    arm(bench, board.port)


def holds(board, package, before=b"\xff" * 4 * MB):
    """The package and what was there before; the selector was written by the bootloader when the firmware started."""
    expected, flash = packages.expected_flash(package, 4 * MB, before), board.flash()
    offset, size = packages.find_otadata(expected[0x8000:0x8C00])
    assert flash[:offset] == expected[:offset] and flash[offset + size:] == expected[offset + size:]


def look(bench, name="ttyUSB0", **options):
    path = bench.bus.call(ROOT, MANAGER, "FindDevice", "s", name)[0]
    bench.bus.call(path, DEVICE, "Look", "a{sv}", {key: Variant("b", value) for key, value in options.items()})
    return bench.bus.get_all(path, DEVICE)


def told_rules(bench, name="ttyUSB0"):
    """The rules that were decided by, in order."""
    found = bench.bus.call(ROOT, MANAGER, "Decisions", "a{sv}", {"limit": Variant("u", 200)})[0]
    return [decision["rule"] for decision in found if decision["device"] == name][::-1]


def all_jobs(bench, n):
    wait_for(lambda: len(jobs(bench)) == n and all(job["mac"] for job in jobs(bench)), 20, f"{n} jobs")
    return jobs(bench)


def sets(board):
    """The changes of DTR and RTS after the port was opened and let go."""
    return [call for call in board.line_calls() if call.startswith("set") and call != "set 0 0"]


def resets(board):
    return board.status()["resets"]


def is_running(board):
    wait_for(lambda: board.status()["state"] == "running", 5, f"{board.name} runs")


# ---- flashed with nobody there --------------------------------------------------------------------------------------

def flashed_and_confirmed(bench, package, before=b"\xff" * 4 * MB):
    the_job(bench)
    told = wait_rule(bench, "confirmed")
    assert told["Advice"] == "" and told["Release"] == "1.20.1.r1" and told["Seen"] == "firmware", told
    job = jobs(bench)[0]
    assert job["confirmed"] == "1.20.1.r1" and job["by"] == "policy" and job["mac"] == MAC, job
    path = bench.bus.call(ROOT, MANAGER, "FindJob", "u", job["id"])[0]
    assert bench.job(path)["ConfirmedRelease"] == "1.20.1.r1" and bench.job(path)["UserAction"] == ""
    holds(bench.board, package, before)
    port_is_free(bench.board)
    is_running(bench.board)
    assert bench.board.status()["ctrl_f"] == 0
    return job


@takes(8)
def test_a_blank_board_that_is_there_when_its_slot_is_armed():
    with armed_bench() as bench:
        package = bench.package(app_bytes=60_000)
        bench.import_firmware(package)
        bench.plug(bench.board)
        told = wait_rule(bench, "no-boot")
        assert told["Verdict"] == "coach" and not told["Armed"], told
        assert not sets(bench.board)
        assert bench.ctl("arm", "ttyUSB0").code == 0  # acted on at once
        flashed_and_confirmed(bench, package)
        assert device(bench)["Armed"]
        assert told_rules(bench)[2:] == ["no-boot", "reset", "flash-blank", "confirmed"], told_rules(bench)


@takes(8)
def test_an_old_board_at_its_prompt():
    with armed_bench([dict(flash=OLD)]) as bench:
        package = bench.package(app_bytes=60_000)
        plug_and_arm(bench, bench.board)
        bench.unplug(bench.board)
        bench.import_firmware(package)
        bench.plug(bench.board)
        job = flashed_and_confirmed(bench, package, OLD)
        assert job["from"] == "1.17.3.b1", job


@takes(15)
def test_an_old_board_in_an_endless_program():
    """It starts what it was flashed with, and never says a word of its own."""
    with armed_bench([dict(flash=OLD)]) as bench:
        board = bench.board
        board.ask("set main-py endless")
        package = bench.package(app_bytes=60_000)
        plug_and_arm(bench, board)
        bench.import_firmware(package)
        job = the_job(bench)
        told = wait_rule(bench, "confirmed")
        assert told["Reason"] == "It was flashed, and runs WiPy 1.20.1.r1 now." and told["Advice"] == "", told
        assert job["confirmed"] == "", job
        holds(board, package, OLD)
        is_running(board)
        port_is_free(board)


@takes(8)
def test_on_command_the_boot_check_confirms_in_history():
    """Who commands a job commands the resets, armed or not."""
    with armed_bench([dict(flash=OLD)], config=QUICK + "policy = ask\n") as bench:
        bench.import_firmware(bench.package(app_bytes=60_000))
        bench.plug(bench.board)
        wait_for(lambda: is_there(bench), 5, "the device")
        done = bench.ctl("flash", "ttyUSB0")
        assert done.code == 0 and "G23" not in done.out + done.err, done
        job = the_job(bench)
        assert job["confirmed"] == "1.20.1.r1" and job["by"].startswith("uid "), job
        assert bench.ctl("history", "--json").json[0]["confirmed"] == "1.20.1.r1"
        is_running(bench.board)


# ---- up to date -----------------------------------------------------------------------------------------------------

def flashed_before(bench, board, package, armed=True, **where):
    """Under ask, on command; then it is unplugged, its slot armed."""
    bench.import_firmware(package)
    bench.plug(board, **where)
    wait_for(lambda: is_there(bench, board.port), 5, "the device")
    set_policy(bench, "ask")
    assert bench.ctl("flash", board.port).code == 0
    if armed:
        arm(bench, board.port)
    bench.unplug(board)
    set_policy(bench, "wipy")


@takes(8)
def test_up_to_date_at_its_prompt_it_is_not_reset():
    with armed_bench() as bench:
        board = bench.board
        flashed_before(bench, board, bench.package(app_bytes=60_000))
        changes = len(sets(board))
        bench.plug(board)
        before = resets(board)
        told = wait_rule(bench, "running-up-to-date")
        assert told["Release"] == "1.20.1.r1" and told["Advice"] == "", told
        port_is_free(board)
        time.sleep(1)
        assert resets(board) == before and len(sets(board)) == changes, board.line_calls()
        assert board.status()["ctrl_f"] == 0
        assert len(jobs(bench)) == 1
        is_running(board)


@takes(8)
def test_arming_asks_at_the_prompt_before_it_resets():
    with armed_bench() as bench:
        board = bench.board
        flashed_before(bench, board, bench.package(app_bytes=60_000), armed=False)
        changes = len(sets(board))
        bench.plug(board)
        before = resets(board)
        told = wait_rule(bench, "running-up-to-date")  # the board that was here last
        assert told["Seen"] == "firmware" and told["Release"] == "", told
        port_is_free(board)
        arm(bench)
        wait_for(lambda: device(bench)["Release"] == "1.20.1.r1", 5, "its own words")
        port_is_free(board)
        assert device(bench)["Rule"] == "running-up-to-date"
        assert resets(board) == before and len(sets(board)) == changes, board.line_calls()
        assert "reset" not in told_rules(bench)


@takes(10)
def test_up_to_date_and_silent_it_is_reset_once_and_started_again():
    with armed_bench() as bench:
        board = bench.board
        flashed_before(bench, board, bench.package(app_bytes=60_000))
        board.ask("set main-py endless")
        bench.plug(board)
        told = wait_rule(bench, "up-to-date")
        assert told["Advice"] == "", told
        port_is_free(board)
        is_running(board)
        assert told_rules(bench).count("reset") == 1, told_rules(bench)
        count = resets(board)
        time.sleep(1)
        assert resets(board) == count
        assert len(jobs(bench)) == 1


# ---- a bench --------------------------------------------------------------------------------------------------------

@takes(20)
def test_board_after_board_in_one_slot():
    """The second one is silent, and is not taken for the first."""
    with armed_bench([dict(name="a"), dict(name="b", flash=OLD, options=("--fast", "--mac", OTHER_MAC))]) as bench:
        a, b = bench.boards
        b.ask("set main-py endless")
        package = bench.package(app_bytes=60_000)
        place = {"slot": "1-1", "name": "ttyUSB0"}
        plug_and_arm(bench, a, **place)
        bench.import_firmware(package)
        the_job(bench)
        wait_rule(bench, "confirmed")
        bench.unplug(a)
        bench.plug(b, **place)
        wait_for(lambda: len(jobs(bench)) == 2 and jobs(bench)[0]["state"] == "done", 20, "the second board")
        assert [job["mac"] for job in jobs(bench)] == [OTHER_MAC, MAC]
        holds(a, package)
        holds(b, package, OLD)
        is_running(b)
        # And the first one again.
        bench.unplug(b)
        count = resets(a)
        bench.plug(a, **place)
        told = wait_rule(bench, "running-up-to-date")
        assert resets(a) == count + 1, "plugging is the only reset"  # by its power
        assert told["Mac"] in ("", MAC), told
        assert len(jobs(bench)) == 2


@takes(10)
def test_pulled_out_when_all_is_written_and_back_in_another_slot():
    """It runs, and says no more than its release: a reset tells whether it is the board that a job waits for."""
    with armed_bench([dict(name="a"), dict(name="b", options=("--fast", "--mac", OTHER_MAC))]) as bench:
        a, b = bench.boards
        package = bench.package(app_bytes=60_000)
        elsewhere = {"slot": "1-2", "name": "ttyUSB1"}
        plug_and_arm(bench, b, **elsewhere)
        plug_and_arm(bench, a, slot="1-1", name="ttyUSB0")
        a.fault("on=MD5,times=100000 do=delay-reply,150")
        bench.import_firmware(package)
        path = bench.bus.call(ROOT, MANAGER, "FindJob", "u", next(job["id"] for job in all_jobs(bench, 2) if job["mac"] == MAC))[0]
        wait_for(lambda: bench.bus.get(path, JOB, "Phase") == "guard-check", 20, "all is written")
        bench.unplug(a)
        wait_state(bench, path, "interrupted")
        a.fault("clear")
        wait_rule(bench, "confirmed", "ttyUSB1")
        # The other one is not: into download mode, and back.
        bench.replug(b)
        count = resets(b)
        wait_rule(bench, "up-to-date", "ttyUSB1")
        port_is_free(b)
        is_running(b)
        assert told_rules(bench, "ttyUSB1")[-3:] == ["not-looked-at", "pending-reset", "up-to-date"], told_rules(bench, "ttyUSB1")
        assert resets(b) == count + 2 and bench.job(path)["State"] == "interrupted"
        bench.unplug(b)
        bench.plug(a, **elsewhere)
        job = bench.wait_job(path)
        assert job["State"] == "done" and job["Attempt"] == 2 and device_of(bench, path) == "ttyUSB1", job
        wait_rule(bench, "confirmed", "ttyUSB1")
        assert told_rules(bench, "ttyUSB1")[-4:] == ["not-looked-at", "pending-reset", "resume", "confirmed"], \
            told_rules(bench, "ttyUSB1")
        holds(a, package)
        assert len(jobs(bench)) == 2


# ---- who isn't touched ----------------------------------------------------------------------------------------------

@takes(8)
def test_not_armed_no_line_moves():
    with armed_bench([dict(flash=OLD)]) as bench:
        board = bench.board
        bench.import_firmware(bench.package(app_bytes=60_000))
        bench.plug(board)
        wait_rule(bench, "running-other")  # it types our SYNCs back
        port_is_free(board)
        look(bench)
        told = wait_rule(bench, "running-older")
        assert told["Verdict"] == "coach", told
        board.download()  # by hand: the policy's own job leaves the lines alone, too
        the_job(bench)
        assert not sets(board), board.line_calls()
        assert {call.split()[0] for call in board.line_calls()} <= {"open", "get", "set", "close"}


@takes(6)
def test_ask_on_an_armed_slot_resets_nothing():
    with armed_bench([dict(flash=OLD)], config=QUICK + "policy = ask\n") as bench:
        board = bench.board
        bench.import_firmware(bench.package(app_bytes=60_000))
        plug_and_arm(bench, board)
        count = resets(board)
        told = wait_rule(bench, "ask-report")
        assert told["Release"] == "1.17.3.b1" and told["Seen"] == "firmware", told
        port_is_free(board)
        time.sleep(1)
        assert not sets(board), board.line_calls()
        assert resets(board) == count and not jobs(bench)


@takes(8)
def test_disarmed_it_is_coached():
    with armed_bench([dict(flash=OLD)]) as bench:
        board = bench.board
        plug_and_arm(bench, board)
        wait_rule(bench, "no-firmware")
        assert bench.ctl("disarm", "ttyUSB0").code == 0
        assert not device(bench)["Armed"]
        bench.import_firmware(bench.package(app_bytes=60_000))
        told = wait_rule(bench, "running-older")
        assert "G23" in told["Advice"], told
        assert not sets(board) and not jobs(bench), board.line_calls()


@takes(10)
def test_without_lines_an_armed_slot_falls_back_to_the_coach():
    with usb_bench([dict(flash=OLD)]) as bench:
        board = bench.board
        plug_and_arm(bench, board)
        package = bench.package(app_bytes=60_000)
        bench.import_firmware(package)
        told = wait_rule(bench, "running-older")
        assert told["Verdict"] == "coach" and "G23" in told["Advice"], told
        board.download()
        the_job(bench)
        told = wait_rule(bench, "awaiting-start")
        assert "Take the wire off G23" in told["Advice"], told
        board.wait("host_open", True)
        board.ask("jumper off")
        board.ask("reset")
        wait_rule(bench, "confirmed")
        assert jobs(bench)[0]["confirmed"] == "1.20.1.r1"


@takes(20)
def test_lines_that_lead_nowhere_are_tried_once_and_then_it_is_coached():
    with armed_bench([dict(flash=OLD)]) as bench:
        board = bench.board
        board.ask("set lines-dead on")
        plug_and_arm(bench, board)
        bench.import_firmware(bench.package(app_bytes=60_000))
        told = wait_rule(bench, "running-older")
        assert told["Verdict"] == "coach" and "G23" in told["Advice"], told
        assert told_rules(bench).count("reset") == 1, told_rules(bench)
        board.download()
        the_job(bench)


# ---- a look ---------------------------------------------------------------------------------------------------------

@takes(8)
def test_a_look_asks_the_prompt_and_stops_a_program_only_with_consent():
    with armed_bench([dict(flash=OLD)], config=QUICK + "policy = ask\n") as bench:
        board = bench.board
        board.ask("set main-py endless")
        bench.plug(board)
        wait_for(lambda: is_there(bench), 5, "the device")
        wait_rule(bench, "ask-report")
        count = resets(board)
        assert board.status()["bytes_other"] == 0
        result = bench.ctl("look", "ttyUSB0")
        assert result.code == 0 and "1.17.3.b1" not in result.out and "silent" in result.out, result
        assert board.status()["bytes_other"] == 1, board.status()  # Ctrl-B
        result = bench.ctl("look", "ttyUSB0", "--repl")
        assert result.code == 0 and "1.17.3.b1" in result.out, result
        told = device(bench)
        assert told["Seen"] == "firmware" and told["Board"] == "WiPy", told
        # Its program runs again: nobody is at a prompt.
        assert look(bench)["Seen"] == "silent"
        status = board.status()
        assert status["ctrl_f"] == 0 and status["resets"] == count, status
        assert not sets(board), board.line_calls()


# ---- the daemon ends and starts again -------------------------------------------------------------------------------

@takes(15)
def test_the_daemon_starts_again_with_boards_plugged_in():
    with armed_bench([dict(name="a"), dict(name="b", options=("--fast", "--mac", OTHER_MAC))]) as bench:
        a, b = bench.boards
        for board in bench.boards:
            plug_and_arm(bench, board)
        bench.import_firmware(bench.package(app_bytes=60_000))
        for board in bench.boards:
            wait_rule(bench, "confirmed", board.port)
        b.ask("set main-py endless")
        b.ask("reset")
        counts = [resets(board) for board in bench.boards]
        bench.stop_wipyd()
        bench.connection.close()
        bench.connection = None
        bench.start_wipyd()
        wait_rule(bench, "running-up-to-date", a.port)
        told = wait_rule(bench, "up-to-date", b.port)
        for board in bench.boards:
            port_is_free(board)
            is_running(board)
        assert resets(a) == counts[0]
        # Nothing but a reset tells whether it is still the same board: into download mode, and back.
        assert resets(b) == counts[1] + 2, told_rules(bench, b.port)
        assert told["Advice"] == "" and told_rules(bench, b.port)[-3:] == ["not-looked-at", "reset", "up-to-date"]
        assert len(jobs(bench)) == 2
