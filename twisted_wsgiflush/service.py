"""
The command line's options, and the service that they describe: one parser and one
service for ``wsgiflush``, ``python -m twisted_wsgiflush``, ``twist`` and ``twistd``.

The one place that may fetch the global reactor.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Sequence
from getopt import GetoptError, gnu_getopt
from types import FrameType
from typing import Any
from urllib.parse import quote

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from . import __version__
from ._graceful import Connections, GracefulSite
from ._loading import load_application
from ._mounts import Files, Mounts
from .resource import WSGIResource
from .wsgi2 import from_wsgi2

DEFAULT_ENDPOINT = "tcp:8080:interface=127.0.0.1"


_HELP = """
Serves a WSGI application on the Twisted reactor, in one thread, with flow control.

APPLICATION is module:attribute, module.attribute or path/to/file.py[:attribute];
the attribute defaults to "application", then "app".

Examples:

  wsgiflush hello.py
  wsgiflush --listen tcp:80 --listen ssl:443:privateKey=server.pem mysite.wsgi
  wsgiflush --listen unix:/run/mysite.sock --factory mysite:create_app
  wsgiflush --mount /wiki --static /static=./static --access-log - wiki:app
  twist --reactor asyncio wsgiflush hello.py
"""


class Options(UsageOptions):
    """The command line; a mistake in it ends the process with status 2."""

    longdesc = ""  # See getUsage.
    synopsis = "[options] APPLICATION"

    optFlags = [
        ["factory", None, "APPLICATION is called, without arguments, to get it."],
        ["no-validation", None, "Do not answer 304 when a flushed head is fresh."],
        ["wsgi2", None, "APPLICATION is a WSGI 2.0 application."],
        ["debug", None, "Show tracebacks to clients. Never in production."],
    ]

    optParameters = [
        ["app-dir", None, ".", "Import APPLICATION from this directory."],
        ["mount", None, "/", "The path that the application is mounted at."],
        ["access-log", None, None, "Log requests to this file; - for standard output."],
        [
            "graceful-timeout",
            None,
            30.0,
            "Seconds that requests in flight may take after SIGTERM or SIGINT.",
        ],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["static"] = []

    def getSynopsis(self) -> str:
        """How it is called, by itself or below ``twist``."""
        if self.parent is None:
            return f"Usage: wsgiflush {self.synopsis}"
        below: str = super().getSynopsis()
        return below

    def getUsage(self, width: int | None = None) -> str:
        """The options, then what an application is and some examples."""
        return super().getUsage(width) + _HELP

    def opt_listen(self, description: str) -> None:
        """Serve on this endpoint; repeatable [default: tcp:8080:interface=127.0.0.1]"""
        self["listen"].append(description)

    def opt_static(self, mapping: str) -> None:
        """/URL=DIRECTORY: serve files at and below this path; repeatable."""
        path, equals, directory = mapping.partition("=")
        if not equals or not path.startswith("/"):
            raise UsageError(f"--static wants /URL=DIRECTORY, not {mapping!r}")
        if not os.path.isdir(directory):
            raise UsageError(f"--static {path}: there is no directory {directory!r}")
        self["static"].append((path, directory))

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"wsgiflush {__version__}")
        raise SystemExit(0)

    def parseArgs(self, *names: str) -> None:
        """What is left is the application's name."""
        if len(names) != 1:
            raise UsageError(
                f"name one APPLICATION, as in 'wsgiflush hello:application', "
                f"not {len(names)}; try --help"
            )
        self["application"] = names[0]

    def postOptions(self) -> None:
        """Check what can be checked without a reactor."""
        if not self["listen"]:
            self["listen"].append(DEFAULT_ENDPOINT)
        if not self["mount"].startswith("/"):
            raise UsageError(f"--mount must begin with a slash, not {self['mount']!r}")
        try:
            timeout = float(self["graceful-timeout"])
        except ValueError:
            timeout = math.nan
        if not 0 <= timeout < math.inf:
            raise UsageError(
                f"--graceful-timeout must be a number of seconds, "
                f"not {self['graceful-timeout']!r}"
            )
        self["graceful-timeout"] = timeout

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line, or explain in one line what is wrong with it."""
        arguments = sys.argv[1:] if options is None else options
        try:
            super().parseOptions(self._options_first(arguments))
        except UsageError as error:
            _exit(error)

    def _options_first(self, arguments: Sequence[str]) -> list[str]:
        # Twisted wants the options before APPLICATION; people write either.
        try:
            options, names = gnu_getopt(arguments, self.shortOpt, self.longOpt)
        except GetoptError as error:
            raise UsageError(f"{error}; try --help") from error
        with_parameter = {f"--{name}" for name in self.longOpt if name.endswith("=")}
        return [
            *(
                f"{option}={value}" if f"{option}=" in with_parameter else option
                for option, value in options
            ),
            "--",
            *names,
        ]


def _exit(error: object) -> None:
    # The runners of twist and twistd have other ways for a UsageError: a page of
    # usage, and other statuses.
    _complain(str(error))
    raise SystemExit(2)


def _complain(problem: str) -> None:
    # In one line, and not to sys.stderr, which twistd sends to the log.
    if sys.__stderr__ is not None:
        sys.__stderr__.write(f"wsgiflush: {' '.join(problem.split())}\n")
        sys.__stderr__.flush()


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
        application: Any = load_application(
            options["application"], options["app-dir"], factory=options["factory"]
        )
        if options["wsgi2"]:
            application = from_wsgi2(application)
        mounts = Mounts()
        try:
            for path, directory in options["static"]:
                files = Files(directory, defaultType="application/octet-stream")
                mounts.mount(path, files)
            mounts.mount(
                options["mount"],
                WSGIResource(
                    reactor,
                    application,
                    debug=options["debug"],
                    validation=not options["no-validation"],
                ),
            )
        except ValueError as error:
            raise UsageError(f"--mount, --static: {error}") from error
    except UsageError as error:
        _exit(error)
    return WSGIService(
        reactor,
        GracefulSite(reactor, mounts, options["access-log"]),
        endpoints,
        name=options["application"],
        path=quote(options["mount"].rstrip("/") + "/"),
        graceful_timeout=options["graceful-timeout"],
    )


def _endpoint(reactor: Any, description: str) -> tuple[str, IStreamServerEndpoint]:
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

    :param endpoints: each with its description, as the command line had it.
    :param name: of the application, for the line that tells where it is served.
    :param path: where the application is in the site, with a slash at the end.
    :param graceful_timeout: seconds that what is in flight may take to end.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        site: GracefulSite,
        endpoints: Sequence[tuple[str, IStreamServerEndpoint]],
        *,
        name: str,
        path: str,
        graceful_timeout: float,
    ) -> None:
        self.exit_status = 0
        self._reactor = reactor
        self._connections = Connections(reactor, site)
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
        _complain(f"cannot listen on {description}: {failure.getErrorMessage()}")
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
