"""
Over real sockets: what only a kernel, a reactor and a clock on the wall can tell.

The applications at the end of this file that sleep, or that make a gigabyte, are
served by a process of their own; the others by the reactor that runs the tests.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import commandline
import pytest
import pytest_twisted
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, StreamEnded, StreamReset
from h2.settings import SettingCodes, Settings
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import (
    SSL4ServerEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
)
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.server import Site

from twisted_wsgiflush import WSGIResource
from twisted_wsgiflush._types import WSGIApplication
from twisted_wsgiflush.testing import GET

if TYPE_CHECKING:
    from conftest import Logged

PATIENCE = 20
"""Seconds to wait for something that must happen."""

MIB = 1 << 20
HUGE_WINDOW = 2**31 - 1
USUAL_WINDOW = 65535
"""When a client of HTTP/2 says nothing (RFC 9113, 6.9.2)."""

LAST_CHUNK = b"\r\n0\r\n\r\n"
OLD = GET.replace(b"HTTP/1.1", b"HTTP/1.0")
VISITOR: ContextVar[str] = ContextVar("VISITOR", default="nobody")

KINDS = ["TCP", "UNIX", "TLS", "HTTP/2"]
every_kind = pytest.mark.parametrize("kind", KINDS)


class Boom(Exception):
    """What the applications here raise."""


def new_h2(window: int) -> H2Connection:
    """A client's side of HTTP/2, which takes so many bytes before it is asked."""
    h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
    # Not update_settings: the first settings need no acknowledgement.
    h2.local_settings = Settings(
        initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window}
    )
    h2.initiate_connection()
    if window > USUAL_WINDOW:
        h2.increment_flow_control_window(window - USUAL_WINDOW)
    return h2


def ask(h2: H2Connection, path: str = "/") -> int:
    """Begin a stream with a request."""
    stream: int = h2.get_next_available_stream_id()
    headers = {":method": "GET", ":path": path}
    headers |= {":scheme": "https", ":authority": "localhost"}
    h2.send_headers(stream, list(headers.items()), end_stream=True)
    return stream


# --- a server in a process of its own, and clients that block


class Client:
    """A client of a server in another process, of HTTP/1.1."""

    def __init__(self, sock: socket.socket, path: str) -> None:
        self._sock = sock
        self._head = b""
        sock.settimeout(PATIENCE)
        sock.sendall(GET.replace(b"/ ", path.encode() + b" ", 1))

    def receive(self) -> bytes:
        """Some more bytes of the body, with its framing; none at the end."""
        while b"\r\n\r\n" not in self._head:
            self._head += self._sock.recv(65536)
            if body := self._head.partition(b"\r\n\r\n")[2]:
                return body
        return self._sock.recv(65536)

    def leave(self) -> None:
        """Close the connection."""
        self._sock.close()


class HTTP2Client(Client):
    """
    A client of HTTP/2.

    :param window: how many bytes it takes before it has received any.
    """

    def __init__(
        self, sock: socket.socket, path: str, window: int = HUGE_WINDOW
    ) -> None:
        self._sock = sock
        sock.settimeout(PATIENCE)
        self._h2 = new_h2(window)
        self.get(path)

    def get(self, path: str) -> None:
        """Begin a stream with a request."""
        ask(self._h2, path)
        self._sock.sendall(self._h2.data_to_send())

    def receive(self) -> bytes:
        """Some more bytes of the body; none at the end."""
        while data := self._sock.recv(65536):
            events = self._h2.receive_data(data)
            blocks = [event for event in events if isinstance(event, DataReceived)]
            for block in blocks:
                self._h2.acknowledge_received_data(block.flow_controlled_length, 1)
            if answer := self._h2.data_to_send():
                self._sock.sendall(answer)
            if body := b"".join(block.data for block in blocks):
                return body
            if any(isinstance(event, StreamEnded) for event in events):
                break
        return b""


class Server:
    """A server in another process."""

    def __init__(self, kind: str, running: commandline.Server, path: Path) -> None:
        self._kind = kind
        self._running = running
        self._path = path

    def get(self, path: str = "/") -> Client:
        """Connect and send a request."""
        if self._kind == "UNIX":
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(self._path))
            return Client(sock, path)
        sock = socket.create_connection(("127.0.0.1", self._running.port))
        if self._kind == "TCP":
            return Client(sock, path)
        if self._kind == "TLS":
            return Client(self._secured(sock, "http/1.1"), path)
        return HTTP2Client(self._secured(sock, "h2"), path)

    def get_streams(self, paths: list[str], window: int) -> HTTP2Client:
        """Connect and send some requests at once, over HTTP/2."""
        sock = socket.create_connection(("127.0.0.1", self._running.port))
        client = HTTP2Client(self._secured(sock, "h2"), paths[0], window)
        for path in paths[1:]:
            client.get(path)
        return client

    def _secured(self, sock: socket.socket, protocol: str) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
        return context.wrap_socket(sock)

    def blocks_made(self) -> int:
        """How many blocks the application has made for all requests."""
        client = self.get("/made")
        received = b""
        while not (found := re.search(rb"(\d+) blocks", received)):
            received += client.receive()
        client.leave()
        return int(found[1])

    def rest(self) -> int:
        """Wait until the application makes no more blocks; how many it has made."""
        before, made = -1, self.blocks_made()
        while made != before:
            time.sleep(0.1)
            before, made = made, self.blocks_made()
        return made

    def resident(self) -> int:
        """The bytes of memory that the process holds."""
        status = Path(f"/proc/{self._running.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def busy(self) -> float:
        """The seconds of processor time that the process has taken."""
        fields = Path(f"/proc/{self._running.process.pid}/stat").read_text()
        user, system = fields.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def serving(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: Path
) -> Callable[[str, str], Any]:
    """Serve an application of this module on the reactor that runs the tests."""
    runner = [f"--reactor={request.config.getoption('reactor', 'default')}"]
    path = tmp_path / "socket"
    tls = f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}"
    endpoints = {"TCP": "tcp:0:interface=127.0.0.1", "UNIX": f"unix:{path}"}

    @contextmanager
    def serve(kind: str, application: str) -> Iterator[Server]:
        with commandline.serving(
            "--listen",
            endpoints.get(kind, tls),
            f"{__file__}:{application}",
            cwd=tmp_path,
            door=commandline.TWIST,
            runner=runner,
        ) as running:
            yield Server(kind, running, path)

    return serve


def three_times_of(client: Client) -> tuple[list[float], list[float]]:
    """When three blocks were made, as they say, and when each has arrived."""
    received = b""
    made: list[float] = []
    arrived: list[float] = []
    while len(made) < 3:
        received += client.receive()
        made = [float(when) for when in re.findall(rb"made (\S+)\n", received)]
        arrived += [time.monotonic()] * (len(made) - len(arrived))
    client.leave()
    return made, arrived


@every_kind
@pytest.mark.parametrize("application", ["three_times", "write_and_yield"])
def test_a_block_arrives_while_a_blocking_application_makes_the_next(
    application, kind, serving
) -> None:
    """PEP 3333, "Buffering and Streaming": none waits for the one after it."""
    with serving(kind, application) as server:
        made, arrived = three_times_of(server.get())

    assert arrived[0] < made[1]
    assert arrived[1] < made[2]


@pytest.mark.parametrize("kind", ["TCP", "UNIX"])
def test_what_is_written_arrives_while_a_blocking_application_goes_on(
    kind, serving
) -> None:
    """PEP 3333, "The write() Callable": "while the application proceeds onward"."""
    with serving(kind, "write_three_times") as server:
        made, arrived = three_times_of(server.get())

    assert arrived[0] < made[1]
    assert arrived[1] < made[2]


@every_kind
def test_a_gigabyte_for_a_client_that_does_not_read(kind, serving) -> None:
    """It costs less than a mebibyte, and no processor time."""
    with serving(kind, "gigabyte") as server:
        server.rest()
        before = server.resident()

        client = server.get()
        made = server.rest()
        grown = server.resident() - before
        busy_before = server.busy()
        time.sleep(0.5)
        busy = server.busy() - busy_before
        client.leave()

    assert 0 < made < GIGABYTE
    assert grown < MIB
    assert busy < 0.1


@pytest.mark.parametrize("paths", [["/mebibyte"], ["/"], ["/mebibyte", "/", "/"]])
def test_a_used_up_window_costs_no_processor_time(paths, serving) -> None:
    """Twisted looks in every turn at what it has queued, and nobody may be told."""
    with serving("HTTP/2", "gigabyte") as server:
        client = server.get_streams(paths, USUAL_WINDOW)
        server.rest()

        busy_before = server.busy()
        time.sleep(2)
        busy = server.busy() - busy_before
        client.leave()

    assert busy < 0.2


@every_kind
def test_a_client_that_reads_slowly_gets_everything(kind, serving) -> None:
    """In bounded memory, too."""
    received = b""
    resident: list[int] = []

    with serving(kind, "numbers") as server:
        server.rest()
        before = server.resident()
        client = server.get()
        while len(received) < len(NUMBERS):
            received += client.receive()
            if len(received) // MIB > len(resident):
                time.sleep(0.1)
                resident.append(server.resident())
        client.leave()

    assert received == NUMBERS
    assert max(resident) - before < MIB


# --- a server on the reactor that runs the tests


class Wire(Protocol):
    """A client of HTTP/1.1 on the reactor."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Deferred[BaseException | None] = Deferred()
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._look()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # no default
        self.lost.callback(reason.value)

    def get(self) -> None:
        """Send a request."""
        self.send(GET)

    def send(self, data: bytes) -> None:
        """Send some bytes."""
        assert self.transport is not None
        self.transport.write(data)

    async def leave(self) -> None:
        """Go away, without a word."""
        transport: Any = self.transport
        transport.abortConnection()
        await self.closed()

    async def closed(self) -> BaseException | None:
        """Wait until the connection is lost; with what error."""
        from twisted.internet import reactor

        return await self.lost.addTimeout(PATIENCE, reactor)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that has been received makes this true."""
        from twisted.internet import reactor

        waiting: Deferred[None] = Deferred()
        self._waiting.append((condition, waiting))
        self._look()
        await waiting.addTimeout(PATIENCE, reactor)

    @property
    def body(self) -> bytes:
        """What has been received of the first response's body, with its framing."""
        return self.received.partition(b"\r\n\r\n")[2]

    def _look(self) -> None:
        for condition, waiting in list(self._waiting):
            if condition() and not waiting.called:
                waiting.callback(None)


class HTTP2Wire(Wire):
    """A client of HTTP/2 on the reactor."""

    def __init__(self) -> None:
        super().__init__()
        self.h2 = new_h2(HUGE_WINDOW)
        self.events: list[Event] = []

    def get(self) -> None:
        """Begin a stream with a request."""
        ask(self.h2)
        self.talk()

    def talk(self) -> None:
        """Send what ``h2`` has to say."""
        self.send(self.h2.data_to_send())

    def dataReceived(self, data: bytes) -> None:
        self.events += self.h2.receive_data(data)
        self._look()

    @property
    def body(self) -> bytes:
        return self.body_of(1)

    def body_of(self, stream: int) -> bytes:
        """What has been received of a stream's body."""
        return b"".join(block.data for block in self.of(stream, DataReceived))

    def of(self, stream: int, kind: type[Event]) -> list[Any]:
        """The events of a kind on a stream."""
        events: list[Any] = [event for event in self.events if isinstance(event, kind)]
        return [event for event in events if event.stream_id == stream]


Connect = Callable[[str, WSGIApplication], Any]


@pytest_twisted.async_yield_fixture
async def connect(tmp_path: Path, certificate: Path) -> AsyncIterator[Connect]:
    """Serve an application and connect to it; in the end, nothing is left of it."""
    from twisted.internet import reactor

    readers = set(reactor.getReaders())
    ports: list[Any] = []
    wires: list[Wire] = []
    pem = certificate.read_bytes()
    trusted = Certificate.loadPEM(pem[pem.index(b"-----BEGIN CERT") :])

    async def connect(kind: str, application: WSGIApplication) -> Wire:
        site = Site(WSGIResource(reactor, application), reactor=reactor)
        wire = HTTP2Wire() if kind == "HTTP/2" else Wire()
        server: Any
        if kind == "UNIX":
            path = str(tmp_path / f"socket{len(ports)}")
            server = UNIXServerEndpoint(reactor, path)
        elif kind == "TCP":
            server = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        else:
            options = PrivateCertificate.loadPEM(pem).options()
            server = SSL4ServerEndpoint(reactor, 0, options, interface="127.0.0.1")
        port = await server.listen(site)
        ports.append(port)
        client: Any
        if kind == "UNIX":
            client = UNIXClientEndpoint(reactor, path)
        else:
            client = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        if kind in ("TLS", "HTTP/2"):
            protocols = [b"h2" if kind == "HTTP/2" else b"http/1.1"]
            client = wrapClientTLS(
                optionsForClientTLS("localhost", trusted, None, protocols), client
            )
        await connectProtocol(client, wire)
        if isinstance(wire, HTTP2Wire):
            wire.talk()
        wires.append(wire)
        return wire

    yield connect

    await gatherResults(
        [Deferred.fromCoroutine(each.leave()) for each in wires if not each.lost.called]
    )
    for port in ports:
        await port.stopListening()
    # The servers' ends of the connections hear of it a little later.
    for _ in range(1000):
        if set(reactor.getReaders()) <= readers and not reactor.getDelayedCalls():
            break
        await deferLater(reactor, 0.005)
    assert set(reactor.getReaders()) <= readers
    assert reactor.getDelayedCalls() == []


class Blocks:
    """What an application returns: some blocks, and the last of them for ever."""

    def __init__(self, *blocks: bytes) -> None:
        self.closed = 0
        self._blocks = chain(blocks, repeat(blocks[-1]))

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._blocks)

    def close(self) -> None:
        self.closed += 1


async def true(condition: Callable[[], object]) -> None:
    """Wait until this is true."""
    from twisted.internet import reactor

    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await deferLater(reactor, 0)


@every_kind
@pytest.mark.parametrize("block", [b"", b"block", b"x" * 100_000], ids=len)
@pytest_twisted.ensureDeferred
async def test_an_application_without_end_leaves_others_their_turn(
    kind, block, connect: Connect
) -> None:
    """However fast it yields."""

    def endless(environ, start_response):
        start_response("200 OK", [])
        return Blocks(block)

    def hello(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        return iter([b"h", b"ello"])

    greedy = await connect(kind, endless)
    greedy.get()
    if block:
        await greedy.until(lambda: len(greedy.body) > len(block))
    modest = await connect("TCP", hello)

    modest.get()

    await modest.until(lambda: modest.body == b"hello")


@every_kind
@pytest.mark.parametrize("reading", [True, False], ids=["reading", "not reading"])
@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_closes_once(
    kind, reading, connect: Connect
) -> None:
    """Whether the application was being asked for blocks or at rest."""
    blocks = Blocks(b"x" * 100_000)

    def application(environ, start_response):
        start_response("200 OK", [])
        return blocks

    client = await connect(kind, application)
    client.get()
    await client.until(lambda: len(client.body) > MIB)
    if not reading:
        client.transport.pauseProducing()

    await client.leave()

    await true(lambda: blocks.closed)
    assert blocks.closed == 1


@pytest.mark.parametrize("kind", ["TCP", "UNIX", "TLS"])
@pytest_twisted.ensureDeferred
async def test_a_client_that_has_pipelined_much_and_leaves_is_noticed_when_it_goes_on(
    kind, connect: Connect
) -> None:
    """
    Twisted reads 16 KiB in advance, and then nothing while a response is not over:
    so this is noticed by what is written, and not at once.
    """
    resumes: list[Callable[[], bool]] = []
    blocks = Blocks(b"", b"block")

    def application(environ, start_response):
        start_response("200 OK", [])
        resumes.append(environ["x-wsgiorg.suspend"]())
        return blocks

    client = await connect(kind, application)
    client.send(GET + GET * (32_768 // len(GET)))
    await true(lambda: resumes)

    await client.leave()
    resumes[0]()

    await true(lambda: blocks.closed)
    assert blocks.closed == 1
    assert len(resumes) == 1


@pytest_twisted.ensureDeferred
async def test_a_client_that_resets_a_stream_closes_once(connect: Connect) -> None:
    """And has its next response on the same connection."""
    blocks = Blocks(b"x" * 100_000)
    responses = iter([blocks, iter([b"he", b"llo"])])

    def application(environ, start_response):
        start_response("200 OK", [])
        return next(responses)

    client = await connect("HTTP/2", application)
    client.get()
    await client.until(lambda: len(client.body) > MIB)

    client.h2.reset_stream(1, ErrorCodes.CANCEL)
    client.get()

    await client.until(lambda: client.of(3, StreamEnded))
    assert client.body_of(3) == b"hello"
    assert blocks.closed == 1


@pytest_twisted.ensureDeferred
async def test_a_client_that_says_goodbye_closes_once(connect: Connect) -> None:
    """GOAWAY ends all that is in flight."""
    blocks = Blocks(b"x" * 100_000)

    def application(environ, start_response):
        start_response("200 OK", [])
        return blocks

    client = await connect("HTTP/2", application)
    client.get()
    await client.until(lambda: len(client.body) > MIB)
    client.dataReceived = lambda data: None  # It does not listen any more.

    client.h2.close_connection()
    client.talk()

    await true(lambda: blocks.closed)
    await client.leave()
    assert blocks.closed == 1


def fails(environ, start_response):
    """Fails after a part of the body."""
    start_response("200 OK", [])
    yield b"part"
    raise Boom


@pytest.mark.parametrize("kind", ["TCP", "UNIX", "TLS"])
@pytest_twisted.ensureDeferred
async def test_an_error_after_the_head_sends_no_last_chunk(
    kind, connect: Connect, logged: Logged
) -> None:
    """It closes the connection, and what was sent before arrives."""
    client = await connect(kind, fails)

    client.get()

    await client.closed()
    assert client.body == b"4\r\npart\r\n"
    assert len(logged.flush(Boom)) == 1


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("TCP", ConnectionLost),
        ("TLS", ConnectionLost),
        # There is no such thing as a reset there, it ends as any other.
        ("UNIX", ConnectionDone),
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_error_after_the_head_of_http_1_0_resets_the_connection(
    kind, why, connect: Connect, logged: Logged
) -> None:
    """For the end of the connection would be that of the body."""
    client = await connect(kind, fails)

    client.send(OLD)

    assert type(await client.closed()) is why
    assert len(logged.flush(Boom)) == 1


@pytest_twisted.ensureDeferred
async def test_an_error_after_the_head_resets_the_stream(
    connect: Connect, logged: Logged
) -> None:
    """The other streams of the connection go on."""
    client = await connect("HTTP/2", fails)

    client.get()
    client.get()

    await client.until(lambda: client.of(1, StreamReset) and client.of(3, StreamReset))
    assert not client.of(1, StreamEnded)
    assert client.body_of(1) == client.body_of(3) == b"part"
    assert len(logged.flush(Boom)) == 2


@pytest.mark.parametrize("kind", ["TCP", "UNIX", "TLS"])
@pytest_twisted.ensureDeferred
async def test_pipelined_requests_get_their_responses_in_order(
    kind, connect: Connect
) -> None:
    """However different they are in size and number of blocks."""
    sizes = [100_000, 1, 3_000_000, 10, 0, 70_000]

    def application(environ, start_response):
        size = int(environ["PATH_INFO"][1:])
        start_response("200 OK", [])
        yield b"%d:" % size
        yield b"x" * size

    client = await connect(kind, application)

    client.send(b"".join(GET.replace(b"/ ", b"/%d " % size) for size in sizes))

    await client.until(lambda: client.received.count(LAST_CHUNK) == len(sizes))
    order = re.findall(rb"(\d+):\r\n", client.received)
    assert [int(size) for size in order] == sizes
    assert client.received.count(b"x" * 3_000_000) == 1


# --- contexts


@every_kind
@pytest_twisted.ensureDeferred
async def test_streams_in_turns_see_nothing_of_each_other(
    kind, connect: Connect
) -> None:
    """Each request has one context, from the call to the end."""
    seen: dict[str, set[str]] = {}
    visitors = iter(["one", "two", "three"])

    def application(environ, start_response):
        visitor = next(visitors)
        VISITOR.set(visitor)
        start_response("200 OK", [])

        def blocks():
            for _ in range(50):
                seen.setdefault(visitor, set()).add(VISITOR.get())
                yield b"block"

        return blocks()

    clients = [await connect(kind, application) for _ in range(3)]
    for client in clients:
        client.get()

    for client in clients:
        await client.until(lambda client=client: client.body.count(b"block") == 50)
    assert seen == {"one": {"one"}, "two": {"two"}, "three": {"three"}}


@pytest.mark.parametrize("kind", ["TCP", "UNIX", "TLS"])
@pytest_twisted.ensureDeferred
async def test_the_next_request_of_a_connection_sees_nothing_of_the_last(
    kind, connect: Connect
) -> None:
    """Though the reactor may run its calls in the context that they were made in."""
    from twisted.internet import reactor

    seen = []
    called: list[str] = []

    def application(environ, start_response):
        seen.append(VISITOR.get())
        VISITOR.set("me")
        write = start_response("200 OK", [])
        # On an asyncio reactor all that follows from these is in this context.
        write(b"written" * 100_000)
        reactor.callLater(0, lambda: called.append(VISITOR.get()))
        yield b"yielded" * 100_000
        write(b"written" * 100_000)

    client = await connect(kind, application)

    client.send(GET * 3)

    await client.until(lambda: client.received.count(LAST_CHUNK) == 3)
    assert seen == ["nobody"] * 3
    assert len(called) == 3
    assert VISITOR.get() == "nobody"


# --- the applications for a process of their own


def three_times(environ, start_response):
    """Blocks everybody for as long as it takes to make a block."""
    start_response("200 OK", [])
    for _ in range(3):
        time.sleep(0.3)
        # The clock is the same for all processes.
        yield b"made %f\n" % time.monotonic()


def write_three_times(environ, start_response):
    """The same for an old application."""
    write = start_response("200 OK", [])
    for _ in range(3):
        time.sleep(0.3)
        write(b"made %f\n" % time.monotonic())
    return []


def write_and_yield(environ, start_response):
    """The same, with the first block written before there is an iterable."""
    write = start_response("200 OK", [])
    write(b"made %f\n" % time.monotonic())

    def blocks():
        for _ in range(2):
            time.sleep(0.3)
            yield b"made %f\n" % time.monotonic()

    return blocks()


GIGABYTE = 1 << 14
"""The blocks that it takes."""

_made: list[None] = []


def gigabyte(environ, start_response):
    """A gigabyte, how much of it has been made, and a mebibyte in one block."""
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/made":
        return [b"%d blocks" % len(_made)]
    if environ["PATH_INFO"] == "/mebibyte":
        return [b"x" * MIB]
    return _blocks(b"x" * 65536 for _ in range(GIGABYTE))


def _blocks(blocks: Iterator[bytes]) -> Iterator[bytes]:
    for block in blocks:
        _made.append(None)
        yield block


NUMBERS = b"".join(b"%07d " % number for number in range(1_000_000))


def numbers(environ, start_response):
    """All different, in blocks of many sizes."""
    if environ["PATH_INFO"] == "/made":
        start_response("200 OK", [])
        return [b"%d blocks" % len(_made)]
    start_response("200 OK", [("Content-Length", str(len(NUMBERS)))])
    return _blocks(_cut(NUMBERS))


def _cut(body: bytes) -> Iterator[bytes]:
    begin, size = 0, 1
    while begin < len(body):
        yield body[begin : begin + size]
        begin, size = begin + size, size * 3 % 100_003
