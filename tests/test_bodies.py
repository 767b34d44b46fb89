"""``blocks_of_body``: a response's body by ``async for``, with flow control."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed
from twisted.web.iweb import IResponse

from twisted_wsgiflush.bodies import blocks_of_body

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
NO_LENGTH = b"HTTP/1.1 200 OK\r\n\r\n"


class Upstream:
    """A server whose part the test plays, and the response of an agent."""

    def __init__(self, head: bytes) -> None:
        reactor = MemoryReactorClock()
        agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=True))
        asked: Deferred[IResponse] = agent.request(b"GET", b"http://10.1.1.1")
        reactor.advance(1)
        factory: Any = reactor.tcpClients[0][2]
        self.protocol = factory.buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)
        self.send(head)
        self.response = result_of(asked)

    def send(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def leave(self, reason: Exception) -> None:
        self.protocol.connectionLost(Failure(reason))

    def blocks(self) -> AsyncGenerator[bytes, None]:
        return blocks_of_body(self.response)


def result_of(deferred: Deferred[Any]) -> Any:
    """The result, which must be there; an error is raised."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "there is no result yet"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def begun(coroutine: Any) -> Deferred[Any]:
    async def run() -> Any:
        return await coroutine

    return Deferred.fromCoroutine(run())


def test_blocks_come_as_they_arrive() -> None:
    """Each is given when it is there, and the end after the last."""
    upstream = Upstream(LENGTH)
    blocks = upstream.blocks()
    first = begun(anext(blocks))
    assert not first.called
    upstream.send(b"one")
    assert result_of(first) == b"one"
    second = begun(anext(blocks))
    upstream.send(b"two")
    assert result_of(second) == b"two"
    with pytest.raises(StopAsyncIteration):
        result_of(begun(anext(blocks)))


def test_what_came_with_the_head_is_given_first() -> None:
    """And what comes after it is not lost."""
    upstream = Upstream(LENGTH + b"one")
    blocks = upstream.blocks()
    first = result_of(begun(anext(blocks)))
    upstream.send(b"two")
    assert (first, result_of(begun(anext(blocks)))) == (b"one", b"two")


def test_nothing_is_read_that_nobody_asks_for() -> None:
    """The connection rests while a block waits to be taken, and is used."""
    upstream = Upstream(LENGTH)
    blocks = upstream.blocks()
    first = begun(anext(blocks))
    assert upstream.transport.producerState == "producing"
    upstream.send(b"one")
    result_of(first)
    assert upstream.transport.producerState == "paused"
    second = begun(anext(blocks))
    assert upstream.transport.producerState == "producing"
    upstream.send(b"two")
    result_of(second)


def test_the_end_of_the_connection_may_end_the_body() -> None:
    """As HTTP/1.0 has it: without a length nothing else tells."""
    upstream = Upstream(NO_LENGTH)
    blocks = upstream.blocks()
    first = begun(anext(blocks))
    upstream.send(b"all")
    assert result_of(first) == b"all"
    last = begun(anext(blocks))
    upstream.leave(ConnectionDone())
    with pytest.raises(StopAsyncIteration):
        result_of(last)


def test_a_body_that_is_cut_is_an_error() -> None:
    """What came before is given first."""
    upstream = Upstream(LENGTH)
    blocks = upstream.blocks()
    first = begun(anext(blocks))
    upstream.send(b"one")
    upstream.leave(ConnectionLost())
    assert result_of(first) == b"one"
    with pytest.raises(ResponseFailed):
        result_of(begun(anext(blocks)))


def test_leaving_early_closes_the_connection() -> None:
    """Nobody will read the rest."""
    upstream = Upstream(LENGTH)
    blocks = upstream.blocks()
    first = begun(anext(blocks))
    upstream.send(b"one")
    result_of(first)
    result_of(begun(blocks.aclose()))
    assert upstream.transport.disconnecting


def test_leaving_before_the_first_block_closes_the_connection() -> None:
    """Nobody has read anything, and nobody will."""
    upstream = Upstream(LENGTH)
    result_of(begun(upstream.blocks().aclose()))
    assert upstream.transport.disconnecting


def test_leaving_at_the_end_leaves_the_connection() -> None:
    """It may serve another request."""
    upstream = Upstream(LENGTH + b"onetwo")
    blocks = upstream.blocks()
    assert result_of(begun(anext(blocks))) == b"onetwo"
    result_of(begun(blocks.aclose()))
    assert not upstream.transport.disconnecting


def test_being_cancelled_closes_the_connection() -> None:
    """The one who waits for a block may be cancelled; a late block does no harm."""
    upstream = Upstream(LENGTH)
    waiting = begun(anext(upstream.blocks()))
    waiting.cancel()
    upstream.send(b"one")
    with pytest.raises(CancelledError):
        result_of(waiting)
    assert upstream.transport.disconnecting
