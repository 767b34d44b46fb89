"""
The two doors to an application: ``WSGISite``, and ``WSGIResource`` under the stock
``Site``.  The tests of a module that uses the fixture ``door`` run through both.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import pytest
from twisted.internet.interfaces import IDelayedCall

from twisted_wsgiflush import testing
from twisted_wsgiflush._types import WSGIApplication
from twisted_wsgiflush.testing import GET, Served

Door: TypeAlias = Literal["fast", "twisted"]
DOORS: list[Door] = ["fast", "twisted"]

FAST = pytest.mark.parametrize("door", ["fast"], indirect=True)
"""For a test of what only the fast door does."""
STOCK = pytest.mark.parametrize("door", ["twisted"], indirect=True)
"""For a test of what only the stock one does."""


class Current:
    """The door of the test that runs."""

    door: Door = "twisted"
    looks: list[IDelayedCall]
    """What is scheduled for a client that has asked for nothing yet."""


def serve(application: WSGIApplication, request: bytes = GET, **options: Any) -> Served:
    """As :func:`twisted_wsgiflush.testing.serve`, through the door of the test."""
    served = testing.serve(application, b"", site=Current.door, **options)
    Current.looks = [*served.clock.getDelayedCalls()]
    if request:
        served.send(request)
    return served


def serve_in_a_turn(
    application: WSGIApplication, request: bytes = GET, **options: Any
) -> Served:
    """
    As :func:`serve`, but the first block is asked for in the first turn.

    The fast door asks for it as soon as it has read the request, which it does in a
    turn as a reactor would; the stock one puts it off until the next turn.
    """
    if Current.door == "twisted":
        return serve(application, request, **options)
    served = serve(application, b"", **options)
    served.clock.callLater(0, served.send, request)
    return served


def scheduled(served: Served) -> list[IDelayedCall]:
    """
    What is scheduled for a response, as long as no time has passed.

    The fast door always looks at its deadlines later.
    """
    calls = served.clock.getDelayedCalls()
    return [call for call in calls if call not in Current.looks]
