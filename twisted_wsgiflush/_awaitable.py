"""
Input that can be awaited: the same coroutine for a body that is complete and for one
that still arrives.

It decides what a read gives that may be awaited.  It knows no container; what waits
for a body is in ``_streamedinput``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Protocol

# How much a read gives that names no size and is not for all.
BLOCK = 65536


class Reader(Protocol):
    """What PEP 3333 wants of an input stream ("Input and Error Streams")."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes."""

    def readline(self, size: int = -1, /) -> bytes:
        """A line, of which at most ``size`` bytes."""

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        """The lines that are left."""

    def __iter__(self) -> Iterator[bytes]:
        """The lines that are left."""


class AwaitableBytes(bytes):
    """
    What was read at once; awaited, what reading gives to who waits.

    Await it where it is read, once.
    """

    # Gives what is awaited; None when that is here.
    wait: Callable[[], Awaitable[bytes]] | None = None

    def __await__(self) -> Generator[Any, Any, bytes]:
        if self.wait is None:
            return self
        return (yield from self.wait().__await__())

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        # A copy, such as a pickle, is of the bytes.
        return bytes, (bytes(self),)


class AwaitableReads:
    """An input stream all of whose reads can be awaited."""

    __slots__ = ()


class Blocks:
    """Input that gives its blocks to ``await`` and ``async for``, without waiting."""

    __slots__ = ()

    if TYPE_CHECKING:

        def read(self, size: int | None = -1) -> bytes:
            """At most ``size`` bytes."""

    def __await__(self) -> Generator[Any, Any, bytes]:
        """The next block, of at most 64 KiB; ``b""`` at the end."""
        yield from ()
        return self.read(BLOCK)

    def __aiter__(self) -> Blocks:
        """The blocks that are left."""
        return self

    async def __anext__(self) -> bytes:
        block = self.read(BLOCK)
        if not block:
            raise StopAsyncIteration
        return block


class AwaitableInput(Blocks, AwaitableReads):
    """
    A body that is complete, for coroutines that await what they read.

    :param body: what gives it, of this package or any other.
    """

    __slots__ = ("_body",)

    def __init__(self, body: Reader) -> None:
        self._body = body

    def read(self, size: int | None = -1) -> AwaitableBytes:
        """At most ``size`` bytes; all that are left for a negative one or None."""
        return AwaitableBytes(self._body.read(-1 if size is None else size))

    def readline(self, size: int | None = -1) -> AwaitableBytes:
        """A line, of which at most ``size`` bytes."""
        return AwaitableBytes(self._body.readline(-1 if size is None else size))

    def __iter__(self) -> Iterator[bytes]:
        """The lines that are left."""
        return iter(self._body)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


def make_awaitable(environ: dict[str, Any]) -> None:
    """
    Have all reads from ``wsgi.input`` be such that they can be awaited.

    :param environ: is changed, unless they can already.
    """
    body = environ.get("wsgi.input")
    if body is not None and not isinstance(body, AwaitableReads):
        environ["wsgi.input"] = AwaitableInput(body)
