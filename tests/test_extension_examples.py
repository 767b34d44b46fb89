"""The examples of the extensions, run as their first lines say."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import commandline
import pytest
from commandline import CHECKOUT, Server, serving
from pytest_twisted import ensureDeferred
from twisted.internet.task import deferLater

from twisted_wsgiflush.testing import GET, Served, serve
from twisted_wsgiflush.wsgi2 import from_wsgi2

EXAMPLES = CHECKOUT / "examples"


def example(name: str) -> Any:
    """The module of an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def get(path: str, **headers: str) -> bytes:
    fields = "".join(f"{n.replace('_', '-')}: {headers[n]}\r\n" for n in headers)
    return f"GET {path} HTTP/1.1\r\nHost: here\r\n{fields}\r\n".encode()


async def turns(served: Served, seconds: float = 0) -> bytes:
    """Let time pass, and turn both reactors; what has arrived by then."""
    from twisted.internet import reactor

    served.clock.advance(seconds)
    for _ in range(20):
        served.turn()
        await deferLater(reactor, 0)
    return served.drain()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_the_command_is_in_the_first_lines(path: Path) -> None:
    """An example says what it shows and how to run it, unless it is a part of one."""
    words = path.read_text().split('"""')[1]
    assert re.search(rf"(wsgiflush|python) .*examples/{path.name}|for \w+\.py", words)


@ensureDeferred
async def test_early_head() -> None:
    """The head is there a second before the body."""
    served = serve(example("early_head").application)
    head = await turns(served)
    body = await turns(served, 1)
    assert head.endswith(b"\r\n\r\n")
    assert b"preload" in head
    assert b"The headers came a second before." in body


@pytest.mark.parametrize(
    ("tag", "status", "made"), [('"1"', b"304", []), ('"0"', b"200", [1])]
)
def test_not_modified(
    monkeypatch: pytest.MonkeyPatch, tag: str, status: bytes, made: list[int]
) -> None:
    """Who has the body already gets a 304, and the body is not made."""
    slept: list[int] = []
    module = example("not_modified")
    monkeypatch.setattr(module, "sleep", slept.append)
    served = serve(module.application, get("/", If_None_Match=tag))
    assert served.read().split()[1] == status
    assert slept == made


def test_sleep_times_out() -> None:
    """It answers when the time is over, and not before."""
    served = serve(example("sleep").application, get("/?500"))
    early = served.read()
    served.clock.advance(0.5)
    assert (early, b"500 ms are over\n" in served.read()) == (b"", True)


@pytest.mark.parametrize("query", ["abc", "-1", "%35", "99999999", "1.5"])
def test_sleep_wants_a_number(query: str) -> None:
    """Whoever asks for something else is told so."""
    served = serve(example("sleep").application, get(f"/?{query}"))
    assert served.read().startswith(b"HTTP/1.1 400 ")


def test_sleep_is_woken() -> None:
    """Those who still wait are woken, and the one who wakes is told how many."""
    application = example("sleep").application
    waiting = [serve(application, get("/wait")) for _ in range(3)]
    for served in waiting:
        served.turn(2)
    waiting[0].leave()
    waker = serve(application, get("/wake"))
    assert b"2 woken\n" in waker.read()
    assert [b"\nwoken\n" in served.read() for served in waiting] == [False, True, True]


@ensureDeferred
async def test_coroutine() -> None:
    """It answers after a second with Werkzeug's response."""
    served = serve(example("coroutine").application)
    early = await turns(served)
    late = await turns(served, 1)
    assert early == b""
    assert late.startswith(b"HTTP/1.1 203 ")
    assert b"The answer is 42.\n" in late


@ensureDeferred
async def test_coroutine_that_streams() -> None:
    """Its blocks are a second apart."""
    served = serve(example("coroutine").application, get("/stream"))
    blocks = [await turns(served)]
    blocks += [await turns(served, 1) for _ in range(5)]
    found = [re.findall(rb"\r\n(\d)\n\r\n", block) for block in blocks]
    assert found == [[b"0"], [b"1"], [b"2"], [b"3"], [b"4"], []]


@ensureDeferred
async def test_wsgi2() -> None:
    """It counts down, or refuses to."""
    application = from_wsgi2(example("wsgi2").application)
    served = serve(application, get("/?2"))
    blocks = [await turns(served), await turns(served, 1), await turns(served, 1)]
    refused = await turns(serve(application))
    assert [re.findall(rb"\r\n(\d)\n\r\n", b) for b in blocks] == [[b"2"], [b"1"], []]
    assert refused.startswith(b"HTTP/1.1 400 ")


@pytest.mark.usefixtures("measured")
def test_wsgi2_on_the_command_line() -> None:
    """Its option serves the example as it is."""
    with serving("--wsgi2", "examples/wsgi2.py", cwd=CHECKOUT) as server:
        url = f"http://127.0.0.1:{server.port}/?1"
        with urllib.request.urlopen(url, timeout=20) as response:
            assert response.read() == b"1\n"
        assert server.stop().status == 0


def test_flask_late() -> None:
    """Flask's blocks are half a second apart."""
    served = serve(example("flask_late").application, get("/app/"))
    blocks = [served.read()]
    for _ in range(6):
        served.clock.advance(0.5)
        blocks.append(served.read())
    found = [re.findall(rb"block (\d)", block) for block in blocks]
    assert found == [[], [b"0"], [b"1"], [b"2"], [b"3"], [b"4"], [b"5"]]


@ensureDeferred
async def test_compose() -> None:
    """A page of parts that take a second each takes a second."""
    served = serve(example("compose").application)
    early = await turns(served)
    page = await turns(served, 1)
    parts = re.findall(rb"<h\d>([\w ]+)", page)
    assert early == b""
    assert page.startswith(b"HTTP/1.1 200 ")
    assert parts == [b"A page of three parts", b"first", b"second"]


class Reader:
    """A reader of the server-sent events."""

    def __init__(self, server: Server) -> None:
        self.socket = server.connect()
        self.socket.sendall(GET.replace(b"GET /", b"GET /events"))
        self.stream = self.socket.makefile("r")

    def next(self) -> tuple[str, Any]:
        """The event that comes next, and its data."""
        while not (line := self.stream.readline()).startswith("event: "):
            assert line, "the stream has ended"
        return line.split()[1], json.loads(self.stream.readline().partition(": ")[2])

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


def arguments(name: str) -> list[str]:
    """Of the command in the first lines of an example."""
    words = (EXAMPLES / f"{name}.py").read_text().split('"""')[1]
    found = re.search(r"wsgiflush (.*)$", words, re.M)
    assert found
    return shlex.split(found[1])


def test_sse() -> None:
    """A note is on every reader's page at once, and on that of who comes later."""
    with ExitStack() as stack:
        server = stack.enter_context(serving(*arguments("sse"), cwd=CHECKOUT))
        first = stack.enter_context(closing(Reader(server)))
        assert first.next() == ("readers", 1)
        second = stack.enter_context(closing(Reader(server)))
        assert first.next() == second.next() == ("readers", 2)
        with closing(server.connect()) as writer:
            writer.sendall(b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")
            assert b" 204 " in writer.recv(1000)
        event, note = first.next()
        assert (event, note["text"]) == ("note", "hello")
        assert second.next() == (event, note)
        second.close()
        assert first.next() == ("readers", 1)
        later = stack.enter_context(closing(Reader(server)))
        assert later.next() == (event, note)


def test_sse_tells_that_it_is_there() -> None:
    """A reader to whom nothing is told gets a comment now and then."""
    served = serve(example("sse").application, get("/events"))
    served.read()
    served.clock.advance(15)
    assert b": still here\n\n" in served.read()


def test_the_page_of_sse_needs_nothing_else() -> None:
    """It is served, and names no other file but the stream."""
    page = serve(example("sse").application).read().decode()
    assert "text/html" in page
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["data:,", "events"]
    assert not re.search("https?://", page)


def test_command_output() -> None:
    """The output of the command comes line by line."""
    with (
        commandline.serving(*arguments("command_output"), cwd=CHECKOUT) as server,
        closing(server.connect()) as client,
        client.makefile("rb") as stream,
    ):
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while stream.readline().strip():
            pass
        assert [stream.readline() for _ in range(2)] == [b"line 1\n", b"line 2\n"]


def test_cgi() -> None:
    """The same application is a CGI program, served as its first lines say."""
    words = (EXAMPLES / "cgi" / "sleep.cgi").read_text().split('"""')[1]
    found = re.search(r"^twist (web .*)$", words, re.M)
    assert found
    path = os.pathsep.join([str(commandline.SCRIPTS), os.environ["PATH"]])
    with subprocess.Popen(
        [
            str(commandline.SCRIPTS / "twist"),
            *shlex.split(found[1]),
            *commandline.LISTEN,
        ],
        cwd=CHECKOUT,
        env={**commandline.environment(), "PATH": path},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines = map(re.compile(r"Site starting on (\d+)").search, process.stdout)
            port = next(int(line[1]) for line in lines if line)
            connection = HTTPConnection("127.0.0.1", port, timeout=20)
            with closing(connection) as client:
                client.request("GET", "/sleep.cgi?10")
                response = client.getresponse()
                assert (response.status, response.read()) == (200, b"10 ms are over\n")
        finally:
            process.kill()


def test_cgi_by_another_server() -> None:
    """One that gives empty variables where the other gives none."""
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / "cgi" / "sleep.cgi")],
        env={
            **commandline.environment(),
            "GATEWAY_INTERFACE": "CGI/1.1",
            "REQUEST_METHOD": "GET",
            "SERVER_NAME": "here",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "PATH_INFO": "",
            "QUERY_STRING": "10",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    head, _, body = ran.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"Status: 200 OK")
    assert body == b"10 ms are over\n"
    assert os.access(EXAMPLES / "cgi" / "sleep.cgi", os.X_OK)
