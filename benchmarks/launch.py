"""
Starts a server that has no command line, or not one that says what is wanted.

    python -m benchmarks.launch KIND PORT MODULE:ATTRIBUTE
    python -m benchmarks.launch asyncio|uvloop ARGUMENT...

The second form is ``wsgiflush`` with its arguments, on another reactor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

BACKLOG = 1024


def load(name: str) -> Any:
    """The application that MODULE:ATTRIBUTE names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def listen(port: int, factory: Any) -> None:
    """Serve on the default reactor until a signal comes."""
    from twisted.internet import reactor

    reactor.listenTCP(  # type: ignore[attr-defined]
        port, factory, backlog=BACKLOG, interface="127.0.0.1"
    )
    reactor.run()  # type: ignore[attr-defined]


def serve(port: int, resource: Any, **options: Any) -> None:
    """Serve a resource by a ``Site`` that has no access log, as the others."""
    from twisted.web.server import Site

    class Quiet(Site):
        def log(self, request: Any) -> None:
            """Not even make the line: a ``Site`` always does."""

    listen(port, Quiet(resource, **options))


def twisted_wsgi(port: int, name: str) -> None:
    """``twisted.web.wsgi`` with the reactor's own threads, as ``twist web`` has it."""
    from twisted.internet import reactor
    from twisted.web.wsgi import WSGIResource

    threads = reactor.getThreadPool()  # type: ignore[attr-defined]
    serve(port, WSGIResource(reactor, threads, load(name)))


def our_resource(port: int, name: str) -> None:
    """Our resource in a ``Site``, as it is embedded."""
    from twisted.internet import reactor

    from twisted_wsgiflush import WSGIResource

    resource = WSGIResource(reactor, load(name))
    serve(port, resource, parsePOSTFormSubmission=False)


def plain_resource(port: int, name: str) -> None:
    """A resource that is written by hand."""
    from twisted.internet import reactor

    from .resources import RESOURCES

    resource = RESOURCES[name.partition(":")[2]](reactor)
    serve(port, resource, parsePOSTFormSubmission=False)


def canned(port: int, name: str) -> None:
    """The limit of a Twisted transport, or of its socket."""
    from twisted.internet.protocol import Factory

    from .resources import LIMITS

    listen(port, Factory.forProtocol(LIMITS[name.partition(":")[2]]))


def run_bjoern(port: int, name: str) -> None:
    """bjoern has no command line."""
    import bjoern

    bjoern.run(load(name), "127.0.0.1", port)


def run_meinheld(port: int, name: str) -> None:
    """meinheld's command line is gunicorn's."""
    from meinheld import server

    server.set_access_logger(None)
    server.set_error_logger(None)
    # Seconds; it closes each connection otherwise.
    server.set_keepalive(10)
    server.listen(("127.0.0.1", port))
    server.run(load(name))


def wsgiflush_on(loop: Any, arguments: list[str]) -> None:
    """``wsgiflush`` on a loop of asyncio's kind."""
    from twisted.internet import asyncioreactor

    asyncioreactor.install(loop)

    from twisted_wsgiflush.__main__ import main

    sys.argv = ["wsgiflush", *arguments]
    main()


KINDS: dict[str, Callable[[int, str], None]] = {
    "twisted.web.wsgi": twisted_wsgi,
    "WSGIResource": our_resource,
    "Resource": plain_resource,
    "canned": canned,
    "bjoern": run_bjoern,
    "meinheld": run_meinheld,
}


def main() -> None:
    """Serve what the command line says."""
    kind, *arguments = sys.argv[1:]
    if kind == "asyncio":
        import asyncio

        wsgiflush_on(asyncio.new_event_loop(), arguments)
    elif kind == "uvloop":
        import uvloop

        wsgiflush_on(uvloop.new_event_loop(), arguments)
    else:
        port, name = arguments
        KINDS[kind](int(port), name)


if __name__ == "__main__":
    main()
