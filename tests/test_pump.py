"""
How an application is called, iterated and closed: when, how often, in which context.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest
from doors import STOCK, scheduled, serve, serve_in_a_turn
from twisted.internet.interfaces import IPushProducer
from twisted.logger import formatEvent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface.verify import verifyObject

from twisted_wsgiflush import WSGIResource
from twisted_wsgiflush._types import WSGIApplication
from twisted_wsgiflush.errors import BodyTooShort, StartResponseMissing, WrongType
from twisted_wsgiflush.testing import GET, BoundedTransport, Served, Turns

if TYPE_CHECKING:
    from conftest import Logged

pytestmark = pytest.mark.usefixtures("door")


HEAD = GET.replace(b"GET", b"HEAD")
LAST_CHUNK = b"0\r\n\r\n"
# For bodies of twenty blocks of five bytes: they are written as they are.
LENGTH = ("Content-Length", "100")
VISITOR: ContextVar[str] = ContextVar("VISITOR", default="nobody")


class Boom(Exception):
    """What the applications here raise."""


class Blocks:
    """
    What an application returns, which notes what it is asked for.

    :param blocks: an exception is raised in place of a block; what is callable is
        called for one.
    """

    def __init__(self, *blocks: Any) -> None:
        self.asked: list[str] = []
        self._blocks = iter(blocks)

    def __iter__(self) -> Iterator[bytes]:
        self.asked.append("iter")
        return self

    def __next__(self) -> bytes:
        self.asked.append("next")
        block = next(self._blocks)
        if isinstance(block, BaseException):
            raise block
        given: bytes = block() if callable(block) else block
        return given

    def close(self) -> None:
        self.asked.append("close")


class FailsInIter(Blocks):
    def __iter__(self) -> Iterator[bytes]:
        super().__iter__()
        raise Boom


class FailsInClose(Blocks):
    def close(self) -> None:
        super().close()
        raise Boom


class ClosableList(list):  # type: ignore[type-arg]
    """A list that wants to be closed, as those of PEP 3333's middleware may."""

    def __init__(self, *blocks: object) -> None:
        super().__init__(blocks)
        self.asked: list[str] = []

    def close(self) -> None:
        self.asked.append("close")


def case(sentence: str, *values: object) -> Any:
    """A row of a table, and what it is called in the report."""
    return pytest.param(*values, id=sentence)


def giving(app_iter: Any, *headers: tuple[str, str]) -> WSGIApplication:
    """An application that gives this."""

    def application(environ, start_response):
        start_response("200 OK", list(headers))
        return app_iter

    return application


def body_of(response: bytes) -> bytes:
    return response.partition(b"\r\n\r\n")[2]


def chunks(*blocks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(block), block) for block in blocks)


# --- who asks, and when


def test_the_application_is_called_as_soon_as_the_request_is_complete() -> None:
    """No turn of the reactor is needed for a list of one block."""
    served = serve(giving([b"hello"]))

    assert served.drain().endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize(
    ("app_iter", "body"),
    [
        ([], b""),
        ((), b""),
        ([b""], b""),
        ([b"one"], b"one"),
        ((b"one",), b"one"),
    ],
)
def test_at_most_one_block_is_sent_with_its_length(app_iter, body) -> None:
    """PEP 3333, "Handling the Content-Length Header", and nothing is chunked."""
    response = serve(giving(app_iter)).drain()

    assert b"Content-Length: %d\r\n" % len(body) in response
    assert body_of(response) == body


@pytest.mark.parametrize(
    "make",
    [
        lambda: [b"one", b"two"],
        lambda: (b"one", b"two"),
        lambda: ClosableList(b"one", b"two"),
        lambda: {b"one": 1, b"two": 2},
        lambda: iter([b"one", b"", b"two"]),
        lambda: (block for block in [b"", b"one", b"two"]),
        lambda: Blocks(b"one", b"two", b""),
    ],
    ids=lambda make: type(make()).__name__,
)
def test_any_iterable_is_sent_block_by_block(make) -> None:
    """Each block that is not empty becomes a chunk of its own."""
    response = serve(giving(make())).read()

    assert body_of(response) == chunks(b"one", b"two") + LAST_CHUNK


# The fast door waits until the block is sent, in a turn of its own.
@STOCK
def test_a_turn_asks_for_one_block() -> None:
    """However fast an application yields, others have their turn in between."""
    blocks = Blocks(*[b"block"] * 3)
    served = serve(giving(blocks))
    asked = []

    for _ in range(5):
        asked.append(blocks.asked.count("next"))
        served.turn()

    assert asked == [0, 1, 2, 3, 4]


def test_a_turn_asks_for_one_empty_block() -> None:
    """An application that has nothing to send without end keeps nobody waiting."""
    blocks = Blocks(*[b""] * 1000)
    served = serve_in_a_turn(giving(blocks))

    served.turn(7)

    assert blocks.asked.count("next") == 7


def test_a_block_is_sent_before_the_next_is_asked_for() -> None:
    """PEP 3333, "Buffering and Streaming": each finds those before it sent."""
    sent = []

    def next_block() -> bytes:
        sent.append(served.drain())
        return b"block"

    served = serve_in_a_turn(giving(Blocks(next_block, next_block, next_block)))
    served.turn(6)

    assert sent[0] == b""
    assert body_of(sent[1]) == chunks(b"block")
    assert sent[2] == chunks(b"block")


def test_the_head_waits_for_a_block_that_is_not_empty() -> None:
    """PEP 3333, "The start_response() Callable": it may still be replaced."""
    served = serve_in_a_turn(giving(Blocks(b"", b"", b"block")))

    served.turn(2)
    assert served.drain() == b""
    served.turn()
    assert served.drain().startswith(b"HTTP/1.1 200 OK\r\n")


def test_no_block_is_asked_for_when_the_content_length_is_exceeded(
    logged: Logged,
) -> None:
    """An endless iterable behind a complete response is not iterated."""
    blocks = Blocks(b"abc", b"def", b"ghi")

    response = serve(giving(blocks, ("Content-Length", "4"))).read()

    assert body_of(response) == b"abcd"
    assert blocks.asked == ["iter", "next", "next", "close"]
    assert len(logged.take("error")) == 1


def test_a_body_that_is_too_long_ends_with_its_last_byte() -> None:
    """In the same turn, for a full client may not read for long."""
    blocks = Blocks(b"abc", b"def")
    served = serve(giving(blocks, ("Content-Length", "2")), limit=1)

    served.turn()

    assert blocks.asked == ["iter", "next", "close"]
    assert served.closed


# --- close, exactly once


@pytest.mark.parametrize("request_", [GET, HEAD], ids=["GET", "HEAD"])
@pytest.mark.parametrize(
    ("make", "errors"),
    [
        case("the end", lambda: Blocks(b"a", b"b"), []),
        case("no block", Blocks, []),
        case("empty blocks", lambda: Blocks(b"", b""), []),
        case("a list without blocks", ClosableList, []),
        case("a list of one block", lambda: ClosableList(b"a"), []),
        case("a list of two blocks", lambda: ClosableList(b"a", b"b"), []),
        case("an error in iter", FailsInIter, [Boom]),
        case("an error in the first block", lambda: Blocks(Boom()), [Boom]),
        case("an error in the second block", lambda: Blocks(b"", Boom()), [Boom]),
        case("an error in close", FailsInClose, [Boom]),
        case("two errors", lambda: FailsInClose(Boom()), [Boom, Boom]),
        case("an exit", lambda: Blocks(SystemExit()), [SystemExit]),
        case("an interrupt", lambda: Blocks(KeyboardInterrupt()), [KeyboardInterrupt]),
        case("a block of text", lambda: Blocks("text"), [WrongType]),
        case("a list of text", lambda: ClosableList("text"), [WrongType]),
    ],
)
def test_close_is_called_once(make, errors, request_, logged: Logged) -> None:
    """PEP 3333: at the end, or after an error, which is then logged once."""
    app_iter = make()

    serve(giving(app_iter), request_).read()

    assert app_iter.asked.count("close") == 1
    assert app_iter.asked[-1] == "close"
    assert len(logged.flush(*errors)) == len(errors)


@pytest.mark.parametrize("blocks", [[], [b""], [b"a"]], ids=repr)
def test_close_is_called_once_without_start_response(blocks, logged: Logged) -> None:
    """Though there can be no response."""
    app_iter = Blocks(*blocks)

    serve(lambda environ, start_response: app_iter).read()

    assert app_iter.asked.count("close") == 1
    assert len(logged.flush(StartResponseMissing)) == 1


def test_close_is_called_once_when_the_body_is_too_short(logged: Logged) -> None:
    """Content-Length promised a byte that the application has not given."""
    blocks = Blocks(b"abc")

    served = serve(giving(blocks, ("Content-Length", "4")))

    assert body_of(served.read()) == b"abc"
    assert served.closed
    assert blocks.asked == ["iter", "next", "next", "close"]
    assert len(logged.flush(BodyTooShort)) == 1


def test_head_closes_with_the_first_block() -> None:
    """Nothing more is asked for than it takes to know the status and headers."""
    blocks = Blocks(b"", b"a", b"b", b"c")

    serve(giving(blocks), HEAD).read()

    assert blocks.asked == ["iter", "next", "next", "close"]


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_status_without_body_closes_with_the_first_block(status) -> None:
    """What such a response may not have is not asked for."""
    blocks = Blocks(b"a", b"b", b"c")

    def application(environ, start_response):
        start_response(status, [])
        return blocks

    serve(application).read()

    assert blocks.asked == ["iter", "next", "close"]


def test_a_refused_request_does_not_reach_the_application() -> None:
    """So there is nothing to close."""
    called = []

    def application(environ, start_response):
        called.append(environ)

    serve(application, GET.replace(b"Host", b"Nohost")).read()

    assert called == []


def test_what_is_closed_is_what_the_application_returned() -> None:
    """And not the iterator that it gave: they may be two."""
    inner = Blocks(b"a")

    class Outer(Blocks):
        def __iter__(self) -> Iterator[bytes]:
            return iter(inner)

    outer = Outer()

    serve(giving(outer)).read()

    assert outer.asked == ["close"]
    assert inner.asked == ["iter", "next", "next"]


def test_what_the_application_gave_is_let_go_after_close() -> None:
    """It is freed at once, without the garbage collector."""
    given: list[weakref.ref[Blocks]] = []

    def application(environ, start_response):
        start_response("200 OK", [])
        blocks = Blocks(b"a")
        given.append(weakref.ref(blocks))
        return blocks

    gc.disable()
    try:
        serve(application).read()
        alive = given[0]()
    finally:
        gc.enable()

    assert alive is None


def test_the_response_ends_after_close() -> None:
    """What ``close`` reports is not too late for an error page."""
    ended = []

    class Last(Blocks):
        def close(self) -> None:
            ended.append(served.drain().endswith(LAST_CHUNK))

    served = serve(giving(Last(b"a")))

    assert served.read().endswith(LAST_CHUNK)
    assert ended == [False]


def test_what_was_written_to_wsgi_errors_without_newline_is_logged_after_close(
    logged: Logged,
) -> None:
    """The last words of an application are not lost."""

    def application(environ, start_response):
        def blocks():
            try:
                yield b"a"
            finally:
                environ["wsgi.errors"].write("farewell")

        start_response("200 OK", [])
        return blocks()

    serve(application).read()

    (event,) = logged.take("error")
    assert event["text"] == "farewell"


# --- the client leaves


def leave_before_the_first_step(served: Served) -> None:
    served.leave()


def leave_between_blocks(served: Served) -> None:
    served.turn(3)
    served.leave()


def leave_after_reading(served: Served) -> None:
    served.turn(2)
    served.drain()
    served.leave()


@pytest.mark.parametrize("limit", [1, 65536], ids=["resting", "going on"])
@pytest.mark.parametrize("block", [b"block", b""], ids=["block", "empty"])
@pytest.mark.parametrize(
    "leave",
    [leave_before_the_first_step, leave_between_blocks, leave_after_reading],
    ids=lambda leave: leave.__name__,
)
def test_a_client_that_leaves_closes_at_once(leave, block, limit) -> None:
    """The application is not asked again, and no turn is needed for ``close``."""
    blocks = Blocks(*[block] * 20)
    served = serve(giving(blocks, LENGTH), limit=limit)

    leave(served)
    asked = list(blocks.asked)
    served.turn(3)

    assert asked.count("close") == 1
    assert blocks.asked == asked


def test_a_client_that_leaves_closes_a_generator_where_it_stands() -> None:
    """It sees ``GeneratorExit`` at its ``yield``."""
    seen = []

    def application(environ, start_response):
        start_response("200 OK", [])
        try:
            yield b"a"
        except GeneratorExit:
            seen.append("exit")
            raise

    served = serve(application)
    served.turn()
    served.leave()

    assert seen == ["exit"]


def test_nothing_is_scheduled_after_the_client_has_left() -> None:
    """A turn that was due is cancelled."""
    served = serve(giving(Blocks(*[b"a"] * 20)))
    served.turn(2)

    served.leave()

    assert served.clock.getDelayedCalls() == []


def test_a_last_step_that_filled_the_client_leaves_nothing_scheduled() -> None:
    """It was told that there is room again while it ran, and then it ended."""

    def application(environ, start_response):
        write = start_response("200 OK", [])
        yield b"block"
        served.producer.pauseProducing()
        served.producer.resumeProducing()
        write(b"the end")

    close = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    served: Any = serve(application, close)
    served.turn(2)

    assert served.drain().endswith(b"the end\r\n0\r\n\r\n")
    assert served.clock.getDelayedCalls() == []


def test_nothing_is_scheduled_after_the_end() -> None:
    """Also not by who gives many blocks, after the last of them."""
    served = serve(
        giving(Blocks(b"a", b"b")),
        GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    )

    served.read()

    assert served.closed
    assert served.clock.getDelayedCalls() == []


def leaving_during_the_call(answer: Any) -> Served:
    """An application whose client leaves before it gives this."""

    def application(environ, start_response):
        start_response("200 OK", [])
        served.leave()
        return answer

    served = serve(application, b"")
    served.send(GET)
    served.turn(3)
    return served


@pytest.mark.parametrize("answer", [[], [b"a"], [b"a", b"b"]])
def test_a_client_that_leaves_during_the_call_is_no_error(answer) -> None:
    """It is as quiet as one that leaves later."""
    served = leaving_during_the_call(answer)

    assert served.drain() == b""
    assert served.clock.getDelayedCalls() == []


def test_a_client_that_leaves_during_the_call_closes_once() -> None:
    """The application is not asked for a block."""
    blocks = Blocks(b"a")

    leaving_during_the_call(blocks)

    assert blocks.asked == ["close"]


def test_a_client_that_leaves_during_iter_closes_at_once() -> None:
    """The application is not asked for a block."""

    class Leaves(Blocks):
        def __iter__(self) -> Iterator[bytes]:
            served.leave()
            return super().__iter__()

    blocks = Leaves(b"a")
    served = serve(giving(blocks), b"")

    served.send(GET)
    asked = list(blocks.asked)
    served.turn(3)

    assert asked == ["iter", "close"]
    assert blocks.asked == asked


def test_a_client_that_leaves_during_next_closes_after_it() -> None:
    """A generator cannot be closed while it runs; its block goes nowhere."""
    seen = []

    def application(environ, start_response):
        write = start_response("200 OK", [])

        def blocks():
            try:
                served.leave()
                write(b"to nobody")
                yield b"a"
            finally:
                seen.append("finally")

        return blocks()

    served = serve_in_a_turn(application)
    served.turn(3)

    assert seen == ["finally"]
    assert served.drain() == b""
    assert served.clock.getDelayedCalls() == []


@pytest.mark.parametrize("last", [b"", StopIteration(), Boom()], ids=repr)
def test_a_client_that_leaves_during_next_closes_once(last, logged: Logged) -> None:
    """Whatever that ``next`` then ends with."""

    def leaving() -> object:
        served.leave()
        if isinstance(last, Exception):
            raise last
        return last

    blocks = Blocks(leaving, b"more")
    served = serve_in_a_turn(giving(blocks))

    served.turn(3)

    assert blocks.asked == ["iter", "next", "close"]
    logged.flush(Boom)


def test_a_client_that_leaves_during_close_closes_once() -> None:
    """``close`` is not called again in itself."""

    class Leaves(Blocks):
        def close(self) -> None:
            super().close()
            served.leave()

    blocks = Leaves(b"a")
    served = serve(giving(blocks))

    served.turn(3)

    assert blocks.asked == ["iter", "next", "next", "close"]


def test_an_error_in_close_after_the_client_has_left_is_logged_once(
    logged: Logged,
) -> None:
    """Nobody else hears of it."""
    blocks = FailsInClose(b"a", b"b")
    served = serve(giving(blocks))
    served.turn()

    served.leave()

    assert blocks.asked == ["iter", "next", "close"]
    assert len(logged.flush(Boom)) == 1


def test_a_connection_that_a_write_breaks_closes_once() -> None:
    """The transport may tell of the loss within the write of a block."""

    class Breaking(BoundedTransport):
        def write(self, data: bytes) -> None:
            super().write(data)
            if b"fatal" in data:
                self.lose()

    blocks = Blocks(b"a", b"fatal", b"b")
    clock = Turns()
    site = Site(WSGIResource(clock, giving(blocks, LENGTH)), reactor=clock)
    protocol = site.buildProtocol(None)
    protocol.makeConnection(Breaking(protocol, 65536))
    protocol.dataReceived(GET)

    for _ in range(5):
        clock.turn()

    assert blocks.asked == ["iter", "next", "next", "close"]
    assert clock.getDelayedCalls() == []


# --- errors


@pytest.mark.parametrize("blocks", [[b""], [b"", b"", b""]])
def test_an_error_before_the_head_gives_a_page(blocks, logged: Logged) -> None:
    """The connection goes on, as after any other response."""
    served = serve(giving(Blocks(*blocks, Boom())))

    response = served.read()

    assert response.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert not served.closed
    assert len(logged.flush(Boom)) == 1


@pytest.mark.parametrize("kind", [list, iter])
@pytest.mark.parametrize(
    "block", ["text", None, 1, bytearray(b"array"), [b"list"]], ids=repr
)
def test_a_block_that_is_not_of_bytes_gives_a_page(block, kind, logged: Logged) -> None:
    """PEP 3333, "A Note On String Types": it is not enough to be like bytes."""
    response = serve(giving(kind([block]))).read()

    assert response.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert len(logged.flush(WrongType)) == 1


def test_an_error_in_the_call_gives_a_page(logged: Logged) -> None:
    """As one in a block does."""

    def application(environ, start_response):
        raise Boom

    response = serve(application).read()

    assert response.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert len(logged.flush(Boom)) == 1


@pytest.mark.parametrize(("debug", "shown"), [(True, True), (False, False)])
def test_the_traceback_is_for_who_debugs(debug, shown, logged: Logged) -> None:
    """Others learn nothing of the application from an error."""

    def application(environ, start_response):
        raise Boom("it says")

    response = serve(application, debug=debug).read()

    assert (b"it says" in response) is shown
    logged.flush(Boom)


def test_an_error_of_the_container_is_called_so(monkeypatch, logged: Logged) -> None:
    """It ends the response all the same, and the application is not blamed."""

    class Broken(Exception):
        pass

    def write(self: object, data: bytes) -> None:
        raise Broken

    blocks = Blocks(b"block", b"another")
    served = serve_in_a_turn(giving(blocks))
    monkeypatch.setattr(BoundedTransport, "write", write)

    served.turn()

    assert blocks.asked == ["iter", "next", "close"]
    assert served.transport.disconnecting
    events = [event for event in logged.events if "log_failure" in event]
    assert [formatEvent(event) for event in events] == [
        "GET /: error in the container, please report it"
    ]
    assert len(logged.flush(Broken)) == 1


@pytest.mark.parametrize(
    ("kind", "block"), [(Blocks, Boom()), (Blocks, "text"), (FailsInClose, b"block")]
)
def test_an_error_of_the_application_is_called_so(kind, block, logged: Logged) -> None:
    """Whether it raises the error or causes it."""
    serve(giving(kind(block))).read()

    events = [event for event in logged.events if "log_failure" in event]
    assert [formatEvent(event) for event in events] == ["GET /: application error"]
    logged.flush(Boom, WrongType)


class NoText:
    """What cannot be made a text."""

    __str__ = __repr__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("accept", [None, b"text/html", 7, NoText()])
def test_an_environ_that_the_application_has_changed_does_not_matter(
    accept, logged: Logged
) -> None:
    """PEP 3333, "environ Variables": it may do so "in any way it desires"."""
    blocks = Blocks(b"", Boom())

    def application(environ, start_response):
        environ["HTTP_ACCEPT"] = accept
        return blocks

    response = serve(application).read()

    assert response.startswith(b"HTTP/1.1 500 ")
    assert blocks.asked[-1] == "close"
    logged.flush(Boom)


def test_an_error_after_the_head_sends_no_last_chunk(logged: Logged) -> None:
    """The client cannot take the response for a complete one."""
    served = serve(giving(Blocks(b"a", Boom())))

    response = served.read()

    assert body_of(response) == chunks(b"a")
    assert served.closed
    assert len(logged.flush(Boom)) == 1


def test_an_error_after_the_head_leaves_nothing_scheduled(logged: Logged) -> None:
    """And the connection goes down without the application."""
    served = serve(giving(Blocks(b"a", Boom())))

    served.read()

    assert served.clock.getDelayedCalls() == []
    logged.flush(Boom)


def test_an_error_after_the_end_is_logged(logged: Logged) -> None:
    """It is ``close`` that fails then, with the head and the body sent already."""
    served = serve(giving(FailsInClose(b"a"), ("Content-Length", "1")))

    response = served.read()

    assert body_of(response) == b"a"
    assert served.closed
    assert len(logged.flush(Boom)) == 1


# --- the consumer pauses


def test_a_full_consumer_is_asked_for_nothing_more() -> None:
    """Memory is bounded by the block that filled it, whatever time goes by."""
    blocks = Blocks(*[b"block"] * 20)
    served = serve_in_a_turn(giving(blocks, LENGTH), limit=1)

    served.turn(10)

    assert blocks.asked.count("next") == 1
    assert scheduled(served) == []


def test_paused_thrice_resumed_once() -> None:
    """However often the consumer pauses, one resumption is enough."""

    def application(environ, start_response):
        write = start_response("200 OK", [LENGTH])
        for _ in range(3):
            write(b"block")  # Each fills the transport, and it says so.
        yield b"block"
        yield b"the next"

    served = serve(application, limit=1)
    served.turn(3)
    sent = body_of(served.drain())
    served.turn()

    assert sent == b"block" * 4
    assert served.drain() == b"the next"


def test_resumed_in_the_turn_that_paused_it_takes_one_step() -> None:
    """A step that was due and a resumption are not two steps."""
    blocks = Blocks(*[b"block"] * 20)
    served = serve_in_a_turn(giving(blocks, LENGTH))
    producer = served.producer
    assert producer is not None

    producer.pauseProducing()
    producer.resumeProducing()
    served.turn()

    assert blocks.asked.count("next") == 1


# The fast door's consumer is its output, see test_output.
@STOCK
def test_a_step_that_was_due_is_not_taken_when_it_is_paused_meanwhile() -> None:
    """Also then the resumption brings it back."""
    blocks = Blocks(*[b"block"] * 20)
    served = serve(giving(blocks))
    producer = served.producer
    assert producer is not None

    producer.pauseProducing()
    served.turn(3)
    asked_while_paused = list(blocks.asked)
    producer.resumeProducing()
    served.turn()

    assert asked_while_paused == ["iter"]
    assert blocks.asked == ["iter", "next"]


# The fast door's consumer is its output, see test_output.
@STOCK
def test_resumed_without_a_pause_nothing_happens() -> None:
    """It is no second way to ask for blocks."""
    blocks = Blocks(*[b"block"] * 20)
    served = serve(giving(blocks))
    producer = served.producer
    assert producer is not None

    producer.resumeProducing()
    producer.resumeProducing()

    assert blocks.asked == ["iter"]


def test_a_consumer_that_the_last_block_fills_gets_the_end_when_it_has_room() -> None:
    """The end comes as one more step, and is not lost."""
    blocks = Blocks(*[b"block"] * 20)
    served = serve(giving(blocks, LENGTH), limit=1)

    served.read(turns=30)

    assert blocks.asked[-1] == "close"


def test_pipelined_requests_get_their_responses_in_order() -> None:
    """The second is not even begun before the first is complete."""
    begun = []

    def application(environ, start_response):
        begun.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return Blocks(environ["PATH_INFO"].encode(), b"!")

    first, second = GET.replace(b"/ ", b"/first "), GET.replace(b"/ ", b"/second ")
    served = serve(application, first + second)

    begun_before_the_end = list(begun)
    response = served.read()

    assert begun_before_the_end == ["/first"]
    assert response.count(b"HTTP/1.1 200 OK") == 2
    assert response.index(chunks(b"/first", b"!")) < response.index(
        chunks(b"/second", b"!")
    )


def test_a_pipelined_response_is_paused_as_the_first(door: str) -> None:
    """It begins on a connection that is full already, and waits for its client."""
    first, second = [b"x" * 100], Blocks(*[b"block"] * 20)
    responses = iter([first, second])

    def application(environ, start_response):
        start_response("200 OK", [LENGTH])
        return next(responses)

    served = serve(application, GET + GET, limit=50)

    served.turn(10)
    asked_while_full = list(second.asked)
    served.read(turns=60)

    # The fast door does not call the application before.
    assert asked_while_full == (["iter"] if door == "twisted" else [])
    assert second.asked[-1] == "close"


# --- contexts


class Visits(Blocks):
    """Notes who it is asked by."""

    def __init__(self, visitor: str) -> None:
        super().__init__(self.visit, self.visit)
        self.seen: list[str] = []
        self._visitor = visitor

    def __iter__(self) -> Iterator[bytes]:
        self.visit()
        return self

    def visit(self) -> bytes:
        self.seen.append(VISITOR.get())
        return self._visitor.encode()

    def close(self) -> None:
        self.visit()


def test_a_request_has_one_context() -> None:
    """What the call sets is there in iter, in every block, and in close."""
    visits = Visits("me")

    def application(environ, start_response):
        VISITOR.set("me")
        start_response("200 OK", [])
        return visits

    serve(application).read()

    assert visits.seen == ["me"] * 4


def test_what_a_block_sets_is_there_in_the_next() -> None:
    """The steps share a context, they do not just begin with the same."""
    seen = []

    def application(environ, start_response):
        start_response("200 OK", [])
        for visitor in ["one", "two", "three"]:
            seen.append(VISITOR.get())
            VISITOR.set(visitor)
            yield b"block"

    serve(application).read()

    assert seen == ["nobody", "one", "two"]


def test_interleaved_requests_see_nothing_of_each_other() -> None:
    """Each has its own context, though they take turns in one thread."""
    visits = {"a": Visits("a"), "b": Visits("b")}

    def application(environ, start_response):
        visitor = environ["PATH_INFO"][1:]
        VISITOR.set(visitor)
        start_response("200 OK", [])
        return visits[visitor]

    both = [
        serve(application, GET.replace(b"/ ", b"/%s " % name))
        for name in b"a b".split()
    ]
    for _ in range(5):
        for served in both:
            served.turn()

    assert visits["a"].seen == ["a"] * 4
    assert visits["b"].seen == ["b"] * 4


def test_a_request_leaves_nothing_in_the_context_around_it() -> None:
    """Neither for this connection's next request nor for anybody else."""
    seen = []

    def application(environ, start_response):
        seen.append(VISITOR.get())
        VISITOR.set("me")
        start_response("200 OK", [])
        return [b"a"]

    serve(application, GET + GET)

    assert seen == ["nobody", "nobody"]
    assert VISITOR.get() == "nobody"


def test_a_request_inherits_the_context_that_its_resource_was_made_in() -> None:
    """What the process has set up before is there."""
    token = VISITOR.set("everybody")
    seen = []

    def application(environ, start_response):
        seen.append(VISITOR.get())
        start_response("200 OK", [])
        return []

    try:
        served = serve(application, b"")
    finally:
        VISITOR.reset(token)
    served.send(GET)

    assert seen == ["everybody"]


# --- an application that blocks


def serve_blocking(seconds: float, *when: str) -> Served:
    """Serve an application that keeps the reactor for so long at these moments."""

    class Slow(Blocks):
        def __iter__(self) -> Iterator[bytes]:
            pass_time("iter")
            return self

        def __next__(self) -> bytes:
            pass_time("next")
            return super().__next__()

        def close(self) -> None:
            pass_time("close")

    def application(environ, start_response):
        pass_time("call")
        start_response("200 OK", [])
        return Slow(b"a", b"b")

    def pass_time(moment: str) -> None:
        if moment in when:
            served.clock.rightNow += seconds

    served = serve(application, b"")
    served.send(GET)
    return served


@pytest.mark.parametrize("seconds", [1.0, 1.5])
@pytest.mark.parametrize("when", ["call", "iter", "next", "close"])
def test_an_application_that_blocks_is_named_in_the_log(
    when, seconds, logged: Logged
) -> None:
    """With the request, and how long everybody else was kept waiting."""
    serve_blocking(seconds, when).read()

    (event,) = logged.take("warn")
    assert event["request"] == "GET /"
    assert event["seconds"] == seconds


def test_an_application_that_blocks_often_is_named_once(logged: Logged) -> None:
    """One line for a request tells enough."""
    serve_blocking(1.5, "call", "iter", "next", "close").read()

    assert len(logged.take("warn")) == 1


def test_an_application_that_blocks_a_little_is_not_named(logged: Logged) -> None:
    """Parts of a second are as usual, also when there are many of them."""
    serve_blocking(0.9, "call", "iter", "next", "close").read()

    assert logged.at("warn") == []


def test_an_application_that_waits_for_its_client_is_not_named(logged: Logged) -> None:
    """It keeps nobody waiting."""
    served = serve(giving(Blocks(*[b"block"] * 20), LENGTH), limit=1)
    served.turn()

    served.clock.turn(3600)
    served.read(turns=30)

    assert logged.at("warn") == []


# --- as Twisted sees it


def test_what_writes_to_a_request_is_a_push_producer() -> None:
    """It says so, and has what it takes."""

    class Spy(Resource):
        isLeaf = True

        def render(self, request):
            resource.render(request)
            producers.append(request.producer)
            return NOT_DONE_YET

    producers: list[Any] = []
    clock = Turns()
    resource = WSGIResource(clock, giving(Blocks(b"a")))
    protocol = Site(Spy(), reactor=clock).buildProtocol(None)
    protocol.makeConnection(BoundedTransport(protocol, 65536))

    protocol.dataReceived(GET)

    assert verifyObject(IPushProducer, producers[0])


# The fast door's consumer is its output, see test_output.
@STOCK
def test_a_producer_that_is_told_to_stop_closes() -> None:
    """As a consumer may do that has no connection to lose."""
    blocks = Blocks(*[b"a"] * 20)
    served = serve(giving(blocks))
    producer = served.producer
    assert producer is not None

    producer.stopProducing()
    producer.stopProducing()
    served.turn(3)

    assert blocks.asked == ["iter", "close"]


# --- what is left of a request


class Asked(Resource):
    """Hands its requests on to a resource, and knows which of them still exist."""

    isLeaf = True

    def __init__(self, resource: WSGIResource) -> None:
        super().__init__()
        self.alive: WeakSet[Request] = WeakSet()
        self._resource = resource

    def render(self, request):
        self.alive.add(request)
        return self._resource.render(request)


class Mark:
    """Is put into an environ, which cannot be referred to weakly."""


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Only what nobody refers to is freed."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def suspends(environ, start_response):
    start_response("200 OK", [])
    yield b"one"
    environ["x-wsgiorg.suspend"](0)
    yield b""
    yield b"two"


def is_suspended(environ, start_response):
    environ["x-wsgiorg.suspend"]()
    yield b""


def flushes(environ, start_response):
    start_response("200 OK", [])(b"written")
    environ["x-wsgiorg.flush"]()
    return []


def fails(environ, start_response):
    raise Boom


def fails_late(environ, start_response):
    start_response("200 OK", [])
    yield b"one"
    raise Boom


def raises_another_response(environ, start_response):
    start_response("200 OK", [])
    yield b""
    raise environ["wsgi.response_error"]("404 Not Found")


def left_behind(application: WSGIApplication) -> tuple[Served, list[WeakSet[Any]]]:
    """Serve an application to a client that stays; what there is of it afterwards."""
    marks: WeakSet[Mark] = WeakSet()

    def marking(environ, start_response):
        environ["a mark"] = mark = Mark()
        marks.add(mark)
        return application(environ, start_response)

    clock = Turns()
    asked = Asked(WSGIResource(clock, marking))
    protocol = Site(asked, reactor=clock).buildProtocol(None)
    transport = BoundedTransport(protocol, 65536)
    protocol.makeConnection(transport)
    served = Served(clock, transport)
    served.send(GET)
    served.read()
    return served, [marks, asked.alive]


@pytest.mark.parametrize(
    "application",
    [giving([b"a"]), giving(iter([b"a"])), suspends, flushes, raises_another_response],
    ids=["a list", "an iterator", "suspends", "flushes", "raises another response"],
)
def test_nothing_is_left_of_a_request_but_its_connection(
    application, no_collection
) -> None:
    """A cycle of references would keep its body, too, until the next collection."""
    served, left = left_behind(application)

    assert not served.transport.disconnecting
    assert [len(each) for each in left] == [0, 0]


@pytest.mark.parametrize("application", [fails, fails_late])
def test_nothing_is_left_of_an_error_but_its_log_event(
    application, no_collection, logged: Logged
) -> None:
    """Whoever logs it decides how long it is kept."""
    served, left = left_behind(application)
    del served.transport.protocol  # As a real transport does.
    del served
    for failure in logged.flush(Boom):
        failure.value.__traceback__ = failure.tb = None

    assert [len(each) for each in left] == [0, 0]


@pytest.mark.parametrize("application", [is_suspended, giving(iter([b"a"] * 100))])
def test_nothing_is_left_when_the_client_has_left(application, no_collection) -> None:
    """Not in what Twisted keeps of the request either."""
    served, left = left_behind(application)
    served.leave()
    del served.transport.protocol  # As a real transport does.
    del served

    assert [len(each) for each in left] == [0, 0]
