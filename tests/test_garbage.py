"""
What is over leaves nothing to Python's garbage collector: the more streams are open,
the longer that takes to find it, and everybody waits meanwhile.

With TLS it is not so: Twisted's own connections are cycles of references.
"""

from __future__ import annotations

import gc
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from doors import FAST, Door
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.server import Site
from twisted.web.static import Data

from twisted_wsgiflush import WSGIResource, WSGISite
from twisted_wsgiflush.coroutines import asynchronous
from twisted_wsgiflush.testing import GET

if TYPE_CHECKING:
    from conftest import Logged

# Seconds to wait for something that must happen.
PATIENCE = 20
# Seconds that a suspended application would wait.
LONG = 600
CLIENTS = 10
# For SO_LINGER: who only closes its socket may have closed only its half.
RESET = struct.pack("ii", 1, 0)

# A site is there as long as its process: that of another test is not looked at.
sites: list[Any] = []

POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
SHORT = POST + b"Content-Length: 3\r\n\r\nabc"
LARGE = POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
NO_REQUEST = GET.replace(b"Host:", b"Host :")


class Boom(Exception):
    """What an application here raises."""


def hello(environ: Any, start_response: Any) -> Any:
    """A response that is complete when the application has returned it."""
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


def blocks(environ: Any, start_response: Any) -> Any:
    """One that is not."""
    start_response("200 OK", [])
    yield b"hello"
    environ["x-wsgiorg.suspend"](1)
    yield b""
    yield b"hello"


def stream(environ: Any, start_response: Any) -> Any:
    """One that is never complete."""
    start_response("200 OK", [])
    yield b"hello"
    environ["x-wsgiorg.suspend"](LONG * 1000)
    yield b""


def echo(environ: Any, start_response: Any) -> Any:
    """One with the body of the request."""
    start_response("200 OK", [])
    return [environ["wsgi.input"].read() + b"hello"]


def late_error(environ: Any, start_response: Any) -> Any:
    """One that fails on its way."""
    start_response("200 OK", [])
    yield b"hello"
    raise Boom


@asynchronous
async def coroutine(environ: Any, start_response: Any) -> Any:
    """One of a coroutine, which has waited."""
    await deferLater(environ["twisted.reactor"], 0.001)
    start_response("200 OK", [])
    yield b"hello"


@asynchronous
async def unfinished(environ: Any, start_response: Any) -> Any:
    """One of a coroutine, which waits when its client leaves."""
    start_response("200 OK", [])
    yield b"hello"
    await deferLater(environ["twisted.reactor"], LONG)


@pytest_twisted.async_yield_fixture
async def left_over(door: Door) -> AsyncIterator[Any]:
    """What is left when some clients have sent something, have read, and have left."""
    from twisted.internet import reactor

    ports: list[Any] = []

    async def ask(application: Any, request: bytes, **options: Any) -> list[Any]:
        factory: Any
        if door == "fast":
            factory = WSGISite(reactor, application, **options)
            factory.putChild(b"beside", Data(b"hello", "text/plain"))
        else:
            factory = Site(WSGIResource(reactor, application))
        sites.append(factory)
        port: Any = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
            factory
        )
        ports.append(port)
        before = connections()
        with what_is_left() as left:
            await deferToThread(clients, port.getHost().port, request)
            while connections() - before:
                await deferLater(reactor, 0.01)
        return left

    yield ask

    for port in ports:
        await port.stopListening()


def connections() -> set[Any]:
    """What the reactor reads from."""
    from twisted.internet import reactor

    current: Any = reactor
    return set(current.getReaders())


@contextmanager
def what_is_left() -> Iterator[list[Any]]:
    """The objects of the package that only the collector finds, after the block."""
    left: list[Any] = []
    gc.collect()
    gc.disable()
    try:
        yield left
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left += [o for o in gc.garbage if _is_ours(o)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _is_ours(found: object) -> bool:
    return type(found).__module__.startswith("twisted_wsgiflush")


def clients(port: int, request: bytes) -> None:
    """Some, one after the other, that leave when a response has begun."""
    for _ in range(CLIENTS):
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.sendall(request)
            read = b""
            while b"hello" not in read and (more := client.recv(65536)):
                read += more
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


@pytest.mark.parametrize(
    ("application", "request_"),
    [
        (hello, GET),
        (blocks, GET),
        (stream, GET),
        (coroutine, GET),
        (unfinished, GET),
        (echo, SHORT),
        (echo, LARGE),
        (echo, CHUNKED),
        (hello, NO_REQUEST),
    ],
    ids=[
        *("hello", "blocks", "stream", "coroutine", "unfinished"),
        *("short", "large", "chunked", "none"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_connection_leaves_nothing(
    left_over: Any, application: Any, request_: bytes
) -> None:
    """Nothing of a connection is left when it is over, nor of its requests."""
    assert await left_over(application, request_) == []


@pytest_twisted.ensureDeferred
async def test_an_error_leaves_nothing(left_over: Any, logged: Logged) -> None:
    """Nor when the application has failed."""
    found = await left_over(late_error, GET)
    logged.flush(Boom)

    assert found == []


@FAST
@pytest.mark.parametrize("request_", [SHORT, CHUNKED], ids=["length", "chunked"])
@pytest_twisted.ensureDeferred
async def test_a_streamed_body_leaves_nothing(left_over: Any, request_: bytes) -> None:
    """Nor of a body that is read as it comes."""
    assert await left_over(echo_of_what_comes, request_, stream_input=True) == []


@FAST
@pytest_twisted.ensureDeferred
async def test_a_neighbour_leaves_nothing(left_over: Any) -> None:
    """Nor when a neighbour has answered."""
    request = GET.replace(b" / ", b" /beside ")

    assert await left_over(hello, request) == []


def echo_of_what_comes(environ: Any, start_response: Any) -> Any:
    """Suspended until there is something more, if it is streamed."""
    body = environ["wsgi.input"]
    start_response("200 OK", [])
    while block := body.read(1024):
        yield block
    yield b"hello"
