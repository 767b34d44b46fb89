"""
Where segments end, and how many requests one has, means nothing (RFC 9112, 2.2, 9.3.2).
"""

from __future__ import annotations

import random
import socket
import time

import pytest
from wire import STRICT, Client, Response, Server, case, new_token, request, with_token

pytestmark = pytest.mark.parametrize("door", STRICT, indirect=True, ids=str)

BEHIND = b"GET /@ HTTP/1.1\r\nHost: h\r\n\r\n"

SPLIT = [
    # request, responses
    case("GET", request("/a?b", app="mirror"), 1),
    case("a body", request(method="POST", app="mirror", body=b"hello\r\n\r\nworld"), 1),
    case(
        "chunks",
        request(method="POST", app="mirror", chunks=[b"hello", b"\r\n", b"world"]),
        1,
    ),
    case(
        "extensions and trailers",
        request(method="PUT", app="mirror", headers=[("Transfer-Encoding", "chunked")])
        + b'5;a="b;c"\r\nhello\r\n0;d=e\r\nA: b\r\nC: d\r\n\r\n',
        1,
    ),
    case("a target with all", request("http://target:80/a/b?c=d", app="mirror"), 1),
    case("empty lines first (2.2)", b"\r\n" + request("/a", app="mirror"), 1),
    case("two", request("/a", app="mirror") + request("/b", app="mirror"), 2),
    case("a bad one (5.1)", b"GET /a HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", 1),
    case("a bad chunk (7.1)", request(method="POST", chunks=[])[:-5] + b"5x\r\n", 1),
    case(
        "a good one and a bad one (6.1)",
        request("/a", app="mirror")
        + request(headers=[("Transfer-Encoding", "chunked"), ("Content-Length", "1")]),
        2,
    ),
]


def heard(server: Server, segments: list[bytes], count: int) -> list[tuple[int, bytes]]:
    """Return what is answered to the segments."""
    with server.connect() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index, segment in enumerate(segments):
            if index:
                time.sleep(0.0005)
            client.send(segment)
        return [answer_of(client.final()) for _ in range(count)]


def answer_of(response: Response) -> tuple[int, bytes]:
    """Return what does not depend on the time."""
    assert response.complete
    return response.status, response.body


@pytest.mark.parametrize(("raw", "count"), SPLIT)
def test_request_split_at_each_place(server: Server, raw: bytes, count: int) -> None:
    """RFC 9112, 2.2: two segments are the same request as one, wherever they part."""
    expected = heard(server, [raw], count)
    for place in range(1, len(raw)):
        assert heard(server, [raw[:place], raw[place:]], count) == expected, place


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize(("raw", "count"), SPLIT)
def test_request_in_small_segments(
    server: Server, raw: bytes, count: int, size: int
) -> None:
    """RFC 9112, 2.2: so are many segments, down to single bytes."""
    expected = heard(server, [raw], count)
    segments = [raw[n : n + size] for n in range(0, len(raw), size)]
    assert heard(server, segments, count) == expected


@pytest.mark.parametrize("lines", [1, 2, 3, 10])
def test_empty_lines_before_a_request(server: Server, lines: int) -> None:
    """RFC 9112, 2.2: at least one is overlooked; more are, or are refused."""
    with server.connect() as client:
        client.send(b"\r\n" * lines + request(app="hello"))
        response = client.final()
        if lines == 1 or response.status == 200:
            assert response.body == b"hello"
            client.send(b"\r\n" * lines)
            client.assert_open()
        else:
            assert response.status == 400
            client.assert_closed()


# --- pipelines (RFC 9112, 9.3.2)


def posted(body: bytes) -> bytes:
    """Return a request whose body is given back."""
    return request(method="POST", app="echo", body=body)


def kinds() -> list[tuple[str, bytes, bytes]]:
    """Return method, request and body of requests of all kinds, by number."""
    found = []
    two_blocks = request(app="large", spec={"count": 2, "size": 8})
    nothing = request(app="respond", spec={"status": "204 No Content"})
    waiting = request(app="suspended", spec={"waits": [1]})
    for n in range(60):
        body = b"%d" % n * (n * 17 % 301)
        chunks = [b"x", body] if body else [b"x"]
        found += [
            ("GET", request(f"/{n}", app="hello"), b"hello"),
            ("HEAD", request(f"/{n}", app="hello", method="HEAD"), b""),
            ("POST", posted(body), body),
            ("POST", request(method="POST", app="echo", chunks=chunks), b"x" + body),
            ("PUT", request(method="PUT", app="hello", body=body), b"hello"),
            ("GET", two_blocks, b"0000000000000001"),
            ("GET", nothing, b""),
            ("GET", waiting, b"waited"),
        ]
    return found


@pytest.mark.parametrize("seed", range(5))
def test_pipeline_of_all_kinds(server: Server, seed: int) -> None:
    """RFC 9112, 9.3.2: responses come in the order of the requests, and all come."""
    chosen = kinds()
    random.Random(seed).shuffle(chosen)
    raw = b"".join(data for _, data, _ in chosen)
    with server.connect() as client:
        if seed % 2:
            client.send(raw)
        else:
            step = 1 + seed * 997
            for index in range(0, len(raw), step if step > 1 else 4096):
                client.send(raw[index : index + (step if step > 1 else 4096)])
        for method, _, body in chosen:
            response = client.final(method)
            assert response.complete
            assert response.body == body
        client.assert_open()


def test_thousand_requests_in_a_segment(server: Server) -> None:
    """RFC 9112, 9.3.2: so many in one segment have as many answers."""
    raw = b"".join(b"GET /%d HTTP/1.1\r\nHost:h\r\n\r\n" % n for n in range(1000))
    with server.connect() as client:
        client.send(raw)
        for n in range(1000):
            assert client.final().json()["environ"]["PATH_INFO"] == f"/{n}"
        client.assert_open()


def test_long_pipeline_of_a_client_that_does_not_read(server: Server) -> None:
    """RFC 9112, 9.3.2: read-ahead and answers have a bound; nothing gets lost."""
    before = server.resident()
    raw = request(app="large", spec={"count": 1, "size": 8000})
    with server.connect(receive_buffer=4096) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.sock.settimeout(0.5)
        sent = 0
        try:
            for _ in range(200_000):
                sent += client.sock.send(raw)
        except TimeoutError:
            pass
        assert sent < 20_000_000, "it reads without end"
        assert server.resident() - before < 4 << 20
        client.sock.settimeout(5)
        for _ in range(sent // len(raw)):
            assert len(client.final().body) == 8000


ENDINGS = [
    case("close (9.6)", request(app="hello", headers=[("Connection", "close")]), 200),
    case("HTTP/1.0", request(app="hello", version="HTTP/1.0"), 200),
    case("bad syntax", b"GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", 400),
    case("no host", b"GET / HTTP/1.1\r\n\r\n", 400),
    case("a bad chunk", request(method="POST", chunks=[])[:-5] + b"x\r\n\r\n", 400),
    case("bad framing", request(headers=[("Transfer-Encoding", "gzip")]), 501),
    case("garbage", b"\x16\x03\x01\x00\x00", 400),
]


@pytest.mark.parametrize(("last", "status"), ENDINGS)
@pytest.mark.parametrize("before", [0, 1, 30])
def test_pipeline_ends(server: Server, last: bytes, status: int, before: int) -> None:
    """RFC 9112, 9.6: all before are answered, then the last; nothing behind is done."""
    token = new_token()
    raw = request(app="hello") * before + last
    with server.connect() as client:
        client.send(raw + with_token(BEHIND, token) * 5 + b"\r\n\r\n")
        for _ in range(before):
            assert client.final().body == b"hello"
        response = client.final()
        assert response.status in {status, *({400} if status == 501 else ())}
        if b"HTTP/1.0" not in last:
            assert response.get("Connection") == b"close"
        client.assert_closed()
    server.assert_never_called(token)


def test_error_waits_for_its_turn(server: Server) -> None:
    """RFC 9112, 9.3.2: a 400 does not overtake a response that is slow."""
    slow = request(app="suspended", spec={"waits": [300]})
    with server.connect() as client:
        client.send(slow + request(app="hello") + b"BAD\r\n\r\n")
        assert client.final().body == b"waited"
        assert client.final().body == b"hello"
        assert client.final().status == 400
        client.assert_closed()


def test_server_errors_do_not_end_a_pipeline_early(server: Server) -> None:
    """RFC 9112, 9.3: a 500 that is complete need not be the last, and is in order."""
    fail = request(app="fail", spec={"stage": "when called"})
    with server.connect() as client:
        client.send((request(app="hello") + fail) * 3 + request(app="hello"))
        assert client.final().body == b"hello"
        response = client.final()
        assert response.status == 500
        if response.get("Connection") == b"close":
            client.assert_closed()
            return
        for status in (200, 500, 200, 500, 200):
            assert client.final().status == status
        client.assert_open()


def two(client: Client) -> None:
    """Check that two more are served."""
    client.assert_open()
    client.assert_open()


def test_bodies_of_all_sizes(server: Server) -> None:
    """RFC 9112, 6.3: around the sizes at which buffers end, nothing is lost."""
    with server.connect() as client:
        for power in (10, 12, 14, 16, 17):
            for size in range(2**power - 2, 2**power + 3):
                body = b"x" * size
                client.send(request(method="POST", app="echo", body=body))
                client.send(request(method="POST", app="echo", chunks=[body]))
                for _ in range(2):
                    response = client.final()
                    assert response.complete
                    assert len(response.body) == size
        two(client)
