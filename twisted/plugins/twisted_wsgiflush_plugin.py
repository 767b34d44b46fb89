"""Tells ``twist`` and ``twistd`` of the ``wsgiflush`` command."""

from twisted.application.service import ServiceMaker

wsgiflush = ServiceMaker(
    "wsgiflush",
    "twisted_wsgiflush.service",
    "Serve a WSGI application on the reactor, without threads",
    "wsgiflush",
)
