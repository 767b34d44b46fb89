"""
``wsgi.file_wrapper``: a file as a response body.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class FileLike(Protocol):
    """What PEP 3333 asks of a file to wrap; it may have ``close()``, too."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, none at the end."""


class FileWrapper:
    """
    Iterates over a file in blocks (PEP 3333, "Optional Platform-Specific File
    Handling").

    A block is read only when the client has taken the ones before, so a large file
    costs no more memory than one block.

    :param filelike: is read from where it stands, and closed if it can be.
    :param block_size: the bytes to read at a time.
    """

    def __init__(self, filelike: FileLike, block_size: int = 65536) -> None:
        self.filelike = filelike
        self.block_size = block_size

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = self.filelike.read(self.block_size)
        if not block:
            raise StopIteration
        return block

    def close(self) -> None:
        """Close the file, if it has a ``close`` method."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()
