"""
How long a connection waits for whom: the one place that knows the deadlines.

No timer is set for a request.  The site looks at all connections now and then, and
at those whose deadline has passed more closely.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall

from ._rules import Refused
from .limits import BODY_PROGRESS, Limits

if TYPE_CHECKING:
    from ._channel import Channel

# Seconds between two looks.
TICK = 0.5
# Seconds that a client has to close a connection on which nothing more is served.
LINGER = 2.0

_BODY_TOO_SLOW = Refused(408, "The body did not come in time.")


class Patience:
    """
    The deadline of one connection.

    :param now: seconds, of the last look; so there may be a tick more.
    """

    __slots__ = (
        "_body_since",
        "_came",
        "_channel",
        "_leaving",
        "_limits",
        "_progress",
        "_sent",
        "_since",
        "_stalled_since",
        "deadline",
    )

    def __init__(self, channel: Channel, limits: Limits, now: float) -> None:
        self._channel = channel
        self._limits = limits
        self._since = now
        self._stalled_since = self._body_since = now
        self._came = self._sent = 0
        self._progress: tuple[int, int] | None = None
        self._leaving: IDelayedCall | None = None
        self.deadline = inf
        """When to look."""
        self._wait(limits.header_timeout)

    def idle(self) -> None:
        """The client may send another request."""
        if self._leaving is not None:
            self.end()
        self.deadline = self._channel.site.idle_deadline

    def head_begins(self) -> None:
        """A head has come in part."""
        self._begin(self._limits.header_timeout)

    def body_begins(self) -> None:
        """A body has to be complete before its request is served."""
        self._came = 0
        self._body_since = self._channel.site.reactor.seconds()
        self.deadline = self._channel.site.now + TICK

    def response_begins(self) -> None:
        """The application is called."""
        self.deadline = inf
        if self._channel.half_closed_at is not None:
            self.half_closed()
        if self._channel.site.hurries:
            self._since = self._channel.site.reactor.seconds()
            self.watch()

    def half_closed(self) -> None:
        """The client may have left, while it is served."""
        self.watch()
        timeout = self._limits.half_close_timeout
        if timeout is not None and self._leaving is None:
            # Who has left should not have to wait for the next look: applications
            # count on being closed.
            self._sent = self._channel.sent
            reactor = self._channel.site.reactor
            self._leaving = reactor.callLater(timeout, self._may_leave)

    def end(self) -> None:
        """It is somebody else's to wait."""
        self.deadline = inf
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def watch(self) -> None:
        """There is something to wait for, such as a client that takes nothing."""
        if self.deadline == inf:
            site = self._channel.site
            self._stalled_since = self._body_since = site.reactor.seconds()
            self._progress = None
            self._came = 0
            self.deadline = site.now + TICK

    def closing(self) -> None:
        """The client may read what it was sent, and has to close."""
        self._begin(LINGER)
        if not self._channel.output.idle:
            self.deadline = inf
            self.watch()

    def look(self, now: float) -> None:
        """The deadline has passed: see what it was for."""
        channel = self._channel
        if channel.waits_its_turn:
            return  # It was this side that took its time.
        match channel.phase.name:
            case "IDLE":
                channel.close()
            case "HEAD":
                # RFC 9110, 15.5.9.
                channel.refuse(Refused(408, "The header did not come in time."))
            case "BODY" | "DISCARDING":
                if self._body_has_stopped(now):
                    channel.refuse_body(_BODY_TOO_SLOW)
            case "RESPONSE":
                self._look_at_response(now)
            case "SENDING":
                self._look_at_sending(now)
            case "NEIGHBOUR":
                self._look_at_neighbour(now)
            case _:  # CLOSING; the others have no deadline.
                if not channel.output.idle:
                    # Its time to close begins when it has taken everything.
                    self._since = now
                    self._look_at_sending(now)
                elif now - self._since >= LINGER:
                    channel.abort()
                else:
                    self.deadline = self._since + LINGER

    def _look_at_response(self, now: float) -> None:
        channel, limits = self._channel, self._limits
        pump = channel.pump
        assert pump is not None  # In this phase.
        suspended_since = pump.suspended_since
        suspended = 0.0 if suspended_since is None else now - suspended_since
        if _is_over(now - self._since, limits.response_timeout):
            pump.give_up("the response was not complete in time")
        elif _is_over(suspended, limits.suspend_timeout):
            pump.give_up("the application was suspended too long")
        elif not channel.reading and self._has_hung_up():
            channel.abort()
        else:
            self._look_at_sending(now)
            if channel.body is None or not channel.body.waited_for:
                self._body_since = now
            elif self._body_has_stopped(now):
                channel.refuse_body(_BODY_TOO_SLOW)

    def _look_at_neighbour(self, now: float) -> None:
        channel = self._channel
        if channel.body is not None and not channel.body.ended:
            if self._body_has_stopped(now):
                channel.refuse_body(_BODY_TOO_SLOW)
            return
        self._look_at_output(now, idle=not channel.output.unsent_below())

    def _body_has_stopped(self, now: float) -> bool:
        assert self._channel.body is not None  # It is awaited.
        came = self._channel.body.size
        if came - self._came >= BODY_PROGRESS:
            self._came, self._body_since = came, now
        self.deadline = now + TICK
        return _is_over(now - self._body_since, self._limits.body_timeout)

    def _has_hung_up(self) -> bool:
        """Whether a client has left that is not read from: nobody else finds out."""
        channel = self._channel
        hung_up, half_closed = channel.output.ask_kernel()
        if half_closed and channel.half_closed_at is None:
            channel.half_closed_at = channel.site.reactor.seconds()
            self.half_closed()
        return hung_up

    def _may_leave(self) -> None:
        """Nothing was sent for a while, or something was: it can still be told."""
        self._leaving = None
        channel = self._channel
        if channel.sent == self._sent and channel.output.idle:
            channel.abort()
        else:
            self.half_closed()

    def _look_at_sending(self, now: float) -> None:
        self._look_at_output(now, idle=self._channel.output.idle)

    def _look_at_output(self, now: float, *, idle: bool) -> None:
        output = self._channel.output
        # What others have written is with the transport, which does not count.
        progress = (output.progress, output.unsent_below())
        if idle or progress != self._progress:
            self._progress = progress
            self._stalled_since = now
        elif _is_over(now - self._stalled_since, self._limits.send_timeout):
            self._channel.abort()
            return
        self.deadline = now + TICK

    def _begin(self, timeout: float | None) -> None:
        self.end()
        self._since = self._channel.site.now
        self._wait(timeout)

    def _wait(self, timeout: float | None) -> None:
        self.deadline = inf if timeout is None else self._since + timeout + TICK


def _is_over(seconds: float, timeout: float | None) -> bool:
    return timeout is not None and seconds >= timeout
