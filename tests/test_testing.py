"""The fakes behave: as a reactor's turns, a transport, and a client of a site."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_wsgiflush.testing import GET, BoundedTransport, Turns, serve


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


@implementer(IPushProducer)
class Told:
    """A producer that notes what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def pauseProducing(self) -> None:
        self.words.append("pause")

    def resumeProducing(self) -> None:
        self.words.append("resume")

    def stopProducing(self) -> None:
        self.words.append("stop")


class Losing(Protocol):
    """A protocol that notes why its connection is lost, beside what ``told`` is."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # no default
        self._told.words.append(type(reason.value).__name__)


def connected(limit: int = 10) -> tuple[BoundedTransport, Told]:
    """A transport, and who is told what happens to it."""
    told = Told()
    transport = BoundedTransport(Losing(told), limit)
    transport.registerProducer(told, True)
    return transport, told


# --- Turns


def test_turns_are_a_clock() -> None:
    """It goes wherever a reactor's clock is wanted."""
    assert verifyObject(IReactorTime, Turns())


def test_a_call_without_delay_is_made_in_the_next_turn() -> None:
    """As a reactor makes it, and not at once."""
    clock = Turns()
    made: list[str] = []
    clock.callLater(0, made.append, "call")
    made_before = list(made)

    clock.turn()

    assert made_before == []
    assert made == ["call"]
    assert clock.getDelayedCalls() == []


def test_what_a_call_calls_later_is_left_for_the_turn_after() -> None:
    """``Clock.advance(0)`` makes it in the same (F12)."""
    clock = Turns()
    made: list[int] = []

    def again() -> None:
        made.append(len(made))
        clock.callLater(0, again)

    again()
    clock.turn()
    clock.turn()

    assert made == [0, 1, 2]


def test_a_call_is_made_when_its_time_has_come() -> None:
    """Time passes only as a test says."""
    clock = Turns()
    made: list[float] = []
    clock.callLater(2, lambda: made.append(clock.seconds()))

    for seconds in [1, 0, 0.5, 0.5, 1]:
        clock.turn(seconds)

    assert made == [2]


def test_calls_are_made_in_the_order_of_their_times() -> None:
    """And not in that of ``callLater``."""
    clock = Turns()
    made: list[str] = []
    clock.callLater(2, made.append, "second")
    clock.callLater(1, made.append, "first")

    clock.turn(5)

    assert made == ["first", "second"]


def test_a_call_that_one_before_it_cancels_is_not_made() -> None:
    """Though both were due."""
    clock = Turns()
    made: list[str] = []
    clock.callLater(0, lambda: second.cancel())
    second = clock.callLater(0, made.append, "second")

    clock.turn()

    assert made == []
    assert not second.active()


def test_a_call_that_was_made_cannot_be_cancelled() -> None:
    """A ``DelayedCall`` raises then, as a reactor's does."""
    clock = Turns()
    call = clock.callLater(0, lambda: None)

    clock.turn()

    assert not call.active()


# --- BoundedTransport


@pytest.mark.parametrize("interface", [ITransport, IConsumer])
def test_a_transport_has_what_protocols_use(interface) -> None:
    """It goes wherever a connection is wanted."""
    transport, _ = connected()

    assert verifyObject(interface, transport)


def test_a_transport_keeps_what_its_peer_has_not_read() -> None:
    """In the order of the writes."""
    transport, _ = connected()

    transport.write(b"abc")
    transport.write(b"")
    transport.write(b"def")

    assert transport.unread == 6
    assert transport.drain() == b"abcdef"
    assert transport.unread == 0


@pytest.mark.parametrize("data", ["text", None, bytearray(b"abc")], ids=repr)
def test_a_transport_takes_bytes_only(data) -> None:
    """As a socket's does."""
    transport, _ = connected()

    with pytest.raises(TypeError, match="Data must be bytes"):
        transport.write(data)


def test_a_full_transport_pauses_its_producer_at_every_write() -> None:
    """And resumes it once, when all is read (F3)."""
    transport, told = connected(limit=10)

    transport.write(b"x" * 10)
    told_before = list(told.words)
    transport.write(b"x")
    transport.write(b"x")
    transport.drain()
    transport.drain()

    assert told_before == []
    assert told.words == ["pause", "pause", "resume"]


@pytest.mark.parametrize(
    "write",
    [
        lambda transport: transport.write(b"x" * 20),
        lambda transport: transport.writeSequence([b"x" * 10, b"x" * 10]),
    ],
    ids=["write", "writeSequence"],
)
def test_a_full_transport_pauses_its_producer_however_it_is_written(write) -> None:
    """As a socket's transport does."""
    transport, told = connected(limit=10)

    write(transport)

    assert told.words == ["pause"]


def test_a_transport_without_producer_pauses_nobody() -> None:
    """It takes whatever is written."""
    transport, told = connected(limit=10)
    transport.unregisterProducer()

    transport.write(b"x" * 100)

    assert transport.drain() == b"x" * 100
    assert told.words == []


def test_a_producer_that_has_gone_is_not_resumed() -> None:
    """Though it was paused."""
    transport, told = connected(limit=10)
    transport.write(b"x" * 100)
    transport.unregisterProducer()

    transport.drain()

    assert told.words == ["pause"]


def test_a_pull_producer_is_not_paused() -> None:
    """It has no ``pauseProducing``."""
    transport, told = connected(limit=10)
    transport.unregisterProducer()
    transport.registerProducer(told, False)

    transport.write(b"x" * 100)

    assert told.words == []


def test_a_peer_that_leaves_stops_the_producer_and_then_tells_the_protocol() -> None:
    """In a transport's order (F5), and once."""
    transport, told = connected()

    transport.lose()
    transport.lose()

    assert told.words == ["stop", ConnectionLost.__name__]
    assert not transport.connected


def test_what_is_written_to_a_peer_that_has_left_goes_nowhere() -> None:
    """A transport does not complain."""
    transport, _ = connected()
    transport.lose()

    transport.write(b"abc")

    assert transport.unread == 0


def test_a_transport_that_loses_its_connection_sends_the_rest_before() -> None:
    """The protocol hears of it when the peer has read everything."""
    transport, told = connected()
    transport.unregisterProducer()
    transport.write(b"abc")

    transport.loseConnection()
    connected_meanwhile = transport.connected
    rest = transport.drain()

    assert connected_meanwhile
    assert rest == b"abc"
    assert told.words == [ConnectionDone.__name__]


def test_a_transport_that_aborts_drops_the_rest() -> None:
    """The peer does not see what it has not read."""
    transport, told = connected()
    transport.write(b"abc")

    transport.abortConnection()

    assert transport.aborted
    assert transport.drain() == b""
    assert told.words == ["stop", ConnectionLost.__name__]


# --- serve


def test_an_application_is_served_as_in_the_first_example() -> None:
    """The one in the module's docstring."""
    served = serve(hello)

    served.turn()

    assert served.drain().endswith(b"hello")


def test_a_client_may_send_its_request_later_and_in_pieces() -> None:
    """As those of slow clients come."""
    served = serve(hello, b"")

    served.send(GET[:10])
    before = served.drain()
    served.send(GET[10:])

    assert before == b""
    assert served.drain().endswith(b"hello")


def test_a_client_may_send_several_requests_at_once() -> None:
    """Each gets its response."""
    served = serve(hello, GET * 3)

    assert served.read().count(b"200 OK") == 3


def test_options_are_those_of_the_resource() -> None:
    """Such as ``debug``."""
    with pytest.raises(TypeError, match="nonsense"):
        serve(hello, nonsense=True)


def test_a_client_that_reads_after_each_turn_gets_everything() -> None:
    """Also when the connection holds one byte."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "15")])
        return iter([b"block"] * 3)

    served = serve(application, limit=1)

    assert served.read().endswith(b"\r\n\r\n" + b"block" * 3)


def test_who_writes_to_the_connection_is_its_producer() -> None:
    """Until the connection is lost."""
    served = serve(hello)
    producer = served.producer

    served.leave()

    assert verifyObject(IPushProducer, producer)
    assert served.producer is None


def served_request(*header: bytes) -> Any:
    return serve(
        hello, GET.replace(b"\r\n\r\n", b"\r\n".join([b"", *header, b"", b""]))
    )


@pytest.mark.parametrize(
    ("header", "closed"),
    [((), False), ((b"Connection: close",), True)],
)
def test_a_connection_is_closed_when_the_server_closes_it(header, closed) -> None:
    """Also while the client has not read everything yet."""
    served = served_request(*header)

    closed_before_reading = served.closed
    served.read()

    assert closed_before_reading is closed
    assert served.closed is closed


def test_a_connection_is_closed_when_the_client_leaves() -> None:
    """The other way to end it."""
    served = serve(hello)

    served.leave()

    assert served.closed


def test_a_clock_forgets_all_descriptors() -> None:
    """As a reactor does; it says which they were."""
    clock = Turns()
    reader: Any = socket.socket()
    writer: Any = socket.socket()
    with reader, writer:
        clock.addReader(reader)
        clock.addWriter(writer)

        assert clock.removeAll() == [reader, writer]
        assert [*clock.getReaders(), *clock.getWriters()] == []


@pytest.mark.parametrize("site", ["fast", "twisted"])
def test_an_application_is_served_through_either_door(site) -> None:
    """The one that is asked for; they name themselves."""
    response = serve(hello, site=site).read()

    assert response.endswith(b"hello")
    assert (b"twisted-wsgiflush" in response) is (site == "fast")


def test_there_is_no_other_door() -> None:
    """A wrong name is refused."""
    with pytest.raises(ValueError, match="fast or twisted, not 'stock'"):
        serve(hello, site="stock")  # type: ignore[arg-type]  # on purpose
