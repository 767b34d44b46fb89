"""
The types of PEP 3333's interface, in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TypeAlias

Environ: TypeAlias = dict[str, Any]
"""
"The environ parameter is a dictionary object, containing CGI-style environment
variables. This object must be a builtin Python dictionary (not a subclass)."
"""

Headers: TypeAlias = list[tuple[str, str]]
"""
"The response_headers argument is a list of (header_name, header_value) tuples.  It
must be a Python list".
"""

ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
)
"""What ``sys.exc_info()`` returns."""

StartResponse: TypeAlias = Callable[..., Callable[[bytes], object]]
"""
"start_response(status, response_headers, exc_info=None)", which returns
"write(body_data)".
"""

WSGIApplication: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]
"""
"The application object is simply a callable object that accepts two arguments."
"When called by the server, the application object must return an iterable
yielding zero or more bytestrings."
"""
