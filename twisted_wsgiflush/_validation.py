"""
Whether the client's copy is fresh: If-None-Match and If-Modified-Since.

Pure functions over what the application set and the client sent; when they are
asked is the decision of who flushes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import NamedTuple, TypeAlias

from ._types import Environ, Headers

Freshness: TypeAlias = Callable[[str, Headers], Headers | None]
"""``not_modified`` for the client of one request."""

# RFC 9110, 8.8.3.
_ENTITY_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_ENTITY_TAGS = re.compile(
    rf"[ \t,]*{_ENTITY_TAG.pattern}(?:[ \t]*,[ \t,]*{_ENTITY_TAG.pattern})*[ \t,]*"
)

# RFC 9110, 5.6.7: the one form to send, and two obsolete ones to understand.
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-9]{2}"
_HTTP_DATE = re.compile(
    rf"{_DAY}, [0-9]{{2}} {_MONTH} [0-9]{{4}} {_TIME} GMT"
    rf"|{_LONG_DAY}, [0-9]{{2}}-{_MONTH}-[0-9]{{2}} {_TIME} GMT"
    rf"|{_DAY} {_MONTH} [0-9 ][0-9] {_TIME} [0-9]{{4}}"
)

# RFC 9110, 15.4.5: metadata of a representation that a 304 should do without.
_LEFT_OUT = frozenset(
    {
        "accept-ranges",
        "content-encoding",
        "content-language",
        "content-length",
        "content-range",
        "content-type",
    }
)


class Conditions(NamedTuple):
    """What a client wants to know, in the words of PEP 3333's environ."""

    request_method: str
    if_none_match: str | None
    if_modified_since: str | None


def conditions_of(environ: Environ) -> Conditions | None:
    """The conditions of a request; None when it has none."""
    if_none_match = environ.get("HTTP_IF_NONE_MATCH")
    if_modified_since = environ.get("HTTP_IF_MODIFIED_SINCE")
    if if_none_match is if_modified_since is None:
        return None
    return Conditions(environ["REQUEST_METHOD"], if_none_match, if_modified_since)


def not_modified(
    status: str, headers: Headers, conditions: Conditions | None
) -> Headers | None:
    """
    The headers of the 304 to send in place of a response; None when the client needs
    the response.

    RFC 9110, 13.1.2, 13.1.3 and 13.2.2, for GET and HEAD, and status 200.

    :param status: as the application passed it to ``start_response``.
    :param headers: likewise.
    """
    if conditions is None or conditions.request_method not in ("GET", "HEAD"):
        return None
    if status[:3] != "200":
        return None
    fields = {name.lower(): value.strip(" \t") for name, value in headers}
    etag, last_modified = fields.get("etag"), fields.get("last-modified")
    if etag is None and last_modified is None:
        return None
    if conditions.if_none_match is not None:
        fresh = _matches(conditions.if_none_match, etag)
    else:
        fresh = _not_since(conditions.if_modified_since, last_modified)
    if not fresh:
        return None
    # Without an ETag, Last-Modified guides the update of a cache.
    left_out = _LEFT_OUT if etag is None else {*_LEFT_OUT, "last-modified"}
    return [(name, value) for name, value in headers if name.lower() not in left_out]


def _matches(if_none_match: str, etag: str | None) -> bool:
    """The weak comparison (RFC 9110, 8.8.3.2); false for what is no list of tags."""
    if if_none_match.strip(" \t") == "*":
        return True
    if etag is None or not _ENTITY_TAGS.fullmatch(if_none_match):
        return False
    tags = [tag.removeprefix("W/") for tag in _ENTITY_TAG.findall(if_none_match)]
    return etag.removeprefix("W/") in tags


def _not_since(if_modified_since: str | None, last_modified: str | None) -> bool:
    since, modified = _date(if_modified_since), _date(last_modified)
    return since is not None and modified is not None and modified <= since


def _date(value: str | None) -> datetime | None:
    """An HTTP-date, or None for what is none: it is ignored then."""
    if value is None or not _HTTP_DATE.fullmatch(value):
        return None
    try:
        date = parsedate_to_datetime(value)
    except ValueError:  # It has the form of one, and there is no such day or hour.
        return None
    return date.replace(tzinfo=timezone.utc)
