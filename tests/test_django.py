"""Django, as in examples/django_app: its admin, driven as a browser does."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import NamedTuple

import pytest
from commandline import CHECKOUT, Server, environment, serving

# On both reactors, test_flask will do for what a framework asks of a server.
pytestmark = pytest.mark.one_reactor

PROJECT = CHECKOUT / "examples" / "django_app"
USER, PASSWORD = "anna", "correct horse"


@pytest.fixture(scope="module", params=["fast", "twisted"])
def site(request: pytest.FixtureRequest) -> str:
    """Who speaks HTTP/1.1."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def data(site: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder for each, made by the commands in the README of the example."""
    data = tmp_path_factory.mktemp("django")
    for command in [
        ["migrate"],
        ["createsuperuser", "--no-input", "--username", USER, "--email", ""],
        ["collectstatic", "--no-input"],
    ]:
        subprocess.run(
            [sys.executable, "manage.py", *command, "--verbosity", "0"],
            cwd=PROJECT,
            env={
                **environment(),
                "DATA": str(data),
                "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            timeout=60,
            check=True,
        )
    return data


@pytest.fixture(scope="module")
def django(site: str, data: Path) -> Iterator[Server]:
    """A server of the example."""
    command = [
        "--site",
        site,
        "--static",
        f"/static={data / 'static'}",
        "project.wsgi:application",
    ]
    with serving(*command, cwd=PROJECT, wrapper=["env", f"DATA={data}"]) as server:
        yield server
        ended = server.stop()
    assert ended.status == 0
    assert "Traceback" not in ended.stderr


class Page(NamedTuple):
    """Where a browser is after it has followed all redirections."""

    path: str
    text: str


class Browser:
    """As much of a browser as the admin needs: cookies, redirections and forms."""

    def __init__(self, server: Server) -> None:
        self._origin = f"http://127.0.0.1:{server.port}"
        cookies = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(cookies)

    def get(self, path: str) -> Page:
        """Go to a page."""
        return self._open(urllib.request.Request(self._origin + path))

    def submit(self, page: Page, **fields: str | tuple[str, bytes]) -> Page:
        """Send the form of a page, with files given by their names and contents."""
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token is not None
        body = b""
        for name, value in {"csrfmiddlewaretoken": token[1], **fields}.items():
            disposition = f'form-data; name="{name}"'
            if isinstance(value, tuple):
                disposition += f'; filename="{value[0]}"'
            content = value[1] if isinstance(value, tuple) else value.encode()
            head = f"--boundary\r\nContent-Disposition: {disposition}\r\n\r\n"
            body += head.encode() + content + b"\r\n"
        request = urllib.request.Request(
            self._origin + page.path,
            body + b"--boundary--\r\n",
            {"Content-Type": "multipart/form-data; boundary=boundary"},
        )
        return self._open(request)

    def _open(self, request: urllib.request.Request) -> Page:
        with self._opener.open(request, timeout=20) as response:
            parts = urllib.parse.urlsplit(response.url)
            path = urllib.parse.urlunsplit(("", "", parts.path, parts.query, ""))
            return Page(path, response.read().decode())


@pytest.fixture
def browser(django: Server) -> Browser:
    """A browser that has logged in."""
    browser = Browser(django)
    page = browser.get("/admin/")
    assert page.path == "/admin/login/?next=/admin/"
    page = browser.submit(page, username=USER, password=PASSWORD, next="/admin/")
    assert page.path == "/admin/"
    return browser


def test_wrong_password(django: Server) -> None:
    """Who does not know the password stays at the door."""
    browser = Browser(django)
    page = browser.submit(browser.get("/admin/"), username=USER, password="guess")
    assert page.path.startswith("/admin/login/")
    assert "Please enter the correct username and password" in page.text


def test_add_an_object_with_a_file(browser: Browser, data: Path) -> None:
    """An object is added, its file uploaded, and both are there."""
    content = hashlib.sha256(b"seed").digest() * 150_000
    page = browser.submit(
        browser.get("/admin/documents/document/add/"),
        title="Gr\u00f6\u00dfe & <Form>",
        file=("large.bin", content),
    )
    assert page.path == "/admin/documents/document/"
    assert "was added successfully" in page.text
    assert "Gr\u00f6\u00dfe &amp; &lt;Form&gt;" in page.text
    assert (data / "media" / "documents" / "large.bin").read_bytes() == content


def test_incomplete_form(browser: Browser) -> None:
    """A form without its file comes back, and says what is missing."""
    page = browser.get("/admin/documents/document/add/")
    page = browser.submit(page, title="no file")
    assert page.path == "/admin/documents/document/add/"
    assert "This field is required." in page.text


def test_log_out(browser: Browser) -> None:
    """Who has logged out has to log in again."""
    page = browser.get("/admin/")
    browser.submit(page._replace(path="/admin/logout/"))
    assert browser.get("/admin/").path.startswith("/admin/login/")


def test_static_files(django: Server, data: Path) -> None:
    """The style sheets of the admin come from the folder, not through Django."""
    css = django.request("/static/admin/css/base.css")
    assert css.headers.get_content_type() == "text/css"
    assert css.body == (data / "static/admin/css/base.css").read_bytes()


def test_stream(browser: Browser, django: Server) -> None:
    """Each line of a StreamingHttpResponse is sent on its own."""
    for title in ["stream one", "stream two"]:
        page = browser.get("/admin/documents/document/add/")
        browser.submit(page, title=title, file=("small.txt", b"five\n"))
    with django.connect() as client:
        client.sendall(
            b"GET /documents.txt HTTP/1.1\r\n"
            b"Host: 127.0.0.1\r\n"
            b"Connection: close\r\n\r\n"
        )
        _, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    chunks = body.split(b"\r\n")
    assert b"stream one: 5 bytes\n" in chunks
    assert b"stream two: 5 bytes\n" in chunks
    assert chunks[-3:] == [b"0", b"", b""]
