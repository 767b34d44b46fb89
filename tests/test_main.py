"""The command as a process of its own, behind each of its doors."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import MODULE, SCRIPT, TWIST, TWISTD, Server, run, serving
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded

from twisted_wsgiflush import __version__

Write = Callable[[str, str], Path]

# On the reactor of the tests is the module; the others have one of their own.
every_door = pytest.mark.parametrize(
    "door",
    [
        MODULE,
        *(pytest.param(d, marks=pytest.mark.one_reactor) for d in (TWIST, TWISTD)),
    ],
)
both_sites = pytest.mark.parametrize("site", ["fast", "twisted"])

HELLO = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""

# Answers with what the query string names.
ENVIRON = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ[environ["QUERY_STRING"]].encode()]
"""

# Gives 20 MB, as fast as the client takes them.
LARGE = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "20000000")])
    return (b"x" * 100000 for _ in range(200))
"""

# Tells how much it got.
COUNT = """
def application(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(len(body)).encode()]
"""

# Never ends by itself, and tells when it is made to.
ENDLESS = """
import sys

class application:
    def __init__(self, environ, start_response):
        start_response("200 OK", [])

    def __iter__(self):
        while True:
            yield b"x"

    def close(self):
        sys.__stdout__.write("closed\\n")
        sys.__stdout__.flush()
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file into the directory that the command is run in."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def received(client: socket.socket) -> bytes:
    """All that a client gets until the server closes the connection."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def received_until(client: socket.socket, end: bytes) -> bytes:
    """What a client gets up to and with these bytes."""
    data = b""
    while not data.endswith(end):
        block = client.recv(65536)
        assert block, f"the connection ended after {data!r}"
        data += block
    return data


# -- serving, and its end -------------------------------------------------------------


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@every_door
def test_serves_until_a_signal(
    write: Write, tmp_path: Path, door: str, number: signal.Signals
) -> None:
    """Each door tells the address, serves, and ends upon a signal with status 0."""
    write("hello.py", HELLO)

    with serving("hello:application", cwd=tmp_path, door=door) as server:
        assert re.fullmatch(
            r"wsgiflush: serving hello:application at http://127\.0\.0\.1:[0-9]+/",
            server.ready,
        )
        assert server.get() == b"hello"
        server.signal(number)
        assert server.wait().status == 0


@every_door
def test_signal_as_soon_as_it_is_ready(write: Write, tmp_path: Path, door: str) -> None:
    """A server that says that it is ready is ready to end, too."""
    write("hello.py", HELLO)

    with serving("hello.py", cwd=tmp_path, door=door) as server:
        ended = server.stop()

    assert ended.status == 0


@pytest.mark.usefixtures("measured")
@pytest.mark.one_reactor
def test_installed_command(write: Write, tmp_path: Path) -> None:
    """The installed command serves as the module does."""
    write("hello.py", HELLO)

    with serving("hello.py", cwd=tmp_path, door=SCRIPT) as server:
        assert server.get() == b"hello"
        assert server.stop().status == 0


def test_output(write: Write, tmp_path: Path) -> None:
    """Standard output has the one line only, standard error has the log."""
    write("hello.py", HELLO)

    with serving("hello.py", cwd=tmp_path) as server:
        server.get()
        ended = server.stop()

    assert ended.stdout == ""
    assert f"] WSGISite starting on {server.port}\n" in ended.stderr
    assert "SIGTERM: waiting up to 30 s for what is in flight\n" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.one_reactor
def test_reactor_of_choice(write: Write, tmp_path: Path) -> None:
    """With twist, the reactor may be another one."""
    write(
        "reactor.py",
        """
def application(environ, start_response):
    from twisted.internet import reactor
    start_response("200 OK", [])
    return [type(reactor).__name__.encode()]
""",
    )

    with serving(
        "reactor.py", cwd=tmp_path, door=TWIST, runner=["--reactor", "asyncio"]
    ) as server:
        assert server.get() == b"AsyncioSelectorReactor"
        assert server.stop().status == 0


@pytest.mark.one_reactor
@every_door
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            [],
            "name one APPLICATION, as in 'wsgiflush hello:application', not 0; "
            "try --help",
        ),
        (["--port=80", "hello.py"], "option --port not recognized; try --help"),
        (
            ["absent:application"],
            "cannot import 'absent': there is no such module in {cwd!r} (see "
            "--app-dir) nor in the rest of Python's path",
        ),
        (
            ["hello:absent"],
            "hello:absent: 'hello' ({cwd}/hello.py) has no 'absent'",
        ),
        (
            ["--listen", "nothing", "hello.py"],
            "--listen nothing: no endpoint (ValueError: Unknown endpoint type: "
            "'nothing'); a usual one is tcp:8080:interface=127.0.0.1",
        ),
    ],
    ids=["nothing", "option", "module", "attribute", "endpoint"],
)
def test_mistakes(
    write: Write, tmp_path: Path, door: str, arguments: list[str], line: str
) -> None:
    """Behind each door a mistake is one line on standard error, and status 2."""
    write("hello.py", HELLO)

    ended = run(*arguments, cwd=tmp_path, door=door)

    assert ended.status == 2
    assert ended.stderr == f"wsgiflush: {line.format(cwd=str(tmp_path))}\n"
    assert ended.stdout == ""


@pytest.mark.one_reactor
@every_door
def test_application_that_fails(write: Write, tmp_path: Path, door: str) -> None:
    """An application that cannot be imported shows its own traceback, then a line."""
    write("broken.py", "import settings\n")
    write("settings.py", "raise RuntimeError('not today')\n")

    ended = run("broken:application", cwd=tmp_path, door=door)

    assert ended.status == 2
    assert ended.stderr == (
        "Traceback (most recent call last):\n"
        f'  File "{tmp_path}/broken.py", line 1, in <module>\n'
        "    import settings\n"
        f'  File "{tmp_path}/settings.py", line 1, in <module>\n'
        "    raise RuntimeError('not today')\n"
        "RuntimeError: not today\n"
        "wsgiflush: cannot import 'broken': RuntimeError: not today\n"
    )
    assert ended.stdout == ""


@every_door
def test_port_in_use(write: Write, tmp_path: Path, door: str) -> None:
    """A port that another process has is one line, and status 2."""
    write("hello.py", HELLO)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"

        ended = run("--listen", endpoint, "hello.py", cwd=tmp_path, door=door)

    assert ended.status == 2
    assert re.fullmatch(
        rf"wsgiflush: cannot listen on {endpoint}: .*Address already in use\.\n",
        ended.stderr,
    )


@pytest.mark.parametrize(
    "endpoints",
    [
        ["unix:absent/x"],
        ["unix:"],
        ["unix:directory"],
        ["unix:" + 120 * "x"],
        ["tcp:0:interface=127.0.0.1", "tcp:99999"],
        ["unix:x", "unix:absent/x"],
    ],
    ids=["absent", "empty", "directory", "long", "tcp", "unix"],
)
def test_cannot_listen(write: Write, tmp_path: Path, endpoints: list[str]) -> None:
    """An endpoint that cannot be opened is one line, whatever others are open."""
    write("hello.py", HELLO)
    (tmp_path / "directory").mkdir()
    listen = [f"--listen={endpoint}" for endpoint in endpoints]

    ended = run(*listen, "hello.py", cwd=tmp_path)

    assert ended.status == 2
    assert re.fullmatch(
        rf"wsgiflush: cannot listen on {endpoints[-1]}: .+\n", ended.stderr
    )
    assert ended.stdout == ""


@pytest.mark.one_reactor
@every_door
def test_version(tmp_path: Path, door: str) -> None:
    """Each door tells our version, not Twisted's."""
    assert run("--version", cwd=tmp_path, door=door) == (
        0,
        f"wsgiflush {__version__}\n",
        "",
    )


@pytest.mark.one_reactor
@every_door
def test_help(tmp_path: Path, door: str) -> None:
    """Each door explains the options, and gives examples."""
    ended = run("--help", cwd=tmp_path, door=door)

    assert ended.status == 0
    assert re.search(r"^ +--listen= +\S", ended.stdout, re.MULTILINE)
    assert "\nExamples:\n\n  wsgiflush hello.py\n" in ended.stdout
    assert ended.stderr == ""


@pytest.mark.one_reactor
@pytest.mark.parametrize(
    ("door", "usage"),
    [
        (MODULE, "Usage: wsgiflush [options] APPLICATION"),
        (
            TWIST,
            "Usage: twist [options] plugin [plugin_options] wsgiflush [options] "
            "APPLICATION",
        ),
        (TWISTD, "Usage: twistd [options] wsgiflush [options] APPLICATION"),
    ],
)
def test_usage(tmp_path: Path, door: str, usage: str) -> None:
    """The help begins with how the command is called behind this door."""
    assert run("--help", cwd=tmp_path, door=door).stdout.splitlines()[0] == usage


# -- the options ----------------------------------------------------------------------


def test_app_dir_and_factory(write: Write, tmp_path: Path) -> None:
    """An application is made by its factory, from the directory that it is in."""
    write(
        "src/made.py",
        """
def create():
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"made"]
    return application
""",
    )

    with serving(
        "--app-dir", "src", "--factory", "made:create", cwd=tmp_path
    ) as server:
        assert server.get() == b"made"


@both_sites
def test_mount(write: Write, tmp_path: Path, site: str) -> None:
    """A mounted application knows where it is; the line tells it, too."""
    write("where.py", ENVIRON)

    with serving(
        "--site", site, "--mount", "/wiki", "where.py", cwd=tmp_path
    ) as server:
        assert server.ready.endswith(f":{server.port}/wiki/")
        assert server.get("/wiki/page?SCRIPT_NAME") == b"/wiki"
        assert server.get("/wiki/page?PATH_INFO") == b"/page"
        assert server.request("/page").status == 404


@pytest.mark.usefixtures("measured")
@both_sites
def test_static(write: Write, tmp_path: Path, site: str) -> None:
    """Directories of files stand beside the application, which has all the rest."""
    write("hello.py", HELLO)
    write("css/style.css", "p {}")
    write("pages/index.html", "<p>index")

    with serving(
        "--site",
        site,
        *("--static", "/static/css=css", "--static", "/pages=pages", "hello.py"),
        cwd=tmp_path,
    ) as server:
        assert server.get("/static/css/style.css") == b"p {}"
        assert server.get("/pages/") == b"<p>index"
        assert server.get("/static/") == b"hello"
        assert server.request("/static/css/").status == 404
        assert server.request("/static/css/%00").status == 404
        assert server.stop().status == 0


@every_door
@both_sites
def test_access_log(write: Write, tmp_path: Path, door: str, site: str) -> None:
    """The access log has a line for each request."""
    write("hello.py", HELLO)
    log = tmp_path / "access.log"

    with serving(
        "--site",
        site,
        "--access-log",
        "access.log",
        "hello.py",
        cwd=tmp_path,
        door=door,
    ) as server:
        server.get("/one")
        server.get("/two", User_Agent="a browser")
        server.stop()

    assert re.fullmatch(
        r'"127\.0\.0\.1" - - \[.+\] "GET /one HTTP/1\.1" 200 5 "-" "-"\n'
        r'"127\.0\.0\.1" - - \[.+\] "GET /two HTTP/1\.1" 200 5 "-" "a browser"\n',
        log.read_text(),
    )


@every_door
@both_sites
def test_access_log_on_standard_output(
    write: Write, tmp_path: Path, door: str, site: str
) -> None:
    """The access log may go to standard output, behind each door as it is."""
    write("hello.py", HELLO)

    with serving(
        "--site", site, "--access-log", "-", "hello.py", cwd=tmp_path, door=door
    ) as server:
        server.get("/one")
        ended = server.stop()

    assert re.search(
        r'^"127\.0\.0\.1" - - \[.+\] "GET /one HTTP/1\.1" 200 5 "-" "-"$',
        ended.stdout,
        re.MULTILINE,
    )


@pytest.mark.parametrize("debug", [True, False])
@both_sites
def test_debug(write: Write, tmp_path: Path, debug: bool, site: str) -> None:
    """With --debug, and only then, the page for an error shows its traceback."""
    write("failing.py", "def application(*arguments): raise LookupError('secret')")

    with serving(
        "--site", site, *["--debug"] * debug, "failing.py", cwd=tmp_path
    ) as server:
        response = server.request("/")
        ended = server.stop()

    assert response.status == 500
    assert (b"LookupError: secret" in response.body) is debug
    assert ended.stderr.count("LookupError: secret") == 1


@pytest.mark.parametrize("stream", [True, False])
def test_stream_input(write: Write, tmp_path: Path, stream: bool) -> None:
    """With --stream-input, and only then, the response may be there before the body."""
    write("early.py", HELLO)

    with (
        serving(*["--stream-input"] * stream, "early.py", cwd=tmp_path) as server,
        server.connect() as client,
    ):
        client.sendall(
            b"POST / HTTP/1.1\r\nHost: example.com\r\nExpect: 100-continue\r\n"
            b"Connection: close\r\nContent-Length: 5\r\n\r\n"
        )
        if not stream:
            received_until(client, b"HTTP/1.1 100 Continue\r\n\r\n")
            client.sendall(b"abcde")
        response = received(client)

    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert response.endswith(b"hello")


def test_limits(write: Write, tmp_path: Path) -> None:
    """What the options say is what the server keeps to."""
    write("count.py", COUNT)
    limits = ["--body-size", "5", "--header-count=3", "--header-timeout", "0.1"]

    with serving(*limits, "count.py", cwd=tmp_path) as server:
        with server.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\n")
            assert received(client).startswith(b"HTTP/1.1 408 ")
        with server.connect() as client:
            client.sendall(
                b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 6\r\n\r\n"
            )
            assert received(client).startswith(b"HTTP/1.1 413 ")
        with server.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4 + b"\r\n")
            assert received(client).startswith(b"HTTP/1.1 431 ")


# -- the endpoints --------------------------------------------------------------------


def ask(client: socket.socket, query: str, before: bytes = b"") -> bytes:
    """The body of the response to a request, which is the connection's last."""
    client.sendall(
        before
        + b"GET /?%b HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
        % query.encode()
    )
    return received(client).partition(b"\r\n\r\n")[2]


@both_sites
def test_several_endpoints(write: Write, tmp_path: Path, site: str) -> None:
    """All of the endpoints serve, and the line tells the address of each."""
    write("where.py", ENVIRON)

    with serving(
        "--site",
        site,
        *("--listen", "tcp:0:interface=127.0.0.1", "--listen", "tcp:0", "where.py"),
        cwd=tmp_path,
    ) as server:
        told = re.fullmatch(
            r"wsgiflush: serving where\.py at http://127\.0\.0\.1:([0-9]+)/"
            r" and http://127\.0\.0\.1:([0-9]+)/",
            server.ready,
        )
        assert told is not None
        for port in told.groups():
            with socket.create_connection(("127.0.0.1", int(port)), 20) as client:
                assert ask(client, "SERVER_PORT") == port.encode()


@both_sites
def test_unix_socket(write: Write, tmp_path: Path, monkeypatch, site: str) -> None:
    """A UNIX socket serves, and is gone when the server has ended."""
    write("where.py", ENVIRON)
    monkeypatch.chdir(tmp_path)  # The path of a socket must be short.

    with serving(
        "--site", site, "--listen", "unix:where.sock", "where.py", cwd=tmp_path
    ) as server:
        assert server.ready == "wsgiflush: serving where.py at unix:where.sock"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect("where.sock")
            assert ask(client, "SERVER_NAME") == b"example.com"
        assert server.stop().status == 0

    assert not Path("where.sock").exists()


@both_sites
def test_tls(write: Write, tmp_path: Path, certificate: Path, site: str) -> None:
    """A TLS endpoint serves, and says so in the address."""
    write("where.py", ENVIRON)
    context = ssl.create_default_context(cafile=str(certificate))

    with serving(
        "--site",
        site,
        "--listen",
        f"ssl:0:privateKey={certificate}:interface=127.0.0.1",
        "where.py",
        cwd=tmp_path,
    ) as server:
        assert server.ready.startswith(
            "wsgiflush: serving where.py at https://127.0.0.1:"
        )
        with context.wrap_socket(
            server.connect(), server_hostname="localhost"
        ) as client:
            assert ask(client, "wsgi.url_scheme") == b"https"


# Answers /one with 8 MB in one block, and anything else with a gigabyte.
PIPELINED = """
made = 0

def application(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/made":
        return [str(made).encode()]
    if environ["PATH_INFO"] == "/one":
        return [b"x" * 8_000_000]
    return blocks()

def blocks():
    global made
    for made in range(1, 16385):
        yield b"x" * 65536
"""


@both_sites
def test_pipelined_responses_over_tls(
    write: Write, tmp_path: Path, certificate: Path, site: str
) -> None:
    """A response behind one that nobody reads costs no memory."""
    write("pipelined.py", PIPELINED)
    context = ssl.create_default_context(cafile=str(certificate))

    def connect(server: Server) -> ssl.SSLSocket:
        return context.wrap_socket(server.connect(), server_hostname="localhost")

    def get(path: bytes) -> bytes:
        return b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path

    def made(server: Server) -> bytes:
        with connect(server) as client:
            client.sendall(get(b"/made").replace(b"1.1", b"1.0"))
            return received(client).partition(b"\r\n\r\n")[2]

    with serving(
        "--site",
        site,
        *("--listen", f"ssl:0:privateKey={certificate}:interface=127.0.0.1"),
        "pipelined.py",
        cwd=tmp_path,
    ) as server:
        assert made(server) == b"0"
        before = resident(server)
        with connect(server) as alone:
            alone.sendall(get(b"/one"))
            alone.recv(1)  # It is on its way, as far as it can go.
            of_the_first = resident(server) - before
            with connect(server) as client:
                client.sendall(get(b"/one") + get(b"/big"))
                client.recv(1)
                counts = [int(made(server)) for _ in range(50)]
                of_both = resident(server) - before - of_the_first

    assert counts[-1] == counts[0] <= 1
    assert of_both < of_the_first + 2 * (1 << 20)


def resident(server: Server) -> int:
    """The bytes of memory that a server holds."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


@both_sites
def test_haproxy(write: Write, tmp_path: Path, site: str) -> None:
    """Behind HAProxy, the application sees the client's address, not the proxy's."""
    write("where.py", ENVIRON)
    proxied = b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n"

    with serving(
        "--site",
        site,
        "--listen",
        "haproxy:tcp:0:interface=127.0.0.1",
        "where.py",
        cwd=tmp_path,
    ) as server:
        for query, value in {
            "REMOTE_ADDR": b"192.0.2.1",
            "REMOTE_PORT": b"1234",
            "SERVER_PORT": b"80",
        }.items():
            with server.connect() as client:
                assert ask(client, query, proxied) == value


@both_sites
def test_systemd(write: Write, tmp_path: Path, site: str) -> None:
    """A socket that systemd has opened is served."""
    write("where.py", ENVIRON)
    # What systemd does (sd_listen_fds(3)): the socket is the descriptor 3.
    systemd = """
import os, socket, sys
listening = socket.create_server(("127.0.0.1", 0))
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()))
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="where.socket")
os.execv(sys.argv[1], sys.argv[1:])
"""

    with serving(
        "--site",
        site,
        *("--listen", "systemd:domain=INET:index=0", "where.py"),
        cwd=tmp_path,
        wrapper=[sys.executable, "-c", systemd],
    ) as server:
        assert server.get("/?SERVER_PORT") == str(server.port).encode()


# -- the end, while something is in flight --------------------------------------------


HTTP2_GET = [
    (":method", "GET"),
    (":path", "/"),
    (":scheme", "https"),
    (":authority", "localhost"),
]


def streaming(server: Server) -> socket.socket:
    """A client that has the beginning of a response, and does not read on."""
    client = server.connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert client.recv(1) == b"H"
    return client


def uploading(server: Server) -> socket.socket:
    """A client that has sent a part of its request; the server waits for the rest."""
    client = server.connect()
    client.sendall(
        b"POST / HTTP/1.1\r\nHost: example.com\r\nExpect: 100-continue\r\n"
        b"Content-Length: 6\r\n\r\n"
    )
    received_until(client, b"100 Continue\r\n\r\n")
    client.sendall(b"abc")
    return client


def waiting(server: Server) -> socket.socket:
    """A client that has got a response, and keeps its connection."""
    client = server.connect()
    client.sendall(
        b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\n\r\nabc"
    )
    received_until(client, b"\r\n\r\n3")
    return client


@every_door
@both_sites
def test_response_in_flight(write: Write, tmp_path: Path, door: str, site: str) -> None:
    """A client that reads slowly gets all of it, while no other is accepted."""
    write("large.py", LARGE)

    with (
        serving("--site", site, "large.py", cwd=tmp_path, door=door) as server,
        streaming(server) as client,
    ):
        server.signal(signal.SIGTERM)
        server.no_longer_accepts()
        body = received(client).partition(b"\r\n\r\n")[2]
        assert server.wait().status == 0

    assert body == b"x" * 20_000_000


@both_sites
def test_http2_response_in_flight(
    write: Write, tmp_path: Path, certificate: Path, site: str
) -> None:
    """A stream of HTTP/2 is sent to its end."""
    write("large.py", LARGE)
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_alpn_protocols(["h2"])
    body = 0
    ended = False

    with (
        serving(
            "--site",
            site,
            *("--listen", f"ssl:0:privateKey={certificate}:interface=127.0.0.1"),
            "large.py",
            cwd=tmp_path,
        ) as server,
        context.wrap_socket(server.connect(), server_hostname="localhost") as client,
    ):
        assert client.selected_alpn_protocol() == "h2"
        http2 = H2Connection()
        http2.initiate_connection()
        http2.send_headers(1, HTTP2_GET, end_stream=True)
        client.sendall(http2.data_to_send())
        while not ended:
            for event in http2.receive_data(client.recv(65536)):
                if isinstance(event, DataReceived):
                    if not body:
                        server.signal(signal.SIGTERM)
                        server.no_longer_accepts()
                    length = event.flow_controlled_length
                    body += length
                    http2.acknowledge_received_data(length, 1)
                ended = ended or isinstance(event, StreamEnded)
            client.sendall(http2.data_to_send())
        client.close()
        assert server.wait().status == 0

    assert body == 20_000_000


@both_sites
def test_upload_in_flight(write: Write, tmp_path: Path, site: str) -> None:
    """A request that is still arriving is answered."""
    write("count.py", COUNT)

    with (
        serving("--site", site, "count.py", cwd=tmp_path) as server,
        uploading(server) as client,
    ):
        server.signal(signal.SIGTERM)
        server.no_longer_accepts()
        client.sendall(b"def")
        response = received(client)
        assert server.wait().status == 0

    assert b"\r\nConnection: close\r\n" in response
    assert response.endswith(b"\r\n\r\n6")


@both_sites
def test_idle_connections(write: Write, tmp_path: Path, site: str) -> None:
    """Connections that wait for another request, or for the first, are closed."""
    write("count.py", COUNT)

    with (
        serving("--site", site, "count.py", cwd=tmp_path) as server,
        server.connect() as new,
        waiting(server) as kept,
    ):
        ended = server.stop()
        assert received(kept) == b""
        assert received(new) == b""

    assert ended.status == 0


@both_sites
def test_idle_tls_connection(
    write: Write, tmp_path: Path, certificate: Path, site: str
) -> None:
    """A TLS connection that waits for another request is closed at once."""
    write("hello.py", HELLO)
    context = ssl.create_default_context(cafile=str(certificate))

    with (
        serving(
            "--site",
            site,
            *("--listen", f"ssl:0:privateKey={certificate}:interface=127.0.0.1"),
            *("--graceful-timeout", "40", "hello.py"),
            cwd=tmp_path,
        ) as server,
        context.wrap_socket(server.connect(), server_hostname="localhost") as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received_until(client, b"hello")
        server.signal(signal.SIGTERM)
        # Sooner than the 20 seconds after which a client gives up.
        assert client.recv(1) == b""
        client.unwrap()
        assert server.wait().status == 0


@both_sites
def test_request_on_a_kept_connection(write: Write, tmp_path: Path, site: str) -> None:
    """A request that comes while another ends is answered, as its connection's last."""
    write("count.py", COUNT)

    with (
        serving("--site", site, "count.py", cwd=tmp_path) as server,
        uploading(server) as upload,
        waiting(server) as kept,
    ):
        server.signal(signal.SIGTERM)
        server.no_longer_accepts()
        kept.sendall(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        response = received(kept)
        upload.sendall(b"def")
        assert received(upload).endswith(b"\r\n\r\n6")
        assert server.wait().status == 0

    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in response
    assert response.endswith(b"\r\n\r\n0")


@every_door
@both_sites
def test_graceful_timeout(write: Write, tmp_path: Path, door: str, site: str) -> None:
    """What has not ended in time is ended, and close() called."""
    write("endless.py", ENDLESS)

    with (
        serving(
            "--site",
            site,
            "--graceful-timeout",
            "0.2",
            "endless.py",
            cwd=tmp_path,
            door=door,
        ) as server,
        streaming(server) as client,
    ):
        ended = server.stop()
        with pytest.raises(ConnectionResetError):
            received(client)

    assert ended.status == 0
    assert ended.stdout.splitlines().count("closed") == 1


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@every_door
@both_sites
def test_second_signal(
    write: Write, tmp_path: Path, door: str, second: signal.Signals, site: str
) -> None:
    """A second signal ends it all at once, with close() called and status 0."""
    write("endless.py", ENDLESS)

    with (
        serving("--site", site, "endless.py", cwd=tmp_path, door=door) as server,
        streaming(server) as client,
    ):
        server.signal(signal.SIGINT)
        server.no_longer_accepts()
        server.signal(second)
        ended = server.wait()
        with pytest.raises(ConnectionResetError):
            received(client)

    assert ended.status == 0
    assert ended.stdout.splitlines().count("closed") == 1
