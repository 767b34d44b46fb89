"""
``async def`` applications, as ordinary WSGI 1.0 applications.

Middleware on top of ``x-wsgiorg.suspend``: it needs nothing else of a server, so it
works below any middleware that passes empty blocks on.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["asynchronous", "pass_on"]

_T = TypeVar("_T")

_log = Logger()

# What to call when the coroutine that is running is cancelled, beside cancelling what
# it awaits then: it may have begun more than it awaits.
on_cancel: ContextVar[list[Callable[[], object]]] = ContextVar("on_cancel")


def asynchronous(app: Callable[..., Any]) -> Callable[..., Any]:
    """
    Make a WSGI application of an asynchronous one.

    :param app: called with ``environ`` and ``start_response``.  A coroutine function
        that returns an iterable, an asynchronous generator of blocks, or anything
        that returns such a thing when it is called; what is neither, is an
        application already, and stays one.

    It may await Deferreds, and under an asyncio reactor whatever asyncio can await.
    While it waits it is suspended.  It may call ``start_response`` as late as before
    its first block.

    When the client leaves, what it awaits is cancelled, and it sees
    :class:`twisted.internet.defer.CancelledError`; under an asyncio reactor,
    :class:`asyncio.CancelledError`.
    """

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        result = app(environ, start_response)
        if is_late(result) or is_asynchronous(result):
            return blocks_of(result, environ)
        return result

    return application


@types.coroutine
def pass_on(block: bytes) -> Generator[_Block, None, None]:
    """
    Give the server a block from within a coroutine, and wait until it wants another.

    With it, a coroutine may use the extensions that want an empty block::

        await pass_on(environ["x-wsgiorg.fdevent.readable"](fd, 0.5))

    Call in a coroutine of an ``asynchronous`` application only.
    """
    passed = _Block(block)
    yield passed
    if passed.cancelled:
        raise CancelledError


class _Block:
    """A block on its way from a coroutine to the server."""

    __slots__ = ("block", "cancelled")

    def __init__(self, block: bytes) -> None:
        self.block = block
        self.cancelled = False

    def cancel(self) -> None:
        """The server will not ask for another one."""
        self.cancelled = True


def is_late(result: object) -> bool:
    """Whether a result is to be awaited."""
    return hasattr(result, "__await__")


def is_asynchronous(result: object) -> bool:
    """Whether a result is to be iterated over with ``async for``."""
    return hasattr(result, "__aiter__")


def blocks_of(result: Any, environ: dict[str, Any]) -> Generator[bytes, None, None]:
    """
    The blocks of an iterable that may come late, and may be asynchronous.

    :param environ: of the request, for its ``x-wsgiorg.suspend``.
    """
    if is_late(result):
        result = yield from result_of(result, environ)
    if is_asynchronous(result):
        yield from result_of(_pass_all_on(result), environ)
        return
    try:
        yield from result
    finally:
        if hasattr(result, "close"):
            result.close()


async def _pass_all_on(blocks: AsyncIterator[bytes]) -> None:
    try:
        async for block in blocks:
            await pass_on(block)
    finally:
        if hasattr(blocks, "aclose"):
            await blocks.aclose()


def result_of(
    awaitable: Awaitable[_T], environ: dict[str, Any]
) -> Generator[bytes, None, _T]:
    """
    Iterate over the blocks that an awaitable passes on; the result is its result.

    While it waits, the blocks are empty and the application is suspended.  Closing
    the generator cancels the awaitable.

    :param environ: of the request, for its ``x-wsgiorg.suspend``.
    """
    suspend = environ["x-wsgiorg.suspend"]
    cancellations: list[Callable[[], object]] = []
    on_cancel.set(cancellations)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        blocks = _step_by_step(_coroutine(awaitable), suspend)
    else:
        blocks = _in_task(_coroutine(awaitable), suspend, loop)
    try:
        return (yield from blocks)
    except GeneratorExit:
        for cancel in cancellations:
            cancel()
        raise


async def _coroutine(awaitable: Awaitable[_T]) -> _T:
    return await awaitable


def _step_by_step(
    coroutine: Coroutine[Any, None, _T], suspend: Callable[[], Callable[[], object]]
) -> Generator[bytes, None, _T]:
    """Take a step of a coroutine that awaits Deferreds whenever a block is wanted."""
    awaited: Deferred[Any] | _Block | None = None
    try:
        while True:
            try:
                awaited = coroutine.send(None)
            except StopIteration as stop:
                result: _T = stop.value
                return result
            if isinstance(awaited, _Block):
                yield awaited.block
            elif isinstance(awaited, Deferred):
                awaited.addBoth(_passing_through, suspend())
                yield b""
            else:
                raise TypeError(
                    f"only Deferreds can be awaited without an asyncio reactor, "
                    f"not {awaited!r} ({type(awaited).__name__})"
                )
    except GeneratorExit:
        assert awaited is not None  # It waits, or the generator would not.
        awaited.cancel()
        # Twisted takes it from here: it may have things to await in the end.
        Deferred.fromCoroutine(coroutine).addErrback(_log_unless_cancelled)
        raise


def _passing_through(result: _T, resume: Callable[[], object]) -> _T:
    resume()
    return result


def _log_unless_cancelled(failure: Failure) -> None:
    if not failure.check(CancelledError, asyncio.CancelledError):
        _log.failure("A cancelled application failed", failure)


def _in_task(
    coroutine: Coroutine[Any, None, _T],
    suspend: Callable[[], Callable[[], object]],
    loop: asyncio.AbstractEventLoop,
) -> Generator[bytes, None, _T]:
    """Have a task of asyncio run a coroutine; its blocks come from there one by one."""
    handover = _Handover(loop)

    async def run() -> _T:
        return await _translated(coroutine, handover)

    task = loop.create_task(run())
    task.add_done_callback(handover.wake)
    try:
        while not task.done():
            if handover.block is None:
                handover.resume = suspend()
                yield b""
            else:
                yield handover.block
                handover.taken()
        return task.result()
    except GeneratorExit:
        task.cancel()
        Deferred.fromFuture(task).addErrback(_log_unless_cancelled)
        raise


class _Handover:
    """Where a task leaves a block, for the generator to take."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.block: bytes | None = None
        self.resume: Callable[[], object] | None = None
        self._loop = loop
        self._taken: asyncio.Future[None] | None = None

    def put(self, block: bytes) -> asyncio.Future[None]:
        """Leave a block; the future is done when another is wanted."""
        self.block = block
        self._taken = self._loop.create_future()
        self.wake()
        return self._taken

    def taken(self) -> None:
        """Another block is wanted."""
        assert self._taken is not None
        self.block = None
        if not self._taken.done():
            self._taken.set_result(None)

    def wake(self, task: object = None) -> None:
        """There is a block, or there will be none any more."""
        if self.resume is not None:
            self.resume()
            self.resume = None


@types.coroutine
def _translated(
    coroutine: Coroutine[Any, None, _T], handover: _Handover
) -> Generator[Any, None, _T]:
    """Let a task of asyncio run a coroutine that awaits Deferreds and passes blocks."""
    error: BaseException | None = None
    while True:
        try:
            awaited = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            result: _T = stop.value
            return result
        error = None
        try:
            if isinstance(awaited, Deferred):
                yield from _fired(awaited)
            elif isinstance(awaited, _Block):
                yield from handover.put(awaited.block)
            else:
                yield awaited
        except BaseException as thrown_in:
            # By the task, into whom it runs: the coroutine.
            error = thrown_in


def _fired(deferred: Deferred[Any]) -> Generator[Any, None, None]:
    """Wait for a Deferred as asyncio does, and leave its result to the coroutine."""
    fired = asyncio.get_running_loop().create_future()

    def fire() -> None:
        if not fired.done():
            fired.set_result(None)

    deferred.addBoth(_passing_through, fire)
    try:
        yield from fired
    except asyncio.CancelledError:
        deferred.cancel()
        # The coroutine sees asyncio's error, so nobody will ask for this one.
        deferred.addErrback(lambda failure: failure.trap(CancelledError))
        raise
