"""
A task of asyncio whose steps somebody else takes.

What runs in it finds ``asyncio.current_task()``, and so ``asyncio.timeout`` and the
like work.  It is made of what asyncio has for that, see "Extending" in its
documentation.
"""

from __future__ import annotations

import asyncio
from asyncio.base_tasks import _task_get_stack, _task_print_stack
from asyncio.tasks import _enter_task, _leave_task, _register_task, _unregister_task
from collections.abc import Coroutine
from contextvars import Context
from types import FrameType
from typing import Any, Protocol


class Cancellable(Protocol):
    """What a task waits for."""

    def cancel(self, msg: Any = None) -> bool:
        """Do not wait any longer; whether that was still possible."""


class StepwiseTask(asyncio.Future[None]):
    """
    A task; it is done when its coroutine is, and has no result.

    The names without an underscore are those of :class:`asyncio.Task`, and two with
    one: libraries look at ``_fut_waiter`` and ``_must_cancel``.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, None, Any],
        context: Context,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(loop=loop)
        self._coro = coroutine
        self._context = context
        self._name = f"wsgiflush-{id(self):x}"
        self._fut_waiter: Cancellable | None = None
        self._must_cancel = False
        self._cancellations = 0
        self._message: tuple[Any, ...] = ()
        _register_task(self)  # type: ignore[arg-type]  # as asyncio documents it

    def step(self, error: BaseException | None) -> Any:
        """
        Take a step of the coroutine; call in its context.

        :param error: what the coroutine sees, instead of going on.
        :returns: what it awaits then.
        """
        self._fut_waiter = None
        if self._must_cancel:
            self._must_cancel = False
            error = asyncio.CancelledError(*self._message)
        loop = self.get_loop()
        # A coroutine may iterate over another application's.
        outer: Any = asyncio.current_task(loop)
        if outer is not None:
            _leave_task(loop, outer)
        me: Any = self
        _enter_task(loop, me)
        try:
            return resumed(self._coro, error)
        except BaseException:
            _unregister_task(me)
            self.set_result(None)
            raise
        finally:
            _leave_task(loop, me)
            if outer is not None:
                _enter_task(loop, outer)

    def waits_for(self, wait: Cancellable) -> None:
        """The coroutine awaits this."""
        self._fut_waiter = wait
        if self._must_cancel:
            # It was cancelled from within its step.
            self._must_cancel = not wait.cancel(*self._message)

    def cancel(self, msg: Any = None) -> bool:
        """Have the coroutine see ``asyncio.CancelledError`` at its next step."""
        if self.done():
            return False
        self._cancellations += 1
        self._message = () if msg is None else (msg,)
        if self._fut_waiter is None or not self._fut_waiter.cancel(msg=msg):
            self._must_cancel = True
        return True

    def cancelling(self) -> int:
        """How often it was cancelled, less how often that was taken back."""
        return self._cancellations

    def uncancel(self) -> int:
        """Take a cancellation back."""
        self._cancellations = max(0, self._cancellations - 1)
        return self._cancellations

    def get_coro(self) -> Coroutine[Any, None, Any]:
        """The coroutine."""
        return self._coro

    def get_context(self) -> Context:
        """Where its steps are taken."""
        return self._context

    def get_stack(self, *, limit: int | None = None) -> list[FrameType]:
        """Where the coroutine is."""
        me: Any = self
        return _task_get_stack(me, limit)

    def print_stack(self, *, limit: int | None = None, file: Any = None) -> None:
        """Print where the coroutine is."""
        me: Any = self
        _task_print_stack(me, limit, file)

    def __repr__(self) -> str:
        state = "finished" if self.done() else "pending"
        return (
            f"<{type(self).__name__} {state} name={self._name!r} coro={self._coro!r}>"
        )

    def get_name(self) -> str:
        """What it is called."""
        return self._name

    def set_name(self, value: object) -> None:
        """Call it something else."""
        self._name = str(value)


def resumed(coroutine: Coroutine[Any, None, Any], error: BaseException | None) -> Any:
    """
    Let a coroutine go on.

    :param error: what it sees; after ``GeneratorExit`` it does not go on any more.
    :returns: what it awaits then.
    :raises StopIteration: with its result.
    :raises RuntimeError: when it does not heed ``GeneratorExit``.
    """
    if isinstance(error, GeneratorExit):
        coroutine.close()
        raise error
    return coroutine.send(None) if error is None else coroutine.throw(error)
