"""
What the extensions take for a timeout and for a descriptor.
"""

from __future__ import annotations

from math import inf
from typing import Protocol

# Seconds that a timeout has at most, some 300 years.  A reactor counts in floats,
# which an int may be too large for.
LONGEST = 10**10


class HasFileno(Protocol):
    """What has a descriptor."""

    def fileno(self) -> int:
        """The descriptor."""


def seconds_of_milliseconds(timeout: object) -> float | None:
    """
    A timeout of ``suspend``, in seconds; None for none.

    :param timeout: whole milliseconds or None; more than the longest is the longest.
    :raises TypeError: for another type.
    :raises ValueError: for a negative number.
    """
    if timeout is None:
        return None
    if not isinstance(timeout, int) or isinstance(timeout, bool):
        raise TypeError(
            f"timeout must be whole milliseconds (int) or None, "
            f"not {timeout!r} ({type(timeout).__name__})"
        )
    if timeout < 0:
        raise ValueError(f"timeout must not be negative: {timeout!r} ms")
    return min(timeout, LONGEST * 1000) / 1000


def seconds_of(timeout: object) -> float | None:
    """
    A timeout of ``fdevent``, checked; None for none.

    :param timeout: seconds or None; more than the longest is the longest.
    :raises TypeError: for another type.
    :raises ValueError: for one that is negative or not finite.
    """
    if timeout is None:
        return None
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool):
        raise TypeError(
            f"timeout must be seconds (a number) or None, "
            f"not {timeout!r} ({type(timeout).__name__})"
        )
    if not 0 <= timeout < inf:
        raise ValueError(f"timeout must be finite and not negative: {timeout!r} s")
    return min(timeout, LONGEST)


def descriptor_number(fd: int | HasFileno) -> int:
    """
    The number of a descriptor.

    :param fd: a number, or what has ``fileno()``.
    :raises TypeError: for what is neither.
    :raises ValueError: for a negative number.
    """
    if isinstance(fd, int):
        number = fd
    elif hasattr(fd, "fileno"):
        number = fd.fileno()
    else:
        raise TypeError(
            f"fd must be an int or have fileno(), not {fd!r} ({type(fd).__name__})"
        )
    if number < 0:
        raise ValueError(f"a descriptor must not be negative or closed: {fd!r}")
    return number
