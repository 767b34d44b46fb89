"""
A request's body that is complete before its request is served: where it is kept.
"""

from __future__ import annotations

from tempfile import SpooledTemporaryFile
from typing import Any

from ._input import InputStream
from ._rules import Refused

# Bytes that are kept in memory; a larger body is in a temporary file, and only there.
IN_MEMORY = 65536


class Body:
    """
    A body that comes block by block.

    :param limit: bytes, None for none.
    """

    def __init__(self, limit: int | None) -> None:
        self.size = 0
        """Bytes of it that have come."""
        self._limit = limit
        self._file: Any = SpooledTemporaryFile(max_size=IN_MEMORY)

    def write(self, block: bytes) -> None:
        """
        Keep a block.

        :raises Refused: when there are too many bytes.
        :raises OSError: when there is no room for them.
        """
        self.size += len(block)
        check_size(self.size, self._limit)
        self._file.write(block)

    def input(self) -> InputStream:
        """What the application reads, when all of it has come."""
        self._file.seek(0)
        return InputStream(self._file, self.size)

    def close(self) -> None:
        """Forget it."""
        self._file.close()


def check_size(size: int, limit: int | None) -> None:
    """
    Look at the bytes that a body has, or will have.

    :raises Refused: when they are too many.
    """
    if limit is not None and size > limit:
        # RFC 9110, 15.5.14.
        raise Refused(413, f"The body must not have more than {limit} bytes.")
