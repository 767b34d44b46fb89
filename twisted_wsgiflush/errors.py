"""
The exceptions of this package, by whose fault it is.

What a client does wrong is answered over HTTP and raises nothing; a client that
goes away is no error at all.
"""

from __future__ import annotations

from collections.abc import Sequence


class WSGIFlushError(Exception):
    """Base of what this package raises."""


class ApplicationError(WSGIFlushError):
    """The application broke PEP 3333; its author must change the application."""


class InvalidStatus(ApplicationError, ValueError):
    """The status is not like ``"200 OK"``; pass three digits, a space, a reason."""


class InvalidHeaders(ApplicationError, ValueError):
    """A response header may not be sent as it is; the application must mend it."""


class WrongType(ApplicationError, TypeError):
    """A value is of another type than PEP 3333 says; the application must convert."""


class StartResponseMissing(ApplicationError):
    """The application gave a body before it called ``start_response``."""


class AlreadyStarted(ApplicationError):
    """``start_response`` was called again without ``exc_info``."""


class ResponseOver(ApplicationError):
    """The response is complete; the application may not add to it."""


class BodyTooShort(ApplicationError):
    """The body ended before its ``Content-Length``; the response was cut short."""


class AlreadySuspended(ApplicationError):
    """A suspension was asked for before the last one had its empty block."""


class AlreadyReading(ApplicationError):
    """Two waited for the body of one request; one has to read it for both."""


class InputNotHere(ApplicationError, BlockingIOError):
    """
    What was asked for of the request's body has not arrived, and nobody may wait for it
    here.  The application must await it, or wait for ``readable``; see docs/input.md.
    """


class ResponseError(WSGIFlushError):
    """
    Raised by an application, in place of the response that it does not want to give.

    It is ``environ["wsgi.response_error"]`` (M. Perillo, Web-SIG, 2007-10-04).  Once
    a byte of the response is sent, it is an error of the application as any other.

    :param status: as for ``start_response``.
    :param headers: as for ``start_response``, in any sequence.
    :param body: the whole of it, in bytes.
    """

    def __init__(
        self,
        status: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        super().__init__(status, headers, body)
        self.status = status
        self.headers = headers
        self.body = body


class InputLost(ResponseError, OSError):
    """
    The rest of the request's body will not come: the client left, broke off, or sent
    what is no body.  Nobody has to do anything; an application that does not catch it
    leaves the response to the server.

    :param status: for the client, if it is still there and has no other yet.
    :param why: what is wrong, for both sides to read.
    """

    def __init__(self, status: str, why: str) -> None:
        # Else OSError takes the status for a number, and the headers for its text.
        OSError.__init__(self, why)
        self.status = status
        self.headers = [("Content-Type", "text/plain; charset=utf-8")]
        self.body = f"{why}\n".encode()


class CannotBlock(WSGIFlushError):
    """
    ``portable`` has no thread for a reactor beside the server's: the server is in the
    reactor's own, or the reactor of this process has run and ended.  Use this
    package's container there.
    """


class TooDeep(WSGIFlushError):
    """A subrequest was nested too deep; most likely an application asks itself."""


class TooManyOpen(WSGIFlushError):
    """
    As many subrequests are open as may be; an application asks itself in a callback,
    or ``max_open`` of the agent must be more.
    """


class AlreadyLifted(WSGIFlushError):
    """A pause was lifted twice; an error of this package, please report it."""
