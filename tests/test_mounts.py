"""Which part of a site's paths is whose, and files beside an application."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from commandline import Server, serving
from twisted.web.resource import IResource
from twisted.web.server import Site
from twisted.web.static import Data
from zope.interface.verify import verifyObject

from twisted_wsgiflush import WSGIResource, WSGISite
from twisted_wsgiflush._mounts import Mounts
from twisted_wsgiflush._types import WSGIApplication
from twisted_wsgiflush.testing import BoundedTransport, Turns


def ask(resource: IResource, path: str) -> tuple[int, bytes]:
    """The status and body of a response, from a site with this resource as root."""
    return answer(Site(resource, reactor=Turns()).buildProtocol(None), path)


def answer(protocol: Any, path: str) -> tuple[int, bytes]:
    """The status and body of a response, on a connection of its own."""
    transport = BoundedTransport(protocol, 65536)
    protocol.makeConnection(transport)
    protocol.dataReceived(b"GET %b HTTP/1.0\r\n\r\n" % path.encode())
    head, _, body = transport.drain().partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def saying(name: str) -> WSGIApplication:
    """An application that answers with its name and where it thinks that it is."""

    def application(environ, start_response):
        start_response("200 OK", [])
        place = f"{name} {environ['SCRIPT_NAME']!r} {environ['PATH_INFO']!r}"
        return [place.encode()]

    return application


def naming(name: str) -> WSGIResource:
    """The same as a resource."""
    return WSGIResource(Turns(), saying(name))


PLACES = pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/", "root '' '/'"),
        ("/page", "root '' '/page'"),
        ("/wiki", "wiki '/wiki' ''"),
        ("/wiki/", "wiki '/wiki' '/'"),
        ("/wiki/page", "wiki '/wiki' '/page'"),
        ("/wiki/page/", "wiki '/wiki' '/page/'"),
        ("/wiki//page", "wiki '/wiki' '//page'"),
        ("/w%69ki/page", "wiki '/wiki' '/page'"),
        ("/wiki/a%2Fb", "wiki '/wiki' '/a/b'"),
        ("/wikipedia", "root '' '/wikipedia'"),
        ("/deep", "root '' '/deep'"),
        ("/deep/down/here", "root '' '/deep/down/here'"),
        ("/deep/down/here/it/is", "deep '/deep/down/here/it' '/is'"),
        ("/wiki/admin/page", "admin '/wiki/admin' '/page'"),
        ("/na%C3%AFve/page", "naïve '/naÃ¯ve' '/page'"),
        ("/with%20space", "space '/with space' ''"),
        ("http://example.com/wiki/page", "wiki '/wiki' '/page'"),
        ("http://example.com", "root '' '/'"),
    ],
)


MOUNTS = {
    "root": "/",
    "wiki": "/wiki",
    "admin": "/wiki/admin/",
    "deep": "/deep/down/here/it",
    "naïve": "/naïve",
    "space": "/with space",
}


@PLACES
def test_longest_path_wins(path: str, place: str) -> None:
    """A request goes to the longest mount that fits, which sees its own place."""
    mounts = Mounts()
    for name, mount in MOUNTS.items():
        mounts.mount(mount, naming(name))

    status, body = ask(mounts, path)

    assert (status, body.decode()) == (200, place)


@PLACES
@pytest.mark.parametrize("application", MOUNTS)
def test_longest_path_wins_on_the_fast_site(
    application: str, path: str, place: str
) -> None:
    """It makes no difference whose the site is, and who is only a neighbour."""
    clock = Turns()
    site = WSGISite(clock, saying(application), mount=MOUNTS[application])
    for name, mount in MOUNTS.items():
        if name != application:
            site.putChild(mount.strip("/").encode(), naming(name))

    status, body = answer(site.buildProtocol(None), path)

    assert (status, body.decode()) == (200, place)


@pytest.mark.parametrize("path", ["/", "/other", "/wikipedia", "/x/wiki"])
def test_nothing_there(path: str) -> None:
    """What no mount fits is not found."""
    mounts = Mounts()
    mounts.mount("/wiki", naming("wiki"))

    status, _ = ask(mounts, path)

    assert status == 404


def test_order_does_not_matter() -> None:
    """A mount below another's path has its requests, whichever came first."""
    mounts = Mounts()
    mounts.mount("/wiki/admin", naming("admin"))
    mounts.mount("/wiki", naming("wiki"))
    mounts.mount("/", naming("root"))

    assert ask(mounts, "/wiki/admin") == (200, b"admin '/wiki/admin' ''")


def test_children_of_what_is_mounted() -> None:
    """What is mounted may have children of its own."""
    wiki = naming("wiki")
    wiki.putChild(b"static", Data(b"p {}", "text/css"))
    mounts = Mounts()
    mounts.mount("/wiki", wiki)

    assert ask(mounts, "/wiki/static") == (200, b"p {}")
    assert ask(mounts, "/wiki/page") == (200, b"wiki '/wiki' '/page'")


def test_mounts_are_a_resource() -> None:
    """Mounts may be a site's root."""
    assert verifyObject(IResource, Mounts())


@pytest.mark.parametrize("path", ["", "wiki", "../wiki"])
def test_relative_mount(path: str) -> None:
    """A path begins with a slash."""
    with pytest.raises(ValueError, match=re.escape(f"{path!r} must begin with")):
        Mounts().mount(path, naming("wiki"))


@pytest.mark.parametrize(
    ("first", "second"), [("/", "/"), ("/wiki", "/wiki"), ("/wiki", "/wiki/")]
)
def test_taken_mount(first: str, second: str) -> None:
    """Two resources cannot have the same path."""
    mounts = Mounts()
    mounts.mount(first, naming("first"))

    with pytest.raises(ValueError, match=f"something at '{second}' already"):
        mounts.mount(second, naming("second"))

    assert ask(mounts, first)[1].startswith(b"first")


@pytest.fixture(scope="module", params=["fast", "twisted"])
def files(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server of a directory of files, beside which there is a secret."""
    directory = tmp_path_factory.mktemp("files")
    (directory / "application.py").write_text("def app(*arguments): raise OSError")
    (directory / "secret").write_bytes(b"secret")
    public = directory / "public"
    (public / "empty").mkdir(parents=True)
    (public / "sub").mkdir()
    (public / "index.html").write_bytes(b"<p>index")
    (public / "sub" / "index.html").write_bytes(b"<p>sub")
    (public / "data").write_bytes(b"0123456789")
    (public / "page.html").write_bytes(b"<p>page")
    (public / "a b.txt").write_bytes(b"text")
    (public / "empty" / "unlisted.txt").write_bytes(b"unlisted")
    arguments = ["--site", request.param, "--static", "/files=public"]
    with serving("application.py", *arguments, cwd=directory) as server:
        yield server
        assert "Traceback" not in server.stop().stderr


@pytest.mark.parametrize(
    ("path", "media_type", "body"),
    [
        ("/files/page.html", "text/html", b"<p>page"),
        ("/files/data", "application/octet-stream", b"0123456789"),
        ("/files/a%20b.txt", "text/plain", b"text"),
        ("/files/", "text/html", b"<p>index"),
        ("/files/sub/", "text/html", b"<p>sub"),
        ("/files/empty/unlisted.txt", "text/plain", b"unlisted"),
    ],
)
def test_files(files: Server, path: str, media_type: str, body: bytes) -> None:
    """A file is served with its type, and index.html for its directory."""
    response = files.request(path)

    assert (response.status, response.body) == (200, body)
    assert response.headers["Content-Type"] == media_type
    assert response.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize("path", ["/files", "/files/sub"])
def test_directory_without_slash(files: Server, path: str) -> None:
    """A directory's links work, for it is always seen with a slash at its end."""
    response = files.request(path)

    assert response.status == 302
    assert response.headers["Location"] == f"{path}/"


@pytest.mark.parametrize(
    "path",
    [
        "/files/empty/",
        "/files/absent",
        "/files/page.html/more",
        "/files/../secret",
        "/files/%2e%2e/secret",
        "/files/..%2fsecret",
        "/files/%2e%2e%2fsecret",
        "/files/sub/../../secret",
        "/files/sub/..%2f..%2fsecret",
        "/files/..%5csecret",
        "/files//etc/passwd",
        "/files/%2fetc%2fpasswd",
        "/files/%00",
        "/files/sub/%00",
        "/files/page.html%00",
    ],
)
def test_not_served(files: Server, path: str) -> None:
    """There is no listing of a directory, and nothing from outside of it."""
    response = files.request(path)

    assert response.status == 404
    assert b"unlisted" not in response.body


def test_head(files: Server) -> None:
    """HEAD gives the headers of GET, without the body."""
    response = files.request("/files/page.html", "HEAD")

    assert (response.status, response.body) == (200, b"")
    assert response.headers["Content-Length"] == "7"
    assert response.headers["Content-Type"] == "text/html"


def test_read_only(files: Server) -> None:
    """A file takes nothing."""
    response = files.request("/files/page.html", "POST")

    assert response.status == 405
    assert sorted(response.headers["Allow"].split(", ")) == ["GET", "HEAD"]


def test_not_modified(files: Server) -> None:
    """Who has a file already gets it only when it has changed."""
    modified = files.request("/files/page.html").headers["Last-Modified"]

    response = files.request("/files/page.html", If_Modified_Since=modified)

    assert (response.status, response.body) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "told", "body"),
    [
        ("bytes=2-4", "bytes 2-4/10", b"234"),
        ("bytes=7-", "bytes 7-9/10", b"789"),
        ("bytes=-2", "bytes 8-9/10", b"89"),
    ],
)
def test_ranges(files: Server, asked: str, told: str, body: bytes) -> None:
    """A part of a file may be asked for, as to resume a download."""
    response = files.request("/files/data", Range=asked)

    assert (response.status, response.body) == (206, body)
    assert response.headers["Content-Range"] == told


def test_range_outside(files: Server) -> None:
    """A part that a file does not have is refused."""
    response = files.request("/files/data", Range="bytes=10-")

    assert response.status == 416
    assert response.headers["Content-Range"] == "bytes */10"
