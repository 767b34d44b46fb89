"""
What an application finds in ``environ`` (PEP 3333, "environ Variables").
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from wire import Server, case, new_token, request

# What is said on the wire, and not when: the reactor only carries it.
pytestmark = pytest.mark.one_reactor

# --- keys that are always there

REQUIRED = [
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
]
CUSTOMARY = ["REMOTE_ADDR", "REMOTE_PORT", "SERVER_SOFTWARE", "REQUEST_URI", "RAW_URI"]
WSGI_TYPES = {
    "wsgi.version": "tuple",
    "wsgi.url_scheme": "str",
    "wsgi.multithread": "bool",
    "wsgi.multiprocess": "bool",
    "wsgi.run_once": "bool",
    "wsgi.input_terminated": "bool",
}


def shown(server: Server, data: bytes) -> dict[str, Any]:
    """Return all that the application tells about its environ."""
    found: dict[str, Any] = server.ask(data).json()
    return found


@pytest.mark.parametrize("key", REQUIRED + CUSTOMARY)
def test_cgi_key_is_a_native_string(server: Server, key: str) -> None:
    """Each CGI variable is there, and of the type ``str`` itself."""
    assert shown(server, request("/path?query"))["types"][key] == "str"


@pytest.mark.parametrize(("key", "name"), WSGI_TYPES.items())
def test_wsgi_key_has_its_type(server: Server, key: str, name: str) -> None:
    """Each ``wsgi.`` key is there, and of the type that PEP 3333 names."""
    assert shown(server, request())["types"][key] == name


WSGI_VALUES = [
    case("version is 1.0", "wsgi.version", "(1, 0)"),
    case("scheme of a TCP listener is http", "wsgi.url_scheme", "http"),
    case("one thread, so multithread is false", "wsgi.multithread", "False"),
    case("one process, so multiprocess is false", "wsgi.multiprocess", "False"),
    case("the process serves more than once", "wsgi.run_once", "False"),
    case("input ends by itself", "wsgi.input_terminated", "True"),
]


@pytest.mark.parametrize(("key", "value"), WSGI_VALUES)
def test_wsgi_key_has_its_value(server: Server, key: str, value: str) -> None:
    """Each ``wsgi.`` key is true to the facts."""
    assert server.environ()[key] == value


@pytest.mark.parametrize(
    ("key", "methods"),
    [
        ("wsgi.input", {"read", "readline", "readlines"}),
        ("wsgi.errors", {"write", "writelines", "flush"}),
    ],
)
def test_stream_has_its_methods(server: Server, key: str, methods: set[str]) -> None:
    """The streams have the methods of PEP 3333, "Input and Error Streams"."""
    assert methods <= set(shown(server, request())["offers"][key])


def test_environ_is_a_builtin_dict(server: Server) -> None:
    """PEP 3333: a builtin dictionary, not a subclass; its keys are strings."""
    found = shown(server, request())
    assert found["dict"]
    assert found["keys"]


def test_environ_belongs_to_one_request(server: Server) -> None:
    """The application may change environ; the next request does not see it."""
    with server.connect() as client:
        client.send(request(app="spoil environ"))
        assert client.response().body == b"spoilt"
        client.send(request())
        found = client.response().json()["environ"]
    assert "spoilt" not in found
    assert (found["REQUEST_METHOD"], found["SCRIPT_NAME"]) == ("GET", "")


def test_environ_holds_no_variables_of_the_process(server: Server) -> None:
    """The server's own environment is nobody's business."""
    assert not {"PATH", "HOME", "PYTHONUNBUFFERED"} & set(server.environ())


def test_cgi_values_are_latin_1(server: Server) -> None:
    """Each ``str`` holds bytes: no character is above U+00FF."""
    lines = [("X-Euro", "\u20ac".encode())]
    found = server.environ("/%E2%82%AC?%E2%82%AC", headers=lines)
    strings = [v for k, v in found.items() if k.isupper()]
    assert all(character <= "\xff" for value in strings for character in value)
    assert found["HTTP_X_EURO"] == "\xe2\x82\xac"


# --- the request line

METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]
METHODS += ["M-SEARCH", "get", "Post", "X", "A!#$%&'*+-.^_`|~9"]


@pytest.mark.parametrize("method", METHODS)
def test_method_is_passed_on(server: Server, method: str) -> None:
    """RFC 9110, 9.1: a method is any token, and case-sensitive."""
    assert server.environ("/x", method=method)["REQUEST_METHOD"] == method


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_server_protocol_is_the_requests(server: Server, version: str) -> None:
    """SERVER_PROTOCOL is the version that the client used."""
    assert server.environ(version=version)["SERVER_PROTOCOL"] == version


TARGETS = [
    # target, PATH_INFO, QUERY_STRING
    case("the root", "/", "/", ""),
    case("a path", "/a/b", "/a/b", ""),
    case("a trailing slash", "/a/", "/a/", ""),
    case("two slashes first", "//a", "//a", ""),
    case("what looks like an authority", "//host/a", "//host/a", ""),
    case("only slashes", "///", "///", ""),
    case("two slashes within", "/a//b", "/a//b", ""),
    case("two slashes last", "/a//", "/a//", ""),
    case("a dot segment", "/a/./b", "/a/./b", ""),
    case("two dots", "/a/../b", "/a/../b", ""),
    case("two dots first", "/../b", "/../b", ""),
    case("encoded dots", "/%2e%2E/b", "/../b", ""),
    case("an encoded space", "/a%20b", "/a b", ""),
    case("a plus is no space", "/a+b", "/a+b", ""),
    case("an encoded slash", "/a%2Fb", "/a/b", ""),
    case("an encoded slash in small letters", "/a%2fb", "/a/b", ""),
    case("an encoded slash last", "/a%2F", "/a/", ""),
    case("an encoded question mark", "/a%3Fb?c", "/a?b", "c"),
    case("an encoded percent sign", "/100%25", "/100%", ""),
    case("decoded once only", "/%2541", "/%41", ""),
    case("an encoded NUL", "/a%00b", "/a\x00b", ""),
    case("an encoded CRLF", "/a%0D%0Ab", "/a\r\nb", ""),
    case("UTF-8", "/%C3%BC", "/\xc3\xbc", ""),
    case("UTF-8 of three bytes", "/%E2%82%AC", "/\xe2\x82\xac", ""),
    case("invalid UTF-8", "/%FF%C3", "/\xff\xc3", ""),
    case("UTF-8 cut by a slash", "/%C3/%BC", "/\xc3/\xbc", ""),
    case("parameters of a segment", "/a;b=c/d", "/a;b=c/d", ""),
    case("a colon", "/a:b", "/a:b", ""),
    case("what looks like a URL", "/http://h/", "/http://h/", ""),
    case("sub-delimiters", "/!$&'()*+,;=:@", "/!$&'()*+,;=:@", ""),
    case("unreserved marks", "/-._~", "/-._~", ""),
    case("a star within the path", "/*", "/*", ""),
    case("a query", "/a?b=c", "/a", "b=c"),
    case("an empty query", "/a?", "/a", ""),
    case("a second question mark", "/a?b?c", "/a", "b?c"),
    case("a query is not decoded", "/a?b=%20%2F+c", "/a", "b=%20%2F+c"),
    case("a query with a slash", "/a?/b/../c", "/a", "/b/../c"),
    case("a query with an address", "/a?u=http://h/x?y", "/a", "u=http://h/x?y"),
    case("a query with braces", "/a?b[]={c}|", "/a", "b[]={c}|"),
    case("a query at the root", "/?b", "/", "b"),
]


@pytest.mark.parametrize(("target", "path", "query"), TARGETS)
def test_target_is_taken_apart(
    server: Server, target: str, path: str, query: str
) -> None:
    """PATH_INFO is percent-decoded, bytes as latin-1; QUERY_STRING is as it came."""
    found = server.environ(target)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("", path)
    assert found["QUERY_STRING"] == query


@pytest.mark.parametrize(("target", "path", "query"), TARGETS)
def test_raw_target_is_kept(server: Server, target: str, path: str, query: str) -> None:
    """REQUEST_URI and RAW_URI are the request target as it came, not decoded."""
    found = server.environ(target)
    assert (found["REQUEST_URI"], found["RAW_URI"]) == (target, target)


LENIENT_TARGETS = [
    case("a percent sign that encodes nothing", b"/a%zz"),
    case("a percent sign last", b"/a%"),
    case("half an encoded byte", b"/a%4"),
    case("a fragment", b"/a#b"),
    case("quotes and brackets", b'/"<>[]{}|\\^`'),
    case("a byte above 0x7F", b"/\xa4"),
    case("a byte above 0xB0", b"/\xff"),
    case("a DEL", b"/a\x7f"),
]


@pytest.mark.parametrize("target", LENIENT_TARGETS)
def test_invalid_target_is_refused_or_kept(server: Server, target: bytes) -> None:
    """RFC 9112, 3: a target outside the grammar is refused, or passed on unchanged."""
    response = server.ask(request(target))
    if response.status != 400:
        found = response.json()["environ"]
        text = target.decode("latin-1")
        assert found["RAW_URI"] == text
        assert found["PATH_INFO"] in (text, text.partition("#")[0])


ABSOLUTE = [
    # target, PATH_INFO, QUERY_STRING, HTTP_HOST
    case("with a path", "http://a.example/b/c", "/b/c", "", "a.example"),
    case("with the root", "http://a.example/", "/", "", "a.example"),
    case("without a path", "http://a.example", "/", "", "a.example"),
    case("with a port", "http://a.example:81/b", "/b", "", "a.example:81"),
    case("with an empty port", "http://a.example:/b", "/b", "", "a.example:"),
    case("with a query", "http://a.example/b?c=d", "/b", "c=d", "a.example"),
    case("query without path", "http://a.example?c=d", "/", "c=d", "a.example"),
    case(
        "query with an address",
        "http://a.example/?http://x/y",
        "/",
        "http://x/y",
        "a.example",
    ),
    case("encoded path", "http://a.example/%C3%BC%2F", "/\xc3\xbc/", "", "a.example"),
    case("two slashes", "http://a.example//b", "//b", "", "a.example"),
    case("dots", "http://a.example/../b", "/../b", "", "a.example"),
    case("scheme in capitals", "HTTP://a.example/b", "/b", "", "a.example"),
    case("an IPv6 address", "http://[::1]:81/b", "/b", "", "[::1]:81"),
    case("an IPv4 address", "http://127.0.0.1/b", "/b", "", "127.0.0.1"),
]


@pytest.mark.parametrize(("target", "path", "query", "host"), ABSOLUTE)
def test_absolute_form(
    server: Server, target: str, path: str, query: str, host: str
) -> None:
    """RFC 9112, 3.2.2: absolute-form is accepted; its path is the path."""
    found = server.environ(target)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("", path)
    assert found["QUERY_STRING"] == query
    assert (found["REQUEST_URI"], found["RAW_URI"]) == (target, target)


@pytest.mark.parametrize(("target", "path", "query", "host"), ABSOLUTE)
def test_absolute_form_replaces_host(
    server: Server, target: str, path: str, query: str, host: str
) -> None:
    """RFC 9112, 3.2.2: the origin server ignores Host and takes the target's."""
    assert server.environ(target)["HTTP_HOST"] == host


def test_absolute_form_without_host_in_http_1_0(server: Server) -> None:
    """RFC 9112, 3.2.2: the target names the host, with no Host field needed."""
    found = server.environ("http://a.example/b", version="HTTP/1.0", host=None)
    assert (found["PATH_INFO"], found["HTTP_HOST"]) == ("/b", "a.example")


def test_absolute_form_with_userinfo(server: Server) -> None:
    """RFC 9110, 4.2.4: userinfo is an error, or at least never part of the host."""
    response = server.ask(request("http://me:secret@a.example/b"))
    if response.status != 400:
        found = response.json()["environ"]
        assert (found["PATH_INFO"], found["HTTP_HOST"]) == ("/b", "a.example")


def test_absolute_form_of_options(server: Server) -> None:
    """OPTIONS for a URL reaches the application like any other method."""
    found = server.environ("http://a.example/b", method="OPTIONS")
    assert (found["REQUEST_METHOD"], found["PATH_INFO"]) == ("OPTIONS", "/b")


def test_long_target_is_kept(server: Server) -> None:
    """RFC 9112, 3: request lines of 8000 octets at least are supported."""
    target = "/" + "a" * 4000 + "?" + "b" * 3900
    found = server.environ(target)
    assert found["RAW_URI"] == target
    assert found["PATH_INFO"] + "?" + found["QUERY_STRING"] == target


# --- the mount point

MOUNTED = [
    # target, PATH_INFO
    case("exactly", "/mounted/here", ""),
    case("with a slash", "/mounted/here/", "/"),
    case("a path below", "/mounted/here/a/b", "/a/b"),
    case("two slashes below", "/mounted/here//a", "//a"),
    case("slashes only", "/mounted/here///", "///"),
    case("dots below", "/mounted/here/../a", "/../a"),
    case("an encoded slash below", "/mounted/here/a%2Fb", "/a/b"),
    case("an encoded slash first", "/mounted/here/%2Fb", "//b"),
    case("invalid UTF-8 below", "/mounted/here/%FF", "/\xff"),
    case("a NUL below", "/mounted/here/%00", "/\x00"),
    case("letters of the mount point encoded", "/m%6Funted/h%65re/a", "/a"),
    case("a percent sign below", "/mounted/here/%2541", "/%41"),
    case("the mount point again", "/mounted/here/mounted/here", "/mounted/here"),
    case("a query", "/mounted/here?a/b", ""),
    case("a query below", "/mounted/here/a?b/c", "/a"),
]


@pytest.mark.parametrize(("target", "path"), MOUNTED)
def test_mount_point_is_script_name(mounted: Server, target: str, path: str) -> None:
    """SCRIPT_NAME is the mount point, PATH_INFO what remains; both decoded."""
    found = mounted.environ(target)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/mounted/here", path)
    assert found["RAW_URI"] == target
    assert found["QUERY_STRING"] == target.partition("?")[2]


@pytest.mark.parametrize(
    "target",
    [
        "http://a.example/mounted/here/a",
        "http://a.example:81/mounted/here/a",
        "http://a.example/mounted/here/a?b",
    ],
)
def test_absolute_form_finds_the_mount_point(mounted: Server, target: str) -> None:
    """RFC 9112, 3.2.2: absolute-form leads to the same place as origin-form."""
    found = mounted.environ(target)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/mounted/here", "/a")


ELSEWHERE = ["/", "/mounted", "/mounted/", "/mounted/heretic", "/other"]
ELSEWHERE += ["/mounted%2Fhere", "/mounted/here%2Fa", "/Mounted/here", "//mounted/here"]


@pytest.mark.parametrize("target", ELSEWHERE)
def test_elsewhere_is_not_the_application(mounted: Server, target: str) -> None:
    """Beside the mount point the server answers 404 by itself."""
    token = new_token()
    assert mounted.ask(request(target, token=token)).status == 404
    calls = mounted.ask(request(f"/mounted/here?{token}", app="calls")).json()
    assert calls == []


# --- header fields

FIELDS = [
    # lines, key, value
    case("a plain one", [("X-One", "1")], "HTTP_X_ONE", "1"),
    case("in small letters", [("x-one", "1")], "HTTP_X_ONE", "1"),
    case("in capitals", [("X-ONE", "1")], "HTTP_X_ONE", "1"),
    case("an empty value", [("X-One", "")], "HTTP_X_ONE", ""),
    case("space around the value", [("X-One", " \t 1 \t ")], "HTTP_X_ONE", "1"),
    case("space within the value", [("X-One", "a  b\tc")], "HTTP_X_ONE", "a  b\tc"),
    case("a colon in the value", [("X-One", "a: b")], "HTTP_X_ONE", "a: b"),
    case("latin-1", [("X-One", "\xe4\xff")], "HTTP_X_ONE", "\xe4\xff"),
    case("UTF-8", [("X-One", b"\xc3\xbc")], "HTTP_X_ONE", "\xc3\xbc"),
    case(
        "no-break space and NEL", [("X-One", b"a\x85\xa0b")], "HTTP_X_ONE", "a\x85\xa0b"
    ),
    case("obs-text at the ends", [("X-One", b"\xa0a\x85")], "HTTP_X_ONE", "\xa0a\x85"),
    case("quotes", [("X-One", '"a\\"b"')], "HTTP_X_ONE", '"a\\"b"'),
    case("repeated", [("X-One", "a"), ("X-One", "b")], "HTTP_X_ONE", "a,b"),
    case(
        "thrice",
        [("X-One", "a"), ("X-One", "b"), ("X-One", "c")],
        "HTTP_X_ONE",
        "a,b,c",
    ),
    case(
        "repeated in other letters",
        [("X-One", "a"), ("x-oNE", "b")],
        "HTTP_X_ONE",
        "a,b",
    ),
    case(
        "repeated, apart",
        [("X-One", "a"), ("X-Two", "c"), ("X-One", "b")],
        "HTTP_X_ONE",
        "a,b",
    ),
    case(
        "repeated with lists",
        [("Accept", "a, b"), ("Accept", "c")],
        "HTTP_ACCEPT",
        "a, b,c",
    ),
    case("cookies", [("Cookie", "a=1"), ("Cookie", "b=2")], "HTTP_COOKIE", "a=1; b=2"),
    case("one cookie field", [("Cookie", "a=1; b=2")], "HTTP_COOKIE", "a=1; b=2"),
    case("host", [], "HTTP_HOST", "wire.example"),
    case(
        "authorization",
        [("Authorization", "Basic eDp5")],
        "HTTP_AUTHORIZATION",
        "Basic eDp5",
    ),
    case("digits in the name", [("X-1-2", "a")], "HTTP_X_1_2", "a"),
    case(
        "a forwarded address",
        [("X-Forwarded-For", "1.2.3.4")],
        "HTTP_X_FORWARDED_FOR",
        "1.2.3.4",
    ),
    case("referer", [("Referer", "http://h/?a=b")], "HTTP_REFERER", "http://h/?a=b"),
    case("a long value", [("X-One", "x" * 8000)], "HTTP_X_ONE", "x" * 8000),
    case(
        "content type", [("Content-Type", "text/x;a=b")], "CONTENT_TYPE", "text/x;a=b"
    ),
    case("name like a CGI key", [("Script-Name", "/x")], "HTTP_SCRIPT_NAME", "/x"),
    case("name like another key", [("Remote-User", "me")], "HTTP_REMOTE_USER", "me"),
]


@pytest.mark.parametrize(("lines", "key", "value"), FIELDS)
def test_field_becomes_a_key(
    server: Server, lines: list[tuple[str, str]], key: str, value: str
) -> None:
    """A field is found by its name; repeated ones are joined (RFC 9110, 5.3)."""
    found = server.environ(headers=lines)
    assert found[key] == value
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("", "/")


ABSENT = [
    # lines, key
    case(
        "content type has no HTTP_ key", [("Content-Type", "a/b")], "HTTP_CONTENT_TYPE"
    ),
    case(
        "content length has none either",
        [("Content-Length", "0")],
        "HTTP_CONTENT_LENGTH",
    ),
    case("httpoxy", [("Proxy", "http://evil/")], "HTTP_PROXY"),
    case("httpoxy in capitals", [("PROXY", "http://evil/")], "HTTP_PROXY"),
    case("an underscore", [("X_Forwarded_For", "6.6.6.6")], "HTTP_X_FORWARDED_FOR"),
    case(
        "an underscore and a dash",
        [("X-Forwarded_For", "6.6.6.6")],
        "HTTP_X_FORWARDED_FOR",
    ),
    case("an underscore first", [("_X", "a")], "HTTP__X"),
    case("an underscore last", [("X_", "a")], "HTTP_X_"),
    case(
        "a type spoofed by underscore", [("Content_Type", "a/b")], "HTTP_CONTENT_TYPE"
    ),
    case(
        "a length spoofed by underscore",
        [("Content_Length", "9")],
        "HTTP_CONTENT_LENGTH",
    ),
    case("no user from a field", [("Remote-User", "me")], "REMOTE_USER"),
    case("no scheme from a field", [("HTTPS", "on")], "HTTPS"),
    case("no field, no key", [], "HTTP_X_ONE"),
]


@pytest.mark.parametrize(("lines", "key"), ABSENT)
def test_key_is_not_there(
    server: Server, lines: list[tuple[str, str]], key: str
) -> None:
    """Some fields never become a key, for their names would lie."""
    assert key not in server.environ(headers=lines)


def test_underscore_never_joins_the_dashed_name(server: Server) -> None:
    """A spoofed name changes nothing of the true one, before or after it."""
    lines = [("X_One", "evil"), ("X-One", "good"), ("X_ONE", "evil")]
    assert server.environ(headers=lines)["HTTP_X_ONE"] == "good"


def test_underscored_length_and_type_are_not_believed(server: Server) -> None:
    """Content_Length and Content_Type set no CGI variable either."""
    lines = [("Content_Length", "9"), ("Content_Type", "a/b")]
    found = server.environ(headers=lines)
    assert found.get("CONTENT_LENGTH", "") in ("", "0")
    assert found.get("CONTENT_TYPE", "") == ""


def test_missing_content_type_is_empty_or_absent(server: Server) -> None:
    """PEP 3333: CONTENT_TYPE may be empty or absent; nothing is invented."""
    assert server.environ(method="POST", body=b"x").get("CONTENT_TYPE", "") == ""


@pytest.mark.parametrize("control", [b"\x01", b"\x0b", b"\x0c", b"\x1c", b"\x7f"])
def test_control_character_is_refused_or_kept(server: Server, control: bytes) -> None:
    """RFC 9110, 5.5: other control characters are invalid; one may retain them."""
    value = b"a" + control + b"b"
    response = server.ask(request(headers=[("X-One", value)]))
    if response.status != 400:
        found = response.json()["environ"]["HTTP_X_ONE"]
        assert found in (value.decode(), "a b")


def test_hundred_fields_arrive(server: Server) -> None:
    """A hundred fields of different names are nothing special."""
    found = server.environ(headers=[(f"X-{n}", str(n)) for n in range(100)])
    assert [found[f"HTTP_X_{n}"] for n in range(100)] == [str(n) for n in range(100)]


# --- the body's length

LENGTHS = [
    # request arguments, CONTENT_LENGTH
    case("as the client says", {"body": b"hello"}, "5"),
    case("of an empty body", {"body": b""}, "0"),
    case("of a chunked body", {"chunks": [b"hel", b"lo"]}, "5"),
    case("of an empty chunked body", {"chunks": []}, "0"),
    case("in HTTP/1.0", {"body": b"hello", "version": "HTTP/1.0"}, "5"),
]


@pytest.mark.parametrize(("arguments", "length"), LENGTHS)
def test_content_length(server: Server, arguments: dict[str, Any], length: str) -> None:
    """CONTENT_LENGTH is the body's, also for a chunked one; the coding is undone."""
    found = server.environ(method="POST", **arguments)
    assert found["CONTENT_LENGTH"] == length
    assert "HTTP_TRANSFER_ENCODING" not in found
    assert "HTTP_CONTENT_LENGTH" not in found


def test_content_length_with_leading_zeros(server: Server) -> None:
    """RFC 9110, 8.6: ``1*DIGIT``, so 005 is 5; an application's int() agrees."""
    raw = request(method="POST", headers=[("Content-Length", "005")]) + b"hello"
    assert int(server.ask(raw).json()["environ"]["CONTENT_LENGTH"]) == 5


def test_no_content_length_without_a_body(server: Server) -> None:
    """PEP 3333: CONTENT_LENGTH may be empty or absent."""
    assert server.environ().get("CONTENT_LENGTH", "") in ("", "0")


def test_trailer_fields_are_not_headers(server: Server) -> None:
    """RFC 9110, 6.5.1: a trailer is never merged into the header section."""
    raw = request(method="POST", headers=[("Transfer-Encoding", "chunked")])
    raw += b"5\r\nhello\r\n0\r\nX-Trailer: 1\r\nHost: evil\r\n\r\n"
    found = server.ask(raw).json()["environ"]
    assert "HTTP_X_TRAILER" not in found
    assert (found["HTTP_HOST"], found["CONTENT_LENGTH"]) == ("wire.example", "5")


# --- both ends

HOSTS = [
    # Host, names that are true
    case("a name", "a.example", {"a.example", "127.0.0.1", "localhost"}),
    case("a name and a port", "a.example:81", {"a.example", "127.0.0.1", "localhost"}),
    case("an IPv4 address", "127.0.0.1:81", {"127.0.0.1", "localhost"}),
    case("an IPv6 literal", "[::1]", {"[::1]", "127.0.0.1", "localhost"}),
    case("an IPv6 literal and a port", "[::1]:81", {"[::1]", "127.0.0.1", "localhost"}),
    case(
        "a name and an empty port",
        "a.example:",
        {"a.example", "127.0.0.1", "localhost"},
    ),
]


@pytest.mark.parametrize(("host", "names"), HOSTS)
def test_server_name_and_port(server: Server, host: str, names: set[str]) -> None:
    """RFC 3875, 4.1.14: a name, or an address, IPv6 in brackets; never empty."""
    found = server.environ(host=host)
    assert found["SERVER_NAME"] in names
    assert found["SERVER_PORT"] in (str(server.port), "80", "81")
    assert found["HTTP_HOST"] == host


def test_server_name_without_host(server: Server) -> None:
    """Without Host, in HTTP/1.0, name and port are the listener's."""
    found = server.environ(version="HTTP/1.0", host=None)
    assert found["SERVER_NAME"] in ("127.0.0.1", "localhost")
    assert found["SERVER_PORT"] == str(server.port)
    assert "HTTP_HOST" not in found


def test_server_name_with_empty_host(server: Server) -> None:
    """PEP 3333: SERVER_NAME and SERVER_PORT can never be empty."""
    response = server.ask(request(host=""))
    if response.status != 400:
        found = response.json()["environ"]
        assert found["SERVER_NAME"] in ("127.0.0.1", "localhost")
        assert found["SERVER_PORT"] == str(server.port)


def test_remote_address_and_port(server: Server) -> None:
    """REMOTE_ADDR and REMOTE_PORT are the client's own end."""
    with server.connect() as client:
        client.send(request())
        found = client.response().json()["environ"]
        address, port = client.sock.getsockname()
    assert (found["REMOTE_ADDR"], found["REMOTE_PORT"]) == (address, str(port))


def test_remote_address_is_not_believed_from_fields(server: Server) -> None:
    """X-Forwarded-For and Forwarded are for the application to believe or not."""
    lines = [("X-Forwarded-For", "6.6.6.6"), ("Forwarded", "for=6.6.6.6")]
    assert server.environ(headers=lines)["REMOTE_ADDR"] == "127.0.0.1"


def test_scheme_is_not_believed_from_fields(server: Server) -> None:
    """X-Forwarded-Proto is for the application to believe or not."""
    lines = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "on")]
    assert server.environ(headers=lines)["wsgi.url_scheme"] == "http"


def test_server_software_names_something(server: Server) -> None:
    """SERVER_SOFTWARE is a product and perhaps a version (RFC 3875, 4.1.17)."""
    assert re.match(r"[!-~]+", server.environ()["SERVER_SOFTWARE"])


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("host", ["a.example:81", None, "[::1]:81", "localhost"])
def test_unix_socket_has_a_name_and_a_port(
    unix: Server, version: str, host: str | None
) -> None:
    """Behind a UNIX socket, too, all CGI values are strings that are not empty."""
    if host is None and version == "HTTP/1.1":
        assert unix.ask(request(host=None)).status == 400
        return
    found = shown(unix, request("/a?b", version=version, host=host))
    for key in ("SERVER_NAME", "SERVER_PORT"):
        assert found["types"][key] == "str"
        assert found["environ"][key] != ""
    assert found["environ"]["SERVER_PORT"].isdigit()
    assert "/socket" not in found["environ"]["SERVER_NAME"]
    for key in ("REMOTE_ADDR", "REMOTE_PORT"):
        assert found["types"].get(key, "str") == "str"
    assert found["environ"]["wsgi.url_scheme"] == "http"


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_tls_is_https(tls: Server, version: str) -> None:
    """Behind TLS the scheme is https, and the peer is as well known."""
    found = tls.environ(
        "/a%20b?c", version=version, host=None if "0" in version[-1] else "h"
    )
    assert found["wsgi.url_scheme"] == "https"
    assert found["PATH_INFO"] == "/a b"
    assert found["REMOTE_ADDR"] == "127.0.0.1"
    assert found["SERVER_PORT"] in (str(tls.port), "443")


def test_tls_absolute_form(tls: Server) -> None:
    """RFC 9112, 3.2.2: an https target is no other form than an http one."""
    found = tls.environ("https://a.example/b?c")
    assert (found["PATH_INFO"], found["HTTP_HOST"]) == ("/b", "a.example")


# --- wsgi.errors


def test_errors_go_to_the_log(server: Server) -> None:
    """What is written to ``wsgi.errors`` is logged, line by line, once each."""
    token = new_token()
    mark = server.log.mark()
    assert server.ask(request("/errors", app="errors", token=token)).body == b"done"
    text = server.log.wait_for(f"{token} without an end", mark)
    for line in ("written", "line one", "line two", "printed", "without an end"):
        assert text.count(f"{token} {line}") == 1, text


def test_errors_name_the_request(server: Server) -> None:
    """The log tells by method and path whose ``wsgi.errors`` it was."""
    token = new_token()
    mark = server.log.mark()
    server.ask(request(f"/errors/{token}", method="PUT", app="errors", token="x"))
    text = server.log.wait_for("x without an end", mark)
    line = next(line for line in text.splitlines() if "x written" in line)
    assert "PUT" in line
    assert f"/errors/{token}" in line
