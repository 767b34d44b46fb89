"""
Asking a site of this process without a socket.

An application composes its response from others', with their status, headers and
streamed bodies; what the 2007 thread wanted from nginx's subrequests.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from twisted.web.resource import IResource
from twisted.web.server import Site
from zope.interface import implementer

from ._memory import connect
from .coroutines import on_cancel
from .errors import TooDeep

# How deep the subrequest is nested whose application runs now.
_depth: ContextVar[int] = ContextVar("_depth", default=0)


@implementer(IAgent)
class SubrequestAgent:
    """
    Asks a site in this process, as :class:`twisted.web.client.Agent` asks others.

    The site sees requests of HTTP/1.1; which of its names the URI has is the site's
    business.  Flow control holds from the reader of a body to the application that
    gives it.  When the Deferred is cancelled, or the body's connection closed, the
    application asked sees its client leave; and so it does when the coroutine that
    asks is cancelled (see :func:`~twisted_wsgiflush.coroutines.asynchronous`).

    :param site: a server factory, such as ``Site``; or a resource.
    :param max_depth: how deep subrequests may be nested.
    """

    def __init__(
        self, site: IProtocolFactory | IResource, *, max_depth: int = 10
    ) -> None:
        if IResource.providedBy(site) and not IProtocolFactory.providedBy(site):
            site = Site(site, parsePOSTFormSubmission=False)
        self._site: Any = site  # A factory with a reactor, as those of twisted.web.
        self._max_depth = max_depth

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        Ask for a resource (``IAgent``).

        :returns: fires with the response once its head is there; with
            :class:`~twisted_wsgiflush.errors.TooDeep` when subrequests are nested
            deeper than allowed.
        """
        depth = _depth.get() + 1
        if depth > self._max_depth:
            return fail(
                TooDeep(
                    f"{method.decode('latin-1')} {uri.decode('latin-1')} would be "
                    f"subrequest in subrequest {depth} times, of {self._max_depth}"
                )
            )
        # The application that is asked runs in the context of the one that asks.
        context = copy_context()
        context.run(_depth.set, depth)
        connection = _Connection(self._site, context)
        reactor = self._site.reactor
        agent = Agent.usingEndpointFactory(
            reactor, connection, HTTPConnectionPool(reactor, persistent=False)
        )
        answer: Deferred[IResponse] = agent.request(method, uri, headers, bodyProducer)
        return answer


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Connection:
    """The way to a site, for one request."""

    def __init__(self, site: Any, context: Context) -> None:
        self._site = site
        self._context = context
        self._secure = False

    def endpointForURI(self, uri: URI) -> _Connection:
        """The endpoint (``IAgentEndpointFactory``)."""
        self._secure = uri.scheme == b"https"
        return self

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect a client to the site (``IStreamClientEndpoint``)."""
        client: Any = factory.buildProtocol(UNIXAddress(None))
        server = self._site.buildProtocol(None)
        abort, closed = connect(
            self._site.reactor, client, server, self._context, secure=self._secure
        )
        _abort_when_cancelled(abort, closed)
        return succeed(client)


def _abort_when_cancelled(abort: Callable[[], None], closed: Deferred[None]) -> None:
    cancellations = on_cancel.get(None)
    if cancellations is not None:
        cancellations.append(abort)
        closed.addCallback(lambda _: cancellations.remove(abort))
