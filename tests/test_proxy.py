"""
A remote server, really: ``examples/proxy.py`` between two ends that the test plays.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any

import commandline
import pytest
from commandline import CHECKOUT, Server

EXAMPLE = str(CHECKOUT / "examples" / "proxy.py")
MIB = 1 << 20


class Upstream:
    """A server that does what the test says."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.port = self.listener.getsockname()[1]

    def accept(self) -> Asked:
        """The next connection, and the head of the request on it."""
        return Asked(self.listener.accept()[0])


class Asked:
    """A request to the upstream."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.connection.settimeout(20)
        self.stream = connection.makefile("rb")
        self.line = self.stream.readline().decode().strip()
        self.headers: dict[str, str] = {}
        while line := self.stream.readline().strip().decode("latin-1"):
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def close(self) -> None:
        self.stream.close()
        self.connection.close()

    def read_until_it_is_left(self) -> int:
        """How many bytes there are until the proxy closes the connection."""
        size = 0
        with suppress(ConnectionResetError):
            while data := self.stream.read1(MIB):
                size += len(data)
        return size

    @property
    def left(self) -> bool:
        """Whether the proxy closes the connection; it waits for that."""
        try:
            return self.stream.read(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    upstream = Upstream()
    monkeypatch.setenv("UPSTREAM", f"http://127.0.0.1:{upstream.port}")
    with closing(upstream.listener):
        yield upstream


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[Server]:
    """The example, on the reactor that the tests are for."""
    from twisted.internet import reactor

    name = "asyncio" if "Asyncio" in type(reactor).__name__ else "default"
    runner = ["--reactor", name, "--log-level", "critical"]
    with commandline.serving(
        EXAMPLE, cwd=CHECKOUT, door=commandline.TWIST, runner=runner
    ) as server:
        yield server


class Client:
    """A client of the proxy."""

    def __init__(self, proxy: Server) -> None:
        self.connection = HTTPConnection("127.0.0.1", proxy.port, timeout=20)

    def ask(
        self, target: str = "/", method: str = "GET", body: Any = None, **headers: str
    ) -> None:
        fields = {name.replace("_", "-"): headers[name] for name in headers}
        self.connection.request(method, target, body, fields)

    def response(self) -> HTTPResponse:
        self.last = self.connection.getresponse()
        return self.last

    def close(self) -> None:
        if hasattr(self, "last"):
            self.last.close()
        self.connection.close()


@pytest.fixture
def client(proxy: Server) -> Iterator[Client]:
    with closing(Client(proxy)) as client:
        yield client


def test_the_response_is_passed_on(upstream: Upstream, client: Client) -> None:
    """Status, headers and body; what was for one connection only is not."""
    client.ask()
    with closing(upstream.accept()) as asked:
        asked.send(
            b"HTTP/1.1 418 I'm a teapot\r\nX-One: 1\r\n"
            b"Set-Cookie: a\r\nSet-Cookie: b\r\n"
            b"Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n"
            b"Trailer: X-Three\r\nProxy-Connection: close\r\nX-Latin: \xe9\r\n"
            b"Content-Length: 5\r\n\r\nshort"
        )
        response = client.response()
        body = response.read()
    assert (response.status, response.reason) == (418, "I'm a teapot")
    assert response.headers["X-One"] == "1"
    assert response.headers["X-Latin"] == "\xe9"
    assert response.headers.get_all("Set-Cookie") == ["a", "b"]
    assert response.headers["Content-Length"] == "5"
    assert "Keep-Alive" not in response.headers
    assert "Proxy-Authenticate" not in response.headers
    assert "Trailer" not in response.headers
    assert "Proxy-Connection" not in response.headers
    assert body == b"short"


def test_the_request_is_passed_on(upstream: Upstream, client: Client) -> None:
    """Method, target, headers and body; what was for one connection only is not."""
    client.ask(
        "/a%2Fb?c=%20",
        "PUT",
        b"x" * 300_000,
        Accept="text/x",
        X_This="1",
        X_Only_Here="1",
        X_Latin="\xe9",
        Connection="close, X-Only-Here",
        Proxy_Connection="close",
        TE="trailers",
        Trailer="X-Three",
        Content_Type="text/y",
    )
    with closing(upstream.accept()) as asked:
        body = asked.stream.read(300_000)
        asked.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        response = client.response()
    assert asked.line == "PUT /a%2Fb?c=%20 HTTP/1.1"
    assert asked.headers["host"] == f"127.0.0.1:{upstream.port}"
    assert asked.headers["accept"] == "text/x"
    assert asked.headers["content-type"] == "text/y"
    assert asked.headers["content-length"] == "300000"
    assert asked.headers["x-this"] == "1"
    assert asked.headers["x-latin"] == "\xe9"
    assert "x-only-here" not in asked.headers
    assert "te" not in asked.headers
    assert "trailer" not in asked.headers
    assert "proxy-connection" not in asked.headers
    assert body == b"x" * 300_000
    assert response.status == 204


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("http://other.example/a%2Fb?c", "GET /a%2Fb?c HTTP/1.1"),
        ("HTTPS://other.example:81?c", "GET /?c HTTP/1.1"),
        ("//other.example/a", "GET //other.example/a HTTP/1.1"),
    ],
)
def test_the_upstream_is_always_the_same(
    upstream: Upstream, client: Client, target: str, line: str
) -> None:
    """Of a target in absolute form, the path and the query are passed on."""
    client.ask(target)
    with closing(upstream.accept()) as asked:
        asked.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert client.response().status == 204
    assert asked.line == line


def test_what_the_client_does_not_say_is_not_said(
    upstream: Upstream, client: Client
) -> None:
    """A body without a type has none behind the proxy."""
    client.ask("/", "PUT", b"x")
    with closing(upstream.accept()) as asked:
        asked.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert client.response().status == 204
    assert asked.headers["content-length"] == "1"
    assert "content-type" not in asked.headers


def test_a_body_may_be_empty(upstream: Upstream, client: Client) -> None:
    """Its length is passed on as any other."""
    client.ask()
    with closing(upstream.accept()) as asked:
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        response = client.response()
        assert response.read() == b""
    assert response.headers["Content-Length"] == "0"
    assert "Transfer-Encoding" not in response.headers


@pytest.mark.parametrize(
    ("method", "status"),
    [("HEAD", b"200 OK"), ("GET", b"304 Not Modified"), ("GET", b"204 No Content")],
)
def test_there_may_be_no_body(
    upstream: Upstream, client: Client, method: str, status: bytes
) -> None:
    """Where HTTP has none; and the connection of the client goes on."""
    for _ in range(2):
        client.ask("/", method, If_None_Match='"v1"')
        with closing(upstream.accept()) as asked:
            asked.send(b"HTTP/1.1 " + status + b'\r\nETag: "v1"\r\n\r\n')
            response = client.response()
            assert response.status == int(status[:3])
            assert response.headers["ETag"] == '"v1"'
            assert "Content-Length" not in response.headers
            assert response.read() == b""


def test_blocks_come_as_they_are_sent(upstream: Upstream, client: Client) -> None:
    """The first is there before the second is sent."""
    client.ask()
    with closing(upstream.accept()) as asked:
        asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        asked.send(b"5\r\nfirst\r\n")
        response = client.response()
        assert response.read1() == b"first"
        asked.send(b"6\r\nsecond\r\n0\r\n\r\n")
        assert response.read() == b"second"


def test_an_upstream_that_is_not_there_is_a_502(
    upstream: Upstream, client: Client
) -> None:
    """Nobody listens."""
    upstream.listener.close()
    client.ask()
    assert client.response().status == 502


def test_an_upstream_that_does_not_answer_is_a_502(
    upstream: Upstream, client: Client
) -> None:
    """It hangs up, speaks something else, or sends what may not be passed on."""
    for answer in (
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-One: a\x01b\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-\xe9: 1\r\n\r\nhi",
        b"HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nhi",
    ):
        client.ask()
        with closing(upstream.accept()) as asked:
            asked.send(answer)
        response = client.response()
        assert (response.status, response.read()) == (502, b"")


def test_an_upstream_that_hangs_up_in_the_request_is_a_502(
    upstream: Upstream, proxy: Server, client: Client
) -> None:
    """Also when it has not read the body, and the log has nothing to say."""
    client.ask("/", "PUT", bytes(32 * MIB))
    upstream.accept().close()
    assert client.response().status == 502
    client.close()
    assert proxy.stop().stdout == ""


def test_an_early_answer_ends_the_request(
    upstream: Upstream, proxy: Server, client: Client
) -> None:
    """Who has answered is sent no more, and the log has nothing to say."""
    client.ask("/", "PUT", bytes(32 * MIB))
    with closing(upstream.accept()) as asked:
        asked.send(b"HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\n\r\nbig")
        response = client.response()
        assert (response.status, response.read()) == (413, b"big")
        assert asked.read_until_it_is_left() < 32 * MIB
    client.close()
    assert proxy.stop().stdout == ""


def test_the_upstream_may_have_tls(
    monkeypatch: pytest.MonkeyPatch, upstream: Upstream, certificate: Path
) -> None:
    """Its certificate is checked as a browser does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    upstream.listener = context.wrap_socket(upstream.listener, server_side=True)
    monkeypatch.setenv("UPSTREAM", f"https://localhost:{upstream.port}")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with (
        closing(upstream.listener),
        commandline.serving(EXAMPLE, cwd=CHECKOUT) as proxy,
        closing(Client(proxy)) as client,
    ):
        client.ask()
        with closing(upstream.accept()) as asked:
            asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
            response = client.response()
            assert (response.status, response.read()) == (200, b"secret")
        client.ask()
        upstream.accept().close()
        assert client.response().status == 502


def test_an_upstream_that_takes_too_long_is_a_504(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for longer, and told so."""
    monkeypatch.setenv("SECONDS", "0.2")
    with (
        commandline.serving(EXAMPLE, cwd=CHECKOUT) as proxy,
        closing(Client(proxy)) as client,
    ):
        client.ask()
        with closing(upstream.accept()) as asked:
            assert client.response().status == 504
            assert asked.left


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 10", b"Transfer-Encoding: chunked"]
)
def test_a_body_that_is_cut_is_cut(
    upstream: Upstream, client: Client, framing: bytes
) -> None:
    """The client can tell that it has not got all."""
    client.ask()
    with closing(upstream.accept()) as asked:
        asked.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        asked.send(b"4\r\nhalf\r\n" if b"chunked" in framing else b"half")
        response = client.response()
        assert response.read1() == b"half"
    with pytest.raises(IncompleteRead):
        response.read()


def test_who_leaves_while_it_waits_cancels_the_request(
    upstream: Upstream, client: Client
) -> None:
    """The upstream is told at once, not when it answers."""
    client.ask()
    with closing(upstream.accept()) as asked:
        client.close()
        assert asked.left


def test_who_leaves_in_the_body_closes_the_connection(
    upstream: Upstream, client: Client
) -> None:
    """The upstream is told at once, not with its next block."""
    client.ask()
    with closing(upstream.accept()) as asked:
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        assert client.response().read1() == b"half"
        client.close()
        assert asked.left


def memory(server: Server) -> int:
    """How many bytes the server has in memory."""
    with open(f"/proc/{server.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def test_who_does_not_read_stops_the_upstream(
    upstream: Upstream, proxy: Server, client: Client
) -> None:
    """A body of 128 MiB costs the proxy next to nothing, and all of it arrives."""
    size, block = 128 * MIB, bytes(range(256)) * 256
    before = memory(proxy)
    client.ask()
    with closing(upstream.accept()) as asked:
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        sent = received = 0
        # Until the kernel's buffers, of both connections, are full.
        while select.select([], [asked.connection], [], 1)[1]:
            sent += asked.connection.send(block[sent % len(block) :])
        assert sent < size / 2
        assert memory(proxy) - before < 4 * MIB
        response = client.response()
        while received < size:
            while sent < size and select.select([], [asked.connection], [], 0)[1]:
                left = block[sent % len(block) :][: size - sent]
                sent += asked.connection.send(left)
            data = response.read1(MIB)
            start = received % len(block)
            assert data == (block * (len(data) // len(block) + 2))[start:][: len(data)]
            received += len(data)
        assert memory(proxy) - before < 4 * MIB
