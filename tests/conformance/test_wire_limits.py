"""
What is too much for a server, and how it says so: 414, 431, 413 and 503.

A limit is sharp, it is the same however the bytes come, and what breaks it is
answered at once: nobody waits for the rest of what will not be taken.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from wire import (
    STRICT,
    TCP,
    Client,
    Door,
    Response,
    Server,
    case,
    new_token,
    request,
    serving,
    with_token,
)

pytestmark = pytest.mark.parametrize("door", STRICT, indirect=True, ids=str)

LINE, HEADER, COUNT, BODY = 200, 1000, 10, 1000
SMALL = (
    *("--request-line-size", str(LINE)),
    *("--header-size", str(HEADER)),
    *("--header-count", str(COUNT)),
    *("--body-size", str(BODY)),
)
BEHIND = b"GET /@ HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="module")
def small(door: Door) -> Iterator[Server]:
    """The application, with small limits."""
    with serving(door, TCP, *SMALL) as server:
        yield server


@pytest.fixture(scope="module")
def unlimited(door: Door) -> Iterator[Server]:
    """The application, without any of these limits."""
    names = SMALL[::2]
    with serving(
        door, TCP, *(part for name in names for part in (name, "none"))
    ) as server:
        yield server


@pytest.fixture(scope="module")
def zero(door: Door) -> Iterator[Server]:
    """The same, by the other word for it."""
    names = SMALL[::2]
    with serving(
        door, TCP, *(part for name in names for part in (name, "0"))
    ) as server:
        yield server


@pytest.fixture(scope="module")
def small_streaming(door: Door) -> Iterator[Server]:
    """Streamed bodies, of which the small limit holds, too."""
    application = "wire_streaming_applications:application"
    with serving(
        door, TCP, "--stream-input", "--body-size", str(BODY), application=application
    ) as server:
        yield server


def status_of(server: Server, raw: bytes, step: int | None = None) -> int:
    """Return the status for these bytes; after a refusal the connection ends."""
    token = new_token()
    with server.connect() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index in range(0, len(raw), step or len(raw)):
            client.send(raw[index : index + (step or len(raw))])
        client.send(with_token(BEHIND, token))
        response = client.final()
        if response.status == 200:
            assert client.final().status == 200
            return 200
        client.assert_closed()
    server.assert_never_called(token)
    return response.status


def line_of(size: int) -> bytes:
    """Return a request whose request line has so many bytes, without its CRLF."""
    target = "/" + "a" * (size - len("GET / HTTP/1.1"))
    return f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode()


def header_of(size: int) -> bytes:
    """Return a request whose field lines have so many bytes, with their CRLFs."""
    value = "a" * (size - len("Host: h\r\nA: \r\n"))
    return f"GET / HTTP/1.1\r\nHost: h\r\nA: {value}\r\n\r\n".encode()


def fields_of(count: int) -> bytes:
    """Return a request with so many field lines."""
    lines = "".join(f"X-{n}: y\r\n" for n in range(count - 1))
    return f"GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n".encode()


def length_of(size: int) -> bytes:
    """Return a request with a body of a length."""
    return request(method="POST", body=b"x" * size)


def chunks_of(size: int) -> bytes:
    """Return a request with a body in chunks, of so much data."""
    pieces = [b"x" * min(100, size - n) for n in range(0, size, 100)]
    return request(method="POST", chunks=pieces)


EXACT = [
    # request, limit, status
    case("the request line (RFC 9112, 3)", line_of, LINE, 414),
    case("the field lines (RFC 6585, 5)", header_of, HEADER, 431),
    case("the number of field lines", fields_of, COUNT, 431),
    case("a body with a length (RFC 9110, 15.5.14)", length_of, BODY, 413),
    case("a body in chunks", chunks_of, BODY, 413),
]

# Who counts the CRLFs, or the empty line, has a limit that is less by as many.
SLACK = {line_of: 2, header_of: 6, fields_of: 0, length_of: 0, chunks_of: 0}


@pytest.mark.parametrize("step", [None, 1, 7], ids=["at once", "by bytes", "by sevens"])
@pytest.mark.parametrize(("make", "limit", "status"), EXACT)
def test_limit_is_sharp(
    small: Server,
    make: Callable[[int], bytes],
    limit: int,
    status: int,
    step: int | None,
) -> None:
    """The limit is served, one more is refused, however the bytes come."""
    slack = SLACK[make]
    assert status_of(small, make(limit - slack), step) == 200
    assert status_of(small, make(limit + slack + 1), step) == status
    sizes = range(limit - slack, limit + slack + 1)
    statuses = [status_of(small, make(size), step) for size in sizes]
    assert statuses == sorted(statuses), "a limit that is not sharp"
    assert statuses == [status_of(small, make(size)) for size in sizes]


@pytest.mark.parametrize("times", [2, 10, 500])
@pytest.mark.parametrize(("make", "limit", "status"), EXACT)
def test_far_beyond_the_limit(
    small: Server, make: Callable[[int], bytes], limit: int, status: int, times: int
) -> None:
    """However much more it is, the client hears why."""
    assert status_of(small, make(limit * times)) == status


@pytest.mark.parametrize("times", [10, 500])
@pytest.mark.parametrize("which", ["unlimited", "zero"])
@pytest.mark.parametrize(("make", "limit", "status"), EXACT)
def test_limit_is_off(
    request: pytest.FixtureRequest,
    door: Door,
    make: Callable[[int], bytes],
    limit: int,
    status: int,
    which: str,
    times: int,
) -> None:
    """With none or 0 a limit does not exist, nor a smaller one behind it."""
    server: Server = request.getfixturevalue(which)
    assert server.door is door
    assert status_of(server, make(min(limit * times, 300_000))) != status
    assert status_of(server, make(min(limit * times, 50_000))) == 200


DEFAULTS = [
    case("the request line", line_of, 8192, 414),
    case("the field lines", header_of, 32768, 431),
    case("the number of field lines", fields_of, 200, 431),
]


@pytest.mark.parametrize(("make", "limit", "status"), DEFAULTS)
def test_default_limit(
    server: Server, make: Callable[[int], bytes], limit: int, status: int
) -> None:
    """The defaults are those that the command line tells."""
    slack = SLACK[make]
    assert status_of(server, make(limit - slack)) == 200
    assert status_of(server, make(limit + slack + 1)) == status


def test_default_limit_of_a_body(server: Server) -> None:
    """A body of more than 1 GiB is refused by its length, and one byte less is not."""
    for length, status in ((2**30, 100), (2**30 + 1, 413)):
        with server.connect() as client:
            fields = [("Content-Length", str(length)), ("Expect", "100-continue")]
            client.send(request(method="POST", headers=fields))
            assert client.response().status == status


UNENDED = [
    case("a request line", b"GET /" + b"a" * 2 * LINE, {414}),
    case("a method", b"G" * 2 * LINE, {400, 414, 501}),
    case("a version", b"GET / " + b"H" * 2 * LINE, {400, 414, 505}),
    case("a name", b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A" * 2 * HEADER, {431}),
    case("a value", b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"a" * 2 * HEADER, {431}),
    case("blanks", b"GET / HTTP/1.1\r\nHost: h\r\nA:" + b" " * 2 * HEADER, {431}),
    case(
        "fields", b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 2 * COUNT, {400, 431}
    ),
    case(
        "trailers",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        + b"A: b\r\n" * HEADER,
        {400, 413, 431},
    ),
    case(
        "an extension",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;"
        + b"a" * 100_000,
        {400, 413, 431},
    ),
    case(
        "a chunk",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n"
        + b"a" * 2 * BODY,
        {413},
    ),
    case(
        "a length of too much",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n",
        {413},
    ),
]


@pytest.mark.parametrize(("raw", "statuses"), UNENDED)
def test_what_never_ends_is_refused(
    small: Server, raw: bytes, statuses: set[int]
) -> None:
    """RFC 9112, 3 and 5: too much is refused as soon as it is, not at its end."""
    with small.connect() as client:
        client.send(raw)
        assert client.response().status in statuses
        client.assert_closed()


def test_empty_lines_without_end(small: Server) -> None:
    """RFC 9112, 2.2: at least one is to be overlooked; a flood is not served."""
    with small.connect() as client:
        client.send(b"\r\n" * 1_000_000)
        client.sock.shutdown(socket.SHUT_WR)
        heard = client.rest()
        assert heard[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 408", b"HTTP/1.1 414")


def refused_before_a_byte(client: Client, raw: bytes) -> Response:
    """Check that 413 comes first, without a body and without 100."""
    client.send(raw)
    response = client.response()
    assert response.status == 413
    client.assert_closed()
    return response


@pytest.mark.parametrize("expect", [[], [("Expect", "100-continue")]])
@pytest.mark.parametrize("which", ["small", "small_streaming"])
def test_length_beyond_the_limit_is_refused_before_a_byte(
    request: pytest.FixtureRequest,
    door: Door,
    which: str,
    expect: list[tuple[str, str]],
) -> None:
    """RFC 9110, 10.1.1: 413 in place of 100; the application is not called."""
    server: Server = request.getfixturevalue(which)
    assert server.door is door
    token = new_token()
    fields = "".join(f"{name}: {value}\r\n" for name, value in expect)
    raw = f"POST /{token} HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: 1001\r\n\r\n"
    with server.connect() as client:
        refused_before_a_byte(client, raw.encode())
    server.assert_never_called(token)


def test_length_beyond_the_limit_with_its_body(small: Server) -> None:
    """RFC 9112, 9.6: a client that sends all of 8 MiB still hears 413."""
    token = new_token()
    with small.connect() as client:
        client.send(request(method="POST", token=token, body=b"x" * (8 << 20)))
        assert client.response().status == 413
    small.assert_never_called(token)


def test_chunks_beyond_the_limit_of_a_stream(small_streaming: Server) -> None:
    """RFC 9110, 15.5.14: the limit holds while the body is read; 413 or a cut."""
    token = new_token()
    with small_streaming.connect() as client:
        head = request(
            method="POST",
            app="read",
            token=token,
            headers=[("Transfer-Encoding", "chunked")],
        )
        client.send(head + b"200\r\n" + b"x" * 512 + b"\r\n")
        small_streaming.wait_for_event(token, "called")
        client.send(b"200\r\n" + b"x" * 512 + b"\r\n0\r\n\r\n")
        assert client.final().status == 413
        client.assert_closed()
    events = small_streaming.wait_for_event(token, "over")
    assert "read" not in events


def test_limit_is_for_each_request(small: Server) -> None:
    """What one request of a connection has used is not missed by the next."""
    with small.connect() as client:
        for make, limit, _ in (row.values for row in EXACT):
            client.send(make(limit - SLACK[make]))
            assert client.final().status == 200
        client.send(b"".join(length_of(BODY) for _ in range(20)))
        for _ in range(20):
            assert client.final().status == 200


REFUSALS = [
    (line_of(2 * LINE), 414),
    (header_of(2 * HEADER), 431),
    (length_of(2 * BODY), 413),
]


@pytest.mark.parametrize(("raw", "status"), REFUSALS, ids=["414", "431", "413"])
def test_refusal_is_a_response(small: Server, raw: bytes, status: int) -> None:
    """RFC 9110, 6.6.1 and RFC 9112, 9.6: with Date, and saying that it is the last."""
    with small.connect() as client:
        client.send(request(app="hello") + raw)
        assert client.final().body == b"hello"
        response = client.final()
        assert response.status == status
        assert response.get("Connection") == b"close"
        assert re.fullmatch(rb"\w{3}, .* GMT", response.get("Date") or b"")
        assert response.get("Content-Length") is not None
        client.assert_closed()


# --- open connections


def connected(stack: ExitStack, server: Server, count: int) -> list[Client]:
    """Open so many connections, which are closed with the stack at the latest."""
    return [stack.enter_context(server.connect()) for _ in range(count)]


def test_connections_beyond_the_limit(door: Door) -> None:
    """RFC 9110, 15.6.4: one too many is told 503, and has its turn later."""
    with (
        serving(door, TCP, "--max-connections", "3") as server,
        ExitStack() as stack,
    ):
        kept = connected(stack, server, 3)
        for client in kept:
            client.assert_open()
        with server.connect() as client:
            client.send(request(app="hello"))
            response = client.response()
            assert response.status == 503
            client.assert_closed()
        for client in kept:
            client.assert_open()
        kept.pop().close()
        assert wait_until_served(server).body == b"hello"
        for client in kept:
            client.assert_open()


def wait_until_served(server: Server) -> Response:
    """Ask until the server has noticed that a place is free."""
    for _ in range(100):
        response = server.ask(request(app="hello"))
        if response.status != 503:
            break
    return response


def test_flood_of_connections(door: Door) -> None:
    """A hundred too many do not keep those that are there from being served."""
    with (
        serving(door, TCP, "--max-connections", "5") as server,
        ExitStack() as stack,
    ):
        kept = connected(stack, server, 4)
        for client in kept:
            client.assert_open()
        flood = connected(stack, server, 100)
        for client in kept:
            client.assert_open()
        for client in flood:
            client.close()
        for client in kept:
            client.close()
        assert wait_until_served(server).body == b"hello"
