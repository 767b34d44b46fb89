"""
``WSGISite``: a WSGI application as a server of HTTP, without ``twisted.web``'s.

It knows its connections, looks at their deadlines, and who is responsible for which
path; and it tells when the last connection is gone.
"""

from __future__ import annotations

import resource
from contextvars import copy_context
from math import inf
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocolNegotiationFactory,
    ISSLTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.web.http import datetimeToLogString, datetimeToString
from twisted.web.resource import IResource
from zope.interface import implementer

from ._accesslog import AccessLog
from ._batch import MANY, Batch
from ._channel import Channel
from ._environ import CommonEnviron, remote_environ
from ._extensions import constants
from ._forwarded import TrustedProxies
from ._graceful import GracefulSite
from ._mounts import Mounts
from ._patience import TICK
from ._requesthead import HeadReader
from ._types import Environ, WSGIApplication
from .limits import Limits
from .resource import WSGIResource

__all__ = ["WSGISite"]

# Descriptors that are left to the application.
_SPARE = 100


@implementer(IProtocolNegotiationFactory)
class WSGISite(Factory):
    """
    A server factory that runs a WSGI application in the reactor's thread.

    The application is called as soon as a request is complete; each block that it
    gives is with the kernel before the next one is asked for.  An application that
    blocks keeps everybody else waiting.

    HTTP/1.1 is its own.  Where TLS has negotiated HTTP/2, Twisted speaks it, and
    :class:`~twisted_wsgiflush.WSGIResource` serves the requests.

    :param reactor: the one that serves the connections.
    :param application: as PEP 3333 says.
    :param mount: the path of the application; whatever is not at or below it is not
        found.
    :param debug: show tracebacks to clients.  Never in production.
    :param validation: let ``x-wsgiorg.flush`` answer ``304 Not Modified`` to clients
        whose copy is fresh.
    :param stream_input: call the application at the end of the header; its
        ``wsgi.input`` is a :class:`~twisted_wsgiflush._streamedinput.StreamedInput`.
    :param forwarded_allow_ips: the proxies whose X-Forwarded-* and Forwarded headers
        are believed, as ``--forwarded-allow-ips`` names them; None for none of them.
    :param access_log: a file's path, ``-`` for standard output, None for no log.
    :param limits: of what clients may send, and how long they may take; None for the
        defaults, without one of the body's size if it is streamed.
    :raises ValueError: for a bad ``forwarded_allow_ips`` or ``mount``.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        application: WSGIApplication,
        *,
        mount: str = "/",
        debug: bool = False,
        validation: bool = True,
        stream_input: bool = False,
        forwarded_allow_ips: str | None = None,
        access_log: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        if limits is None:
            # An upload that is streamed takes no room, whatever its size.
            limits = Limits(body_size=None) if stream_input else Limits()
        self.reactor = reactor
        self.application = application
        self.debug = debug
        self.validation = validation
        self.stream_input = stream_input
        self.limits = limits
        self.proxies = (
            None if forwarded_allow_ips is None else TrustedProxies(forwarded_allow_ips)
        )
        self.access_log = None if access_log is None else AccessLog(reactor, access_log)
        self.reader = HeadReader(limits)
        self.batch = Batch(reactor)
        self.has_many = False
        """Whether there are so many connections that a batch is worth its turn."""
        # Each request runs in a copy of it, see WSGIResource.
        self.context = copy_context()
        self.draining = False
        """Whether every response is to be its connection's last."""
        self.now = 0.0
        """The reactor's seconds when the deadlines were looked at."""
        self.date_and_server = b""
        self.end_of_head = b""
        self.log_time = ""
        self.idle_deadline = inf
        """For a connection that is idle from now on."""
        self.hurries = not (limits.response_timeout is limits.suspend_timeout is None)
        """Whether there is a limit to how long an application may take."""
        self.tree: Mounts | None = None
        """Who has which path, unless it is always the application."""
        self._resource = WSGIResource(
            reactor,
            application,
            debug=debug,
            validation=validation,
            forwarded_allow_ips=forwarded_allow_ips,
        )
        self._mounts = Mounts()
        self._mounts.mount(mount, self._resource)
        if mount.strip("/"):
            self.tree = self._mounts
        self._access_log_path = access_log
        self._stock_site: GracefulSite | None = None
        self._most_connections = _most_connections(limits)
        self._channels: set[Channel] = set()
        # Of those, the ones that there was no room for: they take none from others.
        self._refused: set[Channel] = set()
        self._common = CommonEnviron(constants(reactor))
        self._look_call: IDelayedCall | None = None
        self._drained: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None
        self._settled = False
        self._busy: Channel | None = None

    # --- who is responsible for what

    def putChild(self, path: bytes, child: IResource) -> None:
        """
        Let a resource of ``twisted.web`` have what is at and below a path.

        :param path: begins at the root of the site, without a slash; it may be of
            several segments, and is not percent-encoded.
        :raises TypeError: when it is not ``bytes``.
        :raises ValueError: when it is another's already.
        """
        if not isinstance(path, bytes):
            raise TypeError(f"path must be bytes, not {path!r} ({type(path).__name__})")
        self._mounts.mount("/" + path.decode(), child)
        self.tree = self._mounts

    def is_for_application(self, path: str, environ: Environ) -> bool:
        """
        Whether the application has a path; if so, environ tells where it is mounted.

        :param path: percent-encoded.
        """
        if path == "*":
            return True
        segments = [unquote_to_bytes(segment) for segment in path[1:].split("/")]
        found, length = self._mounts.find(tuple(segments))
        if found is not self._resource:
            return False
        environ["SCRIPT_NAME"] = _path(segments[:length])
        environ["PATH_INFO"] = _path(segments[length:])
        return True

    def stock_site(self) -> GracefulSite:
        """Twisted's own, for the neighbours of the application and for HTTP/2."""
        if self._stock_site is None:
            self._stock_site = GracefulSite(
                self.reactor, self._mounts, self._access_log_path
            )
            self._stock_site.startFactory()
            if self.draining:
                self._stock_site.drain()
        return self._stock_site

    def http2(self) -> Protocol:
        """What speaks HTTP/2 on a connection, once that was negotiated."""
        protocol: Protocol = self.stock_site().buildProtocol(None)
        return protocol

    def acceptableProtocols(self) -> list[bytes]:
        """What to negotiate by ALPN (``IProtocolNegotiationFactory``)."""
        protocols: list[bytes] = self.stock_site().acceptableProtocols()
        return protocols

    # --- the connections

    def startFactory(self) -> None:
        """It is listened to."""
        if self.access_log is not None:
            self.access_log.open()

    def stopFactory(self) -> None:
        """It is not listened to any more."""
        if not self._channels:
            self._close_logs()

    def buildProtocol(self, addr: IAddress | None) -> Channel:
        """A client connects."""
        if self._look_call is None:
            self._look()
        return Channel(self)

    def connected(self, channel: Channel) -> bool:
        """A client has connected; whether there is room for it."""
        self._channels.add(channel)
        self.has_many = len(self._channels) >= MANY
        self._settled = False
        if self._look_call is None:  # The last of the others has left meanwhile.
            self._look()
        if len(self._channels) - len(self._refused) <= self._most_connections:
            return True
        self._refused.add(channel)
        return False

    def disconnected(self, channel: Channel) -> None:
        """A connection is gone."""
        self._channels.discard(channel)
        self.has_many = len(self._channels) >= MANY
        self._refused.discard(channel)
        if not self._channels:
            assert self._look_call is not None  # There was a connection.
            self._look_call.cancel()
            self._look_call = None
            if not self.numPorts:
                self._close_logs()
            self._tell_if_drained()
        else:
            self.settle()

    def addresses(self, transport: Any) -> tuple[Environ, tuple[str, str], Any]:
        """
        What the addresses of a connection say.

        :returns: what is in all environs, REMOTE_ADDR and REMOTE_PORT, the client's.
        """
        local, remote = transport.getHost(), transport.getPeer()
        common = self._common.at(local, secure=ISSLTransport.providedBy(transport))
        return common, remote_environ(remote), remote

    # --- the end

    def drain(self, timeout: float) -> Deferred[None]:
        """
        Let every response be its connection's last.

        :param timeout: seconds; what has not ended by then is ended.
        :returns: fires when no connection is left.
        """
        self.draining = True
        drained: Deferred[None] = Deferred()
        self._drained = drained
        self._deadline = self.reactor.callLater(timeout, self._times_up)
        if self._stock_site is not None:
            self._stock_site.drain().addCallback(lambda _: self._close_handed_over())
        for channel in list(self._channels):
            channel.drain()
        self.settle()
        self._tell_if_drained()
        return drained

    def settle(self) -> None:
        """
        One connection has less to do: while the site drains, close those that wait for
        a request as soon as none is in flight.  Until then they may have one, maybe on
        its way already.
        """
        if not self.draining or self._settled:
            return
        # Ten thousand connections end one after the other: each should not look at
        # all the others.
        if self._busy is None or not self._busy.busy:
            self._busy = next((c for c in self._channels if c.busy), None)
        if self._busy is None:
            self._settled = True
            for channel in list(self._channels):
                channel.close_idle()

    def abort(self) -> None:
        """End every connection now; applications see their clients go away."""
        for channel in list(self._channels):
            channel.abort()

    def _times_up(self) -> None:
        self._deadline = None
        self.abort()

    def _close_handed_over(self) -> None:
        for channel in list(self._channels):
            channel.close_handed_over()

    def _tell_if_drained(self) -> None:
        if self._drained is None or self._drained.called or self._channels:
            return
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._close_logs()
        self._drained.callback(None)

    def _close_logs(self) -> None:
        if self.access_log is not None:
            self.access_log.close()
        if self._stock_site is not None:
            stock_site, self._stock_site = self._stock_site, None
            stock_site.stopFactory()

    def _look(self) -> None:
        """Look at the clock and at the deadlines."""
        self._look_call = self.reactor.callLater(TICK, self._look)
        self.now = now = self.reactor.seconds()
        self.date_and_server = (
            b"Date: %b\r\nServer: twisted-wsgiflush\r\n" % datetimeToString()
        )
        self.end_of_head = self.date_and_server + b"\r\n"
        self.log_time = datetimeToLogString()
        if self.limits.keep_alive_timeout is not None:
            self.idle_deadline = now + self.limits.keep_alive_timeout + TICK
        due = [c for c in self._channels if c.patience.deadline <= now]
        for channel in due:
            # One may be lost by what is done about another.
            if channel in self._channels:
                channel.patience.look(now)


def _most_connections(limits: Limits) -> float:
    if limits.max_connections is not None:
        return limits.max_connections
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(descriptors - _SPARE, descriptors // 2)


def _path(segments: list[bytes]) -> str:
    return "/" + b"/".join(segments).decode("latin-1") if segments else ""
