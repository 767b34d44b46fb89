"""
When a connection stays open, when it is closed, and pipelines (RFC 9112, 9).
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

import pytest
from wire import Client, Response, Server, case, new_token, request

KEPT = [
    case("no Connection field (9.3)", []),
    case("keep-alive", ["keep-alive"]),
    case("Keep-Alive in capitals", ["Keep-Alive"]),
    case("an unknown option", ["x-option"]),
    case("an option that contains close", ["close-not"]),
    case("an option that ends in close", ["dont-close"]),
    case("closed", ["closed"]),
    case("TE", ["TE"]),
    case("an empty field", [""]),
    case("empty elements", [", ,"]),
]


@pytest.mark.parametrize("values", KEPT)
def test_connection_stays_open(server: Server, values: list[str]) -> None:
    """RFC 9112, 9.3: HTTP/1.1 is persistent unless the client says close."""
    with server.connect() as client:
        client.send(request(app="hello", headers=[("Connection", v) for v in values]))
        response = client.response()
        assert response.body == b"hello"
        assert b"close" not in (response.get("Connection") or b"")
        client.assert_open()


CLOSED = [
    case("close (9.6)", ["close"]),
    case("Close", ["Close"]),
    case("CLOSE", ["CLOSE"]),
    case("close first in a list", ["close, x"]),
    case("close last in a list", ["x, close"]),
    case("close last, without a space", ["x,close"]),
    case("close first, without a space", ["close,x"]),
    case("close in the middle", ["x, close, y"]),
    case("close between tabs", ["x,\tclose\t,y"]),
    case("close after empty elements", [", ,close"]),
    case("close before an empty element", ["close,"]),
    case("close on a second line", ["x", "close"]),
    case("close on a first line", ["close", "x"]),
    case("close beside keep-alive", ["keep-alive, close"]),
    case("close after keep-alive on another line", ["keep-alive", "close"]),
    case("close on a third line, in a list", ["x", "y", "z, CLOSE"]),
]

ANSWERS: list[Any] = [
    case("one block", "hello", {}),
    case("a stream", "respond", {"kind": "generator", "blocks": [b"hel", b"lo"]}),
    case("nothing", "respond", {"status": "204 No Content"}),
]


@pytest.mark.parametrize("values", CLOSED)
@pytest.mark.parametrize(("app", "spec"), ANSWERS)
def test_connection_is_closed_when_asked(
    server: Server, values: list[str], app: str, spec: dict[str, Any]
) -> None:
    """RFC 9112, 9.6: after close the response is the last, and says so."""
    with server.connect() as client:
        fields = [("Connection", value) for value in values]
        client.send(request(app=app, spec=spec, headers=fields))
        response = client.response()
        assert response.complete
        assert response.body in (b"hello", b"")
        assert response.get("Connection") == b"close"
        client.assert_closed()


@pytest.mark.parametrize("values", CLOSED)
def test_nothing_is_served_after_close(server: Server, values: list[str]) -> None:
    """RFC 9112, 9.6: no further request of that connection is processed."""
    token = new_token()
    fields = [("Connection", value) for value in values]
    with server.connect() as client:
        client.send(request(app="hello", headers=fields) + request(token=token))
        assert client.response().body == b"hello"
        client.assert_closed()
    server.assert_never_called(token)


@pytest.mark.parametrize("values", [[], ["close"], ["x"]], ids=str)
@pytest.mark.parametrize(("app", "spec"), ANSWERS)
def test_http_1_0_is_closed(
    server: Server, values: list[str], app: str, spec: dict[str, Any]
) -> None:
    """RFC 9112, 9.3: HTTP/1.0 without keep-alive ends with its response."""
    fields = [("Connection", value) for value in values]
    with server.connect() as client:
        client.send(request(app=app, spec=spec, version="HTTP/1.0", headers=fields))
        response = client.response()
        assert response.body in (b"hello", b"")
        client.assert_closed()


def test_http_1_0_kept_alive_is_framed_or_closed(server: Server) -> None:
    """RFC 9112, C.2.2: keep-alive in HTTP/1.0 is honoured or not, never half."""
    fields = [("Connection", "keep-alive")]
    with server.connect() as client:
        client.send(request(app="hello", version="HTTP/1.0", headers=fields))
        response = client.response()
        assert response.body == b"hello"
        kept = client.assert_open_or_closed()
        assert kept == ((response.get("Connection") or b"").lower() == b"keep-alive")


def test_response_names_the_servers_version(server: Server) -> None:
    """RFC 9110, 2.5: HTTP/1.1 is answered with HTTP/1.1."""
    assert server.ask(request(app="hello")).version == "HTTP/1.1"


# --- one after another

SEQUENCE: list[tuple[str, str, dict[str, Any], bytes]] = [
    # method, app, spec, body
    ("GET", "hello", {}, b"hello"),
    ("HEAD", "hello", {}, b""),
    ("GET", "respond", {"kind": "generator", "blocks": [b"a", b"b"]}, b"ab"),
    ("HEAD", "respond", {"kind": "generator", "blocks": [b"a", b"b"]}, b""),
    ("GET", "respond", {"status": "204 No Content"}, b""),
    ("GET", "respond", {"status": "304 Not Modified"}, b""),
    ("GET", "respond", {"blocks": []}, b""),
    ("GET", "file", {"file": "disk"}, b"0123456789"),
    ("GET", "file", {"file": "memory"}, b"0123456789"),
    ("HEAD", "file", {"file": "memory"}, b""),
    ("GET", "respond", {"write": [b"a", b"b"], "blocks": [b"c"]}, b"abc"),
    ("GET", "respond", {"kind": "iterator", "blocks": []}, b""),
    ("POST", "echo", {}, b"body"),
    ("GET", "large", {"count": 5, "size": 8000}, b""),
    ("DELETE", "hello", {}, b"hello"),
]


def raw_of(step: tuple[str, str, dict[str, Any], bytes]) -> bytes:
    """Return the request for one step of the sequence."""
    method, app, spec, body = step
    return request(
        method=method, app=app, spec=spec, body=body if app == "echo" else None
    )


def check(step: tuple[str, str, dict[str, Any], bytes], response: Response) -> None:
    """Check the response to one step of the sequence."""
    _, app, _, body = step
    assert response.complete
    if app == "large":
        assert len(response.body) == 40_000
    else:
        assert response.body == body


@pytest.mark.parametrize("first", range(len(SEQUENCE)))
def test_requests_one_after_another(server: Server, first: int) -> None:
    """Any kind of response may follow any other on one connection."""
    steps = SEQUENCE[first:] + SEQUENCE[:first]
    with server.connect() as client:
        for step in steps:
            client.send(raw_of(step))
            check(step, client.response(step[0]))


@pytest.mark.parametrize("first", range(len(SEQUENCE)))
def test_pipelined_requests(server: Server, first: int) -> None:
    """RFC 9112, 9.3.2: pipelined requests are answered all, and in order."""
    steps = SEQUENCE[first:] + SEQUENCE[:first]
    with server.connect() as client:
        client.send(b"".join(raw_of(step) for step in steps))
        for step in steps:
            check(step, client.response(step[0]))
        client.assert_open()


def test_pipeline_of_many(server: Server) -> None:
    """Three hundred requests at once are three hundred responses, in order."""
    with server.connect() as client:
        client.send(b"".join(request(f"/{n}") for n in range(300)))
        for n in range(300):
            assert client.response().json()["environ"]["PATH_INFO"] == f"/{n}"


def test_pipeline_in_small_segments(server: Server) -> None:
    """Where the segments end means nothing."""
    raw = b"".join(request(f"/{n}", method="POST", body=b"x" * n) for n in range(20))
    with server.connect() as client:
        for index in range(0, len(raw), 11):
            client.send(raw[index : index + 11])
        for n in range(20):
            found = client.response().json()["environ"]
            assert (found["PATH_INFO"], found["CONTENT_LENGTH"]) == (f"/{n}", str(n))


def test_empty_line_after_a_body_is_overlooked(server: Server) -> None:
    """RFC 9112, 2.2: an empty line before a request line is ignored."""
    with server.connect() as client:
        client.send(request(method="POST", app="echo", body=b"body") + b"\r\n")
        assert client.response().body == b"body"
        client.assert_open()


def test_slow_response_holds_the_pipeline(server: Server) -> None:
    """A later request does not overtake an earlier one."""
    with server.connect() as client:
        client.send(
            request("/?gap=0.1&count=2", app="slow")
            + request(app="hello")
            + request("/?gap=0.1&count=1", app="slow")
        )
        assert client.response().body == b"block 0.block 1."
        assert client.response().body == b"hello"
        assert client.response().body == b"block 0."


def test_pipeline_goes_on_after_an_error(server: Server) -> None:
    """A 500 is a response like any other; the connection need not end."""
    with server.connect() as client:
        client.send(request(app="fail", spec={"stage": "when called"}))
        response = client.response()
        assert (response.status, response.complete) == (500, True)
        client.assert_open_or_closed()


def test_pipeline_ends_with_a_cut_response(server: Server) -> None:
    """After a response that was cut no other may follow."""
    token = new_token()
    with server.connect() as client:
        client.send(
            request(app="fail", spec={"stage": "after a block"})
            + request(app="hello", token=token)
        )
        assert not client.response().complete
        client.assert_closed()


def test_applications_of_a_pipeline_run_one_at_a_time(server: Server) -> None:
    """The second application is called when the first response is over."""
    first, second = new_token(), new_token()
    with server.connect() as client:
        client.send(
            request(app="endless", token=first) + request(app="hello", token=second)
        )
        client.head()
        server.assert_never_called(second)
    server.assert_noted_once(first, "close")
    server.assert_never_called(second)


def test_many_connections(server: Server) -> None:
    """Fifty connections are served side by side."""
    clients = [server.connect() for _ in range(50)]
    try:
        for index, client in enumerate(clients):
            client.send(request(f"/{index}")[:-2])
        for client in clients:
            client.send(b"\r\n")
        for index, client in enumerate(clients):
            found = client.response().json()["environ"]
            assert found["PATH_INFO"] == f"/{index}"
    finally:
        for client in clients:
            client.close()


# --- clients that leave


def test_connection_without_a_request(server: Server) -> None:
    """A client may come and go without a word."""
    mark = server.log.mark()
    for _ in range(5):
        server.connect().close()
    assert server.ask(request(app="hello")).body == b"hello"
    assert "Traceback" not in server.log.since(mark)


def reset(client: Client) -> None:
    """Leave with a reset."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


LEAVING = [
    case("a hello", "hello", {}),
    case("a stream", "large", {"count": 50, "size": 80_000}),
    case("a large file", "file", {"file": "disk", "tens": 100_000}),
    case("an endless stream", "endless", {}),
    case("an error", "fail", {"stage": "after a block"}),
]


@pytest.mark.parametrize("how", [Client.close, reset], ids=["end", "reset"])
@pytest.mark.parametrize("moment", ["at once", "after the head"])
@pytest.mark.parametrize(("app", "spec"), LEAVING)
def test_client_that_leaves_is_no_error_of_ours(
    server: Server, how: Any, moment: str, app: str, spec: dict[str, Any]
) -> None:
    """A client that leaves early is not worth a traceback; the server goes on."""
    mark = server.log.mark()
    client = server.connect()
    client.send(request(app=app, spec=spec))
    if moment == "after the head":
        client.head()
    how(client)
    time.sleep(0.02)
    assert server.ask(request(app="hello")).body == b"hello"
    text = server.log.since(mark)
    for name in ("AttributeError", "RuntimeError", "AlreadyCalled", "ConnectionLost"):
        assert name not in text, text
    if app != "fail":
        assert "Traceback" not in text, text


def test_idle_connection_serves_later(server: Server) -> None:
    """A connection may rest for a while between two requests."""
    with server.connect() as client:
        client.assert_open()
        time.sleep(0.3)
        client.assert_open()


@pytest.mark.parametrize("transport", ["unix", "tls"], indirect=True)
def test_other_transports_serve_pipelines(transport: Server) -> None:
    """What holds for TCP holds for UNIX sockets and TLS."""
    with transport.connect() as client:
        client.send(b"".join(raw_of(step) for step in SEQUENCE))
        for step in SEQUENCE:
            check(step, client.response(step[0]))
        client.send(request(app="hello", headers=[("Connection", "x, close")]))
        assert client.response().body == b"hello"
        client.assert_closed()
