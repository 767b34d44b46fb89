"""A body that is complete, for applications that are written for one that arrives."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from arriving import Connection
from doors import serve_in_a_turn as serve
from test_input import BODY, LINES, post
from waiting import body_of, status_of

from twisted_wsgiflush.coroutines import asynchronous
from twisted_wsgiflush.wsgi2 import from_wsgi2

pytestmark = pytest.mark.usefixtures("door")


async def awaited_all(body):
    return await body.read()


async def awaited_all_of_none(body):
    return await body.read(None)


async def awaited_pieces(body):
    pieces = []
    while piece := await body.read(5):
        pieces.append(piece)
    return b"|".join(pieces)


async def awaited_lines(body):
    lines = []
    while line := await body.readline():
        lines.append(line)
    return b"|".join(lines)


async def awaited_short_lines(body):
    return b"|".join([await body.readline(2), await body.readline(None)])


async def awaited_blocks(body):
    return b"|".join([await body, await body])


async def iterated(body):
    return b"|".join([block async for block in body])


async def not_awaited(body):
    return b"|".join([body.read(2), *body, *body.readlines()])


RESULTS = [
    (awaited_all, BODY),
    (awaited_all_of_none, BODY),
    (awaited_pieces, b"one\nt|wo\r\n\n|four"),
    (awaited_lines, b"|".join(LINES)),
    (awaited_short_lines, b"on|e\n"),
    (awaited_blocks, BODY + b"|"),
    (iterated, BODY),
    (not_awaited, b"|".join([b"on", b"e\n", *LINES[1:]])),
]


@pytest.mark.parametrize(("read", "result"), RESULTS)
def test_a_coroutine_reads(read: Callable[[Any], Any], result: bytes) -> None:
    """A coroutine may await all that it reads, though all of it is there."""

    @asynchronous
    async def application(environ, start_response):
        body = await read(environ["wsgi.input"])
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    assert body_of(serve(application, post(BODY)).read()) == result


@pytest.mark.parametrize(("read", "result"), RESULTS)
def test_a_coroutine_reads_another_input(
    read: Callable[[Any], Any], result: bytes
) -> None:
    """What middleware has put in its place can be awaited as well."""

    def middleware(environ, start_response):
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read())
        return application(environ, start_response)

    @asynchronous
    async def application(environ, start_response):
        body = await read(environ["wsgi.input"])
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    assert body_of(serve(middleware, post(BODY)).read()) == result


def test_a_coroutine_of_wsgi_2_reads() -> None:
    """The same holds for WSGI 2.0."""

    async def application(environ):
        body = await environ["wsgi.input"].read()
        return "200 OK", [("Content-Length", str(len(body)))], [body]

    assert body_of(serve(from_wsgi2(application), post(BODY)).read()) == BODY


def test_large_blocks() -> None:
    """A block that no size was named for has 64 KiB at most."""
    sizes = []

    @asynchronous
    async def application(environ, start_response):
        async for block in environ["wsgi.input"]:
            sizes.append(len(block))
        start_response("200 OK", [])
        return []

    serve(application, post(b"x" * 150_000)).read()

    assert sizes == [65536, 65536, 150_000 - 2 * 65536]


def test_what_is_read_is_bytes_to_others() -> None:
    """A copy of what was read is of the bytes alone."""
    copies = []

    @asynchronous
    async def application(environ, start_response):
        copies.append(pickle.loads(pickle.dumps(environ["wsgi.input"].read())))
        start_response("200 OK", [])
        return []

    serve(application, post(BODY)).read()

    assert [(type(copied), copied) for copied in copies] == [(bytes, BODY)]


def test_the_body_as_the_response() -> None:
    """An input stream is a stream of blocks, and nothing that comes late."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(BODY)))])
        return environ["wsgi.input"]

    assert body_of(serve(asynchronous(application), post(BODY)).read()) == BODY


def test_one_in_another() -> None:
    """What can be awaited already stays as it is."""
    inputs = []

    @asynchronous
    def outer(environ, start_response):
        inputs.append(environ["wsgi.input"])
        return inner(environ, start_response)

    @asynchronous
    async def inner(environ, start_response):
        inputs.append(environ["wsgi.input"])
        start_response("200 OK", [])
        return []

    serve(outer, post(BODY)).read()

    assert inputs[0] is inputs[1]


def test_one_that_still_arrives() -> None:
    """An input that waits by itself stays as it is."""
    connection = Connection()

    def middleware(environ, start_response):
        environ["wsgi.input"] = connection.body
        return application(environ, start_response)

    @asynchronous
    async def application(environ, start_response):
        body = await environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    served = serve(middleware)
    served.turn(5)
    connection.finish(BODY)

    assert body_of(served.read()) == BODY


def test_without_an_input() -> None:
    """An application that middleware calls with no input is called nevertheless."""

    def middleware(environ, start_response):
        del environ["wsgi.input"]
        return application(environ, start_response)

    @asynchronous
    async def application(environ, start_response):
        start_response("204 No Content", [])
        return []

    assert status_of(serve(middleware).read()) == "HTTP/1.1 204 No Content"
