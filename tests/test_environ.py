"""The environ of a request: what PEP 3333 asks for, and what applications expect."""

from __future__ import annotations

import io
import json
import re
from typing import Any
from wsgiref.validate import validator

import http2
import pytest
from doors import STOCK, serve
from pytest_twisted import ensureDeferred
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, ISSLTransport
from twisted.logger import formatEvent
from zope.interface import alsoProvides

from twisted_wsgiflush import __version__
from twisted_wsgiflush.testing import GET

pytestmark = pytest.mark.usefixtures("door")


IPV4 = IPv4Address("TCP", "192.0.2.1", 8080)
IPV6 = IPv6Address("TCP", "2001:db8::1", 8080)
UNIX = UNIXAddress(b"/run/site.sock")


def environ_for(
    request: bytes,
    *,
    listener: IAddress = IPV4,
    client: IAddress = IPV4,
    secure: bool = False,
) -> dict[str, Any]:
    """What an application at the root of a site finds in environ."""
    found: dict[str, Any] = {}

    def application(environ, start_response):
        found.update(environ)
        start_response("200 OK", [])
        return []

    served = serve(application, b"")
    served.transport.hostAddr = listener  # type: ignore[assignment]  # None there
    served.transport.peerAddr = client  # type: ignore[assignment]  # as above
    if secure:
        alsoProvides(served.transport, ISSLTransport)
    served.send(request)
    return found


def get(target: bytes = b"/", *header_lines: bytes) -> bytes:
    """A GET request with a Host header and others."""
    lines = [b"GET " + target + b" HTTP/1.1", b"Host: example.com", *header_lines]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def post(*header_lines: bytes, body: bytes = b"") -> bytes:
    """A POST request with a Host header, others, and a body as they frame it."""
    lines = [b"POST / HTTP/1.1", b"Host: example.com", *header_lines]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


# Their values have tests of their own, see test_extensions.py.
EXTENSIONS = [
    "twisted.reactor",
    "wsgi.asynchronous",
    "wsgi.pause_output",
    "wsgi.response_error",
    "x-wsgiorg.fdevent.readable",
    "x-wsgiorg.fdevent.timeout",
    "x-wsgiorg.fdevent.writable",
    "x-wsgiorg.flush",
    "x-wsgiorg.suspend",
    "x-wsgiorg.suspend_status",
]


def test_a_simple_request_has_these_keys() -> None:
    """Every key that PEP 3333 requires is there, and those that are customary."""
    environ = environ_for(get(b"/a?b=c"), client=IPv4Address("TCP", "192.0.2.7", 5))

    for key in ("wsgi.input", "wsgi.errors", "wsgi.file_wrapper"):
        del environ[key]
    for key in EXTENSIONS:
        del environ[key]
    assert environ == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a",
        "QUERY_STRING": "b=c",
        "REQUEST_URI": "/a?b=c",
        "RAW_URI": "/a?b=c",
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": "",
        "SERVER_NAME": "example.com",
        "SERVER_PORT": "8080",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": f"twisted-wsgiflush/{__version__}",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "5",
        "HTTP_HOST": "example.com",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }


def test_environ_is_a_dict_and_no_subclass() -> None:
    """PEP 3333 wants a builtin dictionary, which the application may change."""
    types = []

    def application(environ, start_response):
        types.append(type(environ))
        start_response("200 OK", [])
        return []

    serve(application)
    assert types == [dict]


def test_environ_belongs_to_one_request() -> None:
    """What an application does to environ is not seen by the next request."""
    versions = []

    def application(environ, start_response):
        versions.append(environ["wsgi.version"])
        assert "application.key" not in environ
        environ["application.key"] = environ["wsgi.version"] = "changed"
        start_response("200 OK", [])
        return []

    serve(application, GET + GET)
    assert versions == [(1, 0), (1, 0)]


def test_cgi_variables_are_native_strings() -> None:
    """PEP 3333: every CGI variable is of type str, and no subclass."""
    environ = environ_for(
        post(b"Content-Type: a/b", b"Content-Length: 1", b"Cookie: c=d", body=b"x")
    )

    assert {type(value) for key, value in environ.items() if "." not in key} == {str}


@pytest.mark.parametrize(
    "request_bytes",
    [
        GET,
        get(b"/%C3%A9%FF/%2F//?q=%20", b"Accept: text/html", b"Accept: text/plain"),
        get(b"http://other.example/a"),
        b"HEAD / HTTP/1.0\r\n\r\n",
        post(b"Content-Type: text/plain", b"Content-Length: 5", body=b"a\nb\nc"),
        post(b"Transfer-Encoding: chunked", body=b"5\r\na\nb\nc\r\n0\r\n\r\n"),
    ],
)
def test_the_validator_finds_no_fault(request_bytes: bytes) -> None:
    """``wsgiref.validate`` is content with environ, the input and the errors."""

    def application(environ, start_response):
        stream = environ["wsgi.input"]
        stream.read(1)
        stream.readline()
        stream.readlines()
        assert list(stream) == []
        environ["wsgi.errors"].flush()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"valid"]

    served = serve(validator(application), request_bytes)
    assert served.read().startswith((b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n"))


# --- the request line


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "get", "M-SEARCH", "X"])
def test_any_method_is_the_applications(method: str) -> None:
    """REQUEST_METHOD is the method as it came; which to serve is for others to say."""
    environ = environ_for(method.encode() + b" / HTTP/1.1\r\nHost: h\r\n\r\n")

    assert environ["REQUEST_METHOD"] == method


@pytest.mark.parametrize(
    ("target", "path_info"),
    [
        (b"/", "/"),
        (b"/a/b", "/a/b"),
        (b"/a/", "/a/"),
        (b"//", "//"),
        (b"//a", "//a"),
        (b"/a//b///", "/a//b///"),
        (b"/a/../b/.", "/a/../b/."),
        (b"/%61", "/a"),
        (b"/a%2Fb", "/a/b"),
        (b"/a%2fb", "/a/b"),
        (b"/%2F", "//"),
        (b"/%3F%23", "/?#"),
        (b"/a+b", "/a+b"),
        (b"/a%20b", "/a b"),
        (b"/%25", "/%"),
        (b"/%2541", "/%41"),
        (b"/%", "/%"),
        (b"/%4", "/%4"),
        (b"/%zz", "/%zz"),
        (b"/a;b=c,d", "/a;b=c,d"),
        (b"/%C3%A9", "/\xc3\xa9"),
        (b"/%FF%FE", "/\xff\xfe"),
        (b"/%00", "/\0"),
        (b"/a?b/c", "/a"),
    ],
)
def test_path_info_is_decoded_as_bytes(target: bytes, path_info: str) -> None:
    """PATH_INFO is percent-decoded, whatever the encoding of the bytes may be."""
    assert environ_for(get(target))["PATH_INFO"] == path_info


@pytest.mark.parametrize(
    ("target", "query_string"),
    [
        (b"/", ""),
        (b"/?", ""),
        (b"/?a=b&c", "a=b&c"),
        (b"/?a?b", "a?b"),
        (b"/?%20+%C3%A9", "%20+%C3%A9"),
        (b"/%3Fa?b", "b"),
        (b"http://h?a", "a"),
        (b"http://h/?a/b", "a/b"),
    ],
)
def test_query_string_is_as_it_came(target: bytes, query_string: str) -> None:
    """QUERY_STRING is what follows the first question mark, not decoded."""
    assert environ_for(get(target))["QUERY_STRING"] == query_string


@pytest.mark.parametrize(
    "target",
    [b"/", b"/a%2Fb//c?d=%20", b"/%zz?", b"http://other.example/a?b"],
)
def test_the_target_itself_is_in_environ(target: bytes) -> None:
    """REQUEST_URI and RAW_URI are the request target as it came."""
    environ = environ_for(get(target))

    assert environ["REQUEST_URI"] == environ["RAW_URI"] == target.decode("latin-1")


@STOCK
def test_a_target_that_is_not_ascii_is_decoded_as_bytes() -> None:
    """The fast door refuses it (RFC 3986, 2)."""
    environ = environ_for(get(b"/\xa4?\xa4"))

    assert environ["PATH_INFO"] == "/\xa4"
    assert environ["QUERY_STRING"] == "\xa4"
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == "/\xa4?\xa4"


@pytest.mark.parametrize(
    ("target", "path_info", "host"),
    [
        (b"http://other.example/a/b", "/a/b", "other.example"),
        (b"http://other.example", "/", "other.example"),
        (b"http://other.example/", "/", "other.example"),
        (b"http://other.example//a", "//a", "other.example"),
        (b"http://other.example:81?a/b", "/", "other.example:81"),
        (b"http://[2001:db8::2]:81/a%2Fb", "/a/b", "[2001:db8::2]:81"),
        (b"https://other.example/a", "/a", "other.example"),
        (b"HTTP://Other.Example/a", "/a", "Other.Example"),
        (b"http://other.example/http://a/b", "/http://a/b", "other.example"),
    ],
)
def test_absolute_form_says_path_and_host(
    target: bytes, path_info: str, host: str
) -> None:
    """A target in absolute-form is taken apart, and replaces the Host header."""
    environ = environ_for(get(target))

    assert environ["SCRIPT_NAME"] == ""
    assert environ["PATH_INFO"] == path_info
    assert environ["HTTP_HOST"] == host


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_server_protocol_is_the_clients(version: str) -> None:
    """SERVER_PROTOCOL is the version of the request."""
    environ = environ_for(f"GET / {version}\r\nHost: h\r\n\r\n".encode())

    assert environ["SERVER_PROTOCOL"] == version


# --- headers


@pytest.mark.parametrize(
    ("header_lines", "variables"),
    [
        ([b"Accept: a/b"], {"HTTP_ACCEPT": "a/b"}),
        ([b"x-some-thing:y"], {"HTTP_X_SOME_THING": "y"}),
        ([b"X:  \t y \t "], {"HTTP_X": "y"}),
        ([b"X:"], {"HTTP_X": ""}),
        ([b"X: a", b"X: b", b"x: c"], {"HTTP_X": "a,b,c"}),
        ([b"X: a, b", b"X:", b"X: c"], {"HTTP_X": "a, b,,c"}),
        ([b"Cookie: a=1"], {"HTTP_COOKIE": "a=1"}),
        ([b"Cookie: a=1", b"Cookie: b=2; c=3"], {"HTTP_COOKIE": "a=1; b=2; c=3"}),
        ([b"X: caf\xe9"], {"HTTP_X": "caf\xe9"}),
        ([b"X: caf\xc3\xa9"], {"HTTP_X": "caf\xc3\xa9"}),
        ([b"Connection: close"], {"HTTP_CONNECTION": "close"}),
        ([b"Expect: 100-continue"], {"HTTP_EXPECT": "100-continue"}),
        ([b"Authorization: Basic eA=="], {"HTTP_AUTHORIZATION": "Basic eA=="}),
        ([b"!#$%&'*+.^`|~9: y"], {"HTTP_!#$%&'*+.^`|~9": "y"}),
    ],
)
def test_a_header_is_a_variable(
    header_lines: list[bytes], variables: dict[str, str]
) -> None:
    """HTTP_ and the name, the values joined, each byte one character."""
    environ = environ_for(get(b"/", *header_lines))

    del environ["HTTP_HOST"]
    assert {k: v for k, v in environ.items() if k.startswith("HTTP_")} == variables


@STOCK
def test_a_folded_header_is_one_line() -> None:
    """The fast door refuses it (RFC 9112, 5.2)."""
    environ = environ_for(get(b"/", b"X: a", b" b", b"\tc"))

    assert environ["HTTP_X"] == "a b c"


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b"Content-Type: a/b"),
        post(b"Content-Length: 1", body=b"x"),
        post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        get(b"/", b"Proxy: http://evil.example"),
        get(b"/", b"X_Forwarded_For: 192.0.2.1"),
        get(b"/", b"Content_Length: 1"),
        get(b"/", b"X-A_B: c"),
        get(b"/", b"_: c"),
    ],
)
def test_these_headers_are_no_variables(request_bytes: bytes) -> None:
    """They have keys of their own, were acted upon, or pretend to be another."""
    environ = environ_for(request_bytes)

    assert {key for key in environ if key.startswith("HTTP_")} == {"HTTP_HOST"}


def test_an_underscore_adds_nothing_to_the_dashed_name() -> None:
    """A header that a proxy strips and sets cannot be spoofed by its look-alike."""
    environ = environ_for(
        get(b"/", b"X_Real_User: root", b"X-Real-User: alice", b"X-Real_User: root")
    )

    assert environ["HTTP_X_REAL_USER"] == "alice"


# --- the body


@pytest.mark.parametrize(
    ("request_bytes", "content_type", "content_length"),
    [
        (GET, "", ""),
        (post(), "", ""),
        (
            post(b"Content-Type: text/plain; charset=utf-8"),
            "text/plain; charset=utf-8",
            "",
        ),
        (post(b"Content-Type: a/b", b"Content-Type: c/d"), "a/b,c/d", ""),
        (post(b"Content-Length: 0"), "", "0"),
        (post(b"Content-Length: 3", body=b"abc"), "", "3"),
        (post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), "", "0"),
        (
            post(
                b"Content-Type: a/b",
                b"Transfer-Encoding: Chunked",
                body=b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: x\r\n\r\n",
            ),
            "a/b",
            "7",
        ),
    ],
)
def test_the_body_is_described(
    request_bytes: bytes, content_type: str, content_length: str
) -> None:
    """CONTENT_TYPE is as it came; CONTENT_LENGTH is known for a chunked body too."""
    environ = environ_for(request_bytes)

    assert environ["CONTENT_TYPE"] == content_type
    assert environ["CONTENT_LENGTH"] == content_length


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_the_input_is_the_whole_body(size: int, chunked: bool) -> None:
    """``wsgi.input`` begins with the first byte and ends after CONTENT_LENGTH."""
    body = bytes(number % 251 for number in range(size))
    seen = []

    def application(environ, start_response):
        stream = environ["wsgi.input"]
        seen.append((environ["CONTENT_LENGTH"], stream.read(), stream.read()))
        start_response("200 OK", [])
        return []

    if chunked:
        chunk = b"%x\r\n%b\r\n" % (size, body) if body else b""
        request = post(b"Transfer-Encoding: chunked", body=chunk + b"0\r\n\r\n")
    else:
        request = post(b"Content-Length: %d" % size, body=body)
    serve(application, request)
    assert seen == [(str(size), body, b"")]


# --- addresses


@pytest.mark.parametrize(
    ("listener", "host_line", "server_name", "server_port"),
    [
        (IPV4, b"Host: example.com\r\n", "example.com", "8080"),
        (IPV4, b"Host: example.com:81\r\n", "example.com", "8080"),
        (IPV4, b"Host: 192.0.2.9:81\r\n", "192.0.2.9", "8080"),
        (IPV4, b"Host: [2001:db8::9]\r\n", "[2001:db8::9]", "8080"),
        (IPV4, b"Host: [2001:db8::9]:81\r\n", "[2001:db8::9]", "8080"),
        (IPV4, b"Host: example.com:\r\n", "example.com", "8080"),
        (IPV4, b"Host: [2001:db8::9]:\r\n", "[2001:db8::9]", "8080"),
        (IPV4, b"", "192.0.2.1", "8080"),
        (IPV4, b"Host:\r\n", "192.0.2.1", "8080"),
        (IPV4, b"Host: :81\r\n", "192.0.2.1", "8080"),
        (IPV6, b"Host: example.com\r\n", "example.com", "8080"),
        (IPV6, b"", "[2001:db8::1]", "8080"),
        (IPV6, b"Host:\r\n", "[2001:db8::1]", "8080"),
        (IPV6, b"Host: :81\r\n", "[2001:db8::1]", "8080"),
        (UNIX, b"Host: example.com\r\n", "example.com", "80"),
        (UNIX, b"Host: example.com:81\r\n", "example.com", "81"),
        (UNIX, b"Host: [2001:db8::9]\r\n", "[2001:db8::9]", "80"),
        (UNIX, b"Host: [2001:db8::9]:81\r\n", "[2001:db8::9]", "81"),
        (UNIX, b"Host: example.com:\r\n", "example.com", "80"),
        (UNIX, b"Host:\r\n", "localhost", "80"),
        (UNIX, b"Host: :81\r\n", "localhost", "81"),
        (UNIX, b"", "localhost", "80"),
    ],
)
def test_the_server_has_a_name_and_a_port(
    listener: IAddress, host_line: bytes, server_name: str, server_port: str
) -> None:
    """The name is Host's, else the listener's; the port the listener's, else Host's."""
    environ = environ_for(
        b"GET / HTTP/1.0\r\n" + host_line + b"\r\n", listener=listener
    )

    assert environ["SERVER_NAME"] == server_name
    assert environ["SERVER_PORT"] == server_port


@pytest.mark.parametrize(
    ("client", "remote_addr", "remote_port"),
    [
        (IPV4, "192.0.2.1", "8080"),
        (IPV6, "2001:db8::1", "8080"),
        (UNIX, "", ""),
    ],
)
def test_the_client_has_an_address(
    client: IAddress, remote_addr: str, remote_port: str
) -> None:
    """REMOTE_ADDR and REMOTE_PORT are the connection's; a UNIX socket has none."""
    environ = environ_for(GET, client=client)

    assert environ["REMOTE_ADDR"] == remote_addr
    assert environ["REMOTE_PORT"] == remote_port


@pytest.mark.parametrize(
    ("secure", "listener", "scheme", "server_port"),
    [
        (False, IPV4, "http", "8080"),
        (True, IPV4, "https", "8080"),
        (False, UNIX, "http", "80"),
        (True, UNIX, "https", "443"),
    ],
)
def test_the_scheme_is_the_connections(
    secure: bool, listener: IAddress, scheme: str, server_port: str
) -> None:
    """Over TLS the scheme is https, and the port that nobody tells is 443."""
    environ = environ_for(GET, listener=listener, secure=secure)

    assert environ["wsgi.url_scheme"] == scheme
    assert environ["SERVER_PORT"] == server_port


# --- objects


def test_errors_go_to_the_log_with_the_requests_name(logged) -> None:
    """What is written to ``wsgi.errors`` is logged with the method and the target."""

    def application(environ, start_response):
        print("something is odd", file=environ["wsgi.errors"])
        start_response("200 OK", [])
        return []

    serve(application, get(b"/a%20b?c"))
    texts = [formatEvent(event) for event in logged.take("error")]
    assert texts == ["GET /a%20b?c: something is odd"]


def test_the_file_wrapper_sends_a_file() -> None:
    """``wsgi.file_wrapper`` makes a file-like object a response body, and closes it."""
    file = io.BytesIO(b"the content of a file")

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "21")])
        return environ["wsgi.file_wrapper"](file, 4)

    response = serve(application).read()
    assert re.search(b"\r\n\r\nthe content of a file$", response)
    assert file.closed


# --- HTTP/2


@ensureDeferred
async def test_a_request_of_http_2_has_the_same_keys() -> None:
    """The pseudo-headers fill the usual keys, and cookie crumbs are put together."""

    def application(environ, start_response):
        start_response("200 OK", [])
        strings = {k: v for k, v in environ.items() if isinstance(v, str)}
        return [json.dumps(strings).encode()]

    answer = await http2.ask(
        application,
        ("content-type", "text/plain"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        method="POST",
        path="/a%2Fb?c",
        authority="example.com:81",
        body=b"abc",
    )
    assert json.loads(answer.body) == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a/b",
        "QUERY_STRING": "c",
        "REQUEST_URI": "/a%2Fb?c",
        "RAW_URI": "/a%2Fb?c",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "3",
        "SERVER_NAME": "example.com",
        "SERVER_PORT": "8080",
        "SERVER_PROTOCOL": "HTTP/2",
        "SERVER_SOFTWARE": f"twisted-wsgiflush/{__version__}",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "54321",
        "HTTP_HOST": "example.com:81",
        "HTTP_COOKIE": "a=1; b=2",
        "wsgi.url_scheme": "http",
    }


@ensureDeferred
async def test_a_length_that_is_said_twice_is_one_number() -> None:
    """Twisted lets that through on HTTP/2; applications call int() for it."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["CONTENT_LENGTH"].encode()]

    lengths = [("content-length", "3")] * 2
    answer = await http2.ask(application, *lengths, method="POST", body=b"abc")
    assert answer.body == b"3"


class Onion:
    """An address that has a host, and no port."""

    host = "onion.example"


def test_an_address_without_a_port() -> None:
    """Its host counts all the same."""
    environ = environ_for(b"GET / HTTP/1.0\r\n\r\n", listener=Onion(), client=Onion())  # type: ignore[arg-type]
    found = {key: environ[key] for key in environ if key[:6] in ("SERVER", "REMOTE")}
    assert found["SERVER_NAME"] == found["REMOTE_ADDR"] == "onion.example"
    assert (found["SERVER_PORT"], found["REMOTE_PORT"]) == ("80", "")


@ensureDeferred
async def test_host_and_authority_are_one_variable() -> None:
    """What a client of HTTP/2 says twice, the application is told once."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return [environ["HTTP_HOST"].encode()]

    answer = await http2.ask(
        application, ("host", "example.com:81"), authority="example.com:81"
    )
    assert answer.body == b"example.com:81"
