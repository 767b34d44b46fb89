"""
When bytes arrive: a block that was given is on the wire before the next is asked for.

The applications here block, on purpose: while one does, nobody else can send for it.
"""

from __future__ import annotations

import time

import pytest
from wire import STRICT, Client, Server, case, request

pytestmark = pytest.mark.parametrize("door", STRICT, indirect=True, ids=str)

GAP = 0.3
SOON = 0.15
"""Seconds in which something that was sent is heard, also on a busy machine."""


class Heard:
    """When something was heard, counted from the request."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.start = time.monotonic()

    def until(self, text: bytes) -> float:
        """Read until this has come; return when that was."""
        while text not in self.client.buffer:
            data = self.client.sock.recv(1 << 16)
            assert data, self.client.buffer
            self.client.buffer += data
        return time.monotonic() - self.start


def assert_at(times: list[float], expected: list[float]) -> None:
    """Check that each was heard when it was sent: not before, and soon after."""
    for found, due in zip(times, expected, strict=True):
        assert due <= found + 0.01, times
        assert found < due + SOON, times


EVERYWHERE = pytest.mark.parametrize("transport", ["server", "unix"], indirect=True)


@EVERYWHERE
@pytest.mark.parametrize("before", [0, 1])
def test_flushed_head_arrives_before_the_computation(
    transport: Server, before: int
) -> None:
    """A flushed head is with the client while the application computes."""
    with transport.connect() as client:
        for _ in range(before):
            client.assert_open()
        heard = Heard(client)
        client.send(request(f"/?gap={GAP}", app="flushed"))
        times = [heard.until(b"\r\n\r\n"), heard.until(b"block 0.")]
        assert_at(times, [0, GAP])


BLOCKS = [
    # target, app, when blocks are heard
    case("a generator", f"/?gap={GAP}", "slow", [GAP, 2 * GAP, 3 * GAP]),
    case(
        "a generator with a length",
        f"/?gap={GAP}&length",
        "slow",
        [GAP, 2 * GAP, 3 * GAP],
    ),
    case("the first block at once", f"/?gap={GAP}&eager", "slow", [0, GAP, 2 * GAP]),
    case("write()", f"/?gap={GAP}", "slow write", [GAP, 2 * GAP, 3 * GAP]),
    case("a slow end", f"/?gap={GAP}", "slow end", [0]),
]


@EVERYWHERE
@pytest.mark.parametrize(("target", "app", "expected"), BLOCKS)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_blocks_arrive_as_they_are_made(
    transport: Server, target: str, app: str, expected: list[float], version: str
) -> None:
    """PEP 3333, Buffering and Streaming: blocks 0.3 s apart arrive 0.3 s apart."""
    with transport.connect() as client:
        heard = Heard(client)
        client.send(request(target, app=app, version=version))
        times = [heard.until(b"block %d." % n) for n in range(len(expected))]
        assert_at(times, expected)
        # Nothing is to block in the next test.
        if version == "HTTP/1.0":
            client.rest()
        elif "length" not in target:
            heard.until(b"\r\n0\r\n\r\n")


def test_first_response_is_heard_while_the_next_blocks(server: Server) -> None:
    """In a pipeline a response is sent before the next application is called."""
    with server.connect() as client:
        heard = Heard(client)
        client.send(request(app="hello") + request(f"/?gap={GAP}&count=1", app="slow"))
        assert_at([heard.until(b"hello"), heard.until(b"block 0.")], [0, GAP])


def test_end_is_heard_while_the_next_blocks(server: Server) -> None:
    """The last chunk of a stream is sent with it, not with the next response."""
    stream = request(app="large", spec={"count": 2, "size": 8})
    with server.connect() as client:
        heard = Heard(client)
        client.send(stream + request(f"/?gap={GAP}&count=1", app="slow"))
        assert_at([heard.until(b"\r\n0\r\n\r\n"), heard.until(b"block 0.")], [0, GAP])


@pytest.mark.parametrize("size", [8, 1000, 100_000])
def test_large_blocks_arrive_as_they_are_made(server: Server, size: int) -> None:
    """A block that a socket holds is there whole before the next is asked for."""
    with server.connect() as client:
        heard = Heard(client)
        client.send(request(f"/?gap={GAP}&size={size}&count=2", app="slow"))
        end = b"." * (size - 7) + b"\r\n"
        times = [heard.until(b"block 0" + end), heard.until(b"block 1" + end)]
        assert_at(times, [GAP, 2 * GAP])


def test_continue_arrives_while_another_blocks(server: Server) -> None:
    """RFC 9110, 10.1.1: 100 is sent when the header is read, in the same turn."""
    fields = [("Expect", "100-continue"), ("Content-Length", "5")]
    with server.connect() as client, server.connect() as other:
        heard = Heard(client)
        client.send(request(method="POST", app="echo", headers=fields))
        assert_at([heard.until(b"100 Continue")], [0])
        other.send(request(f"/?gap={GAP}&count=1", app="slow"))
        client.send(b"hello")
        heard.until(b"\r\n\r\nhello")
        assert other.final().body == b"block 0."
