"""Bad input, one refusal after the other: chips and flashes that are not written to. See refusals.py for what a refusal
is."""
import re
from pathlib import Path

import packages
from harness import CONFIG, MB, ROOT, Bench, lived_in_flash, takes
from refusals import KB200, ROWS, check_refusal, check_repeat, check_untouched


# ---- the chip --------------------------------------------------------------------------------------------------------

def chip_is_refused(settings, error, *facts, options=("--fast",), cures=(), flash_bytes=4 * MB):
    def test():
        before = lived_in_flash(flash_bytes)
        with Bench([dict(flash=before, flash_bytes=flash_bytes, options=options)]) as bench:
            package = bench.package(**KB200)
            for setting in settings:
                bench.board.ask(f"set {setting}")
            check_refusal(bench, bench.ctl("flash", "board", package), error, *facts)
            check_untouched(bench, before)
            for cure in cures:
                bench.board.ask(f"set {cure}")
            if cures:
                check_repeat(bench, package, before)
    test.__module__ = __name__
    return test


test_another_chip = chip_is_refused(["magic 6921506f"], "NotEsp32", "0x6921506f", "0x00f01d83", cures=["magic 00f01d83"])
test_flash_encryption_with_one_bit = chip_is_refused(["efuse 0 00100000"], "FlashEncrypted", "0x00100000",
                                                     cures=["efuse 0 00300000"])  # an even number of ones: off again
test_flash_encryption_with_seven_bits = chip_is_refused(["efuse 0 07f00000"], "FlashEncrypted", "0x07f00000")
test_secure_boot_1 = chip_is_refused(["efuse 6 00000010"], "SecureBoot", "0x00000010", cures=["efuse 6 00000000"])
test_secure_boot_2 = chip_is_refused(["efuse 3 00008000", "efuse 5 00100000", "efuse 6 00000020"], "SecureBoot",
                                     "0x00000020", options=("--fast", "--blank-chip"))
test_flash_id_of_ones = chip_is_refused(["flash-id ffffff"], "FlashSizeUnknown", "ffffff", cures=["flash-id 1640c8"])
test_flash_id_of_zeros = chip_is_refused(["flash-id 0"], "FlashSizeUnknown", "000000")
test_flash_id_unknown = chip_is_refused(["flash-id 5540c8"], "FlashSizeUnknown", "5540c8")
test_flash_of_1_mb = chip_is_refused(["flash-id 1440c8"], "FlashTooSmall", "1024 KiB")
test_flash_of_2_mb = chip_is_refused(["flash-id 1540c8"], "FlashTooSmall", "2048 KiB", cures=["flash-id 1640c8"])
test_flash_of_16_mb = chip_is_refused(["flash-id 1840c8"], "FlashTooSmall", "16384 KiB")


def test_info_is_given_of_chips_that_are_not_flashed():
    """Identify writes nothing, so encryption and secure boot are no reason to refuse."""
    with Bench() as bench:
        bench.board.ask("set efuse 0 00100000")
        bench.board.ask("set efuse 6 00000010")
        result = bench.ctl("info", "board")
        assert result.code == 0 and "30:ae:a4:01:02:03" in result.out, result


# ---- the flash -------------------------------------------------------------------------------------------------------

@takes(4)
def test_write_protected_flash():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(**KB200)
        bench.board.ask("set write-protect hard")
        result = bench.ctl("flash", "board", package)
        check_refusal(bench, result, "VerifyFailed", "region 0x", "MD5")
        assert bench.board.flash() == before
        bench.board.ask("set write-protect off")
        check_repeat(bench, package, before)


def test_a_flash_that_spoils_every_block():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(**KB200)
        bench.board.fault("on=DEFL_DATA,times=100000 do=corrupt-flash")
        result = bench.ctl("flash", "board", package)
        check_refusal(bench, result, "VerifyFailed", "region 0x1000 .bootloader.bin.", "MD5")
        assert bench.board.flash()[CONFIG] == before[CONFIG]
        bench.board.fault("clear")
        check_repeat(bench, package, before)


def always_refused(fault, error, *facts):
    """By the ROM; test_stub.py has the same of a stub, whose errors are others."""
    def test():
        before = lived_in_flash(4 * MB)
        with Bench([dict(flash=before)], stub="off") as bench:
            package = bench.package(**KB200)
            bench.board.fault(fault)
            check_refusal(bench, bench.ctl("flash", "board", package), error, *facts)
            assert bench.board.flash()[CONFIG] == before[CONFIG]
            bench.board.fault("clear")
            check_repeat(bench, package, before)
    test.__module__ = __name__
    return test


test_begin_always_refused = always_refused("on=DEFL_BEGIN,times=1000 do=refuse,06", "WriteFailed", "region 0x1000", "operation failed")
test_data_always_refused = always_refused("on=DEFL_DATA,times=1000 do=refuse,07", "WriteFailed", "block 0", "checksum wrong")
test_reading_always_refused = always_refused("on=READ_FLASH_SLOW,times=1000 do=refuse,09", "ChipRefused", "flash read failed")
test_identifying_always_refused = always_refused("on=READ_REG,times=1000 do=refuse,05", "ChipRefused", "malformed")
test_attach_always_refused = always_refused("on=SPI_ATTACH,times=1000 do=refuse,06", "ChipRefused", "operation failed")
test_compare_always_refused = always_refused("on=MD5,times=1000 do=refuse,06", "ChipRefused", "comparing", "operation failed")


def test_the_config_block_changes_under_the_job():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(**KB200)
        bench.board.fault("on=DEFL_DATA,nth=4 do=touch-config")
        result = bench.ctl("flash", "board", package)
        check_refusal(bench, result, "GuardFailed", "config block", "backup")
        saved, = bench.state.glob("backup/30aea4010203/*/config.bin")
        assert saved.read_bytes() == before[CONFIG]


def test_no_place_for_the_backup():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        package = bench.package(**KB200)
        (bench.state / "backup").write_text("in the way")
        result = bench.ctl("flash", "board", package)
        check_refusal(bench, result, "BackupFailed", "saving to", "Not a directory")
        check_untouched(bench, before)
        (bench.state / "backup").unlink()
        check_repeat(bench, package, before)


# ---- all of them -----------------------------------------------------------------------------------------------------

NOT_HERE = {
    "None": "no error",
    "BaudUnsupported": "a pty takes every rate; see tests/unit/test_serial_port",
    "Quarantined": "test_client_firmware.test_quarantine_is_told_and_ended_by_a_person",
    "NoMemory": "memory does not run out here",
    "System": "nothing that the system refuses is left without a name of its own",
}


def test_every_error_is_provoked_somewhere():
    """Here, or where a unit test is the better place."""
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    units = "".join(path.read_text() for path in ROOT.glob("tests/unit/*.c"))
    raised = "".join(path.read_text() for path in ROOT.glob("daemon/**/*.c"))
    symbols = dict(re.findall(r'X\((\w+),\s*"(\w+)"', (ROOT / "proto/error.h").read_text()))
    missing = {name for symbol, name in symbols.items()
               if f'"{name}"' not in text and name not in NOT_HERE and name not in packages.FAULTS.values() and
               f"WIPYD_ERROR_{symbol}" in raised and f"WIPYD_ERROR_{symbol}" not in units}
    assert not missing, f"nothing provokes {sorted(missing)}"
    assert set(NOT_HERE) <= set(ROWS)
