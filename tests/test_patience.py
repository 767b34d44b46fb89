"""How long a ``WSGISite`` waits for whom: every deadline, and what is at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from connections import (
    Blocks,
    FastClient,
    FastSocketClient,
    FastTCPClient,
    another,
    fill,
    giving,
)
from test_channel import CHUNKED, echo, get, ignore, post, read_on, statuses
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from waiting import FLUSH, LAST_CHUNK, SUSPEND, Waiting, chunks

from twisted_wsgiflush import Limits
from twisted_wsgiflush.coroutines import asynchronous
from twisted_wsgiflush.testing import GET

if TYPE_CHECKING:
    from conftest import Logged

pytestmark = pytest.mark.usefixtures("sockets_closed")

TICKS = 1.0
"""Seconds that a deadline may be late."""


def closes_after(client: Any, at_most: float = 200) -> float:
    """After how many seconds the server closes its side."""
    seconds = 0.0
    while not client.ended and seconds < at_most:
        client.clock.turn(0.25)
        seconds += 0.25
        client.drain()
    return seconds


@pytest.mark.parametrize(
    ("before", "limits", "seconds", "answers"),
    [
        (b"", Limits(header_timeout=3), 3, []),
        (b"GET / HT", Limits(header_timeout=3), 3, ["408"]),
        (GET, Limits(keep_alive_timeout=4), 4, ["200"]),
        (GET + b"GET / HT", Limits(header_timeout=3), 3, ["200", "408"]),
        (post(10) + b"abc", Limits(body_timeout=5), 5, ["408"]),
        (CHUNKED, Limits(body_timeout=5), 5, ["408"]),
    ],
    ids=["nothing", "head", "keep-alive", "next head", "body", "chunked"],
)
def test_a_client_that_sends_nothing_more(before, limits, seconds, answers) -> None:
    """It is told what did not come, and closed."""
    client = FastSocketClient(echo, limits=limits)
    client.send(before)

    assert seconds <= closes_after(client) <= seconds + TICKS
    assert statuses(client.received) == answers


@pytest.mark.parametrize("before", [b"", b"GET / HT", GET, post(10) + b"abc"])
def test_without_limits_it_may_take_for_ever(before) -> None:
    """None is none."""
    limits = Limits(header_timeout=None, keep_alive_timeout=None, body_timeout=None)
    client = FastSocketClient(echo, limits=limits)
    client.send(before)

    assert closes_after(client) == 200


def test_a_head_that_trickles_is_not_waited_for() -> None:
    """From its first byte to its last, however they come."""
    client = FastSocketClient(ignore, limits=Limits(header_timeout=3))
    client.send(b"GET / HTTP/1.1\r\nX: ")
    seconds = 0.0
    while not client.ended:
        client.send(b"x")
        client.clock.turn(0.25)
        seconds += 0.25
        client.drain()

    assert 3 <= seconds <= 4
    assert statuses(client.received) == ["408"]


@pytest.mark.parametrize(
    ("bytes_", "ends"), [(1, True), (200, True), (1024, False), (4096, False)]
)
def test_a_body_has_to_make_progress(bytes_, ends) -> None:
    """Some bytes every second are not enough, a kilobyte in its time is."""
    client = FastSocketClient(echo, limits=Limits(body_timeout=2))
    client.send(post(1_000_000))
    for _ in range(10):
        client.send(b"x" * bytes_)
        client.clock.turn(1)
        client.drain()
        if client.ended:
            break

    assert client.ended is ends
    assert statuses(client.received) == ["408"] * ends


def test_a_body_that_is_discarded_has_to_come() -> None:
    """Else there would be no end to it."""
    client = FastSocketClient(ignore, stream_input=True, limits=Limits(body_timeout=2))
    client.send(post(10) + b"abc")

    assert 2 <= closes_after(client) <= 3
    assert statuses(client.received) == ["200"]


def test_a_streamed_body_has_to_come_while_it_is_waited_for() -> None:
    """Who waits for it learns that it does not come."""

    async def application(environ, start_response):
        start_response("200 OK", [])
        return [await environ["wsgi.input"].read()]

    client = FastSocketClient(
        asynchronous(application), stream_input=True, limits=Limits(body_timeout=2)
    )
    client.send(post(10) + b"abc")

    assert 2 <= closes_after(client) <= 4
    assert statuses(client.received) == ["408"]


def test_a_streamed_body_that_is_not_waited_for_may_take_its_time() -> None:
    """It is the application that is slow."""
    waiting = Waiting()
    client = FastSocketClient(waiting, stream_input=True, limits=Limits(body_timeout=2))
    client.send(post(10) + b"abc")
    client.turn(3)
    client.wait(10)
    waiting.resume()

    assert statuses(read_on(client)) == ["200"]


# --- a client that takes nothing


@pytest.mark.parametrize("kind", [list, iter])
def test_a_client_that_takes_nothing_is_cut(kind) -> None:
    """While the response is given, and when it was given."""
    blocks = Blocks(*[b"x" * 100_000] * 50)
    app_iter = [b"x" * 5_000_000] if kind is list else blocks
    client = FastSocketClient(giving(app_iter), limits=Limits(send_timeout=3))
    client.send(GET)
    client.turn(3)
    client.wait(2.5)
    before = client.transport.connected
    client.wait(2)

    assert before
    assert not client.transport.connected
    assert client.clock.getDelayedCalls() == []
    assert kind is list or blocks.closed == 1


@pytest.mark.parametrize("kind", [list, iter])
def test_a_client_that_takes_a_little_is_not_cut(kind) -> None:
    """As long as it takes something in time."""
    blocks = [b"x" * 100_000] * 50
    app_iter = [b"".join(blocks)] if kind is list else iter(blocks)
    client = FastSocketClient(giving(app_iter), limits=Limits(send_timeout=3))
    client.send(GET)
    client.turn(3)
    for _ in range(10):
        client.wait(2)
        client.drain()

    assert client.transport.connected


def test_a_client_that_takes_nothing_of_the_end_is_cut() -> None:
    """Also when the response was the last."""
    client = FastSocketClient(giving([b"x" * 5_000_000]), limits=Limits(send_timeout=3))
    client.send(get(b"/", b"Connection: close"))
    client.turn(3)
    client.wait(2.5)
    before = client.transport.connected
    client.wait(2)

    assert before
    assert not client.transport.connected


def test_an_application_that_takes_long_is_no_client_that_takes_nothing() -> None:
    """There is nothing to take."""
    waiting = Waiting()
    client = FastSocketClient(
        waiting, limits=Limits(send_timeout=3, response_timeout=1000)
    )
    client.send(GET)
    client.turn(3)
    client.wait(20)
    waiting.resume()

    assert statuses(read_on(client)) == ["200"]


# --- an application that takes long


@pytest.mark.parametrize(
    "limits", [Limits(response_timeout=3), Limits(suspend_timeout=3)]
)
@pytest.mark.parametrize("flushed", [True, False])
def test_an_application_that_takes_too_long(limits, flushed, logged: Logged) -> None:
    """The client gets 503, or a response that is cut."""
    left = []

    def application(environ, start_response):
        start_response("200 OK", [])
        if flushed:
            environ[FLUSH]()
        environ[SUSPEND]()
        try:
            yield b""
        except GeneratorExit:
            left.append(True)
            raise

    client = FastSocketClient(application, limits=limits)
    client.send(GET)

    seconds = closes_after(client) if flushed else 0
    client.wait(0 if flushed else 4)
    client.drain()

    assert statuses(client.received) == ["200" if flushed else "503"]
    assert LAST_CHUNK not in client.received
    assert left == [True]
    assert not flushed or 3 <= seconds <= 4
    assert len(logged.at("warn")) == 1


def test_suspended_again_and_again_is_not_too_long() -> None:
    """Each time counts for itself."""

    def application(environ, start_response):
        start_response("200 OK", [])
        for _ in range(5):
            environ[SUSPEND](2000)
            yield b""
            yield b"."

    client = FastSocketClient(application, limits=Limits(suspend_timeout=3))
    client.send(GET)
    client.turn(3)
    for _ in range(15):
        client.wait(1)
    client.drain()

    assert client.received.endswith(chunks(*[b"."] * 5) + LAST_CHUNK)


# --- half closed


def test_a_client_that_half_closes_may_be_waited_for() -> None:
    """Without a limit."""
    waiting = Waiting()
    client = FastTCPClient(waiting, limits=Limits(half_close_timeout=None))
    client.send(GET)
    client.turn(3)
    client.half_close()
    client.turn(3)
    client.wait(20)
    waiting.resume()

    assert statuses(read_on(client)) == ["200"]


def test_a_client_that_half_closed_while_another_was_served() -> None:
    """The second response has its time, too."""
    first, second = Waiting(), Waiting()
    applications = iter([first, second])
    client = FastTCPClient(lambda *args: next(applications)(*args))
    client.send(GET + GET)
    client.turn(3)
    client.half_close()
    client.turn(3)
    first.resume()
    client.turn(3)
    client.wait(2)

    assert second.left is True
    assert not client.transport.connected


def test_a_request_that_waits_its_turn_is_not_late() -> None:
    """An application that blocks takes its own time, not the next request's."""
    client = FastSocketClient(echo, limits=Limits(keep_alive_timeout=1))

    def blocks(environ, start_response):
        client.clock.rightNow += 60
        return echo(environ, start_response)

    client.site.application = blocks
    client.send(GET * 3)
    client.read(10)

    assert statuses(client.received) == ["200"] * 3


def test_half_closed_while_nobody_reads() -> None:
    """The kernel is asked, for the reactor does not tell."""
    waiting = Waiting()
    client = FastTCPClient(waiting, stream_input=True)
    client.send(post(100_000_000))
    while client.clock.getReaders():
        client.socket.send(b"x" * 10_000)
        client.turn()
    client.half_close()
    client.wait(5)

    assert waiting.left is True
    assert client.clock.getDelayedCalls() == []


def test_one_who_is_read_from_again_is_not_asked_for() -> None:
    """The transport tells then."""
    waiting = Waiting()
    client = FastClient(waiting, stream_input=True)
    client.send(post(100_000_000) + b"x" * 100_000)
    client.clock.turn(0)
    for _ in range(10):
        client.clock.turn(0.5)

    assert client.transport.connected
    assert waiting.left is False


# --- the end


@pytest.mark.parametrize("half_closed", [True, False])
def test_a_client_has_some_time_to_close(half_closed) -> None:
    """It may still read; then the connection is cut."""
    client = FastSocketClient(ignore)
    client.send(b"nonsense\r\n\r\n")
    client.turn(3)
    before = client.transport.connected
    if half_closed:
        client.half_close()
        client.turn(3)
    else:
        client.wait(3)

    assert before
    assert not client.transport.connected
    assert client.clock.getDelayedCalls() == []


def test_no_timer_is_set_for_a_request() -> None:
    """One look at all connections is enough."""
    client = FastSocketClient(ignore)
    client.turn(2)
    before = len(client.clock.getDelayedCalls())
    client.send(GET * 20)
    read_on(client)

    assert before == len(client.clock.getDelayedCalls()) == 1


def test_the_time_to_close_begins_when_all_is_taken() -> None:
    """Or a slow client could miss the end by a reset."""
    client = FastSocketClient(giving([b"x" * 1_000_000]))
    client.send(get(b"/", b"Connection: close") + GET)
    client.turn(3)
    client.wait(10)
    while not client.ended:
        client.turn()
        client.drain()
    client.wait(1)
    before = client.transport.connected
    client.wait(2.5)

    assert before
    assert not client.transport.connected
    assert client.received.endswith(b"x" * 1_000_000)


def test_who_takes_a_small_response_slowly_is_not_idle() -> None:
    """Its connection goes on when it has taken all of it, and waits until then."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"x" * 8000]

    limits = Limits(keep_alive_timeout=1, send_timeout=10)
    client = FastSocketClient(application, 1, limits=limits)
    before = fill(client)
    client.send(GET)
    client.turn(3)
    client.wait(5)
    client.read(200)
    client.send(GET)
    client.read(200)

    first, second, third = client.received[before:].split(b"HTTP/1.1 200 OK")
    assert (first, second[-8000:], third[-8000:]) == (b"", b"x" * 8000, b"x" * 8000)
    client.wait(3)
    assert not client.transport.connected


def test_who_takes_nothing_of_a_small_response_is_cut() -> None:
    """After as long as of a large one."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"x" * 8000]

    limits = Limits(keep_alive_timeout=None, send_timeout=3)
    client = FastSocketClient(application, 1, limits=limits)
    fill(client)
    client.send(GET)
    client.turn(3)
    connected = client.transport.connected
    client.wait(5)

    assert connected
    assert not client.transport.connected


def test_one_connection_may_be_lost_by_what_is_done_about_another() -> None:
    """Nobody looks at it any more."""

    class Neverending:
        def __iter__(self) -> Any:
            return self

        def __next__(self) -> bytes:
            return b"block"

        def close(self) -> None:
            closed.append(self)
            for client in clients:
                if client.transport.connected:
                    client.transport.connectionLost(Failure(ConnectionDone()))

    def application(environ, start_response):
        start_response("200 OK", [])
        return Neverending()

    closed: list[Neverending] = []
    clients = [FastSocketClient(application, 1, limits=Limits(response_timeout=1))]
    clients.append(another(clients[0]))
    for client in clients:
        client.send(GET)
    clients[0].turn(3)
    clients[0].wait(3)

    assert len(closed) == 2
    assert clients[0].clock.getDelayedCalls() == []


def test_a_connection_that_is_being_reset_is_not_looked_at(logged: Logged) -> None:
    """Though its response would have taken too long, too."""

    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"block"
        client.clock.rightNow += 5
        raise LookupError

    client = FastSocketClient(application, limits=Limits(response_timeout=1))
    client.send(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
    client.turn(3)

    assert len(logged.flush(LookupError)) == 1
    assert not client.transport.connected
    assert client.site._channels == set()
