"""
The exceptions of this package, by whose fault it is.

What a client does wrong is answered over HTTP and raises nothing; a client that
goes away is no error at all.
"""

from __future__ import annotations


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


class AlreadyLifted(WSGIFlushError):
    """A pause was lifted twice; an error of this package, please report it."""
