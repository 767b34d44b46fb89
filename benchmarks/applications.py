"""
The WSGI applications that are measured, one for each workload: what is sent, and how
large it is, is decided here; ``asgi`` and ``resources`` send the same.

    wsgiflush benchmarks.applications:hello
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

HELLO = b"Hello, world.\n"

# A response of many small blocks, each of which is to be sent by itself.
SMALL = b"data: a small block of a stream\n\n"
SMALL_BLOCKS = 1_000

# A long response: 256 MiB.
LARGE = bytes(64 * 1024)
LARGE_BLOCKS = 4_096

# One that nobody reads: 1 GiB.
UNREAD_BLOCKS = 16_384

EVENT = b"data: 1\n\n"

PLAIN = ("Content-Type", "text/plain")
HELLO_HEADERS = [PLAIN, ("Content-Length", str(len(HELLO)))]

# Twenty, with those of HELLO_HEADERS.
TWENTY_HEADERS = [
    *HELLO_HEADERS,
    ("Cache-Control", "private, max-age=0, must-revalidate"),
    ("Content-Language", "en"),
    ("Content-Security-Policy", "default-src 'self'"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("ETag", '"33a64df551425fcc55e4d42a148795d9f25f89d4"'),
    ("Expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ("Permissions-Policy", "geolocation=()"),
    ("Referrer-Policy", "same-origin"),
    ("Set-Cookie", "session=0123456789abcdef0123456789abcdef; Path=/; HttpOnly"),
    ("Strict-Transport-Security", "max-age=31536000"),
    ("Vary", "Accept, Accept-Encoding, Cookie"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    *((f"X-Field-{number}", f"the value of field {number}") for number in range(4)),
]

# A stream that waits is given up after so many seconds, whatever becomes of it.
LONGEST_WAIT = 600


def hello(environ: Any, start_response: Any) -> Iterable[bytes]:
    """A short answer of a known length."""
    start_response("200 OK", HELLO_HEADERS)
    return [HELLO]


def generator(environ: Any, start_response: Any) -> Iterable[bytes]:
    """The same from a generator, with no length."""
    start_response("200 OK", [PLAIN])
    yield HELLO


def echo(environ: Any, start_response: Any) -> Iterable[bytes]:
    """The body of the request."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [PLAIN, ("Content-Length", str(len(body)))])
    return [body]


def headers(environ: Any, start_response: Any) -> Iterable[bytes]:
    """A short answer with many headers."""
    start_response("200 OK", TWENTY_HEADERS)
    return [HELLO]


def blocks(environ: Any, start_response: Any) -> Iterable[bytes]:
    """Many small blocks."""
    start_response("200 OK", [PLAIN])
    for _ in range(SMALL_BLOCKS):
        yield SMALL


def stream(environ: Any, start_response: Any) -> Iterable[bytes]:
    """Many large blocks."""
    return large(start_response, LARGE_BLOCKS, lambda: LARGE)


def chunked(environ: Any, start_response: Any) -> Iterable[bytes]:
    """The same, with no length."""
    start_response("200 OK", [PLAIN])
    for _ in range(LARGE_BLOCKS):
        yield LARGE


def unread(environ: Any, start_response: Any) -> Iterable[bytes]:
    """Something very large at ``/large``, a short answer elsewhere."""
    if environ["PATH_INFO"] == "/large":
        return large(start_response, UNREAD_BLOCKS, fresh_block)
    return hello(environ, start_response)


def events(environ: Any, start_response: Any) -> Iterable[bytes]:
    """A stream that waits after its first event at ``/events``."""
    if environ["PATH_INFO"] == "/events":
        return waiting(environ, start_response)
    return hello(environ, start_response)


def large(
    start_response: Any, number: int, block: Callable[[], bytes]
) -> Iterator[bytes]:
    """So many large blocks."""
    length = str(number * len(LARGE))
    start_response("200 OK", [PLAIN, ("Content-Length", length)])
    for _ in range(number):
        yield block()


def fresh_block() -> bytes:
    """A large block that takes memory of its own, as those that are made do."""
    return LARGE[:-1] + b"\n"


def waiting(environ: Any, start_response: Any) -> Iterator[bytes]:
    """One event, then nothing: without a thread where the server can do that."""
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    yield EVENT
    if "x-wsgiorg.suspend" in environ:
        environ["x-wsgiorg.suspend"](LONGEST_WAIT * 1000)
        yield b""
    else:
        threading.Event().wait(LONGEST_WAIT)
