"""
What takes too long: 408, silence, a cut or 503, each after its own time.

Never early; and late by a second, for one sweep looks at all deadlines, or by what a
busy machine needs.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from wire import STRICT, TCP, Client, Closed, Door, Server, case, new_token, request
from wire import serving as serving_at

pytestmark = pytest.mark.parametrize("door", STRICT, indirect=True, ids=str)

LIMIT = 1.0
LATE = 5.0
OFF = [
    *("--header-timeout", "none", "--body-timeout", "none"),
    *("--keep-alive-timeout", "none", "--send-timeout", "none"),
]


def served(door: Door, **seconds: float) -> Any:
    """Run a server that has these deadlines and no others."""
    arguments = list(OFF)
    for name, value in seconds.items():
        arguments += ["--" + name.replace("_", "-"), str(value)]
    return serving_at(door, TCP, *arguments)


@pytest.fixture(scope="module")
def hasty(door: Door) -> Iterator[Server]:
    """A second for a header, for a part of a body, and between requests."""
    with served(
        door, header_timeout=LIMIT, body_timeout=LIMIT, keep_alive_timeout=LIMIT
    ) as server:
        yield server


class Stopwatch:
    """Started before what it measures can start, so that nothing looks early."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def assert_in_time(self, limit: float = LIMIT) -> None:
        """Check that it was not early, and not very late."""
        passed = time.monotonic() - self.start
        assert limit <= passed <= limit + LATE, passed


def trickle(client: Client, data: bytes, gap: float = 0.2, size: int = 1) -> None:
    """Send a little at a time, until the server says something or all is sent."""
    client.sock.settimeout(LIMIT + LATE)
    for index in range(0, len(data), size):
        client.send(data[index : index + size])
        if select.select([client.sock], [], [], gap)[0]:
            break


HEAD = b"GET / HTTP/1.1\r\nHost: h\r\n"
TRICKLES = [
    case("a request line", b"", b"GET /" + b"a" * 100),
    case("a field", HEAD, b"A: " + b"a" * 100),
    case("many fields", HEAD, b"A: b\r\n" * 100),
    case("empty lines", b"", b"\r\n" * 100),
    case("nothing after a byte", b"G", b""),
    case("nothing after a request line", b"GET / HTTP/1.1\r\n", b""),
    case("nothing after the fields", HEAD, b""),
]


@pytest.mark.parametrize("before", ["", "a request"])
@pytest.mark.parametrize(("head", "rest"), TRICKLES)
def test_header_that_trickles(
    hasty: Server, head: bytes, rest: bytes, before: str
) -> None:
    """RFC 9110, 15.5.9: a header has its time, however it comes; then 408."""
    with hasty.connect() as client:
        if before:
            client.assert_open()
        watch = Stopwatch()
        client.send(head)
        trickle(client, rest)
        client.sock.settimeout(LIMIT + LATE)
        data = client.rest()
        watch.assert_in_time()
        if rest.startswith(b"\r\n"):
            # That may be an idle connection, or a bad request, as well.
            assert data[:12] in (b"", b"HTTP/1.1 408", b"HTTP/1.1 400"), data
        else:
            assert data.startswith(b"HTTP/1.1 408 "), data
            assert b"\r\nConnection: close\r\n" in data


@pytest.mark.parametrize("said", [b"", b"\r\n"], ids=["nothing", "an empty line"])
def test_connection_that_never_asks(hasty: Server, said: bytes) -> None:
    """A connection on which nothing is asked is closed, silently or with 408."""
    watch = Stopwatch()
    with hasty.connect() as client:
        client.sock.settimeout(LIMIT + LATE)
        client.send(said)
        assert client.rest()[:12] in (b"", b"HTTP/1.1 408")
        watch.assert_in_time()


def test_idle_connection_is_closed_silently(hasty: Server) -> None:
    """RFC 9112, 9.5: between requests the end needs no words."""
    with hasty.connect() as client:
        client.sock.settimeout(LIMIT + LATE)
        for _ in range(3):
            watch = Stopwatch()
            client.assert_open()
            time.sleep(0.4)
        watch = Stopwatch()
        client.assert_open()
        client.assert_closed()
        watch.assert_in_time()


def test_idle_time_begins_with_each_response(hasty: Server) -> None:
    """RFC 9112, 9.5: a connection that is used stays, however old it is."""
    with hasty.connect() as client:
        for _ in range(8):
            client.assert_open()
            time.sleep(0.4)


BODIES = [
    case("a byte at a time", b"Content-Length: 5000\r\n\r\n", 1),
    case("a hundred bytes at a time", b"Content-Length: 5000\r\n\r\n", 100),
    case("a chunk of a byte at a time", b"Transfer-Encoding: chunked\r\n\r\n", 0),
    case("nothing", b"Content-Length: 5000\r\n\r\n", None),
]


@pytest.mark.parametrize(("fields", "size"), BODIES)
def test_body_that_trickles(hasty: Server, fields: bytes, size: int | None) -> None:
    """RFC 9110, 15.5.9: a body makes its progress, or 408; no application is called."""
    token = new_token()
    head = f"POST /{token} HTTP/1.1\r\nHost: h\r\n".encode()
    with hasty.connect() as client:
        watch = Stopwatch()
        client.send(head + fields)
        if size == 0:
            trickle(client, b"1\r\nx\r\n" * 20, gap=0.3, size=6)
        elif size:
            trickle(client, b"x" * 4999, gap=0.3, size=size)
        client.sock.settimeout(LIMIT + LATE)
        response = client.final()
        watch.assert_in_time()
        assert response.status == 408
        client.assert_closed()
    hasty.assert_never_called(token)


def test_slow_body_that_makes_progress(hasty: Server) -> None:
    """A body of 1 KiB and more in each second has all the time it needs."""
    with hasty.connect() as client:
        client.send(
            request(method="POST", app="digest", headers=[("Content-Length", "20000")])
        )
        for _ in range(8):
            client.send(b"x" * 2500)
            time.sleep(0.4)
        assert client.final().json()["length"] == 20000


def test_small_body_has_its_time(hasty: Server) -> None:
    """A body that is small need not be quick: the rest of it is enough."""
    with hasty.connect() as client:
        client.send(
            request(method="POST", app="echo", headers=[("Content-Length", "4")])
        )
        for byte in (b"b", b"o", b"d", b"y"):
            time.sleep(0.15)
            client.send(byte)
        assert client.final().body == b"body"


def test_slow_response_is_no_clients_fault(hasty: Server) -> None:
    """While the application works, no deadline of the client's runs."""
    spec = {"waits": [1500, 1500], "before": [b"first."]}
    with hasty.connect() as client:
        client.send(request(app="suspended", spec=spec) + request(app="hello"))
        assert client.final().body == b"first.waited"
        assert client.final().body == b"hello"
        client.assert_open()


def test_pipeline_waits_as_long_as_it_takes(hasty: Server) -> None:
    """A part of a request, sent during a response, has its time after that."""
    with hasty.connect() as client:
        client.send(request(app="suspended", spec={"waits": [2500]}) + b"GET / HT")
        assert client.final().body == b"waited"
        client.send(b"TP/1.1\r\nHost: h\r\nX-App: hello\r\n\r\n")
        assert client.final().body == b"hello"


# --- clients that do not read


@pytest.fixture(scope="module")
def impatient(door: Door) -> Iterator[Server]:
    """A second for a client to take something of what is there."""
    with served(door, send_timeout=LIMIT) as server:
        yield server


STALLED: list[Any] = [
    case("blocks of 64 KiB", "huge", {}),
    case("a large block", "huge", {"size": 64 << 20}),
    case("small blocks", "endless", {"size": 1000}),
    case("a file", "sparse", {}),
    case("write()", "write much", {"times": 64 << 20, "headers": []}),
]


@pytest.mark.parametrize(("app", "spec"), STALLED)
def test_client_that_does_not_read_is_cut(
    impatient: Server, app: str, spec: dict[str, Any]
) -> None:
    """What is there to send is not kept for ever: the connection is reset."""
    token = new_token()
    watch = Stopwatch()
    with impatient.connect(receive_buffer=4096) as client:
        client.send(request(app=app, spec=spec, token=token))
        assert_cut(client, watch)
    if app in ("huge", "endless"):
        impatient.assert_noted_once(token, "close")


def assert_cut(client: Client, watch: Stopwatch) -> None:
    """Wait for the reset without reading; then the response is not complete."""
    poll = select.poll()
    poll.register(client.sock, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    assert poll.poll((LIMIT + LATE) * 1000), "it is not cut"
    watch.assert_in_time()
    assert not client.response().complete


def test_client_that_reads_slowly_is_kept(impatient: Server) -> None:
    """A client that takes something in each second is served to the end."""
    with impatient.connect(receive_buffer=1 << 16) as client:
        client.send(request(app="large", spec={"count": 400, "size": 80_000}))
        length = 0
        while length < 24_000_000:
            deadline = time.monotonic() + 0.4
            for _ in range(48):
                length += len(client.sock.recv(1 << 16))
            time.sleep(max(0.0, deadline - time.monotonic()))


def test_client_that_has_read_all_is_kept(impatient: Server) -> None:
    """Where there is nothing to send, nobody is late."""
    spec = {"waits": [2500], "before": [b"first."]}
    with impatient.connect() as client:
        client.send(request(app="suspended", spec=spec))
        assert client.final().body == b"first.waited"
        time.sleep(2.2)
        client.assert_open()


# --- applications that take too long


@pytest.mark.parametrize("name", ["response_timeout", "suspend_timeout"])
def test_suspended_for_too_long(door: Door, name: str) -> None:
    """RFC 9110, 15.6.4: 503 when no head was sent, else a cut; closed either way."""
    with served(door, **{name: LIMIT}) as server:
        for late in (True, False):
            token = new_token()
            spec = {"waits": [60_000], "late": late, "before": [] if late else [b"1"]}
            with server.connect() as client:
                client.sock.settimeout(LIMIT + LATE)
                watch = Stopwatch()
                client.send(request(app="suspended", spec=spec, token=token))
                response = client.final()
                watch.assert_in_time()
                if late:
                    assert response.status == 503
                else:
                    assert (response.status, response.body) == (200, b"1")
                    assert not response.complete
                client.assert_open_or_closed()
            server.assert_noted_once(token, "close")


def test_suspended_again_and_again(door: Door) -> None:
    """Each suspension has its own time; the response has one for all of them."""
    spec = {"waits": [800, 800, 800, 800]}
    with served(door, suspend_timeout=LIMIT) as server:
        assert server.ask(request(app="suspended", spec=spec)).body == b"waited"
    with served(door, response_timeout=LIMIT) as server, server.connect() as client:
        client.sock.settimeout(LIMIT + LATE)
        watch = Stopwatch()
        client.send(request(app="suspended", spec={"waits": [800] * 10, "late": True}))
        assert client.final().status == 503
        watch.assert_in_time()


def test_endless_response_is_cut(door: Door) -> None:
    """A response's own time ends one that the client reads with pleasure."""
    token = new_token()
    with served(door, response_timeout=LIMIT) as server:
        with server.connect() as client:
            watch = Stopwatch()
            client.send(request(app="endless", token=token))
            while client.sock.recv(1 << 18):
                assert time.monotonic() - watch.start < LIMIT + LATE
            watch.assert_in_time()
        server.assert_noted_once(token, "close")


# --- clients that have closed their sending half


def half_closed(client: Client, spec: dict[str, Any], token: str) -> None:
    """Ask for a suspended application, and close the sending half."""
    client.sock.settimeout(LIMIT + LATE + 5)
    client.send(request(app="suspended", spec=spec, token=token))
    client.sock.shutdown(socket.SHUT_WR)


def test_suspended_behind_a_half_close(door: Door) -> None:
    """RFC 9112, 9.6: the response is kept for so long, then the client is gone."""
    with served(door, half_close_timeout=LIMIT) as server:
        token = new_token()
        with server.connect() as client:
            half_closed(client, {"waits": [500], "late": True}, token)
            assert client.final().body == b"waited"
            client.assert_closed()
        token = new_token()
        with server.connect() as client:
            watch = Stopwatch()
            half_closed(client, {"waits": [60_000], "late": True}, token)
            server.wait_for_event(token, "close", LIMIT + LATE)
            watch.assert_in_time()
            with pytest.raises(Closed):
                client.final()


def test_longer_half_close(door: Door) -> None:
    """With more time for it, the same application is kept for longer."""
    with served(door, half_close_timeout=4) as server, server.connect() as client:
        half_closed(client, {"waits": [2500], "late": True}, new_token())
        assert client.final().body == b"waited"
        client.assert_closed()


# --- all at once


def test_many_deadlines_at_a_time(hasty: Server) -> None:
    """A hundred slow headers end in their time, and others are served meanwhile."""
    slow = []
    for _ in range(100):
        watch = Stopwatch()
        slow.append(hasty.connect())
        slow[-1].send(b"GET / HTTP/1.1\r\n")
    slowest = 0.0
    while not select.select([slow[-1].sock], [], [], 0.05)[0]:
        asked = time.monotonic()
        assert hasty.ask(request(app="hello")).body == b"hello"
        slowest = max(slowest, time.monotonic() - asked)
        assert time.monotonic() - watch.start < LIMIT + LATE
    watch.assert_in_time()
    assert slowest < 0.5, slowest
    for client in slow:
        assert client.response().status == 408
        client.assert_closed()
        client.close()


@pytest.mark.parametrize("name", ["header", "body", "keep-alive"])
def test_deadline_is_off(door: Door, name: str) -> None:
    """Where the other two are a second, the one that is none is not."""
    names = {"header", "body", "keep-alive"} - {name}
    arguments = [part for n in names for part in (f"--{n}-timeout", "1")]
    with serving_at(door, TCP, *arguments, f"--{name}-timeout", "none") as server:
        first, second = {
            "header": (HEAD, b"X-App: hello\r\n\r\n"),
            "body": (
                HEAD.replace(b"GET", b"POST")
                + b"X-App: echo\r\nContent-Length: 5\r\n\r\nhe",
                b"llo",
            ),
            "keep-alive": (request(app="hello"), request(app="hello")),
        }[name]
        with server.connect() as client:
            client.send(first)
            if name == "keep-alive":
                assert client.final().body == b"hello"
            time.sleep(3.2)
            client.send(second)
            assert client.final().body == b"hello"


def in_background(function: Callable[[], object]) -> threading.Thread:
    """Run it in a thread, which ends when its socket does."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def test_upload_that_makes_progress_meets_its_limit_only(hasty: Server) -> None:
    """The deadline of the body is no deadline of the whole of it."""
    raw = request(method="POST", app="digest", headers=[("Content-Length", "60000")])
    with hasty.connect() as client:

        def upload() -> None:
            client.send(raw)
            for _ in range(12):
                time.sleep(0.25)
                client.send(b"x" * 5000)

        thread = in_background(upload)
        assert client.final().json()["length"] == 60000
        thread.join()
