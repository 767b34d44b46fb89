"""
``wsgi.input`` of a request whose body is still arriving.

It decides what a read gives, to who waits and to who does not.  How the body gets here
is ``_arrival``'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from math import ceil
from typing import Any

from ._arguments import seconds_of
from ._arrival import HIGH_WATER, Arrival, BodySource, State
from ._awaitable import AwaitableBytes, AwaitableReads
from .errors import InputNotHere

__all__ = ["BodySource", "StreamedInput"]


class StreamedInput(Arrival, AwaitableReads):
    """
    The input stream of one request; its connection calls what :class:`Arrival` has.

    What is not awaited does not wait, and gives what is there: that may be nothing,
    which is not the end.  ``ended`` is.

    :param source: is told when to rest; not after ``complete``, ``lost`` or ``end``.
    :param suspend: the request's ``x-wsgiorg.suspend``.
    """

    __slots__ = ("_suspend",)

    def __init__(
        self,
        source: BodySource,
        suspend: Callable[[int | None], Callable[[], object]],
    ) -> None:
        super().__init__(source)
        self._suspend = suspend

    @property
    def ended(self) -> bool:
        """
        Whether all has come and was read.

        :raises ValueError: after the response is over.
        """
        self._check()
        return self._state is State.COMPLETE and not self._size

    def read(self, size: int | None = -1) -> AwaitableBytes:
        """
        What is there, at most ``size`` bytes; all of it for a negative one or None.

        Awaited, it waits for the first byte; without a size, for all up to the end.

        :raises InputLost: when nothing is there and nothing will come.
        :raises ValueError: after the response is over.
        """
        self._begin()
        self._enough = 1
        if size is None or size < 0:
            data = AwaitableBytes(self._take(self._size))
            if self._state is not State.COMPLETE:
                data.wait = partial(self._read_to_end, data)
        else:
            data = AwaitableBytes(self._take(size))
            if size and not data and self._state is State.ARRIVING:
                data.wait = partial(self._read_some, size)
        return data

    def readline(self, size: int | None = -1) -> AwaitableBytes:
        """
        A line if it is there, else ``b""``.  Awaited, it waits for the line.

        It gives at most ``size`` bytes of it, and never more than 64 KiB: a longer
        line is given in pieces, for as much is kept here at most.

        :raises InputLost: when no line is there and none will come.
        :raises ValueError: after the response is over.
        """
        limit = HIGH_WATER if size is None or size < 0 else min(size, HIGH_WATER)
        self._begin()
        line = AwaitableBytes(self._take_line(limit))
        if limit and not line and self._state is State.ARRIVING:
            self._enough = limit
            line.wait = partial(self._read_line, limit)
        else:
            self._enough = 1
        return line

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """
        The lines that are left, or the first of them that make ``hint`` bytes.

        :raises InputNotHere: while the body is not complete; nothing is read then.
        :raises InputLost: when it will not be.
        :raises ValueError: after the response is over.
        """
        self._begin()
        self._check_not_lost()
        if self._state is not State.COMPLETE:
            raise InputNotHere("the request's body is not complete yet")
        lines: list[bytes] = []
        left = self._size if hint is None or hint <= 0 else hint
        while left > 0 and (line := self.readline()):
            lines.append(line)
            left -= len(line)
        return lines

    def __iter__(self) -> Iterator[bytes]:
        """
        The lines that are there.

        :raises InputNotHere: after them, unless that is the end.
        """
        while line := self.readline():
            yield line
        if not self.ended:
            raise InputNotHere("the next line of the request's body is not here yet")

    def __await__(self) -> Generator[Any, Any, bytes]:
        """The next block, as it has come; ``b""`` at the end."""
        return self._next_block().__await__()

    def __aiter__(self) -> StreamedInput:
        """The blocks up to the end."""
        return self

    async def __anext__(self) -> bytes:
        block = await self._next_block()
        if not block:
            raise StopAsyncIteration
        return block

    def readable(self, timeout: float | None = None) -> bytes:
        """
        Suspend at the next empty block, until there is something to read.

        After a ``readline`` that gave nothing, that is a line.  The end counts too, and
        that there will be none.

        :param timeout: seconds; None for no end.
        :returns: an empty block, to yield.
        :raises TypeError: for what is no number of seconds.
        :raises ValueError: for a negative one.
        :raises AlreadyReading: while a coroutine waits.
        :raises AlreadySuspended: when the last suspension has not had its block.
        """
        seconds = seconds_of(timeout)
        if self._state is State.OVER:
            return b""
        self._begin()
        if not self._there:
            self._read_on()
        if not self._there:
            milliseconds = None if seconds is None else ceil(seconds * 1000)
            self._resume = self._suspend(milliseconds)
        return b""

    async def _next_block(self) -> bytes:
        await self._until(1)
        return self._take(len(self._blocks[0]) if self._blocks else 0)

    async def _read_some(self, size: int) -> bytes:
        await self._until(1)
        return self._take(size)

    async def _read_line(self, limit: int) -> bytes:
        await self._until(limit)
        return self._take_line(limit)

    async def _read_to_end(self, first: bytes) -> bytes:
        blocks = [first]
        try:
            while not self.ended:
                await self._until(1)
                blocks.append(self._take(self._size))
        except BaseException:
            self._give_back(b"".join(blocks))
            raise
        return b"".join(blocks)

    def _take_line(self, limit: int) -> bytes:
        length = self._line_length(limit)
        if limit and not length:
            self._check_not_lost()
        return self._take(length)
