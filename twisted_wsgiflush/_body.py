"""
A request's body on its way from the connection: kept, streamed, or discarded.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from math import inf
from tempfile import SpooledTemporaryFile
from typing import Any

from ._framing import ByLength, Chunked, Framing
from ._input import InputStream
from ._requesthead import RequestHead
from ._rules import Refused, check_size
from ._streamedinput import StreamedInput
from .limits import Limits

# Bytes that are kept in memory; a larger body is in a temporary file, and only there.
IN_MEMORY = 65536
# Bytes that are discarded, to serve the next request on the same connection.
DISCARDED = 1 << 18


class RequestBody:
    """
    A body, of which nothing has come yet.

    It is kept until :meth:`stream_to` or :meth:`discard` says otherwise.

    :param head: says how it is delimited.
    :param limits: of its bytes.
    """

    __slots__ = (
        "_framing",
        "_limit",
        "_take",
        "_where",
        "awaits_continue",
        "size",
    )

    def __init__(self, head: RequestHead, limits: Limits) -> None:
        self.size = 0
        """Bytes that have come."""
        self.awaits_continue = head.expects_continue
        """Whether the client may wait for 100 Continue before it sends any."""
        self._limit = limits.body_size
        self._framing: Framing
        if head.content_length is None:
            # Trailers are fields, too.
            self._framing = Chunked(limits.header_size or inf)
        else:
            self._framing = ByLength(head.content_length)
        self._where: Any = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  # see close
        self._take: Callable[[bytes], object] = self._where.write

    @property
    def ended(self) -> bool:
        """Whether all of it has come."""
        return self._framing.ended

    @property
    def waited_for(self) -> bool:
        """Whether it is the client's turn: to send what somebody waits for."""
        if self.ended or self.awaits_continue:
            return False
        return not isinstance(self._where, StreamedInput) or self._where.waited_for

    def receive(self, data: bytes) -> bytes:
        """
        Take what has come from the connection.

        :returns: what is not of this body any more.
        :raises Refused: when it is no body, or has too many bytes.
        :raises OSError: when there is no room to keep it.
        """
        rest = self._framing.receive(data, self._came)
        if self.ended and isinstance(self._where, StreamedInput):
            self._where.complete()
        return rest

    def stream_to(self, arriving: StreamedInput) -> None:
        """The application reads it as it comes."""
        self._where.close()
        self._where = arriving
        self._take = arriving.received

    def pass_by(self) -> None:
        """Somebody else takes it, as it comes."""
        self.close()
        self._take = _discard

    def discard(self) -> None:
        """Nobody reads it."""
        self.pass_by()
        self.size, self._limit = 0, DISCARDED

    def lost(self, refused: Refused) -> None:
        """The rest of it will not come, or is of no use."""
        if isinstance(self._where, StreamedInput):
            reason = HTTPStatus(refused.code).phrase
            self._where.lost(f"{refused.code} {reason}", refused.why)

    def input(self) -> InputStream:
        """What the application reads, when all of it was kept."""
        self._where.seek(0)
        return InputStream(self._where, self.size)

    def close(self) -> None:
        """The response is over: reading it is an error from now on."""
        if isinstance(self._where, StreamedInput):
            self._where.end()
        else:
            self._where.close()

    def _came(self, block: bytes) -> None:
        self.size += len(block)
        self.awaits_continue = False
        check_size(self.size, self._limit)
        self._take(block)


def _discard(block: bytes) -> None:
    """It is not wanted."""
