"""Boards are flashed by Espressif's stub: what make stub got is uploaded to the simulated chip, which then behaves as that
stub does. Where there is none, where it is refused and where it doesn't start the ROM does all, and that is said once.
"""
import json
import os
import re
import zlib
from unittest import mock

import packages
from harness import BUILD, CONFIG, MB, STUB, Bench, Skip, lived_in_flash, real_packages, wait_for

LEGACY = os.environ.get("WIPYD_STUB_LEGACY", BUILD / "stub/legacy/esp32.json")
ROM_DOES_IT = "the boot ROM does"
MAC = "30:ae:a4:01:02:03"


def check_flash(board, package, before):
    wanted = packages.expected_flash(package, board.flash_bytes, before)
    got = board.flash()
    wrong = [f"0x{at:x}" for at in range(0, len(wanted), 4096) if got[at:at + 4096] != wanted[at:at + 4096]]
    assert not wrong, f"other than expected: sectors {wrong[:20]}"
    assert got[CONFIG] == before[CONFIG], "the config block has changed"


def flash_by(stub, word, **options):
    """A used board, flashed, looked at, flashed again; gives the job."""
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)], stub=stub, **options) as bench:
        package = bench.package(app_bytes=600_000)
        job = bench.flash_well(package, baud=921600)
        assert job["Loader"] == word, job["Loader"]
        assert dict(job["Timings"]).get("load-stub") is not None, job["Timings"]
        check_flash(bench.board, package, before)
        assert bench.board.count("DEFL_END") == bench.board.count("DEFL_BEGIN") > 0, "each write has its barrier"
        erased = bench.board.status()["sectors_erased"]
        again = bench.flash_well(package, baud=921600)
        assert bench.board.status()["sectors_erased"] == erased, "what is right already was erased"
        assert {region[4] for region in again["Regions"]} == {"equal"}
        assert bench.log().count(ROM_DOES_IT) == 0
        return job


# ---- by the stub -----------------------------------------------------------------------------------------------------

def test_a_board_is_flashed_by_the_stub():
    flash_by(STUB, "stub v1.2.2")


def test_a_board_with_reset_lines_too():
    flash_by(STUB, "stub v1.2.2", lines=True)


def test_the_legacy_stub_where_the_user_has_it():
    if not os.path.exists(LEGACY):
        raise Skip(f"no legacy stub at {LEGACY}; WIPYD_STUB_LEGACY=FILE names one")
    flash_by(LEGACY, "legacy stub v1.11.1")
    flash_by(LEGACY, "legacy stub v1.11.1", lines=True)


def test_real_packages():
    for package in real_packages():
        before = lived_in_flash(4 * MB)
        with Bench([dict(flash=before)], stub=STUB) as bench:
            bench.flash_well(package, baud=921600, seconds=60)
            check_flash(bench.board, package, before)


def test_a_blank_board_of_8_mb():
    before = b"\xff" * 8 * MB
    with Bench([dict(flash_bytes=8 * MB)], stub=STUB) as bench:
        package = bench.package(app_bytes=300_000)
        bench.flash_well(package)
        check_flash(bench.board, package, before)


def test_what_does_not_shrink_is_sent_plain():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)], stub=STUB) as bench:
        with mock.patch.object(packages, "firmware_like", lambda rng, size: rng.randbytes(size)):
            package = bench.package(app_bytes=400_000)
        bench.flash_well(package)
        assert bench.board.count("FLASH_DATA") > 0, "nothing was sent plain"
        check_flash(bench.board, package, before)


def test_a_region_in_one_stream_and_only_what_differs():
    with Bench(stub=STUB) as bench:
        package = bench.package(app_bytes=600_000)
        bench.flash_well(package)
        wanted, first = bench.board.flash(), bench.board.begins()
        assert first <= 5, f"{first} BEGINs for three files"
        spoilt = bytearray(wanted)
        spoilt[0x25000] ^= 0x40
        spoilt[0x31000] ^= 0x40
        spoilt[0x71000] ^= 0x40
        with open(bench.folder / "board.flash", "r+b") as file:
            file.write(spoilt)
        job = bench.flash_well(package)
        written = sorted(region[:2] for region in job["Regions"] if region[4] == "written")
        assert written == [(0x20000, 0x10000), (0x30000, 0x10000), (0x70000, 0x10000)], written
        assert bench.board.begins() - first == 2, "two that touch are one stream"
        assert bench.board.flash() == wanted


def test_one_region_that_differs_is_found_with_a_digest_for_each():
    """And the region as a whole, the first sectors of the first, of the one that differs and of the one after it; and a
    few for the other files."""
    with Bench(stub=STUB) as bench:
        package = bench.package(app_bytes=1_000_000)
        bench.flash_well(package)
        with open(bench.folder / "board.flash", "r+b") as file:
            file.seek(0x85000)
            file.write(b"spoilt")
        before = bench.board.count("MD5")
        job = bench.ctl("flash", "board", package, "--dry-run", "--json")
        assert job.code == 0, job
        n_pieces, asked = -(-1_000_000 // 0x10000), bench.board.count("MD5") - before
        assert n_pieces < asked <= n_pieces + 4 + 4, asked


def test_what_was_verified_last_is_digested_once_more_only_after_trouble():
    """The application is written last. The last MD5 of a job belongs to the look after all writing; when its answer is
    lost, the application is looked at again."""
    boards = [dict(options=("--fast", "--mac", f"30:ae:a4:01:02:0{i}")) for i in range(2)]
    with Bench(boards, stub=STUB) as bench:
        package = bench.package(app_bytes=1_000_000)
        bench.flash_well(package)
        well, lost = bench.boards
        lost.fault(f"on=MD5,nth={well.count('MD5')} do=drop-reply")
        bench.flash_well(package, board=lost)
        md5_us = [board.status()["md5_us"] for board in bench.boards]
        app_us = 1_000_000 * 400 / 1024
        assert app_us <= md5_us[1] - md5_us[0] < 1.5 * app_us, md5_us


def test_dry_run_writes_nothing():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)], stub=STUB) as bench:
        result = bench.ctl("flash", "board", bench.package(app_bytes=300_000), "--dry-run", "--json")
        assert result.code == 0, result
        job, = json.loads(result.out) if result.out.lstrip().startswith("[") else [json.loads(result.out)]
        assert job["loader"] == "stub v1.2.2" and not job["bytes_done"], job
        assert bench.board.flash() == before


def test_backup_and_restore():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)], stub=STUB) as bench:
        bench.flash_well(bench.package(app_bytes=200_000))
        folder, = (bench.state / "backup/30aea4010203").iterdir()
        wanted = {"config.bin": before[CONFIG], "nvs.bin": before[0x9000:0x10000], "otadata.bin": before[0x190000:0x191000]}
        for name, data in wanted.items():
            assert (folder / name).read_bytes() == data, name
        assert bench.board.count("READ_FLASH") > 0 and bench.board.count("READ_FLASH_SLOW") == 0
        spoilt = bytearray(bench.board.flash())
        spoilt[0x9000:0x10000] = b"\x5a" * 0x7000
        with open(bench.folder / "board.flash", "r+b") as file:
            file.write(spoilt)
        path = bench.bus.call(bench.device_path(), "org.wipyd1.Device", "Restore", "ssa{sv}", MAC, folder.name, {})[0]
        job = bench.wait_job(path)
        assert job["State"] == "done", (job["Error"], job["ErrorText"])
        assert job["Loader"].startswith("stub"), job["Loader"]
        assert bench.board.flash()[0x9000:0x10000] == before[0x9000:0x10000]


def test_people_are_told_who_wrote():
    """By the stub, by the ROM, and again after the daemon's end."""
    for stub, word, by in (STUB, "stub v1.2.2", "by the stub v1.2.2"), ("off", "rom", "by the boot ROM"):
        with Bench(stub=stub) as bench:
            result = bench.ctl("flash", "board", bench.package(app_bytes=100_000))
            assert re.search(rf"written and verified in [0-9.]+ s {by}", result.out), result
            assert re.search(rf"took [0-9.]+ s {by}", bench.ctl("status").out), bench.ctl("status")
            bench.stop_wipyd()
            bench.start_wipyd()
            assert by in bench.ctl("history").out, bench.ctl("history")
            assert bench.ctl("history", "--json").json[0]["loader"] == word
            assert f",{word}," in bench.ctl("history", "--csv").out
            bench.ctl("info", "board")
            assert bench.ctl("history").out.count(by) == 1, "who only reads writes nothing"


# ---- what the chip says late -----------------------------------------------------------------------------------------

def late_error(**options):
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)], stub=STUB, **options) as bench:
        package = bench.package(app_bytes=600_000)
        bench.board.fault("on=DEFL_DATA,nth=34 do=stub-write-error,C4")
        job = bench.flash_well(package)
        assert job["Loader"] == "stub v1.2.2"
        clean = sum(len(zlib.compress(data, 9)) for _, data in packages.expected_steps(str(package), 4 * MB)[1])
        assert clean < job["WireBytes"][0] < 1.5 * clean, "what was right already was sent again"
        said = [line for line in bench.log().splitlines() if "warning" in line]
        assert any("or the one before: " in line and "flash operation failed" in line for line in said), said
        check_flash(bench.board, package, before)
        return bench.board.status()


def test_a_late_error_goes_on_from_the_first_wrong_piece():
    late_error()


def test_a_late_error_resets_where_there_are_lines():
    assert late_error(lines=True)["line_resets"] >= 2


def test_a_block_without_a_reply():
    for lines in (False, True):
        before = lived_in_flash(4 * MB)
        with Bench([dict(flash=before)], stub=STUB, lines=lines) as bench:
            package = bench.package(app_bytes=300_000)
            bench.board.fault("on=DEFL_DATA,nth=5 do=drop-reply")
            bench.flash_well(package, seconds=60)
            check_flash(bench.board, package, before)


def test_an_unplug_in_the_middle_goes_on():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)], stub=STUB, config="[boards]\nsettle = 50\n", connect_timeout=15) as bench:
        package = bench.package(app_bytes=600_000)
        bench.board.fault("on=DEFL_DATA,nth=9 do=delay-reply,2000")
        path = bench.start_flash(package)
        wait_for(lambda: bench.board.count("DEFL_DATA") >= 9, 20, "the ninth block")
        bench.board.ask("unplug")
        wait_for(lambda: bench.job(path)["State"] == "interrupted", 10, "the job is cut off")
        bench.board.ask("jumper on")
        bench.board.ask("plug")
        job = bench.wait_job(path)
        assert job["State"] == "done" and job["Attempt"] == 2, job
        check_flash(bench.board, package, before)


def always_refused(fault, error, *facts):
    def test():
        before = lived_in_flash(4 * MB)
        with Bench([dict(flash=before)], stub=STUB) as bench:
            package = bench.package(app_bytes=200_000)
            bench.board.fault(fault)
            job = bench.flash(package, seconds=60)
            assert job["State"] == "failed" and job["Error"].endswith(error), (job["State"], job["Error"])
            for fact in facts:
                assert fact in job["ErrorText"], (fact, job["ErrorText"])
            assert bench.board.flash()[CONFIG] == before[CONFIG]
            bench.board.fault("clear")
            bench.flash_well(package, seconds=60)
            check_flash(bench.board, package, before)
    test.__module__ = __name__
    return test


test_begin_always_refused = always_refused("on=DEFL_BEGIN,times=1000 do=refuse,C4", "WriteFailed", "flash operation failed")
test_data_always_refused = always_refused("on=DEFL_DATA,times=1000 do=refuse,C1", "WriteFailed", "block 0", "checksum wrong")
test_reading_always_refused = always_refused("on=READ_FLASH,times=1000 do=refuse,C4", "ChipRefused", "flash operation failed")
test_compare_always_refused = always_refused("on=MD5,times=1000 do=refuse,C4", "ChipRefused", "flash operation failed")


def test_an_end_that_is_refused_is_judged_by_what_is_there():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)], stub=STUB) as bench:
        package = bench.package(app_bytes=200_000)
        bench.board.fault("on=DEFL_END,times=1000 do=refuse,C4")
        bench.flash_well(package, seconds=60)
        assert "end: stub refused: flash operation failed" in bench.log()
        check_flash(bench.board, package, before)


# ---- no stub ---------------------------------------------------------------------------------------------------------

def by_rom(bench, said):
    """One word about it, when the daemon starts; then two jobs, by the ROM."""
    assert bench.log().count(ROM_DOES_IT) == 1, bench.log()
    before = bench.board.flash()
    package = bench.package(app_bytes=200_000)
    assert bench.flash_well(package)["Loader"] == "rom"
    check_flash(bench.board, package, before)
    assert bench.flash_well(package)["Loader"] == "rom"
    assert bench.log().count(ROM_DOES_IT) == 1, "said once"
    assert said in bench.log(), bench.log()


def test_a_file_that_is_not_there():
    with Bench(stub="/nonexistent/esp32.json") as bench:
        by_rom(bench, "/nonexistent/esp32.json can't be read: No such file or directory")


def test_a_file_that_is_refused():
    known = {"entry": 0x400A902C, "text": "AAAA", "text_start": 0x400A8000, "data": "AAAA", "data_start": 0x3FFDED6C,
             "bss_start": 0x3FFCC000}
    with Bench(wipyd=False, stub="off") as bench:
        bench.stub = bench.folder / "esp32.json"
        bench.stub.write_text(json.dumps(known))
        bench.write_config()
        bench.start_wipyd()
        by_rom(bench, "holds a stub that is not known to be good")
        assert "warning " + str(bench.stub) in bench.log()


def test_a_stub_that_comes_later_is_taken_by_the_next_job():
    if not STUB.exists():
        raise Skip(f"no {STUB}: make stub gets it")
    with Bench(wipyd=False, stub="off") as bench:
        bench.stub = bench.folder / "esp32.json"
        bench.write_config()
        bench.start_wipyd()
        package = bench.package(app_bytes=100_000)
        assert bench.flash_well(package)["Loader"] == "rom"
        bench.stub.write_bytes(STUB.read_bytes())
        bench.board.flash_path.write_bytes(b"\xff" * 4 * MB)
        assert bench.flash_well(package)["Loader"] == "stub v1.2.2"
        assert "boards are flashed by stub v1.2.2" in bench.log()


def test_switched_off_nothing_is_said():
    with Bench(stub="off") as bench:
        assert bench.flash_well(bench.package(app_bytes=200_000))["Loader"] == "rom"
        assert ROM_DOES_IT not in bench.log()


def no_hello(**options):
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)], stub=STUB, connect_timeout=15, **options) as bench:
        package = bench.package(app_bytes=200_000)
        bench.board.ask("set stub-no-ohai on")
        path = bench.start_flash(package)
        if not options:
            wait_for(lambda: "press reset" in bench.job(path)["UserAction"].lower(), 15, "a person is asked")
            bench.board.download()
        job = bench.wait_job(path, seconds=40)
        assert job["State"] == "done" and job["Loader"] == "rom", (job["State"], job["Loader"], job["ErrorText"])
        check_flash(bench.board, package, before)
        assert bench.log().count(ROM_DOES_IT) == 1


def test_a_stub_that_does_not_start_is_reset_and_the_rom_does_it():
    no_hello(lines=True)


def test_a_stub_that_does_not_start_asks_for_a_reset():
    no_hello()


def test_the_reply_to_the_jump_may_be_lost():
    with Bench(stub=STUB) as bench:
        bench.board.ask("set stub-lost-mem-end on")
        assert bench.flash_well(bench.package(app_bytes=200_000))["Loader"] == "stub v1.2.2"


def test_a_stub_that_runs_already_is_used_as_it_is():
    """Left by the last job on a board that only a person can reset; with lines it is reset, and ours is loaded."""
    for lines, word in ((False, "stub of unknown version"), (True, "stub v1.2.2")):
        before = lived_in_flash(4 * MB)
        with Bench([dict(flash=before)], stub=STUB, lines=lines) as bench:
            first, second = bench.package(app_bytes=200_000), bench.package("b.tar.gz", app_bytes=260_000)
            assert bench.flash_well(first, baud=460800)["Loader"] == "stub v1.2.2"
            between = bench.board.flash()
            if lines:
                bench.board.download()
            assert bench.flash_well(second, baud=460800)["Loader"] == word
            check_flash(bench.board, second, between)
            early = "sync -> raise-baud" in bench.log() and "raise-baud -> identify" in bench.log()
            assert early != lines, "who answers already is asked all at the rate that is wanted"
            assert bench.log().count("goes on at 460800 baud") == 2, "said once a job"


def test_a_stub_that_runs_already_and_ignores_the_rate():
    """It is found again at the rate that it has kept, and nobody needs to press anything."""
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)], stub=STUB, connect_timeout=15) as bench:
        first, second = bench.package(app_bytes=200_000), bench.package("b.tar.gz", app_bytes=260_000)
        bench.flash_well(first, baud=460800)
        between, resets = bench.board.flash(), bench.board.status()["resets"]
        bench.board.ask("set ignore-baud on")
        job = bench.flash_well(second, baud=460800, seconds=60)
        assert job["Loader"] == "stub of unknown version" and job["Baud"] == 115200, job
        assert bench.board.status()["resets"] == resets
        check_flash(bench.board, second, between)
