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
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import quote
from wsgiref.util import FileWrapper

from ._begun import begun
from ._extensions import Extensions, constants
from ._input import InputStream
from ._pauses import Pauses
from ._reactorthread import running_reactor
from ._types import Environ, ExcInfo, Headers, StartResponse, WSGIApplication
from ._validation import Freshness, conditions_of
from .errors import AlreadyStarted, ResponseError, StartResponseMissing

__all__ = ["portable"]

_EXHAUSTED = object()

# From how many bytes on a request's body is kept in a file.
_MUCH = 1 << 20


def portable(app: WSGIApplication) -> WSGIApplication:
    """
    Make an application that uses the extensions run on any WSGI server.

    What the server has not, this provides: ``flush`` validates and sends the head;
    a suspension holds the server's thread; empty blocks are not passed on; the
    request's body is complete when the application is called.  A reactor is started
    in a thread of its own, unless one runs.

    :raises ~twisted_wsgiflush.errors.CannotBlock: in the application's call, see there.
    """

    def application(environ: Environ, start_response: StartResponse) -> Any:
        if "x-wsgiorg.suspend" in environ:
            return app(environ, start_response)
        return _Blocking(app, environ, start_response)

    return application


class _State(enum.Enum):
    OPEN = "the status and headers may still be replaced"
    COMMITTED = "they are the client's"
    ENOUGH = "and there is no body for it, or none any more"
    OVER = "nothing is wanted any more"


class _Response:
    """
    What the application says of its response, in the reactor's thread.

    :param head_only: whether the request's method is HEAD.
    :param write: gives a block to the server's thread.
    """

    def __init__(self, write: Callable[[bytes], None], *, head_only: bool) -> None:
        self.state = _State.OPEN
        self.head: tuple[str, Headers] | None = None
        self._server_write = write
        self._head_only = head_only

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return self.state is _State.OVER

    @property
    def has_enough(self) -> bool:
        """Whether no block is wanted."""
        return self.state is _State.ENOUGH

    def start_response(
        self, status: str, headers: Headers, exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """
        Set the status and headers.

        :raises AlreadyStarted: when called twice without ``exc_info``.

        With ``exc_info`` and the headers committed it raises what is in there.
        """
        try:
            if not exc_info and self.head is not None:
                raise AlreadyStarted("start_response was called again without exc_info")
            if exc_info and self.state is not _State.OPEN:
                assert exc_info[1] is not None
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            exc_info = None
        # Servers add to the list that they are given; this one is the application's.
        self.head = (status, list(headers))
        return self.write

    def settle(self) -> None:
        """
        The status and headers are those of now.

        :raises StartResponseMissing: when there are none.
        """
        if self.state is not _State.OPEN:
            return
        if self.head is None:
            raise StartResponseMissing(
                "the application gave a body, or its end, before it called "
                "start_response"
            )
        # RFC 9110, 6.4.1.  There are servers that leave this to the application.
        bodiless = self._head_only or self.head[0][:3] in ("204", "304")
        self.state = _State.ENOUGH if bodiless else _State.COMMITTED

    def write(self, block: bytes) -> None:
        """
        Send a block, after the status and headers.

        :raises StartResponseMissing: when there are none.
        """
        if not self.over:
            self.settle()
            self._server_write(block if self.state is _State.COMMITTED else b"")

    def commit(self, fresh: Freshness | None = None) -> None:
        """
        Send the status and headers, if they are not sent yet.

        :param fresh: is asked for the headers of a 304 to send in place of them.
        :raises StartResponseMissing: when there are none.
        """
        if fresh is not None and self.state is _State.OPEN and self.head is not None:
            headers = fresh(*self.head)
            if headers is not None:
                self.head = ("304 Not Modified", headers)
        # PEP 3333 has servers send the head with the first write.
        self.write(b"")


class _Blocking:
    """
    One request: the iterable that the server gets, and has in its own thread.

    What has to do with the application happens in the reactor's thread, when the
    server's asks for it and waits.
    """

    _extensions: Extensions

    def __init__(
        self, app: WSGIApplication, environ: Environ, start_response: StartResponse
    ) -> None:
        self._reactor = running_reactor()
        self._context = copy_context()
        self._server_start_response = start_response
        self._server_write: Callable[[bytes], object] | None = None
        # Blocks for the server's thread to write; at the end of each piece of the
        # application's work, that.
        self._written: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._response = _Response(
            self._written.put, head_only=environ["REQUEST_METHOD"] == "HEAD"
        )
        self._pauses = Pauses(self._go_on)
        # A piece of work that is done, but for its suspension.
        self._suspended: Future[Any] | None = None
        self._app_iter: Any = ()
        self._iterator: Iterator[bytes] | None = None
        self._begun: list[Callable[[], object]] = []
        self._input = _complete_input(environ)
        try:
            try:
                self._ask(self._call, app, self._provided(environ))
            except ResponseError as error:
                self._replace(error)
        except BaseException:
            self.close()  # The server has nothing that it could close.
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while self._response.state in (_State.OPEN, _State.COMMITTED):
            try:
                block = self._ask(self._next)
            except ResponseError as error:
                self._replace(error)
                continue
            if block is _EXHAUSTED:
                break
            if block and self._response.state is _State.COMMITTED:
                self._begin()
                return block  # type: ignore[no-any-return]  # the server checks it
        write = self._begin()
        if self._response.has_enough:
            # Or a server might add the length of a body that is empty.
            write(b"")
        raise StopIteration

    def close(self) -> None:
        """The response is over, or the server will have no more of it."""
        self._response.state = _State.OVER
        try:
            self._ask(self._end)
        finally:
            self._input.close()

    def _provided(self, environ: Environ) -> Environ:
        """What the application finds in environ, but for the extensions."""
        size = _size(self._input)
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
            # PEP 3333, "environ Variables": a server may leave out what is empty.
            "SCRIPT_NAME": "",
            "PATH_INFO": "",
            "QUERY_STRING": "",
            "CONTENT_TYPE": "",
            **environ,
            "CONTENT_LENGTH": environ.get("CONTENT_LENGTH") or str(size or ""),
            "wsgi.input": InputStream(self._input, size),
            "wsgi.input_terminated": True,
            "wsgi.multithread": False,
            **constants(self._reactor),
        }

    # In the reactor's thread.

    def _call(self, app: WSGIApplication, environ: Environ) -> None:
        begun.set(self._begun)
        self._extensions = Extensions(
            self._reactor, self._response, environ, conditions_of(environ)
        )
        self._app_iter = app(environ, self._response.start_response)

    def _next(self) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._app_iter)
        block = next(self._iterator, _EXHAUSTED)
        if block:
            self._response.settle()
        elif not self._response.has_enough:
            self._extensions.empty_block(self._pauses)
        return block

    def _end(self) -> None:
        """Be done with the application's iterable, and with what is due."""
        app_iter, self._app_iter, self._iterator = self._app_iter, (), None
        begun_before = self._begun[:]  # What close() begins is not in there.
        try:
            self._extensions.end()
        finally:
            self._pauses.end()
            try:
                if hasattr(app_iter, "close"):
                    app_iter.close()
            finally:
                for cancel in begun_before:
                    cancel()

    def _work(
        self, work: Future[Any], function: Callable[..., Any], arguments: Any
    ) -> None:
        try:
            work.set_result(self._context.run(function, *arguments))
        except BaseException as error:
            work.set_exception(error)
            self._written.put(work)
        else:
            self._suspended = work
            if not self._pauses:
                self._go_on()

    def _go_on(self) -> None:
        """The application is not suspended, or no longer."""
        work, self._suspended = self._suspended, None
        if work is not None:
            self._written.put(work)

    # In the server's thread.

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """
        Have a piece of the application's work done, and wait until it goes on.

        Meanwhile this thread writes what the application writes.
        """
        work: Future[Any] = Future()
        self._reactor.callFromThread(self._work, work, function, arguments)
        failed: Exception | None = None
        while (block := self._written.get()) is not work:
            if not self._response.over:
                try:
                    self._begin()(block)
                except Exception as error:
                    # Of the server: there is nobody to wait for any longer.  The
                    # application has not come to the end of this piece yet.
                    failed = error
                    self._response.state = _State.OVER
                    self._reactor.callFromThread(self._extensions.end)
        if failed is not None:
            raise failed
        return work.result()

    def _begin(self) -> Callable[[bytes], object]:
        """Give the server the status and headers, once."""
        if self._server_write is None:
            assert self._response.head is not None  # It is settled.
            self._server_write = self._server_start_response(*self._response.head)
        return self._server_write

    def _replace(self, error: ResponseError) -> None:
        """Give the response that the application has raised, if there is time."""
        if self._response.state is not _State.OPEN:
            raise error
        headers = list(error.headers)
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers.append(("Content-Length", str(len(error.body))))
        self._response.head = (error.status, headers)
        self._ask(self._end)
        self._app_iter = [error.body]


def _complete_input(environ: Environ) -> IO[bytes]:
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


def _size(body: IO[bytes]) -> int:
    size = body.seek(0, os.SEEK_END)
    body.seek(0)
    return size
