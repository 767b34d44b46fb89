"""The page that a client gets when an application fails."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from doors import serve

if TYPE_CHECKING:
    from conftest import Logged

pytestmark = pytest.mark.usefixtures("door")


PLAIN = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"


class Boom(Exception):
    """What the applications here raise."""


def failing(environ, start_response):
    raise Boom(environ["QUERY_STRING"])


def request(accept: str | None, target: str = "/") -> bytes:
    field = "" if accept is None else f"Accept: {accept}\r\n"
    return f"GET {target} HTTP/1.1\r\nHost: example.com\r\n{field}\r\n".encode()


def parsed(response: bytes) -> tuple[str, dict[str, str], str]:
    """The status line, the header fields, and the body."""
    head, _, body = response.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), body.decode()


class Page(HTMLParser):
    """The text of a page by its element, and the elements that are still open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "meta":
            self.open.append(tag)
            self.texts.setdefault(tag, "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]] += data


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

ACCEPTS = [
    # Nobody asked for HTML, or for nothing in particular.
    (None, PLAIN),
    ("", PLAIN),
    (",", PLAIN),
    ("*/*", PLAIN),
    ("text/*", PLAIN),
    ("application/json", PLAIN),
    ("image/*", PLAIN),
    ("text/htmlx", PLAIN),
    ("xtext/html", PLAIN),
    ("html/*", PLAIN),
    ("*/html", PLAIN),
    # HTML is asked for.
    ("text/html", HTML),
    ("TEXT/HTML", HTML),
    (BROWSER, HTML),
    ("application/json, text/html", HTML),
    ("text/html;level=1", HTML),
    # Both are, and the quality decides; plain text when it is equal.
    ("text/html, text/plain", PLAIN),
    ("text/plain, text/html", PLAIN),
    ("text/html;q=0.5, text/plain;q=0.4", HTML),
    ("text/html;q=0.4, text/plain;q=0.5", PLAIN),
    ("text/html;q=0.999, text/plain;q=1.000", PLAIN),
    ("text/html;q=1, text/plain;q=0", HTML),
    ("text/html;q=0.002, text/plain;q=0.001", HTML),
    ("text/html;q=0", PLAIN),
    ("text/html;q=0, text/plain;q=0", PLAIN),
    # The closest range decides, not the first one, the last one or the best.
    ("text/html;q=0.5, text/*;q=0.4", HTML),
    ("text/*;q=0.4, text/html;q=0.5", HTML),
    ("text/html;q=0.4, text/*;q=0.5", PLAIN),
    ("text/*;q=0.5, text/html;q=0.4", PLAIN),
    ("text/plain;q=0.1, text/*;q=0.2", HTML),
    ("text/plain;q=0.1, */*;q=0.2", HTML),
    ("text/html;q=0.1, */*;q=0.2", PLAIN),
    ("text/*;q=0.1, */*;q=0.2", PLAIN),
    ("text/plain;q=0.5, text/*;q=0.1, */*;q=0.9", PLAIN),
    ("text/plain;q=0.5, */*;q=0.1, text/*;q=0.9", HTML),
    ("text/html;q=0, text/*", PLAIN),
    ("text/html;q=0.9, text/html;q=0.2, text/plain;q=0.5", HTML),
    ("text/html;q=0.2, text/html;q=0.9, text/plain;q=0.5", HTML),
    # Spaces, case and other parameters do not matter.
    (" text/html ; q=0.5 ,text/plain ;Q=0.4 ", HTML),
    ("text/html;level=1;q=0.4, text/plain;q=0.5", PLAIN),
    ("text/html;q=0.4;level=1, text/plain;q=0.5", PLAIN),
    ("text/html;q=0.6;level=1, text/plain;q=0.5", HTML),
    ("text/html;xq=0.1, text/plain;q=0.5", HTML),
    # A quality that is none counts as none.
    ("text/html;q=, text/plain;q=0.5", HTML),
    ("text/html;q=high, text/plain;q=0.5", HTML),
    ("text/html;q=0.1234, text/plain;q=0.5", HTML),
    ("text/html;q=-1, text/plain;q=0.5", HTML),
    ("text/html;q=0., text/plain;q=0.5", PLAIN),
    ("text/html;q=0x1, text/plain;q=0.5", HTML),
    ("text/html;q=0.1x, text/plain;q=0.5", HTML),
]


@pytest.mark.parametrize(("accept", "content_type"), ACCEPTS)
def test_the_kind_of_page_is_negotiated(
    accept: str | None, content_type: str, logged: Logged
) -> None:
    """A client gets HTML when it likes that better than plain text."""
    response = serve(failing, request(accept)).drain()

    logged.flush(Boom)
    assert parsed(response)[1]["Content-Type"] == content_type


@pytest.mark.parametrize("accept", ["text/plain", "text/html"])
def test_the_head_of_the_page(accept: str, logged: Logged) -> None:
    """The page has a length, and nobody keeps it."""
    response = serve(failing, request(accept)).drain()

    logged.flush(Boom)
    status, fields, body = parsed(response)
    assert status == "HTTP/1.1 500 Internal Server Error"
    assert fields["Content-Length"] == str(len(body))
    assert fields["Cache-Control"] == "no-store"


def test_the_page_in_plain_text(logged: Logged) -> None:
    """A title, and a sentence that gives nothing away."""
    response = serve(failing, request("text/plain", "/?secret")).drain()

    logged.flush(Boom)
    assert parsed(response)[2] == (
        "500 Internal Server Error\n"
        "\n"
        "The application failed while it handled this request.\n"
    )


def test_the_page_in_html(logged: Logged) -> None:
    """The same title and sentence, in a document that is well formed."""
    response = serve(failing, request("text/html", "/?secret")).drain()

    logged.flush(Boom)
    body = parsed(response)[2]
    page = Page(body)
    assert body.startswith("<!DOCTYPE html>\n")
    assert page.open == []
    assert page.texts["title"] == page.texts["h1"] == "500 Internal Server Error"
    assert page.texts["p"] == "The application failed while it handled this request."
    assert page.texts["body"].isspace()
    assert "pre" not in page.texts
    assert "secret" not in body


def test_the_traceback_in_plain_text(logged: Logged) -> None:
    """With debug, the traceback follows, as it is."""
    target = "/?<secret>&{0}%s"

    response = serve(failing, request("text/plain", target), debug=True).drain()

    (failure,) = logged.flush(Boom)
    assert parsed(response)[2] == (
        "500 Internal Server Error\n"
        "\n"
        "The application failed while it handled this request.\n"
        "\n" + failure.getTraceback()
    )
    assert "<secret>&{0}%s" in failure.getTraceback()


def test_the_traceback_in_html(logged: Logged) -> None:
    """With debug, the traceback is shown, and no text in it passes for HTML."""
    target = "/?<script>alert('1\")</script>&amp;{title}"

    response = serve(failing, request("text/html", target), debug=True).drain()

    (failure,) = logged.flush(Boom)
    body = parsed(response)[2]
    page = Page(body)
    assert page.open == []
    assert page.texts["body"].isspace()
    assert page.texts["pre"] == failure.getTraceback()
    assert "<script>alert('1\")</script>&amp;{title}" in page.texts["pre"]
    assert "script" not in page.texts
    assert "&lt;script&gt;alert(&#x27;1&quot;)&lt;/script&gt;&amp;amp;" in body


@pytest.mark.parametrize(
    ("message", "shown"),
    [("5 €", "5 €"), ("lone \udc80 surrogate", "lone \\udc80 surrogate")],
)
@pytest.mark.parametrize("accept", ["text/plain", "text/html"])
def test_any_text_can_be_shown(
    accept: str, message: str, shown: str, logged: Logged
) -> None:
    """The page is UTF-8, whatever an error has to say."""

    def application(environ, start_response):
        raise Boom(message)

    response = serve(application, request(accept), debug=True).drain()

    logged.flush(Boom)
    _, fields, body = parsed(response)
    assert f"Boom: {shown}" in body
    assert fields["Content-Length"] == str(len(body.encode()))
