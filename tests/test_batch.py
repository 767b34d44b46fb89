"""Responses that are complete leave together, when the turn is over."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from connections import FastSocketClient, another, fill
from twisted.web.resource import Resource

from twisted_wsgiflush._batch import MANY
from twisted_wsgiflush._pump import SLICE
from twisted_wsgiflush.testing import GET

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
