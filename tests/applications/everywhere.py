"""
One application that uses every extension, for every server: see test_portable.

The query string is the path of a FIFO, by which a case and the test keep in step.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from contextvars import ContextVar

from twisted.internet.task import deferLater

from twisted_wsgiflush.coroutines import asynchronous
from twisted_wsgiflush.portable import portable
from twisted_wsgiflush.wsgi2 import from_wsgi2

PLAIN = [("Content-Type", "text/plain")]
whose: ContextVar[str] = ContextVar("whose", default="nobody")


def tell(environ, event):
    """Let the test know."""
    with open(environ["QUERY_STRING"], "w") as fifo:
        fifo.write(f"{event}\n")


class Body:
    """Tells whether it is iterated over, and that it is closed."""

    def __init__(self, environ):
        self.environ = environ

    def __iter__(self):
        tell(self.environ, "iterated")
        yield b"the body"

    def close(self):
        tell(self.environ, "closed")


def answer(start_response, value):
    start_response("200 OK", [("Content-Type", "application/json")])
    return json.dumps(value).encode()


def keys(environ, start_response):
    yield answer(
        start_response,
        {
            key: True if value is True else type(value).__name__
            for key, value in environ.items()
        },
    )


def early(environ, start_response):
    start_response("200 OK", PLAIN)
    yield environ["x-wsgiorg.flush"]()
    with open(environ["QUERY_STRING"]) as fifo:  # Blocks until the test has the head.
        yield fifo.readline().encode()


def validated(environ, start_response):
    start_response("200 OK", [("ETag", '"v1"'), ("Content-Length", "8"), *PLAIN])
    environ["x-wsgiorg.flush"]()
    return Body(environ)


def until_told(environ, begin):
    """Suspend until the test says something; that is the body."""
    fifo = os.open(environ["QUERY_STRING"], os.O_RDWR | os.O_NONBLOCK)
    environ["twisted.reactor"].callLater(0.01, *begin)
    try:
        yield environ["x-wsgiorg.fdevent.readable"](fifo)
        yield os.read(fifo, 1000)
    finally:
        os.close(fifo)
        tell(environ, "closed")


def flushed_while_suspended(environ, start_response):
    start_response("200 OK", [("ETag", '"v1"'), *PLAIN])
    return until_told(environ, [environ["x-wsgiorg.flush"]])


def written_while_suspended(environ, start_response):
    write = start_response("200 OK", PLAIN)
    return until_told(environ, [write, b"written, "])


def patient(environ, start_response):
    readable = environ["x-wsgiorg.fdevent.readable"]
    found = []
    for milliseconds in (10**16, 10**400):
        resume = environ["x-wsgiorg.suspend"](milliseconds)
        environ["twisted.reactor"].callLater(0.01, resume)
        yield b""
        found.append(bool(environ["x-wsgiorg.suspend_status"]))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"something")
        for seconds in (30 * 86400.0, 1e300):
            yield readable(ours, seconds)
            found.append(not environ["x-wsgiorg.fdevent.timeout"])
    yield answer(start_response, found)


def suspended(environ, start_response):
    yield b""  # Not passed on to whom cannot take it.
    resume = environ["x-wsgiorg.suspend"]()
    threading.Timer(0.01, resume).start()
    yield b""
    start_response("201 Created", PLAIN)
    yield json.dumps([bool(environ["x-wsgiorg.suspend_status"]), resume()]).encode()


def paused(environ, start_response):
    resume = environ["wsgi.pause_output"]()
    threading.Timer(0.01, resume).start()
    yield b""
    yield answer(start_response, bool(environ["x-wsgiorg.suspend_status"]))


def timed_out(environ, start_response):
    resume = environ["x-wsgiorg.suspend"](1)
    yield b""
    yield answer(start_response, [bool(environ["x-wsgiorg.suspend_status"]), resume()])


def eager(environ, start_response):
    resume = environ["x-wsgiorg.suspend"]()
    resumed = [resume(), resume()]
    yield b""
    yield answer(start_response, [*resumed, bool(environ["x-wsgiorg.suspend_status"])])


def twice(environ, start_response):
    environ["x-wsgiorg.suspend"](0)
    try:
        environ["x-wsgiorg.suspend"](0)
    except Exception as error:
        yield answer(start_response, type(error).__name__)


def postponed(environ, start_response):
    start_response("200 OK", PLAIN)
    environ["x-wsgiorg.suspend"](1)
    yield b"sent, "
    yield b""
    yield b"timed out" if not environ["x-wsgiorg.suspend_status"] else b"resumed"


def descriptors(environ, start_response):
    readable, writable, timeout = (
        environ["x-wsgiorg.fdevent." + name]
        for name in ("readable", "writable", "timeout")
    )
    found = {}
    with tempfile.TemporaryFile() as regular:
        yield readable(regular, 10)
        found["a regular file"] = bool(timeout)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield writable(ours.fileno(), 10)
        found["room to write"] = bool(timeout)
        yield readable(ours, 0.01)
        found["nothing to read"] = bool(timeout)
        threading.Timer(0.01, theirs.send, [b"something"]).start()
        yield readable(ours)
        found["something to read"] = bool(timeout)
        theirs.shutdown(socket.SHUT_RDWR)
        ours.recv(100)
        yield readable(ours, 10)
        found["a hang-up"] = bool(timeout)
    for name, wrong in {
        "closed": ours,
        "not open": 1 << 20,
        "negative": -1,
        "none": "0",
    }.items():
        try:
            readable(wrong)
        except (OSError, ValueError, TypeError) as error:
            found[name] = type(error).__name__
    yield answer(start_response, found)


@asynchronous
async def coroutine(environ, start_response):
    whose.set("the coroutine's")
    reactor = environ["twisted.reactor"]
    awaited = await deferLater(reactor, 0.01, lambda: "awaited, ")
    start_response("202 Accepted", PLAIN)
    return [awaited.encode(), whose.get().encode()]


@asynchronous
async def generator(environ, start_response):
    start_response("200 OK", PLAIN)
    for number in range(3):
        await deferLater(environ["twisted.reactor"], 0)
        yield b"%d" % number


@from_wsgi2
async def triple(environ):
    await deferLater(environ["twisted.reactor"], 0)
    return "203 Non-Authoritative Information", PLAIN, [b"of WSGI ", b"2.0"]


@from_wsgi2
async def refused(environ):
    await deferLater(environ["twisted.reactor"], 0)
    raise environ["wsgi.response_error"]("404 Not Found", PLAIN, b"it is not here")


def committed(environ, start_response):
    start_response("200 OK", PLAIN)
    yield environ["x-wsgiorg.flush"]()
    error = ValueError("too late")
    try:
        start_response("500 Oh", [], (ValueError, error, None))
    except ValueError as raised:
        yield str(raised).encode()


def echo(environ, start_response):
    body = environ["wsgi.input"]
    parts = [body.readline().decode(), body.read().decode(), body.read().decode()]
    yield answer(start_response, [environ["CONTENT_LENGTH"], *parts])


@asynchronous
async def awaited_input(environ, start_response):
    body = environ["wsgi.input"]
    line = await body.readline()
    pieces = [block async for block in body]
    yield answer(start_response, [line.decode(), b"".join(pieces).decode(), body.ended])


def awaited_by_a_generator(environ, start_response):
    body, pieces = environ["wsgi.input"], []
    while not body.ended:
        yield body.readable(10)
        pieces.append(body.read(4).decode())
    yield answer(start_response, pieces)


def written(environ, start_response):
    write = start_response("200 OK", PLAIN)
    write(b"written, ")
    yield b""
    yield b"yielded, "
    write(b"written")


def endless(environ, start_response):
    start_response("200 OK", PLAIN)
    try:
        while True:
            yield b"block" * 1000
    finally:
        tell(environ, "closed")


def failing(environ, start_response):
    environ["x-wsgiorg.suspend"](0)
    yield b""
    raise ZeroDivisionError("of the application, expected in this log")


def route(environ, start_response):
    """Each case has its name for a path."""
    return globals()[environ["PATH_INFO"].strip("/")](environ, start_response)


application = portable(route)
