"""
A connection of a ``WSGISite``, phase by phase: requests one after the other, half
closed, too slow, too much, cut, drained.
"""

from __future__ import annotations

import errno
import re
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from connections import (
    Blocks,
    Boom,
    FastClient,
    FastSocketClient,
    FastTCPClient,
    giving,
)
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from waiting import FLUSH, LAST_CHUNK, SUSPEND, Waiting, body_of, chunks
from zope.interface.verify import verifyObject

from twisted_wsgiflush import Limits, WSGISite
from twisted_wsgiflush._rules import Refused
from twisted_wsgiflush.coroutines import asynchronous
from twisted_wsgiflush.testing import GET, Turns

if TYPE_CHECKING:
    from conftest import Logged

pytestmark = pytest.mark.usefixtures("sockets_closed")

HEAD = b"HEAD / HTTP/1.1\r\nHost: example.com\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def get(path: bytes = b"/", *lines: bytes) -> bytes:
    """A request without a body."""
    head = [b"GET " + path + b" HTTP/1.1", b"Host: example.com", *lines]
    return b"\r\n".join(head) + b"\r\n\r\n"


def post(length: int, *lines: bytes, path: bytes = b"/") -> bytes:
    """The head of a request with a body of so many bytes."""
    head = [b"POST " + path + b" HTTP/1.1", b"Host: h", b"Content-Length: %d" % length]
    return b"\r\n".join([*head, *lines]) + b"\r\n\r\n"


CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def echo(environ: Any, start_response: Any) -> Any:
    """Gives the body of the request, and says how it was asked for."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Path", environ["PATH_INFO"])])
    return [body]


def ignore(environ: Any, start_response: Any) -> Any:
    """Does not read."""
    start_response("200 OK", [])
    return [b"ignored"]


def read_on(client: Any, turns: int = 10) -> bytes:
    """What comes in some turns."""
    before = len(client.received)
    for _ in range(turns):
        client.turn()
        client.drain()
    received: bytes = client.received[before:]
    return received


def statuses(received: bytes) -> list[str]:
    """The status codes of all responses."""
    return [code.decode() for code in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", received)]


# --- what it is


def test_it_is_a_protocol_that_can_be_half_closed() -> None:
    """As Twisted's transports want it."""
    channel = WSGISite(Turns(), ignore).buildProtocol(None)

    assert verifyObject(IProtocol, channel)
    assert verifyObject(IHalfCloseableProtocol, channel)


# --- one request after the other


def test_requests_are_served_in_order() -> None:
    """However many come at a time."""
    client = FastSocketClient(echo)
    client.send(get(b"/1") + post(3, path=b"/2") + b"abc" + get(b"/3"))

    received = read_on(client)

    assert [line for line in received.split(b"\r\n") if line.startswith(b"X-Path")] == [
        b"X-Path: /1",
        b"X-Path: /2",
        b"X-Path: /3",
    ]
    assert b"abc" in received


def test_a_request_is_served_when_it_comes_byte_by_byte() -> None:
    """From the line to the last byte of the body."""
    client = FastClient(echo)
    for byte in b"\r\n" + post(3) + b"abc" + get(b"/next"):
        client.send(bytes([byte]))

    assert statuses(client.drain()) == ["200", "200"]
    assert client.received.endswith(b"Content-Length: 0\r\n\r\n") or (
        b"X-Path: /next" in client.received
    )


def test_the_next_request_waits_for_the_response() -> None:
    """One application at a time has the connection."""
    first, second = Waiting(), Waiting()
    applications = iter([first, second])
    client = FastSocketClient(lambda *args: next(applications)(*args))
    client.send(get(b"/1") + get(b"/2"))
    client.turn(5)
    began = bool(second.environ)
    first.resume()
    client.turn(5)

    assert began is False
    assert second.environ["PATH_INFO"] == "/2"


def test_what_is_read_ahead_is_bounded() -> None:
    """A client that sends on while it is served is not read from, until it is."""
    waiting = Waiting()
    answers = iter([waiting])
    client = FastSocketClient(lambda *args: next(answers, ignore)(*args))
    client.send(GET)
    client.turn(3)
    kept = 0
    pipelined = get(b"/" + b"x" * 1000) * 100
    while True:
        try:
            sent = client.socket.send(pipelined[kept % len(pipelined) :])
        except BlockingIOError:
            before = kept
            client.turn(5)
            try:
                sent = client.socket.send(pipelined[kept % len(pipelined) :])
            except BlockingIOError:
                break
            assert before == kept
        kept += sent
        assert kept < 2_000_000
    reading_before = client.clock.getReaders()
    waiting.resume()
    read_on(client, 200)

    assert reading_before == []
    assert statuses(client.received).count("200") > kept // 1100


def test_empty_lines_before_a_request_are_skipped() -> None:
    """RFC 9112, 2.2."""
    client = FastClient(ignore)
    client.send(b"\r\n\r\n" + GET + b"\r\n" + GET + b"\r")
    client.send(b"\n")

    assert statuses(client.drain()) == ["200", "200"]
    assert not client.closed


@pytest.mark.parametrize("line", [b"\n", b"\r\r\n", b"\rG", b"\n\r\n"])
def test_an_empty_line_is_cr_lf(line) -> None:
    """And nothing else is."""
    client = FastClient(ignore)
    client.send(line + GET)

    assert statuses(client.drain()) == ["400"]


def test_pipelined_requests_give_others_their_turn(monkeypatch) -> None:
    """After a slice of time the rest of them wait for a turn."""

    def slow(environ, start_response):
        clock.rightNow += 0.0015
        start_response("200 OK", [])
        return [b""]

    client = FastClient(slow)
    clock = client.clock
    client.send(GET * 10)
    at_once = len(statuses(client.drain()))
    client.send(GET)
    client.read(10)

    assert 1 < at_once < 10
    assert len(statuses(client.received)) == 11


def test_a_client_that_leaves_between_slices_has_no_more_served() -> None:
    """Nothing is left scheduled."""
    served = []

    def slow(environ, start_response):
        client.clock.rightNow += 1
        served.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b""]

    client = FastClient(slow)
    client.send(GET * 10)
    before = len(served)
    client.leave()
    client.turn(10)

    assert len(served) == before < 10
    assert client.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("request_", "answer", "closed"),
    [
        (get(), b"", False),
        (get(b"/", b"Connection: close"), b"Connection: close", True),
        (get(b"/", b"Connection: x, close"), b"Connection: close", True),
        (b"GET / HTTP/1.0\r\n\r\n", b"Connection: close", True),
        (
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            b"Connection: keep-alive",
            False,
        ),
    ],
)
def test_the_connection_goes_on_as_the_client_says(request_, answer, closed) -> None:
    """RFC 9112, 9.3; and the client is told."""
    client = FastSocketClient(ignore)
    client.send(request_)
    received = read_on(client)

    assert client.ended is closed
    lines = [line for line in received.split(b"\r\n") if line[:11] == b"Connection:"]
    assert lines == [answer] * bool(answer)


def test_options_of_the_server() -> None:
    """RFC 9110, 9.3.7: it is no application's."""
    client = FastSocketClient(ignore)
    client.send(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n" + GET)
    received = read_on(client)

    assert statuses(received) == ["200", "200"]
    assert received.count(b"ignored") == 1


def test_what_the_application_says_of_date_and_server_counts() -> None:
    """They are not sent twice."""
    client = FastClient(giving([b""], ("Date", "today"), ("server", "mine")))
    client.get()
    received = client.drain().lower()

    assert received.count(b"date:") == received.count(b"server:") == 1
    assert b"date: today" in received


# --- bodies


@pytest.mark.parametrize("size", [1, 1000, 65536, 65537, 300_000])
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_a_body_is_there_when_the_application_is_called(size, coding) -> None:
    """In memory or in a file; and the next request begins after it."""
    body = b"x" * size
    client = FastSocketClient(echo)
    if coding == "length":
        client.send(post(size) + body + GET)
    else:
        client.send(CHUNKED + chunks(body) + LAST_CHUNK + GET)
    client.read(80)

    assert statuses(client.received) == ["200", "200"]
    assert body in client.received


def test_a_body_that_is_none_is_refused() -> None:
    """And nothing after it is served."""
    client = FastSocketClient(echo)
    client.send(CHUNKED + b"nonsense\r\n" + GET)

    assert statuses(read_on(client)) == ["400"]
    assert client.ended


@pytest.mark.parametrize(
    "request_",
    [post(11) + b"x" * 11, CHUNKED + chunks(b"x" * 11) + LAST_CHUNK],
    ids=["length", "chunked"],
)
def test_a_body_that_is_too_large_is_refused(request_) -> None:
    """The application does not hear of it."""
    client = FastSocketClient(echo, limits=Limits(body_size=10))
    client.send(request_)

    assert statuses(read_on(client)) == ["413"]


def test_a_body_for_which_there_is_no_room(monkeypatch, logged: Logged) -> None:
    """A full disk is not the client's fault."""

    class Full:
        def __init__(self, max_size: int) -> None:
            pass

        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "no space left")

        def close(self) -> None:
            pass

    monkeypatch.setattr("twisted_wsgiflush._body.SpooledTemporaryFile", Full)
    assert tempfile.SpooledTemporaryFile is not Full
    client = FastSocketClient(echo)
    client.send(post(100_000) + b"x" * 1000)

    assert statuses(read_on(client)) == ["500"]
    assert len(logged.flush(OSError)) == 1


def test_continue_is_sent_when_the_body_is_wanted() -> None:
    """RFC 9110, 10.1.1: once the limits have passed it."""
    client = FastSocketClient(echo)
    client.send(post(3, b"Expect: 100-continue"))
    first = read_on(client)
    client.send(b"abc")

    assert first == CONTINUE
    assert body_of(read_on(client)) == b"abc"


def test_continue_is_not_sent_when_the_body_is_there() -> None:
    """It would come late."""
    client = FastSocketClient(echo)
    client.send(post(3, b"Expect: 100-continue") + b"a")
    client.turn(3)
    client.send(b"bc")

    assert CONTINUE not in read_on(client)
    assert client.received.endswith(b"abc")


# --- the client sends no more


def test_half_closed_before_a_request() -> None:
    """There is nothing to answer."""
    client = FastSocketClient(ignore)
    client.half_close()

    assert read_on(client) == b""
    assert client.ended


@pytest.mark.parametrize("part", [b"GET", GET[:-2], post(3), post(3) + b"ab"])
def test_half_closed_within_a_request(part) -> None:
    """It will never be complete."""
    client = FastSocketClient(echo)
    client.send(part)
    client.turn(2)
    client.half_close()

    assert statuses(read_on(client)) == ["400"]
    assert client.ended


def test_half_closed_in_a_head_that_waits_its_turn() -> None:
    """The part that had come while another request was served."""
    waiting = Waiting()
    answers = iter([waiting])
    client = FastTCPClient(lambda *args: next(answers, ignore)(*args))
    client.send(GET + b"GET / HT")
    client.turn(3)
    client.half_close()
    client.turn(3)
    waiting.resume()

    assert statuses(read_on(client)) == ["200", "400"]
    assert client.ended


def slow(client: Any, seconds: float) -> Any:
    """An application that takes so much of the time of the client's server."""

    def application(environ, start_response):
        client.clock.rightNow += seconds
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"served ", body]

    return application


CUT = [b"GET / HT", post(3) + b"ab", CHUNKED + b"1\r\na"]


@pytest.mark.parametrize("rest", [b"", b"\r\n", *CUT])
@pytest.mark.parametrize("each", [GET, post(3) + b"abc", CHUNKED + b"0\r\n\r\n"])
def test_half_closed_while_requests_wait_their_turn(each, rest) -> None:
    """All that had come are served, in however many slices of time."""
    client = FastTCPClient(ignore)
    client.site.application = slow(client, 0.0015)
    client.send(each * 10 + rest)
    client.half_close()
    received = read_on(client, 20)

    assert statuses(received) == ["200"] * 10 + ["400"] * (rest in CUT)
    assert received.count(b"served ") == 10
    assert client.ended


@pytest.mark.parametrize("rest", [b"\r\n", *CUT])
def test_half_closed_within_what_waits_for_a_response(rest) -> None:
    """What will not be complete is refused when its turn comes, or no request."""
    waiting = Waiting()
    answers = iter([waiting])
    client = FastTCPClient(lambda *args: next(answers, ignore)(*args))
    client.send(GET + rest)
    client.turn(3)
    client.half_close()
    client.turn(3)
    waiting.resume()

    assert statuses(read_on(client)) == ["200"] + ["400"] * (rest in CUT)
    assert client.ended


@pytest.mark.parametrize("reads", [True, False])
def test_half_closed_within_a_streamed_body_that_waits_for_a_response(reads) -> None:
    """Who reads it learns that it is lost; who does not, answers as ever."""
    lost = []

    async def application(environ, start_response):
        if environ["REQUEST_METHOD"] == "GET":
            environ[SUSPEND](500)
            yield b""
        elif reads:
            try:
                await environ["wsgi.input"].read()
            except Exception as error:
                lost.append(type(error).__name__)
        start_response("200 OK", [])
        yield b"ended"

    client = FastTCPClient(asynchronous(application), stream_input=True)
    client.send(GET + post(10) + b"abc")
    client.turn(3)
    client.half_close()
    client.turn(3)
    client.wait(0.5)
    received = read_on(client, 20)

    assert lost == ["InputLost"] * reads
    assert received.count(chunks(b"ended") + LAST_CHUNK) == 2
    assert client.ended


def test_half_closed_behind_more_than_is_read_ahead() -> None:
    """What the kernel kept meanwhile is served, too, though its end is known."""
    waiting = Waiting()
    answers = iter([waiting])
    client = FastTCPClient(lambda *args: next(answers, ignore)(*args))
    count = 22
    client.send(get(b"/", b"X: " + b"x" * 7000) * count)
    client.half_close()
    client.wait(1, 0.1)
    nobody_reads = client.clock.getReaders() == []
    waiting.resume()
    received = read_on(client, 200)

    assert nobody_reads
    assert len(statuses(received)) == count
    assert client.ended


@pytest.mark.parametrize("more", [b"", GET])
def test_half_closed_while_served(more) -> None:
    """The response comes, and those to what came before; then the end."""
    waiting = Waiting()
    answers = iter([waiting])
    client = FastTCPClient(lambda *args: next(answers, ignore)(*args))
    client.send(GET + more)
    client.turn(3)
    client.half_close()
    client.turn(3)
    waiting.resume()
    received = read_on(client)

    assert statuses(received) == ["200"] + ["200"] * bool(more)
    assert client.ended


def test_half_closed_while_it_streams() -> None:
    """The rest of the body is lost, which who reads learns; the response goes on."""
    lost = []

    async def application(environ, start_response):
        start_response("200 OK", [])
        yield b"begun"
        try:
            await environ["wsgi.input"].read()
        except Exception as error:
            lost.append(type(error).__name__)
        yield b"ended"

    client = FastTCPClient(asynchronous(application), stream_input=True)
    client.send(post(10) + b"abc")
    client.turn(5)
    client.half_close()
    received = read_on(client, 20)

    assert lost == ["InputLost"]
    assert received.endswith(chunks(b"ended") + LAST_CHUNK)
    assert client.ended


def test_half_closed_with_nothing_sent_it_has_left() -> None:
    """After some time: it cannot be told from one that has closed."""
    waiting = Waiting()
    client = FastTCPClient(waiting)
    client.send(GET)
    client.turn(3)
    client.half_close()
    client.turn(3)
    before = waiting.left
    client.wait(1)

    assert (before, waiting.left) == (False, True)


def test_one_that_has_left_a_unix_socket_is_told_at_once() -> None:
    """There the kernel knows."""
    waiting = Waiting()
    client = FastSocketClient(waiting)
    client.send(GET)
    client.turn(3)
    client.leave()
    client.turn(3)

    assert waiting.left is True


def test_half_closed_with_something_sent_it_is_there() -> None:
    """As long as there is something to tell it."""

    def application(environ, start_response):
        start_response("200 OK", [])
        for _ in range(20):
            environ[SUSPEND](250)
            yield b""
            yield b"."

    client = FastTCPClient(application)
    client.send(GET)
    client.turn(3)
    client.half_close()
    for _ in range(80):
        client.wait(0.25)
        client.drain()

    assert client.received.count(b".\r\n") == 20
    assert client.ended


@pytest.mark.parametrize("size", [0, 2])
def test_half_closed_while_the_rest_of_a_body_is_discarded(size) -> None:
    """The response was complete."""
    client = FastSocketClient(ignore, stream_input=True)
    client.send(post(3) + b"x" * size)
    client.turn(3)
    client.half_close()

    assert statuses(read_on(client)) == ["200"]
    assert client.ended


# --- what is not read of a body


def test_what_the_application_does_not_read_is_discarded() -> None:
    """The next request begins after it."""
    client = FastSocketClient(ignore, stream_input=True)
    client.send(post(5) + b"ab")
    client.turn(3)
    client.send(b"cde" + GET)

    assert statuses(read_on(client)) == ["200", "200"]


@pytest.mark.parametrize(
    "request_",
    [post(300_000), post(3, b"Expect: 100-continue")],
    ids=["too much", "may never come"],
)
def test_what_is_too_much_to_discard_closes(request_) -> None:
    """The client has the response all the same."""
    client = FastSocketClient(ignore, stream_input=True)
    client.send(request_)

    assert statuses(read_on(client)) == ["200"]
    assert client.ended


@pytest.mark.parametrize("rest", [b"nonsense\r\n", chunks(b"x" * 300_000)])
def test_a_body_that_cannot_be_discarded_closes(rest) -> None:
    """It is none, or is too much after all."""
    client = FastSocketClient(ignore, stream_input=True)
    client.send(CHUNKED)
    client.turn(3)
    client.send(rest)

    assert statuses(read_on(client, 30)) == ["200"]
    assert client.ended


# --- the end: what is left over is read for a while


def test_what_comes_after_the_last_request_is_read_and_dropped() -> None:
    """A reset could cost the client the response (RFC 9112, 9.6)."""
    client = FastSocketClient(ignore)
    client.send(get(b"/", b"Connection: close") + GET)
    received = read_on(client)
    client.send(GET * 100)
    client.turn(10)

    assert statuses(received) == ["200"]
    assert client.ended
    assert not client.was_reset
    assert client.transport.connected


def test_a_client_that_sends_on_for_ever_is_cut() -> None:
    """There is a bound to what is dropped."""
    client = FastSocketClient(ignore)
    client.send(b"nonsense\r\n\r\n" + GET)
    read_on(client)
    sent = 0
    while client.transport.connected:
        client.send(b"x" * 10_000)
        client.turn()
        sent += 10_000

    assert sent < 1_000_000
    assert not client.transport.connected


def test_a_client_that_closes_then_is_gone() -> None:
    """Both halves are closed."""
    client = FastSocketClient(ignore)
    client.send(b"nonsense\r\n\r\n" + GET)
    read_on(client)
    client.half_close()
    client.turn(3)

    assert not client.transport.connected
    assert client.clock.getDelayedCalls() == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_refusal_has_a_body_but_for_head(method) -> None:
    """RFC 9110, 9.3.2; also when the head cannot be read."""
    client = FastSocketClient(ignore)
    client.send(f"{method} / HTTP/1.1\r\n\r\n".encode())
    received = read_on(client)

    assert statuses(received) == ["400"]
    assert bool(body_of(received)) is (method == "GET")
    assert b"Connection: close" in received


def test_a_refusal_to_head_with_a_body() -> None:
    """The head was read there."""
    client = FastSocketClient(ignore, limits=Limits(body_size=5))
    client.send(CHUNKED.replace(b"POST", b"HEAD") + chunks(b"too large"))
    received = read_on(client)

    assert statuses(received) == ["413"]
    assert body_of(received) == b""


# --- streamed


def test_a_body_is_read_as_it_comes() -> None:
    """An upload and its response may overlap."""

    async def application(environ, start_response):
        start_response("200 OK", [])
        async for block in environ["wsgi.input"]:
            yield block

    client = FastSocketClient(asynchronous(application), stream_input=True)
    client.send(CHUNKED + chunks(b"one"))
    first = body_of(read_on(client))
    client.send(chunks(b"two") + LAST_CHUNK + GET)

    assert first == chunks(b"one")
    assert read_on(client).startswith(chunks(b"two") + LAST_CHUNK + b"HTTP/1.1 200")


def test_continue_is_sent_when_a_streamed_body_is_read() -> None:
    """And the connection goes on after it."""

    async def application(environ, start_response):
        body = await environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [body]

    client = FastSocketClient(asynchronous(application), stream_input=True)
    client.send(post(3, b"Expect: 100-continue"))
    first = read_on(client)
    client.send(b"abc" + GET)

    assert first == CONTINUE
    assert statuses(read_on(client)) == ["200", "200"]


def test_continue_is_not_sent_after_the_final_head() -> None:
    """The client will not take it for one any more."""

    async def application(environ, start_response):
        start_response("200 OK", [])
        environ[FLUSH]()
        body = await environ["wsgi.input"].read()
        yield body

    client = FastSocketClient(asynchronous(application), stream_input=True)
    client.send(post(3, b"Expect: 100-continue"))
    read_on(client)
    client.send(b"abc")
    read_on(client)

    assert CONTINUE not in client.received
    assert b"3\r\nabc\r\n" in client.received
    assert client.ended


def test_who_does_not_read_makes_the_client_wait() -> None:
    """The kernel's buffers fill, and nothing of ours."""
    waiting = Waiting()
    client = FastSocketClient(waiting, stream_input=True)
    client.send(post(100_000_000))
    sent = 0
    while client.clock.getReaders():
        sent += client.socket.send(b"x" * 10_000)
        client.turn()
    went_on = waiting.went_on
    waiting.resume()
    client.turn(10)

    assert sent < 200_000
    assert went_on is False
    assert statuses(client.drain()) == ["200"]


def test_who_leaves_while_nobody_reads_is_found_gone() -> None:
    """The reactor tells only who reads; this asks the kernel at times."""
    waiting = Waiting()
    client = FastSocketClient(waiting, stream_input=True)
    client.send(post(100_000_000))
    while client.clock.getReaders():
        client.socket.send(b"x" * 10_000)
        client.turn()
    client.leave()
    client.wait(2)

    assert waiting.left is True
    assert client.clock.getDelayedCalls() == []


def test_a_streamed_body_that_is_too_large() -> None:
    """Who reads learns it, and the client from whoever does."""

    async def application(environ, start_response):
        start_response("200 OK", [])
        return [await environ["wsgi.input"].read()]

    client = FastSocketClient(
        asynchronous(application), stream_input=True, limits=Limits(body_size=10)
    )
    client.send(CHUNKED)
    client.turn(3)
    client.send(chunks(b"x" * 11))

    assert statuses(read_on(client)) == ["413"]
    assert client.ended


def test_a_streamed_body_that_is_too_large_and_not_read() -> None:
    """The response is none the worse for it, but the last."""
    waiting = Waiting()
    client = FastSocketClient(waiting, stream_input=True, limits=Limits(body_size=10))
    client.send(CHUNKED)
    client.turn(3)
    client.send(chunks(b"x" * 11))
    client.turn(3)
    waiting.resume()

    assert statuses(read_on(client)) == ["200"]
    assert client.ended


def test_what_comes_after_a_streamed_body_was_lost_is_dropped() -> None:
    """Where the next request begins is not known."""
    lost = []

    async def application(environ, start_response):
        try:
            await environ["wsgi.input"].read()
        except Exception as error:
            lost.append(str(error))
        environ["twisted.reactor"].callLater(1, deferred.callback, None)
        await deferred
        start_response("200 OK", [])
        return [b"answer"]

    deferred: Deferred[None] = Deferred()
    client = FastSocketClient(asynchronous(application), stream_input=True)
    client.send(CHUNKED + b"nonsense\r\n")
    client.turn(3)
    client.send(GET)
    client.turn(3)
    client.wait(1)

    assert statuses(read_on(client)) == ["200"]
    assert client.ended
    assert len(lost) == 1


def test_a_client_that_leaves_while_it_streams() -> None:
    """The body is lost, and the application closed."""
    waiting = Waiting()
    client = FastSocketClient(waiting, stream_input=True)
    client.send(post(10) + b"abc")
    client.turn(3)
    client.leave()
    client.turn(3)

    assert waiting.left is True
    assert client.clock.getDelayedCalls() == []


# --- responses that the client does not take


def test_a_response_that_is_not_taken_keeps_the_next_from_beginning() -> None:
    """It begins when the client has taken it."""
    large = b"x" * 1_000_000
    calls = []

    def application(environ, start_response):
        calls.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [large]

    client = FastSocketClient(application)
    client.send(get(b"/1") + get(b"/2"))
    client.turn(5)
    before = list(calls)
    client.read(400)

    assert before == ["/1"]
    assert calls == ["/1", "/2"]
    assert client.received.count(large) == 2


def test_half_closed_while_a_response_is_not_taken() -> None:
    """It is sent to the end."""
    client = FastTCPClient(giving([b"x" * 5_000_000]))
    client.send(GET)
    client.turn(3)
    client.half_close()
    client.turn(3)
    client.read(2000)

    assert len(body_of(client.received)) == 5_000_000
    assert client.ended


def test_a_response_that_fails_is_cut(logged: Logged) -> None:
    """The last chunk never comes."""

    client = FastSocketClient(giving(Blocks(b"one", Boom())))
    client.send(GET)
    received = read_on(client)

    assert received.endswith(chunks(b"one"))
    assert client.ended
    assert len(logged.flush(Boom)) == 1


def test_one_that_ends_with_the_connection_is_reset_when_it_fails(
    logged: Logged,
) -> None:
    """Or its end would pass for its end."""
    client = FastTCPClient(giving(Blocks(b"one", Boom())))
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    client.turn(5)
    client.drain()

    assert client.was_reset
    assert len(logged.flush(Boom)) == 1


# --- the end of all


@pytest.mark.parametrize(
    "phase",
    ["idle", "head", "body", "response", "discarding", "sending", "closing"],
)
@pytest.mark.parametrize("how", ["abort", "leave", "times up"])
def test_a_connection_ends_in_every_phase(phase, how) -> None:
    """And leaves nothing behind."""
    waiting = Waiting()
    applications: dict[str, Any] = {
        "response": waiting,
        "sending": giving([b"x" * 5_000_000]),
    }
    requests = {
        "idle": b"",
        "head": GET[:5],
        "body": post(100) + b"x",
        "discarding": post(100) + b"x",
        "closing": b"nonsense\r\n\r\n",
    }
    client = FastSocketClient(
        applications.get(phase, ignore), stream_input=phase == "discarding"
    )
    client.send(requests.get(phase, GET))
    client.turn(3)
    if how == "abort":
        client.site.abort()
    elif how == "leave":
        client.leave()
    else:
        drained: list[Any] = []
        client.site.drain(1).addCallback(drained.append)
        client.clock.turn(1)
    client.turn(5)
    if phase == "sending" and how == "leave":
        client.wait(1)

    assert not client.transport.connected
    assert client.clock.getDelayedCalls() == []
    assert waiting.left is (phase == "response")
    assert how != "times up" or drained == [None]


@pytest.mark.parametrize(
    ("phase", "request_", "rest"),
    [
        ("idle", b"", b""),
        ("head", GET[:5], GET[5:]),
        ("body", post(3), b"abc"),
        ("keep-alive", GET, b""),
    ],
)
def test_draining_lets_what_has_begun_end(phase, request_, rest) -> None:
    """Its response is the last."""
    client = FastSocketClient(echo)
    client.send(request_)
    client.turn(3)
    drained: list[Any] = []
    client.site.drain(10).addCallback(drained.append)
    client.turn(3)
    if rest:
        client.send(rest)
    read_on(client)
    client.half_close()
    client.turn(5)

    assert statuses(client.received) == ["200"] * (phase != "idle")
    assert client.ended
    assert drained == [None]
    assert bool(rest) is (b"Connection: close" in client.received)
    assert client.clock.getDelayedCalls() == []


def test_draining_lets_a_response_end() -> None:
    """Which tells the client that it is the last, unless its head was sent."""
    waiting = Waiting()
    client = FastSocketClient(waiting)
    client.send(GET + GET)
    client.turn(3)
    drained: list[Any] = []
    client.site.drain(10).addCallback(drained.append)
    waiting.resume()
    received = read_on(client)
    client.half_close()
    client.turn(3)

    assert statuses(received) == ["200"]
    assert b"Connection: close" in received
    assert client.ended
    assert drained == [None]


def beside(client: FastSocketClient) -> FastSocketClient:
    """Another client of the same site."""
    other = object.__new__(FastSocketClient)
    other.clock, other.site, other.received = client.clock, client.site, b""
    other.connect(65536)
    return other


def test_too_many_connections() -> None:
    """One more is told so, and closed."""
    client = FastSocketClient(ignore, limits=Limits(max_connections=1))
    other = beside(client)
    refused = read_on(other)
    client.send(GET)

    assert statuses(refused) == ["503"]
    assert other.ended
    assert statuses(read_on(client)) == ["200"]


def test_one_too_many_takes_no_place() -> None:
    """One that was refused, and does not close, keeps nobody out."""
    client = FastSocketClient(ignore, limits=Limits(max_connections=1))
    refused = [read_on(beside(client)) for _ in range(2)]
    client.leave()
    client.turn(3)
    other = beside(client)
    other.send(GET)

    assert [statuses(received) for received in refused] == [["503"], ["503"]]
    assert statuses(read_on(other)) == ["200"]
    assert statuses(read_on(beside(client))) == ["503"]


def test_who_reads_again_lets_the_client_go_on() -> None:
    """And gets all that it sends."""

    async def application(environ, start_response):
        await deferred
        size = 0
        async for block in environ["wsgi.input"]:
            size += len(block)
        start_response("200 OK", [])
        return [b"%d bytes" % size]

    deferred: Deferred[None] = Deferred()
    client = FastSocketClient(asynchronous(application), stream_input=True)
    client.send(post(500_000))
    sent = 0
    while client.clock.getReaders():
        sent += client.socket.send(b"x" * 10_000)
        client.turn()
    deferred.callback(None)
    client.send(b"x" * (500_000 - sent))

    assert body_of(read_on(client, 30)) == chunks(b"500000 bytes") + LAST_CHUNK


def test_a_body_is_discarded_while_a_response_is_not_taken() -> None:
    """The next request begins when there is an end to both."""
    large = b"x" * 1_000_000
    client = FastSocketClient(giving([large]), stream_input=True)
    client.send(post(10) + b"abc")
    client.turn(3)
    client.read(300)
    client.send(b"defghij" + GET)
    client.read(300)

    assert client.received.count(large) == 2


def test_who_still_reads_when_the_site_drains_is_closed_then() -> None:
    """It may read to the end, and ask for nothing more."""
    client = FastTCPClient(giving([b"x" * 500_000]))
    client.send(GET)
    client.turn(3)
    client.site.drain(100)
    client.turn(3)
    before = client.transport.connected
    client.read(50)

    assert before
    assert len(body_of(client.received)) == 500_000
    assert client.ended


def test_a_pause_is_over_with_the_body() -> None:
    """Whoever has all of it may read it late, and the next request is served."""

    async def application(environ, start_response):
        start_response("200 OK", [])
        if environ["REQUEST_METHOD"] == "POST":
            environ[SUSPEND](500)
            yield b""
        body = await environ["wsgi.input"].read()
        yield b"read %d" % len(body)

    client = FastTCPClient(asynchronous(application), stream_input=True)
    client.send(post(100_000) + b"x" * 100_000)
    client.turn(5)
    client.wait(1)
    first = read_on(client)
    client.send(GET)

    assert b"read 100000" in first
    assert b"read 0" in read_on(client)


def test_a_body_is_not_refused_when_its_connection_is_lost() -> None:
    """Whoever still reads it has nobody to tell."""
    client = FastSocketClient(echo)
    channel = client.transport.protocol
    client.leave()
    client.turn(3)

    channel.refuse_body(Refused(413, "It is too large."))

    assert channel.phase.name == "LOST"
