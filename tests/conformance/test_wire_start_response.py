"""
What ``start_response`` takes, refuses and returns (PEP 3333, "The start_response()
Callable" and "Error Handling").
"""

from __future__ import annotations

from typing import Any

import pytest
from wire import Response, Server, case, new_token, request

# What is said on the wire, and not when: the reactor only carries it.
pytestmark = pytest.mark.one_reactor

TEXT = ("Content-Type", "text/plain")


def respond(server: Server, **spec: Any) -> Response:
    """Have the application respond as specified."""
    return server.ask(request(app="respond", spec=spec))


# --- the status line

GOOD_STATUSES = [
    # status, code, reason
    case("200 OK", "200 OK", 200, b"OK"),
    case("a reason of several words", "404 Not Found Here", 404, b"Not Found Here"),
    case("a reason of its own", "200 Fine", 200, b"Fine"),
    case("an empty reason (RFC 9112, 4)", "200 ", 200, b""),
    case("a tab in the reason", "200 a\tb", 200, b"a\tb"),
    case("punctuation in the reason", "200 a: b, (c)", 200, b"a: b, (c)"),
    case("latin-1 in the reason", "200 \xdc", 200, b"\xdc"),
    case("an unknown code", "299 Own", 299, b"Own"),
    case("an unknown client error", "499 Own", 499, b"Own"),
    case("the last code", "599 Last", 599, b"Last"),
    case("a teapot", "418 I'm a teapot", 418, b"I'm a teapot"),
    case("a server error", "503 Busy", 503, b"Busy"),
    case("a redirection", "302 Found", 302, b"Found"),
]


@pytest.mark.parametrize(("status", "code", "reason"), GOOD_STATUSES)
def test_status_is_sent_as_given(
    server: Server, status: str, code: int, reason: bytes
) -> None:
    """Code and reason are the application's, byte for byte."""
    response = respond(server, status=status, headers=[TEXT], blocks=[b"body"])
    assert (response.status, response.reason) == (code, reason)
    assert response.body == b"body"
    assert response.complete


BAD_STATUSES = [
    case("bytes", b"200 OK"),
    case("an int", 200),
    case("None", None),
    case("a tuple", (200, "OK")),
    case("a float", 200.0),
    case("empty", ""),
    case("no reason and no space", "200"),
    case("no code", "OK"),
    case("a space only", " "),
    case("a space first", " 200 OK"),
    case("two digits", "20 OK"),
    case("four digits", "2000 OK"),
    case("one digit", "2 OK"),
    case("no space", "200OK"),
    case("a tab for the space", "200\tOK"),
    case("a dash for the space", "200-OK"),
    case("letters", "abc OK"),
    case("a letter among digits", "2o0 OK"),
    case("a sign", "+20 OK"),
    case("a negative code", "-20 OK"),
    case("an underscore", "2_0 OK"),
    case("less than 100", "099 Low"),
    case("nothing", "000 Null"),
    case("digits of another script", "\u0662\u0660\u0660 OK"),
    case("superscript digits", "2\xb2\xb2 OK"),
    case("reason outside latin-1", "200 \u20ac"),
    case("a protocol first", "HTTP/1.1 200 OK"),
    case("CRLF in the reason", "200 OK\r\nX-Injected: 1"),
    case("CR in the reason", "200 O\rK"),
    case("LF in the reason", "200 O\nK"),
    case("CRLF at the end", "200 OK\r\n"),
    case("LF at the end", "200 OK\n"),
    case("CR at the end", "200 OK\r"),
    case("NUL in the reason", "200 O\0K"),
    case("a control character in the reason", "200 O\x01K"),
    case("a DEL in the reason", "200 O\x7fK"),
    case("an escape in the reason", "200 \x1b[31m"),
]

# --- header fields

GOOD_HEADERS = [
    # header, value on the wire
    case("a plain one", ("X-One", "1"), b"1"),
    case("all marks of a token", ("X!#$%&'*+-.^`|~9", "1"), b"1"),
    case("an underscore in the name", ("X_One", "1"), b"1"),
    case("an empty value", ("X-One", ""), b""),
    case("latin-1", ("X-One", "\xe4\xff"), b"\xe4\xff"),
    case("bytes of UTF-8 as latin-1", ("X-One", "\xc3\xbc"), b"\xc3\xbc"),
    case("NEL and no-break space", ("X-One", "a\x85\xa0b"), b"a\x85\xa0b"),
    case("space within", ("X-One", "a  b"), b"a  b"),
    case("quotes and commas", ("X-One", '"a,b", c;d=e'), b'"a,b", c;d=e'),
    case("a colon", ("X-One", "a: b"), b"a: b"),
    case("a long value", ("X-One", "x" * 8000), b"x" * 8000),
    case("a redirection's target", ("Location", "/a?b=c#d"), b"/a?b=c#d"),
    case("a challenge", ("WWW-Authenticate", "Basic x"), b"Basic x"),
    case("a validator", ("ETag", '"v1"'), b'"v1"'),
    case(
        "a cookie with a date",
        ("Set-Cookie", "a=b; Expires=Thu, 1"),
        b"a=b; Expires=Thu, 1",
    ),
    case(
        "a policy",
        ("Content-Security-Policy", "default-src 'self'"),
        b"default-src 'self'",
    ),
    case("a content encoding", ("Content-Encoding", "gzip"), b"gzip"),
    case("a name like a hop-by-hop one", ("X-Connection", "close"), b"close"),
    case("a name that begins like one", ("Upgrade-Insecure-Requests", "1"), b"1"),
]


@pytest.mark.parametrize(("header", "value"), GOOD_HEADERS)
def test_header_is_sent_as_given(
    server: Server, header: tuple[str, str], value: bytes
) -> None:
    """A valid header reaches the client, byte for byte."""
    response = respond(server, headers=[TEXT, header], blocks=[b"body"])
    assert response.status == 200
    assert response.all(header[0]) == [value]


BAD_HEADERS = [
    case("None for the list", None),
    case("a dict for the list", {"X-One": "1"}),
    case("a string for the list", "X-One: 1"),
    case("an int for the list", 1),
    case("a set for the list", {("X-One", "1")}),
    case("a string in the list", ["X-One: 1"]),
    case("None in the list", [None]),
    case("one string in the tuple", [("X-One",)]),
    case("three strings in the tuple", [("X-One", "1", "2")]),
    case("a string of two letters for the tuple", ["ab"]),
    case("a name of bytes", [(b"X-One", "1")]),
    case("a value of bytes", [("X-One", b"1")]),
    case("a value of int", [("Content-Length", 4)]),
    case("a value of None", [("X-One", None)]),
    case("a name of None", [(None, "1")]),
    case("a value of list", [("X-One", ["1", "2"])]),
    case("an empty name", [("", "1")]),
    case("a space in the name", [("X One", "1")]),
    case("a space after the name", [("X-One ", "1")]),
    case("a space before the name", [(" X-One", "1")]),
    case("a tab in the name", [("X\tOne", "1")]),
    case("a colon in the name", [("X:One", "1")]),
    case("a colon after the name", [("X-One:", "1")]),
    case("a slash in the name", [("X/One", "1")]),
    case("a bracket in the name", [("X(One)", "1")]),
    case("a quote in the name", [('X"One', "1")]),
    case("an at sign in the name", [("X@One", "1")]),
    case("latin-1 in the name", [("X-\xd6ne", "1")]),
    case("a name outside latin-1", [("X-\u20ac", "1")]),
    case("CRLF in the name", [("X-One\r\nX-Injected", "1")]),
    case("LF in the name", [("X-One\n", "1")]),
    case("CR in the name", [("X-One\r", "1")]),
    case("NUL in the name", [("X-\0One", "1")]),
    case("CRLF in the value", [("X-One", "1\r\nX-Injected: 1")]),
    case("a second response in the value", [("X-One", "1\r\n\r\nHTTP/1.1 200 OK\r\n")]),
    case("CR in the value", [("X-One", "1\rX-Injected: 1")]),
    case("LF in the value", [("X-One", "1\nX-Injected: 1")]),
    case("CRLF at the end", [("X-One", "1\r\n")]),
    case("LF at the end", [("X-One", "1\n")]),
    case("LF at the beginning", [("X-One", "\n1")]),
    case("a folded value", [("X-One", "1\r\n 2")]),
    case("NUL in the value", [("X-One", "1\0002")]),
    case("a control character in the value", [("X-One", "1\x012")]),
    case("a vertical tab in the value", [("X-One", "1\x0b2")]),
    case("a DEL in the value", [("X-One", "1\x7f2")]),
    case("a value outside latin-1", [("X-One", "\u20ac")]),
    case("a surrogate in the value", [("X-One", "\udce4")]),
    case("a line separator in the value", [("X-One", "1\u2028X-Injected: 1")]),
    case("letters for the length", [("Content-Length", "abc")]),
    case("an empty length", [("Content-Length", "")]),
    case("a negative length", [("Content-Length", "-1")]),
    case("a signed length", [("Content-Length", "+4")]),
    case("an underscore in the length", [("Content-Length", "1_0")]),
    case("a length with a fraction", [("Content-Length", "4.0")]),
    case("a list of lengths", [("Content-Length", "4, 4")]),
    case("a hexadecimal length", [("Content-Length", "0x4")]),
    case("two lengths", [("Content-Length", "4"), ("content-length", "5")]),
    case("superscript length", [("Content-Length", "\xb2")]),
    case("a good one, then a bad one", [("X-One", "1"), ("X Two", "2")]),
]

HOP_BY_HOP = [
    ("Connection", "close"),
    ("Connection", "keep-alive"),
    ("connection", "x"),
    ("CONNECTION", "close"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Authenticate", "Basic x"),
    ("Proxy-Authorization", "Basic x"),
    ("TE", "trailers"),
    ("Trailers", "X-One"),
    ("Transfer-Encoding", "chunked"),
    ("transfer-encoding", "identity"),
    ("Transfer-Encoding", "gzip"),
    ("Upgrade", "websocket"),
]


@pytest.mark.parametrize("status", BAD_STATUSES)
def test_bad_status_is_refused_when_called(server: Server, status: object) -> None:
    """The application hears of it at once, and may call again: nothing was set."""
    spec = {"status": status, "headers": [("X-First", "1")]}
    response = server.ask(request(app="attempt", spec=spec))
    assert (response.status, response.body) == (200, b"refused")
    assert response.get("X-First") is None


@pytest.mark.parametrize("status", BAD_STATUSES)
def test_bad_status_is_an_application_error(server: Server, status: object) -> None:
    """An application that does not catch it is answered with 500."""
    assert_error(respond(server, status=status, headers=[TEXT], blocks=[b"body"]))


@pytest.mark.parametrize("headers", BAD_HEADERS)
def test_bad_header_is_refused_when_called(server: Server, headers: object) -> None:
    """The application hears of it at once, and may call again: nothing was set."""
    spec = {"status": "200 OK", "headers": headers}
    response = server.ask(request(app="attempt", spec=spec))
    assert (response.status, response.body) == (200, b"refused")
    assert response.get("X-One") is None
    assert response.get("X-Injected") is None


@pytest.mark.parametrize("headers", BAD_HEADERS)
def test_bad_header_is_an_application_error(server: Server, headers: object) -> None:
    """An application that does not catch it is answered with 500."""
    assert_error(respond(server, headers=headers, blocks=[b"body"]))


@pytest.mark.parametrize("header", HOP_BY_HOP, ids=": ".join)
def test_hop_by_hop_header_is_refused(server: Server, header: tuple[str, str]) -> None:
    """PEP 3333, "Other HTTP Features": the connection is the server's business."""
    spec = {"status": "200 OK", "headers": [TEXT, header]}
    assert server.ask(request(app="attempt", spec=spec)).body == b"refused"
    assert_error(respond(server, headers=[TEXT, header], blocks=[b"body"]))


def test_refusal_is_logged_with_the_value(server: Server) -> None:
    """The log tells the author of the application what was wrong."""
    token = new_token()
    mark = server.log.mark()
    respond(server, headers=[("X-One", f"{token}\n")], blocks=[b"body"])
    server.log.wait_for(token, mark)


def test_generator_of_headers_is_refused(server: Server) -> None:
    """PEP 3333: ``response_headers`` is a list."""
    assert_error(server.ask(request(app="attempt with generator")))


def test_tuple_of_headers_is_taken_with_a_warning(server: Server) -> None:
    """A tuple is no list, but harmless; the log says so."""
    response = respond(server, headers=(("X-One", "1"),), blocks=[b"body"])
    assert (response.status, response.body) == (200, b"body")
    assert response.get("X-One") == b"1"
    server.log.wait_for("RuntimeWarning")


def test_empty_list_of_headers_is_taken(server: Server) -> None:
    """No header is required of an application."""
    response = respond(server, headers=[], blocks=[b"body"])
    assert (response.status, response.body) == (200, b"body")


def test_headers_are_only_the_applications_and_the_servers(server: Server) -> None:
    """Beside Date, Server and the framing the server invents no header."""
    response = respond(server, headers=[("X-One", "1")], blocks=[b"body"])
    names = sorted(name.lower() for name, _ in response.fields)
    assert names == ["content-length", "date", "server", "x-one"]


def test_no_content_type_is_invented(server: Server) -> None:
    """RFC 9110, 8.3: who does not know the type must not name one."""
    for blocks in ([b"<b>"], [b"<", b"b>"]):
        response = respond(server, headers=[], blocks=blocks)
        assert response.get("Content-Type") is None


def test_repeated_headers_stay_apart_and_in_order(server: Server) -> None:
    """RFC 9110, 5.3: Set-Cookie cannot be joined, and order has a meaning."""
    headers = [
        ("Set-Cookie", "a=1"),
        ("X-One", "1"),
        ("set-cookie", "b=2"),
        ("Set-Cookie", "c=3"),
    ]
    response = respond(server, headers=headers, blocks=[b"body"])
    assert response.all("Set-Cookie") == [b"a=1", b"b=2", b"c=3"]
    assert response.all("X-One") == [b"1"]


def test_headers_are_those_of_the_call(server: Server) -> None:
    """What the application does to its list afterwards does not reach the client."""
    response = server.ask(request(app="mutate headers"))
    assert (response.status, response.get("X-First")) == (200, b"1")
    assert response.get("X-Injected") is None
    assert response.get("X-Late") is None


def test_hundred_headers_are_sent(server: Server) -> None:
    """A hundred headers are nothing special."""
    headers = [(f"X-{n}", str(n)) for n in range(100)]
    response = respond(server, headers=headers, blocks=[b"body"])
    assert all(response.get(f"X-{n}") == str(n).encode() for n in range(100))


# --- Date and Server

OWN = [
    case("Date", "Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    case("Server", "Server", "mine/1.0"),
    case("date in small letters", "date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    case("SERVER in capitals", "SERVER", "mine/1.0"),
    case("an empty Server", "Server", ""),
]


@pytest.mark.parametrize(("name", "value"), OWN)
def test_own_date_and_server_win(server: Server, name: str, value: str) -> None:
    """The application's own Date or Server replaces the server's."""
    response = respond(server, headers=[(name, value)], blocks=[b"body"])
    assert response.all(name) == [value.encode()]


# --- calling it again

NO_EXC_INFO = ["start twice", "exc_info None"]


@pytest.mark.parametrize("app", NO_EXC_INFO)
def test_second_call_without_exc_info_is_an_error(server: Server, app: str) -> None:
    """PEP 3333: it is a fatal error to call again without ``exc_info``."""
    assert_error(server.ask(request(app=app)))


def test_second_call_without_exc_info_after_the_head(server: Server) -> None:
    """With the head sent, the error cuts the response."""
    response = server.ask(request(app="start twice late"))
    assert (response.status, response.body) == (200, b"first block")
    assert not response.complete


def test_exc_info_replaces_what_was_not_sent(server: Server) -> None:
    """PEP 3333: the new status and headers take the place of all the old ones."""
    response = server.ask(request(app="exc_info"))
    assert (response.status, response.reason) == (500, b"Mine")
    assert response.all("X-Call") == [b"second"]
    assert response.body == b"True", "start_response must return write again"


def test_exc_info_replaces_after_empty_blocks(server: Server) -> None:
    """PEP 3333: an empty block sends no headers, so they may still be replaced."""
    response = server.ask(request(app="start late by empty block"))
    assert (response.status, response.reason) == (503, b"Later")
    assert response.all("X-Call") == [b"second"]
    assert response.get("X-Old") is None
    assert response.body == b"replaced"


def test_exc_info_in_the_only_call(server: Server) -> None:
    """``exc_info`` may come with the first call."""
    response = server.ask(request(app="exc_info at first"))
    assert (response.status, response.body) == (500, b"body")
    assert response.all("X-Call") == [b"only"]


def test_exc_info_is_raised_when_headers_are_sent(server: Server) -> None:
    """PEP 3333: ``start_response`` raises the given error; the response is cut."""
    token = new_token()
    mark = server.log.mark()
    with server.connect() as client:
        client.send(request(app="exc_info late", token=token))
        response = client.response()
        assert (response.status, response.body) == (200, b"first block")
        assert response.get("X-Call") == b"first"
        assert not response.complete
        client.assert_closed()
    assert server.events(token) == [f"raised LookupError {token}"]
    server.log.wait_for(f"LookupError: {token}", mark)


# --- not calling it, or late


@pytest.mark.parametrize("kind", ["list", "tuple", "iterator", "generator", "tracked"])
def test_missing_call_is_an_error(server: Server, kind: str) -> None:
    """A body without a status cannot be sent."""
    raw = request(f"/?kind={kind}", app="start never", token="missing")
    assert_error(server.ask(raw))


@pytest.mark.parametrize("kind", ["list", "tuple", "iterator", "generator", "tracked"])
def test_missing_call_without_blocks_is_an_error(server: Server, kind: str) -> None:
    """Nor can a status be made up when there is no body."""
    raw = request(f"/?kind={kind}", app="start never, no blocks", token="missing")
    assert_error(server.ask(raw))


LATE = [
    case("one block", [b"body"], b"body"),
    case("several blocks", [b"bo", b"dy"], b"body"),
    case("an empty block first", [b"", b"body"], b"body"),
    case("no block", [], b""),
    case("empty blocks", [b"", b""], b""),
]


@pytest.mark.parametrize(("blocks", "body"), LATE)
def test_call_may_come_with_the_first_block(
    server: Server, blocks: list[bytes], body: bytes
) -> None:
    """PEP 3333: the iterable's first iteration may perform the call."""
    spec = {"status": "201 Late", "headers": [("X-One", "1")], "blocks": blocks}
    response = server.ask(request(app="respond late", spec=spec))
    assert (response.status, response.reason) == (201, b"Late")
    assert (response.get("X-One"), response.body) == (b"1", body)
    assert response.complete


# --- write

WRITES = [
    # written, returned, body
    case("once", [b"a"], [], b"a"),
    case("several times", [b"a", b"b", b"c"], [], b"abc"),
    case("and blocks", [b"a", b"b"], [b"c", b"d"], b"abcd"),
    case("an empty block", [b""], [b"a"], b"a"),
    case("empty blocks between", [b"a", b"", b"b"], [b"", b"c"], b"abc"),
    case("nothing at all", [b""], [], b""),
    case("much", [b"a" * 300_000, b"b" * 300_000], [], b"a" * 300_000 + b"b" * 300_000),
]


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("length", [False, True], ids=["no length", "length"])
@pytest.mark.parametrize(("written", "blocks", "body"), WRITES)
def test_write_comes_before_the_blocks(
    server: Server,
    version: str,
    length: bool,
    written: list[bytes],
    blocks: list[bytes],
    body: bytes,
) -> None:
    """PEP 3333, "The write() Callable": what was written, then what is returned."""
    headers = [TEXT, ("Content-Length", str(len(body)))] if length else [TEXT]
    spec = {"headers": headers, "write": list(written), "blocks": blocks}
    if len(body) > 1000:
        # A request is not the place for so much.
        assert_much_is_written(server, version, headers)
        return
    response = server.ask(request(app="respond", spec=spec, version=version))
    assert (response.status, response.body) == (200, body)
    assert response.complete


def assert_much_is_written(
    server: Server, version: str, headers: list[tuple[str, str]]
) -> None:
    """Write blocks that do not fit into any buffer at once."""
    spec = {"headers": headers, "times": 300_000}
    raw = request(app="write much", spec=spec, version=version)
    response = server.ask(raw)
    assert response.body == b"a" * 300_000 + b"b" * 300_000
    assert response.complete


def test_write_is_callable_and_returns_none(server: Server) -> None:
    """PEP 3333 names no result of ``write``."""
    assert server.ask(request(app="write result")).body == b"written (True, None)"


def test_write_and_yield_keep_their_order(server: Server) -> None:
    """A generator may use both, in the order in which it does."""
    response = server.ask(request(app="write in generator"))
    assert (response.body, response.complete) == (b"1234", True)


@pytest.mark.parametrize("block", ["text", 1, None, [b"x"]], ids=repr)
def test_write_takes_only_bytes(server: Server, block: object) -> None:
    """PEP 3333: ``write`` takes a bytestring."""
    assert_error(server.ask(request(app="write bad", spec={"block": block})))


def test_write_of_another_response_is_refused(server: Server) -> None:
    """``write`` kept beyond its response raises, and harms nobody."""
    with server.connect() as client:
        client.send(request(app="keep write"))
        assert client.response().body == b"kept"
        client.send(request(app="use kept write"))
        response = client.response()
        assert b"another" not in response.body
        assert response.body != b"nothing"
        client.assert_open()


def assert_error(response: Response) -> None:
    """Check that this is the server's own 500, and nothing of the application's."""
    assert response.status == 500, (response.status, response.body[:200])
    assert response.complete
    assert response.get("X-One") is None
    assert response.get("X-Injected") is None
    assert b"Traceback" not in response.body
    assert response.body != b"body"
