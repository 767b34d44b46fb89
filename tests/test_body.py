"""A request's body on its way: kept, streamed, or discarded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from arriving import Awaited, Connection

from twisted_wsgiflush._body import (
    DISCARDED,
    IN_MEMORY,
    RequestBody,
)
from twisted_wsgiflush._requesthead import HeadReader, RequestHead
from twisted_wsgiflush._rules import Refused, check_size
from twisted_wsgiflush.errors import InputLost
from twisted_wsgiflush.limits import Limits

NO_LIMITS = Limits(header_size=None, body_size=None)
NEXT = b"GET / HTTP/1.1\r\n\r\n"


def head_with(length: int | None = None, expects_continue: bool = False) -> RequestHead:
    """A head that announces a body of a length, or a chunked one."""
    fields = b"Transfer-Encoding: chunked\r\n"
    if length is not None:
        fields = b"Content-Length: %d\r\n" % length
    if expects_continue:
        fields += b"Expect: 100-continue\r\n"
    data = b"POST / HTTP/1.1\r\nHost: here\r\n" + fields + b"\r\n"
    return HeadReader(NO_LIMITS).read(data)


@pytest.fixture
def bodies() -> Iterator[Any]:
    """Make a body, which is closed in the end."""
    made: list[RequestBody] = []

    def make(
        length: int | None = None, limits: Limits = NO_LIMITS, **options: Any
    ) -> RequestBody:
        made.append(RequestBody(head_with(length, **options), limits))
        return made[-1]

    yield make
    for body in made:
        body.close()


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


# -- kept -----------------------------------------------------------------------------


def test_a_body_of_a_length(bodies) -> None:
    """It is kept until it has all come, and what comes then is given back."""
    body = bodies(10)

    assert body.receive(b"hello") == b""
    assert not body.ended
    assert body.receive(b"world" + NEXT) == NEXT

    assert body.ended
    assert body.size == 10
    assert body.input().read() == b"helloworld"


def test_a_chunked_body(bodies) -> None:
    """It is kept without its coding."""
    body = bodies()

    assert body.receive(b"5\r\nhello\r\n") == b""
    assert not body.ended
    assert body.receive(b"5\r\nworld\r\n0\r\n\r\n" + NEXT) == NEXT

    assert body.ended
    assert body.size == 10
    assert body.input().read() == b"helloworld"


def test_a_small_body_is_in_memory_and_a_large_one_in_a_file(bodies) -> None:
    """One up to 64 KiB needs no descriptor."""
    body = bodies(IN_MEMORY + 1)
    before = descriptors()

    body.receive(b"x" * IN_MEMORY)
    assert descriptors() == before

    body.receive(b"y")
    assert descriptors() == before + 1
    assert body.input().read() == b"x" * IN_MEMORY + b"y"

    body.close()
    assert descriptors() == before


def test_no_room(bodies, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file cannot be had, that is told."""
    monkeypatch.setattr("tempfile.tempdir", "/absent")

    with pytest.raises(OSError, match="absent"):
        bodies(IN_MEMORY + 1).receive(b"x" * (IN_MEMORY + 1))


def test_reading_after_the_response(bodies) -> None:
    """What the application has kept of it is a closed file."""
    body = bodies(5)
    body.receive(b"hello")
    input_stream = body.input()

    body.close()

    with pytest.raises(ValueError, match="closed"):
        input_stream.read()


def test_a_body_that_is_none(bodies) -> None:
    """The framing's refusals come out as they are."""
    with pytest.raises(Refused) as refused:
        bodies().receive(b"hello\r\n")

    assert refused.value.code == 400


def test_a_kept_body_that_is_lost(bodies) -> None:
    """Nobody reads it, so nobody is told; what is there stays."""
    body = bodies(10)
    body.receive(b"hello")

    body.lost(Refused(408, "The body did not come in time."))

    assert body.input().read() == b"hello"


# -- limits ---------------------------------------------------------------------------


def test_the_size_of_a_body(bodies) -> None:
    """As many bytes as are allowed, and not one more (RFC 9110, 15.5.14)."""
    limits = NO_LIMITS._replace(body_size=10)
    body = bodies(limits=limits)
    body.receive(b"a\r\n" + b"x" * 10 + b"\r\n")

    with pytest.raises(Refused) as refused:
        body.receive(b"1\r\nx")

    assert refused.value.code == 413
    assert "10 bytes" in refused.value.why


@pytest.mark.parametrize(("size", "limit"), [(0, 0), (10, 10), (2**64, None)])
def test_sizes_that_are_taken(size: int, limit: int | None) -> None:
    """Up to the limit, or any."""
    check_size(size, limit)


def test_a_size_that_is_not_taken() -> None:
    """Told in advance, it is refused before a byte has come."""
    with pytest.raises(Refused) as refused:
        check_size(11, 10)

    assert refused.value.code == 413


@pytest.mark.parametrize(("header_size", "taken"), [(100, False), (None, True)])
def test_trailers_are_fields(bodies, header_size: int | None, taken: bool) -> None:
    """They have the bound of the header's, or none."""
    body = bodies(limits=Limits(header_size=header_size))
    data = b"0\r\nA: " + b"x" * 300 + b"\r\n\r\n"

    if taken:
        assert body.receive(data) == b""
        assert body.ended
    else:
        with pytest.raises(Refused):
            body.receive(data)


# -- 100 Continue (RFC 9110, 10.1.1) --------------------------------------------------


def test_the_client_waits_until_it_sends(bodies) -> None:
    """With the first byte of the body it is known that it does not wait any more."""
    body = bodies(5, expects_continue=True)
    assert body.awaits_continue
    assert not body.waited_for

    body.receive(b"h")

    assert not body.awaits_continue
    assert body.waited_for


def test_a_body_that_is_kept_is_waited_for(bodies) -> None:
    """Until it has all come: its request is not served before."""
    body = bodies(5)
    assert body.waited_for

    body.receive(b"hello")

    assert not body.waited_for


# -- streamed -------------------------------------------------------------------------


def test_a_streamed_body(bodies) -> None:
    """The application has each block as it comes, and the end."""
    body, arriving = bodies(10), Connection().body
    body.stream_to(arriving)

    body.receive(b"hello")
    assert arriving.read() == b"hello"
    assert not arriving.ended

    assert body.receive(b"world" + NEXT) == NEXT
    assert arriving.read() == b"world"
    assert arriving.ended


def test_who_waits_for_a_streamed_body(bodies) -> None:
    """It is the client's turn only while the application waits for more."""
    connection = Connection()
    body = bodies(10)
    body.stream_to(connection.body)
    assert not body.waited_for

    awaited = Awaited(lambda: connection.body.read(5))
    assert body.waited_for

    body.receive(b"hello")
    assert awaited.results == [b"hello"]
    assert not body.waited_for


def test_a_streamed_body_that_is_lost(bodies) -> None:
    """The application hears of it, in the words of the refusal."""
    body, arriving = bodies(10), Connection().body
    body.stream_to(arriving)
    body.receive(b"hello")

    body.lost(Refused(408, "The body did not come in time."))

    assert arriving.read() == b"hello"
    with pytest.raises(InputLost, match="did not come in time") as lost:
        arriving.read()
    assert lost.value.status == "408 Request Timeout"


def test_a_streamed_body_after_the_response(bodies) -> None:
    """Reading it is an error then."""
    body, arriving = bodies(10), Connection().body
    body.stream_to(arriving)

    body.close()

    with pytest.raises(ValueError, match="closed"):
        arriving.read()


def test_a_streamed_body_takes_no_file(bodies) -> None:
    """However much comes."""
    before = descriptors()
    body, arriving = bodies(10 * IN_MEMORY), Connection().body
    body.stream_to(arriving)

    for _ in range(10):
        body.receive(b"x" * IN_MEMORY)
        assert len(arriving.read()) == IN_MEMORY

    assert descriptors() == before


# -- discarded ------------------------------------------------------------------------


def test_a_discarded_body(bodies) -> None:
    """Nobody reads the rest; the next request comes after it all the same."""
    body = bodies(10)
    body.receive(b"hello")

    body.discard()

    assert body.size == 0
    assert body.receive(b"world" + NEXT) == NEXT
    assert body.ended
    assert body.size == 5


def test_a_discarded_body_is_bounded(bodies) -> None:
    """Beyond a bound it is cheaper to close the connection, whatever its limit was."""
    body = bodies(limits=NO_LIMITS)
    body.discard()
    body.receive(b"%x\r\n" % (DISCARDED + 1) + b"x" * DISCARDED)

    with pytest.raises(Refused) as refused:
        body.receive(b"x")

    assert refused.value.code == 413


def test_a_streamed_body_that_is_discarded(bodies) -> None:
    """The application's reads are errors from then on."""
    body, arriving = bodies(10), Connection().body
    body.stream_to(arriving)

    body.discard()

    assert body.receive(b"helloworld") == b""
    assert body.ended
    with pytest.raises(ValueError, match="closed"):
        arriving.read()
