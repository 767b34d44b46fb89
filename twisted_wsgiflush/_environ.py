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

from ._filewrapper import FileWrapper
from ._input import InputStream
from ._rules import HOST_AND_PORT, VARIABLES, Remembered
from ._stock import Fields, segments
from ._types import Environ
from ._version import VERSION

_DEFAULT_PORTS = {"http": "80", "https": "443"}

# Addresses that a host is known by: one for each that it listens on, but the PROXY
# protocol may name any.
_MOST_ADDRESSES = 1000

# The same for every request.
_CONSTANT: Environ = {
    "SERVER_SOFTWARE": f"twisted-wsgiflush/{VERSION}",
    "CONTENT_TYPE": "",
    "CONTENT_LENGTH": "",
    "wsgi.version": (1, 0),
    "wsgi.run_once": False,
    "wsgi.multithread": False,
    "wsgi.multiprocess": False,
    "wsgi.input_terminated": True,
    "wsgi.file_wrapper": FileWrapper,
}


class CommonEnviron:
    """
    What is in the environ of every request that comes to an address.

    :param more: what else is in every environ, to whatever address.
    """

    def __init__(self, more: Environ) -> None:
        self._more = more
        self._known: dict[tuple[object, object, bool], Environ] = {}

    def at(self, local: Any, *, secure: bool) -> Environ:
        """
        Do not change it, copy it: most requests to an address share one.

        SERVER_PORT is empty where the address has none, as that of a UNIX socket.

        :param local: the address, of whatever kind.
        """
        try:
            key = (local.host, local.port, secure)
        except AttributeError:
            key = (getattr(local, "host", ""), getattr(local, "port", ""), secure)
        known = self._known.get(key)
        if known is None:
            known = self._new(*key)
            if len(self._known) < _MOST_ADDRESSES:
                self._known[key] = known
        return known

    def _new(self, host: str | bytes, port: object, secure: bool) -> Environ:
        return {
            **_CONSTANT,
            "SCRIPT_NAME": "",
            "SERVER_NAME": _in_brackets(_text(host)) or "localhost",
            "SERVER_PORT": str(port),
            "wsgi.url_scheme": "https" if secure else "http",
            **self._more,
        }


def environ_of(
    request: Request, fields: Fields, common: CommonEnviron, *, secure: bool
) -> Environ:
    """
    The environ for a complete request, but for ``wsgi.errors``.

    :param request: where its resource was found ends SCRIPT_NAME and begins
        PATH_INFO.
    :param fields: its headers.
    :param secure: whether it came by TLS.
    """
    content = request.content
    assert content is not None  # It is complete.
    size = content.seek(0, SEEK_END)
    content.seek(0)
    prepath, postpath = segments(request)
    target = request.uri.decode("latin-1")
    environ = common.at(request.getHost(), secure=secure).copy()
    environ["REQUEST_METHOD"] = _WORDS[request.method]
    environ["SCRIPT_NAME"] = _path(prepath)
    environ["PATH_INFO"] = _path(postpath)
    environ["QUERY_STRING"] = target.partition("?")[2]
    environ["REQUEST_URI"] = environ["RAW_URI"] = target
    if size or b"Transfer-Encoding" in fields:
        # A body without a stated length was chunked, or came by HTTP/2; it is complete
        # now, and applications that stop at CONTENT_LENGTH need one.  A stated one
        # takes the place of this, below.
        environ["CONTENT_LENGTH"] = str(size)
    environ["SERVER_PROTOCOL"] = _WORDS[request.clientproto]
    environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = remote_environ(
        request.getClientAddress()
    )
    environ["wsgi.input"] = InputStream(content, size)
    for name, values in fields.items():
        variable = VARIABLES[name]
        if variable is not None:
            value = values[0] if len(values) == 1 else _joined(variable, values)
            environ[variable] = value.decode("latin-1")
    server_name, _ = HOST_AND_PORT[environ.get("HTTP_HOST", "")]
    if not server_name and environ["SERVER_PORT"]:  # A UNIX socket has no host either.
        server_name = _in_brackets(_text(request.getRequestHostname()))
    if server_name:
        environ["SERVER_NAME"] = server_name
    if not environ["SERVER_PORT"]:
        environ["SERVER_PORT"] = port_of_host(environ)
    return environ


def _text(value: bytes | str) -> str:
    # Some of Twisted's addresses have bytes, such as those of its HAProxy endpoint.
    return value.decode("latin-1") if isinstance(value, bytes) else value


# Methods and versions of the protocol.
_WORDS = Remembered(_text)


def _joined(variable: str, values: Sequence[bytes]) -> bytes:
    if variable == "CONTENT_LENGTH":
        return values[0]  # All are the same, or there is no request.
    return (b"; " if variable == "HTTP_COOKIE" else b",").join(values)


def _path(segments: list[bytes]) -> str:
    return "/" + b"/".join(segments).decode("latin-1") if segments else ""


def remote_environ(remote: Any) -> tuple[str, str]:
    """REMOTE_ADDR and REMOTE_PORT of an address of whatever kind."""
    try:
        host, port = remote.host, remote.port
    except AttributeError:
        host, port = getattr(remote, "host", ""), getattr(remote, "port", "")
    return host if type(host) is str else _text(host), str(port)


def port_of_host(environ: Environ) -> str:
    """SERVER_PORT where the address has none, as that of a UNIX socket."""
    _, port = HOST_AND_PORT[environ.get("HTTP_HOST", "")]
    return port or _DEFAULT_PORTS[environ["wsgi.url_scheme"]]


def _in_brackets(host: str) -> str:
    # RFC 3875, 4.1.14: an IPv6 address stands in brackets.
    return f"[{host}]" if ":" in host and host[0] != "[" else host
