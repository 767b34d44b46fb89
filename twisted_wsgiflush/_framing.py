"""
Where a request's body ends: RFC 9112, 6 and 7.

A body is told block by block; what is beyond its end is given back.  llhttp decodes
the chunked coding, and checks chunk sizes, extensions and trailers to the letter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import httptools

from ._rules import Refused

_BEFORE_CHUNKS = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
# A trailer section, which may be empty, ends with this, and so the body.
_END = b"\r\n\r\n"

# Bytes that a chunk may cost beside its content: clients hardly send extensions.
CHUNK_OVERHEAD = 64


class Framing(Protocol):
    """How a body is delimited."""

    ended: bool
    """Whether all of the body was told."""

    def receive(self, data: bytes) -> bytes:
        """
        Take what has come from the connection.

        :returns: what is not of this body any more.
        :raises Refused: when it is no body.
        """


class ByLength:
    """
    Delimited by its Content-Length.

    :param length: bytes.
    :param receiver: is called with each block.
    """

    def __init__(self, length: int, receiver: Callable[[bytes], object]) -> None:
        self.ended = not length
        self._left = length
        self._receiver = receiver

    def receive(self, data: bytes) -> bytes:
        """See :class:`Framing`."""
        block = data[: self._left]
        self._left -= len(block)
        self.ended = not self._left
        self._receiver(block)
        return data[len(block) :]


class Chunked:
    """
    In the chunked transfer coding.

    :param receiver: is called with each block.
    :param trailers_size: bytes that all trailers may have.
    """

    def __init__(
        self, receiver: Callable[[bytes], object], trailers_size: float
    ) -> None:
        self.ended = False
        self._receiver = receiver
        # Bytes that may still come beside those of the body.
        self._overhead = trailers_size
        self._tail = b""
        self._raised: Exception | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(_BEFORE_CHUNKS)

    def receive(self, data: bytes) -> bytes:
        """See :class:`Framing`."""
        # llhttp does not say where a message ends, so it gets no more than may be of
        # this one.
        begin = 0
        while not self.ended and begin < len(data):
            end = self._possible_end(data, begin)
            self._feed(data[begin:end])
            begin = end
        return data[begin:]

    def on_chunk_header(self) -> None:
        """There is another chunk; llhttp says so."""
        self._overhead += CHUNK_OVERHEAD

    def on_body(self, block: bytes) -> None:
        """There is a block; llhttp says so."""
        self._overhead += len(block)
        try:
            self._receiver(block)
        except Exception as error:
            self._raised = error
            raise

    def on_message_complete(self) -> None:
        """The body has ended; llhttp says so."""
        self.ended = True

    def _possible_end(self, data: bytes, begin: int) -> int:
        if begin == 0 and self._tail:
            end = (self._tail + data[:3]).find(_END)
            if end >= 0:
                return end + len(_END) - len(self._tail)
        end = data.find(_END, begin)
        return len(data) if end < 0 else end + len(_END)

    def _feed(self, data: bytes) -> None:
        self._tail = (self._tail + data[-3:])[-3:]
        self._overhead -= len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            # What the receiver has raised.  It is the error's context only if nobody
            # up there handles another one, such as an application's.
            assert self._raised is not None
            raise self._raised from None
        except httptools.HttpParserError as error:
            raise Refused(400, f"{error}.") from None
        if self._overhead < 0:
            raise Refused(400, "The chunk extensions or trailers are too large.")
