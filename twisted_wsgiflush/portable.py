"""
The extensions on any other WSGI server, by blocking.

Middleware.  Where the server has the extensions it steps aside.  Elsewhere there are
two threads, of which one waits for the other.  What is the application's runs in a
reactor's thread, as under this package's container: what it awaits is fired, and
nothing of it ever runs in two threads at once.  What is the server's runs in the
server's thread: it waits while the application is suspended, and for its client.
"""

from __future__ import annotations

import enum
import os
import queue
import select
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import quote
from wsgiref.util import FileWrapper

from ._arguments import (
    HasFileno,
    descriptor_number,
    seconds_of,
    seconds_of_milliseconds,
)
from ._reactorthread import running_reactor
from ._waits import DescriptorWait, Suspension, Truth, Wait
from .errors import (
    AlreadyStarted,
    AlreadySuspended,
    ResponseError,
    StartResponseMissing,
)
from .validation import not_modified

_EXHAUSTED = object()

# From how many bytes on a request's body is kept in a file.
_MUCH = 1 << 20


def portable(app: Callable[..., Any]) -> Callable[..., Any]:
    """
    Make an application that uses the extensions run on any WSGI server.

    What the server has not, this provides: ``flush`` validates and sends the head;
    a suspension holds the server's thread; empty blocks are not passed on; the
    request's body is complete when the application is called.  A reactor is started
    in a thread of its own, unless one runs.

    :raises ~twisted_wsgiflush.errors.CannotBlock: in the application's call, see there.
    """

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if "x-wsgiorg.suspend" in environ:
            return app(environ, start_response)
        return _Blocking(app, environ, start_response)

    return application


class _State(enum.Enum):
    OPEN = "the status and headers may still be replaced"
    COMMITTED = "they are the client's"
    COMPLETE = "and there is no body for it, or none any more"
    OVER = "nothing is wanted any more"


class _Blocking:
    """One request: the iterable that the server gets, and the extensions."""

    def __init__(
        self, app: Callable[..., Any], environ: dict[str, Any], start_response: Any
    ) -> None:
        self._reactor = running_reactor()
        self._context = copy_context()
        self._server_start_response = start_response
        self._server_write: Callable[[bytes], object] | None = None
        # Blocks for the server's thread to write; at the end of each piece of the
        # application's work, that.
        self._written: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._state = _State.OPEN
        self._head: tuple[str, list[tuple[str, str]]] | None = None
        self._due: Wait | None = None
        self._suspend_status = Truth()
        self._fdevent_timeout = Truth()
        self._app_iter: Any = ()
        self._iterator: Iterator[bytes] | None = None
        self._input = _complete_input(environ)
        self._environ = self._provided(environ)
        try:
            self._ask(self._call, app)
        except ResponseError as error:
            self._replace(error)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while self._state in (_State.OPEN, _State.COMMITTED):
            try:
                block = self._ask(self._next)
            except ResponseError as error:
                self._replace(error)
                continue
            if block is _EXHAUSTED:
                break
            if block:
                self._commit()
                if self._state is _State.COMMITTED:
                    self._begin()
                    return block  # type: ignore[no-any-return]  # the server checks it
            elif self._due is not None:
                due, self._due = self._due, None
                due.wait()
        self._commit()
        write = self._begin()
        if self._state is _State.COMPLETE:
            # Or a server might add the length of a body that is empty.
            write(b"")
        raise StopIteration

    def close(self) -> None:
        """The response is over, or the server will have no more of it."""
        self._state = _State.OVER
        try:
            self._drop()
        finally:
            self._input.close()

    # What the application finds in environ.

    def _provided(self, environ: dict[str, Any]) -> dict[str, Any]:
        target = quote(
            environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
            safe="/;=,@:!$&'()*+~",
            encoding="latin-1",
        )
        if environ.get("QUERY_STRING"):
            target += "?" + environ["QUERY_STRING"]
        return {
            "RAW_URI": environ.get("REQUEST_URI", target),
            "REQUEST_URI": environ.get("RAW_URI", target),
            "wsgi.file_wrapper": FileWrapper,
            **environ,
            "CONTENT_LENGTH": environ.get("CONTENT_LENGTH") or _size(self._input),
            "twisted.reactor": self._reactor,
            "wsgi.asynchronous": True,
            "wsgi.input": self._input,
            "wsgi.input_terminated": True,
            "wsgi.multithread": False,
            "wsgi.pause_output": self._pause_output,
            "wsgi.response_error": ResponseError,
            "x-wsgiorg.flush": self._flush,
            "x-wsgiorg.suspend": self._suspend,
            "x-wsgiorg.suspend_status": self._suspend_status,
            "x-wsgiorg.fdevent.readable": self._readable,
            "x-wsgiorg.fdevent.writable": self._writable,
            "x-wsgiorg.fdevent.timeout": self._fdevent_timeout,
        }

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        try:
            if exc_info is None and self._head is not None:
                raise AlreadyStarted("start_response was called again without exc_info")
            if exc_info is not None and self._state is not _State.OPEN:
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            exc_info = None
        self._head = (status, headers)
        return self._write

    def _write(self, block: bytes) -> None:
        if self._state is not _State.OVER:
            self._commit()
            self._written.put(block if self._state is _State.COMMITTED else b"")

    def _flush(self) -> bytes:
        if self._state is _State.OPEN and self._head is not None:
            fresh = not_modified(*self._head, self._environ)
            if fresh is not None:
                self._head = ("304 Not Modified", fresh)
        # PEP 3333 has servers send the head with the first write.
        self._write(b"")
        return b""

    def _suspend(self, timeout: int | None = None) -> Callable[[], bool]:
        suspension = Suspension(seconds_of_milliseconds(timeout), self._suspend_status)
        self._make_due(suspension)
        return suspension.resume

    def _pause_output(self) -> Callable[[], bool]:
        return self._suspend()

    def _readable(self, fd: int | HasFileno, timeout: float | None = None) -> bytes:
        return self._wait_for(fd, select.POLLIN, timeout)

    def _writable(self, fd: int | HasFileno, timeout: float | None = None) -> bytes:
        return self._wait_for(fd, select.POLLOUT, timeout)

    def _wait_for(
        self, fd: int | HasFileno, event: int, timeout: float | None
    ) -> bytes:
        if self._state is not _State.OVER:
            number = descriptor_number(fd)
            os.fstat(number)  # An OSError for one that is not open.
            seconds = seconds_of(timeout)
            self._make_due(
                DescriptorWait(number, event, seconds, self._fdevent_timeout)
            )
        return b""

    def _make_due(self, wait: Wait) -> None:
        if self._state is _State.OVER:
            wait.abandon()
            return
        if self._due is not None:
            raise AlreadySuspended(
                "the application is to be suspended at its next empty block already; "
                "yield that before it asks again"
            )
        self._due = wait

    # The response.

    def _commit(self) -> None:
        """The status and headers are those of now."""
        if self._state is not _State.OPEN:
            return
        if self._head is None:
            raise StartResponseMissing(
                "the application gave a body, or its end, before it called "
                "start_response"
            )
        # RFC 9110, 6.4.1.  There are servers that leave this to the application.
        code = self._head[0][:3]
        bodiless = code in ("204", "304") or self._environ["REQUEST_METHOD"] == "HEAD"
        self._state = _State.COMPLETE if bodiless else _State.COMMITTED

    def _begin(self) -> Callable[[bytes], object]:
        """In the server's thread: give it the status and headers, once."""
        if self._server_write is None:
            assert self._head is not None  # It is committed.
            self._server_write = self._server_start_response(*self._head)
        return self._server_write

    def _replace(self, error: ResponseError) -> None:
        """Give the response that the application has raised, if there is time."""
        if self._state is not _State.OPEN:
            raise error
        self._drop()
        headers = list(error.headers)
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers.append(("Content-Length", str(len(error.body))))
        self._head = (error.status, headers)
        self._app_iter = [error.body]

    def _drop(self) -> None:
        """Be done with the application's iterable, and with what is due."""
        app_iter, self._app_iter, self._iterator = self._app_iter, (), None
        due, self._due = self._due, None
        if due is not None:
            due.abandon()
        if hasattr(app_iter, "close"):
            self._ask(app_iter.close)

    def _call(self, app: Callable[..., Any]) -> None:
        self._app_iter = app(self._environ, self._start_response)

    def _next(self) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._app_iter)
        return next(self._iterator, _EXHAUSTED)

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """
        Run a piece of the application in the reactor's thread.

        Meanwhile this thread writes what the application writes, and waits.
        """
        work: Future[Any] = Future()
        self._reactor.callFromThread(self._work, work, function, arguments)
        failed: Exception | None = None
        while (block := self._written.get()) is not work:
            if failed is None:
                try:
                    self._begin()(block)
                except Exception as error:
                    # Of the server.  The application has not come to its end yet.
                    failed = error
        if failed is not None:
            raise failed
        return work.result()

    def _work(
        self, work: Future[Any], function: Callable[..., Any], arguments: Any
    ) -> None:
        try:
            work.set_result(self._context.run(function, *arguments))
        except BaseException as error:
            work.set_exception(error)
        self._written.put(work)


def _complete_input(environ: dict[str, Any]) -> IO[bytes]:
    """
    The request's body, all of it: the application reads it in the reactor's thread,
    where nobody should wait for a client; and ends where a server's own might wait.
    """
    body = SpooledTemporaryFile(max_size=_MUCH)  # noqa: SIM115  # by the caller
    stated = environ.get("CONTENT_LENGTH") or ""
    left = sys.maxsize if environ.get("wsgi.input_terminated") else 0
    if stated.isdecimal():
        left = int(stated)
    while block := environ["wsgi.input"].read(min(left, 65536)) if left else b"":
        body.write(block)
        left -= len(block)
    body.seek(0)
    return body


def _size(body: IO[bytes]) -> str:
    size = body.seek(0, os.SEEK_END)
    body.seek(0)
    return str(size) if size else ""
