"""
A connection to a ``WSGISite``: which bytes are whose, and what is done when.

It reads one request after the other, has the application called for each, and begins
with the next one when the client has taken the response.  What a head may say is
decided in ``_requesthead``, where a body ends in ``_framing``, what a response is on
the wire in ``_http1sink``, how bytes reach the kernel in ``_output``, and how long to
wait for whom in ``_patience``.
"""

from __future__ import annotations

import enum
from contextvars import Context
from io import BytesIO
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ._body import IN_MEMORY, Body, check_size
from ._environ import complete_environ
from ._errorlog import ErrorLog
from ._errorpage import refusal
from ._extensions import Extensions
from ._framing import ByLength, Chunked, Framing
from ._head import Head
from ._http1sink import HTTP1Sink
from ._input import InputStream
from ._output import Output, output_of
from ._patience import Patience
from ._pump import SLICE, Pump
from ._requesthead import RequestHead
from ._response import Response
from ._rules import Refused
from ._types import Environ

if TYPE_CHECKING:
    from .site import WSGISite

_log = Logger()

# Bytes of requests to come that are kept while one is served.
READ_AHEAD = 65536
# Bytes that nobody wants and that are read all the same: a client that still sends
# could otherwise miss the response, by a reset (RFC 9112, 9.6).
LEFT_OVER = 1 << 20

_END_OF_HEAD = b"\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NO_INPUT = InputStream(BytesIO(), 0)
_NO_HEAD = RequestHead(of_1_0=False)


class Phase(enum.Enum):
    """What a connection is at."""

    IDLE = "nothing of a request has come"
    HEAD = "the head of a request is coming"
    BODY = "the body of a request is coming, before the application is called"
    RESPONSE = "the application is called, and its response not complete"
    SENDING = "a response is complete, and the client has not taken all of it"
    CLOSING = "nothing more is served"
    LOST = "the connection is gone"

    __hash__ = object.__hash__


@implementer(IHalfCloseableProtocol)
class Channel(Protocol):
    """
    One connection.

    :param site: whose it is.
    """

    output: Output

    def __init__(self, site: WSGISite) -> None:
        self.site = site
        self.phase = Phase.IDLE
        self.patience = Patience(self, site.limits, site.now)
        self.pump: Pump | None = None
        self.reading = True
        """Whether what the client sends is read at present."""
        self.half_closed_at: float | None = None
        """When it was found that the client will not send any more."""
        # What has come, and is of no request yet.
        self._buffer = b""
        self._head = _NO_HEAD
        self._environ: Environ = {}
        self._body: Body | None = None
        self._framing: Framing | None = None
        self._sink: HTTP1Sink | None = None
        self._going_on = False
        self._turn: IDelayedCall | None = None
        self._left_over = 0

    # --- what the transport says

    def connectionMade(self) -> None:
        """The client has connected."""
        transport: Any = self.transport
        self.output = output_of(transport, self.site.reactor, self)
        self.output.attach()
        self._context: Context = getattr(transport, "wsgi_context", self.site.context)
        self._common, self._remote = self.site.connected(self, transport)
        if self.site.overcrowded:
            self.refuse(Refused(503, "This server has too many connections."))

    def dataReceived(self, data: bytes) -> None:
        """The client has sent something."""
        if self._framing is not None:
            data = self._receive_body(data)
        if self.phase is Phase.CLOSING:
            self._leave_over(data)
        else:
            self._buffer = self._buffer + data if self._buffer else data
            self._go_on()

    def readConnectionLost(self) -> None:
        """The client will send no more; it may still read, or it may have left."""
        self.half_closed_at = self.site.now
        if self.phase is Phase.RESPONSE:
            self.patience.watch()
        elif self.phase is Phase.HEAD or self.phase is Phase.BODY:
            self.refuse(Refused(400, "The request is not complete."))
        elif self.phase is not Phase.SENDING:
            self.close()

    def writeConnectionLost(self) -> None:
        """The other half is closed, as this wanted it."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self.phase = Phase.LOST
        self.output.stopProducing()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._buffer = b""
        self.site.disconnected(self)
        if self.pump is not None:
            self.pump.stopProducing()
        self._forget_request()

    # --- requests

    def _go_on(self) -> None:
        """Do what can be done with what has come."""
        if self._going_on or self._turn is not None:
            return
        self._going_on = True
        slice_ends: float | None = None
        while self._take_request():
            if self._buffer:
                now = self.site.reactor.seconds()
                slice_ends = now + SLICE if slice_ends is None else slice_ends
                if now >= slice_ends:
                    # Others have their turn, too.
                    self._turn = self.site.reactor.callLater(0, self._turned)
                    break
        self._going_on = False
        self._read_or_not()

    def _turned(self) -> None:
        self._turn = None
        self._go_on()

    def _take_request(self) -> bool:
        """Call the application for a request, if one is there."""
        if self.phase is Phase.IDLE or self.phase is Phase.HEAD:
            return bool(self._buffer) and self._take_head()
        if self.phase is Phase.BODY and self._framing is None:
            assert self._body is not None
            self._environ["CONTENT_LENGTH"] = str(self._body.size)
            self._serve(self._body.input())
            return True
        return False

    def _take_head(self) -> bool:
        data = self._buffer
        if data[0] in b"\r\n":
            return self._skip_empty_lines()
        end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
        environ = self._common.copy()
        try:
            if end < len(_END_OF_HEAD):
                self._wait_for_head()
                return False
            self._head = head = self.site.reader.read(data[:end], environ)
        except Refused as refused:
            self.refuse(refused)
            return False
        self._buffer = data[end:]
        self._environ = environ
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = self._remote
        complete_environ(environ)
        if head.path == "*":
            self._answer(200, b"Allow: OPTIONS\r\n")
        elif head.has_body:
            self._begin_body()
        else:
            self._serve(_NO_INPUT)
        return True

    def _skip_empty_lines(self) -> bool:
        # RFC 9112, 2.2: before a request line.
        data = self._buffer
        rest = data.lstrip(b"\r\n")
        skipped = data[: len(data) - len(rest)]
        if skipped.replace(b"\r\n", b"") == b"":
            self._buffer = rest
        elif rest or skipped.replace(b"\r\n", b"") != b"\r":
            self.refuse(Refused(400, "An empty line is not CR LF."))
        else:
            self._buffer = b"\r"  # Of the next one.
            return False
        return True

    def _wait_for_head(self) -> None:
        self.site.reader.check_incomplete(self._buffer)
        if self.phase is Phase.IDLE:
            self.phase = Phase.HEAD
            self.patience.head_begins()

    # --- bodies

    @property
    def body_size(self) -> int:
        """Bytes of the body that have come."""
        return 0 if self._body is None else self._body.size

    def _begin_body(self) -> None:
        length = self._head.content_length
        try:
            check_size(length or 0, self.site.limits.body_size)
        except Refused as refused:
            self.refuse(refused)
            return
        if length is not None and length <= min(len(self._buffer), IN_MEMORY):
            block, self._buffer = self._buffer[:length], self._buffer[length:]
            self._serve(InputStream(BytesIO(block), length) if length else _NO_INPUT)
            return
        self.phase = Phase.BODY
        self.patience.body_begins()
        self._body = Body(self.site.limits.body_size)
        if length is None:
            self._framing = Chunked(self._body.write)
        else:
            self._framing = ByLength(length, self._body.write)
        if self._buffer:
            self._buffer = self._receive_body(self._buffer)
        elif self._head.expects_continue:
            self.output.write(_CONTINUE)

    def _receive_body(self, data: bytes) -> bytes:
        """Take what is of the body; what is not is returned."""
        framing = self._framing
        assert framing is not None
        try:
            data = framing.receive(data)
        except Refused as refused:
            self.refuse(refused)
            return b""
        except OSError:
            _log.failure("Cannot keep the body of a request")
            self.refuse(Refused(500, "This server has no room for the body."))
            return b""
        if framing.ended:
            self._framing = None
        return data

    # --- responses

    def _serve(self, input_stream: InputStream) -> None:
        """Have the application called."""
        site, environ, head = self.site, self._environ, self._head
        name = f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']}"
        environ["wsgi.input"] = input_stream
        environ["wsgi.errors"] = ErrorLog(name)
        self.phase = Phase.RESPONSE
        self.patience.response_begins()
        self._sink = sink = HTTP1Sink(
            self,
            head_only=environ["REQUEST_METHOD"] == "HEAD",
            of_1_0=head.of_1_0,
            persistent=head.persistent and not site.draining,
        )
        response = Response(sink, name)
        extensions = Extensions(
            site.reactor, response, environ, validation=site.validation
        )
        pump = Pump(
            site.reactor,
            self._context.copy(),
            response,
            sink,
            environ,
            extensions,
            name,
            debug=site.debug,
        )
        pump.start(site.application)

    def added_fields(self, head: Head) -> bytes:
        """See :class:`twisted_wsgiflush._http1sink.Connection`, as for the others."""
        if not head.special:
            return self.site.date_and_server
        names = {name.lower() for name, _ in head.headers}
        return b"".join(
            line
            for line in self.site.date_and_server.splitlines(keepends=True)
            if line.partition(b":")[0].lower() not in names
        )

    def stalled(self) -> None:
        """The client has not taken all that was sent."""
        self.patience.watch()

    def response_ended(self, *, close: bool) -> None:
        """The response is complete."""
        self._forget_request()
        if close or self.site.draining or self.half_closed_at is not None:
            self.close()
        elif self.output.full:
            self.phase = Phase.SENDING
            self.patience.watch()
        else:
            self._next()

    def response_cut(self, *, reset: bool) -> None:
        """The response will not be complete."""
        self._forget_request()
        if reset:
            self.abort()
        else:
            self.close()

    def drained(self) -> None:
        """All that was written is with the kernel."""
        if self._sink is not None:
            self._sink.drained()
        elif self.phase is Phase.SENDING:
            self._next()

    def _next(self) -> None:
        """Be ready for the next request."""
        self.phase = Phase.IDLE
        self.patience.idle()
        if self._buffer:
            self._go_on()

    def _forget_request(self) -> None:
        self.pump = self._sink = None
        self._environ = {}
        if self._body is not None:
            self._body.close()
            self._body = None

    # --- the end

    def refuse(self, refused: Refused) -> None:
        """Answer in place of the application, and serve nothing more."""
        self._framing = None
        self._forget_request()
        sink = HTTP1Sink(self, head_only=False, of_1_0=False, persistent=False)
        head, body = refusal(refused)
        sink.send_head(head, body=True, close=True)
        sink.write(body)
        self._close(linger=True)

    def close(self) -> None:
        """Close the connection when the client has taken everything."""
        self._close(linger=bool(self._buffer))

    def abort(self) -> None:
        """Close the connection now, whatever there is."""
        transport: Any = self.transport
        transport.abortConnection()

    def _close(self, *, linger: bool) -> None:
        self.phase = Phase.CLOSING
        self._buffer = b""
        self.patience.closing()
        # There is nobody left to read from, or nothing.
        half = linger and self.half_closed_at is None
        self.output.close(half=half)

    def _leave_over(self, data: bytes) -> None:
        self._left_over += len(data)
        if self._left_over > LEFT_OVER:
            self.abort()

    def _read_or_not(self) -> None:
        """Read no more than is bounded ahead of what is served."""
        transport: Any = self.transport
        if self.reading:
            if len(self._buffer) > READ_AHEAD:
                self.reading = False
                transport.pauseProducing()
                self.patience.watch()
        elif len(self._buffer) <= READ_AHEAD and self.phase is not Phase.LOST:
            self.reading = True
            transport.resumeProducing()
