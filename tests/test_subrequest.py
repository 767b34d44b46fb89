"""``SubrequestAgent``: asking what is in this process, as an agent asks others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from doors import Current
from doors import serve_in_a_turn as serve
from pytest_twisted import ensureDeferred
from treq.client import HTTPClient
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.error import SchemeNotSupported
from twisted.web.guard import DigestCredentialFactory, HTTPAuthSessionWrapper
from twisted.web.iweb import IAgent, IResponse
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.static import Data
from twisted.web.twcgi import CGIScript
from twisted.web.wsgi import WSGIResource as ThreadedResource
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_wsgiflush import WSGIResource, WSGISite
from twisted_wsgiflush.bodies import blocks_of_body
from twisted_wsgiflush.coroutines import asynchronous
from twisted_wsgiflush.errors import TooDeep
from twisted_wsgiflush.subrequest import SubrequestAgent
from twisted_wsgiflush.testing import Served, Turns

pytestmark = pytest.mark.usefixtures("door")


if TYPE_CHECKING:
    from conftest import Logged

HERE = b"http://inside/"
PLAIN = [("Content-Type", "text/plain")]
whose: ContextVar[str] = ContextVar("whose", default="nobody's")


class Reader(Protocol):
    """Reads a body, at its will."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.ended: type[BaseException] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = reason.type


class Inside:
    """A site in this process, an agent that asks it, and a reactor turned by hand."""

    def __init__(self, application: Any, **options: Any) -> None:
        self.clock = Turns()
        self.agent = agent_of(self.clock, application, **options)

    def get(self, uri: bytes = HERE) -> Deferred[IResponse]:
        return self.agent.request(b"GET", uri)

    def response(self) -> Any:
        return self.result(self.get())

    def result(self, deferred: Deferred[Any]) -> Any:
        """The result, once there is one; an error is raised."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        for _ in range(100):
            if results:
                break
            self.clock.turn()
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def turn(self, turns: int = 20) -> None:
        for _ in range(turns):
            self.clock.turn()


async def turns(clock: Turns, turns: int = 20) -> None:
    """Turn both reactors: a task of asyncio has its steps from the real one."""
    from twisted.internet import reactor

    for _ in range(turns):
        clock.turn()
        await deferLater(reactor, 0)


def agent_of(clock: Any, application: Any, **options: Any) -> SubrequestAgent:
    """An agent for an application, with a site around it."""
    site: Any
    if Current.door == "fast":
        site = WSGISite(clock, application)
    else:
        site = Site(WSGIResource(clock, application), reactor=clock)
    return SubrequestAgent(site, **options)


def hello(environ: Any, start_response: Any) -> Any:
    start_response("203 Very Well", [*PLAIN, ("X-Two", "1"), ("X-Two", "2")])
    return [b"hello"]


def echo(environ: Any, start_response: Any) -> Any:
    """Tells what it was asked."""
    start_response("200 OK", PLAIN)
    found = {key: environ[key] for key in environ if isinstance(environ[key], str)}
    found["body"] = environ["wsgi.input"].read().decode()
    return [json.dumps(found).encode()]


class Waiting:
    """An application that waits, after its head if it has one, until it is closed."""

    def __init__(self, *, head: bool) -> None:
        self.head = head
        self.began = self.closed = 0

    def __call__(self, environ: Any, start_response: Any) -> Iterator[bytes]:
        self.began += 1
        if self.head:
            start_response("200 OK", PLAIN)
            yield b"first"
        environ["x-wsgiorg.suspend"]()
        try:
            yield b""
        finally:
            self.closed += 1


def test_it_is_an_agent() -> None:
    """Whatever takes an agent takes this one."""
    assert verifyObject(IAgent, Inside(hello).agent)


def test_status_headers_and_body_come_as_given() -> None:
    """As from any other server, and for treq as well."""
    inside = Inside(hello)
    client = HTTPClient(inside.agent)
    response = inside.result(client.get("http://inside/"))
    body = inside.result(response.text())
    assert (response.code, response.phrase) == (203, b"Very Well")
    assert response.headers.getRawHeaders("X-Two") == ["1", "2"]
    assert body == "hello"


def test_nothing_is_left_to_do_afterwards() -> None:
    """The connection is closed, and nothing stays scheduled."""
    inside = Inside(hello)
    body = inside.result(HTTPClient(inside.agent).get("http://inside/"))
    inside.result(body.text())
    inside.turn()
    assert inside.clock.getDelayedCalls() == []


ASKED = {
    "PATH_INFO": "/a b",
    "QUERY_STRING": "c=d",
    "HTTP_HOST": "inside:81",
    "SERVER_NAME": "inside",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_PORT": "81",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "0",
}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_uri_is_what_the_site_sees(scheme: str) -> None:
    """Its scheme, host, path and query are those of the request."""
    inside = Inside(echo)
    client = HTTPClient(inside.agent)
    response = inside.result(client.get(f"{scheme}://inside:81/a%20b?c=d"))
    found = inside.result(response.json())
    assert {key: found[key] for key in ASKED} == ASKED
    assert found["wsgi.url_scheme"] == scheme


@ensureDeferred
async def test_a_body_may_be_sent() -> None:
    """It arrives at the application, which is asked with any method."""
    from twisted.internet import reactor

    client = HTTPClient(agent_of(reactor, echo))
    response = await client.post("http://inside/", data=b"x" * 200_000)
    assert (await response.json())["body"] == "x" * 200_000


@ensureDeferred
async def test_any_resource_may_be_asked() -> None:
    """A tree of resources needs no site."""
    root = Resource()
    root.putChild(b"child", Data(b"static", "text/plain"))
    response = await HTTPClient(SubrequestAgent(root)).get("http://inside/child")
    assert await response.content() == b"static"


@pytest.mark.parametrize("within", ["a site", "nothing"])
@ensureDeferred
async def test_forms_are_parsed(within: str) -> None:
    """A resource finds the fields of a form, whether it was given a site or not."""

    class Form(Resource):
        isLeaf = True

        def render_POST(self, request: Request) -> bytes:
            return repr(request.args).encode()

    site = Site(Form()) if within == "a site" else Form()
    client = HTTPClient(SubrequestAgent(site))
    response = await client.post("http://inside/", data={"field": "value"})
    assert await response.content() == b"{b'field': [b'value']}"


@implementer(IRealm)
class Realm:
    """Who is let in gets a text."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        return IResource, Data(b"let in", "text/plain"), lambda: None


class Addresses(Resource):
    """The addresses of a request, by each of the calls for one."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        client: Any = request.getClientAddress()
        return b" ".join(
            [
                request.prePathURL(),
                str(request.URLPath()).encode(),
                client.host.encode(),
            ]
        )


def threaded(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", PLAIN)
    return [f"{environ['REMOTE_ADDR']} {environ['SERVER_PORT']}".encode()]


@pytest.mark.parametrize(
    ("uri", "code", "body"),
    [
        ("http://inside/threaded", 200, b"127.0.0.1 80"),
        ("https://inside/threaded", 200, b"127.0.0.1 443"),
        ("http://inside/cgi", 200, b"127.0.0.1 80\n"),
        ("http://inside/digest", 401, b"Unauthorized"),
        (
            "http://inside/addresses",
            200,
            b"http://inside/addresses http://inside/addresses 127.0.0.1",
        ),
        (
            "https://inside:81/addresses",
            200,
            b"https://inside:81/addresses https://inside:81/addresses 127.0.0.1",
        ),
    ],
)
@ensureDeferred
async def test_resources_of_twisted_find_addresses(
    tmp_path: Path, uri: str, code: int, body: bytes
) -> None:
    """Those that ask for a host and a port get them."""
    from twisted.internet import reactor

    program = tmp_path / "program"
    program.write_text(
        '#!/bin/sh\necho "Content-Type: text/plain"; echo\n'
        'echo "$REMOTE_ADDR $SERVER_PORT"\n'
    )
    program.chmod(0o700)
    pool: Any = reactor
    portal = Portal(Realm(), [InMemoryUsernamePasswordDatabaseDontUse()])
    digest = DigestCredentialFactory(b"md5", b"realm")
    root = Resource()
    root.putChild(
        b"threaded", ThreadedResource(reactor, pool.getThreadPool(), threaded)
    )
    root.putChild(b"cgi", CGIScript(str(program)))
    root.putChild(b"digest", HTTPAuthSessionWrapper(portal, [digest]))
    root.putChild(b"addresses", Addresses())
    response = await HTTPClient(SubrequestAgent(root)).get(uri)
    assert (response.code, await response.content()) == (code, body)


@pytest.mark.parametrize(
    "uri", [b"ftp://inside/", b"ws://inside/", b"/path", b"//inside/", b"http:///path"]
)
def test_other_uris_fail(uri: bytes) -> None:
    """As with other agents, the Deferred fails, and nobody is asked."""
    inside = Inside(Waiting(head=False))
    with pytest.raises(SchemeNotSupported, match=uri.decode()):
        inside.result(inside.get(uri))


def test_a_site_that_takes_no_connection_refuses() -> None:
    """As a server on the network that has enough."""

    class Full(Site):
        def buildProtocol(self, address: Any) -> Any:
            return None

    clock = Turns()
    agent = SubrequestAgent(Full(Data(b"", "text/plain"), reactor=clock))
    asked = agent.request(b"GET", HERE)
    with pytest.raises(ConnectionRefusedError):
        raise failure_of(asked)


def failure_of(deferred: Deferred[Any]) -> BaseException:
    """The exception that it has failed with by now."""
    failures: list[Failure] = []
    deferred.addErrback(failures.append)
    return failures[0].value


@pytest.mark.parametrize("site", [None, object(), hello, "site"])
def test_what_is_no_site_is_refused(site: Any) -> None:
    """At once, and a WSGI application with the hint at what it misses."""
    with pytest.raises(TypeError, match=r"in a WSGIResource$"):
        SubrequestAgent(site)


def test_a_factory_without_a_reactor_is_refused() -> None:
    """At once; and with one it works."""
    clock = Turns()
    wrapped = WrappingFactory(Site(WSGIResource(clock, hello), reactor=clock))
    with pytest.raises(TypeError, match="has no reactor; pass one"):
        SubrequestAgent(wrapped)
    asked = SubrequestAgent(wrapped, reactor=clock).request(b"GET", HERE)
    for _ in range(20):
        clock.turn()
    assert asked.called


def test_a_resource_is_asked_on_the_reactor_given() -> None:
    """The site that it gets has that one, too."""
    clock = Turns()
    agent = SubrequestAgent(WSGIResource(clock, hello), reactor=clock)
    asked = agent.request(b"GET", HERE)
    for _ in range(20):
        clock.turn()
    assert asked.called


@pytest.mark.parametrize("bound", ["max_depth", "max_open"])
@pytest.mark.parametrize(
    ("value", "error"),
    [("3", TypeError), (None, TypeError), (True, TypeError), (0, ValueError)],
)
def test_a_bound_is_a_positive_number(bound: str, value: Any, error: Any) -> None:
    """Anything else is refused at once."""
    with pytest.raises(error, match=bound):
        Inside(hello, **{bound: value})


def test_they_run_in_parallel() -> None:
    """Two that take 100 ms each are done after 100 ms."""

    def slow(environ: Any, start_response: Any) -> Any:
        environ["x-wsgiorg.suspend"](100)
        yield b""
        start_response("200 OK", PLAIN)
        yield b"slow"

    inside = Inside(slow)
    both = gatherResults([inside.get(), inside.get()])
    inside.turn()
    before = both.called
    inside.clock.turn(0.1)
    inside.turn()
    assert (before, both.called) == (False, True)


def test_the_head_comes_before_the_body() -> None:
    """And each block when it is made."""
    inside = Inside(Waiting(head=True))
    response = inside.response()
    reader = Reader()
    response.deliverBody(reader)
    inside.turn()
    assert response.code == 200
    assert (reader.data, reader.ended) == (b"first", None)


class Endless:
    """An application that never comes to its end, of which blocks are counted."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        while True:
            self.made += 1
            yield b"x" * 10_000


def test_who_does_not_read_stops_the_application() -> None:
    """It makes no more than fills the connection, however long that takes."""
    endless = Endless()
    inside = Inside(endless)
    inside.response()
    inside.turn(1000)
    assert 2 < endless.made < 20


def test_who_reads_again_has_it_go_on() -> None:
    """And it stops again with its reader."""
    endless = Endless()
    inside = Inside(endless)
    reader = Reader()
    inside.response().deliverBody(reader)
    inside.turn(100)
    reader.transport.pauseProducing()
    inside.turn(100)
    made = endless.made
    inside.turn(100)
    assert endless.made == made
    reader.transport.resumeProducing()
    inside.turn(100)
    assert endless.made > made + 20
    assert len(reader.data) > (made + 20) * 10_000


def test_cancelling_is_leaving() -> None:
    """Who cancels the request is a client that leaves."""
    waiting = Waiting(head=False)
    inside = Inside(waiting)
    asked = inside.get()
    inside.turn()
    asked.cancel()
    inside.turn()
    assert (waiting.began, waiting.closed) == (1, 1)
    with pytest.raises((CancelledError, ResponseFailed)):
        inside.result(asked)
    assert inside.clock.getDelayedCalls() == []


@pytest.mark.parametrize("method", ["loseConnection", "stopProducing"])
def test_dropping_the_body_is_leaving(method: str) -> None:
    """Who drops the body's connection is a client that leaves."""
    waiting = Waiting(head=True)
    inside = Inside(waiting)
    reader = Reader()
    inside.response().deliverBody(reader)
    inside.turn()
    getattr(reader.transport, method)()
    inside.turn()
    assert (waiting.began, waiting.closed) == (1, 1)
    assert inside.clock.getDelayedCalls() == []


def test_dropping_a_full_connection_is_leaving() -> None:
    """Also for an application that is paused at that moment."""
    closed: list[bool] = []

    def application(environ: Any, start_response: Any) -> Any:
        try:
            yield from Endless()(environ, start_response)
        finally:
            closed.append(True)

    inside = Inside(application)
    asked = inside.response()
    reader = Reader()
    asked.deliverBody(reader)
    reader.transport.pauseProducing()
    inside.turn(100)
    reader.transport.loseConnection()
    reader.transport.resumeProducing()
    inside.turn()
    assert closed == [True]


def test_an_application_that_fails_gives_a_500(logged: Logged) -> None:
    """The one who asks is a client as any other."""

    def failing(environ: Any, start_response: Any) -> Any:
        raise ZeroDivisionError

    inside = Inside(failing)
    assert inside.response().code == 500
    assert logged.flush(ZeroDivisionError)


def test_a_body_that_is_cut_is_no_whole_body(logged: Logged) -> None:
    """Who reads it can tell."""

    def failing(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        yield b"half"
        raise ZeroDivisionError

    inside = Inside(failing)
    reader = Reader()
    inside.response().deliverBody(reader)
    inside.turn()
    assert logged.flush(ZeroDivisionError)
    assert reader.data == b"half"
    assert reader.ended not in (None, ResponseDone)


def test_the_context_of_who_asks_is_seen_and_not_changed() -> None:
    """The application that is asked runs in a copy of it."""

    def application(environ: Any, start_response: Any) -> Any:
        found = whose.get()
        whose.set("the application's")
        start_response("200 OK", PLAIN)
        yield found.encode()
        yield whose.get().encode()

    inside = Inside(application)
    whose.set("the asker's, ")
    asked = inside.get()
    whose.set("another's, ")
    reader = Reader()
    inside.result(asked).deliverBody(reader)
    inside.turn()
    assert reader.data == b"the asker's, the application's"
    assert whose.get() == "another's, "


# Nested subrequests.


def by_coroutine(agent: Callable[[], SubrequestAgent], deepest: list[Any]) -> Any:
    @asynchronous
    async def application(environ: Any, start_response: Any) -> Any:
        deepest[0] += 1
        try:
            await agent().request(b"GET", HERE)
        except TooDeep as error:
            deepest.append(str(error))
        start_response("200 OK", PLAIN)
        return [b""]

    return application


def by_generator(agent: Callable[[], SubrequestAgent], deepest: list[Any]) -> Any:
    def application(environ: Any, start_response: Any) -> Any:
        deepest[0] += 1

        def failed(failure: Failure) -> None:
            failure.trap(TooDeep)
            deepest.append(str(failure.value))

        asked = agent().request(b"GET", HERE).addErrback(failed)
        asked.addCallback(lambda _, resume: resume(), environ["x-wsgiorg.suspend"]())
        yield b""
        start_response("200 OK", PLAIN)

    return application


@pytest.mark.parametrize("by", [by_coroutine, by_generator])
@ensureDeferred
async def test_recursion_has_a_bound(by: Any) -> None:
    """An application that asks itself is told, and everybody gets a response."""
    deepest: list[Any] = [0]
    inside: Inside = Inside(by(lambda: inside.agent, deepest), max_depth=3)
    asked = inside.get()
    await turns(inside.clock, 100)
    assert inside.result(asked).code == 200
    assert deepest == [
        3,
        "GET http://inside/ would be subrequest in subrequest 4 times, of 3",
    ]


def test_recursion_through_a_resource_has_a_bound() -> None:
    """Also when it asks in a callback, and is no WSGI application."""
    clock = Turns()
    errors: list[str] = []

    def failed(failure: Failure) -> None:
        failure.trap(TooDeep)
        errors.append("TooDeep")

    class Recursive(Resource):
        isLeaf = True

        def render_GET(self, request: Request) -> int:
            asked: Deferred[Any] = agent_of(clock, hello).request(b"GET", HERE)
            asked.addCallback(lambda _: agent.request(b"GET", HERE))
            asked.addErrback(failed)
            asked.addCallback(lambda _: request.finish())
            return NOT_DONE_YET

    agent = SubrequestAgent(Site(Recursive(), reactor=clock), max_depth=3)
    answered = agent.request(b"GET", HERE)
    for _ in range(200):
        clock.turn()
    assert answered.called
    assert errors == ["TooDeep"]


@pytest.mark.parametrize("where", ["timer", "thread"])
@ensureDeferred
async def test_recursion_from_outside_has_a_bound(where: str) -> None:
    """Also when it asks where nobody knows for which request."""
    from twisted.internet import reactor

    threads: Any = reactor
    errors: list[str] = []
    asked = 0

    class Recursive(Resource):
        isLeaf = True

        def render_GET(self, request: Request) -> int:
            nonlocal asked
            asked += 1
            if where == "thread":
                threads.callInThread(threads.callFromThread, self.ask, request)
            else:
                threads.callLater(0, self.ask, request)
            return NOT_DONE_YET

        def ask(self, request: Request) -> None:
            def failed(failure: Failure) -> None:
                errors.append(repr(failure.value))

            answered = agent.request(b"GET", HERE).addErrback(failed)
            answered.addCallback(lambda _: request.finish())

    agent = SubrequestAgent(Recursive(), max_open=30)
    response = await HTTPClient(agent).get("http://inside/")
    await response.content()
    assert errors == [
        "TooManyOpen('GET http://inside/ would be open beside 30 others, of 30')"
    ]
    assert asked == 30


def test_what_is_closed_nests_nothing() -> None:
    """Whatever is called in its context later, as asyncio's reactor calls timers."""
    contexts = [copy_context()]

    def application(environ: Any, start_response: Any) -> Any:
        contexts.append(copy_context())
        return hello(environ, start_response)

    inside = Inside(application, max_depth=3)
    for _ in range(10):
        client = HTTPClient(inside.agent)
        asked = contexts[-1].run(client.get, "http://inside/")
        assert inside.result(asked).code == 203
        inside.turn()
    assert len(contexts) == 11


def test_what_is_closed_is_not_open() -> None:
    """Those that are answered, cancelled or refused make room for others."""
    inside = Inside(hello, max_open=1)
    for _ in range(3):
        assert inside.result(HTTPClient(inside.agent).get("http://inside/")).code == 203
        inside.turn()
        inside.get().addErrback(lambda failure: None).cancel()
        inside.turn()
        assert isinstance(failure_of(inside.get(b"ftp://inside")), SchemeNotSupported)


@ensureDeferred
async def test_one_after_the_other_is_not_nested() -> None:
    """As many as one likes may follow each other."""

    @asynchronous
    async def application(environ: Any, start_response: Any) -> Any:
        for _ in range(30):
            response = await agent_of(environ["twisted.reactor"], hello).request(
                b"GET", HERE
            )
            async for _block in blocks_of_body(response):
                pass
        start_response("200 OK", PLAIN)
        return [b"thirty"]

    served = serve(application)
    await turns(served.clock, 1000)
    assert b"thirty" in served.read()


# Clients that leave while an application asks others.


def composed(waiting: Any, *, late: bool = False) -> Served:
    """A client of an application that gives the bodies of two others."""

    @asynchronous
    async def application(environ: Any, start_response: Any) -> Any:
        agent = agent_of(environ["twisted.reactor"], waiting)
        asked = [agent.request(b"GET", HERE) for _ in range(2)]
        responses = await gatherResults(asked, consumeErrors=True)
        start_response("200 OK", PLAIN)

        async def bodies() -> Any:
            for response in responses:
                async for block in blocks_of_body(response):
                    yield block

        if late:
            return bodies()
        return [b"".join([block async for block in bodies()])]

    return serve(application, b"GET / HTTP/1.0\r\n\r\n")


@ensureDeferred
async def test_who_leaves_cancels_the_subrequests() -> None:
    """All of them, at once, and nothing stays."""
    waiting = Waiting(head=False)
    served = composed(waiting)
    await turns(served.clock)
    served.leave()
    await turns(served.clock)
    assert (waiting.began, waiting.closed) == (2, 2)
    assert served.clock.getDelayedCalls() == []


@pytest.mark.parametrize("late", [False, True])
@ensureDeferred
async def test_who_leaves_cancels_the_bodies(late: bool) -> None:
    """Also when only one of them is being read, by the coroutine or after it."""
    waiting = Waiting(head=True)
    served = composed(waiting, late=late)
    await turns(served.clock)
    served.leave()
    await turns(served.clock)
    assert (waiting.began, waiting.closed) == (2, 2)
    assert served.clock.getDelayedCalls() == []


@ensureDeferred
async def test_who_does_not_read_stops_the_application_behind() -> None:
    """Flow control holds from the client to the application that is asked."""
    endless = Endless()
    served = composed(endless, late=True)
    await turns(served.clock, 1000)
    made = endless.made
    await turns(served.clock, 1000)
    assert 2 < endless.made == made < 60
    served.drain()
    await turns(served.clock)
    assert endless.made > made
    served.leave()
    await turns(served.clock)
