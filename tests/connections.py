"""
Clients of the stock site on each kind of connection, TCP, TLS and HTTP/2, without a
socket, or with one but no network, and with a clock that the test turns; and what
applications give them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

from h2.config import H2Configuration
from h2.connection import H2Connection as H2Client
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, ResponseReceived
from h2.settings import SettingCodes, Settings
from OpenSSL import SSL
from twisted.internet import main
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.unix import Server
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web._http2 import H2Connection
from twisted.web.resource import IResource
from twisted.web.server import Site

from twisted_wsgiflush import WSGIResource, WSGISite
from twisted_wsgiflush._types import WSGIApplication
from twisted_wsgiflush.testing import GET, BoundedTransport, Turns

HUGE_WINDOW = 2**31 - 1
SMALLEST_WINDOW = 65535
"""That of all streams together, when nothing is said (RFC 9113, 6.9.2)."""

AnyClient = TypeVar("AnyClient", bound="Client")

BLOCKS = [b"block"] * 20
BODY = b"".join(BLOCKS)


class Boom(Exception):
    """What the applications here raise."""


class Blocks:
    """
    What an application returns, which notes what it is asked for.

    :param blocks: an exception is raised in place of a block; what is callable is
        called for one.
    """

    def __init__(self, *blocks: Any) -> None:
        self.asked = 0
        self.closed = 0
        self._blocks = iter(blocks)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.asked += 1
        block = next(self._blocks)
        if isinstance(block, BaseException):
            raise block
        given: bytes = block() if callable(block) else block
        return given

    def close(self) -> None:
        self.closed += 1


def giving(app_iter: Any, *headers: tuple[str, str]) -> WSGIApplication:
    """An application that gives this."""

    def application(environ, start_response):
        start_response("200 OK", list(headers))
        return app_iter

    return application


def in_turn(*app_iters: Any) -> WSGIApplication:
    """An application that gives one of these to each request."""
    responses = iter(app_iters)

    def application(environ, start_response):
        start_response("200 OK", [])
        return next(responses)

    return application


class TCPTransport(BoundedTransport):
    """What TLS takes for granted of a transport."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        assert enabled


class Client:
    """
    A client of an application, which has connected and asked for nothing yet.

    :param limit: how many unread bytes fill the connection.
    """

    transport: Any

    def __init__(self, application: WSGIApplication, limit: int = 65536) -> None:
        self.clock = Turns()
        self.site = self.make_site(WSGIResource(self.clock, application))
        self.received = b""
        self.connect(limit)

    def make_site(self, resource: IResource) -> Site:
        return Site(resource, timeout=None, reactor=self.clock)

    def connect(self, limit: int) -> None:
        self.accept(self.factory().buildProtocol(None), limit)

    def factory(self) -> Any:
        """What the connection is made to."""
        return self.site

    def accept(self, protocol: Any, limit: int) -> None:
        """Make the server's side of the connection."""
        self.transport = TCPTransport(protocol, limit)
        protocol.makeConnection(self.transport)

    def receive(self) -> bytes:
        """Take what has come over the connection."""
        received: bytes = self.transport.drain()
        return received

    def send(self, data: bytes) -> None:
        """Send some bytes."""
        self.transport.protocol.dataReceived(data)

    def get(self) -> None:
        """Send a request."""
        self.send(GET)

    def turn(self, turns: int = 1) -> None:
        """The reactor takes some turns, and the client reads nothing."""
        for _ in range(turns):
            self.clock.turn()

    def drain(self) -> bytes:
        """The client reads what there is, and returns what it has read until now."""
        self.received += self.receive()
        return self.received

    def read(self, turns: int = 60) -> bytes:
        """Read after each of some turns; return what has been read of the body."""
        for _ in range(turns):
            self.turn()
            self.drain()
        return self.body

    def leave(self) -> None:
        """The client goes away."""
        self.transport.lose()

    @property
    def has_head(self) -> bool:
        """Whether the first response's head has been read."""
        return b"\r\n\r\n" in self.received

    @property
    def body(self) -> bytes:
        """What has been read of the first response's body."""
        return self.received.partition(b"\r\n\r\n")[2]


class TLSClient(Client):
    """A client that speaks TLS."""

    options: CertificateOptions

    def connect(self, limit: int) -> None:
        self._tls = self.make_tls()
        self._tls.set_connect_state()
        super().connect(limit)
        while not self._shake_hands():
            self._talk()
        self._talk()

    def make_tls(self) -> SSL.Connection:
        """The client's side of TLS."""
        return SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)

    def factory(self) -> Any:
        return TLSMemoryBIOFactory(self.options, False, self.site, self.clock)

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    def _talk(self) -> None:
        super().send(self._tls.bio_read(65536))
        self.turn()
        self._hear()

    def _hear(self) -> None:
        if heard := self.receive():
            self._tls.bio_write(heard)

    def send(self, data: bytes) -> None:
        self._tls.send(data)
        super().send(self._tls.bio_read(65536))

    def drain(self) -> bytes:
        self._hear()
        try:
            while True:
                self.received += self._tls.recv(65536)
        except (SSL.WantReadError, SSL.ZeroReturnError):
            return self.received


class HTTP2Client(Client):
    """
    A client that speaks HTTP/2.

    :param window: how many bytes it takes of each stream before it is asked.
    :param of_all: and of all streams together.
    """

    def __init__(
        self,
        application: WSGIApplication,
        limit: int = 65536,
        window: int = HUGE_WINDOW,
        of_all: int = HUGE_WINDOW,
    ) -> None:
        self._window = window
        self._of_all = of_all
        self.events: list[Event] = []
        super().__init__(application, limit)

    def connect(self, limit: int) -> None:
        protocol: Any = H2Connection(reactor=self.clock)
        protocol.requestFactory = self.site.requestFactory
        protocol.site = protocol.factory = self.site
        self.accept(self.wrap(protocol), limit)
        self.transport.registerProducer(protocol, True)
        self.h2 = H2Client(H2Configuration(header_encoding="utf-8"))
        # The first settings: later ones are the server's to acknowledge.
        self.h2.local_settings = Settings(
            initial_values={SettingCodes.INITIAL_WINDOW_SIZE: self._window}
        )
        self.h2.initiate_connection()
        if self._of_all > SMALLEST_WINDOW:
            self.h2.increment_flow_control_window(self._of_all - SMALLEST_WINDOW)
        self.talk()

    def wrap(self, protocol: H2Connection) -> IProtocol:
        """What stands between the transport and the protocol; nothing does."""
        return protocol

    def talk(self) -> None:
        """Send what ``h2`` has to say, if the server has not closed the connection."""
        said = self.h2.data_to_send()
        if self.transport.connected:
            self.send(said)

    def get(self) -> None:
        stream = self.h2.get_next_available_stream_id()
        headers = {":method": "GET", ":path": "/"}
        headers |= {":scheme": "https", ":authority": "example.com"}
        self.h2.send_headers(stream, list(headers.items()), end_stream=True)
        self.talk()

    def open_window(self, increment: int, stream: int | None = 1) -> None:
        """Take more bytes of a stream, or of all together."""
        self.h2.increment_flow_control_window(increment, stream)
        self.talk()

    def reset(self, stream: int = 1) -> None:
        """Cancel a request."""
        self.h2.reset_stream(stream, ErrorCodes.CANCEL)
        self.talk()

    def drain(self) -> bytes:
        self.events += self.h2.receive_data(self.receive())
        self.talk()
        return self.body

    @property
    def has_head(self) -> bool:
        return bool(self.of(1, ResponseReceived))

    @property
    def body(self) -> bytes:
        return self.body_of(1)

    def body_of(self, stream: int) -> bytes:
        """What has been read of a stream's body."""
        frames = self.of(stream, DataReceived)
        return b"".join(frame.data for frame in frames)

    def of(self, stream: int, kind: type[Event]) -> list[Any]:
        """The events of a kind on a stream."""
        return [
            event
            for event in self.events
            if isinstance(event, kind) and event.stream_id == stream  # type: ignore[attr-defined]
        ]


class Socket(Server):
    """A connected socket of the server, with what TLS takes for granted of it."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        assert enabled


class OverSocket(Client):
    """
    A client that is connected by a pair of sockets: a kernel takes the bytes.

    :param limit: of the kernel's buffer, as ``SO_SNDBUF`` has it.
    """

    sockets: ClassVar[list[socket.socket]] = []
    """Of all clients, for the tests to close."""

    def accept(self, protocol: Any, limit: int) -> None:
        self._socket, other = socket.socketpair()
        self._socket.setblocking(False)
        self.sockets.extend([self._socket, other])
        other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limit)
        self.transport = Socket(other, protocol, None, None, 0, self.clock)
        protocol.makeConnection(self.transport)

    def receive(self) -> bytes:
        received = b""
        try:
            while some := self._socket.recv(65536):
                received += some
        except BlockingIOError:
            pass
        return received

    def leave(self) -> None:
        self._socket.close()
        # The clock leaves it to those who read to act on what they find.
        self.transport.connectionLost(Failure(self.transport.doRead()))


class SocketClient(OverSocket):
    """A client of HTTP/1.1 over a socket."""


class LiveSocket(Socket):
    """As a reactor has it: what reading and writing find is acted upon."""

    def doRead(self) -> None:
        found = super().doRead()
        if found is main.CONNECTION_DONE:
            self.stopReading()
            self.readConnectionLost(Failure(found))
        elif found is not None:
            self._lost(found)

    def doWrite(self) -> None:
        found = super().doWrite()
        if found is not None:
            self._lost(found)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8080)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 54321)

    def _lost(self, found: Exception) -> None:
        self.stopReading()
        self.stopWriting()
        self.connectionLost(Failure(found))


class FastClient(Client):
    """
    A client of a ``WSGISite``, whose transport keeps what it does not read.

    :param options: for the site.
    """

    site: Any
    clients: ClassVar[list[FastClient]] = []
    """All of them, for the tests to close."""

    def __init__(
        self, application: WSGIApplication, limit: int = 65536, **options: Any
    ) -> None:
        self.clients.append(self)
        self.clock = Turns()
        self.site = self.make_fast_site(application, **options)
        self.received = b""
        self.connect(limit)

    def make_fast_site(self, application: WSGIApplication, **options: Any) -> WSGISite:
        return WSGISite(self.clock, application, **options)

    @property
    def closed(self) -> bool:
        """Whether the server has closed the connection, or is about to."""
        return bool(self.transport.disconnecting) or not self.transport.connected


class FastTLSClient(FastClient, TLSClient):
    """A client of a ``WSGISite`` that speaks TLS."""


class FastSocketClient(FastClient, OverSocket):
    """
    A client of a ``WSGISite``, on a pair of sockets: the kernel has what it sends, and
    turns read it.
    """

    family = socket.AF_UNIX

    def accept(self, protocol: Any, limit: int) -> None:
        if self.family == socket.AF_UNIX:
            self.socket, other = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as listening:
                self.socket = socket.create_connection(listening.getsockname())
                other, _ = listening.accept()
        self.socket.setblocking(False)
        other.setblocking(False)
        self.sockets.extend([self.socket, other])
        other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limit)
        self.ended = False
        self.transport = LiveSocket(other, protocol, None, None, 0, self.clock)
        protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Send some bytes, which are read in a turn."""
        while data:
            try:
                data = data[self.socket.send(data) :]
            except BlockingIOError:
                self.turn()

    def receive(self) -> bytes:
        received = b""
        try:
            while some := self.socket.recv(65536):
                received += some
            self.ended = True
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.ended = self.was_reset = True
        return received

    was_reset = False

    def half_close(self) -> None:
        """Send no more, and read on."""
        self.socket.shutdown(socket.SHUT_WR)

    def leave(self) -> None:
        self.socket.close()

    def wait(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass, in steps, and read nothing."""
        for _ in range(round(seconds / step)):
            self.clock.turn(step)


class FastTCPClient(FastSocketClient):
    """As it is, over TCP."""

    family = socket.AF_INET


class TLSSocketClient(OverSocket, TLSClient):
    """A client that speaks TLS over a socket."""


class HTTP2SocketClient(OverSocket, HTTP2Client):
    """A client that speaks HTTP/2 over a socket."""


def another(client: AnyClient) -> AnyClient:
    """Another client of the same site."""
    other = object.__new__(type(client))
    other.clock, other.site, other.received = client.clock, client.site, b""
    other.connect(65536)
    return other


def fill(client: OverSocket) -> int:
    """Leave no room in the kernel; returns how many bytes there are."""
    size = 0
    with suppress(BlockingIOError):
        while True:
            size += client.transport.getHandle().send(b"-" * 1000)
    return size
