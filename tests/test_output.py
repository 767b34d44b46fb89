"""How bytes leave a channel: straight to the kernel, or through a transport."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import pytest
from connections import (
    BLOCKS,
    BODY,
    Blocks,
    FastClient,
    FastSocketClient,
    FastTCPClient,
    FastTLSClient,
    LiveSocket,
    TLSClient,
    another,
    giving,
)
from test_channel import get
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from waiting import FLUSH, LAST_CHUNK, body_of, chunks
from zope.interface.verify import verifyObject

from twisted_wsgiflush._batch import MANY, Batch
from twisted_wsgiflush._output import KernelOutput, TransportOutput, output_of
from twisted_wsgiflush._sendfile import FileBlocks
from twisted_wsgiflush.testing import GET, BoundedTransport, Turns

pytestmark = pytest.mark.usefixtures("sockets_closed")

LENGTH = ("Content-Length", str(len(BODY)))


@pytest.fixture(scope="module", autouse=True)
def tls(certificate) -> None:
    """What the servers of TLS clients say who they are."""
    private = PrivateCertificate.loadPEM(certificate.read_bytes())
    TLSClient.options = private.options()


class Owner:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told = 0
        self.stalls = 0

    def stalled(self) -> None:
        self.stalls += 1

    def drained(self) -> None:
        self.told += 1


class Kernel:
    """An output to the kernel on a pair of sockets, and its other end."""

    def __init__(self, limit: int = 1) -> None:
        self.clock = Turns()
        self.owner = Owner()
        other, here = socket.socketpair()
        self.other = other
        other.setblocking(False)
        here.setblocking(False)
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limit)
        FastSocketClient.sockets.extend([other, here])
        self.transport = LiveSocket(here, Protocol(), None, None, 0, self.clock)
        output = output_of(self.transport, self.clock, Batch(self.clock), self.owner)
        assert isinstance(output, KernelOutput)
        self.output = output
        self.output.attach()
        self.clock.turn()

    def fill(self) -> None:
        """Somebody else writes as much as there is room for."""
        with suppress(BlockingIOError):
            while True:
                self.transport.getHandle().send(b"x" * 1000)

    def read(self) -> bytes:
        received = b""
        try:
            while some := self.other.recv(65536):
                received += some
        except BlockingIOError:
            pass
        return received

    def read_all(self, turns: int = 2000) -> bytes:
        received = b""
        for _ in range(turns):
            received += self.read()
            self.clock.turn()
            if self.output.idle and self.output.progress:
                break
        return received + self.read()


@pytest.fixture
def kernel() -> Kernel:
    """A kernel that takes little at a time."""
    return Kernel()


# --- to the kernel


def test_they_are_producers(kernel: Kernel) -> None:
    """Of the kinds that they are registered as."""
    transport = BoundedTransport(Protocol(), 10)
    other = output_of(transport, Turns(), Batch(Turns()), Owner())

    assert verifyObject(IPullProducer, kernel.output)
    assert isinstance(other, TransportOutput)
    assert verifyObject(IPushProducer, other)


def test_what_is_written_is_with_the_kernel(kernel: Kernel) -> None:
    """When the call returns."""
    kernel.output.write(b"one")
    first = kernel.read()
    kernel.output.write_parts([b"t", b"w", b"o"])

    assert (first, kernel.read()) == (b"one", b"two")
    assert kernel.output.idle
    assert not kernel.output.full
    assert kernel.owner.told == 0


@pytest.mark.parametrize("parts", [True, False])
def test_what_the_kernel_does_not_take_follows(kernel: Kernel, parts: bool) -> None:
    """In order, and the owner is told when all is there."""
    blocks = [bytes([number]) * 50_000 for number in range(5)]
    if parts:
        kernel.output.write_parts(blocks)
    else:
        kernel.output.write(b"".join(blocks))
    idle, full = kernel.output.idle, kernel.output.full
    kernel.output.write(b"more")
    kernel.output.write_parts([b" and ", b"more"])
    told = kernel.owner.told

    assert kernel.read_all() == b"".join(blocks) + b"more and more"
    assert (idle, full, told) == (False, True, 0)
    assert (kernel.output.idle, kernel.output.full) == (True, False)
    assert kernel.owner.told == 1


def test_the_kernel_joins_what_it_may() -> None:
    """And whatever it kept leaves when nothing may wait any more."""
    client = FastTCPClient(giving([]))
    output, handle = client.transport.protocol.output, client.transport.getHandle()

    def joins() -> tuple[bool, bool]:
        no_delay = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        return output.joins, not no_delay

    assert joins() == (False, False)
    output.join()
    assert joins() == (True, True)
    output.part()
    assert joins() == (False, False)


def test_a_connection_that_is_lost_joins_nothing(kernel: Kernel) -> None:
    """Nor does another kind of socket."""
    kernel.output.join()
    kernel.output.stopProducing()
    kernel.output.part()

    assert not kernel.output.joins


def test_progress_is_told(kernel: Kernel) -> None:
    """Another number, when the kernel has taken something."""
    kernel.output.write(b"x" * 1_000_000)
    seen = {kernel.output.progress}
    kernel.clock.turn(1)
    stalled = kernel.output.progress in seen
    while not kernel.output.idle:
        kernel.read()
        kernel.clock.turn()
        seen.add(kernel.output.progress)

    assert stalled
    assert len(seen) > 3


def test_a_full_kernel_takes_nothing_at_first(kernel: Kernel) -> None:
    """Somebody else has filled it."""
    kernel.fill()
    kernel.output.write(b"one")
    kernel.output.write_parts([b"two"])

    assert kernel.read_all().endswith(b"xonetwo")


def test_a_full_kernel_takes_no_parts_at_first(kernel: Kernel) -> None:
    """As it takes no block."""
    kernel.fill()
    kernel.output.write_parts([b"one", b"two"])

    assert kernel.read_all().endswith(b"xonetwo")


@pytest.mark.parametrize("parts", [True, False])
def test_a_lost_connection_takes_nothing(kernel: Kernel, parts: bool) -> None:
    """The transport finds out, and what is written is dropped."""
    kernel.other.close()
    for _ in range(2):
        if parts:
            kernel.output.write_parts([b"one", b"two"])
        else:
            kernel.output.write(b"one")
    kernel.output.write(b"more")
    kernel.output.resumeProducing()
    kernel.clock.turn()

    assert not kernel.transport.connected
    assert not kernel.output.idle
    assert kernel.owner.told == 0


def test_a_connection_that_is_lost_later(kernel: Kernel) -> None:
    """What is left is dropped."""
    kernel.output.write(b"x" * 1_000_000)
    kernel.other.close()
    kernel.clock.turn()
    kernel.clock.turn()

    assert not kernel.transport.connected
    assert kernel.owner.told == 0


def test_the_loss_is_found_when_there_is_room(kernel: Kernel, monkeypatch) -> None:
    """By whoever writes first."""
    kernel.output.write(b"x" * 1_000_000)
    handle = kernel.transport.getHandle()
    handle.shutdown(socket.SHUT_WR)
    kernel.output.resumeProducing()
    kernel.clock.turn()

    assert not kernel.transport.connected


@pytest.mark.parametrize("size", [0, 1_000_000])
@pytest.mark.parametrize("half", [True, False])
def test_it_closes_when_the_kernel_has_all(kernel: Kernel, size, half) -> None:
    """One direction of it, or both."""
    kernel.output.write(b"x" * size)
    kernel.output.close(half=half)
    received = b""
    ended = False
    for _ in range(1000):
        kernel.clock.turn()
        try:
            some = kernel.other.recv(65536)
        except BlockingIOError:
            continue
        received += some
        if not some:
            ended = True
            break
    kernel.clock.turn()

    assert ended
    assert len(received) == size
    assert bool(kernel.transport.connected) is half


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("nothing", (False, False)),
        ("half", (False, True)),
        ("close", (True, True)),
    ],
)
def test_the_kernel_knows_who_is_there(kernel: Kernel, what, answer) -> None:
    """Also while nothing is read."""
    if what == "half":
        kernel.other.shutdown(socket.SHUT_WR)
    elif what == "close":
        kernel.other.close()

    assert kernel.output.ask_kernel() == answer


def test_who_is_lent_the_transport_writes_first(kernel: Kernel) -> None:
    """What is written afterwards follows when the transport has sent all."""
    kernel.output.detach()
    kernel.transport.write(b"x" * 100_000)
    kernel.output.attach_again()
    full = kernel.output.full
    kernel.output.write(b"mine")

    assert kernel.read_all() == b"x" * 100_000 + b"mine"
    assert full
    assert kernel.owner.told == 1


def test_what_looks_on_is_looked_through() -> None:
    """The PROXY protocol's wrapper does not change what is written."""
    kernel = Kernel()
    wrapper = HAProxyProtocolWrapper(WrappingFactory(Factory()), Protocol())
    wrapper.transport = kernel.transport

    output = output_of(wrapper, kernel.clock, Batch(kernel.clock), Owner())

    assert isinstance(output, KernelOutput)


# --- at the end of the turn


def test_what_is_written_soon_leaves_at_the_end_of_the_turn() -> None:
    """Once."""
    kernel = Kernel(65536)
    kernel.output.write_soon(b"one")
    before = kernel.read()
    kernel.clock.turn()
    after = kernel.read()
    kernel.clock.turn()

    assert (before, after, kernel.read()) == (b"", b"one", b"")
    assert kernel.clock.getDelayedCalls() == []
    assert (kernel.owner.told, kernel.owner.stalls) == (0, 0)


def test_what_is_written_soon_may_be_sent_before() -> None:
    """And does not leave twice."""
    kernel = Kernel(65536)
    kernel.output.write_soon(b"one")
    kernel.output.send_soon()
    kernel.output.write(b"two")
    received = kernel.read()
    kernel.clock.turn()

    assert (received, kernel.read()) == (b"onetwo", b"")


def test_what_is_written_soon_waits_behind_what_is_not_sent(kernel: Kernel) -> None:
    """Nothing overtakes."""
    kernel.output.write(b"x" * 50_000)
    kernel.output.write_soon(b"one")

    assert kernel.read_all() == b"x" * 50_000 + b"one"


def test_the_owner_is_told_of_what_the_kernel_does_not_take_then(
    kernel: Kernel,
) -> None:
    """And of its end."""
    kernel.output.write_soon(b"x" * 50_000)
    kernel.clock.turn()
    stalls = kernel.owner.stalls
    received = kernel.read_all()

    assert received == b"x" * 50_000
    assert (stalls, kernel.owner.stalls, kernel.owner.told) == (1, 1, 1)


def test_what_is_written_soon_leaves_before_the_connection_ends() -> None:
    """Though the turn does not, as when the reactor stops in it."""
    kernel = Kernel(65536)
    kernel.output.write_soon(b"one")

    kernel.transport.connectionLost(Failure(ConnectionDone()))
    kernel.clock.turn()

    assert kernel.read() == b"one"


def test_what_is_written_soon_for_a_client_that_has_left() -> None:
    """Its end is no error."""
    kernel = Kernel(65536)
    kernel.output.write_soon(b"one")
    kernel.other.close()
    kernel.clock.turn()
    kernel.transport.connectionLost(Failure(ConnectionDone()))

    assert not kernel.transport.connected


# --- files


def test_what_others_have_written_is_known(kernel: Kernel) -> None:
    """As far as a socket of Twisted's is below."""
    between = ProtocolWrapper(WrappingFactory(Factory()), Protocol())
    between.transport = kernel.transport
    others = [between, BoundedTransport(Protocol(), 1)]
    kernel.transport.write(b"x" * 1000)

    outputs = [TransportOutput(other, kernel.clock, kernel.owner) for other in others]

    assert [output.unsent_below() for output in outputs] == [1000, 0]
    assert kernel.output.unsent_below() == 1000


@pytest.fixture
def file(tmp_path):
    """A file of 300,000 bytes."""
    path = tmp_path / "file"
    path.write_bytes(b"y" * 300_000)
    with path.open("rb") as file:
        yield file


def test_a_file_is_with_the_kernel(kernel: Kernel, file) -> None:
    """When the call returns, if there is room."""
    block = next(FileBlocks(file, 10, 1010))
    kernel.output.write_file(b"before ", block, b" after")

    assert kernel.read() == b"before " + b"y" * 1000 + b" after"
    assert kernel.output.idle
    assert not kernel.output.full
    assert not block
    assert kernel.owner.told == 0


@pytest.mark.parametrize("full", [True, False])
def test_what_the_kernel_does_not_take_of_a_file_follows(kernel, file, full) -> None:
    """In order, and the owner is told when all is there."""
    before = b""
    if full:
        kernel.fill()
        before = b"x"
    block = next(FileBlocks(file, 0, 300_000))
    kernel.output.write_file(before, block, b"")
    idle, full, left = kernel.output.idle, kernel.output.full, len(block)
    kernel.output.write(b"more")
    kernel.output.write_file(b"and ", next(FileBlocks(file, 0, 1)), b" more")

    received = kernel.read_all().lstrip(b"x")
    assert received == b"y" * 300_000 + b"moreand y more"
    assert (idle, full) == (False, True)
    assert 0 < left <= 300_000
    assert kernel.owner.told == 1


def test_a_full_kernel_takes_nothing_of_a_file_at_first(kernel: Kernel, file) -> None:
    """As it takes no block; that is no progress."""
    kernel.fill()
    block = next(FileBlocks(file, 0, 300_000))
    kernel.output.write_file(b"", block, b"")

    assert len(block) == 300_000
    assert kernel.output.progress == 0
    assert kernel.read_all().endswith(b"x" + b"y" * 300_000)


def test_a_lost_connection_takes_nothing_of_a_file(kernel: Kernel, file) -> None:
    """Neither at the first time nor later."""
    kernel.other.close()
    block = next(FileBlocks(file, 0, 300_000))
    for _ in range(2):
        kernel.output.write_file(b"", block, b"")
        kernel.clock.turn()

    assert not kernel.transport.connected
    assert not kernel.output.idle
    assert len(block) == 300_000
    assert kernel.owner.told == 0


def test_nothing_follows_a_file_that_is_closed(kernel: Kernel, file) -> None:
    """The owner is told that there is nothing left to send."""
    block = next(FileBlocks(file, 0, 300_000))
    kernel.output.write_file(b"", block, b"after")
    left = len(block)
    file.close()

    assert kernel.read_all() == b"y" * (300_000 - left)
    assert kernel.output.idle
    assert kernel.owner.told == 1


# --- through a transport


class Through:
    """An output through a transport that keeps bytes."""

    def __init__(self, limit: int = 10) -> None:
        self.clock = Turns()
        self.owner = Owner()
        self.transport = BoundedTransport(Protocol(), limit)
        self.output: Any = output_of(
            self.transport, self.clock, Batch(self.clock), self.owner
        )
        self.output.attach()


def test_what_is_written_through_counts_a_turn_later() -> None:
    """TLS collects what is small until then."""
    through = Through()
    through.output.write(b"one")
    through.output.write_parts([b"two"])
    through.output.tell()
    idle, told = through.output.idle, through.owner.told
    through.clock.turn()

    assert through.transport.drain() == b"onetwo"
    assert (idle, told) == (False, 0)
    assert through.output.idle
    assert through.owner.told == 1


def test_tls_collects_with_many_connections_as_with_few() -> None:
    """What would leave with others elsewhere is given to it at once."""
    client = FastTLSClient(giving(iter([])))
    others = [another(client) for _ in range(MANY - 1)]
    for _ in range(2):
        client.site.application = giving(iter([b"one"]))
        client.received = b""
        client.send(get())
        client.read()

    assert client.body == chunks(b"one") + LAST_CHUNK
    assert [other.drain() for other in others] == [b""] * len(others)


def test_the_last_turn_counts() -> None:
    """Each write is collected anew."""
    through = Through()
    through.output.write(b"one")
    through.output.tell()
    through.output.write(b"two")
    through.output.tell()

    assert len(through.clock.getDelayedCalls()) == 1


@pytest.mark.parametrize("tell_first", [True, False])
def test_a_full_transport_tells_when_it_has_room(tell_first) -> None:
    """And not in the next turn."""
    through = Through()
    if tell_first:
        through.output.write(b"x")
        through.output.tell()
    through.output.write(b"x" * 20)
    through.output.tell()
    through.clock.turn()
    told, full, progress = (
        through.owner.told,
        through.output.full,
        through.output.progress,
    )
    through.transport.drain()

    assert (told, full) == (0, True)
    assert through.owner.told == 1
    assert not through.output.full
    assert through.output.progress != progress


def test_a_transport_that_is_lost_tells_nothing() -> None:
    """Nothing stays scheduled."""
    through = Through()
    through.output.write(b"one")
    through.output.tell()
    through.transport.lose()
    through.clock.turn()

    assert through.owner.told == 0
    assert through.clock.getDelayedCalls() == []


def test_nothing_is_known_of_what_is_below() -> None:
    """It does not say that anybody has left."""
    assert Through().output.ask_kernel() == (False, False)


def test_a_transport_is_lent() -> None:
    """And taken back."""
    through = Through()
    through.output.write(b"one")
    through.output.tell()
    through.output.detach()
    lent = through.transport.producer
    through.output.attach_again()

    assert lent is None
    assert through.transport.producer is through.output
    assert through.clock.getDelayedCalls() == []


# --- on every kind of connection

every_connection = pytest.mark.parametrize(
    "connect", [FastClient, FastSocketClient, FastTCPClient, FastTLSClient]
)


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

    client.turn(100)

    assert received == [b"block" * number for number in range(20)]


@every_connection
def test_a_large_block_has_left_when_the_next_is_asked_for(connect) -> None:
    """Also when it is more than fits."""
    received: list[object] = []

    def next_block() -> bytes:
        client.drain()
        received.append(len(client.body))
        return b"x" * 100_000

    client = connect(giving(Blocks(*[next_block] * 3), ("Content-Length", "300000")))
    client.get()

    client.read(300)

    assert received == [0, 100_000, 200_000]
    assert len(client.body) == 300_000


@every_connection
def test_a_client_that_does_not_read_stops_the_application(connect) -> None:
    """Memory is bounded by a block or two."""
    blocks = Blocks(*[b"x" * 500_000] * 50)
    client = connect(giving(blocks))
    client.get()
    client.turn(100)
    asked = blocks.asked
    client.read(3000)

    assert asked < 20
    assert blocks.asked == 51
    assert client.received.endswith(LAST_CHUNK)


@every_connection
@pytest.mark.parametrize("close", [True, False])
def test_the_end_of_a_connection(connect, close) -> None:
    """All of the last response comes before it."""
    client = connect(giving([b"x" * 300_000]))
    client.send(get(b"/", b"Connection: close") if close else GET + GET)
    client.read(300)
    for _ in range(65 * close):
        client.clock.turn(1)  # TLS waits for the client's farewell, up to a limit.

    assert client.received.count(b"x" * 300_000) == 2 - close
    assert bool(client.transport.connected) is not close


@pytest.mark.parametrize("connect", [FastSocketClient, FastTCPClient])
def test_a_flushed_head_is_with_the_kernel(connect) -> None:
    """When ``flush`` returns, and not a turn later."""
    seen = []

    def application(environ, start_response):
        start_response("200 OK", [])
        environ[FLUSH]()
        seen.append(client.drain())
        return [b"body"]

    client = connect(application)
    client.get()
    client.turn(2)

    assert seen[0].endswith(b"\r\n\r\n")


@pytest.mark.parametrize("connect", [FastSocketClient, FastTCPClient])
def test_blocks_leave_in_one_turn(connect) -> None:
    """Each in its own send, within a slice of time."""
    seen = []

    def next_block() -> bytes:
        seen.append(body_of(client.drain()))
        return b"x"

    client = connect(giving(Blocks(*[next_block] * 3)))
    client.get()
    client.turn(1)

    assert seen == [b"", chunks(b"x"), chunks(b"x", b"x")]
    assert client.drain().endswith(LAST_CHUNK)


def test_a_slow_application_gives_others_their_turn() -> None:
    """After its slice of time."""

    def next_block() -> bytes:
        client.clock.rightNow += 0.0015
        return b"x"

    blocks = Blocks(*[next_block] * 10)
    client = FastSocketClient(giving(blocks))
    client.get()
    client.turn(1)
    first = blocks.asked
    client.turn(20)

    assert first == 2
    assert blocks.asked == 11
