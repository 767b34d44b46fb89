"""
Extensions through middleware and frameworks: who passes empty blocks on, as tried.

What is found here is what ``docs/middleware.md`` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import django
import flask
import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path
from doors import serve, serve_in_a_turn
from twisted.internet.defer import Deferred
from waiting import FLUSH, SUSPEND, body_of, fields_of, leaves_something, status_of
from werkzeug.debug import DebuggedApplication
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.lint import LintMiddleware, WSGIWarning
from werkzeug.middleware.profiler import ProfilerMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.middleware.shared_data import SharedDataMiddleware
from werkzeug.wrappers import Response
from worlds import apart

from twisted_wsgiflush._types import WSGIApplication
from twisted_wsgiflush.coroutines import asynchronous
from twisted_wsgiflush.testing import GET

if TYPE_CHECKING:
    from conftest import Logged

pytestmark = pytest.mark.usefixtures("door")


TEXT = [("Content-Type", "text/plain")]
FRESH = GET.replace(b"\r\n\r\n", b'\r\nIf-None-Match: "v1"\r\n\r\n')
GZIP = GET.replace(b"\r\n\r\n", b"\r\nAccept-Encoding: gzip\r\n\r\n")


class Work:
    """
    The body of a response, which waits twice.

    :param environ: of the request.
    """

    last: Work

    def __init__(self, environ: Any) -> None:
        Work.last = self
        self.resumes: list[Callable[[], bool]] = []
        self.done: list[str] = []
        self._environ = environ

    def __iter__(self) -> Iterator[bytes]:
        try:
            for number in ("one", "two"):
                self.resumes.append(self._environ[SUSPEND]())
                yield b""
                self.done.append(number)
                yield number.encode()
        finally:
            self.done.append("closed")


def works(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    return iter(Work(environ))


def works_late(environ: Any, start_response: Any) -> Iterator[bytes]:
    environ["twisted.reactor"].callLater(0, environ[SUSPEND]())
    yield b""
    yield from works(environ, start_response)


def a_response(environ: Any, start_response: Any) -> Any:
    return Response(iter(Work(environ)))(environ, start_response)


def from_app(app: WSGIApplication) -> WSGIApplication:
    """As a view of Werkzeug's may call another application."""

    def application(environ, start_response):
        return Response.from_app(app, environ)(environ, start_response)

    return application


def flask_application(view: Callable[[], Any]) -> WSGIApplication:
    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=view, endpoint="view")

    @app.after_request
    def after(response):
        response.headers["X-After"] = "request"
        return response

    return app


def flask_view() -> Any:
    return flask.Response(iter(Work(flask.request.environ)), mimetype="text/plain")


def flask_view_in_context() -> Any:
    def body() -> Iterator[bytes]:
        for block in Work(flask.request.environ):
            assert flask.request.path == "/"
            yield block

    return flask.Response(flask.stream_with_context(body()))


def django_view(request: HttpRequest) -> StreamingHttpResponse:
    environ = request.environ
    return StreamingHttpResponse(iter(Work(environ)), content_type="text/plain")


urlpatterns = [path("", django_view)]


# Not the module's: a worker may come back to it.
@pytest.fixture(scope="session", autouse=True)
def configured() -> None:
    """Django has one configuration in a process."""
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["example.com"])
    django.setup()


def django_application(*middleware: str) -> WSGIApplication:
    settings.MIDDLEWARE = [f"django.middleware.{name}" for name in middleware]
    application: WSGIApplication = WSGIHandler()
    return application


def below(wrap: Callable[..., Any], *arguments: Any) -> Callable[[Any], Any]:
    return lambda app: wrap(app, *arguments)


MIDDLEWARE: dict[str, Callable[[Any], Any]] = {
    "ProxyFix": ProxyFix,
    "DispatcherMiddleware": below(DispatcherMiddleware, {"/other": works}),
    "SharedDataMiddleware": below(
        SharedDataMiddleware, {"/static": str(Path(__file__).parent)}
    ),
    "DebuggedApplication": DebuggedApplication,
}


def around(name: str) -> Callable[[], Any]:
    return lambda: MIDDLEWARE[name](works)


PASS: dict[str, Callable[[], Any]] = {
    "wsgiref.validate": lambda: validator(works),
    "LintMiddleware": lambda: LintMiddleware(works),
    **{name: around(name) for name in MIDDLEWARE},
    "a Response of Werkzeug": lambda: a_response,
    "Response.from_app": lambda: from_app(works),
    "Flask": lambda: flask_application(flask_view),
    "Flask, stream_with_context": lambda: flask_application(flask_view_in_context),
    "Django": lambda: django_application(
        "common.CommonMiddleware",
        "security.SecurityMiddleware",
        "http.ConditionalGetMiddleware",
        "csrf.CsrfViewMiddleware",
        "clickjacking.XFrameOptionsMiddleware",
        "locale.LocaleMiddleware",
    ),
    "all of Werkzeug's, above Flask": lambda: ProxyFix(
        LintMiddleware(
            DispatcherMiddleware(
                flask_application(flask_view_in_context), {"/other": works}
            )
        )
    ),
}


def dechunked(body: bytes) -> bytes:
    return b"".join(re.findall(rb"[0-9a-f]+\r\n(.+?)\r\n", body, re.DOTALL))


@pytest.mark.parametrize("name", PASS)
def test_it_passes_empty_blocks_on(name: str) -> None:
    """One by one: the application waits, and its blocks are sent as they come."""
    served = serve(PASS[name]())
    sent, done = [], []
    for number in range(3):
        if number:
            Work.last.resumes[number - 1]()
        served.turn(10)
        sent.append(served.drain())
        done.append(list(Work.last.done))

    assert done == [[], ["one"], ["one", "two", "closed"]]
    assert sent[0] == b""
    assert status_of(sent[1]) == "HTTP/1.1 200 OK"
    assert dechunked(body_of(sent[1])) == b"one"
    assert dechunked(sent[2]) == b"two"
    assert leaves_something(served) == []


@pytest.mark.parametrize("name", PASS)
def test_it_closes_what_waits(name: str) -> None:
    """When the client leaves, and at once."""
    served = serve(PASS[name]())
    served.turn(10)

    served.leave()

    assert Work.last.done == ["closed"]
    assert served.clock.getDelayedCalls() == []


@pytest.mark.parametrize("name", MIDDLEWARE)
def test_it_passes_a_late_start_on(name: str) -> None:
    """An application may decide its status after its first empty block."""
    served = serve(MIDDLEWARE[name](works_late))
    served.turn(10)
    early = served.drain()
    Work.last.resumes[0]()
    served.turn(10)
    Work.last.resumes[1]()
    response = served.read()

    assert early == b""
    assert status_of(response) == "HTTP/1.1 200 OK"
    assert dechunked(body_of(response)) == b"onetwo"


@pytest.mark.parametrize("name", MIDDLEWARE)
@apart
def test_it_passes_a_coroutine_on(name: str) -> None:
    """That is late as well."""
    deferred: Deferred[bytes] = Deferred()

    async def app(environ, start_response):
        block = await deferred
        start_response("200 OK", TEXT)
        return [block]

    served = serve(MIDDLEWARE[name](asynchronous(app)))
    served.turn(10)
    deferred.callback(b"hello")

    assert dechunked(body_of(served.read())) == b"hello"


@pytest.mark.parametrize("name", [*MIDDLEWARE, "LintMiddleware", "wsgiref.validate"])
def test_a_flush_goes_by(name: str) -> None:
    """The head is sent, or the work is spared: a flush takes no way through it."""
    closed = []

    def application(environ, start_response):
        start_response("200 OK", [*TEXT, ("ETag", '"v1"')])

        def body():
            try:
                yield environ[FLUSH]()
                yield b"expensive"
            finally:
                closed.append(True)

        return body()

    wrap: Any = {
        **MIDDLEWARE,
        "LintMiddleware": LintMiddleware,
        "wsgiref.validate": validator,
    }[name]
    spared = serve(wrap(application), FRESH).read()
    wanted = serve(wrap(application), GET).read()

    assert status_of(spared) == "HTTP/1.1 304 Not Modified"
    assert fields_of(spared, "ETag") == ['"v1"']
    assert body_of(spared) == b""
    assert dechunked(body_of(wanted)) == b"expensive"
    assert closed == [True, True]


def test_the_validator_refuses_a_late_start(logged: Logged) -> None:
    """It wants ``start_response`` before any block, and not only a real one."""
    served = serve(validator(works_late))

    assert status_of(served.read()) == "HTTP/1.1 500 Internal Server Error"
    (failure,) = logged.flush(AssertionError)
    assert "start_response has not yet been called" in failure.getErrorMessage()


def test_lint_warns_of_a_late_start() -> None:
    """And passes it on."""
    served = serve_in_a_turn(LintMiddleware(works_late))

    with pytest.warns(WSGIWarning):
        served.turn(10)
    Work.last.resumes[0]()
    served.turn(10)
    Work.last.resumes[1]()

    assert dechunked(body_of(served.read())) == b"onetwo"


@pytest.mark.parametrize(
    ("application", "request_"),
    [
        pytest.param(
            lambda: ProfilerMiddleware(works, stream=None), GET, id="profiler"
        ),
        pytest.param(
            lambda: django_application("gzip.GZipMiddleware"), GZIP, id="Django's gzip"
        ),
    ],
)
def test_what_swallows_them_is_found_at_once(
    application, request_, logged: Logged
) -> None:
    """The application is asked on, and its next suspension is refused."""
    served = serve(application(), request_)
    served.turn(10)
    done = list(Work.last.done)
    served.leave()

    assert done == ["one", "closed"]
    (failure,) = logged.flush(Exception)
    assert "AlreadySuspended" in failure.getTraceback()


def test_from_app_does_not_wait_for_a_late_start() -> None:
    """It asks on until the application has called ``start_response``."""
    asked = []

    def late(environ, start_response):
        environ[SUSPEND]()
        for number in range(100):
            asked.append(number)
            yield b""
        start_response("200 OK", TEXT)
        yield b"late"

    serve(from_app(late))

    assert len(asked) == 100
