"""
The extensions of environ, each to the letter of its contract.

What it takes real sockets to tell of ``flush`` is in ``test_flush``; waiting for
descriptors, in ``test_descriptors``; what a client's copy is compared with, in
``test_validation``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest
from doors import STOCK, scheduled, serve, serve_in_a_turn
from waiting import (
    FLUSH,
    LAST_CHUNK,
    PAUSE_OUTPUT,
    READABLE,
    STATUS,
    SUSPEND,
    TIMEOUT,
    WRITABLE,
    Body,
    Boom,
    Pair,
    Waiting,
    body_of,
    chunks,
    fields_of,
    leaves_something,
    open_descriptors,
    status_of,
)

from twisted_wsgiflush._types import Environ, WSGIApplication
from twisted_wsgiflush.errors import (
    AlreadyStarted,
    AlreadySuspended,
    InvalidStatus,
    ResponseError,
    StartResponseMissing,
    WrongType,
)
from twisted_wsgiflush.testing import GET, Served, Turns

if TYPE_CHECKING:
    from conftest import Logged

pytestmark = pytest.mark.usefixtures("door")


V1 = [("ETag", '"v1"')]
FRESH = GET.replace(b"\r\n\r\n", b'\r\nIf-None-Match: "v1"\r\n\r\n')
HEAD = GET.replace(b"GET", b"HEAD")
A_YEAR = 365 * 24 * 3600


@pytest.fixture
def pair() -> Iterator[Pair]:
    with closing(Pair()) as pair:
        yield pair


def case(sentence: str, *values: object) -> Any:
    """A row of a table, and what it is called in the report."""
    return pytest.param(*values, id=sentence)


# --- the keys


def test_the_keys_are_there() -> None:
    """Each of the contract's, and of its type."""
    found: Environ = {}

    def application(environ, start_response):
        found.update(environ)
        start_response("200 OK", [])
        return []

    served = serve(application, b"GET /a%20b?c HTTP/1.1\r\nHost: example.com\r\n\r\n")

    assert found["wsgi.asynchronous"] is True
    assert found["wsgi.input_terminated"] is True
    for key in (FLUSH, PAUSE_OUTPUT, SUSPEND, READABLE, WRITABLE):
        assert callable(found[key])
    assert bool(found[STATUS]) in (True, False)
    assert bool(found[TIMEOUT]) is False
    assert issubclass(found["wsgi.response_error"], Exception)
    assert isinstance(found["wsgi.file_wrapper"], type)
    assert found["twisted.reactor"] is served.clock
    assert found["RAW_URI"] == found["REQUEST_URI"] == "/a%20b?c"


def test_the_callables_are_of_one_request() -> None:
    """What one request's do is nothing to another's, on the same connection."""
    applications: list[Waiting] = []

    def application(environ, start_response):
        applications.append(Waiting())
        return applications[-1](environ, start_response)

    first = serve(application)
    serve(application, clock=first.clock)
    first.turn()
    applications[0].resume()
    first.turn()

    assert [application.went_on for application in applications] == [True, False]


def finished(application: WSGIApplication) -> Served:
    served = serve(application)
    served.read()
    return served


def left(application: WSGIApplication) -> Served:
    served = serve(application)
    served.drain()
    served.leave()
    return served


@pytest.mark.parametrize("ended", [finished, left])
@pytest.mark.parametrize(
    ("key", "arguments"),
    [(SUSPEND, ()), (PAUSE_OUTPUT, ()), (SUSPEND, (-1,)), (SUSPEND, ("no number",))],
)
def test_suspending_when_it_is_over_does_nothing(ended, key, arguments) -> None:
    """It returns a callable, as ever, which returns False; whatever the arguments."""
    kept: Environ = {}

    def application(environ, start_response):
        kept.update(environ)
        start_response("200 OK", [])
        return [b"one", b"two"]

    served = ended(application)
    resume = kept[key](*arguments)
    again = kept[key](*arguments)

    assert resume() is False
    assert again() is False
    assert leaves_something(served) == []


@pytest.mark.parametrize("ended", [finished, left])
@pytest.mark.parametrize(
    ("key", "arguments"),
    [
        (FLUSH, ()),
        (READABLE, (0, 1)),
        (WRITABLE, (0, 1)),
        (READABLE, (10**6,)),
        (READABLE, (-1, "no number")),
        (WRITABLE, (None,)),
    ],
)
def test_other_extensions_do_nothing_when_it_is_over(ended, key, arguments) -> None:
    """They return an empty block: an application never fails for a client that left."""
    kept: Environ = {}

    def application(environ, start_response):
        kept.update(environ)
        start_response("200 OK", [])
        return Body(b"one", b"two")

    served = ended(application)
    before = open_descriptors()

    assert kept[key](*arguments) == b""
    assert open_descriptors() == before
    assert served.drain() == b""
    assert leaves_something(served) == []


class ResumesInClose:
    """
    Resumes in ``close()``, when there is nothing to go on with any more.

    :param blocks: before the end.
    """

    def __init__(self, blocks: list[bytes]) -> None:
        self.environ: Environ = {}
        self.resumed: list[bool] = []
        self.statuses: list[bool] = []
        self._blocks = iter(blocks)

    def __call__(self, environ, start_response):
        self.environ = environ
        start_response("200 OK", [])
        environ[SUSPEND]()()
        self._note_status()
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield b""
        self.resume = self.environ[SUSPEND](0)
        yield b""
        self._note_status()
        self.resume = self.environ[SUSPEND]()
        yield from self._blocks

    def close(self) -> None:
        self.resumed.append(self.resume())
        self.resumed.append(self.environ[SUSPEND]()())
        self._note_status()

    def _note_status(self) -> None:
        self.statuses.append(bool(self.environ[STATUS]))


@pytest.mark.parametrize(
    ("leaves", "blocks"),
    [(True, [b""]), (True, [b"block"] * 20), (False, []), (False, [b"block"])],
    ids=["left, suspended", "left, to be suspended", "no block", "a block"],
)
def test_there_is_nothing_to_resume_in_close(leaves, blocks) -> None:
    """
    Neither what is due or in force then, nor what is asked for in there; and the
    status is that of the last suspension that ended.
    """
    application = ResumesInClose(blocks)

    served = serve(application)
    served.read(10)
    if leaves:
        served.leave()

    assert application.resumed == [False, False]
    assert application.statuses == [True, False, False]
    assert leaves_something(served) == []


@pytest.mark.parametrize("key", [FLUSH, PAUSE_OUTPUT, SUSPEND])
def test_an_application_that_is_closed_may_call_them(key: str) -> None:
    """Its ``finally`` need not know why it is called."""
    closed = []

    def application(environ, start_response):
        start_response("200 OK", [])
        try:
            yield b"block"
            yield b"block"
        finally:
            environ[key]()
            closed.append(True)

    served = serve(application)
    served.turn()
    served.leave()

    assert closed == [True]
    assert leaves_something(served) == []


# --- flush: 1 and 2


@pytest.mark.parametrize("validation", [True, False])
def test_flushing_before_the_start_is_an_error(validation) -> None:
    """It is raised in the application, which may go on."""
    raised = []

    def application(environ, start_response):
        with pytest.raises(StartResponseMissing) as error:
            environ[FLUSH]()
        raised.append(error)
        start_response("200 OK", [])
        return [b"went on"]

    response = serve(application, validation=validation).drain()

    assert len(raised) == 1
    assert response.endswith(b"\r\n\r\nwent on")


@pytest.mark.parametrize("request_", [GET, HEAD, FRESH])
def test_flush_returns_an_empty_block(request_: bytes) -> None:
    """So that a generator may write ``yield flush()``."""
    returned = []

    def application(environ, start_response):
        start_response("200 OK", V1)
        returned.append(environ[FLUSH]())
        return [b"block"]

    serve(application, request_)

    assert returned == [b""]


def test_flush_takes_no_argument() -> None:
    """Nor does ``pause_output``."""

    def application(environ, start_response):
        for key in (FLUSH, PAUSE_OUTPUT):
            with pytest.raises(TypeError):
                environ[key](1)
        start_response("200 OK", [])
        return [b"refused"]

    assert serve(application).drain().endswith(b"refused")


def test_a_flushed_head_is_written_at_once() -> None:
    """Before any body, and while the application goes on."""
    written = []

    def application(environ, start_response):
        start_response("202 Accepted", [("X-Name", "value")])
        written.append(served.drain())
        environ[FLUSH]()
        written.append(served.drain())
        return [b"block"]

    served = serve(application, b"")
    served.send(GET)

    assert written[0] == b""
    assert status_of(written[1]) == "HTTP/1.1 202 Accepted"
    assert fields_of(written[1], "X-Name") == ["value"]
    assert body_of(written[1]) == b""
    assert served.read() == chunks(b"block") + LAST_CHUNK


def test_a_flushed_head_is_written_once() -> None:
    """To flush again is to flush nothing."""

    def application(environ, start_response):
        start_response("200 OK", [])
        yield environ[FLUSH]()
        yield environ[FLUSH]()
        yield b"block"
        yield environ[FLUSH]()

    response = serve(application).read()

    assert response.count(b"HTTP/1.1") == 1
    assert body_of(response) == chunks(b"block") + LAST_CHUNK


def test_a_flushed_head_cannot_be_replaced() -> None:
    """PEP 3333: ``start_response`` raises what it is given then."""
    raised = []

    def application(environ, start_response):
        start_response("200 OK", [])
        environ[FLUSH]()
        boom = Boom()
        with pytest.raises(Boom) as error:
            start_response("500 Oh", [], (Boom, boom, None))
        raised.append(error.value is boom)
        with pytest.raises(AlreadyStarted):
            start_response("200 OK", [])
        return [b"block"]

    response = serve(application).read()

    assert raised == [True]
    assert status_of(response) == "HTTP/1.1 200 OK"


def test_an_application_that_fails_after_a_flush_is_cut(logged: Logged) -> None:
    """Its head is the client's already, and it is not ended cleanly."""

    def application(environ, start_response):
        start_response("200 OK", [])
        environ[FLUSH]()
        raise Boom

    served = serve(application)
    response = served.read()

    assert status_of(response) == "HTTP/1.1 200 OK"
    assert body_of(response) == b""
    assert served.closed
    assert len(logged.flush(Boom)) == 1


# --- flush: 3 and 4, the work that is spared


def flushes_in_its_call(body: Body) -> WSGIApplication:
    def application(environ, start_response):
        start_response("200 OK", V1)
        environ[FLUSH]()
        return body

    return application


def flushes_in_its_first_block(body: Body) -> WSGIApplication:
    def application(environ, start_response):
        start_response("200 OK", V1)
        body.blocks.insert(0, environ[FLUSH])
        return body

    return application


def flushes_and_gives_a_block(body: Body) -> WSGIApplication:
    def application(environ, start_response):
        start_response("200 OK", V1)
        body.blocks.insert(0, lambda: environ[FLUSH]() + b"block")
        return body

    return application


def flushes_and_gives_a_list(body: Body) -> WSGIApplication:
    class Blocks(list[bytes]):
        close = body.close

        def __iter__(self) -> Iterator[bytes]:
            return iter(body)

    def application(environ, start_response):
        start_response("200 OK", V1)
        environ[FLUSH]()
        return Blocks([b"one"])

    return application


SPARED = pytest.mark.parametrize(
    ("flushing", "done"),
    [
        (flushes_in_its_call, ["close"]),
        (flushes_in_its_first_block, ["iter", "next", "close"]),
        (flushes_and_gives_a_block, ["iter", "next", "close"]),
        (flushes_and_gives_a_list, ["close"]),
    ],
)


@SPARED
def test_a_fresh_copy_spares_the_work(flushing, done) -> None:
    """The client gets a 304, and the iterable is closed and not iterated (further)."""
    body = Body(b"expensive", b"body")
    served = serve(flushing(body), FRESH)

    response = served.read()

    assert status_of(response) == "HTTP/1.1 304 Not Modified"
    assert fields_of(response, "ETag") == ['"v1"']
    assert body_of(response) == b""
    assert body.done == done
    assert leaves_something(served) == []


@SPARED
def test_nobody_spares_the_work_unasked(flushing, done) -> None:
    """``validation=False`` has it done for every client."""
    body = Body(b"expensive", b"body")

    response = serve(flushing(body), FRESH, validation=False).read()

    assert status_of(response) == "HTTP/1.1 200 OK"
    assert body_of(response).endswith(chunks(b"expensive", b"body") + LAST_CHUNK)
    assert body.done[-2:] == ["next", "close"]


@SPARED
def test_a_copy_that_is_not_fresh_is_replaced(flushing, done) -> None:
    """With the whole response."""
    body = Body(b"expensive", b"body")

    response = serve(flushing(body), FRESH.replace(b"v1", b"v0")).read()

    assert status_of(response) == "HTTP/1.1 200 OK"
    assert body_of(response).endswith(chunks(b"expensive", b"body") + LAST_CHUNK)
    assert body.done[-2:] == ["next", "close"]


@SPARED
@pytest.mark.parametrize("validation", [True, False])
def test_head_spares_the_work(flushing, done, validation) -> None:
    """Its headers are those of GET; the iterable is closed and not iterated."""
    body = Body(b"expensive", b"body")

    response = serve(flushing(body), HEAD, validation=validation).read()

    assert status_of(response) == "HTTP/1.1 200 OK"
    assert fields_of(response, "ETag") == ['"v1"']
    assert body_of(response) == b""
    assert body.done == done


def test_head_is_validated_as_get() -> None:
    """RFC 9110, 13.1.2: with the same outcome."""
    body = Body(b"expensive")
    request = FRESH.replace(b"GET", b"HEAD")

    response = serve(flushes_in_its_call(body), request).read()

    assert status_of(response) == "HTTP/1.1 304 Not Modified"
    assert body.done == ["close"]


def test_post_is_not_validated() -> None:
    """What it was to do is done by now, and the client is told what."""
    body = Body(b"done")

    response = serve(flushes_in_its_call(body), FRESH.replace(b"GET", b"POST")).read()

    assert status_of(response) == "HTTP/1.1 200 OK"
    assert body_of(response) == chunks(b"done") + LAST_CHUNK


@pytest.mark.parametrize("request_", [FRESH, HEAD])
def test_the_connection_goes_on_after_spared_work(request_) -> None:
    """Keep-alive: the next request on it is answered."""
    bodies = [Body(b"one"), Body(b"two")]
    given = iter(bodies)

    def application(environ, start_response):
        return flushes_in_its_call(next(given))(environ, start_response)

    served = serve(application, request_)
    first = served.read()
    served.send(GET)
    second = served.read()

    assert body_of(first) == b""
    assert status_of(second) == "HTTP/1.1 200 OK"
    assert body_of(second) == chunks(b"two") + LAST_CHUNK
    assert not served.closed
    assert [body.done.count("close") for body in bodies] == [1, 1]


def test_a_304_has_the_fields_of_a_304() -> None:
    """RFC 9110, 15.4.5; and Date and Server, which are ours."""

    def application(environ, start_response):
        headers = [
            ("Cache-Control", "max-age=60"),
            ("Content-Type", "text/html"),
            ("Content-Length", "1000000"),
            ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("Vary", "Accept"),
        ]
        start_response("200 OK", [*V1, *headers])
        yield environ[FLUSH]()

    response = serve(application, FRESH).read()

    assert fields_of(response, "ETag") == ['"v1"']
    assert fields_of(response, "Cache-Control") == ["max-age=60"]
    assert fields_of(response, "Vary") == ["Accept"]
    assert len(fields_of(response, "Date")) == len(fields_of(response, "Server")) == 1
    for name in (
        "Content-Type",
        "Content-Length",
        "Last-Modified",
        "Transfer-Encoding",
        "Connection",
    ):
        assert fields_of(response, name) == []


def test_an_old_copy_is_found_fresh_by_its_date() -> None:
    """If-Modified-Since, for a client that has no tag."""
    date = "Sun, 06 Nov 1994 08:49:37 GMT"

    def application(environ, start_response):
        start_response("200 OK", [("Last-Modified", date)])
        yield environ[FLUSH]()
        yield b"expensive"

    since = GET.replace(b"\r\n\r\n", b"\r\nIf-Modified-Since: %s\r\n\r\n")
    response = serve(application, since % date.encode()).read()

    assert status_of(response) == "HTTP/1.1 304 Not Modified"
    assert fields_of(response, "Last-Modified") == [date]


def test_only_a_flush_validates() -> None:
    """An application that does not ask for it decides for itself."""

    def application(environ, start_response):
        start_response("200 OK", V1)
        yield b"block"

    assert status_of(serve(application, FRESH).read()) == "HTTP/1.1 200 OK"


def test_a_head_that_is_sent_is_not_validated() -> None:
    """It cannot be replaced by a 304 any more."""

    def application(environ, start_response):
        write = start_response("200 OK", V1)
        write(b"one")
        yield environ[FLUSH]()
        yield b"two"

    response = serve(application, FRESH).read()

    assert status_of(response) == "HTTP/1.1 200 OK"
    assert body_of(response) == chunks(b"one", b"two") + LAST_CHUNK


def test_what_is_written_after_a_304_is_dropped() -> None:
    """An application need not know that its client's copy is fresh."""

    def application(environ, start_response):
        write = start_response("200 OK", V1)
        environ[FLUSH]()
        write(b"expensive")
        return [b"body"]

    response = serve(application, FRESH).read()

    assert status_of(response) == "HTTP/1.1 304 Not Modified"
    assert body_of(response) == b""


@pytest.mark.parametrize(
    ("key", "argument"), [(SUSPEND, None), (SUSPEND, 5000), (READABLE, None)]
)
@pytest.mark.parametrize("request_", [FRESH, HEAD])
def test_a_suspended_application_may_flush(key, argument, request_, pair: Pair) -> None:
    """
    The head is sent meanwhile, and where that spares the work it is closed at once,
    for there is nothing to wait for.
    """
    body = Body(b"", b"expensive")

    def application(environ, start_response):
        start_response("200 OK", V1)
        environ["twisted.reactor"].callLater(1, environ[FLUSH])
        environ[key](pair.left if key == READABLE else argument)
        return body

    before = open_descriptors()
    served = serve(application, request_)
    served.turn()
    waiting = served.drain()
    served.clock.turn(1)
    response = served.read(2)

    assert waiting == b""
    assert (
        status_of(response).split()[1]
        == (b"304" if request_ is FRESH else b"200").decode()
    )
    assert body.done == ["iter", "next", "close"]
    assert leaves_something(served) == []
    assert open_descriptors() == before


def test_a_suspended_application_whose_work_is_wanted_stays_suspended() -> None:
    """Its flush sends the head, and no more."""
    body = Body(b"", b"expensive")

    def application(environ, start_response):
        start_response("200 OK", V1)
        environ["twisted.reactor"].callLater(1, environ[FLUSH])
        environ[SUSPEND]()
        return body

    served = serve(application)
    served.turn()
    served.clock.turn(1)
    response = served.read()

    assert status_of(response) == "HTTP/1.1 200 OK"
    assert body_of(response) == b""
    assert body.done == ["iter", "next"]


# --- flush: 5 and 6


def test_a_block_is_taken_before_the_next_is_asked_for() -> None:
    """Every block so far, by a client that takes them one at a time."""
    body = Body(b"one", b"two", b"three")
    served = serve(flushes_in_its_call(body), limit=0)
    asked, taken = [], []

    for _ in range(5):
        served.turn(3)
        asked.append(body.done.count("next"))
        taken.append(served.drain())

    assert asked == [0, 1, 2, 3, 4]
    assert body_of(taken[0]) == b""
    assert taken[1:] == [chunks(b"one"), chunks(b"two"), chunks(b"three"), LAST_CHUNK]


@pytest.mark.parametrize("flushing", [flushes_in_its_call, flushes_in_its_first_block])
def test_a_flushed_body_is_chunked(flushing) -> None:
    """Its length is not known when the head is sent, not even that of a list."""
    response = serve(flushing(Body(b"one"))).read()

    assert fields_of(response, "Transfer-Encoding") == ["chunked"]
    assert fields_of(response, "Content-Length") == []
    assert body_of(response) == chunks(b"one") + LAST_CHUNK


@pytest.mark.parametrize("blocks", [[], [b""], [b"one"], (b"one",)])
def test_a_flushed_list_is_chunked(blocks) -> None:
    """As any other iterable, and it ends."""

    def application(environ, start_response):
        start_response("200 OK", [])
        environ[FLUSH]()
        return blocks

    response = serve(application).read()

    assert fields_of(response, "Content-Length") == []
    assert body_of(response) == chunks(*filter(None, blocks)) + LAST_CHUNK


def test_a_flushed_body_of_http_1_0_ends_with_the_connection() -> None:
    """It knows no chunks."""
    body = Body(b"one", b"two")
    request = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    served = serve(flushes_in_its_call(body), request)

    response = served.read()

    assert fields_of(response, "Transfer-Encoding") == []
    assert fields_of(response, "Content-Length") == []
    assert body_of(response) == b"onetwo"
    assert served.closed


def test_a_flushed_length_is_kept() -> None:
    """An application that knows it may say so."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "6")])
        yield environ[FLUSH]()
        yield b"onetwo"

    response = serve(application).read()

    assert fields_of(response, "Content-Length") == ["6"]
    assert body_of(response) == b"onetwo"


# --- suspend: when it comes into force, and when it ends

SUSPENDING = pytest.mark.parametrize(
    ("key", "arguments"),
    [
        case("suspend", SUSPEND, ()),
        case("suspend(None)", SUSPEND, (None,)),
        case("suspend(60000)", SUSPEND, (60000,)),
        case("pause_output", PAUSE_OUTPUT, ()),
    ],
)


@SUSPENDING
def test_a_suspended_application_is_not_asked(key, arguments) -> None:
    """From its empty block on, until it is resumed; then in the turn after."""
    application = Waiting(key, *arguments)
    served = serve(application)
    served.turn(10)
    before = application.went_on

    resumed = application.resume()
    at_once = application.went_on
    served.turn()

    assert (before, resumed, at_once) == (False, True, False)
    assert application.went_on is True
    assert bool(application.environ[STATUS]) is True
    assert body_of(served.read()) == chunks(b"went on") + LAST_CHUNK
    assert leaves_something(served) == []


@pytest.mark.parametrize(("key", "arguments"), [(PAUSE_OUTPUT, ()), (SUSPEND, ())])
def test_a_suspension_without_a_timeout_is_for_ever(key, arguments) -> None:
    """Nothing is scheduled meanwhile, and time does not end it."""
    application = Waiting(key, *arguments)
    served = serve(application)
    served.turn()

    assert scheduled(served) == []
    served.clock.turn(A_YEAR)
    assert application.went_on is False
    assert application.resume() is True


def test_nothing_is_sent_while_suspended() -> None:
    """Status and headers are decided after any number of suspensions."""
    resumes: list[Callable[[], bool]] = []

    def application(environ, start_response):
        start_response("200 OK", [("X-Try", "1")])
        for _ in range(3):
            resumes.append(environ[SUSPEND]())
            yield b""
        try:
            raise Boom
        except Boom as error:
            start_response("503 Later", [], (Boom, error, None))
        yield b"sorry"

    served = serve(application)
    sent = b""
    for number in range(3):
        served.turn(3)
        sent += served.drain()
        resumes[number]()
    response = served.read()

    assert sent == b""
    assert status_of(response) == "HTTP/1.1 503 Later"
    assert fields_of(response, "X-Try") == []
    assert body_of(response) == chunks(b"sorry") + LAST_CHUNK


def test_a_committed_head_is_sent_while_suspended() -> None:
    """The client has it, and waits for the body."""
    resumes: list[Callable[[], bool]] = []

    def application(environ, start_response):
        start_response("200 OK", [])
        environ[FLUSH]()
        resumes.append(environ[SUSPEND]())
        yield b""
        yield b"late"

    served = serve(application)
    early = served.read()
    resumes[0]()
    late = served.read()

    assert status_of(early) == "HTTP/1.1 200 OK"
    assert body_of(early) == b""
    assert late == chunks(b"late") + LAST_CHUNK


@pytest.mark.parametrize("blocks", [[], [b""], (b"",)])
def test_a_list_can_be_suspended(blocks) -> None:
    """One that has an empty block: the response ends when it is resumed."""
    resumes: list[Callable[[], bool]] = []

    def application(environ, start_response):
        start_response("200 OK", [])
        resumes.append(environ[SUSPEND]())
        return blocks

    served = serve(application)
    early = served.read()
    resumed = resumes[0]()
    late = served.read()

    assert resumed is bool(blocks)
    assert (early == b"") is bool(blocks)
    assert (early + late).endswith(LAST_CHUNK)


def test_a_resume_before_the_empty_block_is_not_lost() -> None:
    """That block does not suspend, nor does any after it."""
    returned = []

    def application(environ, start_response):
        start_response("200 OK", [])
        resume = environ[SUSPEND](1000)
        returned.append(resume())
        returned.append(bool(environ[STATUS]))
        yield b""
        returned.append(resume())
        yield b""
        yield b"went on"

    served = serve(application)
    response = served.read(4)

    assert returned == [True, True, False]
    assert body_of(response) == chunks(b"went on") + LAST_CHUNK
    assert leaves_something(served) == []


def test_a_resumed_suspension_has_its_block_yet() -> None:
    """Until then another one is refused, and then it is not."""
    refused = []

    def application(environ, start_response):
        start_response("200 OK", [])
        environ[SUSPEND]()()
        with pytest.raises(AlreadySuspended) as error:
            environ[SUSPEND]()
        refused.append(error)
        yield b""
        resume = environ[SUSPEND]()
        resume()
        yield b""
        yield b"went on"

    response = serve(application).read()

    assert len(refused) == 1
    assert body_of(response) == chunks(b"went on") + LAST_CHUNK


def test_an_application_is_resumed_once() -> None:
    """Whoever resumes it after the first one is told that he has not."""
    application = Waiting()
    served = serve(application)
    served.turn()

    returned = [application.resume() for _ in range(3)]
    served.turn()
    returned.append(application.resume())
    served.read()
    returned.append(application.resume())

    assert returned == [True, False, False, False, False]
    assert application.went_on is True


@pytest.mark.parametrize("resumed", [True, False])
def test_an_old_resume_lifts_nothing(resumed) -> None:
    """It belongs to its own suspension, whether that was resumed or timed out."""
    resumes: list[Callable[[], bool]] = []
    asked = []

    def application(environ, start_response):
        for number in range(2):
            resumes.append(environ[SUSPEND](10))
            yield b""
            asked.append(number)
        start_response("200 OK", [])

    served = serve(application)
    served.turn()
    if resumed:
        resumes[0]()
    served.clock.turn(0.01)
    served.turn(2)
    returned = resumes[0]()
    served.turn(3)

    assert returned is False
    assert asked == [0]
    assert resumes[1]() is True


def test_a_block_that_is_not_empty_is_sent_and_does_not_suspend() -> None:
    """The suspension stays due for the next empty one."""
    resumes: list[Callable[[], bool]] = []

    def application(environ, start_response):
        start_response("200 OK", [])
        resumes.append(environ[SUSPEND]())
        yield b"one"
        yield b"two"
        yield b""
        yield b"three"

    served = serve(application)
    early = served.read()
    resumed = resumes[0]()
    late = served.read()

    assert body_of(early) == chunks(b"one", b"two")
    assert resumed is True
    assert late == chunks(b"three") + LAST_CHUNK


@pytest.mark.parametrize("blocks", [[b"all"], [b"a", b"ll"], [], iter([b"all"])])
def test_a_suspension_that_never_had_its_block_ends_with_the_response(blocks) -> None:
    """The response is complete, and to resume is to do nothing."""
    resumes: list[Callable[[], bool]] = []

    def application(environ, start_response):
        start_response("200 OK", [])
        resumes.append(environ[SUSPEND](10))
        return blocks

    served = serve(application)
    response = served.read()

    assert response.endswith(LAST_CHUNK)
    assert resumes[0]() is False
    assert leaves_something(served) == []


ASKING = [
    case("suspend", lambda environ, socket: environ[SUSPEND](10)),
    case("pause_output", lambda environ, socket: environ[PAUSE_OUTPUT]()),
    case("readable", lambda environ, socket: environ[READABLE](socket)),
    case("writable", lambda environ, socket: environ[WRITABLE](socket, 1)),
]


@pytest.mark.parametrize("first", ASKING)
@pytest.mark.parametrize("second", ASKING)
def test_to_suspend_twice_is_an_error(first, second, pair: Pair) -> None:
    """It is raised in the application, and the first one stays due; nothing leaks."""
    pair.fill()
    blocks, opened = [], []

    def application(environ, start_response):
        first(environ, pair.left)
        opened.append(open_descriptors())
        with pytest.raises(AlreadySuspended):
            second(environ, pair.left)
        opened.append(open_descriptors())
        blocks.append(b"")
        yield b""
        blocks.append(b"went on")

    served = serve_in_a_turn(application)
    before = open_descriptors()
    served.turn(3)
    due = list(blocks)
    served.leave()

    assert due == blocks == [b""]
    assert opened[0] == opened[1]
    assert open_descriptors() == before


def test_a_suspension_asked_for_while_suspended_is_for_the_next_block() -> None:
    """By a callback, say: it is the next one."""
    resumes: list[Callable[[], bool]] = []
    asked = []

    def application(environ, start_response):
        resumes.append(environ[SUSPEND]())
        environ["twisted.reactor"].callLater(
            0, lambda: resumes.append(environ[SUSPEND]())
        )
        for number in range(2):
            yield b""
            asked.append(number)

    served = serve(application)
    served.turn(3)
    resumes[0]()
    served.turn(3)
    served.leave()

    assert asked == [0]
    assert resumes[1]() is False


# --- suspend: timeouts


def test_a_suspension_times_out() -> None:
    """After its milliseconds, counted from the empty block, and not before."""
    application = Waiting(SUSPEND, 250)
    served = serve_in_a_turn(application)
    served.clock.turn(5)
    went_on = []

    for seconds in (0, 0.249, 0.001, 0):
        served.clock.turn(seconds)
        went_on.append(application.went_on)

    assert went_on == [False, False, False, True]
    assert bool(application.environ[STATUS]) is False
    assert application.resume() is False
    assert bool(application.environ[STATUS]) is False
    assert body_of(served.read()) == chunks(b"went on") + LAST_CHUNK


def test_a_timeout_of_zero_is_the_next_turn() -> None:
    """It gives up a turn, and tells that it timed out."""
    application = Waiting(SUSPEND, 0)
    served = serve(application)

    served.turn(3)

    assert application.went_on is True
    assert bool(application.environ[STATUS]) is False


def test_a_resumed_suspension_does_not_time_out() -> None:
    """The status stays what it was, and nothing is scheduled any more."""
    application = Waiting(SUSPEND, 250)
    served = serve_in_a_turn(application)
    served.turn()

    application.resume()
    served.turn()
    steps = scheduled(served)
    served.clock.turn(1)

    assert application.went_on is True
    assert len(steps) == 1  # The next step.
    assert bool(application.environ[STATUS]) is True


def test_the_status_is_that_of_the_last_suspension() -> None:
    """It changes with each, and is the same object all the time."""
    statuses = []

    def application(environ, start_response):
        status = environ[STATUS]
        for timed_out in (True, False, True, False):
            resume = environ[SUSPEND](1)
            if not timed_out:
                environ["twisted.reactor"].callLater(0, resume)
            yield b""
            statuses.append(bool(status))
        start_response("200 OK", [])

    served = serve(application)
    for _ in range(20):
        served.clock.turn(0.0005)

    assert statuses == [False, True, False, True]


@pytest.mark.parametrize(
    ("timeout", "error"),
    [(-1, ValueError), (0.5, TypeError), ("1", TypeError), (True, TypeError)],
    ids=repr,
)
def test_a_timeout_that_is_none_is_an_error(timeout, error) -> None:
    """It is raised in the application, and nothing is suspended."""

    def application(environ, start_response):
        with pytest.raises(error):
            environ[SUSPEND](timeout)
        start_response("200 OK", [])
        yield b""
        yield b"went on"

    assert body_of(serve(application).read()) == chunks(b"went on") + LAST_CHUNK


@pytest.mark.parametrize(
    ("key", "timeout"),
    [(SUSPEND, 10**16), (SUSPEND, 10**400), (READABLE, 1e300), (READABLE, 10**400)],
    ids=["10**16 ms", "10**400 ms", "1e300 s", "10**400 s"],
)
def test_a_timeout_may_be_longer_than_anyone_waits(key, timeout, pair: Pair) -> None:
    """It is no error, and waits for as long as there is time."""
    arguments = (pair.left, timeout) if key == READABLE else (timeout,)
    application = Waiting(key, *arguments)

    served = serve(application)
    served.turn()
    served.clock.turn(100 * A_YEAR)
    served.turn()

    assert not application.went_on
    assert leaves_something(served) == []


def test_a_timeout_has_a_name() -> None:
    """The draft's."""
    returned = []

    def application(environ, start_response):
        returned.append(environ[SUSPEND](timeout=1)())
        start_response("200 OK", [])
        return []

    serve(application)

    assert returned == [True]


# --- resume, by others


def in_a_thread(function: Callable[[], bool]) -> bool:
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def test_another_thread_may_resume() -> None:
    """It does nothing there but ask the reactor, and returns what was true then."""
    application = Waiting()
    served = serve(application)
    served.turn()

    returned = [in_a_thread(application.resume), in_a_thread(application.resume)]
    at_once = application.went_on
    served.turn(2)
    returned.append(in_a_thread(application.resume))
    served.read()
    returned.append(in_a_thread(application.resume))
    served.turn()

    assert returned == [True, True, False, False]
    assert at_once is False
    assert application.went_on is True


def test_another_thread_may_resume_before_the_block() -> None:
    """Its resumption is not lost either, wherever the turn begins."""
    returned = []

    def application(environ, start_response):
        resume = environ[SUSPEND]()
        returned.append(in_a_thread(resume))
        yield b""
        start_response("200 OK", [])
        yield b"went on"

    response = serve(application).read(5)

    assert returned == [True]
    assert body_of(response) == chunks(b"went on") + LAST_CHUNK


class ThreadsLast(Turns):
    """As asyncio's reactor, it does what is due before what a thread asks for."""

    def callFromThread(
        self, callable: Callable[..., object], *args: object, **kw: object
    ) -> None:
        """Make a call in the next turn, after all others."""
        self.callLater(0, callable, *args, **kw)


def test_another_thread_is_in_time_before_the_block() -> None:
    """The block does not suspend, though the reactor has not heard of it."""
    status = []

    def application(environ, start_response):
        resume = environ[SUSPEND](0)
        in_a_thread(resume)
        yield b""
        status.append(bool(environ[STATUS]))
        start_response("200 OK", [])
        yield b"went on"

    serve(application, clock=ThreadsLast()).read()

    assert status == [True]


def test_another_thread_is_in_time_before_the_timeout() -> None:
    """The reactor comes late to both, and to the timeout first."""
    application = Waiting(SUSPEND, 10)
    served = serve(application, clock=ThreadsLast())
    served.turn()

    in_a_thread(application.resume)
    served.clock.turn(0.02)
    served.turn(3)

    assert application.went_on is True
    assert bool(application.environ[STATUS]) is True


@pytest.mark.parametrize(
    "changed", [{"REQUEST_METHOD": "GET"}, {"HTTP_IF_NONE_MATCH": '"v1"'}]
)
def test_middleware_does_not_change_what_the_client_asked(changed) -> None:
    """A copy is fresh when the client said so, in a request that may be told."""

    def application(environ, start_response):
        environ.update(changed)
        start_response("200 OK", [("ETag", '"v1"')])
        environ[FLUSH]()
        return [b"body"]

    post = b'POST / HTTP/1.1\r\nHost: h\r\nIf-None-Match: "v1"\r\n\r\n'
    request = post if "REQUEST_METHOD" in changed else GET

    assert status_of(serve(application, request).read()) == "HTTP/1.1 200 OK"


def test_another_thread_may_be_too_late() -> None:
    """The client has left, or the time is over, before the reactor is told."""
    leaving, timed_out = Waiting(), Waiting(SUSPEND, 10)
    served = serve(leaving)
    serve(timed_out, clock=served.clock)
    served.turn()

    in_a_thread(leaving.resume)
    served.leave()
    served.clock.turn(0.01)
    in_a_thread(timed_out.resume)
    served.turn(3)

    assert (leaving.went_on, leaving.left) == (False, True)
    assert timed_out.went_on is True
    assert bool(timed_out.environ[STATUS]) is False


# --- suspended, and something else


# A consumer pauses the fast door when it has written only, see test_output.
@STOCK
@pytest.mark.parametrize("drained_first", [True, False])
def test_both_the_client_and_the_application_must_be_ready(drained_first) -> None:
    """One that is suspended while the client is full goes on when neither holds it."""
    resumes: list[Callable[[], bool]] = []
    asked = []

    def application(environ, start_response):
        start_response("200 OK", [])
        resumes.append(environ[SUSPEND]())
        environ["twisted.reactor"].callLater(0, fill)
        yield b""
        asked.append(True)
        yield b"two"

    def fill() -> None:
        producer = served.producer
        assert producer is not None
        producer.pauseProducing()
        producer.pauseProducing()

    def drain() -> None:
        producer = served.producer
        assert producer is not None
        producer.resumeProducing()

    served = serve(application)
    served.turn(3)
    ready = [drain, resumes[0]] if drained_first else [resumes[0], drain]
    ready[0]()
    served.turn(3)
    half = list(asked)
    ready[1]()
    served.turn()

    assert half == []
    assert asked == [True]
    assert body_of(served.read()) == chunks(b"two") + LAST_CHUNK


@pytest.mark.parametrize("drained_first", [True, False])
def test_a_full_client_and_a_suspension(drained_first) -> None:
    """The same, with a block that fills the connection."""
    resumes: list[Callable[[], bool]] = []

    def application(environ, start_response):
        write = start_response("200 OK", [])
        resumes.append(environ[SUSPEND]())
        environ["twisted.reactor"].callLater(0, write, b"fills it")
        yield b""
        yield b"after"

    served = serve(application, limit=1)
    served.turn(2)
    first = second = b""
    if drained_first:
        first = served.drain()
        served.turn(3)
        resumes[0]()
    else:
        resumes[0]()
        served.turn(3)
        first = served.drain()
    second = served.read()

    assert body_of(first) == chunks(b"fills it")
    assert second == chunks(b"after") + LAST_CHUNK


@SUSPENDING
def test_a_client_that_leaves_closes_a_suspended_application(key, arguments) -> None:
    """At once: its generator sees ``GeneratorExit``; nothing stays scheduled."""
    application = Waiting(key, *arguments)
    served = serve(application)
    served.turn()

    served.leave()

    assert application.left is True
    assert leaves_something(served) == []
    assert application.resume() is False
    served.turn(3)
    assert application.went_on is False


def test_a_suspended_iterable_is_closed_once() -> None:
    """Though it may be resumed, and time out, in the turn in which the client left."""
    body = Body(b"", b"block")
    resumes: list[Callable[[], bool]] = []

    def application(environ, start_response):
        start_response("200 OK", [])
        resumes.append(environ[SUSPEND](10))
        return body

    served = serve(application)
    served.turn()
    resumes[0]()
    served.leave()
    served.clock.turn(1)
    served.turn(3)

    assert body.done == ["iter", "next", "close"]


def test_an_application_that_fails_is_suspended_no_more(logged: Logged) -> None:
    """The error page is sent, though a suspension was due."""
    resumes: list[Callable[[], bool]] = []

    def application(environ, start_response):
        resumes.append(environ[SUSPEND](10))
        raise Boom

    served = serve(application)
    response = served.read()

    assert status_of(response) == "HTTP/1.1 500 Internal Server Error"
    assert resumes[0]() is False
    assert leaves_something(served) == []
    assert len(logged.flush(Boom)) == 1


def test_a_suspension_is_valid_wsgi() -> None:
    """``wsgiref.validate`` passes empty blocks on, and has nothing to say."""
    resumes: list[Callable[[], bool]] = []

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        resumes.append(environ[SUSPEND]())
        yield b""
        yield b"went on"

    served = serve(validator(application))
    early = served.read()
    resumes[0]()

    assert early == b""
    assert body_of(served.read()) == chunks(b"went on") + LAST_CHUNK


# --- fdevent, of which there is more in test_descriptors


@pytest.mark.parametrize("key", [READABLE, WRITABLE])
@pytest.mark.parametrize("ready", [True, False])
def test_an_application_waits_for_a_descriptor(key, ready, pair: Pair) -> None:
    """Until it is ready, or the time is over; it is told which."""
    pair.fill()
    application = Waiting(key, pair.left, 1.5)
    before = open_descriptors()
    served = serve(application)
    served.turn(5)
    waited = not application.went_on

    if ready:
        pair.right.send(b"x")
        pair.empty()
    served.clock.turn(0 if ready else 1.5)
    served.turn()

    assert waited
    assert application.went_on is True
    assert application.timed_out is not ready
    assert open_descriptors() == before
    assert leaves_something(served) == []


# --- wsgi.response_error


def raising(*arguments: Any, **keywords: Any) -> WSGIApplication:
    def application(environ, start_response):
        raise environ["wsgi.response_error"](*arguments, **keywords)

    return application


def raising_later(*arguments: Any) -> WSGIApplication:
    def application(environ, start_response):
        yield b""
        raise environ["wsgi.response_error"](*arguments)

    return application


def test_a_response_may_be_raised() -> None:
    """In place of the one that the application does not want to give."""
    response = serve(
        raising("404 Not Found", [("Content-Type", "text/plain")], b"no such page")
    ).drain()

    assert status_of(response) == "HTTP/1.1 404 Not Found"
    assert fields_of(response, "Content-Type") == ["text/plain"]
    assert fields_of(response, "Content-Length") == ["12"]
    assert body_of(response) == b"no such page"


def test_a_raised_response_needs_a_status_only() -> None:
    """There are no headers and no body unless they are given."""
    response = serve(raising("403 Forbidden")).drain()

    assert status_of(response) == "HTTP/1.1 403 Forbidden"
    assert fields_of(response, "Content-Length") == ["0"]
    assert body_of(response) == b""


def test_a_raised_response_has_names() -> None:
    """For its headers, in any sequence, and for its body."""
    response = serve(
        raising("403 Forbidden", body=b"no", headers=(("X-Why", "because"),))
    ).drain()

    assert fields_of(response, "X-Why") == ["because"]
    assert body_of(response) == b"no"


def test_a_response_is_raised_to_head_without_its_body() -> None:
    """With the length that it would have."""
    response = serve(raising("404 Not Found", (), b"no such page"), HEAD).drain()

    assert fields_of(response, "Content-Length") == ["12"]
    assert body_of(response) == b""


@pytest.mark.parametrize("blocks_before", [0, 1, 3])
def test_a_raised_response_replaces_what_was_not_sent(blocks_before) -> None:
    """Also after ``start_response``, and after suspensions; the connection goes on."""

    def application(environ, start_response):
        start_response("200 OK", [("X-Old", "header")])
        try:
            for _ in range(blocks_before):
                environ["twisted.reactor"].callLater(0, environ[SUSPEND]())
                yield b""
            raise environ["wsgi.response_error"]("404 Not Found", (), b"no such page")
        finally:
            closed.append(True)

    closed: list[bool] = []
    served = serve(application)
    response = served.read()

    assert status_of(response) == "HTTP/1.1 404 Not Found"
    assert fields_of(response, "X-Old") == []
    assert body_of(response) == b"no such page"
    assert not served.closed
    assert closed == [True]


def test_an_iterable_that_raises_a_response_is_closed_once() -> None:
    """By the server; the response that it raised is sent."""

    def fail() -> bytes:
        raise ResponseError("404 Not Found", (), b"no such page")

    body = Body(fail)

    def application(environ, start_response):
        start_response("200 OK", [])
        return body

    response = serve(application).read()

    assert body_of(response) == b"no such page"
    assert body.done == ["iter", "next", "close"]


def test_a_response_may_be_raised_while_closing() -> None:
    """As long as no byte is sent."""

    class Closing(Body):
        def close(self) -> None:
            super().close()
            raise ResponseError("404 Not Found", (), b"no such page")

    body = Closing()

    def application(environ, start_response):
        start_response("200 OK", [])
        return body

    response = serve(application).read()

    assert body_of(response) == b"no such page"
    assert body.done == ["iter", "next", "close"]


@pytest.mark.parametrize("how", ["flush", "block", "write"])
def test_a_response_raised_too_late_is_an_error(how, logged: Logged) -> None:
    """As any other: a byte of the other is sent, and that one is cut."""

    def application(environ, start_response):
        write = start_response("200 OK", [])
        if how == "flush":
            environ[FLUSH]()
        elif how == "write":
            write(b"block")
        else:
            yield b"block"
        raise environ["wsgi.response_error"]("404 Not Found")

    served = serve(application)
    response = served.read()

    assert status_of(response) == "HTTP/1.1 200 OK"
    assert LAST_CHUNK not in response
    assert served.closed
    assert len(logged.flush(ResponseError)) == 1


@pytest.mark.parametrize("application", [raising, raising_later])
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("404",), InvalidStatus),
        (("404 Not Found", (), "text"), WrongType),
        (("404 Not Found", [("A", 1)]), WrongType),
    ],
)
def test_a_raised_response_is_checked(
    arguments, error, application, logged: Logged
) -> None:
    """As what ``start_response`` is given: what is wrong is the application's error."""
    response = serve(application(*arguments)).read()

    assert status_of(response) == "HTTP/1.1 500 Internal Server Error"
    assert len(logged.flush(error)) == 1


def test_a_raised_response_is_not_logged(logged: Logged) -> None:
    """It is no fault."""
    serve(raising("404 Not Found"))

    assert logged.at("critical") == []
