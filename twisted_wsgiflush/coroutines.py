"""
``async def`` applications, as ordinary WSGI 1.0 applications.

Middleware on top of ``x-wsgiorg.suspend``: it needs nothing else of a server, so it
works below any middleware that passes empty blocks on.
"""

from __future__ import annotations

import types
from collections.abc import AsyncIterable, Callable, Generator, Iterable
from contextvars import Context, copy_context
from functools import wraps
from typing import Any

from ._awaitable import make_awaitable
from ._steps import Block, Steps, dismiss

__all__ = ["asynchronous", "pass_on"]

_NOTHING_LEFT = object()


def asynchronous(app: Callable[..., Any]) -> Callable[..., Any]:
    """
    Make a WSGI application of an asynchronous one.

    :param app: called with ``environ`` and ``start_response``, a method with its
        object before them.  A coroutine function that returns an iterable, an
        asynchronous generator of blocks, or anything that returns such a thing when
        it is called; what is neither, is an application already, and stays one.

    It may await Deferreds, and under an asyncio reactor whatever asyncio can await.
    While it waits it is suspended.  What it reads from ``wsgi.input`` can be awaited,
    whether the body is complete or still arrives.  It may call ``start_response`` as
    late as before its first block.

    When the client leaves, what it awaits is cancelled, and it sees
    :class:`twisted.internet.defer.CancelledError`; under an asyncio reactor,
    :class:`asyncio.CancelledError`.
    """

    @wraps(app)
    def application(*arguments: Any) -> Any:
        environ, _ = arguments[-2:]
        make_awaitable(environ)
        result = app(*arguments)
        if is_late(result) or is_asynchronous(result):
            return blocks_of(result, environ)
        return result

    return application


@types.coroutine
def pass_on(block: bytes) -> Generator[Block, None, None]:
    """
    Give the server a block from within a coroutine, and wait until it wants another.

    With it, a coroutine may use the extensions that want an empty block::

        await pass_on(environ["x-wsgiorg.fdevent.readable"](fd, 0.5))

    Call in a coroutine of an ``asynchronous`` application only.
    """
    yield Block(block)


def is_late(result: object) -> bool:
    """Whether a result is to be awaited."""
    # A stream may be both, such as wsgi.input.
    return hasattr(result, "__await__") and not is_asynchronous(result)


def is_asynchronous(result: object) -> bool:
    """Whether a result is to be iterated over with ``async for``."""
    return hasattr(result, "__aiter__")


def blocks_of(
    result: Any, environ: dict[str, Any], begin: Callable[[Any], Any] = lambda it: it
) -> Generator[bytes, None, None]:
    """
    The blocks of an iterable that may come late, and may be asynchronous.

    While there is none the blocks are empty, and the application is suspended.
    Closing the generator cancels what comes late, and closes the iterable.  All of
    it runs in one copy of the context of the moment.

    :param environ: of the request, for its ``x-wsgiorg.suspend``.
    :param begin: makes the iterable of a result that came late.
    """
    blocks = _blocks_of(result, environ, begin, copy_context())
    # Else close() would run nothing of it before the first block is asked for.
    next(blocks)
    return blocks


def _blocks_of(
    result: Any,
    environ: dict[str, Any],
    begin: Callable[[Any], Any],
    context: Context,
) -> Generator[bytes, None, None]:
    try:
        yield b""
    except GeneratorExit:
        dismiss(result)
        raise
    steps = Steps(_passed_on(result, begin), context)
    left = yield from steps.blocks(environ["x-wsgiorg.suspend"])
    if left is not _NOTHING_LEFT:
        yield from _closed_once(left, context)


async def _passed_on(result: Any, begin: Callable[[Any], Any]) -> Any:
    """Pass on all blocks that are asynchronous, or result in an iterable."""
    if is_late(result):
        result = begin(await result)
    if not is_asynchronous(result):
        return result
    blocks: AsyncIterable[bytes] = result
    try:
        async for block in blocks:
            await pass_on(block)
    finally:
        if hasattr(blocks, "aclose"):
            await blocks.aclose()
    return _NOTHING_LEFT


def _closed_once(
    blocks: Iterable[bytes], context: Context
) -> Generator[bytes, None, None]:
    try:
        # After a flush that was enough for the client, no block is asked for.
        yield b""
        iterator = context.run(iter, blocks)
        # Not "yield from": that closes an iterator, too.
        while True:
            block: Any = context.run(next, iterator, _NOTHING_LEFT)
            if block is _NOTHING_LEFT:
                return
            yield block
    finally:
        if hasattr(blocks, "close"):
            context.run(blocks.close)
