"""
A reactor that runs beside a server with threads of its own.
"""

from __future__ import annotations

import atexit
import threading
from contextlib import suppress
from typing import Any

from twisted.internet.error import ReactorNotRestartable
from twisted.python.threadable import isInIOThread

from .errors import CannotBlock

_starting = threading.Lock()


def running_reactor() -> Any:
    """
    The reactor of this process, running.  Call in another thread than the reactor's.

    :raises CannotBlock: in the reactor's thread, or when the reactor has run and ended.
    """
    from twisted.internet import reactor

    if isInIOThread():
        raise CannotBlock(
            "a server without x-wsgiorg.suspend called the application in the "
            "reactor's thread; use twisted_wsgiflush.WSGIResource there"
        )
    with _starting:
        if not reactor.running:
            _start(reactor)
    return reactor


def _start(reactor: Any) -> None:
    started = threading.Event()

    def run() -> None:
        reactor.callWhenRunning(started.set)
        try:
            with suppress(ReactorNotRestartable):  # It is not running then, see below.
                reactor.run(installSignalHandlers=False)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="reactor", daemon=True)
    thread.start()
    started.wait()
    if not reactor.running:
        raise CannotBlock("the reactor of this process has run and ended")
    atexit.register(_stop, reactor, thread)


def _stop(reactor: Any, thread: threading.Thread) -> None:
    reactor.callFromThread(reactor.stop)
    thread.join()
