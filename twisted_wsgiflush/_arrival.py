"""
The body of a request as it arrives, and who waits for it.

It decides when the connection rests because nobody reads, and when who waits may look
again.  It knows no connection: bytes come by ``received``, and what is wanted goes to a
:class:`BodySource`.  What a read gives is decided in ``_streamedinput``.
"""

from __future__ import annotations

import enum
import re
from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from .errors import AlreadyReading, InputLost

# From so many bytes on that nobody has read, no more are taken from the connection.
HIGH_WATER = 65536

# Blocks of fewer bytes are put together, or a body that comes two bytes at a time would
# take thirty times its size.
SMALL = 1024

_NEWLINE = re.compile(rb"\n")


class BodySource(Protocol):
    """
    The connection, as far as the body of one request needs it.

    Each may be called within ``received``, ``complete`` and ``lost``, where an
    application may go on; and may itself call these.
    """

    def want_body(self) -> None:
        """
        The application reads for the first time; called once at most.

        Whoever expects ``100 Continue`` gets it now.
        """

    def pause_body(self) -> None:
        """There is enough that nobody has read: take no more from the client."""

    def resume_body(self) -> None:
        """Take more from the client; called after ``pause_body`` only, once."""


class State(enum.Enum):
    """How it stands with the body."""

    ARRIVING = "more may come"
    COMPLETE = "all of it has come"
    LOST = "the rest will not come"
    OVER = "the response is over, and the body gone"


class Arrival:
    """
    The body of one request.  Who waits takes nothing before the wait is over, so one
    that is cancelled loses nothing.

    :param source: is told when to rest; not after ``complete``, ``lost`` or ``end``.
    """

    __slots__ = (
        "_blocks",
        "_enough",
        "_lost",
        "_paused",
        "_resume",
        "_size",
        "_source",
        "_state",
        "_waiting",
        "_wanted",
    )

    def __init__(self, source: BodySource) -> None:
        self._source = source
        self._state = State.ARRIVING
        # For the client, and the same in words.
        self._lost = ("", "")
        self._blocks: deque[bytes | bytearray | memoryview] = deque()
        self._size = 0
        self._paused = False
        self._wanted = False
        self._waiting: Deferred[None] | None = None
        self._resume: Callable[[], object] | None = None
        # What they wait for: a line, or so many bytes.
        self._enough = 1

    @property
    def waited_for(self) -> bool:
        """Whether the application waits for more of it."""
        return self._waiting is not None or self._resume is not None

    def received(self, block: bytes) -> None:
        """Some bytes have arrived; dropped when they are not expected any more."""
        if self._state is not State.ARRIVING or not block:
            return
        last = self._blocks[-1] if self._blocks else None
        if len(block) >= SMALL:
            self._blocks.append(block)
        elif isinstance(last, bytearray):
            last += block
        else:
            self._blocks.append(bytearray(block))
        self._grown(len(block))
        if (self._waiting or self._resume) and self._there:
            self._tell()

    def complete(self) -> None:
        """That was all; a pause is over with it."""
        if self._state is State.ARRIVING:
            self._state = State.COMPLETE
            self._tell()

    def lost(self, status: str, why: str) -> None:
        """
        The rest will not come; who reads on gets :class:`InputLost`.

        :param status: for the client, if it is still there and has no other yet.
        :param why: the same in words.
        """
        if self._state is State.ARRIVING:
            self._state = State.LOST
            self._lost = (status, why)
            self._tell()

    def end(self) -> None:
        """The response is over, and what was not read is given up."""
        self._state = State.OVER
        self._blocks.clear()
        self._size = 0
        self._tell()

    async def _until(self, enough: int) -> None:
        """Wait until there is a line or enough of it, or there will not be."""
        self._begin()
        self._enough = enough
        while not self._there:
            self._read_on()
            # That may have brought it.
            if not self._there:
                self._waiting = Deferred(self._cancelled)
                await self._waiting
            # Somebody else may have asked for something else.
            self._enough = enough

    def _cancelled(self, waiting: Deferred[None]) -> None:
        self._waiting = None

    def _tell(self) -> None:
        """Have who waits look again."""
        waiting, self._waiting = self._waiting, None
        resume, self._resume = self._resume, None
        if waiting is not None:
            waiting.callback(None)
        if resume is not None:
            resume()

    def _begin(self) -> None:
        self._check()
        if not self._wanted and self._state is State.ARRIVING:
            self._wanted = True
            self._source.want_body()

    def _read_on(self) -> None:
        if self._waiting is not None:
            raise AlreadyReading(
                "somebody waits for the body of this request already; "
                "only one can read it at a time"
            )
        self._unpause()

    @property
    def _there(self) -> bool:
        """Whether who waits need not wait any longer."""
        if self._state is not State.ARRIVING or self._size >= self._enough:
            return True
        return self._line_length(self._enough) > 0

    def _line_length(self, limit: int) -> int:
        """The bytes of the line that is there, at most ``limit``; 0 for none."""
        seen = 0
        for block in self._blocks:
            newline = _NEWLINE.search(block)
            if newline is not None:
                return min(seen + newline.end(), limit)
            seen += len(block)
            if seen >= limit:
                return limit
        # Nobody should take what is left of a body that was lost for a line.
        return seen if self._state is State.COMPLETE else 0

    def _take(self, size: int) -> bytes:
        """
        Take some bytes, as many as there are.

        :raises InputLost: when there are none and none will come.
        :raises ValueError: after the response is over.
        """
        self._check()
        if not self._size:
            self._check_not_lost()
        size = left = min(size, self._size)
        taken: list[bytes | bytearray | memoryview] = []
        while left:
            block = self._blocks.popleft()
            if len(block) > left:
                # Not a copy, or who reads a byte at a time copies all each time.
                view = memoryview(block)
                self._blocks.appendleft(view[left:])
                block = view[:left]
            taken.append(block)
            left -= len(block)
        self._size -= size
        if not self._size:
            self._unpause()
        return b"".join(taken)

    def _give_back(self, data: bytes) -> None:
        """Have not taken it."""
        if data and self._state is not State.OVER:
            self._blocks.appendleft(data)
            self._grown(len(data))

    def _grown(self, size: int) -> None:
        self._size += size
        if self._size >= HIGH_WATER and not self._paused:
            self._set_paused(True)

    def _unpause(self) -> None:
        if self._paused:
            self._set_paused(False)

    def _set_paused(self, paused: bool) -> None:
        if self._state is State.ARRIVING:
            self._paused = paused
            tell = self._source.pause_body if paused else self._source.resume_body
            tell()

    def _check(self) -> None:
        if self._state is State.OVER:
            raise ValueError("the response is over: wsgi.input is a closed file")

    def _check_not_lost(self) -> None:
        if self._state is State.LOST:
            raise InputLost(*self._lost)
