"""
The workloads of ``applications`` as raw ASGI applications, without a framework.

    uvicorn benchmarks.asgi:hello
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

from .applications import (
    EVENT,
    HELLO,
    HELLO_HEADERS,
    LARGE,
    LARGE_BLOCKS,
    LONGEST_WAIT,
    PLAIN,
    SMALL,
    SMALL_BLOCKS,
    TWENTY_HEADERS,
    UNREAD_BLOCKS,
    fresh_block,
)

Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]


def head(headers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The message that begins a response."""
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers]
    return {"type": "http.response.start", "status": 200, "headers": pairs}


def body(block: bytes, *, more: bool = False) -> dict[str, Any]:
    """The message that goes on with one, or ends it."""
    return {"type": "http.response.body", "body": block, "more_body": more}


def length(number: int) -> tuple[str, str]:
    """The header for so many bytes."""
    return "Content-Length", str(number)


HELLO_HEAD = head(HELLO_HEADERS)
TWENTY_HEAD = head(TWENTY_HEADERS)
PLAIN_HEAD = head([PLAIN])
EVENTS_HEAD = head([("Content-Type", "text/event-stream")])
HELLO_BODY = body(HELLO)
SMALL_BODY = body(SMALL, more=True)
END = body(b"")


async def hello(scope: Any, receive: Receive, send: Send) -> None:
    """A short answer of a known length."""
    await send(HELLO_HEAD)
    await send(HELLO_BODY)


async def generator(scope: Any, receive: Receive, send: Send) -> None:
    """The same, with no length."""
    await send(PLAIN_HEAD)
    await send(body(HELLO, more=True))
    await send(END)


async def echo(scope: Any, receive: Receive, send: Send) -> None:
    """The body of the request."""
    read = b""
    more = True
    while more:
        message = await receive()
        read += message.get("body", b"")
        more = message.get("more_body", False)
    await send(head([PLAIN, length(len(read))]))
    await send(body(read))


async def headers(scope: Any, receive: Receive, send: Send) -> None:
    """A short answer with many headers."""
    await send(TWENTY_HEAD)
    await send(HELLO_BODY)


async def blocks(scope: Any, receive: Receive, send: Send) -> None:
    """Many small blocks."""
    await send(PLAIN_HEAD)
    for _ in range(SMALL_BLOCKS):
        await send(SMALL_BODY)
    await send(END)


async def stream(scope: Any, receive: Receive, send: Send) -> None:
    """Many large blocks."""
    await large(send, LARGE_BLOCKS, lambda: LARGE)


async def chunked(scope: Any, receive: Receive, send: Send) -> None:
    """The same, with no length."""
    await send(PLAIN_HEAD)
    for _ in range(LARGE_BLOCKS):
        await send(body(LARGE, more=True))
    await send(END)


async def unread(scope: Any, receive: Receive, send: Send) -> None:
    """Something very large at ``/large``, a short answer elsewhere."""
    if scope["path"] == "/large":
        await large(send, UNREAD_BLOCKS, fresh_block)
    else:
        await hello(scope, receive, send)


async def events(scope: Any, receive: Receive, send: Send) -> None:
    """A stream that waits after its first event at ``/events``."""
    if scope["path"] != "/events":
        await hello(scope, receive, send)
        return
    await send(EVENTS_HEAD)
    await send(body(EVENT, more=True))
    await asyncio.sleep(LONGEST_WAIT)


async def large(send: Send, number: int, block: Callable[[], bytes]) -> None:
    """So many large blocks."""
    await send(head([PLAIN, length(number * len(LARGE))]))
    for _ in range(number):
        await send(body(block(), more=True))
    await send(END)
