"""
Waiting for a file descriptor that is not the reactor's own.

A descriptor is watched by a duplicate of it, for a reactor knows each number once:
two requests may wait for the same one, and for one that the reactor watches itself.
"""

from __future__ import annotations

import os
import select
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


class _Descriptor(ABC):
    """
    Waits, at most once, until a descriptor is ready, in error, or at its end.

    :param number: of the descriptor; it is duplicated, and the duplicate is closed
        by :meth:`stop`.
    :raises OSError: when it is not open.
    """

    _event_mask: int

    def __init__(self, reactor: Any, number: int) -> None:
        self._reactor = reactor
        self._ready: Callable[[], object] | None = None
        self._duplicate = os.dup(number)

    def start(self, ready: Callable[[], object]) -> None:
        """Wait, then call ``ready``."""
        self._ready = ready
        self._watch()

    def stop(self) -> None:
        """Do not wait any longer; the duplicate is closed."""
        if self._ready is not None:
            self._ready = None
            self._unwatch()
        os.close(self._duplicate)

    def has_ended(self) -> bool:
        """Whether the descriptor is ready, in error, or at its end."""
        poll = select.poll()
        poll.register(self._duplicate, self._event_mask)
        return bool(poll.poll(0))

    def fileno(self) -> int:
        """The duplicate; a reactor asks for it even when the wait is over."""
        return self._duplicate

    def logPrefix(self) -> str:
        """What the log calls this."""
        return "fdevent"

    def connectionLost(self, reason: Failure) -> None:
        """The other end hung up, or there is an error to be read from it."""
        self._event()

    def _event(self) -> None:
        if self._ready is not None:
            self._ready()

    @abstractmethod
    def _watch(self) -> None:
        """Have the reactor watch the duplicate."""

    @abstractmethod
    def _unwatch(self) -> None:
        """Have it watch no longer."""


@implementer(IReadDescriptor)
class Readable(_Descriptor):
    """Waits until there is something to read."""

    _event_mask = select.POLLIN

    def doRead(self) -> None:
        """There is."""
        self._event()

    def _watch(self) -> None:
        self._reactor.addReader(self)

    def _unwatch(self) -> None:
        self._reactor.removeReader(self)


@implementer(IWriteDescriptor)
class Writable(_Descriptor):
    """Waits until there is room to write."""

    _event_mask = select.POLLOUT

    def doWrite(self) -> None:
        """There is."""
        self._event()

    def _watch(self) -> None:
        self._reactor.addWriter(self)

    def _unwatch(self) -> None:
        self._reactor.removeWriter(self)
