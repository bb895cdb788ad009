"""What wipyctl says to scripts: each verb's --json against its schema, each exit code, and doctor."""
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import dbusmini
import harness
import schema
from harness import BUILD, MB, Bench, lived_in_flash, takes, wait_for
from test_client import FIRMWARE_VERBS, VERBS as FIRST_VERBS, bus_without_daemon, wipyctl
from test_client_boards import OWN_VERBS, VERBS, done

KB60 = dict(app_bytes=60_000)


def every_verb():
    folders = {"firmware": FIRMWARE_VERBS, **OWN_VERBS}
    plain = {*FIRST_VERBS, *VERBS, "doctor"} - set(folders)
    return plain | {f"{verb} {own}" for verb, owns in folders.items() for own in owns}


class Checked(Bench):
    """One whose --json answers are held against the schema of their verb. Tells which verbs it has seen."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seen = set()

    def json(self, verb, *arguments, code=0):
        self.seen.add(verb.partition(" --")[0])
        compact = self.ctl(*verb.split(), *arguments, "--json=short")
        assert compact.code == code and compact.err == "" and compact.out.count("\n") == 1, compact
        schema.check(verb, compact.json)
        return compact.json


def test_the_schema_has_every_verb_and_the_validator_finds_what_is_wrong():
    verbs = {verb.partition(" --")[0] for verb in schema.SCHEMA["verbs"]}
    assert verbs == every_verb(), verbs ^ every_verb()
    good = {"check": "clock", "state": "ok", "text": "", "cure": ""}
    schema.check("doctor", [good])
    for bad in [good], [{**good, "state": "fine"}], [{**good, "more": 1}], [{"check": "x"}], [{**good, "text": None}], {}:
        found = list(schema.faults(bad, schema.SCHEMA["verbs"]["doctor"]))
        assert bool(found) == (bad != [good]), (bad, found)
    assert list(schema.faults(-1, {"type": "integer", "minimum": 0})) and list(schema.faults(True, {"type": "integer"}))
    assert list(schema.faults(1, {"anyOf": [{"type": "string"}, {"type": "null"}]}))


@takes(10)
def test_json_of_every_verb_is_as_its_schema_says():
    with Checked([dict(flash=lived_in_flash(4 * MB))]) as bench:
        package = bench.package(**KB60)
        # Nothing is known yet.
        for verb in "status", "board list", "slot list", "history", "backup list", "firmware list", "policy":
            bench.json(verb)
        bench.json("firmware refresh", code=1)  # no sources
        bench.json("doctor", code=1)            # no package

        mac = bench.json("info", "board")["mac"]
        bench.json("firmware import", package)
        bench.json("firmware import", package, "/nonexistent.tar.gz", code=7)
        bench.json("flash", "board", "--dry-run")
        job = bench.json("flash", "board")
        assert job["state"] == "done" and job["regions"] and job["timings"] and job["started_at"], job
        bench.board.fault("on=DEFL_BEGIN,times=99 do=refuse 05")
        bench.board.fault("on=FLASH_BEGIN,times=99 do=refuse 05")
        other = bench.package("other.tar.gz", release="1.20.2.r1", app_bytes=70_000)
        assert bench.json("flash", "board", other, code=1)["message"]
        bench.json("flash --all", other, code=1)
        bench.board.fault("clear")
        assert bench.json("follow", job["id"])["id"] == job["id"]
        bench.json("cancel", job["id"])
        bench.board.download()
        bench.json("backup restore", "board")
        bench.json("look", "board")
        lease = bench.start_ctl("lease", "board", "--json=short")
        schema.check("lease", json.loads(lease.stdout.readline()))
        bench.seen.add("lease")
        lease.send_signal(signal.SIGINT)
        assert lease.wait(20) == 0
        bench.json("explain", "board")
        for arguments in (["--default", "ask"], ["board", "wipy"], [mac, "any"], ["board"], ["--default"], []):
            bench.json("policy", *arguments)
        bench.json("arm", "board")
        bench.json("disarm", "board", "nobody", code=7)
        bench.json("label", "board", "desk")
        bench.json("label", mac, "robot")
        bench.json("board show", mac)
        bench.json("board pin", mac)
        bench.json("board unpin", mac)
        bench.json("backup export", mac, "-o", bench.folder)
        bench.json("history --decisions")
        for verb in "status", "list", "board list", "slot list", "history", "backup list", "firmware list", "doctor":
            assert bench.json(verb), verb
        for verb in "show", "pin", "unpin", "verify":
            bench.json(f"firmware {verb}", "1.20.1.r1")
        bench.json("firmware export", "1.20.1.r1", bench.folder / "out.tar.gz")
        bench.json("firmware unquarantine", "1.20.1.r1")
        bench.json("firmware remove", "1.20.1.r1", "--force")
        client = bench.start_ctl("monitor", "--json")
        for _ in range(4):
            schema.check("monitor", json.loads(client.stdout.readline()))
        bench.ctl("label", "board", "shelf")
        event = json.loads(client.stdout.readline())
        while event["event"] == "present":
            event = json.loads(client.stdout.readline())
        schema.check("monitor", event)
        client.terminate()
        client.communicate(timeout=30)
        bench.seen.add("monitor")
        bench.seen |= forgotten(mac)
        assert bench.seen == every_verb(), every_verb() - bench.seen


def forgotten(mac):
    """What is plugged in can't be forgotten: of a board and a slot that are gone."""
    with Checked(usb=True, config="[boards]\npolicy = ask\n") as bench:
        bench.plug(bench.board)
        wait_for(lambda: bench.device()["Mac"], 20, "the board is known")
        result = bench.ctl("board", "forget", "USB0", "--json")
        schema.check_error(result.json)
        assert result.code == 5, result
        slot, mac = bench.slot(bench.board), bench.device()["Mac"]
        bench.unplug(bench.board)
        wait_for(lambda: done(bench.ctl("list", "--json")).json == [], 20, "it is gone")
        bench.json("board forget", mac)
        bench.json("slot forget", slot)
        return bench.seen


@takes(4)
def test_each_exit_code():
    with Bench([dict(options=("--timings", "sector_us=8000,block_us=30000,page_us=100,md5_us_per_kib=50"))]) as bench:
        package = bench.package(app_bytes=200_000)

        def code(*arguments, **options):
            people = bench.ctl(*arguments, **options)
            script = bench.ctl(*arguments, "--json", **options)
            assert people.code == script.code and script.err == "", (people, script)
            if people.code and not isinstance(script.json, list) and "state" not in script.json:
                schema.check_error(script.json)
            return people.code

        assert code("status") == 0
        assert code("doctor") == 1  # no package
        assert code("flash") == 2
        assert code("info", "nobody") == 3
        assert code("arm", "board", "nobody") == 7
        job = done(bench.ctl("flash", "board", package, "--no-block", "--json")).json
        assert code("flash", "board", package) == 5
        follower = bench.start_ctl("follow", str(job["id"]))
        follower.stdout.readline()
        done(bench.ctl("cancel", job["id"], "--wait"))
        follower.communicate(timeout=60)
        assert follower.returncode == 6
        assert code("follow", job["id"]) == 6
        bench.stop_wipyd()
        assert code("status") == 8


NOBODY_MAY = """<busconfig><type>session</type><listen>unix:path={path}</listen>
  <policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
  <deny send_destination="org.wipyd1"/></policy></busconfig>"""


def test_not_allowed_is_exit_4():
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "bus.conf")
        config.write_text(NOBODY_MAY.format(path=Path(folder, "bus")))
        bus = harness.start(["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address=1"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            address = bus.stdout.readline().strip()
            with dbusmini.Connection(address) as owner:
                owner.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su", "org.wipyd1", 0,
                           destination="org.freedesktop.DBus")
                result = wipyctl("status", bus=address)
                assert result.returncode == 4 and b"sudo" in result.stderr, result
                result = wipyctl("status", "--json", bus=address)
                schema.check_error(json.loads(result.stdout))
                assert result.returncode == 4, result
                result = wipyctl("doctor", bus=address)
                assert result.returncode == 1 and b"the bus lets nobody talk to wipyd" in result.stdout, result
        finally:
            bus.terminate()
            bus.wait()
            bus.stdout.close()


# ---- doctor ----------------------------------------------------------------------------------------------------------

class Machine:
    """The files of a machine that doctor looks at, in a folder."""

    def __init__(self, folder):
        self.root = Path(folder, "machine")

    def put(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def usb(self, name, **values):
        for key, value in values.items():
            self.put(f"sys/bus/usb/devices/{name}/{key}", f"{value}\n")


def told_by_doctor(bench, machine, **environment):
    command = [BUILD / "wipyctl", "doctor", "--json"]
    result = subprocess.run(command, env=bench.environment(WIPYCTL_ROOT=str(machine.root), **environment),
                            stdin=subprocess.DEVNULL, capture_output=True, timeout=60 * harness.SLOWNESS)
    checks = json.loads(result.stdout)
    schema.check("doctor", checks)
    assert result.returncode == (1 if any(row["state"] == "failed" for row in checks) else 0), result
    assert all(bool(row["cure"]) == (row["state"] != "ok") for row in checks), checks
    return {row["check"]: row for row in checks}


@takes(3)
def test_doctor_names_what_stands_in_the_way():
    with Bench() as bench:
        machine = Machine(bench.folder)
        told = told_by_doctor(bench, machine)
        assert told["store"]["state"] == "failed" and "firmware refresh" in told["store"]["cure"], told
        assert {row["state"] for name, row in told.items() if name not in ("store", "rights")} == {"ok"}, told

        bench.import_firmware(bench.package(**KB60))
        machine.usb("1-1", idVendor="10c4", idProduct="ea60", dev="189:1", bMaxPower="100mA", bDeviceClass="00")
        machine.usb("1-2", bDeviceClass="09", bmAttributes="a0", bMaxPower="100mA")
        for port in range(1, 6):
            machine.usb(f"1-2.{port}", idVendor="0403", idProduct="6015", dev=f"189:{port + 1}", bMaxPower="90mA", bDeviceClass="00")
            machine.put(f"run/udev/data/c189:{port + 1}", "E:ID_MM_DEVICE_IGNORE=1\n")
        machine.put("proc/4711/comm", "brltty\n")
        told = told_by_doctor(bench, machine, https_proxy="http://proxy.example:3128")
        assert told["store"]["state"] == "ok", told
        assert told["brltty"]["state"] == told["proxy"]["state"] == told["usb-power"]["state"] == "warning", told
        assert "1-2" in told["usb-power"]["text"] and "450 mA of 400" in told["usb-power"]["text"], told

        machine.put("etc/wipyd.conf", "[firmware]\nproxy = http://proxy.example:3128\n")
        machine.usb("1-2", bmAttributes="e0")
        told = told_by_doctor(bench, machine, https_proxy="http://proxy.example:3128")
        assert told["proxy"]["state"] == told["usb-power"]["state"] == "ok", told
        bench.stop_wipyd()
        told = told_by_doctor(bench, machine)
        assert told["daemon"]["state"] == "failed" and "systemctl start wipyd" in told["daemon"]["cure"], told
        assert "store" not in told and "clock" in told, told


@takes(2)
def test_doctor_sees_modem_manager():
    with bus_without_daemon() as bus, tempfile.TemporaryDirectory() as folder:
        machine = Machine(folder)
        machine.usb("1-1", idVendor="10c4", idProduct="ea60", dev="189:1")
        machine.usb("1-3", idVendor="0403", idProduct="6001", dev="189:2")
        machine.usb("1-4", idVendor="1234", idProduct="5678", dev="189:3")
        machine.put("run/udev/data/c189:1", "I:1\nE:ID_MM_DEVICE_IGNORE=1\n")
        machine.put("run/udev/data/c189:2", "E:ID_MM_DEVICE_IGNORE=\n")
        with dbusmini.Connection(bus) as modem_manager:
            modem_manager.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su",
                               "org.freedesktop.ModemManager1", 0, destination="org.freedesktop.DBus")
            for file, wanted, words in (("c189:0", "warning", "1 of 2 adapters (USB 1-3)"),
                                        ("c189:2", "ok", "kept away from all 2 adapters")):
                machine.put(f"run/udev/data/{file}", "E:ID_MM_DEVICE_IGNORE=1\n")
                result = subprocess.run([BUILD / "wipyctl", "doctor", "--json"], capture_output=True, timeout=60,
                                        env={"PATH": os.environ["PATH"], "WIPYD_BUS": bus, "WIPYCTL_ROOT": str(machine.root)})
                row, = [row for row in json.loads(result.stdout) if row["check"] == "modemmanager"]
                assert row["state"] == wanted and words in row["text"], row
