"""``wsgi.errors``: what an application writes there becomes log events."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from wsgiref.validate import validator

import pytest
from doors import serve
from twisted.logger import LogEvent, formatEvent

from twisted_wsgiflush.testing import GET

if TYPE_CHECKING:
    from conftest import Logged

pytestmark = pytest.mark.usefixtures("door")


def texts(events: list[LogEvent]) -> list[str]:
    return [event["text"] for event in events]


def test_a_print_is_one_event(logged: Logged) -> None:
    """A line that is printed is one event, with the request that it is about."""

    def application(environ, start_response):
        print("some", "thing", file=environ["wsgi.errors"])
        start_response("200 OK", [])
        return []

    serve(application, GET.replace(b"/", b"/there?a={0}", 1))

    assert [formatEvent(event) for event in logged.at("error")] == [
        "GET /there?a={0}: some thing"
    ]


def test_the_event_is_an_error_of_wsgi(logged: Logged) -> None:
    """The event has what Twisted's own resource gives its observers, too."""

    def application(environ, start_response):
        environ["wsgi.errors"].write("{some} %s thing\n\n")
        start_response("200 OK", [])
        return []

    serve(application)

    (event,) = logged.at("error")
    assert formatEvent(event) == "GET /: {some} %s thing"
    assert event["request"] == "GET /"
    assert event["system"] == "wsgi"
    assert event["isError"] is True
    assert event["message"] == ("{some} %s thing\n\n",)
    assert event["log_namespace"] == "twisted_wsgiflush._errorlog.ErrorLog"


WRITTEN = [
    (["one\n"], ["one"]),
    (["one\n", "two\n"], ["one", "two"]),
    (["one\ntwo\n"], ["one\ntwo"]),
    (["o", "n", "e", "\n", "two\n"], ["one", "two"]),
    (["one\ntw", "o\n"], ["one\ntwo"]),
    (["\none\n"], ["\none"]),
    (["\n"], [""]),
    (["one ", "\n"], ["one "]),
    (["", "one\n", ""], ["one"]),
    ([], []),
    (["", ""], []),
]


@pytest.mark.parametrize(("written", "logged_texts"), WRITTEN)
def test_text_is_logged_when_its_line_is_complete(
    written: list[str], logged_texts: list[str], logged: Logged
) -> None:
    """Text is kept until a write ends a line, and logged once."""
    at_once: list[str] = []

    def application(environ, start_response):
        for text in written:
            environ["wsgi.errors"].write(text)
        at_once.extend(texts(logged.at("error")))
        start_response("200 OK", [])
        return []

    serve(application)

    assert at_once == logged_texts
    assert texts(logged.at("error")) == logged_texts


def test_text_is_kept_until_its_line_is_complete(logged: Logged) -> None:
    """The beginning of a line is no event yet."""
    before: list[LogEvent] = []

    def application(environ, start_response):
        environ["wsgi.errors"].write("one\ntw")
        before.extend(logged.at("error"))
        environ["wsgi.errors"].write("o\n")
        start_response("200 OK", [])
        return []

    serve(application)

    assert before == []
    assert texts(logged.at("error")) == ["one\ntwo"]


def test_flush_logs_at_once(logged: Logged) -> None:
    """What is flushed is logged without the end of its line, once."""

    def application(environ, start_response):
        environ["wsgi.errors"].write("one")
        environ["wsgi.errors"].flush()
        environ["wsgi.errors"].flush()
        environ["wsgi.errors"].write("two\n")
        environ["wsgi.errors"].flush()
        start_response("200 OK", [])
        return []

    serve(application)

    assert texts(logged.at("error")) == ["one", "two"]


@pytest.mark.parametrize("lines", [["one\n", "two\n", "three\n"], ("abc\n")])
def test_lines_are_one_event(lines: list[str], logged: Logged) -> None:
    """Lines that are written together are logged together."""

    def application(environ, start_response):
        environ["wsgi.errors"].writelines(lines)
        start_response("200 OK", [])
        return []

    serve(application)

    assert len(logged.at("error")) == 1


def test_lines_are_not_ended_for_the_application(logged: Logged) -> None:
    """The lines bring their own ends; the last one waits if it has none."""

    def application(environ, start_response):
        environ["wsgi.errors"].writelines(["one\n", "two", "three"])
        environ["wsgi.errors"].write("four\n")
        start_response("200 OK", [])
        return []

    serve(application)

    assert texts(logged.at("error")) == ["one\ntwothreefour"]


def test_the_rest_is_logged_at_the_end(logged: Logged) -> None:
    """A line that is never completed is logged when the iterable is closed."""

    def application(environ, start_response):
        start_response("200 OK", [])
        environ["wsgi.errors"].write("rest")
        yield b"block"

    served = serve(application)
    served.turn()
    before = logged.at("error")
    served.read()

    assert before == []
    assert texts(logged.at("error")) == ["rest"]


def test_the_rest_is_logged_when_the_client_leaves(logged: Logged) -> None:
    """Nobody waits for the response, but somebody may read the log."""

    def application(environ, start_response):
        start_response("200 OK", [])
        environ["wsgi.errors"].write("rest")
        yield b"block"
        yield b"never"

    served = serve(application)
    served.turn()

    served.leave()

    assert texts(logged.at("error")) == ["rest"]


def test_two_requests_do_not_mix(logged: Logged) -> None:
    """What two applications write in turns is kept apart."""

    def application(environ, start_response):
        start_response("200 OK", [])
        for text in "ab":
            environ["wsgi.errors"].write(text + environ["PATH_INFO"])
            yield b"block"
        environ["wsgi.errors"].write("\n")

    clients = [
        serve(application, GET.replace(b"/", path, 1)) for path in (b"/1", b"/2")
    ]
    for _ in range(4):
        for served in clients:
            served.turn()

    assert [formatEvent(event) for event in logged.at("error")] == [
        "GET /1: a/1b/1",
        "GET /2: a/2b/2",
    ]


@pytest.mark.parametrize("text", [b"bytes", None, 1, ["list"]], ids=repr)
def test_text_is_str(text: object, logged: Logged) -> None:
    """Anything else is refused, as by a text file, and nothing of it is logged."""
    raised = []

    def application(environ, start_response):
        try:
            environ["wsgi.errors"].write(text)
        except TypeError as error:
            raised.append(str(error))
        environ["wsgi.errors"].write("fine\n")
        start_response("200 OK", [])
        return []

    serve(application)

    assert raised == [
        f"write() argument must be str, not {text!r} ({type(text).__name__})"
    ]
    assert texts(logged.at("error")) == ["fine"]


def test_a_logging_handler_can_write_there(logged: Logged) -> None:
    """The logging module's stream handler makes one event of a record."""

    def application(environ, start_response):
        handler = logging.StreamHandler(environ["wsgi.errors"])
        handler.emit(logging.makeLogRecord({"msg": "a record\nof two lines"}))
        start_response("200 OK", [])
        return []

    serve(application)

    assert texts(logged.at("error")) == ["a record\nof two lines"]


def test_what_pep_3333_asks_for() -> None:
    """wsgiref's validator has nothing against the error stream."""

    def application(environ, start_response):
        environ["wsgi.errors"].write("one\n")
        environ["wsgi.errors"].writelines(["two\n"])
        environ["wsgi.errors"].flush()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"fine"]

    response = serve(validator(application)).read()

    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
