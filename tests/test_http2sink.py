"""
What a response becomes on HTTP/2: windows, streams that share a connection, resets.

What HTTP/2 has in common with other connections is tested in test_requestsink.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from connections import (
    BLOCKS,
    BODY,
    HUGE_WINDOW,
    SMALLEST_WINDOW,
    Blocks,
    Boom,
    HTTP2Client,
    giving,
    in_turn,
)
from h2.errors import ErrorCodes
from h2.events import (
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from twisted.internet.interfaces import IPushProducer
from twisted.web.server import Request
from zope.interface.verify import verifyObject

from twisted_wsgiflush._types import WSGIApplication

if TYPE_CHECKING:
    from conftest import Logged


REQUEST = [
    (":method", "GET"),
    (":path", "/"),
    (":scheme", "https"),
    (":authority", "example.com"),
]


def in_turn_of(applications: list[WSGIApplication]) -> WSGIApplication:
    """An application that has one of these answer each request."""
    following = iter(applications)
    return lambda environ, start_response: next(following)(environ, start_response)


def responses_received(client: HTTP2Client) -> dict[int, bytes]:
    """By stream, the bodies of the responses that are complete."""
    streams = {event.stream_id for event in client.events if type(event) is StreamEnded}
    return {stream: client.body_of(stream) for stream in streams}


def test_a_stream_ends_with_its_response() -> None:
    """And the connection is there for the next."""
    client = HTTP2Client(in_turn(iter(BLOCKS), iter(BLOCKS)))

    client.get()
    client.read()
    client.get()
    client.read()

    for stream in [1, 3]:
        assert client.body_of(stream) == BODY
        assert client.of(stream, StreamEnded)
    assert not client.transport.disconnecting


def test_streams_take_turns() -> None:
    """None has to wait for another's end."""
    client = HTTP2Client(in_turn(*[iter([b"x" * 1000] * 1000)] * 2))
    client.get()
    client.get()

    client.read(turns=20)

    assert client.body_of(1)
    assert client.body_of(3)


def test_a_used_up_window_keeps_the_application_from_being_asked() -> None:
    """Until the client takes more; then it goes on where it was."""
    blocks = Blocks(*BLOCKS)
    client = HTTP2Client(giving(blocks), window=15)
    client.get()
    client.read()
    asked, body = blocks.asked, client.body

    client.open_window(200)
    client.read()

    assert asked <= 4  # One that waits for the window is no harm.
    assert body == b"block" * 3
    assert client.body == BODY
    assert client.of(1, StreamEnded)


def test_a_window_that_opens_by_less_than_a_block_sends_part_of_it() -> None:
    """And the next block is asked for when the whole has left."""
    blocks = Blocks(*BLOCKS)
    client = HTTP2Client(giving(blocks), window=12)
    client.get()
    bodies = []

    for _ in range(3):
        bodies.append((len(client.read()), blocks.asked))
        client.open_window(2)

    assert bodies == [(12, 3), (14, 3), (16, 4)]


def test_a_used_up_window_of_the_connection_keeps_it_from_being_asked() -> None:
    """As that of the stream does."""
    blocks = Blocks(*[b"x" * 40_000] * 5)
    client = HTTP2Client(giving(blocks), of_all=SMALLEST_WINDOW)
    client.get()
    client.read()
    asked, body = blocks.asked, client.body

    client.open_window(200_000, stream=None)
    client.read()

    assert asked <= 3
    assert body == b"x" * SMALLEST_WINDOW
    assert client.body == b"x" * 200_000
    assert client.of(1, StreamEnded)


def test_a_window_used_up_while_the_connection_is_full() -> None:
    """Both have to be lifted, in whatever order."""
    blocks = Blocks(*[b"x" * 40_000] * 3)
    client = HTTP2Client(giving(blocks), limit=1, window=20_000)
    client.get()
    client.turn(20)

    client.open_window(200_000)
    client.turn(5)
    asked_while_full = blocks.asked
    client.read()

    assert asked_while_full == 1
    assert client.body == b"x" * 120_000
    assert client.of(1, StreamEnded)


def test_a_window_that_opens_in_the_turn_in_which_the_connection_empties() -> None:
    """One look at the stream is enough."""
    blocks = Blocks(*[b"x" * 40_000] * 3)
    client = HTTP2Client(giving(blocks), limit=1, window=20_000)
    client.get()
    client.turn(20)

    client.open_window(200_000)
    client.drain()
    client.read()

    assert client.body == b"x" * 120_000


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("window", [12, HUGE_WINDOW], ids=["used up", "open"])
@pytest.mark.parametrize("limit", [1, 65536], ids=["full", "room"])
def test_a_reset_stream_closes_once(limit, window, turns) -> None:
    """And leaves the connection to the others, at any moment."""
    blocks = Blocks(*BLOCKS)
    client = HTTP2Client(in_turn(blocks, [b"second"]), limit, window)
    client.get()
    client.turn(turns)

    client.reset()
    closed_at_once, asked = blocks.closed, blocks.asked
    client.get()
    client.read()

    assert closed_at_once == blocks.closed == 1
    assert blocks.asked == asked
    assert client.body_of(3) == b"second"
    assert client.clock.getDelayedCalls() == []


def test_a_client_that_says_goodbye_closes_once() -> None:
    """GOAWAY ends all that is in flight."""
    blocks = [Blocks(*BLOCKS), Blocks(*BLOCKS)]
    client = HTTP2Client(in_turn(*blocks))
    client.get()
    client.get()
    client.turn(5)

    client.h2.close_connection()
    client.talk()

    assert [each.closed for each in blocks] == [1, 1]
    client.turn()
    assert client.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "blocks", [[b"block"], [b"block", b"block", b""], [b"x" * 40_000]]
)
def test_an_error_after_the_head_resets_the_stream(blocks, logged: Logged) -> None:
    """It is not ended, and the connection goes on."""
    client = HTTP2Client(in_turn(Blocks(*blocks, Boom()), [b"second"]))
    client.get()
    client.read()
    client.get()
    client.read()

    assert client.of(1, ResponseReceived)
    assert client.of(1, StreamReset)
    assert not client.of(1, StreamEnded)
    assert client.body_of(3) == b"second"
    assert client.of(3, StreamEnded)
    logged.flush(Boom)


def test_an_error_before_the_head_ends_the_stream(logged: Logged) -> None:
    """With a page, as everywhere."""
    client = HTTP2Client(giving(Blocks(Boom())))

    client.get()
    client.read()

    (response,) = client.of(1, ResponseReceived)
    assert dict(response.headers)[":status"] == "500"
    assert client.of(1, StreamEnded)
    logged.flush(Boom)


# --- windows


def test_a_window_that_is_closed_at_first() -> None:
    """The response begins when the client opens it."""
    client = HTTP2Client(giving(Blocks(*BLOCKS)), window=0)
    client.get()
    client.read()

    client.open_window(200)
    client.read()

    assert client.body == BODY
    assert client.of(1, StreamEnded)


def test_what_is_written_while_the_window_is_closed_arrives_in_order() -> None:
    """PEP 3333, "The write() Callable"."""

    def application(environ, start_response):
        write = start_response("200 OK", [])
        for number in range(100):
            write(b"%d " % number)
        return [b"end"]

    client = HTTP2Client(application, window=0)
    client.get()
    client.read()

    client.open_window(1000)
    client.read(turns=300)

    assert client.body == b"".join(b"%d " % number for number in range(100)) + b"end"
    assert client.of(1, StreamEnded)


def test_a_window_of_the_connection_that_another_stream_has_used_up() -> None:
    """A stream that is begun then goes on with it, too."""
    client = HTTP2Client(
        in_turn([b"x" * SMALLEST_WINDOW], Blocks(*BLOCKS)), of_all=SMALLEST_WINDOW
    )
    client.get()
    client.read()
    client.get()
    client.read()

    client.open_window(SMALLEST_WINDOW, stream=None)
    client.read()

    assert client.body_of(3) == BODY
    assert client.of(3, StreamEnded)


@pytest.mark.parametrize("window", [0, 12, 100_000])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: [b"x" * 200_000], id="one block"),
        pytest.param(lambda: iter([b"x" * 200_000]), id="an iterator of one block"),
        pytest.param(lambda: iter([b"x" * 50_000] * 4), id="four blocks"),
    ],
)
def test_a_used_up_window_costs_no_turns(make, window) -> None:
    """Nothing looks again and again whether the client has opened it."""
    client = HTTP2Client(giving(make()), window=window)
    client.get()
    client.read()
    calls = list(client.clock.getDelayedCalls())
    body = client.body

    client.open_window(300_000)
    client.read()

    assert body == b"x" * window
    assert calls == []
    assert client.body == b"x" * 200_000
    assert client.of(1, StreamEnded)


def test_a_window_that_streams_use_up_together_costs_no_turns() -> None:
    """Each had found room for its block, and together they had not."""
    streams = [1, 3, 5]
    client = HTTP2Client(
        in_turn(*[iter([b"x" * 50_000] * 2) for _ in streams]), of_all=SMALLEST_WINDOW
    )
    for _ in streams:
        client.get()
    client.read()
    calls = list(client.clock.getDelayedCalls())
    sent = sum(len(client.body_of(stream)) for stream in streams)

    client.open_window(300_000, stream=None)
    client.read()

    assert sent == SMALLEST_WINDOW
    assert calls == []
    assert responses_received(client) == dict.fromkeys(streams, b"x" * 100_000)


def test_a_stream_goes_on_when_one_that_had_used_up_the_window_is_reset() -> None:
    """It was told nothing while the other had it."""
    client = HTTP2Client(
        in_turn([b"x" * 60_000], iter([b"y" * 30_000] * 2)), of_all=SMALLEST_WINDOW
    )
    client.get()
    client.get()
    client.read()
    client.reset()

    client.open_window(200_000, stream=None)
    client.read()

    assert client.body_of(3) == b"y" * 60_000
    assert client.of(3, StreamEnded)


@pytest.mark.parametrize("sizes", [(50_000, 50_000), (1_000_000, 100)])
def test_no_stream_starves_behind_another(sizes) -> None:
    """Though that has something to send whenever the client takes more."""
    client = HTTP2Client(
        in_turn(*[Blocks(*[b"x" * size] * 1000) for size in sizes]),
        of_all=SMALLEST_WINDOW,
    )
    client.get()
    client.get()

    for _ in range(100):
        client.read(turns=3)
        client.open_window(16_384, stream=None)

    assert len(client.body_of(3)) >= 100 * 10


def test_a_large_block_is_handed_over_piece_by_piece() -> None:
    """Twisted would copy all that is left of it for every frame."""
    written = []

    class Watched(Request):
        def write(self, data: bytes) -> None:
            written.append(len(data))
            super().write(data)

    client = HTTP2Client(giving([b"x" * 1_000_000]))
    client.transport.protocol.requestFactory = Watched
    client.get()

    client.read(turns=200)

    assert client.body == b"x" * 1_000_000
    assert max(written) < 100_000


def test_a_head_that_waits_for_the_connection_keeps_it_from_being_asked() -> None:
    """It is not in the queue that Twisted has for each stream."""
    second = Blocks(*BLOCKS)

    def application(environ, start_response):
        start_response("200 OK", [])
        environ["x-wsgiorg.flush"]()
        return second

    large = giving(iter([b"x" * 60_000] * 10))
    client = HTTP2Client(in_turn_of([large, application]), limit=1000)
    client.get()
    client.turn(8)
    client.get()

    client.turn(20)
    asked_while_full = second.asked
    client.read(turns=100)

    assert asked_while_full == 0
    assert client.body_of(3) == BODY
    assert client.of(3, StreamEnded)


def test_flushing_without_end_while_the_window_is_closed() -> None:
    """What has been flushed often is sent once."""

    def application(environ, start_response):
        write = start_response("200 OK", [])
        for number in range(3):
            write(b"%d" % number)
            yield environ["x-wsgiorg.flush"]()
            yield environ["x-wsgiorg.flush"]()

    client = HTTP2Client(application, window=0)
    client.get()
    client.read()

    client.open_window(1000)
    client.read()

    assert client.body == b"012"
    assert client.of(1, StreamEnded)


@pytest.mark.parametrize("window", [100, 50])
def test_the_end_needs_no_window(window) -> None:
    """A body that just fits is ended."""
    client = HTTP2Client(giving(Blocks(*[b"x" * 50] * (window // 50))), window=window)

    client.get()
    client.read()

    assert client.of(1, StreamEnded)


# --- errors and endings


def test_a_stream_that_is_cut_is_reset_with_an_error(logged: Logged) -> None:
    """NO_ERROR would be a clean end (curl takes it for one)."""
    client = HTTP2Client(giving(Blocks(b"block", Boom())))

    client.get()
    client.read()

    (reset,) = client.of(1, StreamReset)
    assert reset.error_code == ErrorCodes.INTERNAL_ERROR
    logged.flush(Boom)


class Endings(HTTP2Client):
    """A client of a site that notes how its requests end."""

    def connect(self, limit: int) -> None:
        self.told: list[object] = []
        client = self

        class Noted(Request):
            def process(self) -> None:
                self.notifyFinish().addBoth(client.told.append)
                super().process()

        self.site.requestFactory = Noted
        super().connect(limit)


def leave(client: HTTP2Client) -> None:
    client.transport.lose()


def reset(client: HTTP2Client) -> None:
    client.reset()


def goodbye(client: HTTP2Client) -> None:
    client.h2.close_connection()
    client.talk()


def read(client: HTTP2Client) -> None:
    client.open_window(1000)
    client.read()


@pytest.mark.parametrize("window", [0, 12, 1000])
@pytest.mark.parametrize("blocks", [[b""], [b"block"], BLOCKS, [b"block", Boom()]])
@pytest.mark.parametrize("way", [leave, reset, goodbye, read])
def test_every_request_is_finished(way, blocks, window, logged: Logged) -> None:
    """``notifyFinish`` tells, once: a graceful shutdown waits for that."""
    client = Endings(giving(Blocks(*blocks)), window=window)
    client.get()
    client.turn(3)

    way(client)
    client.turn(3)

    assert len(client.told) == 1
    assert client.clock.getDelayedCalls() == []
    logged.flush(Boom)


def one_block(environ, start_response):
    start_response("200 OK", [])
    return [b"block"]


def two_blocks(environ, start_response):
    start_response("200 OK", [])
    return iter([b"block", b"block"])


def writing(environ, start_response):
    start_response("200 OK", [])(b"written")
    return [b"block"]


def failing(environ, start_response):
    raise Boom


def failing_later(environ, start_response):
    start_response("200 OK", [])(b"written")
    raise Boom


def interim(environ, start_response):
    start_response("102 Processing", [])
    return [b"block"]


every_answer = pytest.mark.parametrize(
    ("application", "errors"),
    [
        (one_block, 0),
        (two_blocks, 0),
        (writing, 0),
        (failing, 1),
        (failing_later, 1),
        (interim, 0),
    ],
)


def test_an_interim_status_resets_the_stream() -> None:
    """RFC 9113, 8.1: there must be a final one, and an application sends only one."""
    client = HTTP2Client(interim)

    client.get()
    client.read()

    assert client.of(1, StreamReset)
    assert not client.of(1, StreamEnded)
    assert client.clock.getDelayedCalls() == []


@every_answer
def test_a_request_that_comes_with_its_reset(
    application, errors, logged: Logged
) -> None:
    """Twisted hands it over before it tells; others of the connection go on."""
    client = Endings(in_turn_of([application, one_block, one_block]))
    client.h2.send_headers(1, REQUEST, end_stream=True)
    client.h2.reset_stream(1)
    client.h2.send_headers(3, REQUEST, end_stream=True)

    client.talk()
    client.read()
    client.get()
    client.read()

    assert responses_received(client) == {3: b"block", 5: b"block"}
    assert len(client.told) == 3
    assert client.clock.getDelayedCalls() == []
    assert len(logged.flush(Boom)) == errors


@every_answer
def test_a_request_that_comes_with_a_goodbye(
    application, errors, logged: Logged
) -> None:
    """Nothing can be sent any more, which is no error of the application."""
    client = Endings(application)
    client.h2.send_headers(1, REQUEST, end_stream=True)
    client.h2.close_connection()

    client.talk()
    client.turn(3)

    assert len(client.told) == 1
    assert client.clock.getDelayedCalls() == []
    assert len(logged.flush(Boom)) == errors


@pytest.mark.parametrize(
    "end",
    [lambda h2: h2.reset_stream(1), lambda h2: h2.close_connection()],
    ids=["reset", "goodbye"],
)
@pytest.mark.parametrize("written", [b"", b"written"])
def test_a_request_that_comes_with_its_end_closes_once(written, end) -> None:
    """The application was called, so it is owed that."""
    blocks = Blocks(*BLOCKS)

    def application(environ, start_response):
        start_response("200 OK", [])(written)
        return blocks

    client = HTTP2Client(application)
    client.h2.send_headers(1, REQUEST, end_stream=True)
    end(client.h2)

    client.talk()
    client.turn(3)

    assert blocks.closed == 1


@pytest.mark.parametrize("blocks", [[b"a"], [b"a", b"b"], [b"a", Boom()], [Boom()]])
@pytest.mark.parametrize("early", [[], [b"early"]], ids=["no head", "head"])
def test_a_connection_that_twisted_gives_up_closes_once(
    early, blocks, logged: Logged
) -> None:
    """It says so to the client at its time limit, and to requests 15 s later."""
    app_iter = Blocks(*early, *[b""] * 20, *blocks)
    client = Endings(giving(app_iter))
    client.get()
    client.turn(8)
    client.transport.protocol.timeoutConnection()

    client.turn(40)

    assert app_iter.closed == 1
    assert len(client.told) == 1
    logged.flush(Boom)


@pytest.mark.parametrize(
    ("status", "make"),
    [
        pytest.param("200 OK", lambda: [b"a"], id="one block"),
        pytest.param("200 OK", lambda: iter([b"a", b"b"]), id="two blocks"),
        pytest.param("102 Processing", list, id="an interim status"),
    ],
)
def test_a_connection_that_a_head_breaks_is_no_error(
    status, make, logged: Logged
) -> None:
    """Twisted aborts one on which too many heads wait for the client to read."""
    large = giving(iter([b"x" * 60_000] * 10))

    def application(environ, start_response):
        # The headers' compression makes nothing of it.
        noise = "".join(random.choices("abcdefghijklmnopqrstuvwxyz~^{}", k=4000))
        start_response(status, [("X-Noise", noise)])
        return make()

    client = HTTP2Client(in_turn_of([large, *[application] * 10]), limit=1000)
    client.get()
    client.turn(8)

    while client.transport.connected:
        client.get()
        client.turn(2)

    assert [event for event in logged.events if "log_failure" in event] == []
    assert client.clock.getDelayedCalls() == []


def test_a_connection_that_a_reset_breaks_closes_once(logged: Logged) -> None:
    """Twisted aborts it also for that, and for answers to pings."""

    def fail_when_full() -> bytes:
        if full:
            raise Boom
        return b""

    full: list[bool] = []
    failing = [Blocks(*[fail_when_full] * 50), Blocks(*[fail_when_full] * 50)]
    app_iters = iter(failing)

    def application(environ, start_response):
        start_response("200 OK", [])(b"")
        return next(app_iters)

    client = Endings(in_turn_of([application, application, one_block]), limit=1)
    client.get()
    client.get()
    client.read(turns=10)
    client.get()
    for _ in range(1023):
        client.h2.ping(b"12345678")  # Each is answered by 17 bytes; 17 KiB are kept.
    client.talk()
    full.append(True)

    client.turn(3)

    assert client.transport.aborted
    assert [blocks.closed for blocks in failing] == [1, 1]
    assert len(client.told) == 3
    assert len(logged.flush(Boom)) == 2


# --- as Twisted sees it


def producer_of(blocks: Blocks) -> tuple[HTTP2Client, Request, Any]:
    """A client, its request, and what produces the response to that."""
    found: list[tuple[Request, Any]] = []

    class Remembered(Request):
        def process(self) -> None:
            super().process()
            found.append((self, self.producer))

    def application(environ, start_response):
        start_response("200 OK", [])(b"written")
        return blocks

    client = HTTP2Client(application)
    client.transport.protocol.requestFactory = Remembered
    client.get()
    ((request, producer),) = found
    return client, request, producer


def test_what_is_over_may_be_told_anything() -> None:
    """A stream's producer does nothing any more."""
    blocks = Blocks(*BLOCKS)
    client, request, producer = producer_of(blocks)
    client.read(turns=100)
    asked = blocks.asked

    producer.pauseProducing()
    producer.resumeProducing()
    producer.stopProducing()
    client.turn(3)

    assert request.producer is None
    assert (blocks.asked, blocks.closed) == (asked, 1)
    assert client.clock.getDelayedCalls() == []


def test_a_stream_has_a_push_producer() -> None:
    """It stands between Twisted's stream and the application."""
    _, _, producer = producer_of(Blocks(*BLOCKS))

    assert verifyObject(IPushProducer, producer)
