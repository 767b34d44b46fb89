"""
``wsgi.input`` (PEP 3333, "Input and Error Streams").
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from wire import Server, case, chunked, request

# What is said on the wire, and not when: the reactor only carries it.
pytestmark = pytest.mark.one_reactor

FRAMES = ["length", "chunked", "many chunks", "HTTP/1.0"]


def post(body: bytes, frame: str, **kw: Any) -> bytes:
    """Return a request whose body is framed in that way."""
    if frame == "chunked":
        return request(method="POST", chunks=[body] if body else [], **kw)
    if frame == "many chunks":
        pieces = [body[n : n + 3] for n in range(0, len(body), 3)]
        return request(method="POST", chunks=pieces, **kw)
    if frame == "HTTP/1.0":
        return request(method="POST", body=body, version="HTTP/1.0", **kw)
    return request(method="POST", body=body, **kw)


BODY = b"first\nsecond line\n\nlast without end"
OPERATIONS = [
    # operations, results
    case("read all", [["read"]], [BODY]),
    case("read all, then the end", [["read"], ["read"]], [BODY, b""]),
    case("read(-1)", [["read", -1]], [BODY]),
    case("read(None)", [["read", None]], [BODY]),
    case("readline(None)", [["readline", None]], [b"first\n"]),
    case("read(0)", [["read", 0], ["read", 3]], [b"", b"fir"]),
    case("read(n)", [["read", 3], ["read", 4]], [b"fir", b"st\ns"]),
    case("read the exact length", [["read", len(BODY)], ["read", 1]], [BODY, b""]),
    case("read beyond the end", [["read", 10_000]], [BODY]),
    case("read far beyond the end", [["read", 1 << 40]], [BODY]),
    case("read at the end", [["read"], ["read", 1], ["read", 1]], [BODY, b"", b""]),
    case("read(n), then the rest", [["read", 6], ["read"]], [BODY[:6], BODY[6:]]),
    case("readline", [["readline"]], [b"first\n"]),
    case("an empty line", [["readline"]] * 3, [b"first\n", b"second line\n", b"\n"]),
    case("the last line", [["readlines"], ["readline"]], [BODY.splitlines(True), b""]),
    case(
        "readline to the end",
        [["readline"]] * 5,
        [b"first\n", b"second line\n", b"\n", b"last without end", b""],
    ),
    case("readline(n)", [["readline", 3], ["readline", 10]], [b"fir", b"st\n"]),
    case("readline(0)", [["readline", 0], ["readline"]], [b"", b"first\n"]),
    case("readline(-1)", [["readline", -1]], [b"first\n"]),
    case("readline(n) of a whole line", [["readline", 6]], [b"first\n"]),
    case("readline(n) beyond the line", [["readline", 99]], [b"first\n"]),
    case("readlines", [["readlines"]], [BODY.splitlines(True)]),
    case("readlines(hint)", [["readlines", 1]], [[b"first\n"]]),
    case(
        "readlines(hint) over two lines",
        [["readlines", 8]],
        [[b"first\n", b"second line\n"]],
    ),
    case("readlines(large hint)", [["readlines", 10_000]], [BODY.splitlines(True)]),
    case("iteration", [["iterate"], ["read"]], [BODY.splitlines(True), b""]),
    case(
        "one step of iteration",
        [["next"], ["readline"]],
        [b"first\n", b"second line\n"],
    ),
    case("read, then readline", [["read", 2], ["readline"]], [b"fi", b"rst\n"]),
    case("readline, then read", [["readline"], ["read", 6]], [b"first\n", b"second"]),
    case(
        "read, then iterate",
        [["read", 6], ["iterate"]],
        [b"first\n", BODY[6:].splitlines(True)],
    ),
    case(
        "iterate, then iterate", [["iterate"], ["iterate"]], [BODY.splitlines(True), []]
    ),
]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(("operations", "results"), OPERATIONS)
def test_input_is_read(
    server: Server, frame: str, operations: list[Any], results: list[Any]
) -> None:
    """``wsgi.input`` reads as a file does, however the body was framed."""
    spec = {"ops": operations}
    found = server.ask(post(BODY, frame, app="input", spec=spec)).json()
    assert found["results"] == [as_text(result) for result in results]
    assert found["CONTENT_LENGTH"] == str(len(BODY))
    assert found["HTTP_TRANSFER_ENCODING"] is None


def as_text(result: bytes | list[bytes]) -> str | list[str]:
    """Return a result as JSON brings it back."""
    if isinstance(result, list):
        return [line.decode("latin-1") for line in result]
    return result.decode("latin-1")


NOTHING: list[Any] = [["read"], ["read", 5], ["readline"], ["readlines"], ["iterate"]]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("operation", NOTHING, ids=lambda op: op[0] + str(op[1:]))
def test_empty_input_is_at_its_end(
    server: Server, frame: str, operation: list[Any]
) -> None:
    """An empty body ends at once; no read waits for the client."""
    raw = post(b"", frame, app="input", spec={"ops": [operation]})
    (result,) = server.ask(raw).json()["results"]
    assert not result


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("operation", NOTHING, ids=lambda op: op[0] + str(op[1:]))
def test_missing_input_is_at_its_end(
    server: Server, version: str, operation: list[Any]
) -> None:
    """A request without a body has an input that ends at once."""
    raw = request(app="input", spec={"ops": [operation]}, version=version)
    (result,) = server.ask(raw).json()["results"]
    assert not result


CONTENTS = [
    case("all bytes", bytes(range(256))),
    case("line ends of all kinds", b"a\r\nb\rc\nd"),
    case("what looks like chunks", b"5\r\nhello\r\n0\r\n\r\n"),
    case("what looks like a request", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    case("a form", b"a=b&c=%20d"),
    case("only line ends", b"\r\n\r\n"),
    case("NULs", b"\0" * 100),
]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("body", CONTENTS)
def test_input_is_byte_for_byte(server: Server, frame: str, body: bytes) -> None:
    """Nothing in a body has a meaning to the server."""
    spec = {"ops": [["read"]]}
    found = server.ask(post(body, frame, app="input", spec=spec)).json()
    assert found["results"] == [body.decode("latin-1")]


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "broken/"],
)
def test_form_is_left_to_the_application(server: Server, kind: str) -> None:
    """The server parses no forms; a broken one reaches the application, too."""
    body = b"--b\r\nnot a form\r\n"
    raw = request(
        method="POST",
        app="input",
        spec={"ops": [["read"]]},
        headers=[("Content-Type", kind)],
        body=body,
    )
    assert server.ask(raw).json()["results"] == [body.decode()]


@pytest.mark.parametrize("frame", ["length", "chunked", "HTTP/1.0"])
@pytest.mark.parametrize("size", [99_999, 100_000, 20_000_000])
def test_large_input(server: Server, frame: str, size: int) -> None:
    """A large body arrives whole, and costs no time to speak of."""
    body = (b"0123456789abcde\n" * (size // 16 + 1))[:size]
    if frame == "chunked":
        pieces = [body[n : n + 65_000] for n in range(0, size, 65_000)]
        raw = request(method="POST", chunks=pieces, app="digest")
    else:
        version = frame if frame == "HTTP/1.0" else "HTTP/1.1"
        raw = request(method="POST", body=body, version=version, app="digest")
    found = server.ask(raw).json()
    assert found["length"] == size
    assert found["sha256"] == hashlib.sha256(body).hexdigest()
    assert found["CONTENT_LENGTH"] == str(size)


@pytest.mark.parametrize("frame", ["length", "chunked"])
def test_large_form_costs_no_memory(server: Server, frame: str) -> None:
    """An upload of 32 MiB goes to a file; nobody parses it before the application."""
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    body = part + b"x" * (32 << 20) + b"\r\n--b--\r\n"
    fields = [("Content-Type", "multipart/form-data; boundary=b")]
    server.ask(request(method="POST", body=body[: 1 << 20], app="digest"))
    before = server.resident()
    if frame == "chunked":
        pieces = [body[n : n + 65_000] for n in range(0, len(body), 65_000)]
        raw = request(method="POST", chunks=pieces, app="hello", headers=fields)
    else:
        raw = request(method="POST", body=body, app="hello", headers=fields)
    assert server.ask(raw).body == b"hello"
    assert server.resident() - before < 4 << 20


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "X"])
def test_input_of_any_method(server: Server, method: str) -> None:
    """RFC 9110, 9: a body may come with any method."""
    assert server.ask(request(method=method, body=b"body", app="echo")).body == b"body"


@pytest.mark.parametrize("frame", ["length", "chunked", "many chunks"])
@pytest.mark.parametrize("size", [5, 200_000])
def test_unread_input_does_not_reach_the_next_request(
    server: Server, frame: str, size: int
) -> None:
    """RFC 9112, 9.3: an unread body is skipped, and the connection goes on."""
    with server.connect() as client:
        for _ in range(3):
            client.send(post(b"x" * size, frame, app="hello"))
            assert client.response().body == b"hello"
        client.assert_open()


def test_input_ends_where_the_next_request_begins(server: Server) -> None:
    """Reading beyond the end never reads what else is on the connection."""
    spec = {"ops": [["read", 10_000], ["read"], ["readline"]]}
    first = request(method="POST", app="input", spec=spec, body=b"body")
    with server.connect() as client:
        client.send(first + request(app="hello"))
        assert client.response().json()["results"] == ["body", "", ""]
        assert client.response().body == b"hello"


def test_input_may_be_read_while_the_response_is_given(server: Server) -> None:
    """A generator may read its input between blocks."""
    lines = [b"line %d\n" % n for n in range(100)]
    raw = request(method="POST", app="echo while reading", body=b"".join(lines))
    assert server.ask(raw).body == b"".join(lines)


def test_input_in_pieces_over_time(server: Server) -> None:
    """However the body is cut into segments, it is the same body."""
    raw = request(method="POST", app="echo", body=b"0123456789" * 10)
    with server.connect() as client:
        for index in range(0, len(raw), 7):
            client.send(raw[index : index + 7])
        assert client.response().body == b"0123456789" * 10


# --- Expect: 100-continue (RFC 9110, 10.1.1)


@pytest.mark.parametrize("value", ["100-continue", "100-Continue", "100-CONTINUE"])
@pytest.mark.parametrize("frame", ["length", "chunked"])
def test_client_that_waits_is_told_to_continue(
    server: Server, value: str, frame: str
) -> None:
    """A client that expects 100 gets it before its body, and the answer after."""
    raw = post(b"hello", frame, app="echo", headers=[("Expect", value)])
    head, _, body = raw.partition(b"\r\n\r\n")
    with server.connect() as client:
        client.send(head + b"\r\n\r\n")
        interim = client.response()
        assert (interim.status, interim.version) == (100, "HTTP/1.1")
        client.send(body)
        response = client.response()
        assert (response.status, response.body) == (200, b"hello")
        client.assert_open()


def test_client_that_does_not_wait_is_served_too(server: Server) -> None:
    """A client may send its body at once; 100 may come or not."""
    raw = request(
        method="POST", app="echo", body=b"hello", headers=[("Expect", "100-continue")]
    )
    with server.connect() as client:
        client.send(raw)
        assert client.final().body == b"hello"
        client.assert_open()


def test_http_1_0_is_never_told_to_continue(server: Server) -> None:
    """RFC 9110, 10.1.1: an expectation in HTTP/1.0 is ignored."""
    fields = [("Expect", "100-continue")]
    raw = post(b"hello", "HTTP/1.0", app="echo", headers=fields)
    with server.connect() as client:
        client.send(raw)
        response = client.response()
        assert (response.status, response.body) == (200, b"hello")
        client.assert_closed()


def test_interim_response_comes_once(server: Server) -> None:
    """One expectation has one 100."""
    fields = [("Expect", "100-continue")]
    head = request(
        method="POST", app="echo", headers=[*fields, ("Content-Length", "5")]
    )
    with server.connect() as client:
        client.send(head)
        assert client.response().status == 100
        for byte in (b"h", b"e", b"l", b"l", b"o"):
            client.send(byte)
        assert client.response().body == b"hello"


def test_chunk_extensions_and_trailers_are_no_input(server: Server) -> None:
    """RFC 9112, 7.1: extensions and trailers are not part of the body."""
    body = b"2;a=b\r\nhe\r\n3;c\r\nllo\r\n0;d\r\nX-Trailer: 1\r\n\r\n"
    fields = [("Transfer-Encoding", "chunked")]
    spec = {"ops": [["read"]]}
    head = request(method="POST", app="input", spec=spec, headers=fields)
    found = server.ask(head + body).json()
    assert (found["results"], found["CONTENT_LENGTH"]) == (["hello"], "5")


def test_chunked_helper_is_right() -> None:
    """The suite's own chunks are what RFC 9112, 7.1 shows."""
    assert chunked([b"hello", b"x" * 16]) == (
        b"5\r\nhello\r\n10\r\nxxxxxxxxxxxxxxxx\r\n0\r\n\r\n"
    )
