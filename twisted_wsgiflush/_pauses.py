"""
Why a pump rests: a set of reasons, each an object that its holder lifts once.

It decides when nothing holds the pump any longer, not what happens then.
"""

from __future__ import annotations

from collections.abc import Callable

from .errors import AlreadyLifted


class Pause:
    """One reason not to go on, held from :meth:`Pauses.hold` until lifted."""

    __slots__ = ("_pauses", "reason")

    def __init__(self, pauses: Pauses, reason: str) -> None:
        self._pauses = pauses
        self.reason = reason

    def lift(self) -> None:
        """
        Give the reason back; when it was the last one held, the pump goes on.

        :raises AlreadyLifted: at the second call.
        """
        self._pauses._lift(self)


class Pauses:
    """
    The reasons held at present; true while there is one.

    :param all_lifted: called, without arguments, whenever the last is lifted.
    """

    __slots__ = ("_all_lifted", "_held")

    def __init__(self, all_lifted: Callable[[], None]) -> None:
        self._held: list[Pause] = []
        self._all_lifted = all_lifted

    def __bool__(self) -> bool:
        return bool(self._held)

    def hold(self, reason: str) -> Pause:
        """Add a reason to rest."""
        pause = Pause(self, reason)
        self._held.append(pause)
        return pause

    def end(self) -> None:
        """Call nothing any more, whatever is lifted."""
        # Who is called holds this, as a rule: it would be a cycle of references.
        self._all_lifted = _nothing

    def _lift(self, pause: Pause) -> None:
        if pause not in self._held:
            raise AlreadyLifted(pause.reason)
        self._held.remove(pause)
        if not self._held:
            self._all_lifted()


def _nothing() -> None:
    """Nobody rests any more."""
