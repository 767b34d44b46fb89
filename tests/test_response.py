"""A response: what may happen to it and when, and what is written of it."""

from __future__ import annotations

import gc
import itertools
import sys
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import pytest
from doors import serve, serve_in_a_turn
from twisted.logger import formatEvent

from twisted_wsgiflush import errors
from twisted_wsgiflush._errorpage import error_page
from twisted_wsgiflush._head import Head
from twisted_wsgiflush._response import Response
from twisted_wsgiflush._states import Event, State
from twisted_wsgiflush._types import ExcInfo
from twisted_wsgiflush.errors import (
    AlreadyStarted,
    BodyTooShort,
    InvalidHeaders,
    InvalidStatus,
    ResponseOver,
    StartResponseMissing,
    WrongType,
)
from twisted_wsgiflush.testing import GET

if TYPE_CHECKING:
    from conftest import Logged

pytestmark = pytest.mark.usefixtures("door")


HEAD = GET.replace(b"GET", b"HEAD")


# A sequence of blocks, of which the length is known, or an iterator.
Kind: TypeAlias = Callable[[list[bytes]], Iterable[bytes]]


class Boom(Exception):
    """What the applications here raise."""


def status_of(response: bytes) -> str:
    return response.partition(b"\r\n")[0].decode("latin-1")


def fields_of(response: bytes, *names: str) -> list[str]:
    """The header fields of these names, in the order in which they came."""
    head = response.partition(b"\r\n\r\n")[0].decode("latin-1")
    lines = head.split("\r\n")[1:]
    wanted = [name.lower() for name in names]
    return [line for line in lines if line.partition(":")[0].lower() in wanted]


def body_of(response: bytes) -> bytes:
    return response.partition(b"\r\n\r\n")[2]


def exc_info() -> ExcInfo:
    try:
        raise Boom
    except Boom:
        return sys.exc_info()


class Wire:
    """A sink whose client sees everything; it refuses what a connection cannot do."""

    def __init__(self, *, head_only: bool = False) -> None:
        self.head_only = head_only
        self.found_gone: Callable[[], object] | None = None
        self.head: Head | None = None
        self.body = b""
        self.pushed: bytes | None = None
        self.ending = "open"
        self._body_may_follow = False

    @property
    def seen(self) -> tuple[int | None, bytes, str]:
        """The status, the body, and what became of the connection."""
        code = None if self.head is None else self.head.code
        return code, self.body, self.ending

    def send_whole(self, head: Head, body: bytes) -> None:
        assert head.content_length == len(body)
        self.send_head(head, body=True, close=False)
        if body:
            self.write(body)
        self.finish(close=False)

    def send_head(self, head: Head, *, body: bool, close: bool) -> None:
        assert self.ending == "open"
        assert self.head is None
        if self.found_gone is not None:
            self.found_gone()
            return
        self.head = head
        self._body_may_follow = body
        self.close_announced = close

    def write(self, block: bytes) -> None:
        assert self.ending == "open"
        assert self._body_may_follow
        assert block
        self.body += block

    def push(self) -> None:
        assert self.ending == "open"
        assert self.head is not None
        self.pushed = self.body

    def finish(self, *, close: bool) -> None:
        assert self.ending == "open"
        assert self.head is not None
        self.ending = "closed" if close else "kept"

    def cut(self) -> None:
        assert self.ending == "open"
        assert self.head is not None
        self.ending = "cut"

    def lost(self) -> None:
        if self.ending == "open":
            self.ending = "lost"


# The table of states and events, as the design has it: what follows, or what the
# application is told.  Boom stands for what exc_info holds.
TABLE = """
              START           RESTART       BLOCK                 EXHAUSTED             FAILED    LOST
WAITING       HEADERS_SET     HEADERS_SET   StartResponseMissing  StartResponseMissing  FINISHED  ABORTED
HEADERS_SET   AlreadyStarted  HEADERS_SET   HEADERS_SENT          FINISHED              FINISHED  ABORTED
HEADERS_SENT  AlreadyStarted  Boom          HEADERS_SENT          FINISHED              ABORTED   ABORTED
FINISHED      ResponseOver    ResponseOver  ResponseOver          ResponseOver          FINISHED  FINISHED
ABORTED       ResponseOver    ResponseOver  ABORTED               ResponseOver          ABORTED   ABORTED
"""  # noqa: E501  # A table is read in columns.


def cells() -> Iterator[tuple[State, Event, str]]:
    events, *rows = (line.split() for line in TABLE.strip().splitlines())
    for state, *outcomes in rows:
        for event, outcome in zip(events, outcomes, strict=True):
            yield State[state], Event[event], outcome


FOLLOWS = [(s, e, State[o]) for s, e, o in cells() if o in State.__members__]
REFUSED = [(s, e, getattr(errors, o)) for s, e, o in cells() if hasattr(errors, o)]

# How a response gets into a state, and how an event happens to it.
PATHS: dict[State, list[Event]] = {
    State.WAITING: [],
    State.HEADERS_SET: [Event.START],
    State.HEADERS_SENT: [Event.START, Event.BLOCK],
    State.FINISHED: [Event.START, Event.BLOCK, Event.EXHAUSTED],
    State.ABORTED: [Event.START, Event.BLOCK, Event.LOST],
}
EVENTS: dict[Event, Callable[[Response], object]] = {
    Event.START: lambda response: response.start_response("200 OK", []),
    Event.RESTART: lambda response: response.start_response("503 No", [], exc_info()),
    Event.BLOCK: lambda response: response.write(b"block"),
    Event.EXHAUSTED: lambda response: response.end(),
    Event.FAILED: lambda response: response.fail(*error_page("", None)),
    Event.LOST: lambda response: response.lost(),
}


def response_in(state: State, wire: Wire | None = None) -> Response:
    response = Response(wire or Wire(), "GET /there")
    for event in PATHS[state]:
        EVENTS[event](response)
    return response


def named(value: object) -> str | None:
    name = getattr(value, "name", getattr(value, "__name__", None))
    return name if isinstance(name, str) else None


# The table


def test_the_table_is_complete() -> None:
    """There is an outcome for every event in every state."""
    pairs = [(state, event) for state, event, _ in cells()]

    assert sorted(pairs, key=repr) == sorted(itertools.product(State, Event), key=repr)


@pytest.mark.parametrize(("state", "event", "following"), FOLLOWS, ids=named)
def test_an_event_leads_to_a_state(
    state: State, event: Event, following: State
) -> None:
    """In a state, upon an event, a response goes to the state the table says."""
    response = response_in(state)

    EVENTS[event](response)

    assert response.state is following


@pytest.mark.parametrize(("state", "event", "error"), REFUSED, ids=named)
def test_a_refused_event_has_done_nothing(
    state: State, event: Event, error: type[Exception]
) -> None:
    """What the table does not allow is an error, and the client sees nothing of it."""
    wire = Wire()
    response = response_in(state, wire)
    seen = wire.seen

    with pytest.raises(error) as caught:
        EVENTS[event](response)

    assert str(caught.value) == f"{event.value}, but {state.value} (GET /there)"
    assert response.state is state
    assert wire.seen == seen


SIGHTS = [
    (State.WAITING, Event.START, (None, b"", "open")),
    (State.WAITING, Event.RESTART, (None, b"", "open")),
    (State.WAITING, Event.FAILED, (500, error_page("", None)[1], "kept")),
    (State.WAITING, Event.LOST, (None, b"", "lost")),
    (State.HEADERS_SET, Event.RESTART, (None, b"", "open")),
    (State.HEADERS_SET, Event.BLOCK, (200, b"block", "open")),
    (State.HEADERS_SET, Event.EXHAUSTED, (200, b"", "kept")),
    (State.HEADERS_SET, Event.FAILED, (500, error_page("", None)[1], "kept")),
    (State.HEADERS_SET, Event.LOST, (None, b"", "lost")),
    (State.HEADERS_SENT, Event.BLOCK, (200, b"blockblock", "open")),
    (State.HEADERS_SENT, Event.EXHAUSTED, (200, b"block", "kept")),
    (State.HEADERS_SENT, Event.FAILED, (200, b"block", "cut")),
    (State.HEADERS_SENT, Event.LOST, (200, b"block", "lost")),
    (State.FINISHED, Event.FAILED, (200, b"block", "kept")),
    (State.FINISHED, Event.LOST, (200, b"block", "kept")),
    (State.ABORTED, Event.BLOCK, (200, b"block", "lost")),
    (State.ABORTED, Event.FAILED, (200, b"block", "lost")),
    (State.ABORTED, Event.LOST, (200, b"block", "lost")),
]


@pytest.mark.parametrize(("state", "event", "seen"), SIGHTS, ids=named)
def test_what_the_client_sees_of_an_event(
    state: State, event: Event, seen: tuple[int | None, bytes, str]
) -> None:
    """Each event that is allowed sends what is due, and no more."""
    wire = Wire()
    response = response_in(state, wire)

    EVENTS[event](response)

    assert wire.seen == seen


@pytest.mark.parametrize("state", State, ids=named)
def test_over(state: State) -> None:
    """A response is over when it is complete or was cut short."""
    response = response_in(state)

    assert response.over is (state in (State.FINISHED, State.ABORTED))


HAS_ENOUGH = [
    (False, "200 OK", []),
    (False, "204 No Content", [State.HEADERS_SENT]),
    (False, "304 Not Modified", [State.HEADERS_SENT]),
    (True, "200 OK", [State.HEADERS_SENT]),
]


@pytest.mark.parametrize(("head_only", "status", "enough_in"), HAS_ENOUGH)
def test_has_enough(head_only: bool, status: str, enough_in: list[State]) -> None:
    """No block is wanted once the head of a response without a body is sent."""
    response = Response(Wire(head_only=head_only), "GET /")
    states = []
    for event in (
        lambda: response.start_response(status, []),
        lambda: response.write(b"block"),
        response.end,
    ):
        event()
        if response.has_enough:
            states.append(response.state)

    assert states == enough_in


# start_response


def test_the_head_waits_for_a_block() -> None:
    """Status and headers are held back until a block that is not empty."""

    def application(environ, start_response):
        start_response("200 OK", [])
        yield b""
        yield b""
        yield b"block"

    served = serve_in_a_turn(application)
    sent = []
    for _ in range(3):
        served.turn()
        sent.append(served.drain())

    assert sent[:2] == [b"", b""]
    assert status_of(sent[2]) == "HTTP/1.1 200 OK"
    assert body_of(sent[2]) == b"5\r\nblock\r\n"


def test_the_head_is_sent_at_the_end() -> None:
    """Status and headers are sent when the application gives no block at all."""

    def application(environ, start_response):
        start_response("200 OK", [("X-One", "1")])
        return iter([])

    response = serve(application).read()

    assert status_of(response) == "HTTP/1.1 200 OK"
    assert fields_of(response, "X-One") == ["X-One: 1"]
    assert body_of(response) == b"0\r\n\r\n"


def test_a_second_start_is_refused() -> None:
    """The second call raises in the application, which may go on with the first."""
    raised: list[Exception] = []

    def application(environ, start_response):
        start_response("200 OK", [])
        try:
            start_response("201 Created", [])
        except AlreadyStarted as error:
            raised.append(error)
        return [b"first"]

    response = serve(application).read()

    assert len(raised) == 1
    assert status_of(response) == "HTTP/1.1 200 OK"
    assert body_of(response) == b"first"


def test_a_second_start_that_is_not_caught(logged: Logged) -> None:
    """An application that starts twice and does not see to it has failed."""

    def application(environ, start_response):
        start_response("200 OK", [])
        start_response("201 Created", [], None)
        return [b"never"]

    response = serve(application).read()

    (failure,) = logged.flush(AlreadyStarted)
    assert failure.getErrorMessage() == (
        "start_response was called, but headers are set and may still be replaced "
        "(GET /)"
    )
    assert status_of(response) == "HTTP/1.1 500 Internal Server Error"


def test_exc_info_replaces_a_head_that_is_not_sent() -> None:
    """With exc_info, the second call's status and headers take the place of all."""

    def application(environ, start_response):
        start_response("200 OK", [("X-One", "1"), ("X-Both", "1")])
        try:
            raise Boom
        except Boom:
            start_response("503 Later", [("X-Both", "2")], sys.exc_info())
        return [b"sorry"]

    response = serve(application).read()

    assert status_of(response) == "HTTP/1.1 503 Later"
    assert fields_of(response, "X-One", "X-Both") == ["X-Both: 2"]
    assert body_of(response) == b"sorry"


def test_exc_info_at_the_first_call() -> None:
    """exc_info does no harm when there is nothing to replace."""

    def application(environ, start_response):
        start_response("503 Later", [], exc_info())
        return [b"sorry"]

    response = serve(application).read()

    assert status_of(response) == "HTTP/1.1 503 Later"


def test_exc_info_is_raised_again_after_the_head(logged: Logged) -> None:
    """With the head sent, the error itself is raised, and cuts the response."""

    def fail_deep_inside():
        raise Boom("too late")

    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"block"
        try:
            fail_deep_inside()
        except Boom as error:
            failed = sys.exc_info()
            error.__traceback__ = None  # The one in exc_info counts.
            start_response("503 Later", [], failed)
        yield b"never"

    served = serve(application)
    response = served.read()

    (failure,) = logged.flush(Boom)
    assert "fail_deep_inside" in [
        frame.name for frame in traceback.extract_tb(failure.getTracebackObject())
    ]
    assert status_of(response) == "HTTP/1.1 200 OK"
    assert body_of(response) == b"5\r\nblock\r\n"
    assert served.closed


@pytest.mark.parametrize("head_sent", [False, True])
def test_exc_info_is_let_go(head_sent: bool) -> None:
    """The error is freed once it is handled, without the garbage collector."""
    alive: list[Exception | None] = []

    def application(environ, start_response):
        write = start_response("200 OK", [])
        if head_sent:
            write(b"block")
        try:
            raise Boom
        except Boom as error:
            reference = weakref.ref(error)
            try:
                start_response("503 Later", [], sys.exc_info())
            except Boom:
                assert head_sent
        alive.append(reference())
        return []

    gc.disable()
    try:
        serve(application)
    finally:
        gc.enable()

    assert alive == [None]


def test_a_bad_status_has_started_nothing() -> None:
    """After a status that is refused, the application may still give a good one."""

    def application(environ, start_response):
        try:
            start_response("fine", [])
        except InvalidStatus:
            start_response("400 Bad Request", [])
        return [b"mended"]

    response = serve(application).read()

    assert status_of(response) == "HTTP/1.1 400 Bad Request"


def test_a_bad_header_has_replaced_nothing() -> None:
    """After a restart that is refused, status and headers are what they were."""

    def application(environ, start_response):
        start_response("200 OK", [("X-One", "1")])
        try:
            start_response("503 Later", [("X One", "2")], exc_info())
        except InvalidHeaders:
            return [b"as before"]

    response = serve(application).read()

    assert status_of(response) == "HTTP/1.1 200 OK"
    assert fields_of(response, "X-One") == ["X-One: 1"]


@pytest.mark.parametrize("restart", [(), (exc_info(),)], ids=["START", "RESTART"])
def test_start_after_the_end(restart: tuple[ExcInfo, ...]) -> None:
    """An application that calls start_response too late is told so."""
    kept = []

    def application(environ, start_response):
        kept.append(start_response)
        start_response("200 OK", [])
        return [b"all"]

    served = serve(application)
    before = served.read()

    with pytest.raises(ResponseOver, match=r"\(GET /\)"):
        kept[0]("200 OK", [], *restart)

    assert body_of(before) == b"all"
    assert served.read() == b""


def test_start_after_the_client_has_left() -> None:
    """There is no response to start for a client that is gone."""
    kept = []

    def application(environ, start_response):
        kept.append(start_response)
        return iter([b"", b"block"])

    served = serve(application)
    served.leave()

    with pytest.raises(ResponseOver):
        kept[0]("200 OK", [])


@pytest.mark.parametrize("kind", [list, iter])
@pytest.mark.parametrize("blocks", [[], [b""], [b"block"], [b"", b"block"]], ids=repr)
def test_start_response_is_missing(
    kind: Kind, blocks: list[bytes], logged: Logged
) -> None:
    """A body, or the end of it, without start_response is the application's error."""

    def application(environ, start_response):
        return kind(blocks)

    served = serve(application)
    response = served.read()

    assert len(logged.flush(StartResponseMissing)) == 1
    assert status_of(response) == "HTTP/1.1 500 Internal Server Error"
    assert not served.closed


# write


def test_write_sends_at_once() -> None:
    """Head and block are on their way when write returns."""
    sent = []

    def application(environ, start_response):
        write = start_response("200 OK", [])
        write(b"one")
        sent.append(served.drain())
        write(b"two")
        sent.append(served.drain())
        return [b"three"]

    served = serve(application, b"")
    served.send(GET)

    assert status_of(sent[0]) == "HTTP/1.1 200 OK"
    assert body_of(sent[0]) == b"3\r\none\r\n"
    assert sent[1] == b"3\r\ntwo\r\n"
    assert served.drain() == b"5\r\nthree\r\n0\r\n\r\n"


def test_each_start_gives_the_same_write() -> None:
    """The write of a call that was replaced writes to the response all the same."""

    def application(environ, start_response):
        write = start_response("200 OK", [])
        start_response("503 Later", [], exc_info())
        write(b"sorry")
        return []

    response = serve(application).read()

    assert status_of(response) == "HTTP/1.1 503 Later"
    assert body_of(response) == b"5\r\nsorry\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "block", ["text", None, 1, bytearray(b"array"), [b"list"]], ids=repr
)
def test_write_takes_bytes_only(block: object, logged: Logged) -> None:
    """A block of another type is refused, and nothing of it is sent."""

    def application(environ, start_response):
        start_response("200 OK", [])(block)
        return []

    response = serve(application).read()

    (failure,) = logged.flush(WrongType)
    assert failure.getErrorMessage() == (
        f"Can only write bytes to a transport, not {block!r}"
    )
    assert status_of(response) == "HTTP/1.1 500 Internal Server Error"


def test_write_does_not_wait_for_the_application_to_return() -> None:
    """Each block that is written is pushed, unlike one that is given."""
    wire = Wire()
    response = Response(wire, "GET /")
    write = response.start_response("200 OK", [])
    pushed = []

    for send in (response.write, write, response.write, write):
        send(b"x")
        pushed.append(wire.pushed)

    assert pushed == [None, b"xx", b"xx", b"xxxx"]


def test_write_of_an_empty_block_sends_the_head(logged: Logged) -> None:
    """After write was called at all, status and headers may not be replaced."""

    def application(environ, start_response):
        start_response("200 OK", [])(b"")
        start_response("503 Later", [], exc_info())

    served = serve(application)
    response = served.read()

    assert len(logged.flush(Boom)) == 1
    assert status_of(response) == "HTTP/1.1 200 OK"
    assert body_of(response) == b""
    assert served.closed


def test_write_after_the_end() -> None:
    """A block too late is refused, and the client gets nothing of it."""
    kept = []

    def application(environ, start_response):
        kept.append(start_response("200 OK", []))
        return [b"all"]

    served = serve(application)
    served.read()

    with pytest.raises(ResponseOver, match="is complete"):
        kept[0](b"more")

    assert served.read() == b""


def test_write_after_the_client_has_left() -> None:
    """An application does not fail because its client went away."""
    kept = []

    def application(environ, start_response):
        kept.append(start_response("200 OK", []))
        return iter([b"", b"block"])

    served = serve(application)
    served.leave()

    kept[0](b"more")

    assert served.drain() == b""


@pytest.mark.parametrize("head_only", [False, True])
def test_the_client_turns_out_to_be_gone(head_only: bool) -> None:
    """When sending the head tells that nobody is there, nothing else is sent."""
    wire = Wire(head_only=head_only)
    response = Response(wire, "GET /")
    wire.found_gone = response.lost
    write = response.start_response("200 OK", [])

    write(b"block")

    assert response.state is State.ABORTED
    assert wire.seen == (None, b"", "lost")
    assert wire.pushed is None


# commit


def test_commit_sends_the_head_once() -> None:
    """To commit twice is to commit once."""
    wire = Wire()
    response = response_in(State.HEADERS_SET, wire)

    response.commit()
    response.commit()

    assert response.state is State.HEADERS_SENT
    assert wire.seen == (200, b"", "open")
    assert wire.pushed == b""


def test_commit_without_a_head() -> None:
    """There is nothing to commit before start_response."""
    response = response_in(State.WAITING)

    with pytest.raises(StartResponseMissing):
        response.commit()


# Content-Length that we declare


FRAMINGS = [
    (list, [b"block"], ["Content-Length: 5"], b"block"),
    (tuple, [b"block"], ["Content-Length: 5"], b"block"),
    (list, [b""], ["Content-Length: 0"], b""),
    (list, [], ["Content-Length: 0"], b""),
    (tuple, [], ["Content-Length: 0"], b""),
    (
        list,
        [b"a", b"b"],
        ["Transfer-Encoding: chunked"],
        b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
    ),
    (iter, [b"block"], ["Transfer-Encoding: chunked"], b"5\r\nblock\r\n0\r\n\r\n"),
    (iter, [], ["Transfer-Encoding: chunked"], b"0\r\n\r\n"),
]


@pytest.mark.parametrize(("kind", "blocks", "framing", "body"), FRAMINGS)
def test_how_a_body_is_framed(
    kind: Kind, blocks: list[bytes], framing: list[str], body: bytes
) -> None:
    """Content-Length is known for a list of at most one block, and for no other."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return kind(blocks)

    served = serve(application)
    response = served.read()

    assert fields_of(response, "Content-Length", "Transfer-Encoding") == framing
    assert body_of(response) == body
    assert not served.closed


def test_what_the_application_declares_is_not_declared_again() -> None:
    """There is one Content-Length, the application's."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "05")])
        return [b"block"]

    response = serve(application).read()

    assert fields_of(response, "Content-Length") == ["Content-Length: 05"]


def test_the_length_is_declared_after_the_headers() -> None:
    """Content-Length is added to the application's headers, which stay as they are."""
    wire = Wire()
    response = Response(wire, "GET /")
    headers = [("X-One", "1"), ("X-Two", "2")]
    response.start_response("200 OK", headers)

    response.declare_length(5)
    response.commit()

    assert wire.head == Head(
        200,
        b"OK",
        [(b"X-One", b"1"), (b"X-Two", b"2"), (b"Content-Length", b"5")],
        5,
    )
    assert headers == [("X-One", "1"), ("X-Two", "2")]


@pytest.mark.parametrize("lengths", [[], [("Content-Length", "5")]])
def test_a_whole_body_is_sent_with_its_head(lengths: list[tuple[str, str]]) -> None:
    """It has its length, whoever told that, and the response ends with it."""
    wire = Wire()
    response = Response(wire, "GET /there")
    response.start_response("200 OK", lengths)

    assert response.whole(b"block")

    assert response.state is State.FINISHED
    assert wire.seen == (200, b"block", "kept")
    assert wire.head is not None
    assert wire.head.content_length == 5


@pytest.mark.parametrize(
    ("status", "lengths", "head_only"),
    [
        pytest.param("200 OK", "4", False, id="too long"),
        pytest.param("200 OK", "6", False, id="too short"),
        pytest.param("204 No Content", None, False, id="no body"),
        pytest.param("200 OK", None, True, id="HEAD"),
    ],
)
def test_a_whole_body_that_needs_more_care(
    status: str, lengths: str | None, head_only: bool
) -> None:
    """Nothing is sent, and the response can still be written."""
    wire = Wire(head_only=head_only)
    response = Response(wire, "GET /there")
    headers = [] if lengths is None else [("Content-Length", lengths)]
    response.start_response(status, headers)

    assert not response.whole(b"block")

    assert response.state is State.HEADERS_SET
    assert wire.head is None


@pytest.mark.parametrize("state", [s for s in State if s is not State.HEADERS_SET])
def test_a_whole_body_at_another_time(state: State) -> None:
    """It is not sent."""
    wire = Wire()
    response = response_in(state, wire)
    before = wire.seen

    assert not response.whole(b"block")

    assert wire.seen == before


def test_a_declared_length_is_kept_to() -> None:
    """What we declare is held to as what the application declares."""
    wire = Wire()
    response = Response(wire, "GET /")
    response.start_response("200 OK", [])
    response.declare_length(5)
    response.write(b"abc")

    with pytest.raises(BodyTooShort, match="is 5 and the body ended 2 bytes before"):
        response.end()


# Content-Length and the body


TOO_LONG = [
    (3, [b"abcd"]),
    (3, [b"ab", b"cd"]),
    (3, [b"abc", b"d"]),
    (3, [b"a", b"b", b"c", b"d", b"e"]),
    (0, [b"a"]),
    (0, [b"a", b"b"]),
]


@pytest.mark.parametrize("kind", [list, iter])
@pytest.mark.parametrize(("length", "blocks"), TOO_LONG)
def test_a_body_that_is_too_long(
    kind: Kind, length: int, blocks: list[bytes], logged: Logged
) -> None:
    """It is cut at Content-Length, logged once, and the connection is closed."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(length))])
        return kind(blocks)

    served = serve(application, GET.replace(b"/", b"/long", 1))
    response = served.read()

    assert fields_of(response, "Content-Length") == [f"Content-Length: {length}"]
    assert body_of(response) == b"abc"[:length]
    assert served.closed
    assert [formatEvent(event) for event in logged.at("error")] == [
        f"GET /long: the body is longer than its Content-Length of {length} bytes "
        f"and was cut there"
    ]


def test_a_body_that_is_too_long_is_not_asked_for_more() -> None:
    """After the block that was cut, the iterable is closed."""
    asked = []

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "3")])
        try:
            for block in (b"ab", b"cd", b"ef"):
                asked.append(block)
                yield block
        finally:
            asked.append(b"closed")

    serve(application).read()

    assert asked == [b"ab", b"cd", b"closed"]


def test_writing_too_much(logged: Logged) -> None:
    """What write is given beyond Content-Length is dropped, and logged once."""

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "3")])
        write(b"ab")
        write(b"cd")
        write(b"ef")
        return [b"gh"]

    served = serve(application)
    response = served.read()

    assert body_of(response) == b"abc"
    assert served.closed
    assert len(logged.at("error")) == 1


FITTING = [
    (3, [b"abc"]),
    (3, [b"", b"ab", b"", b"c", b""]),
    (0, []),
    (0, [b""]),
    (0, [b"", b""]),
]


@pytest.mark.parametrize("kind", [list, iter])
@pytest.mark.parametrize(("length", "blocks"), FITTING)
def test_a_body_that_fits(
    kind: Kind, length: int, blocks: list[bytes], logged: Logged
) -> None:
    """A body of just Content-Length bytes leaves the connection open."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(length))])
        return kind(blocks)

    served = serve(application)
    response = served.read()

    assert fields_of(response, "Content-Length") == [f"Content-Length: {length}"]
    assert body_of(response) == b"abc"[:length]
    assert not served.closed
    assert logged.at("error") == []


TOO_SHORT = [
    ([], b"", 5),
    ([b""], b"", 5),
    ([b"ab"], b"ab", 3),
    ([b"ab", b"", b"cd"], b"abcd", 1),
]


@pytest.mark.parametrize("kind", [list, iter])
@pytest.mark.parametrize(("blocks", "body", "missing"), TOO_SHORT)
def test_a_body_that_is_too_short(
    kind: Kind, blocks: list[bytes], body: bytes, missing: int, logged: Logged
) -> None:
    """The client gets what there is, then the end of the connection."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        return kind(blocks)

    served = serve(application)
    response = served.read()

    assert status_of(response) == "HTTP/1.1 200 OK"
    assert body_of(response) == body
    assert served.closed
    (failure,) = logged.flush(BodyTooShort)
    assert failure.getErrorMessage() == (
        f"Content-Length is 5 and the body ended {missing} bytes before; "
        f"give all of it or no Content-Length"
    )


def test_the_end_of_a_short_body_after_the_client_has_left() -> None:
    """A body that nobody waits for is over, and not too short."""
    response = Response(Wire(), "GET /")
    response.start_response("200 OK", [("Content-Length", "5")])
    response.write(b"ab")
    response.lost()

    with pytest.raises(ResponseOver):
        response.end()


# Responses without a body


BODILESS = [
    (GET, "204 No Content", [], False),
    (GET, "304 Not Modified", ["Content-Length: 3"], False),
    (GET, "205 Reset Content", ["Content-Length: 0"], False),
    (GET, "100 Continue", [], True),
    (GET, "199 Odd", [], True),
    (HEAD, "200 OK", ["Content-Length: 3"], False),
    (HEAD, "404 Not Found", ["Content-Length: 3"], False),
    (HEAD, "204 No Content", [], False),
    (HEAD, "304 Not Modified", ["Content-Length: 3"], False),
    (HEAD, "100 Continue", [], True),
]


@pytest.mark.parametrize("blocks", [[], [b"abc"], [b"a"], [b"a", b"bcde"]], ids=repr)
@pytest.mark.parametrize(("request_", "status", "length", "closed"), BODILESS)
def test_a_response_without_a_body(
    request_: bytes,
    status: str,
    length: list[str],
    closed: bool,
    blocks: list[bytes],
    logged: Logged,
) -> None:
    """No block is sent, and Content-Length only where it tells of another body."""

    def application(environ, start_response):
        start_response(status, [("CONTENT-length", "3"), ("X-One", "1")])
        return iter(blocks)

    served = serve(application, request_)
    response = served.read()

    assert status_of(response) == f"HTTP/1.1 {status}"
    fields = fields_of(response, "Content-Length", "Transfer-Encoding")
    # The stock door writes the names in its own way.
    assert [field.title() for field in fields] == length
    assert fields_of(response, "X-One") == ["X-One: 1"]
    assert body_of(response) == b""
    assert served.closed is closed
    assert logged.at("error") == []


@pytest.mark.parametrize("status", ["200 OK", "203 Odd", "206 Odd", "303 Odd"])
def test_a_response_with_a_body(status: str) -> None:
    """What is not one of these has a body."""

    def application(environ, start_response):
        start_response(status, [])
        return [b"abc"]

    response = serve(application).read()

    assert fields_of(response, "Content-Length") == ["Content-Length: 3"]
    assert body_of(response) == b"abc"


UNDECLARED = [
    (GET, "204 No Content", [b"abc"], []),
    (GET, "304 Not Modified", [b"abc"], []),
    (GET, "304 Not Modified", [], []),
    (GET, "205 Reset Content", [b"abc"], ["Content-Length: 0"]),
    (GET, "205 Reset Content", [], ["Content-Length: 0"]),
    (GET, "100 Continue", [b"abc"], []),
    (HEAD, "204 No Content", [b"abc"], []),
    (HEAD, "200 OK", [b"abc"], ["Content-Length: 3"]),
    (HEAD, "200 OK", [b""], []),
    (HEAD, "200 OK", [], []),
]


@pytest.mark.parametrize(("request_", "status", "blocks", "length"), UNDECLARED)
def test_which_length_is_declared_without_a_body(
    request_: bytes, status: str, blocks: list[bytes], length: list[str]
) -> None:
    """For HEAD, the one block tells of GET's body; an empty one tells nothing."""

    def application(environ, start_response):
        start_response(status, [])
        return blocks

    response = serve(application, request_).read()

    assert fields_of(response, "Content-Length") == length
    assert body_of(response) == b""


@pytest.mark.parametrize(
    ("request_", "status"), [(HEAD, "200 OK"), (GET, "204 No"), (GET, "304 Not")]
)
def test_a_body_that_nobody_gets_is_not_asked_for(request_: bytes, status: str) -> None:
    """After its first block, which sends the head, the iterable is closed."""
    asked = []

    def application(environ, start_response):
        start_response(status, [])
        try:
            for block in (b"", b"one", b"two"):
                asked.append(block)
                yield block
        finally:
            asked.append(b"closed")

    served = serve(application, request_)
    response = served.read()

    assert asked == [b"", b"one", b"closed"]
    assert body_of(response) == b""
    assert not served.closed


def test_an_informational_response_announces_the_close() -> None:
    """A 1xx promises a final response, which no application can give."""
    wire = Wire()
    response = Response(wire, "GET /")
    response.start_response("199 Odd", [])

    response.end()

    assert wire.close_announced
    assert wire.ending == "closed"


# Failures


def test_an_error_before_the_head(logged: Logged) -> None:
    """The client gets an error page, nothing of the headers, and may go on."""

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/fine":
            start_response("200 OK", [])
            return [b"fine"]
        start_response("200 OK", [("X-One", "1"), ("Content-Length", "1000")])
        raise Boom

    served = serve(application)
    failed = served.read()
    served.send(GET.replace(b"/", b"/fine", 1))

    assert len(logged.flush(Boom)) == 1
    assert status_of(failed) == "HTTP/1.1 500 Internal Server Error"
    assert fields_of(failed, "X-One", "Content-Length") == [
        f"Content-Length: {len(body_of(failed))}"
    ]
    assert body_of(served.read()) == b"fine"


def test_an_error_in_answer_to_head(logged: Logged) -> None:
    """The error page to HEAD is its head, as to GET."""

    def application(environ, start_response):
        raise Boom

    answers = [serve(application, request).read() for request in (GET, HEAD)]

    assert len(logged.flush(Boom)) == 2
    length = f"Content-Length: {len(body_of(answers[0]))}"
    assert [fields_of(answer, "Content-Length") for answer in answers] == [[length]] * 2
    assert body_of(answers[1]) == b""


def test_the_error_page_has_no_body_for_head() -> None:
    """The connection is given the page's head, and not told of a body."""
    wire = Wire(head_only=True)
    response = Response(wire, "HEAD /")

    response.fail(*error_page("", None))

    assert wire.seen == (500, b"", "kept")


@pytest.mark.parametrize("headers", [[], [("Content-Length", "100")]], ids=repr)
def test_an_error_after_the_head(
    headers: list[tuple[str, str]], logged: Logged
) -> None:
    """The connection is cut, so that the client cannot take the body for complete."""

    def application(environ, start_response):
        start_response("200 OK", headers)
        yield b"block"
        raise Boom

    served = serve(application)
    response = served.read()

    assert len(logged.flush(Boom)) == 1
    assert status_of(response) == "HTTP/1.1 200 OK"
    assert b"block" in body_of(response)
    assert b"0\r\n\r\n" not in body_of(response)
    assert served.closed


def test_an_error_after_the_error_page(logged: Logged) -> None:
    """The second error is logged, and the client has the page of the first."""

    class FailsTwice:
        def __iter__(self):
            raise Boom("in the body")

        def close(self):
            raise Boom("in close")

    def application(environ, start_response):
        return FailsTwice()

    served = serve(application, debug=True)
    response = served.read()

    assert [failure.getErrorMessage() for failure in logged.flush(Boom)] == [
        "in the body",
        "in close",
    ]
    assert response.count(b"HTTP/1.1 500 Internal Server Error") == 1
    assert b"Boom: in the body" in response
    assert b"Boom: in close" not in response
    assert not served.closed


def test_an_error_after_the_client_has_left(logged: Logged) -> None:
    """The error is logged; there is nobody to send a page to."""

    def application(environ, start_response):
        try:
            start_response("200 OK", [])
            yield b"block"
            yield b"never"
        finally:
            raise Boom("in close")

    served = serve(application)
    sent = served.read(1)

    served.leave()

    assert body_of(sent) == b"5\r\nblock\r\n"
    (failure,) = logged.flush(Boom)
    assert failure.getErrorMessage() == "in close"
    assert served.read() == b""


def test_the_client_leaves_in_the_middle() -> None:
    """What was being sent is cut short, and nothing more is sent."""

    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"one"
        yield b"two"

    served = serve(application)
    served.turn()
    sent = served.drain()

    served.leave()

    assert body_of(sent) == b"3\r\none\r\n"
    assert served.read() == b""
    assert served.clock.getDelayedCalls() == []
