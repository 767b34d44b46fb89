"""
A response's way to the client through the stock ``twisted.web.http.Request``.

It decides what the response's words mean on HTTP/1.1 and 1.0, and when what was sent
is with the kernel, or, for a transport that cannot tell, has most likely been handed
over.  Nothing of a ``Request`` is called after its connection is lost: it raises an
error then (F5), but for ``write``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.protocols.policies import ProtocolWrapper
from twisted.web.http import HTTPChannel
from twisted.web.server import Request

from ._batch import Batch
from ._head import Head
from ._output import unsent_by
from ._pauses import Pause
from ._pump import Pump
from ._rules import Remembered
from ._stock import close_afterwards

# From how many bytes on a body is not joined with its head.
LARGE = 65536


def socket_below(request: Request) -> FileDescriptor | None:
    """
    The socket that a request's channel writes to, if nothing in between keeps bytes.

    What only looks on may be in between, such as a ``HAProxyProtocolWrapper``.  TLS
    is no such thing: a socket below it does not know the channel as its producer.
    """
    transport: Any = request.transport
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    if isinstance(transport, FileDescriptor) and transport.producer is request.channel:
        return transport
    return None


def _are_stock(classes: tuple[type, type]) -> bool:
    """
    Whether writing to a request and its channel, of these classes, is Twisted's own
    code: then its bytes may be made and sent here.
    """
    request, channel = classes
    return (
        getattr(request, "write", None) is Request.write
        and getattr(channel, "writeHeaders", None) is HTTPChannel.writeHeaders
        and getattr(channel, "write", None) is HTTPChannel.write
    )


_STOCK = Remembered(_are_stock)


def _send_unsent(socket: FileDescriptor) -> None:
    """Hand to the kernel what a transport keeps, and leave the rest to the reactor."""
    if not socket.connected:
        return
    # What follows the last byte is the reactor's: to close the connection, to resume
    # whoever produces, and to see to their errors.
    resumes = not socket.streamingProducer or socket.producerPaused
    if not socket.disconnecting and not resumes:
        socket.doWrite()
    if unsent_by(socket):
        socket.startWriting()


class RequestSink:
    """
    HTTP/1.1 and 1.0 on a TCP or UNIX socket.

    Each block is handed to the kernel at once, and the pump rests while the kernel
    has not taken all of it.
    """

    takes_files = False
    at_once = LARGE
    """To Twisted a request is over with its end, and the client has a minute then."""

    def __init__(self, request: Request, reactor: IReactorTime, batch: Batch) -> None:
        self.head_only = request.method == b"HEAD"
        self._request = request
        self._reactor = reactor
        self._batch = batch
        self._socket = socket_below(request)
        self.exact = self._socket is not None
        self.full = self.is_full()
        """See :class:`twisted_wsgiflush._pump.Consumer`."""
        self._pump: Pump | None = None
        # Whether something is written that was not pushed.
        self._unpushed = False
        # Whether only the end of the connection tells where the body ends.
        self._close_delimited = False

    def is_full(self) -> bool:
        """See :class:`twisted_wsgiflush._pump.Consumer`, as for the next ones."""
        # The producer of the connection is paused then, whoever that was.
        if self._socket is not None:
            return self._socket.producerPaused
        # A TLS transport says that it is full once, not at every write (F6): whoever
        # produces for it next has to ask, and there is no public way to.
        return getattr(self._request.channel, "_waitingForTransport", False)

    def _is_lost(self) -> bool:
        """
        Whether the connection is lost.

        No turn of the reactor passes before ``attach``, from where on the pump hears
        of it; so until then only an application that runs the reactor itself finds it
        lost.
        """
        return self._request.channel is None

    def watch(self, pump: Pump) -> None:
        """Nothing to do: a connection is lost after ``attach``, see ``_is_lost``."""

    def attach(self, pump: Pump) -> None:
        """Have the connection pause the pump, and stop it."""
        if self._is_lost():
            pump.stopProducing()
            return
        self._pump = pump
        self._request.notifyFinish().addErrback(lambda reason: pump.stopProducing())
        self._request.registerProducer(pump, True)
        if self.is_full():
            pump.pauseProducing()

    def turn_ends(self) -> None:
        """Nothing waits: each block is pushed."""

    def send_whole(self, head: Head, body: bytes) -> None:
        """See :class:`twisted_wsgiflush._response.Sink`, as for the others."""
        request = self._request
        channel = request.channel
        if channel is None:
            return  # As _is_lost.
        if (
            _STOCK[type(request), type(channel)]
            # Who came before may have had something else in mind.
            and request._encoder is None  # type: ignore[redundant-expr]  # or Site's
            and request.etag is None
            and request.lastModified is None
        ):
            data = b"".join([*self._head_on_the_wire(head), body])
            request.startedWriting = 1
            request.sentLength = len(body)
            transport: Any = request.transport
            # What is between the channel and the socket has to see what is sent.
            direct = transport is self._socket
            if direct and not transport.disconnecting and not unsent_by(transport):
                # It stays there, before whatever else is written.
                transport.dataBuffer = data
                self._batch.add(partial(_send_unsent, transport))
            else:
                channel.write(data)
            request.finish()
        else:
            self.send_head(head, body=True, close=False)
            if body:
                self.write(body)
            self.finish(close=False)

    def _head_on_the_wire(self, head: Head) -> list[bytes]:
        """Set the status and headers, and make of them what ``Request.write`` sends."""
        request = self._request
        if head.special or request.cookies or request.clientproto != b"HTTP/1.1":
            self._set_head(head)
            if request.cookies:
                request.responseHeaders.setRawHeaders(b"Set-Cookie", request.cookies)
            begin = b"%b %d %b\r\n" % (request.clientproto, head.code, head.reason)
            return [begin, *self._lines()]
        lines = [head.lines, *self._lines()]
        self._set_head(head)
        return lines

    def _lines(self) -> list[bytes]:
        lines: list[bytes] = []
        for name, values in self._request.responseHeaders.getAllRawHeaders():
            for value in values:
                lines += (name, b": ", value, b"\r\n")
        lines.append(b"\r\n")
        return lines

    def send_head(self, head: Head, *, body: bool, close: bool) -> None:
        """Send the status line and headers."""
        if self._is_lost():
            return
        request = self._request
        request.defaultContentType = None  # Site would add text/html.
        self._set_head(head)
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
        self._unpushed = True

    def _set_head(self, head: Head) -> None:
        request = self._request
        request.setResponseCode(head.code, head.reason)
        headers = request.responseHeaders
        if not head.special:
            for name, value in head.headers:
                headers.addRawHeader(name, value)
            return
        replaced = set()
        for name, value in head.headers:
            folded = name.lower()
            if folded == b"set-cookie" and head.code >= 200:
                # Request sends this list, and lets it win over such headers.
                request.cookies.append(value)
                continue
            if folded in (b"date", b"server") and folded not in replaced:
                replaced.add(folded)
                headers.removeHeader(name)
            headers.addRawHeader(name, value)

    def write(self, block: bytes) -> None:
        """Send a block; if there may be more of them, not together with the next."""
        self._request.write(block)
        self._unpushed = True
        if self._pump is not None:
            self.push()

    def push(self) -> None:
        """
        Hand what is written to the kernel, and let the pump rest if some is left.

        The reactor does the first, too, but only when the application has returned;
        and a transport by itself pauses its producer only from 64 KiB on.
        """
        socket = self._socket
        # One that is about to disconnect does that as a result of doWrite, and the
        # result is for the reactor only.
        if socket is None or not self._unpushed:
            return
        if socket.disconnecting or self._is_lost():
            return
        self._unpushed = False
        # It says resumeProducing when nothing is left, to a producer that is paused.
        socket.producerPaused = True
        socket.doWrite()
        if self._pump is not None and socket.producerPaused:
            self._pump.pauseProducing()

    def finish(self, *, close: bool) -> None:
        """The response is complete."""
        if self._is_lost():
            return
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
        if self._is_lost():
            return
        self._detach()
        if self._close_delimited:
            transport: Any = self._request.transport
            transport.abortConnection()
        else:
            self._request.loseConnection()

    def lost(self) -> None:
        """The connection is gone."""
        if self._pump is not None:
            self._pump = None
            # Twisted leaves it there: pump, sink and request would be a cycle of
            # references, kept with the request's body until the next collection.
            self._request.producer = None

    def _detach(self) -> None:
        if self._pump is not None:
            self._pump = None
            self._request.unregisterProducer()


class TLSSink(RequestSink):
    """
    HTTP/1.1 and 1.0 over TLS.

    Twisted collects small writes until the next turn.  It hands them to the socket
    before the pump, which this holds, can take a step: that was asked for later.
    """

    def __init__(self, request: Request, reactor: IReactorTime, batch: Batch) -> None:
        super().__init__(request, reactor, batch)
        self._turn: IDelayedCall | None = None
        self._pause: Pause | None = None

    def attach(self, pump: Pump) -> None:
        """Have the connection pause the pump."""
        super().attach(pump)
        self.push()

    def push(self) -> None:
        """Hold the pump until what is collected has left, as it does by itself."""
        if self._pump is None or not self._unpushed:
            return
        self._unpushed = False
        if self._turn is None:
            self._pause = self._pump.pauses.hold("a block is on its way")
        else:
            # What was collected before may be gone by now, this is only collected.
            self._turn.cancel()
        self._turn = self._reactor.callLater(0, self._left)

    def lost(self) -> None:
        """The connection is gone."""
        super().lost()
        self._let_go()

    def _detach(self) -> None:
        super()._detach()
        self._let_go()

    def _left(self) -> None:
        self._turn = None
        assert self._pause is not None
        self._pause.lift()

    def _let_go(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
