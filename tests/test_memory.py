"""A connection within the process: what a protocol may expect of a transport."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IPushProducer,
    ISSLTransport,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_wsgiflush._memory import CLIENT, FULL, connect
from twisted_wsgiflush.testing import Turns

if TYPE_CHECKING:
    from conftest import Logged

SERVER = IPv4Address("TCP", "127.0.0.1", 81)
whose: ContextVar[str] = ContextVar("whose", default="nobody's")


@implementer(IPushProducer)
class End(Protocol):
    """A protocol, and a producer, that remembers what it is told."""

    transport: Any

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.contexts: set[str] = set()

    def heard(self, event: Any) -> None:
        self.events.append(event)
        self.contexts.add(whose.get())

    def dataReceived(self, data: bytes) -> None:
        self.heard(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.heard(reason.type)

    def pauseProducing(self) -> None:
        self.heard("pause")

    def resumeProducing(self) -> None:
        self.heard("resume")

    def stopProducing(self) -> None:
        self.heard("stop")


class Connected:
    """Two ends and what is between them."""

    def __init__(self, *, secure: bool = False) -> None:
        self.clock = Turns()
        self.client, self.server = End(), End()
        self.context = copy_context()
        self.abort: Callable[[], None]
        self.closed: Deferred[None]
        self.abort, self.closed = connect(
            self.clock,
            self.client,
            self.server,
            self.context,
            secure=secure,
            address=SERVER,
        )

    def turn(self, turns: int = 1) -> None:
        for _ in range(turns):
            self.clock.turn()

    @property
    def idle(self) -> bool:
        """Whether nothing is scheduled."""
        return not self.clock.getDelayedCalls()


def test_it_is_a_transport() -> None:
    """Each end provides what HTTP's protocols ask of one."""
    for end in (Connected().client, Connected().server):
        for interface in (ITransport, IConsumer, IPushProducer):
            assert verifyObject(interface, end.transport)


def test_it_has_addresses() -> None:
    """The server's is the one given, as seen from either end."""
    connected = Connected()
    client, server = connected.client.transport, connected.server.transport
    assert server.getHost() == client.getPeer() == SERVER
    assert client.getHost() == server.getPeer() == CLIENT


@pytest.mark.parametrize("secure", [False, True])
def test_it_may_count_as_tls(secure: bool) -> None:
    """The server is told so, for the client's URI says https."""
    transport = Connected(secure=secure).server.transport
    assert ISSLTransport.providedBy(transport) is secure
    assert not ISSLTransport.providedBy(Connected(secure=secure).client.transport)


def test_tls_is_made_believe() -> None:
    """What TLS and TCP offer besides can be called and does nothing."""
    connected = Connected(secure=True)
    transport = connected.server.transport
    assert verifyObject(ISSLTransport, transport)
    transport.setTcpNoDelay(False)
    transport.setTcpKeepAlive(True)
    assert transport.getTcpNoDelay() is True
    assert transport.getTcpKeepAlive() is False
    assert transport.getPeerCertificate() is None
    transport.loseWriteConnection()
    connected.turn()
    assert connected.client.events == [ConnectionDone]


def test_what_is_written_arrives_in_the_next_turn() -> None:
    """In one piece, and not while it is written."""
    connected = Connected()
    connected.client.transport.write(b"one ")
    connected.client.transport.write(b"")
    connected.client.transport.writeSequence([b"two ", b"three"])
    before = list(connected.server.events)
    connected.turn()
    assert (before, connected.server.events) == ([], [b"one two three"])
    assert connected.idle


def test_it_goes_both_ways() -> None:
    """The server writes to the client."""
    connected = Connected()
    connected.server.transport.write(b"response")
    connected.turn()
    assert connected.client.events == [b"response"]
    assert connected.server.events == []


def test_who_does_not_read_is_told_nothing() -> None:
    """Until it wants to read again; then it gets all there is."""
    connected = Connected()
    connected.client.transport.pauseProducing()
    connected.server.transport.write(b"one ")
    connected.turn()
    connected.server.transport.write(b"two")
    connected.turn()
    before = list(connected.client.events)
    connected.client.transport.resumeProducing()
    connected.turn()
    assert (before, connected.client.events) == ([], [b"one two"])


def test_a_full_connection_pauses_its_producer() -> None:
    """At every write too many; and resumes it once, when it is read."""
    connected = Connected()
    connected.server.transport.registerProducer(connected.server, True)
    connected.client.transport.pauseProducing()
    connected.server.transport.write(b"x" * FULL)
    connected.server.transport.write(b"x")
    connected.server.transport.write(b"x")
    connected.client.transport.resumeProducing()
    connected.turn(3)
    assert connected.server.events == ["pause", "pause", "resume"]
    assert connected.client.events == [b"x" * (FULL + 2)]


def test_a_producer_that_was_not_paused_is_not_resumed() -> None:
    """It is told nothing while there is room."""
    connected = Connected()
    connected.server.transport.registerProducer(connected.server, True)
    connected.server.transport.write(b"little")
    connected.turn(2)
    assert connected.client.events == [b"little"]
    assert connected.server.events == []


def test_a_producer_may_go() -> None:
    """It is then paused no longer, and another one may come."""
    connected = Connected()
    transport = connected.server.transport
    transport.registerProducer(connected.server, True)
    transport.unregisterProducer()
    transport.write(b"x" * (FULL + 1))
    other = End()
    transport.registerProducer(other, True)
    transport.write(b"x")
    assert (connected.server.events, other.events) == ([], ["pause"])


def test_there_is_one_producer_at_a_time() -> None:
    """As with any other transport."""
    transport = Connected().server.transport
    transport.registerProducer(End(), True)
    with pytest.raises(RuntimeError, match="was not unregistered"):
        transport.registerProducer(End(), True)


def test_a_pull_producer_is_refused() -> None:
    """Nobody would ever pull."""
    transport = Connected().server.transport
    with pytest.raises(ValueError, match="no push producer"):
        transport.registerProducer(End(), False)


def test_a_producer_that_comes_too_late_is_stopped() -> None:
    """As with any other transport that is closed."""
    connected = Connected()
    connected.abort()
    connected.turn()
    late = End()
    connected.server.transport.registerProducer(late, True)
    assert late.events == ["stop"]


@pytest.mark.parametrize("method", ["loseConnection", "stopProducing"])
def test_closing_waits_for_the_reader(method: str) -> None:
    """What was written before arrives, then both ends are told of the end."""
    connected = Connected()
    connected.client.transport.pauseProducing()
    connected.server.transport.write(b"last")
    getattr(connected.server.transport, method)()
    connected.turn()
    before = list(connected.client.events)
    connected.client.transport.resumeProducing()
    connected.turn()
    assert before == []
    assert connected.client.events == [b"last", ConnectionDone]
    assert connected.server.events == [ConnectionDone]
    assert connected.closed.called
    assert connected.idle


def test_closing_does_not_wait_for_nothing() -> None:
    """A peer that does not read and has nothing to read is told as well."""
    connected = Connected()
    connected.server.transport.pauseProducing()
    connected.client.transport.loseConnection()
    connected.turn()
    assert connected.server.events == [ConnectionDone]


def test_closing_waits_for_the_producer_that_it_has_paused() -> None:
    """It may have more to write."""
    connected = Connected()
    connected.server.transport.registerProducer(connected.server, True)
    connected.server.transport.write(b"x" * (FULL + 1))
    connected.server.transport.loseConnection()
    connected.turn()
    assert connected.server.events == ["pause", "resume"]
    connected.server.transport.write(b"last")
    connected.turn()
    assert connected.client.events == [b"x" * (FULL + 1), b"last", ConnectionDone]


def test_nothing_is_scheduled_by_the_last_bytes() -> None:
    """A reader that pauses and resumes while it gets them is told of the end once."""
    connected = Connected()
    server, client = connected.server.transport, connected.client

    def read_on(data: bytes) -> None:
        client.transport.pauseProducing()
        client.transport.resumeProducing()

    client.dataReceived = read_on  # type: ignore[method-assign]
    server.write(b"last")
    server.loseConnection()
    connected.turn(2)
    assert client.events == [ConnectionDone]
    assert connected.idle


def test_what_a_reader_answers_at_once_comes_before_the_end() -> None:
    """Closing waits for what is written while the last bytes are delivered."""
    connected = Connected()
    server, client = connected.server.transport, connected.client
    client.dataReceived = lambda data: server.write(b"more")  # type: ignore[method-assign]
    server.write(b"first")
    server.loseConnection()
    connected.turn()
    del client.dataReceived
    connected.turn()
    assert client.events == [b"more", ConnectionDone]


def test_aborting_drops_what_is_unread() -> None:
    """In both directions; both ends are told in the next turn, producers first."""
    connected = Connected()
    connected.server.transport.registerProducer(connected.server, True)
    connected.server.transport.write(b"lost")
    connected.client.transport.write(b"lost")
    connected.abort()
    before = list(connected.server.events)
    connected.turn()
    assert before == []
    assert connected.client.events == [ConnectionAborted]
    assert connected.server.events == ["stop", ConnectionAborted]
    assert connected.closed.called
    assert connected.idle


def test_what_comes_after_aborting_is_dropped() -> None:
    """What is written between an abort and its turn is not delivered."""
    connected = Connected()
    connected.abort()
    connected.server.transport.write(b"late")
    connected.client.transport.write(b"late")
    connected.turn()
    assert connected.client.events == [ConnectionAborted]
    assert connected.server.events == [ConnectionAborted]
    assert connected.idle


def test_it_ends_once() -> None:
    """Whatever is done afterwards does nothing."""
    connected = Connected()
    connected.abort()
    connected.server.transport.abortConnection()
    connected.turn()
    connected.abort()
    connected.client.transport.loseConnection()
    connected.client.transport.write(b"late")
    connected.client.transport.resumeProducing()
    assert connected.idle
    assert connected.client.events == [ConnectionAborted]
    assert connected.server.events == [ConnectionAborted]


def test_each_end_has_its_context() -> None:
    """The server's was given; the client's is that of the one who connects."""
    whose.set("the client's")
    connected = Connected()
    whose.set("another's")
    connected.context.run(whose.set, "the server's")
    connected.client.transport.write(b"request")
    connected.server.transport.write(b"response")
    connected.turn()
    connected.server.transport.registerProducer(connected.server, True)
    connected.abort()
    connected.turn()
    assert connected.client.contexts == {"the client's"}
    assert connected.server.contexts == {"the server's"}


class Boom(Exception):
    """What the protocols here raise."""


@pytest.mark.parametrize("who", ["server", "client"])
def test_a_protocol_that_fails_loses_its_connection(who: str, logged: Logged) -> None:
    """As with a socket: the error is logged, and both ends hear of the loss."""
    connected = Connected()
    failing = getattr(connected, who)
    other = connected.client if who == "server" else connected.server
    failing.dataReceived = failing_with(Boom)
    failing.transport.write(b"not read any more")
    other.transport.write(b"data")

    connected.turn(3)

    assert failing.events == [Boom]
    assert other.events[-1] is ConnectionLost
    assert connected.closed.called
    assert connected.idle
    assert len(logged.flush(Boom)) == 1


def test_both_ends_hear_of_the_loss_though_one_fails(logged: Logged) -> None:
    """What one end does not catch is not the other's."""
    connected = Connected()
    connected.client.connectionLost = failing_with(Boom)  # type: ignore[method-assign]

    connected.abort()
    connected.turn()

    assert connected.server.events == [ConnectionAborted]
    assert connected.closed.called
    assert len(logged.flush(Boom)) == 1


def failing_with(error: type[Exception]) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise error

    return fail
