"""
Asking a site of this process without a socket.

An application composes its response from others', with their status, headers and
streamed bodies; what the 2007 thread wanted from nginx's subrequests.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface import implementer

from . import _begun
from ._begun import begun
from ._memory import CLIENT, connect
from .errors import TooDeep, TooManyOpen

_begun.in_use = True

# The subrequests, one in the other, in the last of which somebody asks; those of them
# that are closed do not count.  A reactor of asyncio calls its timers in the context of
# any subrequest, also of one that is long over.
_within: ContextVar[tuple[_Connection, ...]] = ContextVar("_within", default=())


@implementer(IAgent)
class SubrequestAgent:
    """
    Asks a site in this process, as :class:`twisted.web.client.Agent` asks others.

    The site sees requests of HTTP/1.1; which of its names the URI has is the site's
    business.  Flow control holds from the reader of a body to the application that
    gives it.  When the Deferred is cancelled, or the body's connection closed, the
    application asked sees its client leave; and so it does when the request is over
    in which it was asked.

    :param site: a server factory, such as ``Site``; or a resource, which gets one.
    :param max_depth: how deep subrequests may be nested.
    :param max_open: how many subrequests may be open at a time.  That is a bound also
        for an application that asks itself in the callback of a timer, a thread or
        a database, where nobody knows for which request it asks.
    :param reactor: delivers what is sent; None for that of the site, which is the
        global one for a ``Site`` that was given none.
    :raises TypeError: when ``site`` is neither, or has no reactor and none is given;
        for a bound that is no ``int``.
    :raises ValueError: for a bound that is not positive.
    """

    def __init__(
        self,
        site: IProtocolFactory | IResource,
        *,
        max_depth: int = 10,
        max_open: int = 1000,
        reactor: IReactorTime | None = None,
    ) -> None:
        self._site = _site_of(site, reactor)
        self._reactor = self._site.reactor if reactor is None else reactor
        self._max_depth = _positive("max_depth", max_depth)
        self._max_open = _positive("max_open", max_open)
        self._open: set[_Connection] = set()

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        Ask for a resource (``IAgent``).

        :returns: fires with the response once its head is there; fails with
            :class:`~twisted_wsgiflush.errors.TooDeep` when subrequests are nested
            deeper than allowed, :class:`~twisted_wsgiflush.errors.TooManyOpen` when
            as many as allowed are open, ``SchemeNotSupported`` when the URI does not
            begin with http or https.
        """
        within = tuple(connection for connection in _within.get() if connection.is_open)
        if len(within) >= self._max_depth:
            return fail(
                TooDeep(
                    f"{method.decode('latin-1')} {uri.decode('latin-1')} would be "
                    f"subrequest in subrequest {len(within) + 1} times, "
                    f"of {self._max_depth}"
                )
            )
        if len(self._open) >= self._max_open:
            return fail(
                TooManyOpen(
                    f"{method.decode('latin-1')} {uri.decode('latin-1')} would be "
                    f"open beside {len(self._open)} others, of {self._max_open}"
                )
            )
        # The application that is asked runs in the context of the one that asks.
        context = copy_context()
        reactor = self._reactor
        connection = _Connection(self._site, reactor, context, self._open)
        context.run(_within.set, (*within, connection))
        agent = Agent.usingEndpointFactory(
            reactor, connection, HTTPConnectionPool(reactor, persistent=False)
        )
        answer: Deferred[IResponse] = agent.request(method, uri, headers, bodyProducer)
        return answer


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Connection:
    """
    The way to a site, for one request.

    :param opened: it is in there from when it is connected to when it is closed.
    """

    def __init__(
        self, site: Any, reactor: Any, context: Context, opened: set[_Connection]
    ) -> None:
        self._site = site
        self._reactor = reactor
        self._context = context
        self._opened = opened

    @property
    def is_open(self) -> bool:
        """Whether the site may still be asked on it."""
        return self in self._opened

    def endpointForURI(self, uri: URI) -> _Connection:
        """
        The endpoint (``IAgentEndpointFactory``).

        :raises SchemeNotSupported: which the agent makes the request's failure.
        """
        if uri.scheme not in (b"http", b"https") or not uri.host:
            raise SchemeNotSupported(
                f"not http or https and a host: {uri.toBytes().decode('latin-1')}"
            )
        self._secure = uri.scheme == b"https"
        # Where a site on the network would be; its resources say so in their URLs.
        self._address = IPv4Address("TCP", "127.0.0.1", uri.port)
        return self

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect a client to the site (``IStreamClientEndpoint``)."""
        server = self._site.buildProtocol(CLIENT)
        if server is None:
            return fail(ConnectionRefusedError("the site takes no connection now"))
        client: Any = factory.buildProtocol(self._address)
        abort, closed = connect(
            self._reactor,
            client,
            server,
            self._context,
            secure=self._secure,
            address=self._address,
        )
        self._opened.add(self)
        closed.addCallback(lambda _: self._opened.discard(self))
        _abort_in_the_end(abort, closed)
        return succeed(client)


def _abort_in_the_end(abort: Callable[[], None], closed: Deferred[None]) -> None:
    connections = begun.get(None)
    if connections is not None:
        connections.append(abort)
        closed.addCallback(lambda _: connections.remove(abort))


def _site_of(site: Any, reactor: IReactorTime | None) -> Any:
    if not IProtocolFactory.providedBy(site):
        if not IResource.providedBy(site):
            raise TypeError(
                f"site must be a server factory or a resource, not {site!r} "
                f"({type(site).__name__}); a WSGI application is in a WSGIResource"
            )
        # The site parses forms, as resources of twisted.web expect.
        return Site(site, reactor=reactor)
    if reactor is None and not hasattr(site, "reactor"):
        raise TypeError(f"{site!r} has no reactor; pass one")
    return site


def _positive(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be positive, not {value!r}")
    return value
