"""
A server's process: pinned to a processor of its own, ready when it accepts, and gone
with everything it has started when it is no longer wanted.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from . import sessions
from .commands import Place
from .servers import Server

CHECKOUT = Path(__file__).parent.parent

# Seconds until a server must accept connections.
START = 20.0

# The one for the server, and the one for its clients; the same when there is one only.
_PROCESSORS = sorted(os.sched_getaffinity(0))
SERVERS_PROCESSOR = _PROCESSORS[0]
CLIENTS_PROCESSOR = _PROCESSORS[-1]


class NotStarted(Exception):
    """A server has ended, or does not accept; the message is the last it said."""


class Running:
    """
    A server that accepts connections on the loopback.

    :param leader: the first of a session that has all its processes.
    """

    def __init__(self, server: Server, place: Place, leader: int) -> None:
        self.server = server
        self.port = place.port
        self.url = f"http://{place.address}"
        self._leader = leader

    def connect(self, timeout: float) -> socket.socket:
        """A client, which waits so many seconds at most for anything."""
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def resident(self) -> int:
        """The bytes of memory that its processes hold."""
        return sessions.resident(self._leader)


@contextmanager
def started(server: Server, application: str) -> Iterator[Running]:
    """
    Have a server run.

    :param application: a name in the modules of :class:`~benchmarks.servers.Kind`,
        or module:attribute.
    :raises NotStarted: when it does not.
    """
    if ":" not in application:
        application = f"{server.kind.value}:{application}"
    with tempfile.TemporaryDirectory() as directory:
        place = Place(_free_port(), application, Path(directory))
        said = Path(directory) / "said"
        try:
            with said.open("wb") as file:
                process = subprocess.Popen(
                    server.command(place),
                    cwd=CHECKOUT,
                    env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_on_the_servers_processor,
                )
        except OSError as error:
            raise NotStarted(str(error)) from error
        with _ended(process):
            _wait_until_it_accepts(process, place, said)
            yield Running(server, place, process.pid)


def _on_the_servers_processor() -> None:
    os.sched_setaffinity(0, {SERVERS_PROCESSOR})


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Have a server end after the block, or when this process is killed in it."""
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sessions", str(process.pid)],
            cwd=CHECKOUT,
            # It is closed at the end of the block, or with this process.
            stdin=subprocess.PIPE,
            # Ctrl-C at the terminal is not for it.
            start_new_session=True,
        ):
            yield
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port: int = listening.getsockname()[1]
    return port


def _wait_until_it_accepts(
    process: subprocess.Popen[bytes], place: Place, said: Path
) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end:
        if process.poll() is not None:
            lines = said.read_text(errors="replace").split("\n")
            last = [line.strip() for line in lines if line.strip()][-1:]
            raise NotStarted(*(last or [f"it exits with {process.returncode}"]))
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", place.port), 1).close()
            return
        time.sleep(0.02)
    raise NotStarted(f"it does not accept connections within {START:.0f} s")
