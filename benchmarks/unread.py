"""
Clients that ask for a very long response and do not read it: what each costs the
server, and how soon the others are served meanwhile.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPException

from .applications import HELLO
from .processes import Running
from .samples import Figure, Sample

MEMORY = Figure("memory", "KiB each", less=True)
WORST = Figure("worst", "others, worst ms", 1, less=True)
FIGURES = (MEMORY, WORST)

CLIENTS = 50

# How many ask for hello meanwhile, one after the other.
OTHERS = 200
# Seconds that one of them waits.
PATIENCE = 2.0

# Seconds until the server is taken to have stopped growing, and between two looks.
SETTLE = 3.0
LOOK = 0.05
# It is taken to have no bound when it has grown by so many bytes.
NO_BOUND = 2 * 1024**3

REQUEST = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"


def measure(running: Running, seconds: float, clients: int = CLIENTS) -> Sample:
    """Let them wait; the time is what it takes."""
    before = running.resident()
    notes = []
    with ExitStack() as stack:
        for _ in range(clients):
            client = stack.enter_context(running.connect(PATIENCE))
            client.sendall(REQUEST)
        grown = settled(running, before)
        figures = {"memory": grown / clients / 1024}
        if grown >= NO_BOUND:
            notes.append(f"grew by more than {NO_BOUND // 1024**3} GiB")
        times = [] if grown >= NO_BOUND else others(running)
    if len(times) == OTHERS:
        figures["worst"] = max(times) * 1000
    elif grown < NO_BOUND:
        notes.append("the others are not served")
    return Sample(figures, clients + len(times), note="; ".join(notes))


def settled(running: Running, before: int) -> int:
    """The bytes by which the server has grown at most."""
    largest = 0
    end = time.monotonic() + SETTLE
    while time.monotonic() < end and largest < NO_BOUND:
        time.sleep(LOOK)
        largest = max(largest, running.resident() - before)
    return largest


def others(running: Running) -> list[float]:
    """The seconds that each of the others waits, up to the one that waits in vain."""
    times: list[float] = []
    while len(times) < OTHERS:
        begun = time.perf_counter()
        client = HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)
        with closing(client):
            try:
                client.request("GET", "/")
                with client.getresponse() as response:
                    right = response.read() == HELLO
            except (OSError, HTTPException):
                break
        if not right:
            break
        times.append(time.perf_counter() - begun)
    return times
