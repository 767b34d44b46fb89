"""
The servers that are measured, ours first: what each is called, calls and holds.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from .commands import (
    Place,
    cheroot,
    granian,
    gunicorn,
    launcher,
    uvicorn,
    uwsgi,
    waitress,
    wsgiflush,
)

# Threads of a server whose own default is one, and which is about threads.
THREADS = "10"


class Kind(enum.Enum):
    """What a server calls; the value is the module that has it for each workload."""

    WSGI = "benchmarks.applications"
    ASGI = "benchmarks.asgi"
    RESOURCE = "benchmarks.resources"
    CANNED = "benchmarks.resources (canned answers)"


@dataclass(frozen=True)
class Server:
    """
    :param command: what starts it at a place.
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


MANY = "as memory allows"
OURS = "twisted-wsgiflush"

_ALL = [
    Server("fast", "`--site fast`", wsgiflush("fast"), MANY, OURS, ours=True),
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
    Server("stock", "`--site twisted`", wsgiflush("twisted"), MANY, OURS, ours=True),
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
        "a canned answer, straight to the socket",
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
