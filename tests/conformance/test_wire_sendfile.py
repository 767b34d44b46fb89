"""
Files by ``wsgi.file_wrapper`` (PEP 3333, Optional Platform-Specific File Handling).

What goes out by a system call is the same, byte for byte, as what was read and sent.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from wire import STRICT, Client, Response, Server, case, new_token, request

pytestmark = pytest.mark.parametrize("door", STRICT, indirect=True, ids=str)

MB = 1_000_000
SIZE = 100 * MB


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file of 100 MB, no two kilobytes of which are the same."""
    path = tmp_path_factory.mktemp("files") / "big"
    with path.open("wb") as file:
        for n in range(SIZE // MB):
            file.write(piece(n))
    yield path
    path.unlink()


@cache
def piece(number: int) -> bytes:
    """Return one megabyte of the file; to make it takes longer than to send it."""
    return b"".join(
        b"%09d." % n for n in range(number * 100_000, (number + 1) * 100_000)
    )


def digest_of(start: int, size: int) -> str:
    """Return what that part of the file must be."""
    seen = hashlib.sha256()
    offset = 0
    for n in range(SIZE // MB):
        low, high = max(start - offset, 0), min(start + size - offset, MB)
        if low < high:
            seen.update(piece(n)[low:high])
        offset += MB
    return seen.hexdigest()


def ask(client: Client, token: str, spec: dict[str, Any], **kw: Any) -> Response:
    """Ask for a file; return the response."""
    client.send(request(app="big file", token=token, spec=spec, **kw))
    return client.final(kw.get("method", "GET"))


def length(size: int) -> list[tuple[str, str]]:
    """Return a header list with this length."""
    return [("Content-Length", str(size))]


WHOLE: list[Any] = [
    # spec, where it begins, how much it is
    case("with its length", {"headers": length(SIZE)}, 0, SIZE),
    case("without a length", {}, 0, SIZE),
    case(
        "from an offset",
        {"seek": 12_345_678, "headers": length(SIZE - 12_345_678)},
        12_345_678,
        SIZE - 12_345_678,
    ),
    case(
        "from an offset, without a length", {"seek": 99 * MB + 7}, 99 * MB + 7, MB - 7
    ),
    case("with a shorter length", {"headers": length(3 * MB + 1)}, 0, 3 * MB + 1),
    case("a part", {"seek": MB + 1, "headers": length(MB // 2)}, MB + 1, MB // 2),
    case("one byte", {"seek": 5, "headers": length(1)}, 5, 1),
    case("nothing of it", {"headers": length(0)}, 0, 0),
    case("from its end", {"seek": SIZE, "headers": length(0)}, SIZE, 0),
    case("from its end, without a length", {"seek": SIZE}, SIZE, 0),
    case("from beyond its end", {"seek": SIZE + 5}, SIZE, 0),
    case("behind a head that is flushed", {"flush": True}, 0, SIZE),
    case("where a suspension is due", {"suspend": True, "seek": MB}, MB, 99 * MB),
    case("in blocks of 1 MiB", {"size": (1 << 20,), "headers": length(SIZE)}, 0, SIZE),
    case("in small blocks", {"size": (999,), "headers": length(MB)}, 0, MB),
]


@pytest.mark.parametrize("transport", ["server", "unix", "tls"], indirect=True)
@pytest.mark.parametrize(("spec", "start", "size"), WHOLE)
def test_file_is_sent(
    transport: Server, big: Path, spec: dict[str, Any], start: int, size: int
) -> None:
    """PEP 3333: from where it stands, and no more than Content-Length; closed once."""
    token = new_token()
    spec = {"path": str(big), **spec}
    with transport.connect() as client:
        response = ask(client, token, spec)
        assert response.complete
        assert len(response.body) == size
        assert hashlib.sha256(response.body).hexdigest() == digest_of(start, size)
        client.assert_open_or_closed()
    transport.assert_noted_once(token, "close")


def test_file_shorter_than_its_length(server: Server, big: Path) -> None:
    """RFC 9112, 6.3: what is missing is never made up: the connection ends."""
    token = new_token()
    spec = {"path": str(big), "seek": 99 * MB, "headers": length(MB + 1)}
    with server.connect() as client:
        client.send(
            request(app="big file", token=token, spec=spec) + request(app="hello")
        )
        response = client.final()
        assert not response.complete
        assert response.body == piece(99)
        client.assert_closed()
    server.assert_noted_once(token, "close")


@pytest.mark.parametrize("headers", [[], length(SIZE)], ids=["no length", "a length"])
def test_file_that_is_truncated(
    server: Server, tmp_path: Path, headers: list[tuple[str, str]]
) -> None:
    """What was promised of a file and is not there any more is never made up."""
    path = tmp_path / "file"
    path.write_bytes(piece(0))
    os.truncate(path, SIZE)
    token, mark = new_token(), server.log.mark()
    with server.connect(receive_buffer=4096) as client:
        spec = {"path": str(path), "headers": headers}
        client.send(request(app="big file", token=token, spec=spec))
        server.wait_for_event(token, "opened")
        os.truncate(path, 1000)
        response = client.final()
        assert not response.complete
        # The kernel sends from the file: what was cut off may arrive as zeros.
        assert response.body.startswith(piece(0)[:1000])
        client.assert_closed()
    server.assert_noted_once(token, "close")
    server.log.wait_for("BodyTooShort", mark)


def test_file_that_is_longer_than_its_length(server: Server, big: Path) -> None:
    """PEP 3333: the server must not send more; which is logged."""
    mark = server.log.mark()
    with server.connect(receive_buffer=4096) as client:
        response = ask(
            client, new_token(), {"path": str(big), "headers": length(3 * MB + 1)}
        )
        assert response.complete
        assert (
            response.body == (piece(0) + piece(1) + piece(2) + piece(3))[: 3 * MB + 1]
        )
        client.assert_closed()
    server.log.wait_for("longer than its Content-Length", mark)


def test_huge_file(server: Server) -> None:
    """1 GiB that takes no room on the disk takes none in memory."""
    before = server.resident()
    with server.connect() as client:
        client.send(request(app="sparse"))
        response = client.head()
        left = int(response.get("Content-Length") or 0) - len(client.buffer)
        room = bytearray(1 << 20)
        while left:
            left -= client.sock.recv_into(room, min(left, len(room)))
        client.buffer = b""
        client.assert_open()
    assert server.resident() - before < 4 << 20


def test_slow_client(server: Server, big: Path) -> None:
    """What a client takes a little of at a time arrives as it is."""
    spec = {"path": str(big), "seek": 99 * MB}
    with server.connect(receive_buffer=4096) as client:
        client.send(request(app="big file", spec=spec))
        for _ in range(20):
            time.sleep(0.01)
            client.buffer += client.sock.recv(1000)
        response = client.final()
        assert response.complete
        assert response.body == piece(99)
        client.assert_open()


def test_head_of_a_file(server: Server, big: Path) -> None:
    """RFC 9110, 9.3.2: not a byte of it is sent; it is closed."""
    token = new_token()
    with server.connect() as client:
        spec = {"path": str(big), "headers": length(SIZE)}
        response = ask(client, token, spec, method="HEAD")
        assert response.get("Content-Length") == b"%d" % SIZE
        client.assert_open()
    server.assert_noted_once(token, "close")


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_file_where_no_body_may_be(server: Server, status: str) -> None:
    """RFC 9110, 6.4.1: such a status has no body, be it a file."""
    spec = {"file": "disk", "tens": 100_000}
    with server.connect() as client:
        client.send(request(app="file", spec=spec, method="HEAD"))
        assert client.final("HEAD").body == b""
        client.send(request(app="respond", spec={"status": status, "kind": "BytesIO"}))
        assert client.final().body == b""
        client.assert_open()


def test_file_for_http_1_0(server: Server, big: Path) -> None:
    """RFC 9112, 6.3: without a length it ends with the connection."""
    token = new_token()
    with server.connect() as client:
        spec = {"path": str(big), "seek": 90 * MB}
        response = ask(client, token, spec, version="HTTP/1.0")
        assert response.framing == "close"
        assert hashlib.sha256(response.body).hexdigest() == digest_of(90 * MB, 10 * MB)
    server.assert_noted_once(token, "close")


@pytest.mark.parametrize("headers", [[], length(5)], ids=["no length", "a length"])
def test_pipe_is_no_file(server: Server, headers: list[tuple[str, str]]) -> None:
    """PEP 3333: what has a descriptor and is no regular file is read."""
    token = new_token()
    with server.connect() as client:
        response = ask(client, token, {"pipe": b"hello", "headers": headers})
        assert (response.body, response.complete) == (b"hello", True)
        client.assert_open()
    server.assert_noted_once(token, "close")


@pytest.mark.parametrize("file", ["memory", "only read", "disk"])
@pytest.mark.parametrize("inside", [None, "generator", "list"])
def test_other_files_and_wrappers_around(
    server: Server, file: str, inside: str | None
) -> None:
    """PEP 3333: a wrapper that middleware has taken up is an iterable like any."""
    spec = {"file": file, "tens": 50_000, "inside": inside}
    with server.connect() as client:
        client.send(request(app="file", spec=spec) + request(app="hello"))
        response = client.final()
        assert response.complete
        assert response.body == b"0123456789" * 50_000
        assert client.final().body == b"hello"


def test_files_in_a_pipeline(server: Server, big: Path) -> None:
    """Head, file, next head: nothing overtakes what a system call sends."""
    spec = {"path": str(big), "seek": 99 * MB}
    with server.connect() as client:
        one = request(app="big file", spec=spec)
        client.send((request(app="hello") + one) * 5)
        for _ in range(5):
            assert client.final().body == b"hello"
            response = client.final()
            assert response.complete
            assert response.body == piece(99)
        client.assert_open()


@pytest.mark.parametrize("moment", ["at once", "after the head"])
def test_client_leaves_within_a_file(server: Server, big: Path, moment: str) -> None:
    """PEP 3333: close() is called, however the response ends; and no traceback."""
    token, mark = new_token(), server.log.mark()
    client = server.connect(receive_buffer=4096)
    spec = {"path": str(big), "headers": length(SIZE)}
    client.send(request(app="big file", token=token, spec=spec))
    if moment == "after the head":
        client.head()
    client.close()
    server.assert_noted_once(token, "close")
    assert "Traceback" not in server.log.since(mark)


def test_client_does_not_read_a_file(server: Server, big: Path) -> None:
    """A stalled file costs no memory, and nobody else's time."""
    before = server.resident()
    spec = {"path": str(big), "headers": length(SIZE)}
    clients = [server.connect(receive_buffer=4096) for _ in range(10)]
    for client in clients:
        client.send(request(app="big file", spec=spec))
    assert server.ask(request(app="hello")).body == b"hello"
    assert server.resident() - before < 4 << 20
    for client in clients:
        client.close()
