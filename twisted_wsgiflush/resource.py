"""
A WSGI application as a ``twisted.web`` resource, for any place in any tree.

It decides which requests are the application's and what the rest of them gets.
"""

from __future__ import annotations

from contextvars import copy_context

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import RESPONSES
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from ._batch import Batch
from ._environ import CommonEnviron, environ_of
from ._errorlog import ErrorLog
from ._extensions import Extensions, constants
from ._forwarded import TrustedProxies
from ._http2sink import HTTP2Sink
from ._pump import Pump
from ._requestsink import RequestSink, TLSSink
from ._response import Response
from ._rules import Refused
from ._stock import (
    checked_fields,
    close_afterwards,
    heed_connection_close,
    segments,
    to_origin_form,
)
from ._types import WSGIApplication
from ._validation import conditions_of


@implementer(IResource)
class WSGIResource:
    """
    Runs a WSGI application in the reactor's thread.

    The application gets every request at and below the place of this resource, but
    for the children that :meth:`putChild` adds.  It is called as soon as a request
    is complete; its iterable is asked for a block when the one before has gone to
    the operating system and the client takes more.  An application that blocks
    keeps everybody else waiting.

    Give the ``Site`` around it ``parsePOSTFormSubmission=False``: with its default
    it parses forms and uploads into memory before any application sees them.

    :param reactor: the one that serves the requests.
    :param application: as PEP 3333 says.
    :param debug: show tracebacks to clients.  Never in production.
    :param validation: let ``x-wsgiorg.flush`` answer ``304 Not Modified`` to clients
        whose copy is fresh.
    :param forwarded_allow_ips: the proxies whose X-Forwarded-* and Forwarded headers
        are believed, as ``--forwarded-allow-ips`` names them; None for none of them.
    :raises ValueError: when that names something else.
    """

    isLeaf = True

    def __init__(
        self,
        reactor: IReactorTime,
        application: WSGIApplication,
        *,
        debug: bool = False,
        validation: bool = True,
        forwarded_allow_ips: str | None = None,
    ) -> None:
        self.reactor = reactor
        self.application = application
        self.debug = debug
        self._validation = validation
        self._proxies: TrustedProxies | None = None
        if forwarded_allow_ips is not None:
            self._proxies = TrustedProxies(forwarded_allow_ips)
        self._common = CommonEnviron(constants(reactor))
        self.batch = Batch(reactor)
        """See :class:`twisted_wsgiflush._pump.Container`."""
        self._children: dict[bytes, IResource] = {}
        # Each request runs in a copy of the context of this moment.  That of the
        # request's moment may be another application's: on an asyncio reactor, a
        # timed call runs in the context that it was made in.
        self._context = copy_context()

    def putChild(self, path: bytes, child: IResource) -> None:
        """
        Let another resource have what is below ``path``, in place of the application.

        :param path: one segment of a path, not percent-encoded.
        :raises TypeError: when it is not ``bytes``.
        :raises ValueError: when it is more than one segment.
        """
        if not isinstance(path, bytes):
            raise TypeError(f"path must be bytes, not {path!r} ({type(path).__name__})")
        if b"/" in path:
            raise ValueError(f"path must be one segment, without a slash, not {path!r}")
        self._children[path] = child
        # Twisted goes on from a leaf no further, and asks no other for its children.
        self.isLeaf = False

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """Find who is responsible: a child, or the application for all other paths."""
        prepath, postpath = segments(request)
        if len(prepath) == 1:
            to_origin_form(request)
            if not prepath:
                prepath.append(postpath.pop(0))
        child = self._children.get(prepath[-1])
        if child is not None:
            return child
        # The segment belongs to PATH_INFO, not to SCRIPT_NAME.
        postpath.insert(0, prepath.pop())
        return _Leaf(self)

    def render(self, request: Request) -> int:
        """
        Call the application for a request.

        :returns: always ``NOT_DONE_YET``; the response may be complete by then.
        """
        self.batch.look()
        if not request.prepath:
            to_origin_form(request)
        sink, secure = _sink(request, self.reactor, self.batch)
        try:
            fields = checked_fields(request)
            environ = environ_of(request, fields, self._common, secure=secure)
            if self._proxies is not None:
                self._proxies.apply(environ, request.getClientAddress())
        except Refused as refused:
            _refuse(request, refused)
            return NOT_DONE_YET
        if b"Connection" in fields:
            heed_connection_close(request, fields[b"Connection"])
        name = f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']}"
        environ["wsgi.errors"] = ErrorLog(name)
        response = Response(sink, name)
        extensions = Extensions(
            self.reactor,
            response,
            environ,
            # Middleware may change environ.
            conditions_of(environ) if self._validation else None,
        )
        pump = Pump(
            self,
            # A subrequest brings the context of who asks, see MemoryTransport.
            getattr(request.transport, "wsgi_context", self._context).copy(),
            response,
            sink,
            environ,
            extensions,
        )
        sink.watch(pump)
        pump.start()
        return NOT_DONE_YET


@implementer(IResource)
class _Leaf:
    """A ``WSGIResource`` with children, for a path that is none of them."""

    isLeaf = True

    def __init__(self, resource: WSGIResource) -> None:
        self.render = resource.render
        self.getChildWithDefault = resource.getChildWithDefault
        self.putChild = resource.putChild


def _sink(
    request: Request, reactor: IReactorTime, batch: Batch
) -> tuple[RequestSink, bool]:
    """
    The sink that knows the kind of connection a request came by, and whether that is
    TLS.
    """
    if request.clientproto == b"HTTP/2":
        return HTTP2Sink(request, reactor, batch), request.isSecure()
    sink = RequestSink(request, reactor, batch)
    if sink.exact:
        # Nothing is between; Request.isSecure would ask for an adapter to TLS.
        return sink, bool(request._forceSSL)
    if request.isSecure():
        return TLSSink(request, reactor, batch), True
    return sink, False


def _refuse(request: Request, refused: Refused) -> None:
    body = f"{refused.code} {RESPONSES[refused.code].decode()}\n\n{refused.why}\n"
    request.setResponseCode(refused.code)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    request.setHeader(b"content-length", b"%d" % len(body))
    close_afterwards(request)
    request.write(body.encode())
    request.finish()
