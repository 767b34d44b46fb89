"""
A database, really: PostgreSQL through psycopg and fdevent, by ``examples/postgres.py``.

The server is Debian's, started here on a socket of its own.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import commandline
import psycopg
import pytest
from commandline import CHECKOUT, Server

EXAMPLE = CHECKOUT / "examples" / "postgres.py"
TRANSACTIONS = CHECKOUT / "tests" / "applications" / "transactions.py"

REQUESTS, CONNECTIONS, SECONDS = 200, 20, 0.2


def program(name: str) -> str:
    """One of PostgreSQL's programs, which Debian does not put on the path."""
    found = [*Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), shutil.which(name)]
    assert found[0], "there is no PostgreSQL; on Debian: apt-get install postgresql"
    return str(found[0])


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A server of PostgreSQL; gives the directory of its socket."""
    # Of a short name, for that of a socket must be short.
    directory = tempfile.mkdtemp(prefix="pg")
    # It refuses to run as root.
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres", "postgres")
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    try:
        data = os.path.join(directory, "data")
        run = [
            program("initdb"),
            *["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "-N"],
        ]
        subprocess.run(
            [*run, "-D", data],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=directory,
            **user,
        )
        control = [program("pg_ctl"), "-D", data, "--silent", "--wait"]
        options = f"-k {directory} -c listen_addresses= -c fsync=off"
        run = [*control, "-l", os.path.join(directory, "log"), "-o", options, "start"]
        subprocess.run(run, check=True, cwd=directory, **user)
        try:
            yield directory
        finally:
            run = [*control, "--mode=immediate", "stop"]
            subprocess.run(run, check=True, cwd=directory, **user)
    finally:
        shutil.rmtree(directory)


@contextmanager
def serving(application: Path) -> Iterator[Server]:
    """This container with an application, on the reactor that the tests are for."""
    from twisted.internet import reactor

    name = "asyncio" if "Asyncio" in type(reactor).__name__ else "default"
    arguments = ["--listen", "tcp:0:interface=127.0.0.1:backlog=500", str(application)]
    runner = ["--reactor", name, "--log-level", "critical"]
    with commandline.serving(
        *arguments, cwd=CHECKOUT, door=commandline.TWIST, runner=runner
    ) as server:
        yield server


def asking(server: Server, path: str) -> socket.socket:
    """A client that has asked for something."""
    client: socket.socket = server.connect()
    client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    return client


def reset(client: socket.socket) -> None:
    """
    Leave, so that the server knows it at once.

    One that only closes could still be reading; it is waited for a while.
    """
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def threads(server: Server) -> int:
    """How many threads the server has."""
    return len(os.listdir(f"/proc/{server.process.pid}/task"))


@pytest.fixture
def database(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[psycopg.Connection[Any]]:
    """What is in the database, seen from outside; applications find it, too."""
    monkeypatch.setenv("PGHOST", postgres)
    monkeypatch.setenv("PGUSER", "postgres")
    with psycopg.connect(
        host=postgres, user="postgres", autocommit=True, application_name="test"
    ) as connection:
        connection.execute("DROP TABLE IF EXISTS notes")
        connection.execute("CREATE TABLE notes (note text)")
        yield connection


def notes(database: psycopg.Connection[Any]) -> list[str]:
    return [row[0] for row in database.execute("SELECT note FROM notes ORDER BY note")]


def connections(database: psycopg.Connection[Any]) -> int:
    """How many connections the application has."""
    ours = "backend_type = 'client backend' AND application_name <> 'test'"
    counted = database.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {ours}")
    row = counted.fetchone()
    assert row is not None
    number: int = row[0]
    return number


def until(condition: Any) -> None:
    """Wait for PostgreSQL, which tells nobody when it is done with a connection."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("path", ["/", "/coroutine"])
def test_two_hundred_share_twenty_connections(
    database: psycopg.Connection[Any], path: str
) -> None:
    """200 requests of 0.2 s each, over 20 connections on one thread, take 2 s."""
    with serving(EXAMPLE) as server:
        server.get(path)
        began = time.monotonic()
        clients = dict.fromkeys([asking(server, path) for _ in range(REQUESTS)], b"")
        bodies, counted = [], set()
        while clients:
            for client in select.select(list(clients), [], [], 20)[0]:
                if data := client.recv(4096):
                    clients[client] += data
                else:
                    bodies.append(clients.pop(client).partition(b"\r\n\r\n")[2])
                    client.close()
                    counted.add(threads(server))
        took = time.monotonic() - began
        assert all(body.startswith(b"It is ") for body in bodies)
        assert len(bodies) == REQUESTS
        assert counted == {1}
        assert connections(database) == CONNECTIONS
    # The rest is what this machine needs for it; one after the other it would be 40.
    assert REQUESTS / CONNECTIONS * SECONDS <= took < 6


@pytest.mark.parametrize("path", ["/committed", "/committed_by_coroutine"])
def test_a_transaction_is_committed(
    database: psycopg.Connection[Any], path: str
) -> None:
    """What it did is there when the client has its response."""
    with serving(TRANSACTIONS) as server:
        assert server.get(f"{path}?kept") == b"committed"
        assert notes(database) == ["kept"]


@pytest.mark.parametrize("path", ["/begun", "/begun_by_coroutine"])
def test_a_client_that_leaves_rolls_back(
    database: psycopg.Connection[Any], path: str
) -> None:
    """Its transaction is undone, and the next one waiting gets the connection."""
    with serving(TRANSACTIONS) as server:
        leaving = asking(server, f"{path}?undone")
        assert leaving.recv(100).startswith(b"HTTP/1.1 200")
        within = connections(database)
        waiting = asking(server, "/committed?kept")
        leaving.close()
        with waiting, waiting.makefile("rb") as response:
            assert response.read().endswith(b"committed")
        until(lambda: connections(database) == within == 1)
        assert notes(database) == ["kept"]


def test_those_who_wait_may_leave_too(
    database: psycopg.Connection[Any],
) -> None:
    """Of those who wait for a connection, it goes to one who is still there."""
    with serving(TRANSACTIONS) as server:
        holding = asking(server, "/begun?undone")
        assert holding.recv(100).startswith(b"HTTP/1.1 200")
        waiting = [asking(server, f"/committed?{number}") for number in range(5)]
        for client in waiting[:4]:
            reset(client)
        holding.close()
        with waiting[4], waiting[4].makefile("rb") as response:
            assert response.read().endswith(b"committed")
        assert notes(database) == ["4"]


def active(database: psycopg.Connection[Any]) -> list[str]:
    """The queries that are running, but for this one."""
    running = database.execute(
        "SELECT query FROM pg_stat_activity "
        "WHERE state = 'active' AND backend_type = 'client backend' "
        "AND application_name <> 'test'"
    )
    return [row[0] for row in running]


def test_a_client_that_leaves_ends_its_query(
    database: psycopg.Connection[Any],
) -> None:
    """PostgreSQL does not sleep on for one that is not there, however many do that."""
    with serving(TRANSACTIONS) as server:
        for _ in range(5):
            leaving = asking(server, "/sleeping")
            until(lambda: "SELECT pg_sleep(60)" in active(database))
            leaving.close()
            until(lambda: active(database) == [])
        assert server.get("/committed?kept") == b"committed"
        assert connections(database) == 1


def test_a_connection_that_has_ended_is_opened_anew(
    database: psycopg.Connection[Any],
) -> None:
    """PostgreSQL may end one that is idle, and nobody sees an error."""
    with serving(TRANSACTIONS) as server:
        for note in ("1", "2"):
            assert server.get(f"/committed?{note}") == b"committed"
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND application_name <> 'test'"
            )
            until(lambda: connections(database) == 0)
        assert notes(database) == ["1", "2"]


def test_what_the_connection_cannot_do_is_an_error(
    database: psycopg.Connection[Any],
) -> None:
    """COPY is refused, and the connection goes to nobody in that state."""
    with serving(TRANSACTIONS) as server:
        assert server.get("/copying") == b"NotSupportedError('COPY_OUT')"
        assert server.get("/committed?kept") == b"committed"
        assert connections(database) == 1


class Stubborn:
    """PostgreSQL that reads no more of a query before what it wrote is read."""

    socket = 0
    reads = False

    def send_query_params(self, sql: bytes, values: Any) -> None:
        """There is more of it than PostgreSQL reads."""

    def flush(self) -> int:
        return 0 if self.reads else 1

    def consume_input(self) -> None:
        self.reads = True

    def is_busy(self) -> bool:
        raise Sent


class Sent(Exception):
    """The whole query is sent."""


def test_what_postgres_writes_meanwhile_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While a query is sent, lest both wait for the other to read."""
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    from pgconnection import Connection

    connection: Any = Connection()
    connection.pg = Stubborn()
    waited: list[Any] = []

    def writable(*wait: Any) -> bytes:
        waited.append(wait)
        return b""

    environ = {"x-wsgiorg.fdevent.writable": writable}
    steps = connection.query(environ, b"SELECT $1", b"x" * 1_000_000)
    with pytest.raises(Sent):
        list(islice(steps, 10))
    assert waited == [(0, 0.1)]


def test_an_error_rolls_back(postgres: str, database: psycopg.Connection[Any]) -> None:
    """It is raised in the application, and the next transaction works."""
    with serving(TRANSACTIONS) as server:
        assert b"division by zero" in server.get("/failing?undone")
        assert server.get("/committed?kept") == b"committed"
        assert notes(database) == ["kept"]


def test_a_database_that_cannot_be_reached_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised in the application, at each request anew."""
    monkeypatch.setenv("PGHOST", str(tmp_path))
    with serving(TRANSACTIONS) as server:
        for _ in range(2):
            assert b"No such file or directory" in server.get("/failing?undone")
