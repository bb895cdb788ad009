#!/usr/bin/env python3
"""Compares the contract (proto/*.xml) with what a running daemon says of one object.

    busctl --xml-interface introspect org.wipyd1 PATH | introspection.py XMLFILE...
    introspection.py --self-test

All interfaces of the files must be on the object and nothing else, those of D-Bus itself aside. Prints each
difference as INTERFACE.MEMBER: what; exit 1 when there is one.
"""

import sys
import xml.etree.ElementTree as ElementTree

STANDARD = "org.freedesktop."
EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"
# Annotations of members that callers rely on. Others are the library's own (systemd's "Privileged").
MEMBER_ANNOTATIONS = ("org.freedesktop.DBus.Deprecated", "org.freedesktop.DBus.Method.NoReply")


def annotations(element):
    return {child.get("name"): child.get("value") for child in element.findall("annotation")}


def describe_args(member):
    """[(name, type, direction)]; the direction's default is the specification's."""
    default = "out" if member.tag == "signal" else "in"
    return [(arg.get("name") or "", arg.get("type"), arg.get("direction") or default)
            for arg in member.findall("arg")]


def describe(member, interface):
    """What is compared of a member, as a dict."""
    notes = annotations(member)
    if member.tag == "property":
        emits = notes.get(EMITS) or annotations(interface).get(EMITS) or "true"
        facts = {"type": member.get("type"), "access": member.get("access"), "emits": emits}
    else:
        # In and out arguments are two lists: how a file mixes them says nothing.
        args = describe_args(member)
        facts = {f"{direction} arguments": [f"{kind} {name}".strip() for name, kind, where in args
                                            if where == direction] for direction in ("in", "out")}
    for note in MEMBER_ANNOTATIONS:
        facts[note] = notes.get(note) == "true"
    return facts


def read_interfaces(text):
    """{interface: {(kind, member): facts}}"""
    interfaces = {}
    for interface in ElementTree.fromstring(text).findall("interface"):
        members = interfaces.setdefault(interface.get("name"), {})
        for member in interface:
            if member.tag in ("method", "signal", "property"):
                members[member.tag, member.get("name")] = describe(member, interface)
    return interfaces


def compare(contract, live):
    for name in sorted(contract.keys() | live.keys()):
        if name not in live:
            yield f"{name}: not on the object"
        elif name not in contract:
            yield f"{name}: not in the contract"
        else:
            yield from compare_interface(name, contract[name], live[name])


def compare_interface(name, contract, live):
    for kind, member in sorted(contract.keys() | live.keys()):
        where = f"{name}.{member}"
        if (kind, member) not in live:
            yield f"{where}: {kind} not on the object"
        elif (kind, member) not in contract:
            yield f"{where}: {kind} not in the contract"
        else:
            wanted, found = contract[kind, member], live[kind, member]
            for fact, value in wanted.items():
                if found[fact] != value:
                    yield f"{where}: {fact}: contract {value}, object {found[fact]}"


def differences(contract_texts, live_text):
    contract = {}
    for text in contract_texts:
        contract.update(read_interfaces(text))
    live = {name: members for name, members in read_interfaces(live_text).items() if not name.startswith(STANDARD)}
    return list(compare(contract, live))


# ---- self-test ----------------------------------------------------------------------------------------------------

CONTRACT = """<node><interface name="a.B">
<method name="M"><arg name="x" type="s" direction="in"/><arg name="y" type="u" direction="out"/></method>
<signal name="S"><arg name="z" type="o"/></signal>
<property name="P" type="s" access="read"/>
<property name="C" type="u" access="readwrite"><annotation name="%s" value="const"/></property>
</interface></node>""" % EMITS

SAME = """<node><interface name="org.freedesktop.DBus.Peer"><method name="Ping"/></interface><interface name="a.B">
<property name="C" type="u" access="readwrite"><annotation name="%s" value="const"/></property>
<property name="P" type="s" access="read"><annotation name="%s" value="true"/></property>
<signal name="S"><arg type="o" name="z" direction="out"/></signal>
<method name="M"><arg type="u" name="y" direction="out"/><arg type="s" name="x"/>
<annotation name="org.freedesktop.systemd1.Privileged" value="true"/></method>
</interface><node name="child"/></node>""" % (EMITS, EMITS)

# What is replaced in the live text -> the one member that must be reported.
CHANGES = [
    ('name="x"', 'name="xx"', "a.B.M:"),
    ('type="s" name="x"', 'type="o" name="x"', "a.B.M:"),
    ('type="u" name="y" direction="out"', 'type="u" name="y"', "a.B.M:"),
    ('type="o" name="z"', 'type="s" name="z"', "a.B.S:"),
    ('value="const"', 'value="invalidates"', "a.B.C:"),
    ('type="s" access="read"', 'type="s" access="write"', "a.B.P:"),
    ('name="P" type="s"', 'name="P" type="as"', "a.B.P:"),
    ('<signal name="S"><arg type="o" name="z" direction="out"/></signal>', "", "a.B.S:"),
    ('<signal name="S">', '<method name="N"/><signal name="S">', "a.B.N:"),
    ('<node name="child"/>', '<interface name="a.X"/>', "a.X:"),
    ('<interface name="a.B">', '<interface name="org.freedesktop.B">', "a.B:"),
]


def self_test():
    failures = [f"equal, but: {difference}" for difference in differences([CONTRACT], SAME)]
    for old, new, where in CHANGES:
        found = differences([CONTRACT], SAME.replace(old, new, 1))
        if SAME.count(old) == 0 or not found or any(not difference.startswith(where) for difference in found):
            failures.append(f"{old} -> {new}: found {found}")
    for failure in failures:
        print(failure)
    print(f"introspection: self-test: {len(CHANGES) + 1 - len(failures)} of {len(CHANGES) + 1} passed")
    return 1 if failures else 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if not arguments or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    contract = []
    for path in arguments:
        with open(path, encoding="utf-8") as file:
            contract.append(file.read())
    found = differences(contract, sys.stdin.read())
    for difference in found:
        print(difference)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
