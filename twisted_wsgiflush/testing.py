"""
Fakes that behave: to test an application and its flow control without a socket.

A real ``Site`` and channel run on a transport that a test empties by hand, with a
clock that a test turns by hand, so that what happens is the same every time.

    def test_greeting():
        served = serve(application)
        served.turn()
        assert served.drain().endswith(b"hello")
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from select import POLLERR, POLLHUP, POLLIN, POLLOUT, poll
from typing import Any, Literal

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IPushProducer,
    IReactorFDSet,
    IReadDescriptor,
    IWriteDescriptor,
)
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.server import Site
from zope.interface import implementer

from ._types import WSGIApplication
from .resource import WSGIResource
from .site import WSGISite

__all__ = ["GET", "BoundedTransport", "Served", "Turns", "serve"]

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"


@implementer(IReactorFDSet)
class Turns(Clock):
    """
    A ``Clock`` with a reactor's turns: what is called later with a delay of zero is
    called in the next turn, where ``Clock.advance(0)`` would call it in this one.

    In a turn come, as in a reactor's, the calls of other threads, the calls that are
    due, and the descriptors that are ready.  It waits for none of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._from_threads: deque[Callable[[], object]] = deque()
        self._readers: dict[int, IReadDescriptor] = {}
        self._writers: dict[int, IWriteDescriptor] = {}

    def turn(self, seconds: float = 0) -> None:
        """
        Take one turn: let time pass, then do what is due by now.

        :param seconds: how much time passes before.
        """
        self.rightNow += seconds
        for _ in range(len(self._from_threads)):
            self._from_threads.popleft()()
        for call in [call for call in self.calls if call.getTime() <= self.seconds()]:
            if call.active():  # Not cancelled by one before it.
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)
        self._look_at_descriptors()

    def callFromThread(
        self, callable: Callable[..., object], *args: object, **kw: object
    ) -> None:
        """Make a call in the next turn; any thread may ask for it."""
        self._from_threads.append(partial(callable, *args, **kw))

    def addReader(self, reader: IReadDescriptor) -> None:
        """Watch a descriptor, unless one of the same number is watched already."""
        self._readers.setdefault(reader.fileno(), reader)

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """As ``addReader``, for room to write."""
        self._writers.setdefault(writer.fileno(), writer)

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Watch it no longer; as for epoll(7), it must not be closed yet."""
        if self._readers.pop(reader.fileno(), None) is not None:
            os.fstat(reader.fileno())

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """As ``removeReader``."""
        if self._writers.pop(writer.fileno(), None) is not None:
            os.fstat(writer.fileno())

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        """Watch none any longer; returns those that were watched."""
        removed: list[Any] = [*self.getReaders(), *self.getWriters()]
        self._readers.clear()
        self._writers.clear()
        return removed

    def getReaders(self) -> list[IReadDescriptor]:
        """Those that wait for something to read."""
        return list(self._readers.values())

    def getWriters(self) -> list[IWriteDescriptor]:
        """Those that wait for room to write."""
        return list(self._writers.values())

    def _look_at_descriptors(self) -> None:
        watched = poll()
        for number in {*self._readers, *self._writers}:
            events = POLLIN * (number in self._readers)
            watched.register(number, events | POLLOUT * (number in self._writers))
        for number, event in watched.poll(0):
            reader = self._readers.get(number)
            if event & (POLLHUP | POLLERR) and not event & POLLIN:
                for those in (self._readers, self._writers):
                    lost: Any = those.pop(number, None)
                    if lost is not None:
                        lost.connectionLost(Failure(ConnectionDone()))
            else:
                if reader is not None and event & POLLIN:
                    reader.doRead()
                # That may have closed it.
                writer = self._writers.get(number)
                if writer is not None and event & POLLOUT:
                    writer.doWrite()


class BoundedTransport(StringTransport):
    """
    A connection whose peer reads when the test says so.

    As a TCP transport does, it pauses its producer at every write that leaves more
    than ``limit`` bytes unread, and resumes it once when all are read.

    :param protocol: is told when the connection is lost.
    """

    def __init__(self, protocol: Any, limit: int) -> None:
        super().__init__(
            hostAddress=IPv4Address("TCP", "127.0.0.1", 8080),
            peerAddress=IPv4Address("TCP", "127.0.0.1", 54321),
        )
        self.protocol = protocol
        self.limit = limit
        self.aborted = False
        self.connected = True
        self._paused = False

    @property
    def unread(self) -> int:
        """The bytes that the peer has not read."""
        return len(self.value())

    def write(self, data: bytes) -> None:
        """Take the bytes, or drop them when nobody is there to read them."""
        if not isinstance(data, bytes):
            raise TypeError(f"Data must be bytes, not {data!r}")
        if not self.connected or not data:
            return
        super().write(data)
        if self.producer is not None and self.streaming and self.unread > self.limit:
            self._paused = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Take some blocks of bytes, as one."""
        self.write(b"".join(data))

    def drain(self) -> bytes:
        """The peer reads everything that there is."""
        data: bytes = self.value()
        self.clear()
        if self._paused and self.producer is not None:
            self._paused = False
            self.producer.resumeProducing()
        elif self.disconnecting and self.connected:
            self._lost(Failure(ConnectionDone()))
        return data

    def abortConnection(self) -> None:
        """Drop the connection and what was not read."""
        self.aborted = True
        self.clear()
        self._lost(Failure(ConnectionLost()))

    def lose(self) -> None:
        """The peer goes away."""
        self._lost(Failure(ConnectionLost()))

    def _lost(self, reason: Failure) -> None:
        if self.connected:
            self.connected = False
            if self.producer is not None:
                # A transport says this first, then connectionLost.
                producer, self.producer = self.producer, None
                producer.stopProducing()
            self.protocol.connectionLost(reason)


class Served:
    """An application behind a site, with one client that is connected to it."""

    def __init__(self, clock: Turns, transport: BoundedTransport) -> None:
        self.clock = clock
        self.transport = transport

    @property
    def closed(self) -> bool:
        """Whether the server has closed the connection, or is about to."""
        return self.transport.disconnecting or not self.transport.connected

    @property
    def producer(self) -> IPushProducer | None:
        """Who writes to the connection now."""
        return self.transport.producer

    def send(self, data: bytes) -> None:
        """The client sends some bytes."""
        self.transport.protocol.dataReceived(data)

    def turn(self, turns: int = 1) -> None:
        """The reactor takes some turns."""
        for _ in range(turns):
            self.clock.turn()

    def drain(self) -> bytes:
        """The client reads what there is."""
        return self.transport.drain()

    def read(self, turns: int = 20) -> bytes:
        """The reactor takes some turns, and the client reads after each of them."""
        data = self.drain()
        for _ in range(turns):
            self.turn()
            data += self.drain()
        return data

    def leave(self) -> None:
        """The client goes away."""
        self.transport.lose()


def serve(
    application: WSGIApplication,
    request: bytes = GET,
    *,
    limit: int = 65536,
    clock: Turns | None = None,
    site: Literal["fast", "twisted"] = "twisted",
    **options: Any,
) -> Served:
    """
    Serve an application to a client that has sent a request.

    :param request: bytes from the client; it may be none, or several requests.
    :param limit: how many unread bytes fill the connection.
    :param clock: of another client, to take the same turns; its own without it.
    :param site: ``fast`` for a :class:`~twisted_wsgiflush.WSGISite`, ``twisted`` for
        a :class:`~twisted_wsgiflush.WSGIResource` under the stock ``Site``.
    :param options: for the one or the other.
    :raises ValueError: for another site.
    """
    if site not in ("fast", "twisted"):
        raise ValueError(f"site must be fast or twisted, not {site!r}")
    clock = Turns() if clock is None else clock
    factory: Any
    if site == "fast":
        factory = WSGISite(clock, application, **options)
    else:
        factory = Site(WSGIResource(clock, application, **options), reactor=clock)
    protocol = factory.buildProtocol(None)
    assert protocol is not None
    transport = BoundedTransport(protocol, limit)
    protocol.makeConnection(transport)
    served = Served(clock, transport)
    if request:
        served.send(request)
    return served
