"""
What an application finds in environ beyond PEP 3333: flush, suspend, fdevent.

There is one primitive, a suspension: due from the call on, in force from the next
empty block on, and over when it is resumed.  Everything else is built on it, and
while it is in force the pump holds a pause for it.  The contract of each key is in
``docs/extensions.md``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall

from ._arguments import (
    HasFileno,
    descriptor_number,
    seconds_of,
    seconds_of_milliseconds,
)
from ._descriptors import Readable, Writable
from ._head import Head, checked_head
from ._pauses import Pause, Pauses
from ._response import Response
from ._types import Environ
from .errors import AlreadySuspended, ResponseError
from .validation import not_modified


class Truth:
    """A truth value that changes, as ``x-wsgiorg.suspend_status`` does."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = False

    def __bool__(self) -> bool:
        return self.value


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
        self._timeout = timeout
        self._status = status
        self._true_when_resumed = true_when_resumed
        self._wait = wait
        self._pause: Pause | None = None
        self._timer: IDelayedCall | None = None

    def take_effect(self, pauses: Pauses, reactor: Any) -> None:
        """The empty block is here: hold the pump, unless it is resumed already."""
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
        """
        return self._end(resumed=True)

    def _timed_out(self) -> None:
        self._timer = None
        # A reactor looks at the time before it looks at descriptors, and may come
        # late to both.
        self._end(resumed=self._wait is not None and self._wait.has_ended())

    def _end(self, *, resumed: bool) -> bool:
        if self.over:
            return False
        self.over = True
        self._status.value = resumed is self._true_when_resumed
        if self._timer is not None:
            self._timer.cancel()
        if self._wait is not None:
            self._wait.stop()
        if self._pause is not None:
            self._pause.lift()
        return True


class Extensions:
    """
    The extensions of one request.

    :param reactor: measures timeouts and watches descriptors.
    :param environ: of the request; the extensions are put there.
    :param validation: whether ``flush`` answers 304 to whose copy is fresh.
    """

    __slots__ = (
        "_due",
        "_environ",
        "_fdevent_timeout",
        "_in_force",
        "_reactor",
        "_response",
        "_suspend_status",
        "_thread",
        "_validation",
    )

    def __init__(
        self, reactor: Any, response: Response, environ: Environ, *, validation: bool
    ) -> None:
        self._reactor = reactor
        self._response = response
        self._environ = environ
        self._validation = validation
        self._thread = threading.get_ident()
        self._suspend_status = Truth()
        self._fdevent_timeout = Truth()
        self._due: Suspension | None = None
        self._in_force: Suspension | None = None
        environ["wsgi.asynchronous"] = True
        environ["wsgi.pause_output"] = self.pause_output
        environ["wsgi.response_error"] = ResponseError
        environ["x-wsgiorg.flush"] = self.flush
        environ["x-wsgiorg.suspend"] = self.suspend
        environ["x-wsgiorg.suspend_status"] = self._suspend_status
        environ["x-wsgiorg.fdevent.readable"] = self.readable
        environ["x-wsgiorg.fdevent.writable"] = self.writable
        environ["x-wsgiorg.fdevent.timeout"] = self._fdevent_timeout
        environ["twisted.reactor"] = reactor

    @property
    def due(self) -> bool:
        """Whether the next empty block suspends, or would if it was not resumed."""
        return self._due is not None

    def empty_block(self, pauses: Pauses) -> None:
        """The application gave an empty block: what is due comes into force."""
        if self._due is not None:
            self._in_force, self._due = self._due, None
            self._in_force.take_effect(pauses, self._reactor)

    def end(self) -> None:
        """The application's part is over: whatever is due or in force is not."""
        for suspension in (self._due, self._in_force):
            if suspension is not None:
                suspension.resume()

    def flush(self) -> bytes:
        """
        Send the status line and headers now, before any body.

        Offered as ``x-wsgiorg.flush`` (M. Perillo, Web-SIG, 2007-10).  When the
        client's copy is fresh it gets a 304, and the iterable is closed and not
        iterated.

        :returns: an empty block, to yield.
        :raises StartResponseMissing: before ``start_response``.
        """
        if not self._response.over:
            self._response.commit(self._not_modified if self._validation else None)
            if self._response.complete and self._in_force is not None:
                # Called while suspended, as by a task: there is nothing to wait for.
                self._in_force.resume()
        return b""

    def suspend(self, timeout: int | None = None) -> Callable[[], bool]:
        """
        Do not ask for a block after the next empty one, until resumed.

        Offered as ``x-wsgiorg.suspend`` (M. Perillo, 2010).  Call in the reactor's
        thread; the callable that it returns may be called in any.

        :param timeout: milliseconds until it resumes by itself; None for never.
        :returns: the callable that resumes.  It returns whether that made the
            application go on: False once it is resumed, timed out, or over.
        :raises TypeError: when the timeout is no int.
        :raises ValueError: when it is negative.
        :raises AlreadySuspended: when the last suspension has not had its block.
        """
        seconds = seconds_of_milliseconds(timeout)
        if self._response.over:
            return _nothing_to_resume
        suspension = Suspension(
            seconds,
            self._suspend_status,
            true_when_resumed=True,
        )
        self._make_due(suspension)

        def resume() -> bool:
            if threading.get_ident() == self._thread:
                return suspension.resume()
            suspended = not suspension.over
            self._reactor.callFromThread(suspension.resume)
            return suspended

        return resume

    def pause_output(self) -> Callable[[], bool]:
        """
        ``suspend`` without a timeout.

        Offered as ``wsgi.pause_output`` (P. J. Eby, twisted-web, 2004-09-16).

        :raises AlreadySuspended: when the last suspension has not had its block.
        """
        return self.suspend(None)

    def readable(self, fd: int | HasFileno, timeout: float | None = None) -> bytes:
        """
        Do not ask for a block after the next empty one, until ``fd`` can be read.

        Offered as ``x-wsgiorg.fdevent.readable`` (C. Stawarz, 2008).

        :param fd: a descriptor, or what has ``fileno()``.  An error or the end of
            what it reads from counts as well; a regular file can always be read.
        :param timeout: seconds; None for no end.
        :returns: an empty block, to yield.
        :raises TypeError: for what is no descriptor or no number of seconds.
        :raises ValueError: for a negative one of either.
        :raises OSError: for a descriptor that is not open.
        :raises AlreadySuspended: when the last suspension has not had its block.
        """
        return self._wait_for(fd, timeout, Readable)

    def writable(self, fd: int | HasFileno, timeout: float | None = None) -> bytes:
        """
        As :meth:`readable`, until ``fd`` can be written to.

        Offered as ``x-wsgiorg.fdevent.writable``.
        """
        return self._wait_for(fd, timeout, Writable)

    def _wait_for(
        self,
        fd: int | HasFileno,
        timeout: float | None,
        kind: type[Readable] | type[Writable],
    ) -> bytes:
        if self._response.over:
            return b""
        seconds = seconds_of(timeout)
        self._refuse_if_due()
        self._make_due(
            Suspension(
                seconds,
                self._fdevent_timeout,
                true_when_resumed=False,
                wait=kind(self._reactor, descriptor_number(fd)),
            )
        )
        return b""

    def _make_due(self, suspension: Suspension) -> None:
        self._refuse_if_due()
        self._due = suspension

    def _refuse_if_due(self) -> None:
        if self._due is not None:
            raise AlreadySuspended(
                "the application is to be suspended at its next empty block already; "
                "yield that before it asks again"
            )

    def _not_modified(self, head: Head) -> Head | None:
        headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in head.headers]
        fresh = not_modified(str(head.code), headers, self._environ)
        if fresh is None:
            return None
        return checked_head("304 Not Modified", fresh)


def _nothing_to_resume() -> bool:
    """The response is over."""
    return False
