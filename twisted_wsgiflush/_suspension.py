"""
A suspension: the one primitive on which all that waits is built.

It decides how a suspension ends, once, and what is given back then.  When one is due
and when it comes into force is decided in ``_extensions``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from twisted.internet.interfaces import IDelayedCall

from ._pauses import Pause, Pauses

# A truth value that changes, as ``x-wsgiorg.suspend_status`` does: something is in
# there, or nothing.  Each request has two, and an object of a class of ours takes
# eight times as long to make.
Truth: TypeAlias = list[bool]


class Wait(Protocol):
    """What resumes a suspension by itself while it is in force."""

    def start(self, resume: Callable[[], object]) -> None:
        """The suspension is in force: wait, then call ``resume``."""

    def has_ended(self) -> bool:
        """Whether ``resume`` would be called now, had the reactor looked before."""

    def stop(self) -> None:
        """It is over, or never came into force: give everything back."""


class Suspension:
    """
    One suspension of an application, from the call that makes it due to its end.

    :param timeout: seconds, from the empty block on; None for none.
    :param status: is told how it ended.
    :param true_when_resumed: or else when it timed out.
    """

    __slots__ = (
        "_asked",
        "_pause",
        "_status",
        "_timeout",
        "_timer",
        "_true_when_resumed",
        "_wait",
        "over",
    )

    def __init__(
        self,
        timeout: float | None,
        status: Truth,
        *,
        true_when_resumed: bool,
        wait: Wait | None = None,
    ) -> None:
        self.over = False
        self._asked = False
        self._timeout = timeout
        self._status = status
        self._true_when_resumed = true_when_resumed
        self._wait = wait
        self._pause: Pause | None = None
        self._timer: IDelayedCall | None = None

    def take_effect(self, pauses: Pauses, reactor: Any) -> None:
        """The empty block is here: hold the pump, unless it is resumed already."""
        if self._asked:
            self.resume()
        if self.over:
            return
        self._pause = pauses.hold("the application is suspended")
        if self._timeout is not None:
            self._timer = reactor.callLater(self._timeout, self._timed_out)
        if self._wait is not None:
            self._wait.start(self.resume)

    def resume(self) -> bool:
        """
        Let the application go on, in a later turn.

        :returns: whether it was suspended, or about to be.
        :raises OSError: when what it waited for was closed behind our back; the
            application goes on all the same.
        """
        return self._end(resumed=True)

    def resume_from_thread(self, reactor: Any) -> bool:
        """
        As :meth:`resume`, in a thread other than the reactor's, which does it later.

        :returns: what is true now.
        """
        if self.over:
            return False
        # The reactor may come to a timeout, or to the empty block, first.
        self._asked = True
        reactor.callFromThread(self.resume)
        return True

    def abandon(self) -> None:
        """
        The application will not go on: give everything back, and tell no status.

        :raises OSError: as :meth:`resume`.
        """
        self._end(resumed=None)

    def _timed_out(self) -> None:
        self._timer = None
        # A reactor looks at the time before it looks at descriptors, and may come
        # late to both.
        ended = self._wait is not None and self._wait.has_ended()
        self._end(resumed=ended or self._asked)

    def _end(self, *, resumed: bool | None) -> bool:
        if self.over:
            return False
        self.over = True
        if resumed is not None:
            self._status[:] = [True] if resumed is self._true_when_resumed else []
        # Before all that may raise an error, or the request would hang.
        if self._pause is not None:
            self._pause.lift()
        if self._timer is not None:
            self._timer.cancel()
        if self._wait is not None:
            self._wait.stop()
        return True
