"""``WSGISite``: connections, who has which path, other protocols, and the end."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
from connections import FastClient, FastSocketClient, FastTLSClient, TLSClient, giving
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, StreamEnded
from OpenSSL import SSL
from pytest_twisted import ensureDeferred
from test_channel import get, ignore, read_on, statuses
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import (
    IProtocolFactory,
    IProtocolNegotiationFactory,
    ISSLTransport,
)
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.web.resource import Resource
from waiting import SUSPEND, Waiting, body_of
from zope.interface import alsoProvides
from zope.interface.verify import verifyObject

from twisted_wsgiflush import Limits, WSGISite
from twisted_wsgiflush.testing import GET, BoundedTransport, Turns

pytestmark = pytest.mark.usefixtures("sockets_closed")


@pytest.fixture(scope="module", autouse=True)
def tls(certificate) -> None:
    """What the servers of TLS clients say who they are."""
    private = PrivateCertificate.loadPEM(certificate.read_bytes())
    TLSClient.options = private.options()


class Hello(Resource):
    """Greets."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        return b"neighbour"


def tells(environ: Any, start_response: Any) -> Any:
    """Where it is asked, and by whom."""
    start_response("200 OK", [])
    keys = ["SCRIPT_NAME", "PATH_INFO", "REMOTE_ADDR", "wsgi.url_scheme"]
    return [" ".join(f"{environ[key]!r}" for key in keys).encode()]


def test_it_is_a_factory() -> None:
    """Which listens to TCP, and to TLS with ALPN."""
    site = WSGISite(Turns(), ignore)

    assert verifyObject(IProtocolFactory, site)
    assert verifyObject(IProtocolNegotiationFactory, site)
    assert site.acceptableProtocols() == [b"h2", b"http/1.1"]


@pytest.mark.parametrize("mount", ["/", "/app", "/a/b"])
@pytest.mark.parametrize("path", ["", "/", "/x%2Fy", "/x%20/"])
def test_a_mounted_application_knows_where_it_is(mount, path) -> None:
    """SCRIPT_NAME and PATH_INFO are decoded, and together the path."""
    client = FastClient(tells, mount=mount)
    prefix = mount.rstrip("/")
    client.send(get(f"{prefix}{path}".encode() or b"/"))
    found = body_of(client.drain()).split(b" '127")[0]
    info = path.replace("%2F", "/").replace("%20", " ")
    if not prefix:
        info = info or "/"

    assert found == f"{prefix!r} {info!r}".encode()


def test_a_neighbour_may_be_deep() -> None:
    """What is beside it is the application's."""

    class Deep(FastClient):
        def make_fast_site(self, application: Any, **options: Any) -> WSGISite:
            site = super().make_fast_site(application, **options)
            site.putChild(b"a/b", Hello())
            return site

    client = Deep(tells)
    client.send(
        get(b"/a/b/c") + get(b"/a/c") + b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"
    )
    received = client.drain()

    assert statuses(received) == ["200"] * 3
    assert received.index(b"neighbour") < received.index(b"'/a/c'")


@pytest.mark.parametrize(
    ("path", "error"), [("text", TypeError), (b"taken", ValueError)]
)
def test_a_path_is_bytes_and_nobody_elses(path, error) -> None:
    """Else it is refused."""
    site = WSGISite(Turns(), ignore)
    site.putChild(b"taken", Hello())

    with pytest.raises(error):
        site.putChild(path, Hello())


def test_what_is_streamed_has_no_limit_by_default() -> None:
    """It takes no room."""
    assert WSGISite(Turns(), ignore).limits.body_size == Limits().body_size
    assert WSGISite(Turns(), ignore, stream_input=True).limits.body_size is None


def test_a_limit_of_connections_leaves_some_descriptors(monkeypatch) -> None:
    """To the application, when nothing is said."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (2, 2))
    clients: list[Any] = []
    site = WSGISite(Turns(), ignore)
    for _ in range(2):
        transport = BoundedTransport(site.buildProtocol(None), 65536)
        transport.protocol.makeConnection(transport)
        clients.append(transport)

    assert clients[0].drain() == b""
    assert statuses(clients[1].drain()) == ["503"]


# --- addresses


def test_the_client_may_be_the_proxy_s() -> None:
    """As the PROXY protocol names it."""

    class Behind(FastSocketClient):
        def factory(self) -> Any:
            return HAProxyWrappingFactory(self.site)

    client = Behind(tells)
    client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 80\r\n" + GET + GET)
    received = read_on(client)

    assert statuses(received) == ["200", "200"]
    assert received.count(b"'192.0.2.7'") == 2


def test_addresses_are_not_remembered_for_ever() -> None:
    """The PROXY protocol may name any; what was said stays true."""
    site = WSGISite(Turns(), tells)
    transports = []
    for number in range(1100):
        transport = BoundedTransport(site.buildProtocol(None), 65536)
        local = IPv4Address("TCP", "192.0.2.1", number)
        transport.hostAddr = local  # type: ignore[assignment]  # None there
        transport.protocol.makeConnection(transport)
        transport.protocol.dataReceived(GET)
        answer = transport.drain()
        transports.append(transport)

    assert statuses(answer) == ["200"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_unix_socket_has_no_address(scheme) -> None:
    """And TLS is a scheme."""
    site = WSGISite(Turns(), tells)
    transport = BoundedTransport(site.buildProtocol(None), 65536)
    transport.hostAddr = UNIXAddress(b"/run/site")  # type: ignore[assignment]  # None there
    transport.peerAddr = UNIXAddress(None)  # type: ignore[assignment]  # as above
    if scheme == "https":
        alsoProvides(transport, ISSLTransport)
    transport.protocol.makeConnection(transport)
    transport.protocol.dataReceived(GET)

    assert body_of(transport.drain()) == f"'' '/' '' {scheme!r}".encode()


# --- HTTP/2


class HTTP2(FastTLSClient):
    """A client that negotiates HTTP/2."""

    def connect(self, limit: int) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_alpn_protos([b"h2"])
        self.context = context
        self.h2 = H2Connection(H2Configuration())
        self.events: list[Event] = []
        super().connect(limit)

    def make_tls(self) -> SSL.Connection:
        return SSL.Connection(self.context, None)

    def ask(self, stream: int, path: str = "/") -> None:
        headers = {":method": "GET", ":path": path}
        headers |= {":scheme": "https", ":authority": "example.com"}
        self.h2.send_headers(stream, list(headers.items()), end_stream=True)
        self.send(self.h2.data_to_send())

    async def read_to_end(self, stream: int) -> bytes:
        from twisted.internet import reactor

        while not any(isinstance(e, StreamEnded) for e in self.events):
            await deferLater(reactor, 0)
            self.turn()
            before = len(self.received)
            self.events += self.h2.receive_data(self.drain()[before:])
        data = [e.data for e in self.events if isinstance(e, DataReceived)]
        return b"".join(data)


@ensureDeferred
async def test_http2_is_twisteds() -> None:
    """When TLS has negotiated it; the application does not know."""
    client = HTTP2(tells)
    client.h2.initiate_connection()
    client.ask(1)
    body = await client.read_to_end(1)
    client.site.drain(1)
    client.turn()
    client.clock.turn(1)
    client.turn(3)

    assert body == b"'' '/' '127.0.0.1' 'https'"
    assert not client.transport.connected


@pytest.mark.parametrize("served_before", [True, False])
def test_draining_closes_what_is_handed_over(served_before) -> None:
    """Nobody asks on it any more."""
    client = HTTP2(tells)
    client.h2.initiate_connection()
    client.send(client.h2.data_to_send())
    if not served_before:
        client.site.drain(1)
    else:
        drained: list[Any] = []
        client.site.drain(1).addCallback(drained.append)
    client.turn(3)
    client.clock.turn(1)
    client.turn(3)

    assert not client.transport.connected


# --- the access log


def test_a_line_for_each_response(tmp_path: Path) -> None:
    """The application's, its neighbours', and refusals to it."""
    path = tmp_path / "access.log"
    client = FastSocketClient(tells, access_log=str(path))
    client.site.doStart()
    client.send(get(b"/a?b", b"User-Agent: me", b'Referer: "\\') + get(b"/c"))
    read_on(client)
    client.site.drain(1)
    client.site.doStop()
    client.half_close()
    client.turn(3)
    lines = path.read_text().splitlines()

    assert len(lines) == 2
    assert '"GET /a?b HTTP/1.1" 200 ' in lines[0]
    assert lines[0].endswith('"me"')
    assert lines[0].startswith('"127.0.0.1" - - [')


def test_a_response_that_is_cut_has_a_line(tmp_path: Path) -> None:
    """With what was sent of it."""
    path = tmp_path / "access.log"
    waiting = Waiting()
    client = FastSocketClient(
        waiting, access_log=str(path), limits=Limits(suspend_timeout=1)
    )
    client.site.doStart()
    client.send(GET)
    client.turn(3)
    client.wait(3)
    client.half_close()
    client.turn(3)
    client.site.doStop()

    assert " 503 " in path.read_text()


def test_a_response_that_is_cut_short_has_a_line(tmp_path: Path) -> None:
    """As one that is complete."""

    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"some"
        environ[SUSPEND]()
        yield b""

    path = tmp_path / "access.log"
    client = FastSocketClient(
        application, access_log=str(path), limits=Limits(suspend_timeout=1)
    )
    client.site.doStart()
    client.send(GET)
    client.wait(3)
    client.site.doStop()
    client.leave()
    client.turn(5)

    assert " 200 4 " in path.read_text()


def test_the_log_is_closed_when_the_last_connection_is(tmp_path: Path) -> None:
    """Not when nobody is listened to any more."""
    path = tmp_path / "access.log"
    client = FastSocketClient(ignore, access_log=str(path))
    client.site.doStart()
    client.turn(2)
    client.site.doStop()
    client.send(GET)
    read_on(client)
    client.leave()
    client.turn(5)

    assert " 200 " in path.read_text()


# --- the end


def test_nothing_to_drain() -> None:
    """It is drained at once."""
    clock = Turns()
    drained: list[Any] = []
    WSGISite(clock, ignore).drain(10).addCallback(drained.append)

    assert drained == [None]
    assert clock.getDelayedCalls() == []


def test_the_stock_site_drains_too() -> None:
    """Also when it is asked for afterwards."""

    class Beside(FastSocketClient):
        def make_fast_site(self, application: Any, **options: Any) -> WSGISite:
            site = super().make_fast_site(application, **options)
            site.putChild(b"n", Hello())
            return site

    client = Beside(ignore)
    client.send(get(b"/n")[:8])
    client.turn(3)
    drained: list[Any] = []
    client.site.drain(10).addCallback(drained.append)
    client.send(get(b"/n")[8:])
    received = read_on(client)
    client.half_close()
    client.turn(3)

    assert statuses(received) == ["200"]
    assert drained == [None]
    assert client.clock.getDelayedCalls() == []


def test_a_site_is_looked_after_while_it_has_connections() -> None:
    """And rests otherwise."""
    client = FastSocketClient(giving([b"x"]))
    client.turn(2)
    client.leave()
    client.turn(5)
    before = list(client.clock.getDelayedCalls())
    again = BoundedTransport(client.site.buildProtocol(None), 65536)
    again.protocol.makeConnection(again)

    assert before == []
    assert len(client.clock.getDelayedCalls()) == 1


def test_one_that_connects_while_the_last_leaves_is_looked_after() -> None:
    """Its deadlines hold."""
    client = FastClient(ignore)
    late = BoundedTransport(client.site.buildProtocol(None), 65536)
    client.leave()
    late.protocol.makeConnection(late)
    for _ in range(30):
        client.clock.turn(0.5)

    assert late.disconnecting


def test_a_site_without_a_log_is_listened_to() -> None:
    """There is nothing to open and nothing to close."""
    client = FastClient(ignore)
    client.site.doStart()
    client.get()
    client.site.doStop()
    client.leave()

    assert client.clock.getDelayedCalls() == []


def test_a_proxy_is_believed() -> None:
    """One that is named; the next client of the same address, too."""
    client = FastClient(tells, forwarded_allow_ips="127.0.0.1")
    for _ in range(2):
        client.send(get(b"/", b"X-Forwarded-For: 192.0.2.9"))
        client.connect(65536)
    client.send(get(b"/", b"X-Forwarded-For: 192.0.2.9"))

    assert b"'192.0.2.9'" in client.drain()
