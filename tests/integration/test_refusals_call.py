"""Bad packages and bad calls, one refusal after the other."""
import os
import random
import re

import packages
from harness import DEVICE, MB, OURS, Bench, DBusError, Variant, lived_in_flash, memfd, wait_for
from refusals import KB200, check_refusal, check_untouched


# ---- the package -----------------------------------------------------------------------------------------------------

def package_is_refused(fault):
    def test():
        error = packages.FAULTS[fault]
        shape = "list" if fault == "app-truncated" else "object"
        with Bench() as bench:
            package = bench.package(fault=fault, shape=shape, app_bytes=150_000)
            result = bench.ctl("flash", "board", package)
            by_client = fault == "empty"
            check_refusal(bench, result, error, job=None if by_client else "/org/wipyd1/job/1")
            if not by_client:
                assert bench.job("/org/wipyd1/job/1")["Phase"] in ("prepare", "plan")
                assert len(bench.job("/org/wipyd1/job/1")["ErrorText"]) > 10, "a story"
            check_untouched(bench, b"\xff" * 4 * MB)
    test.__module__ = __name__
    return test


for fault in packages.FAULTS:
    globals()["test_package_with_" + fault.replace("-", "_")] = package_is_refused(fault)


def test_every_package_fault_after_the_other_in_one_daemon():
    """None of them leaves anything behind: the last package, a good one, works; and so does a list script's fault."""
    with Bench() as bench:
        for fault, error in packages.FAULTS.items():
            if fault in ("empty", "too-long", "total-too-large"):
                continue  # seen by the client, or heavy
            job = bench.flash(bench.package("bad.tar.gz", fault=fault, shape="both", app_bytes=150_000))
            assert job["Error"] == OURS + error, (fault, job["Error"], job["ErrorText"])
        check_untouched(bench, b"\xff" * 4 * MB)
        bench.flash_well(bench.package(**KB200))


def odd_package(bench, change, **options):
    draft = packages.Draft(**{"board": "WiPy", "release": "1.20.1.r1", "shape": "object", "app_bytes": 100_000, "seed": 1,
                              **options})
    change(draft)
    path = bench.folder / "odd.tar.gz"
    path.write_bytes(draft.pack())
    return path


def test_a_script_that_is_bad_for_the_other_flash_size_alone():
    for flash_bytes in (4 * MB, 8 * MB):
        with Bench([dict(flash_bytes=flash_bytes)]) as bench:
            package = odd_package(bench, lambda d: d.scripts["script_8MB"]["script"].append(["e", "0x3FF000", "0x1000"]))
            result = bench.ctl("flash", "board", package)
            if flash_bytes == 4 * MB:
                assert result.code == 0, result
                assert bench.board.flash() == packages.expected_flash(package, flash_bytes, b"\xff" * flash_bytes)
            else:
                check_refusal(bench, result, "ScriptProtected", "script_8MB|0x3ff000|config")
                check_untouched(bench, b"\xff" * flash_bytes)


def test_a_package_for_the_other_flash_size_alone():
    with Bench() as bench:
        package = odd_package(bench, lambda d: d.scripts.pop("script_4MB"))
        check_refusal(bench, bench.ctl("flash", "board", package), "ScriptMissing", "")
        check_untouched(bench, b"\xff" * 4 * MB)


def test_a_file_that_is_no_archive_or_too_large():
    with Bench() as bench:
        for name, data, error in [("page.tar.gz", b"<html>404 Not Found</html>\n", "PackageInvalid"),
                                  ("random.tar.gz", random.Random(1).randbytes(50_000), "PackageInvalid"),
                                  ("image.tar.gz", packages.application_image("WiPy", "1", 5000, 1), "PackageInvalid"),
                                  ("large.tar.gz", bytes(8 * MB + 1), "PackageTooLarge"),
                                  ("zeros.tar.gz", bytes(8 * MB), "PackageInvalid")]:
            path = bench.folder / name
            path.write_bytes(data)
            result = bench.ctl("flash", "board", path)
            check_refusal(bench, result, error, job=None)
        check_untouched(bench, b"\xff" * 4 * MB)


def test_packages_for_other_boards():
    before = lived_in_flash(4 * MB)
    with Bench([dict(flash=before)]) as bench:
        for name in ("LoPy", "SiPy", "FiPy"):
            package = bench.package(board=name, **KB200)
            check_refusal(bench, bench.ctl("flash", "board", package), "WrongBoard", f"for {name}", r"WiPy 1\.17\.3\.b1",
                          job="/org/wipyd1/job/" + str(["LoPy", "SiPy", "FiPy"].index(name) + 1))
        check_untouched(bench, before)


def test_a_package_for_another_board_on_a_blank_one():
    with Bench() as bench:
        package = bench.package(board="LoPy", **KB200)
        check_refusal(bench, bench.ctl("flash", "board", package), "WrongBoard", "for LoPy")
        check_untouched(bench, b"\xff" * 4 * MB)


def another_board_is_refused(cluster_offset):
    def test():
        before = lived_in_flash(4 * MB, board="LoPy", cluster_offset=cluster_offset)
        with Bench([dict(flash=before)]) as bench:
            package = bench.package(**KB200)
            check_refusal(bench, bench.ctl("flash", "board", package), "WrongBoard", "for WiPy", r"LoPy 1\.17\.3\.b1")
            check_untouched(bench, before)
    test.__module__ = __name__
    return test


for offset in (0x2B40, 0x13D0C, 0x18380, 0x2204C):  # where real images have it
    globals()[f"test_a_lopy_with_its_name_at_{offset:x}_is_refused"] = another_board_is_refused(offset)


# ---- the caller ------------------------------------------------------------------------------------------------------

def check_bus_error(bench, error, call, *facts):
    try:
        call()
    except DBusError as refused:
        assert refused.name == (error if "." in error else OURS + error), refused
        assert refused.text, "a sentence"
        for fact in facts:
            assert re.search(fact, refused.text), (fact, refused)
    else:
        raise AssertionError(f"no {error}")


def test_packages_that_could_still_change():
    with Bench() as bench:
        data = bench.package(**KB200).read_bytes()

        def flash(fd):
            try:
                bench.bus.call(bench.device_path(), DEVICE, "FlashFile", "hsa{sv}", fd, "x", {})
            finally:
                os.close(fd)

        for seals in (0, 1, 2, 4, 8, 7, 14, 13, 11):
            check_bus_error(bench, "InvalidArgument", lambda: flash(memfd(data, seals)), "seal")
        path = bench.folder / "package.tar.gz"
        check_bus_error(bench, "InvalidArgument", lambda: flash(os.open(path, os.O_RDONLY)), "seal")
        check_bus_error(bench, "InvalidArgument", lambda: flash(os.open("/dev/zero", os.O_RDONLY)), "seal")
        reading, writing = os.pipe()
        check_bus_error(bench, "InvalidArgument", lambda: flash(reading), "seal")
        os.close(writing)
        check_bus_error(bench, "PackageInvalid", lambda: flash(memfd(b"")), "empty")
        check_bus_error(bench, "PackageTooLarge", lambda: flash(memfd(bytes(8 * MB + 1))), "8 MiB")
        assert bench.device()["Job"] == "/" and not [p for p in bench.bus.managed() if "/job/" in p]
        n_fds = len(os.listdir(f"/proc/{bench.wipyd.pid}/fd"))
        for _ in range(20):
            check_bus_error(bench, "InvalidArgument", lambda: flash(memfd(data, 0)))
        assert len(os.listdir(f"/proc/{bench.wipyd.pid}/fd")) <= n_fds + 1, "descriptors pile up"
        bench.flash_well(data)


def test_options_that_are_unknown_or_out_of_bounds():
    with Bench() as bench:
        bench.flash_well(bench.package(**KB200))
        path = bench.device_path()

        def call(method, options):
            return lambda: bench.bus.call(path, DEVICE, method, "a{sv}", options)

        number, text, flag = lambda n: Variant("u", n), lambda s: Variant("s", s), lambda b: Variant("b", b)
        for method, options, error, fact in [
            ("Flash", {"force": flag(True)}, "UnknownOption", "force"),
            ("Flash", {"": flag(True)}, "UnknownOption", ""),
            ("Flash", {"baud": number(115200), "Baud": number(1)}, "UnknownOption", "Baud"),
            ("Flash", {"baud": number(9599)}, "InvalidArgument", "9600 to 4000000, not 9599"),
            ("Flash", {"baud": number(4000001)}, "InvalidArgument", "4000001"),
            ("Flash", {"baud": number(0)}, "InvalidArgument", "not 0"),
            ("Flash", {"baud": Variant("i", 115200)}, "InvalidArgument", "type u"),
            ("Flash", {"baud": text("115200")}, "InvalidArgument", "type u"),
            ("Flash", {"connect-timeout": number(0)}, "InvalidArgument", "1 to 3600"),
            ("Flash", {"connect-timeout": number(3601)}, "InvalidArgument", "3601"),
            ("Flash", {"dry-run": number(1)}, "InvalidArgument", "type b"),
            ("Flash", {"version": number(1)}, "InvalidArgument", "type s"),
            ("Flash", {"version": text("nonsense")}, "NoSuchFirmware", "nonsense"),
            ("Flash", {"version": text("")}, "NoSuchFirmware", ""),
            ("Identify", {"dry-run": flag(True)}, "UnknownOption", "dry-run"),
            ("Identify", {"dry-run": flag(False)}, "UnknownOption", "dry-run"),
            ("Identify", {"version": text("1.20.1.r1")}, "UnknownOption", "version"),
            ("Identify", {"baud": number(1)}, "InvalidArgument", ""),
        ]:
            check_bus_error(bench, error, call(method, options), fact)
        fd = memfd(b"x")
        check_bus_error(bench, "UnknownOption", lambda: bench.bus.call(path, DEVICE, "FlashFile", "hsa{sv}", fd, "x",
                                                                      {"version": text("1")}), "version")
        os.close(fd)
        assert len([p for p in bench.bus.managed() if "/job/" in p]) == 1


def test_calls_for_what_is_not_there():
    with Bench() as bench:
        manager = ("/org/wipyd1", "org.wipyd1.Manager")
        for name in ("ttyUSB9", "", "/dev/null", "30:ae:a4:01:02:03", "x" * 5000):
            check_bus_error(bench, "NoSuchDevice", lambda: bench.bus.call(*manager, "FindDevice", "s", name))
        for number in (0, 1, 4294967295):
            check_bus_error(bench, "NoSuchJob", lambda: bench.bus.call(*manager, "FindJob", "u", number))
        check_bus_error(bench, "NoSuchFirmware", lambda: bench.bus.call(bench.device_path(), DEVICE, "Flash", "a{sv}", {}))
        job = bench.flash_well(bench.package(**KB200))
        check_bus_error(bench, "JobFinished", lambda: bench.bus.call(f"/org/wipyd1/job/{job['Id']}", "org.wipyd1.Job", "Cancel"),
                        "job 1 is done")
        for arguments, code in [(["flash", "ttyUSB9", "1.20.1.r1"], 3), (["info", "ttyUSB9"], 3), (["cancel", "99"], 3)]:
            result = bench.ctl(*arguments)
            assert result.code == code and "hint: " in result.err, result


def test_busy_device_on_the_bus():
    with Bench() as bench:
        package = bench.package(**KB200)
        bench.board.fault("on=DEFL_BEGIN do=delay-reply,600")
        path = bench.start_flash(package)
        wait_for(lambda: bench.job(path)["Phase"] == "begin", 5, "the job is at work")
        check_bus_error(bench, "DeviceBusy", lambda: bench.start_flash(package), "job 1 is under way on board")
        check_bus_error(bench, "DeviceBusy", lambda: bench.bus.call(bench.device_path(), DEVICE, "Identify", "a{sv}", {}))
        assert bench.wait_job(path)["State"] == "done"


def test_odd_names_for_a_package():
    with Bench() as bench:
        data = bench.package(**KB200).read_bytes()
        for name in ("", "x" * 15000, "ä" * 1000, "xä" * 1000, "\n\x1b[2J\x07", "../../etc/passwd", "%s%n"):
            fd = memfd(data)
            path, = bench.bus.call(bench.device_path(), DEVICE, "FlashFile", "hsa{sv}", fd, name, {"dry-run": Variant("b", True)})
            os.close(fd)
            job = bench.wait_job(path)
            assert job["State"] == "done", job["ErrorText"]
            # A long one is cut, between characters.
            assert job["Package"] == name if len(name) < 200 else name.startswith(job["Package"]), job["Package"]
            assert len(job["Package"].encode()) >= min(len(name.encode()), 254), job["Package"]
            assert path in bench.bus.managed()
            status = bench.ctl("status")
            assert status.code == 0 and "\x1b[2J" not in status.out and "\x07" not in status.out, status
        assert "\x1b" not in bench.log(), "a name steers the log's terminal"
