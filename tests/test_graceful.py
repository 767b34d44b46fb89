"""Emptying a site: what is in flight ends, nothing else begins."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from connections import HTTP2Client
from h2.errors import ErrorCodes
from h2.events import StreamEnded, StreamReset
from twisted.internet.interfaces import IProtocol, IProtocolNegotiationFactory
from twisted.protocols.policies import ProtocolWrapper
from twisted.web._http2 import H2Connection
from twisted.web.resource import IResource
from zope.interface.verify import verifyObject

from twisted_wsgiflush import WSGIResource
from twisted_wsgiflush._graceful import Connections, GracefulSite
from twisted_wsgiflush._types import WSGIApplication
from twisted_wsgiflush.testing import GET, BoundedTransport, Served, Turns

UPLOAD = b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 6\r\n\r\n"


class Clients:
    """Some clients, and a site that they are connected to."""

    def __init__(
        self,
        application: WSGIApplication,
        *,
        access_log: str | None = None,
    ) -> None:
        self.clock = Turns()
        resource = WSGIResource(self.clock, application)
        self.site = GracefulSite(self.clock, resource, access_log)
        self.connections = Connections(self.clock, self.site)

    def connect(self, data: bytes = b"", *, limit: int = 65536) -> Served:
        """A client that sends something."""
        protocol = self.connections.buildProtocol(None)
        assert protocol is not None
        transport = BoundedTransport(protocol, limit)
        protocol.makeConnection(transport)
        served = Served(self.clock, transport)
        served.send(data)
        return served

    def drain(self, timeout: float = 30) -> list[None]:
        """Empty the site; the list has something in it when that is done."""
        drained: list[None] = []
        self.connections.drain(timeout).addCallback(drained.append)
        return drained


def greeting(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def counting(environ, start_response) -> Iterator[bytes]:
    """Gives three blocks."""
    start_response("200 OK", [])
    yield from (b"one", b"two", b"three")


def reading(environ, start_response):
    """Gives back what it got."""
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()]


class Endless:
    """Gives blocks as long as somebody takes them, and tells when it is closed."""

    def __init__(self) -> None:
        self.closed = 0

    def __call__(self, environ, start_response) -> Endless:
        start_response("200 OK", [])
        return self

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b"more"

    def close(self) -> None:
        self.closed += 1


def test_nobody_there() -> None:
    """A site without connections is empty at once, and leaves nothing scheduled."""
    clients = Clients(greeting)

    drained = clients.drain()

    assert drained == [None]
    assert clients.clock.getDelayedCalls() == []


@pytest.mark.parametrize("data", [b"", b"GET / HT", GET], ids=repr)
def test_idle_connection(data: bytes) -> None:
    """A connection without a request in flight is closed."""
    clients = Clients(greeting)
    client = clients.connect(data)
    client.read()

    drained = clients.drain()

    assert client.closed
    assert drained == []
    client.drain()
    assert drained == [None]
    assert clients.clock.getDelayedCalls() == []


def test_response_in_flight() -> None:
    """A response that has begun is sent to its end, then the connection closed."""
    clients = Clients(counting)
    client = clients.connect(GET)
    client.turn(2)

    drained = clients.drain()

    assert not client.closed
    assert drained == []
    response = client.read()
    assert response.endswith(b"one\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")
    assert b"Connection: close" not in response  # The head was on its way before.
    assert client.closed
    assert drained == [None]


def test_response_without_its_head() -> None:
    """A response that has not begun tells that it is the connection's last."""
    clients = Clients(counting)
    client = clients.connect(GET)

    drained = clients.drain()

    response = client.read()
    assert b"\r\nConnection: close\r\n" in response
    assert response.endswith(b"0\r\n\r\n")
    assert drained == [None]


def test_slow_reader() -> None:
    """A client that reads slowly gets the last byte before it is over."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "500000")])
        return (b"x" * 50000 for _ in range(10))

    clients = Clients(application)
    client = clients.connect(GET, limit=50000)
    client.turn(5)

    drained = clients.drain()

    response = b""
    while not drained:
        client.turn(5)
        assert client.transport.unread > 0
        response += client.drain()
    assert len(response.partition(b"\r\n\r\n")[2]) == 500000


def test_complete_but_not_read() -> None:
    """A response that is complete, but not read yet, is not cut short."""
    clients = Clients(greeting)
    client = clients.connect(GET)

    drained = clients.drain()

    assert drained == []
    assert client.drain().endswith(b"hello")
    assert drained == [None]


def test_upload_in_flight() -> None:
    """A request that is still arriving is answered; the answer is the last."""
    clients = Clients(reading)
    client = clients.connect(UPLOAD + b"abc")

    drained = clients.drain()

    client.turn()
    assert not client.closed
    assert drained == []
    client.send(b"def")
    response = client.read()
    assert b"\r\nConnection: close\r\n" in response
    assert response.endswith(b"abcdef")
    assert drained == [None]


def test_head_in_flight() -> None:
    """A request of which the first line has come is answered, too."""
    clients = Clients(greeting)
    client = clients.connect(b"GET / HTTP/1.1\r\n")

    drained = clients.drain()

    assert drained == []
    client.send(b"Host: example.com\r\n\r\n")
    response = client.read()
    assert b"\r\nConnection: close\r\n" in response
    assert drained == [None]


def test_request_on_a_kept_connection() -> None:
    """While others end, a request on an open connection is answered, as its last."""
    clients = Clients(counting)
    kept = clients.connect(GET)
    kept.read()
    clients.connect(UPLOAD)
    clients.drain()

    kept.send(GET)
    response = kept.read()

    assert b"\r\nConnection: close\r\n" in response
    assert response.endswith(b"three\r\n0\r\n\r\n")
    assert kept.closed


def test_last_request_of_http_1_0() -> None:
    """A client of HTTP/1.0 that asked to keep the connection does not keep it."""
    clients = Clients(reading)
    client = clients.connect(
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 6\r\n\r\nabc"
    )
    clients.drain()

    client.send(b"def")

    response = client.read()
    assert b"keep-alive" not in response.lower()
    assert response.endswith(b"abcdef")
    assert client.closed


def test_pipelined_requests() -> None:
    """Of requests that were sent in one go, those after the last are not begun."""
    called = []

    def application(environ, start_response):
        called.append(environ["PATH_INFO"])
        return counting(environ, start_response)

    clients = Clients(application)
    client = clients.connect(GET + GET.replace(b"/ ", b"/second "))

    drained = clients.drain()

    client.read()
    assert called == ["/"]
    assert drained == [None]


def test_waits_for_all() -> None:
    """The site is empty when the last of several connections is gone."""
    clients = Clients(reading)
    first, second = clients.connect(UPLOAD), clients.connect(UPLOAD)
    idle = clients.connect()
    drained = clients.drain()

    first.send(b"abcdef")
    assert first.read().endswith(b"abcdef")
    assert drained == []
    second.send(b"ghijkl")
    assert second.read().endswith(b"ghijkl")
    idle.read()

    assert drained == [None]
    assert clients.clock.getDelayedCalls() == []


def test_client_leaves() -> None:
    """A client that goes away in the middle is not waited for."""
    application = Endless()
    clients = Clients(application)
    client = clients.connect(GET)
    client.turn(2)
    drained = clients.drain()

    client.leave()

    assert drained == [None]
    assert application.closed == 1
    assert clients.clock.getDelayedCalls() == []


def test_bad_request() -> None:
    """A request that cannot be understood does not keep the site from being empty."""
    clients = Clients(greeting)
    client = clients.connect(b"GET / HTTP/1.1\r\nHost: example.com\r\n")
    drained = clients.drain()

    client.send(b"no field\r\n\r\n")

    assert client.read().startswith(b"HTTP/1.1 400 ")
    assert drained == [None]


def test_times_up() -> None:
    """What has not ended when the time is up is cut, and the application closed."""
    application = Endless()
    clients = Clients(application)
    client = clients.connect(GET)
    client.read()
    drained = clients.drain(30)

    clients.clock.turn(29.5)
    client.read()
    assert not client.closed
    assert drained == []
    clients.clock.turn(0.5)

    assert client.transport.aborted
    assert application.closed == 1
    assert drained == [None]
    assert clients.clock.getDelayedCalls() == []


def test_times_up_for_a_slow_reader() -> None:
    """A client that has not read all when the time is up gets no more."""
    clients = Clients(greeting)
    client = clients.connect(GET)
    drained = clients.drain(30)
    assert client.closed

    clients.clock.turn(30)

    assert client.transport.aborted
    assert drained == [None]


def test_no_time() -> None:
    """Without any time to end in, what is in flight ends in the next turn."""
    application = Endless()
    clients = Clients(application)
    client = clients.connect(GET)
    drained = clients.drain(0)

    client.turn()

    assert client.transport.aborted
    assert application.closed == 1
    assert drained == [None]


def test_abort() -> None:
    """Whoever waits for the site to be empty may lose patience."""
    application = Endless()
    clients = Clients(application)
    streaming, uploading = clients.connect(GET), clients.connect(UPLOAD)
    drained = clients.drain()

    clients.connections.abort()

    assert streaming.transport.aborted
    assert uploading.transport.aborted
    assert application.closed == 1
    assert drained == [None]
    clients.clock.turn()
    assert clients.clock.getDelayedCalls() == []


class Streams(HTTP2Client):
    """A client of HTTP/2, and the site that it is connected to."""

    def make_site(self, resource: IResource) -> GracefulSite:
        site = GracefulSite(self.clock, resource, None)
        self.connections = Connections(self.clock, site)
        return site

    def wrap(self, protocol: H2Connection) -> IProtocol:
        return ProtocolWrapper(self.connections, protocol)

    def upload(self, begun: bytes) -> None:
        """Begin a stream with a request, of which the rest is still to come."""
        headers = {":method": "POST", ":path": "/"}
        headers |= {":scheme": "https", ":authority": "example.com"}
        self.h2.send_headers(1, list(headers.items()))
        self.h2.send_data(1, begun)
        self.talk()

    def empty_site(self) -> list[None]:
        """The list has something in it when that is done."""
        drained: list[None] = []
        self.connections.drain(30).addCallback(drained.append)
        return drained


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("limit", [1, 65536], ids=["full", "room"])
def test_streams_in_flight(limit: int, turns: int) -> None:
    """Streams are sent to their end, and the client is told that it is the end."""
    client = Streams(counting, limit)
    client.get()
    client.get()
    client.turn(turns)

    drained = client.empty_site()

    assert drained == []
    client.read()
    for stream in (1, 3):
        assert client.body_of(stream) == b"onetwothree"
        assert client.of(stream, StreamEnded)
    assert not client.transport.connected
    assert drained == [None]
    assert client.clock.getDelayedCalls() == []


@pytest.mark.parametrize("reads", range(3))
def test_stream_that_is_not_read(reads: int) -> None:
    """As long as any of it waits for the client to read, its end as well, all wait."""
    client = Streams(greeting, limit=1)
    client.get()
    for _ in range(reads):
        client.turn(20)
        client.drain()
    client.turn(20)

    drained = client.empty_site()
    client.turn(20)

    assert not client.transport.disconnecting
    assert drained == []
    client.read()
    assert client.of(1, StreamEnded)
    assert drained == [None]


def test_stream_that_is_still_arriving() -> None:
    """A stream that has begun is answered, though its last bytes come later."""
    client = Streams(reading)
    client.upload(b"abc")

    drained = client.empty_site()
    client.read()

    assert drained == []
    client.h2.send_data(1, b"def", end_stream=True)
    client.talk()
    client.read()
    assert client.body == b"abcdef"
    assert client.of(1, StreamEnded)
    assert not client.transport.connected
    assert drained == [None]


def test_stream_on_a_kept_connection() -> None:
    """A stream that begins later is refused, so that it may be tried elsewhere."""
    called = []

    def application(environ, start_response):
        called.append(environ["REQUEST_METHOD"])
        return reading(environ, start_response)

    client = Streams(application)
    client.upload(b"abc")
    drained = client.empty_site()

    client.get()
    client.read()

    (reset,) = client.of(3, StreamReset)
    assert reset.error_code == ErrorCodes.REFUSED_STREAM
    assert called == []
    assert drained == []
    client.h2.end_stream(1)
    client.talk()
    client.read()
    assert called == ["POST"]
    assert client.of(1, StreamEnded)
    assert drained == [None]


def test_stream_that_is_reset() -> None:
    """A stream that the client ends is not waited for."""
    application = Endless()
    client = Streams(application)
    client.get()
    client.read(turns=5)
    drained = client.empty_site()

    client.reset()
    client.drain()

    assert application.closed == 1
    assert not client.transport.connected
    assert drained == [None]


def test_negotiates_what_the_site_does() -> None:
    """HTTP/2 is offered where the site does."""
    clients = Clients(greeting)

    assert verifyObject(IProtocolNegotiationFactory, clients.connections)
    assert clients.connections.acceptableProtocols() == [b"h2", b"http/1.1"]


def test_forms_are_left_to_the_application() -> None:
    """A form is not parsed into memory before the application sees it."""
    clients = Clients(reading)
    body = b"a=1&b=2"

    client = clients.connect(
        b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 7\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + body
    )

    assert client.read().endswith(body)


LINE = re.compile(
    r'"127\.0\.0\.1" - - \[.+\] "GET /page HTTP/1\.1" 200 5 "-" "a browser"\n'
)
LOGGED = GET.replace(b"/ ", b"/page ").replace(
    b"Host", b"User-Agent: a browser\r\nHost"
)


def serve_and_log(access_log: str | None) -> None:
    clients = Clients(greeting, access_log=access_log)
    clients.connections.doStart()
    clients.connect(LOGGED).read()
    clients.connections.doStop()


def test_access_log(tmp_path: Path) -> None:
    """A line for each request is added to the access log."""
    log = tmp_path / "access.log"
    log.write_text("what was there before\n")

    serve_and_log(str(log))

    before, after = log.read_text().split("\n", 1)
    assert before == "what was there before"
    assert LINE.fullmatch(after)


def test_access_log_on_standard_output(capfd) -> None:
    """The access log may be standard output."""
    serve_and_log("-")

    assert LINE.fullmatch(capfd.readouterr().out)


def test_access_log_on_a_full_disk(logged) -> None:
    """The response is none the worse for it, and the log says why."""
    clients = Clients(greeting, access_log="/dev/full")
    clients.connections.doStart()
    response = clients.connect(LOGGED).read()
    clients.connections.doStop()

    assert response.startswith(b"HTTP/1.1 200 OK")
    # At the line, and when it is closed.
    errors = [event["error"].errno for event in logged.take("error")]
    assert errors == [errno.ENOSPC, errno.ENOSPC]


def test_no_access_log(capfd, logged) -> None:
    """Without an access log, nothing is logged anywhere."""
    serve_and_log(None)

    assert capfd.readouterr() == ("", "")
    assert logged.events == []
