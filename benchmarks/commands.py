"""
How each server is started: with one process and no access log, on the loopback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twisted_wsgiflush.service import Options

SCRIPTS = Path(sys.executable).parent


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
    """It sends when 18,000 bytes have come together, unless it is told otherwise."""
    each_block = ["--send-bytes=1"] if place.application.endswith(":blocks") else []
    return script(
        "waitress-serve", f"--listen={place.address}", *each_block, place.application
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
    no_length = place.application.endswith((":generator", ":blocks", ":chunked"))
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
