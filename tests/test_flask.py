"""Flask, as in examples/flask_app.py, and what its users do with it."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from http.cookiejar import CookieJar

import pytest
from commandline import CHECKOUT, Server, serving


@pytest.fixture(scope="module", params=["fast", "twisted"])
def site(request: pytest.FixtureRequest) -> str:
    """Who speaks HTTP/1.1."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def flask(site: str) -> Iterator[Server]:
    """A server of the example."""
    with serving("--site", site, "examples/flask_app.py", cwd=CHECKOUT) as server:
        yield server
        ended = server.stop()
    assert ended.status == 0
    assert "Traceback" not in ended.stderr


def url(server: Server, path: str) -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def post(server: Server, path: str, body: bytes, content_type: str) -> bytes:
    """The body of the response to a POST request."""
    headers = {"Content-Type": content_type}
    request = urllib.request.Request(url(server, path), body, headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        received: bytes = response.read()
    return received


def test_json(flask: Server) -> None:
    """JSON goes in, and comes out."""
    body = json.dumps({"numbers": [1, 2, 39]}).encode()
    answer = post(flask, "/sum", body, "application/json")
    assert json.loads(answer) == {"sum": 42}


def test_form(flask: Server) -> None:
    """A form is read, in any script."""
    body = urllib.parse.urlencode(
        {"name": "Zo\u00eb & \u041e\u043b\u0435\u0433"}
    ).encode()
    answer = post(flask, "/greeting", body, "application/x-www-form-urlencoded")
    assert answer.decode() == "Hello, Zo\u00eb & \u041e\u043b\u0435\u0433.\n"


@pytest.mark.parametrize("chunked", [False, True])
def test_upload(flask: Server, chunked: bool) -> None:
    """A file of 20 MB arrives as it was, with and without Content-Length."""
    content = hashlib.sha256(b"seed").digest() * 625_000
    blocks = [
        b"--boundary\r\n"
        b'Content-Disposition: form-data; name="file"; filename="large.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n",
        content,
        b"\r\n--boundary--\r\n",
    ]
    with closing(HTTPConnection("127.0.0.1", flask.port, timeout=20)) as client:
        client.request(
            "POST",
            "/upload",
            iter(blocks) if chunked else b"".join(blocks),
            {"Content-Type": "multipart/form-data; boundary=boundary"},
            encode_chunked=chunked,
        )
        answer = json.loads(client.getresponse().read())
    assert answer == {
        "name": "large.bin",
        "size": 20_000_000,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_stream(flask: Server) -> None:
    """A stream that needs its request, long after the view has returned."""
    with urllib.request.urlopen(url(flask, "/letter?to=me&lines=3")) as response:
        assert "Content-Length" not in response.headers
        assert response.read() == b"0 me\n1 me\n2 me\n"


def test_streams_do_not_mix(flask: Server) -> None:
    """Streams made in turn by one thread each know their own request only."""
    names = ["anna", "bert", "carl", "dora"]
    lines = 300_000  # no stream is complete before the last one begins
    with ExitStack() as clients:
        readers = []
        for name in names:
            client = HTTPConnection("127.0.0.1", flask.port, timeout=20)
            clients.enter_context(closing(client))
            client.request("GET", f"/letter?to={name}&lines={lines}")
            readers.append(client.getresponse())
        for number in range(1000):
            for name, reader in zip(names, readers, strict=True):
                assert reader.readline() == f"{number} {name}\n".encode()


def test_session(flask: Server) -> None:
    """A session lasts from one request to the next, for each visitor."""

    def visitor() -> Iterator[int]:
        cookies = urllib.request.HTTPCookieProcessor(CookieJar())
        opener = urllib.request.build_opener(cookies)
        while True:
            with opener.open(url(flask, "/visits"), timeout=20) as response:
                yield json.load(response)["visits"]

    one, other = visitor(), visitor()
    assert [next(one), next(one), next(other), next(one)] == [1, 2, 1, 3]


def test_not_found(flask: Server) -> None:
    """A page of the application's own for what is not there."""
    response = flask.request("/nowhere")
    assert response.status == 404
    assert json.loads(response.body) == {"error": "there is nothing at /nowhere"}


def test_error(site: str) -> None:
    """An error in a view is Flask's page and in the log; the connection stays."""
    with serving("--site", site, "examples/flask_app.py", cwd=CHECKOUT) as server:
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=20)) as client:
            client.request("GET", "/broken")
            response = client.getresponse()
            assert response.status == 500
            assert b"Internal Server Error" in response.read()
            connection = client.sock
            client.request("GET", "/letter?to=me&lines=1")
            assert client.getresponse().read() == b"0 me\n"
            assert client.sock is connection
        ended = server.stop()
    assert ended.status == 0
    assert ended.stderr.count("Traceback") == 1
    assert "RuntimeError: this page is broken" in ended.stderr
