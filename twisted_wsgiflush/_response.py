"""
What happens to a response: ``start_response``, and the rules of what is written.

It is the only writer of a response.  How the bytes get onto a connection is its
sink's business; when the application is asked for them is the pump's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from twisted.logger import Logger
from twisted.web.http import NOT_MODIFIED, RESET_CONTENT

from ._head import Head, checked_head
from ._sendfile import Block, FileBlock
from ._states import (
    ABORTED,
    BLOCK,
    EXHAUSTED,
    FAILED,
    FINISHED,
    HEADERS_SENT,
    HEADERS_SET,
    LOST,
    REFUSALS,
    RESTART,
    START,
    TRANSITIONS,
    WAITING,
    Event,
)
from ._types import ExcInfo, Headers
from ._validation import Freshness
from .errors import BodyTooShort, WrongType

# Not the class's, or each event would hold the response, and all that it holds.
_log = Logger()


class Sink(Protocol):
    """Where a response goes: one request on one connection."""

    head_only: bool
    """Whether the request's method is HEAD."""

    def send_whole(self, head: Head, body: bytes) -> None:
        """
        Send a response that has just its Content-Length, and is complete with that.

        The connection may go on.
        """

    def send_head(self, head: Head, *, body: bool, close: bool) -> None:
        """
        Send the status line and headers, and what the connection adds to them.

        :param body: whether a body may follow.
        :param close: whether the connection ends with this response.
        """

    def write(self, block: bytes) -> None:
        """Send a block of the body, framed as the head said."""

    def push(self) -> None:
        """Let nothing that is written wait for the application to return."""

    def finish(self, *, close: bool) -> None:
        """The response is complete; with ``close``, the connection ends with it."""

    def cut(self) -> None:
        """End the response so that the client cannot take it for complete."""

    def lost(self) -> None:
        """The connection is gone: touch nothing of it, leave nothing scheduled."""


class FileSink(Sink, Protocol):
    """A sink that takes files."""

    def write_file(self, block: FileBlock) -> None:
        """As ``write``."""


class Response:
    """
    A response, from ``start_response`` to its end.

    :param sink: where it is written to.
    :param request_name: the request's method and target, for the log.
    """

    # No attribute has its default in the class, and none that is needed each time is a
    # property: Python 3.11 takes four times as long to find those.
    def __init__(self, sink: Sink, request_name: str) -> None:
        self._sink = sink
        self.request_name = request_name
        self.state = WAITING
        self.over = False
        """Whether there is nothing left to do."""
        self.wanted = True
        """Whether a block is: the client has not all that it may get, nor has left."""
        self._head: Head | None = None
        # As of the head, and for this request.
        self._has_body = True
        # Bytes of the body still to come, where Content-Length tells.
        self._unsent: int | None = None
        self._cut_at_length = False

    @property
    def replaceable(self) -> bool:
        """Whether nothing of it is sent yet."""
        return self.state is WAITING or self.state is HEADERS_SET

    @property
    def has_enough(self) -> bool:
        """Whether the client has all it may get, so that no block is wanted."""
        return not self.wanted and not self.over

    def start_response(
        self,
        status: str,
        headers: Headers,
        exc_info: ExcInfo | None = None,
    ) -> Callable[[bytes], None]:
        """
        Set the status and headers; the callable that PEP 3333 hands to applications.

        They are sent with the first block that is not empty, or at the end.

        :returns: PEP 3333's ``write``.
        :raises AlreadyStarted: when called twice without ``exc_info``.
        :raises ResponseOver: after the end.
        :raises WrongType, InvalidStatus, InvalidHeaders: see
            :func:`~twisted_wsgiflush._head.checked_head`.

        With ``exc_info`` and the headers already sent it raises what is in there.
        """
        try:
            if exc_info and self.state is HEADERS_SENT:
                assert exc_info[1] is not None
                raise exc_info[1].with_traceback(exc_info[2])
            head = checked_head(status, headers)
            if self.state is WAITING:
                self.state = HEADERS_SET  # As TRANSITIONS has it, with exc_info or not.
            else:
                self._upon(RESTART if exc_info else START)
        finally:
            # PEP 3333, "The start_response() Callable": avoid a circular reference.
            exc_info = None
        self._head = head
        self._has_body = head.may_have_body and not self._sink.head_only
        return self._write_from_application

    def declare_length(self, length: int) -> None:
        """
        Say that the body is of ``length`` bytes, unless the application has said it.

        PEP 3333, "Handling the Content-Length Header": allowed when the iterable is
        a sequence of one block.
        """
        head = self._head
        if self.state is not HEADERS_SET:
            return  # Sent already, or the end will tell that it is missing.
        assert head is not None
        if head.content_length is not None or not head.may_have_body:
            return
        if self._sink.head_only and not length:
            return  # An empty body to HEAD tells nothing of the body to GET.
        self._head = head.with_length(length)

    def commit(self, fresh: Freshness | None = None) -> None:
        """
        Send the status line and headers if they are not sent yet.

        :param fresh: is asked for the headers of a 304 to send in place of them.
        :raises StartResponseMissing: when there are none.
        """
        if fresh is not None and self.state is HEADERS_SET:
            assert self._head is not None
            headers = fresh(str(self._head.code), _decoded(self._head.headers))
            if headers is not None:
                self._head = checked_head("304 Not Modified", headers)
                self._has_body = False
        self.write(b"")
        self._push()

    def write(self, block: Block) -> None:
        """
        Send a block of the body, after the status line and headers.

        What is more than Content-Length is dropped and logged.  Does nothing when
        the client has gone away.

        :param block: may be one of a file only if the sink takes files.
        :raises StartResponseMissing: before ``start_response``.
        :raises ResponseOver: after the end.
        """
        # As TRANSITIONS has it, for each block counts.
        if self.state is HEADERS_SET:
            self.state = HEADERS_SENT
            self._send_head()
            if self.over:  # The client was found gone.
                return
        elif self.state is not HEADERS_SENT:
            self._upon(BLOCK)
            return  # The client has gone before.
        if not self._has_body:
            return
        if self._unsent is not None:
            if len(block) > self._unsent:
                self._body_too_long()
                block = block[: self._unsent]
            self._unsent -= len(block)
        if not block:
            return
        if type(block) is FileBlock:
            cast("FileSink", self._sink).write_file(block)
        else:
            self._sink.write(block)

    def whole(self, body: bytes) -> bool:
        """
        Send all of the body, and end, if that is all there is to do.

        :returns: whether it was; else nothing was done.
        """
        head = self._head
        if head is None or self.state is not HEADERS_SET or not self._has_body:
            return False
        if head.content_length is None:
            head = head.with_length(len(body))
        elif head.content_length != len(body):
            return False
        self.state = FINISHED  # The table: when it is EXHAUSTED.
        self.over = True
        self.wanted = False
        self._sink.send_whole(head, body)
        return True

    def end(self) -> None:
        """
        The application has given all of its body.

        :raises StartResponseMissing: before ``start_response``.
        :raises BodyTooShort: when Content-Length promised more.
        """
        if self.state is HEADERS_SET and self._has_body and self._promised():
            self.commit()  # So that the client can see what was promised and not kept.
        if self._unsent and not self.over:
            assert self._head is not None
            raise BodyTooShort(
                f"Content-Length is {self._head.content_length} and the body ended "
                f"{self._unsent} bytes before; give all of it or no Content-Length"
            )
        if self.state is HEADERS_SENT:
            self.state = FINISHED  # As TRANSITIONS has it.
            self.over = True
            self.wanted = False
        else:
            self._upon(EXHAUSTED)
            self._send_head()
        assert self._head is not None
        # After a 1xx, which promises a final response, there is none to come; and
        # whoever gives a body that does not fit may be wrong about the rest.
        self._sink.finish(close=self._cut_at_length or self._head.code < 200)

    def fail(self, head: Head, body: bytes) -> None:
        """
        The application has failed: send this error page in place of its response.

        When the head of its own response is sent already, cut that short.
        """
        before = self.state
        self._upon(FAILED)
        if before is HEADERS_SENT:
            self._sink.cut()
        elif before is WAITING or before is HEADERS_SET:
            self._sink.send_head(head, body=not self._sink.head_only, close=False)
            if not self._sink.head_only:
                self._sink.write(body)
            self._sink.finish(close=False)

    def lost(self) -> None:
        """The client has gone away: nothing is sent any more."""
        self._upon(LOST)
        self._sink.lost()

    def _upon(self, event: Event) -> None:
        try:
            self.state = state = TRANSITIONS[self.state][event]
        except KeyError:
            raise REFUSALS[self.state](
                f"{event.value}, but {self.state.value} ({self.request_name})"
            ) from None
        if state is FINISHED or state is ABORTED:
            self.over = True
            self.wanted = False

    def _write_from_application(self, block: bytes) -> None:
        """Send a block now; PEP 3333's ``write``, for old applications."""
        if not isinstance(block, bytes):
            raise WrongType(f"Can only write bytes to a transport, not {block!r}")
        self.write(block)
        self._push()

    def _push(self) -> None:
        # PEP 3333, "The write() Callable": what is written is on its way to the
        # client "while the application proceeds onward".
        if self.state is HEADERS_SENT:
            self._sink.push()

    def _send_head(self) -> None:
        head = self._head
        assert head is not None  # The table: there is one in HEADERS_SET.
        if not head.may_have_body and head.code != NOT_MODIFIED:
            # RFC 9110, 8.6: no Content-Length in 1xx and 204.
            head = head.without_length()
            if head.code == RESET_CONTENT:
                # RFC 9110, 15.3.6; its end is found as that of any other.
                head = head.with_length(0)
        if self._has_body:
            self._unsent = head.content_length
        else:
            self.wanted = False
        self._sink.send_head(head, body=self._has_body, close=head.code < 200)

    def _promised(self) -> bool:
        assert self._head is not None
        return bool(self._head.content_length)

    def _body_too_long(self) -> None:
        if not self._cut_at_length:
            self._cut_at_length = True
            self.wanted = False
            assert self._head is not None
            _log.error(
                "{request}: the body is longer than its Content-Length of {length} "
                "bytes and was cut there",
                request=self.request_name,
                length=self._head.content_length,
            )


def _decoded(headers: list[tuple[bytes, bytes]]) -> Headers:
    return [(n.decode("latin-1"), v.decode("latin-1")) for n, v in headers]
