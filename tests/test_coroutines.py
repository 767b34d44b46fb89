"""``asynchronous``: coroutines as applications, with and without asyncio."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from contextvars import ContextVar
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest
import twisted.internet.defer
from commandline import TWIST, serving
from doors import STOCK, scheduled
from doors import serve_in_a_turn as serve
from flask import Response
from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
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
    open_descriptors,
    status_of,
)
from worlds import WithLoop, WithoutLoop, apart

import twisted_wsgiflush.subrequest  # noqa: F401  # Else nobody is told of what was begun.
from twisted_wsgiflush._begun import begun
from twisted_wsgiflush.coroutines import asynchronous, pass_on
from twisted_wsgiflush.errors import AlreadySuspended
from twisted_wsgiflush.testing import GET

if TYPE_CHECKING:
    from conftest import Logged

pytestmark = pytest.mark.usefixtures("door")


VISITOR = ContextVar("VISITOR", default="nobody")
FRESH = GET.replace(b"\r\n\r\n", b'\r\nIf-None-Match: "v1"\r\n\r\n')
CANCELLED = (asyncio.CancelledError, twisted.internet.defer.CancelledError)


@pytest.fixture(params=[WithoutLoop, WithLoop])
def world(request: pytest.FixtureRequest) -> Iterator[WithoutLoop]:
    """Without asyncio, and with it: what is true in one is true in the other."""
    world = request.param()
    yield world
    world.close()


@pytest.fixture
def loop() -> Iterator[WithLoop]:
    """With asyncio, for what is asyncio's own."""
    loop = WithLoop()
    yield loop
    loop.close()


# --- what is an asynchronous application


class View:
    """A class-based view."""

    def __init__(self, greeting: bytes) -> None:
        self.greeting = greeting

    async def __call__(self, environ, start_response):
        await succeed(None)
        start_response("200 OK", [])
        return [self.greeting]

    async def get(self, environ, start_response):
        return await self(environ, start_response)

    async def stream(self, environ, start_response):
        for block in await self(environ, start_response):
            yield block


class Decorated:
    """A class-based view with decorated methods."""

    @asynchronous
    async def get(self, environ, start_response):
        """The greeting."""
        start_response("200 OK", [])
        return [b"hello"]


async def coroutine_function(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


async def asynchronous_generator(environ, start_response):
    start_response("200 OK", [])
    yield b"hello"


def returns_a_deferred(environ, start_response):
    start_response("200 OK", [])
    return succeed([b"hello"])


def returns_an_iterator(environ, start_response):
    class Blocks:
        done = False

        def __aiter__(self):
            return self

        async def __anext__(self):
            if self.done:
                raise StopAsyncIteration
            self.done = True
            return b"hello"

    start_response("200 OK", [])
    return Blocks()


async def returns_a_generator(environ, start_response):
    start_response("200 OK", [])
    return (block for block in [b"hel", b"lo"])


async def returns_an_asynchronous_generator(environ, start_response):
    await succeed(None)
    return asynchronous_generator(environ, start_response)


async def returns_an_application(environ, start_response):
    return Response("hello")(environ, start_response)


async def writes(environ, start_response):
    write = start_response("200 OK", [])
    write(b"hel")
    return [b"lo"]


async def given_an_argument(greeting, environ, start_response):
    start_response("200 OK", [])
    return [greeting]


@pytest.mark.parametrize(
    "app",
    [
        coroutine_function,
        asynchronous_generator,
        returns_a_deferred,
        returns_an_iterator,
        returns_a_generator,
        returns_an_asynchronous_generator,
        returns_an_application,
        writes,
        partial(given_an_argument, b"hello"),
        View(b"hello"),
        View(b"hello").get,
        View(b"hello").stream,
    ],
)
@apart
def test_an_application_may_be_asynchronous(world: WithoutLoop, app) -> None:
    """Whatever it is that returns something to await, or blocks to come."""
    served = serve(asynchronous(app))

    response = world.read(served)

    body = body_of(response).replace(b"\r\n", b"")
    assert status_of(response) == "HTTP/1.1 200 OK"
    assert body in (b"hello", b"5hello0", b"3hel2lo0")
    assert leaves_something(served) == []


def test_a_method_may_be_asynchronous() -> None:
    """It keeps its name and its docstring."""
    response = serve(Decorated().get).read()

    assert body_of(response) == chunks(b"hello") + LAST_CHUNK
    assert Decorated.get.__name__ == "get"
    assert Decorated.get.__doc__ == "The greeting."


def test_what_is_an_application_stays_one() -> None:
    """Its iterable is the server's, untouched."""
    iterable = [b"hello"]

    def application(environ, start_response):
        return iterable

    assert asynchronous(application)({}, lambda *arguments: None) is iterable


def test_nothing_runs_until_it_is_iterated() -> None:
    """A coroutine and an asynchronous generator begin at the first block."""
    began = []

    async def app(environ, start_response):
        began.append(True)
        start_response("200 OK", [])
        return [b"hello"]

    app_iter = asynchronous(app)({}, lambda *arguments: None)
    app_iter.close()

    assert began == []


@apart
def test_it_runs_below_middleware(world: WithoutLoop) -> None:
    """That passes empty blocks on, and calls a copy of its environ its own."""

    def middleware(app):
        def application(environ, start_response):
            def with_a_header(status, headers, *exc_info):
                headers = [*headers, ("X-Middleware", "was here")]
                return start_response(status, headers, *exc_info)

            yield from app({**environ, "middleware": True}, with_a_header)

        return application

    async def app(environ, start_response):
        assert environ["middleware"]
        await deferred
        start_response("200 OK", [])
        return [b"hello"]

    deferred: Deferred[None] = Deferred()
    served = serve(middleware(asynchronous(app)))
    world.turn(served)
    deferred.callback(None)

    response = world.read(served)

    assert fields_of(response, "X-Middleware") == ["was here"]
    assert body_of(response) == chunks(b"hello") + LAST_CHUNK


@apart
def test_it_is_valid_wsgi(world: WithoutLoop) -> None:
    """As ``wsgiref.validate`` sees it, which wants ``start_response`` called early."""
    deferred: Deferred[bytes] = Deferred()

    async def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b""
        yield await deferred

    served = serve(validator(asynchronous(app)))
    world.turn(served)
    deferred.callback(b"hello")

    assert body_of(world.read(served)) == chunks(b"hello") + LAST_CHUNK


# --- waiting


@apart
def test_it_awaits_deferreds(world: WithoutLoop) -> None:
    """Suspended meanwhile: nothing is sent, and the reactor has nothing to do."""
    deferreds: list[Deferred[bytes]] = [Deferred(), Deferred()]

    async def app(environ, start_response):
        first = await deferreds[0]
        second = await deferreds[1]
        start_response("201 Created", [])
        return [first + second]

    served = serve(asynchronous(app))
    world.turn(served)
    to_do = scheduled(served)
    deferreds[0].callback(b"one")
    early = world.read(served)
    deferreds[1].callback(b"two")
    response = world.read(served)

    assert to_do == []
    assert early == b""
    assert status_of(response) == "HTTP/1.1 201 Created"
    assert body_of(response) == chunks(b"onetwo") + LAST_CHUNK


@apart
def test_it_sees_the_failure_of_a_deferred(world: WithoutLoop) -> None:
    """Of one that failed before, and of one that fails later."""
    deferred: Deferred[None] = Deferred()

    async def app(environ, start_response):
        caught = []
        for failing in (fail(Boom("before")), deferred):
            try:
                await failing
            except Boom as error:
                caught.append(str(error).encode())
        start_response("200 OK", [])
        return [b" ".join(caught)]

    served = serve(asynchronous(app))
    world.turn(served)
    deferred.errback(Boom("later"))

    assert body_of(world.read(served)) == chunks(b"before later") + LAST_CHUNK


@apart
def test_it_awaits_a_deferred_that_waits_for_another(world: WithoutLoop) -> None:
    """Its result is that of the last."""
    inner: Deferred[bytes] = Deferred()
    outer: Deferred[bytes] = Deferred()
    outer.addCallback(lambda _: inner)

    async def app(environ, start_response):
        start_response("200 OK", [])
        return [await outer]

    served = serve(asynchronous(app))
    world.turn(served)
    outer.callback(b"not yet")
    early = world.read(served)
    inner.callback(b"hello")

    assert early == b""
    assert body_of(world.read(served)) == chunks(b"hello") + LAST_CHUNK


@apart
def test_several_may_await_one_deferred(world: WithoutLoop) -> None:
    """Each has its result, and none takes it from the others when its client leaves."""
    deferred: Deferred[bytes] = Deferred()

    async def app(environ, start_response):
        start_response("200 OK", [])
        return [await deferred]

    served = serve(asynchronous(app))
    others = [serve(asynchronous(app), clock=served.clock) for _ in range(2)]
    world.turn(served)
    deferred.callback(b"hello")
    others[0].leave()
    world.turn(served)

    assert body_of(served.drain()) == chunks(b"hello") + LAST_CHUNK
    assert body_of(others[1].drain()) == chunks(b"hello") + LAST_CHUNK


@apart
def test_blocks_are_sent_as_they_come(world: WithoutLoop) -> None:
    """Each before the generator goes on."""
    deferreds: list[Deferred[bytes]] = [Deferred(), Deferred()]

    async def app(environ, start_response):
        start_response("200 OK", [])
        for deferred in deferreds:
            yield await deferred

    served = serve(asynchronous(app))
    world.turn(served)
    deferreds[0].callback(b"one")
    first = world.read(served)
    deferreds[1].callback(b"two")
    second = world.read(served)

    assert body_of(first) == chunks(b"one")
    assert second == chunks(b"two") + LAST_CHUNK


@apart
def test_a_block_waits_for_the_client(world: WithoutLoop) -> None:
    """A generator is asked for one at a time, and none while the client is full."""
    given = []

    async def app(environ, start_response):
        start_response("200 OK", [])
        for number in range(5):
            given.append(number)
            yield b"x" * 10

    served = serve(asynchronous(app), limit=5)
    counts = []
    for _ in range(4):
        world.turn(served)
        counts.append(len(given))
        served.drain()

    # One more than was sent, for with asyncio the task is a block ahead.
    assert counts in ([1, 2, 3, 4], [2, 3, 4, 5])
    served.leave()
    world.turn(served)


@apart
def test_a_coroutine_may_pass_blocks_on(world: WithoutLoop) -> None:
    """And so use the extensions that want an empty one."""
    pair = Pair()
    before = open_descriptors()

    async def app(environ, start_response):
        resume = environ[SUSPEND]()
        environ["twisted.reactor"].callLater(0, resume)
        await pass_on(b"")
        start_response("200 OK", [])
        await pass_on(b"one")
        timed_out = []
        for timeout in (0, None):
            await pass_on(environ[READABLE](pair.left, timeout))
            timed_out.append(bool(environ[TIMEOUT]))
        return [repr(timed_out).encode()]

    served = serve(asynchronous(app))
    early = world.read(served)
    pair.right.send(b"x")
    late = world.read(served)
    after = open_descriptors()
    pair.close()

    assert body_of(early) == chunks(b"one")
    assert late == chunks(b"[True, False]") + LAST_CHUNK
    assert after == before


@apart
def test_each_has_a_context_of_its_own(world: WithoutLoop) -> None:
    """However they alternate."""
    visitor: ContextVar[bytes] = ContextVar("visitor")
    deferreds: list[Deferred[None]] = [Deferred(), Deferred()]

    async def app(number, environ, start_response):
        visitor.set(b"visitor %d" % number)
        await deferreds[number]
        start_response("200 OK", [])
        yield visitor.get()

    first = serve(asynchronous(partial(app, 0)))
    second = serve(asynchronous(partial(app, 1)), clock=first.clock)
    world.turn(first)
    for deferred in deferreds:
        deferred.callback(None)
    world.turn(first)

    assert body_of(first.drain()) == chunks(b"visitor 0") + LAST_CHUNK
    assert body_of(second.drain()) == chunks(b"visitor 1") + LAST_CHUNK


class Later(list[bytes]):
    """An iterable that says in which context it is iterated and closed."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__([b"block"])
        self._seen = seen

    def __iter__(self):
        self._seen.append(VISITOR.get())
        return super().__iter__()

    def close(self):
        self._seen.append(VISITOR.get())


@apart
def test_what_it_returns_is_in_its_context(world: WithoutLoop) -> None:
    """Iterated over and closed there; whoever is outside sees nothing of it."""
    seen: list[str] = []

    async def app(environ, start_response):
        VISITOR.set("anna")
        await succeed(None)
        start_response("200 OK", [])
        return Later(seen)

    def middleware(environ, start_response):
        yield from asynchronous(app)(environ, start_response)
        seen.append(VISITOR.get())

    world.read(serve(middleware))

    assert seen == ["anna", "anna", "nobody"]


@apart
def test_its_blocks_are_in_its_context(world: WithoutLoop) -> None:
    """Of an asynchronous iterable that a coroutine returns."""

    async def blocks():
        yield VISITOR.get().encode()

    async def app(environ, start_response):
        VISITOR.set("anna")
        await succeed(None)
        start_response("200 OK", [])
        return blocks()

    response = world.read(serve(asynchronous(app)))

    assert body_of(response) == chunks(b"anna") + LAST_CHUNK


@apart
def test_its_last_steps_are_in_its_context(world: WithoutLoop) -> None:
    """So that it may take back there what it has set, after having awaited."""
    seen = []
    never: Deferred[None] = Deferred()
    cleanup: Deferred[None] = Deferred()

    async def app(environ, start_response):
        token = VISITOR.set("anna")
        try:
            await never
        finally:
            await cleanup
            VISITOR.reset(token)
            seen.append(VISITOR.get())

    served = serve(asynchronous(app))
    world.turn(served)
    served.leave()
    cleanup.callback(None)
    world.turn(served)

    assert seen == ["nobody"]


# --- errors


@pytest.mark.parametrize("late", [True, False])
@apart
def test_an_error_is_the_application_s(
    world: WithoutLoop, late, logged: Logged
) -> None:
    """As of any application: a page in place of the response, and a line in the log."""

    async def app(environ, start_response):
        if late:
            await deferred
        raise Boom

    deferred: Deferred[None] = Deferred()
    served = serve(asynchronous(app))
    world.turn(served)
    deferred.callback(None)

    assert status_of(world.read(served)) == "HTTP/1.1 500 Internal Server Error"
    assert len(logged.flush(Boom)) == 1


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
@apart
def test_no_error_ends_the_server(world: WithoutLoop, error, logged: Logged) -> None:
    """Whatever it is: as with any application, it is logged, once."""
    deferred: Deferred[None] = Deferred()

    async def app(environ, start_response):
        await deferred
        raise error

    served = serve(asynchronous(app))
    world.turn(served)
    deferred.callback(None)

    assert status_of(world.read(served)) == "HTTP/1.1 500 Internal Server Error"
    assert len(logged.flush(error)) == 1
    assert logged.events == []


@apart
def test_an_error_after_the_head_cuts_the_response(
    world: WithoutLoop, logged: Logged
) -> None:
    """It is not ended cleanly."""

    async def app(environ, start_response):
        start_response("200 OK", [])
        yield b"one"
        raise Boom

    served = serve(asynchronous(app))
    response = world.read(served)

    assert body_of(response) == chunks(b"one")
    assert served.closed
    assert len(logged.flush(Boom)) == 1


@apart
def test_a_response_may_be_raised(world: WithoutLoop) -> None:
    """After any number of awaits."""

    async def app(environ, start_response):
        start_response("200 OK", [])
        await deferred
        raise environ["wsgi.response_error"]("404 Not Found", (), b"no such page")

    deferred: Deferred[None] = Deferred()
    served = serve(asynchronous(app))
    world.turn(served)
    deferred.callback(None)
    response = world.read(served)

    assert status_of(response) == "HTTP/1.1 404 Not Found"
    assert body_of(response) == b"no such page"


@apart
def test_without_asyncio_it_awaits_nothing_of_asyncio_s() -> None:
    """The error is raised where it awaits that."""

    async def app(environ, start_response):
        with pytest.raises(TypeError, match="only Deferreds"):
            await asyncio.sleep(0)
        start_response("200 OK", [])
        return [str(await succeed("went on")).encode()]

    served = serve(asynchronous(app))

    assert body_of(served.read()) == chunks(b"went on") + LAST_CHUNK


class Strange:
    """Something to await that neither asyncio nor Twisted knows."""

    def __await__(self):
        yield "strange"


@apart
def test_what_nobody_knows_cannot_be_awaited(world: WithoutLoop) -> None:
    """The error is raised where it awaits that, also when it is cancelled."""
    seen = []

    async def app(environ, start_response):
        with pytest.raises(TypeError, match="'strange' \\(str\\)"):
            await Strange()
        start_response("200 OK", [])
        try:
            yield b"went on"
            await Deferred()
        finally:
            try:
                await Strange()
            except TypeError:
                seen.append("and in the end")

    served = serve(asynchronous(app))
    response = world.read(served)
    served.leave()
    world.turn(served)

    assert body_of(response) == chunks(b"went on")
    assert seen == ["and in the end"]


@apart
def test_a_suspension_that_is_due_has_its_block_first(world: WithoutLoop) -> None:
    """To await meanwhile is an error, raised where it awaits."""

    async def app(environ, start_response):
        resume = environ[SUSPEND]()
        deferred: Deferred[None] = Deferred()
        with pytest.raises(AlreadySuspended):
            await deferred
        resume()
        await pass_on(b"")
        start_response("200 OK", [])
        return [b"went on"]

    served = serve(asynchronous(app))

    assert body_of(world.read(served)) == chunks(b"went on") + LAST_CHUNK


@apart
def test_a_suspension_stays_due_until_the_empty_block(world: WithoutLoop) -> None:
    """A generator's blocks that are not empty are sent meanwhile."""
    resumes = []

    async def app(environ, start_response):
        start_response("200 OK", [])
        resumes.append(environ[SUSPEND]())
        yield b"at once"
        yield b""
        yield b"later"

    served = serve(asynchronous(app))
    before = world.read(served)
    resumes[0]()

    assert body_of(before) == chunks(b"at once")
    assert world.read(served) == chunks(b"later") + LAST_CHUNK


@apart
def test_middleware_may_take_empty_blocks_for_none(world: WithoutLoop) -> None:
    """Asked again too early, it waits on."""
    deferred: Deferred[bytes] = Deferred()

    async def app(environ, start_response):
        start_response("200 OK", [])
        yield await deferred

    suspended = []

    def impatient(environ, start_response):
        def suspend():
            suspended.append(True)
            return lambda: None

        blocks = asynchronous(app)({**environ, SUSPEND: suspend}, start_response)
        assert [next(blocks) for _ in range(3)] == [b""] * 3
        deferred.callback(b"block")
        return blocks

    response = world.read(serve(impatient))

    assert body_of(response) == chunks(b"block") + LAST_CHUNK
    assert len(suspended) == 3


# --- the work that is spared


@pytest.mark.parametrize("body", ["coroutine", "generator"])
@apart
def test_a_fresh_copy_spares_the_work(world: WithoutLoop, body) -> None:
    """What awaits after a flush is cancelled there; the client has its 304 at once."""
    seen: list[object] = []
    deferred: Deferred[None] = Deferred(seen.append)

    async def work(environ, start_response):
        start_response("200 OK", [("ETag", '"v1"')])
        environ[FLUSH]()
        try:
            await deferred
        except CANCELLED:
            seen.append("cancelled")
            raise

    async def stream(environ, start_response):
        await work(environ, start_response)
        yield b"expensive"

    served = serve(asynchronous(work if body == "coroutine" else stream), FRESH)
    response = world.read(served)

    assert status_of(response) == "HTTP/1.1 304 Not Modified"
    assert body_of(response) == b""
    assert seen == [deferred, "cancelled"]
    assert not served.closed
    assert leaves_something(served) == []


@pytest.mark.parametrize("request_", [FRESH, GET.replace(b"GET", b"HEAD")])
@apart
def test_what_it_returns_after_a_flush_is_not_iterated(
    world: WithoutLoop, request_
) -> None:
    """When the client needs none of it."""
    seen: list[str] = []

    async def app(environ, start_response):
        start_response("200 OK", [("ETag", '"v1"')])
        environ[FLUSH]()
        return Later(seen)

    response = world.read(serve(asynchronous(app), request_))

    assert body_of(response) == b""
    assert seen == ["nobody"]  # Closed.


def test_work_that_did_not_begin_does_not_begin() -> None:
    """A body that is asynchronous is closed without being iterated, as any other."""
    began = []

    async def body() -> AsyncIterator[bytes]:
        began.append(True)
        yield b"expensive"

    async def late_body() -> list[bytes]:
        began.append(True)
        return [b"expensive"]

    def application(body, environ, start_response):
        start_response("200 OK", [("ETag", '"v1"')])
        environ[FLUSH]()
        return body()

    for each in (body, late_body):
        response = serve(asynchronous(partial(application, each)), FRESH).read()
        assert status_of(response) == "HTTP/1.1 304 Not Modified"

    assert began == []


# --- a client that leaves


@apart
def test_a_client_that_leaves_cancels_it(world: WithoutLoop) -> None:
    """What it awaits is cancelled, it sees that, and its ``finally`` runs."""
    seen: list[object] = []
    deferred: Deferred[None] = Deferred(seen.append)

    async def app(environ, start_response):
        try:
            await deferred
        except CANCELLED as error:
            seen.append(type(error))
            raise
        finally:
            seen.append("finally")

    served = serve(asynchronous(app))
    world.turn(served)
    served.leave()
    world.turn(served)

    expected = CANCELLED[0] if isinstance(world, WithLoop) else CANCELLED[1]
    assert seen == [deferred, expected, "finally"]
    assert served.clock.getDelayedCalls() == []


@apart
def test_a_client_that_leaves_cancels_a_generator(world: WithoutLoop) -> None:
    """Where it gives a block, it sees ``GeneratorExit``, and its ``finally`` runs."""
    seen: list[object] = []

    async def app(environ, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 10
        except GeneratorExit:
            seen.append(GeneratorExit)
            raise
        finally:
            await succeed(None)
            seen.append("finally")

    served = serve(asynchronous(app), limit=5)
    world.turn(served)
    served.leave()
    world.turn(served)

    assert seen == [GeneratorExit, "finally"]


@apart
def test_it_may_await_when_it_is_cancelled(world: WithoutLoop) -> None:
    """To end a transaction, say: nobody waits for that, and nobody is told."""
    seen = []
    transaction: Deferred[None] = Deferred()
    rollback: Deferred[str] = Deferred()

    async def app(environ, start_response):
        try:
            await transaction
        finally:
            seen.append(await rollback)

    served = serve(asynchronous(app))
    world.turn(served)
    served.leave()
    world.turn(served)
    before = list(seen)
    rollback.callback("rolled back")
    world.turn(served)

    assert before == []
    assert seen == ["rolled back"]


@apart
def test_it_sees_what_fails_when_it_is_cancelled(world: WithoutLoop) -> None:
    """What its ``finally`` awaits may fail, as a rollback does."""
    seen = []
    rollback: Deferred[None] = Deferred()

    async def app(environ, start_response):
        try:
            await Deferred()
        finally:
            try:
                await rollback
            except Boom:
                seen.append("failed")
            seen.append("went on")

    served = serve(asynchronous(app))
    world.turn(served)
    served.leave()
    rollback.errback(Boom())
    world.turn(served)

    assert seen == ["failed", "went on"]


@apart
def test_it_has_what_it_awaited_when_that_had_fired(world: WithoutLoop) -> None:
    """Before the client left: else a lock, say, would have an owner who never knew."""
    seen = []
    lock = DeferredLock()
    never: Deferred[None] = Deferred(lambda _: seen.append("cancelled"))

    async def app(environ, start_response):
        async with lock:
            seen.append("locked")
            try:
                await never
            except CANCELLED:
                seen.append("saw it")
                raise

    lock.acquire()
    served = serve(asynchronous(app))
    world.turn(served)
    lock.release()
    served.leave()
    world.turn(served)

    assert seen == ["locked", "cancelled", "saw it"]
    assert not lock.locked


@pytest.mark.parametrize("answers", [True, False])
@apart
def test_it_ends_when_what_it_awaited_had_fired(world: WithoutLoop, answers) -> None:
    """It awaits nothing more; its iterable is closed, and its answer is nobody's."""
    closed = []
    deferred: Deferred[None] = Deferred()

    class Blocks(list[bytes]):
        def close(self):
            closed.append(True)

    async def app(environ, start_response):
        await deferred
        blocks = Blocks([b"too late"])
        if answers:
            with closing(blocks):
                start_response("200 OK", [])
        return blocks

    served = serve(asynchronous(app))
    world.turn(served)
    deferred.callback(None)
    served.leave()
    world.turn(served)

    assert closed == [True]


@pytest.mark.parametrize("turns", [0, 1])
@apart
def test_a_client_may_leave_before_anything_was_awaited(
    world: WithoutLoop, turns
) -> None:
    """Nothing is left behind that was never awaited, nor a task that did not begin."""

    async def app(environ, start_response):
        await Deferred()

    async def generator(environ, start_response):
        yield await Deferred()

    for each in (app, generator):
        served = serve(asynchronous(each))
        world.turn(served, turns, then=served.leave)
        world.turn(served)
        assert served.clock.getDelayedCalls() == []


# The fast door asks for a block when it calls the application.
@STOCK
@apart
def test_a_deferred_that_nobody_awaited_is_cancelled() -> None:
    """The client left before the first block was asked for."""
    cancelled: list[Deferred[Any]] = []
    deferred: Deferred[Any] = Deferred(cancelled.append)

    serve(asynchronous(lambda environ, start_response: deferred)).leave()

    assert cancelled == [deferred]


# The fast door asks for a block when it calls the application.
@STOCK
@apart
def test_a_future_that_nobody_awaited_is_cancelled() -> None:
    """As a Deferred is."""
    future = asyncio.new_event_loop().create_future()

    serve(asynchronous(lambda environ, start_response: future)).leave()
    future.get_loop().close()

    assert future.cancelled()


# The fast door asks for a block when it calls the application.
@STOCK
@apart
def test_an_iterable_that_nobody_awaited_is_closed() -> None:
    """So is one that a Deferred had brought by then."""
    body = Body(b"block")

    serve(asynchronous(lambda environ, start_response: succeed(body))).leave()

    assert body.done == ["close"]


def test_a_failure_that_nobody_awaited_is_nothing() -> None:
    """There is nobody left whom it would concern."""
    serve(asynchronous(lambda environ, start_response: fail(Boom()))).leave()


@apart
def test_the_error_of_what_is_cancelled_is_nobody_s(world: WithoutLoop) -> None:
    """An agent, for one, has errors of its own for that; nothing is logged."""

    async def app(environ, start_response):
        await Deferred(lambda deferred: deferred.errback(Boom()))

    served = serve(asynchronous(app))
    world.turn(served)
    served.leave()
    world.turn(served)


@apart
def test_an_error_of_one_that_is_cancelled_is_logged(
    world: WithoutLoop, logged: Logged
) -> None:
    """Its clean-up has failed; no client will tell."""

    async def app(environ, start_response):
        try:
            await Deferred()
        finally:
            raise Boom

    served = serve(asynchronous(app))
    world.turn(served)
    served.leave()
    world.turn(served)

    assert len(logged.flush(Boom)) == 1


@apart
def test_one_that_does_not_heed_its_cancellation_gives_no_block(
    world: WithoutLoop,
) -> None:
    """It may come to an end, but where it gives a block, that is the end."""
    seen = []

    async def app(environ, start_response):
        start_response("200 OK", [])
        while True:
            try:
                await Deferred()
            except CANCELLED:
                seen.append("went on")
            try:
                await pass_on(b"block")
            except Exception:
                seen.append("and on")

    served = serve(asynchronous(app))
    world.turn(served)
    served.leave()
    world.turn(served)

    assert seen == ["went on"]


@apart
def test_a_generator_that_does_not_heed_its_cancellation_is_closed(
    world: WithoutLoop,
) -> None:
    """As soon as it gives a block."""
    seen = []

    async def app(environ, start_response):
        start_response("200 OK", [])
        while True:
            try:
                await Deferred()
            except CANCELLED:
                seen.append("went on")
            try:
                yield b"block"
            finally:
                seen.append("closed")

    served = serve(asynchronous(app))
    world.turn(served)
    served.leave()
    world.turn(served)

    assert seen == ["went on", "closed"]


@apart
def test_one_may_pass_on_two_blocks_in_the_end(world: WithoutLoop) -> None:
    """None is sent; it is closed at the second."""
    seen = []

    async def app(environ, start_response):
        start_response("200 OK", [])
        try:
            try:
                await pass_on(b"block")
            finally:
                try:
                    await pass_on(b"in the end")
                finally:
                    await pass_on(b"and once more")
        finally:
            seen.append("finally")

    served = serve(asynchronous(app), limit=4)
    world.turn(served)
    served.leave()
    world.turn(served)

    assert seen == ["finally"]


@pytest.mark.parametrize("kind", ["generator", "coroutine"])
@apart
def test_one_that_gives_block_after_block_in_the_end_is_closed(
    world: WithoutLoop, kind, logged: Logged
) -> None:
    """Else it would go on for ever, with everybody waiting."""

    async def generator(environ, start_response):
        start_response("200 OK", [])
        while True:
            try:
                yield b"block"
            except BaseException:
                if tested:
                    raise

    async def coroutine(environ, start_response):
        start_response("200 OK", [])
        while True:
            try:
                await pass_on(b"block")
            except BaseException:
                if tested:
                    raise

    tested: list[bool] = []

    app = generator if kind == "generator" else coroutine
    served = serve(asynchronous(app), limit=5)
    world.turn(served)
    served.leave()
    world.turn(served)

    tested.append(True)
    assert len(logged.flush(RuntimeError)) == 1


@apart
def test_an_iterable_that_comes_too_late_is_closed(world: WithoutLoop) -> None:
    """The coroutine did not heed its cancellation."""
    body = Body(b"block")

    async def app(environ, start_response):
        with suppress(*CANCELLED):
            await Deferred()
        return body

    served = serve(asynchronous(app))
    world.turn(served)
    served.leave()
    world.turn(served)

    assert body.done == ["close"]


@apart
def test_an_iterable_that_nobody_asked_for_is_closed(loop: WithLoop) -> None:
    """The task was done in the turn in which the client left."""
    body = Body(b"block")

    async def app(environ, start_response):
        return body

    served = serve(asynchronous(app))
    loop.turn(served, 1)
    served.leave()
    loop.turn(served)

    assert body.done == ["close"]


# --- close


@pytest.mark.parametrize(
    ("blocks", "limit"), [([b"one", b"two"], 65536), ([b"one", b"two", b"three"], 5)]
)
@apart
def test_an_iterable_is_closed_once(world: WithoutLoop, blocks, limit) -> None:
    """One that is its own iterator, and has ``close()``: at its end, or when left."""
    body = Body(*blocks)

    async def app(environ, start_response):
        start_response("200 OK", [])
        return body

    served = serve(asynchronous(app), limit=limit)
    world.turn(served)
    served.leave()
    world.turn(served)

    assert body.done.count("close") == 1
    assert body.done[-1] == "close"


@apart
def test_an_iterable_that_fails_is_closed_once(
    world: WithoutLoop, logged: Logged
) -> None:
    """As PEP 3333 says."""

    def failing() -> bytes:
        raise Boom

    body = Body(failing)

    async def app(environ, start_response):
        start_response("200 OK", [])
        return body

    served = serve(asynchronous(app))
    world.turn(served)

    assert body.done == ["iter", "next", "close"]
    assert len(logged.flush(Boom)) == 1


class Rows:
    """An asynchronous iterator that wants to be closed."""

    def __init__(self, *rows: bytes) -> None:
        self.rows = list(rows)
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self.rows:
            raise StopAsyncIteration
        row = self.rows.pop(0)
        if row == b"boom":
            raise Boom
        return row

    async def aclose(self) -> None:
        await succeed(None)
        self.closed += 1


@pytest.mark.parametrize(
    ("rows", "limit"),
    [([b"one"], 65536), ([b"one", b"two", b"three"], 5), ([b"one", b"boom"], 65536)],
)
@apart
def test_an_asynchronous_iterator_is_closed_once(
    world: WithoutLoop, rows, limit, logged: Logged
) -> None:
    """At its end, when it is left, and when it fails."""
    given = Rows(*rows)

    def app(environ, start_response):
        start_response("200 OK", [])
        return given

    served = serve(asynchronous(app), limit=limit)
    world.turn(served)
    served.leave()
    world.turn(served)

    assert given.closed == 1
    assert len(logged.flush(Boom)) == rows.count(b"boom")


@apart
def test_an_asynchronous_iterator_that_nobody_wants_is_closed(
    world: WithoutLoop,
) -> None:
    """The client left before it was there."""
    rows = Rows(b"one")
    deferred: Deferred[None] = Deferred()

    async def late_app(environ, start_response):
        await deferred
        return rows

    served = serve(asynchronous(late_app))
    world.turn(served)
    deferred.callback(None)
    served.leave()
    world.turn(served)

    assert rows.closed == 1


# The fast door asks for a block when it calls the application.
@STOCK
@apart
def test_an_asynchronous_iterator_that_nobody_has_asked_is_closed(
    world: WithoutLoop,
) -> None:
    """The client left before it was asked for a block."""
    rows = Rows(b"one")
    served = serve(asynchronous(lambda environ, start_response: rows))

    served.leave()
    world.turn(served)

    assert rows.closed == 1


# --- what was begun, and not awaited


@pytest.mark.parametrize("leaves", ["while it awaits", "while it gives", "never"])
@apart
def test_what_it_has_begun_is_cancelled_with_it(world: WithoutLoop, leaves) -> None:
    """A subrequest enters itself there; at the end it is not wanted any more."""
    cancelled = []
    awaited: Deferred[None] = Deferred()

    async def body():
        for _ in range(3):
            yield b"x" * 10

    async def app(environ, start_response):
        begun.get().append(lambda: cancelled.append(True))
        start_response("200 OK", [])
        if leaves == "while it awaits":
            await awaited
        return body()

    served = serve(asynchronous(app), limit=65536 if leaves == "never" else 5)
    world.turn(served, 30)
    served.leave()
    world.turn(served)

    assert cancelled == [True]


@apart
def test_what_it_begins_in_the_end_is_not_cancelled(world: WithoutLoop) -> None:
    """It may ask others to clean up."""
    cancelled = []

    async def app(environ, start_response):
        try:
            await Deferred()
        finally:
            begun.get().append(lambda: cancelled.append(True))

    served = serve(asynchronous(app))
    world.turn(served)
    served.leave()
    world.turn(served)

    assert cancelled == []


# --- asyncio


def answer_of(loop: WithLoop, app: Callable[..., Any], seconds: int = 10) -> bytes:
    """What an application answers when that much time has passed, second by second."""
    served = serve(asynchronous(app))
    loop.turn(served)
    for _ in range(seconds):
        loop.turn(served, seconds=1)
    return body_of(served.drain())


@apart
def test_it_sleeps(loop: WithLoop) -> None:
    """By ``asyncio.sleep``, for as long as it says."""
    times = []

    async def app(environ, start_response):
        started = asyncio.get_running_loop().time()
        await asyncio.sleep(2)
        times.append(asyncio.get_running_loop().time() - started)
        start_response("200 OK", [])
        return [b"slept"]

    assert answer_of(loop, app) == chunks(b"slept") + LAST_CHUNK
    assert times == [pytest.approx(2)]


@apart
def test_it_sleeps_between_blocks(loop: WithLoop) -> None:
    """Each is sent when it is there."""

    async def app(environ, start_response):
        start_response("200 OK", [])
        for number in range(3):
            yield b"%d" % number
            await asyncio.sleep(1)

    served = serve(asynchronous(app))
    sent = []
    for seconds in (0, 1, 1, 1):
        loop.turn(served, seconds=seconds)
        sent.append(served.drain())

    assert body_of(sent[0]) == chunks(b"0")
    assert sent[1:] == [chunks(b"1"), chunks(b"2"), LAST_CHUNK]


@pytest.mark.parametrize("late", [True, False])
@apart
def test_it_waits_for_some_time(loop: WithLoop, late) -> None:
    """By ``asyncio.wait_for``, for a coroutine and for a future."""

    async def app(environ, start_response):
        answers = []
        future: Deferred[str] = Deferred()
        if not late:
            environ["twisted.reactor"].callLater(0, future.callback, "fired")
        slow = asyncio.sleep(3 if late else 1, "slept")
        for waiting in (slow, future.asFuture(asyncio.get_running_loop())):
            try:
                answers.append(await asyncio.wait_for(waiting, 2))
            except asyncio.TimeoutError:
                answers.append("timed out")
        start_response("200 OK", [])
        return [", ".join(answers).encode()]

    answer = b"timed out, timed out" if late else b"slept, fired"
    assert answer_of(loop, app) == chunks(answer) + LAST_CHUNK


@apart
def test_it_gathers(loop: WithLoop) -> None:
    """Coroutines, and Deferreds as futures, at the same time."""

    async def app(environ, start_response):
        started = asyncio.get_running_loop().time()
        deferreds: list[Deferred[str]] = [Deferred(), succeed("two")]
        environ["twisted.reactor"].callLater(0, deferreds[0].callback, "one")
        futures = [each.asFuture(asyncio.get_running_loop()) for each in deferreds]
        answers = await asyncio.gather(
            *futures, asyncio.sleep(2, "three"), asyncio.sleep(2, "four")
        )
        took = asyncio.get_running_loop().time() - started
        start_response("200 OK", [])
        return [f"{answers} {took:.0f}".encode()]

    answer = b"['one', 'two', 'three', 'four'] 2"
    assert answer_of(loop, app) == chunks(answer) + LAST_CHUNK


@apart
def test_it_is_woken_by_another_task(loop: WithLoop) -> None:
    """By an event, and the result of a task that it has started."""

    async def app(environ, start_response):
        event = asyncio.Event()

        async def other():
            await asyncio.sleep(1)
            event.set()
            return b"done"

        task = asyncio.create_task(other())
        await event.wait()
        start_response("200 OK", [])
        yield b"woken"
        yield await task

    assert answer_of(loop, app) == chunks(b"woken", b"done") + LAST_CHUNK


@apart
def test_it_is_one_task(loop: WithLoop) -> None:
    """From the first line to the last, whatever it awaits."""
    tasks = set()

    async def app(environ, start_response):
        tasks.add(asyncio.current_task())
        await asyncio.sleep(1)
        tasks.add(asyncio.current_task())
        await succeed(None)
        await pass_on(b"")
        tasks.add(asyncio.current_task())
        start_response("200 OK", [])
        return [b"done"]

    assert answer_of(loop, app) == chunks(b"done") + LAST_CHUNK
    assert len(tasks) == 1
    tasks.clear()


@apart
def test_its_task_is_one_as_asyncio_knows_them(loop: WithLoop) -> None:
    """It is among all tasks while it runs, and has what libraries ask a task for."""
    known = []

    async def app(environ, start_response):
        VISITOR.set("anna")
        task: Any = asyncio.current_task()
        assert task in asyncio.all_tasks()
        assert task.get_context()[VISITOR] == "anna"
        assert task.get_coro().cr_running
        assert task.get_stack()[-1].f_code.co_name == "_passed_on"
        assert "pending" in repr(task)
        assert task.get_name().startswith("wsgiflush-")
        task.set_name("mine")
        known.append(task)
        await asyncio.sleep(0)
        start_response("200 OK", [])
        return [task.get_name().encode()]

    assert answer_of(loop, app, 0) == chunks(b"mine") + LAST_CHUNK
    known[0].print_stack(file=(printed := StringIO()))
    assert "No stack" in printed.getvalue()
    assert "finished" in repr(known[0])
    assert known[0].done()
    assert not known[0].cancel()


@pytest.mark.parametrize("awaits", ["a Deferred", "a future", "a turn"])
@apart
def test_its_task_is_cancelled_with_a_message(loop: WithLoop, awaits) -> None:
    """Libraries know by it that a cancellation is theirs."""

    async def waiting():
        if awaits == "a Deferred":
            await Deferred()
        elif awaits == "a future":
            await asyncio.get_running_loop().create_future()
        while True:
            await asyncio.sleep(0)

    async def app(environ, start_response):
        task: Any = asyncio.current_task()
        asyncio.get_running_loop().call_soon(task.cancel, "mine")
        with pytest.raises(asyncio.CancelledError) as first:
            await waiting()
        task.cancel("at once")
        with pytest.raises(asyncio.CancelledError) as second:
            await Deferred()
        start_response("200 OK", [])
        return [repr(first.value.args + second.value.args).encode()]

    answer = b"('mine', 'at once')"
    assert answer_of(loop, app, 0) == chunks(answer) + LAST_CHUNK


@pytest.mark.parametrize("cancelled", [True, False])
@apart
def test_it_cannot_await_its_own_task(loop: WithLoop, cancelled) -> None:
    """As any task; also when it is cancelled."""
    seen = []

    async def app(environ, start_response):
        task: Any = asyncio.current_task()
        try:
            await (Deferred() if cancelled else succeed(None))
        finally:
            with pytest.raises(RuntimeError, match="its own task"):
                await task
            seen.append("went on")
        start_response("200 OK", [])
        return []

    served = serve(asynchronous(app))
    loop.turn(served, then=served.leave)
    loop.turn(served)

    assert seen == ["went on"]


@apart
def test_one_that_is_cancelled_waits_for_its_turn(loop: WithLoop) -> None:
    """It gives the others theirs by ``asyncio.sleep(0)``, and is cancelled there."""
    seen = []

    async def app(environ, start_response):
        try:
            while True:
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    served = serve(asynchronous(app))
    loop.turn(served, then=served.leave)
    loop.turn(served)

    assert seen == ["cancelled"]


@apart
def test_its_task_may_be_cancelled_when_what_it_awaits_is_there(
    loop: WithLoop,
) -> None:
    """As any task: it sees that, and not what it awaited."""
    tasks: list[Any] = []
    deferred: Deferred[None] = Deferred()

    async def app(environ, start_response):
        tasks.append(asyncio.current_task())
        with pytest.raises(asyncio.CancelledError):
            await deferred
        start_response("200 OK", [])
        return [b"%d, %d" % (tasks[0].cancelling(), tasks[0].uncancel())]

    served = serve(asynchronous(app))
    loop.turn(served)
    deferred.callback(None)
    tasks[0].cancel()
    loop.turn(served)

    assert body_of(served.drain()) == chunks(b"1, 0") + LAST_CHUNK


@apart
def test_a_coroutine_may_iterate_over_another_application_s(loop: WithLoop) -> None:
    """Each is a task of its own meanwhile."""
    tasks = []

    async def inner(environ, start_response):
        tasks.append(asyncio.current_task())
        start_response("200 OK", [])
        yield b"block"

    async def outer(environ, start_response):
        tasks.append(asyncio.current_task())
        for block in asynchronous(inner)(environ, start_response):
            await pass_on(block)
        tasks.append(asyncio.current_task())
        return []

    assert answer_of(loop, outer) == chunks(b"block") + LAST_CHUNK
    assert tasks[0] is tasks[2]
    assert tasks[1] not in (None, tasks[0])
    tasks.clear()


@apart
def test_a_client_that_leaves_cancels_what_asyncio_waits_for(loop: WithLoop) -> None:
    """The tasks that it waits for, and what those wait for."""
    seen = []

    async def sleeper(name):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append(name)
            raise

    async def app(environ, start_response):
        try:
            await asyncio.gather(sleeper("one"), sleeper("two"))
        finally:
            await asyncio.sleep(1)
            seen.append("finally")

    served = serve(asynchronous(app))
    loop.turn(served)
    served.leave()
    loop.turn(served)
    at_once = list(seen)
    loop.turn(served, seconds=2)

    assert at_once == ["one", "two"]
    assert seen == ["one", "two", "finally"]


@apart
def test_one_that_cancels_itself_has_failed(loop: WithLoop, logged: Logged) -> None:
    """Its client is there, and gets the error page."""

    async def app(environ, start_response):
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    served = serve(asynchronous(app))
    loop.turn(served)

    assert status_of(served.drain()) == "HTTP/1.1 500 Internal Server Error"
    assert len(logged.flush(asyncio.CancelledError)) == 1


@apart
def test_one_that_is_cancelled_while_it_gives_a_block_is_cut(
    loop: WithLoop, logged: Logged
) -> None:
    """The block is sent, and there is no clean end."""

    async def app(environ, start_response):
        start_response("200 OK", [])
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        yield b"block"

    served = serve(asynchronous(app))
    loop.turn(served)

    assert body_of(served.drain()) == chunks(b"block")
    assert served.closed
    assert len(logged.flush(asyncio.CancelledError)) == 1


if sys.version_info >= (3, 11):

    @pytest.mark.parametrize("what", ["sleeps", "awaits a Deferred"])
    @apart
    def test_it_has_some_time(loop: WithLoop, what) -> None:
        """``asyncio.timeout`` ends what it awaits, and it goes on."""
        cancelled: list[Deferred[None]] = []

        async def app(environ, start_response):
            deferred: Deferred[None] = Deferred(cancelled.append)
            try:
                async with asyncio.timeout(2):
                    await (asyncio.sleep(60) if what == "sleeps" else deferred)
            except TimeoutError:
                start_response("504 Gateway Timeout", [])
            return [b"too late"]

        assert answer_of(loop, app) == chunks(b"too late") + LAST_CHUNK
        assert len(cancelled) == (what != "sleeps")

    @apart
    def test_it_has_a_group_of_tasks(loop: WithLoop) -> None:
        """``asyncio.TaskGroup``: one that fails cancels the others."""
        seen = []

        async def sleeper(name):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                seen.append(name)
                raise

        async def failing():
            await asyncio.sleep(1)
            raise Boom

        async def app(environ, start_response):
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(sleeper("one"))
                    group.create_task(sleeper("two"))
                    group.create_task(failing())
            except Exception as error:
                start_response("200 OK", [])
                return [repr(error).encode()]

        assert b"ExceptionGroup" in answer_of(loop, app)
        assert sorted(seen) == ["one", "two"]

    @apart
    def test_a_client_that_leaves_cancels_a_group_of_tasks(loop: WithLoop) -> None:
        """All of them, and those that wait for a Deferred as a future."""
        seen: list[object] = []
        deferred: Deferred[None] = Deferred(seen.append)

        async def sleeper():
            try:
                await asyncio.sleep(60)
            finally:
                seen.append("slept")

        async def waiter():
            await deferred.asFuture(asyncio.get_running_loop())

        async def app(environ, start_response):
            async with asyncio.TaskGroup() as group:
                group.create_task(sleeper())
                group.create_task(waiter())

        served = serve(asynchronous(app))
        loop.turn(served)
        served.leave()
        loop.turn(served)

        assert sorted(seen, key=str) == sorted(["slept", deferred], key=str)


# --- real reactors

ON_ANY = {
    "deferred": "fired",
    "deferreds": "['a', 'b']",
    "thread": "slept",
    "timed_out": "False",
}
ON_ASYNCIO = {
    **ON_ANY,
    "sleep": "slept",
    "wait_for": "timed out",
    "gather": "['fired', 'slept']",
    "asyncio_thread": "slept",
}


@pytest.mark.one_reactor  # It names its own.
@pytest.mark.parametrize(
    ("reactor", "answers"), [("default", ON_ANY), ("asyncio", ON_ASYNCIO)]
)
def test_it_awaits_what_a_reactor_brings(reactor: str, answers: dict[str, str]) -> None:
    """Each in its time; and the reactor cancels what a client has left."""
    with serving(
        "coroutines.py",
        cwd=Path(__file__).parent / "applications",
        door=TWIST,
        runner=["--reactor", reactor],
    ) as server:
        answered = {path: server.get(f"/{path}").decode() for path in answers}
        with server.connect() as leaving:
            leaving.sendall(GET.replace(b"/ ", b"/for_ever ", 1))
            leaving.recv(1)
        ended = server.get("/until_ended")

    assert answered == answers
    assert ended == b"ended"
