"""
What an application finds in environ beyond PEP 3333: flush, suspend, fdevent.

There is one primitive, a suspension: due from the call on, in force from the next
empty block on, and over when it is resumed.  Everything else is built on it, and
while it is in force a pause is held for it.  This knows no container: ``portable``
offers the same on any server.  The contract of each key is in ``docs/extensions.md``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from ._arguments import (
    HasFileno,
    descriptor_number,
    seconds_of,
    seconds_of_milliseconds,
)
from ._descriptors import Readable, Writable
from ._pauses import Pauses
from ._suspension import Suspension, Truth
from ._types import Environ, Headers
from ._validation import Conditions, Freshness, not_modified
from .errors import AlreadySuspended, ResponseError


class Response(Protocol):
    """What the extensions ask of a response."""

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""

    @property
    def has_enough(self) -> bool:
        """Whether the client has all it may get, so that no block is wanted."""

    def commit(self, fresh: Freshness | None = None) -> None:
        """
        Send the status line and headers if they are not sent yet.

        :param fresh: is asked for the headers of a 304 to send in place of them.
        :raises StartResponseMissing: when there are none.
        """


def constants(reactor: Any) -> Environ:
    """What of the extensions is the same in every environ."""
    return {
        "wsgi.asynchronous": True,
        "wsgi.response_error": ResponseError,
        "twisted.reactor": reactor,
    }


class Extensions:
    """
    The extensions of one request.

    :param reactor: measures timeouts and watches descriptors.
    :param environ: of the request; the extensions are put there.
    :param conditions: ``flush`` answers 304 if they are met; None for never.
    """

    def __init__(
        self,
        reactor: Any,
        response: Response,
        environ: Environ,
        conditions: Conditions | None,
    ) -> None:
        self._reactor = reactor
        self._response = response
        self._conditions = conditions
        self.used = False
        """Whether something is due or in force, or was."""
        self.ended = False
        """Whether the application's part is over, as :meth:`end` says."""
        self.due: Suspension | None = None
        """What the next empty block brings into force, unless it is resumed by then."""
        self._in_force: Suspension | None = None
        self._suspend_status: Truth = []
        self._fdevent_timeout: Truth = []
        environ["wsgi.pause_output"] = self.pause_output
        environ["x-wsgiorg.flush"] = self.flush
        environ["x-wsgiorg.suspend"] = self.suspend
        environ["x-wsgiorg.suspend_status"] = self._suspend_status
        environ["x-wsgiorg.fdevent.readable"] = self.readable
        environ["x-wsgiorg.fdevent.writable"] = self.writable
        environ["x-wsgiorg.fdevent.timeout"] = self._fdevent_timeout

    @property
    def suspended(self) -> bool:
        """Whether a suspension is in force."""
        return self._in_force is not None and not self._in_force.over

    def empty_block(self, pauses: Pauses) -> None:
        """The application gave an empty block: what is due comes into force."""
        if self.due is not None:
            self._in_force, self.due = self.due, None
            self._in_force.take_effect(pauses, self._reactor)

    def end(self) -> None:
        """
        The application's part is over, but for ``close()``: whatever is due or in
        force is not, and nothing will be.

        :raises OSError: when it waited for a descriptor that was closed behind our
            back; nothing is due or in force all the same.
        """
        self.ended = True
        suspensions = (self.due, self._in_force)
        self.due = self._in_force = None
        for suspension in suspensions:
            if suspension is not None:
                suspension.abandon()

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
            self._response.commit(self._fresh)
            if self._response.has_enough and self._in_force is not None:
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
        if self._over:
            return _nothing_to_resume
        suspension = Suspension(
            seconds_of_milliseconds(timeout),
            self._suspend_status,
            true_when_resumed=True,
        )
        self._make_due(suspension)
        thread = threading.get_ident()

        def resume() -> bool:
            if threading.get_ident() == thread:
                return suspension.resume()
            return suspension.resume_from_thread(self._reactor)

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
        if self._over:
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
        self.used = True
        self.due = suspension

    def _refuse_if_due(self) -> None:
        if self.due is not None:
            raise AlreadySuspended(
                "the application is to be suspended at its next empty block already; "
                "yield that before it asks again"
            )

    @property
    def _over(self) -> bool:
        # An application that is closed need not know that its response goes on.
        return self.ended or self._response.over

    def _fresh(self, status: str, headers: Headers) -> Headers | None:
        return not_modified(status, headers, self._conditions)


def _nothing_to_resume() -> bool:
    """The response is over."""
    return False
