"""
A page that is composed of others of this process, which are asked in parallel.

wsgiflush examples/compose.py

Each part takes a second, and so does the page: treq, which must be installed, asks them
without a socket.
"""

from functools import cache
from time import ctime

from treq.client import HTTPClient
from twisted.internet.defer import gatherResults
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from twisted_wsgiflush import WSGIResource
from twisted_wsgiflush.bodies import blocks_of_body
from twisted_wsgiflush.coroutines import asynchronous
from twisted_wsgiflush.subrequest import SubrequestAgent

PARTS = ["about", "first", "second"]
HTML = [("Content-Type", "text/html; charset=utf-8")]


def clock(environ, start_response):
    environ["x-wsgiorg.suspend"](1000)
    yield b""
    start_response("200 OK", HTML)
    yield f"<h2>{environ['SCRIPT_NAME'][1:]}</h2><p>It is {ctime()}.</p>\n".encode()


@cache
def client_of(reactor):
    root = Resource()
    root.putChild(b"about", Data(b"<h1>A page of three parts</h1>\n", "text/html"))
    root.putChild(b"first", WSGIResource(reactor, clock))
    root.putChild(b"second", WSGIResource(reactor, clock))
    return HTTPClient(SubrequestAgent(Site(root, reactor=reactor)))


@asynchronous
async def application(environ, start_response):
    get = client_of(environ["twisted.reactor"]).get
    asked = [get(f"http://here/{part}", unbuffered=True) for part in PARTS]
    responses = await gatherResults(asked, consumeErrors=True)
    failed = [response.code for response in responses if response.code != 200]
    start_response("502 Bad Gateway" if failed else "200 OK", HTML)
    return page(responses)


async def page(responses):
    for response in responses:
        async for block in blocks_of_body(response):
            yield block
