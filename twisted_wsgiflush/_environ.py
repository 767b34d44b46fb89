"""
What PEP 3333 asks for in environ, from a request.

Pure functions: they decide which keys there are and what is in them.  Everything
is a "bytes-as-unicode" string, that is, decoded as ISO-8859-1 (PEP 3333, "Unicode
Issues").
"""

from __future__ import annotations

from functools import lru_cache
from io import SEEK_END

from twisted.internet.interfaces import IAddress
from twisted.web.server import Request

from ._errorlog import ErrorLog
from ._filewrapper import FileWrapper
from ._input import InputStream
from ._stock import segments
from ._types import Environ
from ._version import VERSION

# The same for every request.
_CONSTANT: Environ = {
    "SERVER_SOFTWARE": f"twisted-wsgiflush/{VERSION}",
    "wsgi.version": (1, 0),
    "wsgi.run_once": False,
    "wsgi.multithread": False,
    "wsgi.multiprocess": False,
    "wsgi.input_terminated": True,
    "wsgi.file_wrapper": FileWrapper,
}


def request_name(request: Request) -> str:
    """The request's method and target, as the log calls it."""
    return f"{_text(request.method)} {_text(request.uri)}"


def environ_of(request: Request, name: str) -> Environ:
    """
    The environ for a complete request.

    :param request: where its resource was found ends SCRIPT_NAME and begins
        PATH_INFO.
    :param name: what the log calls it.
    """
    assert request.content is not None  # It is complete.
    size = request.content.seek(0, SEEK_END)
    request.content.seek(0)
    prepath, postpath = segments(request)
    target = _text(request.uri)
    local, remote = request.getHost(), request.getClientAddress()
    scheme = "https" if request.isSecure() else "http"
    return {
        **_CONSTANT,
        "REQUEST_METHOD": _text(request.method),
        "SCRIPT_NAME": _path(prepath),
        "PATH_INFO": _path(postpath),
        "QUERY_STRING": target.partition("?")[2],
        "REQUEST_URI": target,
        "RAW_URI": target,
        "CONTENT_TYPE": ",".join(_values(request, b"content-type")),
        "CONTENT_LENGTH": _content_length(request, size),
        "SERVER_NAME": _server_name(request, local),
        "SERVER_PORT": _server_port(request, local, scheme),
        "SERVER_PROTOCOL": _text(request.clientproto),
        "REMOTE_ADDR": _text(getattr(remote, "host", "")),
        "REMOTE_PORT": str(getattr(remote, "port", "")),
        **{
            variable: ("; " if variable == "HTTP_COOKIE" else ",").join(
                map(_text, values)
            )
            for field_name, values in request.requestHeaders.getAllRawHeaders()
            if (variable := _variable(field_name)) is not None
        },
        "wsgi.url_scheme": scheme,
        "wsgi.input": InputStream(request.content, size),
        "wsgi.errors": ErrorLog(name),
    }


@lru_cache(maxsize=1024)
def _variable(field_name: bytes) -> str | None:
    """The key for a request header (RFC 3875, 4.1.18); None for one left out."""
    name = field_name.lower()
    if b"_" in name:
        return None  # It would pass for the one with the dash.
    if name in (
        b"content-type",  # Has a key of its own, as the next one.
        b"content-length",
        b"transfer-encoding",  # Who sees it decodes once more, or reads nothing.
        b"proxy",  # Would pass for the environment variable HTTP_PROXY.
    ):
        return None
    return "HTTP_" + _text(name).upper().replace("-", "_")


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _values(request: Request, field_name: bytes) -> list[str]:
    values = request.requestHeaders.getRawHeaders(field_name) or ()
    return [_text(value) for value in values]


def _path(segments: list[bytes]) -> str:
    return "/" + _text(b"/".join(segments)) if segments else ""


def _content_length(request: Request, size: int) -> str:
    stated = _values(request, b"content-length")
    if stated:
        return stated[0]
    # A body without a stated length was chunked, or came by HTTP/2; it is complete
    # now, and applications that stop at CONTENT_LENGTH need one.
    chunked = request.requestHeaders.hasHeader(b"transfer-encoding")
    return str(size) if size or chunked else ""


def _server_name(request: Request, local: IAddress) -> str:
    host = _host_and_port(request)[0]
    if not host and hasattr(local, "host"):  # A UNIX socket has none.
        host = _text(request.getRequestHostname()) or local.host
    # RFC 3875, 4.1.14: an IPv6 address stands in brackets.
    return f"[{host}]" if ":" in host and host[0] != "[" else host or "localhost"


def _server_port(request: Request, local: IAddress, scheme: str) -> str:
    if hasattr(local, "port"):
        return str(local.port)
    return _host_and_port(request)[1] or {"http": "80", "https": "443"}[scheme]


def _host_and_port(request: Request) -> tuple[str, str]:
    """The two parts of the Host header, which is valid."""
    host = "".join(_values(request, b"host")[:1])
    end_of_address = host.find("]") + 1
    colon = host.find(":", end_of_address)
    return (host, "") if colon < 0 else (host[:colon], host[colon + 1 :])
