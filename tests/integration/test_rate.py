"""[flash] baud = auto: the best rate that the adapter, the cable and the board have shown; what is remembered of it, and which
slot is told to have a bad cable. A cable that is bad at and above a rate: all is garbled there, or now and then a byte.
"""
import re

import packages
from harness import MB, Bench, takes, wait_for

CONFIG = "[boards]\nsettle = 0\nlisten = 50\nsyncs = 1\npolicy = ask\n[flash]\nbaud = auto\n"
BLANK = b"\xff" * 4 * MB
SLOT = "1-1"


def macs(n):
    return [{"options": ("--fast", "--mac", f"30:ae:a4:00:01:{i:02x}")} for i in range(n)]


def ladder(bench):
    """The rates from 921600 up, highest first. A ROM is good for no more than that, an FT230X for 3 Mbaud."""
    return [921600] if bench.stub == "off" else [3000000, 2000000, 1500000, 921600]


def is_there(bench, board):
    return any(device["name"] == board.port for device in bench.ctl("list", "--json").json)


def plug(bench, board, **where):
    bench.plug(board, **where)
    wait_for(lambda: is_there(bench, board), 5, f"the device of {board.name}")


def began(bench):
    """What each job began with and all that it fell back to, by the log: [[921600, 460800], ...]"""
    ways = []
    for line in bench.log().splitlines():
        if re.search(r"prepare -> open", line):
            ways.append([])
        found = re.search(r"goes on at (\d+) baud", line)
        if found:
            ways[-1].append(int(found[1]))
    return ways


def flash(bench, board, **options):
    """The rates of the job."""
    job = bench.flash_well(bench.image, board, seconds=60, **options)
    assert board.flash()[:0x3FF000] == packages.expected_flash(bench.image, 4 * MB, BLANK)[:0x3FF000], job
    return began(bench)[-1]


def slots(bench):
    return {slot["name"]: slot for slot in bench.ctl("slot", "list", "--json").json}


def usb_bench(n, **options):
    return Bench(boards=macs(n), usb=True, lines=True, config=CONFIG, **options)


def test_climbs_to_what_the_loader_is_good_for():
    with usb_bench(1) as bench:
        bench.image = bench.package(app_bytes=100_000)
        plug(bench, bench.board)
        assert flash(bench, bench.board) == ladder(bench)[:1]
        assert bench.board.count("CHANGE_BAUDRATE") == 1  # the reset brings it back
        slot = slots(bench)[bench.slot(bench.board)]
        assert slot["rate"] == ladder(bench)[0] and slot["error_rate"] == 0 and slot["advice"] == "", slot


def test_a_port_by_hand_and_a_number():
    with Bench(config="[flash]\nbaud = auto\n") as bench:
        bench.image = bench.package(app_bytes=100_000)
        assert flash(bench, bench.board) == [921600]
        assert bench.board.status()["baud"] in range(112000, 119000)  # no lines: left where it is looked for
        assert flash(bench, bench.board, baud=230400) == [230400]
        assert flash(bench, bench.board) == [921600]


@takes(12)
def test_second_board_and_next_daemon_begin_with_what_the_slot_can_do():
    with usb_bench(3) as bench:
        bench.image = bench.package(app_bytes=100_000)
        one, two, three = bench.boards
        for board in bench.boards:
            board.ask("set baud-fail 921600 on")
        plug(bench, one, slot=SLOT)
        assert flash(bench, one) == [460800]
        assert "921600 baud does not work here" in bench.log()
        bench.unplug(one)
        plug(bench, two, slot=SLOT)
        assert flash(bench, two) == [460800]
        assert bench.log().count("does not work here") == len(ladder(bench))
        assert two.count("CHANGE_BAUDRATE") == 1
        bench.unplug(two)
        bench.stop_wipyd()
        bench.start_wipyd()
        plug(bench, three, slot=SLOT)
        assert flash(bench, three) == [460800]
        assert three.count("CHANGE_BAUDRATE") == 1
        assert slots(bench)[bench.slot(three)]["rate"] == 460800
        # A new cable, and the slot is forgotten: at once at the top again.
        bench.unplug(three)
        three.ask("set baud-fail 921600 off")
        assert bench.ctl("slot", "forget", bench.slot(three)).code == 0
        plug(bench, three, slot=SLOT)
        assert flash(bench, three) == ladder(bench)[:1]


@takes(12)
def test_falls_back_within_the_job_where_a_byte_is_wrong_now_and_then():
    """Enough for a region to fail twice, and not enough for the change of the rate to fail."""
    with usb_bench(2) as bench:
        bench.image = bench.package(app_bytes=300_000)
        for board in bench.boards:
            board.ask("set flip-rate 1e-3")
            board.ask("set noise-from 460800")
        plug(bench, bench.boards[0], slot=SLOT)
        way = flash(bench, bench.boards[0])
        assert way[-1] == 230400 and way[0] >= 460800 and way == sorted(way, reverse=True), way
        bench.unplug(bench.boards[0])
        plug(bench, bench.boards[1], slot=SLOT)
        assert flash(bench, bench.boards[1]) == [230400]


@takes(8)
def test_job_that_loses_its_board_at_a_rate_is_a_lesson():
    """Nobody presses reset, so the job fails in its waiting; the next one doesn't run into the same."""
    with Bench(config="[flash]\nbaud = auto\n", connect_timeout=3) as bench:
        bench.image = bench.package(app_bytes=100_000)
        bench.board.fault("on=DEFL_DATA,nth=3 do=silence")
        job = bench.flash(bench.image, seconds=30)
        assert job["State"] == "failed" and job["Error"].endswith(".Silence"), job
        assert began(bench)[-1] == [921600]
        bench.board.ask("reset")
        assert flash(bench, bench.board) == [460800]


@takes(15)
def test_slot_with_a_bad_cable_is_told_of():
    with usb_bench(3) as bench:
        bench.image = bench.package(app_bytes=800_000)
        good, other, bad = bench.boards
        bad.ask("set baud-fail 921600 on")
        for board in bench.boards:
            plug(bench, board)
            flash(bench, board)
        name = bench.slot(bad)
        wanted = f"Slot {name} fails 100 % of its blocks at {ladder(bench)[0]} baud, its neighbours 0 %: change the cable."
        now = slots(bench)
        assert now[name]["advice"] == wanted and now[name]["error_rate"] == 1 and now[name]["rate"] == 460800, now
        assert now[bench.slot(good)]["advice"] == now[bench.slot(other)]["advice"] == "", now
        assert wanted in bench.log()
        assert bench.ctl("slot", "list").out.count(wanted) == 1
        assert wanted in bench.ctl("explain", bad.port).out
        assert wanted not in bench.ctl("explain", good.port).out
        check = [row for row in bench.ctl("doctor", "--json").json if row["check"] == "slots"]
        assert [(row["state"], row["text"]) for row in check] == [("warning", wanted)], check
        bench.stop_wipyd()
        bench.start_wipyd()
        assert slots(bench)[name]["advice"] == wanted  # remembered


def test_what_a_spoilt_begin_may_have_erased_is_found():
    """Nothing guards a BEGIN's words: the last look finds what was verified before and isn't right any more."""
    with Bench() as bench:
        bench.image = bench.package(app_bytes=300_000)
        bench.board.fault("on=DEFL_DATA,nth=2 do=refuse,07")
        bench.board.fault("on=DEFL_BEGIN,nth=4 do=delay-reply,1500")
        path = bench.start_flash(bench.image)
        wait_for(lambda: bench.board.count("DEFL_BEGIN") == 4, 10, "the fourth region")
        with open(bench.board.flash_path, "r+b") as flash_file:
            flash_file.seek(0x1000)
            flash_file.write(b"\xff" * 16)
        assert bench.wait_job(path)["State"] == "done"
        assert bench.board.flash()[:0x3FF000] == packages.expected_flash(bench.image, 4 * MB, BLANK)[:0x3FF000]
        assert "is not right any more" in bench.log()
