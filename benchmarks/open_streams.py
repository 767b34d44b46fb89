"""
Many event streams that are open at once: how many a server holds, what each costs, and
how long its first event takes.
"""

from __future__ import annotations

import resource
import selectors
import socket
import struct
import time
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import quantiles

from .applications import EVENT
from .processes import Running
from .samples import Figure, Sample

HELD = Figure("held", "held")
MEMORY = Figure("memory", "KiB each", 1, less=True)
FIRST = Figure("first", "first event p99, ms", 1, less=True)
FIGURES = (MEMORY, FIRST, HELD)

STREAMS = 10_000
# Requests that wait for their first event at any time.
IN_FLIGHT = 64
# What is left of RLIMIT_NOFILE for all else that a server or its client has open.
RESERVE = 200

# Seconds without any event after which no more is to come.
PATIENCE = 2.0
# Seconds in which the server may tidy up before its memory is looked at.
REST = 0.5
# Fewer say nothing of what one costs.
ENOUGH = 500

REQUEST = (
    b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
)


def measure(running: Running, seconds: float, wanted: int = STREAMS) -> Sample:
    """Open the streams, as many as there can be; the time is what it takes."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(wanted, soft - RESERVE)
    before = running.resident()
    with ExitStack() as stack:
        clients = Clients(running, stack)
        clients.open(wanted)
        held = len(clients.waited)
        time.sleep(REST)
        grown = running.resident() - before
    figures: dict[str, float] = {"held": held}
    note = "" if held == wanted else f"no more than {held} at a time"
    if held > 1:
        figures["first"] = quantiles(clients.waited, n=100)[98] * 1000
    if held >= ENOUGH:
        figures["memory"] = grown / held / 1024
    return Sample(figures, held, note=note)


class Clients:
    """
    Streams that stay open.

    :param stack: closes them.
    """

    def __init__(self, running: Running, stack: ExitStack) -> None:
        self.waited: list[float] = []
        """Seconds from the request to the first event, of those that have it."""
        self._running = running
        self._stack = stack
        self._selector = stack.enter_context(selectors.DefaultSelector())

    def open(self, wanted: int) -> None:
        """Open so many, or as many as there are until no more events come."""
        left = wanted
        waiting = 0
        last = time.perf_counter()
        while (left or waiting) and time.perf_counter() - last < PATIENCE:
            while left and waiting < IN_FLIGHT:
                try:
                    self._ask()
                except OSError:
                    left = 0
                    break
                left -= 1
                waiting += 1
            for key, _ in self._selector.select(0.1):
                if self._still_waits(key):
                    continue
                self._selector.unregister(key.fileobj)
                waiting -= 1
                last = time.perf_counter()

    def _ask(self) -> None:
        client = self._stack.enter_context(self._running.connect(PATIENCE))
        # A reset, so that no port is kept waiting after the end.
        linger = struct.pack("ii", 1, 0)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        begun = time.perf_counter()
        client.sendall(REQUEST)
        client.setblocking(False)
        self._selector.register(client, selectors.EVENT_READ, Waiting(begun))

    def _still_waits(self, key: selectors.SelectorKey) -> bool:
        """Whether there is still an event to wait for."""
        client, waiting = key.fileobj, key.data
        assert isinstance(client, socket.socket)
        try:
            read = client.recv(4096)
        except OSError:
            read = b""
        waiting.read += read
        if EVENT in waiting.read:
            self.waited.append(time.perf_counter() - waiting.begun)
            return False
        return bool(read)


@dataclass
class Waiting:
    """
    A stream without an event yet.

    :param begun: when it was asked for.
    """

    begun: float
    read: bytes = b""
