"""
Requests that are served, and requests that must be refused (RFC 9112, RFC 9110).

A refusal is an error status, a closed connection, no call of the application, and
above all: what follows a request of doubtful length is never taken for a request.
"""

from __future__ import annotations

import re

import pytest
from wire import FAST, TWISTED, Closed, Server, case, new_token, request, with_token

# What is said on the wire, and not when: the reactor only carries it.
pytestmark = pytest.mark.one_reactor

GET = "GET /@ HTTP/1.1\r\nHost: h\r\n"
POST = "POST /@ HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + "Transfer-Encoding: chunked\r\n\r\n"

SMUGGLED = b"GET /@ HTTP/1.1\r\nHost: smuggled\r\nX-Token: @\r\n\r\n"


# --- served

REQUEST = "GET /@ HTTP/1.1\r\n"
SERVED = [
    case("the least of HTTP/1.1", GET + "\r\n"),
    case("the least of HTTP/1.0", "GET /@ HTTP/1.0\r\n\r\n"),
    case("HTTP/1.0 with a host", "GET /@ HTTP/1.0\r\nHost: h\r\n\r\n"),
    case("an empty line first (2.2)", "\r\nGET /@ HTTP/1.1\r\nHost: h\r\n\r\n"),
    case("no space after the colon", REQUEST + "Host:h\r\n\r\n"),
    case("much space around the value", REQUEST + "Host: \t h \t\r\n\r\n"),
    case("host in small letters", REQUEST + "host: h\r\n\r\n"),
    case("host in capitals", REQUEST + "HOST: h\r\n\r\n"),
    case("host last", REQUEST + "A: b\r\nC: d\r\nHost: h\r\n\r\n"),
    case("host with a port", REQUEST + "Host: h:80\r\n\r\n"),
    case("host with an empty port", REQUEST + "Host: h:\r\n\r\n"),
    case("host is an address", REQUEST + "Host: 127.0.0.1:80\r\n\r\n"),
    case("host is an IPv6 literal", REQUEST + "Host: [fe80::1]:80\r\n\r\n"),
    case("host is an IPv4 in IPv6", REQUEST + "Host: [::1.2.3.4]\r\n\r\n"),
    case("host with capitals", REQUEST + "Host: EXAMPLE.com\r\n\r\n"),
    case("host with an underscore", REQUEST + "Host: a_b\r\n\r\n"),
    case("host with marks", REQUEST + "Host: a-b.c~d\r\n\r\n"),
    case("host with encoded bytes", REQUEST + "Host: a%C3%BC\r\n\r\n"),
    case("host with a dot last", REQUEST + "Host: h.\r\n\r\n"),
    case("all marks of a token", GET + "!#$%&'*+-.^`|~: x\r\n\r\n"),
    case("an empty value", GET + "A:\r\n\r\n"),
    case("obs-text in a value", GET + "A: \xe4\r\n\r\n"),
    case("a length of nothing", GET + "Content-Length: 0\r\n\r\n"),
    case("GET with a body", GET + "Content-Length: 2\r\n\r\nhi"),
    case("leading zeros", POST + "Content-Length: 002\r\n\r\nhi"),
    case("chunked in capitals", POST + "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n"),
    case("chunk size in capitals", CHUNKED + "A\r\n0123456789\r\n0\r\n\r\n"),
    case("chunk size with zeros", CHUNKED + "0002\r\nhi\r\n000\r\n\r\n"),
    case("a chunk extension (7.1.1)", CHUNKED + "2;a=b\r\nhi\r\n0;c\r\n\r\n"),
    case("a quoted chunk extension", CHUNKED + '2;a="b;c"\r\nhi\r\n0\r\n\r\n'),
    case("a trailer (7.1.2)", CHUNKED + "2\r\nhi\r\n0\r\nA: b\r\n\r\n"),
    case("trailers are welcome", GET + "TE: trailers\r\n\r\n"),
    case(
        "an upgrade nobody takes", GET + "Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    ),
]


@pytest.mark.parametrize("raw", SERVED)
def test_request_is_served(server: Server, raw: str) -> None:
    """A request within the grammar reaches the application, once."""
    token = new_token()
    with server.connect() as client:
        client.send(with_token(raw, token))
        response = client.final()
        found = response.json()["environ"]
        assert found["PATH_INFO"] == f"/{token}"
        if "HTTP/1.1" in raw:
            client.assert_open()
        else:
            client.assert_closed()


@pytest.mark.parametrize("raw", SERVED)
def test_request_in_single_bytes_is_served(server: Server, raw: str) -> None:
    """However a request is cut into segments, it is the same request."""
    token = new_token()
    with server.connect() as client:
        data = with_token(raw, token)
        for index in range(0, len(data), 3 if len(data) > 120 else 1):
            client.send(data[index : index + (3 if len(data) > 120 else 1)])
        assert client.final().json()["environ"]["PATH_INFO"] == f"/{token}"


FOLDED = [
    case("by a space", "A: b\r\n c"),
    case("by a tab", "A: b\r\n\tc"),
    case("twice", "A: b\r\n \r\n c"),
]


@pytest.mark.parametrize("lines", FOLDED)
def test_folded_field_is_refused_or_unfolded(server: Server, lines: str) -> None:
    """RFC 9112, 5.2: obs-fold is refused, or each one replaced with spaces."""
    response = server.ask(f"GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n".encode())
    if server.door.strict:
        assert response.status == 400
    elif response.status != 400:
        value = response.json()["environ"]["HTTP_A"]
        assert re.fullmatch("b +c", value), value


# --- refused: the request line

BAD_LINES = [
    case("no version (HTTP/0.9)", "GET /@"),
    case("no target", "GET HTTP/1.1"),
    case("an empty target", "GET  HTTP/1.1"),
    case("only a method", "GET"),
    case("two spaces before the target", "GET  /@ HTTP/1.1"),
    case("two spaces after the target", "GET /@  HTTP/1.1"),
    case("a space at the end", "GET /@ HTTP/1.1 "),
    case("a space at the beginning", " GET /@ HTTP/1.1"),
    case("tabs for spaces", "GET\t/@\tHTTP/1.1"),
    case("a space within the target", "GET /@ b HTTP/1.1"),
    case("a tab within the target", "GET /@\tb HTTP/1.1"),
    case("a NUL within the target", "GET /@\0b HTTP/1.1"),
    case("a CR within the target", "GET /@\rb HTTP/1.1"),
    case("an LF within the target", "GET /@\nb HTTP/1.1"),
    case("a control character in the target", "GET /@\x01 HTTP/1.1"),
    case("http in small letters", "GET /@ http/1.1"),
    case("another protocol", "GET /@ HTTPS/1.1"),
    case("no minor version", "GET /@ HTTP/1"),
    case("no dot", "GET /@ HTTP/11"),
    case("a comma", "GET /@ HTTP/1,1"),
    case("two digits", "GET /@ HTTP/1.10"),
    case("three numbers", "GET /@ HTTP/1.1.1"),
    case("a sign", "GET /@ HTTP/+1.1"),
    case("HTTP/0.9", "GET /@ HTTP/0.9"),
    case("HTTP/2.0", "GET /@ HTTP/2.0"),
    case("HTTP/3.0", "GET /@ HTTP/3.0"),
    case("an empty method", " /@ HTTP/1.1"),
    case("a bracket in the method", "GE(T /@ HTTP/1.1"),
    case("a slash in the method", "GE/T /@ HTTP/1.1"),
    case("a colon in the method", "GET: /@ HTTP/1.1"),
    case("a NUL in the method", "G\0ET /@ HTTP/1.1"),
    case("a byte above 0x7F in the method", "G\xc4T /@ HTTP/1.1"),
    case("a CR at the end", "GET /@ HTTP/1.1\r"),
    case("a relative target (3.2)", "GET x/@ HTTP/1.1"),
    case("a target that is a query", "GET ?/@ HTTP/1.1"),
    case("authority-form with GET (3.2.3)", "GET h:80 HTTP/1.1"),
    case("a scheme without authority", "GET http:/@ HTTP/1.1"),
    case("a scheme and nothing", "GET http:// HTTP/1.1"),
    case("an empty authority (RFC 9110, 4.2.1)", "GET http:///@ HTTP/1.1"),
    case("an authority that is a port", "GET http://:80/@ HTTP/1.1"),
    case("an authority with a bad port", "GET http://h:x/@ HTTP/1.1"),
    case("an authority with a bad name", "GET http://h<i>/@ HTTP/1.1"),
    case("the line of a response", "HTTP/1.1 200 OK"),
    case("the first bytes of TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_request_line_is_refused(server: Server, line: str) -> None:
    """RFC 9112, 3: an invalid request line is answered with an error, then closed."""
    server.assert_refused(f"{line}\r\nHost: h\r\n\r\n", {400, 501, 505})


# --- refused: fields

BAD_FIELDS = [
    case("no colon", "Foo"),
    case("an empty name", ": foo"),
    case("space before the colon (5.1)", "Foo : bar"),
    case("tab before the colon", "Foo\t: bar"),
    case("space within the name", "Foo Bar: baz"),
    case("a NUL in the name", "Fo\0o: bar"),
    case("a bracket in the name", "Fo(o: bar"),
    case("a slash in the name", "Fo/o: bar"),
    case("a quote in the name", 'Fo"o: bar'),
    case("an at sign in the name", "Fo@o: bar"),
    case("a byte above 0x7F in the name", "Fo\xc4: bar"),
    case("a control character in the name", "Fo\x01o: bar"),
    case("a NUL in the value (RFC 9110, 5.5)", "Foo: b\0ar"),
    case("a NUL at the end", "Foo: bar\0"),
    case("space before the length's colon", "Content-Length : 50"),
    case("space before the coding's colon", "Transfer-Encoding : chunked"),
]


@pytest.mark.parametrize("line", BAD_FIELDS)
def test_bad_field_is_refused(server: Server, line: str) -> None:
    """RFC 9112, 5: an invalid field line is refused, wherever it stands."""
    server.assert_refused(f"GET /@ HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n")
    server.assert_refused(f"GET /@ HTTP/1.1\r\n{line}\r\nHost: h\r\n\r\n")


BROKEN_VALUES = [
    case("a CR (RFC 9112, 2.2)", "b\rar"),
    case("a CR at the end", "bar\r"),
    case("an LF", "b\nar"),
    case("a field hidden behind an LF", "b\nContent-Length: 50"),
    case("a field hidden behind a CR", "b\rTransfer-Encoding: chunked"),
]


@pytest.mark.parametrize("value", BROKEN_VALUES)
def test_line_break_in_a_value_is_refused_or_a_space(
    server: Server, value: str
) -> None:
    """RFC 9110, 5.5: one or the other; Twisted changed its mind between releases."""
    with server.connect() as client:
        client.send(f"GET /@ HTTP/1.1\r\nHost: h\r\nFoo: {value}\r\n\r\n".encode())
        response = client.response()
        if response.status == 400 or server.door.strict:
            assert response.status == 400
            client.assert_closed()
        else:
            environ = response.json()["environ"]
            assert environ["HTTP_FOO"] == " ".join(value.splitlines())
            assert environ["CONTENT_LENGTH"] == ""
            client.send(b"GET /@ HTTP/1.1\r\nHost: h\r\n\r\n")
            assert client.response().status == 200


def test_space_before_the_first_field_is_refused(server: Server) -> None:
    """RFC 9112, 2.2: space between the start-line and the first field is an attack."""
    server.assert_refused("GET /@ HTTP/1.1\r\n Host: h\r\nHost: h\r\n\r\n")


def test_bare_line_feeds_are_never_lines(server: Server) -> None:
    """RFC 9112, 2.2: LF alone may be refused; it must not hide a second request."""
    raw = "GET /@ HTTP/1.1\nHost: h\n\nGET /@ HTTP/1.1\r\nHost: h\r\n\r\n"
    server.assert_refused(raw)


# --- refused: Host

BAD_HOSTS = [
    case("missing", ""),
    case("twice, the same", "Host: h\r\nHost: h\r\n"),
    case("twice, different", "Host: h\r\nHost: i\r\n"),
    case("twice, in other letters", "Host: h\r\nX: y\r\nhOST: i\r\n"),
    case("twice, one empty", "Host: h\r\nHost:\r\n"),
    case("with a space", "Host: h i\r\n"),
    case("with a tab", "Host: h\ti\r\n"),
    case("with a slash", "Host: h/i\r\n"),
    case("with a backslash", "Host: h\\i\r\n"),
    case("with a question mark", "Host: h?i\r\n"),
    case("with a hash", "Host: h#i\r\n"),
    case("with userinfo", "Host: me@h\r\n"),
    case("with a scheme", "Host: http://h\r\n"),
    case("with markup", "Host: <script>\r\n"),
    case("with a quote", 'Host: h"i\r\n'),
    case("with a byte above 0x7F", "Host: h\xe4\r\n"),
    case("with a control character", "Host: h\x01\r\n"),
    case("with a percent sign alone", "Host: h%\r\n"),
    case("with a bad encoded byte", "Host: h%zz\r\n"),
    case("with a port in letters", "Host: h:http\r\n"),
    case("with a negative port", "Host: h:-1\r\n"),
    case("with two ports", "Host: h:80:80\r\n"),
    case("with a space before the port", "Host: h :80\r\n"),
    case("with an IPv6 address without brackets", "Host: ::1\r\n"),
    case("with an open bracket", "Host: [::1\r\n"),
    case("with a closing bracket alone", "Host: ::1]\r\n"),
    case("with something behind the bracket", "Host: [::1]x\r\n"),
    case("with empty brackets", "Host: []\r\n"),
    case("with a name in brackets", "Host: [h]\r\n"),
    case("with colons in brackets that are no address", "Host: [:::]\r\n"),
    case("with a number in brackets", "Host: [1]\r\n"),
]


@pytest.mark.parametrize("lines", BAD_HOSTS)
@pytest.mark.parametrize("target", ["/@", "http://h/@"], ids=["origin", "absolute"])
def test_bad_host_is_refused(server: Server, lines: str, target: str) -> None:
    """RFC 9112, 3.2: no Host, two of them or an invalid one are answered with 400."""
    token = new_token()
    with server.connect() as client:
        client.send(with_token(f"GET {target} HTTP/1.1\r\n{lines}\r\n", token))
        assert client.response().status == 400
        kept = client.assert_open_or_closed()
        assert not (kept and server.door.strict)
    server.assert_never_called(token)


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS", "DELETE"])
def test_missing_host_is_refused_for_any_method(server: Server, method: str) -> None:
    """RFC 9112, 3.2 knows no method that needs no Host."""
    token = new_token()
    raw = request(method=method, host=None, token=token)
    assert server.ask(raw, method).status == 400
    server.assert_never_called(token)


def test_two_hosts_are_refused_in_http_1_0(server: Server) -> None:
    """RFC 9112, 3.2: more than one Host is refused in any version."""
    raw = request(version="HTTP/1.0", host="h", headers=[("Host", "i")])
    assert server.ask(raw).status == 400


@pytest.mark.parametrize("target", ["h:443", "[::1]:443", "/@", "http://h/@"])
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_connect_is_refused(server: Server, target: str, version: str) -> None:
    """RFC 9110, 9.3.6: an origin server is no proxy: 501, and closed."""
    raw = f"CONNECT {target} {version}\r\nHost: h:443\r\nX-Token: /@\r\n\r\n"
    # A channel may find that the target is not of CONNECT before it looks further.
    found = {400, 501} if server.door.strict and "/" in target else {501}
    server.assert_refused(raw, found, behind=b"\x16\x03\x01")


# --- refused: framing

BAD_FRAMINGS = [
    case("length is negative", POST + "Content-Length: -1\r\n\r\n"),
    case("length has a sign", POST + "Content-Length: +5\r\n\r\nhello"),
    case("length is hexadecimal", POST + "Content-Length: 0x5\r\n\r\nhello"),
    case("length has letters", POST + "Content-Length: 5x\r\n\r\nhello"),
    case("length has a dot", POST + "Content-Length: 5.0\r\n\r\nhello"),
    case("length has an exponent", POST + "Content-Length: 5e0\r\n\r\nhello"),
    case("length has an underscore", POST + "Content-Length: 0_5\r\n\r\nhello"),
    case("length has a space", POST + "Content-Length: 5 0\r\n\r\nhello"),
    case("length has a vertical tab", POST + "Content-Length: \x0b5\r\n\r\nhello"),
    case("length has a no-break space", POST + "Content-Length: \xa05\r\n\r\nhello"),
    case("length in superscript", POST + "Content-Length: \xb2\r\n\r\nhi"),
    case("length in Arabic digits", POST + "Content-Length: \xd9\xa2\r\n\r\nhi"),
    case("length is empty", POST + "Content-Length:\r\n\r\nhello"),
    case("length is quoted", POST + 'Content-Length: "5"\r\n\r\nhello'),
    case("a list of lengths", POST + "Content-Length: 5, 6\r\n\r\nhello"),
    case("a list with a semicolon", POST + "Content-Length: 5;6\r\n\r\nhello"),
    case(
        "two different lengths",
        POST + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    ),
    case(
        "two lengths, one bad",
        POST + "Content-Length: 5\r\nContent-Length: x\r\n\r\nhello",
    ),
    case(
        "two lengths, the first nothing",
        POST + "Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
    ),
    case(
        "length, then chunked (6.1)",
        POST + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    case(
        "chunked, then length",
        POST + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    case(
        "length of nothing, then chunked",
        POST + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    case(
        "chunked twice", POST + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"
    ),
    case(
        "chunked on two lines",
        POST
        + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    case(
        "chunked not last", POST + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"
    ),
    case("gzip first", POST + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    case("gzip alone", POST + "Transfer-Encoding: gzip\r\n\r\n"),
    case("identity", POST + "Transfer-Encoding: identity\r\n\r\n"),
    case(
        "identity with a length",
        POST + "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
    ),
    case(
        "a length with identity",
        POST + "Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nhello",
    ),
    case(
        "identity, then chunked",
        POST + "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    ),
    case(
        "identity and chunked on two lines",
        POST
        + "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    case(
        "chunked and identity on two lines",
        POST
        + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    case("an unknown coding", POST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    case("no coding", POST + "Transfer-Encoding:\r\n\r\n"),
    case("a quoted coding", POST + 'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n'),
    case("a coding with a parameter", POST + "Transfer-Encoding: chunked;a=b\r\n\r\n"),
    case(
        "a coding after a vertical tab",
        POST + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    case(
        "a coding with a NUL",
        POST + "Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n",
    ),
    case(
        "a folded coding",
        POST + "Transfer-Encoding: chunked\r\n , gzip\r\n\r\n0\r\n\r\n",
    ),
    case(
        "chunked in HTTP/1.0 (6.1)",
        "POST /@ HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    case(
        "chunked in HTTP/1.0, kept alive",
        "POST /@ HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    case(
        "chunked in HTTP/1.0 with a length",
        "POST /@ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n"
        "Content-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    case(
        "identity in HTTP/1.0",
        "POST /@ HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n",
    ),
]


@pytest.mark.parametrize("raw", BAD_FRAMINGS)
def test_doubtful_length_is_refused(server: Server, raw: str) -> None:
    """RFC 9112, 6: a body of doubtful length is refused, and nothing read behind."""
    server.assert_refused(raw, {400, 501}, behind=SMUGGLED)


BAD_CHUNKS = [
    case("no size", CHUNKED + "\r\nhello\r\n0\r\n\r\n"),
    case("a size with a prefix", CHUNKED + "0x5\r\nhello\r\n0\r\n\r\n"),
    case("a size with a plus sign", CHUNKED + "+5\r\nhello\r\n0\r\n\r\n"),
    case("a size with a minus sign", CHUNKED + "-5\r\nhello\r\n0\r\n\r\n"),
    case("a size with an underscore", CHUNKED + "0_5\r\nhello\r\n0\r\n\r\n"),
    case("a size with a space before", CHUNKED + " 5\r\nhello\r\n0\r\n\r\n"),
    case("a size with a tab before", CHUNKED + "\t5\r\nhello\r\n0\r\n\r\n"),
    case("a size with a letter", CHUNKED + "5g\r\nhello\r\n0\r\n\r\n"),
    case("a size with a comma", CHUNKED + "5,a\r\nhello\r\n0\r\n\r\n"),
    case("a size with a NUL", CHUNKED + "5\0\r\nhello\r\n0\r\n\r\n"),
    case("a size behind a CR", CHUNKED + "5\rx\r\nhello\r\n0\r\n\r\n"),
    case("a size too small", CHUNKED + "4\r\nhello\r\n0\r\n\r\n"),
    case("a size too large by one", CHUNKED + "6\r\nhello\r\n0\r\n\r\n"),
    case("no CRLF after the chunk", CHUNKED + "5\r\nhello0\r\n\r\n"),
    case("an LF after the chunk", CHUNKED + "5\r\nhello\n0\r\n\r\n"),
    case("an LF after the size", CHUNKED + "5\nhello\r\n0\r\n\r\n"),
    case("a CR after the size", CHUNKED + "5\rhello\r\n0\r\n\r\n"),
    case("an LF in an extension", CHUNKED + "5;a\nb\r\nhello\r\n0\r\n\r\n"),
    case("a CR in an extension", CHUNKED + "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    case("a NUL in an extension", CHUNKED + "5;a\0b\r\nhello\r\n0\r\n\r\n"),
    case("an extension without end", CHUNKED + "5;" + "a" * 20000 + "\r\nhello\r\n"),
    case("a size without end", CHUNKED + "0" * 20000 + "5\r\nhello\r\n"),
    case("a bad last chunk", CHUNKED + "5\r\nhello\r\n0x0\r\n\r\n"),
    case("a trailer without end", CHUNKED + "0\r\n" + "A: " + "a" * 200000),
]


@pytest.mark.parametrize("raw", BAD_CHUNKS)
def test_bad_chunk_is_refused(server: Server, raw: str) -> None:
    """RFC 9112, 7.1: a broken chunk ends the connection; no call, nothing behind."""
    server.assert_refused(raw, behind=SMUGGLED)


def test_huge_chunk_size_is_no_overflow(server: Server) -> None:
    """RFC 9112, 7.1: large sizes are expected, and integers do not overflow."""
    token = new_token()
    raw = with_token(CHUNKED + "ffffffffffffffff0\r\nhello\r\n0\r\n\r\n", token)
    with server.connect() as client:
        client.send(raw + with_token(SMUGGLED, token))
        server.assert_never_called(token)


BROKEN_OFF = [
    case("within the request line", "GET /@ HT"),
    case("within the fields", "GET /@ HTTP/1.1\r\nHost: h\r\n"),
    case("within a field", "GET /@ HTTP/1.1\r\nHost: h"),
    case("within the body", POST + "Content-Length: 50\r\n\r\nhello"),
    case("before the body", POST + "Content-Length: 50\r\n\r\n"),
    case("within a chunk", CHUNKED + "5\r\nhel"),
    case("before the last chunk (8)", CHUNKED + "5\r\nhello\r\n"),
    case("within the last chunk", CHUNKED + "5\r\nhello\r\n0\r\n"),
    case("within a trailer", CHUNKED + "5\r\nhello\r\n0\r\nA: b\r\n"),
]


@pytest.mark.parametrize("raw", BROKEN_OFF)
def test_incomplete_request_is_not_served(server: Server, raw: str) -> None:
    """RFC 9112, 8: the application never sees a request that did not arrive."""
    token = new_token()
    with server.connect() as client:
        client.send(with_token(raw, token))
    server.assert_never_called(token)


def test_too_many_fields_are_refused(server: Server) -> None:
    """RFC 9110, 5.4: more fields than the server wants are an error of the client."""
    lines = "".join(f"X-{n}: {n}\r\n" for n in range(2000))
    raw = f"GET /@ HTTP/1.1\r\nHost: h\r\n{lines}\r\n"
    server.assert_refused(raw, {431} if server.door.strict else {400, 431})


# --- what the server in front of the resource decides

CHANNEL_ONLY = {
    "twisted": [
        # request, what is heard; RFC 9112 and 9110 would like it better otherwise
        case(
            "a later minor version is refused, not taken for HTTP/1.1 (2.3)",
            "GET / HTTP/1.2\r\nHost: h\r\n\r\n",
            (400, "closed"),
        ),
        case(
            "OPTIONS * is answered without the application",
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
            (200, "open"),
        ),
        case(
            "OPTIONS * is answered without Host (3.2)",
            "OPTIONS * HTTP/1.1\r\n\r\n",
            (200, "open"),
        ),
        case(
            "GET * is answered with 405",
            "GET * HTTP/1.1\r\nHost: h\r\n\r\n",
            (405, "open"),
        ),
        case(
            "fields of more than 16 KiB are answered with 400, not 431",
            "GET / HTTP/1.1\r\nHost: h\r\n"
            + 20 * ("A: " + "a" * 1000 + "\r\n")
            + "\r\n",
            (400, "closed"),
        ),
        case(
            "a target of more than 16 KiB is closed upon, not answered with 414 (3)",
            "GET /" + "a" * 20000 + " HTTP/1.1\r\nHost: h\r\n\r\n",
            (None, "closed"),
        ),
        case(
            "a field of more than 16 KiB is closed upon",
            "GET / HTTP/1.1\r\nHost: h\r\nA: " + "a" * 20000 + "\r\n\r\n",
            (None, "closed"),
        ),
        case(
            "a length of 5000 digits is closed upon, not answered with 400 (6.3)",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + "9" * 5000 + "\r\n\r\n",
            (None, "closed"),
        ),
        case(
            "a NUL in the request line is answered with a bare 400, without Date",
            "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n",
            (400, "closed"),
        ),
        case(
            "two empty lines first are refused",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            (400, "closed"),
        ),
        case(
            "a trailer without a colon is overlooked (7.1.2)",
            CHUNKED + "0\r\nno field at all\r\n\r\n",
            (200, "open"),
        ),
        case(
            "HTTP/1.0 is never kept alive (9.3)",
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            (200, "closed"),
        ),
        case(
            "an unknown expectation is overlooked (RFC 9110, 10.1.1)",
            "GET / HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\n\r\n",
            (200, "open"),
        ),
        case(
            "the same length twice is refused (6.3 would allow to take it)",
            "POST / HTTP/1.1\r\nHost: h\r\n" + 2 * "Content-Length: 2\r\n" + "\r\nhi",
            (400, "closed"),
        ),
        case(
            "the same length as a list is refused (6.3 would allow to take it)",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2, 2\r\n\r\nhi",
            (400, "closed"),
        ),
        case(
            "space after a chunk size is refused (7.1.1 would allow to take it)",
            CHUNKED + "2 \r\nhi\r\n0\r\n\r\n",
            (400, "closed"),
        ),
    ],
    "fast": [
        # what the issue of the fast door fixes, where the RFC leaves a choice
        case(
            "OPTIONS * wants a Host (3.2)",
            "OPTIONS * HTTP/1.1\r\n\r\n",
            (400, "closed"),
        ),
        case(
            "fields of more than 32 KiB are answered with 431 (RFC 6585, 5)",
            "GET / HTTP/1.1\r\nHost: h\r\n"
            + 40 * ("A: " + "a" * 1000 + "\r\n")
            + "\r\n",
            (431, "closed"),
        ),
        case(
            "a field of more than 32 KiB is answered with 431",
            "GET / HTTP/1.1\r\nHost: h\r\nA: " + "a" * 40000 + "\r\n\r\n",
            (431, "closed"),
        ),
        case(
            "more than 200 fields are answered with 431",
            "GET / HTTP/1.1\r\nHost: h\r\n" + 200 * "A: b\r\n" + "\r\n",
            (431, "closed"),
        ),
        case(
            "a target of more than 8 KiB is answered with 414 (3)",
            "GET /" + "a" * 20000 + " HTTP/1.1\r\nHost: h\r\n\r\n",
            (414, "closed"),
        ),
        case(
            "a length of 5000 digits is answered with 400 (6.3)",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + "9" * 5000 + "\r\n\r\n",
            (400, "closed"),
        ),
        case(
            "a NUL in the request line is answered with 400",
            "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n",
            (400, "closed"),
        ),
        case(
            "a trailer without a colon is refused (7.1.2)",
            CHUNKED + "0\r\nno field at all\r\n\r\n",
            (400, "closed"),
        ),
        case(
            "HTTP/1.0 is kept alive when it asks (9.3)",
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            (200, "open"),
        ),
        case(
            "the same length twice is refused (6.3 would allow to take it)",
            "POST / HTTP/1.1\r\nHost: h\r\n" + 2 * "Content-Length: 2\r\n" + "\r\nhi",
            (400, "closed"),
        ),
        case(
            "the same length as a list is refused (6.3 would allow to take it)",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2, 2\r\n\r\nhi",
            (400, "closed"),
        ),
        case(
            "space after a chunk size is refused (7.1 has none there)",
            CHUNKED + "2 \r\nhi\r\n0\r\n\r\n",
            (400, "closed"),
        ),
    ],
}


@pytest.mark.parametrize("door", [TWISTED], indirect=True, ids=str)
@pytest.mark.parametrize(("raw", "expected"), CHANNEL_ONLY["twisted"])
def test_request_that_no_resource_of_twisted_sees(
    server: Server, raw: str, expected: tuple[int | None, str]
) -> None:
    """What is decided before any resource: safe, if not all by the RFC."""
    assert heard(server, raw.encode("latin-1")) == expected


@pytest.mark.parametrize("door", [FAST], indirect=True, ids=str)
@pytest.mark.parametrize(("raw", "expected"), CHANNEL_ONLY["fast"])
def test_request_that_no_application_sees(
    server: Server, raw: str, expected: tuple[int | None, str]
) -> None:
    """What is decided before any application: safe, if not all by the RFC."""
    assert heard(server, raw.encode("latin-1")) == expected


def heard(server: Server, raw: bytes) -> tuple[int | None, str]:
    """Return the status, if any, and whether the connection stays open."""
    with server.connect() as client:
        client.send(raw)
        try:
            status: int | None = client.response().status
        except Closed:
            status = None
        return status, "open" if client.assert_open_or_closed() else "closed"
