"""
A body that arrives as the test says, and who awaits it without a server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_wsgiflush._streamedinput import StreamedInput


def no_suspension(timeout: int | None) -> Callable[[], object]:
    """Nobody can be suspended here."""
    raise AssertionError("suspended")


class Connection:
    """
    A connection with one request, whose client sends when the test says so.

    It refuses what no connection should be asked for.

    :param told: is called with the name of each thing that it is asked for.
    """

    def __init__(
        self,
        suspend: Callable[[int | None], Callable[[], object]] = no_suspension,
        told: Callable[[str], object] = lambda name: None,
    ) -> None:
        self.body = StreamedInput(self, suspend)
        self.paused = False
        self.wanted = False
        self.over = False
        self.told = told

    def want_body(self) -> None:
        assert not self.wanted
        self.wanted = True
        self._tell("want")

    def pause_body(self) -> None:
        assert not self.paused
        self.paused = True
        self._tell("pause")

    def resume_body(self) -> None:
        assert self.paused
        self.paused = False
        self._tell("resume")

    def _tell(self, name: str) -> None:
        assert not self.over
        self.told(name)

    def send(self, *blocks: bytes) -> None:
        """The client sends some bytes."""
        for block in blocks:
            self.body.received(block)

    def finish(self, *blocks: bytes) -> None:
        """The client sends the last bytes."""
        self.send(*blocks)
        self.over = True
        self.body.complete()

    def lose(self, why: str = "the client has left") -> None:
        """The client sends no more, though it should."""
        self.over = True
        self.body.lost("400 Bad Request", why)

    def end(self) -> None:
        """The response is over."""
        self.over = True
        self.body.end()


class Awaited:
    """
    Something that is awaited, and what came of it.

    :param begin: gives what to await, within the coroutine that does.
    """

    def __init__(self, begin: Callable[[], Awaitable[Any]]) -> None:
        self.results: list[Any] = []
        self.errors: list[BaseException] = []

        async def coroutine() -> Any:
            return await begin()

        self._deferred = Deferred.fromCoroutine(coroutine())
        self._deferred.addCallbacks(self.results.append, self._failed)

    def cancel(self) -> None:
        """It is not wanted any more."""
        self._deferred.cancel()

    def _failed(self, failure: Failure) -> None:
        self.errors.append(failure.value)
