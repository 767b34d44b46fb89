"""
``x-wsgiorg.flush`` over real sockets: what has arrived, and when.

The applications here block the reactor until the client says that it has got what was
sent so far, as a client in another thread can: nothing depends on a clock.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import pytest_twisted
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.threads import deferToThread
from twisted.web.server import Site
from waiting import FLUSH, SUSPEND, Body

from twisted_wsgiflush import WSGIResource
from twisted_wsgiflush._types import WSGIApplication

PATIENCE = 10
"""Seconds to wait for something that must happen."""

V1 = [("ETag", '"v1"'), ("Content-Type", "text/plain")]
FRESH = {"if-none-match": '"v1"'}


class Client:
    """A client of HTTP/1.1 that blocks."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        self._connection = connection
        self._method = ""

    def ask(self, method: str = "GET", headers: dict[str, str] | None = None) -> None:
        """Send a request."""
        self._method = method
        fields = {"host": "localhost", **(headers or {})}
        lines = [f"{method} / HTTP/1.1", *(f"{n}: {fields[n]}" for n in fields)]
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode())

    def head(self) -> tuple[int, dict[str, str]]:
        """Wait for the status and headers."""
        self._response = HTTPResponse(self._connection, method=self._method)
        self._response.begin()
        headers = self._response.getheaders()
        return self._response.status, {name.lower(): value for name, value in headers}

    def block(self) -> bytes:
        """Wait for some of the body; nothing at its end."""
        return self._response.read1(65536)

    def body(self) -> bytes:
        """Wait for the rest of the body."""
        return b"".join(iter(self.block, b""))

    def close(self) -> None:
        """Close the connection, and not only when nobody reads from it any more."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


class HTTP2Client(Client):
    """A client of HTTP/2."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self._h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._events: list[Event] = []

    def ask(self, method: str = "GET", headers: dict[str, str] | None = None) -> None:
        """Send a request."""
        pseudo = {":method": method, ":path": "/", ":scheme": "https"}
        pseudo[":authority"] = "localhost"
        fields = [*pseudo.items(), *(headers or {}).items()]
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream, fields, end_stream=True)
        self._connection.sendall(self._h2.data_to_send())

    def head(self) -> tuple[int, dict[str, str]]:
        """Wait for the status and headers."""
        event: Any = self._next(ResponseReceived)
        headers = dict(event.headers)
        return int(headers.pop(":status")), headers

    def block(self) -> bytes:
        """Wait for some of the body; nothing at its end."""
        event = self._next(DataReceived, StreamEnded)
        if isinstance(event, StreamEnded):
            return b""
        return event.data or self.block()  # type: ignore[attr-defined]

    def _next(self, *kinds: type[Event]) -> Event:
        while True:
            while self._events:
                event = self._events.pop(0)
                if isinstance(event, kinds):
                    return event
            data = self._connection.recv(65536)
            assert data, "the connection is closed"
            self._events += self._h2.receive_data(data)
            self._connection.sendall(self._h2.data_to_send())


Connect: TypeAlias = Callable[[], Client]
Listen: TypeAlias = Callable[..., Connect]


@pytest_twisted.async_yield_fixture
async def listen(tmp_path: Path, certificate: Path) -> AsyncIterator[Listen]:
    """Serve an application on a kind of socket, until the test is over."""
    from twisted.internet import reactor as the_reactor

    reactor: Any = the_reactor
    tls = PrivateCertificate.loadPEM(certificate.read_bytes()).options()
    ports = []

    def listen(kind: str, application: WSGIApplication, **options: Any) -> Connect:
        site = Site(WSGIResource(reactor, application, **options), reactor=reactor)
        if kind == "UNIX":
            ports.append(reactor.listenUNIX(str(tmp_path / "socket"), site))
        elif kind == "TCP":
            ports.append(reactor.listenTCP(0, site, interface="127.0.0.1"))
        else:
            ports.append(reactor.listenSSL(0, site, tls, interface="127.0.0.1"))
        return lambda: connect(kind, ports[-1].getHost())

    def connect(kind: str, address: Any) -> Client:
        if kind == "UNIX":
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(address.name)
            return Client(connection)
        connection = socket.create_connection((address.host, address.port), PATIENCE)
        if kind == "TCP":
            return Client(connection)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if kind == "TLS":
            return Client(context.wrap_socket(connection))
        context.set_alpn_protocols(["h2"])
        return HTTP2Client(context.wrap_socket(connection))

    yield listen
    for port in ports:
        await port.stopListening()


every_kind = pytest.mark.parametrize("kind", ["TCP", "UNIX", "TLS", "HTTP/2"])


class Step:
    """Something that the client does, and the application waits for."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self.done = self._done.set

    def wait(self) -> bool:
        """Keep the reactor until it is done; whether it was."""
        return self._done.wait(PATIENCE)


@pytest.mark.parametrize("kind", ["TCP", "UNIX"])
@pytest_twisted.ensureDeferred
async def test_a_flushed_head_is_with_the_kernel_at_once(
    kind: str, listen: Listen
) -> None:
    """The client has it while the application has not come back from its call."""
    got_head = Step()
    waited = []

    def application(environ, start_response):
        start_response("200 OK", V1)
        environ[FLUSH]()
        waited.append(got_head.wait())
        return [b"body"]

    def client() -> Any:
        with closing(connect()) as client:
            client.ask()
            head = client.head()
            got_head.done()
            return head, client.body()

    connect = listen(kind, application)
    (status, headers), body = await deferToThread(client)

    assert waited == [True]
    assert status == 200
    assert headers["etag"] == '"v1"'
    assert body == b"body"


def flushes_in_its_call(environ: Any, body: Iterator[bytes]) -> Any:
    environ[FLUSH]()
    return body


def flushes_in_its_first_block(environ: Any, body: Iterator[bytes]) -> Any:
    yield environ[FLUSH]()
    yield from body


def flushes_when_resumed(environ: Any, body: Iterator[bytes]) -> Any:
    environ["twisted.reactor"].callLater(0.01, environ[SUSPEND]())
    yield b""
    yield environ[FLUSH]()
    yield from body


every_way = pytest.mark.parametrize(
    "flushing",
    [flushes_in_its_call, flushes_in_its_first_block, flushes_when_resumed],
)


@every_kind
@every_way
@pytest_twisted.ensureDeferred
async def test_a_flushed_head_has_arrived_before_a_block_is_asked_for(
    kind: str, flushing, listen: Listen
) -> None:
    """Though the application takes its time for the block."""
    got_head = Step()
    waited = []

    def body():
        waited.append(got_head.wait())
        yield b"body"

    def application(environ, start_response):
        start_response("200 OK", V1)
        return flushing(environ, body())

    def client() -> Any:
        with closing(connect()) as client:
            client.ask()
            head = client.head()
            got_head.done()
            return head, client.body()

    connect = listen(kind, application)
    (status, headers), rest = await deferToThread(client)

    assert waited == [True]
    assert status == 200
    assert headers["etag"] == '"v1"'
    assert rest == b"body"


@every_kind
@every_way
@pytest_twisted.ensureDeferred
async def test_every_block_has_arrived_before_the_next_is_asked_for(
    kind: str, flushing, listen: Listen
) -> None:
    """Each that was yielded or written so far."""
    got_one, got_two, got_three = Step(), Step(), Step()
    waited = []

    def body(write):
        yield b"one"
        waited.append(got_one.wait())
        write(b"two")
        yield b""
        waited.append(got_two.wait())
        yield b"three"
        waited.append(got_three.wait())

    def application(environ, start_response):
        write = start_response("200 OK", [])
        return flushing(environ, body(write))

    def client() -> Any:
        with closing(connect()) as client:
            client.ask()
            client.head()
            blocks = []
            for got in (got_one, got_two, got_three):
                blocks.append(client.block())
                got.done()
            return blocks, client.body()

    connect = listen(kind, application)
    blocks, rest = await deferToThread(client)

    assert waited == [True, True, True]
    assert blocks == [b"one", b"two", b"three"]
    assert rest == b""


@every_kind
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest_twisted.ensureDeferred
async def test_a_fresh_copy_spares_the_work(
    kind: str, method: str, listen: Listen
) -> None:
    """A 304 without a body, and the connection goes on; the next copy is not fresh."""
    bodies = [Body(b"expensive"), Body(b"expensive")]
    given = iter(bodies)

    def application(environ, start_response):
        start_response("200 OK", V1)
        environ[FLUSH]()
        return next(given)

    def client() -> Any:
        with closing(connect()) as client:
            client.ask(method, FRESH)
            first = client.head(), client.body()
            client.ask()
            return first, (client.head(), client.body())

    connect = listen(kind, application)
    ((status, headers), body), ((next_status, _), next_body) = await deferToThread(
        client
    )

    assert (status, body) == (304, b"")
    assert headers["etag"] == '"v1"'
    assert "content-type" not in headers
    assert (next_status, next_body) == (200, b"expensive")
    assert bodies[0].done == ["close"]
    assert bodies[1].done[-1] == "close"


@every_kind
@pytest_twisted.ensureDeferred
async def test_head_spares_the_work(kind: str, listen: Listen) -> None:
    """Its headers are sent, and the connection goes on."""
    bodies = [Body(b"expensive"), Body(b"expensive")]
    given = iter(bodies)

    def application(environ, start_response):
        start_response("200 OK", V1)
        environ[FLUSH]()
        return next(given)

    def client() -> Any:
        with closing(connect()) as client:
            client.ask("HEAD")
            first = client.head(), client.body()
            client.ask()
            return first, (client.head(), client.body())

    connect = listen(kind, application)
    ((status, headers), body), (_, next_body) = await deferToThread(client)

    assert (status, body) == (200, b"")
    assert headers["etag"] == '"v1"'
    assert next_body == b"expensive"
    assert bodies[0].done == ["close"]


@every_kind
@pytest_twisted.ensureDeferred
async def test_validation_can_be_turned_off(kind: str, listen: Listen) -> None:
    """Every client gets the whole response then."""

    def application(environ, start_response):
        start_response("200 OK", V1)
        environ[FLUSH]()
        return [b"expensive"]

    def client() -> Any:
        with closing(connect()) as client:
            client.ask(headers=FRESH)
            return client.head()[0], client.body()

    connect = listen(kind, application, validation=False)

    assert await deferToThread(client) == (200, b"expensive")


@pytest.mark.parametrize("kind", ["TCP", "UNIX", "TLS"])
@pytest_twisted.ensureDeferred
async def test_a_flushed_body_of_unknown_length_is_chunked(
    kind: str, listen: Listen
) -> None:
    """In HTTP/1.1, so that the connection goes on."""

    def application(environ, start_response):
        start_response("200 OK", V1)
        environ[FLUSH]()
        return [b"body"]

    def client() -> Any:
        with closing(connect()) as client:
            client.ask()
            _, headers = client.head()
            client.body()
            client.ask()
            return headers, client.head(), client.body()

    connect = listen(kind, application)
    headers, _, body = await deferToThread(client)

    assert headers["transfer-encoding"] == "chunked"
    assert "content-length" not in headers
    assert body == b"body"


@every_kind
@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_closes_a_suspended_application(
    kind: str, listen: Listen
) -> None:
    """Once, at once, and though its head was sent."""
    closed = threading.Event()

    def application(environ, start_response):
        start_response("200 OK", V1)
        environ[FLUSH]()
        environ[SUSPEND]()
        try:
            yield b""
        finally:
            closed.set()

    def client() -> bool:
        with closing(connect()) as client:
            client.ask()
            client.head()
        return closed.wait(PATIENCE)

    connect = listen(kind, application)

    assert await deferToThread(client) is True


@every_kind
@pytest_twisted.ensureDeferred
async def test_another_thread_resumes(kind: str, listen: Listen) -> None:
    """The reactor is woken, though nothing else happens."""
    waiting = threading.Event()
    resumes: list[Callable[[], bool]] = []

    def application(environ, start_response):
        resumes.append(environ[SUSPEND](PATIENCE * 1000))
        environ["twisted.reactor"].callLater(0.01, waiting.set)
        yield b""
        start_response("200 OK", [])
        yield b"resumed" if environ["x-wsgiorg.suspend_status"] else b"timed out"

    def client() -> Any:
        with closing(connect()) as client:
            client.ask()
            waiting.wait(PATIENCE)
            returned = [resumes[0](), client.head()[0], client.body()]
            return [*returned, resumes[0]()]

    connect = listen(kind, application)

    assert await deferToThread(client) == [True, 200, b"resumed", False]
