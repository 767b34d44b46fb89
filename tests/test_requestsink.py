"""
What a response becomes on each kind of connection: a TCP or UNIX socket, TLS and
HTTP/2, all without a network and with a clock that the test turns.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from connections import (
    BLOCKS,
    BODY,
    Blocks,
    Boom,
    Client,
    HTTP2Client,
    HTTP2SocketClient,
    SocketClient,
    TLSClient,
    TLSSocketClient,
    another,
    giving,
    in_turn,
)
from twisted.internet import main
from twisted.internet.error import ConnectionLost
from twisted.internet.ssl import PrivateCertificate
from twisted.protocols.policies import WrappingFactory
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from twisted_wsgiflush._batch import SLICE
from twisted_wsgiflush._types import WSGIApplication
from twisted_wsgiflush.testing import GET, serve

if TYPE_CHECKING:
    from conftest import Logged

LENGTH = ("Content-Length", "100")
"""For bodies of twenty blocks of five bytes: they are written as they are."""


@pytest.fixture(scope="module", autouse=True)
def tls(certificate: Path) -> None:
    """What the TLS servers here show."""
    key_and_certificate = PrivateCertificate.loadPEM(certificate.read_bytes())
    TLSClient.options = key_and_certificate.options()


@pytest.fixture(autouse=True)
def sockets() -> Iterator[None]:
    """Close those that a test has opened."""
    yield
    while SocketClient.sockets:
        SocketClient.sockets.pop().close()


class WrappedClient(SocketClient):
    """
    A client of a site whose connections something looks on at.

    As the command does, and a PROXY protocol in front.
    """

    def factory(self) -> Any:
        return WrappingFactory(self.site)


every_connection = pytest.mark.parametrize(
    "connect",
    [
        Client,
        SocketClient,
        WrappedClient,
        TLSClient,
        TLSSocketClient,
        HTTP2Client,
        HTTP2SocketClient,
    ],
    ids=[
        "no socket",
        "socket",
        "wrapped socket",
        "TLS",
        "TLS on a socket",
        "HTTP/2",
        "HTTP/2 on a socket",
    ],
)


# --- on every kind of connection


@every_connection
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: [BODY], id="one block"),
        pytest.param(lambda: BLOCKS, id="a list"),
        pytest.param(lambda: iter(BLOCKS), id="an iterator"),
        pytest.param(lambda: iter([b"", *BLOCKS, b""]), id="empty blocks"),
    ],
)
def test_a_response_arrives(connect, make) -> None:
    """All of it, and nothing else."""
    client = connect(giving(make(), LENGTH))
    client.get()

    client.read()

    assert client.body == BODY


@every_connection
def test_a_block_has_left_when_the_next_is_asked_for(connect) -> None:
    """PEP 3333, "Buffering and Streaming", whatever buffers there are."""
    received: list[object] = []

    def next_block() -> bytes:
        client.drain()
        received.append(client.body)
        return b"block"

    client = connect(giving(Blocks(*[next_block] * 20), LENGTH))
    client.get()

    client.turn(60)

    assert received == [b"block" * number for number in range(20)]


@every_connection
def test_a_large_block_has_left_when_the_next_is_asked_for(connect) -> None:
    """Also when it is more than fits into one frame, record or buffer."""
    received: list[object] = []

    def next_block() -> bytes:
        client.drain()
        received.append(len(client.body))
        return b"x" * 100_000

    client = connect(giving(Blocks(*[next_block] * 3), ("Content-Length", "300000")))
    client.get()

    client.read()

    assert received == [0, 100_000, 200_000]


@pytest.mark.parametrize(
    "connect", [Client, TLSClient, HTTP2Client], ids=["no socket", "TLS", "HTTP/2"]
)
def test_what_is_unread_is_bounded(connect) -> None:
    """By what the connection holds and a block, whatever time goes by."""
    blocks = Blocks(*[b"x" * 1000] * 1000)
    client = connect(giving(blocks, ("Content-Length", "1000000")), limit=5000)
    client.get()

    client.turn(500)

    assert 5000 < client.transport.unread < 7000
    assert blocks.asked < 10


@every_connection
def test_a_client_that_reads_now_and_then_gets_everything(connect) -> None:
    """Every time it reads, the response goes on."""
    blocks = Blocks(*[b"x" * 1000] * 100)
    client = connect(giving(blocks, ("Content-Length", "100000")), limit=5000)
    client.get()

    for _ in range(200):
        client.turn(10)
        client.drain()

    assert client.body == b"x" * 100_000
    assert blocks.closed == 1


@every_connection
def test_a_client_that_does_not_read_costs_no_turns(connect) -> None:
    """Nothing looks again and again whether it does."""
    blocks = Blocks(*[b"x" * 1000] * 100)
    client = connect(giving(blocks, ("Content-Length", "100000")), limit=500)
    client.get()

    client.turn(500)

    assert client.clock.getDelayedCalls() == []


@every_connection
@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("limit", [1, 65536], ids=["full", "going on"])
def test_a_lost_connection_closes_once(connect, limit, turns) -> None:
    """At any moment, and nothing is scheduled after it."""
    blocks = Blocks(*BLOCKS)
    client = connect(giving(blocks, LENGTH), limit)
    client.get()
    client.turn(turns)

    client.leave()
    asked = blocks.asked
    client.turn(3)

    assert blocks.closed == 1
    assert blocks.asked == asked
    assert client.clock.getDelayedCalls() == []


@pytest.mark.parametrize("connect", [Client, SocketClient], ids=["no socket", "socket"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("fails", [False, True], ids=["goes on", "fails"])
@pytest.mark.parametrize("written", [0, 2], ids=["", "has written"])
def test_a_connection_that_is_lost_in_the_call_is_left_alone(
    connect, method, fails, written, logged: Logged
) -> None:
    """An application that runs the reactor itself may find its client gone."""

    def application(environ, start_response):
        write = start_response("200 OK", [LENGTH])
        client.leave()
        for block in BLOCKS[:written]:
            write(block)
        if fails:
            raise Boom
        return [b"".join(BLOCKS[written:])]

    client = connect(application)
    client.send(GET.replace(b"GET", method))

    client.turn(3)

    assert len(logged.flush(Boom)) == fails
    assert logged.events == []


def yielding(environ, start_response):
    start_response("200 OK", [LENGTH])
    yield from BLOCKS


def writing_and_yielding(environ, start_response):
    """Gives several blocks in one turn."""
    write = start_response("200 OK", [LENGTH])
    for block in BLOCKS:
        write(block)
        write(block)
        yield block


def yielding_too_much(environ, start_response):
    """Is complete with its second block, in the turn that sends it."""
    start_response("200 OK", [("Content-Length", "6")])
    yield from BLOCKS


@pytest.mark.parametrize(
    "connect", [Client, SocketClient, TLSClient], ids=["no socket", "socket", "TLS"]
)
@pytest.mark.parametrize("turns", range(5))
@pytest.mark.parametrize(
    "application", [yielding, writing_and_yielding, yielding_too_much]
)
def test_a_lost_connection_leaves_nothing_scheduled(
    application, turns, connect
) -> None:
    """Not even for the next turn; on HTTP/2, Twisted itself does."""
    client = connect(application)
    client.get()
    client.turn(turns)

    client.leave()

    # Twisted 26.4 forgets to cancel what collects its small writes.
    left = [str(call) for call in client.clock.getDelayedCalls()]
    assert [call for call in left if "_AggregateSmallWrites" not in call] == []


@every_connection
def test_nothing_is_scheduled_after_the_end(connect) -> None:
    """A connection that is idle costs no turns."""
    blocks = Blocks(*BLOCKS)
    client = connect(giving(blocks, LENGTH))
    client.get()

    client.read()

    assert blocks.closed == 1
    assert client.clock.getDelayedCalls() == []


@every_connection
@pytest.mark.parametrize("turns", range(6))
def test_an_error_leaves_nothing_scheduled(connect, turns, logged: Logged) -> None:
    """Also while the block before it is on its way."""
    client = connect(giving(Blocks(*[b"block"] * turns, Boom())))
    client.get()

    client.read()

    assert client.clock.getDelayedCalls() == []
    assert len(logged.flush(Boom)) == 1


@every_connection
def test_what_was_written_arrives_before_what_is_yielded(connect) -> None:
    """PEP 3333, "The write() Callable", in the order of the calls."""

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "30")])
        write(b"block1")
        write(b"block2")

        def blocks():
            write(b"block3")
            write(b"block4")
            yield b"block5"

        return blocks()

    client = connect(application)
    client.get()

    client.read()

    assert client.body == b"block1block2block3block4block5"


@every_connection
def test_what_was_written_has_left_when_a_block_is_asked_for(connect) -> None:
    """Also when it was written in the call, before there was an iterable."""
    received = []

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "12")])
        write(b"before")

        def blocks():
            client.drain()
            received.append(client.body)
            yield b"block!"

        return blocks()

    client = connect(application)
    client.get()

    client.turn(20)

    assert received == [b"before"]


def flushes_in_its_call(environ: Any, blocks: Blocks) -> Any:
    environ["x-wsgiorg.flush"]()
    return blocks


def flushes_in_its_first_block(environ: Any, blocks: Blocks) -> Any:
    yield environ["x-wsgiorg.flush"]()
    yield from blocks


def flushes_after_an_empty_block(environ: Any, blocks: Blocks) -> Any:
    yield b""
    yield environ["x-wsgiorg.flush"]()
    yield from blocks


def flushes_when_time_is_up(environ: Any, blocks: Blocks) -> Any:
    environ["x-wsgiorg.suspend"](0)
    yield b""
    yield environ["x-wsgiorg.flush"]()
    yield from blocks


def is_flushed_while_suspended(environ: Any, blocks: Blocks) -> Any:
    resume = environ["x-wsgiorg.suspend"]()

    def flush_and_resume() -> None:
        environ["x-wsgiorg.flush"]()
        resume()

    environ["twisted.reactor"].callLater(0, flush_and_resume)
    yield b""
    yield from blocks


def writes_nothing(environ: Any, blocks: Blocks) -> Any:
    yield environ["a test's write"](b"") or b""
    yield from blocks


@every_connection
@pytest.mark.parametrize(
    "flushing",
    [
        flushes_in_its_call,
        flushes_in_its_first_block,
        flushes_after_an_empty_block,
        flushes_when_time_is_up,
        is_flushed_while_suspended,
        writes_nothing,
    ],
)
def test_a_flushed_head_has_left_when_a_block_is_asked_for(connect, flushing) -> None:
    """It does not wait for an application that takes its time for the block."""
    has_head: list[object] = []

    def next_block() -> bytes:
        client.drain()
        has_head.append(client.has_head)
        return b"block"

    def application(environ, start_response):
        environ["a test's write"] = start_response("200 OK", [])
        return flushing(environ, Blocks(next_block))

    client = connect(application)
    client.get()

    client.turn(20)

    assert has_head == [True]


@pytest.mark.parametrize(
    "connect", [TLSSocketClient, HTTP2SocketClient], ids=["TLS", "HTTP/2"]
)
@pytest.mark.parametrize("moment", range(1, 6))
def test_what_a_timed_call_writes_has_left_when_a_block_is_asked_for(
    connect, moment
) -> None:
    """Whenever it comes, also when a block before it was on its way."""
    received = []

    def application(environ, start_response):
        write = start_response("200 OK", [])

        def tick(left: int) -> None:
            if left:
                environ["twisted.reactor"].callLater(0, tick, left - 1)
            else:
                write(b"written")
                written.append(True)

        def blocks():
            tick(moment)
            yield b"first"
            while not written:
                yield b""
            client.drain()
            received.append(b"written" in client.body)
            yield b"last"

        written: list[bool] = []
        return blocks()

    client = connect(application)
    client.get()

    client.turn(30)

    assert received == [True]


@pytest.mark.parametrize(
    "connect", [TLSSocketClient, HTTP2SocketClient], ids=["TLS", "HTTP/2"]
)
def test_what_is_written_between_the_call_and_the_first_block_has_left(
    connect,
) -> None:
    """A timed call has asked for its turn before there was an iterable to wait."""
    received = []

    def application(environ, start_response):
        write = start_response("200 OK", [])
        write(b"call")
        environ["twisted.reactor"].callLater(0, write, b"later")

        def blocks():
            client.drain()
            received.append(client.body)
            yield b"block"

        return blocks()

    client = connect(application)
    client.get()

    client.turn(20)

    (body,) = received
    assert b"call" in body
    assert b"later" in body


# --- TCP: what the stock request makes of a head


def head_of(application: WSGIApplication, request: bytes = GET) -> list[bytes]:
    """The lines of a response's head."""
    response = serve(application, request).read()
    return response.partition(b"\r\n\r\n")[0].split(b"\r\n")


def test_each_cookie_has_a_field_of_its_own() -> None:
    """They cannot be joined (RFC 6265, 3), and are not lost."""
    head = head_of(giving([], ("Set-Cookie", "a=1"), ("set-cookie", "b=2; Path=/")))

    cookies = [line for line in head if line.lower().startswith(b"set-cookie:")]
    assert cookies == [b"Set-Cookie: a=1", b"Set-Cookie: b=2; Path=/"]


@pytest.mark.parametrize("name", ["Date", "Server", "date", "SERVER"])
def test_date_and_server_are_as_the_application_says(name) -> None:
    """And not there twice."""
    head = head_of(giving([], (name, "of the application")))

    assert [
        line for line in head if line.lower().startswith(name.lower().encode())
    ] == [name.title().encode() + b": of the application"]


def test_date_and_server_are_ours_when_the_application_says_nothing() -> None:
    """PEP 3333, "The start_response() Callable": a server may add them."""
    names = [line.partition(b":")[0] for line in head_of(giving([]))]

    assert names.count(b"Date") == 1
    assert names.count(b"Server") == 1


def test_fields_that_come_twice_are_sent_twice() -> None:
    """Also one that replaces ours."""
    head = head_of(giving([], ("Server", "a"), ("Server", "b"), ("X", "1"), ("X", "2")))

    assert {b"Server: a", b"Server: b", b"X: 1", b"X: 2"} < set(head)


def test_no_content_type_is_made_up() -> None:
    """``Site`` would say that it is text/html."""
    head = head_of(giving([b"block"]))

    assert not [line for line in head if line.lower().startswith(b"content-type")]


def test_an_interim_status_has_no_body_and_no_sequel() -> None:
    """An application cannot send a final response after it."""

    def application(environ, start_response):
        start_response("102 Processing", [])
        return [b"block"]

    served = serve(application)
    response = served.read()

    assert response.startswith(b"HTTP/1.1 102 Processing\r\n")
    assert response.endswith(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in response
    assert served.closed


def test_an_interim_status_has_its_fields() -> None:
    """Those of the application, its cookies as well, and that nothing follows."""

    def application(environ, start_response):
        start_response("103 Early Hints", [("Set-Cookie", "a=1"), ("X", "1")])
        return []

    head = head_of(application)

    assert {b"Set-Cookie: a=1", b"X: 1", b"Connection: close"} < set(head)


def test_a_body_that_is_too_long_closes_the_connection(logged: Logged) -> None:
    """What an application gives beyond its Content-Length is cut."""
    served = serve(giving([b"abcdef"], ("Content-Length", "3")))

    response = served.read()

    assert response.endswith(b"\r\n\r\nabc")
    assert served.closed
    logged.take("error")


OLD = GET.replace(b"HTTP/1.1", b"HTTP/1.0")
OLD_HEAD = OLD.replace(b"GET", b"HEAD")


@pytest.mark.parametrize(
    ("request_", "headers", "aborted"),
    [
        pytest.param(GET, [], False, id="chunked: there is no last chunk"),
        pytest.param(GET, [LENGTH], False, id="with a length: bytes are missing"),
        pytest.param(OLD, [LENGTH], False, id="HTTP/1.0 with a length: the same"),
        pytest.param(OLD, [], True, id="HTTP/1.0: nothing but a reset can tell"),
        pytest.param(OLD_HEAD, [], False, id="HTTP/1.0, HEAD: there is no body"),
    ],
)
def test_an_error_after_the_head_cuts_the_connection(
    request_, headers, aborted, logged: Logged
) -> None:
    """So that no client takes what it has got for all of it."""

    def application(environ, start_response):
        yield b""
        start_response("200 OK", headers)(b"block")
        raise Boom

    served = serve(application, request_)
    response = served.read()

    assert served.closed
    assert served.transport.aborted is aborted
    assert not response.endswith(b"0\r\n\r\n")
    assert len(logged.flush(Boom)) == 1


def test_an_error_before_the_head_goes_on(logged: Logged) -> None:
    """It is answered with a page, and the next request as any other."""
    served = serve(in_turn(Blocks(Boom()), [b"second"]), GET + GET)

    response = served.read()

    assert response.startswith(b"HTTP/1.1 500 ")
    assert response.endswith(b"\r\n\r\nsecond")
    assert not served.closed
    assert len(logged.flush(Boom)) == 1


# --- sockets: what the kernel has


every_socket = pytest.mark.parametrize(
    "connect", [SocketClient, WrappedClient], ids=["socket", "wrapped socket"]
)


@every_socket
def test_what_is_written_is_with_the_kernel_when_write_returns(connect) -> None:
    """PEP 3333, "The write() Callable": it does not wait for the application."""
    in_kernel = []

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "10")])
        for _ in range(2):
            write(b"block")
            client.drain()
            in_kernel.append(client.body)
        return []

    client = connect(application)

    client.get()

    assert in_kernel == [b"block", b"blockblock"]


@every_socket
def test_a_flushed_head_is_with_the_kernel_when_flush_returns(connect) -> None:
    """As what is written."""
    in_kernel = []

    def application(environ, start_response):
        start_response("200 OK", [])
        environ["x-wsgiorg.flush"]()
        client.drain()
        in_kernel.append(client.has_head)
        return []

    client = connect(application)

    client.get()

    assert in_kernel == [True]


@every_socket
def test_a_block_is_with_the_kernel_at_once(connect) -> None:
    """Not only when the reactor looks at its descriptors."""
    in_kernel: list[bytes] = []
    client = connect(giving(iter([b"block", b"block"])))
    client.get()
    # In the same turn as the step, and after it.
    client.clock.callLater(0, lambda: in_kernel.append(client.drain()))

    client.turn()

    assert in_kernel[0].endswith(b"5\r\nblock\r\n")


@every_socket
@pytest.mark.parametrize("size", [1, 100, 1000, 30_000, 200_000])
def test_no_block_is_asked_for_while_the_kernel_has_not_taken_one(
    connect, size
) -> None:
    """However small, and whatever other buffers there are."""
    blocks = Blocks(*[b"x" * size] * 300)
    client = connect(giving(blocks), limit=1)
    client.get()
    client.turn(600)
    asked = blocks.asked

    client.drain()
    in_kernel = client.body.count(b"x")
    client.turn()

    assert asked < 300
    assert (asked - 1) * size <= in_kernel <= asked * size
    assert blocks.asked <= asked + 1


@every_socket
@pytest.mark.parametrize("size", [100, 1000, 30_000, 200_000])
def test_a_socket_that_is_read_now_and_then_takes_everything(connect, size) -> None:
    """In the order in which it was given."""
    given = [b"%06d" % number + b"x" * size for number in range(20)]
    body = b"".join(given)
    client = connect(giving(iter(given), ("Content-Length", str(len(body)))), limit=1)
    client.get()

    for _ in range(1000):
        client.turn(10)
        client.drain()

    assert client.body == body
    assert client.clock.getDelayedCalls() == []
    assert client.clock.getWriters() == []


@every_socket
def test_a_head_that_the_kernel_has_not_taken_keeps_a_block_from_being_asked_for(
    connect,
) -> None:
    """It was written when nobody could be paused yet."""
    blocks = Blocks(*BLOCKS)

    def application(environ, start_response):
        start_response("200 OK", [("X-Long", "x" * 50_000)])
        environ["x-wsgiorg.flush"]()
        return blocks

    client = connect(application, limit=1)
    client.get()

    client.turn(10)
    asked_while_full = blocks.asked
    client.read()

    assert asked_while_full == 0
    assert blocks.closed == 1


@every_socket
def test_a_pipelined_response_waits_for_what_is_left_of_the_one_before(
    connect,
) -> None:
    """Nobody has paused it, for it was not there then."""

    def first(start_response):
        start_response("200 OK", [])(b"x" * 50_000)
        return []

    def second(start_response):
        start_response("200 OK", [])
        return blocks

    blocks = Blocks(*BLOCKS)
    responses = iter([first, second])
    client = connect(
        lambda environ, start_response: next(responses)(start_response), limit=1
    )
    client.send(GET + GET)

    client.turn(10)
    asked_while_full = blocks.asked
    client.read()

    assert asked_while_full == 0
    assert blocks.closed == 1
    assert client.received.endswith(b"5\r\nblock\r\n0\r\n\r\n")


@every_socket
@pytest.mark.parametrize("reads", [True, False], ids=["reads", "does not read"])
def test_what_an_application_writes_later_arrives_in_order(connect, reads) -> None:
    """Also while the kernel has no room for the block before."""

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "100020")])
        write(b"first")

        def blocks():
            client.clock.callLater(0, lambda: write(b"later"))
            yield b"x" * 50_000
            yield b""
            write(b"within")
            yield b"y" * 50_000
            yield b"last"

        return blocks()

    client = connect(application, limit=65536 if reads else 1)
    client.get()
    client.turn(10)

    client.read()

    assert client.body == (
        b"first" + b"x" * 50_000 + b"later" + b"within" + b"y" * 50_000 + b"last"
    )


@every_socket
def test_a_client_that_leaves_without_reading_closes_once(connect) -> None:
    """Though nothing is asked for until it reads."""
    blocks = Blocks(*[b"x" * 1000] * 1000)
    client = connect(giving(blocks), limit=1)
    client.get()
    client.turn(500)
    asked = blocks.asked

    client.leave()

    assert (blocks.asked, blocks.closed) == (asked, 1)
    assert client.clock.getDelayedCalls() == []
    assert client.clock.getWriters() == []


def test_what_is_with_the_kernel_is_not_handed_to_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A block is one system call, whichever way the application gives it."""

    def application(environ, start_response):
        write = start_response("200 OK", [])
        write(b"one")
        environ["x-wsgiorg.flush"]()
        yield b"two"
        environ["x-wsgiorg.flush"]()
        write(b"three")

    def send(data: bytes) -> int:
        sent.append(bytes(data))
        return write_some_data(data)

    sent: list[bytes] = []
    client = SocketClient(application)
    write_some_data = client.transport.writeSomeData
    monkeypatch.setattr(client.transport, "writeSomeData", send)
    client.get()

    client.turn(5)

    blocks = [b"3\r\none\r\n", b"3\r\ntwo\r\n", b"5\r\nthree\r\n", b"0\r\n\r\n"]
    assert sent[0].endswith(b"\r\n\r\n" + blocks[0])
    assert sent[1:] == blocks[1:]


# --- sockets: a response of one block


class Outer(Resource):
    """A resource that does something to each request, and leaves it to another."""

    isLeaf = True

    def __init__(self, prepare: Callable[[Request], object], inner: IResource) -> None:
        super().__init__()
        self._prepare = prepare
        self._inner = inner

    def render(self, request: Request) -> Any:
        self._prepare(request)
        return self._inner.render(request)


def client_behind(
    prepare: Callable[[Request], object],
    application: WSGIApplication,
    connect: type[Client] = SocketClient,
) -> Client:
    """A client of an application in an ``Outer``."""

    class Behind(connect):  # type: ignore[valid-type,misc]  # a class in a variable
        def make_site(self, resource: IResource) -> Site:
            site: Site = super().make_site(Outer(prepare, resource))
            return site

    client: Client = Behind(application)
    return client


@pytest.fixture
def written(monkeypatch) -> list[bytes]:
    """What is written to channels, each time."""
    written = []
    write = HTTPChannel.write

    def noting(channel: HTTPChannel, data: bytes) -> None:
        written.append(data)
        write(channel, data)

    monkeypatch.setattr(HTTPChannel, "write", noting)
    return written


def test_a_response_of_one_block_is_one_write(written: list[bytes]) -> None:
    """Its head and its block."""
    client = Client(giving([b"block"]))
    client.get()
    client.read(3)

    assert len(written) == 1
    head, _, body = written[0].partition(b"\r\n\r\n")
    assert b"\r\nContent-Length: 5\r\n" in head
    assert body == b"block"
    assert client.body == b"block"


def test_responses_of_one_block_leave_at_the_end_of_the_turn(
    written: list[bytes],
) -> None:
    """All of them; and the reactor is not asked for when there is room."""
    clients = [SocketClient(giving([b"block"]))]
    clients += [another(clients[0]) for _ in range(2)]
    for client in clients:
        client.get()
    assert [client.receive() for client in clients] == [b"", b"", b""]

    client.turn()

    for client in clients:
        assert client.receive().endswith(b"\r\n\r\nblock")
        assert client.transport not in client.clock.getWriters()
    assert written == []
    assert client.clock.getDelayedCalls() == []


def test_responses_of_one_block_wait_for_no_longer_than_a_slice() -> None:
    """However many others there are in the turn."""

    def application(environ, start_response):
        clients[0].clock.rightNow += SLICE
        start_response("200 OK", [])
        return [b"block"]

    clients = [SocketClient(application)]
    clients += [another(clients[0]) for _ in range(2)]
    for client in clients:
        client.get()

    received = [client.receive()[-5:] for client in clients]
    assert received == [b"block", b"block", b""]
    client.turn()
    assert client.receive()[-5:] == b"block"
    assert client.clock.getDelayedCalls() == []


def test_the_last_response_of_one_block_leaves_before_the_connection_ends() -> None:
    """Whoever comes first, the reactor or the batch."""
    client = SocketClient(giving([b"block"]))
    client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    client.read(2)

    assert client.body == b"block"
    assert client.transport.disconnecting
    assert client.clock.getDelayedCalls() == []


def test_a_client_that_leaves_before_its_response_of_one_block_does() -> None:
    """The others get theirs."""
    client = SocketClient(giving([b"block"]))
    other = another(client)
    client.get()
    other.get()

    client.leave()
    other.turn()

    assert other.receive().endswith(b"\r\n\r\nblock")


def test_a_batch_is_followed_by_what_is_written_after_it() -> None:
    """By another resource, or by a channel that refuses what comes next."""
    client = SocketClient(giving([b"block"]))
    client.send(GET + b"GET / HTTP/1.1\r\nHost: a\r\nno field\r\n\r\n")

    client.read(3)

    assert re.findall(rb"HTTP/1.1 (\d+)", client.received) == [b"200", b"400"]
    assert client.body.startswith(b"block")


def test_who_looks_on_sees_a_response_of_one_block() -> None:
    """It goes by whatever is between the channel and the socket."""
    client = WrappedClient(giving([b"block"]))
    seen = []
    wrapper = client.transport.protocol
    write = wrapper.write

    def looking(data: bytes) -> None:
        seen.append(data)
        write(data)

    wrapper.write = looking
    client.get()
    client.read(3)

    assert b"".join(seen) == client.received
    assert client.received.endswith(b"\r\n\r\nblock")


def test_what_the_kernel_does_not_take_of_one_block_follows() -> None:
    """It waits with the transport, and so does the response after it."""
    body = bytes(range(250)) * 200
    client = SocketClient(giving([body]), limit=4608)
    client.get()
    client.get()
    assert client.transport.dataBuffer or client.transport._tempDataBuffer

    client.read(50)

    heads_and_bodies = client.received.split(body)
    assert len(heads_and_bodies) == 3
    assert heads_and_bodies[2] == b""


def written_before(body: bytes) -> WSGIApplication:
    """An application that writes most of it, as old ones do."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(body)))])(body[:-1])
        return [body[-1:]]

    return application


@pytest.mark.parametrize("application_for", [lambda b: giving([b]), written_before])
def test_a_response_is_not_over_while_the_client_takes_it(application_for) -> None:
    """Twisted gives a client a minute when it takes a request for finished."""
    body = bytes(range(250)) * 4000
    finished: list[object] = []
    client = SocketClient(application_for(body), limit=4608)
    site: Any = client.site
    site.log = finished.append

    client.get()
    client.clock.turn(100)
    assert finished == []
    client.read(400)

    assert client.body == body
    assert len(finished) == 1


def test_a_socket_that_is_lost_takes_nothing_of_one_block() -> None:
    """The transport finds that out by itself, later."""

    def application(environ, start_response):
        start_response("200 OK", [])
        client.transport.socket.shutdown(socket.SHUT_RDWR)
        return [b"block"]

    client = SocketClient(application)
    client.get()

    assert client.transport.doWrite() is main.CONNECTION_LOST


SOME_TIME = 1_000_000_000


@pytest.mark.parametrize(
    "request_",
    [GET, OLD, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")],
    ids=["HTTP/1.1", "HTTP/1.0", "the last one"],
)
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-lower", "1"), ("X-Twice", "1"), ("X-Twice", "2")],
        [("Server", "ours"), ("Date", "today")],
        [("Set-Cookie", "b=2"), ("set-cookie", "c=3")],
    ],
    ids=["none", "ordinary", "replaced", "cookies"],
)
@pytest.mark.parametrize(
    "prepare",
    [
        lambda request: None,
        lambda request: request.setHeader(b"X-Twice", b"0"),
        lambda request: request.addCookie(b"a", b"1"),
        lambda request: request.setETag(b'"a"'),
        lambda request: request.setLastModified(SOME_TIME),
    ],
    ids=["nothing", "a header", "a cookie", "an ETag", "a date"],
)
def test_a_socket_gets_what_every_connection_gets(prepare, headers, request_) -> None:
    """Whatever others have set before the application was asked."""

    def received(connect: type[Client]) -> list[bytes]:
        client = client_behind(prepare, giving([b"block"], *headers), connect)
        client.send(request_)
        client.read(3)
        lines = client.received.split(b"\r\n")
        return [line for line in lines if not line.endswith(b" GMT") or b"Last" in line]

    over_socket = received(SocketClient)

    assert over_socket == received(Client)
    assert over_socket[-1] == b"block"


def test_no_body_behind_somebody_who_has_set_an_etag() -> None:
    """There is nothing to write but the head."""
    client = client_behind(lambda request: request.setETag(b'"a"'), giving([b""]))
    client.get()
    client.read(3)

    assert b"\r\nContent-Length: 0\r\n" in client.received
    assert client.received.endswith(b"\r\n\r\n")


def test_who_asks_how_a_request_ended_finds_the_response() -> None:
    """Its status, headers and size, as an access log does."""
    found: list[object] = []

    def note(request: Request) -> None:
        headers = request.responseHeaders
        found.append((request.code, request.code_message, request.sentLength))
        found.append(headers.getRawHeaders(b"content-type"))

    def prepare(request: Request) -> None:
        request.notifyFinish().addCallback(lambda result: note(request))

    def application(environ, start_response):
        start_response("404 Lost", [("Content-Type", "text/plain")])
        return [b"block"]

    client_behind(prepare, application).get()

    assert found == [(404, b"Lost", 5), [b"text/plain"]]


def test_a_request_that_writes_in_its_own_way_is_asked_to() -> None:
    """A class of somebody else's may look at what is written, or change it."""

    class Shouting(Request):
        def write(self, data: bytes) -> None:
            super().write(data.upper())

    client = SocketClient(giving([b"block"]))
    client.site.requestFactory = Shouting
    client.leave()
    client.connect(65536)

    client.get()
    client.read(3)

    assert client.body == b"BLOCK"


@pytest.mark.parametrize("size", [50_000, 100_000, 1_000_000])
def test_what_the_kernel_does_not_take_of_a_response_follows(size) -> None:
    """And then the next response."""
    bodies = [b"x" * size, b"y" * size, b"z"]
    client = SocketClient(in_turn(*([body] for body in bodies)), limit=1)
    client.send(GET * 3)

    client.read(600)

    starts = [client.received.index(body) for body in bodies]
    assert starts == sorted(starts)
    assert client.received.endswith(b"\r\n\r\nz")
    assert client.clock.getWriters() == []


def test_a_client_that_is_found_gone_by_its_response_is_no_error() -> None:
    """The reactor finds the same, and ends the connection."""

    def application(environ, start_response):
        client.sockets[0].close()
        start_response("200 OK", [])
        return [b"block"]

    client = SocketClient(application)
    client.get()

    client.turn()

    assert client.clock.getWriters() == [client.transport]
    assert isinstance(client.transport.doWrite(), ConnectionLost)


@pytest.mark.parametrize("connect", [Client, SocketClient])
def test_a_request_that_is_said_to_be_secure_is_https(connect) -> None:
    """A resource behind a proxy that speaks TLS says so by ``setHost``."""
    schemes = []

    def application(environ, start_response):
        schemes.append(environ["wsgi.url_scheme"])
        start_response("200 OK", [])
        return [b"block"]

    def prepare(request: Request) -> None:
        request.setHost(b"example.com", 443, ssl=True)

    client = client_behind(prepare, application, connect)

    client.get()

    assert schemes == ["https"]
    assert client.read(3) == b"block"


class DeafClient(SocketClient):
    """A client of a channel that no transport tells whether it is full."""

    def accept(self, protocol: Any, limit: int) -> None:
        super().accept(protocol, limit)
        self.transport.unregisterProducer()


def test_a_channel_that_is_not_told_when_a_socket_is_full_goes_on() -> None:
    """It would not be told either when the socket has room again."""
    client = DeafClient(
        giving(iter([b"x" * 10_000] * 10), ("Content-Length", "100000")), limit=1
    )
    client.get()

    client.read()

    assert client.body == b"x" * 100_000


def test_a_transport_that_is_about_to_disconnect_is_left_to_the_reactor() -> None:
    """Only that may tell it that the last byte is gone."""

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "5")])
        client.transport.loseConnection()
        write(b"block")
        in_kernel.append(client.drain())
        return []

    in_kernel: list[bytes] = []
    client = SocketClient(application)

    client.get()
    client.turn()

    assert in_kernel == [b""]
    assert client.drain().endswith(b"block")


# --- TLS


def test_a_pipelined_response_over_tls_is_paused() -> None:
    """
    Twisted tells its producer once that it is full, and this one was not there then
    (F6): the client has asked for it before it read a large first one.
    """
    second = Blocks(*BLOCKS)
    client = TLSClient(in_turn([b"x" * 100_000], second), limit=5000)
    client.send(GET + GET)

    client.turn(100)
    asked_while_full = second.asked
    client.read()

    assert asked_while_full == 0
    assert client.body.endswith(b"5\r\nblock\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "connect", [Client, SocketClient, TLSClient], ids=["no socket", "socket", "TLS"]
)
def test_pipelined_responses_of_one_block_wait_for_the_client(connect) -> None:
    """Who asks for many and reads none has one kept for it, and not all."""
    asked = []

    def application(environ, start_response):
        asked.append(True)
        start_response("200 OK", [])
        return [b"x" * 300_000]

    client = connect(application, limit=1)
    client.send(GET * 10)

    client.turn(100)
    asked_while_full = len(asked)
    client.read(3000)

    assert asked_while_full <= 2
    assert len(asked) == 10
    assert client.received.count(b"\r\nContent-Length: 300000\r\n") == 10


def test_a_response_over_tls_is_paused_when_the_one_before_was_read() -> None:
    """As it is without pipelining."""
    blocks = Blocks(*[b"x" * 1000] * 100)
    client = TLSClient(in_turn([b"x" * 10_000], blocks), limit=5000)
    client.get()
    client.read()
    client.get()

    client.turn(200)

    assert blocks.asked < 10


def test_an_error_after_the_head_cuts_a_connection_with_tls(logged: Logged) -> None:
    """A close-delimited body is not ended with a close_notify that arrives."""
    client = TLSClient(giving(Blocks(b"block", Boom())))
    client.send(OLD)

    client.read()

    assert client.body == b"block"
    assert client.transport.aborted
    logged.flush(Boom)
