"""wipyctl where there is no daemon: the command line, files it must refuse, and how it says so."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import harness

WIPYCTL = harness.BUILD / "wipyctl"
VERBS = ["status", "list", "info", "flash", "follow", "cancel", "firmware", "monitor"]
FIRMWARE_VERBS = ["list", "show", "refresh", "import", "export", "pin", "unpin", "remove", "verify", "unquarantine"]
PACKAGE_BYTES_MAX = 8 * 1024 * 1024  # proto/names.h

BUS_CONFIG = """<busconfig>
  <type>session</type>
  <listen>unix:path={path}</listen>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"""


def wipyctl(*arguments, bus=None, stdout=subprocess.PIPE, **more):
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    if bus:
        environment["WIPYD_BUS"] = bus
    return subprocess.run([WIPYCTL, *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=stdout,
                          stderr=subprocess.PIPE, timeout=30, **more)


@contextlib.contextmanager
def bus_without_daemon():
    """The address of a bus on which nobody owns org.wipyd1 and nothing can be activated."""
    if not shutil.which("dbus-daemon"):
        raise harness.Skip("no dbus-daemon")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        config = Path(folder, "bus.conf")
        config.write_text(BUS_CONFIG.format(path=Path(folder, "bus")))
        daemon = subprocess.Popen(["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address=1"],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            address = daemon.stdout.readline().strip()
            assert address, "dbus-daemon doesn't start"
            yield address
        finally:
            daemon.terminate()
            daemon.wait()
            daemon.stdout.close()


def check_told(result, exit_code, *words):
    """The exit code, nothing on stdout, and a sentence with these words on stderr that can't steer a terminal."""
    text = result.stderr.decode()
    assert result.returncode == exit_code, (result.returncode, text)
    assert result.stdout == b"", result.stdout
    assert text.startswith("wipyctl: "), text
    assert not [c for c in text if c < " " and c != "\n"], repr(text)
    for word in words:
        assert word in text, (word, text)


def check_told_in_json(result, exit_code, name):
    assert result.returncode == exit_code, (result.returncode, result.stdout)
    assert result.stderr == b"", result.stderr
    told = json.loads(result.stdout)
    assert set(told) == {"error", "message", "story", "hint"}, told
    assert told["error"] == name, told
    assert told["message"], told


USAGE_ERRORS = [
    ["frobnicate"],
    ["--frobnicate"],
    ["-x"],
    ["status", "extra"],
    ["list", "extra"],
    ["info"],
    ["info", "a", "b"],
    ["flash"],
    ["flash", "a", "b", "c"],
    ["follow"],
    ["follow", "1", "2"],
    ["follow", "1", "--no-block"],
    ["cancel"],
    ["cancel", "--", "-1"],
    ["monitor", "extra"],
    ["list", "--baud=115200"],
    ["info", "a", "--dry-run"],
    ["flash", "a", "--baud"],
    ["flash", "a", "--baud=9599"],
    ["flash", "a", "--baud=4000001"],
    ["flash", "a", "--baud=115200x"],
    ["flash", "a", "--baud=-1"],
    ["flash", "a", "--connect-timeout=0"],
    ["flash", "a", "--connect-timeout=3601"],
    ["flash", "a", "--connect-timeout=99999999999999999999"],
    ["flash", "a", "--force"],
    ["firmware", "frobnicate"],
    ["firmware", "--force"],
    ["firmware", "list", "extra"],
    ["firmware", "list", "--force"],
    ["firmware", "show"],
    ["firmware", "show", "a", "b"],
    ["firmware", "show", "a", "--baud=115200"],
    ["firmware", "refresh", "extra"],
    ["firmware", "refresh", "--force"],
    ["firmware", "import"],
    ["firmware", "import", "a", "--no-block"],
    ["firmware", "export"],
    ["firmware", "export", "a", "b", "c"],
    ["firmware", "pin"],
    ["firmware", "pin", "a", "b"],
    ["firmware", "unpin"],
    ["firmware", "remove"],
    ["firmware", "verify", "--force"],
    ["firmware", "unquarantine"],
    ["firmware", "unquarantine", "a", "b"],
    ["--json=yaml"],
    ["--quiet=yes"],
    ["--bus"],
    ["--bus=nowhere"],
]


def test_usage_errors_exit_2_with_a_hint():
    with bus_without_daemon() as bus:
        for arguments in USAGE_ERRORS:
            check_told(wipyctl(*arguments, bus=bus), 2, "hint: See: wipyctl --help")


def test_usage_errors_are_json_wherever_the_option_stands():
    with bus_without_daemon() as bus:
        for arguments in USAGE_ERRORS:
            if arguments == ["--json=yaml"] or arguments[-1] in ("--bus", "--baud"):
                continue  # no mode was chosen, or the option swallows the next
            check_told_in_json(wipyctl("--json=short", *arguments, bus=bus), 2,
                               "org.wipyd1.Error.InvalidArgument")
        check_told_in_json(wipyctl("--frobnicate", "--json", bus=bus), 2, "org.wipyd1.Error.InvalidArgument")


def test_help_needs_no_bus_and_names_every_verb_and_exit_code():
    result = wipyctl("--help", bus="unix:path=/nonexistent")
    assert result.returncode == 0 and result.stderr == b""
    text = result.stdout.decode()
    for word in [*VERBS, "--json", "--bus", "--no-legend", "--quiet", "--no-block", "8 no daemon"]:
        assert word in text, word
    assert max(map(len, text.splitlines())) <= 100


def test_help_of_each_verb_shows_its_own_options_alone():
    for verb in VERBS:
        result = wipyctl(verb, "--help")
        assert result.returncode == 0 and result.stderr == b"", verb
        text = result.stdout.decode()
        assert text.startswith(f"Usage: wipyctl [OPTION...] {verb}"), text
        assert ("--dry-run" in text) == (verb == "flash"), verb
        assert ("--connect-timeout" in text) == (verb in ("flash", "info")), verb
    assert "exits with 1" in wipyctl("flash", "--help").stdout.decode()


def test_help_of_firmware_and_of_each_of_its_verbs():
    result = wipyctl("firmware", "--help", bus="unix:path=/nonexistent")
    assert result.returncode == 0 and result.stderr == b""
    text = result.stdout.decode()
    assert max(map(len, text.splitlines())) <= 100
    for verb in FIRMWARE_VERBS:
        assert f"  firmware {verb}" in text, verb
        own = wipyctl("firmware", verb, "--help").stdout.decode()
        assert own.startswith(f"Usage: wipyctl [OPTION...] firmware {verb}"), own
        assert ("--force" in own) == (verb in ("export", "remove")), verb
        assert ("--no-block" in own) == (verb == "refresh"), verb
        assert "--baud" not in own, verb


def test_an_unknown_verb_of_firmware_is_told_where_to_look():
    check_told(wipyctl("firmware", "frobnicate"), 2, "'frobnicate'", "wipyctl firmware --help", "hint: ")


def test_a_package_and_json_do_not_share_standard_output():
    with bus_without_daemon() as bus:
        check_told_in_json(wipyctl("firmware", "export", "1.20.1.r1", "-", "--json", bus=bus), 2,
                           "org.wipyd1.Error.InvalidArgument")


def test_version():
    result = wipyctl("--version")
    assert result.returncode == 0 and result.stderr == b""
    assert result.stdout.decode().split()[0] == "wipyctl"


ONE_OF_EACH_VERB = [[], ["status"], ["list"], ["info", "ttyUSB0"], ["flash", "ttyUSB0"],
                    ["flash", "ttyUSB0", "1.20.1.r1"], ["follow", "1"], ["follow", "ttyUSB0"], ["cancel", "1"],
                    ["monitor"], ["firmware"],
                    ["firmware", "list"], ["firmware", "show", "1.20.1.r1"], ["firmware", "refresh"],
                    ["firmware", "refresh", "--no-block"], ["firmware", "import", __file__],
                    ["firmware", "export", "1.20.1.r1"], ["firmware", "export", "1.20.1.r1", "-", "--json=off"],
                    ["firmware", "pin", "1234"], ["firmware", "unpin", "1234"], ["firmware", "remove", "1234"],
                    ["firmware", "verify"], ["firmware", "verify", "1234"], ["firmware", "unquarantine", "1234"]]


def test_no_daemon_is_exit_8_and_names_the_cure():
    with bus_without_daemon() as bus:
        for arguments in ONE_OF_EACH_VERB:
            check_told(wipyctl(*arguments, bus=bus), 8, "systemctl start wipyd")
            if "--json=off" not in arguments:
                check_told_in_json(wipyctl("--json", *arguments, bus=bus), 8,
                                   "org.freedesktop.DBus.Error.ServiceUnknown")


def test_no_daemon_ends_a_verb_that_takes_several_at_the_first():
    with bus_without_daemon() as bus:
        result = wipyctl("firmware", "remove", "1234", "5678", bus=bus)
        check_told(result, 8, "1234: ")
        assert b"5678" not in result.stderr, result.stderr
        result = wipyctl("firmware", "remove", "1234", "5678", "--json", bus=bus)
        assert result.returncode == 8 and result.stderr == b"", result
        told, = json.loads(result.stdout)
        assert told["error"] == "org.freedesktop.DBus.Error.ServiceUnknown", told


def test_no_bus_is_exit_8():
    nowhere = "unix:path=/nonexistent/wipyd-bus"
    for arguments in ONE_OF_EACH_VERB:
        check_told(wipyctl(*arguments, bus=nowhere), 8, "hint: ")
    check_told_in_json(wipyctl("--json", bus=nowhere), 8, "org.freedesktop.DBus.Error.FileNotFound")


def test_bus_option_goes_before_the_environment():
    with bus_without_daemon() as bus:
        check_told(wipyctl(f"--bus={bus}", bus="unix:path=/nonexistent"), 8, "isn't running")


def test_files_that_are_no_package_are_refused_before_anyone_is_asked():
    with bus_without_daemon() as bus, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "empty.tar.gz").touch()
        os.mkfifo(folder / "fifo.tar.gz")
        (folder / "folder.tar.gz").mkdir()
        with open(folder / "large.tgz", "wb") as large:
            large.truncate(PACKAGE_BYTES_MAX + 1)
        for file, exit_code, error, word in [
            ("missing.tar.gz", 3, "org.freedesktop.DBus.Error.FileNotFound", "No such file"),
            ("empty.tar.gz/deeper", 3, None, "Not a directory"),
            ("empty.tar.gz", 1, "org.wipyd1.Error.PackageInvalid", "empty"),
            ("fifo.tar.gz", 1, "org.wipyd1.Error.PackageInvalid", "no regular file"),
            ("folder.tar.gz", 1, "org.wipyd1.Error.PackageInvalid", "directory"),
            ("large.tgz", 1, "org.wipyd1.Error.PackageTooLarge", "more than 8 MiB"),
        ]:
            for verb in ["flash", "ttyUSB0"], ["firmware", "import"]:
                check_told(wipyctl(*verb, folder / file, bus=bus), exit_code, file, word)
                result = wipyctl(*verb, folder / file, "--json", bus=bus)
                check_told_in_json(result, exit_code, error or json.loads(result.stdout)["error"])


def test_of_several_files_each_is_told():
    with bus_without_daemon() as bus, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "empty.tar.gz").touch()
        missing, empty = [folder / "one.tar.gz", folder / "two.tar.gz"], folder / "empty.tar.gz"
        check_told(wipyctl("firmware", "import", *missing, bus=bus), 3, "one.tar.gz: ", "two.tar.gz: ", "No such file")
        check_told(wipyctl("firmware", "import", empty, *missing, bus=bus), 1, "empty.tar.gz: ", "two.tar.gz: ")
        result = wipyctl("firmware", "import", missing[0], empty, "--json", bus=bus)
        assert result.returncode == 1 and result.stderr == b"", result
        told = json.loads(result.stdout)
        assert [row["error"] for row in told] == ["org.freedesktop.DBus.Error.FileNotFound",
                                                  "org.wipyd1.Error.PackageInvalid"], told
        assert "one.tar.gz" in told[0]["message"] and "empty.tar.gz" in told[1]["message"], told


def test_a_file_of_the_greatest_size_is_taken():
    with bus_without_daemon() as bus, tempfile.TemporaryDirectory() as name:
        path = Path(name, "package")  # the name of a file here, without a '/' or an ending
        with open(path, "wb") as file:
            file.truncate(PACKAGE_BYTES_MAX)
        check_told(wipyctl("flash", "ttyUSB0", "package", bus=bus, cwd=name), 8, "systemctl start wipyd")


def test_unreadable_file():
    with bus_without_daemon() as bus, tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        path = Path(name, "secret.tar.gz")
        path.write_bytes(b"x")
        path.chmod(0)
        somebody = {} if os.geteuid() else {"user": 65534, "group": 65534, "extra_groups": []}
        try:
            result = wipyctl("flash", "ttyUSB0", path, bus=bus, **somebody)
        except PermissionError:
            raise harness.Skip("another user can't run the build") from None
        check_told(result, 1, "secret.tar.gz", "Permission denied")


def test_names_that_would_steer_a_terminal_are_shown_harmless():
    with bus_without_daemon() as bus:
        for name in [b"./\x1b[2J\x07\r.tar.gz", b"./\xff\xfe.tar.gz", "./\u202egz.rat\u009b31m".encode()]:
            result = wipyctl("flash", "ttyUSB0", name, bus=bus)
            check_told(result, 3, "No such file")
            assert not set("\u202e\u009b") & set(result.stderr.decode()), result.stderr
            check_told_in_json(wipyctl("flash", "ttyUSB0", name, "--json=short", bus=bus), 3,
                               "org.freedesktop.DBus.Error.FileNotFound")


def test_an_argument_that_is_not_utf8():
    with bus_without_daemon() as bus:
        check_told(wipyctl("info", b"tty\xff", bus=bus), 2, "UTF-8")


def test_an_answer_that_cannot_be_written_is_a_failure():
    with open("/dev/full", "wb") as full:
        result = wipyctl("--help", stdout=full)
    assert result.returncode == 1, result.returncode
    assert b"No space left" in result.stderr, result.stderr
