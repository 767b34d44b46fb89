"""
Waiting for descriptors: ``x-wsgiorg.fdevent``, on a fake reactor and on real ones.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from commandline import TWIST, Server, serving
from doors import serve, serve_in_a_turn
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from waiting import (
    LAST_CHUNK,
    READABLE,
    STATUS,
    SUSPEND,
    TIMEOUT,
    WRITABLE,
    Boom,
    Pair,
    Waiting,
    body_of,
    chunks,
    leaves_something,
    open_descriptors,
    status_of,
)
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_wsgiflush._descriptors import Readable, Writable
from twisted_wsgiflush.testing import Turns

if TYPE_CHECKING:
    from conftest import Logged


@pytest.fixture
def pair() -> Iterator[Pair]:
    with closing(Pair()) as pair:
        yield pair


def case(sentence: str, *values: object) -> Any:
    """A row of a table, and what it is called in the report."""
    return pytest.param(*values, id=sentence)


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("timeout", [(), (None,), (1.5,), (1,)])
def test_an_application_waits_for_something_to_read(pair: Pair, timeout) -> None:
    """It is not asked until there is; and it has not timed out then."""
    application = Waiting(READABLE, pair.left, *timeout)
    before = open_descriptors()
    served = serve(application)
    served.turn(10)
    waited = not application.went_on

    pair.right.send(b"x")
    served.turn(2)

    assert waited
    assert application.went_on is True
    assert application.timed_out is False
    assert body_of(served.read()) == chunks(b"went on") + LAST_CHUNK
    assert leaves_something(served) == []
    assert open_descriptors() == before


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("timeout", [(), (None,), (1.5,), (1,)])
def test_an_application_waits_for_room_to_write(pair: Pair, timeout) -> None:
    """As it waits for something to read."""
    pair.fill()
    application = Waiting(WRITABLE, pair.left, *timeout)
    before = open_descriptors()
    served = serve(application)
    served.turn(10)
    waited = not application.went_on

    pair.empty()
    served.turn(2)

    assert waited
    assert application.went_on is True
    assert application.timed_out is False
    assert body_of(served.read()) == chunks(b"went on") + LAST_CHUNK
    assert leaves_something(served) == []
    assert open_descriptors() == before


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
def test_waiting_returns_an_empty_block(pair: Pair, key: str) -> None:
    """So that it can be yielded."""
    returned = []

    def application(environ, start_response):
        returned.append(environ[key](pair.left, 1.5))
        start_response("200 OK", [])
        return []

    served = serve(application)

    assert returned == [b""]
    assert leaves_something(served) == []


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
def test_a_number_will_do(pair: Pair, key: str) -> None:
    """A descriptor itself, in place of what has one; its timeout has a name."""
    pair.right.send(b"x")

    def application(environ, start_response):
        yield environ[key](fd=pair.left.fileno(), timeout=1.5)
        start_response("200 OK", [])
        yield b"went on"

    assert body_of(serve(application).read(4)) == chunks(b"went on") + LAST_CHUNK


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
def test_a_wait_times_out(pair: Pair, key: str) -> None:
    """After its seconds, counted from the empty block, and not before."""
    pair.fill()
    application = Waiting(key, pair.left, 0.25)
    before = open_descriptors()
    served = serve_in_a_turn(application)
    served.clock.turn(5)
    went_on = []

    for seconds in (0, 0.249, 0.001, 0):
        served.clock.turn(seconds)
        went_on.append(application.went_on)

    assert went_on == [False, False, False, True]
    assert application.timed_out is True
    assert leaves_something(served) == []
    assert open_descriptors() == before


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
@pytest.mark.parametrize("timeout", [0, 0.0, 0.1])
def test_a_descriptor_that_is_ready_has_not_timed_out(pair: Pair, key, timeout) -> None:
    """Not even when the reactor comes late, and looks at the time first."""
    if key == READABLE:
        pair.fill()
        pair.right.send(b"x")
    application = Waiting(key, pair.left, timeout)
    served = serve(application)
    served.clock.callLater(0, served.clock.advance, 1)
    served.turn(3)

    assert application.went_on is True
    assert application.timed_out is False


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
def test_a_timeout_of_zero_looks_once(pair: Pair, key: str) -> None:
    """And tells that the descriptor was not ready."""
    pair.fill()
    application = Waiting(key, pair.left, 0)

    serve(application).turn(3)

    assert application.timed_out is True


@pytest.mark.usefixtures("door")
def test_the_timeout_is_that_of_the_last_wait(pair: Pair) -> None:
    """It changes with each, is the same object, and no affair of ``suspend``."""
    timed_out = []

    def application(environ, start_response):
        for number in range(4):
            if number % 2:
                pair.right.send(b"x")
            yield environ[READABLE](pair.left, 0)
            pair.left.recv(1) if number % 2 else None
            timed_out.append(bool(environ[TIMEOUT]))
            environ[SUSPEND](0)
            yield b""
            timed_out.append(bool(environ[TIMEOUT]))
        start_response("200 OK", [])

    serve(application).turn(30)

    assert timed_out == [True, True, False, False] * 2


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
def test_the_status_of_a_suspension_is_no_affair_of_a_wait(pair: Pair, key) -> None:
    """It stays what it was."""
    statuses = []

    def application(environ, start_response):
        environ[SUSPEND](0)
        yield b""
        statuses.append(bool(environ[STATUS]))
        pair.right.send(b"x")
        yield environ[key](pair.left)
        statuses.append(bool(environ[STATUS]))
        start_response("200 OK", [])

    serve(application).read()

    assert statuses == [False, False]


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
def test_a_regular_file_is_ready_at_once(tmp_path: Path, key: str) -> None:
    """As select(2) sees it: at its end, too."""
    file = tmp_path / "file"
    file.touch()
    with file.open("r+") as opened:
        application = Waiting(key, opened, 10)
        before = open_descriptors()
        served = serve(application)
        served.turn(3)

    assert application.timed_out is False
    assert leaves_something(served) == []
    assert open_descriptors() == before - 1


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
def test_a_descriptor_at_its_end_is_ready(key: str) -> None:
    """The other end is closed: reading and writing will tell."""
    pair = Pair()
    pair.fill()
    application = Waiting(key, pair.left, 10)
    served = serve(application)
    served.turn(3)
    waited = not application.went_on

    pair.right.close()
    served.turn(2)
    pair.close()

    assert waited
    assert application.timed_out is False
    assert leaves_something(served) == []


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("end", ["reading", "writing"])
def test_a_pipe_that_was_hung_up_is_ready(end: str) -> None:
    """poll(2) and epoll(7) tell that in another way than readiness."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while end == "writing":
            os.write(writer, b"x" * 65536)
    mine, other = (reader, writer) if end == "reading" else (writer, reader)
    application = Waiting(READABLE if end == "reading" else WRITABLE, mine, 10)
    served = serve(application)
    served.turn(3)
    waited = not application.went_on

    os.close(other)
    served.turn(2)
    os.close(mine)

    assert waited
    assert application.timed_out is False
    assert leaves_something(served) == []


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
@pytest.mark.parametrize(
    ("fd", "error"),
    [
        case("negative", lambda: -1, ValueError),
        case("closed socket", lambda: closed_socket(), ValueError),
        case("closed file", lambda: closed_file(), ValueError),
        case("closed number", lambda: closed_number(), OSError),
        case("no descriptor", lambda: None, TypeError),
    ],
)
def test_what_is_not_open_is_an_error(key, fd, error) -> None:
    """It is raised in the application, which is not suspended then."""

    def application(environ, start_response):
        with pytest.raises(error):
            environ[key](fd(), 1)
        start_response("200 OK", [])
        yield b""
        yield b"went on"

    before = open_descriptors()

    assert body_of(serve(application).read(4)) == chunks(b"went on") + LAST_CHUNK
    assert open_descriptors() == before


def closed_socket() -> socket.socket:
    pair = Pair()
    pair.close()
    return pair.left


def closed_file() -> Any:
    with open(os.devnull) as file:
        pass
    return file


def closed_number() -> int:
    number = os.dup(0)
    os.close(number)
    return number


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), ("1", TypeError)])
def test_a_wait_without_a_timeout_that_is_one_is_an_error(
    pair: Pair, key, timeout, error
) -> None:
    """It is raised in the application, and no descriptor is left."""
    before = open_descriptors()

    def application(environ, start_response):
        with pytest.raises(error):
            environ[key](pair.left, timeout)
        start_response("200 OK", [])
        return [b"went on"]

    assert serve(application).drain().endswith(b"went on")
    assert open_descriptors() == before


@pytest.mark.usefixtures("door")
def test_two_requests_wait_for_the_same_descriptor(pair: Pair) -> None:
    """Both go on; and so does one that waits to write to it."""
    applications = [
        Waiting(READABLE, pair.left),
        Waiting(READABLE, pair.left),
        Waiting(WRITABLE, pair.left),
    ]
    pair.fill()
    clock = Turns()
    serveds = [serve(application, clock=clock) for application in applications]
    serveds[0].turn()

    pair.right.send(b"x")
    serveds[0].turn(3)
    read = [application.went_on for application in applications]
    pair.empty()
    serveds[0].turn(3)

    assert read == [True, True, False]
    assert applications[2].went_on is True
    assert clock.getReaders() == []
    assert clock.getWriters() == []


@pytest.mark.usefixtures("door")
def test_a_descriptor_of_the_reactor_may_be_waited_for(pair: Pair) -> None:
    """The reactor goes on watching it, during and after the wait."""
    read = []

    @implementer(IReadDescriptor)
    class Watched:
        def fileno(self) -> int:
            return pair.left.fileno()

        def logPrefix(self) -> str:
            return "watched"

        def doRead(self) -> None:
            read.append(pair.left.recv(1))

        def connectionLost(self, reason: Failure) -> None:
            pass

    watched = Watched()
    application = Waiting(READABLE, pair.left)
    served = serve(application)
    served.clock.addReader(watched)
    served.turn(2)

    pair.right.send(b"x")
    served.turn(3)
    pair.right.send(b"y")
    served.turn()

    assert application.went_on is True
    assert read == [b"x", b"y"]
    assert served.clock.getReaders() == [watched]


@pytest.mark.usefixtures("door")
def test_a_descriptor_may_be_closed_while_it_is_waited_for(pair: Pair) -> None:
    """The wait is for what it was; and its number may be another's meanwhile."""
    application = Waiting(READABLE, pair.left.fileno(), 10)
    before = open_descriptors()
    served = serve(application)
    served.turn(2)
    pair.left.close()
    with closing(Pair()):
        served.turn(2)
        waited = not application.went_on

        pair.right.send(b"x")
        served.turn(2)

    assert waited
    assert application.timed_out is False
    assert open_descriptors() == before - 1


def close_duplicate(pair: Pair) -> None:
    """Close the descriptor by which the left one is watched."""
    inode = os.fstat(pair.left.fileno()).st_ino
    for number in range(3, 1000):
        with suppress(OSError):
            if number != pair.left.fileno() and os.fstat(number).st_ino == inode:
                os.close(number)


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
def test_an_application_that_closes_what_is_not_its_own_goes_on(
    pair: Pair, key: str
) -> None:
    """The error is seen in the reactor, and not by a client that waits for ever."""
    pair.fill()
    application = Waiting(key, pair.left, 1)
    served = serve(application)
    served.turn()
    close_duplicate(pair)

    with pytest.raises(OSError, match="Bad file descriptor"):
        served.clock.turn(1)
    served.turn()

    assert application.went_on
    assert application.timed_out is False


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
def test_an_application_that_closes_what_is_not_its_own_is_closed(
    pair: Pair, key: str, logged: Logged
) -> None:
    """When its client leaves, as any other; the error is logged."""
    pair.fill()
    application = Waiting(key, pair.left)
    served = serve(application)
    served.turn()
    close_duplicate(pair)

    served.leave()

    assert application.left
    assert len(logged.flush(OSError)) == 1


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
@pytest.mark.parametrize("turns", [1, 2, 5])
def test_a_client_that_leaves_ends_the_wait(pair: Pair, key, turns) -> None:
    """Whether it was in force or only due; no descriptor and no timer is left."""
    pair.fill()
    left = []

    def application(environ, start_response):
        environ[key](pair.left, 10)
        try:
            yield b""
        except GeneratorExit:
            left.append(True)
            raise

    before = open_descriptors()
    served = serve_in_a_turn(application)
    served.turn(turns)

    assert leaves_something(served) == []
    assert left == [True]
    assert open_descriptors() == before


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("blocks", [[], [b"all"], [b"a", b"ll"]])
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
def test_a_wait_that_never_had_its_block_leaves_nothing(
    pair: Pair, key, blocks
) -> None:
    """The response is complete."""
    before = open_descriptors()

    def application(environ, start_response):
        start_response("200 OK", [])
        environ[key](pair.left, 10)
        return blocks

    served = serve(application)

    assert served.read().endswith(LAST_CHUNK)
    assert leaves_something(served) == []
    assert open_descriptors() == before


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize("key", [READABLE, WRITABLE])
def test_an_application_that_fails_leaves_no_descriptor(
    pair: Pair, key, logged: Logged
) -> None:
    """Of those that it had asked to wait for."""
    before = open_descriptors()

    def application(environ, start_response):
        environ[key](pair.left, 10)
        raise Boom

    served = serve(application)

    assert status_of(served.read()) == "HTTP/1.1 500 Internal Server Error"
    assert leaves_something(served) == []
    assert open_descriptors() == before
    assert len(logged.flush(Boom)) == 1


@pytest.mark.usefixtures("door")
def test_many_waits_leave_no_descriptor(pair: Pair) -> None:
    """One after the other, ready and not."""

    def application(environ, start_response):
        for _ in range(100):
            yield environ[WRITABLE](pair.left)
            yield environ[READABLE](pair.left, 0)
        start_response("200 OK", [])

    before = open_descriptors()
    served = serve(application)
    response = served.read(1000)

    assert response.endswith(LAST_CHUNK)
    assert open_descriptors() == before


@pytest.mark.usefixtures("door")
def test_empty_blocks_of_middleware_do_no_harm(pair: Pair) -> None:
    """Any that comes first is the one that suspends: the wait is the same."""

    def application(environ, start_response):
        block = environ[READABLE](pair.left)
        yield b""
        start_response("200 OK", [])
        yield block
        yield b"went on"

    served = serve(application)
    early = served.read()
    pair.right.send(b"x")

    assert early == b""
    assert body_of(served.read()) == chunks(b"went on") + LAST_CHUNK


# --- the descriptor itself


@pytest.mark.parametrize(
    ("kind", "interface"),
    [(Readable, IReadDescriptor), (Writable, IWriteDescriptor)],
)
def test_a_reactor_can_watch_it(pair: Pair, kind, interface) -> None:
    """It is what a reactor asks for, and has a name in its log."""
    descriptor = kind(Turns(), pair.left.fileno())

    verifyObject(interface, descriptor)
    assert descriptor.logPrefix() == "fdevent"
    assert descriptor.fileno() != pair.left.fileno()
    descriptor.stop()


@pytest.mark.parametrize("kind", [Readable, Writable])
def test_a_child_process_does_not_inherit_it(pair: Pair, kind) -> None:
    """One that is started meanwhile would keep the connection open."""
    descriptor = kind(Turns(), pair.left.fileno())

    assert os.get_inheritable(descriptor.fileno()) is False
    descriptor.stop()


@pytest.mark.parametrize("kind", [Readable, Writable])
def test_it_tells_once(pair: Pair, kind) -> None:
    """Whatever comes after it was stopped, or before it was started, is nothing."""
    told = []
    before = open_descriptors()
    descriptor = kind(Turns(), pair.left.fileno())

    def ready() -> None:
        told.append(True)
        descriptor.stop()

    descriptor.connectionLost(Failure(ConnectionDone()))
    descriptor.start(ready)
    descriptor.connectionLost(Failure(ConnectionDone()))
    descriptor.connectionLost(Failure(ConnectionDone()))

    assert told == [True]
    assert open_descriptors() == before


# --- real reactors

APPLICATIONS = Path(__file__).parent / "applications"

REACTORS = {
    "epoll": "EPollReactor",
    "poll": "PollReactor",
    "select": "SelectReactor",
    "asyncio": "AsyncioSelectorReactor",
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.one_reactor) for name in REACTORS],
)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The application ``descriptors``, on each of the reactors."""
    with serving(
        "descriptors.py",
        cwd=APPLICATIONS,
        door=TWIST,
        runner=["--reactor", request.param],
    ) as server:
        assert server.get("/reactor").decode() == REACTORS[request.param]
        yield server


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("pipe_to_read", "ready"),
        ("pipe_to_write", "ready"),
        ("socket_to_read", "ready"),
        ("socket_to_write", "ready"),
        ("hung_up_to_read", "ready"),
        ("hung_up_to_write", "ready"),
        ("socket_closed_to_read", "ready"),
        ("socket_closed_to_write", "ready"),
        ("file_to_read", "ready"),
        ("file_to_write", "ready"),
        ("null_to_read", "ready"),
        ("null_to_write", "ready"),
        ("directory_to_read", "ready"),
        ("never_to_read", "timed out"),
        ("never_to_write", "timed out"),
        ("at_once_to_read", "ready"),
        ("at_once_to_write", "ready"),
        ("closed_meanwhile", "ready"),
        ("closed_before", "OSError"),
        ("watched_by_the_reactor", "ready, True, True"),
        ("in_a_thread", "True, [True]"),
    ],
)
def test_every_reactor_waits(server: Server, path: str, answer: str) -> None:
    """For every kind of descriptor; it is told the same, and leaves none behind."""
    with closing(server.connect()) as connection:
        before = ask(connection, "descriptors")
        answered = ask(connection, path)
        after = ask(connection, "descriptors")

    assert answered == answer
    assert after == before


def test_every_reactor_waits_for_one_descriptor_twice(server: Server) -> None:
    """Two requests at a time, each in its own way."""
    clients = [server.connect() for _ in range(3)]
    for client, path in zip(
        clients, ["share", "share", "feed_the_shared"], strict=True
    ):
        send(client, path)

    assert [receive(client) for client in clients] == ["ready", "ready", "fed"]
    for client in clients:
        client.close()


def test_every_reactor_gives_a_descriptor_back(server: Server) -> None:
    """When the client leaves that made the application wait for ever."""
    with closing(server.connect()) as connection:
        before = ask(connection, "descriptors")
        for _ in range(3):
            with closing(server.connect()) as leaving:
                send(leaving, "for_ever")
                ask(connection, "until_waiting")
            ask(connection, "until_nobody_waits")
        after = ask(connection, "descriptors")

    assert after == before


def send(connection: socket.socket, path: str) -> None:
    connection.sendall(b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())


def receive(connection: socket.socket) -> str:
    with closing(HTTPResponse(connection)) as response:
        response.begin()
        return response.read().decode()


def ask(connection: socket.socket, path: str) -> str:
    send(connection, path)
    return receive(connection)
