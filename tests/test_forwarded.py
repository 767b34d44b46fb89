"""Behind proxies: who is believed, and what is then in environ."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from grp import getgrgid
from ipaddress import ip_address
from pathlib import Path
from pwd import getpwuid
from typing import Any

import pytest
from commandline import CHECKOUT, Server, serving
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.address import (
    HostnameAddress,
    IPv4Address,
    IPv6Address,
    UNIXAddress,
)
from twisted.internet.interfaces import IAddress

from twisted_wsgiflush import WSGIResource
from twisted_wsgiflush._forwarded import TrustedProxies
from twisted_wsgiflush._rules import Refused
from twisted_wsgiflush.testing import Served, Turns, serve

Environ = dict[str, Any]

# What a connection from a proxy leaves in environ.
PROXY = "10.0.0.1"
BEFORE = {
    "REMOTE_ADDR": PROXY,
    "REMOTE_PORT": "40000",
    "SERVER_NAME": "site.example",
    "SERVER_PORT": "8080",
    "HTTP_HOST": "site.example",
    "wsgi.url_scheme": "http",
}


def headers(**values: str) -> Environ:
    """Of a request, as environ has them: ``x_for`` is X-Forwarded-For, and so on."""
    return {
        f"HTTP_{name.upper()}".replace("X_", "X_FORWARDED_"): value
        for name, value in values.items()
    }


def changed(allowed: str, peer: object = PROXY, **values: str) -> Environ:
    """What proxies change in environ by these headers."""
    sent = {**BEFORE, **headers(**values)}
    environ = dict(sent)
    TrustedProxies(allowed).apply(environ, peer)
    return {key: value for key, value in environ.items() if sent.get(key) != value}


def client(address: str, port: str = "") -> Environ:
    """A client in environ."""
    return {"REMOTE_ADDR": address, "REMOTE_PORT": port}


HTTPS = {"wsgi.url_scheme": "https", "SERVER_PORT": "443"}


# -- who is trusted -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", IPv4Address("TCP", "127.0.0.1", 1)),
        ("127.0.0.1", IPv4Address("TCP", b"127.0.0.1", 1)),  # type: ignore[arg-type]  # some have it
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("127.0.0.1", IPv6Address("TCP", "::ffff:127.0.0.1", 1)),
        ("127.0.0.1", "::ffff:7f00:1"),
        ("192.0.2.1,10.0.0.0/8", "10.255.255.255"),
        (" 192.0.2.1 , 10.0.0.0/8 ", "192.0.2.1"),
        ("0.0.0.0/0", "192.0.2.1"),
        ("::1", IPv6Address("TCP", "::1", 1)),
        ("::1", "0:0:0:0:0:0:0:1"),
        ("2001:DB8::/32", "2001:db8:ffff::1"),
        ("fe80::/10", IPv6Address("TCP", "fe80::1%eth0", 1, 0, "eth0")),
        ("fe80::1", "fe80::1%2"),
        ("::/0", "2001:db8::1"),
        ("unix", UNIXAddress(b"/run/proxy.sock")),
        ("unix", UNIXAddress(None)),
        ("unix", "unix"),
        ("127.0.0.1,unix", "unix"),
        ("*", "192.0.2.1"),
        ("*", UNIXAddress(None)),
        ("*", object()),
        ("10.0.0.0/8,*", "192.0.2.1"),
    ],
)
def test_trusted(allowed: str, address: object) -> None:
    """A proxy is trusted that is named, however its address is written."""
    assert TrustedProxies(allowed).trusts(address)


@pytest.mark.parametrize(
    ("allowed", "address"),
    [
        ("127.0.0.1", "127.0.0.2"),
        ("127.0.0.1", IPv4Address("TCP", "192.0.2.1", 1)),
        ("127.0.0.1", "127.0.0.1 "),
        ("127.0.0.1", "127.0.0.01"),
        ("127.0.0.1", "127.1"),
        ("127.0.0.1", ""),
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "::1"),
        ("127.0.0.1", "::127.0.0.1"),
        ("127.0.0.1", "unix"),
        ("127.0.0.1", UNIXAddress(b"127.0.0.1")),
        ("127.0.0.1", HostnameAddress(b"127.0.0.1", 1)),
        ("127.0.0.1", None),
        ("10.0.0.0/8", "11.0.0.0"),
        ("::/0", "192.0.2.1"),
        ("::/0", "::ffff:192.0.2.1"),
        ("0.0.0.0/0", "2001:db8::1"),
        ("fe80::1", "fe80::2%eth0"),
        ("0.0.0.0/0,::/0", UNIXAddress(None)),
        ("unix", "127.0.0.1"),
        ("unix", "/run/proxy.sock"),
        ("unix", "unix:"),
    ],
)
def test_not_trusted(allowed: str, address: object) -> None:
    """Nobody else is trusted."""
    assert not TrustedProxies(allowed).trusts(address)


@pytest.mark.parametrize(
    ("allowed", "line"),
    [
        (
            "localhost",
            "neither an address, unix nor *: 'localhost' does not appear to be an "
            "IPv4 or IPv6 network",
        ),
        (
            "10.0.0.1/8",
            "neither an address, unix nor *: 10.0.0.1/8 has host bits set",
        ),
        ("fe80::1%eth0", "it must have no zone, and be IPv4 if it can be: {!r}"),
        ("::ffff:10.0.0.1", "it must have no zone, and be IPv4 if it can be: {!r}"),
        *(
            (
                wrong,
                "neither an address, unix nor *: {!r} does not appear to be an "
                "IPv4 or IPv6 network",
            )
            for wrong in ("", "10.0.0.0/33", "10.0.0.", "[::1]", "1.2.3.4:80", "**")
        ),
    ],
)
def test_wrong_names(allowed: str, line: str) -> None:
    """What names no proxy is refused in one line, also after one that is right."""
    for names in (allowed, f"127.0.0.1,{allowed}", f"{allowed},*"):
        with pytest.raises(ValueError, match=r"^[^\n]+$") as raised:
            TrustedProxies(names)
        assert str(raised.value) == line.format(allowed)


# -- what a proxy tells ---------------------------------------------------------------


EVERYTHING = {
    "x_for": "192.0.2.7",
    "x_proto": "https",
    "x_host": "other.example",
    "x_port": "1",
    "forwarded": "for=192.0.2.7;proto=https;host=other.example",
}


@pytest.mark.parametrize("peer", ["192.0.2.1", UNIXAddress(None), "", None])
def test_anybody_else(peer: object) -> None:
    """Who is not trusted changes nothing, whatever it sends."""
    assert changed(PROXY, peer, **EVERYTHING) == {}
    assert changed(PROXY, peer, x_for="@", forwarded='for="') == {}


def test_nothing_told() -> None:
    """A trusted proxy that tells nothing changes nothing."""
    assert changed(PROXY) == {}
    assert changed(PROXY, x_for="", x_proto=" ", x_host=",", forwarded=" , ,") == {}
    assert changed(PROXY, forwarded=";") == {}
    assert changed(PROXY, forwarded="by=203.0.113.1;secret=x") == {}


def test_headers_stay() -> None:
    """The headers are in environ as they came."""
    environ = {**BEFORE, **headers(**EVERYTHING)}

    TrustedProxies(PROXY).apply(environ, PROXY)

    assert headers(**EVERYTHING).items() <= environ.items()


ADDRESSES = {
    # As in X-Forwarded-For, and unless with brackets in Forwarded too.
    "192.0.2.7": client("192.0.2.7"),
    "192.0.2.7:1234": client("192.0.2.7", "1234"),
    "192.0.2.7:0": client("192.0.2.7", "0"),
    "192.0.2.7:00080": client("192.0.2.7", "80"),
    "192.0.2.7:65535": client("192.0.2.7", "65535"),
    "192.0.2.7:_a.b-c_": client("192.0.2.7"),
    "[2001:db8::7]": client("2001:db8::7"),
    "[2001:DB8:0:0::7]:1234": client("2001:db8::7", "1234"),
    "[2001:db8::7]:_http": client("2001:db8::7"),
    "2001:db8::7": client("2001:db8::7"),
    "2001:db8::7:1234": client("2001:db8::7:1234"),
    "::": client("::"),
    "fe80::1%eth0": client("fe80::1"),
    "[fe80::1%<script>]": client("fe80::1"),
    "::ffff:192.0.2.7": client("192.0.2.7"),
    "[::ffff:192.0.2.7]:80": client("192.0.2.7", "80"),
    "unknown": client(""),
    "UNKNOWN": client(""),
    "unknown:80": client(""),
    "_hidden": client(""),
    "_": None,
    "_SEVKISEK._-": client(""),
    "_hidden:_port": client(""),
    "unix:": client(""),
    "unix": None,
    "192.0.2.7:": None,
    "192.0.2.7:65536": None,
    "192.0.2.7:123456": None,
    "192.0.2.7:-1": None,
    "192.0.2.7:8_0": None,
    "192.0.2.7:80:80": None,
    "192.0.2": None,
    "192.0.2.07": None,
    "192.0.2.256": None,
    "192.0.2.7/32": None,
    "192.0.2.7%eth0": None,
    "192.0.2.7 192.0.2.8": None,
    "192.0.2.\xb2": None,
    "[192.0.2.7]": None,
    "[192.0.2.7]:80": None,
    "[192.0.2.7": None,
    "[2001:db8::7": None,
    "2001:db8::7]": None,
    "[2001:db8::7]80": None,
    "[[2001:db8::7]]": None,
    "[]": None,
    ":": None,
    ":80": None,
    "[unknown]": None,
    "2001:db8::g": None,
    "localhost": None,
    "client.example": None,
    "_a/b": None,
    "_\xe4": None,
    "*": None,
}


@pytest.mark.parametrize(("text", "expected"), ADDRESSES.items())
def test_address(text: str, expected: Environ | None) -> None:
    """
    An address is understood as proxies write it, and otherwise the request refused.

    What is hidden is unknown, and neither the proxy's nor what stands before it.
    """
    quoted = text.replace("\\", "\\\\")
    sent = [{"x_for": f"192.0.2.66, {text}"}, {"forwarded": f'for="{quoted}"'}]
    for values in sent:
        if expected is None:
            with pytest.raises(Refused) as refused:
                changed(PROXY, **values)
            assert refused.value.code == 400
        else:
            assert changed(PROXY, **values) == expected


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("wss", "https"),
        ("http", "http"),
        ("ws", "http"),
        *(
            (wrong, None)
            for wrong in ("ftp", "on", "https:", "http s", "\xdfhttp", "h")
        ),
    ],
)
def test_scheme(text: str, scheme: str | None) -> None:
    """The scheme is http or https, also where a proxy says what is made of it."""
    for values in ({"x_proto": text}, {"forwarded": f'proto="{text}"'}):
        if scheme is None:
            with pytest.raises(Refused):
                changed(PROXY, **values)
        else:
            port = {"https": "443", "http": "80"}[scheme]
            expected = {"wsgi.url_scheme": scheme, "SERVER_PORT": port}
            if scheme == "http":
                del expected["wsgi.url_scheme"]
            assert changed(PROXY, **values) == expected


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("other.example", "other.example", "80"),
        ("Other.Example:", "Other.Example", "80"),
        ("other.example:8443", "other.example", "8443"),
        ("203.0.113.1:81", "203.0.113.1", "81"),
        ("[2001:db8::1]", "[2001:db8::1]", "80"),
        ("[2001:db8::1]:81", "[2001:db8::1]", "81"),
        ("[v1.a:b]:81", "[v1.a:b]", "81"),
        *(
            (wrong, "", "")
            for wrong in (
                *(
                    ":80",
                    "a:b",
                    "a:65536",
                    "a:80:80",
                    "a b",
                    "a/b",
                    "a@b",
                    "a?b",
                    "<a>",
                ),
                *("2001:db8::1", "[2001:db8::1", "[::g]", "[::1]a", "\xe4.example"),
            )
        ),
    ],
)
def test_host(text: str, name: str, port: str) -> None:
    """A host is what a Host header may be, and both names and the port are its."""
    for values in ({"x_host": text}, {"forwarded": f'host="{text}"'}):
        if not name:
            with pytest.raises(Refused):
                changed(PROXY, **values)
        else:
            assert changed(PROXY, **values) == {
                "HTTP_HOST": text,
                "SERVER_NAME": name,
                "SERVER_PORT": port,
            }


@pytest.mark.parametrize(
    ("values", "port"),
    [
        ({"x_proto": "https"}, "443"),
        ({"x_proto": "http"}, "80"),
        ({"x_proto": "https", "x_port": "8443"}, "8443"),
        ({"x_port": "8443"}, "8443"),
        ({"x_port": "08443"}, "8443"),
        ({"x_host": "a", "x_port": "81"}, "81"),
        ({"x_host": "a:82", "x_port": "81"}, "82"),
        ({"x_host": "a", "x_proto": "https"}, "443"),
        ({"host": "a:83", "x_proto": "https"}, "83"),
        ({"host": "a:83", "x_port": "443"}, "83"),
        ({"host": "[::1]", "x_proto": "https"}, "443"),
        ({"host": "", "x_proto": "https"}, "443"),
        ({"host": "a:83", "x_for": "192.0.2.7"}, "8080"),
        ({"forwarded": "proto=https;port=81"}, "443"),
    ],
)
def test_server_port(values: dict[str, str], port: str) -> None:
    """SERVER_PORT is the host's, else what is told, else that of the scheme."""
    environ = {**BEFORE, **headers(**values)}

    TrustedProxies(PROXY).apply(environ, PROXY)

    assert environ["SERVER_PORT"] == port


def test_without_a_host() -> None:
    """A request of HTTP/1.0 may have no Host header."""
    environ = {**BEFORE, **headers(x_proto="https")}
    del environ["HTTP_HOST"]

    TrustedProxies(PROXY).apply(environ, PROXY)

    assert environ["SERVER_PORT"] == "443"
    assert "HTTP_HOST" not in environ


@pytest.mark.parametrize("port", ["65536", "-1", "8o", "80 81", "\xb2", "443;"])
def test_wrong_port(port: str) -> None:
    """What is no port is refused."""
    with pytest.raises(Refused):
        changed(PROXY, x_port=port)


# -- ways through several proxies -----------------------------------------------------


WAY = "10.0.0.0/8, 2001:db8:a::/48, unix"


@pytest.mark.parametrize(
    ("allowed", "x_for", "address"),
    [
        (WAY, "192.0.2.7", "192.0.2.7"),
        (WAY, "192.0.2.66, 192.0.2.7", "192.0.2.7"),
        (WAY, "192.0.2.7,10.0.0.2", "192.0.2.7"),
        (WAY, "10.0.0.9, 192.0.2.7, 10.0.0.3:80, 10.0.0.2", "192.0.2.7"),
        (WAY, "192.0.2.7, [2001:db8:a::1]:5, unix:, ::ffff:10.0.0.2", "192.0.2.7"),
        (PROXY, "192.0.2.66, unix:", ""),
        (WAY, "192.0.2.66, unknown", ""),
        (WAY, "192.0.2.66, _hidden, 10.0.0.2", ""),
        # Nobody else is named: the farthest that is.
        (WAY, "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (WAY, "unix:", ""),
        # What a client has sent does not matter.
        (WAY, '"\\, :, [, <>, 192.0.2.7', "192.0.2.7"),
        (WAY, ", ,192.0.2.7,,10.0.0.2, \t,", "192.0.2.7"),
        # Whoever connects is trusted, but no hop that has no name.
        ("*", "192.0.2.66, 192.0.2.7", "192.0.2.7"),
        ("*", "192.0.2.66, 10.0.0.2", "10.0.0.2"),
        ("*, 10.0.0.0/8", "192.0.2.66, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("0.0.0.0/0", "192.0.2.66, 192.0.2.7", "192.0.2.66"),
    ],
)
def test_several_hops(allowed: str, x_for: str, address: str) -> None:
    """The client is the right-most hop that is not trusted."""
    assert changed(allowed, x_for=x_for)["REMOTE_ADDR"] == address


def test_port_of_another_hop() -> None:
    """The port of a proxy is not the client's."""
    assert changed(WAY, x_for="192.0.2.7, 10.0.0.2:1234") == client("192.0.2.7")
    assert changed(WAY, forwarded='for=192.0.2.7, for="10.0.0.2:1"') == client(
        "192.0.2.7"
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Each proxy adds.
        (
            {"x_for": "192.0.2.7, 10.0.0.2", "x_proto": "https, http"},
            {**client("192.0.2.7"), **HTTPS},
        ),
        # The client sent one, too.
        (
            {"x_for": "192.0.2.66, 192.0.2.7", "x_proto": "https, http"},
            {**client("192.0.2.7"), "SERVER_PORT": "80"},
        ),
        ({"x_proto": "https, http"}, {"SERVER_PORT": "80"}),
        # There is one value for all of the way.
        (
            {"x_for": "192.0.2.7, 10.0.0.3, 10.0.0.2", "x_proto": "https"},
            {**client("192.0.2.7"), **HTTPS},
        ),
        # The proxy before the last one begins.
        (
            {"x_for": "192.0.2.7, 10.0.0.3, 10.0.0.2", "x_proto": "https, http"},
            {**client("192.0.2.7"), **HTTPS},
        ),
        (
            {
                "x_for": "192.0.2.7, 10.0.0.2",
                "x_host": "public.example, inner.example:8000",
                "x_port": "8443, 8000",
            },
            {
                **client("192.0.2.7"),
                "HTTP_HOST": "public.example",
                "SERVER_NAME": "public.example",
                "SERVER_PORT": "8443",
            },
        ),
        # What is beyond the client is not looked at.
        (
            {"x_for": "@, 192.0.2.7", "x_proto": "@, https", "x_host": "@, @, a"},
            {**client("192.0.2.7"), **HTTPS, "HTTP_HOST": "a", "SERVER_NAME": "a"},
        ),
        ({"forwarded": 'proto="@", for="@;, for=192.0.2.7'}, client("192.0.2.7")),
        (
            {"forwarded": "for=192.0.2.7;proto=https, for=10.0.0.2;proto=http"},
            {**client("192.0.2.7"), **HTTPS},
        ),
        (
            {"forwarded": "for=192.0.2.66;proto=https, for=192.0.2.7"},
            client("192.0.2.7"),
        ),
        # What the farther proxy does not tell is as the nearer has it.
        (
            {"forwarded": "for=192.0.2.7, for=10.0.0.2;proto=https;host=a"},
            {**client("192.0.2.7"), **HTTPS, "HTTP_HOST": "a", "SERVER_NAME": "a"},
        ),
        # A proxy that does not tell of whom it speaks is the last that does.
        (
            {"forwarded": "for=192.0.2.66, proto=https, for=10.0.0.2"},
            {**client("10.0.0.2"), **HTTPS},
        ),
        ({"forwarded": "for=192.0.2.66, proto=https"}, HTTPS),
    ],
)
def test_what_belongs_to_a_hop(values: dict[str, str], expected: Environ) -> None:
    """Scheme and host are those that the client has used, as far as they are told."""
    assert changed(WAY, **values) == expected


@pytest.mark.parametrize("values", [{"x_for": "@, 10.0.0.2"}, {"x_proto": "https, @"}])
def test_garbage_of_a_trusted_proxy(values: dict[str, str]) -> None:
    """What stands where a trusted proxy writes has to be understood."""
    with pytest.raises(Refused):
        changed(WAY, **values)


# -- Forwarded ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "forwarded",
    [
        "for=192.0.2.7;proto=https",
        "For=192.0.2.7; PROTO=HTTPS",
        ' ;;proto="https" ;\tfor="192.0.2.7";',
        'for=192.0.2.7;proto=https;by=203.0.113.43;ext="a;b=\\"c"',
        'for="192\\.0.2.\\7";proto="\\https"',
        "proto=https;for=192.0.2.7;by=_x;!#$%&'*+-.^_`|~=x",
    ],
)
def test_syntax_of_forwarded(forwarded: str) -> None:
    """RFC 7239, 4: pairs in any order and case, quoted or not, others among them."""
    assert changed(PROXY, forwarded=forwarded) == {**client("192.0.2.7"), **HTTPS}


def test_unquoted() -> None:
    """Colons and brackets should be in quotes, and are understood without."""
    assert changed(PROXY, forwarded="for=[2001:db8::7]:80;host=a:81") == {
        **client("2001:db8::7", "80"),
        "HTTP_HOST": "a:81",
        "SERVER_NAME": "a",
        "SERVER_PORT": "81",
    }


@pytest.mark.parametrize(
    "forwarded",
    [
        "192.0.2.7",
        "for",
        "for=",
        'for=""',
        "=192.0.2.7",
        "for =192.0.2.7",
        "for= 192.0.2.7",
        "for=192.0.2.7 proto=https",
        'for="192.0.2.7',
        'for=192.0.2.7"',
        'for="192.0.2.7"x',
        'for="192.0.2.7\\"',
        "for=192.0.2.7\\",
        "for=192.0.2.7;for=192.0.2.7",
        "proto=http;PROTO=https",
        'for="_a\x00"',
        "f\xf6r=192.0.2.7",
        # A comma in quotes.
        'for=192.0.2.7;ext="a,b"',
    ],
)
def test_wrong_syntax_of_forwarded(forwarded: str) -> None:
    """What a proxy cannot have meant is refused."""
    with pytest.raises(Refused) as refused:
        changed(PROXY, forwarded=forwarded)
    assert refused.value.code == 400


@pytest.mark.parametrize("sent", ['for="', 'for=192.0.2.66;x="', 'x="\\', '"', '="'])
@pytest.mark.parametrize("added", ["for=192.0.2.7", 'for="[2001:db8::7]"'])
def test_open_quote(sent: str, added: str) -> None:
    """A quote that a client opens does not hide what the proxy adds."""
    alone = changed(PROXY, forwarded=added)

    assert changed(PROXY, forwarded=f"{sent}, {added}") == alone


# -- both kinds -----------------------------------------------------------------------


def test_both_tell_the_same() -> None:
    """Both kinds may come, from a proxy that writes both."""
    assert changed(
        PROXY,
        x_for="192.0.2.66, 192.0.2.7",
        x_proto="https",
        x_host="a",
        forwarded='for="192.0.2.7:80";host=a;proto=https',
    ) == {
        **client("192.0.2.7", "80"),
        **HTTPS,
        "HTTP_HOST": "a",
        "SERVER_NAME": "a",
    }
    assert changed(PROXY, x_for=" , ", forwarded="proto=https") == HTTPS
    assert changed(PROXY, x_proto="https", forwarded="by=_x") == HTTPS


@pytest.mark.parametrize(
    ("forwarded", "values"),
    [
        ("for=192.0.2.66", {"x_for": "192.0.2.7"}),
        ("for=unknown", {"x_for": "192.0.2.7"}),
        ("for=192.0.2.66;proto=https", {"x_for": "192.0.2.66", "x_proto": "http"}),
        # One of them is the client's, which has added what the proxy leaves out.
        ("host=evil.example", {"x_for": "192.0.2.7", "x_proto": "https"}),
        ("for=192.0.2.7;host=evil.example", {"x_for": "192.0.2.7"}),
        ("for=192.0.2.7", {"x_for": "192.0.2.7", "x_host": "evil.example"}),
        ("for=192.0.2.7", {"x_port": "1"}),
    ],
)
def test_both_differ(forwarded: str, values: dict[str, str]) -> None:
    """One of two that differ is not the proxy's, and nobody knows which."""
    with pytest.raises(Refused) as refused:
        changed(PROXY, forwarded=forwarded, **values)
    assert refused.value.code == 400
    assert "Forwarded and X-Forwarded-* differ" in refused.value.why


# -- bounds ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "hop"),
    [("x_for", "10.0.0.2"), ("x_proto", "https"), ("forwarded", "for=10.0.0.2")],
)
def test_long_lists(kind: str, hop: str) -> None:
    """A list may have a hundred elements; one with more is refused."""
    changed(WAY, **{kind: ",".join([hop] * 100)})

    for too_long in (",".join([hop] * 101), "," * 100 + hop, hop + "," * 1_000_000):
        with pytest.raises(Refused):
            changed(WAY, **{kind: too_long})


# What makes an expression that goes back and forth take minutes for a header.
LARGE = 1 << 20


@pytest.mark.parametrize("kind", ["x_for", "x_proto", "x_host", "x_port", "forwarded"])
@pytest.mark.parametrize(
    "text",
    [
        *("[" + ":" * LARGE, "[" * LARGE, ":" * LARGE, "a" * LARGE, "1" * LARGE),
        *('for="' + "\\" * LARGE, 'for="' + "a" * LARGE, "a=b " + " " * LARGE + "x"),
        *(
            ";" * LARGE + "!",
            "a=b;" * (LARGE // 4) + "!",
            "1." * LARGE,
            "_" * LARGE + "/",
        ),
    ],
    ids=lambda text: text[:8],
)
def test_large_values(kind: str, text: str) -> None:
    """A large value is looked at once and refused, unless it is a very long host."""
    with suppress(Refused):
        assert changed(WAY, **{kind: text})["HTTP_HOST"] == text


def test_large_lists_are_not_kept() -> None:
    """What is left of the client may be long, and is read anew each time."""
    proxies = TrustedProxies(PROXY)
    environ = {**BEFORE, **headers(x_for="x" * 5000 + ", 192.0.2.7")}
    for _ in range(2):
        proxies.apply(environ, PROXY)
        assert environ["REMOTE_ADDR"] == "192.0.2.7"


def test_one_request_after_another() -> None:
    """What is kept of one request does not show in the next."""
    proxies = TrustedProxies(PROXY)
    for host in ("a.example", "b.example:81", "a.example"):
        environ = {**BEFORE, "HTTP_HOST": host, **headers(x_proto="https")}
        proxies.apply(environ, PROXY)
        assert environ["SERVER_PORT"] == ("81" if "81" in host else "443")
        environ["wsgi.url_scheme"] = "changed"


# -- any header -----------------------------------------------------------------------


PIECES = st.sampled_from(
    [
        *("for=", "proto=", "host=", "192.0.2.7", "10.0.0.2", "[2001:db8::7]", ":80"),
        *(",", ";", '"', "\\", "=", " ", "https", "unknown", "_x", "unix:", "[", "]"),
    ]
)
VALUES = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=40),
    st.lists(PIECES, max_size=12).map("".join),
)
HEADERS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["x_for", "x_proto", "x_host", "x_port"], VALUES)
) | st.fixed_dictionaries({}, optional={"x_for": VALUES, "forwarded": VALUES})


@given(HEADERS, st.sampled_from([WAY, PROXY, "*", "0.0.0.0/0,::/0,unix"]))
def test_any_header(values: dict[str, str], allowed: str) -> None:
    """Whatever a header has, it is refused, or environ is still valid."""
    environ = {**BEFORE, **headers(**values)}
    before = dict(environ)
    try:
        TrustedProxies(allowed).apply(environ, PROXY)
    except Refused:
        assert environ == before
        return
    assert environ.keys() == before.keys()
    if environ["REMOTE_ADDR"]:
        assert str(ip_address(environ["REMOTE_ADDR"])) == environ["REMOTE_ADDR"]
    for port in (environ["REMOTE_PORT"] or "0", environ["SERVER_PORT"]):
        assert str(int(port)) == port.lstrip("0").rjust(1, "0")
        assert int(port) < 65536
    assert environ["wsgi.url_scheme"] in ("http", "https")
    assert environ["SERVER_NAME"]
    assert environ["HTTP_HOST"].startswith(environ["SERVER_NAME"])


@given(HEADERS, st.sampled_from(["192.0.2.1", "::1", "unix", UNIXAddress(None), None]))
def test_any_header_of_anybody(values: dict[str, str], peer: object) -> None:
    """Whatever a header has, it does nothing when nobody trusted sent it."""
    assert changed(PROXY, peer, **values) == {}


@given(
    VALUES,
    st.ip_addresses(network="203.0.113.0/24")
    | st.ip_addresses(network="2001:db8::/32"),
    st.lists(st.sampled_from(["10.0.0.2", "10.0.0.3:80", "unix:"]), max_size=3),
)
@example('for="', ip_address("2001:db8::7"), ["10.0.0.2"])
def test_client_cannot_choose_its_address(
    sent: str, address: Any, proxies: list[str]
) -> None:
    """Whatever a client sends, its address is what the first trusted proxy saw."""
    node = f"[{address}]" if address.version == 6 else str(address)
    added = [f'for="{hop}"' for hop in (node, *proxies)]
    way = "10.0.0.0/8, unix"

    assert changed(way, x_for=", ".join([sent, str(address), *proxies])) == client(
        str(address)
    )
    assert changed(way, forwarded=", ".join([sent, *added])) == client(str(address))


# -- the resource ---------------------------------------------------------------------


def where(environ, start_response):
    """Answers with what this is about."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({key: environ[key] for key in BEFORE}).encode()]


def served_from(
    peer: IAddress, request: bytes, allowed: str | None, application: Any = where
) -> Served:
    """The response to a request from an address."""
    served = serve(application, b"", forwarded_allow_ips=allowed)
    served.transport.peerAddr = peer  # type: ignore[assignment]  # None there
    served.send(request)
    return served


ASKED = (
    b"GET / HTTP/1.1\r\nHost: site.example\r\nX-Forwarded-For: 192.0.2.66\r\n"
    b"X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"
)


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        (IPv4Address("TCP", PROXY, 40000), PROXY),
        (IPv6Address("TCP", f"::ffff:{PROXY}", 40000), PROXY),
        (UNIXAddress(None), "unix"),
    ],
)
def test_resource(peer: IAddress, allowed: str) -> None:
    """A resource puts what a trusted proxy tells into environ; lines are one list."""
    told = json.loads(served_from(peer, ASKED, allowed).read().split(b"\r\n\r\n")[1])

    assert told == {
        **BEFORE,
        **client("192.0.2.7"),
        **HTTPS,
    }


@pytest.mark.parametrize("allowed", [None, "10.0.0.2", "unix"])
def test_resource_that_trusts_others(allowed: str | None) -> None:
    """By default nobody is trusted, else those who are named."""
    peer = IPv4Address("TCP", PROXY, 40000)

    told = json.loads(served_from(peer, ASKED, allowed).read().split(b"\r\n\r\n")[1])

    assert told["REMOTE_ADDR"] == PROXY
    assert told["REMOTE_PORT"] == "40000"
    assert told["wsgi.url_scheme"] == "http"


def test_resource_refuses() -> None:
    """The application does not see what cannot be understood; the client gets 400."""
    called: list[Environ] = []
    peer = IPv4Address("TCP", PROXY, 40000)
    request = ASKED.replace(b"https", b"ftp")

    def application(environ, start_response):
        called.append(environ)
        return where(environ, start_response)

    served = served_from(peer, request + request, PROXY, application)

    response = served.read()
    assert response.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert response.count(b"HTTP/1.1") == 1
    assert b"not understood: the scheme" in response
    assert served.closed
    assert called == []


def test_resource_with_wrong_names() -> None:
    """Who makes a resource learns at once of a name that is none."""
    with pytest.raises(ValueError, match="'localhost'"):
        WSGIResource(Turns(), where, forwarded_allow_ips="localhost")


# -- the command ----------------------------------------------------------------------


APPLICATION = f"""
import json

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    told = {{key: environ[key] for key in {[*BEFORE]} if key in environ}}
    return [json.dumps(told).encode()]
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """With an application; of a short name, for that of a socket must be short."""
    with tempfile.TemporaryDirectory(prefix="wsgi") as name:
        Path(name, "where.py").write_text(APPLICATION)
        yield Path(name)


def told_by(server: Server, request: bytes) -> Environ:
    """What the application of a server finds, asked from the address 127.0.0.1."""
    with server.connect() as connection:
        return told_on(connection, request)


def told_on(connection: socket.socket, request: bytes) -> Environ:
    """What an application finds, asked once on a connection."""
    connection.sendall(request)
    response = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), response
    found: Environ = json.loads(body)
    return found


def request(*lines: str, host: str = "site.example") -> bytes:
    """A request that is the last on its connection."""
    head = ["GET / HTTP/1.1", f"Host: {host}", "Connection: close", *lines, "", ""]
    return "\r\n".join(head).encode()


def test_command(directory: Path) -> None:
    """The command believes the proxies that it is told of."""
    with serving(
        *("--forwarded-allow-ips", "10.0.0.0/8,127.0.0.1", "where.py"), cwd=directory
    ) as server:
        told = told_by(
            server,
            request(
                "X-Forwarded-For: 192.0.2.66, 192.0.2.7, 10.0.0.2",
                "X-Forwarded-Proto: https",
                "X-Forwarded-Host: public.example:8443",
            ),
        )
        refused = server.request("/", Forwarded='for="')

    assert told == {
        **client("192.0.2.7"),
        "wsgi.url_scheme": "https",
        "HTTP_HOST": "public.example:8443",
        "SERVER_NAME": "public.example",
        "SERVER_PORT": "8443",
    }
    assert refused.status == 400


@pytest.mark.parametrize("arguments", [[], ["--forwarded-allow-ips", "10.0.0.1,unix"]])
def test_command_without_it(directory: Path, arguments: list[str]) -> None:
    """The command believes nobody else."""
    with serving(*arguments, "where.py", cwd=directory) as server:
        told = told_by(
            server,
            request(
                "X-Forwarded-For: 192.0.2.7",
                "X-Forwarded-Proto: https",
                "Forwarded: for=192.0.2.7;proto=https;host=a",
            ),
        )
        port = str(server.port)

    assert told["REMOTE_ADDR"] == "127.0.0.1"
    assert told["wsgi.url_scheme"] == "http"
    assert (told["SERVER_NAME"], told["SERVER_PORT"]) == ("site.example", port)


# -- HAProxy --------------------------------------------------------------------------


SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def version_2(command: int, family: int, addresses: bytes) -> bytes:
    """A header of the PROXY protocol, version 2 (proxy-protocol.txt, 2.2)."""
    return (
        SIGNATURE
        + struct.pack("!BBH", 0x20 | command, family, len(addresses))
        + addresses
    )


def inet(family: int, *addresses: str) -> bytes:
    """The addresses of a client, port 1234, and of what it has connected to."""
    packed = [socket.inet_pton(family, address) for address in addresses]
    return b"".join(packed) + struct.pack("!2H", 1234, 8443)


UNIX_NAMES = struct.pack("!108s108s", b"/run/client.sock", b"/run/proxy.sock")
REAL = None

PROXIED = {
    "v1 TCP4": (b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 8443\r\n", "192.0.2.7"),
    "v1 TCP6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 1234 8443\r\n", "2001:db8::7"),
    # Twisted wants something to follow, and drops the connection without it.
    "v1 UNKNOWN": (b"PROXY UNKNOWN 192.0.2.7 192.0.2.1 1234 1\r\n", REAL),
    "v2 TCP4": (
        version_2(1, 0x11, inet(socket.AF_INET, "192.0.2.7", "192.0.2.1")),
        "192.0.2.7",
    ),
    "v2 TCP6": (
        version_2(1, 0x21, inet(socket.AF_INET6, "2001:db8::7", "2001:db8::1")),
        # As Twisted writes it.
        "2001:db8:0:0:0:0:0:7",
    ),
    "v2 UNIX": (version_2(1, 0x31, UNIX_NAMES), ""),
    "v2 UNSPEC": (version_2(1, 0x00, b""), REAL),
    "v2 LOCAL": (version_2(0, 0x00, b""), REAL),
    "v2 LOCAL with addresses": (
        version_2(0, 0x11, inet(socket.AF_INET, "192.0.2.7", "192.0.2.1")),
        REAL,
    ),
}


@pytest.fixture(scope="module")
def behind_haproxy() -> Iterator[Server]:
    """A server at an endpoint that wants the PROXY protocol."""
    with tempfile.TemporaryDirectory(prefix="wsgi") as name:
        Path(name, "where.py").write_text(APPLICATION)
        with serving(
            *("--listen", "haproxy:tcp:0:interface=127.0.0.1"),
            *("--forwarded-allow-ips", "192.0.2.7,2001:db8::7"),
            "where.py",
            cwd=Path(name),
        ) as server:
            yield server


@pytest.mark.parametrize(("header", "address"), PROXIED.values(), ids=PROXIED)
def test_haproxy(behind_haproxy: Server, header: bytes, address: str | None) -> None:
    """The PROXY protocol's addresses are in environ, else those of the connection."""
    with behind_haproxy.connect() as connection:
        own = connection.getsockname()
        told = told_on(connection, header + request())

    if address is REAL:
        assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == (own[0], str(own[1]))
        assert told["SERVER_PORT"] == str(behind_haproxy.port)
    elif address:
        assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == (address, "1234")
        assert told["SERVER_PORT"] == "8443"
    else:
        assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == ("", "")
        assert told["SERVER_PORT"] == "80"


@pytest.mark.parametrize(
    "begins", [b"", b"PROXY UNKNOWN\r\n", b"PROXY TCP9 a b 1 2\r\n"]
)
def test_who_is_no_haproxy_is_dropped(behind_haproxy: Server, begins: bytes) -> None:
    """At once, without a word."""
    with behind_haproxy.connect() as connection:
        connection.sendall(begins + request())

        assert connection.recv(100) == b""


@pytest.mark.parametrize(
    ("header", "trusted"),
    [(header, bool(address)) for header, address in PROXIED.values()],
    ids=PROXIED,
)
def test_proxy_before_haproxy(
    behind_haproxy: Server, header: bytes, trusted: bool
) -> None:
    """Who is trusted is told from the address that the PROXY protocol has."""
    with behind_haproxy.connect() as connection:
        told = told_on(connection, header + request("X-Forwarded-For: 203.0.113.9"))

    assert (told["REMOTE_ADDR"] == "203.0.113.9") is trusted


# -- nginx ----------------------------------------------------------------------------


NGINX = """
daemon off;
user {user} {group};
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{http}
}}
"""

# One at the edge, with TLS, and one behind it that changes the Host header.
TWO = """
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        location / {{
            proxy_pass http://unix:{directory}/inner.sock:;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header Forwarded "for=$remote_addr;proto=$scheme;host=$http_host";
        }}
    }}
    server {{
        listen unix:{directory}/inner.sock;
        location / {{
            proxy_pass http://unix:{directory}/http.sock:;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header Forwarded "$http_forwarded, for=\\"unix:\\"";
        }}
    }}
"""


def documented() -> str:
    """The configuration of nginx that the documentation has."""
    page = (CHECKOUT / "docs" / "commandline.md").read_text(encoding="utf-8")
    section = page.partition("\n## Behind nginx\n")[2].partition("\n## ")[0]
    lines = section.splitlines()
    return "\n".join(line for line in lines if line.startswith("    ") or not line)


@contextmanager
def nginx(directory: Path, http: str, *listening: socket.socket) -> Iterator[None]:
    """Have nginx serve on sockets that are open."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "there is no nginx; on Debian: apt-get install nginx"
    configuration = directory / "nginx.conf"
    # Started as root, its workers would be somebody else, who cannot go there.
    user = getpwuid(os.geteuid()).pw_name
    group = getgrgid(os.getegid()).gr_name
    configuration.write_text(
        NGINX.format(directory=directory, http=http, user=user, group=group)
    )
    descriptors = [each.fileno() for each in listening]
    process = subprocess.Popen(
        [program, "-p", directory, "-e", directory / "error.log", "-c", configuration],
        # It takes over the sockets of such descriptors, as when it is upgraded.
        env={**os.environ, "NGINX": "".join(f"{number};" for number in descriptors)},
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_nginx(directory: Path, over: str) -> None:
    """nginx, set up as the documentation says, tells the client's address and host."""
    unix = directory / "http.sock"
    endpoint = {"tcp": "tcp:0:interface=127.0.0.1", "unix": f"unix:{unix}"}[over]
    with (
        serving(
            *("--listen", endpoint, "--forwarded-allow-ips", "127.0.0.1,unix"),
            "where.py",
            cwd=directory,
        ) as server,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        upstream = f"unix:{unix}" if over == "unix" else f"127.0.0.1:{server.port}"
        port = listening.getsockname()[1]
        http = documented()
        assert "unix:/run/mysite/http.sock" in http
        http = http.replace("unix:/run/mysite/http.sock", upstream)
        http = http.replace("listen 80;", f"listen 127.0.0.1:{port};")
        with nginx(directory, http, listening), asking(port) as connection:
            own = connection.getsockname()
            told = told_on(
                connection,
                request(
                    "X-Forwarded-For: 203.0.113.66",
                    "X-Forwarded-Proto: https",
                    "X-Forwarded-Host: evil.example",
                    "X-Forwarded-Port: 1",
                    "Forwarded: for=203.0.113.66;proto=https;host=evil.example",
                    host=f"site.example:{port}",
                ),
            )

    assert own[0] == "127.0.0.77"
    assert told == {
        **client("127.0.0.77"),
        "wsgi.url_scheme": "http",
        "HTTP_HOST": f"site.example:{port}",
        "SERVER_NAME": "site.example",
        "SERVER_PORT": str(port),
    }


def test_two_of_nginx(directory: Path, certificate: Path) -> None:
    """What the one at the edge tells arrives by way of the other."""
    with (
        serving(
            *("--listen", f"unix:{directory}/http.sock"),
            *("--forwarded-allow-ips", "unix", "where.py"),
            cwd=directory,
        ),
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        port = listening.getsockname()[1]
        http = TWO.format(port=port, certificate=certificate, directory=directory)
        tls = ssl.create_default_context(cafile=str(certificate))
        with (
            nginx(directory, http, listening),
            asking(port) as plain,
            tls.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            told = told_on(
                connection,
                request(
                    "X-Forwarded-For: 203.0.113.66, unix:",
                    'Forwarded: for=203.0.113.66, for="unix:", for="',
                    host=f"public.example:{port}",
                ),
            )

    assert told == {
        **client("127.0.0.77"),
        "wsgi.url_scheme": "https",
        "HTTP_HOST": f"public.example:{port}",
        "SERVER_NAME": "public.example",
        "SERVER_PORT": str(port),
    }


def asking(port: int) -> socket.socket:
    """A client of another address than all servers here."""
    return socket.create_connection(
        ("127.0.0.1", port), timeout=20, source_address=("127.0.0.77", 0)
    )
