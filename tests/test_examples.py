"""The examples, run as their first lines say."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest
from commandline import CHECKOUT, Server, environment, serving

EXAMPLES = CHECKOUT / "examples"
ANY_PORT = "tcp:0:interface=127.0.0.1"


class Program(NamedTuple):
    """An example in a process of its own."""

    ports: list[int]
    process: subprocess.Popen[str]


def command_of(example: Path) -> list[str]:
    """The arguments of the command in the docstring of an example."""
    last = re.findall(r"wsgiflush (.*)$", example.read_text().split('"""')[1], re.M)[-1]
    return shlex.split(last)


@pytest.fixture(scope="module")
def demo() -> Iterator[Server]:
    """The server of ``make demo``."""
    with serving(*command_of(EXAMPLES / "demo.py"), cwd=CHECKOUT) as server:
        yield server
        ended = server.stop()
    assert ended.status == 0
    assert "Traceback" not in ended.stderr


def test_hello_is_a_stream() -> None:
    """Each block of the smallest example is a chunk of its own."""
    with (
        serving(*command_of(EXAMPLES / "hello.py"), cwd=CHECKOUT) as server,
        server.connect() as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        _, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    assert body.split(b"\r\n") == [
        b"e",
        b"Hello, world.\n",
        b"11",
        b"This is block 1.\n",
        b"11",
        b"This is block 2.\n",
        b"11",
        b"This is block 3.\n",
        b"0",
        b"",
        b"",
    ]


def test_the_page_of_the_demo_names_only_what_is_served(demo: Server) -> None:
    """All that the page of the demo needs comes from the demo."""
    page = demo.get("/").decode()
    links = re.findall(r'(?:src|href)="([^":]+)"', page)
    assert sorted(links) == ["picture.bmp", "script.js", "style.css"]
    for link, content_type in [
        ("script.js", "text/javascript"),
        ("style.css", "text/css"),
    ]:
        response = demo.request(f"/{link}")
        assert response.status == 200
        assert response.headers.get_content_type() == content_type
        assert not re.search(rb"https?://", response.body)
    assert not re.search("https?://", page)


def test_the_demo_answers_while_it_draws(demo: Server) -> None:
    """While the picture arrives, the demo tells how many rows of it were asked for."""
    with closing(HTTPConnection("127.0.0.1", demo.port, timeout=20)) as client:
        client.request("GET", "/picture.bmp?me")
        response = client.getresponse()
        assert response.read(2) == b"BM"
        response.read(52 + 720 * 3)
        first = json.loads(demo.get("/streams"))["me"]
        response.read(720 * 3 * 20)
        later = json.loads(demo.get("/streams"))["me"]
    assert 2 <= first < later < 451


def test_the_demo_stops_drawing_when_its_reader_leaves(demo: Server) -> None:
    """A reader who leaves closes the generator at once."""
    with demo.connect() as client:
        client.sendall(b"GET /picture.bmp?gone HTTP/1.1\r\nHost: here\r\n\r\n")
        client.recv(1000)
        assert "gone" in json.loads(demo.get("/streams"))
    # The server sees that in one of its next turns, each a row of the picture long.
    assert any("gone" not in json.loads(demo.get("/streams")) for _ in range(20))


def test_the_demo_is_not_asked_for_what_is_not_read(demo: Server) -> None:
    """A reader who does not read has the demo make no more than the buffers hold."""
    with demo.connect() as client:
        client.sendall(b"GET /blocks?slow HTTP/1.1\r\nHost: here\r\n\r\n")
        client.recv(1000)
        made = -1
        # It stands still when fifty requests later nothing more was made.
        while made != (made := json.loads(demo.get("/streams"))["slow"]):
            for _ in range(50):
                demo.get("/streams")
    assert made < 1024, "a quarter of all"


@contextmanager
def running(example: str, *endpoints: str) -> Iterator[Program]:
    """An example that serves by itself and tells on which ports, until its end."""
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / example, *endpoints],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    with process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            lines = [process.stdout.readline() for _ in endpoints]
            yield Program([int(line.rpartition(":")[2]) for line in lines], process)
            assert process.stderr.read() == ""
            assert process.wait() == 0
        finally:
            watchdog.cancel()
            process.kill()


def test_embedded() -> None:
    """The application, the files and the line protocol are one process."""
    with running("embedded.py", *[ANY_PORT] * 2) as program:
        web, lines = program.ports
        with closing(HTTPConnection("127.0.0.1", web, timeout=20)) as client:
            for path in ["/page", "/page", "/static/embedded.py"]:
                client.request("GET", path)
                body = client.getresponse().read()
        assert body == (EXAMPLES / "embedded.py").read_bytes()
        with socket.create_connection(("127.0.0.1", lines), timeout=20) as client:
            client.sendall(b"/page\n/static/embedded.py\n")
            replies = client.makefile("rb")
            assert [replies.readline(), replies.readline()] == [b"2\n", b"0\n"]
        program.process.terminate()


def test_embedded_site() -> None:
    """Application and files are one site, with the limits that it was given."""
    with (
        running("embedded_site.py", ANY_PORT) as program,
        closing(HTTPConnection("127.0.0.1", program.ports[0], timeout=20)) as client,
    ):
        client.request("GET", "/static/embedded_site.py")
        body = client.getresponse().read()
        assert body == (EXAMPLES / "embedded_site.py").read_bytes()
        client.request("POST", "/", headers={"Content-Length": str(2**20 + 1)})
        assert client.getresponse().status == 413
        program.process.terminate()


def test_embedded_site_ends_when_its_responses_have_ended() -> None:
    """A signal has the process accept nothing more, and complete what is in flight."""
    with (
        running("embedded_site.py", ANY_PORT) as program,
        closing(HTTPConnection("127.0.0.1", program.ports[0], timeout=20)) as client,
    ):
        client.request("GET", "/")
        response = client.getresponse()
        assert response.read(2) == b"3\n"
        program.process.terminate()
        assert response.read() == b"2\n1\nFiles are at /static.\n"
