"""What a response is on the wire: HTTP/1.1 as RFC 9112 has it."""

from __future__ import annotations

from typing import Any

import pytest
from connections import Blocks, FastSocketClient, giving
from waiting import FLUSH, LAST_CHUNK, chunks

from twisted_wsgiflush import _http1sink, _output
from twisted_wsgiflush._http1sink import LARGE, HTTP1Sink
from twisted_wsgiflush._output import KernelOutput
from twisted_wsgiflush.testing import GET, serve

HTTP_1_0 = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"


def answer(application: Any, request: bytes = GET) -> tuple[list[bytes], bytes, bool]:
    """Framing fields, body, and whether the connection is closed."""
    served = serve(application, request, site="fast")
    head, _, body = served.read().partition(b"\r\n\r\n")
    fields = [
        line
        for line in head.split(b"\r\n")
        if line.lower().startswith((b"content-length", b"transfer-", b"connection"))
    ]
    return fields, body, served.closed


CHUNKED = b"Transfer-Encoding: chunked"
CLOSE = b"Connection: close"
KEEP = b"Connection: keep-alive"


@pytest.mark.parametrize(
    ("request_", "blocks", "fields", "body", "closed"),
    [
        (GET, [b"one"], [b"Content-Length: 3"], b"one", False),
        (GET, [b"one", b"two"], [CHUNKED], chunks(b"one", b"two") + LAST_CHUNK, False),
        (GET, [b"", b""], [CHUNKED], LAST_CHUNK, False),
        (HEAD, [b"one"], [b"Content-Length: 3"], b"", False),
        (HEAD, [b"one", b"two"], [CHUNKED], b"", False),
        (HTTP_1_0, [b"one"], [b"Content-Length: 3", KEEP], b"one", False),
        (HTTP_1_0, [b"one", b"two"], [CLOSE], b"onetwo", True),
        (HTTP_1_0.replace(b"GET", b"HEAD"), [b"one", b"two"], [KEEP], b"", False),
        (POST, [b"one"], [b"Content-Length: 3"], b"one", False),
    ],
)
def test_framing(request_, blocks, fields, body, closed) -> None:
    """RFC 9112, 6.3: the client finds the end of the body."""
    assert answer(giving(blocks), request_) == (fields, body, closed)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("request_", [GET, HEAD, HTTP_1_0])
def test_no_body_needs_no_framing(status, request_) -> None:
    """RFC 9112, 6.3: the client knows."""

    def application(environ, start_response):
        start_response(status, [])
        return iter([b""])

    keep = [KEEP] if request_ is HTTP_1_0 else []
    assert answer(application, request_) == (keep, b"", False)


def test_an_interim_status_is_the_last() -> None:
    """It promises another head, which there is not."""

    def application(environ, start_response):
        start_response("102 Processing", [])
        return []

    assert answer(application) == ([CLOSE], b"", True)


@pytest.mark.parametrize("size", [1, LARGE - 1, LARGE, 10 * LARGE])
@pytest.mark.parametrize("request_", [GET, HTTP_1_0])
def test_blocks_of_any_size_arrive(size, request_) -> None:
    """Whether they are joined with their frame or not."""
    blocks = [b"x" * size, b"y" * size, b"z" * size]
    _, body, _ = answer(giving(iter(blocks)), request_)

    if request_ is GET:
        assert body == chunks(*blocks) + LAST_CHUNK
    else:
        assert body == b"".join(blocks)


@pytest.mark.parametrize("length", [1, 10 * LARGE])
def test_a_body_with_its_length_is_not_framed(length) -> None:
    """The first block goes with the head, the others alone."""
    blocks = [b"x" * length, b"y" * length]
    fields, body, closed = answer(
        giving(iter(blocks), ("Content-Length", str(2 * length)))
    )

    assert fields == [b"Content-Length: %d" % (2 * length)]
    assert body == b"".join(blocks)
    assert not closed


def test_a_flushed_head_goes_before() -> None:
    """Once."""

    def application(environ, start_response):
        start_response("200 OK", [])
        environ[FLUSH]()
        environ[FLUSH]()
        return [b"one"]

    assert answer(application) == ([CHUNKED], chunks(b"one") + LAST_CHUNK, False)


def test_a_block_waits_for_the_last() -> None:
    """An application is not asked for more than is taken."""
    blocks = Blocks(*[b"x" * 100] * 10)
    served = serve(giving(blocks), limit=50, site="fast")
    served.turn(10)
    asked = blocks.asked
    served.read(60)

    assert asked == 1
    assert blocks.closed == 1


def test_what_is_written_by_write_is_sent() -> None:
    """PEP 3333, "The write() Callable", also to a client that is full."""

    def application(environ, start_response):
        write = start_response("200 OK", [])
        for _ in range(5):
            write(b"x" * 100)
        return [b"end"]

    served = serve(application, limit=50, site="fast")

    assert served.read(40).endswith(chunks(*[b"x" * 100] * 5, b"end") + LAST_CHUNK)


A, B = chunks(b"a"), chunks(b"b")


class Joining(KernelOutput):
    """Notes what it is told, and writes."""

    def __init__(self, transport: Any, batch: Any, owner: Any) -> None:
        super().__init__(transport, batch, owner)
        self.noted: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.noted.append(data)
        super().write(data)

    def join(self) -> None:
        self.noted.append("join")
        super().join()

    def part(self) -> None:
        self.noted.append("part")
        super().part()


@pytest.mark.parametrize(
    ("blocks", "noted"),
    [
        ([b"a"] * 3, [A, A, A, LAST_CHUNK]),
        ([b"a"] * 4, [A, A, A, "join", A, LAST_CHUNK, "part"]),
        ([b"a"] * 5 + [b"b"], [A, A, A, "join", A, A, B, LAST_CHUNK, "part"]),
        ([b"a"] * 3 + [b"", b"b"], [A, A, A, B, LAST_CHUNK]),
        ([b"a"] * 4 + [b"", b"b"], [A, A, A, "join", A, "part", B, LAST_CHUNK]),
    ],
)
def test_what_follows_at_once_may_be_joined(blocks, noted, monkeypatch) -> None:
    """The first blocks of a turn leave by themselves, and at its end all the others."""
    monkeypatch.setattr(_http1sink, "BURST", 4)
    monkeypatch.setattr(_output, "KernelOutput", Joining)
    client = FastSocketClient(giving(iter(blocks)))
    output = client.transport.protocol.output
    output.noted.clear()

    client.get()
    client.turn(5)

    # But for the head.
    assert [seen[-6:] for seen in output.noted] == noted


def test_nobody_waits_for_a_response_that_is_complete() -> None:
    """Room for more is told to nobody."""

    class Connection:
        output = pump = None

    connection: Any = Connection()
    sink = HTTP1Sink(connection)
    sink.drained()

    assert connection.pump is None
