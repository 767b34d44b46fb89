"""
Request smuggling: bytes of which two readers could make different requests.

Each is refused, with the right status, the end of the connection, and nothing done
that stands behind; or it is read exactly as RFC 9112 says, and what stands behind is
the next request.  Where the RFC leaves the choice, either will do, and nothing else.
"""

from __future__ import annotations

import base64
import socket
from typing import Any

import pytest
from wire import STRICT, Client, Response, Server, case, new_token, with_token

# What is said on the wire, and not when: the reactor only carries it.
pytestmark = [
    pytest.mark.one_reactor,
    pytest.mark.parametrize("door", STRICT, indirect=True, ids=str),
]

GET = "GET /@ HTTP/1.1\r\nHost: h\r\n"
POST = "POST /@ HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + "Transfer-Encoding: chunked\r\n\r\n"
HELLO = "5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = b"GET /@ HTTP/1.1\r\nHost: smuggled\r\nX-Token: @\r\n\r\n"

SPEC = base64.b64encode(repr({"ops": [["read"]]}).encode()).decode()
READING = f"Host: h\r\nX-App: input\r\nX-Spec: {SPEC}\r\n"


def telling(raw: str, host: str = "Host: h\r\n") -> str:
    """Return the request with the fields by which its body is told."""
    return raw.replace(host, READING.replace("Host: h\r\n", host), 1)


def assert_read(server: Server, raw: str, bodies: list[str]) -> None:
    """Check that these are the requests with these bodies, and the next is served."""
    with server.connect() as client:
        client.send(telling(raw).encode("latin-1"))
        client.send(b"GET /behind HTTP/1.1\r\nHost: h\r\n\r\n")
        for body in bodies:
            check_body(client.final(), body)
        check_behind(client)


def check_body(response: Response, body: str) -> None:
    """Check what the application has read."""
    found = response.json()
    assert found["results"] == [body]
    assert int(found["CONTENT_LENGTH"] or len(body)) == len(body)


def check_behind(client: Client) -> None:
    """Check that what stands behind is the next request."""
    assert client.final().json()["environ"]["PATH_INFO"] == "/behind"


def assert_refused_or_read(
    server: Server, raw: str, body: str, statuses: tuple[int, ...] = (400,)
) -> None:
    """Check that one thing or the other is done, and not by halves."""
    token = new_token()
    with server.connect() as client:
        client.send(with_token(telling(raw), token))
        client.send(b"GET /behind HTTP/1.1\r\nHost: h\r\nX-Token: %a\r\n\r\n" % token)
        response = client.final()
        if response.status == 200:
            check_body(response, body)
            check_behind(client)
            return
        assert response.status in statuses, (response.status, response.body[:200])
        client.assert_closed()
    server.assert_never_called(token)


# --- Transfer-Encoding: only exactly ``chunked`` (RFC 9112, 6.1)

BAD_CODINGS = [
    # Each of these is "chunked" to some reader.
    case("identity (7)", "identity"),
    case("identity, chunked", "identity, chunked"),
    case("chunked, identity", "chunked, identity"),
    case("chunked, chunked (6.1: at most once)", "chunked, chunked"),
    case("chunked,chunked", "chunked,chunked"),
    case("gzip, chunked", "gzip, chunked"),
    case("chunked, gzip (6.3: not final)", "chunked, gzip"),
    case("chunked and a blank word", "chunked x"),
    case("a blank word before chunked", "x chunked"),
    case("chunked twice with a space", "chunked chunked"),
    case("a word that ends in chunked", "xchunked"),
    case("a word that begins with chunked", "chunkedx"),
    case("the first letters", "chunke"),
    case("cow", "cow"),
    case("chunk", "chunk"),
    case("a parameter", "chunked;q=1"),
    case("a parameter after a space", "chunked ; q=1"),
    case("a semicolon", "chunked;"),
    case("quoted", '"chunked"'),
    case("single quotes", "'chunked'"),
    case("a quote before", '"chunked'),
    case("a comment", "chunked (really)"),
    case("a colon before", ": chunked"),
    case("an equals sign", "=chunked"),
    case("a dot", "chunked."),
    case("a slash", "chunked/1"),
    case("a vertical tab before", "\x0bchunked"),
    case("a vertical tab after", "chunked\x0b"),
    case("a form feed before", "\x0cchunked"),
    case("a form feed after", "chunked\x0c"),
    case("a file separator", "\x1cchunked"),
    case("a backspace", "chunked\x08"),
    case("a delete", "chunked\x7f"),
    case("NEL before", "\x85chunked"),
    case("NEL after", "chunked\x85"),
    case("a no-break space before", "\xa0chunked"),
    case("a no-break space after", "chunked\xa0"),
    case("a byte-order mark", "\xef\xbb\xbfchunked"),
    case("obs-text", "\xffchunked"),
    case("a Kelvin sign in UTF-8", "chun\xe2\x84\xaaed"),
    case("a NUL before", "\0chunked"),
    case("a NUL after", "chunked\0"),
    case("a NUL within", "chu\0nked"),
    case("a NUL and more", "chunked\0x"),
    case("a CR before (2.2)", "\rchunked"),
    case("a CR after", "chunked\r"),
    case("a CR within", "chu\rnked"),
    case("an LF before", "\nchunked"),
    case("an LF after", "chunked\n"),
    case("an LF within", "chu\nnked"),
    case("an LF, then a field", "x\nTransfer-Encoding: chunked"),
    case("a CR, then a field", "x\rTransfer-Encoding: chunked"),
    case("CR CR LF", "chunked\r\r"),
    case("folded, by a space (5.2)", "\r\n chunked"),
    case("folded, by a tab", "\r\n\tchunked"),
    case("folded behind", "chunked\r\n "),
    case("folded with another", "chunked\r\n , identity"),
    case("empty", ""),
    case("only a comma", ","),
    case("chunked on a second line", "x\r\nTransfer-Encoding: chunked"),
    case("chunked on a first line", "chunked\r\nTransfer-Encoding: x"),
    case("chunked on two lines", "chunked\r\nTransfer-Encoding: chunked"),
    case("chunked, then nothing", "chunked\r\nTransfer-Encoding:"),
    case("nothing, then chunked", "\r\nTransfer-Encoding: chunked"),
    case("identity on a second line", "chunked\r\nTransfer-encoding: identity"),
    case("percent-encoded", "%63hunked"),
    case("an encoded word", "=?utf-8?q?chunked?="),
]

LENGTHS = [
    case("alone", "", ""),
    case("a length before", "Content-Length: 5\r\n", ""),
    case("a length after", "", "Content-Length: 5\r\n"),
]


@pytest.mark.parametrize(("before", "after"), LENGTHS)
@pytest.mark.parametrize("coding", BAD_CODINGS)
def test_coding_that_is_not_chunked(
    server: Server, coding: str, before: str, after: str
) -> None:
    """RFC 9112, 6.1: a coding that is not understood is never guessed: 400 or 501."""
    raw = f"{POST}{before}Transfer-Encoding: {coding}\r\n{after}\r\n{HELLO}"
    server.assert_refused(raw, {400, 501}, SMUGGLED)


@pytest.mark.parametrize("coding", BAD_CODINGS)
def test_coding_in_http_1_0(server: Server, coding: str) -> None:
    """RFC 9112, 6.1: with HTTP/1.0 the framing is faulty, whatever the coding."""
    fields = f"Host: h\r\nConnection: keep-alive\r\nTransfer-Encoding: {coding}\r\n"
    raw = f"POST /@ HTTP/1.0\r\n{fields}\r\n{HELLO}"
    server.assert_refused(raw, {400, 501}, SMUGGLED)


BAD_CODING_LINES = [
    case("a space before the colon (5.1)", "Transfer-Encoding : chunked"),
    case("a tab before the colon", "Transfer-Encoding\t: chunked"),
    case("two spaces before the colon", "Transfer-Encoding  : chunked"),
    case("a vertical tab before the colon", "Transfer-Encoding\x0b: chunked"),
    case("a form feed before the colon", "Transfer-Encoding\x0c: chunked"),
    case("a NEL before the colon", "Transfer-Encoding\x85: chunked"),
    case("a no-break space before the colon", "Transfer-Encoding\xa0: chunked"),
    case("a NUL before the colon", "Transfer-Encoding\0: chunked"),
    case("a CR before the colon", "Transfer-Encoding\r: chunked"),
    case("an LF before the colon", "Transfer-Encoding\n: chunked"),
    case("a line break before the colon", "Transfer-Encoding\r\n : chunked"),
    case("a line break and no space", "Transfer-Encoding\r\n: chunked"),
    case("no colon", "Transfer-Encoding chunked"),
    case("an equals sign", "Transfer-Encoding=chunked"),
    case("a space before (5.2)", " Transfer-Encoding: chunked"),
    case("a tab before", "\tTransfer-Encoding: chunked"),
    case("a vertical tab before", "\x0bTransfer-Encoding: chunked"),
    case("a no-break space before", "\xa0Transfer-Encoding: chunked"),
    case("a CR before", "\rTransfer-Encoding: chunked"),
    case("a byte-order mark before", "\xef\xbb\xbfTransfer-Encoding: chunked"),
    case("a colon before", ":Transfer-Encoding: chunked"),
    case("a space within", "Transfer Encoding: chunked"),
    case("a NUL within", "Transfer-\0Encoding: chunked"),
    case("quoted", '"Transfer-Encoding": chunked'),
    case("behind an LF", "X: y\nTransfer-Encoding: chunked"),
    case("behind a CR", "X: y\rTransfer-Encoding: chunked"),
    case("behind CR CR LF", "X: y\r\r\nTransfer-Encoding: chunked"),
    case("behind LF CR", "X: y\n\rTransfer-Encoding: chunked"),
    case("behind LF CR LF", "X: y\n\r\nTransfer-Encoding: chunked"),
    case("behind a NUL", "X: y\0Transfer-Encoding: chunked"),
    case("behind an empty name", ": y\r\nTransfer-Encoding: chunked"),
    case("folded into another field", "X: y\r\n Transfer-Encoding: chunked"),
]


@pytest.mark.parametrize("line", BAD_CODING_LINES)
@pytest.mark.parametrize(("before", "after"), LENGTHS)
def test_field_line_that_some_read_as_a_coding(
    server: Server, line: str, before: str, after: str
) -> None:
    """RFC 9112, 2.2 and 5: such lines are refused, so nobody need guess."""
    raw = f"{POST}{before}{line}\r\n{after}\r\n{HELLO}"
    server.assert_refused(raw, {400}, SMUGGLED)


GOOD_CODINGS = [
    case("capitals (7: case-insensitive)", "CHUNKED"),
    case("mixed letters", "cHuNkEd"),
    case("much space (RFC 9110, 5.5)", "  \t chunked  "),
    case("no space", "chunked"),
]


@pytest.mark.parametrize("coding", GOOD_CODINGS)
@pytest.mark.parametrize("name", ["Transfer-Encoding", "transfer-encoding", "TRANSFER"])
def test_coding_that_is_chunked(server: Server, coding: str, name: str) -> None:
    """RFC 9112, 7: the name of the coding has no case; the space is no part of it."""
    name = name.replace("TRANSFER", "TRANSFER-ENCODING")
    assert_read(server, f"{POST}{name}:{coding}\r\n\r\n{HELLO}", ["hello"])


CODINGS_WITH_EMPTY_ELEMENTS = ["chunked,", "chunked ,", ",chunked", ", chunked", " , ,"]


@pytest.mark.parametrize("coding", CODINGS_WITH_EMPTY_ELEMENTS)
@pytest.mark.parametrize("length", ["", "Content-Length: 5\r\n"])
def test_coding_among_empty_elements(server: Server, coding: str, length: str) -> None:
    """RFC 9110, 5.6.1.2 would overlook them; "exactly chunked" refuses them."""
    coding = coding.replace(" , ,", "chunked, ,")
    raw = f"{POST}{length}Transfer-Encoding: {coding}\r\n\r\n{HELLO}"
    if length:
        server.assert_refused(raw, {400, 501}, SMUGGLED)
    else:
        assert_refused_or_read(server, raw, "hello", (400, 501))


UNDERSCORED = [
    case("Transfer_Encoding", "Transfer_Encoding: chunked"),
    case("transfer_encoding", "transfer_encoding: chunked"),
    case("Content_Length", "Content_Length: 50"),
    case("Content-length_", "Content-Length_: 50"),
    case("X-Transfer-Encoding", "X-Transfer-Encoding: chunked"),
    case("Transfer-Encodings", "Transfer-Encodings: chunked"),
    case("Content-Encoding", "Content-Encoding: chunked"),
    case("TE", "TE: chunked"),
]


@pytest.mark.parametrize("line", UNDERSCORED)
def test_field_of_another_name(server: Server, line: str) -> None:
    """RFC 9110, 5.1: only Transfer-Encoding and Content-Length frame a body."""
    assert_read(server, f"{POST}{line}\r\nContent-Length: 5\r\n\r\nhello", ["hello"])


# --- Content-Length: digits, once, alone (RFC 9112, 6.3; RFC 9110, 8.6)

BAD_LENGTHS = [
    case("a plus sign", "+5"),
    case("a plus sign and a space", "+ 5"),
    case("a minus sign", "-5"),
    case("minus nothing", "-0"),
    case("an underscore", "0_5"),
    case("an underscore last", "5_"),
    case("hexadecimal", "0x5"),
    case("octal", "0o5"),
    case("binary", "0b101"),
    case("hexadecimal digits", "a"),
    case("a dot", "5."),
    case("a fraction", "5.0"),
    case("an exponent", "5e0"),
    case("a suffix", "5L"),
    case("a letter", "5x"),
    case("a space within", "0 5"),
    case("a tab within", "0\t5"),
    case("quoted", '"5"'),
    case("the same, as a list", "5,5"),
    case("the same, as a list with a space", "5, 5"),
    case("different, as a list", "5, 6"),
    case("a list with nothing before", ",5"),
    case("a list with nothing behind", "5,"),
    case("a semicolon", "5;"),
    case("a parameter", "5;a=b"),
    case("a comment", "5 (bytes)"),
    case("empty", ""),
    case("blank", "   "),
    case("a NUL before", "\x005"),
    case("a NUL behind", "5\0"),
    case("a vertical tab before", "\x0b5"),
    case("a vertical tab behind", "5\x0b"),
    case("a form feed before", "\x0c5"),
    case("a form feed behind", "5\x0c"),
    case("a file separator", "\x1c5"),
    case("NEL", "\x855"),
    case("a no-break space before", "\xa05"),
    case("a no-break space behind", "5\xa0"),
    case("superscript", "\xb2"),
    case("Arabic digits in UTF-8", "\xd9\xa5"),
    case("full-width digits in UTF-8", "\xef\xbc\x95"),
    case("a CR before", "\r5"),
    case("a CR behind", "5\r"),
    case("a CR within", "0\r5"),
    case("an LF before", "\n5"),
    case("an LF behind", "5\n"),
    case("folded (5.2)", "\r\n 5"),
    case("folded behind", "5\r\n "),
    case("folded within", "0\r\n 5"),
    case("the same twice", "5\r\nContent-Length: 5"),
    case("the same with a zero", "5\r\nContent-Length: 05"),
    case("different", "5\r\nContent-Length: 6"),
    case("different, the last nothing", "5\r\nContent-Length: 0"),
    case("different, the first nothing", "0\r\nContent-Length: 5"),
    case("the second in capitals", "0\r\nCONTENT-LENGTH: 5"),
    case("three times", "5\r\nContent-Length: 5\r\nContent-Length: 5"),
    case("the second empty", "5\r\nContent-Length:"),
    case("the second bad", "5\r\nContent-Length: x"),
    case("the second behind others", "5\r\nX: y\r\nContent-Length: 6"),
]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("length", BAD_LENGTHS)
def test_length_that_is_no_length(server: Server, length: str, version: str) -> None:
    """RFC 9112, 6.3: an invalid Content-Length is refused, and the end."""
    start = f"POST /@ HTTP/{version}\r\nHost: h\r\nConnection: keep-alive\r\n"
    raw = f"{start}Content-Length: {length}\r\n\r\nhello"
    server.assert_refused(raw, {400}, SMUGGLED)


BAD_LENGTH_LINES = [
    case("a space before the colon (5.1)", "Content-Length : 5"),
    case("a tab before the colon", "Content-Length\t: 5"),
    case("a vertical tab before the colon", "Content-Length\x0b: 5"),
    case("a NUL before the colon", "Content-Length\0: 5"),
    case("a CR before the colon", "Content-Length\r: 5"),
    case("a line break before the colon", "Content-Length\r\n : 5"),
    case("no colon", "Content-Length 5"),
    case("a space before (5.2)", " Content-Length: 5"),
    case("a CR before", "\rContent-Length: 5"),
    case("behind an LF", "X: y\nContent-Length: 5"),
    case("behind a CR", "X: y\rContent-Length: 5"),
    case("behind a folded value", "X: y\r\n z\r\nContent-Length: 5"),
    case("a space within", "Content Length: 5"),
]


@pytest.mark.parametrize("line", BAD_LENGTH_LINES)
@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
def test_field_line_that_some_read_as_a_length(
    server: Server, line: str, method: str
) -> None:
    """RFC 9112, 5: with any method such a line is refused."""
    raw = f"{method} /@ HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\nhello"
    token = new_token()
    with server.connect() as client:
        client.send(with_token(raw, token) + with_token(SMUGGLED, token))
        client.send(b"\r\n\r\n")
        assert client.response(method).status == 400
        client.assert_closed()
    server.assert_never_called(token)


GREAT_LENGTHS = [2**31, 2**32 + 5, 2**63 - 1, 2**63, 2**64, 2**64 + 5, 10**19, 10**40]


@pytest.mark.parametrize("length", GREAT_LENGTHS)
def test_length_beyond_all_measure(server: Server, length: int) -> None:
    """RFC 9110, 8.6: great numbers do not overflow; 413 (or 400) at once."""
    raw = f"{POST}Content-Length: {length}\r\n\r\nhello"
    server.assert_refused(raw, {400, 413}, SMUGGLED)


@pytest.mark.parametrize("length", ["5", "05", "0" * 18 + "5", " \t5\t ", "0"])
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "OPTIONS", "PURGE"])
def test_length_is_read(server: Server, length: str, method: str) -> None:
    """RFC 9112, 6.3: any request may have a body, and the next stands behind it."""
    body = "hello"[: int(length)]
    start = f"{method} /@ HTTP/1.1\r\nHost: h\r\n"
    assert_read(server, f"{start}Content-Length:{length}\r\n\r\n{body}", [body])


@pytest.mark.parametrize("zeros", [20, 40, 400])
def test_length_with_many_zeros(server: Server, zeros: int) -> None:
    """RFC 9110, 8.6: 1*DIGIT; so many may be refused, but not read otherwise."""
    raw = f"{POST}Content-Length: {'0' * zeros}5\r\n\r\nhello"
    assert_refused_or_read(server, raw, "hello")


# --- both (RFC 9112, 6.1 and 6.3)

BOTH = [
    # what stands behind the header
    case("CL.TE", "6", "0\r\n\r\nG"),
    case("TE.CL", "4", "5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n"),
    case("the same by either", "15", HELLO),
    case("length of nothing", "0", HELLO),
    case("length of the first chunk", "5", HELLO),
    case("a bad length", "x", HELLO),
    case("a great length", "9" * 30, HELLO),
]


@pytest.mark.parametrize(("length", "content"), BOTH)
@pytest.mark.parametrize("first", ["length", "coding"])
@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
def test_length_with_a_coding(
    server: Server, length: str, content: str, first: str, method: str
) -> None:
    """RFC 9112, 6.1: a length with a coding is an attack, or an error."""
    lines = [f"Content-Length: {length}", "Transfer-Encoding: chunked"]
    if first == "coding":
        lines.reverse()
    start = f"{method} /@ HTTP/1.1\r\nHost: h\r\n"
    raw = f"{start}{lines[0]}\r\nX: y\r\n{lines[1]}\r\n\r\n{content}"
    server.assert_refused(raw, {400}, SMUGGLED)


# --- the chunks (RFC 9112, 7.1)

SIZES = [
    case("a prefix", "0x5"),
    case("a prefix in capitals", "0X5"),
    case("a plus sign", "+5"),
    case("a minus sign", "-5"),
    case("minus nothing", "-0"),
    case("a space before", " 5"),
    case("a tab before", "\t5"),
    case("a space behind", "5 "),
    case("a tab behind", "5\t"),
    case("spaces behind", "5   "),
    case("a space within", "0 5"),
    case("an underscore", "0_5"),
    case("a letter", "5g"),
    case("an h", "5h"),
    case("only a letter", "x"),
    case("a dot", "5.0"),
    case("a comma", "5,5"),
    case("quoted", '"5"'),
    case("nothing", ""),
    case("only an extension", ";a=b"),
    case("a space and an extension", " ;a=b"),
    case("a NUL before", "\x005"),
    case("a NUL behind", "5\0"),
    case("a vertical tab before", "\x0b5"),
    case("a vertical tab behind", "5\x0b"),
    case("a form feed behind", "5\x0c"),
    case("NEL behind", "5\x85"),
    case("a no-break space behind", "5\xa0"),
    case("a superscript", "\xb2"),
    case("full-width digits in UTF-8", "\xef\xbc\x95"),
    case("a CR behind", "5\r"),
    case("a CR before", "\r5"),
    case("an LF before", "\n5"),
    case("a CR and a letter", "5\rx"),
    case("a line break before", "\r\n5"),
    case("2**64 + 5", "10000000000000005"),
    case("2**65 + 5", "20000000000000005"),
    case("2**68 - 11", "ffffffffffffffff5"),
    case("a hundred digits", "1" + "0" * 98 + "5"),
    # extensions (7.1.1) that end where some readers do not see it
    case("a CR in an extension", "5;a\rb"),
    case("a CR last in an extension", "5;a\r"),
    case("an LF in an extension", "5;a\nb"),
    case("an LF last in an extension", "5;a\n"),
    case("a NUL in an extension", "5;a\0b"),
    case("a CR in a quoted extension", '5;a="b\rc"'),
    case("an LF in a quoted extension", '5;a="b\nc"'),
    case("a line break in a quoted extension", '5;a="b\r\nc"'),
    case("a line break and quotes behind", '5;ext="quoted;\r\n"'),
    case("a request in a quoted extension", '5;a="\r\nhello\r\n0\r\n\r\nGET /@ '),
    case("a control character in an extension", "5;a\x01b"),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", ["the first", "a later"])
def test_size_that_is_no_size(server: Server, size: str, place: str) -> None:
    """RFC 9112, 7.1: 1*HEXDIG, and nothing that only some readers overlook."""
    before = "" if place == "the first" else "2\r\nhi\r\n"
    raw = f"{CHUNKED}{before}{size}\r\nhello\r\n0\r\n\r\n"
    server.assert_refused(raw, {400, 413}, SMUGGLED)


GREAT_SIZES = ["40000001", "100000005", "7fffffffffffffff", "8" + "0" * 15, "f" * 16]


@pytest.mark.parametrize("size", GREAT_SIZES)
def test_size_beyond_all_measure(server: Server, size: str) -> None:
    """RFC 9112, 7.1: no overflow; refused, or all that comes is taken for data."""
    token = new_token()
    with server.connect() as client:
        client.send(with_token(f"{CHUNKED}{size}\r\nhello\r\n0\r\n\r\n", token))
        client.send(with_token(SMUGGLED, token))
        client.sock.shutdown(socket.SHUT_WR)
        heard = client.rest()
        assert heard[:13] in (b"", b"HTTP/1.1 400 ", b"HTTP/1.1 413 "), heard[:99]
    server.assert_never_called(token)


LAST_SIZES = [
    case(str(row.id), *(value.replace("5", "0", 1) for value in row.values))
    for row in SIZES
    if row.values[0].count("5") == 1 and "2**" not in row.id and "digits" not in row.id
]


@pytest.mark.parametrize("size", LAST_SIZES)
def test_last_chunk_that_is_none(server: Server, size: str) -> None:
    """RFC 9112, 7.1: what holds for a size holds for that of the last chunk."""
    raw = f"{CHUNKED}5\r\nhello\r\n{size}\r\n\r\n"
    server.assert_refused(raw, {400}, SMUGGLED)


CHUNKS = [
    case("no CRLF behind the data", "5\r\nhello0\r\n\r\n"),
    case("an LF behind the data", "5\r\nhello\n0\r\n\r\n"),
    case("a CR behind the data", "5\r\nhello\r0\r\n\r\n"),
    case("two CRs behind the data", "5\r\nhello\r\r\n0\r\n\r\n"),
    case("LF CR behind the data", "5\r\nhello\n\r0\r\n\r\n"),
    case("other bytes behind the data", "5\r\nhelloxx0\r\n\r\n"),
    case("a space behind the data", "5\r\nhello \r\n0\r\n\r\n"),
    case("a CRLF too many", "5\r\nhello\r\n\r\n0\r\n\r\n"),
    case("data longer by one", "4\r\nhello\r\n0\r\n\r\n"),
    case("data shorter by one", "6\r\nhello\r\n0\r\n\r\n"),
    case("data shorter by two", "7\r\nhello\r\n0\r\n\r\n"),
    case("data shorter by three", "8\r\nhello\r\n0\r\n\r\n"),
    case("a size that ends with LF", "5\nhello\r\n0\r\n\r\n"),
    case("a size that ends with CR", "5\rhello\r\n0\r\n\r\n"),
    case("a size that ends with LF, as does all", "5\nhello\n0\n\n"),
    case("an extension that ends with LF", "5;a\nhello\r\n0\r\n\r\n"),
    case("a last chunk that ends with LF", "5\r\nhello\r\n0\n\r\n"),
    case("a last chunk that ends with CR", "5\r\nhello\r\n0\r\r\n"),
    case("an end that is LF", "5\r\nhello\r\n0\r\n\n"),
    case("an end that is CR X", "5\r\nhello\r\n0\r\n\rX"),
    case("an end that is CR CR LF", "5\r\nhello\r\n0\r\n\r\r\n"),
    case("an end that is X (7.1.2)", "5\r\nhello\r\n0\r\nX\r\n\r\n"),
    case("no size at all", "hello"),
    case("the body of a length", "hello\r\n0\r\n\r\n"),
]


@pytest.mark.parametrize("content", CHUNKS)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_chunk_that_is_none(server: Server, content: str, method: str) -> None:
    """RFC 9112, 7.1: a chunk is a size, CRLF, so many bytes and CRLF."""
    raw = CHUNKED.replace("POST", method) + content
    server.assert_refused(raw, {400}, SMUGGLED)


BAD_TRAILERS = [
    case("no colon", "no field at all"),
    case("an empty name", ": x"),
    case("a space before the colon (5.1)", "A : b"),
    case("a tab before the colon", "A\t: b"),
    case("a space within the name", "A B: c"),
    case("a space first (5.2)", " A: b"),
    case("folded", "A: b\r\n c"),
    case("a CR", "A: b\rc"),
    case("a CR last", "A: b\r"),
    case("an LF", "A: b\nC: d"),
    case("a NUL", "A: b\0c"),
    case("a NUL in the name", "A\0: b"),
    case("a request line", "GET /@ HTTP/1.1\r\nHost: h"),
    case("a good one before a bad one", "A: b\r\nC d"),
]


@pytest.mark.parametrize("lines", BAD_TRAILERS)
def test_trailer_that_is_none(server: Server, lines: str) -> None:
    """RFC 9112, 7.1.2: trailers are field lines, to the same grammar."""
    raw = f"{CHUNKED}5\r\nhello\r\n0\r\n{lines}\r\n\r\n"
    server.assert_refused(raw, {400}, SMUGGLED)


SMUGGLING_TRAILERS = [
    case("Content-Length", "Content-Length: 50"),
    case("Content-Length twice", "Content-Length: 5\r\nContent-Length: 6"),
    case("Transfer-Encoding", "Transfer-Encoding: chunked"),
    case("Host", "Host: other"),
    case("Connection", "Connection: close"),
    case("Expect", "Expect: 100-continue"),
    case("Upgrade", "Upgrade: h2c"),
    case("X-App", "X-App: hello"),
    case("Authorization", "Authorization: Basic eDp5"),
]


@pytest.mark.parametrize("lines", SMUGGLING_TRAILERS)
def test_trailer_that_frames_or_routes(server: Server, lines: str) -> None:
    """RFC 9110, 6.5.1: such a trailer is dropped or refused; it never has effect."""
    raw = f"{CHUNKED}5\r\nhello\r\n0\r\n{lines}\r\n\r\n"
    assert_refused_or_read(server, raw, "hello")


def test_trailer_is_no_header(server: Server) -> None:
    """RFC 9110, 6.5.1: a trailer is not merged into the header section."""
    raw = f"{CHUNKED}0\r\nX-Trailing: yes\r\nX-Token: late\r\n\r\n"
    with server.connect() as client:
        client.send(raw.replace("/@", "/").encode())
        environ = client.final().json()["environ"]
        assert not {"HTTP_X_TRAILING", "HTTP_X_TOKEN"} & environ.keys()
        client.assert_open()


def test_trailers_without_end(server: Server) -> None:
    """RFC 9112, 7.1.2: what is dropped has a bound, too."""
    raw = f"{CHUNKED}0\r\n" + "A: b\r\n" * 100_000 + "\r\n"
    server.assert_refused(raw, {400, 413, 431}, SMUGGLED)


@pytest.mark.parametrize("size", [100_000, 1_000_000])
@pytest.mark.parametrize("kind", ["token", "quoted", "many"])
def test_extension_without_end(server: Server, size: int, kind: str) -> None:
    """RFC 9112, 7.1.1: a server ought to limit extensions, and to answer 4xx."""
    extension = {
        "token": "a" * size,
        "quoted": 'a="' + "b" * size + '"',
        "many": ";".join("a=b" for _ in range(size // 4)),
    }[kind]
    raw = f"{CHUNKED}5;{extension}\r\nhello\r\n0\r\n\r\n"
    server.assert_refused(raw, {400, 413, 431}, SMUGGLED)


def test_extensions_of_many_chunks(server: Server) -> None:
    """RFC 9112, 7.1.1: the limit may be for all of them; a little is never cut."""
    chunk = "1;" + "a" * 200 + "\r\nx\r\n"
    raw = f"{CHUNKED}{chunk * 3}0\r\n\r\n"
    assert_read(server, raw, ["xxx"])
    raw = f"{CHUNKED}{chunk * 2000}0\r\n\r\n"
    assert_refused_or_read(server, raw, "x" * 2000, (400, 413, 431))


READ_CHUNKS = [
    # content, body
    case("one", HELLO, "hello"),
    case("none", "0\r\n\r\n", ""),
    case("several zeros last", "5\r\nhello\r\n0000\r\n\r\n", "hello"),
    case("leading zeros", "00005\r\nhello\r\n0\r\n\r\n", "hello"),
    case("sixteen digits", "0000000000000005\r\nhello\r\n0\r\n\r\n", "hello"),
    case("small letters", "a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    case("capitals", "A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    case("an extension", "5;ext\r\nhello\r\n0\r\n\r\n", "hello"),
    case("a value", "5;a=b\r\nhello\r\n0\r\n\r\n", "hello"),
    case("two extensions", "5;a=b;c\r\nhello\r\n0\r\n\r\n", "hello"),
    case("a quoted value", '5;a="b c"\r\nhello\r\n0\r\n\r\n', "hello"),
    case("a semicolon in quotes", '5;a="b;c"\r\nhello\r\n0\r\n\r\n', "hello"),
    case("a quote in quotes", '5;a="b\\"c"\r\nhello\r\n0\r\n\r\n', "hello"),
    case("an extension of the last chunk", "5\r\nhello\r\n0;a=b\r\n\r\n", "hello"),
    case("a trailer", "5\r\nhello\r\n0\r\nA: b\r\n\r\n", "hello"),
    case("two trailers", "5\r\nhello\r\n0\r\nA: b\r\nC:\r\n\r\n", "hello"),
    case("data like the end", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
    case("data like a chunk", "6\r\n5\r\nhel\r\n0\r\n\r\n", "5\r\nhel"),
    case("CRLFs for data", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
    case("data like a request", "e\r\nGET / HTTP/1.1\r\n0\r\n\r\n", "GET / HTTP/1.1"),
]


@pytest.mark.parametrize(("content", "body"), READ_CHUNKS)
def test_chunks_are_read(server: Server, content: str, body: str) -> None:
    """RFC 9112, 7.1: what is within the grammar is read, and the next behind it."""
    assert_read(server, CHUNKED + content, [body])


@pytest.mark.parametrize(("content", "body"), READ_CHUNKS)
def test_chunks_are_streamed(streaming: Server, content: str, body: str) -> None:
    """RFC 9112, 7.1: the same where the application reads meanwhile."""
    raw = (CHUNKED + content).replace("Host", "X-App: read\r\nHost", 1)
    with streaming.connect() as client:
        client.send(raw.encode() + b"GET /behind HTTP/1.1\r\nHost: h\r\n\r\n")
        assert client.final().json()["body"] == body
        check_behind(client)


CHUNKS_OF_TASTE = [
    case("seventeen digits", "00000000000000005"),
    case("a hundred zeros", "0" * 100 + "5"),
    case("a semicolon and nothing", "5;"),
    case("a semicolon and a space", "5; "),
    case("two semicolons", "5;;"),
    case("white space before the semicolon (BWS)", "5 ;a=b"),
    case("a tab before the semicolon", "5\t;a=b"),
    case("white space behind the semicolon", "5; a=b"),
    case("white space around the equals sign", "5;a = b"),
    case("white space last", "5;a=b "),
    case("no name", "5;=b"),
    case("no value", "5;a="),
    case("a name that is no token", "5;a b"),
    case("a quote without end", '5;a="b'),
    case("something behind a quote", '5;a="b"c'),
    case("obs-text in an extension", "5;a=\xe4"),
    case("obs-text in quotes", '5;a="\xe4"'),
]


@pytest.mark.parametrize("size", CHUNKS_OF_TASTE)
def test_chunk_that_may_be_refused(server: Server, size: str) -> None:
    """RFC 9112, 7.1: five bytes by any reading; refused, or read as five."""
    raw = f"{CHUNKED}{size}\r\nhello\r\n0\r\n\r\n"
    assert_refused_or_read(server, raw, "hello")


# --- where a request ends, and the next begins

SEQUENCES: list[Any] = [
    case("chunks, then a request", CHUNKED + HELLO, ["hello"]),
    case("GET with a length", GET + "Content-Length: 5\r\n\r\nhello", ["hello"]),
    case(
        "GET with chunks", GET + "Transfer-Encoding: chunked\r\n\r\n" + HELLO, ["hello"]
    ),
    case(
        "a body that is a request",
        POST + "Content-Length: 26\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r",
        ["GET / HTTP/1.1\r\nHost: x\r\n\r"],
    ),
    case("POST without a length (6.3)", POST + "\r\n", [""]),
    case("one empty line before (2.2)", "\r\n" + GET + "\r\n", [""]),
    case("an Upgrade that nobody takes", GET + "Upgrade: h2c, websocket\r\n\r\n", [""]),
    case(
        "an Upgrade with a body",
        POST + "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\nhello",
        ["hello"],
    ),
    case("HTTP2-Settings", GET + "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", [""]),
]


@pytest.mark.parametrize(("raw", "bodies"), SEQUENCES)
def test_request_ends_where_it_ends(
    server: Server, raw: str, bodies: list[str]
) -> None:
    """RFC 9112, 6.3: the next request stands behind the body, no byte elsewhere."""
    assert_read(server, raw, bodies)


def test_body_shorter_than_what_comes(server: Server) -> None:
    """RFC 9112, 6.3: what is behind the length is a request, here a bad one."""
    token = new_token()
    raw = telling(POST) + "Content-Length: 2\r\n\r\nhello\r\n\r\n"
    with server.connect() as client:
        client.send(raw.encode() + with_token(SMUGGLED, token))
        check_body(client.final(), "he")
        assert client.final().status in (400, 505)
        client.assert_closed()
    server.assert_never_called(token)


BARE = [
    case("LF for all", "GET /@ HTTP/1.1\nHost: h\n\n"),
    case("LF after the request line", "GET /@ HTTP/1.1\nHost: h\r\n\r\n"),
    case("LF after a field", "GET /@ HTTP/1.1\r\nHost: h\nX: y\r\n\r\n"),
    case("LF for the last line", GET + "\n"),
    case("LF LF", "GET /@ HTTP/1.1\r\nHost: h\n\n"),
    case("LF CR LF", "GET /@ HTTP/1.1\r\nHost: h\n\r\n"),
    case("CR for all", "GET /@ HTTP/1.1\rHost: h\r\r"),
    case("CR after the request line", "GET /@ HTTP/1.1\rHost: h\r\n\r\n"),
    case("CR after a field", "GET /@ HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"),
    case("CR CR LF after a field", "GET /@ HTTP/1.1\r\nHost: h\r\r\n\r\n"),
    case("CR CR LF for the last line", GET + "\r\r\n"),
    case("CR X for the last line", GET + "\rX"),
    case("LF CR for the last line", GET + "\n\r"),
    case("an LF first", "\nGET /@ HTTP/1.1\r\nHost: h\n\n"),
    case("a CR first", "\rGET /@ HTTP/1.1\r\nHost: h\r\n\r\n"),
    case("an empty line of spaces", GET + " \r\n\r\n"),
    case("a body's LF", POST + "Content-Length: 5\n\r\nhello"),
]


@pytest.mark.parametrize("raw", BARE)
def test_bare_cr_or_lf(server: Server, raw: str) -> None:
    """RFC 9112, 2.2: a line ends with CRLF; all else is refused."""
    server.assert_refused(raw, {400}, SMUGGLED)


FOLDED = [
    case("before the first field (2.2)", " Host: h\r\nHost: h"),
    case("in Host", "Host:\r\n h"),
    case("in Host, behind", "Host: h\r\n i"),
    case("behind Host, of nothing", "Host: h\r\n "),
    case("in any field", "Host: h\r\nA: b\r\n c"),
    case("in any field, by a tab", "Host: h\r\nA: b\r\n\tc"),
    case("in an empty field", "Host: h\r\nA:\r\n b"),
    case("twice", "Host: h\r\nA: b\r\n c\r\n d"),
    case("with a colon", "Host: h\r\nA: b\r\n C: d"),
    case("in Connection", "Host: h\r\nConnection: keep-alive,\r\n close"),
    case("in Expect", "Host: h\r\nExpect:\r\n 100-continue"),
    case("in a name", "Host: h\r\nA\r\n : b"),
]


@pytest.mark.parametrize("lines", FOLDED)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_obs_fold(server: Server, lines: str, version: str) -> None:
    """RFC 9112, 5.2: a server refuses obs-fold, in any place."""
    raw = f"GET /@ HTTP/{version}\r\n{lines}\r\n\r\n"
    server.assert_refused(raw, {400}, SMUGGLED)


# --- who is meant (RFC 9112, 3.2)

HOSTS = [
    case("two", "GET /@ HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n"),
    case("the same twice", "GET /@ HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n"),
    case("two, one empty", "GET /@ HTTP/1.1\r\nHost: h\r\nHost:\r\n\r\n"),
    case("two in HTTP/1.0", "GET /@ HTTP/1.0\r\nHost: h\r\nHost: i\r\n\r\n"),
    case("none", "GET /@ HTTP/1.1\r\n\r\n"),
    case("none, with a target that has one", "GET http://h/@ HTTP/1.1\r\n\r\n"),
    case("two, with a target", "GET http://h/@ HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n"),
    case("a list", "GET /@ HTTP/1.1\r\nHost: h, i\r\n\r\n"),
    case("a space", "GET /@ HTTP/1.1\r\nHost: h i\r\n\r\n"),
    case("userinfo", "GET /@ HTTP/1.1\r\nHost: u@h\r\n\r\n"),
    case("a path", "GET /@ HTTP/1.1\r\nHost: h/x\r\n\r\n"),
    case("a bad port", "GET /@ HTTP/1.1\r\nHost: h:x\r\n\r\n"),
    case("a bad address", "GET /@ HTTP/1.1\r\nHost: [::g]\r\n\r\n"),
    case("a control character", "GET /@ HTTP/1.1\r\nHost: h\x7f\r\n\r\n"),
    case("a bad one in HTTP/1.0", "GET /@ HTTP/1.0\r\nHost: h/x\r\n\r\n"),
    case("a space before the colon", "GET /@ HTTP/1.1\r\nHost : h\r\n\r\n"),
    case("userinfo in the target", "GET http://u@h/@ HTTP/1.1\r\nHost: h\r\n\r\n"),
    case("a bad target", "GET http://h:x/@ HTTP/1.1\r\nHost: h\r\n\r\n"),
    case("another scheme", "GET ftp://h/@ HTTP/1.1\r\nHost: h\r\n\r\n"),
]


@pytest.mark.parametrize("raw", HOSTS)
def test_host_that_is_doubtful(server: Server, raw: str) -> None:
    """RFC 9112, 3.2: it is refused with 400, and the connection ends with it."""
    server.assert_refused(raw, {400}, SMUGGLED)


def test_target_with_another_host(server: Server) -> None:
    """RFC 9112, 3.2.2: the target's host counts; the Host field is ignored."""
    raw = b"GET http://target/a HTTP/1.1\r\nHost: field\r\n\r\n"
    with server.connect() as client:
        client.send(raw + b"GET /behind HTTP/1.1\r\nHost: field\r\n\r\n")
        environ = client.final().json()["environ"]
        assert (environ["HTTP_HOST"], environ["PATH_INFO"]) == ("target", "/a")
        environ = client.final().json()["environ"]
        assert (environ["HTTP_HOST"], environ["PATH_INFO"]) == ("field", "/behind")


@pytest.mark.parametrize("length", ["", "Content-Length: 5\r\n"])
def test_connect_opens_no_tunnel(server: Server, length: str) -> None:
    """RFC 9110, 9.3.6: what is behind CONNECT is data to some: 501, and the end."""
    raw = f"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n{length}\r\n"
    server.assert_refused(raw, {400, 405, 501}, SMUGGLED)


@pytest.mark.parametrize("fields", ["", "Host: h\r\n", "Host:\r\n"])
def test_http_1_0_needs_no_host(server: Server, fields: str) -> None:
    """RFC 9112, 3.2: only HTTP/1.1 must have one; nothing is read behind."""
    token = new_token()
    with server.connect() as client:
        client.send(f"GET / HTTP/1.0\r\n{fields}\r\n".encode())
        client.send(with_token(SMUGGLED, token))
        assert client.final().status == 200
        client.assert_closed()
    server.assert_never_called(token)


# --- the same where bodies are streamed

STREAMED = [
    *BAD_CODINGS[:8],
    case("with a length", "chunked\r\nContent-Length: 5"),
]


@pytest.mark.parametrize("coding", STREAMED)
def test_bad_header_is_never_streamed(streaming: Server, coding: str) -> None:
    """RFC 9112, 6: the framing is decided before the application is called."""
    raw = f"{POST}X-App: read\r\nTransfer-Encoding: {coding}\r\n\r\n{HELLO}"
    streaming.assert_refused(raw, {400, 501}, SMUGGLED)


@pytest.mark.parametrize("app", ["read", "echo at once", "refuse"])
@pytest.mark.parametrize("content", CHUNKS)
def test_bad_chunk_of_a_streamed_body(
    streaming: Server, content: str, app: str
) -> None:
    """RFC 9112, 7.1: called or not by then, it is the last request."""
    token = new_token()
    behind = b"GET /smuggled-@ HTTP/1.1\r\nHost: h\r\nX-Token: smuggled-@\r\n\r\n"
    head = f"POST /{token} HTTP/1.1\r\nHost: h\r\nX-App: {app}\r\n"
    raw = f"{head}Transfer-Encoding: chunked\r\n\r\n{content}".encode()
    with streaming.connect() as client:
        client.send(raw + behind.replace(b"@", token.encode()) + b"\r\n\r\n")
        response = client.final()
        if app == "read":
            assert response.status == 400
        elif app == "echo at once":
            assert response.status == 400 or not response.complete
        else:
            assert response.status in (400, 403)
        client.assert_closed()
    streaming.assert_never_called(f"smuggled-{token}")
