"""
What PEP 3333 asks for in environ, from a request.

Pure functions: they decide which keys there are and what is in them.  Everything
is a "bytes-as-unicode" string, that is, decoded as ISO-8859-1 (PEP 3333, "Unicode
Issues").
"""

from __future__ import annotations

from collections.abc import Sequence
from io import SEEK_END
from typing import Any

from twisted.web.server import Request

from ._errorlog import ErrorLog
from ._filewrapper import FileWrapper
from ._input import InputStream
from ._rules import host_and_port, variable_of
from ._stock import Fields, is_secure, segments
from ._types import Environ
from ._version import VERSION

_DEFAULT_PORTS = {"http": "80", "https": "443"}

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


def environ_of(request: Request, fields: Fields, name: str) -> Environ:
    """
    The environ for a complete request.

    :param request: where its resource was found ends SCRIPT_NAME and begins
        PATH_INFO.
    :param fields: its headers.
    :param name: what the log calls it.
    """
    content = request.content
    assert content is not None  # It is complete.
    size = content.seek(0, SEEK_END)
    content.seek(0)
    prepath, postpath = segments(request)
    target = _text(request.uri)
    scheme = "https" if is_secure(request) else "http"
    # Set one by one: "{**_CONSTANT, ...}" takes Python 3.11 half as long again.
    environ = _CONSTANT.copy()
    environ["REQUEST_METHOD"] = _text(request.method)
    environ["SCRIPT_NAME"] = _path(prepath)
    environ["PATH_INFO"] = _path(postpath)
    environ["QUERY_STRING"] = target.partition("?")[2]
    environ["REQUEST_URI"] = environ["RAW_URI"] = target
    environ["CONTENT_TYPE"] = _value(fields.get(b"Content-Type", ()))
    environ["CONTENT_LENGTH"] = _content_length(fields, size)
    environ["SERVER_NAME"], environ["SERVER_PORT"] = _server(request, fields, scheme)
    environ["SERVER_PROTOCOL"] = _text(request.clientproto)
    environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = remote_environ(
        request.getClientAddress()
    )
    environ["wsgi.url_scheme"] = scheme
    environ["wsgi.input"] = InputStream(content, size)
    environ["wsgi.errors"] = ErrorLog(name)
    for field_name, values in fields.items():
        variable = variable_of(field_name)
        if variable is not None:
            separator = b"; " if variable == "HTTP_COOKIE" else b","
            environ[variable] = _value(values, separator)
    return environ


def _text(value: bytes | str) -> str:
    # Some of Twisted's addresses have bytes, such as those of its HAProxy endpoint.
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _value(values: Sequence[bytes], separator: bytes = b",") -> str:
    return separator.join(values).decode("latin-1")


def _path(segments: list[bytes]) -> str:
    return "/" + b"/".join(segments).decode("latin-1") if segments else ""


def _content_length(fields: Fields, size: int) -> str:
    stated = fields.get(b"Content-Length")
    if stated:
        return stated[0].decode("latin-1")
    # A body without a stated length was chunked, or came by HTTP/2; it is complete
    # now, and applications that stop at CONTENT_LENGTH need one.
    return str(size) if size or b"Transfer-Encoding" in fields else ""


def _server(request: Request, fields: Fields, scheme: str) -> tuple[str, str]:
    """SERVER_NAME and SERVER_PORT."""
    local: Any = request.getHost()
    hosts = fields.get(b"Host")
    host, port = host_and_port(hosts[0].decode("latin-1")) if hosts else ("", "")
    port = str(getattr(local, "port", port))
    if not host and hasattr(local, "host"):  # A UNIX socket has none.
        host = _text(request.getRequestHostname()) or local.host
    return _in_brackets(host) or "localhost", port or _DEFAULT_PORTS[scheme]


def connection_environ(local: Any, *, secure: bool) -> Environ:
    """
    What is in the environ of every request that comes to an address.

    :param local: the address, of whatever kind.
    """
    scheme = "https" if secure else "http"
    host = _text(getattr(local, "host", ""))
    return {
        **_CONSTANT,
        "SCRIPT_NAME": "",
        "SERVER_NAME": _in_brackets(host) or "localhost",
        "SERVER_PORT": str(getattr(local, "port", "")),
        "wsgi.url_scheme": scheme,
    }


def remote_environ(remote: Any) -> tuple[str, str]:
    """REMOTE_ADDR and REMOTE_PORT of an address of whatever kind."""
    return _text(getattr(remote, "host", "")), str(getattr(remote, "port", ""))


def port_of_host(environ: Environ) -> str:
    """SERVER_PORT where the address has none, as that of a UNIX socket."""
    _, port = host_and_port(environ.get("HTTP_HOST", ""))
    return port or _DEFAULT_PORTS[environ["wsgi.url_scheme"]]


def _in_brackets(host: str) -> str:
    # RFC 3875, 4.1.14: an IPv6 address stands in brackets.
    return f"[{host}]" if ":" in host and host[0] != "[" else host
