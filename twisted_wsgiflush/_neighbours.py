"""
Resources of ``twisted.web`` beside the application, on a channel of ``WSGISite``.

Twisted's own channel gets the bytes of one request, which ours has looked at, and
gives the connection back with the end of the response.
"""

from __future__ import annotations

from typing import Any

from twisted.web.http import HTTPChannel
from twisted.web.server import Site

from ._graceful import GracefulRequest


class NeighbourChannel(HTTPChannel):
    """
    Twisted's channel, for one request.

    :param owner: is told when the response is complete.
    :param site: finds the resource.
    :param persistent: whether the connection goes on afterwards.
    """

    requestFactory = GracefulRequest
    # What is too large was refused before.
    totalHeadersSize = maxHeaders = MAX_LENGTH = 2**31

    def __init__(self, owner: Any, site: Site, *, persistent: bool) -> None:
        super().__init__()
        self.site = self.factory = site
        self._owner = owner
        self._goes_on = persistent

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """Whether the connection goes on; Twisted looks at one header only."""
        return self._goes_on

    def requestDone(self, request: Any) -> None:
        """The response is complete."""
        self.requests.remove(request)
        transport: Any = self.transport
        transport.unregisterProducer()
        self._owner.neighbour_done(persistent=bool(self.persistent))
