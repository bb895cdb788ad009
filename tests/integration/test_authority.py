"""Who may do what: every method of every interface, called by somebody who isn't root, with polkit in every mood."""
import os
import re
import time
import xml.etree.ElementTree as ElementTree

from doubles import NOBODY, Polkit, somebody_else
from harness import (DEVICE, FIRMWARE, JOB, MANAGER, OURS, ROOT, SLOWNESS, Bench, DBusError, Skip, Variant, memfd, takes,
                     wait_for)

TOP = "/org/wipyd1"
BOARD, SLOT = "org.wipyd1.Board", "org.wipyd1.Slot"
KB200 = dict(app_bytes=200_000)
MAC = "30:ae:a4:01:02:03"
DAEMON = 1  # a user that every system has
NOT_AUTHORIZED = OURS + "NotAuthorized"
NO_SUCH_PATH = "org.freedesktop.DBus.Error.UnknownObject"


def need_root():
    if os.geteuid() != 0:
        raise Skip("root alone can try as somebody else")


# ---- what there is to call -------------------------------------------------------------------------------------------

def table():
    """{(interface, method): action} of daemon/bus/actions.c."""
    text = (ROOT / "daemon/bus/actions.c").read_text()
    actions = dict(re.findall(r'#define (\w+)\s+"(org\.wipyd1\.[a-z-]+)"', text))
    rows = re.findall(r'\{ WIPYD_(\w+)_INTERFACE, "(\w+)", (\w+),', text)
    found = {(f"org.wipyd1.{interface.capitalize()}", member): actions[action] for interface, member, action in rows}
    assert len(found) == len(rows) > 20, rows
    return found


def contract():
    """All (interface, method) of proto/*.xml."""
    methods = set()
    for path in sorted((ROOT / "proto").glob("*.xml")):
        for interface in ElementTree.parse(path).getroot().findall("interface"):
            methods |= {(interface.get("name"), method.get("name")) for method in interface.findall("method")}
    return methods


def calls(bench, job):
    """{(interface, method): (path, signature, arguments)}: well-typed, and what they are about exists."""
    device = bench.device_path()
    board, = bench.bus.call(TOP, MANAGER, "FindBoard", "s", MAC)
    slot, = bench.bus.call(TOP, MANAGER, "FindSlot", "s", bench.board.name)
    firmware = next(path for path, objects in bench.bus.managed().items() if FIRMWARE in objects)
    package = memfd(b"no package at all")
    return {
        (MANAGER, "FindDevice"): (TOP, "s", bench.board.name), (MANAGER, "FindJob"): (TOP, "u", 1),
        (MANAGER, "FindFirmware"): (TOP, "s", firmware.rpartition("/")[2]), (MANAGER, "FindBoard"): (TOP, "s", MAC),
        (MANAGER, "FindSlot"): (TOP, "s", bench.board.name), (MANAGER, "History"): (TOP, "a{sv}", {}),
        (MANAGER, "Decisions"): (TOP, "a{sv}", {}), (MANAGER, "Refresh"): (TOP,),
        (MANAGER, "ImportFirmware"): (TOP, "hs", package, "nothing.tar.gz"),
        (MANAGER, "SetDefaultPolicy"): (TOP, "s", "ask"), (MANAGER, "ListBackups"): (TOP, "s", MAC),
        (MANAGER, "OpenBackup"): (TOP, "ss", MAC, "20200101T000000.000Z-1"),
        (DEVICE, "Flash"): (device, "a{sv}", {"dry-run": Variant("b", True)}),
        (DEVICE, "FlashFile"): (device, "hsa{sv}", package, "nothing.tar.gz", {}), (DEVICE, "Identify"): (device, "a{sv}", {}),
        (DEVICE, "Look"): (device, "a{sv}", {}), (DEVICE, "Explain"): (device,),
        (DEVICE, "Restore"): (device, "ssa{sv}", MAC, "20200101T000000.000Z-1", {}),
        (DEVICE, "Lease"): (device, "s", "a test"),
        (JOB, "Cancel"): (job,), (FIRMWARE, "Export"): (firmware,), (FIRMWARE, "Pin"): (firmware, "b", True),
        (FIRMWARE, "Remove"): (firmware, "b", False), (FIRMWARE, "Verify"): (firmware,), (FIRMWARE, "Unquarantine"): (firmware,),
        (BOARD, "SetPolicy"): (board, "s", "ask"), (BOARD, "SetLabel"): (board, "s", "mine"), (BOARD, "Pin"): (board, "s", "1"),
        (BOARD, "Forget"): (board,), (SLOT, "SetPolicy"): (slot, "s", "ask"), (SLOT, "SetLabel"): (slot, "s", "mine"),
        (SLOT, "Arm"): (slot, "b", True), (SLOT, "Forget"): (slot,),
    }


def prepare(bench):
    """A board that was flashed once, a package, and the path of the job."""
    package = bench.package(**KB200)
    bench.import_firmware(package)
    path = bench.start_flash(package)
    job = bench.wait_job(path)
    assert job["State"] == "done", job
    return path


def outcome(bus, serial, seconds=30):
    """None: it was done; else the error."""
    try:
        bus.wait(serial, seconds * SLOWNESS)
        return None
    except DBusError as refused:
        assert refused.text, refused
        return refused


def send(bus, interface, method, path, signature="", *arguments, flags=0):
    return bus.send(path, interface, method, signature, *arguments, flags=flags)


def try_all(bench, bus, job):
    """{(interface, method): error or None}"""
    wanted = calls(bench, job)
    serials = {key: send(bus, *key, *call) for key, call in wanted.items()}
    return {key: outcome(bus, serial) for key, serial in serials.items()}


# ---- the tables agree ------------------------------------------------------------------------------------------------

def test_policy_file_has_the_actions_of_the_table():
    text = (ROOT / "daemon/bus/actions.c").read_text()
    used = set(re.findall(r'"(org\.wipyd1\.[a-z-]+)"', text))
    root = ElementTree.parse(ROOT / "systemd/org.wipyd1.policy").getroot()
    found = [action.get("id") for action in root.findall("action")]
    assert sorted(found) == sorted(used), set(found) ^ used
    answers = {"yes", "no", "auth_self", "auth_admin", "auth_self_keep", "auth_admin_keep"}
    for action in root.findall("action"):
        name = action.get("id")
        for tag in "description", "message":
            assert len(action.findtext(tag)) > 10, (name, tag)
        defaults = {part.tag: part.text for part in action.find("defaults")}
        assert set(defaults) == {"allow_any", "allow_inactive", "allow_active"}, (name, defaults)
        assert set(defaults.values()) <= answers, (name, defaults)
        # Who isn't at the machine is always asked for an administrator's password.
        assert {defaults["allow_any"], defaults["allow_inactive"]} <= {"auth_admin", "auth_admin_keep"}, (name, defaults)
        # Without it polkit lets nobody but root ask about others.
        notes = {note.get("key"): note.text for note in action.findall("annotate")}
        assert notes == {"org.freedesktop.policykit.owner": "unix-user:wipyd"}, (name, notes)
    defaults = {action.get("id"): action.findtext("defaults/allow_active") for action in root.findall("action")}
    assert defaults["org.wipyd1.flash-stored"] == "yes" and defaults["org.wipyd1.flash-file"] == "auth_admin_keep", defaults


def test_table_is_of_the_contract():
    assert set(table()) <= contract(), set(table()) - contract()
    free = contract() - set(table())
    assert free == {(MANAGER, name) for name in ("FindDevice", "FindJob", "FindFirmware", "FindBoard", "FindSlot", "History",
                                                 "Decisions")} | {(DEVICE, "Explain")}, free


# ---- every method, in every mood -------------------------------------------------------------------------------------

@takes(4)
def test_polkit_is_asked_for_exactly_the_table():
    need_root()
    with Bench() as bench:
        job = prepare(bench)
        with Polkit(bench.address, "no") as polkit, somebody_else(bench) as bus:
            outcomes = try_all(bench, bus, job)
            assert set(outcomes) == contract(), set(outcomes) ^ contract()
            for key, error in outcomes.items():
                if key in table():
                    assert error and error.name == NOT_AUTHORIZED and "polkit says no" in error.text, (key, error)
                    assert error.text.startswith(table()[key]), (key, error)
                else:
                    assert error is None, (key, error)
            asked = sorted(check.action for check in polkit.checks)
            assert asked == sorted(table().values()), asked
            assert {check.subject for check in polkit.checks} == {bus.name}
            assert not any(check.may_ask for check in polkit.checks)
            for check in polkit.checks:
                if check.action == "org.wipyd1.flash-stored":
                    assert check.details["device"] == bench.board.name and check.details["board"] == MAC, check.details
                    assert check.details["version"] == "1.20.1.r1", check.details
                if check.action == "org.wipyd1.flash-file":
                    assert check.details == {"device": bench.board.name, "board": MAC, "file": "nothing.tar.gz"}, check.details
            # Nothing has changed.
            assert bench.bus.get(TOP, MANAGER, "DefaultPolicy") == "wipy" and bench.device()["Label"] == ""
            # Root isn't asked about.
            n = len(polkit.checks)
            bench.bus.call(TOP, MANAGER, "SetDefaultPolicy", "s", "ask")
            assert len(polkit.checks) == n


@takes(4)
def test_polkit_yes():
    need_root()
    with Bench() as bench:
        job = prepare(bench)
        with Polkit(bench.address, "yes") as polkit, somebody_else(bench) as bus:
            for key, error in try_all(bench, bus, job).items():
                assert error is None or error.name != NOT_AUTHORIZED, (key, error)
            assert bench.bus.get(TOP, MANAGER, "DefaultPolicy") == "ask" and bench.device()["Label"] == "mine"
            assert len(polkit.checks) >= len(table())
        jobs = [objects[JOB] for objects in bench.bus.managed().values() if JOB in objects]
        assert f"uid {NOBODY}" in [job["By"] for job in jobs], jobs


@takes(4)
def test_polkit_dismissed_or_without_a_person():
    need_root()
    with Bench() as bench:
        job = prepare(bench)
        with Polkit(bench.address, "dismissed") as polkit, somebody_else(bench) as bus:
            for key, error in try_all(bench, bus, job).items():
                if key in table():
                    assert error and error.name == NOT_AUTHORIZED and "dismissed" in error.text, (key, error)
            polkit.answer = "challenge"
            error = outcome(bus, send(bus, MANAGER, "Refresh", TOP))
            assert error.name == NOT_AUTHORIZED and "password" in error.text, error
            assert not polkit.checks[-1].may_ask
            outcome(bus, send(bus, MANAGER, "Refresh", TOP, flags=4))
            assert polkit.checks[-1].may_ask, "the caller said that a person may be asked"


@takes(4)
def test_polkit_absent():
    need_root()
    with Bench() as bench:
        job = prepare(bench)
        with somebody_else(bench) as bus:
            for key, error in try_all(bench, bus, job).items():
                if key in table():
                    assert error and error.name == NOT_AUTHORIZED, (key, error)
                else:
                    assert error is None, (key, error)
        bench.bus.call(TOP, MANAGER, "SetDefaultPolicy", "s", "ask")  # root, as ever
        assert bench.ctl("policy", "--default", "wipy").code in (0, 2)
        try:
            result = bench.ctl("flash", bench.board.name, user=NOBODY, group=NOBODY, extra_groups=[])
        except PermissionError:
            return  # another user can't run the build here
        assert result.code == 4 and "not allowed" in result.err, result


@takes(30, limit=150)
def test_polkit_never_answers():
    """Each question ends in time, and holds nobody else up meanwhile."""
    need_root()
    with Bench() as bench:
        job = prepare(bench)
        with Polkit(bench.address, "never") as polkit, somebody_else(bench) as bus:
            wanted = {key: call for key, call in calls(bench, job).items() if key in table()}
            began = time.monotonic()
            serials = {key: send(bus, *key, *call) for key, call in wanted.items()}
            wait_for(lambda: len(polkit.checks) == len(wanted), 10, "all questions")
            assert bench.ctl("status").code == 0
            bench.bus.call(TOP, MANAGER, "SetDefaultPolicy", "s", "ask")
            assert time.monotonic() - began < 15 * SLOWNESS
            for key, serial in serials.items():
                error = outcome(bus, serial, 40)
                assert error and error.name == NOT_AUTHORIZED and "in time" in error.text, (key, error)
            assert 24 < time.monotonic() - began < 30 + 5 * SLOWNESS
            wait_for(lambda: sorted(polkit.cancelled) == sorted(check.id for check in polkit.checks), 5, "all are taken back")


# ---- what may change while a question is open ------------------------------------------------------------------------

@takes(2)
def test_caller_that_vanishes_takes_its_question_back():
    need_root()
    with Bench() as bench:
        prepare(bench)
        with Polkit(bench.address, "never") as polkit:
            with somebody_else(bench) as bus:
                send(bus, MANAGER, "SetDefaultPolicy", TOP, "s", "off")
                wait_for(lambda: polkit.checks, 5, "a question")
                assert not polkit.cancelled
            wait_for(lambda: polkit.cancelled == [polkit.checks[0].id], 5, "it is taken back")
            polkit.answer_check(polkit.checks[0], "yes")  # too late
            assert bench.ctl("status").code == 0
            assert bench.bus.get(TOP, MANAGER, "DefaultPolicy") == "wipy"


@takes(5)
def test_callers_that_die_in_the_middle_of_every_method():
    need_root()
    with Bench(connect_timeout=1) as bench:
        wanted = calls(bench, prepare(bench))
        with Polkit(bench.address, "yes") as polkit:
            for polkit.answer in "yes", "never":
                for key, call in wanted.items():
                    with somebody_else(bench) as bus:
                        send(bus, *key, *call)
            assert bench.ctl("status").code == 0
            wait_for(lambda: not bench.device()["Lessee"], 10, "no lease is left over")
            for path, interfaces in bench.bus.managed().items():  # whatever was begun comes to an end
                if JOB in interfaces:
                    bench.wait_job(path)
            wait_for(lambda: {check.id for check in polkit.checks if not check.is_answered} <= set(polkit.cancelled), 10,
                     "all questions are taken back")


@takes(3)
def test_what_it_was_about_goes_while_the_question_is_open():
    need_root()
    with Bench(boards=1, usb=True) as bench:
        bench.plug(bench.board)
        wait_for(lambda: bench.device()["Mac"], 15, "it is looked at")
        device = bench.device_path()
        with Polkit(bench.address, "never") as polkit, somebody_else(bench) as bus:
            serial = send(bus, DEVICE, "Identify", device, "a{sv}", {})
            wait_for(lambda: polkit.checks, 5, "a question")
            bench.unplug(bench.board)
            wait_for(lambda: device not in bench.bus.managed(), 5, "it is gone")
            polkit.answer_check(polkit.checks[0], "yes")
            error = outcome(bus, serial)
            assert error and error.name == NO_SUCH_PATH, error
            # The answer that nobody took is not anybody else's.
            polkit.answer = "no"
            assert outcome(bus, send(bus, MANAGER, "Refresh", TOP)).name == NOT_AUTHORIZED


@takes(3)
def test_downgrade_and_force_are_actions_of_their_own():
    need_root()
    with Bench() as bench:
        old, new = (bench.package(f"{release}.tar.gz", release=release, seed=seed, **KB200)
                    for seed, release in enumerate(("1.18.1.r1", "1.20.1.r1")))
        firmware = bench.import_firmware(old)
        bench.import_firmware(new)
        assert bench.wait_job(bench.start_flash(new))["State"] == "done"
        device = bench.device_path()
        with Polkit(bench.address, "no") as polkit, somebody_else(bench) as bus:
            def asked(*call):
                outcome(bus, send(bus, *call))
                return polkit.checks[-1].action.removeprefix("org.wipyd1.")
            version = {"version": Variant("s", "1.18.1.r1")}
            assert asked(DEVICE, "Flash", device, "a{sv}", version) == "downgrade"
            assert polkit.checks[-1].details["version"] == "1.18.1.r1", polkit.checks[-1].details
            assert asked(DEVICE, "Flash", device, "a{sv}", {**version, "dry-run": Variant("b", True)}) == "flash-stored"
            assert asked(DEVICE, "Flash", device, "a{sv}", {}) == "flash-stored"
            assert asked(FIRMWARE, "Remove", firmware, "b", True) == "force"
            assert asked(FIRMWARE, "Remove", firmware, "b", False) == "manage-firmware"
            assert asked(DEVICE, "Look", device, "a{sv}", {"repl": Variant("b", True)}) == "interrupt"
            assert asked(DEVICE, "Look", device, "a{sv}", {}) == "identify"
            # What makes no sense is nobody's question.
            n = len(polkit.checks)
            assert outcome(bus, send(bus, DEVICE, "Flash", device, "a{sv}", {"x": Variant("b", True)})).name == OURS + "UnknownOption"
            assert len(polkit.checks) == n


@takes(3)
def test_who_began_a_job_may_end_it():
    need_root()
    with Bench(boards=[dict(download=False)], connect_timeout=60) as bench:
        with Polkit(bench.address, "yes") as polkit, somebody_else(bench) as bus, somebody_else(bench, DAEMON) as other:
            job, = bus.call(bench.device_path(), DEVICE, "Identify", "a{sv}", {})
            polkit.answer = "no"
            error = outcome(other, send(other, JOB, "Cancel", job))
            assert error.name == NOT_AUTHORIZED and "flash-stored" in error.text, error
            assert outcome(bus, send(bus, JOB, "Cancel", job)) is None
            assert bench.wait_job(job)["State"] == "cancelled"


@takes(2)
def test_one_user_cannot_take_all_questions():
    need_root()
    with Bench() as bench:
        with Polkit(bench.address, "never") as polkit, somebody_else(bench) as bus, somebody_else(bench, DAEMON) as other:
            serials = [send(bus, MANAGER, "Refresh", TOP) for _ in range(70)]
            errors = [outcome(bus, serial) for serial in serials[64:]]
            assert all(error.name == NOT_AUTHORIZED and "too many" in error.text for error in errors), errors
            polkit.answer = "yes"
            assert outcome(other, send(other, MANAGER, "Refresh", TOP)) is None
        # The daemon ends well with questions open.
