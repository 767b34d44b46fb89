"""
What a request has begun beside its response, such as subrequests: it is cancelled
when the response is over, however it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

# Whether anything can be begun: to tell each request of it takes a while.
in_use = False

# Of the request in whose context the code is that asks; each callable cancels one.
begun: ContextVar[list[Callable[[], object]]] = ContextVar("begun")
