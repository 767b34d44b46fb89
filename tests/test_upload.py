"""The examples of input: an upload, while it arrives and when it is complete."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
from commandline import CHECKOUT, Server, serving
from test_extension_examples import example
from test_input import post
from test_streamedinput import Streaming, plain
from waiting import LAST_CHUNK, body_of, chunks, status_of

from twisted_wsgiflush.coroutines import asynchronous
from twisted_wsgiflush.testing import serve

MIB = bytes(range(256)) * 4096
STREAM = "--stream-input"


def last_line(body: bytes) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    return f"{len(body)} bytes, SHA-256 {digest}\n".encode()


def command_of(name: str) -> list[str]:
    """The arguments of the command in the first lines of an example."""
    words = (CHECKOUT / "examples" / name).read_text().split('"""')[1]
    found = re.search(r"wsgiflush (.*)$", words, re.M)
    assert found
    return shlex.split(found[1])


# --- the applications


def test_an_upload_that_is_complete() -> None:
    """Without the option the upload is answered when it has come."""
    served = serve(example("upload").application, post(MIB + b"more"))

    assert body_of(served.read()) == (
        chunks(b"1048576 bytes so far\n", last_line(MIB + b"more")) + LAST_CHUNK
    )


def test_an_upload_that_arrives() -> None:
    """Each MiB is told of before the next has come."""
    streaming = Streaming(example("upload").application, plain)
    streaming.served.read()
    for piece in (MIB[:600_000], MIB[600_000:]):
        assert b"bytes so far" not in streaming.served.read()
        streaming.connection.send(piece)
    assert streaming.served.read().endswith(chunks(b"1048576 bytes so far\n"))

    streaming.connection.finish(b"more")

    assert streaming.served.read() == chunks(last_line(MIB + b"more")) + LAST_CHUNK


def form(body: bytes) -> tuple[str, bytes]:
    """A form with a file: its type, and the body of a request with it."""
    disposition = b'Content-Disposition: form-data; name="file"; filename="a"'
    return (
        "multipart/form-data; boundary=b",
        b"--b\r\n%b\r\n\r\n%b\r\n--b--\r\n" % (disposition, body),
    )


@pytest.mark.parametrize("length", [True, False])
def test_a_form_is_complete_before_flask_is_called(length: bool) -> None:
    """The example has Flask see a form that has come in pieces, also without length."""
    content_type, body = form(MIB)

    def with_a_form(environ: Any, start_response: Any) -> Any:
        environ["REQUEST_METHOD"] = "POST"
        environ["CONTENT_TYPE"] = content_type
        environ["CONTENT_LENGTH"] = str(len(body)) if length else ""
        del environ["wsgi.input_terminated"]
        return example("complete_input").application(environ, start_response)

    streaming = Streaming(with_a_form, plain)
    for start in range(0, len(body), 50_000):
        streaming.connection.send(body[start : start + 50_000])
        assert streaming.served.read() == b""
    streaming.connection.finish()

    assert body_of(streaming.served.read()) == b"1048576 bytes\n"


def test_flask_refuses_half_a_form() -> None:
    """Without that, and without ``wsgi.input_terminated``, it tells that it is half."""

    def with_a_form(environ: Any, start_response: Any) -> Any:
        environ["REQUEST_METHOD"] = "POST"
        environ["CONTENT_TYPE"] = "application/x-www-form-urlencoded"
        environ["CONTENT_LENGTH"] = "100"
        del environ["wsgi.input_terminated"]
        environ["wsgi.input"].received(b"file=")
        return example("complete_input").flask(environ, start_response)

    streaming = Streaming(with_a_form, plain)

    assert status_of(streaming.served.read()) == "HTTP/1.1 400 BAD REQUEST"


# --- the command, where the body is complete


def test_the_command_without_the_option() -> None:
    """The same program serves on a server that reads the body in advance."""
    arguments = [word for word in command_of("upload.py") if word != STREAM]
    with (
        serving(*arguments, cwd=CHECKOUT) as server,
        closing(HTTPConnection("127.0.0.1", server.port, timeout=20)) as client,
    ):
        client.request("PUT", "/", MIB)
        body = client.getresponse().read()
    assert body == b"1048576 bytes so far\n" + last_line(MIB)


# --- what breaks off later


@pytest.mark.parametrize("begin", [asynchronous, plain], ids=["coroutine", "generator"])
def test_a_loss_after_the_head_is_no_error(begin: Any, logged: Any) -> None:
    """The response is cut short, and no error of the application is logged."""

    async def coroutine(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"begun"
        await environ["wsgi.input"].read()

    def generator(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"begun"
        yield environ["wsgi.input"].readable()
        environ["wsgi.input"].read()

    streaming = Streaming(coroutine if begin is asynchronous else generator, begin)
    assert b"begun" in streaming.served.read()

    streaming.connection.lose()

    assert not streaming.served.read().endswith(LAST_CHUNK)
    assert streaming.served.closed
    assert logged.at("error") + logged.at("critical") == []


# --- the command, where it arrives


@pytest.fixture
def streaming() -> Iterator[Server]:
    """The server of the example's first lines; nothing of it is an error."""
    with serving(*command_of("upload.py"), cwd=CHECKOUT) as server:
        yield server
        assert "Traceback" not in server.stop().stderr


HEAD = b"PUT / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"


@pytest.mark.parametrize("chunked", [False, True])
def test_the_response_begins_before_the_upload_ends(
    streaming: Server, chunked: bool
) -> None:
    """The client has its first line when a part of the body has gone out."""
    with streaming.connect() as client, client.makefile("rb") as response:
        if chunked:
            client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            client.sendall(chunks(MIB))
        else:
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (2 * len(MIB)))
            client.sendall(MIB)
        while b" bytes so far" not in response.readline():
            pass
        client.sendall(chunks(MIB) + LAST_CHUNK if chunked else MIB)
        assert last_line(MIB * 2) in response.read()


def test_the_body_is_asked_for_when_it_is_read(streaming: Server) -> None:
    """Who expects ``100 Continue`` has it, and sends the body then."""
    with streaming.connect() as client, client.makefile("rb") as response:
        client.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert response.readline() == b"HTTP/1.1 100 Continue\r\n"
        client.sendall(b"body")
        assert last_line(b"body") in response.read()


def test_a_client_that_leaves_in_the_middle(streaming: Server) -> None:
    """The next one is served."""
    for _ in range(3):
        with streaming.connect() as client:
            client.sendall(HEAD + b"Content-Length: 10000000\r\n\r\n" + MIB)
    assert streaming.get() == last_line(b"")


def test_the_command_with_a_form() -> None:
    """Flask has a form that is complete, below an input that is not."""
    content_type, body = form(MIB)
    with (
        serving(*command_of("complete_input.py"), cwd=CHECKOUT) as server,
        closing(HTTPConnection("127.0.0.1", server.port, timeout=20)) as client,
    ):
        client.request("POST", "/", body, {"Content-Type": content_type})
        assert client.getresponse().read() == b"1048576 bytes\n"
