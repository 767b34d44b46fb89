"""
The access log of a ``WSGISite``: a line for each response, as Twisted's own.
"""

from __future__ import annotations

import os
from typing import Any, TextIO, TypeAlias

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ._graceful import CANNOT_LOG
from ._types import Environ

_log = Logger()

Asked: TypeAlias = tuple[str, str]


class AccessLog:
    """
    Writes the lines of a turn together, in the next one.

    :param path: of the file, which is appended to; ``-`` for standard output.
    """

    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor = reactor
        self._path = path
        self._file: TextIO | None = None
        self._lines: list[str] = []
        self._turn: IDelayedCall | None = None

    def open(self) -> None:
        """
        Open the file, unless it is open.

        :raises OSError: when it cannot be.
        """
        if self._file is None:
            if self._path == "-":
                self._file = os.fdopen(os.dup(1), "w")
            else:
                self._file = open(self._path, "a")  # noqa: SIM115  # see close

    def write(self, who: str, when: str, asked: Asked, code: int, sent: int) -> None:
        """
        Write a line.

        :param who: the client's address.
        :param when: as :func:`twisted.web.http.datetimeToLogString` has it.
        :param asked: what :func:`what_is_asked` makes of a request.
        :param sent: bytes of the body.
        """
        request, client = asked
        self._lines.append(
            f'"{who or "-"}" - - {when} {request} {code} {sent or "-"} {client}\n'
        )
        if self._turn is None:
            self._turn = self._reactor.callLater(0, self._flush)

    def close(self) -> None:
        """Write what is left, and close the file."""
        if self._turn is not None:
            self._turn.cancel()
            self._flush()
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError as error:
                _log.error(CANNOT_LOG, error=error)

    def _flush(self) -> None:
        self._turn = None
        lines, self._lines = self._lines, []
        if self._file is None:
            return
        try:
            self._file.write("".join(lines))
            self._file.flush()
        except OSError as error:
            # Such as a full disk; the responses are none the worse for it.
            _log.error(CANNOT_LOG, error=error)


def what_is_asked(environ: Environ) -> Asked:
    """What a line says of a request, in two places."""
    request = _quoted(
        f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']} "
        f"{environ['SERVER_PROTOCOL']}"
    )
    referer = _quoted(environ.get("HTTP_REFERER", "-"))
    agent = _quoted(environ.get("HTTP_USER_AGENT", "-"))
    return request, f"{referer} {agent}"


def _quoted(text: str) -> str:
    """In quotes that nothing in it can end."""
    if not text.isascii() or not text.isprintable() or '"' in text or "\\" in text:
        text = repr(text.encode("latin-1"))[2:-1].replace('"', '\\"')
    return f'"{text}"'
