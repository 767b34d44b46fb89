"""
The extensions on any other WSGI server, by blocking.

Middleware.  Where the server has the extensions it steps aside.  Elsewhere the
server's thread waits while the application is suspended; the application itself runs
in a reactor's thread, as under this package's container, so that what it awaits is
fired, and nothing of it ever runs in two threads at once.
"""

from __future__ import annotations

import atexit
import os
import select
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote
from wsgiref.util import FileWrapper

from twisted.internet.threads import blockingCallFromThread
from twisted.python.threadable import isInIOThread

from ._arguments import (
    HasFileno,
    descriptor_number,
    seconds_of,
    seconds_of_milliseconds,
)
from .errors import (
    AlreadyStarted,
    AlreadySuspended,
    ResponseError,
    StartResponseMissing,
    WSGIFlushError,
)
from .validation import not_modified

__all__ = ["CannotBlock", "portable"]

_EXHAUSTED = object()


class CannotBlock(WSGIFlushError):
    """
    A server without the extensions called the application in the reactor's thread,
    where waiting would stop what is waited for; use this package's container there.
    """


def portable(app: Callable[..., Any]) -> Callable[..., Any]:
    """
    Make an application that uses the extensions run on any WSGI server.

    What the server has not, this provides: ``flush`` validates and sends the head;
    a suspension holds the server's thread; empty blocks are not passed on.  A reactor
    is started in a thread of its own, unless one runs.

    :raises CannotBlock: in the application's call, see there.
    """

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if "x-wsgiorg.suspend" in environ:
            return app(environ, start_response)
        return _Blocking(app, environ, start_response)

    return application


class _Wait(Protocol):
    def wait(self) -> None:
        """Hold the server's thread until the suspension is over."""


class _Status:
    """A truth value that changes."""

    def __init__(self) -> None:
        self.value = False

    def __bool__(self) -> bool:
        return self.value


class _Suspension:
    def __init__(self, timeout: float | None, status: _Status) -> None:
        self._timeout = timeout
        self._status = status
        self._resumed = threading.Event()
        self._over = False
        self._lock = threading.Lock()

    def resume(self) -> bool:
        """In any thread: the application goes on; whether this call made it."""
        if not self._end(resumed=True):
            return False
        self._resumed.set()
        return True

    def wait(self) -> None:
        """Until it is resumed or timed out."""
        if not self._resumed.wait(self._timeout):
            self._end(resumed=False)

    def _end(self, *, resumed: bool) -> bool:
        with self._lock:
            if self._over:
                return False
            self._over = True
            self._status.value = resumed
            return True


class _DescriptorWait:
    def __init__(
        self, number: int, event: int, timeout: float | None, timed_out: _Status
    ) -> None:
        self._poll = select.poll()
        self._poll.register(number, event)
        self._timeout = timeout
        self._timed_out = timed_out

    def wait(self) -> None:
        """Until the descriptor is ready, in error, closed, or time is out."""
        milliseconds = None if self._timeout is None else self._timeout * 1000
        self._timed_out.value = not self._poll.poll(milliseconds)


class _Blocking:
    """One request: the iterable that the server gets, and the extensions."""

    def __init__(
        self, app: Callable[..., Any], environ: dict[str, Any], start_response: Any
    ) -> None:
        self._reactor = _running_reactor()
        self._context = copy_context()
        self._server_start_response = start_response
        self._environ = environ
        self._head: tuple[str, list[tuple[str, str]]] | None = None
        self._server_write: Callable[[bytes], object] | None = None
        self._complete = False
        self._over = False
        self._due: _Wait | None = None
        self._status = _Status()
        self._timed_out = _Status()
        self._app_iter: Any = ()
        self._iterator: Iterator[bytes] | None = None
        self._app_iter = self._guarded(app, self._provide(), self._start_response)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while not self._complete:
            block = self._guarded(self._next)
            if block is _EXHAUSTED or self._complete:
                break
            if block:
                self._send_head()
                return block  # type: ignore[no-any-return]  # the server checks it
            if self._due is not None:
                due, self._due = self._due, None
                due.wait()
        self._send_head()
        raise StopIteration

    def close(self) -> None:
        """The response is over, or the server will have no more of it."""
        self._over = True
        app_iter, self._app_iter, self._iterator = self._app_iter, (), None
        if hasattr(app_iter, "close"):
            self._in_reactor(app_iter.close)

    def _provide(self) -> dict[str, Any]:
        environ = self._environ
        target = quote(
            environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
            safe="/;=,@:!$&'()*+~",
            encoding="latin-1",
        )
        if environ.get("QUERY_STRING"):
            target += "?" + environ["QUERY_STRING"]
        provided = {
            "RAW_URI": environ.get("REQUEST_URI", target),
            "REQUEST_URI": environ.get("RAW_URI", target),
            "wsgi.file_wrapper": FileWrapper,
            **environ,
            "twisted.reactor": self._reactor,
            "wsgi.asynchronous": False,
            "wsgi.multithread": False,
            "wsgi.pause_output": self._suspend,
            "wsgi.response_error": ResponseError,
            "x-wsgiorg.flush": self._flush,
            "x-wsgiorg.suspend": self._suspend,
            "x-wsgiorg.suspend_status": self._status,
            "x-wsgiorg.fdevent.readable": self._readable,
            "x-wsgiorg.fdevent.writable": self._writable,
            "x-wsgiorg.fdevent.timeout": self._timed_out,
        }
        if not environ.get("wsgi.input_terminated"):
            length = int(environ.get("CONTENT_LENGTH") or 0)
            provided["wsgi.input"] = _TerminatedInput(environ["wsgi.input"], length)
            provided["wsgi.input_terminated"] = True
        return provided

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        try:
            if exc_info is None and self._head is not None:
                raise AlreadyStarted("start_response was called again without exc_info")
            if exc_info is not None and self._server_write is not None:
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            exc_info = None
        self._head = (status, headers)
        return self._write

    def _write(self, block: bytes) -> None:
        self._send_head()
        if not self._complete:
            assert self._server_write is not None
            self._server_write(block)

    def _send_head(self) -> None:
        if self._server_write is None:
            if self._head is None:
                raise StartResponseMissing(
                    "the application gave a body, or its end, before it called "
                    "start_response"
                )
            self._server_write = self._server_start_response(*self._head)

    def _next(self) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._app_iter)
        return next(self._iterator, _EXHAUSTED)

    def _flush(self) -> bytes:
        if self._over:
            return b""
        if self._server_write is None and self._head is not None:
            fresh = not_modified(*self._head, self._environ)
            if fresh is not None:
                self._head = ("304 Not Modified", fresh)
                self._complete = True
        self._send_head()
        if self._environ["REQUEST_METHOD"] == "HEAD":
            self._complete = True
        if not self._complete:
            # PEP 3333 has servers send the head with the first write.
            assert self._server_write is not None
            self._server_write(b"")
        return b""

    def _suspend(self, timeout: int | None = None) -> Callable[[], bool]:
        suspension = _Suspension(seconds_of_milliseconds(timeout), self._status)
        if self._over:
            suspension.resume()
        else:
            self._make_due(suspension)
        return suspension.resume

    def _readable(self, fd: int | HasFileno, timeout: float | None = None) -> bytes:
        return self._wait_for(fd, select.POLLIN, timeout)

    def _writable(self, fd: int | HasFileno, timeout: float | None = None) -> bytes:
        return self._wait_for(fd, select.POLLOUT, timeout)

    def _wait_for(
        self, fd: int | HasFileno, event: int, timeout: float | None
    ) -> bytes:
        if not self._over:
            number = descriptor_number(fd)
            os.fstat(number)  # An OSError for one that is not open.
            self._make_due(
                _DescriptorWait(number, event, seconds_of(timeout), self._timed_out)
            )
        return b""

    def _make_due(self, wait: _Wait) -> None:
        if self._due is not None:
            raise AlreadySuspended(
                "the application is to be suspended at its next empty block already; "
                "yield that before it asks again"
            )
        self._due = wait

    def _guarded(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run the application; a response that it raises takes the place of its own."""
        try:
            return self._in_reactor(function, *arguments)
        except ResponseError as error:
            if self._server_write is not None:
                raise
            self.close()
            self._over = False
            self._head = (error.status, list(error.headers))
            self._app_iter = self._iterator = iter([error.body])
            return self._app_iter if function is not self._next else b""

    def _in_reactor(self, function: Callable[..., Any], *arguments: Any) -> Any:
        # In a tuple, for a Deferred or coroutine that is returned is not meant for
        # blockingCallFromThread.
        (result,) = blockingCallFromThread(
            self._reactor, lambda: (self._context.run(function, *arguments),)
        )
        return result


class _TerminatedInput:
    """Gives ``b""`` at the end of the body, where a server might wait for more."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream = stream
        self._left = length

    def read(self, size: int | None = -1) -> bytes:
        """At most ``size`` bytes."""
        return self._took(self._stream.read(self._at_most(size)))

    def readline(self, size: int | None = -1) -> bytes:
        """A line, of which at most ``size`` bytes."""
        return self._took(self._stream.readline(self._at_most(size)))

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """The lines that are left."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _at_most(self, size: int | None) -> int:
        return self._left if size is None or size < 0 else min(size, self._left)

    def _took(self, data: bytes) -> bytes:
        self._left -= len(data)
        return data


_starting = threading.Lock()


def _running_reactor() -> Any:
    """The reactor of this process, running."""
    from twisted.internet import reactor

    if isInIOThread():
        raise CannotBlock(
            "a server without x-wsgiorg.suspend called the application in the "
            "reactor's thread; use twisted_wsgiflush.WSGIResource there"
        )
    with _starting:
        if not reactor.running:
            running = threading.Event()
            reactor.callWhenRunning(running.set)
            thread = threading.Thread(
                target=reactor.run,
                kwargs={"installSignalHandlers": False},
                name="reactor",
                daemon=True,
            )
            thread.start()
            running.wait()
            atexit.register(_stop, reactor, thread)
    return reactor


def _stop(reactor: Any, thread: threading.Thread) -> None:
    reactor.callFromThread(reactor.stop)
    thread.join()
