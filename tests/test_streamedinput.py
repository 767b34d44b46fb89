"""``wsgi.input`` while the body still arrives: what each way of reading gives."""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from arriving import Awaited, Connection
from twisted.internet.defer import CancelledError, Deferred
from waiting import LAST_CHUNK, SUSPEND, body_of, leaves_something, status_of
from worlds import WithLoop, WithoutLoop, apart

from twisted_wsgiflush.coroutines import asynchronous
from twisted_wsgiflush.errors import AlreadyReading, AlreadySuspended, InputLost
from twisted_wsgiflush.errors import InputNotHere as NotHere
from twisted_wsgiflush.testing import GET, Served, serve

HIGH_WATER = 65536
LINES = [b"one\n", b"two\r\n", b"\n"]


@pytest.fixture(params=[WithoutLoop, WithLoop])
def world(request: pytest.FixtureRequest) -> Iterator[WithoutLoop]:
    """Without asyncio, and with it: what is true in one is true in the other."""
    world = request.param()
    yield world
    world.close()


class Streaming:
    """
    An application that is served while its body arrives, on a connection of its own.

    :param asynchronously: makes a WSGI application of it.
    """

    def __init__(
        self,
        application: Callable[..., Any],
        asynchronously: Callable[..., Any] = asynchronous,
    ) -> None:
        def streamed(environ: Any, start_response: Any) -> Any:
            self.connection = Connection(environ[SUSPEND])
            environ["wsgi.input"] = self.connection.body
            return asynchronously(application)(environ, start_response)

        self.served: Served = serve(
            streamed, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )


def plain(application: Callable[..., Any]) -> Callable[..., Any]:
    return application


# --- what is there


@pytest.mark.parametrize(
    ("read", "result"),
    [
        (lambda body: body.read(), b"one\ntwo\r\n\nfour"),
        (lambda body: body.read(-1), b"one\ntwo\r\n\nfour"),
        (lambda body: body.read(None), b"one\ntwo\r\n\nfour"),
        (lambda body: body.read(1000), b"one\ntwo\r\n\nfour"),
        (lambda body: body.read(2**80), b"one\ntwo\r\n\nfour"),
        (lambda body: body.read(0), b""),
        (lambda body: body.read(1), b"o"),
        (lambda body: body.read(size=5), b"one\nt"),
        (lambda body: body.read(6), b"one\ntw"),
        (lambda body: [body.read(5), body.read(), body.read(9)], None),
        (lambda body: body.readline(), b"one\n"),
        (lambda body: body.readline(-1), b"one\n"),
        (lambda body: body.readline(None), b"one\n"),
        (lambda body: body.readline(0), b""),
        (lambda body: body.readline(2), b"on"),
        (lambda body: body.readline(size=100), b"one\n"),
        (lambda body: [body.readline() for _ in range(5)], [*LINES, b"", b""]),
        (lambda body: [body.read(11), body.readline(4)], [b"one\ntwo\r\n\nf", b""]),
        (lambda body: [body.read(10), body.readline(4)], [b"one\ntwo\r\n\n", b"four"]),
    ],
)
def test_what_is_there(read: Callable[[Any], Any], result: Any) -> None:
    """A read that is not awaited gives what has come, as a binary file would."""
    connection = Connection()
    connection.send(b"on", b"e\nt", b"wo\r\n\nfour")

    if result is None:
        result = [b"one\nt", b"wo\r\n\nfour", b""]
    assert read(connection.body) == result


def test_nothing_is_no_end() -> None:
    """While more may come a read of nothing is not the end; ``ended`` is."""
    connection = Connection()
    seen = []

    def look() -> None:
        seen.append((connection.body.read(), connection.body.ended))

    look()
    connection.send(b"body")
    look()
    look()
    connection.finish()
    look()

    assert seen == [(b"", False), (b"body", False), (b"", False), (b"", True)]


def test_it_has_not_ended_before_all_is_read() -> None:
    """A body that has come, and was not read, has not ended."""
    connection = Connection()
    connection.finish(b"body")

    assert not connection.body.ended
    connection.body.read()
    assert connection.body.ended


def test_a_byte_at_a_time() -> None:
    """Large blocks can be read in small pieces."""
    connection = Connection()
    connection.finish(bytes(range(256)) * 10)

    assert [connection.body.read(1)[0] for _ in range(2560)] == [*range(256)] * 10


def test_what_is_read_is_bytes_to_others() -> None:
    """A copy of what was read is of the bytes alone, and not of how to wait."""
    connection = Connection()
    connection.send(b"body")

    copied = pickle.loads(pickle.dumps(connection.body.read()))

    assert type(copied) is bytes
    assert copied == b"body"


def test_the_lines_that_are_there() -> None:
    """A loop over the lines gives those, and does not pass for the end."""
    connection = Connection()
    connection.send(b"one\ntw")
    lines = iter(connection.body)

    assert next(lines) == b"one\n"
    with pytest.raises(NotHere, match="not here yet"):
        next(lines)

    connection.finish(b"o\nthree")
    assert list(connection.body) == [b"two\n", b"three"]
    assert list(connection.body) == []


@pytest.mark.parametrize(
    ("hint", "lines"),
    [
        (-1, [b"one\n", b"two\n", b"three"]),
        (None, [b"one\n", b"two\n", b"three"]),
        (0, [b"one\n", b"two\n", b"three"]),
        (1, [b"one\n"]),
        (5, [b"one\n", b"two\n"]),
        (100, [b"one\n", b"two\n", b"three"]),
    ],
)
def test_all_lines(hint: int | None, lines: list[bytes]) -> None:
    """``readlines`` is for a body that is complete, and else reads nothing."""
    connection = Connection()
    connection.send(b"one\ntwo\nth")

    with pytest.raises(NotHere, match="not complete"):
        connection.body.readlines(hint)

    connection.finish(b"ree")
    assert connection.body.readlines(hint) == lines


def test_a_line_that_is_too_long_comes_in_pieces() -> None:
    """Of a line no more is kept than of anything, so it is given as far as it is."""
    connection = Connection()
    connection.send(b"x" * 40_000)
    assert connection.body.readline() == b""
    connection.send(b"x" * 40_000, b"y\n")

    assert connection.body.readline(10**9) == b"x" * HIGH_WATER
    assert connection.body.readline() == b"x" * (80_000 - HIGH_WATER) + b"y\n"


# --- who waits


@pytest.mark.parametrize(
    ("begin", "blocks", "result"),
    [
        (lambda body: body.read(10), [b"block", b"more"], b"block"),
        (lambda body: body.read(3), [b"block"], b"blo"),
        (lambda body: body.read(), [b"block", b"more", b"", b"x" * 70_000], None),
        (lambda body: body.read(None), [b"block", b"more", b"", b"x" * 70_000], None),
        (lambda body: body, [b"block", b"more"], b"block"),
        (lambda body: body.__anext__(), [b"block", b"more"], b"block"),
        (lambda body: body.readline(), [b"li", b"ne\nmore"], b"line\n"),
        (lambda body: body.readline(3), [b"li", b"ne\nmore"], b"lin"),
        (lambda body: body.readline(10), [b"the last"], b"the last"),
    ],
)
def test_who_awaits_waits(
    begin: Callable[[Any], Awaitable[bytes]], blocks: list[bytes], result: Any
) -> None:
    """What is awaited is there as soon as it can be, or with the end."""
    connection = Connection()
    awaited = Awaited(lambda: begin(connection.body))
    assert (awaited.results, awaited.errors) == ([], [])

    connection.send(*blocks)
    if not awaited.results:
        connection.finish()

    assert awaited.results == [b"".join(blocks) if result is None else result]


@pytest.mark.parametrize(
    ("begin", "result"),
    [
        (lambda body: body.read(10), b"block"),
        (lambda body: body.read(0), b""),
        (lambda body: body.readline(0), b""),
        (lambda body: body.readline(3), b"blo"),
        (lambda body: body, b"block"),
    ],
)
def test_what_is_there_is_awaited_without_waiting(
    begin: Callable[[Any], Awaitable[bytes]], result: bytes
) -> None:
    """Nobody waits for more than there is, when that is something."""
    connection = Connection()
    connection.send(b"block")

    assert Awaited(lambda: begin(connection.body)).results == [result]


@pytest.mark.parametrize(
    "begin",
    [
        lambda body: body.read(10),
        lambda body: body.read(),
        lambda body: body.readline(),
        lambda body: body,
    ],
)
def test_at_the_end_nobody_waits(begin: Callable[[Any], Awaitable[bytes]]) -> None:
    """Who awaits more than all gets nothing, as often as he likes."""
    connection = Connection()
    awaited = Awaited(lambda: begin(connection.body))

    connection.finish()

    assert awaited.results == [b""]
    assert Awaited(lambda: begin(connection.body)).results == [b""]


def test_all_of_it_includes_what_was_there() -> None:
    """``read`` awaited gives the whole body, of which a part had come before."""
    connection = Connection()
    connection.send(b"what was there ")

    awaited = Awaited(connection.body.read)
    connection.finish(b"and what came")

    assert awaited.results == [b"what was there and what came"]


def test_who_is_cancelled_has_taken_nothing() -> None:
    """What a cancelled wait had read already is read by the next."""
    connection = Connection()
    connection.send(b"before ")
    awaited = Awaited(connection.body.read)
    connection.send(b"meanwhile ")

    awaited.cancel()

    assert [type(error) for error in awaited.errors] == [CancelledError]
    connection.send(b"after")
    assert connection.body.read() == b"before meanwhile after"


def test_who_is_cancelled_with_nothing() -> None:
    """A wait in which nothing came is cancelled without a trace."""
    connection = Connection()
    awaited = Awaited(connection.body.read)

    awaited.cancel()

    connection.finish()
    assert connection.body.ended


# --- the client that breaks off


@pytest.mark.parametrize(
    "begin",
    [
        lambda body: body.read(10),
        lambda body: body.read(),
        lambda body: body.readline(),
        lambda body: body.readline(1),
        lambda body: body,
        lambda body: body.__anext__(),
    ],
)
def test_who_waits_for_what_will_not_come(
    begin: Callable[[Any], Awaitable[bytes]],
) -> None:
    """Who waits when the client breaks off is told, and so is who waits then."""
    connection = Connection()
    awaited = Awaited(lambda: begin(connection.body))

    connection.lose("the body came too slowly")
    awaited_later = Awaited(lambda: begin(connection.body))

    for error in (*awaited.errors, *awaited_later.errors):
        assert isinstance(error, InputLost)
        assert str(error) == "the body came too slowly"
    assert len(awaited.errors + awaited_later.errors) == 2
    assert not connection.body.ended


def test_what_came_can_be_read() -> None:
    """What came before the client broke off is there for who asks for no more."""
    connection = Connection()
    connection.send(b"a line\npart of a line")
    connection.lose()
    body = connection.body

    assert [type(error) for error in Awaited(body.read).errors] == [InputLost]
    with pytest.raises(InputLost):
        body.readlines()
    assert body.readline() == b"a line\n"
    with pytest.raises(InputLost):
        body.readline()
    with pytest.raises(InputLost):
        list(body)
    assert body.read() == b"part of a line"
    with pytest.raises(InputLost):
        body.read()


@apart
def test_a_loss_is_the_answer(world: WithoutLoop, logged: Any) -> None:
    """An application that does not catch it leaves the answer to what was wrong."""

    async def application(environ, start_response):
        await environ["wsgi.input"].read()

    streaming = Streaming(application)
    world.turn(streaming.served)

    streaming.connection.lose("the body came too slowly")

    response = world.read(streaming.served)
    assert status_of(response) == "HTTP/1.1 400 Bad Request"
    assert body_of(response) == b"the body came too slowly\n"
    assert logged.events == []


# --- the response is over


@pytest.mark.parametrize(
    "use",
    [
        lambda body: body.read(),
        lambda body: body.read(0),
        lambda body: body.readline(),
        lambda body: body.readlines(),
        lambda body: list(body),
        lambda body: body.ended,
    ],
)
@pytest.mark.parametrize("before", [Connection.send, Connection.finish])
def test_reading_after_the_response(
    use: Callable[[Any], object], before: Callable[..., None]
) -> None:
    """The body goes with its request."""
    connection = Connection()
    before(connection, b"body\n")

    connection.end()

    with pytest.raises(ValueError, match="closed file"):
        use(connection.body)


def test_waiting_after_the_response() -> None:
    """Nobody waits for a body that is gone."""
    connection = Connection()
    connection.end()

    assert connection.body.readable(1) == b""
    errors = Awaited(lambda: connection.body).errors
    assert [type(error) for error in errors] == [ValueError]


# --- generators


def reads(environ, start_response):
    """Gives each block as it comes, in brackets."""
    start_response("200 OK", [])
    body = environ["wsgi.input"]
    while not body.ended:
        yield body.readable()
        yield b"[%s]" % body.read(5)


def test_a_generator_waits_for_the_next_block() -> None:
    """It is suspended while nothing is there, and goes on with each block."""
    streaming = Streaming(reads, plain)
    served, connection = streaming.served, streaming.connection
    assert body_of(served.read()) == b""

    connection.send(b"one")
    assert served.read().endswith(b"5\r\n[one]\r\n")
    connection.send(b"sixteen")
    assert served.read() == b"7\r\n[sixte]\r\n4\r\n[en]\r\n"
    connection.finish()
    assert served.read() == b"2\r\n[]\r\n" + LAST_CHUNK


def test_a_generator_goes_on_when_the_client_breaks_off(logged: Any) -> None:
    """It is told by the read for which it has waited."""

    def application(environ, start_response):
        yield environ["wsgi.input"].readable()
        environ["wsgi.input"].read()

    streaming = Streaming(application, plain)
    streaming.served.read()

    streaming.connection.lose()

    assert status_of(streaming.served.read()) == "HTTP/1.1 400 Bad Request"
    assert logged.events == []


def test_a_generator_waits_for_so_long() -> None:
    """After the timeout, in seconds, there is nothing and that is not the end."""

    def application(environ, start_response):
        body = environ["wsgi.input"]
        yield body.readable(1.5)
        start_response("200 OK", [])
        yield repr((body.read(), body.ended)).encode()

    streaming = Streaming(application, plain)
    served = streaming.served
    served.turn(5)
    served.clock.turn(1.4)
    assert served.read() == b""

    served.clock.turn(0.1)

    assert b"(b'', False)" in served.read()


def test_a_generator_waits_for_a_line() -> None:
    """After a line that was not there it goes on when the line is."""
    turns = []

    def application(environ, start_response):
        body = environ["wsgi.input"]
        while not (line := body.readline()):
            turns.append(body.readable())
            yield b""
        start_response("200 OK", [])
        yield line

    streaming = Streaming(application, plain)
    for piece in (b"a ", b"li", b"ne"):
        streaming.connection.send(piece)
        streaming.served.read()
    assert len(turns) == 1

    streaming.connection.send(b"\nmore")

    assert b"a line\n" in streaming.served.read()


def test_a_generator_waits_for_anything_after_another_read() -> None:
    """Only who has just missed a line waits for one."""

    def application(environ, start_response):
        body = environ["wsgi.input"]
        body.readline()
        body.read()
        yield body.readable()
        start_response("200 OK", [])
        yield body.read()

    streaming = Streaming(application, plain)
    streaming.connection.send(b"no line")
    streaming.served.read()
    streaming.connection.send(b"no line either")

    assert b"no line either" in streaming.served.read()


def test_a_generator_does_not_wait_for_what_is_there() -> None:
    """With a block there, or the end, the empty block is a turn and no more."""
    connection = Connection()  # Nobody can be suspended there.
    connection.send(b"block")
    assert connection.body.readable() == b""
    connection.finish()
    connection.body.read()
    assert connection.body.readable(0.5) == b""


def test_what_comes_when_it_is_wanted_is_not_waited_for() -> None:
    """A connection may have the body at hand when it is asked."""
    connection = Connection(told=lambda name: connection.send(b"block"))

    assert connection.body.readable() == b""

    assert connection.body.read() == b"block"


def test_what_comes_when_it_is_resumed_is_not_waited_for() -> None:
    """A connection that was paused may go on at once."""
    connection = Connection()
    connection.send(b"x" * HIGH_WATER)
    connection.body.read(HIGH_WATER - 1)
    connection.body.readline()
    connection.told = lambda name: connection.send(b"\n")

    assert connection.body.readable() == b""

    assert connection.body.readline() == b"x\n"


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), ("1", TypeError)])
def test_what_is_no_timeout(timeout: Any, error: type[Exception]) -> None:
    """It is refused where it is given, also when there is nothing to wait for."""
    connection = Connection()
    connection.send(b"block")

    with pytest.raises(error, match="timeout"):
        connection.body.readable(timeout)


def test_a_generator_and_a_coroutine() -> None:
    """Two cannot wait for one body."""
    connection = Connection()
    block = Awaited(lambda: connection.body)

    with pytest.raises(AlreadyReading):
        connection.body.readable()

    connection.send(b"block")
    assert block.results == [b"block"]


def test_to_be_suspended_twice() -> None:
    """It is one suspension as any other."""
    errors = []

    def application(environ, start_response):
        environ["wsgi.input"].readable()
        with pytest.raises(AlreadySuspended) as raised:
            environ[SUSPEND]()
        errors.append(raised.type)
        yield b""
        start_response("200 OK", [])
        yield environ["wsgi.input"].read()

    streaming = Streaming(application, plain)
    streaming.served.read()
    streaming.connection.send(b"block")

    assert b"block" in streaming.served.read()
    assert errors == [AlreadySuspended]


# --- coroutines on a server


@apart
def test_an_upload_and_its_response_overlap(world: WithoutLoop) -> None:
    """A coroutine answers each block as it comes."""

    async def application(environ, start_response):
        start_response("200 OK", [])
        async for block in environ["wsgi.input"]:
            yield block.upper()

    streaming = Streaming(application)
    served, connection = streaming.served, streaming.connection
    world.turn(served)
    connection.send(b"one")
    assert world.read(served).endswith(b"3\r\nONE\r\n")
    connection.send(b"two")
    assert world.read(served) == b"3\r\nTWO\r\n"
    connection.finish(b"three")
    assert world.read(served) == b"5\r\nTHREE\r\n" + LAST_CHUNK


@apart
def test_the_body_as_the_response(world: WithoutLoop) -> None:
    """The input stream can be what a coroutine application returns."""

    async def application(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.input"]

    streaming = Streaming(application)
    world.turn(streaming.served)
    streaming.connection.finish(b"one")

    assert world.read(streaming.served).endswith(b"3\r\none\r\n" + LAST_CHUNK)


@apart
def test_a_client_that_leaves_ends_the_wait(world: WithoutLoop) -> None:
    """The coroutine is cancelled where it waits, and nothing is left."""
    seen = []

    async def application(environ, start_response):
        try:
            await environ["wsgi.input"].readline()
        except (CancelledError, asyncio.CancelledError):
            seen.append("cancelled")
            raise

    streaming = Streaming(application)
    world.turn(streaming.served)

    left: list[object] = []
    world.turn(
        streaming.served, then=lambda: left.extend(leaves_something(streaming.served))
    )

    assert (seen, left) == (["cancelled"], [])
    streaming.connection.send(b"a line\n")


@apart
@pytest.mark.parametrize("told_first", [True, False])
def test_a_client_that_leaves_in_the_middle(
    world: WithoutLoop, told_first: bool
) -> None:
    """Whatever hears of it first, the body or the response, that is no error."""

    async def application(environ, start_response):
        try:
            await environ["wsgi.input"].read()
        finally:
            await environ["wsgi.input"].read()

    streaming = Streaming(application)
    world.turn(streaming.served)
    streaming.connection.send(b"a part")

    def leave() -> None:
        if told_first:
            streaming.connection.lose()
        streaming.served.leave()
        streaming.connection.lose()

    world.turn(streaming.served, then=leave)

    assert leaves_something(streaming.served) == []


@apart
def test_who_is_slower_waits_for_the_next(world: WithoutLoop) -> None:
    """A block may be taken by another before the coroutine's next step."""

    async def application(environ, start_response):
        block = await environ["wsgi.input"]
        start_response("200 OK", [])
        return [block]

    streaming = Streaming(application)
    world.turn(streaming.served)

    streaming.connection.send(b"first")
    assert streaming.connection.body.read() == b"first"
    assert world.read(streaming.served) == b""
    streaming.connection.send(b"second")

    assert b"second" in world.read(streaming.served)


if sys.version_info >= (3, 11):

    @apart
    def test_waiting_for_so_long() -> None:
        """``asyncio.timeout`` ends the wait, and what had come by then is not lost."""

        async def application(environ, start_response):
            body = environ["wsgi.input"]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await body.read()
            start_response("200 OK", [])
            return [body.read()]

        world = WithLoop()
        streaming = Streaming(application)
        streaming.connection.send(b"one ")
        world.turn(streaming.served)
        streaming.connection.send(b"two")
        world.turn(streaming.served)
        world.turn(streaming.served, seconds=1)

        assert b"one two" in world.read(streaming.served)
        world.close()


@apart
def test_a_block_that_comes_with_the_cancellation() -> None:
    """What was collected is given back before what has come since."""
    tasks = []

    async def application(environ, start_response):
        tasks.append(asyncio.current_task())
        with suppress(asyncio.CancelledError):
            await environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    world = WithLoop()
    streaming = Streaming(application)
    world.turn(streaming.served)
    streaming.connection.send(b"one ")
    world.turn(streaming.served)
    streaming.connection.send(b"two")
    tasks[0].cancel()

    assert b"one two" in world.read(streaming.served)
    world.close()


@apart
def test_something_else_may_be_awaited_meanwhile(world: WithoutLoop) -> None:
    """The body arrives while the coroutine waits for something else."""
    something: Deferred[bytes] = Deferred()

    async def application(environ, start_response):
        first = await something
        start_response("200 OK", [])
        return [first, await environ["wsgi.input"].read()]

    streaming = Streaming(application)
    world.turn(streaming.served)
    streaming.connection.finish(b"body")
    world.turn(streaming.served)
    something.callback(b"something and ")

    assert b"something and " in (response := world.read(streaming.served))
    assert response.endswith(b"4\r\nbody\r\n" + LAST_CHUNK)
