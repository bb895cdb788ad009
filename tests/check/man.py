#!/usr/bin/env python3
"""Compares the man pages with what they are about, both ways.

    man.py              prints each difference as PAGE: what; exit 1 when there is one
    man.py --self-test  plants differences of every kind and sees that they are found

wipyctl(1) with what wipyctl itself says in its help: verbs, their own verbs, and options, each below the verbs that take
it. wipyd(8) with wipyd's help: options. wipyd.conf(5) with the table of keys in daemon/base/config.c: sections, keys, and
the bounds and initial values of numbers. org.wipyd1(5) with proto/*.xml: interfaces, methods and their arguments,
properties and their types; and with the actions in systemd/org.wipyd1.policy, where that file is.
"""

import os
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("WIPYD_BUILD", "build")
CTL, DAEMON, CONF, BUS = (f"systemd/man/{name}" for name in ("wipyctl.1", "wipyd.8", "wipyd.conf.5", "org.wipyd1.5"))


# ---- pages -----------------------------------------------------------------------------------------------------------

def items(page, macro):
    """[(what stands behind ".It MACRO", the text up to the next of its kind or section)]. Lists inside are part of it."""
    found = []
    for line in page.splitlines():
        if line.startswith((".Sh", ".Ss")):
            found.append((None, []))
        elif line.startswith(f".It {macro} "):
            found.append((line[len(f".It {macro} "):], []))
        if found:
            found[-1][1].append(line)
    return [(head, "\n".join(text)) for head, text in found if head is not None]


def flags(text):
    """The long options that a piece of a page names."""
    return set(re.findall(r"\bFl -([a-z][a-z-]*)", text))


def sections(page, macro):
    """{title: text}"""
    parts = re.split(rf"^\.{macro} (.*)$", page, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


# ---- wipyctl ---------------------------------------------------------------------------------------------------------

def wipyctl_help(*words):
    run = subprocess.run([BUILD / "wipyctl", *words, "--help"], capture_output=True, text=True, timeout=30)
    if run.returncode:
        raise SystemExit(f"wipyctl {' '.join(words)} --help: {run.stderr}")
    return run.stdout


def part(text, title):
    """The lines below "Title:", up to an empty one, without those that only go on with the one before."""
    match = re.search(rf"^{title}:\n((?:  .*\n)+)", text, re.M)
    return [line for line in match.group(1).splitlines() if re.match(r"  \S|      ?-|   +--", line)] if match else []


def long_options(lines):
    return {match.group(1) for line in lines if (match := re.match(r" +(?:-\w, )?--([a-z-]+)", line))}


def options_of_help(ask=wipyctl_help):
    """{"": common options, "flash": the options of the verb alone, "board pin": ...}; those with verbs are not in it."""
    whole = ask()
    common = long_options(part(whole, "Options of every verb"))
    verbs = {}
    for line in part(whole, "Verbs"):
        verb = line.split()[0]
        text = ask(verb)
        own = [tuple(row.split()[:2]) for row in part(text, "Verbs")]
        for words in own or [(verb,)]:
            verbs[" ".join(words)] = long_options(part(ask(*words), "Options")) - common
    return {"": common, **verbs}


def check_wipyctl(page, wanted):
    blocks = {}
    for head, text in items(page, "Cm"):
        words = re.match(r"[a-z]+(?: [a-z]+)*", head)
        if words:
            blocks[words.group()] = text
    for verb, options in wanted.items():
        if not verb:
            continue
        if verb not in blocks:
            yield f"{CTL}: the verb {verb} is missing"
            continue
        named = flags(blocks[verb])
        yield from (f"{CTL}: {verb}: --{option} is missing" for option in sorted(options - named))
        yield from (f"{CTL}: {verb} takes no --{option}" for option in sorted(named - options - wanted[""]))
    yield from (f"{CTL}: there is no verb {verb}" for verb in sorted(blocks.keys() - wanted.keys()))
    named = flags(sections(page, "Sh").get("OPTIONS", ""))
    yield from (f"{CTL}: OPTIONS: --{option} is missing" for option in sorted(wanted[""] - named))
    yield from (f"{CTL}: OPTIONS: no --{option} goes with every verb" for option in sorted(named - wanted[""]))


def check_wipyd(page, text):
    options, named = long_options(text.splitlines()), flags(sections(page, "Sh").get("OPTIONS", ""))
    yield from (f"{DAEMON}: --{option} is missing" for option in sorted(options - named))
    yield from (f"{DAEMON}: there is no --{option}" for option in sorted(named - options))


# ---- configuration ---------------------------------------------------------------------------------------------------

def keys_of_source(text):
    """{section: {key: numbers that its text must have}}"""
    table = text[text.index("static const struct key keys[]"):]
    table = table[:table.index("};")]
    keys = {}
    for section, name, kind, rest in re.findall(r'\{ "([\w-]+)", "([\w-]+)", (\w+), (.*) \},', table):
        numbers = re.findall(r"\b\d+\b", rest)[-3:] if kind == "KEY_NUMBER" else []
        if numbers and int(numbers[2]) < int(numbers[0]):  # "auto"
            del numbers[2]
        keys.setdefault(section, {})[name] = numbers
    return keys


def check_config(page, source):
    wanted = keys_of_source(source)
    if not wanted:
        yield f"{CONF}: the table in daemon/base/config.c has another form now"
    there = {title[1:-1]: text for title, text in sections(page, "Ss").items() if title.startswith("[")}
    yield from (f"{CONF}: there is no section {name}" for name in sorted(there.keys() - wanted.keys()))
    for section, keys in wanted.items():
        if section not in there:
            yield f"{CONF}: the section {section} is missing"
            continue
        blocks = dict(items(".Ss\n" + there[section], "Ic"))
        yield from (f"{CONF}: [{section}] {name} is missing" for name in sorted(keys.keys() - blocks.keys()))
        yield from (f"{CONF}: there is no [{section}] {name}" for name in sorted(blocks.keys() - keys.keys()))
        for name in sorted(keys.keys() & blocks.keys()):
            numbers = set(re.findall(r"\b\d+\b", blocks[name]))
            yield from (f"{CONF}: [{section}] {name}: {number} is not said" for number in keys[name]
                        if number not in numbers)


# ---- D-Bus -----------------------------------------------------------------------------------------------------------

def members_of_xml(text):
    """{interface: {member: as the page has it}}"""
    found = {}
    for interface in ElementTree.fromstring(text).findall("interface"):
        members = found.setdefault(interface.get("name"), {})
        for member in interface:
            if member.tag in ("method", "signal"):
                default = "in" if member.tag == "method" else "out"
                arguments = [f'"{x.get("direction") or default} {x.get("type")} {x.get("name")}"'
                             for x in member.findall("arg")]
                members["Fn", member.get("name")] = " ".join(arguments)
            elif member.tag == "property":
                members["Va", member.get("name")] = f"Pq {member.get('type')}"
    return found


def check_bus(page, texts):
    wanted = {}
    for text in texts:
        wanted.update(members_of_xml(text))
    there = {title: text for title, text in sections(page, "Sh").items() if title.startswith("org.")}
    yield from (f"{BUS}: there is no interface {name}" for name in sorted(there.keys() - wanted.keys()))
    for interface, members in wanted.items():
        if interface not in there:
            yield f"{BUS}: the interface {interface} is missing"
            continue
        named = {(macro, head.split()[0]): " ".join(head.split()[1:])
                 for macro in ("Fn", "Va") for head, _ in items(".Ss\n" + there[interface], macro)}
        yield from (f"{BUS}: {interface}.{name} is missing" for _, name in sorted(members.keys() - named.keys()))
        yield from (f"{BUS}: there is no {interface}.{name}" for _, name in sorted(named.keys() - members.keys()))
        yield from (f"{BUS}: {interface}.{key[1]} is {members[key] or 'without arguments'}, not {named[key]}"
                    for key in sorted(members.keys() & named.keys()) if members[key] != named[key])


def check_actions(page, policy):
    actions = {action.get("id") for action in ElementTree.fromstring(policy).findall("action")}
    named = {head for head, _ in items(page, "Li") if re.fullmatch(r"org\.wipyd1\.[a-z-]+", head)}
    yield from (f"{BUS}: the action {name} is missing" for name in sorted(actions - named))
    yield from (f"{BUS}: there is no action {name}" for name in sorted(named - actions))


# ---- self-test -------------------------------------------------------------------------------------------------------

HELPS = {
    (): "Verbs:\n  list      List\n  flash D   Write\n  board [VERB]  Look\n\nOptions of every verb:\n"
        "      --json[=x]  J\n  -q, --quiet  Q\n",
    ("list",): "Options:\n      --json  J\n  -q, --quiet  Q\n",
    ("flash",): "Options:\n      --baud=N  B\n      --json  J\n  -q, --quiet  Q\n",
    ("board",): "Verbs:\n  board show MAC  Show\n\nOptions:\n      --json  J\n",
    ("board", "show"): "Options:\n      --json  J\n  -q, --quiet  Q\n",
}
CTL_PAGE = """.Sh VERBS
.It Cm list
Lists.
.It Cm flash Ar D
Writes.
.It Fl -baud Ns = Ns Ar N
The rate.
.It Cm board show Ar MAC
Shows.
.Sh OPTIONS
.It Fl -json
.It Fl q , Fl -quiet
"""
CONFIG_SOURCE = """static const struct key keys[] = {
    { "flash", "baud", KEY_NUMBER, offsetof(struct config, baud), 9600, 4000000, 115200 },
    { "ports", "port", KEY_PORT_LIST, 0, 0, 0, 0 },
};
"""
CONF_PAGE = """.Ss [flash]
.It Ic baud
From 9600 to 4000000, else 115200.
.Ss [ports]
.It Ic port
A port.
.Ss Others
"""
XML = """<node><interface name="org.x.Job"><method name="Cancel"/><method name="Find"><arg name="id" type="u" direction="in"/>
<arg name="job" type="o" direction="out"/></method><property name="Id" type="u" access="read"/></interface></node>"""
BUS_PAGE = """.Sh org.x.Job
.It Fn Cancel
.It Fn Find "in u id" "out o job"
.It Va Id Pq u
.Sh SEE ALSO
"""
POLICY = """<policyconfig><action id="org.wipyd1.flash-file"/></policyconfig>"""
# Page, what is planted instead of what, the one difference that must be found.
PLANTED = [
    ("ctl", ".It Cm list\n", "", "the verb list is missing"),
    ("ctl", ".It Cm list\n", ".It Cm list\n.It Cm lost\n", "no verb lost"),
    ("ctl", "board show", "board look", "the verb board show is missing"),
    ("ctl", ".It Fl -baud", ".It Fl -bauds", "flash: --baud is missing"),
    ("ctl", "Shows.", "Shows.\n.Fl -force", "board show takes no --force"),
    ("ctl", ".It Fl -json\n", "", "OPTIONS: --json is missing"),
    ("ctl", ".It Fl -json\n", ".It Fl -json\n.It Fl -loud\n", "OPTIONS: no --loud"),
    ("daemon", "Fl -bus", "Fl -buss", "--bus is missing"),
    ("daemon", "Fl -bus", "Fl -bus\n.It Fl -more", "there is no --more"),
    ("conf", ".It Ic port\n", "", "[ports] port is missing"),
    ("conf", ".It Ic port\n", ".It Ic port\n.It Ic part\n", "no [ports] part"),
    ("conf", "[ports]", "[parts]", "the section ports is missing"),
    ("conf", "115200", "11520", "[flash] baud: 115200 is not said"),
    ("bus", ".It Fn Cancel\n", "", "org.x.Job.Cancel is missing"),
    ("bus", ".It Va Id", ".It Va Id Pq u\n.It Va No", "no org.x.Job.No"),
    ("bus", "Pq u", "Pq t", "org.x.Job.Id is Pq u"),
    ("bus", '"in u id"', '"in s id"', "org.x.Job.Find is"),
    ("actions", "flash-file", "flash-files", "the action org.wipyd1.flash-file is missing"),
    ("actions", "flash-file", "flash-files", "no action org.wipyd1.flash-files"),
    ("bus", "org.x.Job", "org.x.Jab", "the interface org.x.Job is missing"),
]


def self_test():
    options = options_of_help(lambda *words: HELPS[words])
    checks = {
        "ctl": (CTL_PAGE, lambda page: check_wipyctl(page, options)),
        "daemon": (".Sh OPTIONS\n.It Fl -bus\n.Sh FILES\n", lambda page: check_wipyd(page, "      --bus=BUS  B\n")),
        "conf": (CONF_PAGE, lambda page: check_config(page, CONFIG_SOURCE)),
        "actions": (".It Li org.wipyd1.flash-file\nFlash.\n", lambda page: check_actions(page, POLICY)),
        "bus": (BUS_PAGE, lambda page: check_bus(page, [XML])),
    }
    failures = [f"clean {name}: {list(check(page))}" for name, (page, check) in checks.items() if list(check(page))]
    for name, old, new, what in PLANTED:
        page, check = checks[name]
        assert old in page, old
        found = list(check(page.replace(old, new)))
        if not any(what in difference for difference in found):
            failures.append(f"planted {new!r} for {old!r} in {name}, found {found}")
    for failure in failures:
        print(failure)
    n = len(PLANTED) + len(checks)
    print(f"man: self-test: {n - len(failures)} of {n} passed")
    return 1 if failures else 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    page = {name: (ROOT / name).read_text() for name in (CTL, DAEMON, CONF, BUS)}
    wipyd = subprocess.run([BUILD / "wipyd", "--help"], capture_output=True, text=True, timeout=30).stdout
    differences = [
        *check_wipyctl(page[CTL], options_of_help()),
        *check_wipyd(page[DAEMON], wipyd),
        *check_config(page[CONF], (ROOT / "daemon/base/config.c").read_text()),
        *check_bus(page[BUS], [path.read_text() for path in sorted((ROOT / "proto").glob("*.xml"))]),
    ]
    policy = ROOT / "systemd/org.wipyd1.policy"
    if policy.exists():
        differences += check_actions(page[BUS], policy.read_text())
    for difference in differences:
        print(difference)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
