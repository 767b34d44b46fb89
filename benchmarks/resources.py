"""
The workloads of ``applications`` as twisted.web resources, as one writes them by hand;
and the limit, which are protocols that answer without looking at the request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Protocol
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from .applications import (
    EVENT,
    HELLO,
    LARGE,
    LARGE_BLOCKS,
    SMALL,
    SMALL_BLOCKS,
    TWENTY_HEADERS,
    UNREAD_BLOCKS,
    fresh_block,
)


class Answer(Resource):
    """A leaf: one resource for every path, as an application is."""

    isLeaf = True

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self.reactor = reactor


class Hello(Answer):
    """A short answer of a known length."""

    def render(self, request: Any) -> Any:
        """What is returned has its length sent."""
        request.setHeader(b"content-type", b"text/plain")
        return HELLO


class Generator(Answer):
    """The same, with no length."""

    def render(self, request: Any) -> Any:
        """What is written has not."""
        request.setHeader(b"content-type", b"text/plain")
        request.write(HELLO)
        request.finish()
        return NOT_DONE_YET


class Echo(Answer):
    """The body of the request."""

    def render(self, request: Any) -> Any:
        """It is there when this is called."""
        request.setHeader(b"content-type", b"text/plain")
        return request.content.read()


class Headers(Answer):
    """A short answer with many headers."""

    def render(self, request: Any) -> Any:
        """The length is among them."""
        for name, value in TWENTY_HEADERS:
            request.setHeader(name.encode(), value.encode())
        return HELLO


class Blocks(Answer):
    """Many small blocks."""

    def render(self, request: Any) -> Any:
        """Each in a turn of its own: what is written in one turn is sent together."""
        request.setHeader(b"content-type", b"text/plain")
        self.step(request, SMALL_BLOCKS)
        return NOT_DONE_YET

    def step(self, request: Any, left: int) -> None:
        """Write one more, or end it."""
        if left:
            request.write(SMALL)
            self.reactor.callLater(0, self.step, request, left - 1)
        else:
            request.finish()


class Stream(Answer):
    """Many large blocks."""

    def render(self, request: Any) -> Any:
        """Written as the client takes them."""
        return Large(request, LARGE_BLOCKS, lambda: LARGE).start()


class Chunked(Answer):
    """The same, with no length."""

    def render(self, request: Any) -> Any:
        """Written as the client takes them."""
        return Large(request, LARGE_BLOCKS, lambda: LARGE).start(length=False)


class Unread(Hello):
    """Something very large at ``/large``, a short answer elsewhere."""

    def render(self, request: Any) -> Any:
        """Written as the client takes it."""
        if request.path == b"/large":
            return Large(request, UNREAD_BLOCKS, fresh_block).start()
        return super().render(request)


class Events(Hello):
    """A stream that waits after its first event at ``/events``."""

    def render(self, request: Any) -> Any:
        """The response stays open."""
        if request.path != b"/events":
            return super().render(request)
        request.setHeader(b"content-type", b"text/event-stream")
        request.write(EVENT)
        return NOT_DONE_YET


@implementer(IPullProducer)
class Large:
    """So many large blocks, as ``static.File`` sends them."""

    def __init__(self, request: Any, number: int, block: Callable[[], bytes]) -> None:
        self._request = request
        self._left = number
        self._block = block

    def start(self, *, length: bool = True) -> Any:
        """Begin the response."""
        self._request.setHeader(b"content-type", b"text/plain")
        if length:
            whole = b"%d" % (self._left * len(LARGE))
            self._request.setHeader(b"content-length", whole)
        self._request.registerProducer(self, False)
        return NOT_DONE_YET

    def resumeProducing(self) -> None:
        """Write one more, or end it."""
        if self._left:
            self._left -= 1
            self._request.write(self._block())
        else:
            self._request.unregisterProducer()
            self._request.finish()

    def stopProducing(self) -> None:
        """The client has gone."""
        self._left = 0


class Canned(Protocol):
    """One answer for whatever ends as a request's head does; it may be in pieces."""

    ANSWER = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
        b"Server: canned\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n%s"
    ) % (len(HELLO), HELLO)

    def dataReceived(self, data: bytes) -> None:
        """Answer straight to the kernel."""
        if data.endswith(b"\r\n\r\n"):
            self.transport.writeSomeData(self.ANSWER)  # type: ignore[union-attr]


class CannedStream(Protocol):
    """
    Large blocks, a ``send`` each, by a socket that blocks: there is nothing between two
    of them, and nobody else is served meanwhile.
    """

    HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"

    def dataReceived(self, data: bytes) -> None:
        """Answer straight to the kernel, and wait until it has taken everything."""
        transport: Any = self.transport
        connection = transport.getHandle()
        connection.setblocking(True)
        connection.sendall(self.HEAD % (LARGE_BLOCKS * len(LARGE)))
        for _ in range(LARGE_BLOCKS):
            connection.sendall(LARGE)
        connection.setblocking(False)


LIMITS: dict[str, type[Protocol]] = {"hello": Canned, "stream": CannedStream}

RESOURCES: dict[str, type[Answer]] = {
    "hello": Hello,
    "generator": Generator,
    "echo": Echo,
    "headers": Headers,
    "blocks": Blocks,
    "stream": Stream,
    "chunked": Chunked,
    "unread": Unread,
    "events": Events,
}
