"""
What both doors ask of a request's target and Host, by the letter of the RFCs.

Expressions and pure functions; who asks decides what comes of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sized
from typing import TypeVar

from twisted.internet.abstract import isIPv6Address

_Key = TypeVar("_Key", bound=Sized)
_Value = TypeVar("_Value")

# RFC 9112, 3.2.2, with RFC 9110, 4.2.4: no userinfo.
ABSOLUTE_FORM = re.compile(
    rb"https?://(?P<authority>[^/?#@:][^/?#@]*)(?P<path>/[^?]*)?(?:\?.*)?", re.I | re.S
)
# RFC 9110, 7.2: uri-host [ ":" port ], where uri-host is RFC 3986's, maybe empty.
_HOST = re.compile(
    rb"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|\[v[0-9A-Fa-f]+\.[-0-9A-Za-z._~!$&'()*+,;=:]+\]"
    rb"|(?:[-0-9A-Za-z._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)


class Refused(Exception):
    """A request is not handed to the application: a status, and why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(code, why)
        self.code = code
        self.why = why


def check_size(size: int, limit: int | None) -> None:
    """
    Look at the bytes that a body has, or will have.

    :raises Refused: when they are too many.
    """
    if limit is not None and size > limit:
        # RFC 9110, 15.5.14.
        raise Refused(413, f"The body must not have more than {limit} bytes.")


# Bytes of a key up to which it is remembered, for a longer one is no client's that
# means well, and a thousand of them would take tens of megabytes; and how many are.
SHORT_KEY = 256
_MOST_KEYS = 1024


class Remembered(dict[_Key, _Value]):
    """
    What a function gives for a key; it is called once for one that comes again.

    Ask by ``[key]``: ``get`` does not call it.
    """

    def __init__(self, function: Callable[[_Key], _Value]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, key: _Key) -> _Value:
        value = self._function(key)
        if len(key) <= SHORT_KEY:
            if len(self) >= _MOST_KEYS:
                self.clear()  # Few clients mean well if there are so many.
            self[key] = value
        return value


def is_host(value: bytes) -> bool:
    """Whether this is what a Host header may say (RFC 9110, 7.2)."""
    match = _HOST.fullmatch(value)
    if match is None:
        return False
    return match["ipv6"] is None or isIPv6Address(match["ipv6"].decode())


def host_and_port(host: str) -> tuple[str, str]:
    """The two parts of a Host header that is valid; the port may be empty."""
    end_of_address = host.find("]") + 1
    colon = host.find(":", end_of_address)
    return (host, "") if colon < 0 else (host[:colon], host[colon + 1 :])


def variable_of(field_name: bytes) -> str | None:
    """
    The key in environ for a request header (RFC 3875, 4.1.18).

    :returns: None for one that is left out.
    """
    name = field_name.lower()
    if b"_" in name:
        return None  # It would pass for the one with the dash.
    if name in (
        b"transfer-encoding",  # Who sees it decodes once more, or reads nothing.
        b"proxy",  # Would pass for the environment variable HTTP_PROXY.
    ):
        return None
    variable = name.decode("latin-1").upper().replace("-", "_")
    if name in (b"content-type", b"content-length"):
        return variable
    return "HTTP_" + variable


# Clients ask for few hosts, and for each of them often.
HOST_IS_VALID = Remembered(is_host)
HOST_AND_PORT = Remembered(host_and_port)
VARIABLES = Remembered(variable_of)
