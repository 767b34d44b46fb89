"""
How bytes leave a channel, and when they are with the kernel.

There are two ways: straight to the kernel, for TCP and UNIX sockets, and through a
transport that keeps bytes itself, such as one with TLS.
"""

from __future__ import annotations

from collections import deque
from select import POLLERR, POLLHUP, POLLRDHUP, poll
from socket import AF_UNIX, IPPROTO_TCP, TCP_NODELAY
from typing import Any, Protocol

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import (
    IDelayedCall,
    IPullProducer,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
)
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import implementer

from ._batch import Batch
from ._sendfile import FileBlock


class Owner(Protocol):
    """Whose bytes leave."""

    def stalled(self) -> None:
        """The kernel has not taken all that was to leave at the end of a turn."""

    def drained(self) -> None:
        """All that was written is with the kernel; for a while it was not."""


class Output(Protocol):
    """
    The writing side of a connection.

    It tells its owner when it is not full any more, and, when asked, when it is idle.
    """

    @property
    def idle(self) -> bool:
        """
        Whether all that was written is with the kernel, as far as can be told, but for
        what is to leave at the end of the turn.
        """

    @property
    def full(self) -> bool:
        """Whether there is much that the client has not taken."""

    joins: bool
    """Whether :meth:`join` was said last."""

    progress: int
    """Another number when the client has taken something."""

    def attach(self) -> None:
        """Begin."""

    def detach(self) -> None:
        """Leave the transport to somebody else."""

    def attach_again(self) -> None:
        """Go on when that has written its last."""

    def write(self, data: bytes) -> None:
        """Send some bytes."""

    def write_soon(self, data: bytes) -> None:
        """
        Send some bytes at the end of the turn, or before anything else is written.

        Before this is closed or left to somebody else, :meth:`send_soon` is called.
        """

    def send_soon(self) -> None:
        """Send now what was to leave at the end of the turn."""

    def write_parts(self, parts: list[bytes]) -> None:
        """Send some bytes that would be costly to join."""

    def join(self) -> None:
        """Let the kernel send small writes together, as TCP does by itself."""

    def part(self) -> None:
        """Let nothing wait for what is written later."""

    def tell(self) -> None:
        """Tell the owner when this is idle, in a later turn."""

    def ask_kernel(self) -> tuple[bool, bool]:
        """Whether the client has hung up, and whether it has closed its half."""

    def unsent_below(self) -> int:
        """Bytes that others have written, and the kernel has not taken."""

    def stopProducing(self) -> None:
        """The connection is lost."""

    def close(self, *, half: bool = False) -> None:
        """
        Close the connection when all is with the kernel.

        :param half: only the direction in which this writes.
        """


def output_of(
    transport: Any, reactor: IReactorTime, batch: Batch, owner: Owner
) -> Output:
    """The output for a transport, by its kind."""
    if not ISSLTransport.providedBy(transport):
        # What only looks on may be in between, such as a HAProxyProtocolWrapper.
        below = _below(transport)
        if isinstance(below, FileDescriptor) and hasattr(below, "getHandle"):
            output = KernelOutput(below, batch, owner)
            # Each block leaves at once, and not when the last was acknowledged.
            output.part()
            return output
    return TransportOutput(transport, reactor, owner)


@implementer(IPullProducer)
class KernelOutput:
    """
    Hands what is written to ``send(2)`` at once, and keeps what that does not take.

    The transport keeps nothing; it tells when the socket has room (F9).
    """

    __slots__ = (
        "_batch",
        "_closing",
        "_lost",
        "_owner",
        "_socket",
        "_soon",
        "_transport",
        "_unsent",
        "full",
        "idle",
        "joins",
        "progress",
    )

    def __init__(self, transport: Any, batch: Batch, owner: Owner) -> None:
        self.idle = True
        self.full = False
        self.joins = False
        self.progress = 0
        self._transport = transport
        self._batch = batch
        self._owner = owner
        self._socket = transport.getHandle()
        self._unsent: deque[memoryview | FileBlock] | None = None
        # What is to leave at the end of the turn.
        self._soon = b""
        self._closing: str | None = None
        self._lost = False

    def attach(self) -> None:
        """See :class:`Output`, as for the others."""
        self._transport.registerProducer(self, False)

    def detach(self) -> None:
        """Leave the transport."""
        self._transport.unregisterProducer()

    def attach_again(self) -> None:
        """Go on when the transport has nothing left to send, which it tells then."""
        self.attach()
        self._unsent = deque()
        self.idle, self.full = False, True
        self._transport.startWriting()

    def write(self, data: bytes) -> None:
        """Hand some bytes to the kernel."""
        if self._soon:
            self.send_soon()
        if self.idle:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._is_lost()
                return
            if sent < len(data):
                self._keep(memoryview(data)[sent:])
        else:
            self._keep(memoryview(data))

    def write_soon(self, data: bytes) -> None:
        """Keep some bytes for the end of the turn."""
        if self.idle and not self._soon:
            self._batch.add(self.send_soon)
            self._soon = data
        else:
            self.write(data)

    def send_soon(self) -> None:
        """Hand it to the kernel now."""
        if self._soon:
            data, self._soon = self._soon, b""
            self.write(data)
            if not self.idle:
                self._owner.stalled()

    def write_parts(self, parts: list[bytes]) -> None:
        """Hand some bytes to the kernel, by one call."""
        self.send_soon()
        sent = 0
        if self.idle:
            try:
                sent = self._socket.sendmsg(parts)
            except BlockingIOError:
                pass
            except OSError:
                self._is_lost()
                return
        for part in parts:
            if sent < len(part):
                self._keep(memoryview(part)[sent:])
            sent = max(0, sent - len(part))

    def write_file(self, before: bytes, block: FileBlock, after: bytes) -> None:
        """Hand a block of a file to the kernel, with some bytes before and after."""
        self.send_soon()
        if self._lost:
            return
        if self._unsent is None:
            self._unsent = deque()
            self.idle, self.full = False, True
        if before:
            self._unsent.append(memoryview(before))
        self._unsent.append(block)
        if after:
            self._unsent.append(memoryview(after))
        self._send_unsent()

    def join(self) -> None:
        """Have Nagle's algorithm (RFC 9293, 3.7.4)."""
        self.joins = True
        self._set_no_delay(False)

    def part(self) -> None:
        """Be without it; what it kept leaves with that."""
        self.joins = False
        self._set_no_delay(True)

    def tell(self) -> None:
        """It does so without being asked."""

    def ask_kernel(self) -> tuple[bool, bool]:
        """Ask, for the transport knows only while it reads."""
        asked = poll()
        asked.register(self._socket, POLLRDHUP)
        events = sum(event for _, event in asked.poll(0))
        return bool(events & (POLLHUP | POLLERR)), bool(events & POLLRDHUP)

    def unsent_below(self) -> int:
        """What the transport keeps."""
        return unsent_by(self._transport)

    def close(self, *, half: bool = False) -> None:
        """Close the connection when the kernel has all."""
        self._closing = "loseWriteConnection" if half else "loseConnection"
        if self.idle or self._lost:
            self._close()

    def resumeProducing(self) -> None:
        """The socket has room."""
        # Said once when this is registered, too.
        if self._unsent is not None and not self._lost and self._send_unsent():
            if self._closing is not None:
                self._close()
                return
            self._owner.drained()
        if self._unsent is None and self._transport.disconnecting:
            # Who is in between wants to lose the connection, such as a
            # HAProxyProtocolWrapper: the transport waits for its producer to go.
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        """The connection is lost."""
        # By the end of the reactor, say, in this turn; the socket is still open.
        self.send_soon()
        self._lost = True
        self._unsent = None

    def _keep(self, data: memoryview) -> None:
        if self._lost:
            return
        if self._unsent is None:
            self._unsent = deque()
            self.idle, self.full = False, True
            self._transport.startWriting()
        self._unsent.append(data)

    def _send_unsent(self) -> bool:
        """Hand to the kernel what it takes; returns whether that was all."""
        unsent = self._unsent
        assert unsent is not None
        while unsent:
            data = unsent[0]
            before = len(data)
            try:
                if type(data) is FileBlock:
                    data.send(self._socket)
                else:
                    unsent[0] = data = data[self._socket.send(data) :]
            except BlockingIOError:
                pass
            except EOFError:
                # What follows in its frame would be taken for its content.
                unsent.clear()
                break
            except OSError:
                self._is_lost()
                return False
            if len(data) < before:
                self.progress += 1
            if data:
                self._transport.startWriting()
                return False
            unsent.popleft()
        self._unsent = None
        self.idle, self.full = True, False
        return True

    def _set_no_delay(self, value: bool) -> None:
        if not self._lost and self._socket.family != AF_UNIX:
            self._socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, value)

    def _close(self) -> None:
        assert self._closing is not None
        self._transport.unregisterProducer()
        getattr(self._transport, self._closing)()

    def _is_lost(self) -> None:
        # The transport finds out by itself only when it has something to do.
        self._lost = True
        self._unsent = None
        self.idle, self.full = False, True
        self._transport.abortConnection()


@implementer(IPushProducer)
class TransportOutput:
    """
    Writes to a transport that keeps bytes itself, and says when it is full.

    A transport with TLS collects small writes until the next turn: what was written
    counts as sent then, unless the transport is full.
    """

    __slots__ = (
        "_owner",
        "_reactor",
        "_told",
        "_transport",
        "_turn",
        "full",
        "idle",
        "joins",
        "progress",
    )

    def __init__(self, transport: Any, reactor: IReactorTime, owner: Owner) -> None:
        self.idle = True
        self.full = False
        self.joins = True  # All that is written in one turn.
        self.progress = 0
        self._transport = transport
        self._reactor = reactor
        self._owner = owner
        self._turn: IDelayedCall | None = None

    def attach(self) -> None:
        """See :class:`Output`, as for the others."""
        self._transport.registerProducer(self, True)

    def detach(self) -> None:
        """Leave the transport."""
        self._transport.unregisterProducer()
        self.stopProducing()

    def write(self, data: bytes) -> None:
        """Give some bytes to the transport."""
        self.idle = False
        self._transport.write(data)

    def write_soon(self, data: bytes) -> None:
        """A transport that collects sends them at the end of the turn anyway."""
        self.write(data)

    def send_soon(self) -> None:
        """They are with the transport."""

    def write_parts(self, parts: list[bytes]) -> None:
        """Give some bytes to the transport, which joins them."""
        self.idle = False
        self._transport.writeSequence(parts)

    def attach_again(self) -> None:
        """Go on; the transport keeps the order."""
        self.attach()

    def join(self) -> None:
        """It always does."""

    def part(self) -> None:
        """It cannot."""

    def tell(self) -> None:
        """Tell in the next turn, or when there is room."""
        if self._turn is not None:
            # What was collected before may be gone by then, this is only collected.
            self._turn.cancel()
            self._turn = None
        if not self.full:
            self._turn = self._reactor.callLater(0, self._turned)

    def ask_kernel(self) -> tuple[bool, bool]:
        """Nothing is known of what is below."""
        return False, False

    def unsent_below(self) -> int:
        """What the socket below keeps."""
        return unsent_by(_below(self._transport))

    def close(self, *, half: bool = False) -> None:
        """Close the connection, which such a transport does as a whole."""
        self.detach()
        self._transport.loseConnection()

    def pauseProducing(self) -> None:
        """The transport is full."""
        self.full = True
        self._stop_turn()

    def resumeProducing(self) -> None:
        """The transport has room again."""
        self.progress += 1
        self.full = False
        self._sent()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self._stop_turn()

    def _turned(self) -> None:
        self._turn = None
        self._sent()

    def _sent(self) -> None:
        self.idle = True
        self._owner.drained()

    def _stop_turn(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None


def _below(transport: Any) -> Any:
    """What is below all that wraps it."""
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


def unsent_by(transport: Any) -> int:
    """The bytes that a socket's transport keeps."""
    if not isinstance(transport, FileDescriptor):
        return 0
    if not transport.dataBuffer and not transport._tempDataBuffer:
        return 0  # Which is so most of the time.
    unsent: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return unsent
