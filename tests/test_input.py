"""``wsgi.input``: the request's body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from wsgiref.validate import validator

import pytest
from doors import serve

from twisted_wsgiflush.testing import GET

pytestmark = pytest.mark.usefixtures("door")


BODY = b"one\ntwo\r\n\nfour"
LINES = [b"one\n", b"two\r\n", b"\n", b"four"]


def post(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


READS: list[tuple[Callable[[Any], object], object]] = [
    (lambda body: body.read(), BODY),
    (lambda body: body.read(-1), BODY),
    (lambda body: body.read(None), BODY),
    (lambda body: body.read(size=-1), BODY),
    (lambda body: body.read(1000), BODY),
    (lambda body: body.read(2**80), BODY),
    (lambda body: body.read(0), b""),
    (lambda body: body.read(1), b"o"),
    (lambda body: body.read(size=6), b"one\ntw"),
    (
        lambda body: [body.read(7), body.read(7), body.read(7)],
        [BODY[:7], BODY[7:], b""],
    ),
    (lambda body: [body.read(), body.read(), body.read(1)], [BODY, b"", b""]),
    (lambda body: body.readline(), b"one\n"),
    (lambda body: body.readline(-1), b"one\n"),
    (lambda body: body.readline(None), b"one\n"),
    (lambda body: body.readline(0), b""),
    (lambda body: body.readline(2), b"on"),
    (lambda body: body.readline(size=1000), b"one\n"),
    (lambda body: [body.readline() for _ in range(6)], [*LINES, b"", b""]),
    (lambda body: body.readlines(), LINES),
    (lambda body: body.readlines(-1), LINES),
    (lambda body: body.readlines(None), LINES),
    (lambda body: body.readlines(1), LINES[:1]),
    (lambda body: body.readlines(hint=5), LINES[:2]),
    (lambda body: [body.readlines(), body.readlines()], [LINES, []]),
    (lambda body: list(body), LINES),
    (lambda body: [next(iter(body)), next(iter(body))], LINES[:2]),
    (lambda body: [next(iter(body)), body.read()], [LINES[0], BODY[4:]]),
    (lambda body: [body.readline(), body.read(2**80)], [LINES[0], BODY[4:]]),
    (lambda body: [body.read(2), body.readline(), *body], [b"on", b"e\n", *LINES[1:]]),
    (lambda body: [list(body), body.read()], [LINES, b""]),
]


@pytest.mark.parametrize(("read", "result"), READS)
def test_reading(read: Callable[[Any], object], result: object) -> None:
    """Each way of reading gives what a binary file of the body would."""
    results = []

    def application(environ, start_response):
        results.append(read(environ["wsgi.input"]))
        start_response("200 OK", [])
        return []

    serve(application, post(BODY))

    assert results == [result]


@pytest.mark.parametrize(("read", "result"), READS)
def test_reading_a_body_that_is_in_a_file(
    read: Callable[[Any], object], result: object
) -> None:
    """A large body, which Twisted keeps in a file, is read in the same ways."""
    large = b"x" * 200_000 + b"\n"
    results = []

    def application(environ, start_response):
        environ["wsgi.input"].readline()
        results.append(read(environ["wsgi.input"]))
        start_response("200 OK", [])
        return []

    serve(application, post(large + BODY))

    assert results == [result]


def test_the_end_without_a_body() -> None:
    """A request without a body has an input stream at its end."""
    results = []

    def application(environ, start_response):
        body = environ["wsgi.input"]
        results.extend([body.read(), body.readline(), body.readlines(), list(body)])
        start_response("200 OK", [])
        return []

    serve(application, GET)

    assert results == [b"", b"", [], []]


def test_the_end_of_one_body_is_not_the_beginning_of_the_next() -> None:
    """Two requests on one connection have a body each."""
    bodies = []

    def application(environ, start_response):
        bodies.append(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return []

    serve(application, post(b"first") + post(b"second")).read()

    assert bodies == [b"first", b"second"]


@pytest.mark.parametrize(
    "read",
    [
        lambda body: body.read(),
        lambda body: body.readline(),
        lambda body: body.readlines(),
        lambda body: list(body),
        lambda body: body.ended,
    ],
    ids=["read", "readline", "readlines", "iter", "ended"],
)
@pytest.mark.parametrize("large", [False, True])
def test_reading_after_the_response(read: Callable[[Any], object], large: bool) -> None:
    """The body goes with its request."""
    kept = []

    def application(environ, start_response):
        kept.append(environ["wsgi.input"])
        start_response("200 OK", [])
        return []

    serve(application, post(BODY * 10_000 if large else BODY)).read()

    with pytest.raises(ValueError, match="closed file"):
        read(kept[0])


def test_written_for_a_body_that_arrives() -> None:
    """A generator that would wait for more, and asks for the end, runs on it too."""
    ended = []

    def application(environ, start_response):
        body = environ["wsgi.input"]
        start_response("200 OK", [("Content-Length", str(len(BODY)))])
        while not body.ended:
            yield body.readable(0.5)
            yield body.read(5)
        ended.append(body.read())

    assert serve(application, post(BODY)).read().endswith(b"\r\n\r\n" + BODY)
    assert ended == [b""]


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), ("1", TypeError)])
def test_what_is_no_timeout(timeout: Any, error: type[Exception]) -> None:
    """It is refused, though there is nothing to wait for."""
    errors = []

    def application(environ, start_response):
        with pytest.raises(error, match="timeout") as raised:
            environ["wsgi.input"].readable(timeout)
        errors.append(raised.type)
        start_response("200 OK", [])
        return []

    serve(application).read()

    assert errors == [error]


def test_what_pep_3333_asks_for() -> None:
    """wsgiref's validator has nothing against the input stream."""

    def application(environ, start_response):
        body = environ["wsgi.input"]
        read = [body.read(1), body.readline(), *body.readlines(1), *body]
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"".join(read)]

    response = serve(validator(application), post(BODY)).read()

    assert response.endswith(b"\r\n\r\ne\r\n" + BODY + b"\r\n0\r\n\r\n")
