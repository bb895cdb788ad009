"""Packages at hand: quarantine, `wipyctl firmware`, bad packages, no network, idleness."""
import hashlib
import os
import subprocess
import time

from firmware_bench import OLD, OURS, FirmwareBench, check_refused, folder, int_version, release, release_bytes
from firmware_server import FirmwareServer
from harness import BUILD, MANAGER, SANITIZED, SHARED, VALGRIND, Skip, error_row, quiet, takes, wait_for
from packages import FAULTS, MB

NEW = "1.20.1.r1"
NAME = f"WiPy-{NEW}.tar.gz"

# ---- quarantine ------------------------------------------------------------------------------------------------------

@takes(2)
def test_hash_mismatch_is_quarantined_until_released():
    with FirmwareServer(folder() / "server") as server, FirmwareBench(server) as bench:
        server.add(*release(NEW))
        bench.ask(server.url("wrong-hash/findupgrade"))
        result = bench.refresh()
        assert result.code == 1 and "quarantine" in result.err, result
        row = bench.show(NEW)
        assert row["state"] == "quarantined", row
        assert row["server_hash"] == "0123456789abcdef0123456789abcdef01234567" and row["server_hash"] in row["reason"], row
        assert "quarantined" in bench.ctl("firmware", "list").out
        assert bench.releases() == [OLD]

        check_refused(bench.ctl("flash", "board", NEW), 1, "Quarantined")
        check_refused(bench.ctl("flash", "board", NEW, "--json"), 1, "Quarantined")
        assert bench.flash_stored() == OLD, "without a release: the newest good one"
        result = bench.ctl("firmware", "verify", NEW)
        assert result.code == 1 and "quarantined" in result.out + result.err, "to verify is not to release"
        bench.restart()
        check_refused(bench.ctl("flash", "board", NEW), 1, "Quarantined")
        n_requests = server.count("wrong-hash/packages")
        assert bench.refresh().code == 1
        assert server.count("wrong-hash/packages") == n_requests, "the same bad file is fetched again"

        result = bench.ctl("firmware", "unquarantine", NEW)
        assert result.code == 0, result
        assert bench.show(NEW)["state"] == "good"
        assert bench.flash_stored(NEW) == NEW
        bench.restart()
        assert bench.flash_stored() == NEW


def test_import_does_not_release():
    """The same bytes, brought by a person who doesn't know."""
    with FirmwareServer(folder() / "server") as server, FirmwareBench(server, boards=0) as bench:
        server.add(*release(NEW))
        bench.ask(server.url("wrong-hash/findupgrade"))
        assert bench.refresh().code == 1
        result = bench.ctl("firmware", "import", bench.put(release_bytes(NEW), NAME))
        assert bench.show(NEW)["state"] == "quarantined", result
        assert "can't be flashed" in result.out + result.err, result
        server.reset()
        bench.ask(server.url("good/findupgrade"))
        bench.refresh_well()
        assert bench.show(NEW)["state"] == "good", "the right hash ends it"


def as_nobody(bench, *arguments):
    return bench.ctl(*arguments, user=65534, group=65534, extra_groups=[])


@takes(2)
def test_others_may_look_but_not_change():
    if os.geteuid() != 0:
        raise Skip("root alone can try as somebody else")
    with FirmwareServer(folder() / "server") as server, FirmwareBench(server, boards=0) as bench:
        for path in bench.folder, bench.folder.parent:
            path.chmod(0o711)
        server.add(*release(NEW))
        bench.ask(server.url("wrong-hash/findupgrade"))
        assert bench.refresh().code == 1
        if as_nobody(bench, "--version").code != 0:
            raise Skip("another user can't run the programs here")
        for verb in ["list"], ["show", NEW]:
            result = as_nobody(bench, "firmware", *verb)
            assert result.code == 0 and NEW in result.out, result
        files, rows, n_requests = bench.store_files(), bench.firmware(), len(server.requests)
        for verb in (["refresh"], ["import", bench.put(release_bytes("1.20.3.r1"), "p.tar.gz")], ["pin", NEW], ["remove", NEW],
                     ["remove", "--force", OLD], ["unquarantine", NEW]):
            result = as_nobody(bench, "firmware", *verb)
            assert result.code == 4 and "hint:" in result.err, (verb, result)
        assert bench.store_files() == files and bench.firmware() == rows and len(server.requests) == n_requests


# ---- the verbs -------------------------------------------------------------------------------------------------------

def test_import_list_show_export():
    with FirmwareBench() as bench:
        data = release_bytes(NEW)
        sha256 = hashlib.sha256(data).hexdigest()
        row = bench.import_bytes(data, NAME)
        assert row["path"] == f"/org/wipyd1/firmware/{sha256[:16]}", row
        assert {key: row[key] for key in ("sha256", "name", "board", "release", "bytes", "order", "origin", "server_version",
                                          "server_hash", "state", "reason", "pinned")} == {
            "sha256": sha256, "name": NAME, "board": "WiPy", "release": NEW, "bytes": len(data),
            "order": int_version(NEW), "origin": "import", "server_version": "", "server_hash": "", "state": "good",
            "reason": "", "pinned": False}, row
        assert row["added_at"] and bench.import_bytes(data, NAME)["added_at"] == row["added_at"], "the same again"
        assert [one["release"] for one in bench.firmware()] == [NEW, OLD]
        for name in sha256, sha256[:4], NEW:
            assert bench.show(name)["sha256"] == sha256, name
            shown = bench.ctl("firmware", "show", name)
            assert shown.code == 0 and NEW in shown.out and sha256 in shown.out, shown
        check_refused(bench.ctl("firmware", "show", "9.9.9.r9"), 3, "NoSuchFirmware")
        check_refused(bench.ctl("firmware", "show", "9.9.9.r9", "--json"), 3, "NoSuchFirmware")

        out = bench.folder / "out.tar.gz"
        assert bench.ctl("firmware", "export", NEW, out).code == 0
        assert out.read_bytes() == data
        assert bench.ctl("firmware", "export", OLD, out).code != 0 and out.read_bytes() == data, "not without --force"
        assert bench.ctl("firmware", "export", OLD, out, "--force").code == 0 and out.read_bytes() == release_bytes(OLD)
        piped = subprocess.run([BUILD / "wipyctl", "firmware", "export", NEW, "-"], env=bench.environment(),
                               capture_output=True, timeout=20)
        assert piped.returncode == 0 and piped.stdout == data, piped.stderr
        bench.restart()
        assert bench.releases() == [NEW, OLD]
        assert bench.flash_stored(OLD) == OLD and bench.flash_stored() == NEW
        assert bench.show(NEW)["used_at"] >= row["used_at"]


def test_nothing_to_flash():
    """Each reason in its own words; the board is left alone."""
    with FirmwareBench(old=False) as bench:
        check_refused(bench.ctl("flash", "board"), 3, "NoSuchFirmware", "there is no good package for WiPy")
        check_refused(bench.ctl("flash", "board", NEW), 3, "NoSuchFirmware", f"holds release {NEW}")
        for n in 1, 2:
            row = bench.import_bytes(release_bytes(f"1.20.1.r1-vendor{n}"), f"v{n}.tar.gz")
            assert row["order"] == 0 and row["state"] == "good", row
        check_refused(bench.ctl("flash", "board"), 3, "NoSuchFirmware", "newest beyond doubt")
        assert bench.board.begins() == 0
        assert bench.flash_stored("1.20.1.r1-vendor2") == "1.20.1.r1-vendor2"


def test_several_are_imported_and_one_is_bad():
    with FirmwareBench(boards=0) as bench:
        good, bad = bench.put(release_bytes(NEW), NAME), bench.put(b"no package", "bad.tar.gz")
        result = bench.ctl("firmware", "import", good, bad)
        assert result.code == 7 and "bad.tar.gz" in result.err and NEW in result.out, result
        result = bench.ctl("firmware", "import", good, bad, "--json")
        assert result.code == 7 and [row.get("error", "") for row in result.json] == ["", OURS + "PackageInvalid"], result
        assert bench.releases() == [NEW, OLD]


def test_pin_and_remove():
    with FirmwareBench(boards=0) as bench:
        check_refused(bench.ctl("firmware", "remove", OLD), 1, "LastGood")
        bench.import_bytes(release_bytes(NEW), NAME)
        assert bench.ctl("firmware", "pin", OLD).code == 0
        assert bench.show(OLD)["pinned"] is True and "pinned" in bench.ctl("firmware", "list").out
        bench.restart()
        assert bench.show(OLD)["pinned"] is True
        check_refused(bench.ctl("firmware", "remove", OLD), 1, "Pinned")
        assert bench.ctl("firmware", "unpin", OLD).code == 0
        assert bench.show(OLD)["pinned"] is False
        result = bench.ctl("firmware", "remove", OLD)
        assert result.code == 0, result
        assert bench.releases() == [NEW]
        check_refused(bench.ctl("firmware", "remove", NEW, "--json"), 1, "LastGood")
        assert bench.releases() == [NEW]
        assert bench.ctl("firmware", "remove", NEW, "--force").code == 0
        assert bench.firmware() == [] and bench.store_files() == []
        bench.restart()
        assert bench.firmware() == []


def test_oldest_make_room_but_never_the_pinned_or_the_last_good():
    with FirmwareBench(boards=0, config="keep-packages = 3\n") as bench:
        assert bench.ctl("firmware", "pin", OLD).code == 0
        for n in range(1, 6):
            bench.import_bytes(release_bytes(f"1.20.{n}.r1"), f"WiPy-1.20.{n}.r1.tar.gz")
        wait_for(lambda: len(bench.firmware()) <= 3, 3, "room made")
        releases = bench.releases()
        assert OLD in releases and "1.20.5.r1" in releases and len(releases) == 3, releases
        wait_for(lambda: len(bench.store_files()) == 3, 2, "files gone")


DAMAGES = {
    "a flipped bit": lambda path: path.write_bytes(path.read_bytes()[:1000] + bytes([path.read_bytes()[1000] ^ 1]) +
                                                   path.read_bytes()[1001:]),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "gone": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
}


@takes(3)
def test_damaged_file_is_found_and_mended_by_import():
    with FirmwareBench() as bench:
        row = bench.import_bytes(release_bytes(NEW), NAME)
        assert bench.ctl("firmware", "verify").code == 0
        path = bench.state / "firmware" / f"{row['sha256']}.tar.gz"
        for case, damage in DAMAGES.items():
            path.chmod(0o600)
            damage(path)
            result = bench.ctl("firmware", "verify", NEW)
            assert result.code == 1, (case, result)
            bad = bench.show(NEW)
            assert bad["state"] == "missing" and bad["reason"], (case, bad)
            result = bench.ctl("flash", "board", NEW, "--json")
            assert result.code != 0 and bench.board.begins() == 0, (case, result)
            assert bench.ctl("firmware", "export", NEW, bench.folder / "x.tar.gz").code != 0, case
            assert bench.ctl("firmware", "verify").code == 1, case
            assert bench.import_bytes(release_bytes(NEW), NAME)["state"] == "good", case
            assert bench.ctl("firmware", "verify").code == 0, case
        assert bench.flash_stored() == NEW


def test_damaged_while_the_daemon_was_away():
    """Also what isn't noticed at start is never flashed."""
    with FirmwareBench() as bench:
        row = bench.import_bytes(release_bytes(NEW), NAME)
        path = bench.state / "firmware" / f"{row['sha256']}.tar.gz"
        for case, damage in DAMAGES.items():
            bench.stop_wipyd()
            path.chmod(0o600)
            damage(path)
            bench.start_wipyd()
            result = bench.ctl("flash", "board", NEW, "--json")
            assert result.code != 0 and bench.board.begins() == 0, (case, result)
            assert bench.show(OLD)["state"] == "good"
            assert bench.import_bytes(release_bytes(NEW), NAME)["release"] == NEW
            bench.ctl("firmware", "verify")
            assert bench.show(NEW)["state"] == "good", case
        assert bench.flash_stored() == NEW


BAD_IMPORTS = ["absolute-name", "dot-dot", "symlink", "device", "too-many-members", "member-too-large", "total-too-large",
               "truncated", "bad-crc", "not-gzip", "not-tar", "empty", "app-checksum", "app-truncated", "member-missing",
               "script-missing", "json-deep", "config-erase", "past-end", "overlap", "fs-erase"]


@takes(3)
def test_bad_packages_are_refused_and_not_kept():
    with FirmwareBench() as bench:
        files = bench.store_files()
        for fault in BAD_IMPORTS:
            path = bench.put(release_bytes(NEW, fault=fault), "bad.tar.gz")
            result = bench.ctl("firmware", "import", path)
            assert result.code in (1, 2) and error_row(FAULTS[fault])[0] in result.err, (fault, result)
            result = bench.ctl("firmware", "import", path, "--json")
            assert result.json["error"] == OURS + FAULTS[fault], (fault, result)
            assert bench.releases() == [OLD] and bench.store_files() == files, (fault, bench.store_files())
        bench.put(bytes(9 * MB), "large.tar.gz")
        check_refused(bench.ctl("firmware", "import", bench.folder / "large.tar.gz"), 1, "PackageTooLarge")
        bench.assert_small()
        assert bench.flash_stored() == OLD


# ---- without a network -----------------------------------------------------------------------------------------------

INSIDE = "WIPYD_TEST_INSIDE_NAMESPACE"


@takes(3)
def test_imported_package_is_flashed_in_a_namespace_without_a_route():
    """Runs itself again in a network namespace of its own: bus, daemon, board and wipyctl."""
    for unshare in ["unshare", "-n"], ["unshare", "-r", "-n"]:
        if subprocess.run([*unshare, "true"], capture_output=True).returncode == 0:
            break
    else:
        raise Skip("no network namespace is permitted")
    code = "import test_firmware_store as t; t.flash_without_a_route()"
    done = subprocess.run([*unshare, "python3", "-B", "-c", code], cwd=os.path.dirname(__file__), capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def flash_without_a_route():
    with open("/proc/net/route") as file:
        assert len(file.readlines()) <= 1, "there is a route"
    with FirmwareBench() as bench:
        bench.ask("https://software.pycom.io/findupgrade?key=wipy.wipy%20with%20esp32&redirect=false&type=all")
        result = bench.refresh()
        assert result.code == 1 and ("resolve" in result.err or "connect" in result.err), result
        row = bench.import_bytes(release_bytes(NEW), NAME)
        assert row["state"] == "good" and bench.releases() == [NEW, OLD]
        assert bench.flash_stored() == NEW and bench.flash_stored(OLD) == OLD


# ---- idle ------------------------------------------------------------------------------------------------------------

@quiet
@takes(5)
def test_idle_daemon_does_not_wake():
    with FirmwareServer(folder() / "server") as server, FirmwareBench(server) as bench:
        server.add(*release(NEW, app_bytes=900_000))
        bench.ask(server.url("good/findupgrade"))
        bench.refresh_well()
        for n in range(2):
            bench.import_bytes(release_bytes(f"1.20.2.r{n + 1}", app_bytes=900_000), f"WiPy-1.20.2.r{n + 1}.tar.gz")
        for path in (SHARED / "firmware").glob("*.tar.gz"):
            assert bench.ctl("firmware", "import", path).code == 0, path

        def turns():
            return bench.bus.get("/org/wipyd1", MANAGER, "LoopTurns")

        def switches():
            total = 0
            for task in os.listdir(f"/proc/{bench.wipyd.pid}/task"):
                with open(f"/proc/{bench.wipyd.pid}/task/{task}/status") as file:
                    total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
            return total
        time.sleep(0.5)
        cost = -turns() + turns()
        before = turns()
        before_switches = switches()
        time.sleep(3)
        n_switches = switches() - before_switches
        delta = turns() - before
        assert delta <= cost + 1, f"{delta} turns in 3 s, a call alone costs {cost}"
        if not VALGRIND and not SANITIZED:
            assert n_switches == 0, f"a thread woke {n_switches} times"
        bench.assert_small()
        print(f"{bench.rss_kib()} KiB resident")
