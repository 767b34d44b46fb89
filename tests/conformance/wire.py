"""
What the conformance suite says and hears on the wire: a strict raw client, and a
server in a process of its own.  Knows the package by its command line only.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from commandline import module

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
APPLICATION = "wire_applications:application"
PATIENCE = 5.0
"""Seconds to wait for something that must happen."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9]{2}) ([\t \x21-\x7e\x80-\xff]*)")
_FIELD_LINE = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t \x21-\x7e\x80-\xff]*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,16}")
_ONE_AT_MOST = ("content-length", "transfer-encoding", "date", "server", "connection")


class WireError(AssertionError):
    """What arrived is not well-formed, or did not arrive at all."""


class Closed(WireError):
    """The connection was closed where a line should have begun."""


class Cut(WireError):
    """The connection was closed within a line."""


def case(sentence: str, *values: object) -> Any:
    """Give one row of a table the name by which it is known in the report."""
    return pytest.param(*values, id=sentence)


def new_token() -> str:
    """Return a name for one request, by which the applications note its events."""
    return secrets.token_hex(8)


# --- what is said


def latin(text: str | bytes) -> bytes:
    """Return the bytes of what a table holds as text, one for each character."""
    return text.encode("latin-1") if isinstance(text, str) else text


def request(
    target: str | bytes = "/",
    *,
    method: str = "GET",
    version: str = "HTTP/1.1",
    host: str | None = "wire.example",
    app: str = "",
    token: str = "",
    spec: dict[str, Any] | None = None,
    headers: Iterable[tuple[str | bytes, str | bytes]] = (),
    body: bytes | None = None,
    chunks: Sequence[bytes] | None = None,
) -> bytes:
    """Return a request; ``app`` chooses the application, ``spec`` instructs it."""
    fields: list[tuple[str | bytes, str | bytes]] = []
    if host is not None:
        fields.append(("Host", host))
    if app:
        fields.append(("X-App", app))
    if token:
        fields.append(("X-Token", token))
    if spec is not None:
        fields.append(("X-Spec", base64.b64encode(repr(spec).encode())))
    fields.extend(headers)
    content = b""
    if body is not None:
        fields.append(("Content-Length", str(len(body))))
        content = body
    if chunks is not None:
        fields.append(("Transfer-Encoding", "chunked"))
        content = chunked(chunks)
    lines = [latin(method) + b" " + latin(target) + b" " + latin(version)]
    lines += [latin(name) + b": " + latin(value) for name, value in fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


def chunked(blocks: Iterable[bytes]) -> bytes:
    """Return the blocks in the chunked coding (RFC 9112, 7.1)."""
    return b"".join(b"%x\r\n%s\r\n" % (len(b), b) for b in blocks) + b"0\r\n\r\n"


def with_token(raw: bytes | str, token: str) -> bytes:
    """
    Return what a table says, as bytes, with the token in its places.

    The tables write ``/@`` for a path by which the suite finds the call.
    """
    return latin(raw).replace(b"/@", b"/" + token.encode())


# --- what is heard


@dataclass
class Response:
    """A response whose head is well-formed; ``complete`` tells about its body."""

    version: str
    status: int
    reason: bytes
    fields: list[tuple[str, bytes]]
    framing: str = "none"
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    complete: bool = False

    def all(self, name: str) -> list[bytes]:
        """Return the values of a field, in the order in which they came."""
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def get(self, name: str) -> bytes | None:
        """Return the value of a field that may come once."""
        values = self.all(name)
        if len(values) > 1:
            raise WireError(f"{name} came {len(values)} times: {values!r}")
        return values[0] if values else None

    def json(self) -> Any:
        """Return what the body says, for an application that speaks JSON."""
        assert self.status == 200, (self.status, self.reason, self.body[:300])
        assert self.complete, "the response is not complete"
        return json.loads(self.body)


class Client:
    """A connection, with a parser that forgives nothing."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self.buffer = b""
        self.ended = False
        self.reset = False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave."""
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send all of it; a server that hangs up meanwhile is noticed in reading."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.sock.sendall(data)

    def _more(self) -> bool:
        """Read once; false at the end of the connection."""
        if self.ended:
            return False
        try:
            data = self.sock.recv(1 << 18)
        except TimeoutError:
            heard = self.buffer[-200:]
            raise WireError(f"nothing came for {PATIENCE} s; last: {heard!r}") from None
        except (ConnectionResetError, ssl.SSLError):
            self.reset = True
            data = b""
        if not data:
            self.ended = True
            return False
        self.buffer += data
        return True

    def _line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            if not self._more():
                if not self.buffer:
                    raise Closed("closed where a line should have begun")
                raise Cut(f"closed within a line: {self.buffer[-200:]!r}")
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        if re.search(rb"[\r\n\0]", line):
            raise WireError(f"CR, LF or NUL within a line: {line!r}")
        return line

    def take(self, size: int) -> bytes:
        """Take ``size`` bytes, or fewer if the connection ends before."""
        parts = [self.buffer]
        have = len(self.buffer)
        self.buffer = b""
        while have < size and self._more():
            parts.append(self.buffer)
            have += len(self.buffer)
            self.buffer = b""
        data = b"".join(parts)
        self.buffer = data[size:]
        return data[:size]

    def head(self) -> Response:
        """Read a status line and the fields up to the empty line."""
        line = self._line()
        matched = _STATUS_LINE.fullmatch(line)
        if matched is None:
            raise WireError(f"not a status line: {line!r}")
        fields: list[tuple[str, bytes]] = []
        while line := self._line():
            found = _FIELD_LINE.fullmatch(line)
            if found is None:
                raise WireError(f"not a field line: {line!r}")
            fields.append((found[1].decode(), found[2]))
        response = Response(matched[1].decode(), int(matched[2]), matched[3], fields)
        for name in _ONE_AT_MOST:
            response.get(name)
        return response

    def response(self, method: str = "GET") -> Response:
        """Read one response, interim ones included, to the end of its body."""
        response = self.head()
        coding = response.get("Transfer-Encoding")
        length = response.get("Content-Length")
        if coding is not None and length is not None:
            raise WireError("both Content-Length and Transfer-Encoding (RFC 9112, 6.2)")
        if coding is not None and coding.lower() != b"chunked":
            raise WireError(f"a transfer coding nobody asked for: {coding!r}")
        if coding is not None and response.version == "HTTP/1.0":
            raise WireError("Transfer-Encoding towards HTTP/1.0 (RFC 9112, 6.1)")
        if length is not None and re.fullmatch(rb"[0-9]{1,18}", length) is None:
            raise WireError(f"not a length: {length!r}")
        bodiless = response.status < 200 or response.status == 204
        if bodiless and (coding is not None or length is not None):
            raise WireError(f"{response.status} announces a body (RFC 9110, 8.6)")
        if bodiless or method == "HEAD" or response.status == 304:
            response.complete = True
        elif coding is not None:
            response.framing = "chunked"
            self._read_chunks(response)
        elif length is not None:
            response.framing = "length"
            response.body = self.take(int(length))
            response.complete = len(response.body) == int(length)
        else:
            response.framing = "close"
            while self._more():
                pass
            response.body, self.buffer = self.buffer, b""
            response.complete = not self.reset
        return response

    def _read_chunks(self, response: Response) -> None:
        parts = response.chunks
        try:
            while True:
                line = self._line()
                if _CHUNK_SIZE.fullmatch(line) is None:
                    raise WireError(f"not a chunk size: {line!r}")
                size = int(line, 16)
                if size == 0:
                    break
                block = self.take(size)
                parts.append(block)
                if len(block) < size:
                    return
                end = self.take(2)
                if end != b"\r\n"[: len(end)]:
                    raise WireError(f"chunk of {size} is followed by {end!r}")
                if len(end) < 2:
                    return
            if line := self._line():
                raise WireError(f"a trailer, or garbage: {line!r}")
            response.complete = True
        except (Closed, Cut):
            # That is a fact about the response, not bad syntax.
            self.buffer = b""
        finally:
            response.body = b"".join(parts)

    def final(self, method: str = "GET") -> Response:
        """Read one response, and skip the interim ones before it."""
        while True:
            response = self.response(method)
            if response.status >= 200:
                return response

    def rest(self) -> bytes:
        """Return whatever comes until the connection is closed."""
        while self._more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def rest_of_stream(self) -> None:
        """Read chunks, of which some were read before, to the last one."""
        while not self.buffer.endswith(b"0\r\n\r\n"):
            assert self._more(), f"closed after {self.buffer[-200:]!r}"
        self.buffer = b""

    def assert_closed(self) -> None:
        """Check that nothing more comes, and that the server closes."""
        if data := self.rest():
            raise WireError(f"after the response: {data[:200]!r}")

    def assert_open(self) -> None:
        """Check that the connection serves another request."""
        self.send(request(app="hello"))
        response = self.response()
        assert (response.status, response.body) == (200, b"hello"), response

    def assert_open_or_closed(self) -> bool:
        """Check that no garbage follows; true when another request is served."""
        self.send(request(app="hello"))
        try:
            response = self.response()
        except Closed:
            return False
        assert (response.status, response.body) == (200, b"hello"), response
        return True


# --- who is asked


@dataclass(frozen=True)
class Door:
    """
    One of the package's servers, by what its command line needs.

    ``strict`` is a door with an HTTP/1.1 channel of our own: it has limits and
    deadlines, exact flushing and streamed input, and no excuse to overlook a rule.
    """

    name: str
    arguments: tuple[str, ...] = ()
    strict: bool = False

    def __str__(self) -> str:
        return self.name


TWISTED = Door("twisted", ("--site", "twisted"))
FAST = Door("fast", ("--site", "fast"), strict=True)

DOORS = [TWISTED, FAST]
"""Every server here goes through the whole suite."""

STRICT = [door for door in DOORS if door.strict]
"""These go through what only a strict door can pass."""

TCP = "tcp:0:interface=127.0.0.1"


RUNNING: list[Server] = []
"""The servers that tests may be using."""


class Log:
    """What the server process prints, kept as it comes."""

    def __init__(self) -> None:
        self._text = ""
        self._ended = False
        self._grown = threading.Condition()

    def feed(self, line: str) -> None:
        """Keep one more line."""
        with self._grown:
            self._text += line
            self._grown.notify_all()

    def end(self) -> None:
        """Nothing more will come."""
        with self._grown:
            self._ended = True
            self._grown.notify_all()

    def mark(self) -> int:
        """Return the place where the log ends now."""
        with self._grown:
            return len(self._text)

    def since(self, mark: int = 0) -> str:
        """Return what has been printed since the mark."""
        with self._grown:
            return self._text[mark:]

    def wait_for(self, pattern: str, mark: int = 0, timeout: float = PATIENCE) -> str:
        """Wait until the pattern is in what was printed since; return all of that."""
        with self._grown:
            self._grown.wait_for(lambda: re.search(pattern, self._text[mark:]), timeout)
            text = self._text[mark:]
        assert re.search(pattern, text), f"{pattern!r} is not in the log: {text!r}"
        return text


class Server:
    """The command line in a process of its own, with one listener."""

    def __init__(
        self,
        door: Door,
        endpoint: str,
        *arguments: str,
        application: str = APPLICATION,
    ) -> None:
        self.door = door
        self.log = Log()
        self.secure = endpoint.startswith("ssl:")
        command = [*module(), *door.arguments]
        command += ["--listen", endpoint, "--app-dir", str(HERE), *arguments]
        self.process = subprocess.Popen(
            [*command, application],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.path: str | None = None
        self.port = 0
        if endpoint.startswith("unix:"):
            self.path = endpoint.removeprefix("unix:")

    def wait_until_ready(self) -> None:
        """Wait for the line that names the address."""
        ready = self.log.wait_for(r"wsgiflush: serving .* at .*\n", timeout=20)
        if self.path is None:
            found = re.search(r"wsgiflush: serving .* at \w+://\S*:(\d+)/", ready)
            assert found, ready
            self.port = int(found[1])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.feed(line)
        self.log.end()

    def connect(self, receive_buffer: int | None = None) -> Client:
        """Open a connection."""
        family = socket.AF_INET if self.path is None else socket.AF_UNIX
        sock = socket.socket(family)
        sock.settimeout(PATIENCE)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(self.path or ("127.0.0.1", self.port))
        if self.secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            sock = context.wrap_socket(sock)
        return Client(sock)

    def ask(self, data: bytes, method: str = "GET") -> Response:
        """Send one request over a connection of its own; return the response."""
        with self.connect() as client:
            client.send(data)
            return client.final(method)

    def environ(self, target: str | bytes = "/", **kw: Any) -> dict[str, Any]:
        """Return what the application finds in environ for such a request."""
        found: dict[str, Any] = self.ask(request(target, **kw)).json()["environ"]
        return found

    def events(self, token: str) -> list[str]:
        """Return what the applications noted for the token."""
        found: list[str] = self.ask(request(f"/?{token}", app="events")).json()
        return found

    def wait_for_event(self, token: str, event: str, timeout: float = 3.0) -> list[str]:
        """Wait until the applications have noted the event; return all of them."""
        deadline = time.monotonic() + timeout
        while event not in (events := self.events(token)):
            assert time.monotonic() < deadline, f"no {event!r} in {events[:20]!r}"
            time.sleep(0.02)
        return events

    def assert_noted_once(self, token: str, event: str) -> None:
        """Check that the event has come, and does not come again."""
        self.wait_for_event(token, event)
        time.sleep(0.02)
        events = self.events(token)
        assert events.count(event) == 1, events[:20]

    def assert_never_called(self, token: str) -> None:
        """Check that no application was called for the token, in path or header."""
        calls = self.ask(request(f"/?{token}", app="calls")).json()
        assert calls == [], f"the application was called for {calls!r}"

    def assert_refused(
        self,
        raw: bytes | str,
        statuses: Collection[int] = (400,),
        behind: bytes | str = b"",
    ) -> Response:
        """Check that the request is refused, and what is behind it never read."""
        token = new_token()
        raw = latin(raw).replace(b"Host: h\r\n", b"Host: h\r\nX-Token: /@\r\n", 1)
        with self.connect() as client:
            client.send(with_token(raw, token) + with_token(behind, token))
            # Ends what waits for more; by then it must not have been taken as a
            # request.
            client.send(b"\r\n\r\n")
            response = client.response()
            assert response.status in statuses, (response.status, response.body[:200])
            try:
                client.assert_closed()
            except WireError as error:
                raise AssertionError(f"after {response.status}: {error}") from None
        self.assert_never_called(token)
        return response

    def resident(self) -> int:
        """Return the bytes of memory that the process holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found, status
        return int(found[1]) * 1024

    def assert_alive(self) -> None:
        """Check that no test has killed it."""
        assert self.process.poll() is None, self.log.since()[-2000:]

    def stop(self) -> None:
        """End it; a second signal ends what a test has left running."""
        for signum in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.send_signal(signum)
                self.process.wait(2)
                break
        self._reader.join(2)
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextlib.contextmanager
def serving(
    door: Door, endpoint: str, *arguments: str, application: str = APPLICATION
) -> Iterator[Server]:
    """Run the command line for as long as the block lasts."""
    server = Server(door, endpoint, *arguments, application=application)
    try:
        server.wait_until_ready()
        RUNNING.append(server)
        yield server
    finally:
        if server in RUNNING:
            RUNNING.remove(server)
        server.stop()
