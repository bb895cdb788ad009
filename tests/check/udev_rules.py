#!/usr/bin/env python3
"""Checks udev/*.rules: their syntax, that they name the adapters that the daemon knows, and what udev makes of them.

    udev_rules.py             prints each violation as FILE:LINE: what; exit 1 when there is one
    udev_rules.py --self-test plants violations and sees that they are found

systemd 252 has no `udevadm verify`. What udev makes of the rules is asked of `udevadm test`, with adapters of a umockdev
testbed (build/usbtool) and a folder of rules of its own. It writes as udev does: owner and mode of nodes, links, its
database. So it sees a /dev, a /run and an /etc/udev/rules.d of its own, in a mount namespace; says SKIP where there is none.
"""

import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES, TABLE = "udev/90-wipyd.rules", "daemon/usb/adapters.c"

# Key -> the operators that make sense for it; {} says that it takes an argument. See udev(7).
MATCH, ASSIGN = {"==", "!="}, {"=", "+=", ":="}
KEYS = {
    "ACTION": MATCH, "DEVPATH": MATCH, "KERNEL": MATCH, "KERNELS": MATCH, "SUBSYSTEM": MATCH, "SUBSYSTEMS": MATCH,
    "DRIVER": MATCH, "DRIVERS": MATCH, "ATTRS{}": MATCH, "TAGS": MATCH, "TEST": MATCH, "RESULT": MATCH,
    "ATTR{}": MATCH | {"="}, "ENV{}": MATCH | ASSIGN, "TAG": MATCH | ASSIGN | {"-="}, "SYMLINK": MATCH | ASSIGN,
    "GOTO": {"="}, "LABEL": {"="}, "GROUP": ASSIGN, "MODE": ASSIGN, "OPTIONS": {"+="}, "IMPORT{}": {"==", "!=", "="},
}
TOKEN = re.compile(r'\s*([A-Z]+)(\{[^}]*\})?\s*(==|!=|\+=|-=|:=|=)\s*"((?:[^"\\]|\\.)*)"\s*(,|$)')


def tokens(line):
    """[(key, argument, operator, value)] of a line, or what is wrong with it."""
    found, at = [], 0
    while at < len(line):
        match = TOKEN.match(line, at)
        if not match:
            return f"not understood: {line[at:].strip()}"
        key, argument, operator, value, _ = match.groups()
        name = key + ("{}" if argument else "")
        if name not in KEYS:
            return f"{name} is no key that is used here"
        if operator not in KEYS[name]:
            return f"{name} takes no {operator}"
        found.append((key, (argument or "{}")[1:-1], operator, value))
        at = match.end()
    return found


def check_syntax(name, text):
    labels, gotos, violations = {}, [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = tokens(line)
        if isinstance(parts, str):
            violations.append(f"{name}:{number}: {parts}")
            continue
        for key, _, _, value in parts:
            if key == "LABEL" and value in labels:
                violations.append(f"{name}:{number}: LABEL {value} is there already")
            elif key == "LABEL":
                labels[value] = number
            elif key == "GOTO":
                gotos.append((number, value))
    for number, value in gotos:
        if labels.get(value, 0) <= number:  # udev goes forward only
            violations.append(f"{name}:{number}: GOTO {value}: no such LABEL further down")
    for value in labels.keys() - {value for _, value in gotos}:
        violations.append(f"{name}:{labels[value]}: nobody goes to LABEL {value}")
    return violations


def ids_of_rules(text):
    ids = {}
    for number, line in enumerate(text.splitlines(), 1):
        parts = tokens(line) if not line.lstrip().startswith("#") else []
        values = {argument: value for key, argument, operator, value in parts
                  if key == "ATTRS" and operator == "=="} if isinstance(parts, list) else {}
        for product in values.get("idProduct", "").split("|"):
            if product:
                ids[values.get("idVendor", "?"), product] = number
    return ids


def ids_of_table(text):
    vendors = dict(re.findall(r"^#define (\w+)\s+0x([0-9a-f]{4})$", text, re.M))
    rows = re.findall(r"^\s*\{ (\w+), 0x([0-9a-f]{4}), ", text, re.M)
    return {(vendors.get(vendor, vendor.removeprefix("0x")), product) for vendor, product in rows}


def check_ids(name, rules, table):
    ours, theirs = ids_of_rules(rules), ids_of_table(table)
    if not theirs:
        return [f"{TABLE}:1: the table has another form now"]
    violations = [f"{name}:{number}: {':'.join(pair)} is not in {TABLE}"
                  for pair, number in ours.items() if pair not in theirs]
    return violations + [f"{name}:1: {':'.join(pair)} of {TABLE} is missing" for pair in sorted(theirs - ours.keys())]


# ---- what udev makes of them -----------------------------------------------------------------------------------------

# Stands in for brltty's own, which are not on every system: it takes both ids, and asks for its service as they do.
BRLTTY = """ACTION!="add", GOTO="brltty_end"
SUBSYSTEM!="usb", GOTO="brltty_end"
ENV{DEVTYPE}!="usb_device", GOTO="brltty_end"
ENV{BRLTTY_BRAILLE_DRIVER}="sk", ENV{BRLTTY_BRAILLE_DEVICE}="usb:", TAG+="systemd"
ENV{SYSTEMD_WANTS}+="brltty-device@.service"
LABEL="brltty_end"
"""
LOCAL = """SUBSYSTEMS=="usb", ATTRS{serial}=="mine", ENV{WIPYD_ADAPTER}="0"
SUBSYSTEMS=="usb", ATTRS{serial}=="yours", ENV{WIPYD_ADAPTER}="1"
SUBSYSTEMS=="usb", ATTRS{serial}=="braille", ENV{WIPYD_KEEP_BRLTTY}="1"
"""
SLOT = "pci-0000:00:11.0-usb-0:1:1.0"
WANTS = "brltty-device@.service"
NODE = "/dev/port"  # what all the ports are, in the /dev of their own
# Of an adapter: vendor, product, serial, manufacturer, product's string, more for usbtool; then what the adapter and the
# port must have. None: must not be there.
CP210X = ("Silicon Labs", "CP2102 USB to UART Bridge Controller")
CASES = [
    ("a CP2102", ("10c4", "ea60", "0001", *CP210X, ""),
     {"ID_MM_DEVICE_IGNORE": "1", "SYSTEMD_WANTS": None, "BRLTTY_BRAILLE_DRIVER": None},
     {"ID_MM_PORT_IGNORE": "1", "SYSTEMD_WANTS": "wipyd.service", "DEVLINKS": f"/dev/wipy/by-slot/{SLOT}",
      "TAGS": ":systemd:"}),
    ("a braille display with a CP2102", ("10c4", "ea60", "0001", "Baum", "NLS eReader", ""),
     {"ID_MM_DEVICE_IGNORE": "1", "SYSTEMD_WANTS": WANTS, "BRLTTY_BRAILLE_DRIVER": "sk"}, {}),
    ("an adapter that says nothing of itself", ("10c4", "ea60", "0001", None, None, ""), {"SYSTEMD_WANTS": WANTS}, {}),
    ("a display whose owner said so", ("10c4", "ea60", "braille", *CP210X, ""), {"SYSTEMD_WANTS": WANTS}, {}),
    ("an FT232R", ("0403", "6001", "A1", "FTDI", "FT232R USB UART", ""), {"SYSTEMD_WANTS": None},
     {"SYSTEMD_WANTS": "wipyd.service"}),
    ("the second port of an interface", ("10c4", "ea70", "1", *CP210X, "port=1 "), {},
     {"DEVLINKS": f"/dev/wipy/by-slot/{SLOT}-port1"}),
    ("a carrier with a PIC", ("04d8", "f013", "Py343434", "Pycom", "Pytrack", "acm=1 name=ttyACM0 "),
     {"ID_MM_DEVICE_IGNORE": "1"}, {"SYSTEMD_WANTS": "wipyd.service"}),
    ("an adapter given back", ("10c4", "ea60", "mine", *CP210X, ""),
     {"ID_MM_DEVICE_IGNORE": None, "SYSTEMD_WANTS": WANTS}, {"ID_MM_PORT_IGNORE": None, "SYSTEMD_WANTS": None}),
    ("an adapter taken in", ("1a86", "7523", "yours", "", "USB Serial", ""), {"ID_MM_DEVICE_IGNORE": "1"},
     {"SYSTEMD_WANTS": "wipyd.service"}),
    ("somebody else's", ("1a86", "7523", "1", "", "USB Serial", ""), {"ID_MM_DEVICE_IGNORE": None},
     {"ID_MM_PORT_IGNORE": None, "SYSTEMD_WANTS": None, "DEVLINKS": None}),
]


def udev_says(device, root):
    """Properties, as `udevadm test` prints them; "writes": what it says it writes to attributes."""
    environment = {**os.environ, "LD_PRELOAD": "libumockdev-preload.so.0", "UMOCKDEV_DIR": root,
                   "SYSTEMD_LOG_LEVEL": "debug"}
    run = subprocess.run(["udevadm", "test", "--action=add", device], env=environment, capture_output=True, text=True,
                         timeout=60)
    if run.returncode:
        raise SystemExit(f"udevadm test {device}: {run.stderr.strip()}")
    said = dict(line.split("=", 1) for line in run.stdout.splitlines() if re.match(r"[A-Z][A-Z0-9_]*=", line))
    return {**said, "writes": dict(re.findall(r"ATTR '[^']*/([^/']+)' writing '([^']*)'", run.stderr))}


def differences(what, wanted, said):
    for key, value in wanted.items():
        found = said.get(key) or None
        if key == "DEVLINKS":  # others make links as well
            found = next((link for link in (found or "").split() if link.startswith("/dev/wipy/")), None)
        if key == "TAGS":  # ":wipyd:systemd:"
            found = value if value in (found or "") else found
        if found != value:
            yield f"{what}: {key} is {found!r}, not {value!r}"


def try_case(case, usb):
    what, (vendor, product, serial, manufacturer, text, more), adapter, port = case
    name = "ttyACM0" if "ttyACM0" in more else "ttyUSB0"
    more = more.replace("name=ttyACM0 ", "")
    usb.ask(f"add name={name} slot=1-1 {more}vid={vendor} pid={product} serial={serial} node={NODE} id_path={SLOT}")
    folder = pathlib.Path(usb.root) / "sys/devices"
    found = next(folder.rglob("idVendor")).parent
    for attribute, value in ("manufacturer", manufacturer), ("product", text):
        if value is not None:
            (found / attribute).write_text(value)
    tty = next(path for path in folder.rglob(name) if path.parent.name == "tty")
    problems = list(differences(what, adapter, udev_says("/" + str(found.relative_to(usb.root)), usb.root)))
    problems += differences(what + ", the port", port, udev_says("/" + str(tty.relative_to(usb.root)), usb.root))
    if vendor == "0403":
        driven = tty.parents[1]
        (driven / "latency_timer").write_text("16")
        (driven / "driver").symlink_to("../../../../bus/usb-serial/drivers/ftdi_sio")
        writes = udev_says("/" + str(driven.relative_to(usb.root)), usb.root)["writes"]
        if writes != {"latency_timer": "1"}:
            problems.append(f"{what}: latency_timer should become 1, and what is written is {writes}")
    return problems


def own_dev():
    """A /dev that holds copies of what programs need, whose owner and mode may change; and an empty /run."""
    nodes = {name: os.stat("/dev/" + name).st_rdev for name in ("null", "zero", "random", "urandom")}
    for place in "/dev", "/run", "/etc/udev/rules.d":
        before = os.stat(place).st_dev
        subprocess.run(["mount", "-t", "tmpfs", "-o", "dev,mode=755", "tmpfs", place], check=True)
        assert os.stat(place).st_dev != before and not os.listdir(place), place
    for name, device in [*nodes.items(), ("port", nodes["null"])]:
        os.mknod("/dev/" + name, 0o666 | stat.S_IFCHR, device)
        os.chmod("/dev/" + name, 0o666)
    os.mkdir("/dev/shm")


def inside(rules):
    """In a mount namespace: gives the problems."""
    sys.path.insert(0, str(ROOT / "tests/integration"))
    import harness
    own_dev()
    for name, text in ("80-local.rules", LOCAL), ("85-brltty.rules", BRLTTY), ("90-wipyd.rules", rules):
        pathlib.Path("/etc/udev/rules.d", name).write_text(text)
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            usb = harness.Usb(folder)
            try:
                problems += try_case(case, usb)
            finally:
                usb.close()
    return problems


def ask_udev(path):
    """The problems; None: it can't be asked here."""
    command = ["unshare", "--mount", "--propagation", "private"]
    build = ROOT / os.environ.get("WIPYD_BUILD", "build")
    # Nodes can be made by root alone, namespace or not.
    if os.geteuid() or not shutil.which("udevadm") or not (build / "usbtool").exists() or \
            not os.path.isdir("/etc/udev/rules.d") or subprocess.run([*command, "true"], capture_output=True).returncode:
        return None
    run = subprocess.run([*command, sys.executable, __file__, "--inside", str(path)], capture_output=True, text=True,
                         timeout=300)
    if run.returncode:
        raise SystemExit(f"udev_rules: {run.stdout}{run.stderr}")
    return run.stdout.splitlines()


# ---- self-test -------------------------------------------------------------------------------------------------------

TABLE_TEXT = """#define MAKER 0x10c4
    { MAKER, 0xea60, "one", NULL },
    { MAKER, 0xea61, "two", NULL },
"""
CLEAN = """# a comment
ACTION=="remove", GOTO="end"
ATTRS{idVendor}=="10c4", ATTRS{idProduct}=="ea60|ea61", ENV{ID_MM_DEVICE_IGNORE}="1"
LABEL="end"
"""
# What is planted instead of what, and a part of the one violation that must be found.
PLANTED = [
    ('GOTO="end"', 'GOTO="ende"', ":2: GOTO ende"),
    ('"remove",', '"remove"', ":2: not understood"),
    ('ACTION==', 'ACTION=', ":2: ACTION takes no ="),
    ('ACTION==', 'ACTIO==', ":2: ACTIO is no key"),
    ('ENV{ID_MM_DEVICE_IGNORE}="1"', 'ENV{ID_MM_DEVICE_IGNORE}=1', ":3: not understood"),
    ('ea60|ea61', 'ea60', ":1: 10c4:ea61"),
    ('ea60|ea61', 'ea60|ea61|ea62', ":3: 10c4:ea62"),
    ('LABEL="end"\n', 'LABEL="end"\nLABEL="end"\n', ":5: LABEL end is there already"),
    ('LABEL="end"\n', 'LABEL="end"\nLABEL="more"\n', ":5: nobody goes to LABEL more"),
]
# Of the real rules, what udev must be seen to mind: each takes something away that a case is about.
BROKEN = [
    ('ENV{ID_MM_DEVICE_IGNORE}="1"', 'ENV{ID_MM_DEVICE_IGNOR}="1"', "ID_MM_DEVICE_IGNORE"),
    ('ENV{SYSTEMD_WANTS}!="* *", ', 'ENV{SYSTEMD_WANTS}=="* *", ', "a CP2102: SYSTEMD_WANTS"),
    ('ENV{WIPYD_KEEP_BRLTTY}=="1"', 'ENV{WIPYD_KEEP_BRLTTY}=="2"', "owner said so"),
    ('=="CP210*", GOTO="wipyd_plain"', '=="CP220*", GOTO="wipyd_plain"', "a CP2102: SYSTEMD_WANTS"),
    ('ATTR{manufacturer}=="Silicon Labs|Silicon Laboratories*", ATTR{product}=="CP210*"',
     'ATTR{manufacturer}=="?*"', "a braille display with a CP2102"),
    ('ENV{WIPYD_ADAPTER}=="0"', 'ENV{WIPYD_ADAPTER}=="2"', "given back"),
    ('-port$attr{port_number}', '$attr{port_number}', "second port"),
    ('ATTR{latency_timer}="1"', 'ATTR{latency_timer}="2"', "latency_timer"),
]


def found_in(violations, part):
    return any(part in violation for violation in violations)


def self_test():
    failures = []
    if check_syntax("r", CLEAN) + check_ids("r", CLEAN, TABLE_TEXT):
        failures.append(f"clean: {check_syntax('r', CLEAN)} {check_ids('r', CLEAN, TABLE_TEXT)}")
    for old, new, part in PLANTED:
        text = CLEAN.replace(old, new)
        found = check_syntax("r", text) or check_ids("r", text, TABLE_TEXT)
        if not found_in(found, part):
            failures.append(f"planted {new!r}, found {found}")
    n = len(PLANTED) + 1
    rules = (ROOT / RULES).read_text()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "broken.rules"
        for old, new, part in BROKEN:
            assert old in rules, old
            path.write_text(rules.replace(old, new))
            found = ask_udev(path)
            if found is None:
                print("udev_rules: self-test: SKIP: udev can't be asked here")
                break
            n += 1
            if not found_in(found, part):
                failures.append(f"broken by {new!r}, found {found}")
    for failure in failures:
        print(failure)
    print(f"udev_rules: self-test: {n - len(failures)} of {n} passed")
    return 1 if failures else 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if len(arguments) == 2 and arguments[0] == "--inside":
        problems = inside(pathlib.Path(arguments[1]).read_text())
        print("".join(problem + "\n" for problem in problems), end="")
        return 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    rules = (ROOT / RULES).read_text()
    violations = check_syntax(RULES, rules) + check_ids(RULES, rules, (ROOT / TABLE).read_text())
    problems = ask_udev(ROOT / RULES)
    if problems is None:
        print("udev_rules: SKIP: udev can't be asked here (root, udevadm, build/usbtool and a mount namespace are wanted)")
    violations += [f"{RULES}:1: {problem}" for problem in problems or [] if problem]
    for violation in violations:
        print(violation)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
