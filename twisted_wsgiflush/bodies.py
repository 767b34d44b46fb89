"""
The body of a response that an agent has got, block by block.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

__all__ = ["blocks_of_body"]


def blocks_of_body(response: IResponse) -> AsyncGenerator[bytes, None]:
    """
    Iterate over a response's body, with flow control.

    No more is read from the connection than was asked for, and about one block.
    Leaving the iteration before its end, or before its beginning, closes the
    connection.

    :param response: of any ``IAgent``; of treq with ``unbuffered=True``.
    :returns: the blocks; asking for one raises ``ResponseFailed`` when the connection
        was lost before the body's end.  A body without a length that is not chunked
        ends with the connection, however that ends: Twisted's client does not tell.
    """
    blocks = _blocks_of_body(response)
    # Else aclose() would run nothing of it before the first block is asked for.
    with suppress(StopIteration):
        blocks.asend(None).send(None)
    return blocks


async def _blocks_of_body(response: IResponse) -> AsyncGenerator[bytes, None]:
    body = _Body()
    response.deliverBody(body)
    try:
        yield b""
        while True:
            if body.blocks:
                yield body.blocks.pop(0)
            elif body.reason is None:
                await body.more()
            elif body.reason.check(ResponseDone, PotentialDataLoss):
                return
            else:
                body.reason.raiseException()
    finally:
        body.leave()


class _Body(Protocol):
    """Receives a body, and is paused while there is something to take from it."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []
        self.reason: Failure | None = None
        self._more: Deferred[None] | None = None

    def more(self) -> Deferred[None]:
        """Fires when there is another block, or the end."""
        self._more = Deferred()
        self._connection.resumeProducing()
        return self._more

    def leave(self) -> None:
        """Nothing more is wanted."""
        if self.reason is None:
            self._connection.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """There is a block."""
        self.blocks.append(data)
        self._connection.pauseProducing()
        self._tell()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body has ended, or will not."""
        self.reason = reason
        self._tell()

    @property
    def _connection(self) -> Any:
        return self.transport

    def _tell(self) -> None:
        if self._more is not None:
            more, self._more = self._more, None
            more.callback(None)
