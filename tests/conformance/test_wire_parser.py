"""
The suite's own parser must find what it is there to find.
"""

from __future__ import annotations

import socket

import pytest
from wire import Client, Closed, WireError, case

# No server takes part.
pytestmark = pytest.mark.one_reactor

OK = b"HTTP/1.1 200 OK\r\n"


def heard(data: bytes) -> Client:
    """Return a client that hears these bytes and then the end."""
    near, far = socket.socketpair()
    with far:
        far.sendall(data)
    return Client(near)


def read_all(client: Client) -> None:
    """Read one response, and see that it was the only one."""
    client.response()
    client.assert_closed()


GOOD = [
    case("with a length", OK + b"Content-Length: 2\r\n\r\nhi", "length", b"hi"),
    case("until the end", OK + b"\r\nhi", "close", b"hi"),
    case(
        "in chunks",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "chunked",
        b"hi",
    ),
    case("no content", b"HTTP/1.1 204 No Content\r\n\r\n", "none", b""),
    case(
        "not modified, with the length of what it would have been",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
        "none",
        b"",
    ),
]


@pytest.mark.parametrize(("data", "framing", "body"), GOOD)
def test_parser_accepts(data: bytes, framing: str, body: bytes) -> None:
    """A well-formed response is read as what it is, and nothing is left."""
    with heard(data) as client:
        response = client.response()
        assert (response.framing, response.body) == (framing, body)
        assert response.complete
        client.assert_closed()


CUT = [
    case("within a length", OK + b"Content-Length: 3\r\n\r\nhi"),
    case(
        "without the last chunk",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
    ),
    case("within a chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nhi"),
    case("within a chunk size", OK + b"Transfer-Encoding: chunked\r\n\r\n9"),
    case(
        "without the last empty line",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
    ),
]


@pytest.mark.parametrize("data", CUT)
def test_parser_notices_a_cut(data: bytes) -> None:
    """A body that ends before its framing says so is not complete."""
    with heard(data) as client:
        assert not client.response().complete


BAD = [
    case(
        "two framings",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    case("two lengths", OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi"),
    case("two dates", OK + b"Date: x\r\nDate: y\r\n\r\n"),
    case("a length in 204", b"HTTP/1.1 204 OK\r\nContent-Length: 0\r\n\r\n"),
    case("chunks in 204", b"HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    case(
        "chunks for HTTP/1.0",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    case("a bad length", OK + b"Content-Length: +2\r\n\r\nhi"),
    case("a bad status line", b"HTTP/1.1 20 OK\r\n\r\n"),
    case("no space after the status", b"HTTP/1.1 200\r\n\r\n"),
    case("a bad field name", OK + b"X Y: z\r\n\r\n"),
    case("a folded field", OK + b"X: y\r\n z\r\n\r\n"),
    case("LF within a field", OK + b"X: y\nZ: z\r\n\r\n"),
    case(
        "a chunk longer than it says",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nhi\r\n0\r\n\r\n",
    ),
    case(
        "a chunk shorter than it says",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhi\r\n0\r\n\r\n",
    ),
    case(
        "a chunk size that is none",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n",
    ),
    case(
        "bytes after the response",
        OK + b"Content-Length: 2\r\n\r\nhi!",
    ),
    case("a body after 204", b"HTTP/1.1 204 No Content\r\n\r\nhi"),
    case("closed within the head", OK + b"X: y"),
]


@pytest.mark.parametrize("data", BAD)
def test_parser_refuses(data: bytes) -> None:
    """What is not well-formed is an error, whatever a lenient client makes of it."""
    with heard(data) as client, pytest.raises(WireError):
        read_all(client)


def test_parser_tells_silence_from_garbage() -> None:
    """A connection closed between two responses is told from one cut within one."""
    with heard(b"") as client, pytest.raises(Closed):
        client.response()
