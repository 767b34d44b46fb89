"""
Applications that wait, what they wait for, and what is sent of them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any

from twisted_wsgiflush._types import Environ
from twisted_wsgiflush.testing import Served

FLUSH = "x-wsgiorg.flush"
PAUSE_OUTPUT = "wsgi.pause_output"
SUSPEND = "x-wsgiorg.suspend"
STATUS = "x-wsgiorg.suspend_status"
READABLE = "x-wsgiorg.fdevent.readable"
WRITABLE = "x-wsgiorg.fdevent.writable"
TIMEOUT = "x-wsgiorg.fdevent.timeout"

LAST_CHUNK = b"0\r\n\r\n"


class Boom(Exception):
    """What the applications here raise."""


class Body:
    """
    What an application returns, which notes what is done with it.

    :param blocks: what is callable is called for one.
    """

    def __init__(self, *blocks: Any) -> None:
        self.done: list[str] = []
        self.blocks: list[Any] = list(blocks)

    def __iter__(self) -> Iterator[bytes]:
        self.done.append("iter")
        return self

    def __next__(self) -> bytes:
        self.done.append("next")
        if not self.blocks:
            raise StopIteration
        block = self.blocks.pop(0)
        given: bytes = block() if callable(block) else block
        return given

    def close(self) -> None:
        self.done.append("close")


class Waiting:
    """
    An application that waits at its first block, and says so when it goes on.

    :param key: of the callable that suspends it.
    :param arguments: for that.
    """

    timed_out: bool

    def __init__(self, key: str = SUSPEND, *arguments: Any) -> None:
        self.environ: Environ = {}
        self.resume: Callable[[], bool] = lambda: False
        self.went_on = False
        self.left = False
        self._key = key
        self._arguments = arguments

    def __call__(
        self, environ: Environ, start_response: Any
    ) -> Generator[bytes, None, None]:
        self.environ = environ
        self.resume = environ[self._key](*self._arguments)
        try:
            yield b""
        except GeneratorExit:
            self.left = True
            raise
        self.went_on = True
        self.timed_out = bool(environ[TIMEOUT])
        start_response("200 OK", [])
        yield b"went on"


class Pair:
    """Two sockets, the one connected to the other."""

    def __init__(self) -> None:
        self.left, self.right = socket.socketpair()
        self.left.setblocking(False)
        self.right.setblocking(False)

    def fill(self) -> None:
        """Leave no room to write on the left."""
        with suppress(BlockingIOError):
            while True:
                self.left.send(b"x" * 65536)

    def empty(self) -> None:
        """Make room to write on the left."""
        with suppress(BlockingIOError):
            while True:
                self.right.recv(65536)

    def close(self) -> None:
        """Close both."""
        self.left.close()
        self.right.close()


def open_descriptors() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/dev/fd"))


def leaves_something(served: Served) -> list[object]:
    """What the reactor still has to do when the client has left."""
    served.leave()
    clock = served.clock
    return [*clock.getDelayedCalls(), *clock.getReaders(), *clock.getWriters()]


def status_of(response: bytes) -> str:
    """The status line."""
    return response.partition(b"\r\n")[0].decode("latin-1")


def fields_of(response: bytes, name: str) -> list[str]:
    """The values of the header fields of this name."""
    lines = response.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    fields = (line.split(": ", 1) for line in lines)
    return [value for field, value in fields if field.lower() == name.lower()]


def body_of(response: bytes) -> bytes:
    """What comes after the head."""
    return response.partition(b"\r\n\r\n")[2]


def chunks(*blocks: bytes) -> bytes:
    """The blocks as HTTP/1.1 sends them, but for the last chunk."""
    return b"".join(b"%x\r\n%s\r\n" % (len(block), block) for block in blocks)
