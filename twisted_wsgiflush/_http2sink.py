"""
A response's way to the client through a stream of the stock HTTP/2.

Twisted queues what is written to a stream and sends it frame by frame, one in a
turn.  It tells nobody when a queue is empty or the socket full, and while more is
queued than the client's window lets through it looks at the queue in every turn.  So
this keeps a block, and writes only what the window lets through; when that has left
the queue, the rest.  There is no public way to ask for either, so this looks.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from ._batch import Batch
from ._head import Head
from ._pauses import Pause
from ._pump import Pump
from ._requestsink import RequestSink

# RFC 9113, 7.  What Twisted would say, NO_ERROR, some clients take for the end.
INTERNAL_ERROR = 2
# For a request that may be sent again elsewhere: nothing was done for it.
REFUSED_STREAM = 7

# Bytes to write at once.  Twisted copies all that is queued for every frame of it: a
# block of 40 MB took 44 s.
AT_ONCE = 65536


def reset(request: Request, error_code: int) -> None:
    """End the stream that a request came by; the connection goes on."""
    stream: Any = request.channel
    connection = stream._conn
    if _is_open(stream):
        connection.conn.reset_stream(stream.streamID, error_code)
        if not connection._tryToWriteControlData():
            return  # Twisted has aborted the connection, and told all requests.
        connection._requestDone(stream.streamID)
    request.connectionLost(Failure(ConnectionAborted()))


def _is_open(stream: Any) -> bool:
    """
    Whether h2 would take anything for a stream; it raises an error if not.

    Twisted tells that after all other that has come with the end of the stream or
    connection, or, when it is Twisted that has ended it, 15 s later.
    """
    h2 = stream._conn.conn
    of_h2 = h2.streams.get(stream.streamID)
    return (
        of_h2 is not None
        and not of_h2.closed
        and h2.state_machine.state.name != "CLOSED"
    )


@implementer(IPushProducer)
class HTTP2Sink(RequestSink):
    """A stream, which sends a response when and as far as its client lets it."""

    def __init__(self, request: Request, reactor: IReactorTime, batch: Batch) -> None:
        super().__init__(request, reactor, batch)
        self._stream: Any = request.channel
        self._registered = False
        self._pause: Pause | None = None
        self._unsent: deque[memoryview] = deque()
        self._look: IDelayedCall | None = None
        self._interim = False
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
        if self._request.startedWriting:
            self.push()

    def send_head(self, head: Head, *, body: bool, close: bool) -> None:
        """Send the status and headers."""
        if self._takes_more():
            self._interim = head.code < 200
            super().send_head(head, body=body, close=close)

    def write(self, block: bytes) -> None:
        """Keep a block, and hold the pump until it has left."""
        if self._gone:
            return
        if not self._registered:
            self._registered = True
            self._request.registerProducer(self, True)
        waiting = self._unsent or self._look is not None
        self._unsent.append(memoryview(block))
        self._hold()
        if not waiting:
            self._looked()

    def push(self) -> None:
        """Hold the pump until what is sent has left, as it does by itself."""
        self._hold()
        if self._pump is not None and self._look is None:
            self._look_later()

    def finish(self, *, close: bool) -> None:
        """The response is complete, though some of it may not have left."""
        self._pump = None
        self._ending = True
        if self._interim:
            self.cut()  # RFC 9113, 8.1: an end without a final response is none.
        elif not self._unsent and self._look is None:
            self._looked()

    def cut(self) -> None:
        """Reset the stream; the connection goes on."""
        if not self._gone:
            reset(self._request, INTERNAL_ERROR)

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
            self._look_later()

    def stopProducing(self) -> None:
        """The stream is gone, as ``watch`` is told."""

    def _takes_more(self) -> bool:
        """Whether the stream is open; if not, the request hears of it now."""
        if not self._gone and not _is_open(self._stream):
            self._request.connectionLost(Failure(ConnectionAborted()))
        return not self._gone

    def _hold(self) -> None:
        if self._pump is not None and self._pause is None:
            self._pause = self._pump.pauses.hold("a block is on its way")

    def _look_later(self) -> None:
        self._look = self._reactor.callLater(0, self._looked)

    def _looked(self) -> None:
        """Do what can be done now."""
        self._look = None
        if not self._takes_more():
            return
        connection = self._stream._conn
        queue = connection._outboundStreamQueues[self._stream.streamID]
        room = connection.conn.local_flow_control_window(self._stream.streamID)
        socket_full: Deferred[None] | None = connection._consumerBlocked
        if socket_full is not None:
            # Also with nothing in the queue: it may be the head that waits.
            socket_full.addCallback(self._socket_has_room)
        elif any(queue) and room > 0:
            self._look_later()
        elif any(queue):
            # Another stream has used up the window that they have in common.
            self._unsent.appendleft(memoryview(b"".join(queue)))
            queue.clear()
            self._wait_for_window()
        elif self._unsent and room > 0:
            self._write_what_fits(min(room, AT_ONCE))
        elif self._unsent:
            self._wait_for_window()
        elif self._ending:
            if self._registered:
                self._request.unregisterProducer()
            self._request.finish()
        else:
            pause, self._pause = self._pause, None
            assert pause is not None  # Held since the write, the push, or by attach.
            pause.lift()

    def _wait_for_window(self) -> None:
        # Twisted says resumeProducing only after a write that found no room.
        self._stream.write(b"")

    def _write_what_fits(self, room: int) -> None:
        block = self._unsent.popleft()
        if len(block) > room:
            self._unsent.appendleft(block[room:])
        self._look_later()
        self._request.write(bytes(block[:room]))

    def _socket_has_room(self, result: None) -> None:
        if not self._gone and self._look is None:
            self._look_later()
