"""
The head of a request of HTTP/1.1 or 1.0: every rule that RFC 9112 has for it.

llhttp reads the fields, and refuses what is no field: a bare CR or LF, a fold,
whitespace before the colon, a name that is no token, a control character, and a
Content-Length that is doubled, no number, or beside a Transfer-Encoding.  What it
does not know, or is lenient about, is decided here, each rule with its section.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

import httptools

from ._accesslog import Asked, what_is_asked
from ._environ import port_of_host
from ._rules import (
    ABSOLUTE_FORM,
    HOST_AND_PORT,
    HOST_IS_VALID,
    Refused,
    Remembered,
    check_size,
    variable_of,
)
from ._types import Environ
from ._validation import Conditions, conditions_of
from .limits import Limits

# RFC 9112, 3: one space between the parts, and no other whitespace.  RFC 9110, 5.6.2:
# a method is a token.  RFC 3986, 2: a target is of visible ASCII.
_REQUEST_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~]+) HTTP/([0-9])\.([0-9])\r\n"
)
# llhttp knows the registered methods only, some other protocols, and takes a line
# without a version: it sees this one in place of the client's.
_ANY_REQUEST_LINE = b"GET / HTTP/1.1\r\n"

# Bytes of a head up to which it is remembered, for it may come again; and how many are.
SHORT = 2048
_MOST_HEADS = 256

# Of a Content-Length: many more than are needed.
_MOST_DIGITS = 100

# RFC 9112, 2.2; RFC 9110, 5.5: not in a head, whatever is still to come.
_NEVER = re.compile(rb"\r[^\n]|(?<!\r)\n|\0")


class RequestHead:
    """
    What a head says.  Nothing of it changes: clients send the same more than once.
    """

    __slots__ = (
        "_asked",
        "_connection",
        "_environ",
        "chunked",
        "close",
        "conditions",
        "content_length",
        "expects_continue",
        "has_body",
        "head_only",
        "hosts",
        "keep_alive",
        "method",
        "name",
        "of_1_0",
        "path",
        "persistent",
        "upgrade",
        "variables",
    )

    def __init__(self, method: str, target: str, of_1_0: bool) -> None:
        self.method = method
        self.head_only = method == "HEAD"
        """Whether the response has no body, whatever its head says."""
        self.name = f"{method} {target}"
        """As the log calls the request."""
        self.of_1_0 = of_1_0
        self.variables: Environ = {}
        """All that it says for environ."""
        self.path = ""
        """Percent-encoded, without the query; ``*`` for the server as a whole."""
        self.hosts = 0
        self.content_length: int | None = None
        self.chunked = False
        self.expects_continue = False
        self.close = False
        self.keep_alive = False
        self.upgrade = False
        self.has_body = False
        """Whether a body follows, which may be empty (RFC 9112, 6.3)."""
        self.persistent = False
        """Whether the client keeps the connection (RFC 9112, 9.3)."""
        self.conditions: Conditions | None = None
        """For ``x-wsgiorg.flush``."""
        self._connection: Environ | None = None
        self._environ: Environ = {}
        self._asked: Asked | None = None

    @property
    def asked(self) -> Asked:
        """What the access log says of the request."""
        if self._asked is None:
            self._asked = what_is_asked(self.variables)
        return self._asked

    def environ(self, connection: Environ) -> Environ:
        """
        A new environ.

        :param connection: what is in the environ of every request on the connection.
        """
        if self._connection is not connection:
            self._connection = connection
            self._environ = environ = {**connection, **self.variables}
            if not environ["SERVER_PORT"]:
                environ["SERVER_PORT"] = port_of_host(environ)
        return self._environ.copy()


NO_HEAD = RequestHead("", "", False)


class HeadReader:
    """
    Reads heads, one after the other, from whatever connections.

    :param limits: beyond which a head is refused.
    """

    def __init__(self, limits: Limits) -> None:
        self._request_line_size = _bound(limits.request_line_size)
        self._header_size = _bound(limits.header_size)
        self._header_count = _bound(limits.header_count)
        self._body_size = limits.body_size
        self._head = NO_HEAD
        self._repeated: dict[str, list[str]] = {}
        self._refused: Refused | None = None
        self._parser = httptools.HttpRequestParser(self)
        self.known: dict[bytes, RequestHead] = {}
        """Those below ``SHORT`` that came lately; the channel looks here first."""

    def read(self, data: bytes) -> RequestHead:
        """
        Read a complete head.

        :param data: from the request line to the empty line.
        :raises Refused: with the status to answer with.  The connection ends with
            that: the client and we may not agree where the next request begins.
        """
        head = self.known.get(data)
        if head is None:
            head = self._read(data)
            if len(data) < SHORT:
                if len(self.known) >= _MOST_HEADS:
                    del self.known[next(iter(self.known))]  # The oldest.
                self.known[data] = head
        return head

    def _read(self, data: bytes) -> RequestHead:
        match = _REQUEST_LINE.match(data)
        if match is None:
            raise self._bad_request_line(data)
        method, target, major, minor = match.groups()
        fields = data[match.end() :]
        self._check_sizes(match.end(), fields)
        if major != b"1":
            # RFC 9110, 15.6.6.
            raise Refused(505, "This server speaks HTTP/1.1.")
        # RFC 9110, 2.5: a higher minor version is treated as the highest known.
        self._head = head = RequestHead(method.decode(), target.decode(), minor == b"0")
        self._read_fields(fields)
        if not head.hosts and not head.of_1_0:
            # RFC 9112, 3.2.
            raise Refused(400, "A request of HTTP/1.1 must have a Host header.")
        _read_target(target.decode(), head)
        if head.content_length is not None:
            check_size(head.content_length, self._body_size)
        _complete(head)
        return head

    def check_incomplete(self, data: bytes, seen: int) -> None:
        """
        Look at what has come of a head that is not complete.

        :param data: from the beginning of the request line.
        :param seen: the bytes of it that were looked at before, and are good.
        :raises Refused: when it cannot become one any more, or not one within the
            limits.
        """
        end = data.find(b"\r\n") + 2
        if end < 2:
            self._check_sizes(len(data), b"")
        elif not _REQUEST_LINE.match(data):
            raise self._bad_request_line(data)
        else:
            self._check_sizes(end, data[end:])
        # The last byte that was seen may be a CR.
        if _NEVER.search(data, max(0, seen - 1)):
            raise Refused(400, "A line of the head does not end with CR LF.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """There is a field; llhttp says so."""
        variable, rule = _FIELDS[name]
        # RFC 9112, 5.1: llhttp leaves a tab at the end.
        text = value.strip(b" \t").decode("latin-1")
        if rule is not None:
            try:
                rule(self._head, text)
            except Refused as refused:
                self._refused = refused
                raise
        if variable is not None:
            variables = self._head.variables
            if variable not in variables:
                variables[variable] = text
            elif variable in self._repeated:
                self._repeated[variable].append(text)
            else:
                self._repeated[variable] = [variables[variable], text]

    def _read_fields(self, fields: bytes) -> None:
        head = self._head
        self._repeated.clear()
        try:
            self._parser.feed_data(_ANY_REQUEST_LINE + fields)
        except httptools.HttpParserUpgrade:
            pass  # Whoever serves the request may heed that, or not.
        except httptools.HttpParserCallbackError:
            self._parser = httptools.HttpRequestParser(self)
            # What on_header has raised.  It is the error's context only if nobody
            # up there handles another one, such as an application's.
            assert self._refused is not None
            raise self._refused from None
        except httptools.HttpParserError as error:
            self._parser = httptools.HttpRequestParser(self)
            raise Refused(400, f"{error}.") from None
        for variable, values in self._repeated.items():
            # RFC 9110, 5.3, and RFC 9113, 8.2.3.
            comma = "; " if variable == "HTTP_COOKIE" else ","
            head.variables[variable] = comma.join(values)
        head.has_body = head.content_length is not None or head.chunked
        head.persistent = not head.close and (not head.of_1_0 or head.keep_alive)
        if (
            head.has_body
            or head.close
            or head.upgrade
            or "HTTP_PROXY_CONNECTION" in head.variables  # To llhttp it is Connection.
        ):
            # This parser now waits for something else than a head.
            self._parser = httptools.HttpRequestParser(self)

    def _check_sizes(self, line: int, fields: bytes) -> None:
        if line > self._request_line_size:
            # RFC 9112, 3.
            raise Refused(414, "The request line is too long.")
        if len(fields) > self._header_size:
            # RFC 6585, 5.
            raise Refused(431, "The header fields are too large.")
        if fields.count(b"\r\n") - 1 > self._header_count:
            raise Refused(431, "There are too many header fields.")

    def _bad_request_line(self, data: bytes) -> Refused:
        line, _, fields = data.partition(b"\n")
        try:
            self._check_sizes(len(line) + 1, fields)
        except Refused as refused:
            return refused
        return Refused(400, "The request line is not a method, a target and a version.")


def _bound(limit: int | None) -> int:
    return sys.maxsize if limit is None else limit


_Rule: TypeAlias = Callable[[RequestHead, str], None]


def _host(head: RequestHead, value: str) -> None:
    # RFC 9112, 3.2.
    head.hosts += 1
    if head.hosts > 1:
        raise Refused(400, "A request must not have more than one Host header.")
    if not HOST_IS_VALID[value.encode("latin-1")]:
        raise Refused(400, "The Host header is not a host and port.")


def _content_length(head: RequestHead, value: str) -> None:
    # llhttp has seen that it is a number, of less than 2 ** 64; but int() also counts
    # the zeros before it (sys.set_int_max_str_digits).
    if len(value) > _MOST_DIGITS:
        raise Refused(400, "The Content-Length has too many digits.")
    head.content_length = int(value)


def _transfer_encoding(head: RequestHead, value: str) -> None:
    # RFC 9112, 6.1 and 6.3.
    if head.of_1_0:
        raise Refused(400, "A request of HTTP/1.0 cannot have a Transfer-Encoding.")
    if head.chunked or value.lower() != "chunked":
        raise Refused(400, "The only Transfer-Encoding understood is chunked.")
    head.chunked = True


def _connection(head: RequestHead, value: str) -> None:
    # RFC 9110, 7.6.1: a list, which may come in several fields.
    for option in value.lower().split(","):
        option = option.strip(" \t")
        if option == "close":
            head.close = True
        elif option == "keep-alive":
            head.keep_alive = True


def _upgrade(head: RequestHead, value: str) -> None:
    # RFC 9110, 7.8: not in HTTP/1.0.
    head.upgrade = not head.of_1_0


def _expect(head: RequestHead, value: str) -> None:
    # RFC 9110, 10.1.1: not in HTTP/1.0.
    if head.of_1_0:
        return
    # A list, which may have empty elements (RFC 9110, 5.6.1.2).
    for expectation in value.lower().split(","):
        expectation = expectation.strip(" \t")
        if expectation == "100-continue":
            head.expects_continue = True
        elif expectation:
            raise Refused(417, "The only expectation that can be met is 100-continue.")


_RULES: dict[bytes, _Rule] = {
    b"host": _host,
    b"content-length": _content_length,
    b"transfer-encoding": _transfer_encoding,
    b"connection": _connection,
    b"upgrade": _upgrade,
    b"expect": _expect,
}


def _field(name: bytes) -> tuple[str | None, _Rule | None]:
    """The key in environ for a field, and the rule for it."""
    return variable_of(name), _RULES.get(name.lower())


_FIELDS = Remembered(_field)


def _read_target(target: str, head: RequestHead) -> None:
    """RFC 9112, 3.2: one of four forms."""
    environ = head.variables
    if "#" in target:
        raise Refused(400, "The request target has a fragment.")
    environ["REQUEST_URI"] = environ["RAW_URI"] = target
    path, _, environ["QUERY_STRING"] = target.partition("?")
    if path[:1] != "/" or head.method == "CONNECT":
        path = _not_in_origin_form(target, head)
    head.path = path
    environ["PATH_INFO"] = (
        unquote_to_bytes(path).decode("latin-1") if "%" in path else path
    )


def _not_in_origin_form(target: str, head: RequestHead) -> str:
    """The path in the other forms."""
    if head.method == "CONNECT":
        # RFC 9110, 9.3.6: a success would turn the connection into a tunnel.
        raise Refused(501, "This server is no proxy.")
    if target == "*" and head.method == "OPTIONS":
        return target
    match = ABSOLUTE_FORM.fullmatch(target.encode())
    if match is None or not HOST_IS_VALID[match["authority"]]:
        raise Refused(400, "The request target is not a path.")
    # RFC 9112, 3.2.2: the Host header is to be ignored, though it has to be there.
    head.variables["HTTP_HOST"] = match["authority"].decode()
    return (match["path"] or b"/").decode()


def _complete(head: RequestHead) -> None:
    """Say what follows from the rest."""
    variables = head.variables
    variables["REQUEST_METHOD"] = head.method
    variables["SERVER_PROTOCOL"] = "HTTP/1.0" if head.of_1_0 else "HTTP/1.1"
    head.conditions = conditions_of(variables)
    server_name, _ = HOST_AND_PORT[variables.get("HTTP_HOST", "")]
    if server_name:
        variables["SERVER_NAME"] = server_name
