"""
A client of HTTP/2 and the stock site, without a socket between them.

Twisted's HTTP/2 takes its turns from the global reactor, so a test that uses this is
a coroutine.
"""

from __future__ import annotations

from typing import NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded
from twisted.internet.task import deferLater
from twisted.web.server import Site

from twisted_wsgiflush import WSGIResource
from twisted_wsgiflush._types import WSGIApplication
from twisted_wsgiflush.testing import BoundedTransport


class HTTP2Transport(BoundedTransport):
    """A connection whose TLS would have agreed on HTTP/2."""

    negotiatedProtocol = b"h2"


class Answer(NamedTuple):
    """A response, and whether the connection is closed with it."""

    status: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    closed: bool


async def ask(
    application: WSGIApplication,
    *headers: tuple[str, str],
    method: str = "GET",
    path: str = "/",
    authority: str = "example.com",
    body: bytes = b"",
) -> Answer:
    """Ask an application at the root of a site, over a connection of its own."""
    from twisted.internet import reactor

    site = Site(WSGIResource(reactor, application), reactor=reactor)
    protocol = site.buildProtocol(None)
    transport = HTTP2Transport(protocol, limit=65536)
    protocol.makeConnection(transport)
    # The server is to be the one that refuses.
    client = H2Connection(H2Configuration(validate_outbound_headers=False))
    client.initiate_connection()
    pseudo_headers = [
        (":method", method),
        (":path", path),
        (":scheme", "https"),
        (":authority", authority),
    ]
    client.send_headers(1, [*pseudo_headers, *headers], end_stream=not body)
    if body:
        client.send_data(1, body, end_stream=True)
    protocol.dataReceived(client.data_to_send())
    events: list[Event] = []
    try:
        while not any(isinstance(event, StreamEnded) for event in events):
            await deferLater(reactor, 0)
            events += client.receive_data(transport.drain())
    finally:
        closed = transport.disconnecting
        transport.lose()
    (response,) = (event for event in events if isinstance(event, ResponseReceived))
    (_, status), *fields = response.headers
    blocks = [event.data for event in events if isinstance(event, DataReceived)]
    return Answer(status, fields, b"".join(blocks), closed)
