"""
A connection to another server that can be dropped at any moment, for proxy.py.

An agent sends a body to its end also when the server has answered already, which may
take for ever; and wsgi.input may not be read when the response is over.
"""

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer


@implementer(IAgentEndpointFactory)
class Connection:
    protocol = None

    def __init__(self, reactor, body):
        self.reactor, self.body = reactor, body

    def endpointForURI(self, uri):
        self.endpoint = HostnameEndpoint(self.reactor, uri.host.decode(), uri.port)
        if uri.scheme == b"https":
            policy = BrowserLikePolicyForHTTPS()
            options = policy.creatorForNetloc(uri.host, uri.port)
            self.endpoint = wrapClientTLS(options, self.endpoint)
        return self

    def connect(self, factory):
        return self.endpoint.connect(factory).addCallback(self.connected)

    def connected(self, protocol):
        self.protocol = protocol
        return protocol

    def drop(self):
        # The transport of TLS cannot be aborted when it is lost.
        if self.protocol is not None and self.protocol.transport.connected:
            if self.body is not None:
                self.body.stopProducing()
            self.protocol.transport.abortConnection()
