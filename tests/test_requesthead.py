"""The head of a request: each rule with its section, then any bytes at all."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twisted_wsgiflush._requesthead import SHORT, HeadReader, RequestHead
from twisted_wsgiflush._rules import SHORT_KEY, Refused
from twisted_wsgiflush._types import Environ
from twisted_wsgiflush.limits import Limits

NO_LIMITS = Limits(
    request_line_size=None, header_size=None, header_count=None, body_size=None
)
LINE = b"GET / HTTP/1.1"
HOST = b"Host: example.com"
OLD = b"GET / HTTP/1.0"


def head_of(*lines: bytes) -> bytes:
    """A head of these lines."""
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def read(
    data: bytes, limits: Limits = NO_LIMITS, reader: HeadReader | None = None
) -> tuple[RequestHead, Environ]:
    """What is read of a head, and the environ that it makes."""
    head = (reader or HeadReader(limits)).read(data)
    return head, head.variables


def refused(data: bytes, limits: Limits = NO_LIMITS) -> int:
    """The status that a head is answered with."""
    reader = HeadReader(limits)
    with pytest.raises(Refused) as error:
        reader.read(data)
    assert error.value.why
    # The next request, maybe another client's, is none the worse for it.
    assert read(head_of(LINE, HOST), reader=reader)[1]["HTTP_HOST"] == "example.com"
    return error.value.code


def test_a_request() -> None:
    """Environ gets what the head says, and the head tells the rest."""
    head, environ = read(
        head_of(b"PUT /a%20b/?c=%20d HTTP/1.1", HOST, b"Accept: */*", b"X-Y:z ")
    )

    assert environ == {
        "REQUEST_METHOD": "PUT",
        "REQUEST_URI": "/a%20b/?c=%20d",
        "RAW_URI": "/a%20b/?c=%20d",
        "PATH_INFO": "/a b/",
        "QUERY_STRING": "c=%20d",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "example.com",
        "HTTP_ACCEPT": "*/*",
        "HTTP_X_Y": "z",
        "SERVER_NAME": "example.com",
    }
    assert head.method == "PUT"
    assert head.name == "PUT /a%20b/?c=%20d"
    assert head.path == "/a%20b/"
    assert head.persistent
    assert not head.has_body
    assert not head.of_1_0
    assert not head.upgrade
    assert not head.expects_continue


@pytest.mark.parametrize("size", [10, SHORT])
def test_a_request_that_comes_again(size: int) -> None:
    """It is read as before, be it remembered or too long for that."""
    reader = HeadReader(NO_LIMITS)
    data = head_of(LINE, HOST, b"A: " + b"x" * size, b"A: y")

    heads = [reader.read(data), reader.read(head_of(OLD)), reader.read(data)]

    assert heads[0].variables == heads[2].variables
    assert heads[0].variables["HTTP_A"] == "x" * size + ",y"
    assert "HTTP_A" not in heads[1].variables


def test_no_more_heads_are_remembered_than_a_few_hundred() -> None:
    """Or a client could fill the memory."""
    reader = HeadReader(NO_LIMITS)
    for number in range(1000):
        head, variables = read(
            head_of(b"GET /%d HTTP/1.1" % number, HOST), reader=reader
        )
        assert head.path == variables["PATH_INFO"] == f"/{number}"

    assert 200 < len(reader.known) < 300
    assert head_of(b"GET /999 HTTP/1.1", HOST) in reader.known


@pytest.mark.parametrize("size", [10, SHORT])
def test_a_refusal_that_comes_again(size: int) -> None:
    """It is one each time."""
    reader = HeadReader(NO_LIMITS)
    for _ in range(2):
        with pytest.raises(Refused):
            reader.read(head_of(LINE, HOST, HOST, b"A: " + b"x" * size))


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ([LINE, b"Host: a:80"], "a"),
        ([LINE, b"Host: [::1]:80"], "[::1]"),
        ([b"GET http://b:8080/ HTTP/1.1", b"Host: a"], "b"),
        ([LINE, b"Host: :80"], None),
        ([LINE, b"Host:"], None),
        ([OLD], None),
    ],
)
def test_the_servers_name(lines: list[bytes], name: str | None) -> None:
    """As the client calls it, if it does."""
    assert read(head_of(*lines))[1].get("SERVER_NAME") == name


def test_a_request_after_an_error() -> None:
    """A refusal is one also where somebody handles the error of an application."""
    try:
        raise LookupError
    except LookupError:
        assert refused(head_of(LINE, HOST, HOST)) == 400


# -- the request line (RFC 9112, 3) ---------------------------------------------------


@pytest.mark.parametrize(
    "method", ["GET", "get", "PROPFIND", "M-SEARCH", "PRI", "A!#$%&'*+-.^_`|~9"]
)
def test_methods(method: str) -> None:
    """A method is any token, as it is (RFC 9110, 9.1)."""
    _, environ = read(head_of(method.encode() + b" / HTTP/1.1", HOST))

    assert environ["REQUEST_METHOD"] == method


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET /\tHTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET /a b HTTP/1.1",
        b"GET / HTTP/1.1\r",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\nHost: a",
        b"GET / http/1.1",
        b"GET / HTTP/11",
        b"GET / HTTP/1.",
        b"GET / HTTP/1.10",
        b"GET / HTTP/01.1",
        b"GET / HTTP/1,1",
        b"GET / HTTPS/1.1",
        b"GET / ICY/1.0",
        b"G(T / HTTP/1.1",
        b"G\xc3\x89T / HTTP/1.1",
        b"G\0T / HTTP/1.1",
        b"GET /\0 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\xc3\xa9 HTTP/1.1",
        b"GET /\x0b HTTP/1.1",
        b"\x16\x03\x01\x02",
    ],
)
def test_what_is_no_request_line(line: bytes) -> None:
    """One space between three parts, of the characters that each may have."""
    assert refused(head_of(line, HOST)) == 400


@pytest.mark.parametrize(
    ("version", "protocol"),
    [(b"1.0", "HTTP/1.0"), (b"1.1", "HTTP/1.1"), (b"1.2", "HTTP/1.1")],
)
def test_versions(version: bytes, protocol: str) -> None:
    """A higher minor version is the highest one known (RFC 9110, 2.5)."""
    head, environ = read(head_of(b"GET / HTTP/" + version, HOST))

    assert environ["SERVER_PROTOCOL"] == protocol
    assert head.of_1_0 is (version == b"1.0")


@pytest.mark.parametrize("version", [b"0.9", b"2.0", b"3.0"])
def test_other_versions(version: bytes) -> None:
    """Another major version is not spoken here (RFC 9110, 15.6.6)."""
    assert refused(head_of(b"GET / HTTP/" + version, HOST)) == 505


# -- the target (RFC 9112, 3.2) -------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "path", "path_info", "query"),
    [
        (b"GET /", "/", "/", ""),
        (b"GET /?", "/", "/", ""),
        (b"GET /a?b?c", "/a", "/a", "b?c"),
        (b"GET //a//b", "//a//b", "//a//b", ""),
        (b"GET /a/../b/./c", "/a/../b/./c", "/a/../b/./c", ""),
        (b"GET /%61%2F%c3%A9", "/%61%2F%c3%A9", "/a/\xc3\xa9", ""),
        (b"GET /%zz%4", "/%zz%4", "/%zz%4", ""),
        (b"GET /:a=@;,", "/:a=@;,", "/:a=@;,", ""),
        (b"GET /a\\b|c", "/a\\b|c", "/a\\b|c", ""),
        (b"GET /http://example.org/", *["/http://example.org/"] * 2, ""),
        (b"OPTIONS *", "*", "*", ""),
    ],
)
def test_targets(line: bytes, path: str, path_info: str, query: str) -> None:
    """The origin form, and that of the server as a whole."""
    head, environ = read(head_of(line + b" HTTP/1.1", HOST))

    assert head.path == path
    assert environ["PATH_INFO"] == path_info
    assert environ["QUERY_STRING"] == query
    assert environ["REQUEST_URI"] == environ["RAW_URI"] == line.split()[1].decode()
    assert environ["HTTP_HOST"] == "example.com"


@pytest.mark.parametrize(
    ("target", "host", "path", "query"),
    [
        (b"http://other", "other", "/", ""),
        (b"http://other?a/b", "other", "/", "a/b"),
        (b"HTTP://other:80/a%20b?c", "other:80", "/a%20b", "c"),
        (b"https://[::1]/", "[::1]", "/", ""),
    ],
)
def test_absolute_form(target: bytes, host: str, path: str, query: str) -> None:
    """Its host is the one that counts (RFC 9112, 3.2.2)."""
    head, environ = read(head_of(b"GET " + target + b" HTTP/1.1", HOST))

    assert environ["HTTP_HOST"] == host
    assert head.path == path
    assert environ["QUERY_STRING"] == query
    assert environ["REQUEST_URI"] == target.decode()


def test_absolute_form_without_a_host() -> None:
    """A request of HTTP/1.1 has to have a Host nevertheless, one of 1.0 not."""
    line = b"GET http://other/ HTTP/1."

    assert refused(head_of(line + b"1")) == 400
    assert read(head_of(line + b"0"))[1]["HTTP_HOST"] == "other"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /#fragment", 400),
        (b"GET /?a#fragment", 400),
        (b"GET http://other/#fragment", 400),
        (b"GET *", 400),
        (b"OPTIONS *?a", 400),
        (b"OPTIONS **", 400),
        (b"GET path", 400),
        (b"GET ?query", 400),
        (b"GET other:80", 400),
        (b"GET ftp://other/", 400),
        (b"GET http://user@other/", 400),
        (b"GET http:///path", 400),
        (b"GET http://:80/", 400),
        (b"GET http://oth%er/", 400),
        (b"GET http://other:port/", 400),
        (b"CONNECT other:443", 501),
        (b"CONNECT /path", 501),
    ],
)
def test_what_is_no_target_here(line: bytes, status: int) -> None:
    """No fragment, no other scheme, no userinfo; and no tunnel (RFC 9110, 9.3.6)."""
    assert refused(head_of(line + b" HTTP/1.1", HOST)) == status


# -- Host (RFC 9112, 3.2) -------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        [LINE],
        [LINE, HOST, HOST],
        [LINE, HOST, b"hOST: example.org"],
        [LINE, b"Host: a, b"],
        [LINE, b"Host: a b"],
        [LINE, b"Host: user@a"],
        [LINE, b"Host: a/b"],
        [LINE, b"Host: \xe9"],
        [OLD, HOST, HOST],
        [OLD, b"Host: a b"],
    ],
)
def test_bad_hosts(lines: list[bytes]) -> None:
    """There is one of them, and it is a host and maybe a port."""
    assert refused(head_of(*lines)) == 400


@pytest.mark.parametrize("lines", [[OLD], [OLD, HOST], [LINE, b"Host:"]])
def test_hosts_that_are_there_or_not(lines: list[bytes]) -> None:
    """One of HTTP/1.0 needs none, and it may be empty."""
    _, environ = read(head_of(*lines))

    assert environ.get("HTTP_HOST") in (None, "example.com", "")


# -- fields (RFC 9112, 5) -------------------------------------------------------------


@pytest.mark.parametrize(
    "field",
    [
        b"A",
        b"A b",
        b": b",
        b"A : b",
        b"A\t: b",
        b" A: b",
        b"A: b\r\n c",
        b"A: b\r\n\tc",
        b"A: b\rc",
        b"A: b\nC: d",
        b"A: b\r\rC: d",
        b"A: \r",
        b"A: \n",
        b"A: b\0c",
        b"A: b\x01c",
        b"A: b\x7fc",
        b"A\0: b",
        b"A(b): c",
        b'A": b',
        b"\xe9: b",
        b"\x0bA: b",
    ],
)
def test_what_is_no_field(field: bytes) -> None:
    """A token, a colon, and a value without control characters (RFC 9110, 5.5)."""
    assert refused(head_of(LINE, HOST, field)) == 400
    assert refused(head_of(LINE, field, HOST)) == 400


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", ""),
        (b" \t ", ""),
        (b"b", "b"),
        (b"\t b \t", "b"),
        (b" b  \t c", "b  \t c"),
        (b" \xe9\x80\xff", "\xe9\x80\xff"),
        (b" : :", ": :"),
    ],
)
def test_values(value: bytes, text: str) -> None:
    """Without whitespace at their ends, and as PEP 3333 has bytes in text."""
    assert read(head_of(LINE, HOST, b"A:" + value))[1]["HTTP_A"] == text


def test_repeated_fields() -> None:
    """They are one list (RFC 9110, 5.3); cookies have semicolons (RFC 9113, 8.2.3)."""
    _, environ = read(
        head_of(LINE, HOST, b"A: 1", b"Cookie: b=1", b"a: 2", b"A:", b"COOKIE: c=2")
    )

    assert environ["HTTP_A"] == "1,2,"
    assert environ["HTTP_COOKIE"] == "b=1; c=2"


def test_fields_with_other_keys() -> None:
    """Two have keys of their own, and what would pass for another one is left out."""
    fields = [b"Content-Type: text/plain", b"Content-Length: 5", b"Proxy: b", b"A_b: c"]

    _, environ = read(head_of(LINE, HOST, *fields))

    assert environ["CONTENT_TYPE"] == "text/plain"
    assert environ["CONTENT_LENGTH"] == "5"
    assert {key for key in environ if key.startswith("HTTP_")} == {"HTTP_HOST"}


def test_a_long_name() -> None:
    """A field of a long name is one as any other."""
    name = b"a" * (SHORT_KEY + 1)

    _, environ = read(head_of(LINE, HOST, name + b": b"))

    assert environ["HTTP_" + "A" * (SHORT_KEY + 1)] == "b"


# -- the body (RFC 9112, 6) -----------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "length", "chunked"),
    [
        (b"Content-Length: 0", 0, False),
        (b"Content-Length:\t12 \t", 12, False),
        (b"Content-Length: 007", 7, False),
        (b"Content-Length: 18446744073709551615", 2**64 - 1, False),
        (b"Transfer-Encoding: chunked", None, True),
        (b"transfer-encoding:\tCHUNKED ", None, True),
    ],
)
def test_bodies(field: bytes, length: int | None, chunked: bool) -> None:
    """Its length, or that it is chunked; an application sees the former only."""
    head, environ = read(head_of(LINE, HOST, field))

    assert head.has_body
    assert (head.content_length, head.chunked) == (length, chunked)
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert ("CONTENT_LENGTH" not in environ) is chunked


def test_a_body_that_is_too_large() -> None:
    """413 is told before a byte of it is read (RFC 9110, 15.5.14)."""
    limits = NO_LIMITS._replace(body_size=10)

    read(head_of(LINE, HOST, b"Content-Length: 10"), limits)
    assert refused(head_of(LINE, HOST, b"Content-Length: 11"), limits) == 413


@pytest.mark.parametrize(
    "fields",
    [
        [b"Content-Length:"],
        [b"Content-Length: -1"],
        [b"Content-Length: +1"],
        [b"Content-Length: 1 1"],
        [b"Content-Length: 1, 1"],
        [b"Content-Length: 1.0"],
        [b"Content-Length: 0x1"],
        [b"Content-Length: 1_0"],
        [b"Content-Length: \xb2"],
        [b"Content-Length: 18446744073709551616"],
        [b"Content-Length: " + b"0" * 5000 + b"1"],
        [b"Content-Length: 1", b"Content-Length: 1"],
        [b"Content-Length: 1", b"Content-Length: 2"],
        [b"Content-Length: 1", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 1"],
        [b"Transfer-Encoding:"],
        [b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked, gzip"],
        [b"Transfer-Encoding: chunked, chunked"],
        [b"Transfer-Encoding: chunked;a=b"],
        [b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding: chunkedx"],
        [b'Transfer-Encoding: "chunked"'],
        [b"Transfer-Encoding: \x0bchunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"],
    ],
)
def test_bodies_that_could_be_read_twice(fields: list[bytes]) -> None:
    """Where two could differ about the end of the body, there is none: 400."""
    assert refused(head_of(LINE, HOST, *fields)) == 400


def test_chunked_in_http_1_0() -> None:
    """HTTP/1.0 knows no transfer codings (RFC 9112, 6.1)."""
    assert refused(head_of(OLD, b"Transfer-Encoding: chunked")) == 400


# -- the connection (RFC 9112, 9) -----------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "persistent"),
    [
        ([LINE], True),
        ([LINE, b"Connection: keep-alive"], True),
        ([LINE, b"Connection: close"], False),
        ([LINE, b"Connection: CLOSE"], False),
        ([LINE, b"Connection: x, close"], False),
        ([LINE, b"Connection: ,\tclose ,x"], False),
        ([LINE, b"Connection: x", b"Connection: close"], False),
        ([LINE, b"Connection: keep-alive, close"], False),
        ([LINE, b"Connection: closed"], True),
        ([LINE, b'Connection: "close"'], True),
        ([LINE, b"Connection:"], True),
        ([LINE, b"Proxy-Connection: close"], True),
        ([OLD], False),
        ([OLD, b"Connection: Keep-Alive"], True),
        ([OLD, b"Connection: x,keep-alive"], True),
        ([OLD, b"Connection: keep-alive, close"], False),
    ],
)
def test_connections_that_stay(lines: list[bytes], persistent: bool) -> None:
    """A list of options, which may come in several fields (RFC 9110, 7.6.1)."""
    head, _ = read(head_of(*lines, HOST))

    assert head.persistent is persistent


@pytest.mark.parametrize(
    "field",
    [
        b"Connection: close",
        b"Connection: upgrade\r\nUpgrade: websocket",
        b"Upgrade: h2c",
        b"Proxy-Connection: close",
        b"Proxy-Connection: keep-alive, close",
        b"Proxy-Connection: upgrade\r\nUpgrade: websocket",
        b"Content-Length: 5",
        b"Content-Length: 0",
        b"Transfer-Encoding: chunked",
    ],
)
@pytest.mark.parametrize("line", [LINE, OLD])
def test_the_next_request(line: bytes, field: bytes) -> None:
    """What one head says is no matter of the next one, which may be of another."""
    reader = HeadReader(NO_LIMITS)
    try:
        read(head_of(line, HOST, field), reader=reader)
    except Refused:
        assert (line, field) == (OLD, b"Transfer-Encoding: chunked")

    head, environ = read(head_of(LINE, HOST, b"A: b"), reader=reader)

    assert environ["HTTP_A"] == "b"
    assert head.persistent
    assert not head.has_body
    assert not head.upgrade


@pytest.mark.parametrize(("line", "upgrade"), [(LINE, True), (OLD, False)])
def test_upgrade(line: bytes, upgrade: bool) -> None:
    """A request of HTTP/1.0 asks for none (RFC 9110, 7.8)."""
    fields = [b"Connection: upgrade", b"Upgrade: websocket"]

    assert read(head_of(line, HOST, *fields))[0].upgrade is upgrade


# -- environ --------------------------------------------------------------------------


def test_each_environ_is_a_new_one() -> None:
    """With what the connection says; a port that has no number is the Host's."""
    head, _ = read(head_of(LINE, b"Host: example.com:81"))
    tcp = {"SERVER_PORT": "8080", "wsgi.url_scheme": "http"}
    unix = {"SERVER_PORT": "", "wsgi.url_scheme": "http"}

    first, second, other = head.environ(tcp), head.environ(tcp), head.environ(unix)

    assert first == second
    assert first is not second
    assert first["PATH_INFO"] == other["PATH_INFO"] == "/"
    assert (first["SERVER_PORT"], other["SERVER_PORT"]) == ("8080", "81")


def test_what_the_log_says_is_made_once() -> None:
    """For heads come again."""
    head, _ = read(head_of(b"GET /a?b HTTP/1.1", HOST, b"User-Agent: me"))

    assert head.asked == ('"GET /a?b HTTP/1.1"', '"-" "me"')
    assert head.asked is head.asked


# -- Expect (RFC 9110, 10.1.1) --------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expectation", "heeded"),
    [
        (LINE, b"100-continue", True),
        (LINE, b"100-Continue ", True),
        (LINE, b"100-continue, 100-continue", True),
        (LINE, b" ,100-continue\t,", True),
        (LINE, b"", False),
        (OLD, b"100-continue", False),
        (OLD, b"anything", False),
    ],
)
def test_expectations(line: bytes, expectation: bytes, heeded: bool) -> None:
    """A list, in any case (RFC 9110, 5.6.1.2); a request of HTTP/1.0 has none."""
    head, _ = read(head_of(line, HOST, b"Expect: " + expectation))

    assert head.expects_continue is heeded


@pytest.mark.parametrize(
    "expectation", [b"200-ok", b"100-continue, x", b"100-continue;q", b",200-ok"]
)
def test_other_expectations(expectation: bytes) -> None:
    """There is no other that can be met."""
    assert refused(head_of(LINE, HOST, b"Expect: " + expectation)) == 417


# -- limits ---------------------------------------------------------------------------

FIELDS = [HOST, *(b"A%d: b" % number for number in range(9))]
SIZES = Limits(
    request_line_size=len(LINE) + 2,
    header_size=len(head_of(*FIELDS)),
    header_count=len(FIELDS),
)


def test_within_the_limits() -> None:
    """What is just as large as it may be is read."""
    _, environ = read(head_of(LINE, *FIELDS), SIZES)

    assert environ["HTTP_A8"] == "b"


@pytest.mark.parametrize(
    ("lines", "limits", "status"),
    [
        ([b"GET /a HTTP/1.1", *FIELDS], SIZES, 414),
        ([b"GET /" + b"a" * 99, *FIELDS], SIZES, 414),
        ([LINE, *FIELDS[:-1], b"A8: bc"], SIZES, 431),
        ([LINE, *FIELDS], SIZES._replace(header_count=9), 431),
        ([LINE, *FIELDS[:-1], b"A: b"], SIZES._replace(header_count=9), 431),
        ([b"no request", *FIELDS[:-1], b"A8: bc"], SIZES, 431),
    ],
)
def test_beyond_the_limits(lines: list[bytes], limits: Limits, status: int) -> None:
    """414 is for the line (RFC 9112, 3), 431 for the fields (RFC 6585, 5)."""
    assert refused(head_of(*lines), limits._replace(request_line_size=16)) == status


def check(data: bytes, seen: int = 0, limits: Limits = SIZES) -> int | None:
    """The status that what has come of a head is answered with, if it is."""
    try:
        HeadReader(limits).check_incomplete(data, seen)
    except Refused as error:
        return error.code
    return None


@pytest.mark.parametrize("length", range(1, len(head_of(LINE, *FIELDS))))
def test_a_good_head_in_part(length: int) -> None:
    """However much of it has come, the rest is waited for."""
    data = head_of(LINE, *FIELDS)[:length]

    assert check(data) is None
    assert check(data, length - 1) is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"G" * 17, 414),
        (b"GET /aaaaaaaaaaa HTTP/1.1\r\n", 414),
        (b"no request\r\n", 400),
        (b"no request\r\n" + b"a" * 200, 431),
        (LINE + b"\r\nA: " + b"a" * 200, 431),
        (LINE + b"\r\n" + b"A:\r\n" * 12, 431),
        (b"GET /\n", 400),
        (b"GET /\rH", 400),
        (b"GET\0", 400),
        (LINE + b"\r\nHost\n", 400),
        (LINE + b"\r\nHost\rX", 400),
        (LINE + b"\r\nHost: a\0", 400),
        (LINE + b"\r\nHost: a\r\n\n", 400),
    ],
)
def test_a_bad_head_in_part(data: bytes, status: int) -> None:
    """What cannot become a head is refused at once, whatever was looked at before."""
    assert check(data) == status
    assert check(data, len(data) - 1) == status


def test_no_limits() -> None:
    """Without limits, a head of any size is waited for, and read."""
    lines = [b"GET /" + b"a" * 100000 + b" HTTP/1.1", HOST, *[b"A: b"] * 10000]
    data = head_of(*lines)

    assert check(data[:-1], limits=NO_LIMITS) is None
    assert len(read(data)[1]["HTTP_A"]) == 19999


# -- any bytes ------------------------------------------------------------------------

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110, 7.2, but for addresses of IPv6, which are tested above.
HOST_AND_PORT = re.compile(rb"([\w\-.~!$&'()*+,;=]|%[0-9a-fA-F]{2})*(:\d*)?", re.A)
ABSOLUTE = re.compile(rb"https?://([^/?]+)(/[^?]*)?(\?.*)?", re.I)
KEYS = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


class Bad(Exception):
    """It is no head."""


def ensure(condition: object) -> None:
    if not condition:
        raise Bad


def simply_read(data: bytes) -> tuple[dict[str, Any], Environ]:
    """
    Read a head as one does with the RFCs at hand: slowly, and one rule at a time.

    :raises Bad: when it is to be refused.
    """
    line, *fields = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
    parts = line.split(b" ")
    ensure(len(parts) == 3)
    method, target, version = parts
    ensure(TOKEN.fullmatch(method))
    ensure(re.fullmatch(rb"HTTP/1\.[0-9]", version))
    ensure(target and all(0x21 <= byte <= 0x7E for byte in target))
    environ: Environ = {
        "REQUEST_METHOD": method.decode(),
        "SERVER_PROTOCOL": "HTTP/1.0" if version == b"HTTP/1.0" else "HTTP/1.1",
        "REQUEST_URI": target.decode(),
        "RAW_URI": target.decode(),
    }
    told = _simply_read_fields(fields, environ, version == b"HTTP/1.0")
    _simply_read_target(method, target, environ, told)
    server_name = environ.get("HTTP_HOST", "").partition(":")[0]
    if server_name:
        environ["SERVER_NAME"] = server_name
    return told, environ


def _simply_read_fields(
    fields: list[bytes], environ: Environ, of_1_0: bool
) -> dict[str, Any]:
    values: dict[bytes, list[bytes]] = {}
    for field in fields:
        name, colon, value = field.partition(b":")
        ensure(colon and TOKEN.fullmatch(name))
        ensure(all(b == 9 or (b >= 32 and b != 127) for b in value))
        values.setdefault(name.lower(), []).append(value.strip(b" \t"))
    for name, listed in values.items():
        if b"_" in name or name in (b"transfer-encoding", b"proxy"):
            continue
        key = KEYS.get(name, "HTTP_" + name.decode().upper().replace("-", "_"))
        comma = b"; " if name == b"cookie" else b","
        environ[key] = comma.join(listed).decode("latin-1")
    hosts = values.get(b"host", [])
    ensure(len(hosts) == 1 or (of_1_0 and not hosts))
    ensure(all(HOST_AND_PORT.fullmatch(host) for host in hosts))
    lengths = values.get(b"content-length", [])
    codings = values.get(b"transfer-encoding", [])
    ensure(len(lengths) + len(codings) <= 1)
    ensure(all(re.fullmatch(rb"[0-9]{1,19}", length) for length in lengths))
    ensure(not of_1_0 and codings[0].lower() == b"chunked" if codings else True)
    expected = values.get(b"expect", []) if not of_1_0 else []
    expected = b",".join(expected).lower().split(b",")
    ensure({value.strip(b" \t") for value in expected} <= {b"", b"100-continue"})
    options = b",".join(values.get(b"connection", [])).lower().split(b",")
    close = b"close" in [option.strip(b" \t") for option in options]
    keep_alive = b"keep-alive" in [option.strip(b" \t") for option in options]
    return {
        "of_1_0": of_1_0,
        "content_length": int(lengths[0]) if lengths else None,
        "chunked": bool(codings),
        "has_body": bool(lengths or codings),
        "expects_continue": any(value.strip(b" \t") for value in expected),
        "persistent": not close and (not of_1_0 or keep_alive),
        "upgrade": b"upgrade" in values and not of_1_0,
    }


def _simply_read_target(
    method: bytes, target: bytes, environ: Environ, told: dict[str, Any]
) -> None:
    ensure(method != b"CONNECT" and b"#" not in target)
    absolute = ABSOLUTE.fullmatch(target)
    path, _, query = target.partition(b"?")
    if absolute and not target.startswith(b"/"):
        host = absolute[1]
        ensure(HOST_AND_PORT.fullmatch(host) and host[:1] != b":")
        environ["HTTP_HOST"] = host.decode()
        path = absolute[2] or b"/"
    elif not target.startswith(b"/"):
        ensure(target == b"*" and method == b"OPTIONS")
    told["path"] = path.decode()
    environ["QUERY_STRING"] = query.decode()
    environ["PATH_INFO"] = re.sub(
        rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), path
    ).decode("latin-1")


METHODS = st.sampled_from([b"GET", b"POST", b"OPTIONS", b"CONNECT", b"x", b"HE@D"])
TARGETS = st.sampled_from(
    [
        *(b"/", b"/a?b", b"*", b"/%41%4", b"//a", b"/#", b"/a b", b"a:80", b""),
        *(b"http://a/b?c", b"http://a?b", b"https://a:/", b"http://:1", b"http:a"),
    ]
)
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/1.2", b"1.1"])
NAMES = st.sampled_from(
    [
        *(b"Host", b"Connection", b"Content-Length", b"Transfer-Encoding", b"Expect"),
        *(b"Upgrade", b"Cookie", b"Content-Type", b"A", b"A_b", b"a", b"A b", b"Proxy"),
        *(b"Proxy-Connection", b"Trailer", b"host", b"", b"TE", b"Keep-Alive"),
    ]
)
VALUES = st.sampled_from(
    [
        *(b"a", b"", b"close", b"keep-alive", b"x, close", b"close x", b"upgrade"),
        *(b"chunked", b"gzip, chunked", b"0", b"5", b"+5", b"5,5", b"100-continue"),
        *(b"close\t", b"\tclose\t,", b"close,keep-alive", b"clos", b"x close", b"5 5"),
        *(b"chunked\t", b"5\t", b"a:80", b"a b", b"\xe9", b"a\x01", b"a\rb", b"a\nb"),
        *(b"a\r\n b", b"close;", b'"close"', b", ,close", b"keep-alive close", b"\x7f"),
    ]
)
COLONS = st.sampled_from([b": ", b": ", b": ", b":", b":\t", b" : ", b""])
ENDS = st.sampled_from([b"\r\n"] * 9 + [b"\n", b"\r", b" \r\n", b"\t\r\n", b"\r\r\n"])
FIELD = st.tuples(NAMES | st.binary(max_size=3), COLONS, VALUES, ENDS).map(b"".join)
USUAL = st.sampled_from([b"Host: a\r\n", b"Host: a:80\r\n", b"Accept: */*\r\n"])
HEADS = st.tuples(
    st.tuples(METHODS, TARGETS, VERSIONS).map(b" ".join) | st.binary(max_size=20),
    ENDS,
    st.lists(USUAL | FIELD | st.binary(max_size=5), max_size=6).map(b"".join),
).map(b"".join)


@given(st.lists(HEADS, min_size=1, max_size=3))
@example([b"GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n"])
@example([b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close x\r\n"])
@example([b"OPTIONS * HTTP/1.0\r\nUpgrade: a\r\nConnection: upgrade\r\n"])
@example([b"POST http://a?b HTTP/1.1\r\nHost: b\r\nContent-Length: 5\t\r\n"])
def test_any_heads(heads: list[bytes]) -> None:
    """One reader after the other reads them as they are, or refuses them, alike."""
    reader = HeadReader(NO_LIMITS)
    for begun in [*heads, head_of(LINE, HOST)]:
        data, _, _ = (begun + b"\r\n\r\n").partition(b"\r\n\r\n")
        data += b"\r\n\r\n"
        try:
            expected = simply_read(data)
        except Bad:
            with pytest.raises(Refused) as error:
                reader.read(data)
            assert error.value.code in (400, 417, 501, 505)
        else:
            head = reader.read(data)
            told = {name: getattr(head, name) for name in expected[0]}
            assert (told, head.variables) == expected


@given(HEADS, st.integers(0, 200))
def test_any_part_of_a_head(begun: bytes, length: int) -> None:
    """What can be read when it is complete is not refused before."""
    data, _, _ = (begun + b"\r\n\r\n").partition(b"\r\n\r\n")
    data += b"\r\n\r\n"
    if check(data[: min(max(1, length), len(data) - 1)], limits=NO_LIMITS) is not None:
        with pytest.raises(Refused):
            HeadReader(NO_LIMITS).read(data)
