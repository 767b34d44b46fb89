"""
``WSGISite``: a WSGI application as a server of HTTP/1.1, without ``twisted.web``'s.

It knows its connections, looks at their deadlines, and tells when the last is gone.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, ISSLTransport
from twisted.internet.protocol import Factory
from twisted.web.http import datetimeToString

from ._channel import Channel
from ._environ import connection_environ, remote_environ
from ._patience import TICK
from ._requesthead import HeadReader
from ._types import Environ, WSGIApplication
from .limits import Limits

__all__ = ["WSGISite"]


class WSGISite(Factory):
    """
    Serves a WSGI application over HTTP, fast and strictly.

    :param reactor: the one that serves the connections.
    :param application: as PEP 3333 says.
    :param debug: show tracebacks to clients.  Never in production.
    :param validation: let ``x-wsgiorg.flush`` answer ``304 Not Modified`` to clients
        whose copy is fresh.
    :param limits: of what clients may send, and how long they may take.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        application: WSGIApplication,
        *,
        debug: bool = False,
        validation: bool = True,
        limits: Limits = Limits(),
    ) -> None:
        self.reactor = reactor
        self.application = application
        self.debug = debug
        self.validation = validation
        self.limits = limits
        self.reader = HeadReader(limits)
        # See WSGIResource.
        self.context = copy_context()
        self.draining = False
        self.now = 0.0
        """The reactor's seconds at the last look at the deadlines."""
        self.date_and_server = b""
        self._channels: set[Channel] = set()
        self._common: dict[Any, Environ] = {}
        self._look_call: IDelayedCall | None = None

    def buildProtocol(self, addr: IAddress | None) -> Channel:
        """A connection is made."""
        if self._look_call is None:
            self._look()
        return Channel(self)

    @property
    def overcrowded(self) -> bool:
        return False

    def connected(
        self, channel: Channel, transport: Any
    ) -> tuple[Environ, tuple[str, str]]:
        self._channels.add(channel)
        local, secure = transport.getHost(), ISSLTransport.providedBy(transport)
        key = (local, secure)
        common = self._common.get(key)
        if common is None:
            common = self._common[key] = connection_environ(local, secure=secure)
        return common, remote_environ(transport.getPeer())

    def disconnected(self, channel: Channel) -> None:
        self._channels.discard(channel)

    def _look(self) -> None:
        self._look_call = None
        self.now = now = self.reactor.seconds()
        self.date_and_server = (
            b"Date: " + datetimeToString() + b"\r\nServer: twisted-wsgiflush\r\n"
        )
        for channel in list(self._channels):
            if channel.patience.deadline <= now:
                channel.patience.look(now)
        self._look_call = self.reactor.callLater(TICK, self._look)
