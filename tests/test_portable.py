"""``portable``: the same application, and the same tests, on every kind of server."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from email.message import Message
from http.client import HTTPConnection, parse_headers
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread, deferToThread
from waiting import open_descriptors

from twisted_wsgiflush._begun import begun
from twisted_wsgiflush.errors import (
    AlreadyStarted,
    CannotBlock,
    ResponseError,
    StartResponseMissing,
)
from twisted_wsgiflush.portable import portable

APPLICATIONS = Path(__file__).parent / "applications"
EVERYWHERE = "everywhere:application"
ADDRESS = "127.0.0.1:0"
# Wherever the tests are run from.
PYTHONPATH = os.pathsep.join([str(APPLICATIONS.parent.parent), *sys.path])

WSGIREF = """
import sys, wsgiref.simple_server
from everywhere import application
server = wsgiref.simple_server.make_server("127.0.0.1", 0, application)
print(f"serving at http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""
CGI = """
from wsgiref.handlers import CGIHandler
from everywhere import application
CGIHandler().run(application)
"""

GUNICORN = ["-m", "gunicorn", "--bind", ADDRESS, EVERYWHERE, "--worker-class"]
COMMANDS = {
    "wsgiref": ["-c", WSGIREF],
    "gunicorn sync": [*GUNICORN, "sync"],
    "gunicorn gthread": [*GUNICORN, "gthread", "--threads", "4"],
    "gunicorn gevent": [*GUNICORN, "gevent"],
    "waitress": ["-m", "waitress", "--listen", ADDRESS, EVERYWHERE],
    "this container": [
        *("-m", "twisted_wsgiflush", "--listen", "tcp:0:interface=127.0.0.1"),
        EVERYWHERE,
    ],
}
THROUGH_CGI = "CGI"


class Stream(Protocol):
    def read(self, size: int = -1) -> bytes: ...


class Response(NamedTuple):
    """A response whose head is here; the body may still be on its way."""

    status: int
    headers: Message
    body: Stream

    def json(self) -> Any:
        """What the body says."""
        assert self.status == 200
        return json.loads(self.body.read())


class Asking(Protocol):
    def __call__(
        self, case: str, method: str = "GET", body: bytes = b"", **headers: str
    ) -> Any:
        """A context manager that gives a response, and leaves."""


class Fifo:
    """By which a case and its test tell each other how far they are."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        # For both, or a reader would see the end when a writer is done.
        self.number = os.open(path, os.O_RDWR)
        self._lines: list[str] = []

    def tell(self, event: str) -> None:
        """Let the case know."""
        os.write(self.number, event.encode() + b"\n")

    def told(self) -> str:
        """What the case tells next; it waits until there is something."""
        if not self._lines:
            ready, _, _ = select.select([self.number], [], [], 20)
            assert ready, "the application has told nothing"
            self._lines = os.read(self.number, 1000).decode().split()
        return self._lines.pop(0)


def environment() -> dict[str, str]:
    """For the servers and their applications."""
    return {**os.environ, "PYTHONPATH": PYTHONPATH}


@contextmanager
def over_http(port: int, target: str, method: str, body: bytes, **headers: str) -> Any:
    """Ask a server."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, target, body or None, headers)
        with connection.getresponse() as response:
            yield Response(response.status, response.headers, response)


@contextmanager
def through_cgi(target: str, method: str, body: bytes, **headers: str) -> Any:
    """Do what a web server does for a CGI program (RFC 3875)."""
    path, _, query = target.partition("?")
    environ = {
        **environment(),
        **{f"HTTP_{n.upper().replace('-', '_')}": headers[n] for n in headers},
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        **({"CONTENT_LENGTH": str(len(body))} if body else {}),
    }
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", CGI],
        cwd=APPLICATIONS,
        env=environ,
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        watchdog = threading.Timer(20, process.kill)
        watchdog.start()
        try:
            process.stdin.write(body)  # And no end: a client keeps its connection.
            process.stdin.flush()
            fields = parse_headers(process.stdout)
            yield Response(int(fields["Status"][:3]), fields, process.stdout)
            process.stdout.close()
            process.wait()
        finally:
            watchdog.cancel()
            process.kill()


@contextmanager
def serving(command: list[str]) -> Iterator[int]:
    """Have a server run; gives its port."""
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=APPLICATIONS,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            log = ""
            while not (found := re.search(r"https?://127\.0\.0\.1:(\d+)", log)):
                line = process.stdout.readline()
                assert line, log
                log += line
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield int(found[1])
        finally:
            watchdog.cancel()
            process.terminate()


@pytest.fixture(
    scope="module",
    params=[
        # Each has a reactor of its own, in a thread or as its server.
        pytest.param(name, marks=pytest.mark.one_reactor)
        for name in [*COMMANDS, THROUGH_CGI]
    ],
)
def server(request: pytest.FixtureRequest) -> Iterator[str | int]:
    """Each of the servers, running."""
    if request.param == THROUGH_CGI:
        yield THROUGH_CGI
    else:
        with serving(COMMANDS[request.param]) as port:
            yield port


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    fifo = Fifo(tmp_path / "fifo")
    yield fifo
    os.close(fifo.number)


@pytest.fixture
def ask(server: str | int, tmp_path: Path, fifo: Fifo) -> Asking:
    """Asks the server for one of the cases in ``applications/everywhere.py``."""

    def ask(case: str, method: str = "GET", body: bytes = b"", **headers: str) -> Any:
        target = f"/{case}?{tmp_path / 'fifo'}"
        fields = {name.replace("_", "-"): headers[name] for name in headers}
        if server == THROUGH_CGI:
            return through_cgi(target, method, body, **fields)
        assert isinstance(server, int)
        return over_http(server, target, method, body, **fields)

    return ask


@pytest.mark.usefixtures("measured")
def test_each_key_is_there(ask: Asking) -> None:
    """Every key of the contract is in environ, and of its type."""
    with ask("keys") as response:
        found = response.json()
    assert found["wsgi.asynchronous"] is True
    assert found["wsgi.input_terminated"] is True
    assert found["wsgi.response_error"] == "type"
    assert found["wsgi.file_wrapper"] == "type"
    assert found["twisted.reactor"].endswith("Reactor")
    assert found["RAW_URI"] == found["REQUEST_URI"] == "str"
    for name in ("flush", "suspend", "fdevent.readable", "fdevent.writable"):
        assert found[f"x-wsgiorg.{name}"] == "method"
    assert found["wsgi.pause_output"] == "method"
    assert found["x-wsgiorg.suspend_status"] == "list"
    assert found["x-wsgiorg.fdevent.timeout"] == "list"


def test_a_head_comes_before_its_body_is_made(ask: Asking, fifo: Fifo) -> None:
    """What is flushed is sent while the application waits for something else."""
    with ask("early") as response:  # The head is here.
        fifo.tell("now")
        assert response.body.read() == b"now\n"


def test_a_fresh_copy_spares_the_body(ask: Asking, fifo: Fifo) -> None:
    """A flushed head that matches gives a 304, and the body is closed, not made."""
    with ask("validated", If_None_Match='"v1"') as response:
        assert response.status == 304
        assert response.headers["ETag"] == '"v1"'
        assert "Content-Length" not in response.headers
        assert response.body.read() == b""
    assert fifo.told() == "closed"


def test_a_stale_copy_gets_the_body(ask: Asking, fifo: Fifo) -> None:
    """A flushed head that does not match goes out, and so does its body."""
    with ask("validated", If_None_Match='"v0"') as response:
        assert response.status == 200
        assert fifo.told() == "iterated"
        assert response.body.read() == b"the body"
    assert fifo.told() == "closed"


def test_head_is_spared_the_body(ask: Asking, fifo: Fifo) -> None:
    """HEAD gets the flushed head, and the body is closed, not made."""
    with ask("validated", "HEAD") as response:
        assert response.status == 200
        assert response.headers["Content-Length"] == "8"
        assert response.body.read() == b""
    assert fifo.told() == "closed"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [("GET", {"If_None_Match": '"v1"'}, 304), ("HEAD", {}, 200)],
    ids=["a fresh copy", "HEAD"],
)
def test_a_flush_ends_a_suspension_that_nobody_waits_for(
    ask: Asking, fifo: Fifo, method: str, headers: dict[str, Any], status: int
) -> None:
    """The response is complete with its head, and the application closed at once."""
    with ask("flushed_while_suspended", method, **headers) as response:
        assert response.status == status
        assert response.body.read() == b""
    assert fifo.told() == "closed"


def test_a_flush_does_not_end_another_suspension(ask: Asking, fifo: Fifo) -> None:
    """It sends the head at once, and the body comes in its time."""
    with ask("flushed_while_suspended") as response:  # The head is here.
        fifo.tell("now")
        assert response.body.read() == b"now\n"
    assert fifo.told() == "closed"


def test_what_is_written_while_suspended_is_sent_at_once(
    ask: Asking, fifo: Fifo
) -> None:
    """The suspension goes on."""
    with ask("written_while_suspended") as response:
        assert response.body.read(9) == b"written, "
        fifo.tell("now")
        assert response.body.read() == b"now\n"
    assert fifo.told() == "closed"


def test_the_status_is_decided_after_a_suspension(ask: Asking) -> None:
    """A suspended application is resumed by another thread, and then starts."""
    with ask("suspended") as response:
        assert response.status == 201
        assert response.body.read() == b"[true, false]"


JSON = {
    "paused": True,
    "timed_out": [False, False],
    "eager": [True, False, True],
    "patient": [True, True, True, True],
    "twice": "AlreadySuspended",
    "descriptors": {
        "a regular file": False,
        "room to write": False,
        "nothing to read": True,
        "something to read": False,
        "a hang-up": False,
        "closed": "ValueError",
        "not open": "OSError",
        "negative": "ValueError",
        "none": "TypeError",
    },
}


@pytest.mark.parametrize("case", JSON)
def test_it_finds(ask: Asking, case: str) -> None:
    """What the extensions tell an application is the same everywhere."""
    with ask(case) as response:
        assert response.json() == JSON[case]


BODIES = {
    "postponed": (200, b"sent, timed out"),
    "coroutine": (202, b"awaited, the coroutine's"),
    "generator": (200, b"012"),
    "triple": (203, b"of WSGI 2.0"),
    "refused": (404, b"it is not here"),
    "committed": (200, b"too late"),
}


@pytest.mark.parametrize("case", BODIES)
def test_it_answers(ask: Asking, case: str) -> None:
    """What a client gets is the same everywhere."""
    with ask(case) as response:
        assert (response.status, response.body.read()) == BODIES[case]


def test_the_input_ends_where_the_body_ends(ask: Asking) -> None:
    """Reading on gives no bytes, where a server's own input might wait for more."""
    with ask("echo", "POST", b"a line\nand the rest") as response:
        assert response.json() == ["19", "a line\n", "and the rest", ""]


def test_the_input_may_be_awaited(ask: Asking) -> None:
    """An application that waits for its body finds it there."""
    with ask("awaited_input", "POST", b"a line\nand the rest") as response:
        assert response.json() == ["a line\n", "and the rest", True]
    with ask("awaited_by_a_generator", "POST", b"four and") as response:
        assert response.json() == ["four", " and"]


def test_there_may_be_no_input(ask: Asking) -> None:
    """A request without a body has an input that is at its end."""
    with ask("echo") as response:
        assert response.json() == ["", "", "", ""]


def test_written_blocks_keep_their_place(ask: Asking) -> None:
    """What goes through ``write`` comes before what is yielded after it."""
    with ask("written") as response:
        assert response.body.read() == b"written, yielded, written"


def test_an_error_before_the_head_gives_a_500(ask: Asking) -> None:
    """An application that fails while nothing is sent is the server's to excuse."""
    with ask("failing") as response:
        assert response.status == 500


def test_a_client_that_leaves_closes_the_application(ask: Asking, fifo: Fifo) -> None:
    """It is closed once the server knows: at the next block that it cannot send."""
    with ask("endless") as response:
        assert response.body.read(9) == b"blockbloc"
    assert fifo.told() == "closed"


# What only the server's side can see, in this process.


class Asked:
    """
    A server with one request, of which everything happens in a thread of its own.

    It goes by the letter of PEP 3333 and remembers what it was told.
    """

    def __init__(self, body: bytes = b"", **environ: Any) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.blocks: list[bytes] = []
        self.threads = {"server": set[int](), "application": set[int]()}
        self.environ = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/",
            "QUERY_STRING": "",
            "wsgi.input": self.reading(BytesIO(body)),
            **environ,
        }

    def reading(self, stream: BytesIO) -> Any:
        """An input that remembers which thread reads it."""
        asked = self

        class Input:
            def read(self, size: int) -> bytes:
                asked.here("server")
                return stream.read(size)

        return Input()

    def here(self, who: str) -> None:
        """Remember the thread that runs."""
        self.threads[who].add(threading.get_ident())

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        self.here("server")
        assert not self.status
        self.status, self.headers = status, headers
        return self.write

    def write(self, block: bytes) -> None:
        self.here("server")
        self.blocks.append(block)

    def to(self, app: Any) -> Deferred[None]:
        """See the response of an application to its end."""
        return deferToThread(self.see, portable(app))

    def see(self, app: Any) -> None:
        app_iter = app(self.environ, self.start_response)
        try:
            for block in app_iter:
                self.write(block)
        finally:
            app_iter.close()


@ensureDeferred
async def test_who_has_the_extensions_keeps_them() -> None:
    """Where the server has them, the application gets the server's environ."""
    arguments: Any = ({"x-wsgiorg.suspend": None}, lambda *ignored: None)

    def application(environ: Any, start_response: Any) -> Any:
        return environ, start_response

    assert portable(application)(*arguments) == arguments


@ensureDeferred
async def test_it_does_not_block_the_reactor() -> None:
    """In the reactor's thread it refuses to wait for the reactor."""
    with pytest.raises(CannotBlock, match="reactor's thread"):
        Asked().see(portable(lambda environ, start_response: []))


@ensureDeferred
async def test_a_server_may_leave_out_what_is_empty() -> None:
    """The application finds it, as PEP 3333 lets it rely on with few servers."""
    found = {}
    asked = Asked()
    for name in ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING"):
        del asked.environ[name]

    def application(environ, start_response):
        found.update(environ)
        start_response("200 OK", [])
        return []

    await asked.to(application)

    names = ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE")
    assert [found[name] for name in names] == [""] * 4


@ensureDeferred
async def test_what_a_request_has_begun_is_over_with_it() -> None:
    """A subrequest that it has not waited for, say."""
    over = []

    def application(environ, start_response):
        begun.get().append(lambda: over.append(threading.get_ident()))
        start_response("200 OK", [])
        return []

    await Asked().to(application)

    assert over == [threading.get_ident()]  # In the reactor's thread.


@pytest.mark.usefixtures("measured")
def test_a_reactor_that_has_ended_does_not_run_again() -> None:
    """Without a reactor that runs it says so, and does not wait for one."""
    program = """
import threading
from twisted.internet import reactor
from twisted_wsgiflush.errors import CannotBlock
from twisted_wsgiflush.portable import portable
reactor.callWhenRunning(reactor.stop)
reactor.run()
threading.excepthook = lambda thread: print(thread.exc_type.__name__)
application = portable(lambda environ, start_response: [])
threading.Thread(target=application, args=({}, None)).start()
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=20,
        check=True,
    )
    assert ran.stdout == "CannotBlock\n"


@ensureDeferred
async def test_each_has_a_thread() -> None:
    """The server is in its own thread, the application in the reactor's."""
    asked = Asked(b"body", CONTENT_LENGTH="4")

    def application(environ: Any, start_response: Any) -> Any:
        asked.here("application")
        environ["wsgi.input"].read()
        write = start_response("200 OK", [])
        environ["x-wsgiorg.flush"]()
        write(b"written")
        try:
            asked.here("application")
            yield b"yielded"
        finally:
            asked.here("application")

    await asked.to(application)
    assert asked.blocks == [b"", b"written", b"yielded"]
    assert asked.threads["application"] == {threading.get_ident()}
    assert len(asked.threads["server"]) == 1
    assert asked.threads["server"] != asked.threads["application"]


@ensureDeferred
async def test_a_slow_client_keeps_only_its_own_thread() -> None:
    """While the server's ``write`` waits, the reactor runs."""
    reactor: Any
    from twisted.internet import reactor

    asked = Asked()
    asked.write = lambda block: blockingCallFromThread(  # type: ignore[method-assign]
        reactor, asked.blocks.append, block
    )

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])(b"written")
        return []

    await asked.to(application)
    assert asked.blocks == [b"written"]


@ensureDeferred
async def test_a_server_that_cannot_write_is_told_when_the_application_ends() -> None:
    """Its error is raised once the application has been closed, and not before."""
    asked = Asked()
    events: list[str] = []

    def write(block: bytes) -> None:
        events.append("write")
        raise BrokenPipeError

    asked.write = write  # type: ignore[method-assign]

    class Body(list[bytes]):
        def close(self) -> None:
            events.append("close")

    def application(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        write(b"one")
        write(b"two")
        events.append("called")
        return Body()

    with pytest.raises(BrokenPipeError):
        await asked.to(application)
    assert sorted(events[:-1]) == ["called", "write"]
    assert events[-1] == "close"


@ensureDeferred
async def test_a_suspension_ends_when_the_server_cannot_write() -> None:
    """There is nobody to wait for, so the application is closed and not asked."""
    asked = Asked()
    events: list[str] = []

    def write(block: bytes) -> None:
        raise BrokenPipeError

    asked.write = write  # type: ignore[method-assign]

    def application(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        environ["x-wsgiorg.suspend"]()
        environ["twisted.reactor"].callLater(0, write, b"one")
        try:
            yield b""
            events.append("went on")
        finally:
            events.append("closed")
            environ["x-wsgiorg.suspend"]("no number")

    with pytest.raises(BrokenPipeError):
        await asked.to(application)
    assert events == ["closed"]


@ensureDeferred
async def test_what_is_written_too_late_is_dropped() -> None:
    """Its server has come to the end of the response, or given up on it."""
    reactor: Any
    from twisted.internet import reactor

    asked = Asked()

    def application(environ: Any, start_response: Any) -> Any:
        reactor.callLater(0, start_response("200 OK", []), b"written")
        yield b"yielded"

    def stop_at_the_first_block() -> None:
        app_iter: Any = portable(application)(asked.environ, asked.start_response)
        asked.write(next(app_iter))
        blockingCallFromThread(reactor, deferLater, reactor, 0)
        app_iter.close()

    await deferToThread(stop_at_the_first_block)
    assert asked.blocks == [b"yielded"]


@ensureDeferred
async def test_who_has_a_fresh_copy_does_not_wait() -> None:
    """Not even for a suspension that was due before the flush."""
    asked = Asked(HTTP_IF_NONE_MATCH='"v1"')

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("ETag", '"v1"')])
        environ["x-wsgiorg.suspend"]()
        yield environ["x-wsgiorg.flush"]()

    await asked.to(application)
    assert asked.status == "304 Not Modified"
    assert asked.headers == [("ETag", '"v1"')]


@ensureDeferred
async def test_a_descriptor_that_the_reactor_refuses_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is raised by the empty block; nobody waits, and nothing stays open."""
    reactor: Any
    from twisted.internet import reactor

    ours, theirs = socket.socketpair()
    before = open_descriptors()

    def refuse(reader: object) -> None:
        raise PermissionError("refused")

    def application(environ: Any, start_response: Any) -> Any:
        yield environ["x-wsgiorg.fdevent.readable"](ours)

    with monkeypatch.context() as patched:
        patched.setattr(reactor, "addReader", refuse)
        with pytest.raises(PermissionError, match="refused"):
            await Asked().to(application)
    assert open_descriptors() == before
    ours.close()
    theirs.close()


@ensureDeferred
async def test_nothing_is_resumed_once_it_is_over() -> None:
    """A suspension that never came into force cannot be resumed afterwards."""
    kept: list[Any] = []

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        kept.append(environ["x-wsgiorg.suspend"]())
        return []

    await Asked().to(application)
    assert kept[0]() is False


@ensureDeferred
async def test_a_descriptor_is_not_waited_for_once_it_is_over() -> None:
    """A wait that never came into force leaves nothing behind."""
    asked = Asked()

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        environ["x-wsgiorg.fdevent.readable"](0, 10)
        return [b"not empty"]

    await asked.to(application)
    assert asked.blocks == [b"not empty"]


@ensureDeferred
async def test_the_extensions_do_nothing_once_it_is_over() -> None:
    """An application that keeps them is not failed by them."""
    kept: list[Any] = []
    asked = Asked()

    def application(environ: Any, start_response: Any) -> Any:
        kept.append(environ)
        kept.append(start_response("200 OK", []))
        return [b"all"]

    await asked.to(application)
    environ, write = kept
    write(b"late")
    with pytest.raises(ValueError, match="closed file"):
        environ["wsgi.input"].read()
    assert environ["x-wsgiorg.flush"]() == b""
    assert environ["x-wsgiorg.fdevent.readable"](-1) == b""
    assert environ["x-wsgiorg.fdevent.writable"](-1) == b""
    assert environ["x-wsgiorg.suspend"](-1)() is False
    assert environ["wsgi.pause_output"]()() is False
    assert asked.blocks == [b"all"]


def at_once(environ: Any, start_response: Any) -> Any:
    raise environ["wsgi.response_error"]("404 Not Found", [("X", "y")], b"not here")


def while_suspended(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("A", "b")])
    yield b""
    environ["x-wsgiorg.suspend"]()
    at_once(environ, start_response)


@pytest.mark.parametrize("app", [at_once, while_suspended])
@ensureDeferred
async def test_a_response_that_is_raised_replaces_the_other(app: Any) -> None:
    """It does not matter when, as long as nothing is sent."""
    asked = Asked()
    await asked.to(app)
    assert asked.status == "404 Not Found"
    assert asked.headers == [("X", "y"), ("Content-Length", "8")]
    assert asked.blocks == [b"not here"]


@ensureDeferred
async def test_a_response_that_is_raised_does_not_wait() -> None:
    """Not even one that is empty, for the suspension that was due before."""
    asked = Asked()

    def application(environ: Any, start_response: Any) -> Any:
        environ["x-wsgiorg.suspend"]()
        raise environ["wsgi.response_error"]("404 Not Found")

    await asked.to(application)
    assert asked.status == "404 Not Found"


@ensureDeferred
async def test_a_response_that_is_raised_may_have_its_length() -> None:
    """The application's Content-Length is left as it is."""
    asked = Asked()

    def application(environ: Any, start_response: Any) -> Any:
        error = environ["wsgi.response_error"]
        raise error("416 No", [("content-length", "0")])

    await asked.to(application)
    assert asked.headers == [("content-length", "0")]


@ensureDeferred
async def test_the_headers_of_the_application_stay_its_own() -> None:
    """Servers add to the list that they are given; wsgiref adds a Content-Length."""
    headers = [("X", "y")]

    class Adding(Asked):
        def start_response(
            self, status: str, headers: Any, exc_info: Any = None
        ) -> Any:
            write = super().start_response(status, headers, exc_info)
            headers.append(("Content-Length", "4"))
            return write

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", headers)
        return [b"body"]

    asked = Adding()
    await asked.to(application)
    assert asked.headers == [("X", "y"), ("Content-Length", "4")]
    assert headers == [("X", "y")]


@ensureDeferred
async def test_what_becomes_of_the_list_of_headers_does_not_matter() -> None:
    """They are what they were when ``start_response`` was called."""
    asked = Asked()

    def application(environ: Any, start_response: Any) -> Any:
        headers = [("X", "y")]
        start_response("200 OK", headers)
        headers.append(("Too", "late"))
        return [b"body"]

    await asked.to(application)
    assert asked.headers == [("X", "y")]


@ensureDeferred
async def test_a_call_that_fails_leaves_no_descriptor() -> None:
    """Though the server has nothing to close then."""
    ours, theirs = socket.socketpair()
    before = open_descriptors()

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        environ["x-wsgiorg.flush"]()
        environ["x-wsgiorg.fdevent.readable"](ours)
        at_once(environ, start_response)

    with pytest.raises(ResponseError):
        await Asked().to(application)
    assert open_descriptors() == before
    ours.close()
    theirs.close()


@ensureDeferred
async def test_a_response_that_is_raised_late_is_an_error() -> None:
    """Once something is sent it is the server's to handle, as any other."""
    asked = Asked()

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield environ["x-wsgiorg.flush"]()
        at_once(environ, start_response)

    with pytest.raises(ResponseError):
        await asked.to(application)
    assert asked.status == "200 OK"


def no_start(environ: Any, start_response: Any) -> Any:
    return [b"a body"]


def no_start_and_no_body(environ: Any, start_response: Any) -> Any:
    return []


def no_start_and_a_flush(environ: Any, start_response: Any) -> Any:
    environ["x-wsgiorg.flush"]()


@pytest.mark.parametrize("app", [no_start, no_start_and_no_body, no_start_and_a_flush])
@ensureDeferred
async def test_a_response_has_a_status(app: Any) -> None:
    """What comes before ``start_response`` is an error of the application."""
    with pytest.raises(StartResponseMissing):
        await Asked().to(app)


@ensureDeferred
async def test_start_response_is_called_once() -> None:
    """The second call is an error of the application."""

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        start_response("200 OK", [])

    with pytest.raises(AlreadyStarted):
        await Asked().to(application)


@ensureDeferred
async def test_start_response_replaces_what_is_not_sent() -> None:
    """With ``exc_info`` the second call counts."""
    asked = Asked()

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b""
        start_response("500 Oh", [], (ValueError, ValueError(), None))

    await asked.to(application)
    assert (asked.status, asked.blocks) == ("500 Oh", [])


@ensureDeferred
async def test_start_response_raises_what_comes_too_late() -> None:
    """With the head on its way, ``exc_info`` is the application's to handle."""
    asked = Asked()
    raised = []

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"block"
        error = ValueError()
        try:
            start_response("500 Oh", [], (ValueError, error, None))
        except ValueError as same:
            raised.append(same is error)

    await asked.to(application)
    assert (asked.status, asked.blocks, raised) == ("200 OK", [b"block"], [True])


@pytest.mark.parametrize(
    ("method", "status"),
    [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")],
)
@ensureDeferred
async def test_there_may_be_no_body_to_send(method: str, status: str) -> None:
    """Then the application is closed at its first block, and no block is sent."""
    asked = Asked(REQUEST_METHOD=method)
    events: list[str] = []

    def application(environ: Any, start_response: Any) -> Any:
        write = start_response(status, [])
        write(b"not sent")
        try:
            yield b"not sent"
            events.append("asked for more")
        finally:
            events.append("closed")

    await asked.to(application)
    assert asked.status == status
    assert b"".join(asked.blocks) == b""
    assert events == ["closed"]


TARGETS: dict[str, dict[str, Any]] = {
    "/a/caf%C3%A9%20b?q=%20": {
        "SCRIPT_NAME": "/a",
        "PATH_INFO": "/caf\xc3\xa9 b",
        "QUERY_STRING": "q=%20",
    },
    "/as%2Fit": {"RAW_URI": "/as%2Fit", "PATH_INFO": "/as/it"},
    "/as%2Fit?": {"REQUEST_URI": "/as%2Fit?", "PATH_INFO": "/as/it"},
}


@pytest.mark.parametrize("target", TARGETS)
@ensureDeferred
async def test_the_target_is_there_as_it_came(target: str) -> None:
    """As it came where the server tells, or else as it may have come."""
    found: dict[str, Any] = {}

    def application(environ: Any, start_response: Any) -> Any:
        found.update(environ)
        start_response("200 OK", [])
        return []

    await Asked(**TARGETS[target]).to(application)
    assert found["RAW_URI"] == found["REQUEST_URI"] == target


BODIES_OF_REQUESTS: list[tuple[bytes, dict[str, Any], bytes, str]] = [
    (b"body and the next", {"CONTENT_LENGTH": "4"}, b"body", "4"),
    (b"cut", {"CONTENT_LENGTH": "4"}, b"cut", "4"),
    (b"chunked", {"wsgi.input_terminated": True}, b"chunked", "7"),
    (b"", {"wsgi.input_terminated": True}, b"", ""),
    (b"the next", {}, b"", ""),
    (b"the next", {"CONTENT_LENGTH": "-1"}, b"", "-1"),
    (b"x" * 3_000_000, {"CONTENT_LENGTH": "2000000"}, b"x" * 2_000_000, "2000000"),
]


@pytest.mark.parametrize(
    ("sent", "environ", "body", "length"), BODIES_OF_REQUESTS, ids=range(7)
)
@ensureDeferred
async def test_the_body_is_read_to_its_end(
    sent: bytes, environ: dict[str, Any], body: bytes, length: str
) -> None:
    """It is complete in the application's input, and nothing else is."""
    found: list[Any] = []

    def application(environ: Any, start_response: Any) -> Any:
        found.append(environ["wsgi.input"].read())
        found.append(environ["CONTENT_LENGTH"])
        start_response("200 OK", [])
        return []

    await Asked(sent, **environ).to(application)
    assert found == [body, length]


@ensureDeferred
async def test_each_request_has_a_context() -> None:
    """It begins as the server's, and what the application sets there stays there."""
    of_server: ContextVar[str] = ContextVar("of_server")
    of_application: ContextVar[str] = ContextVar("of_application", default="")
    asked = Asked()
    found: list[str] = []

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        of_application.set("set")
        yield b"block"
        found.append(of_server.get() + of_application.get())

    def serve() -> None:
        of_server.set("server, ")
        asked.see(portable(application))
        found.append(of_application.get())

    await deferToThread(serve)
    assert found == ["server, set", ""]


@ensureDeferred
async def test_an_error_is_the_servers() -> None:
    """An application that fails in its call does so in the server's call."""

    def application(environ: Any, start_response: Any) -> Any:
        raise ZeroDivisionError("of the application")

    with pytest.raises(ZeroDivisionError, match="of the application"):
        await Asked().to(application)


@ensureDeferred
async def test_it_keeps_to_the_interface() -> None:
    """``wsgiref.validate`` finds no fault with either of its sides."""
    asked = Asked()
    asked.environ["wsgi.input"] = BytesIO()
    setup_testing_defaults(asked.environ)

    @validator
    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        environ["x-wsgiorg.flush"]()
        return Late(environ)

    class Late:
        def __init__(self, environ: Any) -> None:
            self.environ = environ

        def __iter__(self) -> Iterator[bytes]:
            self.environ["x-wsgiorg.suspend"](1)
            yield b""
            yield b"block"

    await deferToThread(asked.see, validator(portable(application)))
    assert asked.blocks == [b"", b"block"]
