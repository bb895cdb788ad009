#!/usr/bin/env python3
"""A firmware server on loopback that misbehaves on demand: real HTTP and HTTPS, certificates of its own CA.

    with FirmwareServer(folder) as server:
        server.add("WiPy-1.20.2.r4.tar.gz", package_bytes, version="1.20.2.r4", int_version=77596036)
        url = server.url("good/findupgrade")            # https://localhost:PORT/good/findupgrade
        ...
        server.count("good/packages/")                  # requests whose path begins so
        server.requests                                 # [Request(method, path, headers, status, sent)]

A URL's first part is the CASE: how the server behaves. Below it:

    CASE/findupgrade[?package=NAME&...]   the answer, about the package added last or NAME. Its "file" is in packages/
    CASE/packages/                        the folder as HTML, all packages added: a mirror
    CASE/packages/NAME                    the package: ETag, Last-Modified, Range, If-Range, If-None-Match

Cases of the answer (packages behave well unless said): see ANSWERS. Of the package (the answer is a good one): see
PACKAGES. Any other case, also "good", behaves well throughout.

Ports: url(path, port="https") with port one of http, https, wrong-host (its certificate is another host's), expired,
refused (nobody listens). ca_file: what all certificates are signed with. proxy: URL of a proxy for plain HTTP and for
CONNECT; its requests have the path "proxy:TARGET".

server.interrupt() closes every connection; server.release.set() ends the waiting of slow and silent cases.
server.fail_after(CASE, NAME, n): the n-th byte of that package is the last one, once.

As a program: firmware_server.py FOLDER [PACKAGE VERSION INTVERSION]... prints one line of JSON {ports, ca_file, proxy},
serves until its standard input ends, and answers /_requests with its requests as JSON, /_reset forgets them.

Python's standard library and the openssl command.
"""
import email.utils
import hashlib
import http.server
import json
import os
import re
import select
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import zlib
from collections import namedtuple
from pathlib import Path

__all__ = ["ANSWERS", "PACKAGES", "FirmwareServer", "Request"]

Request = namedtuple("Request", "method path headers status sent")

HTML = b"<!DOCTYPE html>\n<html><body><h1>Welcome</h1></body></html>\n"
DAY = 86400
PUBLISHED = 1_600_000_000  # when every package was, for Last-Modified
BIG = 100 * 1024 * 1024


class Package:
    def __init__(self, name, data, version, int_version, revision=0):
        self.name, self.data, self.version, self.int_version = name, data, version, int_version
        self.sha1 = hashlib.sha1(data).hexdigest()
        self.etag = f'"{hashlib.sha256(data).hexdigest()[:16]}-{revision}"'


# ---- certificates ----------------------------------------------------------------------------------------------------

def _openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_certificates(folder):
    """ca.pem, and NAME.pem with key and certificate for each of https, wrong-host, expired."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _openssl(folder, "req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=a test's CA",
             "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
    for name, host, days in (("https", "localhost", "2"), ("wrong-host", "elsewhere.example", "2"),
                             ("expired", "localhost", "-1")):
        alt = f"DNS:{host}" + (",IP:127.0.0.1" if host == "localhost" else "")
        (folder / "extensions").write_text(f"subjectAltName={alt}\n")
        _openssl(folder, "req", "-new", *curve, "-keyout", "key", "-out", "request", "-subj", f"/CN={host}")
        _openssl(folder, "x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                 "-days", days, "-extfile", "extensions", "-out", "certificate")
        (folder / f"{name}.pem").write_text((folder / "key").read_text() + (folder / "certificate").read_text())


# ---- cases of the answer ---------------------------------------------------------------------------------------------

def _status(status, **headers):
    def answer(handler, _):
        handler.reply(status, b"<html>no</html>", {"Content-Type": "text/html",
                                                   **{k.replace("_", "-"): v for k, v in headers.items()}})
    return answer


def _body(data, content_type="application/json"):
    def answer(handler, _):
        handler.reply(200, data, {"Content-Type": content_type})
    return answer


def _fields(**changes):
    """The good answer with fields changed; a value of None drops one."""
    def answer(handler, package):
        fields = handler.fields(package)
        for key, value in changes.items():
            if value is None:
                del fields[key]
            else:
                fields[key] = value
        handler.reply_json(fields)
    return answer


def _redirect(to):
    def answer(handler, package):
        handler.reply(302, b"elsewhere", {"Location": to(handler, package)})
    return answer


def _array(handler, package):
    others = [{"key": f"{board}.{board} with esp32", "file": handler.base + f"/{board}.tar.gz", "version": "1.20.2.r4",
               "intVersion": 77596036, "hash": "0" * 40} for board in ("sipy", "gpy")]
    handler.reply_json([others[0], handler.fields(package), others[1]])


def _huge(handler, _):
    handler.begin(200, {"Content-Type": "application/json", "Content-Length": str(BIG)})
    handler.pour(BIG)


def _huge_unannounced(handler, _):
    handler.begin(200, {"Content-Type": "application/json"})
    handler.pour(BIG)


def _slow(handler, _):
    """A byte now and then, for ever."""
    handler.begin(200, {"Content-Type": "application/json"})
    while handler.send(b"[") and not handler.wait(0.2):
        pass


def _silent(handler, _):
    handler.wait(3600)


def _endless_headers(handler, _):
    handler.raw(b"HTTP/1.1 200 OK\r\n")
    while handler.raw(b"X-More: " + b"x" * 1000 + b"\r\n"):
        pass


def _raw(head, body):
    """As it stands: for headers that no server should send."""
    def answer(handler, package):
        handler.status, handler.close_connection = 200, True
        handler.server.owner.note_end(handler)
        handler.raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + head + b"\r\n" + body)
    return answer


def _bomb(handler, _):
    """50 MB in 50 KB, for a client that unpacks what it didn't ask to be packed: the same block again and again."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    first, block = (compressor.compress(bytes(1 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    handler.reply(200, first + 49 * block, {"Content-Type": "application/json", "Content-Encoding": "gzip"})


def _slow_headers(handler, _):
    handler.raw(b"HTTP/1.1 200 OK\r\nX-More: ")
    while handler.raw(b"x") and not handler.wait(0.1):
        pass


def _drip(handler, _):
    """Fast enough never to be called slow, and without an end; where there is a limit, its last bytes are never reached."""
    handler.begin(200, {"Content-Type": "application/json"})
    while handler.send(b" " * 200) and not handler.wait(0.05):
        pass


def _cut_answer(handler, package):
    data = json.dumps(handler.fields(package)).encode()
    handler.begin(200, {"Content-Type": "application/json", "Content-Length": str(len(data))})
    handler.send(data[:len(data) // 2])


def _conditional_answer(handler, package):
    data = json.dumps(handler.fields(package)).encode()
    handler.reply(200, data, {"Content-Type": "application/json", "ETag": f'"{hashlib.md5(data).hexdigest()}"'})


ANSWERS = {
    "404": _status(404),
    "412": _status(412),
    "500": _status(500),
    "503": _status(503, Retry_After="7"),
    "503-long": _status(503, Retry_After="99999999"),
    "html": _body(HTML, "text/html"),
    "html-as-json": _body(HTML),
    "nothing": _body(b""),
    "not-json": _body(b'{"key": "wipy.wipy with esp32", '),
    "text": _body(b'"hello"'),
    "empty-array": _body(b"[]"),
    "version-list": _body(b'[{"version":"1.18.2.r7","type":"stable"},{"version":"1.20.2.r4","type":"pybytes"}]'),
    "other-board": _fields(key="lopy.lopy with esp32.868"),
    "no-key": _fields(key=None),
    "no-file": _fields(file=None),
    "no-version": _fields(version=None),
    "no-int-version": _fields(intVersion=None),
    "no-hash": _fields(hash=None),
    "file-number": _fields(file=7),
    "file-ftp": _fields(file="ftp://localhost/WiPy.tar.gz"),
    "file-file": _fields(file="file:///etc/passwd"),
    "version-number": _fields(version=1.8),
    "int-version-string": _fields(intVersion="71303297"),
    "int-version-negative": _fields(intVersion=-1),
    "hash-short": _fields(hash="f6c3"),
    "hash-list": _fields(hash=[]),
    "wrong-hash": _fields(hash="0123456789abcdef0123456789abcdef01234567"),
    "array": _array,
    "conditional": _conditional_answer,  # 304 when nothing has changed
    "relative-file": lambda handler, package: handler.reply_json(dict(handler.fields(package), file="packages/" + package.name)),
    "huge": _huge,
    "huge-unannounced": _huge_unannounced,
    "slow": _slow,
    "silent": _silent,
    "endless-headers": _endless_headers,
    "cut-answer": _cut_answer,
    "gzip-bomb": _bomb,
    "nested": _body(b"[" * 60_000),
    "nested-objects": _body(b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    "many-values": _body(b"[" + b"0," * 30_000 + b"0]"),
    "long-number": _fields(intVersion=10 ** 400),
    "no-utf8": _body(b'{"key": "wipy.wipy with esp32", "version": "\xff\xfe\x80"}'),
    "escapes": _fields(version="1.20.9.r1\u001b[2J\nnotice all is well"),
    "long-url": _fields(file="https://localhost/" + "x" * 50_000),
    "length-negative": _raw(b"Content-Length: -5\r\n", b"[]"),
    "length-twice": _raw(b"Content-Length: 2\r\nContent-Length: 60000\r\n", b"[]"),
    "length-short": _raw(b"Content-Length: 10\r\n", b'{"key": "wipy.wipy with esp32"}'),
    "chunks-broken": _raw(b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\n[]"),
    "chunks-huge": _raw(b"Transfer-Encoding: chunked\r\n", b"7fffffff\r\n" + b"[" * 200_000),
    "slow-headers": _slow_headers,
    "drip": _drip,
    "closed": lambda handler, _: None,  # not a byte
    "redirect": _redirect(lambda handler, _: "/good/findupgrade"),
    "redirect-loop": _redirect(lambda handler, _: handler.path),
    "redirect-file": _redirect(lambda handler, _: "file:///etc/passwd"),
    "redirect-http": _redirect(lambda handler, _: handler.server.owner.url("good/findupgrade", "http")),
    "redirect-gopher": _redirect(lambda handler, _: "gopher://localhost:1/_"),
    "redirect-package": _redirect(lambda handler, package: "/good/packages/" + package.name),
}


# ---- cases of the package --------------------------------------------------------------------------------------------

def _missing(handler, _):
    handler.reply(404, b"no", {})


def _cut_always(handler, package):
    """Some bytes more each time."""
    handler.reply_package(package, at_most=max(1, len(package.data) // 8))


def _cut_once(handler, package):
    first = handler.server.owner.first_time(handler.path)
    handler.reply_package(package, at_most=len(package.data) // 2 if first else None)


def _cut_unnamed(handler, package):
    """No validators: what came can't be held on to."""
    first = handler.server.owner.first_time(handler.path)
    handler.reply_package(package, at_most=len(package.data) // 2 if first else None, validators={})


def _cut_by_date(handler, package):
    first = handler.server.owner.first_time(handler.path)
    handler.reply_package(package, at_most=len(package.data) // 2 if first else None,
                          validators={"Last-Modified": email.utils.formatdate(PUBLISHED, usegmt=True)})


def _cut_weak(handler, package):
    first = handler.server.owner.first_time(handler.path)
    handler.reply_package(package, at_most=len(package.data) // 2 if first else None,
                          validators={"ETag": "W/" + package.etag})


def _cut_changed(handler, package):
    """Another file is there when the rest is asked for."""
    first = handler.server.owner.first_time(handler.path)
    if first:
        handler.reply_package(Package(package.name, bytes(len(package.data)), "", 0), at_most=len(package.data) // 2)
    else:
        handler.reply_package(package)


def _cut_mixed(handler, package):
    """The server says that the rest is of the same file, but it isn't."""
    first = handler.server.owner.first_time(handler.path)
    if first:
        other = Package(package.name, bytes(len(package.data)), "", 0)
        other.etag = package.etag
        handler.reply_package(other, at_most=len(package.data) // 2)
    else:
        handler.reply_package(package)


def _wrong_range(handler, package):
    first = handler.server.owner.first_time(handler.path)
    handler.reply_package(package, at_most=len(package.data) // 2 if first else None, shift=1)


def _no_range(handler, package):
    first = handler.server.owner.first_time(handler.path)
    handler.reply_package(package, at_most=len(package.data) // 2 if first else None, ranges=False)


def _longer(handler, package):
    """Content-Length says more than comes."""
    handler.begin(200, {"Content-Length": str(len(package.data) + 10)})
    handler.send(package.data)


def _shorter(handler, package):
    handler.begin(200, {"Content-Length": str(len(package.data) - 10)})
    handler.send(package.data)


def _unannounced_end(handler, package):
    """No length, and the connection ends too early: only the content can tell."""
    handler.begin(200, {})
    handler.send(package.data[:-100])


def _huge_package(handler, _):
    handler.begin(200, {"Content-Length": str(BIG)})
    handler.pour(BIG)


def _huge_package_unannounced(handler, _):
    handler.begin(200, {})
    handler.pour(BIG)


def _slow_package(handler, package):
    handler.begin(200, {"Content-Length": str(len(package.data)), "ETag": package.etag})
    for i in range(len(package.data)):
        if not handler.send(package.data[i:i + 1]) or handler.wait(0.2):
            break


def _paced(handler, package):
    """About 4 s for the whole."""
    handler.reply_package(package, pause=4 * 4096 / max(len(package.data), 1))


PACKAGES = {
    "package-404": _missing,
    "package-500": lambda handler, _: handler.reply(500, b"no", {}),
    "cut-always": _cut_always,
    "cut-once": _cut_once,
    "cut-unnamed": _cut_unnamed,
    "cut-by-date": _cut_by_date,
    "cut-weak": _cut_weak,
    "cut-changed": _cut_changed,
    "cut-mixed": _cut_mixed,
    "wrong-range": _wrong_range,
    "no-range": _no_range,
    "longer": _longer,
    "shorter": _shorter,
    "unannounced-end": _unannounced_end,
    "huge-package": _huge_package,
    "huge-package-unannounced": _huge_package_unannounced,
    "slow-package": _slow_package,
    "paced": _paced,
    "package-to-file": _redirect(lambda handler, _: "file:///etc/passwd"),
    "package-to-http": _redirect(lambda handler, package: handler.server.owner.url("good/packages/" + package.name, "http")),
    "package-to-dict": _redirect(lambda handler, _: "dict://localhost:1/d:x"),
    "package-loop": _redirect(lambda handler, _: handler.path),
    "package-endless-headers": _endless_headers,
    "package-bomb": _bomb,
    "drip-package": _drip,
    "no-validators": lambda handler, package: handler.reply_package(package, validators={}),
}


# ---- requests --------------------------------------------------------------------------------------------------------

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *_):
        pass

    def version_string(self):
        return "test"

    def wait(self, seconds):
        """True: the test wants no more waiting, or the client has gone."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.server.owner.release.wait(min(0.05, max(0, end - time.monotonic()))):
                return True
            if select.select([self.connection], [], [], 0)[0]:
                return True
        return False

    # ---- sending: False when the client has gone

    def raw(self, data):
        try:
            self.connection.sendall(data)
        except OSError:
            self.close_connection = True
            return False
        self.sent += len(data)
        return True

    def begin(self, status, headers):
        """Status and headers; the connection ends with the reply."""
        self.status = status
        lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}", "Connection: close",
                 f"Date: {email.utils.formatdate(usegmt=True)}"] + [f"{k}: {v}" for k, v in headers.items()]
        self.close_connection = True
        self.server.owner.note_end(self)
        ok = self.raw(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.sent = 0
        return ok

    def send(self, data):
        return self.command == "HEAD" or self.raw(data)

    def pour(self, size):
        block = b"[" * 65536
        while size > 0 and self.send(block):
            size -= len(block)

    def reply(self, status, data, headers):
        etag = headers.get("ETag")
        if status == 200 and etag and etag in self.headers.get("If-None-Match", ""):
            self.begin(304, {"ETag": etag})
            return
        self.begin(status, {"Content-Length": str(len(data)), **headers})
        self.send(data)

    def reply_json(self, value):
        self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def reply_package(self, package, at_most=None, validators=None, ranges=True, shift=0, pause=0):
        """at_most: bytes before the connection breaks."""
        date = email.utils.formatdate(PUBLISHED, usegmt=True)
        if validators is None:
            validators = {"ETag": package.etag, "Last-Modified": date}
        asked, known = self.headers.get("If-None-Match"), validators.get("ETag")
        if (known and asked == known) or (not asked and validators.get("Last-Modified")
                                          and self.headers.get("If-Modified-Since") == date):
            self.begin(304, validators)
            return
        data, status, headers = package.data, 200, {"Content-Type": "application/octet-stream", **validators}
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if ranges and match and (condition is None or condition in validators.values()):
            start = int(match[1])
            if start >= len(data):
                self.begin(416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": "0"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {start + shift}-{len(data) - 1}/{len(data)}"
            data = data[start:]
        headers["Content-Length"] = str(len(data))
        self.begin(status, headers)
        limit = self.server.owner.take_limit(self.path)
        at_most = limit if limit is not None else at_most
        if pause:
            data = data[:at_most]
            for i in range(0, len(data), 4096):
                if not self.send(data[i:i + 4096]) or self.wait(pause):
                    return
        else:
            self.send(data if at_most is None else data[:at_most])

    # ---- what is asked

    @property
    def base(self):
        scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
        return f"{scheme}://{self.headers.get('Host', 'localhost')}/{self.case}"

    def fields(self, package):
        return {"key": "wipy.wipy with esp32", "file": f"{self.base}/packages/{package.name}", "version": package.version,
                "intVersion": package.int_version, "hash": package.sha1}

    def listing(self):
        owner = self.server.owner
        rows = "".join(f'<a href="{urllib.parse.quote(name)}">{name}</a> 01-Jan-2024 10:00 1M\n' for name in owner.packages)
        self.reply(200, f'<html><body><pre><a href="../">../</a>\n{rows}</pre></body></html>\n'.encode(),
                   {"Content-Type": "text/html"})

    def dispatch(self):
        owner = self.server.owner
        url = urllib.parse.urlsplit(self.path)
        self.case, _, rest = url.path.lstrip("/").partition("/")
        if self.case == "_requests":
            self.reply_json([request._asdict() for request in owner.requests])
        elif self.case == "_reset":
            owner.reset()
            self.reply_json({})
        elif rest == "findupgrade":
            package = owner.package(urllib.parse.parse_qs(url.query).get("package", [None])[0])
            ANSWERS.get(self.case, _fields())(self, package)
        elif rest == "packages/":
            self.listing() if self.case not in ANSWERS else ANSWERS[self.case](self, owner.package(None))
        elif rest.startswith("packages/") and urllib.parse.unquote(rest[9:]) in owner.packages:
            package = owner.packages[urllib.parse.unquote(rest[9:])]
            PACKAGES.get(self.case, lambda handler, p: handler.reply_package(p))(self, package)
        else:
            self.reply(404, b"no such case", {})

    def do_GET(self):
        self.status, self.sent, self.close_connection = 0, 0, True
        if re.match("https?://", self.path):
            self.forward()
            return
        self.server.owner.note(self.command, self.path, self)
        try:
            self.dispatch()
        finally:
            self.server.owner.note_end(self)

    do_HEAD = do_GET

    # ---- as a proxy

    def forward(self):
        """Plain HTTP: our own port knows the case."""
        self.server.owner.note(self.command, "proxy:" + self.path, self)
        self.path = re.sub(r"^https?://[^/]*", "", self.path)
        self.dispatch()
        self.server.owner.note_end(self)

    def do_CONNECT(self):
        self.status, self.sent, self.close_connection = 200, 0, True
        self.server.owner.note("CONNECT", "proxy:" + self.path, self)
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as other:
            self.raw(b"HTTP/1.1 200 Connected\r\n\r\n")
            pairs = {self.connection: other, other: self.connection}
            while True:
                for ready in select.select(list(pairs), [], [], 60)[0] or [None]:
                    try:
                        data = ready.recv(65536) if ready else b""
                        if data:
                            pairs[ready].sendall(data)
                    except OSError:
                        data = b""
                    if not data:
                        return


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 32
    allow_reuse_address = True

    def __init__(self, owner, certificate=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.owner, self.context = owner, None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)

    def finish_request(self, request, client_address):
        """In the connection's own thread: a client that refuses the certificate holds nobody up."""
        try:
            if self.context:
                request.settimeout(20)
                request = self.context.wrap_socket(request, server_side=True)
            self.owner.connections.add(request)
            super().finish_request(request, client_address)
        except OSError:
            pass
        finally:
            self.owner.connections.discard(request)
            if self.context:
                request.close()

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


# ---- the whole -------------------------------------------------------------------------------------------------------

class FirmwareServer:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.packages = {}
        self.release = threading.Event()
        self.connections = set()
        self._lock = threading.Lock()
        self.reset()
        self._limits = {}
        make_certificates(self.folder)
        self.ca_file = str(self.folder / "ca.pem")
        self._servers = {"http": Server(self)}
        for name in ("https", "wrong-host", "expired"):
            self._servers[name] = Server(self, self.folder / f"{name}.pem")
        self.ports = {name: server.server_address[1] for name, server in self._servers.items()}
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            self.ports["refused"] = nobody.getsockname()[1]
        self.proxy = f"http://127.0.0.1:{self.ports['http']}"
        for server in self._servers.values():
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.release.set()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
        self.interrupt()

    def interrupt(self):
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def add(self, name, data, version="1.20.2.r4", int_version=77596036):
        """Also replaces one of the same name: its ETag changes with its bytes."""
        self.packages.pop(name, None)
        self.packages[name] = Package(name, bytes(data), version, int_version)
        return self.packages[name]

    def package(self, name):
        if name in self.packages:
            return self.packages[name]
        return list(self.packages.values())[-1] if self.packages else Package("none.tar.gz", b"", "0", 0)

    def url(self, path, port="https"):
        scheme = "http" if port in ("http", "refused") else "https"
        return f"{scheme}://localhost:{self.ports[port]}/{path}"

    def first_time(self, path):
        with self._lock:
            first = path not in self._seen
            self._seen.add(path)
            return first

    def fail_after(self, case, name, n):
        self._limits[f"/{case}/packages/{name}"] = n

    def take_limit(self, path):
        return self._limits.pop(path, None)

    def note(self, method, path, handler):
        with self._lock:
            handler.number = len(self.requests)
            self.requests.append(Request(method, path, dict(handler.headers.items()), 0, 0))

    def note_end(self, handler):
        with self._lock:
            if handler.number < len(self.requests):
                self.requests[handler.number] = self.requests[handler.number]._replace(status=handler.status,
                                                                                       sent=handler.sent)

    def reset(self):
        with self._lock:
            self.requests, self._seen = [], set()

    def count(self, prefix):
        with self._lock:
            return sum(request.path.lstrip("/").startswith(prefix.lstrip("/")) for request in self.requests)


def main(arguments):
    if not arguments or len(arguments) % 3 != 1 or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    with FirmwareServer(arguments[0]) as server:
        for path, version, number in zip(*[iter(arguments[1:])] * 3):
            server.add(os.path.basename(path), Path(path).read_bytes(), version, int(number))
        print(json.dumps({"ports": server.ports, "ca_file": server.ca_file, "proxy": server.proxy}), flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
