"""
What leaves at the end of a turn of the reactor, together with that of others.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from ._pump import SLICE


class Batch:
    """
    Responses of one turn that are complete.

    One after the other they take less time than each between two requests: the
    processor finds in its caches what the one needs, or what the other does.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self.waits = False
        """Whether there is something to send."""
        self._reactor = reactor
        self._sends: list[Callable[[], None]] = []
        self._slice_ends = 0.0
        self._due = False

    def add(self, send: Callable[[], None]) -> None:
        """
        Call this at the end of the turn.

        :param send: sends what there is by then, if there is something; raises nothing.
        """
        if not self.waits:
            self.waits = True
            self._slice_ends = self._reactor.seconds() + SLICE
            if not self._due:
                self._due = True
                self._reactor.callLater(0, self._turn_ends)
        self._sends.append(send)

    def look(self) -> None:
        """An application is called next: nobody is to wait for that beyond a slice."""
        if self._reactor.seconds() >= self._slice_ends:
            self._send()

    def _turn_ends(self) -> None:
        self._due = False
        self._send()

    def _send(self) -> None:
        sends, self._sends = self._sends, []
        self.waits = False
        for send in sends:
            send()
