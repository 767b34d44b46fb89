"""What the command line says, and the service that serves it."""

from __future__ import annotations

import gc
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.application.service import IService
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.logger import formatEvent
from twisted.python.usage import Options as UsageOptions
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_wsgiflush import WSGIResource, WSGISite, __version__
from twisted_wsgiflush._graceful import Connections, GracefulSite
from twisted_wsgiflush._types import WSGIApplication
from twisted_wsgiflush.limits import Limits
from twisted_wsgiflush.service import Options, WSGIService, makeService
from twisted_wsgiflush.testing import GET, BoundedTransport, Served, Turns

both_sites = pytest.mark.parametrize("site", ["fast", "twisted"])


def parsed(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(list(arguments))
    return options


# -- the options ----------------------------------------------------------------------

# In the order of Limits: the option of each, a text for it, and what that means.
LIMITS: dict[str, tuple[str, Any]] = {
    "request-line-size": ("1000", 1000),
    "header-size": ("2000", 2000),
    "header-count": ("30", 30),
    "body-size": ("4000", 4000),
    "header-timeout": ("5", 5.0),
    "body-timeout": ("0.5", 0.5),
    "keep-alive-timeout": ("none", None),
    "send-timeout": ("7", 7.0),
    "response-timeout": ("1e3", 1000.0),
    "suspend-timeout": ("0", None),
    "half-close-timeout": (".5", 0.5),
    "max-connections": ("10", 10),
}


def test_defaults() -> None:
    """The application's name is all that is needed."""
    assert dict(parsed("hello:application")) == {
        "application": "hello:application",
        "app-dir": ".",
        "factory": 0,
        "listen": ["tcp:8080:interface=127.0.0.1"],
        "mount": "/",
        "static": [],
        "access-log": None,
        "forwarded-allow-ips": None,
        "graceful-timeout": 30.0,
        "no-validation": 0,
        "wsgi2": 0,
        "debug": 0,
        "site": "fast",
        "stream-input": 0,
        **dict.fromkeys(LIMITS),
        "limits": Limits(),
    }


def test_all_of_them(tmp_path: Path) -> None:
    """Each option has its value, and those that are repeated all of theirs."""
    assert dict(
        parsed(
            *("--app-dir", "src", "--factory", "--mount=/wiki", "--debug"),
            *("--listen", "tcp:80", "--listen=unix:/run/wiki.sock"),
            *("--static", f"/static={tmp_path}", f"--static=/media/={tmp_path}"),
            *("--access-log", "-", "--graceful-timeout", "2.5"),
            *("--no-validation", "--wsgi2", "--site=fast", "--stream-input"),
            *(f"--{option}={value}" for option, (value, _) in LIMITS.items()),
            *("--forwarded-allow-ips", "unix, 10.0.0.0/8"),
            "wiki:create_app",
        )
    ) == {
        "application": "wiki:create_app",
        "app-dir": "src",
        "factory": 1,
        "listen": ["tcp:80", "unix:/run/wiki.sock"],
        "mount": "/wiki",
        "static": [("/static", str(tmp_path)), ("/media/", str(tmp_path))],
        "access-log": "-",
        "forwarded-allow-ips": "unix, 10.0.0.0/8",
        "graceful-timeout": 2.5,
        "no-validation": 1,
        "wsgi2": 1,
        "debug": 1,
        "site": "fast",
        "stream-input": 1,
        **{option: text for option, (text, _) in LIMITS.items()},
        "limits": Limits(*(value for _, value in LIMITS.values())),
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["--debug", "--app-dir", "src", "hello.py"],
        ["hello.py", "--debug", "--app-dir", "src"],
        ["--debug", "hello.py", "--app-dir=src"],
        ["--debug", "--app-dir", "src", "--", "hello.py"],
    ],
    ids=" ".join,
)
def test_order(arguments: list[str]) -> None:
    """Options may stand on either side of the application's name."""
    options = parsed(*arguments)

    assert options["application"] == "hello.py"
    assert options["debug"]
    assert options["app-dir"] == "src"


def test_each_limit_has_an_option() -> None:
    """By its name, with dashes."""
    assert [name.replace("_", "-") for name in Limits._fields] == list(LIMITS)


@pytest.mark.parametrize("text", ["none", "0"])
@pytest.mark.parametrize("option", LIMITS)
def test_no_limit(option: str, text: str) -> None:
    """Each of the limits may be lifted, and leaves the others as they are."""
    limits = parsed(f"--{option}", text, "hello.py")["limits"]

    assert limits == Limits()._replace(**{option.replace("-", "_"): None})


def test_streamed_bodies_have_no_limit() -> None:
    """An upload that is streamed takes no room; it has a limit if one is asked for."""
    options = parsed("--stream-input", "hello.py")
    assert options["limits"] == Limits()._replace(body_size=None)

    options = parsed("--stream-input", "--body-size=5", "hello.py")
    assert options["limits"] == Limits()._replace(body_size=5)


@both_sites
def test_sites(site: str) -> None:
    """Who speaks HTTP/1.1 is chosen by name."""
    assert parsed("--site", site, "hello.py")["site"] == site


def test_name_with_a_dash() -> None:
    """After two dashes nothing is an option."""
    assert parsed("--", "--strange.py")["application"] == "--strange.py"


def test_command_line_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any arguments, those of the process are parsed."""
    monkeypatch.setattr(sys, "argv", ["wsgiflush", "--debug", "hello.py"])
    options = Options()

    options.parseOptions()

    assert options["application"] == "hello.py"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            [],
            "name one APPLICATION, as in 'wsgiflush hello:application', not 0; "
            "try --help",
        ),
        (
            ["hello.py", "world.py"],
            "name one APPLICATION, as in 'wsgiflush hello:application', not 2; "
            "try --help",
        ),
        (["--port", "80", "x.py"], "option --port not recognized; try --help"),
        (["-p", "80", "x.py"], "option -p not recognized; try --help"),
        (["x.py", "--listen"], "option --listen requires argument; try --help"),
        (
            ["--debug=yes", "x.py"],
            "option --debug must not have an argument; try --help",
        ),
        (["--mount", "wiki", "x.py"], "--mount must begin with a slash, not 'wiki'"),
        (
            ["--static", "static", "x.py"],
            "--static wants /URL=DIRECTORY, not 'static'",
        ),
        (
            ["--static", "static=/", "x.py"],
            "--static wants /URL=DIRECTORY, not 'static=/'",
        ),
        (
            ["--static", "/static=", "x.py"],
            "--static /static: there is no directory ''",
        ),
        (
            ["--static", "/static=/absent", "x.py"],
            "--static /static: there is no directory '/absent'",
        ),
        *(
            (
                ["--graceful-timeout", seconds, "x.py"],
                f"--graceful-timeout must be a number of seconds, not {seconds!r}",
            )
            for seconds in ("soon", "", "-1", "nan", "inf")
        ),
        (
            ["--site", "slow", "x.py"],
            "--site must be fast or twisted, not 'slow'",
        ),
        (
            ["--site", "twisted", "--stream-input", "x.py"],
            "--stream-input wants --site fast",
        ),
        (
            ["--stream-input=yes", "x.py"],
            "option --stream-input must not have an argument; try --help",
        ),
        *(
            (
                [f"--{option}={text}", "--site=twisted", "x.py"],
                f"--{option} wants --site fast",
            )
            for option in LIMITS
            for text in ("5", "none")
        ),
        *(
            (
                [f"--{option}={text}", "x.py"],
                f"--{option} must be a number of seconds, or none, not {text!r}",
            )
            for option in LIMITS
            if option.endswith("-timeout")
            for text in ("soon", "", "-1", "nan", "inf", "None")
        ),
        *(
            (
                [f"--{option}={text}", "x.py"],
                f"--{option} must be a whole number, or none, not {text!r}",
            )
            for option in LIMITS
            if not option.endswith("-timeout")
            for text in ("many", "", "-1", "nan", "inf", "1.5", "1e3", "1k")
        ),
        *(
            (
                ["--forwarded-allow-ips", names, "x.py"],
                f"--forwarded-allow-ips: neither an address, unix nor *: {why}",
            )
            for names, why in {
                "": "'' does not appear to be an IPv4 or IPv6 network",
                "*, proxy": "'proxy' does not appear to be an IPv4 or IPv6 network",
                "10.0.0.1/8": "10.0.0.1/8 has host bits set",
            }.items()
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes(capfd, arguments: list[str], line: str) -> None:
    """A mistake is told of in one line, and the status is 2."""
    with pytest.raises(SystemExit) as exited:
        parsed(*arguments)

    assert exited.value.code == 2
    assert capfd.readouterr() == ("", f"wsgiflush: {line}\n")


def test_version(capsys) -> None:
    """--version tells the version, and nothing is served."""
    with pytest.raises(SystemExit) as exited:
        parsed("--version")

    assert exited.value.code == 0
    assert capsys.readouterr() == (f"wsgiflush {__version__}\n", "")


def test_help(capsys) -> None:
    """--help explains what an application is, each option, and gives examples."""
    with pytest.raises(SystemExit) as exited:
        parsed("--help")

    stdout, stderr = capsys.readouterr()
    assert exited.value.code == 0
    assert stderr == ""
    assert stdout.startswith("Usage: wsgiflush [options] APPLICATION\n")
    assert "module:attribute, module.attribute or path/to/file.py[:attribute]" in stdout
    for option in (
        "--access-log=",
        "--app-dir=",
        "--debug",
        "--factory",
        "--forwarded-allow-ips=",
        "--graceful-timeout=",
        "--help",
        "--listen=",
        "--mount=",
        "--no-validation",
        "--site=",
        "--static=",
        "--stream-input",
        "--version",
        "--wsgi2",
        *(f"--{limit}=" for limit in LIMITS),
    ):
        assert re.search(rf"^ +{option} +[A-Z/].+", stdout, re.MULTILINE), option
    assert "\n  wsgiflush --listen tcp:80 --listen ssl:443" in stdout
    assert max(map(len, stdout.splitlines())) < 89


@pytest.mark.parametrize(
    ("option", "default"),
    [
        ("request-line-size", "8192"),
        ("body-size", "1073741824"),
        ("header-timeout", "10"),
        ("response-timeout", "none"),
        ("max-connections", "none"),
    ],
)
def test_help_for_a_limit(capsys, option: str, default: str) -> None:
    """The help tells the default of each limit, in the words that are understood."""
    with pytest.raises(SystemExit):
        parsed("--help")

    text = " ".join(capsys.readouterr().out.split())
    assert re.search(rf" --{option}= [^[]+\[default: {default}\]", text)


def test_help_below_another_command(capsys) -> None:
    """As the command of another one, the help begins with that one's name."""

    class Runner(UsageOptions):
        synopsis = "Usage: runner [options]"
        subCommands = [("wsgiflush", None, Options, "Serves.")]

    with pytest.raises(SystemExit):
        Runner().parseOptions(["wsgiflush", "--help"])

    assert capsys.readouterr().out.startswith(
        "Usage: runner [options] wsgiflush [options] APPLICATION\n"
    )


# -- from the options to a service ----------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with an application in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "served.py").write_text("def application(*arguments): return []")
    threshold = gc.get_threshold()
    yield tmp_path
    gc.set_threshold(*threshold)
    sys.modules.pop("served", None)


@both_sites
def test_service(directory: Path, site: str) -> None:
    """The options make a service, for any of Twisted's runners."""
    service = makeService(parsed("--site", site, "--static", "/static=.", "served.py"))

    assert verifyObject(IService, service)
    assert service.exit_status == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((700, 10, 10), (700, 10, 142)),
        ((2000, 10, 10), (2000, 10, 50)),
        ((700, 10, 1000), (700, 10, 1000)),
        ((0, 10, 10), (0, 10, 10)),
    ],
    ids=["until 3.12", "since 3.13", "a higher one", "none at all"],
)
def test_garbage(
    directory: Path, before: tuple[int, int, int], after: tuple[int, int, int]
) -> None:
    """Old objects are collected after a million new ones, not after 70,000."""
    gc.set_threshold(*before)

    makeService(parsed("served.py"))

    assert gc.get_threshold() == after


def test_garbage_of_an_application_that_knows_better(directory: Path) -> None:
    """What the application says of it when it is imported, counts."""
    source = "import gc; gc.set_threshold(100, 5, 5); application = print"
    (directory / "served.py").write_text(source)

    makeService(parsed("served.py"))

    assert gc.get_threshold() == (100, 5, 5)


def connect_many(line: str) -> None:
    """
    300 clients, while the reactor does nothing.

    :param line: tells where is listened.
    :raises OSError: when there is no room for so many.
    """
    found = re.search(r":(\d+)/$", line)
    with ExitStack() as clients:
        for _ in range(300):
            client = socket.socket(socket.AF_INET if found else socket.AF_UNIX)
            clients.enter_context(client).settimeout(0.5)
            client.connect(("127.0.0.1", int(found[1])) if found else "socket")


@pytest.mark.parametrize(
    "endpoint", ["tcp:0:interface=127.0.0.1", "haproxy:tcp:0", "unix:socket"]
)
@pytest_twisted.ensureDeferred
async def test_many_at_once(directory: Path, endpoint: str, stdout: StringIO) -> None:
    """Hundreds of clients may connect while an application blocks the reactor."""
    service = makeService(parsed("--listen", endpoint, "served.py"))
    service.startService()

    connect_many(stdout.getvalue())

    await service.stopService()


@pytest.mark.parametrize(
    "endpoint", ["tcp:0:interface=127.0.0.1:backlog=3", "tcp:0:127.0.0.1:3"]
)
@pytest_twisted.ensureDeferred
async def test_a_backlog(directory: Path, endpoint: str, stdout: StringIO) -> None:
    """The endpoint may say how many."""
    service = makeService(parsed("--listen", endpoint, "served.py"))
    service.startService()

    with pytest.raises(TimeoutError):
        connect_many(stdout.getvalue())

    await service.stopService()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--listen", "carrier-pigeon:1", "served.py"],
            "--listen carrier-pigeon:1: no endpoint (ValueError: Unknown endpoint "
            "type: 'carrier-pigeon'); a usual one is tcp:8080:interface=127.0.0.1",
        ),
        (
            ["--listen", "tcp:http", "served.py"],
            "--listen tcp:http: no endpoint (ValueError: invalid literal for int() "
            "with base 10: 'http'); a usual one is tcp:8080:interface=127.0.0.1",
        ),
        (
            ["--listen", "tcp:80", "--listen", "ssl:443:privateKey=/absent", "served"],
            "--listen ssl:443:privateKey=/absent: no endpoint (FileNotFoundError: "
            "[Errno 2] No such file or directory: '/absent'); "
            "a usual one is tcp:8080:interface=127.0.0.1",
        ),
        (
            ["--access-log", "absent/access.log", "served.py"],
            "--access-log: [Errno 2] No such file or directory: 'absent/access.log'",
        ),
        (
            ["--app-dir", "absent", "served.py"],
            "--app-dir: there is no directory 'absent'",
        ),
        (["absent.py"], "there is no file 'absent.py'"),
        (
            ["--static", "/=.", "served.py"],
            "--mount, --static: there is something at '/' already",
        ),
        (
            ["--static", "/static=.", "--static", "/static/=.", "served.py"],
            "--mount, --static: there is something at '/static/' already",
        ),
        (
            ["--static", "/static=.", "--static", "/static=..", "served.py"],
            "--mount, --static: there is something at '/static' already",
        ),
        (
            ["--mount", "/wiki", "--static", "/wiki=.", "served.py"],
            "--mount, --static: there is something at '/wiki' already",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@both_sites
def test_what_cannot_be_served(
    directory: Path, capfd, arguments: list[str], line: str, site: str
) -> None:
    """What is wrong with the options' values is told of in one line, too."""
    options = parsed("--site", site, *arguments)

    with pytest.raises(SystemExit) as exited:
        makeService(options)

    assert exited.value.code == 2
    assert capfd.readouterr() == ("", f"wsgiflush: {line}\n")


def test_error_of_several_lines(directory: Path, capfd) -> None:
    """However long the application's error is, ours is one line, and the last."""
    (directory / "served.py").write_text("raise RuntimeError('first\\nsecond')")
    options = parsed("served.py")

    with pytest.raises(SystemExit):
        makeService(options)

    assert capfd.readouterr().err.endswith(
        "RuntimeError: first\nsecond\n"
        f"wsgiflush: cannot import '{directory}/served.py': "
        "RuntimeError: first second\n"
    )


def test_no_standard_error(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    """A process without a standard error ends with status 2, too."""
    monkeypatch.setattr(sys, "__stderr__", None)

    with pytest.raises(SystemExit) as exited:
        parsed("--absent")

    assert exited.value.code == 2
    assert capfd.readouterr() == ("", "")


# -- the service ----------------------------------------------------------------------


class FakeReactor(Turns):
    """A reactor that runs from ``start`` to ``stop``, and turns when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.running = False
        self.when_running: list[Callable[[], object]] = []

    def start(self) -> None:
        self.running = True
        for function in self.when_running:
            function()

    def stop(self) -> None:
        if not self.running:
            raise ReactorNotRunning
        self.running = False

    def callWhenRunning(self, function: Callable[[], object]) -> None:
        if self.running:
            function()
        else:
            self.when_running.append(function)


@implementer(IListeningPort)
class Port:
    """A port that clients may connect to until it is no longer listened on."""

    def __init__(self, factory: IProtocolFactory, address: IAddress) -> None:
        self.factory: IProtocolFactory | None = factory
        self.address = address

    def startListening(self) -> None:
        raise CannotListenError("", 0, "it is listening already")

    def stopListening(self) -> Deferred[None]:
        self.factory = None
        return succeed(None)

    def getHost(self) -> IAddress:
        return self.address

    def connect(self, reactor: FakeReactor, data: bytes = b"") -> Served:
        assert self.factory is not None
        protocol = self.factory.buildProtocol(self.address)
        assert protocol is not None
        transport = BoundedTransport(protocol, 65536)
        protocol.makeConnection(transport)
        served = Served(reactor, transport)
        served.send(data)
        return served


@implementer(IStreamServerEndpoint)
class Endpoint:
    """An endpoint of which a test decides when it listens."""

    def __init__(self, address: IAddress) -> None:
        self.address = address
        self.ports: list[Port] = []
        self.ready: Deferred[None] = Deferred()

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        port = Port(protocolFactory, self.address)
        self.ports.append(port)
        return self.ready.addCallback(lambda _: port)


LOCAL = IPv4Address("TCP", "127.0.0.1", 8080)


def greeting(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def stock(reactor: FakeReactor, application: WSGIApplication) -> Connections:
    """What ``--site twisted`` listens with."""
    resource = WSGIResource(reactor, application)
    return Connections(reactor, GracefulSite(reactor, resource, None))


SITES: dict[str, Any] = {"fast": WSGISite, "twisted": stock}


class Harness:
    """A service, and what is around it."""

    def __init__(
        self,
        application: WSGIApplication = greeting,
        descriptions: tuple[tuple[str, IAddress], ...] = (("tcp:8080", LOCAL),),
        path: str = "/",
        site: str = "fast",
    ) -> None:
        self.reactor = FakeReactor()
        self.endpoints = [Endpoint(address) for _, address in descriptions]
        self.service = WSGIService(
            self.reactor,
            SITES[site](self.reactor, application),
            [
                (description, endpoint)
                for (description, _), endpoint in zip(
                    descriptions, self.endpoints, strict=True
                )
            ],
            name="hello:application",
            path=path,
            graceful_timeout=30,
        )

    def start(self) -> None:
        """Start the service and the reactor, and have the endpoints listen."""
        self.service.startService()
        for endpoint in self.endpoints:
            endpoint.ready.callback(None)
        self.reactor.start()

    def connect(self, data: bytes = b"") -> Served:
        """A client of the first endpoint."""
        return self.endpoints[0].ports[0].connect(self.reactor, data)

    def stop(self) -> list[None]:
        """Stop the service; the list has something in it when that is done."""
        stopped: list[None] = []
        self.service.stopService().addCallback(stopped.append)
        return stopped


@pytest.fixture(autouse=True)
def stdout(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """The process's standard output; what twist and twistd do not redirect."""
    stdout = StringIO()
    monkeypatch.setattr(sys, "__stdout__", stdout)
    return stdout


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Restore the handlers of signals."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize(
    ("description", "address", "path", "told"),
    [
        ("tcp:8080", LOCAL, "/", "http://127.0.0.1:8080/"),
        ("tcp:8080", LOCAL, "/wiki/", "http://127.0.0.1:8080/wiki/"),
        (
            "tcp:0",
            IPv4Address("TCP", "0.0.0.0", 54321),
            "/",
            "http://127.0.0.1:54321/",
        ),
        (
            "tcp:80:interface=example.com",
            IPv4Address("TCP", "192.0.2.1", 80),
            "/",
            "http://192.0.2.1:80/",
        ),
        (
            r"tcp:80:interface=\:\:",
            IPv6Address("TCP", "::", 80),
            "/",
            "http://[::1]:80/",
        ),
        (
            r"tcp:80:interface=2001\:db8\:\:1",
            IPv6Address("TCP", "2001:db8::1", 80),
            "/",
            "http://[2001:db8::1]:80/",
        ),
        ("ssl:443", IPv4Address("TCP", "0.0.0.0", 443), "/", "https://127.0.0.1:443/"),
        ("haproxy:tcp:8080", LOCAL, "/", "http://127.0.0.1:8080/"),
        ("systemd:domain=INET:index=0", LOCAL, "/", "http://127.0.0.1:8080/"),
        (
            "unix:/run/hello.sock",
            UNIXAddress(b"/run/hello.sock"),
            "/",
            "unix:/run/hello.sock",
        ),
    ],
)
def test_ready(
    stdout: StringIO, description: str, address: IAddress, path: str, told: str
) -> None:
    """When the server is ready, a line tells the address to open."""
    harness = Harness(descriptions=((description, address),), path=path)
    harness.service.startService()
    assert stdout.getvalue() == ""

    harness.endpoints[0].ready.callback(None)
    harness.reactor.start()

    assert stdout.getvalue() == f"wsgiflush: serving hello:application at {told}\n"


def test_ready_at_all_endpoints(stdout: StringIO) -> None:
    """One line tells all addresses, when the last of the endpoints listens."""
    unix = UNIXAddress(b"/run/hello.sock")
    harness = Harness(
        descriptions=(("tcp:8080", LOCAL), ("unix:/run/hello.sock", unix))
    )
    harness.service.startService()
    harness.reactor.start()
    harness.endpoints[0].ready.callback(None)
    assert stdout.getvalue() == ""

    harness.endpoints[1].ready.callback(None)

    assert stdout.getvalue() == (
        "wsgiflush: serving hello:application at "
        "http://127.0.0.1:8080/ and unix:/run/hello.sock\n"
    )


@both_sites
def test_no_standard_output(monkeypatch: pytest.MonkeyPatch, site: str) -> None:
    """A process without a standard output serves, too."""
    monkeypatch.setattr(sys, "__stdout__", None)
    harness = Harness(site=site)

    harness.start()

    assert harness.connect(GET).read().endswith(b"hello")


def test_listens_once() -> None:
    """The ports that twistd opens while it has its privileges are the ones served."""
    harness = Harness()
    harness.service.privilegedStartService()

    harness.start()

    assert len(harness.endpoints[0].ports) == 1
    assert harness.service.running


def test_endpoint_that_fails_at_once(capfd) -> None:
    """An endpoint that cannot be had keeps the server from starting, with status 2."""
    harness = Harness()
    harness.endpoints[0].ready.errback(CannotListenError("", 80, "no permission"))

    with pytest.raises(SystemExit) as exited:
        harness.service.startService()

    assert exited.value.code == 2
    assert capfd.readouterr().err == (
        "wsgiflush: cannot listen on tcp:8080: "
        "Couldn't listen on any:80: no permission.\n"
    )


def test_endpoint_after_one_that_fails_at_once() -> None:
    """After an endpoint that cannot be had no other is tried, or told of."""
    harness = Harness(descriptions=(("tcp:80", LOCAL), ("tcp:81", LOCAL)))
    harness.endpoints[0].ready.errback(OSError("no permission"))

    with pytest.raises(SystemExit):
        harness.service.startService()

    assert harness.endpoints[1].ports == []


def test_several_endpoints_that_fail_later(capfd) -> None:
    """Of a running server, too, only the first endpoint that fails is told of."""
    harness = Harness(descriptions=(("onion:80", LOCAL), ("onion:81", LOCAL)))
    harness.service.startService()
    harness.reactor.start()

    for endpoint in harness.endpoints:
        endpoint.ready.errback(OSError("no Tor here"))

    assert harness.service.exit_status == 2
    assert capfd.readouterr().err == (
        "wsgiflush: cannot listen on onion:80: no Tor here\n"
    )


@both_sites
def test_endpoint_that_fails_later(capfd, site: str) -> None:
    """An endpoint that cannot be had ends a running server, with status 2."""
    harness = Harness(
        descriptions=(("tcp:8080", LOCAL), ("onion:80", LOCAL)), site=site
    )
    harness.service.startService()
    harness.reactor.start()
    harness.endpoints[0].ready.callback(None)

    harness.endpoints[1].ready.errback(ConnectionRefusedError("no Tor here"))

    assert harness.service.exit_status == 2
    assert not harness.reactor.running
    assert capfd.readouterr().err == (
        "wsgiflush: cannot listen on onion:80: no Tor here\n"
    )
    assert harness.stop() == [None]


@both_sites
def test_listens_too_late(site: str) -> None:
    """A port that is there only when the service has stopped is closed again."""
    harness = Harness(site=site)
    harness.service.startService()
    harness.reactor.start()
    assert harness.stop() == [None]

    harness.endpoints[0].ready.callback(None)

    assert harness.endpoints[0].ports[0].factory is None


@both_sites
def test_stops_listening(site: str) -> None:
    """At the end no new client is accepted."""
    harness = Harness(site=site)
    harness.start()

    stopped = harness.stop()

    assert harness.endpoints[0].ports[0].factory is None
    assert stopped == [None]
    assert not harness.service.running


@both_sites
def test_stops_when_the_last_response_has_ended(site: str) -> None:
    """The service has stopped when the last byte of what was in flight is sent."""

    def application(environ, start_response):
        start_response("200 OK", [])
        yield from (b"one", b"two", b"three")

    harness = Harness(application, site=site)
    harness.start()
    client = harness.connect(GET)
    client.turn(2)

    stopped = harness.stop()

    assert stopped == []
    assert client.read().endswith(b"three\r\n0\r\n\r\n")
    assert stopped == [None]


POST = b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 6\r\n\r\n"


@both_sites
def test_idle_connections_are_closed_when_nothing_is_in_flight(site: str) -> None:
    """Until then they are there for requests that may be on their way."""
    harness = Harness(site=site)
    harness.start()
    uploading = harness.connect(POST + b"abc")
    one, two, new = harness.connect(GET), harness.connect(GET), harness.connect()
    assert one.read().endswith(b"hello")
    assert two.read().endswith(b"hello")

    stopped = harness.stop()
    assert not any(client.closed for client in (one, two, new))

    one.send(GET)
    response = one.read()
    assert b"\r\nConnection: close\r\n" in response
    assert response.endswith(b"hello")
    assert one.closed
    assert not any(client.closed for client in (two, new))

    uploading.send(b"def")
    assert uploading.read().endswith(b"hello")
    assert two.closed
    assert new.closed
    for client in (two, new):
        client.drain()
    assert stopped == [None]


@both_sites
def test_client_in_flight_that_leaves(site: str) -> None:
    """It is the last thing in flight, too."""
    harness = Harness(site=site)
    harness.start()
    uploading, waiting = harness.connect(POST), harness.connect()
    stopped = harness.stop()

    uploading.leave()
    assert waiting.closed
    waiting.drain()

    assert stopped == [None]


@pytest.mark.parametrize("number", SIGNALS)
def test_signal(logged, number: signal.Signals) -> None:
    """A signal stops the reactor, in a turn of its own, and the log says why."""
    harness = Harness()
    harness.start()

    signal.raise_signal(number)

    assert harness.reactor.running
    harness.reactor.turn()
    assert not harness.reactor.running
    (event,) = logged.at("info")
    assert formatEvent(event) == (
        f"{number.name}: waiting up to 30 s for what is in flight"
    )


@both_sites
@pytest.mark.parametrize("number", SIGNALS)
def test_second_signal(logged, number: signal.Signals, site: str) -> None:
    """A second signal ends what the first waits for, and close() is called."""
    closed = []

    class Endless:
        def __init__(self, environ, start_response) -> None:
            start_response("200 OK", [])

        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"more"

        def close(self) -> None:
            closed.append(self)

    harness = Harness(Endless, site=site)
    harness.start()
    client = harness.connect(GET)
    signal.raise_signal(signal.SIGTERM)
    client.read()
    stopped = harness.stop()
    assert stopped == []

    signal.raise_signal(number)
    client.turn()

    assert stopped == [None]
    assert client.transport.aborted
    assert len(closed) == 1
    assert formatEvent(logged.at("info")[-1]) == (
        f"{number.name} again: ending what is in flight"
    )
