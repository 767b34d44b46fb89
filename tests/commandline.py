"""
The command line as its users have it: a process of its own, behind one of its doors.

Nothing here waits for a time to pass: a read returns when the server has said
something, and a process that says nothing is killed when a minute is over.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, NamedTuple

CHECKOUT = Path(__file__).parent.parent
SCRIPTS = Path(sys.executable).parent

MODULE = "python -m twisted_wsgiflush"

# The same on another reactor than the default one.
ON_ASYNCIO = """
from twisted.internet import asyncioreactor
asyncioreactor.install()
from twisted_wsgiflush.__main__ import main
main()
"""


def module() -> list[str]:
    """What runs the command line, on the reactor that the tests run on."""
    if os.environ["REACTOR_OF_SERVERS"] == "asyncio":
        return [sys.executable, "-c", ON_ASYNCIO]
    return [sys.executable, "-m", "twisted_wsgiflush"]


def script() -> list[str]:
    """What the installed command consists of, for it may not be installed here."""
    code = "from twisted_wsgiflush.__main__ import main; main()"
    return [sys.executable, "-c", code]


SCRIPT = "wsgiflush"
TWIST = "twist wsgiflush"
TWISTD = "twistd -n wsgiflush"
DOORS = {
    MODULE: module,
    TWIST: lambda: [str(SCRIPTS / "twist"), "wsgiflush"],
    TWISTD: lambda: [str(SCRIPTS / "twistd"), "-n", "wsgiflush"],
}

# Any port that is free; the line that tells of it has its number.
LISTEN = ["--listen", "tcp:0:interface=127.0.0.1"]

READY = "wsgiflush: serving "


class Ended(NamedTuple):
    """A process that has ended."""

    status: int
    stdout: str
    stderr: str


class Response(NamedTuple):
    """A response that is complete."""

    status: int
    headers: Message
    body: bytes


class Server:
    """
    A server that is ready.

    :param ready: the line that it has printed.
    """

    def __init__(self, process: subprocess.Popen[str], ready: str) -> None:
        self.process = process
        self.ready = ready

    @property
    def port(self) -> int:
        """Of the first address in the line, which has one."""
        return int(self.ready.split("://")[1].split("/")[0].rpartition(":")[2])

    def connect(self) -> socket.socket:
        """A client."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def request(self, path: str, method: str = "GET", **headers: str) -> Response:
        """The response to a request on a connection of its own."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(
                method,
                path,
                headers={name.replace("_", "-"): headers[name] for name in headers},
            )
            with connection.getresponse() as response:
                return Response(response.status, response.headers, response.read())

    def get(self, path: str = "/", **headers: str) -> bytes:
        """The body of the response to a GET request."""
        return self.request(path, **headers).body

    def no_longer_accepts(self) -> None:
        """Wait until a client is refused."""
        with suppress(ConnectionRefusedError, ConnectionResetError):
            while True:
                self.connect().close()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, as a terminal or a service manager does."""
        self.process.send_signal(number)

    def wait(self) -> Ended:
        """Wait for its end."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        # The line that it has printed may have come with others, in one buffer.
        stdout, stderr = self.process.stdout.read(), self.process.stderr.read()
        return Ended(self.process.wait(), stdout, stderr)

    def stop(self) -> Ended:
        """Have it end at once, and wait for that."""
        self.signal(signal.SIGTERM)
        return self.wait()


def command(
    *arguments: str, door: str = MODULE, runner: Sequence[str] = ()
) -> list[str]:
    """
    :param runner: options of ``twist`` or ``twistd`` themselves.
    """
    program, *rest = {**DOORS, SCRIPT: script}[door]()
    return [program, *runner, *rest, *arguments]


def environment() -> dict[str, str]:
    """What a process needs to find the checkout and its plugin from anywhere."""
    paths = [str(CHECKOUT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def run(*arguments: str, cwd: Path, door: str = MODULE) -> Ended:
    """Run a command that ends by itself."""
    done = subprocess.run(
        command(*arguments, door=door),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@contextmanager
def serving(
    *arguments: str,
    cwd: Path,
    door: str = MODULE,
    runner: Sequence[str] = (),
    wrapper: Sequence[str] = (),
) -> Iterator[Server]:
    """
    Have a command serve, from when it says that it is ready to the end of the block.

    :param arguments: as a user gives them; without an endpoint, on any free port.
    :param wrapper: a program that starts the command.
    """
    if "--listen" not in arguments:
        arguments = (*LISTEN, *arguments)
    process = subprocess.Popen(
        [*wrapper, *command(*arguments, door=door, runner=runner)],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        with process:
            try:
                yield Server(process, _until_ready(process))
            finally:
                process.kill()
    finally:
        watchdog.cancel()


def _until_ready(process: subprocess.Popen[str]) -> str:
    stdout: IO[str] | None = process.stdout
    stderr: IO[str] | None = process.stderr
    assert stdout is not None
    assert stderr is not None
    for line in stdout:
        if line.startswith(READY):
            return line.rstrip("\n")
    raise AssertionError(f"it has not become ready:\n{stderr.read()}")
