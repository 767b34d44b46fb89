"""
WSGI 2.0 applications, and WSGI 1.0 applications as such.

``application(environ) -> (status, headers, app_iter)``, as P. J. Eby gave it on the
Web-SIG list (2007-10-04).  Middleware on top of ``x-wsgiorg.suspend``.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Generator, Iterable, Iterator
from typing import Any, TypeAlias

from ._awaitable import make_awaitable
from ._steps import dismiss
from .coroutines import blocks_of, is_asynchronous, is_late, pass_on
from .errors import AlreadyStarted, StartResponseMissing

__all__ = ["from_wsgi2", "to_wsgi2"]

Triple: TypeAlias = tuple[
    str, list[tuple[str, str]], Iterable[bytes] | AsyncIterable[bytes]
]


def from_wsgi2(app: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
    """
    Make a WSGI 1.0 application of a WSGI 2.0 application.

    :param app: is called with ``environ`` and returns a triple, or a Deferred or
        coroutine that results in one; the application is suspended meanwhile.  Its
        third item is an iterable as in WSGI 1.0, or an asynchronous one.
    """

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        def begin(triple: Any) -> Any:
            status, headers, app_iter = _checked(triple)
            try:
                start_response(status, headers)
            except BaseException:
                dismiss(app_iter)
                raise
            return app_iter

        make_awaitable(environ)
        result = app(environ)
        if is_late(result):
            return blocks_of(result, environ, begin)
        app_iter = begin(result)
        if is_asynchronous(app_iter):
            return blocks_of(app_iter, environ)
        return app_iter

    return application


def _checked(result: Any) -> Triple:
    if not isinstance(result, tuple) or len(result) != 3:
        raise TypeError(
            f"a WSGI 2.0 application must return (status, headers, app_iter), "
            f"not {result!r} ({type(result).__name__})"
        )
    return result


def to_wsgi2(app: Callable[..., Any]) -> Callable[[dict[str, Any]], Any]:
    """
    Make a WSGI 2.0 application of a WSGI 1.0 application.

    It returns a triple when ``app`` has called ``start_response`` by the time that
    it gives its first block.  Else, ``app`` may be suspended, and what it returns is
    to be awaited and results in a triple; that is for :func:`from_wsgi2` to do.

    What ``app`` passes to ``write`` comes before the blocks of its iterable.
    """

    def application(environ: dict[str, Any]) -> Any:
        response = _Response(environ.get("x-wsgiorg.flush", bytes))
        if "x-wsgiorg.flush" in environ:
            environ = {**environ, "x-wsgiorg.flush": response.flush}
        response.app_iter = app(environ, response.start_response)
        try:
            if response.head is None:
                empty = response.advance()
                if response.head is None:
                    return _Late(response, empty)
            return response.triple()
        except BaseException:
            response.close()
            raise

    return application


class _Late:
    """
    A triple that is not known yet.

    No coroutine, for one that is closed before it was awaited closes nothing.
    """

    def __init__(self, response: _Response, empty: bytes) -> None:
        self._response = response
        self._empty = empty

    def __await__(self) -> Generator[Any, None, Triple]:
        return self._triple().__await__()

    def close(self) -> None:
        """It is not wanted."""
        self._response.close()

    async def _triple(self) -> Triple:
        response, empty = self._response, self._empty
        try:
            while response.head is None:
                await pass_on(empty)
                empty = response.advance()
            return response.triple()
        except BaseException:
            response.close()
            raise


class _Response:
    """What a WSGI 1.0 application gives, in the order that it gives it."""

    def __init__(self, flush: Callable[[], bytes]) -> None:
        self._flush = flush
        self._flush_due = False
        self.head: tuple[str, list[tuple[str, str]]] | None = None
        self.app_iter: Iterable[bytes] = ()
        self._iterator: Iterator[bytes] | None = None
        self._ahead: list[bytes] = []
        self._taken = False
        self._begun = False

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: Any = None,
    ) -> Callable[[bytes], None]:
        """PEP 3333's; the triple, once it is returned, cannot be replaced."""
        try:
            if exc_info is None and self.head is not None:
                raise AlreadyStarted("start_response was called again without exc_info")
            if exc_info is not None and self._taken:
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            exc_info = None
        self.head = (status, headers)
        return self._ahead.append

    def flush(self) -> bytes:
        """``x-wsgiorg.flush``, done when the server has the triple."""
        if self.head is not None and not self._begun:
            self._flush_due = True
            return b""
        return self._flush()

    def triple(self) -> Triple:
        """The status, headers, and this as the iterable."""
        assert self.head is not None
        self._taken = True
        return (*self.head, self)

    def advance(self) -> bytes:
        """
        Ask for a block, and keep it for the iterable.

        :returns: the block.
        :raises StartResponseMissing: when it is not empty, or there is none, and
            ``start_response`` was not called.
        """
        block = next(self._blocks(), None)
        if self.head is None and block != b"":
            raise StartResponseMissing(
                f"the application gave {block!r} before it called start_response"
            )
        if block is None:
            return b""
        if self.head is not None:
            self._ahead.append(block)
        return block

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._begun = True
        if self._flush_due:
            self._flush_due = False
            return self._flush()
        if not self._ahead:
            block = next(self._blocks(), None)
            if block is not None:
                # After what it has written meanwhile.
                self._ahead.append(block)
            if not self._ahead:
                raise StopIteration
        return self._ahead.pop(0)

    def close(self) -> None:
        """Close the application's iterable, once."""
        app_iter, self.app_iter = self.app_iter, ()
        if hasattr(app_iter, "close"):
            app_iter.close()

    def _blocks(self) -> Iterator[bytes]:
        if self._iterator is None:
            self._iterator = iter(self.app_iter)
        return self._iterator
