"""What a target and a Host may be, by the letter of the RFCs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_wsgiflush._rules import (
    ABSOLUTE_FORM,
    HOST_AND_PORT,
    HOST_IS_VALID,
    SHORT_KEY,
    VARIABLES,
    Refused,
    Remembered,
    host_and_port,
    is_host,
    variable_of,
)


def test_a_refusal_has_a_status_and_a_reason() -> None:
    """For the client, and for who reads a traceback."""
    refused = Refused(400, "It is not a request.")

    assert (refused.code, refused.why) == (400, "It is not a request.")
    assert str(refused) == "(400, 'It is not a request.')"


# -- Host (RFC 9110, 7.2) -------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [
        ("example.com", "example.com", ""),
        ("example.com:8080", "example.com", "8080"),
        ("example.com:", "example.com", ""),
        ("EXAMPLE.com", "EXAMPLE.com", ""),
        ("192.0.2.1:80", "192.0.2.1", "80"),
        ("[2001:db8::1]", "[2001:db8::1]", ""),
        ("[2001:db8::1]:80", "[2001:db8::1]", "80"),
        ("[::ffff:192.0.2.1]:", "[::ffff:192.0.2.1]", ""),
        ("[v1f.future:address]:80", "[v1f.future:address]", "80"),
        ("a-b_c~d!$&'()*+,;=", "a-b_c~d!$&'()*+,;=", ""),
        ("%C3%A9.example", "%C3%A9.example", ""),
        ("", "", ""),
        (":80", "", "80"),
    ],
)
def test_hosts(host: str, name: str, port: str) -> None:
    """A name, an address or nothing, and maybe a port (RFC 3986, 3.2.2 and 3.2.3)."""
    assert is_host(host.encode())
    assert host_and_port(host) == (name, port)


@pytest.mark.parametrize(
    "value",
    [
        b"example.com:http",
        b"example.com:80:80",
        b"example.com:-1",
        b"user@example.com",
        b"example.com/path",
        b"example.com?query",
        b"example.com#fragment",
        b"example com",
        b" example.com",
        b"example.com\t",
        b"example.com, example.org",
        b"example.com\\",
        b'"example.com"',
        b"ex%mple.com",
        b"ex%4.com",
        b"2001:db8::1",
        b"[2001:db8::1",
        b"2001:db8::1]",
        b"[2001:db8::1]80",
        b"[2001:db8:::1]",
        b"[1:2:3:4:5:6:7:8:9]",
        b"[192.0.2.1]",
        b"[example.com]",
        b"[fe80::1%25eth0]",
        b"[vx.address]",
        b"[v1.]",
        b"[]",
        b"[[::1]]",
        b"\xc3\xa9.example",
        b"example.com\0",
        b"example.com\n",
    ],
)
def test_what_is_no_host(value: bytes) -> None:
    """Nothing else is one, not even with something that is before or after it."""
    assert not is_host(value)


@given(st.binary(max_size=20))
def test_a_host_is_of_few_characters(value: bytes) -> None:
    """Whatever passes has none that separates something in a URL or in a header."""
    if is_host(value):
        assert value.isascii()
        assert not set(value) & set(b' \t\r\n\0/?#@\\"<>^`{|}')


# -- what is remembered ---------------------------------------------------------------


class Lengths:
    """The lengths of texts, remembered."""

    def __init__(self) -> None:
        self.asked = 0
        self.of = Remembered(self.length)

    def length(self, text: str) -> int:
        self.asked += 1
        return len(text)


@pytest.mark.parametrize(
    ("size", "times"),
    [(0, 1), (1, 1), (SHORT_KEY, 1), (SHORT_KEY + 1, 3), (10 * SHORT_KEY, 3)],
)
def test_what_is_short_is_asked_for_once(size: int, times: int) -> None:
    """A thousand hosts of 8 KiB, which anybody may send, would stay for ever."""
    lengths = Lengths()

    assert [lengths.of["a" * size] for _ in range(3)] == [size] * 3
    assert lengths.asked == times


def test_no_more_is_remembered_than_a_thousand() -> None:
    """And what comes after those is remembered as well."""
    lengths = Lengths()
    for number in range(10_000):
        assert lengths.of[str(number)] == len(str(number))
        assert len(lengths.of) <= 1024

    assert lengths.asked == 10_000
    assert lengths.of["9999"] == 4
    assert lengths.asked == 10_000


@pytest.mark.parametrize("length", [SHORT_KEY, SHORT_KEY + 1, 10 * SHORT_KEY])
def test_long_ones_get_the_same_answers(length: int) -> None:
    """It is remembered or not, but decided alike."""
    name = b"a" * length

    assert HOST_IS_VALID[name]
    assert not HOST_IS_VALID[name + b" "]
    assert HOST_AND_PORT[name.decode() + ":80"] == (name.decode(), "80")
    assert VARIABLES[name] == "HTTP_" + "A" * length


# -- the absolute form (RFC 9112, 3.2.2) ----------------------------------------------


@pytest.mark.parametrize(
    ("target", "authority", "path"),
    [
        (b"http://example.com", b"example.com", None),
        (b"http://example.com/", b"example.com", b"/"),
        (b"HTTPS://example.com:8443/a/b?c=d", b"example.com:8443", b"/a/b"),
        (b"http://[::1]:80/a", b"[::1]:80", b"/a"),
        (b"http://example.com?a/b", b"example.com", None),
        (b"http://example.com//a", b"example.com", b"//a"),
    ],
)
def test_absolute_forms(target: bytes, authority: bytes, path: bytes | None) -> None:
    """There is an authority, then maybe a path, then maybe a query."""
    match = ABSOLUTE_FORM.fullmatch(target)

    assert match is not None
    assert (match["authority"], match["path"]) == (authority, path)


@pytest.mark.parametrize(
    "target",
    [
        b"/path",
        b"*",
        b"example.com:80",
        b"http:/example.com/",
        b"http:///path",
        b"http://:80/",
        b"http://user@example.com/",
        b"http://user:password@example.com/",
        b"ftp://example.com/",
        b"file:///etc/passwd",
        b"urn:isbn:0",
    ],
)
def test_other_forms(target: bytes) -> None:
    """No other scheme, no userinfo (RFC 9110, 4.2.4), and never an empty host."""
    assert ABSOLUTE_FORM.fullmatch(target) is None


# -- keys of environ (RFC 3875, 4.1.18) -----------------------------------------------


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        (b"Accept", "HTTP_ACCEPT"),
        (b"x-forwarded-for", "HTTP_X_FORWARDED_FOR"),
        (b"User-AGENT", "HTTP_USER_AGENT"),
        (b"a.b!", "HTTP_A.B!"),
        (b"Content-Type", "CONTENT_TYPE"),
        (b"content-length", "CONTENT_LENGTH"),
    ],
)
def test_variables(name: bytes, variable: str) -> None:
    """HTTP_, but for the two of CGI, and the name, with underscores for its dashes."""
    assert variable_of(name) == variable


@pytest.mark.parametrize(
    "name",
    [
        b"Transfer-Encoding",
        b"PROXY",
        b"X_Forwarded_For",
        b"Content_Length",
    ],
)
def test_fields_without_a_variable(name: bytes) -> None:
    """Those that would be heeded twice, or pass for something else."""
    assert variable_of(name) is None
