"""
What is measured: which application serves, what the clients do, and which answer is
the right one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

from . import open_streams, unread, wrk
from .applications import (
    HELLO,
    LARGE,
    LARGE_BLOCKS,
    SMALL,
    SMALL_BLOCKS,
    TWENTY_HEADERS,
)
from .processes import Running
from .samples import Figure, Sample, Wrong
from .servers import Kind

RATE = Figure("rate", "requests/s")
SLOW = Figure("slow", "p99, ms", 2, less=True)
THROUGHPUT = Figure("throughput", "MB/s")

ANY = frozenset({Kind.WSGI, Kind.ASGI, Kind.RESOURCE})
EVERYTHING = frozenset(Kind)
WSGI = frozenset({Kind.WSGI})

POSTED = b"0123456789abcdef" * 64

LAST_CHUNK = b"0\r\n\r\n"

# Seconds until an answer must have come, when it is checked.
ANSWER = 20.0


@dataclass(frozen=True)
class Workload:
    """
    :param application: what the servers serve, see ``processes.started``.
    :param figures: the columns; the first is what servers are compared by.
    :param kinds: of the servers that can serve it.
    :param check: raises ``Wrong`` unless a server answers what it should.
    :param measure: for about so many seconds.
    :param rounds: how many at most; ``None`` for what is asked for.
    :param only: the servers that are measured; ``None`` for all.
    """

    name: str
    title: str
    application: str
    figures: tuple[Figure, ...]
    kinds: frozenset[Kind]
    check: Callable[[Running], None]
    measure: Callable[[Running, float], Sample]
    rounds: int | None = None
    only: tuple[str, ...] | None = None


def answers(
    body: bytes, method: str = "GET", sent: bytes | None = None, headers: int = 0
) -> Callable[[Running], None]:
    """A check that a request has this answer, with so many headers at least."""

    def check(running: Running) -> None:
        client = HTTPConnection("127.0.0.1", running.port, timeout=ANSWER)
        with closing(client):
            try:
                client.request(method, "/", sent)
                with client.getresponse() as response:
                    read = response.read()
            except (OSError, HTTPException) as error:
                raise Wrong(f"{type(error).__name__}: {error}") from error
        if response.status != 200:
            raise Wrong(f"status {response.status}")
        if read != body:
            raise Wrong(f"{len(read)} bytes of another body")
        if len(response.getheaders()) < headers:
            raise Wrong(f"{len(response.getheaders())} headers")

    return check


def with_wrk(script: str | None = None) -> Callable[[Running, float], Sample]:
    """Requests by wrk."""
    return lambda running, seconds: wrk.load(f"{running.url}/", seconds, script)


def read_stream(running: Running, seconds: float) -> Sample:
    """The whole response again and again, by one client that reads what there is."""
    read = 0
    streams = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        read += receive(running)
        streams += 1
    throughput = read / (time.perf_counter() - started) / 1e6
    whole = streams * LARGE_BLOCKS * len(LARGE)
    return Sample({"throughput": throughput}, streams, int(read != whole))


def receive(running: Running) -> int:
    """The bytes of the body of one long response, without what frames its chunks."""
    room = bytearray(1024 * 1024)
    whole = LARGE_BLOCKS * len(LARGE)
    with running.connect(ANSWER) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head and (some := client.recv(4096)):
            head += some
        head, _, body = head.partition(b"\r\n\r\n")
        received = len(body)
        if b"transfer-encoding: chunked" not in head.lower():
            while received < whole and (more := client.recv_into(room)):
                received += more
            return received
        # granian has chunks although it was told the length.
        last = body[-len(LAST_CHUNK) :]
        while last != LAST_CHUNK and (more := client.recv_into(room)):
            received += more
            last = (last + bytes(room[max(0, more - 5) : more]))[-5:]
    return whole if last == LAST_CHUNK and received > whole else 0


def whole_stream(running: Running) -> None:
    """Check that the length is right."""
    try:
        read = receive(running)
    except OSError as error:
        raise Wrong(f"{type(error).__name__}: {error}") from error
    if not read:
        raise Wrong("the response has no end")
    if read != LARGE_BLOCKS * len(LARGE):
        raise Wrong(f"{read} bytes of {LARGE_BLOCKS * len(LARGE)}")


_HELLO = answers(HELLO)
_FIGURES = (RATE, SLOW)
_ALL = [
    Workload(
        "hello",
        "Hello, with Content-Length, 64 connections",
        *("hello", _FIGURES, EVERYTHING, _HELLO, with_wrk()),
    ),
    Workload(
        "generator",
        "Hello from a generator, without a length",
        *("generator", _FIGURES, ANY, _HELLO, with_wrk()),
    ),
    Workload(
        "echo",
        "Echo of a POST of 1 KiB",
        *("echo", _FIGURES, ANY, answers(POSTED, "POST", POSTED)),
        with_wrk("post.lua"),
    ),
    Workload(
        "headers",
        "20 headers in the request and in the response",
        *("headers", _FIGURES, ANY, answers(HELLO, headers=len(TWENTY_HEADERS))),
        with_wrk("headers.lua"),
    ),
    Workload(
        "blocks",
        "1,000 small blocks, each sent by itself",
        *("blocks", _FIGURES, ANY, answers(SMALL * SMALL_BLOCKS), with_wrk()),
    ),
    Workload(
        "flask",
        "Flask, hello",
        *("benchmarks.flask_hello:application", _FIGURES, WSGI, _HELLO, with_wrk()),
    ),
    Workload(
        "django",
        "Django, hello",
        *("benchmarks.django_hello:application", _FIGURES, WSGI, _HELLO, with_wrk()),
    ),
    Workload(
        "stream",
        "A stream of 256 MiB in blocks of 64 KiB, one client",
        *("stream", (THROUGHPUT,), EVERYTHING, whole_stream, read_stream),
    ),
    Workload(
        "chunked",
        "The same stream without a length",
        *("chunked", (THROUGHPUT,), ANY, whole_stream, read_stream),
    ),
    Workload(
        "streams",
        "10,000 open event streams",
        *("events", open_streams.FIGURES, ANY, _HELLO, open_streams.measure),
        rounds=1,
    ),
    Workload(
        "unread",
        "50 clients that do not read 1 GiB each",
        *("unread", unread.FIGURES, ANY, _HELLO, unread.measure),
        rounds=1,
    ),
    Workload(
        "log",
        "What the access log costs (hello, 64 connections)",
        *("hello", _FIGURES, WSGI, _HELLO, with_wrk()),
        only=("fast", "fast-logged", "stock", "stock-logged"),
    ),
]

WORKLOADS = {workload.name: workload for workload in _ALL}
