"""
What leaves at the end of a turn of the reactor, together with that of others.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from ._pump import SLICE


class Batch:
    """
    Whole responses of one turn.

    One after the other they take less time than each between two requests: the
    processor finds in its caches what the one needs, or what the other does.  None
    waits for longer than a slice, but for an application that blocks the reactor.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._sends: list[Callable[[], None]] = []
        self._slice_ends = 0.0
        self._due = False

    def add(self, send: Callable[[], None]) -> None:
        """
        Call this at the end of the turn.

        :param send: sends what there is by then, if there is something; raises nothing.
        """
        now = self._reactor.seconds()
        if not self._sends:
            self._slice_ends = now + SLICE
            if not self._due:
                self._due = True
                self._reactor.callLater(0, self._turn_ends)
        self._sends.append(send)
        if now >= self._slice_ends:
            self._send()

    def _turn_ends(self) -> None:
        self._due = False
        self._send()

    def _send(self) -> None:
        sends, self._sends = self._sends, []
        for send in sends:
            send()
