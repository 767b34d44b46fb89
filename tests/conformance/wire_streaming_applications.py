"""
The applications that read a body while it arrives; ``X-App`` chooses one.

They are coroutines, made applications by the package, and stand beside the plain
ones of ``wire_applications``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from twisted.internet.defer import Deferred
from wire_applications import (
    Environ,
    StartResponse,
    answer_json,
    application,
    named,
    note,
    query_of,
    spec_of,
)

from twisted_wsgiflush.coroutines import asynchronous

__all__ = ["application"]

GATES: dict[str, Deferred[None]] = {}
"""What applications wait for, by the token of the test."""


def gate(environ: Environ) -> Deferred[None]:
    """Return what the request to ``open gate`` fires."""
    return GATES.setdefault(environ["HTTP_X_TOKEN"], Deferred())


@named("open gate")
def open_gate(environ: Environ, start_response: StartResponse) -> Any:
    """Let the application of the query's token go on."""
    GATES.setdefault(environ["QUERY_STRING"], Deferred()).callback(None)
    start_response("200 OK", [])
    return [b"open"]


def coroutine(name: str) -> Callable[[Any], Any]:
    """Offer a coroutine function under this name."""

    def offer(app: Any) -> Any:
        return named(name)(asynchronous(app))

    return offer


async def joined(environ: Environ) -> bytes:
    """Read all of the body in the way that the query says."""
    stream = environ["wsgi.input"]
    way = query_of(environ).get("way", "for")
    if way == "for":
        return b"".join([block async for block in stream])
    size = int(way)
    parts = []
    while block := await stream.read(size):
        assert 0 < len(block) <= size, len(block)
        parts.append(block)
    assert await stream.read(size) == b"", "something behind the end"
    return b"".join(parts)


@coroutine("read")
async def read(environ: Environ, start_response: StartResponse) -> Any:
    """Tell what the body is, when it has arrived."""
    note(environ, "called")
    try:
        body = await joined(environ)
        note(environ, "read")
    finally:
        note(environ, "over")
    return answer_json(
        start_response,
        {
            "body": body.decode("latin-1"),
            "CONTENT_LENGTH": environ.get("CONTENT_LENGTH"),
            "terminated": environ.get("wsgi.input_terminated"),
        },
    )


@coroutine("echo at once")
async def echo_at_once(
    environ: Environ, start_response: StartResponse
) -> AsyncIterator[bytes]:
    """Give back each block of the body as soon as it has come."""
    start_response("200 OK", spec_of(environ).get("headers", []))
    environ["x-wsgiorg.flush"]()
    note(environ, "called")
    try:
        async for block in environ["wsgi.input"]:
            note(environ, "block")
            yield block
        note(environ, "read")
    finally:
        note(environ, "over")


@coroutine("answer first")
async def answer_first(
    environ: Environ, start_response: StartResponse
) -> AsyncIterator[bytes]:
    """Give a block, then tell of the body that comes meanwhile."""
    start_response("200 OK", [])
    yield b"first."
    body = await joined(environ)
    yield hashlib.sha256(body).hexdigest().encode()


@coroutine("wait, then digest")
async def wait_then_digest(environ: Environ, start_response: StartResponse) -> Any:
    """Read nothing before the gate is open; then tell length and checksum."""
    note(environ, "called")
    await gate(environ)
    seen = hashlib.sha256()
    length = 0
    async for block in environ["wsgi.input"]:
        seen.update(block)
        length += len(block)
    return answer_json(start_response, {"length": length, "sha256": seen.hexdigest()})


@coroutine("read a little")
async def read_a_little(environ: Environ, start_response: StartResponse) -> Any:
    """Read some bytes of the body, and answer without the rest."""
    block = await environ["wsgi.input"].read(int(query_of(environ)["way"]))
    return answer_json(start_response, {"length": len(block)})


@coroutine("wait, then refuse")
async def wait_then_refuse(
    environ: Environ, start_response: StartResponse
) -> list[bytes]:
    """Read nothing at all, wait for the gate, and refuse."""
    note(environ, "called")
    await gate(environ)
    body = json.dumps("no").encode()
    start_response("403 Forbidden", [("Content-Length", str(len(body)))])
    return [body]


@named("refuse")
def refuse(environ: Environ, start_response: StartResponse) -> Any:
    """Read nothing at all, and refuse at once."""
    note(environ, "called")
    start_response("403 Forbidden", [("Content-Length", "2")])
    return [b"no"]


@asynchronous
async def fuzzed(
    environ: Environ, start_response: StartResponse
) -> AsyncIterator[bytes]:
    """Give back each block of the body, and what was asked for."""
    start_response("200 OK", [])
    yield environ["PATH_INFO"].encode("latin-1")
    async for block in environ["wsgi.input"]:
        yield block
