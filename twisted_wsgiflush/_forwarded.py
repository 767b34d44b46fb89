"""
Whom a proxy speaks for: the client's address, scheme and host in environ.

It decides which proxies are believed, which of the hops that they name is the client,
and what is refused.  It knows environ and addresses, but no connection.

A list is read from its right end, for each proxy adds to that end, and what stands at
the left may be anybody's.  A proxy that is trusted is believed what it tells of the
hop before it; the first hop that is not trusted is the client, and nothing beyond it
is looked at.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import NoReturn

from twisted.internet.address import UNIXAddress

from ._rules import HOST_AND_PORT, HOST_IS_VALID, Refused
from ._types import Environ

# A list with more elements is refused: no way through proxies is that long.
_MOST_HOPS = 100

# What a hop may tell in X-Forwarded-*, each in a list of its own.
_NAMES = ("for", "proto", "host", "port")
_HEADERS = ("HTTP_FORWARDED", *(f"HTTP_X_FORWARDED_{name.upper()}" for name in _NAMES))
# Characters of headers up to which what they tell is kept for the next request.
_SHORT = 500

# Some proxies name the scheme of a WebSocket, whose handshake is HTTP (RFC 6455, 4.1).
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORTS = {"http": "80", "https": "443"}

# RFC 7239, 4, up to the next semicolon; it allows whitespace nowhere, and colons and
# brackets in quotes only, which some proxies do not know.
_PAIR = re.compile(
    r"[ \t]*(?:([-!#$%&'*+.^_`|~0-9A-Za-z]+)"
    r'=(?:"((?:[^"\\]|\\.)*)"|([^\s",;=\\]+))[ \t]*)?(?:;|\Z)'
)
# RFC 7239, 6: a name and maybe a port, each maybe obfuscated.
_NODE = re.compile(r"(?:\[([^]]+)\]|([^][:]+))(?::([0-9]{1,5}|_[-._0-9A-Za-z]+))?")
_UNKNOWN = re.compile(r"unknown|_[-._0-9A-Za-z]+", re.I)


class TrustedProxies:
    """
    The proxies that are believed what they tell of their clients.

    :param allowed: IPv4 and IPv6 addresses, networks as in ``10.0.0.0/8``, ``unix``
        for whoever connects to a UNIX socket and ``*`` for whoever connects at all;
        separated by commas.  ``*`` is about the connection only: of a list, no hop is
        skipped that is not named by an address, else clients could name themselves.
    :raises ValueError: with one line about the first that is none of these.
    """

    def __init__(self, allowed: str) -> None:
        names = [name.strip() for name in allowed.split(",")]
        self._anybody = "*" in names
        self._networks = [_network(name) for name in names if name not in ("*", "unix")]
        self._unix = "unix" in names
        # The same few connect all the time, and clients come several times.
        self._listed = lru_cache(maxsize=1024)(self._is_listed)
        self._told = lru_cache(maxsize=1024)(self._read)

    def trusts(self, address: object) -> bool:
        """
        Whether a proxy that connects from there is believed.

        :param address: one of Twisted's, or its host, or ``"unix"``.
        """
        if self._anybody:
            return True
        if isinstance(address, UNIXAddress):
            return self._unix
        host = getattr(address, "host", address)
        if isinstance(host, bytes):  # Some of Twisted's addresses have such.
            host = host.decode("latin-1")
        return isinstance(host, str) and self._listed(host)

    def apply(self, environ: Environ, address: object) -> None:
        """
        Put into environ what the proxies tell, if the nearest of them is trusted.

        Changes those of REMOTE_ADDR, REMOTE_PORT, SERVER_NAME, SERVER_PORT, HTTP_HOST
        and ``wsgi.url_scheme`` that something is told of; the headers stay.

        :param environ: complete but for that.
        :param address: where the connection comes from, as for :meth:`trusts`.
        :raises Refused: when a trusted proxy tells what cannot be understood, or the
            two kinds of headers do not tell the same.  If that were passed over, the
            client could pass for the proxy, or choose which header is believed: the
            one that the proxy does not write is the client's.
        """
        if environ.keys().isdisjoint(_HEADERS) or not self.trusts(address):
            return
        headers = [environ.get(key, "") for key in _HEADERS]
        read = self._told if sum(map(len, headers)) < _SHORT else self._read
        told = read(*headers)
        environ.update(told)
        if told.keys() & {"HTTP_HOST", "SERVER_PORT", "wsgi.url_scheme"}:
            name, port = HOST_AND_PORT[environ.get("HTTP_HOST", "")]
            if "HTTP_HOST" in told:
                environ["SERVER_NAME"] = name
            default = _DEFAULT_PORTS[environ["wsgi.url_scheme"]]
            environ["SERVER_PORT"] = port or told.get("SERVER_PORT", default)

    def _read(self, forwarded: str, *x_forwarded: str) -> Mapping[str, str]:
        """What is told of the client, by keys of environ."""
        told = self._client(_by_hops(x_forwarded))
        other = self._client(map(_pairs, _elements(forwarded)))
        if told and other:
            for key in ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST"):
                if told.get(key) != other.get(key):
                    _refuse("Forwarded and X-Forwarded-* differ")
        told.update(other)
        if "REMOTE_ADDR" in told:
            told.setdefault("REMOTE_PORT", "")  # That of the proxy is not the client's.
        return told

    def _client(self, hops: Iterable[Mapping[str, str]]) -> dict[str, str]:
        """What one kind of headers tells, whose right-most hop comes first."""
        told: dict[str, str] = {}
        for hop in hops:
            # What a proxy leaves out is as the next one has it, to which it has
            # passed the request on.
            if "proto" in hop:
                scheme = _SCHEMES.get(hop["proto"].lower()) or _refuse("the scheme")
                told["wsgi.url_scheme"] = scheme
            if "host" in hop:
                told["HTTP_HOST"] = _host(hop["host"])
            if "port" in hop:
                told["SERVER_PORT"] = _port(hop["port"])
            if "for" not in hop:
                break
            name, port = _node(hop["for"])
            told["REMOTE_ADDR"] = "" if name == "unix" else name
            told.pop("REMOTE_PORT", None)
            if port:
                told["REMOTE_PORT"] = port
            if not self._listed(name):
                break
        return told

    def _is_listed(self, name: str) -> bool:
        if name == "unix":
            return self._unix
        address = _address(name)
        return address is not None and any(address in net for net in self._networks)


def _network(name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        network = ipaddress.ip_network(name)
    except ValueError as error:
        raise ValueError(f"neither an address, unix nor *: {error}") from error
    # An address is looked up without its zone, and as IPv4 where it can be.
    if _address(str(network.network_address)) != network.network_address:
        raise ValueError(f"it must have no zone, and be IPv4 if it can be: {name!r}")
    return network


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, without its zone, of a client of IPv4 also on a socket of IPv6."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return None
    if address.version == 4:
        return address
    return address.ipv4_mapped or ipaddress.IPv6Address(int(address))


def _by_hops(x_forwarded: Sequence[str]) -> Iterable[Mapping[str, str]]:
    """The hops of several lists, right-most first."""
    for values in zip_longest(*map(_elements, x_forwarded), fillvalue=""):
        hop = zip(_NAMES, values, strict=True)
        yield {name: value for name, value in hop if value}


def _elements(value: str) -> list[str]:
    """The elements of a list, the last one first, without those that are empty."""
    # Unlike in RFC 7239, commas in quotes separate, too: there, a quote that a client
    # opens hides what the proxy adds.
    if value.count(",") >= _MOST_HOPS:
        _refuse("a list is too long")
    return [element for e in reversed(value.split(",")) if (element := e.strip(" \t"))]


def _pairs(element: str) -> Mapping[str, str]:
    """The pairs of an element of Forwarded, those that mean something here."""
    pairs: dict[str, str] = {}
    at = 0
    while at < len(element):
        match = _PAIR.match(element, at) or _refuse("the syntax of Forwarded")
        at = match.end()
        name, quoted, token = match.groups("")
        name = name.lower()
        if name in pairs:  # RFC 7239, 4: not more than once.
            _refuse("two of the same name")
        if name in ("for", "proto", "host"):
            pairs[name] = token or re.sub(r"\\(.)", r"\1", quoted)
    return pairs


def _node(text: str) -> tuple[str, str]:
    """Address and port of a hop; each is empty when it is not known."""
    if text == "unix:":  # What nginx calls a client of a UNIX socket.
        return "unix", ""
    match = _NODE.fullmatch(text)
    # An address of IPv6 without a port often has no brackets.
    ipv6, name, port = match.groups("") if match else (text, "", "")
    if _UNKNOWN.fullmatch(name):
        return "", ""
    if ipv6 and ":" not in ipv6:
        _refuse("an address in brackets")
    address = _address(ipv6 or name) or _refuse("an address")
    return str(address), _port(port) if port[:1].isdigit() else ""


def _port(text: str) -> str:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        _refuse("a port")
    return str(int(text))


def _host(text: str) -> str:
    if not HOST_IS_VALID[text.encode("ascii", "replace")]:
        _refuse("a host")
    name, port = HOST_AND_PORT[text]
    if not name:
        _refuse("a host")
    _port(port or "80")
    return text


def _refuse(what: str) -> NoReturn:
    raise Refused(400, f"A proxy tells of its client what is not understood: {what}.")
