"""
A proxy: another server's status, headers and body, as they come.

UPSTREAM=http://127.0.0.1:8000 wsgiflush examples/proxy.py

502 when that server cannot be asked, 504 when it takes more than $SECONDS to answer.
"""

import os
from string import punctuation
from types import SimpleNamespace
from urllib.parse import quote
from wsgiref.util import is_hop_by_hop

from twisted.internet.defer import TimeoutError
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH

from twisted_wsgiflush.bodies import blocks_of_body
from twisted_wsgiflush.coroutines import asynchronous

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8000")
SECONDS = float(os.environ.get("SECONDS", "30"))
BAD, LATE = "502 Bad Gateway", "504 Gateway Timeout"


def ask(environ, reactor):
    headers, body = Headers({}), None
    options = environ.get("HTTP_CONNECTION", "").upper().replace(" ", "").split(",")
    for key in environ:
        name = key.removeprefix("HTTP_").replace("_", "-")
        only_here = is_hop_by_hop(name) or name in ("HOST", *options)
        if key.startswith("HTTP_") and not only_here:  # RFC 9110, 7.6.1
            headers.addRawHeader(name, environ[key])
    if environ["CONTENT_LENGTH"]:
        headers.addRawHeader("Content-Type", environ["CONTENT_TYPE"])
        read = environ["wsgi.input"].read
        body = FileBodyProducer(SimpleNamespace(read=read, close=bool))
        body.length = int(environ["CONTENT_LENGTH"])
    uri = UPSTREAM + quote(environ["REQUEST_URI"], punctuation, "latin-1")
    method = environ["REQUEST_METHOD"].encode()
    asked = Agent(reactor).request(method, uri.encode(), headers, body)
    return asked.addTimeout(SECONDS, reactor, lambda *_: Failure(TimeoutError()))


@asynchronous
async def application(environ, start_response):
    try:
        response = await ask(environ, environ["twisted.reactor"])
    except (TimeoutError, ConnectError, DNSLookupError, ResponseFailed) as error:
        start_response(LATE if isinstance(error, TimeoutError) else BAD, [])
        return []
    headers = [
        (name.decode(), value.decode("latin-1"))
        for name, values in response.headers.getAllRawHeaders()
        for value in values
        if not is_hop_by_hop(name.decode())
    ]
    if response.length not in (0, UNKNOWN_LENGTH):
        headers.append(("Content-Length", str(response.length)))
    start_response(f"{response.code} {response.phrase.decode('latin-1')}", headers)
    return blocks_of_body(response)
