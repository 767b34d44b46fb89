"""
What leaves at the end of a turn of the reactor, together with that of others.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

# Seconds that one application may give blocks for before the others have their turn.
SLICE = 0.002

# Connections of a site.  With one, to wait for the end of the turn takes a quarter more
# time; with 64, not to wait takes a seventh more.
MANY = 16


class Batch:
    """
    Beginnings and ends of responses of one turn, and the steps to be taken after those.

    One after the other they take less time than each between two requests: the
    processor finds in its caches what the one needs, or what the other does.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._sends: list[Callable[[], None]] = []
        self._steps: list[Callable[[], None]] = []
        self._slice_ends = 0.0
        self._due = False

    def begin(self) -> None:
        """
        An application is called next, whose response may be added.

        What it puts off to the end of the turn comes after it then.
        """
        self.look()
        self._schedule()

    def look(self) -> None:
        """An application is called next: nobody is to wait for that beyond a slice."""
        if self._sends and self._reactor.seconds() >= self._slice_ends:
            self._send()

    def add(self, send: Callable[[], None]) -> None:
        """
        Call this at the end of the turn.

        :param send: sends what there is by then, if there is something; raises nothing.
        """
        self._schedule()
        if not self._sends:
            self._slice_ends = self._reactor.seconds() + SLICE
        self._sends.append(send)

    def then(self, step: Callable[[], None]) -> None:
        """
        Call this when all has left that was added.

        What it raises is the reactor's to log, and keeps no other from being called.
        """
        self._schedule()
        self._steps.append(step)

    def _schedule(self) -> None:
        if not self._due:
            self._due = True
            self._reactor.callLater(0, self._turn_ends)

    def _turn_ends(self) -> None:
        self._due = False
        self._send()
        steps, self._steps = self._steps[::-1], []
        try:
            while steps:
                self.look()
                steps.pop()()
        finally:
            if steps:
                self._steps[:0] = steps[::-1]
                self._schedule()

    def _send(self) -> None:
        sends, self._sends = self._sends, []
        for send in sends:
            send()
