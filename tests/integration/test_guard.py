"""What no checksum protects: a command that was damaged on its way and carried out elsewhere, and answers that come twice."""
import packages
from harness import CONFIG, MB, OURS, Bench, lived_in_flash, takes

OWN = (slice(0x9000, 0x10000), slice(0x380000, 0x3FF000), CONFIG)


def damaged_begins(op, seeds):
    """One BEGIN of each job has a wrong byte: what became of the jobs, and whether the flash was right."""
    before, ends = lived_in_flash(4 * MB), []
    with Bench([dict(flash=before)], connect_timeout=10) as bench:
        package = bench.package(app_bytes=60_000)
        wanted = packages.expected_flash(package, 4 * MB, before)
        for seed in seeds:
            bench.board.flash_path.write_bytes(before)
            bench.board.ask(f"set seed {seed * 7919003}")
            bench.board.fault(f"on={op} do=garble-request")
            job = bench.flash(package)
            ends.append((job["State"], job["Error"], job["ErrorText"], bench.board.flash() == wanted))
            bench.board.ask("fault clear")
            bench.board.download()
    return ends


@takes(15)
def test_a_begin_that_was_damaged_on_its_way_is_never_told_as_done():
    """The chip erases elsewhere or too much, and says yes; what was asked for may turn out right all the same."""
    ends = damaged_begins("DEFL_BEGIN", range(1, 25))
    assert all(is_right for state, _, _, is_right in ends if state == "done"), ends
    noticed = [end for end in ends if end[:2] == ("failed", OURS + "GuardFailed")]
    assert noticed, f"no seed made the chip erase elsewhere: {ends}"
    assert all("which is not of the package, is not what it was" in end[2] or "config block" in end[2] for end in noticed), noticed
    assert all(not end[3] for end in noticed), "nothing was wrong"
    assert sum(end[0] == "done" for end in ends) > len(ends) / 4, "what can be repaired is repaired"


@takes(10)
def test_a_region_that_was_right_and_is_spoilt_during_the_job_is_written_once_more():
    """An erase that reaches into what was found equal before."""
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(app_bytes=200_000)
        wanted = packages.expected_flash(package, 4 * MB, before)
        flash = bytearray(wanted)
        flash[0x1000:0x1100] = bytes(0x100)  # the bootloader differs, all else is right
        bench.board.flash_path.write_bytes(flash)
        bench.board.fault("on=DEFL_BEGIN do=delay-reply,300")
        path = bench.start_flash(package)
        bench.board.wait("busy", True)
        with open(bench.board.flash_path, "r+b") as file:  # what the chip would do at a damaged BEGIN
            file.seek(0x20000)
            file.write(b"\xff" * 0x1000)
        job = bench.wait_job(path)
        assert job["State"] == "done", (job["Error"], job["ErrorText"])
        assert bench.board.flash() == wanted
        states = {region[0]: region[4] for region in job["Regions"]}
        assert states[0x1000] == states[0x20000] == "written" and states[0x10000] == "equal", job["Regions"]
        assert job["BytesDone"] == job["BytesTotal"], job


@takes(20)
def test_answers_that_come_twice_are_not_taken_for_the_next_one():
    """At the wire's own pace the second answer comes when the next command has been sent."""
    before = lived_in_flash(4 * MB)
    options = ("--timings", "sector_us=1,block_us=1,page_us=1,md5_us_per_kib=1")
    with Bench([dict(flash=before, options=options)]) as bench:
        package = bench.package(app_bytes=200_000)
        wanted = packages.expected_flash(package, 4 * MB, before)
        flash = bytearray(wanted)
        for at in (0x20000, 0x40000):  # every other piece differs
            flash[at:at + 0x100] = bytes(0x100)
        bench.board.flash_path.write_bytes(flash)
        for op in ("MD5", "READ_REG"):
            bench.board.fault(f"on={op},times=100000 do=duplicate-reply")
        job = bench.flash_well(package, dry_run=True)
        for offset, size, _, name, state in job["Regions"]:
            is_right = bytes(flash[offset:offset + size]) == wanted[offset:offset + size]
            assert state == ("equal" if is_right else "differs"), (hex(offset), name, state)
        assert job["Mac"] == "30:ae:a4:01:02:03"
        job = bench.flash_well(package)
        assert bench.board.flash() == wanted
        written = {region[0]: region[1] for region in job["Regions"] if region[4] == "written"}
        assert list(written) == [0x20000, 0x40000] and job["BytesTotal"] == sum(written.values()), job["Regions"]
