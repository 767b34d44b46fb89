"""
A connection to a ``WSGISite``: which bytes are whose, and what is done when.

It reads one request after the other, has the application called for each, and begins
with the next one when the client has taken the response.  What a head may say is
decided in ``_requesthead``, where a body ends in ``_framing`` and where it goes in
``_body``, what a response is on the wire in ``_http1sink``, how bytes reach the kernel
in ``_output``, and how long to wait for whom in ``_patience``.
"""

from __future__ import annotations

import enum
import re
from contextvars import Context
from io import BytesIO
from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ._batch import SLICE
from ._body import DISCARDED, IN_MEMORY, RequestBody
from ._errorlog import ErrorLog
from ._errorpage import refusal
from ._extensions import Extensions
from ._head import Head
from ._http1sink import HTTP1Sink
from ._input import InputStream
from ._neighbours import NeighbourChannel
from ._output import Output, output_of
from ._patience import Patience
from ._pump import Pump
from ._requesthead import NO_HEAD, SHORT
from ._response import Response
from ._rules import Refused
from ._streamedinput import StreamedInput
from ._types import Environ

if TYPE_CHECKING:
    from .site import WSGISite

_log = Logger()

# Bytes of requests to come that are kept while one is served.
READ_AHEAD = 65536

_HEAD_REQUEST = re.compile(rb"HEAD [!-~]+ HTTP/1\.[0-9]\r\n")
# RFC 9110, 2.5: Twisted does not know that 1.2 and higher are to be treated as 1.1.
_HIGHER_VERSION = re.compile(rb"(\A[^\r]* HTTP/1\.)[2-9]\r\n")
_END_OF_HEAD = b"\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_INCOMPLETE = "The request is not complete."
_NO_INPUT = InputStream(BytesIO(), 0)


class Phase(enum.Enum):
    """What a connection is at."""

    IDLE = "nothing of a request has come"
    HEAD = "the head of a request is coming"
    BODY = "the body of a request is coming, before the application is called"
    RESPONSE = "the application is called, and its response not complete"
    DISCARDING = "a response is complete, and its request's body is not"
    SENDING = "a response is complete, and the client has not taken all of it"
    NEIGHBOUR = "a resource of twisted.web has the connection for one request"
    HANDED_OVER = "another protocol has the connection, for good"
    CLOSING = "nothing more is served"
    LOST = "the connection is gone"

    __hash__ = object.__hash__  # An Enum's own is written in Python.


# To reach a member through its Enum takes Python 3.11 as long as three calls.
(
    IDLE,
    HEAD,
    BODY,
    RESPONSE,
    DISCARDING,
    SENDING,
    NEIGHBOUR,
    HANDED_OVER,
    CLOSING,
    LOST,
) = Phase


@implementer(IHalfCloseableProtocol)
class Channel(Protocol):
    """
    One connection.

    :param site: whose it is.
    """

    output: Output
    _sink: HTTP1Sink

    def __init__(self, site: WSGISite) -> None:
        self.site = site
        self.phase = IDLE
        self.patience = Patience(self, site.limits, site.now)
        self.pump: Pump | None = None
        self.body: RequestBody | None = None
        """The body of the request that is served, unless it came with the head."""
        self.reading = True
        """Whether what the client sends is read at present."""
        self.half_closed_at: float | None = None
        """When it was found that the client will not send any more."""
        # All that it has sent was read.
        self._read_to_end = False
        # What has come and is of no request yet, and how much of it was looked at.
        self._buffer = b""
        self._seen = 0
        self._common: Environ | None = None
        self._head = NO_HEAD
        self._environ: Environ = {}
        self._content: BytesIO | None = None
        self._nobody_reads = False
        # Where requests begin is not known any more.
        self._lost_track = False
        self._left_over = 0
        self._going_on = False
        self._turn: IDelayedCall | None = None
        # Whose the connection is, for a request or for good.
        self._other: Any = None

    # --- what the transport says

    def connectionMade(self) -> None:
        """The client has connected."""
        transport: Any = self.transport
        self.output = output_of(transport, self.site.reactor, self.site.batch, self)
        self.output.attach()
        self._sink = HTTP1Sink(self)
        self._context: Context = getattr(transport, "wsgi_context", self.site.context)
        if not self.site.connected(self):
            self.refuse(Refused(503, "This server has too many connections."))

    def dataReceived(self, data: bytes) -> None:
        """The client has sent something."""
        if self.phase is LOST:
            return  # A transport of somebody else's may still have had it.
        # No turn may have passed, on asyncio, since a response was complete.
        self.output.send_soon()
        if self._common is None:
            self._begin()
        if self.body is not None and not self.body.ended:
            data = self._receive_body(data)
        if self.phase is HANDED_OVER:
            self._other.dataReceived(data)
        elif self.phase is CLOSING or self._lost_track:
            self._leave_over(len(data))
        else:
            self._buffer = self._buffer + data if self._buffer else data
            self._go_on()

    def readConnectionLost(self) -> None:
        """The client will send no more; it may still read, or it may have left."""
        self.half_closed_at = self.site.reactor.seconds()
        self._read_to_end = True
        match self.phase:
            case Phase.RESPONSE if self.output.ask_kernel()[0]:
                # On a UNIX socket, a client that has left can be told from one
                # that has closed its half.
                self.abort()
                return
            case Phase.RESPONSE:
                self.patience.half_closed()
            case Phase.NEIGHBOUR:
                self._transport.loseConnection()
            case Phase.CLOSING:
                self.close()
        if self._turn is None:  # Else what has come is served before.
            self._nothing_more_comes()

    def writeConnectionLost(self) -> None:
        """The other half is closed, as this wanted it."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self.phase = LOST
        self.patience.end()
        self.output.stopProducing()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._buffer = b""
        self.site.disconnected(self)
        if self.pump is not None:
            self.pump.stopProducing()
            if self.body is not None:
                self.body.lost(Refused(400, _INCOMPLETE))
        self._forget_request()
        if self._other is not None:
            other, self._other = self._other, None
            other.connectionLost(reason)
        # These know this: it would be left to the garbage collector, which looks at all
        # other connections to find it.
        del self.output, self.patience, self._sink

    # --- requests

    def _begin(self) -> None:
        """Something has come, and what is below has told all that it has to tell."""
        # Such as the PROXY protocol, or ALPN.
        transport: Any = self.transport
        self._common, self._remote, self._peer = self.site.addresses(transport)
        if getattr(transport, "negotiatedProtocol", None) == b"h2":
            self.output.detach()
            self.phase = HANDED_OVER
            self.patience.end()
            self._other = self.site.http2()
            self._other.makeConnection(transport)

    def _go_on(self) -> None:
        """Do what can be done with what has come."""
        if self._going_on or self._turn is not None:
            return
        self._going_on = True
        slice_ends: float | None = None
        while self._take_body() if self.phase is BODY else self._take_head():
            if not self._buffer:
                if self.phase is BODY:
                    continue  # It came with the head, and in chunks.
                break
            now = self.site.reactor.seconds()
            slice_ends = now + SLICE if slice_ends is None else slice_ends
            if now >= slice_ends:
                # Others have their turn, too.
                self._turn = self.site.reactor.callLater(0, self._turned)
                break
        self._going_on = False
        if self._read_to_end and self._turn is None:
            self._nothing_more_comes()
        if self._buffer or not self.reading:
            self._read_or_not()

    @property
    def waits_its_turn(self) -> bool:
        """Whether something that has come is left for the reactor's next turn."""
        return self._turn is not None

    def _turned(self) -> None:
        self._turn = None
        self._go_on()

    def _nothing_more_comes(self) -> None:
        """All was served that is complete, and the client will send no more."""
        match self.phase:
            case Phase.RESPONSE:
                if self.body is not None and not self.body.ended:
                    self.lose_body(Refused(400, _INCOMPLETE))
            case Phase.HEAD | Phase.BODY:
                self.refuse(Refused(400, _INCOMPLETE))
            case Phase.HANDED_OVER:
                self._transport.loseConnection()
            case Phase.IDLE | Phase.DISCARDING:
                self.close()

    def _take_body(self) -> bool:
        """Serve the request whose body is coming, if all of it is there."""
        assert self.body is not None
        if not self.body.ended:
            return False
        environ, self._environ = self._environ, {}
        environ["CONTENT_LENGTH"] = str(self.body.size)
        self._serve(environ, self.body.input())
        return True

    def _take_head(self) -> bool:
        """Serve the next request, if its head is there."""
        data = self._buffer
        if not data or (self.phase is not IDLE and self.phase is not HEAD):
            return False
        assert self._common is not None  # Something has come.
        site = self.site
        end = len(data)
        try:
            # Most clients send one head, and nothing else until they are answered.
            head = site.reader.known.get(data) if end < SHORT else None
            if head is None:
                if data[0] in b"\r\n":
                    return self._skip_empty_lines()
                # What was seen may end with the first bytes of it.
                seen = self._seen
                end = data.find(_END_OF_HEAD, seen - 3 if seen > 3 else 0)
                if end < 0:
                    self._wait_for_head()
                    return False
                end += len(_END_OF_HEAD)
                head = site.reader.read(data[:end])
            self._head = head
            environ = head.environ(self._common)
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = self._remote
            if site.proxies is not None:
                site.proxies.apply(environ, self._peer)
        except Refused as refused:
            self.refuse(refused)
            return False
        self._buffer = data[end:]
        self._seen = 0
        if site.tree is not None and not site.is_for_application(head.path, environ):
            self._begin_neighbour(data[:end])
        elif head.has_body:
            self._begin_body(environ)
        else:
            self._serve(environ, _NO_INPUT)
        return True

    def _skip_empty_lines(self) -> bool:
        # RFC 9112, 2.2: before a request line.
        data = self._buffer
        rest = data.lstrip(b"\r\n")
        odd = data[: len(data) - len(rest)].replace(b"\r\n", b"")
        if odd and (rest or odd != b"\r"):
            self.refuse(Refused(400, "An empty line is not CR LF."))
            return False
        self._buffer = rest or odd
        return bool(rest)

    def _wait_for_head(self) -> None:
        self.site.reader.check_incomplete(self._buffer, self._seen)
        self._seen = len(self._buffer)
        if self.phase is IDLE:
            self.phase = HEAD
            self.patience.head_begins()

    # --- bodies

    @property
    def sent(self) -> int:
        """A number that grows with what is sent of a response."""
        return self._sink.code + self._sink.sent

    def want_body(self) -> None:
        """See :class:`twisted_wsgiflush._arrival.BodySource`, as for the next two."""
        # RFC 9110, 10.1.1: not when it is coming already, nor after a final response.
        body, served = self.body, self.phase is RESPONSE
        if body is None or not body.awaits_continue or (served and self._sink.code):
            return
        body.awaits_continue = False
        self.output.write(_CONTINUE)
        if served:
            self._sink.persistent = self._is_persistent

    def pause_body(self) -> None:
        """Nobody reads."""
        self._nobody_reads = True
        self._read_or_not()

    def resume_body(self) -> None:
        """Somebody reads again."""
        self._nobody_reads = False
        self._read_or_not()

    def lose_body(self, refused: Refused) -> None:
        """The rest of a body that is streamed does not come, or is of no use."""
        assert self.body is not None
        self._sink.persistent = False
        self._lost_track = True
        self._buffer = b""
        body, self.body = self.body, None
        body.lost(refused)

    def _begin_body(self, environ: Environ) -> None:
        length = self._head.content_length
        if length is not None and length <= min(len(self._buffer), IN_MEMORY):
            block, self._buffer = self._buffer[:length], self._buffer[length:]
            self._content = BytesIO(block)
            self._serve(environ, InputStream(self._content, length))
            return
        self.body = RequestBody(self._head, self.site.limits)
        if self._buffer:
            self.body.awaits_continue = False
        if self.site.stream_input:
            self._serve(environ, None)
            return
        self._environ = environ
        self.phase = BODY
        self.patience.body_begins()
        self.want_body()
        if self._buffer:
            self._buffer = self._receive_body(self._buffer)

    def _receive_body(self, data: bytes) -> bytes:
        """Take what is of the body; what is not is returned."""
        body = self.body
        assert body is not None
        try:
            rest = body.receive(data)
        except Refused as refused:
            self.refuse_body(refused)
            return b""
        except OSError:
            _log.failure("Cannot keep the body of a request")
            self.refuse_body(Refused(500, "This server has no room for the body."))
            return b""
        if body.ended and self._nobody_reads:
            # With the end of the body its pause is over, and nobody says so.
            self.resume_body()
        if self.phase is NEIGHBOUR:
            self._other.dataReceived(data[: len(data) - len(rest)])
        elif self.phase is DISCARDING and body.ended:
            self.body = None
            self._next_when_sent()
        return rest

    def refuse_body(self, refused: Refused) -> None:
        """The body that is coming is none, or too much, or too slow."""
        if self.phase is RESPONSE:
            self.lose_body(refused)
        elif self.phase is DISCARDING:
            self._close(linger=True)
        elif self.phase is not LOST:
            self.refuse(refused)

    # --- responses

    def _serve(self, environ: Environ, input_stream: InputStream | None) -> None:
        """Call the application; without an input, its body is streamed."""
        site, head = self.site, self._head
        if site.has_many:
            site.batch.begin()
        name = head.name
        environ["wsgi.errors"] = ErrorLog(name)
        if site.access_log is not None:
            self._who = environ["REMOTE_ADDR"]  # The application may change it.
        self.phase = RESPONSE
        if site.hurries or self.half_closed_at is not None:
            self.patience.response_begins()
        else:
            self.patience.deadline = inf
        sink = self._sink
        sink.begin(
            head_only=head.head_only,
            of_1_0=head.of_1_0,
            persistent=head.persistent and not site.draining,
        )
        if head.path == "*":
            self._answer_for_the_server()
            return
        response = Response(sink, name)
        extensions = Extensions(
            site.reactor,
            response,
            environ,
            head.conditions if site.validation else None,
        )
        if input_stream is None:
            self._stream_input(environ)
        else:
            environ["wsgi.input"] = input_stream
        self.pump = pump = Pump(
            site, self._context.copy(), response, sink, environ, extensions
        )
        pump.start()

    def _stream_input(self, environ: Environ) -> None:
        assert self.body is not None
        arriving = StreamedInput(self, environ["x-wsgiorg.suspend"])
        environ["wsgi.input"] = arriving
        del environ["wsgi.input_terminated"]  # Nor False: some only look for the key.
        self.body.stream_to(arriving)
        self.patience.watch()
        if self.body.awaits_continue:
            # Whoever gets a final response in place of it may send the body, or not.
            self._sink.persistent = False
        if self._buffer:
            self._buffer = self._receive_body(self._buffer)

    def _answer_for_the_server(self) -> None:
        # RFC 9110, 9.3.7: "OPTIONS *" is about the server, not about a resource.
        head = Head(200, b"OK", [(b"Content-Length", b"0")], 0)
        self._sink.send_head(head, body=False, close=False)
        self._sink.finish(close=False)

    @property
    def sends_at_once(self) -> bool:
        """See :class:`twisted_wsgiflush._http1sink.Connection`, as for the others."""
        return not self.site.has_many or bool(self._buffer)

    @property
    def _is_persistent(self) -> bool:
        return self._head.persistent and not self.site.draining

    def added_fields(self, head: Head) -> bytes:
        """See :class:`twisted_wsgiflush._http1sink.Connection`, as for the others."""
        names = {name.lower() for name, _ in head.headers}
        return b"".join(
            line
            for line in self.site.date_and_server.splitlines(keepends=True)
            if line.partition(b":")[0].lower() not in names
        )

    def stalled(self) -> None:
        """The client has not taken all that was sent."""
        if self.phase is IDLE:
            # It is the last response that is not taken.
            self.phase = SENDING
            self.patience.end()
        self.patience.watch()
        self._sink.stalled()

    def response_ended(self, *, close: bool) -> None:
        """The response is complete."""
        site, body = self.site, self.body
        if site.access_log is not None:
            self._write_log()
        if close or site.draining:
            unread = body is not None and not body.ended
            self._close(linger=unread or self._lost_track or bool(self._buffer))
        elif body is None or body.ended:
            self._forget_request()
            self._next_when_sent()
        elif (self._head.content_length or 0) > DISCARDED or body.awaits_continue:
            # It would take too long, or may never come.
            self._close(linger=True)
        else:
            self._discard_body(body)

    def response_cut(self, *, reset: bool) -> None:
        """The response will not be complete."""
        if self.site.access_log is not None:
            self._write_log()
        if reset:
            self._forget_request()
            self.phase = CLOSING
            self.abort()
        else:
            self.close()

    def drained(self) -> None:
        """All that was written is with the kernel."""
        if self.phase is SENDING:
            self._next_when_sent()
        else:
            self._sink.drained()

    def _discard_body(self, body: RequestBody) -> None:
        body.discard()
        self.body = None
        self._forget_request()
        self.body = body
        self._nobody_reads = False
        self.phase = DISCARDING
        self.patience.body_begins()
        self._read_or_not()

    def _next_when_sent(self) -> None:
        """Be ready for the next request."""
        if self.output.full:
            self.phase = SENDING
            self.patience.watch()
            return
        self.phase = IDLE
        self.patience.idle()
        if self._buffer:
            self._go_on()
        elif self._read_to_end:
            self.close()
        elif self.site.draining:
            self.site.settle()

    def _forget_request(self) -> None:
        self.pump = None
        if self._content is not None:
            self._content.close()
            self._content = None
        if self.body is not None:
            self.body.close()
            self.body = None
            self._environ = {}

    def _write_log(self) -> None:
        log, sink = self.site.access_log, self._sink
        assert log is not None
        log.write(self._who, self.site.log_time, self._head.asked, sink.code, sink.sent)

    # --- neighbours

    def _begin_neighbour(self, head: bytes) -> None:
        """Leave a request to Twisted's channel, or the connection, if it wants that."""
        self.patience.end()
        self.output.detach()
        # Who switches to another protocol sends no body.
        for_good = self._head.upgrade and not self._head.has_body
        self.phase = HANDED_OVER if for_good else NEIGHBOUR
        if not for_good:
            self.patience.watch()
        if self._head.content_length or self._head.chunked:
            self.body = RequestBody(self._head, self.site.limits)
            self.body.pass_by()
        self._other = NeighbourChannel(
            self,
            self.site.stock_site(),
            persistent=self._is_persistent,
        )
        self._other.makeConnection(self.transport)
        self._other.dataReceived(_HIGHER_VERSION.sub(rb"\g<1>1\r\n", head, count=1))
        if for_good:
            buffer, self._buffer = self._buffer, b""
            if buffer and self._other is not None:
                self._other.dataReceived(buffer)
        elif self.body is not None and self._buffer:
            self._buffer = self._receive_body(self._buffer)

    def neighbour_done(self, *, persistent: bool) -> None:
        """Twisted's channel gives the connection back."""
        self._other = None
        self.output.attach_again()
        # Twisted answers when the body is complete, but to an upgrade.
        if self.phase is HANDED_OVER:
            self._close(linger=True)
        elif not persistent:
            self.close()
        else:
            self._forget_request()
            self._next_when_sent()

    # --- the end

    @property
    def busy(self) -> bool:
        """Whether something of a request has come, and is not done with."""
        if self.phase is IDLE:
            return bool(self._buffer)
        return self.phase not in (HANDED_OVER, CLOSING, LOST)

    def refuse(self, refused: Refused) -> None:
        """Answer in place of the application, and serve nothing more."""
        # RFC 9110, 9.3.2.
        head_only = (
            self._head.head_only
            if self.phase is BODY
            else _HEAD_REQUEST.match(self._buffer) is not None
        )
        self._forget_request()
        sink = self._sink
        sink.begin(head_only=head_only, of_1_0=False, persistent=False)
        head, body = refusal(refused)
        sink.send_head(head, body=not head_only, close=True)
        if head_only:
            sink.push()
        else:
            sink.write(body)
        self._close(linger=True)

    def drain(self) -> None:
        """Let the response be the last."""
        self._sink.persistent = False

    def close_idle(self) -> None:
        """Close a connection that waits for a request."""
        if self.phase is IDLE:
            self.close()

    def close_handed_over(self) -> None:
        """Close a connection that has served its last request."""
        if self.phase is HANDED_OVER:
            # TLS does not close while it has a producer; the other protocol is one.
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def close(self) -> None:
        """Close the connection when the client has taken everything."""
        self._close(linger=bool(self._buffer))

    def abort(self) -> None:
        """Close the connection now, whatever there is."""
        self._transport.abortConnection()

    @property
    def _transport(self) -> Any:
        """The transport, with all that Twisted's have."""
        return self.transport

    def _close(self, *, linger: bool) -> None:
        """
        Serve nothing more.

        :param linger: whether the client may be sending: one that does could miss
            the response by a reset (RFC 9112, 9.6), so it is read from for a while.
        """
        self._forget_request()
        self.phase = CLOSING
        self._buffer = b""
        self.output.send_soon()  # What is waited for then, is known.
        self.patience.closing()
        self.output.close(half=linger and not self._read_to_end)
        self._read_or_not()
        self.site.settle()

    def _leave_over(self, size: int) -> None:
        self._left_over += size
        if self._left_over > DISCARDED:
            self.abort()

    def _read_or_not(self) -> None:
        """Read no more than is bounded ahead of what is served."""
        transport: Any = self.transport
        # What is too much of a head is refused.
        wants_to_read = (
            self.phase is CLOSING
            or self.phase is HEAD
            or (not self._nobody_reads and len(self._buffer) <= READ_AHEAD)
        )
        if self.reading == wants_to_read or self.phase is LOST:
            return
        self.reading = wants_to_read
        if wants_to_read:
            transport.resumeProducing()
        else:
            transport.pauseProducing()
            self.patience.watch()
