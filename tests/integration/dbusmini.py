"""A small D-Bus client for tests: calls, properties, signals, file descriptors. Python standard library only.

    with Connection(address) as bus:
        job, = bus.call("/org/wipyd1/device/x", "org.wipyd1.Device", "Identify", "a{sv}", {})
        bus.get_all(job, "org.wipyd1.Job")["Phase"]

A service: own(name), then collect() fills .calls, which reply() and refuse() answer.

Values: numbers, str, bool, bytes for "ay", lists, dicts, tuples for structs; Variant(signature, value) where a variant is
sent, the bare value where one is read. "h" takes and gives file descriptors.
"""
import array
import os
import select
import socket
import struct
import time

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
FIXED = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "h": "I", "b": "I"}
ALIGN = {**{code: struct.calcsize(form) for code, form in FIXED.items()},
         "s": 4, "o": 4, "a": 4, "g": 1, "v": 1, "(": 8, "{": 8}


class DBusError(Exception):
    def __init__(self, name, text):
        super().__init__(f"{name}: {text}")
        self.name, self.text = name, text


class Variant:
    def __init__(self, signature, value):
        self.signature, self.value = signature, value


def split(signature):
    """The complete types in a signature."""
    types, at = [], 0
    while at < len(signature):
        start = at
        while signature[at] == "a":
            at += 1
        depth = 0
        while True:
            depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(signature[at], 0)
            at += 1
            if depth == 0:
                break
        types.append(signature[start:at])
    return types


class Writer:
    def __init__(self):
        self.data, self.fds = bytearray(), []

    def pad(self, n):
        self.data += bytes(-len(self.data) % n)

    def put(self, kind, value):
        code = kind[0]
        self.pad(ALIGN[code])
        if code == "h":
            self.fds.append(value)
            value = len(self.fds) - 1
        if code in FIXED:
            self.data += struct.pack("<" + FIXED[code], value)
        elif code in "so":
            text = value.encode()
            self.data += struct.pack("<I", len(text)) + text + b"\0"
        elif code == "g":
            self.data += bytes([len(value)]) + value.encode() + b"\0"
        elif code == "v":
            self.put("g", value.signature)
            self.put(value.signature, value.value)
        elif code == "a":
            self.put_array(kind[1:], value)
        else:
            for one, item in zip(split(kind[1:-1]), value, strict=True):
                self.put(one, item)

    def put_array(self, kind, value):
        at = len(self.data)
        self.data += bytes(4)
        self.pad(ALIGN[kind[0]])
        start = len(self.data)
        if kind == "y":
            self.data += value
        else:
            for item in value.items() if kind[0] == "{" else value:
                self.put(kind, item)
        struct.pack_into("<I", self.data, at, len(self.data) - start)


class Reader:
    def __init__(self, data, fds=()):
        self.data, self.at, self.fds = data, 0, fds

    def pad(self, n):
        self.at += -self.at % n

    def get(self, kind):
        code = kind[0]
        self.pad(ALIGN[code])
        if code in FIXED:
            value, = struct.unpack_from("<" + FIXED[code], self.data, self.at)
            self.at += ALIGN[code]
            return bool(value) if code == "b" else self.fds[value] if code == "h" else value
        if code in "sog":
            size = self.get("y") if code == "g" else self.get("u")
            text = self.data[self.at:self.at + size].decode()
            self.at += size + 1
            return text
        if code == "v":
            return self.get(self.get("g"))
        if code == "a":
            return self.get_array(kind[1:])
        return tuple(self.get(one) for one in split(kind[1:-1]))

    def get_array(self, kind):
        size = self.get("u")
        self.pad(ALIGN[kind[0]])
        end = self.at + size
        if kind == "y":
            self.at = end
            return bytes(self.data[end - size:end])
        items = []
        while self.at < end:
            items.append(self.get(kind))
        return dict(items) if kind[0] == "{" else items


class Message:
    def __init__(self, kind, fields, body, serial=0, flags=0):
        self.kind, self.body, self.serial, self.flags = kind, body, serial, flags
        self.path, self.interface, self.member = fields.get(1), fields.get(2), fields.get(3)
        self.error, self.reply_to, self.sender = fields.get(4), fields.get(5), fields.get(7)
        self.at = time.monotonic()


class Connection:
    def __init__(self, address, destination="org.wipyd1", patience=1):
        """patience: how much slower than usual who is called may be."""
        self.patience = patience
        parts = dict(part.split("=", 1) for part in address.split(":", 1)[1].split(",") if "=" in part)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect("\0" + parts["abstract"] if "abstract" in parts else parts["path"])
        self.destination, self.serial = destination, 0
        self.buffer, self.fds, self.handed_over = b"", [], []
        self.replies, self.signals, self.calls = {}, [], []
        self._authenticate()
        self.name, = self.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello",
                               destination="org.freedesktop.DBus")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()
        self.close_fds()

    def close_fds(self):
        """Those that came and that nobody took out of .fds."""
        while self.fds:
            os.close(self.fds.pop())

    def _authenticate(self):
        self.socket.settimeout(10)
        self.socket.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
        lines = self.socket.makefile("rb", buffering=0)
        assert lines.readline().startswith(b"OK "), "the bus doesn't know us"
        self.socket.sendall(b"NEGOTIATE_UNIX_FD\r\n")
        assert lines.readline().startswith(b"AGREE_UNIX_FD")
        self.socket.sendall(b"BEGIN\r\n")

    # ---- sending ----
    def send(self, path, interface, member, signature="", *arguments, destination=None, flags=0):
        """Sends a call and gives its serial, for wait()."""
        body = Writer()
        for kind, value in zip(split(signature), arguments, strict=True):
            body.put(kind, value)
        fields = [(1, Variant("o", path)), (3, Variant("s", member)),
                  (6, Variant("s", destination or self.destination))]
        if interface:
            fields.append((2, Variant("s", interface)))
        return self._send(CALL, flags, fields, signature, body)

    def _send(self, kind, flags, fields, signature, body):
        if signature:
            fields.append((8, Variant("g", signature)))
        if body.fds:
            fields.append((9, Variant("u", len(body.fds))))
        self.serial += 1
        head = Writer()
        head.data += struct.pack("<cBBBII", b"l", kind, flags, 1, len(body.data), self.serial)
        head.put("a(yv)", fields)
        head.pad(8)
        data = bytes(head.data + body.data)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", body.fds))] if body.fds else []
        sent = self.socket.sendmsg([data], rights)
        self.socket.sendall(data[sent:])
        return self.serial

    def wait(self, serial, seconds=25):
        """The values of the reply; DBusError when it is an error."""
        end = time.monotonic() + seconds * self.patience
        while serial not in self.replies:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no reply to call {serial} in {seconds} s")
            self._read(left)
        message = self.replies.pop(serial)
        if message.kind == ERROR:
            raise DBusError(message.error, message.body[0] if message.body else "")
        return message.body

    def call(self, path, interface, member, signature="", *arguments, destination=None, seconds=25):
        return self.wait(self.send(path, interface, member, signature, *arguments, destination=destination), seconds)

    def call_flags(self, flags, path, interface, member, signature="", *arguments):
        """As call(), with flags of the message: 4 allows that a person is asked."""
        return self.wait(self.send(path, interface, member, signature, *arguments, flags=flags))

    # ---- being a service ----
    def own(self, name):
        code, = self.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su", name, 4,
                          destination="org.freedesktop.DBus")
        assert code == 1, f"{name} has an owner"

    def reply(self, call, signature="", *arguments):
        body = Writer()
        for kind, value in zip(split(signature), arguments, strict=True):
            body.put(kind, value)
        self._send(RETURN, 1, [(5, Variant("u", call.serial)), (6, Variant("s", call.sender))], signature, body)

    def refuse(self, call, name, text):
        body = Writer()
        body.put("s", text)
        self._send(ERROR, 1, [(4, Variant("s", name)), (5, Variant("u", call.serial)), (6, Variant("s", call.sender))],
                   "s", body)

    # ---- properties and signals ----
    def get(self, path, interface, name):
        return self.call(path, "org.freedesktop.DBus.Properties", "Get", "ss", interface, name)[0]

    def get_all(self, path, interface):
        return self.call(path, "org.freedesktop.DBus.Properties", "GetAll", "s", interface)[0]

    def introspect(self, path):
        return self.call(path, "org.freedesktop.DBus.Introspectable", "Introspect")[0]

    def managed(self, path="/org/wipyd1"):
        return self.call(path, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")[0]

    def subscribe(self, rule="type='signal',sender='org.wipyd1'"):
        self.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", "s", rule,
                  destination="org.freedesktop.DBus")

    def collect(self, seconds=0.0):
        """Takes in what comes during that time; all signals so far are in .signals."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if not self._read(max(left, 0)) and left <= 0:
                return self.signals

    # ---- receiving ----
    def _read(self, seconds):
        if not select.select([self.socket], [], [], seconds)[0]:
            return False
        data, rights, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(16 * 4))
        if not data:
            raise ConnectionError("the bus hung up")
        for level, kind, payload in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self.fds += array.array("i", payload[:len(payload) // 4 * 4])
        self.buffer += data
        while self._take():
            pass
        return True

    def _take(self):
        if len(self.buffer) < 16:
            return False
        body_size, _, fields_size = struct.unpack_from("<III", self.buffer, 4)
        body_at = 16 + fields_size + (-fields_size % 8)
        if len(self.buffer) < body_at + body_size:
            return False
        assert self.buffer[0:1] == b"l", "a big-endian message"
        kind = self.buffer[1]
        reader = Reader(self.buffer[:body_at])
        reader.at = 12
        fields = dict(reader.get("a(yv)"))
        n_fds = fields.get(9, 0)
        fds, self.fds = self.fds[:n_fds], self.fds[n_fds:]  # from here on they are the caller's
        self.handed_over = fds
        reader = Reader(self.buffer[body_at:body_at + body_size], fds)
        message = Message(kind, fields, [reader.get(one) for one in split(fields.get(8, ""))],
                          *struct.unpack_from("<I", self.buffer, 8), self.buffer[2])
        self.buffer = self.buffer[body_at + body_size:]
        if kind == SIGNAL:
            self.signals.append(message)
        elif kind == CALL:
            self.calls.append(message)
        elif message.reply_to is not None:
            self.replies[message.reply_to] = message
        return True
