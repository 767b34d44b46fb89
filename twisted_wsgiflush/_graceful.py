"""
A stock ``Site`` that can be emptied: what is in flight ends, nothing else begins.

It knows the connections and the requests on them; when to empty the site is decided
in ``service``.
"""

from __future__ import annotations

import os
from typing import Any, TextIO

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocolNegotiationFactory,
    IReactorTime,
)
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import implementer

from ._http2sink import REFUSED_STREAM, reset
from ._stock import close_afterwards

CANNOT_LOG = "Cannot write the access log: {error}"


class GracefulRequest(Request):
    """A request that its site knows of, from the first line to the last byte."""

    def __init__(self, channel: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(channel, *args, **kwargs)
        self._site: GracefulSite = channel.site
        self._late = self._site.draining
        self._site.begun(self)
        self.notifyFinish().addBoth(lambda _: self._ended(channel))

    def process(self) -> None:
        """The request is complete."""
        if self._site.draining:
            if self.clientproto == b"HTTP/2" and self._late:
                # A connection of HTTP/2 cannot be told that this was its last one.
                reset(self, REFUSED_STREAM)
                return
            close_afterwards(self)
        super().process()

    def _ended(self, channel: Any) -> None:
        # A stream of HTTP/2 has yet to send that it ends, maybe after others.
        connection = getattr(channel, "_conn", None)
        sent: Deferred[int] | None = connection and (
            connection._streamCleanupCallbacks.get(channel.streamID)
        )
        if sent is None:
            self._site.ended(self)
        else:
            sent.addCallback(lambda _: self._site.ended(self))


class GracefulSite(Site):
    """
    A site that tells when no request is in flight.

    :param access_log: a file's path, ``-`` for standard output, None for no log.
    """

    _log = Logger()

    requestFactory = GracefulRequest
    noisy = False

    def __init__(
        self, reactor: IReactorTime, resource: IResource, access_log: str | None
    ) -> None:
        super().__init__(
            resource,
            logPath=access_log,
            reactor=reactor,
            # Or a 256 MiB upload costs 2.3 GiB and stalls everyone for seconds.
            parsePOSTFormSubmission=False,
        )
        self._access_log = access_log
        self._in_flight: set[GracefulRequest] = set()
        self._idle: Deferred[None] | None = None

    @property
    def draining(self) -> bool:
        """Whether every response is to be its connection's last."""
        return self._idle is not None

    def drain(self) -> Deferred[None]:
        """
        Let every response be its connection's last.

        :returns: fires when no request is in flight; at once, if there is none.
        """
        idle: Deferred[None] = Deferred()
        self._idle = idle
        for request in self._in_flight:
            # One of HTTP/2 may be finished, and its end not sent yet.
            if not request.finished:
                close_afterwards(request)
        self._tell_if_idle()
        return idle

    def begun(self, request: GracefulRequest) -> None:
        """A request has begun to arrive."""
        self._in_flight.add(request)

    def ended(self, request: GracefulRequest) -> None:
        """A request's response is complete, or its connection lost."""
        self._in_flight.discard(request)
        self._tell_if_idle()

    def log(self, request: HTTPRequest) -> None:
        """Write a line to the access log, if there is one."""
        if self._access_log is None:
            return
        try:
            super().log(request)
        except OSError as error:
            # Such as a full disk; the response is none the worse for it.
            self._log.error(CANNOT_LOG, error=error)

    def stopFactory(self) -> None:
        """Close the access log."""
        try:
            super().stopFactory()
        except OSError as error:  # It is closed, though not all is in it.
            self._log.error(CANNOT_LOG, error=error)
            super().stopFactory()

    def _openLogFile(self, path: str | bytes) -> TextIO:
        if self._access_log == "-":
            return os.fdopen(os.dup(1), "w", buffering=1)
        return open(path, "a", buffering=1)

    def _tell_if_idle(self) -> None:
        if self._idle is not None and not self._idle.called and not self._in_flight:
            self._idle.callback(None)


@implementer(IProtocolNegotiationFactory)
class Connections(WrappingFactory):
    """
    The connections to a site, of which it knows when the last is gone.

    :param site: speaks on them.
    """

    noisy = False

    def __init__(self, reactor: IReactorTime, site: GracefulSite) -> None:
        super().__init__(site)
        self._reactor = reactor
        self._site = site
        self._drained: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None

    def acceptableProtocols(self) -> list[bytes]:
        """What to negotiate by ALPN (``IProtocolNegotiationFactory``)."""
        protocols: list[bytes] = self._site.acceptableProtocols()
        return protocols

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        """A connection is gone."""
        super().unregisterProtocol(p)
        self._tell_if_drained()

    def drain(self, timeout: float) -> Deferred[None]:
        """
        Wait until what is in flight has ended and every byte of it is sent.

        :param timeout: seconds; what has not ended by then is ended.
        :returns: fires when no connection is left.
        """
        drained: Deferred[None] = Deferred()
        self._drained = drained
        self._deadline = self._reactor.callLater(timeout, self._times_up)
        self._site.drain().addCallback(lambda _: self._close())
        self._tell_if_drained()
        return drained

    def abort(self) -> None:
        """End every connection now; applications see their clients go away."""
        for connection in list(self.protocols):
            connection.abortConnection()

    def _close(self) -> None:
        for connection in list(self.protocols):
            if not connection.disconnecting:
                # TLS does not close while it has a producer; the channel is one.
                connection.unregisterProducer()
                connection.loseConnection()

    def _times_up(self) -> None:
        self._deadline = None
        self.abort()

    def _tell_if_drained(self) -> None:
        if (
            self._drained is not None
            and not self._drained.called
            and not self.protocols
        ):
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
            self._drained.callback(None)
