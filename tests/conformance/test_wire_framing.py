"""
How a response is delimited (RFC 9112, 6; PEP 3333, "Handling the Content-Length
Header").
"""

from __future__ import annotations

import email.utils
import re
import time
from typing import Any

import pytest
from wire import Response, Server, case, new_token, request

# What is said on the wire, and not when: the reactor only carries it.
pytestmark = pytest.mark.one_reactor

TEXT = ("Content-Type", "text/plain")
VERSIONS = ["HTTP/1.0", "HTTP/1.1"]
METHODS = ["GET", "HEAD", "POST"]
OURS = {"content-length", "transfer-encoding", "date", "server", "connection"}


def length_of(body: bytes | int) -> tuple[str, str]:
    """Return the header that announces such a body."""
    size = body if isinstance(body, int) else len(body)
    return ("Content-Length", str(size))


# --- every way to give a body, to every client

BODIES = [
    # kind, blocks
    case("a list of one block", "list", [b"hello"]),
    case("a list of one empty block", "list", [b""]),
    case("a list of three blocks", "list", [b"he", b"l", b"lo"]),
    case("an empty list", "list", []),
    case("a tuple of one block", "tuple", [b"hello"]),
    case("a tuple of two blocks", "tuple", [b"hel", b"lo"]),
    case("an empty tuple", "tuple", []),
    case("a generator", "generator", [b"hel", b"lo"]),
    case("a generator of one block", "generator", [b"hello"]),
    case("a generator of nothing", "generator", []),
    case("a generator of empty blocks", "generator", [b"", b"", b""]),
    case("a generator with empty blocks", "generator", [b"", b"hel", b"", b"lo", b""]),
    case("an iterator", "iterator", [b"hel", b"lo"]),
    case("an iterator of nothing", "iterator", []),
    case("a map", "map", [b"hel", b"lo"]),
    case("an iterator of a class", "tracked", [b"hel", b"lo"]),
    case("an iterable of a class", "tracked iterable", [b"hel", b"lo"]),
    case("a subclass of list", "tracked list", [b"hello"]),
    case("a set of one block", "set", [b"hello"]),
    case("a deque", "deque", [b"hel", b"lo"]),
    case("a sequence of the old protocol", "old sequence", [b"hel", b"lo"]),
    case("an iterable with a length of one", "sized", [b"hello"]),
    case("an iterable with a length of two", "sized", [b"hel", b"lo"]),
    case("lines of a file", "BytesIO", [b"hel\n", b"lo"]),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("announced", [False, True], ids=["no length", "length"])
@pytest.mark.parametrize(("kind", "blocks"), BODIES)
def test_body_arrives_in_a_frame(
    server: Server,
    version: str,
    method: str,
    announced: bool,
    kind: str,
    blocks: list[bytes],
) -> None:
    """Whatever gives the blocks, the client gets them, and knows where they end."""
    body = b"".join(blocks)
    headers = [TEXT, length_of(body)] if announced else [TEXT]
    spec = {"headers": headers, "kind": kind, "blocks": blocks}
    with server.connect() as client:
        client.send(request(app="respond", spec=spec, version=version, method=method))
        response = client.response(method)
        assert response.status == 200
        assert response.complete
        assert response.body == (b"" if method == "HEAD" else body)
        assert_framing(response, version, method, kind, blocks, announced)
        if version == "HTTP/1.0":
            client.assert_closed()
        else:
            client.assert_open()


def assert_framing(
    response: Response,
    version: str,
    method: str,
    kind: str,
    blocks: list[bytes],
    announced: bool,
) -> None:
    """Check which of the ways to delimit a body was chosen."""
    length = response.get("Content-Length")
    if announced:
        assert length == b"%d" % sum(map(len, blocks))
    elif method == "HEAD":
        # RFC 9110, 8.6: only what the same GET would have said; to an application
        # that gives no block to HEAD, nobody knows.
        assert length in (None, b"%d" % sum(map(len, blocks)))
        assert length != b"0" or blocks
    elif kind in ("list", "tuple") and len(blocks) < 2:
        assert length == b"%d" % sum(map(len, blocks))
    elif version == "HTTP/1.0":
        assert response.framing in ("length", "close")
    else:
        assert response.framing in ("length", "chunked")


def test_unknown_length_of_nothing_is_chunked(server: Server) -> None:
    """An iterator of unknown length is sent in chunks, if only in the last one."""
    spec = {"headers": [TEXT], "kind": "iterator", "blocks": []}
    response = server.ask(request(app="respond", spec=spec))
    assert (response.framing, response.body) == ("chunked", b"")


def test_empty_blocks_are_no_chunks(server: Server) -> None:
    """RFC 9112, 7.1: a chunk of size 0 is the last one."""
    blocks = [b"", b"a", b"", b"", b"b", b""]
    spec = {"headers": [TEXT], "kind": "generator", "blocks": blocks}
    response = server.ask(request(app="respond", spec=spec))
    assert (b"".join(response.chunks), response.complete) == (b"ab", True)


def test_any_bytes_may_be_in_a_body(server: Server) -> None:
    """What looks like framing in a body is only a body."""
    blocks = [b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", bytes(range(256)), b"\r\n"]
    spec = {"headers": [TEXT], "kind": "generator", "blocks": blocks}
    response = server.ask(request(app="respond", spec=spec))
    assert response.body == b"".join(blocks)


SIZES = [1, 9, 10, 15, 16, 255, 256, 4095, 4096, 65535, 65536, 65537, 1 << 20]


@pytest.mark.parametrize("size", SIZES)
def test_chunk_sizes_are_right(server: Server, size: int) -> None:
    """Blocks of any size arrive as they are."""
    spec = {"count": 3, "size": size - size % 8 or 8}
    response = server.ask(request(app="large", spec=spec))
    expected = b"".join((b"%08d" % n) * (spec["size"] // 8) for n in range(3))
    assert response.body == expected
    assert response.complete


def test_no_chunks_for_http_1_0_even_when_asked(server: Server) -> None:
    """RFC 9112, 6.1: no coding towards HTTP/1.0, whatever its TE says."""
    spec = {"headers": [TEXT], "kind": "generator", "blocks": [b"a", b"b"]}
    fields = [("TE", "chunked, trailers"), ("Connection", "keep-alive")]
    raw = request(app="respond", spec=spec, version="HTTP/1.0", headers=fields)
    response = server.ask(raw)
    assert (response.body, response.complete) == (b"ab", True)
    assert response.get("Transfer-Encoding") is None


# --- Date and Server

RESPONSES = [
    case("one block", "respond", {"headers": [TEXT], "blocks": [b"x"]}),
    case("a stream", "respond", {"kind": "generator", "blocks": [b"x", b"y"]}),
    case("nothing", "respond", {"blocks": []}),
    case("204", "respond", {"status": "204 No Content", "blocks": []}),
    case("304", "respond", {"status": "304 Not Modified", "blocks": []}),
    case("404", "respond", {"status": "404 Not Found", "blocks": [b"x"]}),
    case("the server's 500", "fail", {"stage": "when called"}),
    case("a file", "file", {"file": "disk"}),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("app", "spec"), RESPONSES)
def test_date_and_server_come_once(
    server: Server, method: str, app: str, spec: dict[str, Any]
) -> None:
    """RFC 9110, 6.6.1: an origin server with a clock sends Date; Server, too."""
    response = server.ask(request(app=app, spec=spec, method=method), method)
    assert len(response.all("Server")) == 1
    (date,) = response.all("Date")
    assert re.fullmatch(
        rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT",
        date,
    )
    when = email.utils.parsedate_to_datetime(date.decode()).timestamp()
    assert abs(when - time.time()) < 10


def test_missing_host_is_answered_with_date_and_framing(server: Server) -> None:
    """What we refuse by ourselves is a response like any other."""
    response = server.ask(request(host=None))
    assert response.status == 400
    assert response.get("Date") is not None
    assert response.framing == "length"


# --- responses that have no body

NO_BODIES = [
    # kind, blocks, write
    case("no blocks", "list", [], []),
    case("an empty block", "list", [b""], []),
    case("a block that must not be sent", "list", [b"body"], []),
    case("blocks of a generator", "generator", [b"bo", b"dy"], []),
    case("blocks written", "list", [], [b"body"]),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("announced", [False, True], ids=["no length", "length"])
@pytest.mark.parametrize(("kind", "blocks", "write"), NO_BODIES)
def test_status_without_a_body(
    server: Server,
    version: str,
    method: str,
    status: str,
    announced: bool,
    kind: str,
    blocks: list[bytes],
    write: list[bytes],
) -> None:
    """RFC 9112, 6.3: 204 and 304 end with their head; RFC 9110, 8.6: no length."""
    headers = [("ETag", '"v"'), length_of(4)] if announced else [("ETag", '"v"')]
    spec: dict[str, Any] = {"status": status, "headers": headers, "kind": kind}
    spec |= {"blocks": blocks, "write": write}
    with server.connect() as client:
        client.send(request(app="respond", spec=spec, version=version, method=method))
        response = client.response(method)
        assert f"{response.status} {response.reason.decode()}" == status
        assert response.get("ETag") == b'"v"'
        assert response.get("Transfer-Encoding") is None
        if status.startswith("304"):
            length = response.get("Content-Length")
            assert length in (None, b"4") if announced else length is None
        if version == "HTTP/1.0":
            client.assert_closed()
        elif blocks or write:
            # The application is wrong, so the connection may be closed.
            client.assert_open_or_closed()
        else:
            client.assert_open()


@pytest.mark.parametrize("status", ["100 Continue", "101 Mine", "102 X", "103 Hints"])
@pytest.mark.parametrize("blocks", [[], [b"body"]], ids=["no blocks", "a block"])
@pytest.mark.parametrize("version", VERSIONS)
def test_interim_status_ends_the_connection(
    server: Server, status: str, blocks: list[bytes], version: str
) -> None:
    """A 1xx is no answer (RFC 9110, 15.2): the head alone, and then closed."""
    spec = {"status": status, "headers": [("X-One", "1")], "blocks": blocks}
    with server.connect() as client:
        client.send(request(app="respond", spec=spec, version=version))
        response = client.response()
        assert response.status == int(status[:3])
        assert response.get("X-One") == b"1"
        client.assert_closed()


@pytest.mark.parametrize("headers", [[], [length_of(4)]], ids=["no length", "length"])
@pytest.mark.parametrize(("kind", "blocks", "write"), NO_BODIES)
def test_reset_content_has_no_content(
    server: Server,
    headers: list[Any],
    kind: str,
    blocks: list[bytes],
    write: list[bytes],
) -> None:
    """RFC 9110, 15.3.6: 205 has a body of no bytes, and says so."""
    spec: dict[str, Any] = {"status": "205 Reset Content", "headers": headers}
    spec |= {"kind": kind, "blocks": blocks, "write": write}
    with server.connect() as client:
        client.send(request(app="respond", spec=spec))
        response = client.response()
        assert (response.status, response.body, response.complete) == (205, b"", True)
        assert response.get("Content-Length") == b"0"
        client.assert_open()


HEADS = [
    case("no blocks", {"blocks": []}, {None}),
    case("no blocks, with a length", {"blocks": [], "headers": [length_of(9)]}, {b"9"}),
    case("a block", {"blocks": [b"body"]}, {None, b"4"}),
    case("a long stream", {"kind": "generator", "blocks": [b"x"] * 50}, {None, b"50"}),
    case(
        "more than the length", {"blocks": [b"body"], "headers": [length_of(2)]}, {b"2"}
    ),
    case(
        "less than the length", {"blocks": [b"body"], "headers": [length_of(9)]}, {b"9"}
    ),
    case("written", {"write": [b"body"], "blocks": []}, {None}),
    case(
        "written, with a length",
        {"write": [b"body"], "blocks": [], "headers": [length_of(4)]},
        {b"4"},
    ),
]


@pytest.mark.parametrize(("spec", "lengths"), HEADS)
def test_head_has_no_body(
    server: Server, spec: dict[str, Any], lengths: set[bytes | None]
) -> None:
    """RFC 9110, 9.3.2: HEAD has the fields of GET and no body; nothing is cut."""
    with server.connect() as client:
        client.send(request(app="respond", spec=spec, method="HEAD"))
        response = client.response("HEAD")
        assert response.status == 200
        assert response.get("Content-Length") in lengths
        client.assert_open()


def test_head_of_an_endless_stream_ends(server: Server) -> None:
    """HEAD needs no block; a stream without end is closed, not run dry."""
    token = new_token()
    with server.connect() as client:
        client.send(request(app="endless", method="HEAD", token=token))
        assert client.response("HEAD").status == 200
        client.assert_open()
    server.assert_noted_once(token, "close")


def test_head_of_an_error_has_no_body(server: Server) -> None:
    """The server's own error page has no body for HEAD either."""
    with server.connect() as client:
        spec = {"stage": "when called"}
        client.send(request(app="fail", spec=spec, method="HEAD"))
        assert client.response("HEAD").status == 500
        client.assert_open_or_closed()


# --- a body that is not as long as it says

WRONG = [
    # kind, blocks, write
    case("in one block", "list", [b"0123456789"], []),
    case("in three blocks", "list", [b"0123", b"45", b"6789"], []),
    case("at the edge of a block", "list", [b"01234", b"56789"], []),
    case("from a generator", "generator", [b"0123", b"", b"45", b"6789"], []),
    case("from an iterator", "tracked", [b"0123456789"], []),
    case("written", "list", [], [b"0123456789"]),
    case("written, then a block", "list", [b"56789"], [b"01234"]),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("kind", "blocks", "write"), WRONG)
def test_too_long_body_is_cut_and_closed(
    server: Server, version: str, kind: str, blocks: list[bytes], write: list[bytes]
) -> None:
    """PEP 3333: not one byte more than Content-Length; then the connection ends."""
    mark = server.log.mark()
    spec = {"headers": [length_of(5)], "kind": kind, "blocks": blocks, "write": write}
    with server.connect() as client:
        client.send(request(app="respond", spec=spec, version=version))
        response = client.response()
        assert (response.body, response.complete) == (b"01234", True)
        client.assert_closed()
    server.log.wait_for("(?i)content-length", mark)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("kind", "blocks", "write"), WRONG)
def test_too_short_body_is_never_complete(
    server: Server, version: str, kind: str, blocks: list[bytes], write: list[bytes]
) -> None:
    """What there is is sent, then the connection ends; the client sees the lack."""
    mark = server.log.mark()
    spec = {"headers": [length_of(11)], "kind": kind, "blocks": blocks, "write": write}
    with server.connect() as client:
        client.send(request(app="respond", spec=spec, version=version))
        response = client.response()
        assert response.get("Content-Length") == b"11"
        assert response.body == b"0123456789"
        assert not response.complete
        client.assert_closed()
    server.log.wait_for("(?i)content-length", mark)


@pytest.mark.parametrize("kind", ["list", "generator", "iterator"])
def test_announced_body_that_never_comes(server: Server, kind: str) -> None:
    """A length and no body at all: the head, then the end of the connection."""
    spec = {"headers": [length_of(5)], "kind": kind, "blocks": []}
    with server.connect() as client:
        client.send(request(app="respond", spec=spec))
        response = client.response()
        assert (response.status, response.body) == (200, b"")
        assert not response.complete
        client.assert_closed()


def test_length_of_nothing_allows_nothing(server: Server) -> None:
    """A body where the application announced none is cut to none."""
    spec = {"headers": [length_of(0)], "blocks": [b"body"]}
    with server.connect() as client:
        client.send(request(app="respond", spec=spec))
        response = client.response()
        assert (response.get("Content-Length"), response.body) == (b"0", b"")
        client.assert_closed()


def test_endless_stream_ends_at_its_length(server: Server) -> None:
    """PEP 3333: iteration stops when enough has been sent, and close() is called."""
    token = new_token()
    spec = {"headers": [length_of(250)], "size": 100}
    with server.connect() as client:
        client.send(request(app="endless", spec=spec, token=token))
        response = client.response()
        assert (len(response.body), response.complete) == (250, True)
    server.assert_noted_once(token, "close")


def test_cut_body_does_not_reach_the_next_response(server: Server) -> None:
    """With a second request in the pipeline, the cut is still the end."""
    spec = {"headers": [length_of(5)], "kind": "generator", "blocks": [b"0123456789"]}
    with server.connect() as client:
        client.send(request(app="respond", spec=spec) + request(app="hello"))
        assert client.response().body == b"01234"
        client.assert_closed()
