"""
A response's way to the client through a stream of the stock HTTP/2.

Twisted queues what is written to a stream and sends it frame by frame, one in a
turn.  It tells nobody when a queue is empty or the socket full, and while more is
queued than the client's window lets through it looks at the queue in every turn.  So
this keeps a block, and writes only what the window lets through; when that has left
the queue, the rest.  There is no public way to ask for either, so this looks.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from ._pauses import Pause
from ._pump import Pump
from ._requestsink import RequestSink

# RFC 9113, 7.  What Twisted would say, NO_ERROR, some clients take for the end.
INTERNAL_ERROR = 2


@implementer(IPushProducer)
class HTTP2Sink(RequestSink):
    """A stream, which sends a response when and as far as its client lets it."""

    def __init__(self, request: Request, reactor: IReactorTime) -> None:
        super().__init__(request, reactor)
        self._stream: Any = request.channel
        self._pump: Pump | None = None
        self._pause: Pause | None = None
        self._unsent: list[bytes] = []
        self._look: IDelayedCall | None = None
        self._ending = False
        self._gone = False

    def watch(self, pump: Pump) -> None:
        """Tell the pump when the stream is gone; and know it when it is not asked."""

        def gone(reason: Failure) -> None:
            self.lost()
            pump.stopProducing()

        self._request.notifyFinish().addErrback(gone)

    def attach(self, pump: Pump) -> None:
        """Hold the pump while there is something to send."""
        self._pump = pump
        if self._unsent or self._look is not None:
            self._hold()

    def write(self, block: bytes) -> None:
        """Keep a block, and hold the pump until it has left."""
        if self._gone:
            return
        if not self._attached:
            self._attached = True
            self._request.registerProducer(self, True)
        self._unsent.append(block)
        self._hold()
        if self._look is None:
            self._looked()

    def push(self) -> None:
        """A stream's frames cannot be sent from here."""

    def finish(self, *, close: bool) -> None:
        """The response is complete, though some of it may not have left."""
        self._pump = None
        self._ending = True
        if self._look is None and not self._unsent and not self._gone:
            self._looked()

    def cut(self) -> None:
        """Reset the stream; the connection goes on."""
        self.lost()
        connection = self._stream._conn
        connection.conn.reset_stream(self._stream.streamID, INTERNAL_ERROR)
        if connection._tryToWriteControlData():
            connection._requestDone(self._stream.streamID)
            self._request.connectionLost(Failure(ConnectionAborted()))

    def lost(self) -> None:
        """The stream is gone."""
        super().lost()
        self._gone = True
        self._pump = None
        self._unsent.clear()
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def pauseProducing(self) -> None:
        """The window is used up, as the next look will show."""

    def resumeProducing(self) -> None:
        """The window is open again."""
        if self._unsent and self._look is None:
            self._looked()

    def stopProducing(self) -> None:
        """The stream is gone, as ``watch`` is told."""

    def _hold(self) -> None:
        if self._pump is not None and self._pause is None:
            self._pause = self._pump.pauses.hold("a block is on its way")

    def _look_later(self) -> None:
        self._look = self._reactor.callLater(0, self._looked)

    def _looked(self) -> None:
        """Do what can be done now."""
        self._look = None
        connection = self._stream._conn
        if any(connection._outboundStreamQueues[self._stream.streamID]):
            socket_full: Deferred[None] | None = connection._consumerBlocked
            if socket_full is None:
                self._look_later()
            else:
                socket_full.addCallback(self._socket_has_room)
        elif self._unsent:
            self._write_what_fits()
        elif self._ending:
            self._detach()
            self._request.finish()
        elif self._pause is not None:
            pause, self._pause = self._pause, None
            pause.lift()

    def _write_what_fits(self) -> None:
        room = self._stream._conn.remainingOutboundWindow(self._stream.streamID)
        if room <= 0:
            # Twisted says resumeProducing only after a write that found no room.
            self._stream.write(b"")
            return
        block = self._unsent.pop(0)
        if len(block) > room:
            self._unsent.insert(0, block[room:])
            block = block[:room]
        self._look_later()
        self._request.write(block)

    def _socket_has_room(self, result: None) -> None:
        if not self._gone and self._look is None:
            self._look_later()
        return result
