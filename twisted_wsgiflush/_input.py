"""
``wsgi.input``: the request's body, once it is complete.

While it is not, that is ``_streamedinput``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from ._arguments import seconds_of
from ._awaitable import Blocks


class InputStream(Blocks):
    """
    The input stream of one request (PEP 3333, "Input and Error Streams").

    :param content: the whole body, positioned at its beginning.
    :param size: its bytes.

    It gives the body's bytes, then ``b""`` for ever, so that an application may read
    to the end with or without a Content-Length (``wsgi.input_terminated``).  Reading
    after the response is over raises :class:`ValueError`: the body is gone then.

    An application that is written for a body that still arrives runs on it, too: there
    is nothing to wait for.
    """

    __slots__ = ("_content", "_size")

    def __init__(self, content: IO[bytes], size: int) -> None:
        self._content = content
        self._size = size

    @property
    def ended(self) -> bool:
        """
        Whether all was read.

        :raises ValueError: after the response is over.
        """
        return self._content.tell() >= self._size

    def readable(self, timeout: float | None = None) -> bytes:
        """
        There is something to read, or the end: an empty block, to yield.

        :param timeout: seconds; of no use here.
        :raises TypeError: when it is no number of seconds.
        :raises ValueError: when it is negative.
        """
        seconds_of(timeout)
        return b""

    def read(self, size: int | None = -1) -> bytes:
        """At most ``size`` bytes; all that are left for a negative one or None."""
        # Files set as much memory aside as they are asked for.
        left = self._size - self._content.tell()
        return self._content.read(left if size is None or size < 0 else min(size, left))

    def readline(self, size: int | None = -1) -> bytes:
        """A line, of which at most ``size`` bytes."""
        return self._content.readline(-1 if size is None else size)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """The lines that are left, or the first of them that make ``hint`` bytes."""
        return self._content.readlines(-1 if hint is None else hint)

    def __iter__(self) -> Iterator[bytes]:
        """The lines that are left."""
        return iter(self._content)
