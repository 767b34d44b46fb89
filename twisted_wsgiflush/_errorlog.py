"""
``wsgi.errors``: text that an application writes there becomes log events.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.logger import Logger


class ErrorLog:
    """
    The error stream of one request (PEP 3333, "Input and Error Streams").

    Text is kept until a line is complete, so that one ``print`` is one event; what
    is incomplete at the end of the request is logged then.

    :param request_name: its method and target, to tell whose text it is.
    """

    __slots__ = ("_request_name", "text")

    _log = Logger()

    def __init__(self, request_name: str) -> None:
        self._request_name = request_name
        self.text = ""
        """What is not logged yet."""

    def write(self, text: str) -> None:
        """
        Log ``text``, once its line is complete.

        :raises TypeError: for anything but a ``str``.
        """
        if not isinstance(text, str):
            raise TypeError(
                f"write() argument must be str, not {text!r} ({type(text).__name__})"
            )
        self.text += text
        if text.endswith("\n"):
            self.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        """Log the lines, which are concatenated, as one event."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Log what was written and has not been logged yet."""
        if self.text:
            text, self.text = self.text, ""
            # The last three are what Twisted's own resource gives its observers.
            self._log.error(
                "{request}: {text}",
                request=self._request_name,
                text=text.rstrip("\n"),
                system="wsgi",
                isError=True,
                message=(text,),
            )
