"""Beginnings and ends of responses leave together, when the turn is over."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from connections import Blocks, FastSocketClient, another, fill, giving
from twisted.web.resource import Resource
from waiting import LAST_CHUNK, chunks

from twisted_wsgiflush._batch import MANY, SLICE, Batch
from twisted_wsgiflush._http1sink import LARGE
from twisted_wsgiflush.testing import GET, Turns

pytestmark = pytest.mark.usefixtures("sockets_closed")


def clients_of(application: Any, number: int = 1) -> list[FastSocketClient]:
    """Some clients of a site, which has others."""
    first = FastSocketClient(application)
    clients = [first, *(another(first) for _ in range(MANY - 1))]
    return clients[:number]


def get(path: bytes) -> bytes:
    """A request."""
    return GET.replace(b" / ", b" %b " % path)


def asks(client: FastSocketClient, *paths: bytes) -> None:
    """Requests come, all at once."""
    client.transport.protocol.dataReceived(b"".join(map(get, paths)))


class Application:
    """What is served, and what its client had received when it was called."""

    def __init__(self) -> None:
        self.clients: list[FastSocketClient] = []
        self.had: list[bytes] = []
        self.calls = 0
        self.takes = 0.0

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Its path, after so many seconds; or more, or that in a generator."""
        self.calls += 1
        for client in self.clients:
            self.had.append(client.receive()[-4:])
            client.clock.rightNow += self.takes
        start_response("200 OK", [])
        path = environ["PATH_INFO"].encode()
        if path == b"/large":
            return [path * 2000]
        return [path] if path != b"/many" else iter([path])


def test_they_leave_when_the_turn_is_over() -> None:
    """All of them, and nothing is left to do."""
    clients = clients_of(Application(), 3)
    for client in clients:
        asks(client, b"/one")
    before = [client.receive() for client in clients]
    clients[0].turn()

    assert before == [b"", b"", b""]
    for client in clients:
        assert client.receive().endswith(b"\r\n\r\n/one")


def test_they_leave_at_once_where_there_are_few() -> None:
    """To wait for the end of the turn takes time, too."""
    client = FastSocketClient(Application())
    others = [another(client) for _ in range(MANY - 2)]
    asks(client, b"/one")
    few = client.receive()
    others.append(another(client))
    asks(client, b"/one")
    many = client.receive()
    others[0].leave()
    client.turn(3)
    client.receive()
    asks(client, b"/one")

    assert few.endswith(b"/one")
    assert many == b""
    assert client.receive().endswith(b"/one")


def test_what_the_application_puts_off_comes_after_it() -> None:
    """Such as work that is to be done when the response has left."""

    def application(environ: Any, start_response: Any) -> Any:
        client.clock.callLater(0, lambda: had.append(client.receive()[-5:]))
        start_response("200 OK", [])
        return [b"block"]

    had: list[bytes] = []
    (client,) = clients_of(application)
    asks(client, b"/one")
    client.turn()

    assert had == [b"block"]


@pytest.mark.parametrize("path", [b"/one", b"/large", b"/many"])
def test_they_wait_for_no_longer_than_a_slice(path: bytes) -> None:
    """Whatever else is answered in the turn."""
    application = Application()
    application.takes = SLICE
    first, *others = clients_of(application, 4)
    asks(first, b"/one")
    application.clients.append(first)
    for client in others:
        asks(client, path)

    assert application.had == [b"", b"/one", b""]


def test_they_wait_for_no_longer_while_others_give_blocks() -> None:
    """However many of those were due before."""

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"one"] if environ["PATH_INFO"] == "/one" else blocks()

    def blocks() -> Any:
        while True:
            client.clock.rightNow += SLICE
            had.append(client.receive()[-3:])
            yield b"block"

    had: list[bytes] = []
    client, *others = clients_of(application, 4)
    for other in others:
        asks(other, b"/many")
    client.turn()
    del had[:]
    asks(client, b"/one")
    client.turn()

    assert had == [b"", b"one", b""]


def test_a_response_leaves_before_the_next_request_is_served() -> None:
    """Of the same client: that may take its time."""
    application = Application()
    application.clients = [client] = clients_of(application)
    asks(client, b"/one", b"/two")

    assert application.had == [b"", b"/one"]


def test_a_response_leaves_before_a_neighbour_is_asked() -> None:
    """It may take its time, too."""

    class Neighbour(Resource):
        def render(self, request: Any) -> bytes:
            had.append(client.receive()[-4:])
            return b"neighbour"

    had: list[bytes] = []
    (client,) = clients_of(Application())
    client.site.putChild(b"neighbour", Neighbour())
    asks(client, b"/one", b"/neighbour")
    client.turn(2)

    assert had == [b"/one"]
    assert client.receive().endswith(b"\r\n\r\nneighbour")


def test_a_request_may_come_before_the_turn_is_over() -> None:
    """As on asyncio, where descriptors come before what is due."""
    application = Application()
    application.clients = [client] = clients_of(application)
    asks(client, b"/one")
    asks(client, b"/two")

    assert application.had == [b"", b"/one"]


def test_a_request_is_not_served_before_the_response_is_taken() -> None:
    """However early it has come."""
    application = Application()
    (client,) = clients_of(application)
    client.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    fill(client)
    asks(client, b"/one")
    asks(client, b"/two")
    calls = application.calls
    client.read(100)

    assert calls == 1
    assert client.received.endswith(b"/two")


def test_a_client_may_leave_before_the_turn_is_over() -> None:
    """The others get theirs."""
    leaves, stays = clients_of(Application(), 2)
    asks(leaves, b"/one")
    asks(stays, b"/one")
    leaves.leave()
    stays.turn(3)

    assert stays.receive().endswith(b"\r\n\r\n/one")
    assert not leaves.transport.connected


def test_the_last_response_of_a_connection_leaves_at_once() -> None:
    """With its end."""
    (client,) = clients_of(Application())
    data = get(b"/one").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    client.transport.protocol.dataReceived(data)

    assert client.receive().endswith(b"\r\n\r\n/one")
    assert client.closed


# --- responses that are iterated


def give_one_block(clients: list[FastSocketClient]) -> None:
    """Each has had one, as it will have the next, for all that can be told."""
    site = clients[0].site
    application = site.application
    for client in clients:
        site.application = giving(iter([b"one"]))
        asks(client, b"/")
        client.turn(3)
        client.receive()
    site.application = application


def test_it_leaves_as_one_that_is_complete() -> None:
    """And its application is asked for more when it has left."""
    blocks = Blocks(b"one")
    (client,) = clients = clients_of(giving(blocks))
    give_one_block(clients)
    asks(client, b"/")
    before = (client.drain(), blocks.asked)
    client.turn()
    after = (client.drain(), blocks.asked)
    client.turn()

    assert before == (b"", 1)
    assert after[0].endswith(b"\r\n\r\n" + chunks(b"one"))
    assert after[1] == 2
    assert client.receive() == LAST_CHUNK
    assert blocks.closed == 1


def test_it_leaves_at_once_after_one_that_had_more() -> None:
    """However large those were: it will have more, too."""
    more: list[list[bytes]] = [[b"one", b"two"], [b"one", b"x" * LARGE]]
    (client,) = clients = clients_of(lambda environ, start_response: None)
    for blocks in more:
        give_one_block(clients)
        for _ in range(2):
            client.site.application = giving(iter(blocks))
            asks(client, b"/")
            received = client.receive()
            client.turn(3)
            client.receive()

        assert chunks(*blocks) in received


def test_all_have_left_before_more_is_asked_for() -> None:
    """Nobody's block waits for another one's to be made."""

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"one"
        had.append([client.drain()[-3:] for client in clients])

    had: list[list[bytes]] = []
    clients = clients_of(application, 3)
    give_one_block(clients)
    for client in clients:
        asks(client, b"/")
    clients[0].turn()

    assert had == [[b"e\r\n"] * 3] * 3


def test_ends_wait_for_no_longer_than_a_slice() -> None:
    """Whatever the others make of what they are asked for."""

    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"one"
        had.append([client.drain().endswith(LAST_CHUNK) for client in clients])
        clients[0].clock.rightNow += SLICE

    had: list[list[bool]] = []
    clients = clients_of(application, 3)
    give_one_block(clients)
    for client in clients:
        asks(client, b"/")
    clients[0].turn()

    assert had == [
        [False, False, False],
        [False, False, False],
        [True, True, False],
    ]


def test_it_rests_while_the_client_does_not_take_it() -> None:
    """As it would have if it had been sent at once."""
    blocks = Blocks(b"one", b"two")
    (client,) = clients = clients_of(giving(blocks))
    give_one_block(clients)
    client.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    fill(client)
    asks(client, b"/")
    client.turn(5)
    asked = blocks.asked
    client.read(100)

    assert asked == 1
    assert client.received.endswith(chunks(b"one", b"two") + LAST_CHUNK)


def test_what_is_written_does_not_wait() -> None:
    """PEP 3333, "The write() Callable"; by whomever, and whenever."""

    def application(environ: Any, start_response: Any) -> Any:
        writes.append(start_response("200 OK", []))
        if environ["PATH_INFO"] == "/once":
            writes[-1](b"one")
            had.append(client.receive())
        else:
            environ["x-wsgiorg.suspend"]()
        yield b""

    had: list[bytes] = []
    writes: list[Any] = []
    (client,) = clients = clients_of(application)
    give_one_block(clients)
    asks(client, b"/once")
    client.turn(2)
    client.receive()
    asks(client, b"/suspended")
    client.turn()
    writes[-1](b"two")

    assert had[0].endswith(chunks(b"one"))
    assert client.receive().endswith(chunks(b"two"))


def test_its_client_may_leave_before() -> None:
    """It is not asked for more, and closed."""
    blocks = Blocks(b"one")
    leaves, stays = clients = clients_of(giving(blocks), 2)
    give_one_block(clients)
    asks(leaves, b"/")
    leaves.leave()
    stays.turn(2)

    assert (blocks.asked, blocks.closed) == (1, 1)


def test_it_may_be_resumed_before() -> None:
    """By the task that has written: it goes on when all has left."""

    def application(environ: Any, start_response: Any) -> Any:
        writes.append(start_response("200 OK", []))
        resumes.append(environ["x-wsgiorg.suspend"]())
        yield b""
        calls.append(1)

    writes: list[Any] = []
    resumes: list[Any] = []
    calls: list[int] = []
    (client,) = clients = clients_of(application)
    give_one_block(clients)
    asks(client, b"/")
    client.turn()
    writes[0](b"one")
    resumes[0]()
    before = calls.copy()
    client.turn(2)

    assert (before, calls) == ([], [1])
    assert client.receive().endswith(chunks(b"one") + LAST_CHUNK)


@pytest.mark.parametrize("news", [b"news", b"x" * LARGE])
def test_what_others_write_comes_behind_it(news: bytes) -> None:
    """As one client's request may write into another one's response."""

    def application(environ: Any, start_response: Any) -> Any:
        writes.append(start_response("200 OK", []))
        yield b"hello"

    writes: list[Any] = []
    (client,) = clients = clients_of(application)
    give_one_block(clients)
    asks(client, b"/")
    writes[0](news)
    client.turn(2)

    assert client.receive().endswith(b"\r\n\r\n" + chunks(b"hello", news) + LAST_CHUNK)


def test_it_is_asked_once_in_a_turn() -> None:
    """Though it is due in the reactor, and waits for what it has written."""

    def application(environ: Any, start_response: Any) -> Any:
        writes.append(start_response("200 OK", []))
        while True:
            asked.append(1)
            yield b""

    def writing(environ: Any, start_response: Any) -> Any:
        writes[0](b"one")
        start_response("200 OK", [])
        return []

    writes: list[Any] = []
    asked: list[int] = []
    client, other = clients = clients_of(application, 2)
    give_one_block(clients)
    asks(client, b"/")
    client.site.application = writing
    asks(other, b"/")
    client.turn(1)
    asked.clear()
    for _ in range(5):
        before = len(asked)
        client.turn()
        assert len(asked) == before + 1


def test_steps_come_when_all_has_left() -> None:
    """In their order; what they add is of the next turn."""
    clock = Turns()
    batch = Batch(clock)
    seen: list[str] = []

    def step() -> None:
        seen.append("step")
        batch.add(lambda: seen.append("sent"))
        batch.then(lambda: seen.append("last"))

    batch.then(step)
    batch.add(lambda: seen.append("first"))
    clock.turn()
    after_one = seen.copy()
    clock.turn()

    assert after_one == ["first", "step"]
    assert seen == ["first", "step", "sent", "last"]
    assert clock.getDelayedCalls() == []


def test_a_step_that_fails_keeps_no_other_from_being_taken() -> None:
    """The reactor hears of it."""

    def fails() -> None:
        raise ValueError("in its step")

    clock = Turns()
    batch = Batch(clock)
    seen: list[str] = []
    for step in (fails, lambda: seen.append("one"), lambda: seen.append("two")):
        batch.then(step)
    with pytest.raises(ValueError, match="in its step"):
        clock.turn()
    batch.then(lambda: seen.append("three"))
    clock.turn()

    assert seen == ["one", "two", "three"]
    assert clock.getDelayedCalls() == []
