"""
Where a coroutine runs: with a loop of asyncio, or without.

Both with a clock that a test turns by hand, and whatever reactor runs the tests.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from twisted_wsgiflush.testing import Served


def apart(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a thread of its own, where no loop of the reactor's runs."""

    @functools.wraps(test)
    def in_a_thread(*arguments: Any, **keywords: Any) -> None:
        with ThreadPoolExecutor(1) as executor:
            executor.submit(test, *arguments, **keywords).result()

    return in_a_thread


def _nothing() -> None:
    """Do nothing."""


class WithoutLoop:
    """Only Twisted's clock turns."""

    def turn(
        self, served: Served, turns: int = 10, then: Callable[[], None] = _nothing
    ) -> None:
        """
        Take some turns.

        :param then: is called in the last of them.
        """
        served.turn(turns)
        then()

    def read(self, served: Served) -> bytes:
        """Take some turns; the client reads what there is then."""
        self.turn(served)
        return served.drain()

    def close(self) -> None:
        """There is nothing to close."""


class WithLoop(WithoutLoop):
    """Twisted's clock turns in a loop of asyncio, whose time is no real time."""

    def __init__(self) -> None:
        self._loop = _Loop()

    def turn(
        self,
        served: Served,
        turns: int = 10,
        then: Callable[[], None] = _nothing,
        seconds: float = 0,
    ) -> None:
        """
        Take some turns, each in one of the loop.

        :param then: is called in the last of them.
        :param seconds: let that much of the loop's time pass first.
        """

        async def turn() -> None:
            await asyncio.sleep(seconds)
            for _ in range(turns):
                await asyncio.sleep(0)
                served.turn()
            then()
            await asyncio.sleep(0)

        self._loop.run_until_complete(turn())

    def close(self) -> None:
        """What is not done by now was forgotten by somebody."""
        left = asyncio.all_tasks(self._loop)
        self._loop.close()
        assert not left


class _Selector(selectors.DefaultSelector):
    """Waits for no time, but says that it has passed."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now
