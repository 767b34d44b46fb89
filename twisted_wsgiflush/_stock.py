"""
What RFC 9112 asks of a server and the stock ``twisted.web.http.HTTPChannel`` leaves
open, as far as a resource can still decide it.

Each rule stands here with its section; what only a channel can decide is listed in
``docs/conformance.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from twisted.web.http import HTTPChannel, Request
from twisted.web.server import Request as SiteRequest

from ._rules import ABSOLUTE_FORM, HOST_IS_VALID, Refused

# Of a request, by their names in canonical capitals.
Fields: TypeAlias = Mapping[bytes, Sequence[bytes]]


def checked_fields(request: Request) -> Fields:
    """
    Check what the channel let through.

    :returns: the request's headers.
    :raises Refused: with the status to answer with; the connection ends with that,
        for the client and we may not agree where the next request begins.
    """
    fields = dict(request.requestHeaders.getAllRawHeaders())
    hosts = fields.get(b"Host", ())
    if request.clientproto == b"HTTP/2" and len(set(hosts)) == 1:
        # RFC 9113, 8.3.1: the same as :authority, of which Twisted makes another one.
        hosts = fields[b"Host"] = hosts[:1]
        request.requestHeaders.setRawHeaders(b"host", hosts)
    wrong = _what_is_wrong_with(hosts, request)
    if wrong is not None:
        raise Refused(400, wrong)
    codings = fields.get(b"Transfer-Encoding")
    if codings:
        # RFC 9112, 6.1 and 6.3: the channel has decoded "chunked", and taken
        # "identity", which is no coding any more, for the absence of a body.
        if request.clientproto == b"HTTP/1.0":
            raise Refused(400, "A request of HTTP/1.0 cannot have a Transfer-Encoding.")
        if [coding.lower() for coding in codings] != [b"chunked"]:
            raise Refused(501, "The only Transfer-Encoding understood is chunked.")
    if request.method == b"CONNECT":
        # RFC 9110, 9.3.6: a success would turn the connection into a tunnel.
        raise Refused(501, "This server is no proxy.")
    if request.path[:1] != b"/":
        raise Refused(400, "The request target is not a path.")
    if b"#" in request.uri:
        # RFC 9112, 3.2: no form of target has a fragment.
        raise Refused(400, "The request target has a fragment.")
    return fields


def _what_is_wrong_with(hosts: Sequence[bytes], request: Request) -> str | None:
    """RFC 9112, 3.2: what to tell the client of its Host header."""
    if len(hosts) == 1:
        if HOST_IS_VALID[hosts[0]]:
            return None
        return "The Host header is not a host and port."
    if hosts:
        return "A request must not have more than one Host header."
    # The rule is HTTP/1.1's: a request that came over another kind of channel, or
    # none, may have no Host.
    if request.clientproto == b"HTTP/1.1" and isinstance(request.channel, HTTPChannel):
        return "A request of HTTP/1.1 must have a Host header."
    return None


def segments(request: SiteRequest) -> tuple[list[bytes], list[bytes]]:
    """The segments of its path that led to a resource, and those that are left."""
    assert request.prepath is not None  # Site has begun to look for the resource.
    assert request.postpath is not None
    return request.prepath, request.postpath


def to_origin_form(request: SiteRequest) -> None:
    """
    Start the way through the resource tree anew for a target in absolute-form.

    ``Site`` takes such a target for a path and begins in the middle of it.  Call at
    the root of a tree only, before any of the path is used up.
    """
    if request.path[:1] == b"/":
        return
    match = ABSOLUTE_FORM.fullmatch(request.path)
    if match is None:
        return
    request.path = match["path"] or b"/"
    prepath, postpath = segments(request)
    prepath[:] = []
    postpath[:] = map(unquote_to_bytes, request.path[1:].split(b"/"))
    # RFC 9112, 3.2.2: the Host header is to be ignored, though it has to be there.
    hosts = request.requestHeaders.getRawHeaders(b"host", ())
    if _what_is_wrong_with(hosts, request) is None:
        request.requestHeaders.setRawHeaders(b"host", [match["authority"]])


def heed_connection_close(request: Request, values: Sequence[bytes]) -> None:
    """
    Close the connection after the response if the client wants that.

    RFC 9112, 9.6: "close" may stand anywhere in a list of options, and in any of
    several Connection headers; the channel looks at words of the first one.

    :param values: of the Connection headers.
    """
    for value in values:
        for option in value.split(b","):
            if option.strip(b" \t").lower() == b"close":
                close_afterwards(request)


def close_afterwards(request: Request) -> None:
    """
    Make this response the connection's last.

    On HTTP/2 nothing comes of it: a response ends its stream anyway.
    """
    request.channel.persistent = False
    if request.clientproto == b"HTTP/1.1" and not request.startedWriting:
        request.responseHeaders.setRawHeaders(b"connection", [b"close"])
