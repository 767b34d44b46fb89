"""
The servers that are measured: how each is started, with one process and no access log,
and what it serves.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twisted_wsgiflush.service import Options

SCRIPTS = Path(sys.executable).parent

# Threads of a server whose own default is one, and which is about threads.
THREADS = "10"


class Kind(enum.Enum):
    """What a server calls; the value is the module that has it for each workload."""

    WSGI = "benchmarks.applications"
    ASGI = "benchmarks.asgi"
    RESOURCE = "benchmarks.resources"
    CANNED = "benchmarks.resources (one answer)"


@dataclass(frozen=True)
class Place:
    """
    Where and what a server serves.

    :param directory: for files of its own; it is removed when the server has ended.
    """

    port: int
    application: str
    directory: Path

    @property
    def address(self) -> str:
        """As most take it."""
        return f"127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Server:
    """
    :param title: what the tables call it.
    :param streams: how many open streams it holds, by its design or its settings.
    :param package: the distribution whose version is told.
    :param ours: whether it is not a peer.
    :param remark: what a reader of its figures has to know.
    """

    name: str
    title: str
    command: Callable[[Place], list[str]]
    streams: str
    package: str
    kind: Kind = Kind.WSGI
    ours: bool = False
    remark: str = ""


def script(name: str, *arguments: str) -> list[str]:
    """A command of this environment."""
    return [str(SCRIPTS / name), *arguments]


def module(name: str, *arguments: str) -> list[str]:
    """A module that is run."""
    return [sys.executable, "-m", name, *arguments]


def launcher(kind: str) -> Callable[[Place], list[str]]:
    """A server that ``launch`` starts."""
    return lambda place: module(
        "benchmarks.launch", kind, str(place.port), place.application
    )


def wsgiflush(
    site: str, loop: str | None = None, *, log: bool = False
) -> Callable[[Place], list[str]]:
    """Our command line, by one of its two doors."""

    def command(place: Place) -> list[str]:
        listen = f"tcp:{place.port}:interface=127.0.0.1:backlog=1024"
        arguments = ["--listen", listen, *door(site)]
        if log:
            arguments += ["--access-log", str(place.directory / "access.log")]
        arguments.append(place.application)
        if loop is None:
            return module("twisted_wsgiflush", *arguments)
        return module("benchmarks.launch", loop, *arguments)

    return command


def door(site: str) -> list[str]:
    """The option for it; without that option, there is the stock Site only."""
    if "site=" not in Options().longOpt and site == "twisted":
        return []
    return ["--site", site]


def gunicorn(worker: str, *arguments: str) -> Callable[[Place], list[str]]:
    """With a worker of this class; access log off is its default."""
    return lambda place: script(
        "gunicorn",
        *("--workers", "1", "--worker-class", worker, "--bind", place.address),
        *("--log-level", "error", *arguments, place.application),
    )


def waitress(place: Place) -> list[str]:
    """It sends when so many bytes have come together; here, each block."""
    return script(
        "waitress-serve",
        *(f"--listen={place.address}", "--send-bytes=1", place.application),
    )


def cheroot(place: Place) -> list[str]:
    """Its queue would be 5 connections long."""
    return script(
        "cheroot",
        *(place.application, "--bind", place.address, "--request-queue-size", "1024"),
    )


def uwsgi(place: Place) -> list[str]:
    """
    Its ``http11-socket`` keeps connections alive, but never ends a response that has
    no length.
    """
    no_length = place.application.endswith((":generator", ":blocks"))
    return script(
        "uwsgi",
        *("--http-socket" if no_length else "--http11-socket", place.address),
        *("--virtualenv", sys.prefix, "--pythonpath", "."),
        *("--module", place.application, "--need-app", "--processes", "1"),
        *("--disable-logging", "--listen", "1024"),
    )


def granian(place: Place) -> list[str]:
    """One worker, one thread that runs Python, one that does input and output."""
    return script(
        "granian",
        *("--interface", "wsgi", "--host", "127.0.0.1", "--port", str(place.port)),
        *("--workers", "1", "--blocking-threads", "1", "--runtime-threads", "1"),
        *("--no-ws", "--log-level", "error", place.application),
    )


def uvicorn(place: Place) -> list[str]:
    """At its fastest."""
    return script(
        "uvicorn",
        *("--host", "127.0.0.1", "--port", str(place.port), "--lifespan", "off"),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log"),
        *("--log-level", "error", place.application),
    )


MANY = "as memory allows"
OURS = "twisted-wsgiflush"

FAST = Server("fast", "`--site fast`", wsgiflush("fast"), MANY, OURS, ours=True)
STOCK = Server("stock", "`--site twisted`", wsgiflush("twisted"), MANY, OURS, ours=True)

_ALL = [
    FAST,
    Server(
        "fast-asyncio",
        "`--site fast` on asyncio",
        wsgiflush("fast", "asyncio"),
        *(MANY, OURS),
        ours=True,
    ),
    Server(
        "fast-uvloop",
        "`--site fast` on asyncio with uvloop",
        wsgiflush("fast", "uvloop"),
        *(MANY, OURS),
        ours=True,
    ),
    STOCK,
    Server(
        "resource",
        "our `WSGIResource` in a `Site`",
        launcher("WSGIResource"),
        *(MANY, OURS),
        ours=True,
    ),
    Server(
        "twisted.web.wsgi",
        "twisted.web.wsgi",
        launcher("twisted.web.wsgi"),
        *("10, a thread each", "twisted"),
    ),
    Server(
        "twisted.web",
        "a plain twisted.web Resource",
        launcher("Resource"),
        *(MANY, "twisted", Kind.RESOURCE),
    ),
    Server(
        "gunicorn-sync",
        "gunicorn, sync",
        gunicorn("sync"),
        *("1", "gunicorn"),
        remark="closes each connection",
    ),
    Server(
        "gunicorn-gthread",
        "gunicorn, gthread",
        gunicorn("gthread", "--threads", THREADS),
        *(f"{THREADS}, a thread each", "gunicorn"),
    ),
    Server(
        "gunicorn-gevent",
        "gunicorn, gevent",
        # 1,000 unless it is told.
        gunicorn("gevent", "--worker-connections", "20000"),
        *(MANY, "gevent"),
    ),
    Server("waitress", "waitress", waitress, "4, a thread each", "waitress"),
    Server("cheroot", "cheroot", cheroot, "10, a thread each", "cheroot"),
    Server(
        "uwsgi",
        "uWSGI",
        uwsgi,
        *("1", "uwsgi"),
        remark="one connection until it is idle, the others wait",
    ),
    Server("granian", "granian, WSGI", granian, "1", "granian"),
    Server("bjoern", "bjoern", launcher("bjoern"), "1", "bjoern"),
    Server("meinheld", "meinheld", launcher("meinheld"), "1", "meinheld"),
    Server("uvicorn", "uvicorn, raw ASGI", uvicorn, MANY, "uvicorn", Kind.ASGI),
    Server(
        "limit",
        "a canned answer by `writeSomeData`",
        launcher("canned"),
        *("none", "twisted", Kind.CANNED),
    ),
]

SERVERS = {server.name: server for server in _ALL}

# What the access log costs is measured with these, and with those that have none.
LOGGED = {
    "fast-logged": Server(
        "fast-logged",
        "`--site fast --access-log FILE`",
        wsgiflush("fast", log=True),
        *(MANY, OURS),
        ours=True,
    ),
    "stock-logged": Server(
        "stock-logged",
        "`--site twisted --access-log FILE`",
        wsgiflush("twisted", log=True),
        *(MANY, OURS),
        ours=True,
    ),
}
