"""What the extensions take for a timeout and for a descriptor, and what not."""

from __future__ import annotations

import math
import socket
from typing import Any

import pytest

from twisted_wsgiflush._arguments import (
    LONGEST,
    descriptor_number,
    seconds_of,
    seconds_of_milliseconds,
)


class Pipe:
    """What has a descriptor, as a file or a socket has."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number


@pytest.mark.parametrize(
    ("milliseconds", "seconds"), [(None, None), (0, 0.0), (1, 0.001), (2500, 2.5)]
)
def test_a_suspension_is_timed_in_whole_milliseconds(milliseconds, seconds) -> None:
    """None is for ever, and 0 for the next turn."""
    assert seconds_of_milliseconds(milliseconds) == seconds


@pytest.mark.parametrize("too_long", [10**11, 10**400], ids=["10**11", "10**400"])
def test_a_timeout_is_not_longer_than_the_longest(too_long) -> None:
    """For a reactor counts in floats, and there are larger numbers than those."""
    assert seconds_of_milliseconds(too_long * 1000) == LONGEST
    assert seconds_of(too_long) == LONGEST
    assert seconds_of(1e300) == LONGEST


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (-1, ValueError),
        (1.0, TypeError),
        (0.5, TypeError),
        (math.nan, TypeError),
        ("250", TypeError),
        (b"250", TypeError),
        (True, TypeError),
        ((), TypeError),
    ],
    ids=repr,
)
def test_other_timeouts_of_a_suspension_are_refused(timeout, error) -> None:
    """The message shows the value, and tells the unit or the type."""
    with pytest.raises(error) as refused:
        seconds_of_milliseconds(timeout)

    assert repr(timeout) in str(refused.value)
    assert "milliseconds" in str(refused.value) or " ms" in str(refused.value)


@pytest.mark.parametrize("seconds", [None, 0, 0.0, 0.25, 3])
def test_a_descriptor_is_waited_for_in_seconds(seconds) -> None:
    """Whole ones or a fraction; None is for ever."""
    assert seconds_of(seconds) == seconds


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (-1, ValueError),
        (-0.001, ValueError),
        (math.inf, ValueError),
        (math.nan, ValueError),
        ("1", TypeError),
        (False, TypeError),
        (1j, TypeError),
    ],
    ids=repr,
)
def test_other_timeouts_of_a_descriptor_are_refused(timeout, error) -> None:
    """One that is no time at all, and one that would never be over."""
    with pytest.raises(error) as refused:
        seconds_of(timeout)

    assert repr(timeout) in str(refused.value)


@pytest.mark.parametrize("fd", [0, 7, Pipe(0), Pipe(7)], ids=["0", "7", "of 0", "of 7"])
def test_a_descriptor_is_a_number_or_has_one(fd: Any) -> None:
    """As select(2) has it in Python: an int, or an object with ``fileno()``."""
    assert descriptor_number(fd) in (0, 7)
    assert descriptor_number(fd) == (fd if isinstance(fd, int) else fd.fileno())


@pytest.mark.parametrize("fd", [-1, Pipe(-1)], ids=["-1", "of -1"])
def test_a_negative_descriptor_is_refused(fd: Any) -> None:
    """That is what a closed socket has."""
    with pytest.raises(ValueError, match="negative or closed"):
        descriptor_number(fd)


def test_a_closed_socket_is_refused() -> None:
    """Its number is another's by now, or nobody's."""
    closed = socket.socket()
    closed.close()

    with pytest.raises(ValueError, match="negative or closed"):
        descriptor_number(closed)


@pytest.mark.parametrize("fd", [None, "0", 1.0, b"", []], ids=repr)
def test_what_has_no_descriptor_is_refused(fd: Any) -> None:
    """The message shows the value and its type."""
    with pytest.raises(TypeError) as refused:
        descriptor_number(fd)

    assert repr(fd) in str(refused.value)
    assert type(fd).__name__ in str(refused.value)
