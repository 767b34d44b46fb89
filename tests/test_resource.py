"""The resource in trees of resources: who gets a request, and under which name."""

from __future__ import annotations

import gzip
import io
import re
import threading
from contextvars import ContextVar
from http.client import HTTPResponse
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import http2
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.interfaces import ISSLTransport
from twisted.web.resource import EncodingResourceWrapper, IResource, Resource
from twisted.web.server import GzipEncoderFactory, Site
from twisted.web.static import Data
from twisted.web.vhost import NameVirtualHost, VHostMonsterResource
from zope.interface import alsoProvides
from zope.interface.verify import verifyObject

import twisted_wsgiflush
from twisted_wsgiflush import WSGIResource
from twisted_wsgiflush.testing import GET, BoundedTransport, Served, Turns, serve


def browse(clock: Turns, root: IResource, request: bytes = GET) -> Served:
    """Serve a tree of resources to a client that has sent a request."""
    site = Site(root, reactor=clock, parsePOSTFormSubmission=False)
    protocol = site.buildProtocol(None)
    transport = BoundedTransport(protocol, limit=65536)
    protocol.makeConnection(transport)
    served = Served(clock, transport)
    served.send(request)
    return served


def get(target: bytes, *header_lines: bytes) -> bytes:
    """A GET request with a Host header and others."""
    lines = [b"GET " + target + b" HTTP/1.1", b"Host: example.com", *header_lines]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def parsed(response: bytes) -> HTTPResponse:
    """The response as a client of the standard library reads it."""
    socket: Any = SimpleNamespace(makefile=lambda mode: io.BytesIO(response))
    parsed = HTTPResponse(socket)
    parsed.begin()
    return parsed


def place(environ, start_response):
    """Tells SCRIPT_NAME and PATH_INFO, an arrow between them."""
    start_response("200 OK", [])
    return [f"{environ['SCRIPT_NAME']} -> {environ['PATH_INFO']}".encode("latin-1")]


def text(body: bytes) -> Resource:
    """A resource that is not ours."""
    return Data(body, "text/plain")


# --- the package and the resource by itself


def test_the_package_offers_these_names() -> None:
    """The public names are there, and the version is one of semantic versioning."""
    assert twisted_wsgiflush.__all__ == [
        "Limits",
        "WSGIResource",
        "WSGISite",
        "__version__",
    ]
    assert twisted_wsgiflush.WSGIResource is WSGIResource
    assert re.fullmatch(r"\d+\.\d+\.\d+", twisted_wsgiflush.__version__)


def test_it_provides_what_twisted_web_wants() -> None:
    """It is an ``IResource``, and so is what it finds for a path of no child."""
    clock = Turns()
    resource = WSGIResource(clock, place)
    resource.putChild(b"child", text(b"the child"))
    found = []

    class Root(Resource):
        def getChildWithDefault(self, path, request):
            found.append(resource.getChildWithDefault(path, request))
            return found[-1]

    browse(clock, Root())
    assert verifyObject(IResource, resource)
    assert verifyObject(IResource, found[0])


def test_the_application_runs_in_the_reactors_thread() -> None:
    """The thread that the request came by runs all of it, and no other is started."""
    threads = set()

    def application(environ, start_response):
        threads.add(threading.current_thread())
        start_response("200 OK", [])
        yield b"block"
        threads.add(threading.current_thread())

    before = threading.active_count()
    serve(application).read()
    assert threads == {threading.current_thread()}
    assert threading.active_count() == before


def test_the_application_is_called_when_the_request_is_complete() -> None:
    """Not before the last byte of the body, and not after it."""
    bodies = []

    def application(environ, start_response):
        bodies.append(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return []

    served = serve(
        application, b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na"
    )
    assert bodies == []
    served.send(b"b")
    assert bodies == [b"ab"]


def test_each_request_has_a_context_of_its_own() -> None:
    """It is a copy of the one that the resource was made in."""
    variable = ContextVar("variable", default="nothing")
    seen = []

    def application(environ, start_response):
        seen.append(variable.get())
        variable.set("a request's")
        start_response("200 OK", [])
        return []

    before = variable.set("the maker's")
    served = serve(application, b"")
    variable.reset(before)

    served.send(GET + GET)
    assert seen == ["the maker's", "the maker's"]
    assert variable.get() == "nothing"


@pytest.mark.parametrize("debug", [False, True])
def test_a_client_sees_a_traceback_with_debug_only(logged, debug: bool) -> None:
    """The option adds to the error page what is otherwise in the log alone."""

    def application(environ, start_response):
        raise ZeroDivisionError("the reason")

    response = serve(application, debug=debug).drain()
    assert len(logged.flush(ZeroDivisionError)) == 1
    assert response.startswith(b"HTTP/1.1 500 ")
    assert (b"ZeroDivisionError: the reason" in response) is debug


# --- its place in a tree


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (b"/", b" -> /"),
        (b"//", b" -> //"),
        (b"/a//b/", b" -> /a//b/"),
        (b"/a%2Fb", b" -> /a/b"),
        (b"http://other.example", b" -> /"),
        (b"http://other.example//a", b" -> //a"),
    ],
)
@pytest.mark.parametrize("with_child", [False, True])
def test_at_the_root_script_name_is_empty(
    target: bytes, found: bytes, with_child: bool
) -> None:
    """All of the path is PATH_INFO, also when there are children."""
    clock = Turns()
    root = WSGIResource(clock, place)
    if with_child:
        root.putChild(b"child", text(b"the child"))

    served = browse(clock, root, get(target))
    assert parsed(served.drain()).read() == found


@pytest.mark.parametrize(
    ("mount", "target", "found"),
    [
        ([b"a"], b"/a", b"/a -> "),
        ([b"a"], b"/a/", b"/a -> /"),
        ([b"a"], b"/a//", b"/a -> //"),
        ([b"a"], b"/a/b", b"/a -> /b"),
        ([b"a"], b"/a/b//c/", b"/a -> /b//c/"),
        ([b"a"], b"/a/b%2Fc", b"/a -> /b/c"),
        ([b"a"], b"/%61/b", b"/a -> /b"),
        ([b"a"], b"/a/a/a", b"/a -> /a/a"),
        ([b"a"], b"/a?b/c", b"/a -> "),
        ([b"a", b"b"], b"/a/b", b"/a/b -> "),
        ([b"a", b"b", b"c", b"d"], b"/a/b/c/d/e/f", b"/a/b/c/d -> /e/f"),
        ([b"a", b"", b"b"], b"/a//b/c", b"/a//b -> /c"),
        ([b"a/b"], b"/a%2Fb/c", b"/a/b -> /c"),
        ([b"\xc3\xa9"], b"/%C3%A9/%FF", b"/\xc3\xa9 -> /\xff"),
    ],
)
@pytest.mark.parametrize("with_child", [False, True])
def test_below_the_root_script_name_is_the_way_there(
    mount: list[bytes], target: bytes, found: bytes, with_child: bool
) -> None:
    """What led to the resource is SCRIPT_NAME, and the rest of the path PATH_INFO."""
    clock = Turns()
    resource = WSGIResource(clock, place)
    if with_child:
        resource.putChild(b"child", text(b"the child"))
    root = parent = Resource()
    for segment in mount[:-1]:
        child = Resource()
        parent.putChild(segment, child)
        parent = child
    parent.putChild(mount[-1], resource)

    served = browse(clock, root, get(target))
    assert parsed(served.drain()).read() == found


@pytest.mark.parametrize("with_child", [False, True])
def test_below_the_root_a_url_is_no_target(with_child: bool) -> None:
    """By then the tree has taken the URL for a path, and its beginning is used up."""
    clock = Turns()
    resource = WSGIResource(clock, place)
    if with_child:
        resource.putChild(b"child", text(b"the child"))

    class Root(Resource):
        def getChild(self, path, request):
            return resource

    served = browse(clock, Root(), get(b"http://other.example/child"))
    assert served.drain().startswith(b"HTTP/1.1 400 ")


def test_a_virtual_host_has_a_root_of_its_own() -> None:
    """An application that a tree chooses by Host is at the root of that host."""
    clock = Turns()
    root = NameVirtualHost()
    root.addHost(b"example.com", WSGIResource(clock, place))

    served = browse(clock, root, get(b"/a/b"))
    assert parsed(served.drain()).read() == b" -> /a/b"


def test_a_proxy_may_say_the_address_in_the_path() -> None:
    """``VHostMonsterResource`` tells scheme, host and port, and leaves no trace."""
    keys = ["SCRIPT_NAME", "PATH_INFO", "SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme"]
    found: list[str] = []

    def application(environ, start_response):
        found.extend(environ[key] for key in keys)
        start_response("200 OK", [])
        return []

    clock = Turns()
    root = WSGIResource(clock, application)
    root.putChild(b"behind", VHostMonsterResource())

    browse(clock, root, get(b"/behind/https/public.example:8443/a/b"))
    assert found == ["", "/a/b", "public.example", "8443", "https"]


# --- children


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (b"/child", b"the child"),
        (b"/child?a", b"the child"),
        (b"/chil%64", b"the child"),
        (b"http://other.example/child", b"the child"),
        (b"http://other.example/child?a", b"the child"),
        (b"//child", b" -> //child"),
        (b"/Child", b" -> /Child"),
        (b"/child2", b" -> /child2"),
        (b"/child%2F", b" -> /child/"),
        (b"/a/child", b" -> /a/child"),
        (b"http://other.example//child", b" -> //child"),
        (b"http://other.example/a/child", b" -> /a/child"),
    ],
)
def test_a_child_stands_beside_the_application(target: bytes, body: bytes) -> None:
    """A child has the one path, the application every other."""
    clock = Turns()
    root = WSGIResource(clock, place)
    root.putChild(b"child", text(b"the child"))

    served = browse(clock, root, get(target))
    assert parsed(served.drain()).read() == body


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (b"/", b"the index"),
        (b"http://other.example", b"the index"),
        (b"http://other.example/?a", b"the index"),
        (b"/a/", b" -> /a/"),
    ],
)
def test_a_child_may_be_the_index(target: bytes, body: bytes) -> None:
    """The empty segment has a child as any other, and the rest is the application's."""
    clock = Turns()
    root = WSGIResource(clock, place)
    root.putChild(b"", text(b"the index"))

    served = browse(clock, root, get(target))
    assert parsed(served.drain()).read() == body


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (b"/a/files/one", b"file one"),
        (b"/a/files/more/two", b"file two"),
        (b"/a/one", b"/a -> /one"),
        (b"/a/more/two", b"/a -> /more/two"),
    ],
)
def test_a_child_is_the_root_of_its_tree(target: bytes, body: bytes) -> None:
    """Below a child Twisted goes on as ever, and never comes back."""
    clock = Turns()
    root, files, more = Resource(), Resource(), Resource()
    resource = WSGIResource(clock, place)
    root.putChild(b"a", resource)
    resource.putChild(b"files", files)
    files.putChild(b"one", text(b"file one"))
    files.putChild(b"more", more)
    more.putChild(b"two", text(b"file two"))

    served = browse(clock, root, get(target))
    assert parsed(served.drain()).read() == body


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (b"/a/b/c", b"/a/b -> /c"),
        (b"/a/b", b"/a/b -> "),
        (b"/a/c/b", b"/a -> /c/b"),
        (b"/b/a", b" -> /b/a"),
        (b"http://other.example/a/b/", b"/a/b -> /"),
    ],
)
def test_applications_may_be_nested(target: bytes, found: bytes) -> None:
    """Each of them is called with its own SCRIPT_NAME."""
    clock = Turns()
    root, middle, leaf = (WSGIResource(clock, place) for _ in range(3))
    root.putChild(b"a", middle)
    middle.putChild(b"b", leaf)

    served = browse(clock, root, get(target))
    assert parsed(served.drain()).read() == found


@pytest.mark.parametrize(
    ("path", "error"),
    [("child", TypeError), (None, TypeError), (b"a/b", ValueError), (b"/", ValueError)],
)
def test_a_child_has_one_segment_of_bytes(path, error: type[Exception]) -> None:
    """A path that Twisted would never ask for is refused, and the value is shown."""
    resource = WSGIResource(Turns(), place)

    with pytest.raises(error, match=re.escape(repr(path))):
        resource.putChild(path, text(b"the child"))


# --- wrappers


def test_cookies_of_a_wrapper_and_of_the_application_arrive() -> None:
    """Neither ``request.addCookie`` nor Set-Cookie takes the other's place."""

    def application(environ, start_response):
        start_response("200 OK", [("Set-Cookie", "b=2"), ("set-cookie", "c=3")])
        return []

    class Wrapper(Resource):
        def getChildWithDefault(self, path, request):
            request.addCookie(b"a", b"1")
            request.setHeader(b"x-wrapper", b"was here")
            request.postpath.insert(0, request.prepath.pop())
            return resource

    clock = Turns()
    resource = WSGIResource(clock, application)
    response = parsed(browse(clock, Wrapper()).drain())
    assert response.headers.get_all("Set-Cookie") == ["a=1", "b=2", "c=3"]
    assert response.headers["X-Wrapper"] == "was here"


@pytest.mark.parametrize(
    ("headers", "blocks"),
    [
        ([], [b"one block"]),
        ([], [b"some", b" ", b"blocks"]),
        ([("Content-Length", "9")], [b"one block"]),
        ([("Content-Length", "11")], [b"some", b" ", b"blocks"]),
    ],
)
def test_twisteds_gzip_may_encode_the_body(
    headers: list[tuple[str, str]], blocks: list[bytes]
) -> None:
    """An ``EncodingResourceWrapper`` around the resource does what it always does."""

    def application(environ, start_response):
        start_response("200 OK", headers)
        return blocks

    clock = Turns()
    root = Resource()
    wrapper = EncodingResourceWrapper(
        WSGIResource(clock, application), [GzipEncoderFactory()]
    )
    root.putChild(b"a", wrapper)

    served = browse(clock, root, get(b"/a/b", b"Accept-Encoding: gzip"))
    response = parsed(served.read())
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Content-Length"] is None
    assert gzip.decompress(response.read()) == b"".join(blocks)


# --- what is refused, wherever it is


@pytest.mark.parametrize("target", [b"/", b"/child2", b"/a/child"])
def test_what_is_refused_at_the_root_is_refused_below(target: bytes) -> None:
    """With children too, a request that no application should see is answered here."""
    clock = Turns()
    root = WSGIResource(clock, place)
    root.putChild(b"child", text(b"the child"))

    served = browse(clock, root, b"GET " + target + b" HTTP/1.1\r\n\r\n")
    assert served.drain().startswith(b"HTTP/1.1 400 ")
    assert served.closed


class TellsOnce(BoundedTransport):
    """As one of TLS does, it tells its producer only once that it is full."""

    def write(self, data: bytes) -> None:
        producer = self.producer
        if self.unread > self.limit:
            self.producer = None
        super().write(data)
        self.producer = producer


def test_a_second_response_does_not_begin_on_a_full_connection() -> None:
    """Of a response behind one that nobody reads, one block is made at most."""
    clock = Turns()
    made = []

    def application(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/first":
            return [b"x" * 1000]
        return (made.append(number) or b"block" for number in range(20))

    protocol = Site(WSGIResource(clock, application), reactor=clock).buildProtocol(None)
    transport = TellsOnce(protocol, 500)
    protocol.makeConnection(transport)
    protocol.dataReceived(get(b"/first") + get(b"/second"))

    for _ in range(30):
        clock.turn()
    assert len(made) <= 1

    for _ in range(30):
        transport.drain()
        clock.turn()
    assert len(made) == 20


def test_over_tls_a_block_is_awaited_for_a_turn() -> None:
    """TLS collects what is written in a turn, so the next block is made after it."""
    clock = Turns()
    made = []

    def application(environ, start_response):
        start_response("200 OK", [])
        return (made.append(number) or b"block" for number in range(3))

    site = Site(WSGIResource(clock, application), reactor=clock)
    protocol = site.buildProtocol(None)
    transport = BoundedTransport(protocol, 65536)
    protocol.makeConnection(transport)
    alsoProvides(transport, ISSLTransport)
    protocol.dataReceived(GET)

    counts = []
    for _ in range(10):
        counts.append(len(made))
        clock.turn()
    assert all(after - before <= 1 for before, after in pairwise(counts))
    assert transport.drain().endswith(b"0\r\n\r\n")


@ensureDeferred
async def test_it_serves_streams_of_http_2() -> None:
    """An application is served on any kind of connection that the site takes."""
    answer = await http2.ask(place, path="/a")

    assert (answer.status, answer.body) == (b"200", b" -> /a")


def test_the_context_of_a_transport_is_no_affair_of_the_application() -> None:
    """Only a subrequest's brings the context that its request is to run in."""
    served = serve(place, b"")
    served.transport.context = "something else"  # type: ignore[attr-defined]

    served.send(GET)

    assert served.read().startswith(b"HTTP/1.1 200 OK")
