"""A board is plugged in and what follows happens by itself: real libudev fed by umockdev, simulated boards on ptys, and
nobody who says `wipyctl flash`. Who is flashed, who is left alone, and what people are told.
"""
import os
import time

import packages
from harness import DEVICE, MB, Bench, Variant, lived_in_flash, takes, wait_for

QUICK = "[boards]\nsettle = 50\nlisten = 150\nsyncs = 3\n"
ROOT, MANAGER, BOARD, SLOT = "/org/wipyd1", "org.wipyd1.Manager", "org.wipyd1.Board", "org.wipyd1.Slot"
MAC = "30:ae:a4:01:02:03"
JUMPER = "Join G23 to GND, then press reset on the board."


def usb_bench(boards=1, config=QUICK, **options):
    wanted = [{} for _ in range(boards)] if isinstance(boards, int) else boards
    return Bench(boards=[{"download": False, **board} for board in wanted], usb=True, config=config, **options)


def device(bench, name="ttyUSB0"):
    return bench.bus.get_all(bench.bus.call(ROOT, MANAGER, "FindDevice", "s", name)[0], DEVICE)


def is_there(bench, name="ttyUSB0"):
    try:
        return device(bench, name)
    except Exception:
        return None


def wait_rule(bench, rule, name="ttyUSB0", seconds=15):
    """The device's properties once that rule holds."""
    found = {}

    def holds():
        found.update(is_there(bench, name) or {})
        return found.get("Rule") == rule

    try:
        wait_for(holds, seconds, rule)
    except AssertionError:
        raise AssertionError(f"{name}: not {rule} but {found.get('Rule')}: {found.get('Reason')}") from None
    return device(bench, name)


def jobs(bench, kind="flash"):
    found = bench.bus.call(ROOT, MANAGER, "History", "a{sv}", {})[0]
    return [job for job in found if job["kind"] == kind]


def the_job(bench, seconds=30, state="done"):
    """The only flash job there is, once it is over."""
    job = wait_for(lambda: next((job for job in jobs(bench) if job["state"] in ("done", "failed", "cancelled")), None),
                   seconds, "the end of a job")
    assert job["state"] == state, job
    assert len(jobs(bench)) == 1, jobs(bench)
    return job


def port_is_free(board):
    wait_for(lambda: not board.status()["host_open"], 5, "the port is free")


def never_flashes(bench, board, seconds=1.5):
    before = board.flash()
    time.sleep(seconds)
    assert not jobs(bench), jobs(bench)
    assert board.begins() == 0
    assert board.flash() == before


def set_policy(bench, policy, slot=None, mac=None):
    if slot:
        bench.bus.call(bench.bus.call(ROOT, MANAGER, "FindSlot", "s", slot)[0], SLOT, "SetPolicy", "s", policy)
    elif mac:
        bench.bus.call(bench.bus.call(ROOT, MANAGER, "FindBoard", "s", mac)[0], BOARD, "SetPolicy", "s", policy)
    else:
        bench.bus.call(ROOT, MANAGER, "SetDefaultPolicy", "s", policy)


# ---- the story ------------------------------------------------------------------------------------------------------

@takes(15)
def test_the_jumper_story_from_plug_to_confirmation():
    with usb_bench() as bench:
        board = bench.board
        package = bench.package(app_bytes=200_000)
        bench.import_firmware(package)
        bench.plug(board)
        told = wait_rule(bench, "no-boot")
        assert told["Advice"] == JUMPER and told["Verdict"] == "coach", told
        assert JUMPER in bench.ctl("status").out

        board.download()  # the wire, the button
        job = the_job(bench)
        assert job["by"] == "policy" and job["to"] == "1.20.1.r1" and job["mac"] == MAC, job
        path = bench.bus.call(ROOT, MANAGER, "FindJob", "u", job["id"])[0]
        told = wait_rule(bench, "awaiting-start")
        assert "Take the wire off G23" in told["Advice"], told
        assert "Take the wire off G23" in bench.job(path)["UserAction"]
        assert board.flash() == packages.expected_flash(package, 4 * MB, b"\xff" * 4 * MB)

        board.ask("reset")  # the wire is still on
        told = wait_rule(bench, "wire-left-on")
        assert "still on G23" in told["Advice"], told

        board.ask("jumper off")
        board.ask("reset")
        told = wait_rule(bench, "confirmed")
        assert told["Advice"] == "" and told["Release"] == "1.20.1.r1", told
        assert bench.job(path)["ConfirmedRelease"] == "1.20.1.r1"
        assert bench.job(path)["UserAction"] == ""
        port_is_free(board)
        assert jobs(bench)[0]["confirmed"] == "1.20.1.r1"
        assert len(jobs(bench)) == 1


@takes(6)
def test_the_jumper_is_on_already_when_it_is_plugged_in():
    with usb_bench() as bench:
        bench.import_firmware(bench.package(app_bytes=100_000))
        bench.board.ask("jumper on")
        bench.plug(bench.board)
        the_job(bench)


@takes(8)
def test_an_old_firmware_that_says_so_is_coached():
    before = lived_in_flash(4 * MB)
    with usb_bench([dict(flash=before)]) as bench:
        bench.import_firmware(bench.package(app_bytes=100_000))
        bench.board.ask("jumper off")
        bench.plug(bench.board)
        wait_rule(bench, "running-other")  # it types our SYNCs back
        port_is_free(bench.board)
        # Somebody looks, and the idle prompt tells.
        bench.bus.call(bench.bus.call(ROOT, MANAGER, "FindDevice", "s", "ttyUSB0")[0], DEVICE, "Look", "a{sv}", {})
        told = wait_rule(bench, "running-older")
        assert told["Advice"] == JUMPER and told["Release"] == "1.17.3.b1", told
        bench.board.download()
        the_job(bench)


# ---- policies -------------------------------------------------------------------------------------------------------

@takes(4)
def test_off_never_opens_the_port():
    with usb_bench(config=QUICK + "policy = off\n") as bench:
        bench.import_firmware(bench.package(app_bytes=50_000))
        board = bench.board
        board.ask("jumper on")
        bench.plug(board)
        wait_rule(bench, "policy-off")
        received = board.status()["bytes_received"]
        never_flashes(bench, board)
        assert board.status()["bytes_received"] == received == 0
        result = bench.ctl("flash", "ttyUSB0")
        assert result.code == 1 and "policy" in result.err.lower(), result


@takes(5)
def test_ask_looks_and_flashes_on_command_only():
    with usb_bench(config=QUICK + "policy = ask\n") as bench:
        bench.import_firmware(bench.package(app_bytes=50_000))
        board = bench.board
        board.ask("jumper on")
        bench.plug(board)
        told = wait_rule(bench, "ask")
        assert told["Mac"] == MAC and told["Seen"] == "download", told
        port_is_free(board)
        never_flashes(bench, board)
        result = bench.ctl("flash", "ttyUSB0")
        assert result.code == 0, result
        assert jobs(bench)[0]["by"].startswith("uid "), jobs(bench)


def sketch():
    """A flash with an application that is nobody's we know."""
    flash = bytearray(b"\xff" * 4 * MB)
    image = packages.esp_image([(0x3F400020, b"an Arduino sketch, say".ljust(4096, b"\0")), (0x40080000, bytes(4096))])
    flash[0x1000:0x1000 + 22096] = packages.bootloader_image(3)
    table = packages.partition_table(packages.TABLE_4MB)
    flash[0x8000:0x8000 + len(table)] = table
    flash[0x10000:0x10000 + len(image)] = image
    return bytes(flash)


@takes(8)
def test_an_esp32_that_is_no_wipy_is_left_alone_under_wipy_and_flashed_under_any():
    before = sketch()
    with usb_bench([dict(flash=before)]) as bench:
        package = bench.package(app_bytes=50_000)
        bench.import_firmware(package)
        board = bench.board
        board.ask("jumper on")
        bench.plug(board)
        wait_rule(bench, "not-a-wipy")
        never_flashes(bench, board)
        port_is_free(board)
        before = board.flash()
        set_policy(bench, "any", slot="ttyUSB0")
        the_job(bench)
        assert board.flash() == packages.expected_flash(package, 4 * MB, before)


@takes(4)
def test_another_board_of_pycoms_is_left_alone_under_any():
    before = lived_in_flash(4 * MB, board="LoPy4")
    with usb_bench([dict(flash=before)], config=QUICK + "policy = any\n") as bench:
        bench.import_firmware(bench.package(app_bytes=50_000))
        bench.board.ask("jumper on")
        bench.plug(bench.board)
        wait_rule(bench, "other-board")
        never_flashes(bench, bench.board)


# ---- what the board holds -------------------------------------------------------------------------------------------

@takes(4)
def test_a_newer_board_is_left_alone():
    before = lived_in_flash(4 * MB, release="1.20.2.r4")
    with usb_bench([dict(flash=before)]) as bench:
        bench.import_firmware(bench.package(app_bytes=50_000))
        bench.board.ask("jumper on")
        bench.plug(bench.board)
        wait_rule(bench, "newer")
        never_flashes(bench, bench.board)
        port_is_free(bench.board)


@takes(10)
def test_a_pinned_board_goes_to_its_release_and_no_further():
    before = lived_in_flash(4 * MB)
    with usb_bench([dict(flash=before)], config=QUICK + "policy = ask\n") as bench:
        board = bench.board
        old = bench.package("old.tar.gz", release="1.18.1.r1", app_bytes=60_000)
        bench.import_firmware(old)
        bench.import_firmware(bench.package("new.tar.gz", app_bytes=50_000))
        board.ask("jumper on")
        bench.plug(board)
        wait_rule(bench, "ask")
        result = bench.ctl("board", "pin", MAC, "1.18.1.r1")
        assert result.code == 0, result
        set_policy(bench, "wipy")
        job = the_job(bench)
        assert job["to"] == "1.18.1.r1", job
        assert board.flash() == packages.expected_flash(old, 4 * MB, before)
        bench.unplug(board)
        bench.plug(board)  # the wire is still on
        wait_rule(bench, "pinned-there")
        assert len(jobs(bench)) == 1
        bench.ctl("board", "unpin", MAC)
        wait_for(lambda: len(jobs(bench)) == 2 and jobs(bench)[0]["state"] == "done", 20, "the newest after all")


@takes(8)
def test_a_release_that_a_person_chose_is_kept():
    with usb_bench(config=QUICK + "policy = ask\n") as bench:
        board = bench.board
        bench.import_firmware(bench.package("old.tar.gz", release="1.18.1.r1", app_bytes=60_000))
        bench.import_firmware(bench.package("new.tar.gz", app_bytes=50_000))
        board.ask("jumper on")
        bench.plug(board)
        wait_rule(bench, "ask")
        assert bench.ctl("flash", "ttyUSB0", "1.18.1.r1").code == 0
        bench.unplug(board)
        set_policy(bench, "wipy")
        bench.plug(board)
        wait_rule(bench, "chosen")
        time.sleep(1)
        assert len(jobs(bench)) == 1


@takes(10)
def test_never_in_a_loop_because_version_strings_disagree():
    """Published as 1.20.2.r6, its image says r4."""
    with usb_bench() as bench:
        board = bench.board
        package = bench.package("WiPy-1.20.2.r6.tar.gz", release="1.20.2.r4", app_bytes=60_000)
        bench.import_firmware(package)
        board.ask("jumper on")
        bench.plug(board)
        the_job(bench)
        for _ in range(3):
            bench.unplug(board)
            bench.plug(board)
            wait_rule(bench, "up-to-date")
        assert len(jobs(bench)) == 1
        # And where somebody else has written another release meanwhile, it is his.
        flash = board.flash().replace(b"1.20.2.r4", b"1.20.2.r3")
        bench.unplug(board)
        board.flash_path.write_bytes(flash)
        bench.plug(board)
        wait_rule(bench, "already-flashed")
        assert len(jobs(bench)) == 1


@takes(6)
def test_new_firmware_reaches_a_board_that_waits():
    with usb_bench() as bench:
        board = bench.board
        board.ask("jumper on")
        bench.plug(board)
        wait_rule(bench, "no-firmware")
        bench.import_firmware(bench.package(app_bytes=50_000))
        the_job(bench)


# ---- several --------------------------------------------------------------------------------------------------------

@takes(10)
def test_two_boards_at_once():
    with usb_bench([dict(options=("--fast", "--mac", "30:ae:a4:00:00:01")),
                    dict(options=("--fast", "--mac", "30:ae:a4:00:00:02"))]) as bench:
        package = bench.package(app_bytes=200_000)
        bench.import_firmware(package)
        for i, board in enumerate(bench.boards):
            board.ask("jumper on")
            bench.plug(board, slot=f"1-{i + 1}", name=f"ttyUSB{i}", serial="0001")
        wait_for(lambda: [job["state"] for job in jobs(bench)] == ["done", "done"], 30, "both")
        assert {job["mac"] for job in jobs(bench)} == {"30:ae:a4:00:00:01", "30:ae:a4:00:00:02"}
        assert {job["device"] for job in jobs(bench)} == {"ttyUSB0", "ttyUSB1"}
        for board in bench.boards:
            assert board.flash() == packages.expected_flash(package, 4 * MB, b"\xff" * 4 * MB)


@takes(8)
def test_a_port_that_another_program_holds_is_named_and_tried_again():
    with usb_bench(config=QUICK.replace("settle = 50", "settle = 700")) as bench:
        board = bench.board
        bench.import_firmware(bench.package(app_bytes=50_000))
        board.ask("jumper on")
        bench.plug(board)
        fd = os.open(board.folder / f"{board.name}.sim.tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            told = wait_rule(bench, "held")
            assert f"pid {os.getpid()}" in told["Holder"], told
            assert f"pid {os.getpid()}" in bench.ctl("status").out
            assert board.status()["bytes_received"] == 0
        finally:
            os.close(fd)
        the_job(bench)


# ---- trouble --------------------------------------------------------------------------------------------------------

@takes(5)
def test_a_dead_line_to_the_board_has_its_own_sentence():
    with usb_bench() as bench:
        bench.import_firmware(bench.package(app_bytes=50_000))
        bench.board.ask("set rx-dead on")
        bench.plug(bench.board)
        wait_rule(bench, "no-boot")
        bench.board.download()
        told = wait_rule(bench, "deaf")
        assert "TX" in told["Advice"], told


@takes(5)
def test_silence_has_its_own_sentence_and_the_port_is_let_go():
    with usb_bench() as bench:
        bench.import_firmware(bench.package(app_bytes=50_000))
        bench.board.ask("set tx-dead on")
        bench.plug(bench.board)
        told = wait_rule(bench, "silent")
        assert "plug" in told["Advice"], told
        port_is_free(bench.board)


@takes(6)
def test_explain_says_what_won_and_why():
    with usb_bench() as bench:
        bench.import_firmware(bench.package(app_bytes=50_000))
        bench.board.ask("jumper on")
        bench.plug(bench.board)
        the_job(bench)
        result = bench.ctl("explain", "ttyUSB0", "--json")
        assert result.code == 0 and result.json["verdict"] and result.json["rules"], result
        text = bench.ctl("explain", "ttyUSB0")
        assert text.code == 0 and result.json["rule"] in text.out, text
        decisions = bench.bus.call(ROOT, MANAGER, "Decisions", "a{sv}", {"limit": Variant("u", 100)})[0]
        words = [decision["rule"] for decision in decisions][::-1]
        assert words[:3] == ["settling", "not-looked-at", "flash-blank"], words
