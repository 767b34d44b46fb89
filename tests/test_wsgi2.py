"""WSGI 2.0 applications, and WSGI 1.0 applications as such."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest
from connections import Blocks
from doors import scheduled
from doors import serve as at_once
from doors import serve_in_a_turn as serve
from twisted.internet.defer import Deferred, fail, succeed
from waiting import (
    FLUSH,
    LAST_CHUNK,
    READABLE,
    SUSPEND,
    TIMEOUT,
    Body,
    Boom,
    Pair,
    body_of,
    chunks,
    fields_of,
    leaves_something,
    status_of,
)
from worlds import WithLoop, WithoutLoop, apart

from twisted_wsgiflush.coroutines import asynchronous
from twisted_wsgiflush.errors import (
    AlreadyStarted,
    InvalidStatus,
    ResponseError,
    StartResponseMissing,
)
from twisted_wsgiflush.testing import GET
from twisted_wsgiflush.wsgi2 import from_wsgi2, to_wsgi2

if TYPE_CHECKING:
    from conftest import Logged

pytestmark = pytest.mark.usefixtures("door")


FRESH = GET.replace(b"\r\n\r\n", b'\r\nIf-None-Match: "v1"\r\n\r\n')


@pytest.fixture(params=[WithoutLoop, WithLoop])
def world(request: pytest.FixtureRequest) -> Iterator[WithoutLoop]:
    """Without asyncio, and with it: what is true in one is true in the other."""
    world = request.param()
    yield world
    world.close()


def triple(app_iter: Any, status: str = "200 OK") -> Any:
    return status, [("X-Name", "value")], app_iter


async def blocks(*given: bytes) -> AsyncIterator[bytes]:
    for block in given:
        await succeed(None)
        yield block


# --- from_wsgi2


def gives_a_triple(app_iter: Any) -> Callable[..., Any]:
    return lambda environ: triple(app_iter)


def gives_a_fired_deferred(app_iter: Any) -> Callable[..., Any]:
    return lambda environ: succeed(triple(app_iter))


def is_a_coroutine_function(app_iter: Any) -> Callable[..., Any]:
    async def app(environ):
        await succeed(None)
        return triple(app_iter)

    return app


def gives_a_deferred_that_fires(app_iter: Any) -> Callable[..., Any]:
    def app(environ):
        deferred: Deferred[Any] = Deferred()
        environ["twisted.reactor"].callLater(0, deferred.callback, triple(app_iter))
        return deferred

    return app


APPS = pytest.mark.parametrize(
    "app",
    [
        gives_a_triple,
        gives_a_fired_deferred,
        gives_a_deferred_that_fires,
        is_a_coroutine_function,
    ],
)


@APPS
@pytest.mark.parametrize(
    "app_iter",
    [
        lambda: [b"one", b"two"],
        lambda: iter([b"one", b"", b"two"]),
        lambda: Body(b"one", b"two"),
        lambda: blocks(b"one", b"two"),
        lambda: blocks(b"one", b"", b"two", b""),
    ],
    ids=[
        "list",
        "iterator",
        "closable",
        "asynchronous",
        "asynchronous with empty ones",
    ],
)
@apart
def test_a_triple_is_a_response(world: WithoutLoop, app, app_iter) -> None:
    """At once or late; its third item is an iterable, or an asynchronous one."""
    served = serve(from_wsgi2(app(app_iter())))

    world.turn(served, 20)
    response = served.drain()

    assert status_of(response) == "HTTP/1.1 200 OK"
    assert fields_of(response, "X-Name") == ["value"]
    assert body_of(response) == chunks(b"one", b"two") + LAST_CHUNK
    assert leaves_something(served) == []


def test_a_triple_that_is_not_late_is_not_wrapped() -> None:
    """The server gets its iterable, and says its length."""
    served = at_once(from_wsgi2(gives_a_triple([b"all"])))

    assert fields_of(served.drain(), "Content-Length") == ["3"]


@apart
def test_a_late_triple_is_waited_for(world: WithoutLoop) -> None:
    """The application is suspended meanwhile, and nothing is sent."""
    deferred: Deferred[Any] = Deferred()
    served = serve(from_wsgi2(lambda environ: deferred))
    world.turn(served)
    early, to_do = served.drain(), scheduled(served)
    deferred.callback(triple([b"hello"], "404 Not Found"))

    response = world.read(served)

    assert (early, to_do) == (b"", [])
    assert status_of(response) == "HTTP/1.1 404 Not Found"
    assert body_of(response) == chunks(b"hello") + LAST_CHUNK


def test_an_iterable_of_wsgi_2_may_suspend() -> None:
    """It is one of WSGI 1.0: each of its extensions is there."""
    pair = Pair()
    timed_out = []

    def app(environ):
        def body():
            yield environ[FLUSH]()
            for timeout in (0, None):
                yield environ[READABLE](pair.left, timeout)
                timed_out.append(bool(environ[TIMEOUT]))
            yield b"went on"

        return triple(body())

    served = serve(from_wsgi2(app))
    early = served.read()
    pair.right.send(b"x")
    late = served.read()
    pair.close()

    assert status_of(early) == "HTTP/1.1 200 OK"
    assert late == chunks(b"went on") + LAST_CHUNK
    assert timed_out == [True, False]


@APPS
@apart
def test_a_response_may_be_raised(world: WithoutLoop, app) -> None:
    """By the iterable, in place of the triple's: no byte of that is sent yet."""

    def failing() -> bytes:
        raise ResponseError("404 Not Found", (), b"no such page")

    body = Body(b"", failing)
    served = serve(from_wsgi2(app(body)))
    world.turn(served, 20)
    response = served.drain()

    assert status_of(response) == "HTTP/1.1 404 Not Found"
    assert fields_of(response, "X-Name") == []
    assert body_of(response) == b"no such page"
    assert body.done.count("close") == 1


@pytest.mark.parametrize("late", [True, False])
@apart
def test_a_response_may_be_raised_in_place_of_a_triple(
    world: WithoutLoop, late
) -> None:
    """By the application itself."""

    def app(environ):
        raise environ["wsgi.response_error"]("403 Forbidden", body=b"no")

    async def late_app(environ):
        return app(environ)

    served = serve(from_wsgi2(late_app if late else app))

    assert body_of(world.read(served)) == b"no"


@pytest.mark.parametrize(
    "result",
    [None, (), [], ("200 OK", []), ("200 OK", [], [], []), ["200 OK", [], []], "abc"],
    ids=repr,
)
@pytest.mark.parametrize("late", [True, False])
@apart
def test_what_is_no_triple_is_an_error(result, late, logged: Logged) -> None:
    """The message tells what it is."""
    served = serve(from_wsgi2(lambda environ: succeed(result) if late else result))
    response = served.read()

    assert status_of(response) == "HTTP/1.1 500 Internal Server Error"
    (failure,) = logged.flush(TypeError)
    assert repr(result) in failure.getErrorMessage()


@APPS
@apart
def test_an_iterable_with_a_bad_head_is_closed(
    world: WithoutLoop, app, logged: Logged
) -> None:
    """``start_response`` refuses the triple's status; the iterable was given."""
    body = Body(b"block")

    def bad(environ):
        return app(body)(environ)

    def start_badly(environ, start_response):
        return from_wsgi2(bad)(
            environ, lambda status, headers: start_response("bad", headers)
        )

    served = serve(start_badly)

    assert status_of(world.read(served)) == "HTTP/1.1 500 Internal Server Error"
    assert body.done == ["close"]
    assert len(logged.flush(InvalidStatus)) == 1


@apart
def test_a_late_failure_is_an_error(world: WithoutLoop, logged: Logged) -> None:
    """As that of any application."""
    served = serve(from_wsgi2(lambda environ: fail(Boom())))

    assert status_of(world.read(served)) == "HTTP/1.1 500 Internal Server Error"
    assert len(logged.flush(Boom)) == 1


@pytest.mark.parametrize("turns", [1, 5])
@apart
def test_a_client_that_leaves_cancels_a_late_triple(world: WithoutLoop, turns) -> None:
    """Before anything was asked for, and while it is waited for."""
    cancelled: list[Deferred[Any]] = []
    deferred: Deferred[Any] = Deferred(cancelled.append)
    served = serve(from_wsgi2(lambda environ: deferred))

    world.turn(served, turns, then=served.leave)
    world.turn(served)

    assert cancelled == [deferred]


@APPS
@pytest.mark.parametrize("limit", [5, 65536])
@apart
def test_the_iterable_of_a_triple_is_closed_once(
    world: WithoutLoop, app, limit
) -> None:
    """At its end, and when the client leaves."""
    body = Body(b"block of some size", b"block", b"block")
    served = serve(from_wsgi2(app(body)), limit=limit)

    world.turn(served, 20, then=served.leave)
    world.turn(served)

    assert body.done.count("close") == 1
    assert body.done[-1] == "close"
    assert body.done.count("next") == (1 if limit == 5 else 4)


@pytest.mark.parametrize("app_iter", ["iterable", "asynchronous"])
def test_a_fresh_copy_spares_the_work(app_iter) -> None:
    """The iterable of a triple is closed without being iterated."""
    began = []
    body = Body(b"expensive")

    async def asynchronous_body():
        began.append(True)
        yield b"expensive"

    def app(environ):
        given = body if app_iter == "iterable" else asynchronous_body()
        return "200 OK", [("ETag", '"v1"')], given

    def flushing(environ, start_response):
        app_iter = from_wsgi2(app)(environ, start_response)
        environ[FLUSH]()
        return app_iter

    response = serve(flushing, FRESH).read()

    assert status_of(response) == "HTTP/1.1 304 Not Modified"
    assert began == []
    assert body.done == ["close"] * (app_iter == "iterable")


def test_a_late_triple_that_nobody_wants_is_closed() -> None:
    """What the application has begun is closed with it, though it was not awaited."""
    blocks = Blocks(b"", b"late")

    late = to_wsgi2(lambda environ, start_response: blocks)({})
    late.close()

    assert (blocks.asked, blocks.closed) == (1, 1)


def test_it_is_valid_wsgi() -> None:
    """Below ``wsgiref.validate``, which looks at what it returns."""

    def app(environ):
        return "200 OK", [("Content-Type", "text/plain")], iter([b"hello"])

    response = serve(validator(from_wsgi2(app))).read()

    assert body_of(response) == chunks(b"hello") + LAST_CHUNK


# --- to_wsgi2


def start(start_response: Any) -> Any:
    return start_response("200 OK", [("X-Name", "value")])


def starts_at_once(environ, start_response):
    start(start_response)
    return [b"one", b"two"]


def starts_with_its_first_block(environ, start_response):
    start(start_response)
    yield b"one"
    yield b"two"


def starts_with_an_empty_block(environ, start_response):
    start(start_response)
    yield b""
    yield b"one"
    yield b"two"


def starts_without_a_block(environ, start_response):
    start(start_response)
    yield from ()


def writes_before(environ, start_response):
    write = start(start_response)
    write(b"one")
    return [b"two"]


def writes_with_its_first_block(environ, start_response):
    write = start(start_response)
    write(b"one")
    yield b"two"


def writes_between(environ, start_response):
    write = start(start_response)
    yield b"one"
    write(b"two")
    write(b"three")
    yield b"four"
    yield b"five"


def writes_in_the_end(environ, start_response):
    write = start(start_response)
    yield b"one"
    write(b"two")


def writes_between_suspensions(environ, start_response):
    write = start(start_response)
    write(b"one")
    environ["twisted.reactor"].callLater(0, environ[SUSPEND]())
    yield b""
    write(b"two")


def flushes_at_once(environ, start_response):
    start(start_response)
    environ[FLUSH]()
    return [b"one", b"two"]


def flushes_with_an_empty_block(environ, start_response):
    start(start_response)
    yield environ[FLUSH]()
    yield b"one"
    yield environ[FLUSH]()
    yield b"two"


def starts_late(environ, start_response):
    yield b""
    yield b""
    start(start_response)
    yield b"one"
    yield b"two"


def starts_when_resumed(environ, start_response):
    for _ in range(2):
        environ["twisted.reactor"].callLater(0, environ[SUSPEND]())
        yield b""
    start(start_response)
    yield b"one"
    environ["twisted.reactor"].callLater(0, environ[SUSPEND]())
    yield b""
    yield b"two"


def starts_when_it_ends(environ, start_response):
    yield b""
    start(start_response)


def starts_and_is_suspended(environ, start_response):
    start(start_response)
    environ["twisted.reactor"].callLater(0, environ[SUSPEND]())
    yield b""
    yield b"one"
    yield b"two"


@pytest.mark.parametrize(
    ("app", "body"),
    [
        (starts_at_once, [b"one", b"two"]),
        (starts_with_its_first_block, [b"one", b"two"]),
        (starts_with_an_empty_block, [b"one", b"two"]),
        (starts_without_a_block, []),
        (writes_before, [b"one", b"two"]),
        (writes_with_its_first_block, [b"one", b"two"]),
        (writes_between, [b"one", b"two", b"three", b"four", b"five"]),
        (writes_in_the_end, [b"one", b"two"]),
        (writes_between_suspensions, [b"one", b"two"]),
        (flushes_at_once, [b"one", b"two"]),
        (flushes_with_an_empty_block, [b"one", b"two"]),
        (starts_late, [b"one", b"two"]),
        (starts_when_resumed, [b"one", b"two"]),
        (starts_when_it_ends, []),
        (starts_and_is_suspended, [b"one", b"two"]),
    ],
)
@apart
def test_there_and_back_is_the_same(world: WithoutLoop, app, body) -> None:
    """A WSGI 1.0 application as one of 2.0, and that as one of 1.0."""
    served = serve(from_wsgi2(to_wsgi2(app)))

    world.turn(served, 30)
    response = served.drain()

    assert status_of(response) == "HTTP/1.1 200 OK"
    assert fields_of(response, "X-Name") == ["value"]
    assert body_of(response) == chunks(*body) + LAST_CHUNK
    assert leaves_something(served) == []


@pytest.mark.parametrize("flushes", ["at once", "with an empty block"])
def test_there_and_back_a_fresh_copy_spares_the_work(flushes) -> None:
    """The iterable is closed without being iterated further."""
    body = Body(b"expensive")

    def app(environ, start_response):
        start_response("200 OK", [("ETag", '"v1"')])
        if flushes == "at once":
            environ[FLUSH]()
            return body
        return generator(environ)

    def generator(environ):
        with closing(body):
            yield environ[FLUSH]()
            yield from body

    response = serve(from_wsgi2(to_wsgi2(app)), FRESH).read()

    assert status_of(response) == "HTTP/1.1 304 Not Modified"
    assert body.done == ["close"]


def test_a_flush_before_the_head_is_an_error(logged: Logged) -> None:
    """There and back as well."""

    def app(environ, start_response):
        environ[FLUSH]()
        return []

    response = serve(from_wsgi2(to_wsgi2(app))).read()

    assert status_of(response) == "HTTP/1.1 500 Internal Server Error"
    assert len(logged.flush(StartResponseMissing)) == 1


@apart
def test_a_coroutine_there_and_back_twice(world: WithoutLoop) -> None:
    """Each layer suspends for itself only."""

    async def app(environ, start_response):
        deferred: Deferred[bytes] = Deferred()
        environ["twisted.reactor"].callLater(0, deferred.callback, b"one")
        block = await deferred
        start(start_response)
        yield block
        environ[SUSPEND](1)
        yield b""
        yield b"timed out" if not environ["x-wsgiorg.suspend_status"] else b"resumed"

    twice = from_wsgi2(to_wsgi2(from_wsgi2(to_wsgi2(asynchronous(app)))))
    served = serve(twice)
    world.turn(served)
    served.clock.advance(1)
    world.turn(served)

    assert body_of(served.drain()) == chunks(b"one", b"timed out") + LAST_CHUNK


def test_there_and_back_the_other_way() -> None:
    """A WSGI 2.0 application as one of 1.0, and that as one of 2.0."""
    app = to_wsgi2(from_wsgi2(gives_a_triple([b"one", b"two"])))

    status, headers, app_iter = app({})

    assert (status, headers) == ("200 OK", [("X-Name", "value")])
    assert list(app_iter) == [b"one", b"two"]


@pytest.mark.parametrize(
    "app",
    [
        starts_at_once,
        starts_with_its_first_block,
        starts_with_an_empty_block,
        writes_before,
        writes_between,
    ],
)
def test_an_application_that_starts_with_its_first_block_gives_a_triple(app) -> None:
    """At once: it is the whole of WSGI 2.0, for callers that wait for nothing."""
    status, headers, app_iter = to_wsgi2(app)({})

    assert status == "200 OK"
    assert headers == [("X-Name", "value")]
    assert b"".join(app_iter).startswith(b"onetwo")


def test_it_is_asked_for_one_block_at_most() -> None:
    """A triple is given as soon as it is known."""
    body = Body(b"one", b"two")

    def app(environ, start_response):
        start(start_response)
        return body

    to_wsgi2(app)({})

    assert body.done == []

    def late_app(environ, start_response):
        for block in body:
            start(start_response)
            yield block

    to_wsgi2(late_app)({})

    assert body.done == ["iter", "next"]


def test_the_first_of_two_heads_may_be_replaced() -> None:
    """With ``exc_info``, as long as the triple is not given."""

    def app(environ, start_response):
        start(start_response)
        boom = Boom()
        start_response("500 Oh", [], (Boom, boom, None))
        return [b"sorry"]

    status, headers, app_iter = to_wsgi2(app)({})

    assert (status, headers, list(app_iter)) == ("500 Oh", [], [b"sorry"])


def test_a_triple_that_is_given_cannot_be_replaced() -> None:
    """``start_response`` raises what it is given, as when the head is sent."""

    def app(environ, start_response):
        start(start_response)
        yield b"one"
        start_response("500 Oh", [], (Boom, Boom("mine"), None))

    _, _, app_iter = to_wsgi2(app)({})
    given = iter(app_iter)

    assert next(given) == b"one"
    with pytest.raises(Boom, match="mine"):
        next(given)


def test_a_head_without_exc_info_cannot_be_replaced() -> None:
    """That is an error of the application, and its iterable is closed."""
    closed = []

    def app(environ, start_response):
        try:
            start(start_response)
            start(start_response)
            yield b"one"
        finally:
            closed.append(True)

    with pytest.raises(AlreadyStarted):
        to_wsgi2(app)({})

    assert closed == [True]


@pytest.mark.parametrize("given", [[b"block"], [b"", b"block"], [], [b""], [b"", b""]])
@apart
def test_a_body_without_a_head_is_an_error(given, logged: Logged) -> None:
    """Whether it is there at once, or late; and the iterable is closed once."""
    body = Body(*given)

    response = serve(from_wsgi2(to_wsgi2(lambda environ, start: body))).read()

    assert status_of(response) == "HTTP/1.1 500 Internal Server Error"
    assert body.done.count("close") == 1
    assert len(logged.flush(StartResponseMissing)) == 1


@pytest.mark.parametrize("blocks_before", [0, 1, 2])
@apart
def test_an_error_of_the_application_closes_it(
    world: WithoutLoop, blocks_before, logged: Logged
) -> None:
    """Once, and it is the application's error."""

    def failing() -> bytes:
        raise Boom

    body = Body(*[b""] * blocks_before, failing)
    served = serve(from_wsgi2(to_wsgi2(lambda environ, start_response: body)))

    assert status_of(world.read(served)) == "HTTP/1.1 500 Internal Server Error"
    assert body.done.count("close") == 1
    assert len(logged.flush(Boom)) == 1


@pytest.mark.parametrize("turns", [1, 2, 5])
@pytest.mark.parametrize("started", [True, False])
@apart
def test_a_client_that_leaves_closes_it(world: WithoutLoop, turns, started) -> None:
    """Once, wherever it was."""
    body = Body(*[b""] * 100)

    def app(environ, start_response):
        if started:
            start(start_response)
        return body

    served = serve(from_wsgi2(to_wsgi2(app)))
    world.turn(served, turns, then=served.leave)
    world.turn(served)

    assert body.done.count("close") == 1
    assert body.done[-1] == "close"


@apart
def test_a_suspended_application_is_closed_when_its_client_leaves(
    world: WithoutLoop,
) -> None:
    """Its generator sees ``GeneratorExit``."""
    left = []

    def app(environ, start_response):
        environ[SUSPEND]()
        try:
            yield b""
        except GeneratorExit:
            left.append(True)
            raise

    served = serve(from_wsgi2(to_wsgi2(app)))
    world.turn(served, then=served.leave)
    world.turn(served)

    assert left == [True]
    assert leaves_something(served) == []


@apart
def test_an_asynchronous_application_is_one_of_wsgi_2(world: WithoutLoop) -> None:
    """By way of WSGI 1.0."""
    deferred: Deferred[bytes] = Deferred()

    async def app(environ, start_response):
        block = await deferred
        start(start_response)
        return [block]

    served = serve(from_wsgi2(to_wsgi2(asynchronous(app))))
    world.turn(served)
    deferred.callback(b"hello")

    assert body_of(world.read(served)) == chunks(b"hello") + LAST_CHUNK


@apart
def test_wsgi_2_awaits_what_asyncio_can() -> None:
    """A late triple, and blocks that are late, under a loop."""
    world = WithLoop()

    async def app(environ):
        await asyncio.sleep(1)
        return triple(body())

    async def body():
        yield b"one"
        await asyncio.sleep(1)
        yield b"two"

    served = serve(from_wsgi2(app))
    sent = []
    for seconds in (0, 1, 1):
        world.turn(served, seconds=seconds)
        sent.append(served.drain())
    world.close()

    assert sent[0] == b""
    assert body_of(sent[1]) == chunks(b"one")
    assert sent[2] == chunks(b"two") + LAST_CHUNK
