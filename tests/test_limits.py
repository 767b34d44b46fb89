"""What a site takes of its clients: each limit by its name, and what comes of more."""

from __future__ import annotations

import pytest

from twisted_wsgiflush import WSGISite
from twisted_wsgiflush.limits import BODY_PROGRESS, Limits
from twisted_wsgiflush.testing import BoundedTransport, Served, Turns

LINE = b"POST / HTTP/1.1\r\n"
HOST = b"Host: example.com\r\n"


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % len(environ["wsgi.input"].read())]


def answered(request: bytes, limits: Limits) -> int:
    """The status that a request is answered with."""
    clock = Turns()
    protocol = WSGISite(clock, application, limits=limits).buildProtocol(None)
    transport = BoundedTransport(protocol, 65536)
    protocol.makeConnection(transport)
    served = Served(clock, transport)
    served.send(request)
    response = served.read()
    if not served.closed:
        served.leave()
    return int(response.split()[1])


def test_defaults() -> None:
    """None of the usual clients meets them, and all that cost something have one."""
    assert Limits()._asdict() == {
        "request_line_size": 8192,
        "header_size": 32768,
        "header_count": 200,
        "body_size": 2**30,
        "header_timeout": 10,
        "body_timeout": 20,
        "keep_alive_timeout": 15,
        "send_timeout": 60,
        "response_timeout": None,
        "suspend_timeout": None,
        "half_close_timeout": 0.75,
        "max_connections": None,
    }
    assert BODY_PROGRESS == 1024


WITH_LENGTH = LINE + HOST + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = (
    LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
)
THREE_FIELDS = LINE + HOST + b"A: b\r\nC: d\r\n\r\n"


@pytest.mark.parametrize(
    ("name", "request_", "size", "status"),
    [
        ("request_line_size", WITH_LENGTH, len(LINE), 414),
        ("header_size", THREE_FIELDS, len(THREE_FIELDS) - len(LINE), 431),
        ("header_count", THREE_FIELDS, 3, 431),
        ("body_size", WITH_LENGTH, 5, 413),
        ("body_size", CHUNKED, 5, 413),
    ],
    ids=["line", "header", "fields", "length", "chunked"],
)
def test_sizes(name: str, request_: bytes, size: int, status: int) -> None:
    """As much as the limit is taken, one more is not, and without a limit all is."""
    for limit, expected in ((size, 200), (size - 1, status), (None, 200)):
        limits = Limits()._replace(**{name: limit})

        assert answered(request_, limits) == expected, limit


def test_a_length_is_refused_before_the_body_comes() -> None:
    """Nobody has to send what is not taken."""
    request = LINE + HOST + b"Content-Length: 6\r\nExpect: 100-continue\r\n\r\n"

    assert answered(request, Limits(body_size=5)) == 413
    assert answered(request, Limits(body_size=6)) == 100


def test_no_connections_are_left() -> None:
    """One more than the limit is told so, before it asks for anything."""
    request = LINE + HOST + b"Content-Length: 0\r\n\r\n"

    assert answered(request, Limits(max_connections=1)) == 200
    assert answered(request, Limits(max_connections=0)) == 503
