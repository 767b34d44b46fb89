"""What an application may pass to ``start_response``."""

from __future__ import annotations

import string
from collections import UserList, UserString, namedtuple

import pytest
from doors import serve

from twisted_wsgiflush._head import Head, checked_head
from twisted_wsgiflush.errors import InvalidHeaders, InvalidStatus, WrongType

pytestmark = pytest.mark.usefixtures("door")


CHARACTERS = [chr(code) for code in range(0x180)] + ["\u20ac", "\ud800", "\U0001d7d9"]


def refusal(status: object, headers: object) -> Exception:
    """What ``start_response`` raises in an application that passes these."""
    raised: list[Exception] = []

    def application(environ, start_response):
        try:
            start_response(status, headers)
        except Exception as error:
            raised.append(error)
        start_response("204 No Content", [])
        return []

    serve(application)
    (error,) = raised
    return error


def accepted_around(form: str, status: bool = False, name: bool = False) -> set[str]:
    """The characters that may stand where ``form`` has a ``{}``."""
    accepted = set()
    for character in CHARACTERS:
        text = form.format(character)
        try:
            if status:
                checked_head(text, [])
            else:
                checked_head("200 OK", [(text, "value") if name else ("X-One", text)])
        except (InvalidStatus, InvalidHeaders):
            continue
        accepted.add(character)
    return accepted


# Types

WRONG_TYPES = [
    (b"200 OK", [], "status must be str, not b'200 OK' (bytes)"),
    (200, [], "status must be str, not 200 (int)"),
    (None, [], "status must be str, not None (NoneType)"),
    (
        UserString("200 OK"),
        [],
        "status must be str, not '200 OK' (UserString)",
    ),
    ("200 OK", None, "headers must be a list, not None (NoneType)"),
    ("200 OK", "X: y", "headers must be a list, not 'X: y' (str)"),
    ("200 OK", {"X": "y"}, "headers must be a list, not {'X': 'y'} (dict)"),
    ("200 OK", {("X", "y")}, "headers must be a list, not {('X', 'y')} (set)"),
    ("200 OK", [None], "header must be a (str, str) tuple, not None (NoneType)"),
    ("200 OK", ["Xy"], "header must be a (str, str) tuple, not 'Xy' (str)"),
    (
        "200 OK",
        [{"X": "y"}],
        "header must be a (str, str) tuple, not {'X': 'y'} (dict)",
    ),
    ("200 OK", [()], "header must be a (str, str) tuple, not ()"),
    ("200 OK", [("X",)], "header must be a (str, str) tuple, not ('X',)"),
    (
        "200 OK",
        [("X", "y", "z")],
        "header must be a (str, str) tuple, not ('X', 'y', 'z')",
    ),
    ("200 OK", [(b"X", "y")], "header must be (str, str) tuple, not (b'X', 'y')"),
    ("200 OK", [("X", b"y")], "header must be (str, str) tuple, not ('X', b'y')"),
    ("200 OK", [(None, "y")], "header must be (str, str) tuple, not (None, 'y')"),
    ("200 OK", [("X", 1)], "header must be (str, str) tuple, not ('X', 1)"),
    ("200 OK", [("A", "b"), (1, 2)], "header must be (str, str) tuple, not (1, 2)"),
]


@pytest.mark.parametrize(("status", "headers", "message"), WRONG_TYPES)
def test_a_wrong_type(status: object, headers: object, message: str) -> None:
    """A value of a wrong type is refused when start_response is called, by name."""
    error = refusal(status, headers)

    assert type(error) is WrongType
    assert str(error) == message


def test_an_iterator_is_no_list() -> None:
    """Headers that could be read only once are refused."""
    error = refusal("200 OK", iter([("X", "y")]))

    assert type(error) is WrongType
    assert "headers must be a list" in str(error)
    assert "(list_iterator)" in str(error)


TOLERATED = [
    (("X-One", "1"),),
    (("X-One", "1"), ("X-Two", "it must be so")),
    UserList([("X-One", "1")]),
]


@pytest.mark.parametrize("headers", TOLERATED, ids=repr)
def test_another_sequence_than_a_list(headers: object) -> None:
    """Any sequence of headers is taken, and the application's line is warned of."""

    def application(environ, start_response):
        start_response("200 OK", headers)
        return []

    with pytest.warns(RuntimeWarning) as warned:
        response = serve(application).drain()

    assert b"\r\nX-One: 1\r\n" in response
    assert [(str(warning.message), warning.filename) for warning in warned] == [
        (
            f"headers should be a list, not {headers!r} ({type(headers).__name__})",
            __file__,
        )
    ]


@pytest.mark.parametrize("header", [["X-One", "1"], UserList(["X-One", "1"])], ids=repr)
def test_another_sequence_than_a_tuple(header: object) -> None:
    """Any sequence of a name and a value is taken, and warned of."""

    def application(environ, start_response):
        start_response("200 OK", [header])
        return []

    with pytest.warns(RuntimeWarning) as warned:
        response = serve(application).drain()

    assert b"\r\nX-One: 1\r\n" in response
    assert [str(warning.message) for warning in warned] == [
        f"header should be a (str, str) tuple, not {header!r} ({type(header).__name__})"
    ]


def test_a_tolerated_sequence_is_checked_all_the_same() -> None:
    """A list in place of a tuple must have a name and a value, too."""
    with pytest.warns(RuntimeWarning, match="should be"):
        error = refusal("200 OK", [["X-One"]])

    assert type(error) is WrongType


def test_subclasses_are_as_good() -> None:
    """What is a str, a list or a tuple by inheritance needs no warning."""

    class Text(str):
        pass

    class Headers(list):
        pass

    pair = namedtuple("pair", "name value")

    head = checked_head(Text("200 OK"), Headers([pair(Text("X-One"), Text("1"))]))

    assert head == Head(200, b"OK", [(b"X-One", b"1")], None)


# The status line


@pytest.mark.parametrize(
    "status",
    [
        "",
        " ",
        "OK",
        "200",
        "20 OK",
        "2000 OK",
        "000 OK",
        "099 OK",
        "200OK",
        "200\tOK",
        "200\xa0OK",
        " 200 OK",
        "\n200 OK",
        "200 OK\n",
        "200 OK\r\nX-One: 1",
        "+20 OK",
        "-20 OK",
        "2_0 OK",
        "2.0 OK",
        "20² OK",
        "\uff12\uff10\uff10 OK",
        "HTTP/1.1 200 OK",
    ],
)
def test_an_invalid_status(status: str) -> None:
    """What is not three digits, a space and a reason is refused."""
    error = refusal(status, [])

    assert type(error) is InvalidStatus
    assert str(error) == (
        f"status must be three digits, a space and a reason in ISO-8859-1 "
        f"without control characters, not {status!r}"
    )


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        ("200 OK", 200, b"OK"),
        ("200 ", 200, b""),
        ("200  ", 200, b" "),
        ("100 Continue", 100, b"Continue"),
        ("999 Message here", 999, b"Message here"),
        ("404 Caf\xe9", 404, b"Caf\xe9"),
        ("404 A\tB", 404, b"A\tB"),
    ],
)
def test_a_valid_status(status: str, code: int, reason: bytes) -> None:
    """The code is a number, and the reason is encoded in ISO-8859-1."""
    assert checked_head(status, []) == Head(code, reason, [], None)


LATIN_1_TEXT = {"\t", *map(chr, (*range(0x20, 0x7F), *range(0x80, 0x100)))}


@pytest.mark.parametrize("form", ["200 {}", "200 {}b", "200 a{}b", "200 a{}"])
def test_the_characters_of_a_reason(form: str) -> None:
    """A reason is ISO-8859-1 without control characters but the tab."""
    assert accepted_around(form, status=True) == LATIN_1_TEXT


# Names and values


@pytest.mark.parametrize("form", ["{}", "{}b", "a{}b", "a{}"])
def test_the_characters_of_a_name(form: str) -> None:
    """The name of a header is a token, as RFC 9110, 5.6.2, has it."""
    token = {*"!#$%&'*+-.^_`|~", *string.digits, *string.ascii_letters}

    assert accepted_around(form, name=True) == token


@pytest.mark.parametrize("form", ["{}", "{}b", "a{}b", "a{}"])
def test_the_characters_of_a_value(form: str) -> None:
    """The value of a header is ISO-8859-1 without control characters but the tab."""
    assert accepted_around(form) == LATIN_1_TEXT


@pytest.mark.parametrize(
    "header",
    [
        ("", "value"),
        ("X One", "value"),
        ("X-One:", "value"),
        ("X-One\r\nX-Two", "value"),
        ("Größe", "value"),
    ],
)
def test_an_invalid_name(header: tuple[str, str]) -> None:
    """A name that is no token is refused, and the message shows it."""
    error = refusal("200 OK", [("X-Fine", "fine"), header])

    assert type(error) is InvalidHeaders
    assert str(error) == (
        f"the name of a header must be a token (RFC 9110, 5.6.2), not {header!r}"
    )


@pytest.mark.parametrize(
    "header",
    [
        ("X-One", "1\r\nX-Two: 2"),
        ("X-One", "1\n 2"),
        ("X-One", "1\r"),
        ("X-One", "1\0"),
        ("X-One", "5 €"),
    ],
)
def test_an_invalid_value(header: tuple[str, str]) -> None:
    """A value that would end the header, or has no encoding, is refused."""
    error = refusal("200 OK", [("X-Fine", "fine"), header])

    assert type(error) is InvalidHeaders
    assert str(error) == (
        f"the value of a header must be ISO-8859-1 without control characters, "
        f"not {header!r}"
    )


HOP_BY_HOP = [
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "TE",
    "Trailer",
    "Trailers",
    "Transfer-Encoding",
    "Upgrade",
]


@pytest.mark.parametrize("fold", [str, str.lower, str.upper])
@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_a_hop_by_hop_header(name: str, fold: type[str]) -> None:
    """What concerns the connection is the server's, in whatever case it is written."""
    error = refusal("200 OK", [(fold(name), "value")])

    assert type(error) is InvalidHeaders
    assert str(error) == (
        f"{fold(name)} is a hop-by-hop header, which only the server may set; "
        f"leave {(fold(name), 'value')!r} out"
    )


@pytest.mark.parametrize(
    "name", ["Connections", "X-Upgrade", "Trailer-X", "Content-Encoding", "Date"]
)
def test_a_header_that_is_the_applications(name: str) -> None:
    """A name that only resembles one of those is like any other."""
    head = checked_head("200 OK", [(name, "value")])

    assert head.headers == [(name.encode(), b"value")]


# Content-Length


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1_0",
        "1.0",
        "1,1",
        "0x1",
        "²",
        "one",
        "1\t",
        pytest.param("9" * 5000, id="5000 digits"),
    ],
)
def test_a_bad_content_length(value: str) -> None:
    """What is not a plain decimal number is refused."""
    header = ("Content-LENGTH", value)

    error = refusal("200 OK", [header])

    assert type(error) is InvalidHeaders
    assert str(error) == (
        f"Content-Length must be one decimal number of bytes, not {header!r}"
    )


@pytest.mark.parametrize("lengths", [("1", "2"), ("1", "1"), ("0", "1"), ("0", "0")])
def test_two_content_lengths(lengths: tuple[str, str]) -> None:
    """There may be one only, even if the other says the same."""
    headers = [("Content-Length", lengths[0]), ("content-length", lengths[1])]

    error = refusal("200 OK", headers)

    assert type(error) is InvalidHeaders
    assert repr(headers[1]) in str(error)
    assert repr(headers) in str(error)


@pytest.mark.parametrize(
    ("value", "length"), [("0", 0), ("7", 7), ("007", 7), (str(2**64), 2**64)]
)
def test_a_content_length(value: str, length: int) -> None:
    """A Content-Length is sent as the application wrote it, and known as a number."""
    head = checked_head("200 OK", [("content-LENGTH", value)])

    assert head == Head(200, b"OK", [(b"content-LENGTH", value.encode())], length)


# All of it


def test_headers_are_encoded_in_their_order() -> None:
    """Names, values, repetitions and order are the application's."""
    headers = [
        ("Set-Cookie", "a=1"),
        ("X-Empty", ""),
        ("Content-Length", "5"),
        ("x-caf", "caf\xe9 "),
        ("Set-Cookie", "b=2"),
    ]

    head = checked_head("200 OK", headers)

    assert head == Head(
        200,
        b"OK",
        [
            (b"Set-Cookie", b"a=1"),
            (b"X-Empty", b""),
            (b"Content-Length", b"5"),
            (b"x-caf", b"caf\xe9 "),
            (b"Set-Cookie", b"b=2"),
        ],
        5,
        special=True,
    )


def test_the_applications_list_stays_its_own() -> None:
    """What the application does to its list afterwards changes nothing."""
    headers = [("X-One", "1")]

    def application(environ, start_response):
        start_response("200 Caf\xe9", headers)
        headers.append(("X-Two", "2"))
        return [b"body"]

    response = serve(application).drain()

    assert response.startswith(b"HTTP/1.1 200 Caf\xe9\r\n")
    assert b"\r\nX-One: 1\r\n" in response
    assert b"X-Two" not in response
    assert headers == [("X-One", "1"), ("X-Two", "2")]


def test_a_head_shows_what_it_is() -> None:
    """As it is on the wire."""
    head = checked_head("200 OK", [("X-One", "1")])

    assert repr(head) == "<Head b'HTTP/1.1 200 OK\\r\\nX-One: 1\\r\\n'>"
