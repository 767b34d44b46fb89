"""
How the application's iterable is used: when a block leaves, when ``close`` is called,
what an error does (PEP 3333, "Buffering and Streaming", "Error Handling").
"""

from __future__ import annotations

import hashlib
import threading
import time
from typing import Any

import pytest
from wire import Client, Response, Server, WireError, case, new_token, request

MIB = 1 << 20
TRANSPORTS = ["server", "unix", "tls"]


# --- close, exactly once, on every way out

ENDINGS = [
    # app, spec, request arguments
    case(
        "the end of a generator",
        "respond",
        {"kind": "generator", "blocks": [b"a", b"b"]},
        {},
    ),
    case(
        "the end of an iterator",
        "respond",
        {"kind": "tracked", "blocks": [b"a", b"b"]},
        {},
    ),
    case(
        "the end of an iterable",
        "respond",
        {"kind": "tracked iterable", "blocks": [b"a"]},
        {},
    ),
    case(
        "a list that has close",
        "respond",
        {"kind": "tracked list", "blocks": [b"a"]},
        {},
    ),
    case(
        "a longer list that has close",
        "respond",
        {"kind": "tracked list", "blocks": [b"a", b"b"]},
        {},
    ),
    case(
        "an empty list that has close",
        "respond",
        {"kind": "tracked list", "blocks": []},
        {},
    ),
    case("no blocks", "respond", {"kind": "tracked", "blocks": []}, {}),
    case("only empty blocks", "respond", {"kind": "tracked", "blocks": [b"", b""]}, {}),
    case(
        "the end in HTTP/1.0",
        "respond",
        {"kind": "tracked", "blocks": [b"a", b"b"]},
        {"version": "HTTP/1.0"},
    ),
    case(
        "the end with Connection: close",
        "respond",
        {"kind": "tracked", "blocks": [b"a"]},
        {"headers": [("Connection", "close")]},
    ),
    case(
        "HEAD",
        "respond",
        {"kind": "tracked", "blocks": [b"a", b"b"]},
        {"method": "HEAD"},
    ),
    case(
        "HEAD of a list",
        "respond",
        {"kind": "tracked list", "blocks": [b"a"]},
        {"method": "HEAD"},
    ),
    case("204", "respond", {"status": "204 X", "kind": "tracked", "blocks": []}, {}),
    case(
        "204 with a body",
        "respond",
        {"status": "204 X", "kind": "tracked", "blocks": [b"a", b"b"]},
        {},
    ),
    case("304", "respond", {"status": "304 X", "kind": "tracked", "blocks": []}, {}),
    case(
        "304 with a list",
        "respond",
        {"status": "304 X", "kind": "tracked list", "blocks": [b"a"]},
        {},
    ),
    case("102", "respond", {"status": "102 X", "kind": "tracked", "blocks": []}, {}),
    case(
        "102 with a body",
        "respond",
        {"status": "102 X", "kind": "tracked", "blocks": [b"a"]},
        {},
    ),
    case(
        "a body of the announced length",
        "respond",
        {
            "headers": [("Content-Length", "2")],
            "kind": "tracked",
            "blocks": [b"a", b"b"],
        },
        {},
    ),
    case(
        "a body too long",
        "respond",
        {
            "headers": [("Content-Length", "1")],
            "kind": "tracked",
            "blocks": [b"a", b"b", b"c"],
        },
        {},
    ),
    case(
        "a list too long",
        "respond",
        {
            "headers": [("Content-Length", "1")],
            "kind": "tracked list",
            "blocks": [b"ab"],
        },
        {},
    ),
    case(
        "a body too short",
        "respond",
        {"headers": [("Content-Length", "9")], "kind": "tracked", "blocks": [b"a"]},
        {},
    ),
    case(
        "a list too short",
        "respond",
        {
            "headers": [("Content-Length", "9")],
            "kind": "tracked list",
            "blocks": [b"a"],
        },
        {},
    ),
    case(
        "no body where one was announced",
        "respond",
        {"headers": [("Content-Length", "9")], "kind": "tracked", "blocks": []},
        {},
    ),
    case("a block of str", "bad block", {"kind": "tracked", "block": "text"}, {}),
    case(
        "a block of str in a list",
        "bad block",
        {"kind": "tracked list", "block": "text"},
        {},
    ),
    case(
        "a block of int after the head",
        "bad block",
        {"kind": "tracked", "before": [b"a"], "block": 1},
        {},
    ),
    case("a block of None", "bad block", {"kind": "generator", "block": None}, {}),
    case(
        "start_response never called", "start never", {}, {"target": "/?kind=tracked"}
    ),
    case(
        "never called, for a generator",
        "start never",
        {},
        {"target": "/?kind=generator"},
    ),
    case(
        "never called, for a list", "start never", {}, {"target": "/?kind=tracked+list"}
    ),
    case(
        "never called, and no blocks",
        "start never, no blocks",
        {},
        {"target": "/?kind=tracked"},
    ),
    case("an error in iter", "fail", {"stage": "in iter"}, {}),
    case("an error at the first block", "fail", {"stage": "at the first block"}, {}),
    case(
        "an error after an empty block", "fail", {"stage": "after an empty block"}, {}
    ),
    case("an error after a block", "fail", {"stage": "after a block"}, {}),
    case("an error after two blocks", "fail", {"stage": "after two blocks"}, {}),
    case("an error in close itself", "fail", {"stage": "in close"}, {}),
    case(
        "an exit after a block",
        "fail",
        {"stage": "after a block", "error": "SystemExit"},
        {},
    ),
    case(
        "an error during HEAD", "fail", {"stage": "after a block"}, {"method": "HEAD"}
    ),
    case("a file", "file", {"file": "memory"}, {}),
    case("a large file", "file", {"file": "memory", "tens": 30_000}, {}),
    case("a file for HEAD", "file", {"file": "memory"}, {"method": "HEAD"}),
    case(
        "a file longer than announced",
        "file",
        {"file": "memory", "headers": [("Content-Length", "3")]},
        {},
    ),
    case(
        "a file shorter than announced",
        "file",
        {"file": "memory", "headers": [("Content-Length", "30")]},
        {},
    ),
    case("a file of nothing", "file", {"file": "memory", "tens": 0}, {}),
]


@pytest.mark.parametrize("behind", ["alone", "in a pipeline"])
@pytest.mark.parametrize(("app", "spec", "arguments"), ENDINGS)
def test_close_is_called_once(
    server: Server,
    app: str,
    spec: dict[str, Any],
    arguments: dict[str, Any],
    behind: str,
) -> None:
    """PEP 3333: ``close`` is called whatever the ending, and not again."""
    token = new_token()
    raw = request(app=app, spec=spec, token=token, **arguments)
    with server.connect() as client:
        if behind == "in a pipeline":
            client.send(request(app="hello") + raw + request(app="hello"))
            assert client.response().body == b"hello"
        else:
            client.send(raw)
        client.response(arguments.get("method", "GET"))
        server.assert_noted_once(token, "close")


def test_list_without_close_needs_none(server: Server) -> None:
    """Nothing is asked of an iterable that has no ``close``."""
    spec = {"kind": "sized", "blocks": [b"a", b"b"]}
    assert server.ask(request(app="respond", spec=spec)).body == b"ab"


def test_iterable_is_iterated_once(server: Server) -> None:
    """``iter`` is called once, and each block asked for once."""
    token = new_token()
    spec = {"kind": "tracked iterable", "blocks": [b"a", b"b"]}
    assert server.ask(request(app="respond", spec=spec, token=token)).body == b"ab"
    server.assert_noted_once(token, "close")
    assert server.events(token) == ["iter", "close"]


def test_close_comes_after_the_last_block(server: Server) -> None:
    """``close`` is called when the iteration is over, not before."""
    token = new_token()
    spec = {"kind": "tracked", "blocks": [b"a", b"", b"b"]}
    server.ask(request(app="respond", spec=spec, token=token))
    server.assert_noted_once(token, "close")
    assert server.events(token) == ["next", "next", "next", "close"]


# --- close when the client leaves

LEFT = [
    case("an iterator", {}),
    case("a generator", {"kind": "generator"}),
    case("an iterator of large blocks", {"size": 200_000}),
    case("a generator of large blocks", {"kind": "generator", "size": 200_000}),
    case("an iterator that gives only empty blocks", {"size": 0}),
    case("a generator that gives only empty blocks", {"kind": "generator", "size": 0}),
]


@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("spec", LEFT)
def test_close_is_called_when_the_client_leaves(
    transport: Server, version: str, spec: dict[str, Any]
) -> None:
    """PEP 3333: an early disconnect ends the iteration, and calls ``close`` soon."""
    token = new_token()
    client = transport.connect()
    client.send(request(app="endless", spec=spec, token=token, version=version))
    if spec.get("size") == 0:
        transport.wait_for_event(token, "next")
    else:
        client.head()
    client.close()
    left = time.monotonic()
    events = transport.wait_for_event(token, "close", timeout=2)
    assert time.monotonic() - left < 1
    assert events.count("close") == 1
    count = len(events)
    time.sleep(0.03)
    assert len(transport.events(token)) == count, "iterated after close"


@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
def test_close_is_called_when_a_client_leaves_that_did_not_read(
    transport: Server,
) -> None:
    """Also an iteration at rest, with all buffers full, is closed."""
    token = new_token()
    client = transport.connect()
    client.send(request(app="huge", token=token))
    client.head()
    time.sleep(0.3)
    client.close()
    transport.wait_for_event(token, "close", timeout=2)
    transport.assert_noted_once(token, "close")


def test_close_is_called_when_a_client_of_a_file_leaves(server: Server) -> None:
    """The file of ``wsgi.file_wrapper`` is closed, too, when the client leaves."""
    token = new_token()
    client = server.connect()
    spec = {"file": "memory", "tens": 2_000_000}
    client.send(request(app="file", spec=spec, token=token))
    client.head()
    client.close()
    server.assert_noted_once(token, "close")


# --- a block leaves before the next is asked for

GAP = 0.3
PACES = [
    # request arguments, seconds at which the blocks are due
    case("in chunks", {"target": "/?gap=0.3"}, [0.3, 0.6, 0.9]),
    case("with a length", {"target": "/?gap=0.3&length"}, [0.3, 0.6, 0.9]),
    case(
        "in HTTP/1.0", {"target": "/?gap=0.3", "version": "HTTP/1.0"}, [0.3, 0.6, 0.9]
    ),
    case("the first at once", {"target": "/?gap=0.3&eager"}, [0.0, 0.3, 0.6]),
    case(
        "in blocks of 60 kB", {"target": "/?gap=0.3&eager&size=60000"}, [0.0, 0.3, 0.6]
    ),
]


@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
@pytest.mark.parametrize(("arguments", "due"), PACES)
def test_blocks_arrive_when_they_are_made(
    transport: Server, arguments: dict[str, Any], due: list[float]
) -> None:
    """PEP 3333: blocks made 0.3 s apart by a blocking application arrive so."""
    with transport.connect() as client:
        began = time.monotonic()
        client.send(request(app="slow", **arguments))
        assert_pace(arrivals(client, began), due)


@pytest.mark.parametrize("transport", ["server", "unix"], indirect=True)
def test_written_blocks_arrive_when_they_are_made(transport: Server) -> None:
    """PEP 3333: ``write`` does not return before its block is on the way."""
    with transport.connect() as client:
        began = time.monotonic()
        client.send(request("/?gap=0.3", app="slow write"))
        assert_pace(arrivals(client, began), [0.3, 0.6, 0.9])


def test_last_block_does_not_wait_for_the_end(server: Server) -> None:
    """What the application does after its last block does not delay that block."""
    with server.connect() as client:
        began = time.monotonic()
        client.send(request("/?gap=0.3", app="slow end"))
        assert_pace(arrivals(client, began, count=1), [0.0])
        client.rest_of_stream()


def test_second_response_of_a_pipeline_keeps_pace(server: Server) -> None:
    """The same holds for a response that had to wait for another."""
    with server.connect() as client:
        began = time.monotonic()
        client.send(request(app="hello") + request("/?gap=0.3", app="slow"))
        assert client.response().body == b"hello"
        assert_pace(arrivals(client, began), [0.3, 0.6, 0.9])


def arrivals(client: Client, began: float, count: int = 3) -> list[float]:
    """Return after how many seconds each block had begun to arrive."""
    found: list[float] = []
    data = client.buffer
    while len(found) < count:
        while len(found) < count and b"block %d" % len(found) in data:
            found.append(time.monotonic() - began)
        if len(found) < count:
            more = client.sock.recv(1 << 16)
            assert more, f"closed after {found}"
            data += more
    return found


def assert_pace(found: list[float], due: list[float]) -> None:
    """Check that each block came when it was due."""
    late = [a - b for a, b in zip(found, due, strict=True)]
    assert all(-0.05 < seconds < 0.2 for seconds in late), (found, due)


# --- neighbours

GREEDY = [
    case("small blocks", {"size": 10}),
    case("large blocks", {"size": 100_000}),
    case("empty blocks", {"size": 0}),
    case("small blocks of a generator", {"size": 10, "kind": "generator"}),
]


@pytest.mark.parametrize("spec", GREEDY)
def test_endless_stream_does_not_starve_its_neighbours(
    server: Server, spec: dict[str, Any]
) -> None:
    """Others are served while three applications yield as fast as they can."""
    greedy = [server.connect() for _ in range(3)]
    stop = threading.Event()

    def drain(client: Client) -> None:
        client.sock.settimeout(0.05)
        while not stop.is_set():
            try:
                client.sock.recv(MIB)
            except TimeoutError:
                continue

    threads = [threading.Thread(target=drain, args=[client]) for client in greedy]
    tokens = [new_token() for _ in greedy]
    try:
        for client, token in zip(greedy, tokens, strict=True):
            client.send(request(app="endless", spec=spec, token=token))
        for thread in threads:
            thread.start()
        waits = []
        for _ in range(20):
            began = time.monotonic()
            assert server.ask(request(app="hello")).body == b"hello"
            waits.append(time.monotonic() - began)
        # Who starves does so each time; a busy machine may be late once or twice.
        assert sorted(waits)[-3] < 0.25, waits
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for client in greedy:
            client.close()
    for token in tokens:
        server.assert_noted_once(token, "close")


# --- a client that does not read

UNREAD = [
    # app, spec, blocks of how many bytes
    case("with a length", "huge", {}, 64 << 10),
    case("in chunks", "huge", {"length": False}, 64 << 10),
    case("in small blocks", "huge", {"size": 1000, "length": False}, 1000),
    case("in blocks of 1 MiB", "huge", {"size": MIB}, MIB),
    case("as a file", "sparse", {}, 0),
]


@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
@pytest.mark.parametrize(("app", "spec", "size"), UNREAD)
def test_slow_reader_costs_little_memory(
    transport: Server, app: str, spec: dict[str, Any], size: int
) -> None:
    """1 GiB for a client that does not read costs about two blocks."""
    if app == "huge" and size >= MIB:
        # Let the allocator have its arenas, which it keeps.
        warm(transport, {"size": size})
    assert transport.ask(request(app="hello")).body == b"hello"
    token = new_token()
    before = transport.resident()
    with transport.connect(receive_buffer=64 << 10) as client:
        client.send(request(app=app, spec=spec, token=token))
        response = client.head()
        assert response.status == 200
        time.sleep(0.4)
        grown = transport.resident() - before
        assert grown < 2 * MIB + 3 * size, f"{grown / MIB:.1f} MiB more"
        if app == "huge" and size < MIB:
            made = transport.events(token).count("next") * size
            assert made < 32 * MIB, f"{made / MIB:.1f} MiB were made ahead"


def warm(server: Server, spec: dict[str, Any]) -> None:
    """Have the same done once, unmeasured."""
    with server.connect(receive_buffer=64 << 10) as client:
        client.send(request(app="huge", spec=spec))
        client.head()
        time.sleep(0.2)


def test_pipelined_responses_unread_cost_little_memory(server: Server) -> None:
    """Fifty large responses asked for at once are not made at once."""
    before = server.resident()
    with server.connect(receive_buffer=64 << 10) as client:
        client.send(b"".join(request(app="huge") for _ in range(50)))
        client.head()
        time.sleep(0.3)
        assert server.resident() - before < 4 * MIB


def test_slow_reader_gets_everything(server: Server) -> None:
    """A client that pauses now and then gets the same bytes as any other."""
    with server.connect(receive_buffer=16 << 10) as client:
        client.send(request(app="large", spec={"count": 200, "size": 40_000}))
        client.head()
        time.sleep(0.2)
        parts = []
        while line := client._line():
            size = int(line, 16)
            parts.append(client.take(size + 2)[:size])
            if size == 0:
                break
            if len(parts) % 50 == 0:
                time.sleep(0.05)
        expected = b"".join((b"%08d" % n) * 5000 for n in range(200))
        assert (
            hashlib.sha256(b"".join(parts)).digest()
            == hashlib.sha256(expected).digest()
        )


@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)
@pytest.mark.parametrize(
    ("count", "size"), [(400, 80_000), (4_000, 16), (8, 4_000_000)]
)
def test_large_response_arrives_whole(transport: Server, count: int, size: int) -> None:
    """Many blocks or large ones: all of them arrive, in order."""
    raw = request(app="large", spec={"count": count, "size": size})
    response = transport.ask(raw)
    assert response.complete
    seen = hashlib.sha256()
    for n in range(count):
        seen.update((b"%08d" % n) * (size // 8))
    assert hashlib.sha256(response.body).digest() == seen.digest()


# --- contexts


def test_contexts_of_two_streams_never_mix(server: Server) -> None:
    """One ``contextvars.Context`` per request, in each step and in ``close``."""
    group, tokens = new_token(), {"anna": new_token(), "otto": new_token()}
    clients = {name: server.connect() for name in tokens}
    try:
        for name, client in clients.items():
            target = f"/?group={group}&name={name}"
            client.send(request(target, app="context", token=tokens[name]))
        for name, client in clients.items():
            assert client.response().body == f"{name}\n".encode() * 20
    finally:
        for client in clients.values():
            client.close()
    for name, token in tokens.items():
        expected = f"closed in the context of {name}"
        assert server.wait_for_event(token, expected) == [
            "called in the context of nobody",
            expected,
        ]


def test_context_does_not_outlive_its_request(server: Server) -> None:
    """What a request sets, the next on the same connection does not see."""
    with server.connect() as client:
        for _ in range(3):
            client.send(request(app="context before"))
            assert client.response().body == b"nobody"


# --- errors before the head

BEFORE = [
    "when called",
    "after start_response",
    "in iter",
    "at the first block",
    "after an empty block",
]
AFTER = ["after a block", "after two blocks", "after write"]
ERRORS = ["OwnError", "BareError", "SystemExit", "GeneratorExit", "MemoryError"]
ERRORS += ["RecursionError", "OSError", "ConnectionResetError"]


@pytest.mark.parametrize("stage", BEFORE)
@pytest.mark.parametrize("error", ERRORS)
def test_error_before_the_head_is_a_500(server: Server, stage: str, error: str) -> None:
    """A short page, complete, with nothing of the application's or the server's."""
    secret = new_token()
    spec = {"stage": stage, "error": error, "message": secret}
    with server.connect() as client:
        client.send(request(app="fail", spec=spec))
        assert_500(client.response(), secret, error)
        client.assert_open_or_closed()


def assert_500(response: Response, secret: str, error: str) -> None:
    """Check that the page is complete, and tells no secrets."""
    assert response.status == 500
    assert response.complete
    assert response.get("X-Call") is None
    assert len(response.body) < 1000
    for leak in (secret, error, "Traceback", "wire_applications", ".py"):
        assert leak.encode() not in response.body
    assert not any(secret.encode() in value for _, value in response.fields)


@pytest.mark.parametrize("stage", BEFORE)
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_error_before_the_head_for_any_client(
    server: Server, stage: str, version: str, method: str
) -> None:
    """The same for HEAD, for HTTP/1.0, and with the application's own length."""
    spec = {"stage": stage, "headers": [("Content-Length", "3"), ("ETag", '"v"')]}
    raw = request(app="fail", spec=spec, version=version, method=method)
    response = server.ask(raw, method)
    assert (response.status, response.complete) == (500, True)
    assert response.get("ETag") is None
    assert response.get("Content-Length") != b"3"


ACCEPTS = [
    # Accept, types that are right
    case("a browser", "text/html,application/xml;q=0.9,*/*;q=0.8", {"text/html"}),
    case("HTML", "text/html", {"text/html"}),
    case("HTML in capitals", "Text/HTML", {"text/html"}),
    case("text", "text/plain", {"text/plain"}),
    case("text before HTML", "text/plain, text/html;q=0.5", {"text/plain"}),
    case("HTML before text", "text/plain;q=0.5, text/html", {"text/html"}),
    case("HTML refused", "text/html;q=0, */*", {"text/plain"}),
    case("anything", "*/*", {"text/plain", "text/html"}),
    case("nothing we have", "image/png", {"text/plain", "text/html"}),
    case("nonsense", ";;q=x,,/", {"text/plain", "text/html"}),
    case("no Accept", None, {"text/plain", "text/html"}),
]


@pytest.mark.parametrize(("accept", "types"), ACCEPTS)
def test_error_page_is_text_or_html(
    server: Server, accept: str | None, types: set[str]
) -> None:
    """RFC 9110, 12.5.1: the page is of a type that the client accepts."""
    fields = [] if accept is None else [("Accept", accept)]
    raw = request(app="fail", spec={"stage": "when called"}, headers=fields)
    response = server.ask(raw)
    kind = (response.get("Content-Type") or b"").decode().lower()
    assert kind.partition(";")[0].strip() in types
    assert (b"<" in response.body) == kind.startswith("text/html")


@pytest.mark.parametrize("stage", [*BEFORE, *AFTER, "in close"])
@pytest.mark.parametrize("error", ["OwnError", "BareError", "SystemExit"])
def test_error_is_logged_once(server: Server, stage: str, error: str) -> None:
    """The traceback goes to the log, once."""
    secret = new_token()
    mark = server.log.mark()
    spec = {"stage": stage, "error": error, "message": secret}
    server.ask(request(app="fail", spec=spec))
    server.log.wait_for(secret, mark)
    time.sleep(0.02)
    text = server.log.since(mark)
    assert text.count(f"{error}: {secret}") == 1, text
    assert "wire_applications.py" in text


# --- errors after the head


@pytest.mark.parametrize("stage", AFTER)
@pytest.mark.parametrize("error", ERRORS)
def test_error_after_the_head_cuts_the_response(
    server: Server, stage: str, error: str
) -> None:
    """What was made is sent; there is no last chunk, no page, and then the end."""
    spec = {"stage": stage, "error": error, "message": "secret"}
    with server.connect() as client:
        client.send(request(app="fail", spec=spec))
        response = client.response()
        assert (response.status, response.get("X-Call")) == (200, b"first")
        assert response.body == b"first block"
        assert not response.complete
        client.assert_closed()


@pytest.mark.parametrize("stage", AFTER)
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_error_within_a_length_cuts_the_response(
    server: Server, stage: str, version: str
) -> None:
    """With a length, the client sees that bytes are missing."""
    spec = {"stage": stage, "headers": [("Content-Length", "100")]}
    with server.connect() as client:
        client.send(request(app="fail", spec=spec, version=version))
        response = client.response()
        assert (response.status, response.body) == (200, b"first block")
        assert not response.complete
        client.assert_closed()


@pytest.mark.parametrize("stage", ["after a block", "after two blocks"])
def test_error_without_a_frame_resets_the_connection(
    server: Server, stage: str
) -> None:
    """Where the end of the connection ends the body, only a reset tells of a cut."""
    with server.connect() as client:
        client.send(request(app="fail", spec={"stage": stage}, version="HTTP/1.0"))
        response = client.response()
        assert (response.status, response.body) == (200, b"first block")
        assert not response.complete


def test_error_after_the_whole_body_harms_nobody(server: Server) -> None:
    """When all that was announced has been sent, the response is complete."""
    spec = {"stage": "after a block", "headers": [("Content-Length", "11")]}
    with server.connect() as client:
        client.send(request(app="fail", spec=spec))
        response = client.response()
        assert (response.body, response.complete) == (b"first block", True)
        client.assert_open_or_closed()


def test_error_in_close_harms_nobody(server: Server) -> None:
    """When ``close`` fails the body is whole; what follows is served or refused."""
    with server.connect() as client:
        client.send(request(app="fail", spec={"stage": "in close"}))
        response = client.response()
        assert (response.status, response.body) == (200, b"first block")
        client.assert_open_or_closed()


# --- what is no iterable of blocks

NOT_ITERABLE = [
    case("None", None),
    case("an int", 1),
    case("a str", "text"),
    case("a str of one letter", "t"),
    case("bytes", b"bytes"),
    case("one byte", b"b"),
    case("a list of str", ["text"]),
    case("a list of ints", [1, 2]),
    case("a list of None", [None]),
    case("a list of lists", [[b"a"]]),
    case("a tuple of str", ("text",)),
    case("a dict of str", {"text": 1}),
    case("a list of bytes and str", ["text", b"bytes"]),
    case("an empty str in a list", [""]),
    case("an empty str and bytes", ["", b"bytes"]),
    case("True", True),
]


@pytest.mark.parametrize("value", NOT_ITERABLE)
def test_wrong_result_is_a_500(server: Server, value: object) -> None:
    """PEP 3333: the result is an iterable of bytestrings; anything else is an error."""
    response = server.ask(request(app="return", spec={"value": value}))
    assert (response.status, response.complete) == (500, True)
    assert response.get("X-Call") is None


BLOCKS = [
    case("str", {"block": "text"}),
    case("an empty str", {"block": ""}),
    case("int", {"block": 1}),
    case("zero", {"block": 0}),
    case("None", {"block": None}),
    case("list", {"block": [b"a"]}),
    case("bytearray", {"block": b"a", "as": "bytearray"}),
    case("memoryview", {"block": b"a", "as": "memoryview"}),
]


@pytest.mark.parametrize("kind", ["list", "tracked", "generator"])
@pytest.mark.parametrize("spec", BLOCKS)
def test_block_that_is_not_bytes_is_a_500(
    server: Server, kind: str, spec: dict[str, Any]
) -> None:
    """A block that is not bytes is an error, also an empty one."""
    response = server.ask(request(app="bad block", spec={"kind": kind, **spec}))
    assert (response.status, response.complete) == (500, True)


@pytest.mark.parametrize("kind", ["list", "tracked", "generator"])
@pytest.mark.parametrize("spec", BLOCKS)
def test_block_that_is_not_bytes_after_the_head_cuts(
    server: Server, kind: str, spec: dict[str, Any]
) -> None:
    """The same after a good block: the response is cut."""
    spec = {"kind": kind, "before": [b"good"], **spec}
    response = server.ask(request(app="bad block", spec=spec))
    if response.status != 500:
        # A list may be looked through before anything is sent.
        assert (response.status, response.body) == (200, b"good")
        assert not response.complete


# --- --debug


@pytest.mark.parametrize("accept", ["text/plain", "text/html"])
def test_debug_shows_the_traceback(debugging: Server, accept: str) -> None:
    """With ``--debug`` the page holds the traceback, escaped where it is HTML."""
    message = "<b>&amp; \u20ac"
    spec = {"stage": "at the first block", "message": message}
    raw = request(app="fail", spec=spec, headers=[("Accept", accept)])
    response = debugging.ask(raw)
    assert (response.status, response.complete) == (500, True)
    page = response.body.decode("utf-8")
    assert "Traceback" in page
    assert "wire_applications.py" in page
    assert "OwnError" in page
    if accept == "text/html":
        assert "<b>&amp; " not in page
        assert "&lt;b&gt;&amp;amp; " in page
    else:
        assert message in page


def test_debug_shows_nothing_after_the_head(debugging: Server) -> None:
    """With ``--debug``, too, an error after the head only cuts the response."""
    spec = {"stage": "after a block", "message": "secret"}
    response = debugging.ask(request(app="fail", spec=spec))
    assert (response.body, response.complete) == (b"first block", False)


def test_debug_shows_errors_of_start_response(debugging: Server) -> None:
    """With ``--debug`` the author sees which header was wrong."""
    spec = {"headers": [("X One", "1")], "blocks": [b"body"]}
    response = debugging.ask(request(app="respond", spec=spec))
    assert response.status == 500
    assert b"X One" in response.body


# --- wsgi.file_wrapper

FILES = [
    # spec, body
    case("a file on disk", {"file": "disk"}, b"0123456789"),
    case("a file in memory", {"file": "memory"}, b"0123456789"),
    case("an object with read only", {"file": "reader"}, b"0123456789"),
    case(
        "a large file on disk", {"file": "disk", "tens": 50_000}, b"0123456789" * 50_000
    ),
    case(
        "a large file in memory",
        {"file": "memory", "tens": 50_000},
        b"0123456789" * 50_000,
    ),
    case("a block size", {"file": "disk", "size": [3]}, b"0123456789"),
    case("a block size of one", {"file": "memory", "size": [1]}, b"0123456789"),
    case("from where the file stands", {"file": "disk", "seek": 4}, b"456789"),
    case("from where it stands, in memory", {"file": "memory", "seek": 4}, b"456789"),
    case("an empty file", {"file": "disk", "tens": 0}, b""),
    case(
        "with its length",
        {"file": "disk", "headers": [("Content-Length", "10")]},
        b"0123456789",
    ),
    case(
        "with a smaller length",
        {"file": "disk", "headers": [("Content-Length", "4")]},
        b"0123",
    ),
    case(
        "a part of a file",
        {"file": "disk", "seek": 2, "headers": [("Content-Length", "4")]},
        b"2345",
    ),
    case(
        "iterated by a generator",
        {"file": "disk", "inside": "generator"},
        b"0123456789",
    ),
    case(
        "in small blocks by a generator",
        {"file": "memory", "inside": "generator", "size": [3]},
        b"0123456789",
    ),
    case(
        "made into a list",
        {"file": "memory", "inside": "list", "size": [3]},
        b"0123456789",
    ),
]


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize(("spec", "body"), FILES)
def test_file_wrapper_sends_the_file(
    server: Server, version: str, spec: dict[str, Any], body: bytes
) -> None:
    """PEP 3333, "Optional Platform-Specific File Handling": the file, to its end."""
    response = server.ask(request(app="file", spec=spec, version=version))
    assert (response.status, response.body) == (200, body)
    assert response.complete


@pytest.mark.parametrize("transport", ["unix", "tls"], indirect=True)
def test_file_wrapper_over_other_transports(transport: Server) -> None:
    """A file is sent over any transport."""
    spec = {"file": "disk", "tens": 100_000}
    response = transport.ask(request(app="file", spec=spec))
    assert response.body == b"0123456789" * 100_000


def test_file_wrapper_too_short_is_never_complete(server: Server) -> None:
    """A file shorter than its announced length is not passed off as whole."""
    spec = {"file": "disk", "headers": [("Content-Length", "11")]}
    response = server.ask(request(app="file", spec=spec))
    assert (response.body, response.complete) == (b"0123456789", False)


def test_error_is_the_only_garbage(server: Server) -> None:
    """Two failing responses in a pipeline do not mix their bytes."""
    raw = request(app="fail", spec={"stage": "after a block"})
    with server.connect() as client:
        client.send(raw + raw)
        assert client.response().body == b"first block"
        with pytest.raises(WireError):
            client.response()
