"""
The page that a client gets in place of a response when an application fails.
"""

from __future__ import annotations

import html
import re
from http import HTTPStatus

from twisted.python.failure import Failure

from ._head import Head
from ._rules import Refused

_TITLE = "500 Internal Server Error"
_TEXT = "The application failed while it handled this request."

_HTML_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 60rem;
       padding: 0 1rem; color-scheme: light dark; }}
pre {{ overflow-x: auto; font-size: .85rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{text}</p>
{details}</body>
</html>
"""


def error_page(accept: str, failure: Failure | None) -> tuple[Head, bytes]:
    """
    A 500 page, in HTML for whom that suits better than plain text.

    :param accept: the request's Accept header.
    :param failure: its traceback is shown; ``None`` shows none.
    """
    traceback = "" if failure is None else failure.getTraceback()
    if _quality(accept, "text/html") > _quality(accept, "text/plain"):
        media_type = b"text/html; charset=utf-8"
        details = f"<pre>{html.escape(traceback)}</pre>\n" if traceback else ""
        page = _HTML_PAGE.format(title=_TITLE, text=_TEXT, details=details)
    else:
        media_type = b"text/plain; charset=utf-8"
        page = f"{_TITLE}\n\n{_TEXT}\n" + (f"\n{traceback}" if traceback else "")
    body = page.encode("utf-8", "backslashreplace")
    headers = [
        (b"Content-Type", media_type),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
    ]
    return Head(500, b"Internal Server Error", headers, len(body)), body


def refusal(refused: Refused) -> tuple[Head, bytes]:
    """What a client gets whose request is not handed to the application."""
    reason = HTTPStatus(refused.code).phrase.encode()
    body = b"%d %b\n\n%b\n" % (refused.code, reason, refused.why.encode())
    headers = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
    ]
    return Head(refused.code, reason, headers, len(body)), body


def _quality(accept: str, media_type: str) -> float:
    """What RFC 9110, 12.5.1, makes of a media type; the closest range decides."""
    best = (0, 0.0)
    for media_range in accept.lower().split(","):
        name, *parameters = (part.strip() for part in media_range.split(";"))
        closeness = (
            3
            if name == media_type
            else 2
            if name == media_type.partition("/")[0] + "/*"
            else 1
            if name == "*/*"
            else 0
        )
        quality = 1.0
        for parameter in parameters:
            match = re.fullmatch(r"q=([01](?:\.[0-9]{0,3})?)", parameter)
            if match:
                quality = float(match[1])
        if closeness:
            best = max(best, (closeness, quality))
    return best[1]
