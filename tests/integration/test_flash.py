"""Boards are flashed, the whole way, and the flash is compared byte by byte with what packages.py computes from the
package on its own."""
import contextlib
import json
import os
import re
import signal
import stat
import time
from pathlib import Path

import packages
from harness import (CONFIG, MB, SANITIZED, VALGRIND, Bench, Board, Variant, lived_in_flash, quiet, real_packages, takes,
                     wait_for)

KB200 = dict(app_bytes=200_000)


def mismatches(got, wanted):
    return [f"0x{at:x}" for at in range(0, len(wanted), 4096) if got[at:at + 4096] != wanted[at:at + 4096]]


def check_flash(board, package, before):
    wanted = packages.expected_flash(package, board.flash_bytes, before)
    got = board.flash()
    assert got == wanted, f"other than expected: sectors {mismatches(got, wanted)[:20]}"
    assert got[CONFIG] == before[CONFIG], "the config block has changed"


def states(job):
    return {region[4] for region in job["Regions"]}


# ---- every package on every board ------------------------------------------------------------------------------------

def flash_twice(package, flash_bytes, shape):
    """Through wipyctl, from a board that has been in use; then once more."""
    before = lived_in_flash(flash_bytes)
    with Bench([dict(flash=before, flash_bytes=flash_bytes)]) as bench:
        board = bench.board
        result = bench.ctl("flash", "board", package)
        assert result.code == 0, result
        assert "written and verified" in result.out, result
        assert "Take the wire off G23" in result.out, result
        check_flash(board, package, before)
        after = board.flash()
        assert after[0x380000:0x3FF000] == before[0x380000:0x3FF000], "the file system has changed"
        if shape != "list":
            assert after[0x9000:0x10000] == before[0x9000:0x10000], "NVS has changed"
        check_backup(bench, before)

        job = bench.job("/org/wipyd1/job/1")
        release = job["Release"]
        assert release and job["BytesDone"] == job["BytesTotal"] > 0, job
        assert states(job) <= {"equal", "written"}, states(job)
        regions = sorted(region[:2] for region in job["Regions"])
        assert all(a[0] + a[1] <= b[0] for a, b in zip(regions, regions[1:])), "regions overlap"
        assert all(a + n <= flash_bytes and (a + n <= CONFIG.start or a >= CONFIG.stop) for a, n in regions)
        status = bench.ctl("status")
        assert status.code == 0 and release[:9] in status.out and "done" in status.out, status
        device = bench.device()
        assert (device["Board"], device["Release"], device["FlashBytes"]) == ("WiPy", release, flash_bytes), device

        flash_again_writes_nothing(bench, package, after)
        said = board.run_firmware()
        assert f"MicroPython {release}" in said or release in said, said
        assert board.status()["boots"] == 1


def check_backup(bench, before):
    """Three files under the board's MAC, as it was before, for nobody else to read."""
    folder, = (bench.state / "backup/30aea4010203").iterdir()
    wanted = {"config.bin": before[CONFIG], "nvs.bin": before[0x9000:0x10000], "otadata.bin": before[0x190000:0x191000]}
    assert {path.name for path in folder.iterdir()} == {*wanted, "SHA256SUMS"}
    for name, data in wanted.items():
        assert (folder / name).read_bytes() == data, name
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def flash_again_writes_nothing(bench, package, after):
    begins, erased = bench.board.begins(), bench.board.status()["sectors_erased"]
    result = bench.ctl("flash", "board", package)
    assert result.code == 0 and "nothing was written" in result.out, result
    job = bench.job("/org/wipyd1/job/2")
    assert states(job) == {"equal"} and job["BytesTotal"] == 0, job
    assert bench.board.begins() == begins and bench.board.status()["sectors_erased"] == erased
    assert bench.board.flash() == after


def real(index, flash_bytes):
    @takes(6)
    def test():
        package = real_packages()[index]
        flash_twice(package, flash_bytes, "list" if "1.18" in package.name else "both")
    test.__module__ = __name__
    return test


def synthetic(shape, flash_bytes):
    @takes(3)
    def test():
        with Bench(boards=0, wipyd=False) as bench:
            package = bench.package(shape=shape, app_bytes=600_000)
            flash_twice(package, flash_bytes, shape)
    test.__module__ = __name__
    return test


for mb in (4, 8):
    globals()[f"test_real_1_18_to_{mb}_mb"] = real(0, mb * MB)
    globals()[f"test_real_1_20_to_{mb}_mb"] = real(1, mb * MB)
    for shape in ("list", "object", "both"):
        globals()[f"test_{shape}_script_to_{mb}_mb"] = synthetic(shape, mb * MB)


def test_a_blank_board():
    with Bench() as bench:
        package = bench.package(**KB200)
        assert bench.ctl("flash", "board", package).code == 0
        check_flash(bench.board, package, b"\xff" * 4 * MB)


def test_downgrade_through_the_old_layout_and_back():
    """List over object over list: each time the erased otadata sector is another one."""
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        new, old = bench.package("new.tar.gz", **KB200), bench.package("old.tar.gz", shape="list", release="1.18.1.r1")
        for package in (new, old, new):
            bench.flash_well(package)
            check_flash(bench.board, package, before)
            before = bench.board.flash()
        generations = sorted((bench.state / "backup/30aea4010203").iterdir())
        assert len(generations) >= 2, generations


# ---- what need not be done -------------------------------------------------------------------------------------------

def test_only_what_differs_is_sent():
    with Bench(stub="off") as bench:  # a BEGIN for each; test_stub.py has the same
        package = bench.package(app_bytes=400_000)
        bench.flash_well(package)
        wanted = bench.board.flash()
        spoilt = bytearray(wanted)
        spoilt[0x25000] ^= 0x40           # in one piece of the application
        spoilt[0x1BE000:0x1BE010] = b"\0" * 16  # otadata
        bench.board.close()
        bench.boards.clear()
        os.unlink(bench.folder / "board")
        bench.boards.append(Board(bench.folder, flash=bytes(spoilt)))
        job = bench.flash_well(package)
        written = sorted(region[:2] for region in job["Regions"] if region[4] == "written")
        assert written == [(0x20000, 0x10000), (0x1BE000, 0x1000)], written
        assert job["BytesTotal"] == job["BytesDone"] == 0x11000
        assert bench.board.begins() == 2
        assert bench.board.flash() == wanted


def test_dry_run_writes_nothing_and_lists_the_regions():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(**KB200)
        result = bench.ctl("flash", "board", package, "--dry-run")
        assert result.code == 0, result
        for word in ("otadata", "bootloader.bin", "wipy.bin", "0x010000", "differs", "Nothing was written"):
            assert word in result.out, (word, result)
        status = bench.board.status()
        assert status["sectors_erased"] == status["pages_programmed"] == 0 and bench.board.begins() == 0
        assert bench.board.flash() == before
        assert not (bench.state / "backup").exists(), "nothing was to be saved"
        job = bench.job("/org/wipyd1/job/1")
        assert job["DryRun"] and "differs" in states(job) and job["BytesTotal"] > 0 and job["BytesDone"] == 0
        listed = json.loads(bench.ctl("flash", "board", package, "--dry-run", "--json").out)
        assert listed["regions"] and listed["dry_run"] is True, listed
        bench.flash_well(package)
        check_flash(bench.board, package, before)


def test_flash_by_version():
    with Bench(2) as bench:
        old, new = bench.package("old.tar.gz", release="1.18.2.r7", **KB200), bench.package("new.tar.gz", **KB200)
        bench.flash_well(new)
        assert bench.ctl("flash", "board0", "1.20.1.r1").code == 3  # a file that was flashed is not kept
        bench.import_firmware(new)
        bench.import_firmware(old)
        result = bench.ctl("flash", "board1", "1.18.2.r7")
        assert result.code == 0, result
        check_flash(bench.boards[1], old, b"\xff" * 4 * MB)
        before = bench.boards[1].flash()
        result = bench.ctl("flash", "board1")  # the newest
        assert result.code == 0 and "1.20.1.r1" in result.out, result
        check_flash(bench.boards[1], new, before)
        result = bench.ctl("flash", "board1", "9.9.9")
        assert result.code == 3 and "9.9.9" in result.err and "hint: " in result.err, result


def test_info_tells_chip_board_and_release():
    before = lived_in_flash(8 * MB, release="1.17.3.b1", cluster_offset=0x4123)  # not where it usually is
    with Bench([dict(flash=before, flash_bytes=8 * MB)]) as bench:
        result = bench.ctl("info", "board")
        assert result.code == 0, result
        for word in ("ESP32", "30:ae:a4:01:02:03", "8 MiB", "WiPy", "1.17.3.b1"):
            assert word in result.out, (word, result)
        told = bench.ctl("info", "board", "--json").json
        assert told["release"] == "1.17.3.b1" and told["flash_bytes"] == 8 * MB and told["mac"] == "30:ae:a4:01:02:03"
        assert bench.board.flash() == before and bench.board.begins() == 0


def test_info_of_a_blank_board():
    with Bench() as bench:
        result = bench.ctl("info", "board")
        assert result.code == 0 and "4 MiB" in result.out, result
        assert bench.device()["Board"] == bench.device()["Release"] == ""


# ---- rates and blocks ------------------------------------------------------------------------------------------------

def at_rate(baud, xtal_error):
    def test():
        with Bench() as bench:
            package = bench.package(**KB200)
            bench.board.ask(f"set xtal-error {xtal_error}")
            bench.board.download()
            job_path = bench.start_flash(package, baud=baud)
            job = bench.wait_job(job_path)
            assert job["State"] == "done", job
            assert bench.board.count("CHANGE_BAUDRATE") == 2  # up, and down again
            assert bench.board.count("SYNC") < 30
            assert bench.board.status()["baud"] in range(int(115200 * 0.97), int(115200 * 1.03)), bench.board.status()
            assert re.search(r"raise-baud -> compare", bench.log())
            check_flash(bench.board, package, b"\xff" * 4 * MB)
            assert bench.ctl("info", "board").code == 0  # found again at once
    test.__module__ = __name__
    return test


for baud in (230400, 460800, 921600):
    for xtal_error in (0, 3, -3):
        globals()[f"test_at_{baud}_baud_with_a_crystal_estimate_off_by_{xtal_error}_percent".replace("-", "minus_")] = \
            at_rate(baud, xtal_error)


def falls_back(setting, baud, reached):
    @takes(7)
    def test():
        with Bench() as bench:
            package = bench.package(**KB200)
            bench.board.ask(f"set {setting}")
            flash_with_help(bench, package, baud)
            assert f"{baud} baud does not work here" in bench.log()
            assert bench.board.count("CHANGE_BAUDRATE") >= 1
            assert job_reached(bench) == reached
            check_flash(bench.board, package, b"\xff" * 4 * MB)
    test.__module__ = __name__
    return test


def job_reached(bench):
    """The highest rate at which a write was under way; what wipysim was asked for, as it shows on the wire."""
    return max(bench.rates)


def flash_with_help(bench, package, baud):
    """A rate that fails leaves a board without reset lines nowhere: a person has to press reset."""
    path = bench.start_flash(package, baud=baud, connect_timeout=20)
    bench.board.fault("on=DEFL_BEGIN do=delay-reply,100")  # long enough to see the rate in
    bench.rates = set()

    def ended_or_helped():
        job = bench.job(path)
        if job["Phase"] == "begin":
            bench.rates.add(job["Baud"])
        if job["State"] == "waiting":
            bench.board.ask("reset")
        return job["State"] in ("done", "failed", "cancelled")

    wait_for(ended_or_helped, 40, "the end of the job")
    job = bench.job(path)
    assert job["State"] == "done", job


test_falls_back_when_460800_and_above_garble = falls_back("baud-fail 460800 on", 921600, 230400)
test_falls_back_when_every_higher_rate_garbles = falls_back("baud-fail 200000 on", 460800, 115200)
test_falls_back_when_the_chip_ignores_the_rate = falls_back("ignore-baud on", 921600, 115200)


@takes(6)
def test_a_chip_that_is_late_after_the_change_of_its_rate_is_found_again():
    """As on a machine that has no time for it: at the rate that was asked of it, without a person."""
    with Bench(connect_timeout=10) as bench:
        package = bench.package(**KB200)
        bench.board.fault("on=CHANGE_BAUDRATE do=delay-reply,300")
        path = bench.start_flash(package, baud=921600)
        wait_for(lambda: bench.board.status()["faults_pending"] == 0, 10, "the change of the rate")
        bench.board.fault("on=READ_REG do=delay-reply,1500")
        job = bench.wait_job(path)
        assert job["State"] == "done", (job["Error"], job["ErrorText"])
        assert "921600 baud does not work here" in bench.log()
        assert bench.board.status()["resets"] == 1, "nobody had to press reset"
        check_flash(bench.board, package, b"\xff" * 4 * MB)


def test_a_crystal_estimate_that_is_far_off_ends_at_a_rate_that_works():
    with Bench() as bench:
        package = bench.package(**KB200)
        bench.board.ask("set xtal-error 40")
        bench.board.download()
        flash_with_help(bench, package, 921600)
        check_flash(bench.board, package, b"\xff" * 4 * MB)


def test_smaller_blocks_where_large_ones_are_refused():
    with Bench() as bench:
        package = bench.package(**KB200)
        bench.board.ask("set max-block 0x400")
        bench.flash_well(package)
        check_flash(bench.board, package, b"\xff" * 4 * MB)
        assert bench.board.count("DEFL_DATA") > 100
        assert bench.board.begins() == 1 + 6, "found out once, not at every piece"


# ---- transfers that go wrong and are mended --------------------------------------------------------------------------

MENDED = {
    "a_block_garbled_on_the_way": "on=DEFL_DATA,nth=5 do=garble-request",
    "a_block_refused_for_its_checksum": "on=DEFL_DATA,nth=4 do=refuse,07",
    "a_deflate_stream_refused": "on=DEFL_DATA,nth=4 do=refuse,0b",
    "a_begin_refused": "on=DEFL_BEGIN,nth=2 do=refuse,06",
    "a_reply_lost_while_writing": "on=DEFL_DATA,nth=6 do=drop-reply",
    "a_reply_lost_while_erasing": "on=DEFL_BEGIN,nth=3 do=drop-reply",
    "a_reply_garbled": "on=DEFL_DATA,nth=6 do=garble-reply",
    "a_reply_cut_short": "on=MD5,nth=3 do=truncate-reply",
    "a_block_s_reply_that_comes_twice": "on=DEFL_DATA,nth=3,times=5 do=duplicate-reply",
    "a_digest_that_comes_twice": "on=MD5,nth=2,times=9 do=duplicate-reply",
    "bytes_lost_in_a_block": "on=DEFL_DATA,nth=3 do=lose-bytes,100",
    "a_bit_that_falls_over_on_the_flash": "on=DEFL_DATA,nth=7 do=corrupt-flash",
    "noise_between_replies": "on=MD5,nth=2,times=4 do=noise,40",
    "a_brownout_while_writing": "on=DEFL_DATA,nth=5,moment=mid-frame do=brownout",
}


def mended(fault):
    @takes(5)
    def test():
        before = lived_in_flash(4 * MB)
        with Bench([dict(flash=before)], connect_timeout=10) as bench:
            package = bench.package(**KB200)
            bench.board.fault(fault)
            bench.flash_well(package, seconds=60)
            assert bench.board.status()["faults_pending"] == 0, "the fault was never reached"
            check_flash(bench.board, package, before)
    test.__module__ = __name__
    return test


for name, fault in MENDED.items():
    globals()[f"test_mends_{name}"] = mended(fault)


@takes(15)
def test_mends_a_line_with_wrong_bits_now_and_then():
    with Bench() as bench:
        package = bench.package(app_bytes=120_000)
        bench.board.ask("set seed 5")
        bench.board.ask("set flip-rate 0.00002")
        bench.flash_well(package, seconds=90)
        bench.board.ask("set flip-rate 0")
        check_flash(bench.board, package, b"\xff" * 4 * MB)


# ---- more than one at a time -----------------------------------------------------------------------------------------

def test_two_boards_at_once():
    before = [lived_in_flash(4 * MB, seed=1), lived_in_flash(8 * MB, seed=2)]
    with Bench([dict(flash=before[0], options=("--fast", "--mac", "30:ae:a4:00:00:01")),
                dict(flash=before[1], flash_bytes=8 * MB, options=("--fast", "--mac", "30:ae:a4:00:00:02"))]) as bench:
        package = bench.package(app_bytes=600_000)
        for board in bench.boards:
            board.fault("on=DEFL_BEGIN do=delay-reply,300")
        paths = [bench.start_flash(package, board) for board in bench.boards]
        wait_for(lambda: {bench.job(path)["Phase"] for path in paths} == {"begin"}, 10, "both at work at once")
        for path, board, flash in zip(paths, bench.boards, before):
            assert bench.wait_job(path)["State"] == "done"
            check_flash(board, package, flash)
        assert sorted(os.listdir(bench.state / "backup")) == ["30aea4000001", "30aea4000002"]
        assert bench.bus.call("/org/wipyd1", "org.wipyd1.Manager", "FindDevice", "s", "30:AE:A4:00:00:02")[0] == \
            bench.device_path(bench.boards[1])


def test_a_second_client_is_told_which_job_holds_the_device():
    with Bench() as bench:
        package = bench.package(**KB200)
        bench.board.fault("on=DEFL_BEGIN do=delay-reply,1500")
        path = bench.start_flash(package)
        for arguments in (["flash", "board", package], ["info", "board"]):
            result = bench.ctl(*arguments)
            assert result.code == 5 and "job 1" in result.err and "wipyctl cancel" in result.err, result
        assert bench.wait_job(path)["State"] == "done"
        check_flash(bench.board, package, b"\xff" * 4 * MB)


def test_ctrl_c_detaches_and_the_job_goes_on():
    with Bench() as bench:
        package = bench.package(**KB200)
        bench.board.fault("on=DEFL_BEGIN,nth=2 do=delay-reply,700")
        client = bench.start_ctl("flash", "board", str(package))
        wait_for(lambda: bench.board.begins() >= 2, 10, "the second region")
        client.send_signal(signal.SIGINT)
        out, err = client.communicate(timeout=10)
        assert client.returncode == 1, (client.returncode, out, err)
        assert "wipyctl cancel 1" in err, err
        job = bench.wait_job("/org/wipyd1/job/1")
        assert job["State"] == "done", job
        check_flash(bench.board, package, b"\xff" * 4 * MB)


def test_cancel_stops_the_job_and_the_client_says_so():
    with Bench() as bench:
        package = bench.package(**KB200)
        bench.board.fault("on=DEFL_DATA,nth=8 do=delay-reply,500")
        client = bench.start_ctl("flash", "board", str(package))
        wait_for(lambda: bench.board.count("DEFL_DATA") == 8, 10, "the eighth block")
        result = bench.ctl("cancel", "1")
        assert result.code == 0, result
        out, err = client.communicate(timeout=10)
        assert client.returncode == 6, (client.returncode, out, err)
        job = bench.job("/org/wipyd1/job/1")
        assert (job["State"], job["Error"]) == ("cancelled", "org.wipyd1.Error.Cancelled"), job
        assert bench.ctl("cancel", "1").code == 0  # over already
        assert bench.ctl("cancel", "7").code == 3
        bench.flash_well(package)
        check_flash(bench.board, package, b"\xff" * 4 * MB)


def test_no_block_returns_at_once():
    with Bench() as bench:
        package = bench.package(**KB200)
        bench.board.fault("on=DEFL_BEGIN do=delay-reply,1000")
        result = bench.ctl("flash", "board", package, "--no-block")
        assert result.code == 0 and "1" in result.out, result
        assert bench.job("/org/wipyd1/job/1")["State"] in ("queued", "running")
        assert bench.wait_job("/org/wipyd1/job/1")["State"] == "done"


# ---- a person helps --------------------------------------------------------------------------------------------------

def test_waits_for_the_person_and_goes_on():
    """Not in download mode: the job says what to do and notices when it is done."""
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before, download=False)]) as bench:
        package = bench.package(**KB200)
        path = bench.start_flash(package, connect_timeout=30)
        job = wait_for(lambda: (lambda j: j["State"] == "waiting" and j)(bench.job(path)), 10, "the job waits")
        assert "G23" in job["UserAction"] and "reset" in job["UserAction"], job
        bench.board.download()
        job = bench.wait_job(path)
        assert job["State"] == "done", job
        check_flash(bench.board, package, before)


def test_after_reset_with_the_jumper_still_on_the_loader_is_back():
    with Bench() as bench:
        package = bench.package(**KB200)
        bench.flash_well(package)
        bench.board.ask("reset")
        bench.board.wait("state", "download")
        assert bench.board.status()["boots"] == 0
        assert bench.ctl("info", "board").code == 0
        said = bench.board.run_firmware()
        assert "Pycom MicroPython 1.20.1.r1" in said and "WiPy with ESP32" in said, said


# ---- real time -------------------------------------------------------------------------------------------------------

@quiet
@takes(12)
def test_a_paced_board_at_921600():
    """With wire, erase and program times of a real one. Sanity only: make bench has the limits."""
    with Bench([dict(options=())], stub="off") as bench:
        package = bench.package(app_bytes=120_000)
        started = time.monotonic()
        job = bench.flash_well(package, baud=921600, seconds=60)
        took = time.monotonic() - started
        status = bench.board.status()
        sent, received = job["WireBytes"]
        ideal = (sent + received) * 10 / 921600 + (status["erase_us"] + status["program_us"]) / 1e6
        timings = dict(job["Timings"])
        writing = (timings["begin"] + timings["write"]) / 1000
        assert ideal * 0.9 < writing < ideal * 2, f"{writing:.2f} s, should be {ideal:.2f} s"
        assert took < ideal + 10, f"{took:.2f} s in all"
        assert job["Rate"] > 0
        check_flash(bench.board, package, b"\xff" * 4 * MB)


# ---- the progress that is told ---------------------------------------------------------------------------------------

def test_progress_only_rises_and_ends_at_1():
    with Bench() as bench:
        package = bench.package(app_bytes=600_000)
        bench.board.fault("on=DEFL_DATA,nth=10,times=40 do=delay-reply,20")
        path = bench.start_flash(package)
        seen = []

        def ended():
            job = bench.job(path)
            seen.append((job["Progress"], job["BytesDone"]))
            return job["State"] == "done"

        wait_for(ended, 20, "the end of the job")
        assert seen == sorted(seen) and seen[-1][0] == 1.0 and len(set(seen)) > 5, seen


def test_options_on_the_bus_are_carried_out():
    with Bench() as bench:
        bench.import_firmware(bench.package(**KB200))
        path, = bench.bus.call(bench.device_path(), "org.wipyd1.Device", "Flash", "a{sv}",
                               {"version": Variant("s", "1.20.1.r1"), "dry-run": Variant("b", True),
                                "baud": Variant("u", 230400), "connect-timeout": Variant("u", 2)})
        job = bench.wait_job(path)
        assert job["State"] == "done" and job["DryRun"] and bench.board.count("CHANGE_BAUDRATE") == 2, job


@takes(4)
def test_a_job_that_is_over_holds_nothing_of_its_package():
    """What it was handed is closed, and what was unpacked is gone; what was done where can still be asked."""
    with Bench() as bench:
        folder = f"/proc/{bench.wipyd.pid}/fd"

        def packages_open():
            names = []
            for fd in os.listdir(folder):
                with contextlib.suppress(FileNotFoundError):
                    names.append(os.readlink(f"{folder}/{fd}"))
            return [name for name in names if "memfd" in name or "/spool/" in name]

        def resident_kib():
            text = Path(f"/proc/{bench.wipyd.pid}/status").read_text()
            return int(text[text.index("VmRSS:"):].split()[1])

        package = bench.package(app_bytes=500_000)
        first = bench.flash_well(package)
        for _ in range(4):
            bench.flash_well(package)
        before = resident_kib()
        for _ in range(15):
            again = bench.flash_well(package)
        wait_for(lambda: not packages_open(), 5, f"no package is open: {packages_open()}")
        assert SANITIZED or VALGRIND or resident_kib() < before + 3000, f"{before} KiB, then {resident_kib()}"
        assert {region[4] for region in first["Regions"]} == {"written", "equal"}, first["Regions"]
        assert {region[4] for region in again["Regions"]} == {"equal"}, again["Regions"]
        assert [region[:4] for region in first["Regions"]] == [region[:4] for region in again["Regions"]]
