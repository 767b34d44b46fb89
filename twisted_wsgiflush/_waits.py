"""
What a server's thread waits for, on servers that have a thread to wait.
"""

from __future__ import annotations

import select
import threading
from typing import Protocol


class Truth:
    """A truth value that changes, as ``x-wsgiorg.suspend_status`` does."""

    def __init__(self) -> None:
        self.value = False

    def __bool__(self) -> bool:
        return self.value


class Wait(Protocol):
    """What the server's thread does at the next empty block."""

    def wait(self) -> None:
        """Hold the server's thread until the suspension is over."""

    def abandon(self) -> None:
        """The response is over before the suspension has come into force."""


class Suspension:
    """
    Waits until it is resumed.

    :param timeout: seconds, from the empty block on; None for none.
    :param status: is true once it is resumed, and not when it timed out.
    """

    def __init__(self, timeout: float | None, status: Truth) -> None:
        self._timeout = timeout
        self._status = status
        self._resumed = threading.Event()
        self._over = False
        self._lock = threading.Lock()

    def resume(self) -> bool:
        """In any thread: the application goes on; whether this call made it."""
        if not self._end(resumed=True):
            return False
        self._resumed.set()
        return True

    def wait(self) -> None:
        """Until it is resumed or timed out."""
        if not self._resumed.wait(self._timeout):
            self._end(resumed=False)

    def abandon(self) -> None:
        """There is nothing to resume."""
        self._end(resumed=False)

    def _end(self, *, resumed: bool) -> bool:
        with self._lock:
            if self._over:
                return False
            self._over = True
            self._status.value = resumed
            return True


class DescriptorWait:
    """
    Waits for a descriptor.

    :param event: of :func:`select.poll`.
    :param timeout: seconds, from the empty block on; None for none.
    :param timed_out: is true when it did.
    """

    def __init__(
        self, number: int, event: int, timeout: float | None, timed_out: Truth
    ) -> None:
        self._poll = select.poll()
        self._poll.register(number, event)
        self._timeout = timeout
        self._timed_out = timed_out

    def wait(self) -> None:
        """Until the descriptor is ready, in error, closed, or time is out."""
        milliseconds = None if self._timeout is None else self._timeout * 1000
        self._timed_out.value = not self._poll.poll(milliseconds)

    def abandon(self) -> None:
        """There is nothing to give back."""
