"""``twisted.web.websocket`` beside the application: it keeps the connection."""

from __future__ import annotations

from typing import Any

import pytest
from connections import FastSocketClient
from test_channel import get, read_on, statuses
from twisted.web.server import Request
from twisted.web.websocket import WebSocketResource, WebSocketTransport
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, TextMessage
from wsproto.events import Request as Upgrade

from twisted_wsgiflush import WSGISite

pytestmark = pytest.mark.usefixtures("sockets_closed")


class Upper:
    """Says what it hears, in capitals."""

    lost = 0
    last: Upper

    @classmethod
    def buildProtocol(cls, request: Request) -> Upper:
        cls.last = cls()
        return cls.last

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        self.transport = transport

    def negotiationFinished(self) -> None:
        """It can begin."""

    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(message.upper())

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        self.transport.sendBytesMessage(bytes(data).upper())

    def pongReceived(self, payload: bytes) -> None:
        """Nobody has pinged."""

    def connectionLost(self, reason: Any) -> None:
        self.lost += 1


def application(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return [b"application"]


class Beside(FastSocketClient):
    """A client of an application and of what speaks the WebSocket protocol."""

    def make_fast_site(self, application: Any, **options: Any) -> WSGISite:
        site = super().make_fast_site(application, **options)
        site.putChild(b"socket", WebSocketResource(Upper))
        return site

    def upgrade(self, first: bytes = b"") -> None:
        """Ask for the other protocol, and say something in it."""
        self.ws = WSConnection(ConnectionType.CLIENT)
        self.send(self.ws.send(Upgrade(host="example.com", target="/socket")) + first)
        self.turn(3)
        self.hear()

    def hear(self) -> list[Any]:
        """What has come."""
        self.turn(3)
        self.ws.receive_data(self.receive())
        return list(self.ws.events())


def test_it_is_upgraded() -> None:
    """After requests to the application, on the same connection."""
    client = Beside(application)
    client.send(get())
    first = read_on(client)
    client.ws = WSConnection(ConnectionType.CLIENT)
    client.send(client.ws.send(Upgrade(host="example.com", target="/socket")))
    accepted = client.hear()
    client.send(client.ws.send(TextMessage("hello")))
    client.send(client.ws.send(BytesMessage(b"bytes")))
    said = client.hear()

    assert statuses(first) == ["200"]
    assert isinstance(accepted[0], AcceptConnection)
    assert [event.data for event in said] == ["HELLO", b"BYTES"]


def test_no_deadline_is_its() -> None:
    """It may be silent for as long as it likes."""
    client = Beside(application)
    client.upgrade()
    client.wait(200, step=1)
    client.send(client.ws.send(TextMessage("still here")))

    assert [event.data for event in client.hear()] == ["STILL HERE"]


def test_a_client_that_leaves() -> None:
    """The protocol is told, once."""
    client = Beside(application)
    client.upgrade()
    client.leave()
    client.turn(5)

    assert Upper.last.lost == 1
    assert not client.transport.connected


def test_a_client_that_half_closes() -> None:
    """It has left."""
    client = Beside(application)
    client.upgrade()
    client.half_close()
    client.turn(5)

    assert Upper.last.lost == 1
    assert not client.transport.connected


@pytest.mark.parametrize("abort", [True, False])
def test_the_end_of_the_site(abort) -> None:
    """It counts as in flight, until there is no more time."""
    client = Beside(application)
    client.upgrade()
    if abort:
        client.site.abort()
    else:
        client.site.drain(10)
        client.clock.turn(10)
    client.turn(5)

    assert Upper.last.lost == 1
    assert not client.transport.connected


def test_what_comes_with_the_upgrade_is_the_protocols() -> None:
    """A client need not wait for the answer, if it dares."""
    ws = WSConnection(ConnectionType.CLIENT)
    head = ws.send(Upgrade(host="example.com", target="/socket"))
    # A masked frame of text, with a mask of zeros.
    client = Beside(application)
    client.ws = ws
    client.send(head + b"\x81\x85\0\0\0\0early")
    events = client.hear()

    assert isinstance(events[0], AcceptConnection)
    assert [event.data for event in events[1:]] == ["EARLY"]


def test_an_upgrade_that_the_application_does_not_heed() -> None:
    """RFC 9110, 7.8: it is a request as others."""
    client = Beside(application)
    client.send(get(b"/", b"Connection: upgrade", b"Upgrade: other") + get())

    assert statuses(read_on(client)) == ["200", "200"]


def test_an_upgrade_that_a_neighbour_does_not_heed() -> None:
    """It answers, and the connection ends with that."""
    client = Beside(application)
    client.send(get(b"/socket", b"Connection: upgrade", b"Upgrade: other") + get())
    received = read_on(client)

    assert len(statuses(received)) == 1
    assert client.ended
