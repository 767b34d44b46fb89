"""
What an application may pass to ``start_response``: types and values.

It decides what is refused, and turns the rest into bytes.  When a head may be
set or replaced, and what is added to it, is decided in ``_response``.
"""

from __future__ import annotations

import enum
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from wsgiref.util import is_hop_by_hop

from twisted.web.http import NO_CONTENT, NOT_MODIFIED, RESET_CONTENT

from .errors import InvalidHeaders, InvalidStatus, WrongType

# PEP 3333, "The start_response() Callable": "a status string of the form '999
# Message here'", without control characters.  RFC 9112, 4: the reason may be empty.
_STATUS = re.compile(r"([1-9][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
# RFC 9110, 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110, 5.5: no control character but the tab.
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# RFC 9110, 8.6; int() would take a sign, a space and an underscore, too.
_LENGTH = re.compile(r"[0-9]{1,99}")

_LINE = b"%b: %b\r\n"

_NO_BODY = frozenset({NO_CONTENT, RESET_CONTENT, NOT_MODIFIED})


class Head:
    """
    A status line and headers, checked and encoded in ISO-8859-1.

    Nothing of it changes: responses that begin alike share one.

    :param headers: names and values.
    :param special: whether there is a Date, Server or Set-Cookie, which connections
        treat apart.
    """

    __slots__ = (
        "code",
        "content_length",
        "headers",
        "lines",
        "may_have_body",
        "reason",
        "special",
    )

    def __init__(
        self,
        code: int,
        reason: bytes,
        headers: list[tuple[bytes, bytes]],
        content_length: int | None,
        special: bool = False,
        lines: bytes | None = None,
    ) -> None:
        self.code = code
        self.reason = reason
        self.headers = headers
        self.content_length = content_length
        self.special = special
        # RFC 9110, 6.4.1 and 15.3.6.
        self.may_have_body = code >= 200 and code not in _NO_BODY
        """Whether a response that begins like this may have a body."""
        if lines is None:
            begin = b"HTTP/1.1 %d %b\r\n" % (code, reason)
            lines = b"".join([begin, *map(_LINE.__mod__, headers)])
        self.lines = lines
        """The status line and headers, as HTTP/1.1 has them (RFC 9112, 4 and 5)."""

    def with_length(self, length: int) -> Head:
        """The same with a Content-Length."""
        field = (b"Content-Length", b"%d" % length)
        return Head(
            self.code,
            self.reason,
            [*self.headers, field],
            length,
            self.special,
            self.lines + _LINE % field,
        )

    def without_length(self) -> Head:
        """The same without a Content-Length, which is no promise any more."""
        left = [pair for pair in self.headers if pair[0].lower() != b"content-length"]
        return Head(self.code, self.reason, left, self.content_length, self.special)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Head)
            and self.lines == other.lines
            and self.content_length == other.content_length
        )

    __hash__ = None  # type: ignore[assignment]  # nobody looks for one

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.lines!r}>"


def checked_head(status: object, headers: object) -> Head:
    """
    Check what was passed to ``start_response`` and encode it.

    :raises WrongType: for what PEP 3333 wants to be a ``str``, list or tuple.
    :raises InvalidStatus: for a status line that is not ``"999 Reason"``.
    :raises InvalidHeaders: for a name that is no token, a value with a control
        character or beyond ISO-8859-1, a hop-by-hop header, a bad Content-Length.
    """
    if type(headers) is list:
        try:
            return _known_head(status, *headers)
        except TypeError:
            pass  # Something is of a wrong type; it is told below.
    return _new_head(status, headers)


def _new_head(status: object, headers: object) -> Head:
    if not isinstance(status, str):
        raise WrongType(f"status must be str, not {status!r} ({type(status).__name__})")
    code_and_reason = _code_and_reason(status)
    if code_and_reason is None:
        raise InvalidStatus(
            f"status must be three digits, a space and a reason in ISO-8859-1 "
            f"without control characters, not {status!r}"
        )
    if not isinstance(headers, list):
        _tolerate(
            headers,
            f"headers must be a list, not {headers!r} ({type(headers).__name__})",
        )
    encoded: list[tuple[bytes, bytes]] = []
    content_length = None
    special = False
    for header in headers:  # type: ignore[attr-defined]  # a list or a sequence by now
        if type(header) is not tuple or len(header) != 2:
            _tolerate_header(header)
        name, value = header
        if not isinstance(name, str) or not isinstance(value, str):
            raise WrongType(f"header must be (str, str) tuple, not {header!r}")
        field, kind = _field(name, value)
        if kind is not _ORDINARY:
            if kind is _SPECIAL:
                special = True
            elif content_length is None:
                content_length = int(value)
            else:
                raise InvalidHeaders(
                    f"Content-Length must be one decimal number of bytes, "
                    f"not {header!r} in {headers!r}"
                )
        encoded.append(field)
    code, reason = code_and_reason
    return Head(code, reason, encoded, content_length, special)


# Many responses begin alike, and more have some headers in common.
@lru_cache(maxsize=256)
def _known_head(status: object, *headers: object) -> Head:
    return _new_head(status, list(headers))


@lru_cache(maxsize=1024)
def _code_and_reason(status: str) -> tuple[int, bytes] | None:
    match = _STATUS.fullmatch(status)
    return match and (int(match[1]), match[2].encode("latin-1"))


class _Kind(enum.Enum):
    ORDINARY = enum.auto()
    SPECIAL = enum.auto()
    CONTENT_LENGTH = enum.auto()


# To reach a member through its Enum takes Python 3.11 as long as three calls.
_ORDINARY, _SPECIAL, _CONTENT_LENGTH = _Kind


@lru_cache(maxsize=1024)
def _field(name: str, value: str) -> tuple[tuple[bytes, bytes], _Kind]:
    """A header, encoded, and its kind."""
    header = (name, value)
    if not _TOKEN.fullmatch(name):
        raise InvalidHeaders(
            f"the name of a header must be a token (RFC 9110, 5.6.2), not {header!r}"
        )
    if not _FIELD_VALUE.fullmatch(value):
        raise InvalidHeaders(
            f"the value of a header must be ISO-8859-1 without control characters, "
            f"not {header!r}"
        )
    folded = name.lower()
    kind = _ORDINARY
    if folded == "content-length":
        kind = _CONTENT_LENGTH
        if not _LENGTH.fullmatch(value):
            raise InvalidHeaders(
                f"Content-Length must be one decimal number of bytes, not {header!r}"
            )
    elif is_hop_by_hop(folded) or folded == "trailer":
        # PEP 3333, "Other HTTP Features": the connection is the server's.
        raise InvalidHeaders(
            f"{name} is a hop-by-hop header, which only the server may set; "
            f"leave {header!r} out"
        )
    elif folded in ("date", "server", "set-cookie"):
        kind = _SPECIAL
    return (name.encode("latin-1"), value.encode("latin-1")), kind


def _tolerate_header(header: Any) -> None:
    if not isinstance(header, tuple):
        _tolerate(
            header,
            f"header must be a (str, str) tuple, not {header!r} "
            f"({type(header).__name__})",
        )
    if len(header) != 2:
        raise WrongType(f"header must be a (str, str) tuple, not {header!r}")


def _tolerate(sequence: object, message: str) -> None:
    # PEP 3333 wants a list of tuples, exactly.  Twisted's own resource takes any
    # sequence and warns, and applications rely on it.
    if isinstance(sequence, str) or not isinstance(sequence, Sequence):
        raise WrongType(message)
    warnings.warn(message.replace(" must be ", " should be ", 1), RuntimeWarning, 5)
