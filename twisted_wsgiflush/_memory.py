"""
A connection between two protocols of this process, with flow control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IProducer,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
    ITransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

# From how many bytes on that wait to be read a writer is paused; as Twisted's sockets.
FULL = 65536
# The client's.  Much of what a site serves reads a host and a port from it.
CLIENT = IPv4Address("TCP", "127.0.0.1", 0)

_log = Logger()


def connect(
    reactor: IReactorTime,
    client: Any,
    server: Any,
    context: Context,
    *,
    secure: bool,
    address: IPv4Address,
) -> tuple[Callable[[], None], Deferred[None]]:
    """
    Connect two protocols.

    :param reactor: delivers what was written in the turn after.
    :param context: what the server does for the client runs in it; what the client
        does runs in that of the moment.
    :param secure: whether the server takes the connection for one with TLS.
    :param address: the server's.
    :returns: a callable that drops the connection, and a Deferred that fires when
        the connection is closed.
    """
    closed: Deferred[None] = Deferred()
    at_client = MemoryTransport(reactor, client, copy_context(), closed)
    kind = SecureMemoryTransport if secure else MemoryTransport
    at_server = kind(reactor, server, context, Deferred())
    at_client.peer, at_server.peer = at_server, at_client
    at_client.address, at_server.address = CLIENT, address
    server.makeConnection(at_server)
    client.makeConnection(at_client)
    return at_client.abortConnection, closed


@implementer(ITransport, IConsumer, IPushProducer)
class MemoryTransport:
    """
    One end of a connection.

    :param protocol: is at this end.
    :param context: what the protocol is told, it is told in there.
    :param closed: is fired when the connection is closed.
    """

    peer: MemoryTransport
    address: IPv4Address
    disconnecting = False

    def __init__(
        self,
        reactor: IReactorTime,
        protocol: Any,
        context: Context,
        closed: Deferred[None],
    ) -> None:
        # WSGIResource looks for this on whatever transport a request came by, so the
        # name is one that no other has.
        self.wsgi_context = context
        self._reactor = reactor
        self._protocol = protocol
        self._closed = closed
        self._connected = True
        self._unread: list[bytes] = []
        self._size = 0
        self._wants_to_read = True
        self._turn: IDelayedCall | None = None
        self._producer: Any = None
        self._producer_paused = False

    def write(self, data: bytes) -> None:
        """Give the peer some bytes; they are dropped when it is gone."""
        if not self._connected or not data:
            return
        self._unread.append(data)
        self._size += len(data)
        if self._producer is not None and self._size > FULL:
            self._producer_paused = True
            self._producer.pauseProducing()
        self._deliver_later()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Give the peer some blocks of bytes."""
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        """Close the connection when the peer has read everything."""
        self.disconnecting = True
        self._deliver_later()

    def abortConnection(self) -> None:
        """Close the connection, and forget what is not read yet."""
        if not self._connected:
            return
        for end in (self, self.peer):
            end._stop_turn()
        self._turn = self._reactor.callLater(0, self._abort)

    def getPeer(self) -> IPv4Address:
        """The address of the other end."""
        return self.peer.address

    def getHost(self) -> IPv4Address:
        """The address of this end."""
        return self.address

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Pause the producer while the peer has much to read.

        :raises RuntimeError: when there is one already.
        :raises ValueError: for a pull producer; no protocol of HTTP has one.
        """
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} was not unregistered")
        if not streaming:
            raise ValueError(f"{producer!r} is no push producer")
        if self._connected:
            self._producer = producer
        else:
            producer.stopProducing()

    def unregisterProducer(self) -> None:
        """Pause it no longer."""
        self._producer = None

    def pauseProducing(self) -> None:
        """The protocol at this end does not want to read."""
        self._wants_to_read = False

    def resumeProducing(self) -> None:
        """The protocol at this end wants to read."""
        self._wants_to_read = True
        self.peer._deliver_later()

    def stopProducing(self) -> None:
        """The protocol at this end wants nothing more."""
        self.loseConnection()

    def _deliver_later(self) -> None:
        if self._turn is None and self._connected:
            self._turn = self._reactor.callLater(0, self._deliver)

    def _deliver(self) -> None:
        self._turn = None
        if self._unread:
            if not self.peer._wants_to_read:
                return
            data = b"".join(self._unread)
            self._unread.clear()
            self._size = 0
            self.peer._received(data)
        if self._unread or not self._connected:
            return
        if self._producer is not None and self._producer_paused:
            self._producer_paused = False
            self._producer.resumeProducing()
        elif self.disconnecting:
            self._close(Failure(ConnectionDone()))

    def _received(self, data: bytes) -> None:
        failure = self._tell(self._protocol.dataReceived, data)
        if failure is not None:
            # As a socket; the peer can tell that this was not the end.
            self._lost(failure)
            self.peer._lost(Failure(ConnectionLost()))

    def _abort(self) -> None:
        self._turn = None
        self._close(Failure(ConnectionAborted()))

    def _close(self, reason: Failure) -> None:
        for end in (self, self.peer):
            end._lost(reason)

    def _lost(self, reason: Failure) -> None:
        self._connected = False
        self._stop_turn()
        if self._producer is not None:
            producer, self._producer = self._producer, None
            self._tell(producer.stopProducing)
        self._tell(self._protocol.connectionLost, reason)
        self._closed.callback(None)

    def _stop_turn(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _tell(
        self, method: Callable[..., object], *arguments: object
    ) -> Failure | None:
        """Tell the protocol or producer something; an error of its is logged."""
        try:
            self.wsgi_context.run(method, *arguments)
        except BaseException:
            # A reactor does the same for those who have a socket.
            failure = Failure()
            _log.failure("Unhandled error on a connection in the process", failure)
            return failure
        return None


@implementer(ISSLTransport)
class SecureMemoryTransport(MemoryTransport):
    """One end of a connection that counts as one with TLS, over TCP, though it has
    nothing of either."""

    def getPeerCertificate(self) -> None:
        """There is none."""

    def loseWriteConnection(self) -> None:
        """Close the connection; half of it is of no use to HTTP."""
        self.loseConnection()

    def getTcpNoDelay(self) -> bool:
        """Whether small writes go out at once."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """They always do."""

    def getTcpKeepAlive(self) -> bool:
        """Whether the peer is asked for signs of life."""
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """It never is."""
