"""
A response's way to the client through the stock ``twisted.web.http.Request``.

It decides what the response's words mean there, and when a transport that cannot
tell has most likely handed a block over.  Nothing here is called after the
connection is lost: a ``Request`` raises then (F5).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    IWriteDescriptor,
)
from twisted.web.server import Request
from zope.interface import implementer

from ._head import Head
from ._pauses import Pause
from ._pump import Pump
from ._stock import close_afterwards


def sink_for(request: Request, reactor: IReactorTime) -> RequestSink:
    """The sink that knows the kind of connection a request came by."""
    if request.clientproto == b"HTTP/2":
        return HTTP2Sink(request, reactor)
    if request.isSecure():
        return TLSSink(request, reactor)
    return RequestSink(request, reactor)


class RequestSink:
    """
    HTTP/1.1 and 1.0 on a TCP or UNIX socket.

    What is written in one reactor turn is with the kernel before the next turn's
    timed calls, as far as the client takes it (F2), so nothing needs to be awaited.
    """

    def __init__(self, request: Request, reactor: IReactorTime) -> None:
        self.head_only = request.method == b"HEAD"
        self._request = request
        self._reactor = reactor
        self._pump: Pump | None = None
        # Whether only the end of the connection tells where the body ends.
        self._close_delimited = False

    def attach(self, pump: Pump) -> None:
        """See :meth:`twisted_wsgiflush._pump.Consumer.attach`."""
        self._pump = pump
        self._request.registerProducer(self._producer(pump), True)
        # A lost stream of HTTP/2 says this only, a lost connection the other too.
        self._request.notifyFinish().addErrback(lambda reason: pump.stopProducing())

    def send_head(self, head: Head, *, body: bool, close: bool) -> None:
        """See :class:`twisted_wsgiflush._response.Sink`, as for the others."""
        request = self._request
        request.defaultContentType = None  # Site would add text/html.
        request.setResponseCode(head.code, head.reason)
        replaced = set()
        for name, value in head.headers:
            folded = name.lower()
            if folded == b"set-cookie":
                # Request sends this list, and lets it win over such headers.
                request.cookies.append(value)
                continue
            if folded in (b"date", b"server") and folded not in replaced:
                replaced.add(folded)
                request.responseHeaders.removeHeader(name)
            request.responseHeaders.addRawHeader(name, value)
        if close:
            close_afterwards(request)
        if head.code < 200:
            # Request would announce a body here.
            request.startedWriting = 1
            request.channel.writeHeaders(
                request.clientproto,
                b"%d" % head.code,
                head.reason,
                request.responseHeaders,
            )
        else:
            self._close_delimited = (
                body
                and request.clientproto == b"HTTP/1.0"
                and head.content_length is None
            )
            request.write(b"")

    def write(self, block: bytes) -> None:
        """Send a block."""
        self._request.write(block)

    def push(self) -> None:
        """
        Hand what is written to the kernel, as far as that takes it now.

        The reactor does so anyway, but only when the application has returned.
        """
        if IWriteDescriptor.providedBy(self._request.transport):
            transport: Any = self._request.transport
            # One that is about to disconnect does that as a result of doWrite, and
            # the result is for the reactor only.
            if not transport.disconnecting:
                transport.doWrite()

    def finish(self, *, close: bool) -> None:
        """The response is complete."""
        self._detach()
        if close:
            close_afterwards(self._request)
        self._request.finish()

    def cut(self) -> None:
        """
        Close the connection without the last chunk, or the bytes that are missing.

        Where the end of the connection ends the body, reset it, for nothing else
        can tell the client; what it has not read by then may be lost.
        """
        self._detach()
        if self._close_delimited:
            transport: Any = self._request.transport
            transport.abortConnection()
        else:
            self._request.loseConnection()

    def lost(self) -> None:
        """The connection is gone."""
        self._pump = None

    def _producer(self, pump: Pump) -> IPushProducer:
        """Who is told that the connection is full."""
        return pump

    def _detach(self) -> None:
        if self._pump is not None:
            self._pump = None
            self._request.unregisterProducer()


class _WaitingSink(RequestSink):
    """
    A connection with a buffer between ``write`` and the socket that is emptied by
    timed calls of its own: the pump is held for as long.
    """

    def __init__(self, request: Request, reactor: IReactorTime) -> None:
        super().__init__(request, reactor)
        self._pause: Pause | None = None
        self._look: IDelayedCall | None = None

    def write(self, block: bytes) -> None:
        """Send a block, and hold the pump until it has left."""
        super().write(block)
        if self._pump is not None and self._pause is None:
            self._pause = self._pump.pauses.hold("a block is on its way")
            self._look_later()

    def push(self) -> None:
        """The buffer cannot be emptied from here."""

    def lost(self) -> None:
        """The connection is gone."""
        super().lost()
        self._stop_looking()

    def _detach(self) -> None:
        super()._detach()
        self._stop_looking()

    def _look_later(self) -> None:
        self._look = self._reactor.callLater(0, self._looked)

    def _looked(self) -> None:
        """The block has left."""
        self._look = None
        if self._pause is not None:
            pause, self._pause = self._pause, None
            pause.lift()

    def _stop_looking(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None


class TLSSink(_WaitingSink):
    """
    HTTP/1.1 and 1.0 over TLS: Twisted collects small writes until the next turn, and
    hands them to the socket before this sink looks, which asked for that turn later.
    """


@implementer(IPushProducer)
class HTTP2Sink(_WaitingSink):
    """
    A stream of HTTP/2.

    Twisted queues what is written to a stream and sends it frame by frame, one in a
    turn.  It pauses the producer when the stream's window is used up, but neither
    while frames are queued nor while the socket is full, so that a client with a
    large window could have it queue a whole response.  There is no public way to
    ask, so this looks at the queue.
    """

    def __init__(self, request: Request, reactor: IReactorTime) -> None:
        super().__init__(request, reactor)
        self._stream: Any = request.channel

    def _producer(self, pump: Pump) -> IPushProducer:
        return self

    def cut(self) -> None:
        """Reset the stream; the connection goes on."""
        self._detach()
        self._stream.abortConnection()

    def pauseProducing(self) -> None:
        """The window is used up: frames leave the queue only when it opens."""
        if self._pump is not None:
            self._pump.pauseProducing()
            self._stop_looking()

    def resumeProducing(self) -> None:
        """The window is open again."""
        if self._pump is not None:
            self._pump.resumeProducing()
            if self._pause is not None and self._look is None:
                self._look_later()

    def stopProducing(self) -> None:
        """The stream is gone."""
        if self._pump is not None:
            self._pump.stopProducing()

    def _looked(self) -> None:
        self._look = None
        if self._pump is None:
            return
        connection = self._stream._conn
        if not connection._outboundStreamQueues.get(self._stream.streamID):
            super()._looked()
            return
        socket_full: Deferred[None] | None = connection._consumerBlocked
        if socket_full is None:
            self._look_later()
        else:
            socket_full.addCallback(self._socket_has_room)

    def _socket_has_room(self, result: None) -> None:
        if self._pump is not None and self._look is None:
            self._look_later()
        return result
