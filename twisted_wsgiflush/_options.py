"""
The command line's options: what they are, and which values are refused.

It decides nothing of what is done with them; that is ``service``'s.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from getopt import GetoptError, gnu_getopt
from typing import NoReturn

from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from . import __version__
from ._forwarded import TrustedProxies

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
            "forwarded-allow-ips",
            None,
            None,
            "Believe the Forwarded and X-Forwarded headers of these proxies: "
            "addresses, networks, unix, *; separated by commas.",
        ],
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
        if self["forwarded-allow-ips"] is not None:
            try:
                TrustedProxies(self["forwarded-allow-ips"])
            except ValueError as error:
                raise UsageError(f"--forwarded-allow-ips: {error}") from error

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line, or explain in one line what is wrong with it."""
        arguments = sys.argv[1:] if options is None else options
        try:
            super().parseOptions(self._options_first(arguments))
        except UsageError as error:
            end_with(error)

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


def end_with(error: object) -> NoReturn:
    """End the process with one line, and with the status of a wrong command line."""
    # The runners of twist and twistd have other ways for a UsageError: a page of
    # usage, and other statuses.
    complain(str(error))
    raise SystemExit(2)


def complain(problem: str) -> None:
    """Say in one line what is wrong."""
    # Not on sys.stderr, which twistd sends to the log.
    if sys.__stderr__ is not None:
        sys.__stderr__.write(f"wsgiflush: {' '.join(problem.split())}\n")
        sys.__stderr__.flush()
