"""
What a suspended request costs: memory, and processor time while it waits.

    python benchmarks/suspended.py [--requests N] [--seconds S] [--site]

A server in a process of its own is asked by so many clients at once, whose requests
are all suspended; then they are all resumed.  What is told is the growth of the
server's resident memory, divided by their number: with the connection, which is a
socket and its protocol, and with the application, which is a generator.

The server is the ``wsgiflush`` command's, or with ``--site`` a plain ``Site``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
from contextlib import closing
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).parent.parent
SERVER = """
from twisted.internet import reactor
from twisted.web.server import Site
from twisted_wsgiflush import WSGIResource
from benchmarks.suspended import application

site = Site(WSGIResource(reactor, application), parsePOSTFormSubmission=False)
port = reactor.listenTCP(0, site, backlog=1000, interface="127.0.0.1")
print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
reactor.run()
"""

suspended: list[Any] = []


def application(environ: Any, start_response: Any) -> Any:
    """Suspends a request, or tells how many are, or resumes them."""
    start_response("200 OK", [("Content-Type", "application/json")])
    if environ["PATH_INFO"] == "/suspend":
        return suspend(environ)
    if environ["PATH_INFO"] == "/resume":
        while suspended:
            suspended.pop()()
    return [json.dumps(len(suspended)).encode()]


def suspend(environ: Any) -> Any:
    """The body of a response that waits."""
    suspended.append(environ["x-wsgiorg.suspend"]())
    yield b""
    yield b"resumed"


class Cost(NamedTuple):
    """What was measured."""

    bytes_each: float
    """Of resident memory, for a suspended request and its connection."""
    busy: float
    """Seconds of processor time in a second in which all wait."""
    answered: int
    """How many were answered when they were resumed."""


class Server:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert found, "the server has not become ready"
        self.port = int(found[1])

    def send(self, path: str) -> socket.socket:
        """Send a request on a connection of its own."""
        connection = socket.create_connection(("127.0.0.1", self.port), 60)
        connection.sendall(
            b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode()
        )
        return connection

    def ask(self, path: str) -> Any:
        """The answer to a request."""
        with closing(self.send(path)) as connection:
            return json.loads(receive(connection))

    def suspend(self, requests: int) -> list[socket.socket]:
        """Send so many requests, and wait until all are suspended."""
        connections = [self.send("/suspend") for _ in range(requests)]
        while self.ask("/") < requests:
            time.sleep(0.05)
        return connections

    def resume(self, connections: list[socket.socket]) -> int:
        """Resume all; how many were answered."""
        self.ask("/resume")
        answers = [receive(connection) for connection in connections]
        for connection in connections:
            connection.close()
        return answers.count(b"resumed")

    def resident(self) -> int:
        """The bytes of memory that the process holds."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def busy(self) -> float:
        """The seconds of processor time that the process has taken."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text()
        user, system = fields.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def receive(connection: socket.socket) -> bytes:
    """The body of a response."""
    with closing(HTTPResponse(connection)) as response:
        response.begin()
        return response.read()


def measure(requests: int, seconds: float, *, site: bool = False) -> Cost:
    """Measure; each of the processes needs some more descriptors than requests."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
    command = [
        "-m",
        "twisted_wsgiflush",
        "--listen",
        "tcp:0:interface=127.0.0.1:backlog=1000",
    ]
    command += [f"{__file__}:application"]
    with subprocess.Popen(
        [sys.executable, *(["-c", SERVER] if site else command)],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            server = Server(process)
            # What the first requests cost is not what each costs.
            server.resume(server.suspend(100))
            before = server.resident()
            connections = server.suspend(requests)
            grown = server.resident() - before
            busy = server.busy()
            time.sleep(seconds)
            busy = server.busy() - busy
            answered = server.resume(connections)
        finally:
            process.terminate()
    return Cost(grown / requests, busy / seconds, answered)


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--site", action="store_true")
    options = parser.parse_args()
    cost = measure(options.requests, options.seconds, site=options.site)
    print(f"{options.requests} suspended requests:")
    print(f"  {cost.bytes_each / 1024:.1f} KiB of memory each, with the connection")
    print(f"  {cost.busy * 100:.2f} % of a processor while all wait")
    print(f"  {cost.answered} were answered when they were resumed")


if __name__ == "__main__":
    main()
