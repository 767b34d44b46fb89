"""
A response's way to the client through the stock ``twisted.web.http.Request``.

It decides what the response's words mean on HTTP/1.1 and 1.0, and when a transport
that cannot tell has most likely handed a block over.  Nothing here is called after
the connection is lost: a ``Request`` raises then (F5).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime, IWriteDescriptor
from twisted.web.server import Request

from ._head import Head
from ._pauses import Pause
from ._pump import Pump
from ._stock import close_afterwards


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
        self._attached = False
        # Whether only the end of the connection tells where the body ends.
        self._close_delimited = False

    def watch(self, pump: Pump) -> None:
        """See :class:`twisted_wsgiflush._pump.Consumer`, as for the next one."""
        # A lost stream of HTTP/2 says this only, a lost connection stopProducing too.
        self._request.notifyFinish().addErrback(lambda reason: pump.stopProducing())

    def attach(self, pump: Pump) -> None:
        """Have the connection pause the pump."""
        self._attached = True
        self._request.registerProducer(pump, True)
        # A TLS transport says that it is full once, not at every write (F6): whoever
        # produces for it next has to ask, and there is no public way to.
        if getattr(self._request.channel, "_waitingForTransport", False):
            pump.pauseProducing()

    def send_head(self, head: Head, *, body: bool, close: bool) -> None:
        """See :class:`twisted_wsgiflush._response.Sink`, as for the others."""
        request = self._request
        request.defaultContentType = None  # Site would add text/html.
        request.setResponseCode(head.code, head.reason)
        replaced = set()
        for name, value in head.headers:
            folded = name.lower()
            if folded == b"set-cookie" and head.code >= 200:
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
        if self._attached:
            self._attached = False
            # Twisted leaves it there: pump, sink and request would be a cycle of
            # references, kept with the request's body until the next collection.
            self._request.producer = None

    def _detach(self) -> None:
        if self._attached:
            self._attached = False
            self._request.unregisterProducer()


class TLSSink(RequestSink):
    """
    HTTP/1.1 and 1.0 over TLS.

    Twisted collects small writes until the next turn.  It hands them to the socket
    before the pump, which this holds, can take a step: that was asked for later.
    """

    def __init__(self, request: Request, reactor: IReactorTime) -> None:
        super().__init__(request, reactor)
        self._pump: Pump | None = None
        self._turn: IDelayedCall | None = None

    def attach(self, pump: Pump) -> None:
        """Have the connection pause the pump."""
        super().attach(pump)
        self._pump = pump
        if self._request.startedWriting:
            self._hold()

    def write(self, block: bytes) -> None:
        """Send a block, and hold the pump until it has left."""
        super().write(block)
        self._hold()

    def push(self) -> None:
        """What is collected cannot be handed over from here."""

    def lost(self) -> None:
        """The connection is gone."""
        super().lost()
        self._let_go()

    def _detach(self) -> None:
        super()._detach()
        self._let_go()

    def _hold(self) -> None:
        if self._pump is not None and self._turn is None:
            pause = self._pump.pauses.hold("a block is on its way")
            self._turn = self._reactor.callLater(0, self._left, pause)

    def _left(self, pause: Pause) -> None:
        self._turn = None
        pause.lift()

    def _let_go(self) -> None:
        self._pump = None
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
