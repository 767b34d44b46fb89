"""Pauses: the reasons not to go on, each held and lifted once."""

from __future__ import annotations

import pytest

from twisted_wsgiflush._pauses import Pauses
from twisted_wsgiflush.errors import AlreadyLifted


def test_nothing_is_held_at_first() -> None:
    """Pauses are false while there is no reason to rest, and nobody is called."""
    lifted: list[str] = []

    pauses = Pauses(lambda: lifted.append("all"))

    assert not pauses
    assert lifted == []


def test_holding_a_reason() -> None:
    """Pauses are true while a reason is held, which can be told from the pause."""
    lifted: list[str] = []
    pauses = Pauses(lambda: lifted.append("all"))

    pause = pauses.hold("the consumer is full")

    assert pauses
    assert pause.reason == "the consumer is full"
    assert lifted == []


def test_lifting_the_only_reason() -> None:
    """When the reason is lifted, there is none, and that is told once."""
    held_then: list[bool] = []
    pauses = Pauses(lambda: held_then.append(bool(pauses)))
    pause = pauses.hold("a reason")

    pause.lift()

    assert not pauses
    assert held_then == [False]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_last_reason_counts(order: tuple[int, int, int]) -> None:
    """In whatever order reasons are lifted, it is told after the last of them."""
    lifted: list[str] = []
    pauses = Pauses(lambda: lifted.append("all"))
    held = [pauses.hold(reason) for reason in ("one", "two", "three")]
    told = []

    for index in order:
        held[index].lift()
        told.append((bool(pauses), len(lifted)))

    assert told == [(True, 0), (True, 0), (False, 1)]


def test_the_same_reason_twice() -> None:
    """Two who rest for the same reason must both go on."""
    pauses = Pauses(lambda: None)
    first, second = pauses.hold("same"), pauses.hold("same")

    first.lift()

    assert pauses
    second.lift()
    assert not pauses


def test_lifting_twice() -> None:
    """A pause is lifted once; the second time is an error that names the reason."""
    lifted: list[str] = []
    pauses = Pauses(lambda: lifted.append("all"))
    pause = pauses.hold("the consumer is full")
    other = pauses.hold("another")
    pause.lift()

    with pytest.raises(AlreadyLifted, match=r"^the consumer is full$"):
        pause.lift()

    assert pauses
    assert lifted == []
    other.lift()
    assert lifted == ["all"]


def test_each_time_the_last_is_lifted() -> None:
    """It is told again when there were reasons again."""
    lifted: list[str] = []
    pauses = Pauses(lambda: lifted.append("all"))

    pauses.hold("one").lift()
    pauses.hold("two").lift()

    assert lifted == ["all", "all"]


def test_holding_again_when_all_are_lifted() -> None:
    """Who is told that nothing is held may hold something at once."""
    pauses = Pauses(lambda: again.append(pauses.hold("again")))
    again: list[object] = []
    pause = pauses.hold("first")

    pause.lift()

    assert pauses
    assert len(again) == 1


def test_nobody_is_told_after_the_end() -> None:
    """Reasons that are still held may be lifted, and are true until then."""
    lifted: list[str] = []
    pauses = Pauses(lambda: lifted.append("all"))
    pause = pauses.hold("a block is on its way")

    pauses.end()

    assert pauses
    pause.lift()
    assert not pauses
    assert lifted == []
