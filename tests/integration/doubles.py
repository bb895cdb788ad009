"""Doubles of polkit and logind on the bench's private bus, each in a thread of its own; and a caller that is nobody.

    with Polkit(bench.address, "no") as polkit:     # yes, no, challenge, dismissed, never; may be changed at any time
        ...
        polkit.checks[0].action, .details, .may_ask; polkit.cancelled

    with Logind(bench.address) as logind:           # refuses=("block",): what it says no to
        logind.held()                               # [(what, who, why, mode)] of the inhibitors that are held now
"""
import contextlib
import os
import select
import threading

import dbusmini

NOBODY = 65534


class Double(threading.Thread):
    name_on_bus = None

    def __init__(self, address):
        super().__init__(daemon=True)
        self.bus = dbusmini.Connection(address)
        self.bus.own(self.name_on_bus)
        self.is_ending, self.problem = False, None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.is_ending = True
        self.join(10)
        self.bus.close()
        if kind is None and self.problem:
            raise self.problem

    def run(self):
        try:
            while not self.is_ending:
                self.bus.collect(0.02)
                while self.bus.calls:
                    self.on_call(self.bus.calls.pop(0))
                self.on_turn()
        except Exception as problem:
            self.problem = problem

    def on_turn(self):
        pass


class Check:
    def __init__(self, call):
        (kind, subject), self.action, self.details, flags, self.id = call.body
        assert kind == "system-bus-name", kind
        self.subject, self.may_ask, self.call, self.is_answered = subject["name"], flags == 1, call, False


class Polkit(Double):
    name_on_bus = "org.freedesktop.PolicyKit1"
    ANSWERS = {"yes": (True, False, {}), "no": (False, False, {}), "challenge": (False, True, {}),
               "dismissed": (False, True, {"polkit.dismissed": "true"})}

    def __init__(self, address, answer):
        super().__init__(address)
        self.answer, self.checks, self.cancelled = answer, [], []

    def on_call(self, call):
        assert call.path == "/org/freedesktop/PolicyKit1/Authority", call.path
        assert call.interface == "org.freedesktop.PolicyKit1.Authority", call.interface
        if call.member == "CancelCheckAuthorization":
            self.cancelled.append(call.body[0])
            if not call.flags & 1:
                self.bus.reply(call)
            return
        assert call.member == "CheckAuthorization", call.member
        check = Check(call)
        assert check.id not in [other.id for other in self.checks], "a cancellation id is used twice"
        self.checks.append(check)
        if self.answer in self.ANSWERS:
            self.answer_check(check, self.answer)

    def answer_check(self, check, answer):
        check.is_answered = True
        self.bus.reply(check.call, "(bba{ss})", self.ANSWERS[answer])


class Logind(Double):
    name_on_bus = "org.freedesktop.login1"

    def __init__(self, address, refuses=()):
        super().__init__(address)
        self.refuses, self.asked, self.inhibitors = refuses, [], []

    def on_call(self, call):
        assert (call.path, call.interface, call.member) == ("/org/freedesktop/login1", "org.freedesktop.login1.Manager",
                                                            "Inhibit"), call.member
        self.asked.append(tuple(call.body))
        if call.body[3] in self.refuses:
            self.bus.refuse(call, "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", "not without a password")
            return
        reader, writer = os.pipe()
        self.bus.reply(call, "h", writer)
        os.close(writer)
        self.inhibitors.append((reader, tuple(call.body)))

    def held(self):
        """As logind tells: by the end of the file."""
        return [what for reader, what in self.inhibitors if not select.select([reader], [], [], 0)[0]]

    def __exit__(self, *what):
        super().__exit__(*what)
        for reader, _ in self.inhibitors:
            os.close(reader)


@contextlib.contextmanager
def somebody_else(bench, uid=NOBODY):
    """A connection of another user; root alone can have one."""
    for folder in bench.folder, bench.folder.parent:
        folder.chmod(0o711)
    os.seteuid(uid)
    try:
        bus = dbusmini.Connection(bench.address)
    finally:
        os.seteuid(0)
    with bus:
        yield bus
