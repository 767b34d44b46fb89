"""
Whatever bytes come, and however they are cut: the server lives, answers well-formed
responses or closes, and says the same to the same bytes.

Bounded: some hundred examples each time; ``--hypothesis-seed`` repeats a run.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from wire import STRICT, TCP, Closed, Door, Server, request, serving

pytestmark = pytest.mark.parametrize("door", STRICT, indirect=True, ids=str)

BOUNDED = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

# No HEAD: after a mutation nobody could tell whether a body belongs to its response.
REQUESTS = [
    request("/a?b=c"),
    request("http://target/a", method="PUT", body=b"hello"),
    request(method="POST", chunks=[b"hello", b"\r\n0\r\n\r\n", b"x" * 20]),
    request("/", version="HTTP/1.0", headers=[("Connection", "keep-alive")]),
    request("/", headers=[("Connection", "close")]),
    request("/", method="POST", body=b"GET /in HTTP/1.1\r\nHost: h\r\n\r\n"),
    request("/", method="POST", headers=[("Expect", "100-continue")], body=b"x"),
    request("*", method="OPTIONS"),
    request("/", headers=[("A", "b"), ("A", "c"), ("Cookie", "d=e")]),
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'5;a="b;c"\r\nhello\r\n0;d\r\nA: b\r\nC: d\r\n\r\n',
    b"\r\nGET / HTTP/1.1\r\nHost: [::1]:80\r\nX:\r\n\r\n",
]

PIECES = [
    *(b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b";", b",", b"0"),
    *(b"\x0b", b"\x80", b"\xff", b"%", b"#", b"/", b"*", b"-1", b"+", b"0x", b"f" * 17),
    *(b"Host: h\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"chunked"),
    *(b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"0\r\n\r\n"),
    *(
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b" HTTP/1.1",
        b"5\r\nhello\r\n",
        b"a" * 9000,
    ),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Some requests, one behind the other, with some damage."""
    data = b"".join(draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 5)))
        new = draw(
            st.sampled_from(PIECES)
            | st.binary(max_size=3)
            | st.just(data[start:end] * 2)
        )
        data = data[:start] + new + data[end:]
    return data


def cuts(length: int) -> st.SearchStrategy[list[int]]:
    """Places at which so many bytes may be cut."""
    return st.lists(st.integers(0, length), max_size=12).map(sorted)


def segments_of(data: bytes, places: list[int]) -> list[bytes]:
    """Return the data, cut there."""
    bounds = [0, *places, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(bounds) if a < b]


def heard(server: Server, segments: list[bytes]) -> list[tuple[int, bytes]]:
    """Say all of it and no more; return all answers, each of them well-formed."""
    with server.connect() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index, segment in enumerate(segments):
            if index:
                time.sleep(0.001)
            client.send(segment)
        with contextlib.suppress(OSError):
            client.sock.shutdown(socket.SHUT_WR)
        answers = []
        try:
            while True:
                response = client.response()
                assert response.complete
                if response.status >= 400:
                    # Of several faults any may be named, as it comes to be seen.
                    answers.append((400, b"refused"))
                elif response.status >= 200:
                    answers.append((response.status, response.body))
        except Closed:
            return answers


@pytest.fixture(scope="module")
def fuzzed(door: Door) -> Iterator[Server]:
    """An application that tells all it was told, and nothing else."""
    with serving(door, TCP, application="wire_applications:mirror") as server:
        yield server


@pytest.fixture(scope="module")
def fuzzed_streaming(door: Door) -> Iterator[Server]:
    """Streamed bodies, which the application gives back."""
    application = "wire_streaming_applications:fuzzed"
    with serving(door, TCP, "--stream-input", application=application) as server:
        yield server


def assert_lives(server: Server) -> None:
    """Check that others are served as ever, and nobody fell over it."""
    server.assert_alive()
    with server.connect() as client:
        client.send(request())
        assert client.final().status == 200


@BOUNDED
@given(data=mutated())
@example(data=b"".join(REQUESTS))
@example(data=b"\0" * 100_000)
@example(data=b"\r\n" * 50_000)
@example(data=b"")
def test_any_bytes_have_well_formed_answers(fuzzed: Server, data: bytes) -> None:
    """RFC 9112, 2.2: nothing but responses comes back; then the connection ends."""
    mark = fuzzed.log.mark()
    heard(fuzzed, [data])
    assert_lives(fuzzed)
    assert "Traceback" not in fuzzed.log.since(mark)


@BOUNDED
@given(data=st.binary(max_size=300))
def test_garbage_has_well_formed_answers(fuzzed: Server, data: bytes) -> None:
    """RFC 9112, 2.2: if it is no request, it is refused, and nothing else happens."""
    # Every now and then it is a request, such as ``! / HTTP/1.0``.
    assert b"HTTP/" in data or all(status >= 400 for status, _ in heard(fuzzed, [data]))
    assert_lives(fuzzed)


@BOUNDED
@given(data=st.data())
def test_cuts_mean_nothing(fuzzed: Server, data: Any) -> None:
    """RFC 9112, 2.2: the same bytes in any segments have the same answers."""
    raw = data.draw(mutated())
    places = data.draw(cuts(len(raw)))
    assert heard(fuzzed, segments_of(raw, places)) == heard(fuzzed, [raw])


@BOUNDED
@given(data=st.data())
def test_cuts_of_good_requests(fuzzed: Server, data: Any) -> None:
    """RFC 9112, 9.3.2: good requests are all served, however they are cut."""
    closing = {REQUESTS[4]}
    good = st.sampled_from([raw for raw in REQUESTS if raw not in closing])
    chosen = data.draw(st.lists(good, min_size=1, max_size=8))
    raw = b"".join(chosen)
    answers = heard(fuzzed, segments_of(raw, data.draw(cuts(len(raw)))))
    assert len(answers) == len(chosen)


@BOUNDED
@given(data=st.data())
def test_streamed_bodies_live_through_it(fuzzed_streaming: Server, data: Any) -> None:
    """Where the application reads meanwhile, a response may be cut; never garbled."""
    raw = data.draw(mutated())
    segments = segments_of(raw, data.draw(cuts(len(raw))))
    with fuzzed_streaming.connect() as client:
        for segment in segments:
            client.send(segment)
        with contextlib.suppress(OSError):
            client.sock.shutdown(socket.SHUT_WR)
        try:
            while client.response().complete:
                pass
        except Closed:
            pass
    assert_lives(fuzzed_streaming)


@BOUNDED
@given(data=mutated(), kept=st.integers(0, 400))
def test_client_that_leaves_anywhere(fuzzed: Server, data: bytes, kept: int) -> None:
    """RFC 9112, 8: a client that leaves within anything is no error of ours."""
    mark = fuzzed.log.mark()
    with fuzzed.connect() as client:
        client.send(data[:kept])
    assert_lives(fuzzed)
    assert "Traceback" not in fuzzed.log.since(mark)
