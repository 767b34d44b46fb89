"""
WSGI 2.0, where the response is a triple, which may come late.

wsgiflush --wsgi2 examples/wsgi2.py

http://127.0.0.1:8080/?3 answers after three seconds; with no number it is refused.
"""

from twisted.internet.task import deferLater

PLAIN = [("Content-Type", "text/plain; charset=utf-8")]


async def countdown(reactor, seconds):
    for left in range(seconds, 0, -1):
        yield f"{left}\n".encode()
        await deferLater(reactor, 1)


async def application(environ):
    number = environ["QUERY_STRING"]
    if not number.isdecimal():
        error = environ["wsgi.response_error"]
        raise error("400 Bad Request", PLAIN, b"How many seconds? Ask for /?3\n")
    return "200 OK", PLAIN, countdown(environ["twisted.reactor"], int(number))
