"""
A response's way to the client on a channel of ``WSGISite``: HTTP/1.1 by RFC 9112.

It decides what the response's words are on the wire, and pauses the pump until they
are with the kernel.  What becomes of the connection afterwards is the channel's.
"""

from __future__ import annotations

import enum
from math import inf
from typing import Protocol

from ._head import Head
from ._output import KernelOutput, Output
from ._pump import Pump
from ._sendfile import FileBlock

# From how many bytes on a block is not joined with what goes before and after it.
LARGE = 8192

# From how many blocks on that follow each other in one turn the kernel may join them: a
# packet for each takes it three times as long as all of our part does.
BURST = 16

_LAST_CHUNK = b"0\r\n\r\n"


class Framing(enum.Enum):
    """Where the client finds the end of the body (RFC 9112, 6.3)."""

    NONE = "it has its length, or there is none"
    CHUNKED = "with the last chunk"
    CLOSE = "with the connection"


# To reach a member through its Enum takes Python 3.11 as long as three calls.
_NONE, _CHUNKED, _CLOSE = Framing


class Site(Protocol):
    """What is the same on all connections."""

    date_and_server: bytes
    """Two fields for the head of a response."""

    end_of_head: bytes
    """The same, with the empty line."""


class Connection(Protocol):
    """The channel, as a response sees it."""

    output: Output

    @property
    def site(self) -> Site:
        """What it has in common with the others."""

    @property
    def sends_at_once(self) -> bool:
        """
        Whether the beginning and the end of a response leave at once: before the next
        request that has come already, and where there are not many others to leave
        with.
        """

    def added_fields(self, head: Head) -> bytes:
        """Date and Server, but what the response has of its own."""

    def stalled(self) -> None:
        """The client has not taken all that was sent."""

    def response_ended(self, *, close: bool) -> None:
        """The response is complete; whether the connection ends with it."""

    def response_cut(self, *, reset: bool) -> None:
        """
        The response will not be complete.

        :param reset: whether the client could take the connection's end for its end.
        """


class HTTP1Sink:
    """
    The responses on a connection, one after the other.

    A response that is over touches its sink no more; so the next one can have it.
    """

    def __init__(self, connection: Connection) -> None:
        self.exact = True
        self.full = False
        """The connection begins with a response when the last one is sent."""
        self.at_once = inf
        """And it goes on when the client has taken all of it."""
        self._connection = connection
        self._output = connection.output
        self._pump: Pump | None = None
        # Waits for the first block, or for the end.
        self._head = b""
        # Whether the last response that was iterated had one block.
        self._had_one_block = False
        self.begin(head_only=False, of_1_0=False, persistent=False)

    def begin(self, *, head_only: bool, of_1_0: bool, persistent: bool) -> None:
        """
        Begin with a response.

        :param of_1_0: whether the request was one of HTTP/1.0.
        :param persistent: whether the connection goes on, for all that is known.
        """
        self.head_only = head_only
        self.persistent = persistent
        self.code = 0
        """The status, once it is sent."""
        self.sent = 0
        """Bytes of the body that were sent."""
        self._of_1_0 = of_1_0
        self._framing = _NONE
        # Blocks that were written in this turn.
        self._in_turn = 0
        # The last one of a file.
        self._file_block: FileBlock | None = None

    @property
    def takes_files(self) -> bool:
        """See :class:`twisted_wsgiflush._pump.Consumer`."""
        return isinstance(self._output, KernelOutput)

    def is_full(self) -> bool:
        """As for ``at_once``."""
        return False

    def attach(self, pump: Pump) -> None:
        """Pause the pump while something is not with the kernel."""
        self._pump = pump
        if not self._output.idle:
            self._connection.stalled()

    def send_whole(self, head: Head, body: bytes) -> None:
        """See :class:`twisted_wsgiflush._response.Sink`, as for the others."""
        connection = self._connection
        if head.special or self._of_1_0 or not self.persistent:
            self.send_head(head, body=True, close=False)
            before, self._head = self._head, b""
        else:
            # Which is what most of them are: there is nothing else to decide.
            self.code = head.code
            before = head.lines + connection.site.end_of_head
        self.sent = size = len(body)
        if size >= LARGE:
            self._output.write_parts([before, body])
        else:
            self._write_last(before + body)
        connection.response_ended(close=not self.persistent)

    def send_head(self, head: Head, *, body: bool, close: bool) -> None:
        """Send the status line and headers."""
        self.code = head.code
        connection = self._connection
        if head.special:
            lines = head.lines + connection.added_fields(head)
        else:
            lines = head.lines + connection.site.date_and_server
        if head.content_length is None and head.code >= 200:
            lines += self._framing_field(head, body)
        if close or not self.persistent:
            self.persistent = False
            lines += b"Connection: close\r\n"
        elif self._of_1_0:
            lines += b"Connection: keep-alive\r\n"
        self._head = lines + b"\r\n"

    def write(self, block: bytes) -> None:
        """Send a block of the body, after the head."""
        size = len(block)
        self.sent += size
        output, before = self._output, self._head
        if before:
            self._head = b""
        else:
            self._had_one_block = False
        self._in_turn += 1
        if self._in_turn == BURST:
            output.join()
        if size < LARGE:
            if self._framing is _CHUNKED:
                block = b"%b%x\r\n%b\r\n" % (before, size, block)
            elif before:
                block = before + block
            if before:
                self._write_first(block)
            else:
                output.write(block)
        elif self._framing is _CHUNKED:
            output.write_parts([b"%b%x\r\n" % (before, size), block, b"\r\n"])
        elif before:
            output.write_parts([before, block])
        else:
            output.write(block)
        if not output.idle:
            self._connection.stalled()

    def write_file(self, block: FileBlock) -> None:
        """Send a block of the body, after the head."""
        size = len(block)
        self.sent += size
        self._file_block = block
        before, after = self._head, b""
        self._head = b""
        if self._framing is _CHUNKED:
            before += b"%x\r\n" % size
            after = b"\r\n"
        output = self._output
        assert isinstance(output, KernelOutput)  # Or this takes no files.
        output.write_file(before, block, after)
        if not output.idle:
            self._connection.stalled()

    def push(self) -> None:
        """Send what still waits."""
        self._output.send_soon()
        if self._head:
            head, self._head = self._head, b""
            self._output.write(head)
            if not self._output.idle:
                self._connection.stalled()
        self.turn_ends()

    def turn_ends(self) -> None:
        """See :class:`twisted_wsgiflush._pump.Consumer`."""
        self._in_turn = 0
        if self._output.joins:
            self._output.part()

    def finish(self, *, close: bool) -> None:
        """The response is complete."""
        self._pump = None
        last = _LAST_CHUNK if self._framing is _CHUNKED else b""
        head, self._head = self._head, b""
        if head or last:
            self._write_last(head + last)
        self.turn_ends()
        self._connection.response_ended(close=close or not self.persistent)

    def cut(self) -> None:
        """Close the connection without the last chunk, or the missing bytes."""
        self._pump = None
        if self._file_block is not None:
            # The file is closed now, or has no more.
            self.sent -= len(self._file_block)
        self.push()
        self._connection.response_cut(reset=self._framing is _CLOSE)

    def lost(self) -> None:
        """The connection is gone."""
        self._pump = None

    def stalled(self) -> None:
        """Not all is with the kernel."""
        if self._pump is not None:
            self._pump.pauseProducing()
            self._output.tell()

    def drained(self) -> None:
        """All is with the kernel again."""
        if self._pump is not None:
            self._pump.resumeProducing()

    def _framing_field(self, head: Head, body: bool) -> bytes:
        if head.code in (204, 304):
            return b""
        if not self._of_1_0:
            # Also for HEAD, which is answered as GET would be (RFC 9110, 9.3.2).
            if body:
                self._framing = _CHUNKED
            return b"Transfer-Encoding: chunked\r\n"
        if body:
            self._framing = _CLOSE
            self.persistent = False
        return b""

    def _write_first(self, data: bytes) -> None:
        """
        Send the head with the first block.

        It leaves as a response that is complete, if it is one as far as can be told: if
        the last one was.
        """
        pump, connection = self._pump, self._connection
        expected, self._had_one_block = self._had_one_block, True
        if pump is None or not expected or connection.sends_at_once:
            self._output.write(data)
        else:
            self._output.write_soon(data)
            pump.wait_for_batch()

    def _write_last(self, data: bytes) -> None:
        """Send what ends the response."""
        if self._connection.sends_at_once or self._output.joins:
            self._output.write(data)
        else:
            self._output.write_soon(data)
