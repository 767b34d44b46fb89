"""
A proxy: another server's status, headers and body, as they come.

UPSTREAM=http://127.0.0.1:8000 wsgiflush examples/proxy.py

502 when that server cannot be asked, 504 when it takes more than $SECONDS to answer.
"""

import os
import re
from string import punctuation
from types import SimpleNamespace
from urllib.parse import quote
from wsgiref.util import is_hop_by_hop

from proxyconnection import Connection
from twisted.internet.defer import TimeoutError
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    FileBodyProducer,
    RequestTransmissionFailed,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH

from twisted_wsgiflush.bodies import blocks_of_body
from twisted_wsgiflush.coroutines import asynchronous
from twisted_wsgiflush.errors import InvalidHeaders, InvalidStatus

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8000")
SECONDS = float(os.environ.get("SECONDS", "30"))
NOT_ASKED = ConnectError, DNSLookupError, RequestTransmissionFailed, ResponseFailed
NOT_HTTP = InvalidHeaders, InvalidStatus


def only_here(name):
    """Whether a field is for one connection only (RFC 9110, 7.6.1)."""
    return is_hop_by_hop(name) or name.lower() in ("proxy-connection", "trailer")


def body_of(environ):
    if not environ["CONTENT_LENGTH"]:
        return None
    read = environ["wsgi.input"].read
    body = FileBodyProducer(SimpleNamespace(read=read, close=bool))
    body.length = int(environ["CONTENT_LENGTH"])
    return body


def ask(environ, connection):
    headers = Headers()
    options = re.split(r"[\s,]+", environ.get("HTTP_CONNECTION", "").lower())
    for key in environ:
        name = key.removeprefix("HTTP_").replace("_", "-").lower()
        dropped = only_here(name) or name in ("host", *options)
        if key.startswith("HTTP_") and not dropped:
            headers.addRawHeader(name.encode(), environ[key].encode("latin-1"))
    if environ["CONTENT_TYPE"]:
        headers.addRawHeader(b"Content-Type", environ["CONTENT_TYPE"].encode("latin-1"))
    # Of a target in absolute form, only the path and the query (RFC 9112, 3.2.2).
    target = re.sub("^https?://[^/?]*", "", environ["REQUEST_URI"], flags=re.I)
    target = quote(target, punctuation, "latin-1")
    uri = UPSTREAM + ("" if target.startswith("/") else "/") + target
    agent = Agent.usingEndpointFactory(connection.reactor, connection)
    method = environ["REQUEST_METHOD"].encode()
    asked = agent.request(method, uri.encode(), headers, connection.body)
    late = Failure(TimeoutError())  # Not the agent's ResponseNeverReceived.
    return asked.addTimeout(SECONDS, connection.reactor, lambda *_: late)


def headers_of(response, environ):
    """Without what is for one connection only."""
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, values in response.headers.getAllRawHeaders()
        for value in values
        if not only_here(name.decode("latin-1"))
    ]
    has_no_body = environ["REQUEST_METHOD"] == "HEAD" or response.code in (204, 304)
    if not has_no_body and response.length != UNKNOWN_LENGTH:
        headers.append(("Content-Length", str(response.length)))
    return headers


@asynchronous
async def application(environ, start_response):
    connection = Connection(environ["twisted.reactor"], body_of(environ))
    try:
        response = await ask(environ, connection)
        status = f"{response.code} {response.phrase.decode('latin-1')}"
        start_response(status, headers_of(response, environ))
    except TimeoutError:
        start_response("504 Gateway Timeout", [])
    except (*NOT_ASKED, *NOT_HTTP):
        start_response("502 Bad Gateway", [])
    else:
        async for block in blocks_of_body(response):
            yield block
    finally:
        connection.drop()
