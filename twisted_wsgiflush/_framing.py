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

    def receive(self, data: bytes, receiver: Callable[[bytes], object]) -> bytes:
        """
        Take what has come from the connection.

        :param receiver: is called with each block; what it raises is not caught.
        :returns: what is not of this body any more.
        :raises Refused: when it is no body.
        """


class ByLength:
    """
    Delimited by its Content-Length.

    :param length: bytes.
    """

    def __init__(self, length: int) -> None:
        self.ended = not length
        self._left = length

    def receive(self, data: bytes, receiver: Callable[[bytes], object]) -> bytes:
        """See :class:`Framing`."""
        block = data[: self._left]
        self._left -= len(block)
        self.ended = not self._left
        receiver(block)
        return data[len(block) :]


class Chunked:
    """
    In the chunked transfer coding.

    :param trailers_size: bytes that all trailers may have.
    """

    def __init__(self, trailers_size: float) -> None:
        self.ended = False
        # Bytes that may still come beside those of the body.
        self._overhead = trailers_size
        self._tail = b""
        # The parser holds who is told, and that is not this.
        self._told = _Told()
        self._parser = httptools.HttpRequestParser(self._told)
        self._parser.feed_data(_BEFORE_CHUNKS)

    def receive(self, data: bytes, receiver: Callable[[bytes], object]) -> bytes:
        """See :class:`Framing`."""
        # llhttp does not say where a message ends, so it gets no more than may be of
        # this one.
        begin = 0
        while not self.ended and begin < len(data):
            end = self._possible_end(data, begin)
            self._feed(data[begin:end], receiver)
            begin = end
        return data[begin:]

    def _possible_end(self, data: bytes, begin: int) -> int:
        if begin == 0 and self._tail:
            end = (self._tail + data[:3]).find(_END)
            if end >= 0:
                return end + len(_END) - len(self._tail)
        end = data.find(_END, begin)
        return len(data) if end < 0 else end + len(_END)

    def _feed(self, data: bytes, receiver: Callable[[bytes], object]) -> None:
        self._tail = (self._tail + data[-3:])[-3:]
        refused: Refused | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            refused = Refused(400, f"{error}.")
        told = self._told
        self._overhead += told.chunks * CHUNK_OVERHEAD - len(data)
        blocks, told.blocks, told.chunks = told.blocks, [], 0
        for block in blocks:
            self._overhead += len(block)
            receiver(block)
        if refused is not None:
            raise refused
        if self._overhead < 0:
            raise Refused(400, "The chunk extensions or trailers are too large.")
        self.ended = told.ended


class _Told:
    """What llhttp has said."""

    def __init__(self) -> None:
        self.chunks = 0
        self.blocks: list[bytes] = []
        self.ended = False

    def on_chunk_header(self) -> None:
        """There is another chunk."""
        self.chunks += 1

    def on_body(self, block: bytes) -> None:
        """There is a block."""
        self.blocks.append(block)

    def on_message_complete(self) -> None:
        """The body has ended."""
        self.ended = True
