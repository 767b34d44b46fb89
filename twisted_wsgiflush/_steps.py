"""
A coroutine that takes a step whenever somebody wants a block, on any reactor.

It decides when a step may be taken, what a coroutine sees when it is cancelled, and
who takes the rest of its steps then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ._tasks import StepwiseTask, resumed
from .errors import InputLost, ResponseOver

_T = TypeVar("_T")

_log = Logger()


# What ends a coroutine that is cancelled, and is nobody's error.
ENDINGS = (
    CancelledError,
    asyncio.CancelledError,
    GeneratorExit,
    InputLost,
    ResponseOver,
)


class Block:
    """A block on its way from a coroutine to the server."""

    __slots__ = ("block",)

    def __init__(self, block: bytes) -> None:
        self.block = block


class Steps(Generic[_T]):
    """
    A coroutine, step by step.

    :param context: all its steps are taken there, the last ones too.
    """

    def __init__(self, coroutine: Coroutine[Any, None, _T], context: Context) -> None:
        self._coroutine = coroutine
        self._context = context
        self._task: StepwiseTask | None = None
        self._wait: Wait | None = None
        # What it sees at its next step.
        self._error: BaseException | None = None
        self._cancellation_due = False
        self._refused = False

    def blocks(
        self, suspend: Callable[[], Callable[[], object]]
    ) -> Generator[bytes, None, _T]:
        """
        Iterate over the blocks that the coroutine gives; the result is its result.

        Closing the generator cancels the coroutine.

        :param suspend: ``x-wsgiorg.suspend``, for while there is nothing to give.
        """
        self._begin()
        while True:
            try:
                awaited = self._step()
            except StopIteration as stop:
                result: _T = stop.value
                return result
            try:
                if isinstance(awaited, Block):
                    yield awaited.block
                else:
                    wait = self._wait_for(awaited)
                    # Not "if": there is middleware that takes an empty block for none.
                    while not wait.over:
                        wait.wake = suspend()
                        yield b""
            except GeneratorExit:
                self._cancel()
                self._see_to_the_end()
                raise
            except BaseException as error:
                self._error = error

    def see_to_the_end(self) -> None:
        """Take all steps without anybody who wants blocks."""
        self._begin()
        self._see_to_the_end()

    def _begin(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._task = StepwiseTask(self._coroutine, self._context, loop)

    def _step(self) -> Any:
        error, self._error = self._error, None
        if self._wait is not None:
            error = error or self._wait.error
            self._wait = None
        if self._task is None:
            return self._context.run(resumed, self._coroutine, error)
        return self._context.run(self._task.step, error)

    def _wait_for(self, awaited: object) -> Wait:
        """
        :raises TypeError: for what cannot be awaited with this reactor.
        :raises RuntimeError: for the coroutine's own task.
        """
        cancelled = CancelledError if self._task is None else asyncio.CancelledError
        if isinstance(awaited, Deferred):
            self._wait = DeferredWait(awaited, cancelled)
        elif self._task is None:
            raise TypeError(
                f"only Deferreds can be awaited without an asyncio reactor, "
                f"not {awaited!r} ({type(awaited).__name__})"
            )
        elif awaited is None:  # asyncio.sleep(0)
            self._wait = TurnWait(self._task.get_loop(), cancelled)
        elif awaited is self._task:
            raise RuntimeError("a coroutine cannot await its own task")
        elif getattr(awaited, "_asyncio_future_blocking", None) is not None:
            self._wait = FutureWait(awaited)
        else:
            raise TypeError(
                f"only what asyncio can await and Deferreds can be awaited, "
                f"not {awaited!r} ({type(awaited).__name__})"
            )
        if self._task is not None:
            # Libraries look for the future there.
            self._task.waits_for(getattr(self._wait, "future", self._wait))
        return self._wait

    def _cancel(self) -> None:
        wait = self._wait
        if isinstance(wait, DeferredWait) and wait.over:
            # It may have brought something that is to be given back, such as a lock:
            # the coroutine has it, and is cancelled when it awaits the next.
            self._cancellation_due = True
        elif self._task is not None:
            self._task.cancel()
        elif wait is not None:
            wait.cancel()
        else:
            self._error = CancelledError()

    def _see_to_the_end(self) -> None:
        """Take the steps that can be taken now, and come back for the rest."""
        while self._wait is None or self._wait.over:
            try:
                awaited = self._step()
            except StopIteration as stop:
                dismiss(stop.value)
                return
            except ENDINGS as ending:
                # Its frames know it: that would be left to the garbage collector.
                ending.with_traceback(None)
                return
            except BaseException:
                _log.failure("A cancelled application failed")
                return
            if isinstance(awaited, Block):
                self._refuse_block()
                continue
            try:
                self._wait_for(awaited)
            except (TypeError, RuntimeError) as error:
                self._error = error
                continue
            if self._cancellation_due:
                self._cancellation_due = False
                self._cancel()
        self._wait.at_once = True
        self._wait.wake = self._see_to_the_end

    def _refuse_block(self) -> None:
        # No Exception: some loop might take that for the failure of a block, and go
        # on with the next one for ever.
        self._error = GeneratorExit() if self._refused else asyncio.CancelledError()
        self._refused = True


class Wait:
    """
    What a coroutine awaits.

    :param cancelled: what the coroutine sees when it is cancelled meanwhile.
    """

    def __init__(self, cancelled: type[BaseException]) -> None:
        self.error: BaseException | None = None
        self.wake: Callable[[], object] | None = None
        # Whether waking takes the next step, and not a turn to come.
        self.at_once = False
        self._cancelled = cancelled
        self._over = False

    @property
    def over(self) -> bool:
        """Whether the coroutine can go on."""
        return self._over

    def cancel(self, msg: object = None) -> bool:
        """It is not awaited any more; as ``cancel`` of a future of asyncio."""
        if self.over:
            return False
        self.error = self._cancelled() if msg is None else self._cancelled(msg)
        self._end()
        return True

    def _end(self) -> None:
        self._over = True
        self._wake()

    def _wake(self) -> None:
        wake, self.wake = self.wake, None
        if wake is not None:
            wake()


class DeferredWait(Wait):
    """Waits for a Deferred, and leaves its result to the coroutine."""

    def __init__(self, deferred: Deferred[Any], cancelled: type[BaseException]) -> None:
        super().__init__(cancelled)
        self._deferred = deferred
        deferred.addBoth(self._fired)

    def cancel(self, msg: object = None) -> bool:
        """The coroutine has an error of its own; nobody asks for the Deferred's."""
        if not super().cancel(msg):
            return False
        self._deferred.cancel()
        self._deferred.addErrback(_forget)
        return True

    def _fired(self, result: _T) -> _T:
        if not self.over:
            if self.at_once and isinstance(result, Failure):
                # A Deferred cannot be asked for its failure while it tells of it.
                self.error = result.value
                self._deferred.addErrback(_forget)
            self._end()
        return result


class FutureWait(Wait):
    """Waits for a future of asyncio, or a task."""

    def __init__(self, future: Any) -> None:
        super().__init__(asyncio.CancelledError)
        self.future = future
        future._asyncio_future_blocking = False  # As whoever runs a coroutine must.
        future.add_done_callback(lambda future: self._wake())

    @property
    def over(self) -> bool:
        """Whether it is done; asyncio tells of that a turn later."""
        return bool(self.future.done())


class TurnWait(Wait):
    """Waits for the next turn."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, cancelled: type[BaseException]
    ) -> None:
        super().__init__(cancelled)
        loop.call_soon(self._turned)

    def _turned(self) -> None:
        if not self.over:
            self._end()


def dismiss(result: Any) -> None:
    """Cancel what comes late and close what is there, for nobody wants it."""
    if isinstance(result, Deferred):
        result.addCallbacks(dismiss, _forget)
        result.cancel()
    elif hasattr(result, "cancel"):
        result.cancel()
    elif hasattr(result, "aclose"):
        Steps(_close(result), copy_context()).see_to_the_end()
    elif hasattr(result, "close"):
        result.close()


async def _close(blocks: Any) -> None:
    await blocks.aclose()


def _forget(failure: Failure) -> None:
    """Nobody waits for it any more."""
