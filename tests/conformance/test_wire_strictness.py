"""
What a strict server does with less common requests: versions, targets, methods,
expectations, HTTP/1.0, and clients that close their sending half.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest
from wire import STRICT, Client, Closed, Server, case, new_token, request, with_token

pytestmark = pytest.mark.parametrize("door", STRICT, indirect=True, ids=str)

BEHIND = b"GET /@ HTTP/1.1\r\nHost: h\r\n\r\n"

# --- versions (RFC 9112, 2.3; RFC 9110, 2.5 and 6.2)

REFUSED_VERSIONS = [
    *("HTTP/0.9", "HTTP/0.0", "HTTP/2", "HTTP/2.0", "HTTP/2.1", "HTTP/3.0", "HTTP/9.9"),
    *("HTTP/11", "HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/1.1.", "HTTP/1.01", "HTTP/01.1"),
    *("HTTP/1.11", "HTTP/1.-1", "HTTP/1.x", "HTTP/x.1", "HTTP/ 1.1", "HTTP /1.1"),
    *(
        "http/1.1",
        "Http/1.1",
        "HTTP1.1",
        "HTTP//1.1",
        "HTTP\\1.1",
        "ICY/1.0",
        "RTSP/1.0",
    ),
    *(
        "SIP/2.0",
        "HTTPS/1.1",
        "XHTTP/1.1",
        "HTTP/1.1x",
        "HTTP/1,1",
        "HTTP/1;1",
        "",
        " ",
    ),
    *(
        "HTTP/\xb9.\xb9",
        "HTTP/1.1\t",
        "HTTP/1.1\0",
        "HTTP/1.1\x0b",
        "HTTP/1.1 HTTP/1.1",
    ),
]


@pytest.mark.parametrize("version", REFUSED_VERSIONS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_version_that_is_refused(server: Server, version: str, method: str) -> None:
    """RFC 9112, 2.3 and RFC 9110, 15.6.6: 400, or 505 for one of another major."""
    raw = f"{method} /@ {version}\r\nHost: h\r\n\r\n"
    server.assert_refused(raw, {400, 505}, BEHIND)


def test_simple_request_of_http_0_9(server: Server) -> None:
    """RFC 9112, 2.3: a request without a version is none; its answer has a head."""
    server.assert_refused("GET /@\r\n", {400, 505}, BEHIND)


@pytest.mark.parametrize("version", ["HTTP/1.2", "HTTP/1.9"])
def test_later_minor_version(server: Server, version: str) -> None:
    """RFC 9110, 6.2: served as HTTP/1.1, or refused with 505; as a whole."""
    token = new_token()
    raw = f"GET /hello {version}\r\nHost: h\r\n\r\n".encode()
    with server.connect() as client:
        client.send(raw + with_token(BEHIND, token))
        response = client.final()
        assert response.version == "HTTP/1.1"
        if response.status == 200:
            assert client.final().json()["environ"]["PATH_INFO"] == f"/{token}"
        else:
            assert response.status in (400, 505)
            client.assert_closed()
            server.assert_never_called(token)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def test_preface_of_http_2(server: Server) -> None:
    """RFC 9113, 3.4: over plain TCP nobody has agreed to it: an error, and closed."""
    with server.connect() as client:
        client.send(PREFACE)
        assert client.response().status in (400, 405, 501, 505)
        client.assert_closed()


# --- targets (RFC 9112, 3.2)

TARGETS = [
    # target, PATH_INFO, QUERY_STRING
    case("origin-form (3.2.1)", "/a/b", "/a/b", ""),
    case("the root", "/", "/", ""),
    case("a query", "/a?b=c&d", "/a", "b=c&d"),
    case("an empty query", "/a?", "/a", ""),
    case("a query with a question mark", "/a?b?c", "/a", "b?c"),
    case("a query with a slash", "/a?b/c", "/a", "b/c"),
    case("two slashes first", "//a/b", "//a/b", ""),
    case("three slashes", "///", "///", ""),
    case("a scheme in the path", "/http://x/y", "/http://x/y", ""),
    case("a scheme behind two slashes", "//h/http://x", "//h/http://x", ""),
    case("dots", "/a/../b/./c", "/a/../b/./c", ""),
    case("encoded", "/%61%2Fb", "/a/b", ""),
    case("all that a path may have", "/-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@", ""),
    case("absolute-form (3.2.2)", "http://h/a/b", "/a/b", ""),
    case("absolute-form with a query", "http://h/a?b=c", "/a", "b=c"),
    case("absolute-form without a path", "http://h", "/", ""),
    case("absolute-form, query without a path", "http://h?b=c", "/", "b=c"),
    case("absolute-form with a port", "http://h:8080/a", "/a", ""),
    case("absolute-form of an address", "http://[::1]:8080/a", "/a", ""),
    case("absolute-form with a scheme in capitals", "HTTP://h/a", "/a", ""),
    case("absolute-form of https", "https://h/a", "/a", ""),
]


@pytest.mark.parametrize(("target", "path", "query"), TARGETS)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_target_is_understood(
    server: Server, target: str, path: str, query: str, version: str
) -> None:
    """RFC 9112, 3.2: both forms of a target name a path and a query."""
    found = server.environ(target, version=version)
    assert (found["PATH_INFO"], found["QUERY_STRING"]) == (path, query)
    assert found.get("RAW_URI", target) == target


REFUSED_TARGETS = [
    *("", "a", "a/b", "?a", "#a", "*a", "**", "h:80", "[::1]:80", "http:", "http:/a"),
    *("http://", "http:///a", "http://:80/", "http://u@h/", "http://u:p@h/a", "://h/a"),
    *("http://h:x/", "http://h:-1/", "http://[::1/", "http://[x]/", "http://a b/"),
    *("ftp://h/a", "file:///a", "ws://h/a", "javascript:a", "mailto:a@b", "1http://h/"),
    *(
        "/a\0",
        "/a\x01",
        "/a\x0b",
        "/a\x1f",
        "/a\x7f",
        "/a b",
        "/a\tb",
        "/a\rb",
        "/a\nb",
    ),
    *("http://h\\@i/", "http://h%zz/", "http://h<x>/"),
]


@pytest.mark.parametrize("target", REFUSED_TARGETS)
def test_target_that_is_none(server: Server, target: str) -> None:
    """RFC 9112, 3 and 3.2: what is no target is answered with 400."""
    raw = f"GET {target} HTTP/1.1\r\nHost: h\r\nX-Path: /@\r\n\r\n"
    server.assert_refused(raw, {400}, BEHIND)


DOUBTFUL_TARGETS = [
    *("/a#b", "/a<b>", '/a"b', "/a\\b", "/a^b", "/a`b", "/a{b}", "/a|b", "/%", "/%zz"),
    *("/a\x80", "/a\xe4", "/\xc3\xa4", "/a\xff", "/a?\xe4", "/a?<>", "/a[b]", "/%00"),
]


@pytest.mark.parametrize("target", DOUBTFUL_TARGETS)
def test_target_that_may_be_refused(server: Server, target: str) -> None:
    """RFC 9112, 3.2: an invalid target is refused or handed on as it came, whole."""
    token = new_token()
    with server.connect() as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode("latin-1"))
        client.send(with_token(BEHIND, token))
        response = client.final()
        if response.status == 200:
            assert response.json()["environ"].get("RAW_URI", target) == target
            assert client.final().json()["environ"]["PATH_INFO"] == f"/{token}"
        else:
            assert response.status == 400
            assert closed_or_served(client, token)


def closed_or_served(client: Client, token: str) -> bool:
    """Tell that the connection ends, or that the next request is served."""
    try:
        response = client.final()
    except Closed:
        return True
    return bool(response.json()["environ"]["PATH_INFO"] == f"/{token}")


def test_asterisk_form(server: Server) -> None:
    """RFC 9112, 3.2.4: OPTIONS * is a request of its own; the connection goes on."""
    for version in ("1.1", "1.0"):
        raw = f"OPTIONS * HTTP/{version}\r\nHost: h\r\nConnection: keep-alive\r\n\r\n"
        with server.connect() as client:
            client.send(raw.encode())
            response = client.final()
            assert response.status in (200, 204, 404, 405, 501)
            assert response.complete
            client.assert_open()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "X"])
def test_asterisk_of_another_method(server: Server, method: str) -> None:
    """RFC 9112, 3.2.4: only OPTIONS has the asterisk."""
    token = new_token()
    raw = f"{method} * HTTP/1.1\r\nHost: h\r\nX-Token: {token}\r\n\r\n"
    with server.connect() as client:
        client.send(raw.encode())
        assert client.final(method).status in (400, 404, 405, 501)
    server.assert_never_called(token)


# --- methods (RFC 9110, 9.1)

METHODS = [
    *("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"),
    *("PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH"),
    *("M-SEARCH", "NOTIFY", "SUBSCRIBE", "PURGE", "LINK", "UNLINK", "QUERY", "ACL"),
    *("MKCALENDAR", "SOURCE", "BIND", "MERGE", "CHECKOUT", "VERSION-CONTROL", "PRI"),
    *("DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "TEARDOWN", "REDIRECT", "FLUSH"),
    *("get", "Get", "X", "BREW", "GETX", "GE", "G", "!#$%&'*+-.^_`|~", "0", "A" * 100),
]


@pytest.mark.parametrize("method", METHODS)
def test_method_is_the_applications(server: Server, method: str) -> None:
    """RFC 9110, 9.1: methods have case, and who knows them is the application."""
    with server.connect() as client:
        client.send(request("/a?b", method=method))
        response = client.final()
        if method == "PRI" and response.status != 200:
            assert response.status in (400, 405, 501)  # RFC 9113, 11.6 reserves it
            return
        found = response.json()["environ"]
        assert found["REQUEST_METHOD"] == method
        assert (found["PATH_INFO"], found["QUERY_STRING"]) == ("/a", "b")
        client.send(request(method=method, app="echo", body=b"body"))
        assert client.final().body == b"body"
        client.assert_open()


# --- long, but legal


LONG = [
    case("a target of 8,000 bytes", request("/" + "a" * 7900, app="hello")),
    case("a query of 8,000 bytes", request("/?" + "a" * 7900, app="hello")),
    case("a value of 30,000", request(app="hello", headers=[("A", "a" * 30_000)])),
    case("a name of 20,000", request(app="hello", headers=[("A" * 20_000, "a")])),
    case("98 fields", request(app="hello", headers=[("A", "b")] * 98)),
    case("blanks around", request(app="hello", headers=[("A", " " * 20_000)])),
    case("a host of 253 bytes", request(app="hello", host="a" * 63 + ".b" * 95)),
    case("fields of the same name", request(app="hello", headers=[("X", "y")] * 90)),
    case(
        "10,000 chunks of a byte",
        request(method="POST", app="hello", chunks=[b"x"] * 10_000),
    ),
]


@pytest.mark.parametrize("raw", LONG)
def test_long_but_legal(server: Server, raw: bytes) -> None:
    """RFC 9112, 3: at least 8000 bytes of a request line; and what limits allow."""
    with server.connect() as client:
        client.send(raw)
        assert client.final().body == b"hello"
        client.send(raw + raw)
        assert client.final().body == b"hello"
        assert client.final().body == b"hello"


def test_fields_of_the_same_name_are_joined(server: Server) -> None:
    """RFC 9110, 5.2: a list, in the order in which its lines came."""
    values = [f"v{n}" for n in range(90)]
    found = server.environ(headers=[("X-Many", value) for value in values])
    assert found["HTTP_X_MANY"].replace(" ", "").split(",") == values


# --- expectations (RFC 9110, 10.1.1)

CONTINUE = [("Expect", "100-continue")]


@pytest.mark.parametrize(
    "value",
    ["miracles", "200-ok", "100-continued", "100-continue, miracles", "100-continue;a"],
)
@pytest.mark.parametrize("body", [None, b"hello"], ids=["no body", "a body"])
def test_unknown_expectation(server: Server, value: str, body: bytes | None) -> None:
    """RFC 9110, 10.1.1: 417, without the application; what is behind stays apart."""
    token = new_token()
    with server.connect() as client:
        raw = request("/", method="POST", headers=[("Expect", value)], body=body)
        client.send(raw.replace(b"Host: ", b"X-Token: x%b\r\nHost: " % token.encode()))
        assert client.final().status == 417
        client.assert_open_or_closed()
    server.assert_never_called(f"x{token}")


def test_unknown_expectation_in_http_1_0(server: Server) -> None:
    """RFC 9110, 10.1.1: HTTP/1.0 knows no 100-continue; other words may be refused."""
    fields = [("Expect", "miracles")]
    response = server.ask(request(app="hello", version="HTTP/1.0", headers=fields))
    assert response.status in (200, 417)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("body", [None, b""], ids=["no length", "length 0"])
def test_continue_without_a_body(
    server: Server, method: str, body: bytes | None
) -> None:
    """RFC 9110, 10.1.1: where no body is announced, 100 may come or not."""
    with server.connect() as client:
        raw = request(method=method, app="hello", headers=CONTINUE, body=body)
        client.send(raw + raw)
        for _ in range(2):
            assert client.final().body == b"hello"
        client.assert_open()


def test_continue_in_a_pipeline(server: Server) -> None:
    """RFC 9110, 10.1.1: 100 belongs to its request, and comes after earlier ones."""
    head = request(
        method="POST", app="echo", headers=[*CONTINUE, ("Content-Length", "5")]
    )
    with server.connect() as client:
        client.send(request("/?gap=0.2&count=2", app="slow") + head)
        assert client.response().body == b"block 0.block 1."
        assert client.response().status == 100
        client.send(b"hello" + request(app="hello"))
        assert client.response().body == b"hello"
        assert client.response().body == b"hello"


def test_continue_before_a_refusal_is_none(server: Server) -> None:
    """RFC 9112, 6: what is wrong with the header is said in place of 100."""
    for line in ("Content-Length: x", "Transfer-Encoding: gzip", "Host: i"):
        raw = f"POST /@ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n{line}\r\n\r\n"
        server.assert_refused(raw, {400, 501}, BEHIND)


def test_client_leaves_in_place_of_the_body(server: Server) -> None:
    """RFC 9112, 8: after 100 nothing comes; the application is not called."""
    token = new_token()
    with server.connect() as client:
        fields = [*CONTINUE, ("Content-Length", "5")]
        client.send(request(method="POST", token=token, headers=fields))
        assert client.response().status == 100
    server.assert_never_called(token)


# --- HTTP/1.0 (RFC 9112, 9.3 and C.2.2)

KEEP = [("Connection", "keep-alive")]


@pytest.mark.parametrize(
    "values",
    [["keep-alive"], ["Keep-Alive"], ["x, keep-alive"], ["x", "y, KEEP-ALIVE"]],
    ids=str,
)
def test_http_1_0_is_kept_alive(server: Server, values: list[str]) -> None:
    """RFC 9112, 9.3: when it asks, and it is told so; what has no length ends it."""
    fields = [("Connection", value) for value in values]
    body = [("Content-Length", "2")]
    with server.connect() as client:
        for spec in (
            {"headers": body, "blocks": [b"hi"]},
            {"headers": body, "kind": "generator", "blocks": [b"h", b"i"]},
            {"blocks": [b"hi"]},
        ):
            raw = request(version="HTTP/1.0", app="respond", spec=spec, headers=fields)
            client.send(raw)
            response = client.response()
            assert response.body == b"hi"
            assert response.framing == "length"
            assert (response.get("Connection") or b"").lower() == b"keep-alive"
        spec = {"kind": "generator", "blocks": [b"h", b"i"]}
        raw = request(version="HTTP/1.0", app="respond", spec=spec, headers=fields)
        client.send(raw)
        response = client.response()
        assert (response.body, response.framing) == (b"hi", "close")
        assert b"keep-alive" not in (response.get("Connection") or b"").lower()


@pytest.mark.parametrize(
    "values", [[], ["close"], ["keep-alive, close"], ["keep-alive", "Close"]], ids=str
)
def test_http_1_0_is_not_kept_alive(server: Server, values: list[str]) -> None:
    """RFC 9112, 9.3: without the option, or with close; nothing is read behind."""
    token = new_token()
    fields = [("Connection", value) for value in values]
    with server.connect() as client:
        client.send(request(version="HTTP/1.0", app="hello", headers=fields))
        client.send(with_token(BEHIND, token))
        assert client.response().body == b"hello"
        client.assert_closed()
    server.assert_never_called(token)


def test_http_1_0_pipeline(server: Server) -> None:
    """RFC 9112, 9.3.2: kept alive, it may send several; versions may differ."""
    old = request(version="HTTP/1.0", app="hello", headers=KEEP)
    new = request(app="hello")
    body = request(
        version="HTTP/1.0", method="POST", app="echo", headers=KEEP, body=b"hello"
    )
    with server.connect() as client:
        client.send((old + new + body) * 10)
        for _ in range(30):
            assert client.response().body == b"hello"
        client.assert_open()


def test_keep_alive_of_http_1_1_needs_no_word(server: Server) -> None:
    """RFC 9112, 9.3: the option means nothing there; the connection is kept."""
    with server.connect() as client:
        for _ in range(3):
            client.send(request(app="hello", headers=KEEP))
            assert client.response().body == b"hello"


# --- clients that close their sending half (RFC 9112, 9.6)

HALF: list[Any] = [
    case("a hello", request(app="hello"), [b"hello"]),
    case("two", request(app="hello") * 2, [b"hello"] * 2),
    case("a body", request(method="POST", app="echo", body=b"body"), [b"body"]),
    case("chunks", request(method="POST", app="echo", chunks=[b"body"]), [b"body"]),
    case("HTTP/1.0", request(app="hello", version="HTTP/1.0"), [b"hello"]),
    case(
        "a slow one that blocks",
        request("/?gap=0.3&count=2", app="slow"),
        [b"block 0.block 1."],
    ),
    case(
        "one that is suspended",
        request(app="suspended", spec={"waits": [500]}),
        [b"waited"],
    ),
    case(
        "one that is suspended before its head",
        request(app="suspended", spec={"waits": [500], "late": True}),
        [b"waited"],
    ),
    case(
        "a pipeline behind a suspended one",
        request(app="suspended", spec={"waits": [300]}) + request(app="hello") * 20,
        [b"waited"] + [b"hello"] * 20,
    ),
    case(
        "a large one",
        request(app="large", spec={"count": 100, "size": 80_000}),
        [b"".join(b"%08d" % n * 10_000 for n in range(100))],
    ),
    case("a file", request(app="file", spec={"file": "disk"}), [b"0123456789"]),
]


@pytest.mark.parametrize(("raw", "bodies"), HALF)
@pytest.mark.parametrize("moment", ["at once", "after the head"])
def test_half_close_keeps_the_response(
    server: Server, raw: bytes, bodies: list[bytes], moment: str
) -> None:
    """RFC 9112, 9.6: who has asked all may close its half, and hear the answers."""
    with server.connect() as client:
        client.send(raw)
        if moment == "at once":
            client.sock.shutdown(socket.SHUT_WR)
        elif len(bodies) == 1:
            while b"\r\n\r\n" not in client.buffer:
                client.buffer += client.sock.recv(1)
            client.sock.shutdown(socket.SHUT_WR)
        for body in bodies:
            response = client.final()
            assert response.complete
            assert response.body == body
        if moment != "at once" and len(bodies) > 1:
            client.sock.shutdown(socket.SHUT_WR)
        client.assert_closed()


@pytest.mark.parametrize("transport", ["server", "unix"], indirect=True)
def test_half_close_on_each_transport(transport: Server) -> None:
    """RFC 9112, 9.6: on a UNIX socket as on TCP."""
    with transport.connect() as client:
        client.send(request(app="suspended", spec={"waits": [300]}) * 2)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.final().body == b"waited"
        assert client.final().body == b"waited"
        client.assert_closed()


def test_half_close_of_an_idle_connection(server: Server) -> None:
    """RFC 9112, 9.6: where nothing is asked, the server closes its half, too."""
    with server.connect() as client:
        client.assert_open()
        client.sock.shutdown(socket.SHUT_WR)
        client.assert_closed()
    with server.connect() as client:
        client.sock.shutdown(socket.SHUT_WR)
        client.assert_closed()


PARTS = [
    b"GET /@ HTTP/1.1\r\n",
    b"GET /@ HTTP/1.1\r\nHost: h\r\n",
    b"POST /@ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhell",
    b"POST /@ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n0\r\n",
]


@pytest.mark.parametrize("part", PARTS)
def test_half_close_within_a_request(server: Server, part: bytes) -> None:
    """RFC 9112, 8: a request that is not complete is not served; the rest is."""
    token = new_token()
    with server.connect() as client:
        client.send(request(app="hello") + with_token(part, token))
        client.sock.shutdown(socket.SHUT_WR)
        assert client.final().body == b"hello"
        assert client.rest()[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 408")
    server.assert_never_called(token)
