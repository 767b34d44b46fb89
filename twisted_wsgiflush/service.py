"""
The service that the command line's options describe: one for ``wsgiflush``,
``python -m twisted_wsgiflush``, ``twist`` and ``twistd``.

The one place that may fetch the global reactor.
"""

from __future__ import annotations

import gc
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any
from urllib.parse import quote

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.usage import UsageError

from ._graceful import Connections, GracefulSite
from ._loading import load_application
from ._mounts import Files, Mounts
from ._options import DEFAULT_ENDPOINT, Options, complain, end_with
from ._types import WSGIApplication
from .resource import WSGIResource
from .site import WSGISite
from .wsgi2 import from_wsgi2

__all__ = ["Options", "WSGIService", "makeService"]

# Connections that wait to be accepted.  Twisted's 50 are full before an application
# has blocked for long; who comes then is refused or waits for a second.
_BACKLOG = 1024
_HAS_BACKLOG = re.compile("(haproxy:)*(tcp|tcp6|ssl|tls|unix):", re.IGNORECASE)

# Objects that are made and not freed before the garbage collector walks through all
# there are, which holds up every response; 10,000 event streams have a third of it.
_FULL_COLLECTION = 1_000_000


class _CannotListen(SystemExit, Exception):
    """
    Ends the process with its status.

    ``twistd`` removes its PID file, and tells the process that it has left in the
    foreground, for an ``Exception`` only.
    """


def makeService(options: Options) -> WSGIService:
    """
    The service that the options describe, on the global reactor.

    What cannot be served ends the process with one line and status 2.
    """
    from twisted.internet import reactor

    try:
        endpoints = [
            _endpoint(reactor, description) for description in options["listen"]
        ]
        _check_access_log(options["access-log"])
        _collect_seldom()
        application: Any = load_application(
            options["application"], options["app-dir"], factory=options["factory"]
        )
        if options["wsgi2"]:
            application = from_wsgi2(application)
        try:
            server = _server(reactor, application, options)
        except ValueError as error:
            raise UsageError(f"--mount, --static: {error}") from error
    except UsageError as error:
        end_with(error)
    return WSGIService(
        reactor,
        server,
        endpoints,
        name=options["application"],
        path=quote(options["mount"].rstrip("/") + "/"),
        graceful_timeout=options["graceful-timeout"],
    )


def _server(
    reactor: Any, application: WSGIApplication, options: Options
) -> WSGISite | Connections:
    """What to listen with."""
    resource_options = {
        "debug": options["debug"],
        "validation": not options["no-validation"],
        "forwarded_allow_ips": options["forwarded-allow-ips"],
    }
    # Not a dict: of two at one path, neither is to be lost silently.
    neighbours = [
        (path, Files(directory, defaultType="application/octet-stream"))
        for path, directory in options["static"]
    ]
    if options["site"] == "fast":
        site = WSGISite(
            reactor,
            application,
            mount=options["mount"],
            stream_input=bool(options["stream-input"]),
            access_log=options["access-log"],
            limits=options["limits"],
            **resource_options,
        )
        for path, files in neighbours:
            site.putChild(path.lstrip("/").encode(), files)
        return site
    mounts = Mounts()
    for path, files in neighbours:
        mounts.mount(path, files)
    mounts.mount(
        options["mount"], WSGIResource(reactor, application, **resource_options)
    )
    return Connections(reactor, GracefulSite(reactor, mounts, options["access-log"]))


def _collect_seldom() -> None:
    """
    Have the garbage collector look at old objects a tenth as often as it would.

    Nothing of a request that is over is left to it by this package.  Before the
    application is imported, so that it may say otherwise.
    """
    young, middle, old = gc.get_threshold()
    if young and middle:
        old = max(old, _FULL_COLLECTION // (young * middle))
        gc.set_threshold(young, middle, old)


def _endpoint(reactor: Any, description: str) -> tuple[str, IStreamServerEndpoint]:
    if _HAS_BACKLOG.match(description) and ":backlog=" not in description:
        # One that has it by position, or is wrong, is looked at as it is.
        with suppress(Exception):
            described = f"{description}:backlog={_BACKLOG}"
            return description, serverFromString(reactor, described)
    try:
        return description, serverFromString(reactor, description)
    except Exception as error:
        # Every parser of an endpoint has exceptions of its own.
        raise UsageError(
            f"--listen {description}: no endpoint ({type(error).__name__}: {error}); "
            f"a usual one is {DEFAULT_ENDPOINT}"
        ) from error


def _check_access_log(path: str | None) -> None:
    if path is None or path == "-":
        return
    try:
        open(path, "a").close()
    except OSError as error:
        raise UsageError(f"--access-log: {error}") from error


class WSGIService(Service):
    """
    Serves a site on some endpoints, and empties it when it is to stop.

    :param server: makes the connections, and knows when the last is gone.
    :param endpoints: each with its description, as the command line had it.
    :param name: of the application, for the line that tells where it is served.
    :param path: where the application is in the site, with a slash at the end.
    :param graceful_timeout: seconds that what is in flight may take to end.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        server: WSGISite | Connections,
        endpoints: Sequence[tuple[str, IStreamServerEndpoint]],
        *,
        name: str,
        path: str,
        graceful_timeout: float,
    ) -> None:
        self.exit_status = 0
        self._reactor = reactor
        self._connections = server
        self._endpoints = endpoints
        self._name = name
        self._path = path
        self._graceful_timeout = graceful_timeout
        self._ports: list[tuple[str, IListeningPort]] = []
        self._asked_to_listen = False
        self._stopping = False

    def privilegedStartService(self) -> None:
        """
        Listen, before ``twistd`` gives up its privileges.

        An endpoint that cannot be served ends the process with one line and
        status 2.
        """
        super().privilegedStartService()
        self._asked_to_listen = True
        # Before the line that tells that it is ready for anything.
        self._reactor.callWhenRunning(self._take_signals)
        for description, endpoint in self._endpoints:
            endpoint.listen(self._connections).addCallbacks(
                self._listens,
                self._cannot_listen,
                callbackArgs=(description,),
                errbackArgs=(description,),
            )
            # Not in the errback: that would make a Failure of it.
            if self.exit_status and not self._reactor.running:
                raise _CannotListen(self.exit_status)

    def startService(self) -> None:
        """Listen, and print a line when that is done."""
        if not self._asked_to_listen:
            self.privilegedStartService()
        super().startService()

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, let what is in flight end, then end the rest.

        :returns: fires when no connection is left.
        """
        super().stopService()
        self._stopping = True
        stopped = [maybeDeferred(port.stopListening) for _, port in self._ports]
        return DeferredList(stopped, consumeErrors=True).addCallback(
            lambda _: self._connections.drain(self._graceful_timeout)
        )

    def _listens(self, port: IListeningPort, description: str) -> None:
        if self._stopping:
            port.stopListening()
            return
        self._ports.append((description, port))
        if len(self._ports) == len(self._endpoints):
            self._reactor.callWhenRunning(self._announce)

    def _cannot_listen(self, failure: Failure, description: str) -> None:
        if self.exit_status:
            return
        complain(f"cannot listen on {description}: {failure.getErrorMessage()}")
        self.exit_status = 2
        if self._reactor.running:
            self._reactor.stop()

    def _announce(self) -> None:
        addresses = [
            _address(description, port, self._path) for description, port in self._ports
        ]
        # Not print: the runners of twist and twistd send sys.stdout to the log.
        if sys.__stdout__ is not None:
            sys.__stdout__.write(
                f"wsgiflush: serving {self._name} at {' and '.join(addresses)}\n"
            )
            sys.__stdout__.flush()

    def _take_signals(self) -> None:
        # The reactor's own handlers do not know a second signal, and have twist and
        # twistd end with the signal's status.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._stop, signal.Signals(number).name)

    def _stop(self, name: str) -> None:
        if self._stopping:
            self._log.info("{name} again: ending what is in flight", name=name)
            self._connections.abort()
        else:
            self._log.info(
                "{name}: waiting up to {seconds:g} s for what is in flight",
                name=name,
                seconds=self._graceful_timeout,
            )
            self._reactor.stop()


def _address(description: str, port: IListeningPort, path: str) -> str:
    host: Any = port.getHost()
    if not hasattr(host, "port"):
        return description
    scheme = "https" if "ssl:" in description or "tls:" in description else "http"
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.host, host.host)
    name = f"[{name}]" if ":" in name else name
    return f"{scheme}://{name}:{host.port}{path}"
