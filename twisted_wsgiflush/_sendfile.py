"""
Which files the kernel sends by itself, and how: ``sendfile(2)``.

In which frame they are sent, and how much of them, is decided as for other blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BufferedRandom, BufferedReader, FileIO
from socket import socket
from stat import S_ISREG
from typing import TypeAlias, final

from ._filewrapper import FileLike, FileWrapper
from .errors import BodyTooShort

# The most bytes of a block: after some of them others have their turn.
BLOCK = 1 << 20

# What is no more than this is read: its head goes with it then.  So are the files of
# sysfs and procfs, which do not have what they say they have.
SMALL = 65536

# Bytes to read at a time where the kernel cannot send by itself.
READ = 65536

_File: TypeAlias = BufferedReader | BufferedRandom | FileIO


def blocks_of(wrapper: FileWrapper) -> Iterator[bytes] | FileBlocks:
    """
    Give what to iterate over, to send a file from where it stands.

    :returns: blocks for the kernel to send, of what the file has now; or the wrapper,
        where the file is to be read.
    """
    file = _open_file(wrapper.filelike)
    if file is None or not hasattr(os, "sendfile"):
        return wrapper
    try:
        file.flush()  # What was written to it may not be in there yet.
        status = os.fstat(file.fileno())
        start, readable = file.tell(), file.readable()
    except (OSError, ValueError):  # To read it will raise that, too.
        return wrapper
    if not readable or not S_ISREG(status.st_mode) or status.st_size - start <= SMALL:
        return wrapper
    return FileBlocks(file, start, status.st_size)


def _open_file(file: FileLike) -> _File | None:
    # Exactly what open() gives: any other class may make of a file what it likes.
    if type(file) is FileIO:
        return file
    if type(file) is BufferedReader or type(file) is BufferedRandom:
        return file if type(file.raw) is FileIO else None
    return None


@final
class FileBlocks:
    """
    A part of a file, which gives one block of it after the other to ``next``.

    Ask for a block when the last one is with the kernel.

    :param start: the offset of its first byte.
    :param end: the offset behind its last.
    """

    def __init__(self, file: _File, start: int, end: int) -> None:
        self._file = file
        self._start = start
        self._end = end
        self._by_kernel = True
        self._error: Exception | None = None

    def __next__(self) -> FileBlock:
        """
        Give the next block.

        :raises BodyTooShort: when the file had no more, before the last one's end.
        :raises OSError: when it could not be read.
        :raises ValueError: when it was closed.
        """
        if self._error is not None:
            raise self._error
        size = min(self._end - self._start, BLOCK)
        if not size:
            raise StopIteration
        block = FileBlock(self, self._start, size)
        self._start += size
        return block

    def send(self, connection: socket, offset: int, size: int) -> int:
        """As :meth:`FileBlock.send`."""
        try:
            # Asked for anew: once this is closed, the number is another file's.
            descriptor = self._file.fileno()
            if self._by_kernel:
                sent = _sendfile(connection, descriptor, offset, size)
                if sent:
                    return sent
                self._by_kernel = False
            data = os.pread(descriptor, min(size, READ), offset)
            if not data:
                raise BodyTooShort(
                    f"the file ends at {offset} bytes, and had {self._end} when its "
                    f"sending began"
                )
        except BlockingIOError:
            raise
        except (OSError, ValueError, BodyTooShort) as error:
            self._error = error
            raise EOFError from None
        return connection.send(data)


@final
class FileBlock:
    """
    A block of a response that is in a file still.

    Its length is that of what is not with the kernel.
    """

    __slots__ = ("_blocks", "_offset", "_size")

    def __init__(self, blocks: FileBlocks, offset: int, size: int) -> None:
        self._blocks = blocks
        self._offset = offset
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> FileBlock:
        """Give the first bytes of it, as ``block[:size]``."""
        return FileBlock(self._blocks, self._offset, part.stop)

    def send(self, connection: socket) -> None:
        """
        Hand to the kernel what it takes.

        :raises BlockingIOError: when that is nothing.
        :raises OSError: when the connection is lost.
        :raises EOFError: when there is no more in the file, or it is closed.
        """
        sent = self._blocks.send(connection, self._offset, self._size)
        self._offset += sent
        self._size -= sent


Block: TypeAlias = bytes | FileBlock


def _sendfile(connection: socket, descriptor: int, offset: int, size: int) -> int:
    try:
        return os.sendfile(connection.fileno(), descriptor, offset, size)
    except BlockingIOError:
        raise
    except OSError:
        # The file system cannot do it; or the file or the connection is broken, and
        # then to read the one, or to write to the other, will tell.
        return 0
