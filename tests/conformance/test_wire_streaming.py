"""
Bodies that are read while they arrive (``--stream-input``).

The application is called when the header is there.  What it does not read is not
taken from the client, but for what sockets and the server hold in between.
"""

from __future__ import annotations

import hashlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from wire import STRICT, TCP, Client, Door, Server, new_token, request
from wire import serving as serving_at

pytestmark = pytest.mark.parametrize("door", STRICT, indirect=True, ids=str)

MIB = 1 << 20
CHUNKED = [("Transfer-Encoding", "chunked")]
FRAMES = ["length", "chunked"]


def head_of(app: str, frame: str, length: int, target: str = "/", **kw: Any) -> bytes:
    """Return the header of a request whose body has this frame and length."""
    fields = [("Content-Length", str(length))] if frame == "length" else CHUNKED
    fields = [*fields, *kw.pop("headers", [])]
    return request(target, method="POST", app=app, headers=fields, **kw)


def piece_of(frame: str, data: bytes) -> bytes:
    """Return some of a body in its frame."""
    return data if frame == "length" else b"%x\r\n%s\r\n" % (len(data), data)


def end_of(frame: str) -> bytes:
    """Return the end of a body in its frame."""
    return b"" if frame == "length" else b"0\r\n\r\n"


def open_gate(server: Server, token: str) -> None:
    """Let the application of the token go on."""
    assert server.ask(request(f"/?{token}", app="open gate")).body == b"open"


def silent(client: Client, seconds: float = 0.3) -> bool:
    """Tell whether nothing comes for so long."""
    return not select.select([client.sock], [], [], seconds)[0]


# --- called at the end of the header


@pytest.mark.parametrize("frame", FRAMES)
def test_application_is_called_before_the_body(streaming: Server, frame: str) -> None:
    """The header is enough to be called; the body may come whenever it does."""
    token = new_token()
    with streaming.connect() as client:
        client.send(head_of("read", frame, 5, token=token))
        assert streaming.wait_for_event(token, "called") == ["called"]
        client.send(piece_of(frame, b"he"))
        assert silent(client)
        client.send(piece_of(frame, b"llo") + end_of(frame))
        found = client.final().json()
        assert found["body"] == "hello"
        assert found["terminated"] is None, "b'' was not to be the end"
        assert streaming.events(token) == ["called", "read", "over"]
        client.assert_open()


@pytest.mark.parametrize("frame", FRAMES)
def test_response_begins_before_the_body(streaming: Server, frame: str) -> None:
    """RFC 9110, 7.5: a response may begin while the request is still sent."""
    body = b"x" * 10_000
    with streaming.connect() as client:
        client.send(head_of("answer first", frame, len(body)))
        response = client.head()
        assert response.status == 200
        assert client.take(len(b"6\r\nfirst.\r\n")) == b"6\r\nfirst.\r\n"
        client.send(piece_of(frame, body) + end_of(frame))
        digest = hashlib.sha256(body).hexdigest().encode()
        assert client.take(4 + 64 + 7) == b"40\r\n" + digest + b"\r\n0\r\n\r\n"
        client.assert_open()


@pytest.mark.parametrize("frame", FRAMES)
def test_upload_and_response_overlap(streaming: Server, frame: str) -> None:
    """Each piece is given back before the next one is sent."""
    pieces = [b"piece %d." % n for n in range(20)]
    with streaming.connect() as client:
        client.send(head_of("echo at once", frame, sum(map(len, pieces))))
        assert client.head().status == 200
        for piece in pieces:
            client.send(piece_of(frame, piece))
            expected = b"%x\r\n%s\r\n" % (len(piece), piece)
            assert client.take(len(expected)) == expected
        client.send(end_of(frame))
        assert client.take(5) == b"0\r\n\r\n"
        client.assert_open()


@pytest.mark.parametrize("frame", [*FRAMES, "HTTP/1.0"])
@pytest.mark.parametrize("way", ["for", "1", "7", "65536", "100000000"])
@pytest.mark.parametrize("size", [0, 1, 1000, 200_000])
def test_body_is_whole_however_it_is_read(
    streaming: Server, frame: str, way: str, size: int
) -> None:
    """A stream gives every byte once, in order, and then its end."""
    size = min(size, 1000) if way in ("1", "7") else size
    body = bytes(n % 127 for n in range(size))
    version = "HTTP/1.0" if frame == "HTTP/1.0" else "HTTP/1.1"
    target = f"/?way={way}"
    if frame == "chunked":
        pieces = [body[n : n + 999] for n in range(0, size, 999)]
        raw = request(target, method="POST", app="read", chunks=pieces)
    else:
        raw = request(target, method="POST", app="read", body=body, version=version)
    found = streaming.ask(raw).json()
    assert found["body"].encode() == body
    if frame == "chunked":
        assert found["CONTENT_LENGTH"] in (None, "")
    else:
        assert found["CONTENT_LENGTH"] == str(size)


def test_body_in_single_bytes(streaming: Server) -> None:
    """However the body is cut into segments, it is the same body."""
    raw = request(method="POST", app="read", chunks=[b"hello", b" ", b"world"])
    with streaming.connect() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index in range(len(raw)):
            client.send(raw[index : index + 1])
        assert client.final().json()["body"] == "hello world"
        client.assert_open()


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_request_without_a_body(streaming: Server, method: str) -> None:
    """Where there is no body, the stream is at its end at once."""
    with streaming.connect() as client:
        client.send(request(method=method, app="read"))
        response = client.final(method)
        assert response.status == 200
        assert method == "HEAD" or response.json()["body"] == ""
        client.assert_open()


def test_pipelined_bodies_stay_apart(streaming: Server) -> None:
    """RFC 9112, 9.3.2: each application reads its own body, and no other."""
    with streaming.connect() as client:
        bodies = [b"%d." % n * n for n in range(40)]
        for n, body in enumerate(bodies):
            if n % 2:
                client.send(request(method="POST", app="read", chunks=[body]))
            else:
                client.send(request(method="POST", app="read", body=body))
        for body in bodies:
            assert client.final().json()["body"].encode() == body
        client.assert_open()


def test_next_request_waits_for_the_response(streaming: Server) -> None:
    """RFC 9112, 9.3.2: one request at a time, also when the first has its body."""
    first, second = new_token(), new_token()
    with streaming.connect() as client:
        client.send(request(method="POST", app="wait, then digest", token=first))
        streaming.wait_for_event(first, "called")
        client.send(request(app="read", token=second))
        assert silent(client)
        streaming.assert_never_called(second)
        open_gate(streaming, first)
        assert client.final().json()["length"] == 0
        assert client.final().json()["body"] == ""


# --- the connection rests while the application does not read


def send_until_it_blocks(client: Client, data: bytes, total: int) -> int:
    """Send until nothing is taken for half a second; return how much was."""
    client.sock.setblocking(False)
    view = memoryview(data)
    sent = 0
    while sent < total:
        if not select.select([], [client.sock], [], 0.5)[1]:
            break
        try:
            sent += client.sock.send(view[sent % len(data) :][: total - sent])
        except (BrokenPipeError, ConnectionResetError):
            break
    client.sock.settimeout(10)
    return sent


def test_body_that_is_not_read_is_not_taken(streaming: Server) -> None:
    """Of 64 MiB only so much is taken as sockets hold; the process grows by < 1 MiB."""
    total, token = 64 * MIB, new_token()
    data = bytes(range(256)) * 4096
    before = streaming.resident()
    with streaming.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
        client.send(head_of("wait, then digest", "length", total, token=token))
        streaming.wait_for_event(token, "called")
        sent = send_until_it_blocks(client, data, total)
        assert sent < 16 * MIB, sent
        assert streaming.resident() - before < MIB
        assert silent(client)
        open_gate(streaming, token)
        view = memoryview(data)
        while sent < total:
            sent += client.sock.send(view[sent % len(data) :][: total - sent])
        found = client.final().json()
        assert found["length"] == total
        assert (
            found["sha256"] == hashlib.sha256(data * (total // len(data))).hexdigest()
        )
        assert streaming.resident() - before < 4 * MIB
        client.assert_open()


def test_large_upload_costs_no_memory(streaming: Server) -> None:
    """An upload that is given back meanwhile rests when the client does not read."""
    token, total = new_token(), 64 * MIB
    before = streaming.resident()
    with streaming.connect(receive_buffer=4096) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
        client.send(head_of("echo at once", "length", total, token=token))
        sent = send_until_it_blocks(client, b"x" * MIB, total)
        assert sent < 32 * MIB, sent
        assert streaming.resident() - before < 4 * MIB


# --- Expect: 100-continue (RFC 9110, 10.1.1)

EXPECT = [("Expect", "100-continue")]


@pytest.mark.parametrize("frame", FRAMES)
def test_continue_comes_at_the_first_read(streaming: Server, frame: str) -> None:
    """RFC 9110, 10.1.1: the client is told when the application wants the body."""
    token = new_token()
    with streaming.connect() as client:
        head = head_of("wait, then digest", frame, 5, token=token, headers=EXPECT)
        client.send(head)
        streaming.wait_for_event(token, "called")
        assert silent(client)
        open_gate(streaming, token)
        assert client.response().status == 100
        client.send(piece_of(frame, b"hello") + end_of(frame))
        response = client.response()
        assert response.json()["length"] == 5
        client.assert_open()


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("app", ["refuse", "wait, then refuse"])
def test_no_continue_where_nothing_is_read(
    streaming: Server, frame: str, app: str
) -> None:
    """RFC 9110, 10.1.1: a final status in its place; then close, or the body."""
    token = new_token()
    with streaming.connect() as client:
        client.send(head_of(app, frame, 5, token=token, headers=EXPECT))
        streaming.wait_for_event(token, "called")
        if app != "refuse":
            open_gate(streaming, token)
        response = client.response()
        assert response.status == 403
        if b"close" in (response.get("Connection") or b""):
            client.assert_closed()
        else:
            client.send(piece_of(frame, b"hello") + end_of(frame))
            client.assert_open()


def test_request_in_place_of_the_body_is_none(streaming: Server) -> None:
    """RFC 9112, 6.3: who did not get 100 may not put a request where the body is."""
    token = new_token()
    with streaming.connect() as client:
        client.send(head_of("refuse", "length", 1000, headers=EXPECT))
        client.send(request(f"/{token}"))
        assert client.response().status == 403
        client.sock.shutdown(socket.SHUT_WR)
        client.assert_closed()
    streaming.assert_never_called(token)


def test_continue_is_not_sent_when_the_body_is_there(streaming: Server) -> None:
    """RFC 9110, 10.1.1: it may be left out then; it never comes twice or late."""
    raw = request(method="POST", app="read", headers=EXPECT, body=b"hello")
    with streaming.connect() as client:
        client.send(raw + raw)
        for _ in range(2):
            response = client.response()
            if response.status == 100:
                response = client.response()
            assert response.json()["body"] == "hello"
        client.assert_open()


# --- what the application leaves unread


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("app", ["refuse", "hello", "read a little"])
@pytest.mark.parametrize("when", ["at once", "later"])
def test_small_rest_is_drained(
    streaming: Server, frame: str, app: str, when: str
) -> None:
    """RFC 9112, 9.3: an unread kilobyte is read away, and the connection goes on."""
    body = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n" * 30
    head = head_of(app, frame, len(body), "/?way=3")
    with streaming.connect() as client:
        if when == "at once":
            client.send(head + piece_of(frame, body) + end_of(frame))
            client.send(request("/behind"))
            response = client.final()
        else:
            client.send(head + piece_of(frame, body[:10]))
            response = client.final()
        assert response.status in (200, 403)
        assert response.complete
        if response.get("Connection") == b"close":
            assert when == "later"
            client.assert_closed()
            return
        if when == "later":
            client.send(piece_of(frame, body[10:]) + end_of(frame))
            client.send(request("/behind"))
        assert client.final().json()["environ"]["PATH_INFO"] == "/behind"


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("app", ["refuse", "read a little"])
def test_large_rest_is_not(streaming: Server, frame: str, app: str) -> None:
    """RFC 9112, 9.3: what is too much to be read away ends the connection."""
    total = 256 * MIB
    with streaming.connect() as client:
        client.send(head_of(app, frame, total, "/?way=3"))
        sent = 0
        piece = piece_of(frame, b"x" * MIB)
        for _ in range(256):
            try:
                client.sock.sendall(piece)
            except OSError:
                break
            sent += MIB
        assert sent < 128 * MIB, sent


@pytest.mark.parametrize("frame", FRAMES)
def test_response_survives_an_upload_nobody_reads(
    streaming: Server, frame: str
) -> None:
    """RFC 9112, 9.6: a close in two steps, so that the client hears the refusal."""
    with streaming.connect() as client:

        def upload() -> None:
            for _ in range(8):
                client.send(piece_of(frame, b"x" * MIB))

        client.send(head_of("refuse", frame, 8 * MIB))
        thread = threading.Thread(target=upload, daemon=True)
        thread.start()
        response = client.final()
        assert (response.status, response.body) == (403, b"no")
        thread.join()


# --- clients that leave, and bodies that break off


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("app", ["read", "echo at once"])
@pytest.mark.parametrize("how", ["close", "half-close"])
def test_client_that_leaves_within_the_body(
    streaming: Server, frame: str, app: str, how: str
) -> None:
    """RFC 9112, 8: the coroutine ends where it awaits, and never sees an end."""
    token, mark = new_token(), streaming.log.mark()
    client = streaming.connect()
    client.send(head_of(app, frame, 1000, token=token) + piece_of(frame, b"hello"))
    streaming.wait_for_event(token, "called")
    if how == "close":
        client.close()
    else:
        client.sock.shutdown(socket.SHUT_WR)
        # No response, an error, or one that is not complete.
        heard = client.rest()
        assert not heard.endswith(b"0\r\n\r\n")
        assert heard[:13] in (b"", b"HTTP/1.1 200 ", b"HTTP/1.1 400 "), heard
        client.close()
    events = streaming.wait_for_event(token, "over")
    assert "read" not in events
    assert "Unhandled" not in streaming.log.since(mark)


def test_client_that_leaves_an_application_that_does_not_read(
    streaming: Server,
) -> None:
    """A client that is gone is noticed when the application reads, at the latest."""
    token = new_token()
    with streaming.connect() as client:
        client.send(head_of("wait, then digest", "length", 1000, token=token))
        streaming.wait_for_event(token, "called")
    open_gate(streaming, token)
    assert streaming.ask(request(app="hello")).body == b"hello"


@pytest.fixture(scope="module")
def hasty(door: Door) -> Iterator[Server]:
    """Streamed bodies that must make progress in a second."""
    application = "wire_streaming_applications:application"
    arguments = ["--stream-input", "--body-timeout", "1"]
    with serving_at(door, TCP, *arguments, application=application) as server:
        yield server


def test_streamed_body_that_stops(hasty: Server) -> None:
    """RFC 9110, 15.5.9: 408 while no head was sent; and the application is over."""
    token = new_token()
    with hasty.connect() as client:
        client.sock.settimeout(6)
        started = time.monotonic()
        client.send(head_of("read", "length", 5000, token=token) + b"hello")
        assert client.final().status == 408
        assert 1 <= time.monotonic() - started <= 6
        client.assert_closed()
    assert "read" not in hasty.wait_for_event(token, "over")


def test_streamed_response_is_cut_when_its_body_stops(hasty: Server) -> None:
    """After the head there is only the cut left."""
    token = new_token()
    with hasty.connect() as client:
        client.sock.settimeout(6)
        client.send(head_of("echo at once", "length", 5000, token=token) + b"hello")
        response = client.final()
        assert (response.status, response.body) == (200, b"hello")
        assert not response.complete
        client.assert_closed()
    assert "read" not in hasty.wait_for_event(token, "over")


def test_application_that_does_not_read_is_no_clients_fault(hasty: Server) -> None:
    """The time for the body does not run while nobody reads it."""
    token = new_token()
    with hasty.connect() as client:
        client.send(head_of("wait, then digest", "length", 5, token=token))
        hasty.wait_for_event(token, "called")
        time.sleep(2.5)
        open_gate(hasty, token)
        client.send(b"hello")
        assert client.final().json()["length"] == 5
        client.assert_open()
