"""
``async def`` applications, as ordinary WSGI 1.0 applications.

Middleware on top of ``x-wsgiorg.suspend``: it needs nothing else of a server, so it
works below any middleware that passes empty blocks on.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
)
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
    yield _Block(block)


class _Block:
    """A block on its way from a coroutine to the server."""

    __slots__ = ("block",)

    def __init__(self, block: bytes) -> None:
        self.block = block


def is_late(result: object) -> bool:
    """Whether a result is to be awaited."""
    return hasattr(result, "__await__")


def is_asynchronous(result: object) -> bool:
    """Whether a result is to be iterated over with ``async for``."""
    return hasattr(result, "__aiter__")


def blocks_of(
    result: Any, environ: dict[str, Any], begin: Callable[[Any], Any] = lambda it: it
) -> Generator[bytes, None, None]:
    """
    The blocks of an iterable that may come late, and may be asynchronous.

    While there is none the blocks are empty, and the application is suspended.
    Closing the generator cancels what comes late, and closes the iterable.

    :param environ: of the request, for its ``x-wsgiorg.suspend``.
    :param begin: makes the iterable of a result that came late.
    """
    blocks = _blocks_of(result, environ, begin)
    # Else close() would run nothing of it before the first block is asked for.
    next(blocks)
    return blocks


def _blocks_of(
    result: Any, environ: dict[str, Any], begin: Callable[[Any], Any]
) -> Generator[bytes, None, None]:
    try:
        yield b""
    except GeneratorExit:
        dismiss(result)
        raise
    cancellations: list[Callable[[], object]] = []
    on_cancel.set(cancellations)
    suspend = environ["x-wsgiorg.suspend"]
    try:
        if is_late(result):
            result = yield from _result_of(_begun(result, begin), suspend)
        if is_asynchronous(result):
            yield from _result_of(_pass_all_on(result), suspend)
        else:
            yield from _closed_once(result)
    except GeneratorExit:
        for cancel in cancellations[:]:
            cancel()
        raise


def dismiss(result: Any) -> None:
    """Cancel what comes late and close what is there, for nobody wants it."""
    if isinstance(result, Deferred):
        result.addCallbacks(dismiss, _forget)
        result.cancel()
    elif hasattr(result, "cancel"):
        result.cancel()
    elif hasattr(result, "close"):
        result.close()


async def _begun(result: Awaitable[Any], begin: Callable[[Any], Any]) -> Any:
    return begin(await result)


async def _pass_all_on(blocks: AsyncIterable[bytes]) -> None:
    try:
        async for block in blocks:
            await pass_on(block)
    finally:
        if hasattr(blocks, "aclose"):
            await blocks.aclose()


def _closed_once(blocks: Iterable[bytes]) -> Generator[bytes, None, None]:
    try:
        # Not "yield from": that closes an iterator, too.
        for block in blocks:  # noqa: UP028
            yield block
    finally:
        if hasattr(blocks, "close"):
            blocks.close()


def _result_of(
    coroutine: Coroutine[Any, None, _T], suspend: Callable[[], Callable[[], object]]
) -> Generator[bytes, None, _T]:
    """
    Iterate over the blocks that a coroutine passes on; the result is its result.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _in_steps(coroutine, suspend)
    return _in_task(coroutine, suspend, loop)


@types.coroutine
def _driven(
    coroutine: Coroutine[Any, None, _T],
    wait: Callable[[Any], Generator[Any, None, None]],
    error: BaseException | None = None,
) -> Generator[Any, None, _T]:
    """
    Run a coroutine to its end.

    :param wait: waits for what the coroutine awaits; what it raises, the coroutine
        sees, and so it does what is thrown in meanwhile.
    :param error: to begin with, the coroutine sees this.
    """
    while True:
        try:
            awaited = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            result: _T = stop.value
            return result
        error = None
        try:
            yield from wait(awaited)
        except GeneratorExit:
            raise  # Whoever closes this knows how to cancel the coroutine.
        except BaseException as thrown:
            error = thrown


def _in_steps(
    coroutine: Coroutine[Any, None, _T], suspend: Callable[[], Callable[[], object]]
) -> Generator[bytes, None, _T]:
    """Take a step of a coroutine that awaits Deferreds whenever a block is wanted."""

    def wait(awaited: object) -> Generator[bytes, None, None]:
        if isinstance(awaited, _Block):
            yield awaited.block
        elif isinstance(awaited, Deferred):
            awaited.addBoth(_passing_through, suspend())
            try:
                yield b""
            except GeneratorExit:
                _cancel(awaited)
                raise
        else:
            raise TypeError(
                f"only Deferreds can be awaited without an asyncio reactor, "
                f"not {awaited!r} ({type(awaited).__name__})"
            )

    try:
        return (yield from _driven(coroutine, wait))
    except GeneratorExit:
        # Twisted takes it from here: it may have things to await in the end.
        rest = _driven(coroutine, _wait_for_nobody, CancelledError())
        Deferred.fromCoroutine(rest).addCallbacks(dismiss, _log_unless_cancelled)
        raise


def _wait_for_nobody(awaited: object) -> Generator[object, None, None]:
    if isinstance(awaited, _Block):
        # No Exception: some loop might take that for the failure of a block, and go
        # on with the next one for ever.
        raise asyncio.CancelledError
    yield awaited


def _in_task(
    coroutine: Coroutine[Any, None, _T],
    suspend: Callable[[], Callable[[], object]],
    loop: asyncio.AbstractEventLoop,
) -> Generator[bytes, None, _T]:
    """Have a task of asyncio run a coroutine; its blocks come from there one by one."""
    handover = _Handover(loop)

    def wait(awaited: Any) -> Generator[Any, None, None]:
        if isinstance(awaited, _Block):
            yield from handover.put(awaited.block)
        elif isinstance(awaited, Deferred):
            yield from _fired(awaited, loop)
        else:
            yield awaited

    async def run() -> _T:
        handover.begun = True
        return await _driven(coroutine, wait)

    task = loop.create_task(run())
    task.add_done_callback(handover.wake)
    try:
        # The task begins meanwhile.  If a suspension is due, this is the block for it.
        yield b""
        while not task.done():
            if handover.block is None:
                handover.resume = suspend()
                yield b""
            else:
                yield handover.block
                handover.taken()
    except BaseException:
        handover.closed = True
        if handover.begun:
            task.cancel()
        else:  # After its first step, or nobody would know of the coroutine in it.
            loop.call_soon(task.cancel)
        Deferred.fromFuture(task).addCallbacks(dismiss, _log_unless_cancelled)
        raise
    return task.result()


class _Handover:
    """Where a task leaves a block, for the generator to take."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.block: bytes | None = None
        self.resume: Callable[[], object] | None = None
        self.begun = False
        self.closed = False
        self._loop = loop
        self._taken: asyncio.Future[None] | None = None

    def put(self, block: bytes) -> asyncio.Future[None]:
        """
        Leave a block; the future is done when another is wanted.

        :raises asyncio.CancelledError: when no block is wanted any more.
        """
        if self.closed:
            raise asyncio.CancelledError
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


def _fired(
    deferred: Deferred[Any], loop: asyncio.AbstractEventLoop
) -> Generator[Any, None, None]:
    """Wait for a Deferred as asyncio does, and leave its result to the coroutine."""
    fired = loop.create_future()

    def fire() -> None:
        if not fired.done():
            fired.set_result(None)

    deferred.addBoth(_passing_through, fire)
    try:
        yield from fired
    except asyncio.CancelledError:
        _cancel(deferred)
        raise


def _passing_through(result: _T, resume: Callable[[], object]) -> _T:
    resume()
    return result


def _cancel(deferred: Deferred[Any]) -> None:
    # The coroutine is cancelled by an error of its own; nobody asks for this one.
    deferred.cancel()
    deferred.addErrback(_forget)


def _forget(failure: Failure) -> None:
    """Nobody waits for it any more."""


def _log_unless_cancelled(failure: Failure) -> None:
    if not failure.check(CancelledError, asyncio.CancelledError):
        _log.failure("A cancelled application failed", failure)
