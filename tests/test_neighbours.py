"""Resources of ``twisted.web`` beside the application, on one connection with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from connections import FastSocketClient
from pytest_twisted import ensureDeferred
from test_channel import get, post, read_on, statuses
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.static import Data, File
from zope.interface.verify import verifyObject

from twisted_wsgiflush import Limits, WSGISite
from twisted_wsgiflush._neighbours import NeighbourChannel
from twisted_wsgiflush.testing import Turns

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.usefixtures("sockets_closed")


class Late(Resource):
    """Answers when the test says so."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.lost = 0

    def render(self, request: Request) -> Any:
        self.requests.append(request)
        request.notifyFinish().addErrback(self._lose)
        return NOT_DONE_YET

    def _lose(self, failure: object) -> None:
        self.lost += 1

    def answer(self, body: bytes = b"late") -> None:
        request = self.requests.pop(0)
        request.write(body)
        request.finish()


class Body(Resource):
    """Gives the body of a request."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        assert request.content is not None
        return b"[" + request.content.read() + b"]"


class Losing(Resource):
    """Loses the connection."""

    isLeaf = True

    def render(self, request: Request) -> Any:
        request.loseConnection()
        return NOT_DONE_YET


def application(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return [b"application " + environ["PATH_INFO"].encode()]


class Beside(FastSocketClient):
    """A client of an application with neighbours."""

    late: Late

    def make_fast_site(self, application: Any, **options: Any) -> WSGISite:
        site = super().make_fast_site(application, **options)
        self.late = Late()
        site.putChild(b"late", self.late)
        site.putChild(b"body", Body())
        site.putChild(b"losing", Losing())
        site.putChild(b"large", Data(b"x" * 5_000_000, "text/plain"))
        return site


def test_it_is_a_protocol() -> None:
    """As a transport wants it."""
    site = WSGISite(Turns(), application)
    channel = NeighbourChannel(None, site.stock_site(), persistent=True)

    assert verifyObject(IProtocol, channel)


def test_neighbours_take_turns_with_the_application() -> None:
    """On one connection, in order."""
    client = Beside(application)
    client.send(get(b"/a") + get(b"/body") + get(b"/b") + get(b"/body/x") + get(b"/c"))
    received = read_on(client, 30)

    assert statuses(received) == ["200"] * 5
    order = [received.index(x) for x in (b"n /a", b"[]", b"n /b", b"n /c")]
    assert order == sorted(order)
    assert not client.ended


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("size", [3, 200_000])
def test_the_body_of_a_request_is_the_neighbours(size, pieces) -> None:
    """And the next request begins after it."""
    client = Beside(application)
    data = post(size, path=b"/body") + b"x" * size + get(b"/next")
    for number in range(pieces):
        begin, end = (len(data) * n // pieces for n in (number, number + 1))
        client.send(data[begin:end])
        client.turn(3)
    client.read(50)

    assert b"[" + b"x" * size + b"]" in client.received
    assert client.received.endswith(b"application /next")


def test_the_next_request_waits_for_a_neighbour() -> None:
    """As for the application."""
    client = Beside(application)
    client.send(get(b"/late") + get(b"/after"))
    before = read_on(client)
    client.late.answer()
    received = read_on(client)

    assert before == b""
    assert statuses(received) == ["200", "200"]
    assert received.endswith(b"application /after")


def test_what_a_neighbour_writes_waits_for_the_client() -> None:
    """The next response follows when all is taken."""
    client = Beside(application)
    client.send(get(b"/late") + get(b"/after"))
    client.turn(3)
    client.late.answer(b"x" * 2_000_000)
    client.turn(5)
    client.read(3000)

    assert client.received.endswith(b"application /after")


@pytest.mark.parametrize(
    "line", [b"Connection: close", b"Connection: x, close", b"Connection: keep-alive"]
)
def test_the_connection_goes_on_as_the_client_says(line) -> None:
    """Lists are read, which Twisted does not."""
    client = Beside(application)
    client.send(get(b"/body", line))
    received = read_on(client)

    assert statuses(received) == ["200"]
    assert client.ended is (b"close" in line)


def test_a_neighbour_may_lose_the_connection() -> None:
    """Whatever is still to come."""
    client = Beside(application)
    client.send(get(b"/losing") + get(b"/after"))

    assert read_on(client) == b""
    assert client.ended


def test_a_client_that_leaves_is_told_to_the_neighbour() -> None:
    """As by Twisted's own site."""
    client = Beside(application)
    client.send(get(b"/late"))
    client.turn(3)
    client.leave()
    client.turn(3)

    assert client.late.lost == 1


def test_a_client_that_half_closes_has_left_the_neighbour() -> None:
    """It is as Twisted's own channel has it."""
    client = Beside(application)
    client.send(get(b"/late"))
    client.turn(3)
    client.half_close()
    client.turn(3)

    assert client.late.lost == 1
    assert not client.transport.connected


def test_an_answer_before_the_body_is_there() -> None:
    """It cannot come: Twisted reads the body first; a bad one is refused."""
    client = Beside(application)
    client.send(
        b"POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"nonsense\r\n"
    )

    assert statuses(read_on(client))[-1:] == ["400"]
    assert client.ended


CHUNKED = b"POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("upgrade", [b"", b"Upgrade: x\r\nConnection: upgrade\r\n"])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_is_too_large_is_no_neighbours(chunked, upgrade) -> None:
    """The limits are the site's; and who sends a body does not switch protocols."""
    client = Beside(application, limits=Limits(body_size=10))
    data = CHUNKED + b"b\r\n" if chunked else post(11, path=b"/body")
    client.send(data.replace(b"Host: h\r\n", b"Host: h\r\n" + upgrade) + b"x" * 11)

    assert statuses(read_on(client)) == ["413"]


def test_a_large_body_is_the_neighbours() -> None:
    """It has no other limit than the application's."""
    client = Beside(application)
    client.send(post(400_000, path=b"/body") + b"x" * 400_000)

    assert statuses(read_on(client, 50)) == ["200"]


@pytest.mark.parametrize("version", [b"1.0", b"1.1", b"1.2", b"1.9"])
def test_a_neighbour_knows_the_version(version) -> None:
    """RFC 9110, 2.5: what is higher is treated as 1.1."""
    client = Beside(application)
    client.send(b"GET /body/HTTP/1.5 HTTP/" + version + b"\r\nHost: h\r\n\r\n")

    assert b" 200 OK\r\n" in read_on(client)


@pytest.mark.parametrize("bytes_", [1, 0])
def test_a_body_that_stops_on_its_way_to_a_neighbour(bytes_) -> None:
    """It has to make progress as any other."""
    client = Beside(application, limits=Limits(body_timeout=3))
    client.send(post(1000, path=b"/body"))
    for _ in range(5):
        client.wait(1)
        client.send(b"x" * bytes_)

    assert statuses(read_on(client)) == ["408"]
    assert client.ended


@pytest.mark.parametrize("reads", [True, False])
def test_a_client_that_takes_nothing_from_a_neighbour(reads) -> None:
    """It is cut, and one that takes a little is not."""
    client = Beside(application, limits=Limits(send_timeout=3))
    client.send(get(b"/large"))
    client.turn(3)
    for _ in range(5):
        client.wait(1)
        if reads:
            client.drain()

    assert bool(client.transport.connected) is reads


def test_a_neighbour_may_take_its_time() -> None:
    """To wait for it is not to wait for the client."""
    client = Beside(application, limits=Limits(send_timeout=3, body_timeout=3))
    client.send(get(b"/late"))
    client.turn(3)
    client.wait(10)

    assert client.transport.connected


@pytest.mark.parametrize("ended", [True, False])
def test_draining_waits_for_a_neighbour(ended) -> None:
    """Its response is the last."""
    client = Beside(application)
    client.send(get(b"/late"))
    client.turn(3)
    drained: list[Any] = []
    client.site.drain(5).addCallback(drained.append)
    if ended:
        client.late.answer()
        received = read_on(client)
        assert statuses(received) == ["200"]
        assert b"connection: close" in received.lower()
        client.half_close()
        client.turn(3)
    else:
        client.clock.turn(5)
        client.turn(3)

    assert drained == [None]
    assert not client.transport.connected
    assert client.clock.getDelayedCalls() == []


def test_a_neighbour_that_comes_while_draining() -> None:
    """A request that had begun."""
    client = Beside(application)
    client.send(get(b"/body")[:9])
    client.turn(3)
    client.site.drain(5)
    client.send(get(b"/body")[9:])
    received = read_on(client)

    assert statuses(received) == ["200"]
    assert client.ended


@ensureDeferred
async def test_static_files(tmp_path: Path) -> None:
    """With ranges and conditions, as ``static.File`` has them, and in any size."""
    (tmp_path / "large").write_bytes(b"x" * 1_000_000)
    (tmp_path / "small").write_bytes(b"0123456789")

    class Files(FastSocketClient):
        def make_fast_site(self, application: Any, **options: Any) -> WSGISite:
            site = super().make_fast_site(application, **options)
            site.putChild(b"static/files", File(str(tmp_path)))
            return site

    async def read(status: int) -> None:
        # Twisted asks pull producers in turns of the global reactor.
        while statuses(client.received).count("200") < status:
            await deferLater(reactor, 0)
            client.read(2)

    from twisted.internet import reactor

    client = Files(application)
    client.send(get(b"/static/files/small", b"Range: bytes=2-4") + get(b"/"))
    await read(1)
    first = client.received
    client.send(get(b"/static/files/large") + get(b"/end"))
    await read(3)

    assert statuses(first) == ["206", "200"]
    assert b"\r\n\r\n234HTTP" in first
    assert b"x" * 1_000_000 in client.received
    assert client.received.endswith(b"application /end")


def test_what_is_at_no_path_is_not_found() -> None:
    """Beside an application that is mounted."""
    client = FastSocketClient(application, mount="/app")
    client.send(get(b"/app/x") + get(b"/other"))
    received = read_on(client, 20)

    assert statuses(received) == ["200", "404"]
    assert b"application /x" in received


@pytest.mark.parametrize("length", [0, 1])
def test_the_connection_is_idle_after_a_neighbour(length) -> None:
    """Also after a body of no bytes: draining closes it at once."""
    client = Beside(application)
    client.send(post(length, path=b"/body") + b"x" * length)
    read_on(client)
    client.site.drain(10)
    read_on(client)

    assert client.ended
