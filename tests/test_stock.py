"""
What RFC 9112 asks of a server and the stock channel leaves to a resource: refusals,
targets in absolute-form, and the end of a connection.
"""

from __future__ import annotations

import http2
import pytest
from pytest_twisted import ensureDeferred
from twisted.web.server import Request, Site
from twisted.web.test.requesthelper import DummyChannel

from twisted_wsgiflush import WSGIResource
from twisted_wsgiflush.testing import GET, Served, Turns, serve


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


def status_of(response: bytes) -> int:
    """The status code of the first response."""
    return int(response.split(b" ", 2)[1])


def assert_refused(served: Served, code: int) -> None:
    """
    Check that the client gets this status and a closed connection, and that what it
    has sent after the refused request is not looked at.
    """
    response = served.read()
    assert status_of(response) == code
    assert response.count(b"\r\nServer: ") == 1
    assert served.closed


# --- Host: RFC 9112, 3.2, and RFC 9110, 7.2


@pytest.mark.parametrize(
    "host",
    [
        b"example.com",
        b"example.com:8080",
        b"example.com:",
        b"EXAMPLE.com",
        b"192.0.2.1:80",
        b"[2001:db8::1]",
        b"[2001:db8::1]:80",
        b"[::ffff:192.0.2.1]",
        b"[v1.a:b]",
        b"a_b~c!d$e&f'g(h)i*j+k,l;m=n",
        b"ex%41mple.com",
        b"",
        b":80",
        b"  example.com\t",
    ],
)
def test_a_host_and_maybe_a_port_is_served(host: bytes) -> None:
    """What RFC 3986 calls a host, with or without a port, is a Host header."""
    served = serve(hello, b"GET / HTTP/1.1\r\nHost:" + host + b"\r\n\r\n")

    assert status_of(served.drain()) == 200


@pytest.mark.parametrize(
    "host",
    [
        b"exa mple.com",
        b"example.com/",
        b"http://example.com",
        b"user@example.com",
        b"example.com?a",
        b"example.com#a",
        b"example.com:80:80",
        b"example.com:port",
        b"example.com:-1",
        b"2001:db8::1",
        b"[2001:db8::1",
        b"2001:db8::1]",
        b"[2001:db8::1]80",
        b"[example.com]",
        b"[]",
        b"[:::]",
        b"[1:2]",
        b"[2001:db8::1.2.3]",
        b"[v.a]",
        b"ex%4mple.com",
        b"ex\x01mple.com",
        b"ex\\mple.com",
        b"caf\xe9.example",
        b'"example.com"',
        b"<example.com>",
    ],
)
@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_another_host_is_refused(host: bytes, version: bytes) -> None:
    """A Host header that is not a host and port is a bad request in any version."""
    request = b"GET / " + version + b"\r\nHost: " + host + b"\r\n\r\n"

    assert_refused(serve(hello, request + GET), 400)


def test_http_1_1_must_name_a_host() -> None:
    """A request of HTTP/1.1 without a Host header is a bad request."""
    assert_refused(serve(hello, b"GET / HTTP/1.1\r\n\r\n" + GET), 400)


@pytest.mark.parametrize("target", [b"/", b"http://example.com/"])
def test_http_1_0_need_not_name_a_host(target: bytes) -> None:
    """HTTP/1.0 did not know the Host header."""
    served = serve(hello, b"GET " + target + b" HTTP/1.0\r\n\r\n")

    assert status_of(served.drain()) == 200


@pytest.mark.parametrize("second", [b"Host: example.com", b"host: other.example"])
def test_two_hosts_are_refused(second: bytes) -> None:
    """Two Host headers are a bad request, even if they say the same."""
    request = b"GET / HTTP/1.1\r\nHost: example.com\r\n" + second + b"\r\n\r\n"

    assert_refused(serve(hello, request + GET), 400)


@pytest.mark.parametrize(
    "host_lines", [b"", b"Host: a\r\nHost: a\r\n", b"Host: a b\r\n"]
)
def test_absolute_form_does_not_do_without_a_host(host_lines: bytes) -> None:
    """A target that names a host overrides the Host header, but does not excuse it."""
    request = b"GET http://h/ HTTP/1.1\r\n" + host_lines + b"\r\n"

    assert_refused(serve(hello, request + GET), 400)


def test_a_channel_that_speaks_no_http_needs_no_host() -> None:
    """The rule is that of HTTP/1.1 on a connection; other channels have their own."""
    clock = Turns()
    channel = DummyChannel()
    channel.site = Site(WSGIResource(clock, hello), reactor=clock)
    request = Request(channel, False)
    request.gotLength(0)

    request.requestReceived(b"GET", b"/", b"HTTP/1.1")
    assert status_of(channel.transport.written.getvalue()) == 200


# --- Transfer-Encoding: RFC 9112, 6.1 and 6.3


@pytest.mark.parametrize(
    ("version", "codings", "code"),
    [
        (b"HTTP/1.1", [b"chunked"], 200),
        (b"HTTP/1.1", [b"CHUNKED"], 200),
        (b"HTTP/1.1", [b"\tchunked "], 200),
        (b"HTTP/1.1", [b"identity"], 501),
        (b"HTTP/1.1", [b"Identity"], 501),
        (b"HTTP/1.1", [b"identity", b"chunked"], 501),
        (b"HTTP/1.1", [b"chunked", b"identity"], 501),
        (b"HTTP/1.0", [b"chunked"], 400),
        (b"HTTP/1.0", [b"identity"], 400),
    ],
)
def test_only_chunked_is_understood(
    version: bytes, codings: list[bytes], code: int
) -> None:
    """Any coding but "chunked" is not implemented; HTTP/1.0 has none at all."""
    lines = [b"POST / " + version, b"Host: h"]
    lines += [b"Transfer-Encoding: " + coding for coding in codings]
    served = serve(hello, b"\r\n".join(lines) + b"\r\n\r\n0\r\n\r\n")

    assert status_of(served.drain()) == code


@pytest.mark.parametrize(("version", "code"), [(b"HTTP/1.1", 501), (b"HTTP/1.0", 400)])
def test_after_another_coding_the_connection_ends(version: bytes, code: int) -> None:
    """Where such a request ends is not agreed upon, so nothing after it is read."""
    request = (
        b"POST / " + version + b"\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n"
    )

    assert_refused(serve(hello, request + GET), code)


# --- methods and targets: RFC 9112, 3.2, and RFC 9110, 9.3.6


def test_connect_is_refused() -> None:
    """An application cannot answer CONNECT: a success would make a tunnel of it."""
    request = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"

    assert_refused(serve(hello, request + GET), 501)


@pytest.mark.parametrize(
    "target",
    [
        b"a",
        b"a/b",
        b"?a",
        b"#a",
        b"%2F",
        b"**",
        b"*/",
        b"example.com:80",
        b"ftp://example.com/",
        b"http:/a",
        b"http:a",
        b"http://",
        b"http:///a",
        b"http://:80/",
        b"http://?a",
        b"http://user@example.com/",
        b"http://user:password@example.com/",
        b"http://exa<mple.com/",
        b"http://example.com:port/",
        b"http://example.com#a",
        b"http://example.com/a#b",
        b"http://example.com/?a#b",
        b"/#",
        b"/a#b",
        b"/a?b#c",
    ],
)
def test_another_target_is_refused(target: bytes) -> None:
    """What is neither a path nor an http URL of a host is a bad request."""
    request = b"GET " + target + b" HTTP/1.1\r\nHost: example.com\r\n\r\n"

    assert_refused(serve(hello, request + GET), 400)


@pytest.mark.parametrize(
    ("method", "code"), [(b"OPTIONS", 200), (b"GET", 405), (b"POST", 405)]
)
def test_the_asterisk_is_the_sites(method: bytes, code: int) -> None:
    """The site answers for ``*``, which is no resource; no application is asked."""
    served = serve(hello, method + b" * HTTP/1.1\r\nHost: h\r\n\r\n")

    response = served.drain()
    assert status_of(response) == code
    assert b"hello" not in response


# --- what a refused client gets, and what the application does not


def test_a_refusal_says_why() -> None:
    """A refusal is a short text that names the rule."""
    response = serve(hello, b"GET / HTTP/1.1\r\n\r\n").drain()

    head, body = response.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nContent-Type: text/plain; charset=utf-8" in head
    assert b"\r\nContent-Length: %d" % len(body) in head
    assert b"\r\nConnection: close" in head
    assert body == (
        b"400 Bad Request\n\nA request of HTTP/1.1 must have a Host header.\n"
    )


def test_a_refusal_of_head_has_no_body() -> None:
    """The answer to HEAD is a head, whatever it says."""
    response = serve(hello, b"HEAD / HTTP/1.1\r\n\r\n").drain()

    assert response.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert response.endswith(b"\r\n\r\n")


def test_a_refused_request_does_not_reach_the_application() -> None:
    """What is refused is not seen by the application at all."""
    seen = []

    def application(environ, start_response):
        seen.append(environ["PATH_INFO"])
        return hello(environ, start_response)

    serve(application, GET + b"GET /refused HTTP/1.1\r\n\r\n")
    assert seen == ["/"]


# --- Connection: RFC 9112, 9.6


@pytest.mark.parametrize(
    "header_lines",
    [
        b"Connection: close\r\n",
        b"connection: CLOSE\r\n",
        b"Connection: keep-alive, close\r\n",
        b"Connection: close, te\r\nTE: trailers\r\n",
        b"Connection: a,close,b\r\n",
        b"Connection: a\t, \tClose\t\r\n",
        b"Connection: ,,close\r\n",
        b"Connection: keep-alive\r\nConnection: close\r\n",
        b"Connection: a\r\nConnection: b\r\nConnection: c, close\r\n",
    ],
)
def test_close_anywhere_among_the_options_closes(header_lines: bytes) -> None:
    """A client that says "close" gets one response, which says the same."""
    request = b"GET / HTTP/1.1\r\nHost: h\r\n" + header_lines + b"\r\n"

    served = serve(hello, request + GET)
    response = served.drain()
    assert response.count(b"\r\nConnection: close\r\n") == 1
    assert response.count(b"hello") == 1
    assert served.closed


@pytest.mark.parametrize(
    "header_lines",
    [
        b"",
        b"Connection: keep-alive\r\n",
        b"Connection: closed\r\n",
        b"Connection: not-close, x-close\r\n",
        b"Connection:\r\n",
        b"Close: close\r\n",
    ],
)
def test_without_close_the_connection_stays(header_lines: bytes) -> None:
    """HTTP/1.1 keeps a connection open, unless the option is there."""
    request = b"GET / HTTP/1.1\r\nHost: h\r\n" + header_lines + b"\r\n"

    served = serve(hello, request + GET)
    response = served.drain()
    assert b"Connection: close" not in response
    assert response.count(b"hello") == 2
    assert not served.closed


@pytest.mark.parametrize("connection", [b"close", b"keep-alive", b"a, close"])
def test_http_1_0_closes_without_saying_so(connection: bytes) -> None:
    """After a response to HTTP/1.0 the connection ends, which is the rule there."""
    request = b"GET / HTTP/1.0\r\nConnection: " + connection + b"\r\n\r\n"

    served = serve(hello, request)
    assert b"Connection:" not in served.drain()
    assert served.closed


def test_a_client_may_ask_to_close_before_a_stream() -> None:
    """The option is heeded when the response is a stream, too."""

    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"one"
        yield b"two"

    request = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: a, close\r\n\r\n"
    served = serve(application, request + GET)
    response = served.read()
    assert b"\r\nConnection: close\r\n" in response
    assert response.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    assert served.closed


# --- HTTP/2


@ensureDeferred
async def test_http_2_names_its_host_in_another_way() -> None:
    """A request of HTTP/2 is served without a Host header."""
    answer = await http2.ask(hello)

    assert answer.status == b"200"
    assert answer.body == b"hello"


@ensureDeferred
async def test_http_2_may_name_its_host_twice() -> None:
    """A Host header beside :authority may be there, if it says the same."""
    answer = await http2.ask(hello, ("host", "example.com"), authority="example.com")

    assert answer.status == b"200"
    assert answer.body == b"hello"


@ensureDeferred
@pytest.mark.parametrize(
    ("authority", "path"),
    [("exa mple.com", "/"), ("example.com", "a"), ("example.com", "/#a")],
)
async def test_a_refusal_of_http_2_ends_its_stream_only(
    authority: str, path: str
) -> None:
    """The streams beside a refused one go on, and no Connection header is sent."""
    answer = await http2.ask(hello, authority=authority, path=path)

    assert answer.status == b"400"
    assert b"connection" not in dict(answer.headers)
    assert not answer.closed
