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
from typing import Any, NoReturn

from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from . import __version__
from ._forwarded import TrustedProxies
from .limits import Limits

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


# Each of the limits: a number of what it is, and what comes of more.
_LIMITS: dict[str, tuple[type[float], str]] = {
    "request_line_size": (int, "Bytes of a request line; more get 414"),
    "header_size": (int, "Bytes of a request's header; more get 431"),
    "header_count": (int, "Fields of a request's header; more get 431"),
    "body_size": (int, "Bytes of a request's body; more get 413"),
    "header_timeout": (float, "Seconds for a header to come, else 408"),
    "body_timeout": (float, "Seconds for 1 KiB of a body to come, else 408"),
    "keep_alive_timeout": (float, "Seconds for another request to come"),
    "send_timeout": (float, "Seconds for a client to take something"),
    "response_timeout": (float, "Seconds for a response, else 503"),
    "suspend_timeout": (float, "Seconds to be suspended at a time, else 503"),
    "half_close_timeout": (
        float,
        "Seconds to send nothing when the client has closed its half",
    ),
    "max_connections": (int, "Connections at a time; one more gets 503"),
}


def _option(limit: str) -> str:
    return limit.replace("_", "-")


def _shown(limit: str) -> str:
    default = getattr(Limits(), limit)
    return "none" if default is None else str(default)


class Options(UsageOptions):
    """The command line; a mistake in it ends the process with status 2."""

    longdesc = ""  # See getUsage.
    synopsis = "[options] APPLICATION"

    optFlags = [
        ["factory", None, "APPLICATION is called, without arguments, to get it."],
        ["no-validation", None, "Do not answer 304 when a flushed head is fresh."],
        ["wsgi2", None, "APPLICATION is a WSGI 2.0 application."],
        ["stream-input", None, "Call APPLICATION while the request's body arrives."],
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
        ["site", None, "fast", "Who speaks HTTP/1.1: fast is ours, twisted Twisted's."],
        *(
            [_option(name), None, None, f"{text} [default: {_shown(name)}]"]
            for name, (_, text) in _LIMITS.items()
        ),
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
        if self["site"] not in ("fast", "twisted"):
            raise UsageError(f"--site must be fast or twisted, not {self['site']!r}")
        self["limits"] = self._limits()
        if self["forwarded-allow-ips"] is not None:
            try:
                TrustedProxies(self["forwarded-allow-ips"])
            except ValueError as error:
                raise UsageError(f"--forwarded-allow-ips: {error}") from error

    def _limits(self) -> Limits:
        given = [name for name in _LIMITS if self[_option(name)] is not None]
        only_fast = [*map(_option, given), *["stream-input"] * self["stream-input"]]
        if only_fast and self["site"] != "fast":
            raise UsageError(f"--{only_fast[0]} wants --site fast")
        limits = Limits(body_size=None) if self["stream-input"] else Limits()
        values: dict[str, Any] = {name: self._limit(name) for name in given}
        return limits._replace(**values)

    def _limit(self, name: str) -> float | None:
        kind, _ = _LIMITS[name]
        text = self[_option(name)]
        if text == "none":
            return None
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            what = "whole number" if kind is int else "number of seconds"
            raise UsageError(
                f"--{_option(name)} must be a {what}, or none, not {text!r}"
            )
        return value or None

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
