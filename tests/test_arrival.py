"""How a body arrives: in its order, bounded, and at the pace of who reads it."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from arriving import Awaited, Connection
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError

from twisted_wsgiflush.errors import AlreadyReading, InputLost

HIGH_WATER = 65536


# --- when the connection rests


def test_it_rests_when_there_is_much_that_nobody_reads() -> None:
    """64 KiB that nobody has read pause the connection, once."""
    connection = Connection()

    connection.send(b"x" * (HIGH_WATER - 1))
    assert not connection.paused
    connection.send(b"x", b"and what was on its way")
    assert connection.paused


def test_it_goes_on_when_all_was_read() -> None:
    """The connection is resumed when the last byte is taken, and not before."""
    connection = Connection()
    connection.send(b"x" * HIGH_WATER)

    connection.body.read(HIGH_WATER - 1)
    assert connection.paused
    connection.body.read(1)
    assert not connection.paused


def test_it_goes_on_for_a_line_that_is_not_complete() -> None:
    """A connection that rests reads on for who waits for more than there is."""
    connection = Connection()
    connection.send(b"x" * HIGH_WATER)
    connection.body.read(HIGH_WATER - 2)
    line = Awaited(connection.body.readline)

    assert not connection.paused
    connection.send(b"y\n")
    assert line.results == [b"xxy\n"]


def test_it_rests_again_for_what_is_given_back() -> None:
    """What a wait that was cancelled gives back counts as not read."""
    connection = Connection()
    connection.send(b"x" * HIGH_WATER)
    all_of_it = Awaited(connection.body.read)
    assert not connection.paused

    all_of_it.cancel()

    assert connection.paused
    assert connection.body.read() == b"x" * HIGH_WATER


@pytest.mark.parametrize("ending", [Connection.finish, Connection.lose, Connection.end])
def test_it_is_left_alone_after_the_body(ending: Any) -> None:
    """Once no more is expected, the connection is not told anything."""
    connection = Connection()
    connection.send(b"x" * HIGH_WATER)

    ending(connection)

    Awaited(connection.body.read)
    Awaited(connection.body.read)
    assert connection.paused
    assert not connection.wanted


def test_what_is_given_back_after_the_body_pauses_nothing() -> None:
    """Once no more is expected, much that nobody has read is nobody's concern."""
    connection = Connection()
    connection.send(b"x" * (HIGH_WATER - 1))
    all_of_it = Awaited(connection.body.read)
    connection.send(b"x" * (HIGH_WATER - 1))

    connection.lose()

    assert [type(error) for error in all_of_it.errors] == [InputLost]
    assert not connection.paused
    assert connection.body.read() == b"x" * (2 * HIGH_WATER - 2)


# --- what the connection is asked for


def test_the_body_is_wanted_at_the_first_read() -> None:
    """Only the first read tells the connection that the body is wanted."""
    connection = Connection()
    connection.send(b"early")
    assert not connection.wanted

    connection.body.read(1)
    assert connection.wanted
    connection.body.read(1)


def test_the_body_is_wanted_by_who_awaits_it() -> None:
    """To await the next block is to read."""
    connection = Connection()

    Awaited(lambda: connection.body)

    assert connection.wanted


def test_it_may_send_when_it_is_asked() -> None:
    """Bytes that come in the very call for them are read by who made that call."""
    asked = []

    def told(name: str) -> None:
        asked.append(name)
        connection.send(name.encode())

    connection = Connection(told=told)

    assert connection.body.read() == b"want"
    # Pausing brought what was on its way, resuming the next.
    connection.send(b"x" * HIGH_WATER)
    assert connection.body.read() == b"x" * HIGH_WATER + b"pause"
    assert connection.body.read() == b"resume"
    assert asked == ["want", "pause", "resume"]


def test_it_may_send_when_somebody_waits() -> None:
    """A wait for which the connection has something at once is no wait."""
    connection = Connection(told=lambda name: connection.send(b"y\n"))
    connection.body.read()
    connection.told = lambda name: None
    connection.send(b"x" * HIGH_WATER)
    connection.body.read(HIGH_WATER - 1)
    connection.told = lambda name: connection.send(b"y\n")

    assert Awaited(connection.body.readline).results == [b"xy\n"]


def test_who_waits_may_read_while_it_arrives() -> None:
    """What is read within the arrival of a block is in order, and resumes."""
    connection = Connection()
    blocks = []

    async def read() -> None:
        while block := await connection.body:
            blocks.append(block)

    Awaited(read)
    for _ in range(3):
        connection.send(b"x" * HIGH_WATER)
        assert not connection.paused
    connection.finish()

    assert blocks == [b"x" * HIGH_WATER] * 3


# --- who waits


def test_one_waits_at_a_time() -> None:
    """The second that waits for the same body is refused, and the first goes on."""
    connection = Connection()
    first = Awaited(lambda: connection.body.read(10))

    second = Awaited(lambda: connection.body)

    assert [type(error) for error in second.errors] == [AlreadyReading]
    connection.send(b"for the first")
    assert first.results == [b"for the fi"]


def test_who_has_nothing_to_wait_for_is_not_refused() -> None:
    """What somebody waits for may be taken by another, and the wait goes on."""
    connection = Connection()
    line = Awaited(connection.body.readline)
    connection.send(b"no line")

    assert Awaited(lambda: connection.body).results == [b"no line"]

    connection.send(b"still ")
    assert line.results == []
    connection.send(b"a line\n")
    assert line.results == [b"still a line\n"]


def test_a_wait_that_is_cancelled_makes_room_for_the_next() -> None:
    """Who does not wait any more takes nothing, and is in nobody's way."""
    connection = Connection()
    first = Awaited(lambda: connection.body.read(10))

    first.cancel()

    assert [type(error) for error in first.errors] == [CancelledError]
    second = Awaited(lambda: connection.body.read(10))
    connection.send(b"block")
    assert second.results == [b"block"]


def test_who_is_suspended_goes_on_once() -> None:
    """Who is suspended is resumed with the first block, and not with the next."""
    resumed = []
    connection = Connection(suspend=lambda timeout: lambda: resumed.append(timeout))
    connection.body.readable(0.2501)
    assert resumed == []

    connection.send(b"block", b"block")

    assert resumed == [251], "milliseconds, and never too few"


# --- endings


@pytest.mark.parametrize(
    "ending",
    [
        Connection.finish,
        Connection.lose,
        Connection.end,
    ],
)
def test_what_comes_after_the_body_is_dropped(ending: Any) -> None:
    """Bytes that come when no more are expected are nobody's."""
    connection = Connection()
    connection.send(b"body")
    ending(connection)

    connection.send(b"more")

    connection.body.complete()
    connection.body.lost("400 Bad Request", "too late")
    if ending is Connection.end:
        with pytest.raises(ValueError, match="closed file"):
            connection.body.read()
    else:
        assert connection.body.read() == b"body"


def test_the_first_ending_counts() -> None:
    """A client that leaves after it has sent all has sent all."""
    connection = Connection()
    connection.finish(b"body")

    connection.lose()

    assert connection.body.read() == b"body"
    assert connection.body.ended


def test_the_first_loss_counts() -> None:
    """Who reads on hears of what was wrong first."""
    connection = Connection()
    connection.lose("too slow")

    connection.lose("and gone")

    with pytest.raises(InputLost, match="too slow"):
        connection.body.read()


def test_no_bytes_are_no_end() -> None:
    """An empty block is nothing."""
    connection = Connection()
    block = Awaited(lambda: connection.body)

    connection.send(b"")

    assert block.results == []
    connection.finish()
    assert block.results == [b""]


def test_who_waits_when_the_response_ends_is_told() -> None:
    """Nobody is left waiting for a body that is gone."""
    connection = Connection()
    block = Awaited(lambda: connection.body)

    connection.end()
    connection.end()

    assert [type(error) for error in block.errors] == [ValueError]


def test_nothing_is_given_back_when_the_response_is_over() -> None:
    """What somebody had read of a body that is gone is gone, too."""
    connection = Connection()
    connection.send(b"x" * HIGH_WATER)
    all_of_it = Awaited(connection.body.read)

    connection.end()

    assert [type(error) for error in all_of_it.errors] == [ValueError]
    assert not connection.paused


# --- memory


def test_small_blocks_are_not_kept_one_by_one() -> None:
    """A body that comes two bytes at a time takes little more than its size."""
    connection = Connection()
    tracemalloc.start()
    try:
        while not connection.paused:
            connection.send(bytes(bytearray(2)))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size < 2 * HIGH_WATER
    assert connection.body.read() == bytes(HIGH_WATER)


def test_an_upload_into_a_slow_application_is_small() -> None:
    """The client sends as it may, the application reads little: memory is bounded."""
    connection = Connection()
    total = 0
    tracemalloc.start()
    try:
        while total < 1 << 26:
            while not connection.paused:
                connection.send(bytes(HIGH_WATER))
            while connection.paused:
                total += len(connection.body.read(50_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1 << 19


# --- anything


class Sender:
    """A client that sends a body in pieces, as far as it may."""

    def __init__(self, sizes: list[int]) -> None:
        self.pieces = [bytes([n % 16]) * size for n, size in enumerate(sizes)]
        self.sent: list[bytes] = []
        self.connection = Connection()

    def send(self) -> None:
        if not self.pieces and not self.connection.over:
            self.connection.finish()
        elif self.pieces and not self.connection.paused:
            self.sent.append(self.pieces.pop(0))
            self.connection.send(self.sent[-1])


SIZES = st.one_of(
    st.integers(0, 40),
    st.sampled_from([1023, 1024, 16384, HIGH_WATER - 1, HIGH_WATER, 100_000]),
)
STEPS = st.lists(
    st.one_of(
        st.just(("send", None)),
        st.just(("cancel", None)),
        st.just(("next", None)),
        st.tuples(
            st.sampled_from(["read", "readline", "await", "await line"]),
            st.one_of(st.none(), SIZES),
        ),
    ),
    max_size=60,
)


@settings(deadline=None)  # A collection may come in between.
@given(sizes=st.lists(SIZES, max_size=20), steps=STEPS)
def test_any_way_of_reading_gives_the_body(
    sizes: list[int], steps: list[tuple[str, int | None]]
) -> None:
    """However it arrives, is read, awaited and cancelled: every byte comes once, in
    order, and what is kept is bounded."""
    sender = Sender(sizes)
    body = sender.connection.body
    read: list[bytes] = []
    waiting: list[Awaited] = []

    def look() -> None:
        while waiting and (waiting[0].results or waiting[0].errors):
            read.extend(waiting.pop(0).results)

    def wait(begin: Any) -> None:
        if not waiting:
            waiting.append(Awaited(begin))

    for step, size in steps:
        if step == "send":
            sender.send()
        elif step == "cancel" and waiting:
            waiting[0].cancel()
        elif step == "next":
            wait(lambda: body)
        elif step == "await":
            wait(lambda size=size: body.read(size))
        elif step == "await line":
            wait(lambda size=size: body.readline(size))
        elif not waiting and step == "read":
            read.append(body.read(size))
        elif not waiting and step == "readline":
            read.append(body.readline(size))
        look()
        kept = sum(map(len, sender.sent)) - sum(map(len, read))
        assert waiting or kept < HIGH_WATER + 100_000
    while not sender.connection.over:
        sender.send()
        look()
        if not waiting:
            read.append(body.read())
    look()
    assert not waiting
    read.append(body.read())

    assert body.ended
    assert b"".join(read) == b"".join(sender.sent)
