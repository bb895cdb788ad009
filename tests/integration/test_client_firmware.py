"""wipyctl firmware with a daemon: what it says, writes and ends with."""
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios

from firmware_server import FirmwareServer
from harness import BUILD, Bench, takes, wait_for

KB100 = dict(app_bytes=100_000)


def digits_of(bench):
    """{release: SHA-256} of all packages."""
    return {row["release"]: row["sha256"] for row in bench.ctl("firmware", "--json").json}


def only_line(result):
    line, = result.out.splitlines()
    return line


# ---- one package after the other -------------------------------------------------------------------------------------

def test_an_empty_store_says_what_to_do():
    with Bench(0) as bench:
        result = bench.ctl("firmware")
        assert result.code == 0 and "wipyctl firmware refresh" in result.out and "import" in result.out, result
        assert bench.ctl("firmware", "list", "--json").json == []
        assert bench.ctl("firmware", "verify", "--json").json == []
        assert "polling is off" in bench.ctl("status").out


def test_import_lists_newest_first_and_shows_all():
    with Bench(0) as bench:
        releases = ["1.18.1.r1", "1.20.2.r4", "own-build", "1.20.1.r1"]
        files = [bench.package(f"{release}.tar.gz", release=release, **KB100) for release in releases]
        result = bench.ctl("firmware", "import", *files)
        assert result.code == 0, result
        digits = digits_of(bench)
        assert result.out.splitlines() == [f"WiPy {release} imported as {digits[release][:12]}" for release in releases]
        again = bench.ctl("firmware", "import", files[0], "--json")
        assert again.code == 0 and [row["sha256"] for row in again.json] == [digits["1.18.1.r1"]], again

        rows = bench.ctl("firmware", "list", "--no-legend").out.splitlines()
        assert [row.split()[1] for row in rows] == ["1.20.2.r4", "1.20.1.r1", "1.18.1.r1", "own-build"], rows
        assert "good" in rows[3], rows[3]
        orders = {row["release"]: row["order"] for row in bench.ctl("firmware", "list", "--json").json}
        assert not orders["own-build"] and orders["1.20.2.r4"] > orders["1.20.1.r1"] > orders["1.18.1.r1"], orders
        shown = bench.ctl("firmware", "show", digits["own-build"][:6])
        assert shown.code == 0 and digits["own-build"] in shown.out and "own-build.tar.gz" in shown.out, shown
        assert bench.ctl("firmware", "show", "1.20.1.r1", "--json").json["origin"] == "import"
        assert bench.ctl("firmware", "show", "1.99.9.r9").code == 3
        assert bench.ctl("firmware", "import", "-q", files[1]).out == ""


def test_import_of_several_tells_of_each_and_ends_with_7():
    with Bench(0) as bench:
        bad = bench.folder / "bad.tar.gz"
        bad.write_bytes(b"not a package")
        good, missing = bench.package(**KB100), bench.folder / "missing.tar.gz"
        result = bench.ctl("firmware", "import", bad, good, missing)
        assert result.code == 7 and "imported as" in only_line(result), result
        assert "bad.tar.gz: The file is not" in result.err and "missing.tar.gz: " in result.err, result
        result = bench.ctl("firmware", "import", bad, good, missing, "--json")
        assert result.code == 7 and result.err == "", result
        assert [row.get("error", row.get("state")) for row in result.json] == [
            "org.wipyd1.Error.PackageInvalid", "good", "org.freedesktop.DBus.Error.FileNotFound"], result
        alone = bench.ctl("firmware", "import", bad, "--json")
        assert alone.code == 1 and alone.json["error"] == "org.wipyd1.Error.PackageInvalid", alone


def test_export_is_complete_or_nothing_and_replaces_nothing_unasked():
    with Bench(0) as bench:
        package = bench.package("WiPy-1.20.1.r1.tar.gz", **KB100)
        bench.ctl("firmware", "import", package)
        folder = bench.folder / "out"
        folder.mkdir()
        default, named = folder / "WiPy-1.20.1.r1.tar.gz", folder / "other.tar.gz"
        for arguments, file in ([], default), ([named], named):
            result = bench.ctl("firmware", "export", "1.20.1.r1", *arguments, cwd=folder)
            assert result.code == 0 and file.name in only_line(result), result
            assert file.read_bytes() == package.read_bytes()
        result = bench.ctl("firmware", "export", "1.20.1.r1", folder)  # a folder: the same name in it
        assert result.code == 1 and "File exists" in result.err and "--force" in result.err, result
        default.write_bytes(b"old")
        result = bench.ctl("firmware", "export", "1.20.1.r1", folder, "--force", "--json")
        assert result.code == 0 and result.json["file"] == str(default), result
        assert default.read_bytes() == package.read_bytes()

        os.mkfifo(folder / "fifo")
        assert bench.ctl("firmware", "export", "1.20.1.r1", folder / "fifo", "--force").code == 1
        assert bench.ctl("firmware", "export", "1.20.1.r1", folder / "none/x").code == 1
        to_stdout = subprocess.run([BUILD / "wipyctl", "firmware", "export", "1.20.1.r1", "-"], env=bench.environment(),
                                   capture_output=True)
        assert to_stdout.returncode == 0 and to_stdout.stdout == package.read_bytes()

        stored, = (bench.state / "firmware").glob("*.tar.gz")
        os.truncate(stored, 1000)
        result = bench.ctl("firmware", "export", "1.20.1.r1", folder / "damaged.tar.gz")
        assert result.code == 1 and "wipyctl firmware verify" in result.err, result
        assert sorted(path.name for path in folder.iterdir()) == ["WiPy-1.20.1.r1.tar.gz", "fifo", "other.tar.gz"]


def test_a_package_whose_name_is_no_file_name_is_exported_under_its_digits():
    with Bench(0) as bench:
        bench.ctl("firmware", "import", bench.package(".bashrc", **KB100))
        digits, = digits_of(bench).values()
        folder = bench.folder / "out"
        folder.mkdir()
        assert bench.ctl("firmware", "export", digits[:4], cwd=folder).code == 0
        assert [path.name for path in folder.iterdir()] == [f"{digits[:12]}.tar.gz"]


def test_pin_unpin_remove_and_the_last_good_one():
    with Bench(0) as bench:
        for release in "1.18.1.r1", "1.20.1.r1":
            bench.ctl("firmware", "import", bench.package(release=release, **KB100))
        result = bench.ctl("firmware", "pin", "1.18.1.r1")
        assert result.code == 0 and only_line(result).endswith("pinned."), result
        assert re.search(r"1\.18\.1\.r1 .* good, pinned ", bench.ctl("firmware").out)
        result = bench.ctl("firmware", "remove", "1.18.1.r1")
        assert result.code == 1 and "1.18.1.r1: " in result.err and "wipyctl firmware unpin" in result.err, result
        assert bench.ctl("firmware", "unpin", "1.18.1.r1", "--json").json["pinned"] is False
        result = bench.ctl("firmware", "remove", "1.18.1.r1", "1.20.1.r1")
        assert result.code == 7 and only_line(result).startswith("WiPy 1.18.1.r1 "), result
        assert "1.20.1.r1: " in result.err and "--force" in result.err, result
        result = bench.ctl("firmware", "remove", "1.20.1.r1", "--json")
        assert result.code == 1 and result.json["error"] == "org.wipyd1.Error.LastGood", result
        result = bench.ctl("firmware", "remove", "1.20.1.r1", "--force", "--json")
        assert result.code == 0 and result.json[0]["release"] == "1.20.1.r1", result
        assert bench.ctl("firmware", "--json").json == []


def test_verify_names_what_is_not_good():
    with Bench(0) as bench:
        for release in "1.18.1.r1", "1.20.1.r1":
            bench.ctl("firmware", "import", bench.package(release=release, **KB100))
        result = bench.ctl("firmware", "verify")
        assert result.code == 0 and result.out.count(": good\n") == 2, result
        os.truncate(bench.state / "firmware" / (digits_of(bench)["1.18.1.r1"] + ".tar.gz"), 1000)
        result = bench.ctl("firmware", "verify", "-q")
        assert result.code == 1 and re.match(r"WiPy 1\.18\.1\.r1 \(\w{12}\): missing: .*damaged", only_line(result)), result
        result = bench.ctl("firmware", "verify", "--json")
        assert result.code == 1 and [row["state"] for row in result.json] == ["good", "missing"], result
        assert bench.ctl("firmware", "verify", "1.20.1.r1").code == 0
        assert bench.ctl("firmware", "verify", "1.20.1.r1", "none").code == 7


# ---- polls -----------------------------------------------------------------------------------------------------------

class Polling:
    """A bench whose daemon asks a server; the package says 1.20.1.r1, the server 1.20.2.r4."""

    def __init__(self, case, **port):
        self.case, self.port = case, port

    def __enter__(self):
        self.bench = Bench(0, wipyd=False).__enter__()
        self.server = FirmwareServer(self.bench.folder / "server")
        self.package = self.bench.package(**KB100)
        self.server.add("WiPy.tar.gz", self.package.read_bytes())
        url = self.server.url(f"{self.case}/findupgrade", **self.port)
        self.bench.write_config(f"source = findupgrade {url}\nca-file = {self.server.ca_file}\ntimeout = 3\n")
        self.bench.start_wipyd()
        return self.bench

    def __exit__(self, *error):
        try:
            self.bench.__exit__(*error)
        finally:
            self.server.close()


def test_refresh_fetches_then_finds_it_up_to_date():
    with Polling("good") as bench:
        result = bench.ctl("firmware", "refresh", "-q")
        assert (result.code, result.out) == (0, ""), result
        for _ in range(10):  # however the daemon's answers and changes fall
            result = bench.ctl("firmware", "refresh")
            assert result.code == 0 and result.out.splitlines()[-1] == "up to date: 1.20.2.r4", result
        row = bench.ctl("firmware", "list", "--no-legend").out.split()
        assert row[1:3] == ["1.20.1.r1", "1.20.2.r4"], row
        told = bench.ctl("firmware", "refresh", "--json").json
        assert told["poll_failures"] == 0 and told["poll_state"] == "idle", told
        assert re.search(r"^firmware: polled \d+ s ago, next in \d+ h: up to date: 1\.20\.2\.r4$",
                         bench.ctl("status").out, re.M)
        assert bench.ctl("firmware", "refresh", "--no-block").code == 0


def test_refresh_that_fails_says_why():
    with Polling("404") as bench:
        result = bench.ctl("firmware", "refresh")
        assert result.code == 1 and "404" in result.err and "hint: " in result.err, result
        told = bench.ctl("firmware", "refresh", "--json")
        assert told.code == 1 and told.json["poll_failures"] >= 2 and told.json["hint"], told
        assert re.search(r"^firmware: polled .* failures in a row, next in .*404", bench.ctl("status", "-q").out, re.M)


def test_refresh_without_sources_fails_at_once():
    with Bench(0) as bench:
        for arguments in [], ["--no-block"]:
            result = bench.ctl("firmware", "refresh", *arguments)
            assert result.code == 1 and "no sources" in result.err and "wipyd.conf" in result.err, result


def test_quarantine_is_told_and_ended_by_a_person():
    with Polling("wrong-hash") as bench:
        result = bench.ctl("firmware", "refresh")
        assert result.code == 1 and "quarantine" in result.err, result
        result = bench.ctl("firmware", "import", bench.folder / "package.tar.gz", "-q")
        assert result.code == 0 and "quarantined: the server promised" in only_line(result), result
        assert "quarantined" in bench.ctl("firmware").out
        result = bench.ctl("firmware", "unquarantine", "1.20.1.r1")
        assert result.code == 0 and "can be flashed now" in result.out, result
        assert bench.ctl("firmware", "show", "1.20.1.r1", "--json").json["state"] == "good"


def on_terminal(bench, *arguments):
    """Starts wipyctl on a terminal of 100 columns: its pid, and the terminal."""
    pid, terminal = pty.fork()
    if not pid:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        os.execve(BUILD / "wipyctl", ["wipyctl", *arguments], bench.environment(TERM="xterm"))
    return pid, terminal


def read_to_end(terminal):
    text = b""
    while True:
        try:
            more = os.read(terminal, 4096)
        except OSError:  # how Linux says that nobody is at the other side
            more = b""
        if not more:
            os.close(terminal)
            return text.decode()
        text += more


@takes(6)
def test_refresh_on_a_terminal_moves_a_bar():
    with Polling("paced") as bench:
        pid, terminal = on_terminal(bench, "firmware", "refresh")
        draws = read_to_end(terminal).split("\r\x1b[K")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, draws
        percents = [int(number) for draw in draws if "fetching" in draw for number in re.findall(r"(\d+) %", draw)]
        assert len(percents) > 8 and percents == sorted(percents) and percents[-1] > 80, percents
        assert any("KiB/s" in draw and "left" in draw for draw in draws), draws
        assert "fetched: 1.20.2.r4" in draws[-1], draws[-1]
        assert max(len(re.sub(r"\x1b\[[\d;]*m", "", draw)) for draw in draws) < 100, draws


@takes(6)
def test_refresh_ctrl_c_detaches_and_the_poll_goes_on():
    with Polling("paced") as bench:
        client = bench.start_ctl("firmware", "refresh")
        wait_for(lambda: "fetching" in bench.ctl("status").out, 5, "the download")
        client.send_signal(signal.SIGINT)
        _, err = client.communicate(timeout=10)
        assert client.returncode == 1 and "the poll goes on" in err, err
        wait_for(lambda: json.loads(bench.ctl("firmware", "--json").out), 20, "the package")


@takes(2)
def test_refresh_is_told_that_the_daemon_was_killed():
    with Polling("paced") as bench:
        client = bench.start_ctl("firmware", "refresh")
        wait_for(lambda: "fetching" in bench.ctl("status").out, 5, "the download")
        bench.kill_wipyd()
        _, err = client.communicate(timeout=10)
        assert client.returncode == 8 and "wipyd went away" in err, err
