"""
``async def`` applications: awaiting Deferreds, and a stream.

wsgiflush examples/coroutine.py

http://127.0.0.1:8080/ answers after a second, with a status that is chosen then;
`curl -N http://127.0.0.1:8080/stream` shows a block each second.
"""

from twisted.internet.task import deferLater
from werkzeug.wrappers import Response

from twisted_wsgiflush.coroutines import asynchronous


async def once(environ, start_response):
    number = await deferLater(environ["twisted.reactor"], 1, lambda: 42)
    response = Response(f"The answer is {number}.\n", status=203)
    return response(environ, start_response)


async def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    for number in range(5):
        yield f"{number}\n".encode()
        await deferLater(environ["twisted.reactor"], 1)


@asynchronous
def application(environ, start_response):
    respond = stream if environ["PATH_INFO"] == "/stream" else once
    return respond(environ, start_response)
