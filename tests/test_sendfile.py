"""Which files the kernel sends by itself, and what becomes of the response."""

from __future__ import annotations

import errno
import io
import os
import socket
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from connections import (
    FastClient,
    FastSocketClient,
    FastTCPClient,
    FastTLSClient,
    SocketClient,
    TLSClient,
)
from twisted.internet.ssl import PrivateCertificate
from twisted.logger import formatEvent
from waiting import FLUSH, LAST_CHUNK, SUSPEND, chunks

from twisted_wsgiflush import Limits
from twisted_wsgiflush._filewrapper import FileWrapper
from twisted_wsgiflush._sendfile import BLOCK, SMALL, FileBlocks, blocks_of
from twisted_wsgiflush.errors import BodyTooShort, StartResponseMissing
from twisted_wsgiflush.testing import GET

pytestmark = pytest.mark.usefixtures("sockets_closed")

HTTP_1_0 = b"GET / HTTP/1.0\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
SIZE = 2 * BLOCK + 12_345
CONTENT = b"".join(b"%09d." % n for n in range(SIZE // 10 + 1))[:SIZE]

on_sockets = pytest.mark.parametrize("connect", [FastSocketClient, FastTCPClient])


@pytest.fixture(scope="module", autouse=True)
def tls(certificate) -> None:
    """What the servers of TLS clients say who they are."""
    private = PrivateCertificate.loadPEM(certificate.read_bytes())
    TLSClient.options = private.options()


class Kernel:
    """Notes what it is asked to send; may fail in place of that."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []
        """Offsets, and how much of each was taken."""
        self.asked = 0
        self.error: OSError | None = None
        self.before: Any = None
        self._sendfile = os.sendfile

    def sendfile(self, out: int, file: int, offset: int, count: int) -> int:
        self.asked += 1
        if self.before is not None:
            self.before()
        if self.error is not None:
            raise self.error
        taken = self._sendfile(out, file, offset, count)
        self.sent.append((offset, taken))
        return taken

    @property
    def size(self) -> int:
        return sum(taken for _, taken in self.sent)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Through which each ``os.sendfile`` goes."""
    kernel = Kernel()
    monkeypatch.setattr(os, "sendfile", kernel.sendfile)
    return kernel


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a file that is more than a block."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


class Disk:
    """
    An application that sends a file, and notes when that is closed.

    :param status: of the response, and ``headers``.
    :param first: is done with environ and PEP 3333's ``write`` before the file is
        returned.
    """

    def __init__(
        self,
        path: Path,
        *headers: tuple[str, str],
        seek: int = 0,
        status: str = "200 OK",
        first: Any = None,
    ) -> None:
        self.path = path
        self.headers = headers
        self.seek = seek
        self.status = status
        self.first = first
        self.closings = 0
        self.file: Any = None

    def __call__(self, environ, start_response):
        self.file = file = self.path.open("rb")
        file.seek(self.seek)
        close = file.close

        def noted() -> None:
            self.closings += 1
            close()

        self.file.close = noted
        write = start_response(self.status, list(self.headers))
        if self.first is not None:
            self.first(environ, write)
        return environ["wsgi.file_wrapper"](file)


def length(size: int) -> tuple[str, str]:
    return ("Content-Length", str(size))


def in_chunks(content: bytes) -> bytes:
    blocks = [content[n : n + BLOCK] for n in range(0, len(content), BLOCK)]
    return chunks(*blocks) + LAST_CHUNK


# --- which


@on_sockets
def test_the_kernel_sends_a_file(connect, path: Path, kernel: Kernel) -> None:
    """All of it, and the process reads nothing."""
    disk = Disk(path, length(SIZE))
    client = connect(disk)
    client.get()

    assert client.read() == CONTENT
    assert kernel.size == SIZE
    assert disk.closings == 1
    assert not client.closed


@pytest.mark.parametrize("connect", [FastClient, FastTLSClient, SocketClient])
def test_where_no_kernel_takes_the_bytes(connect, path: Path, kernel: Kernel) -> None:
    """TLS has to encrypt them, and Twisted's channel to keep them."""
    disk = Disk(path, length(SIZE))
    client = connect(disk)
    client.get()

    assert client.read(400) == CONTENT
    assert kernel.asked == 0
    assert disk.closings == 1


class Own(io.FileIO):
    """A class that could change what reading it gives."""


class OwnRaw(io.FileIO):
    """The same, below a buffer."""


def written(path: Path) -> Any:
    """A file to which something is written that is not there yet."""
    file = path.open("r+b")
    file.write(b"0123")
    return file


def temporary(path: Path) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115  # the test closes it
    file.write(CONTENT)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "make", [lambda p: p.open("rb"), io.FileIO, written, temporary]
)
def test_files_that_the_kernel_sends(make, path: Path) -> None:
    """What ``open`` gives for reading bytes."""
    with make(path) as file:
        assert isinstance(blocks_of(FileWrapper(file)), FileBlocks)


def pipe(path: Path) -> Any:
    reading, writing = os.pipe()
    os.close(writing)
    return os.fdopen(reading, "rb", buffering=0)


def device(path: Path) -> Any:
    return open("/dev/zero", "rb")


def closed(path: Path) -> Any:
    file = path.open("rb")
    file.close()
    return file


def at_its_end(path: Path) -> Any:
    file = path.open("rb")
    file.seek(SIZE - SMALL)
    return file


@pytest.mark.parametrize(
    "make",
    [
        Own,
        lambda p: io.BufferedReader(OwnRaw(p)),
        lambda p: io.BytesIO(CONTENT),
        lambda p: io.FileIO(p, "a"),
        lambda p: p.open(),
        pipe,
        device,
        closed,
        at_its_end,
    ],
    ids=[
        "a subclass",
        "a subclass below",
        "memory",
        "not for reading",
        "text",
        "a pipe",
        "a device",
        "closed",
        "little",
    ],
)
def test_files_that_are_read(make, path: Path) -> None:
    """Whatever else can be wrapped, and what is little."""
    file = make(path)
    wrapper = FileWrapper(file)

    assert blocks_of(wrapper) is wrapper
    file.close()


def test_where_there_is_no_sendfile(path: Path, monkeypatch) -> None:
    """As Windows has none."""
    monkeypatch.delattr(os, "sendfile")
    disk = Disk(path, length(SIZE))
    client = FastTCPClient(disk)
    client.get()

    assert client.read() == CONTENT
    assert disk.closings == 1


@pytest.mark.parametrize("around", [iter, list, lambda w: (block for block in w)])
def test_what_middleware_has_taken_up_is_an_iterable(around, path, kernel) -> None:
    """Only the wrapper itself is a file."""
    disk = Disk(path)

    def application(environ, start_response):
        wrapper = disk(environ, start_response)
        return wrapper if around is iter else around(wrapper)

    client = FastTCPClient(application)
    client.get()

    assert client.read().endswith(LAST_CHUNK)
    assert bool(kernel.asked) is (around is iter)
    disk.file.close()


# --- what of it


def test_from_where_it_stands(path: Path, kernel: Kernel) -> None:
    """PEP 3333: a file may have been read in part."""
    client = FastTCPClient(Disk(path, length(SIZE - 54_321), seek=54_321))
    client.get()

    assert client.read() == CONTENT[54_321:]
    assert kernel.sent[0][0] == 54_321


def test_what_was_written_is_sent(path: Path, kernel: Kernel) -> None:
    """Also what was not in the file yet."""

    def application(environ, start_response):
        start_response("200 OK", [length(SIZE - 4)])
        return environ["wsgi.file_wrapper"](written(path))

    client = FastTCPClient(application)
    client.get()

    assert client.read() == CONTENT[4:]
    assert kernel.size == SIZE - 4
    assert path.read_bytes() == b"0123" + CONTENT[4:]


def test_a_file_that_grows(path: Path, kernel: Kernel) -> None:
    """It ends where it ended when it was begun to be sent."""

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    kernel.before = grow
    client = FastTCPClient(Disk(path))
    client.get()

    assert client.read() == in_chunks(CONTENT)


@pytest.mark.parametrize(
    ("request_", "body", "closed"),
    [(GET, in_chunks(CONTENT), False), (HTTP_1_0, CONTENT, True)],
)
def test_without_a_length(request_, body, closed, path: Path, kernel: Kernel) -> None:
    """Chunked, or up to the end of the connection."""
    client = FastTCPClient(Disk(path))
    client.send(request_)

    assert client.read() == body
    assert client.closed is closed
    assert kernel.size == SIZE


def test_far_into_a_huge_file(tmp_path: Path, kernel: Kernel) -> None:
    """Offsets are of 64 bits."""
    path = tmp_path / "huge"
    start = 5 << 30
    with path.open("wb") as file:
        file.seek(start)
        file.write(CONTENT)
    client = FastTCPClient(Disk(path, length(SIZE), seek=start))
    client.get()

    assert client.read() == CONTENT


@pytest.mark.parametrize(
    ("request_", "status"),
    [(HEAD, "200 OK"), (GET, "204 No Content"), (GET, "304 Not Modified")],
)
def test_where_no_body_may_be(request_, status, path: Path, kernel: Kernel) -> None:
    """Nothing of it is read."""
    disk = Disk(path, status=status)
    client = FastTCPClient(disk)
    client.send(request_)

    assert client.read() == b""
    assert client.has_head
    assert kernel.asked == 0
    assert disk.closings == 1
    assert not client.closed


def test_start_response_was_not_called(path: Path, kernel: Kernel, logged) -> None:
    """An error as with any iterable."""
    client = FastTCPClient(
        lambda environ, start_response: environ["wsgi.file_wrapper"](path.open("rb"))
    )
    client.get()

    client.read()

    assert client.received.startswith(b"HTTP/1.1 500 ")
    assert kernel.asked == 0
    assert len(logged.flush(StartResponseMissing)) == 1


def test_a_file_that_is_more_than_its_length(path: Path, kernel, logged) -> None:
    """It is cut there, which is logged, and closed when all of that has been taken."""
    disk = Disk(path, length(BLOCK + 500_000))
    client = FastSocketClient(disk, limit=1)
    client.get()
    open_after = []
    while not disk.closings:
        open_after.append(kernel.size)
        client.turn()
        client.drain()
    taken = kernel.size
    client.read()

    assert client.body == CONTENT[: BLOCK + 500_000]
    assert taken == BLOCK + 500_000
    assert open_after[-1] > BLOCK
    assert client.closed
    [event] = logged.at("error")
    assert "longer than its Content-Length" in formatEvent(event)


@pytest.mark.parametrize("size", [0, 1, BLOCK])
def test_a_length_at_a_blocks_edge(size, path: Path, kernel, logged) -> None:
    """Nothing is sent of a block that is too much as a whole."""
    client = FastTCPClient(Disk(path, length(size)))
    client.get()

    assert client.read() == CONTENT[:size]
    assert kernel.size == size
    assert len(logged.at("error")) == 1


def test_a_file_that_is_less_than_its_length(path: Path, kernel, logged) -> None:
    """RFC 9112, 6.3: the connection ends before."""
    disk = Disk(path, length(SIZE + 1))
    client = FastTCPClient(disk)
    client.get()

    assert client.read() == CONTENT
    assert client.closed
    assert disk.closings == 1
    assert len(logged.flush(BodyTooShort)) == 1


# --- what may come in between


class Stalled:
    """A file on its way to a client that has taken some of it."""

    def __init__(
        self,
        path: Path,
        *headers: tuple[str, str],
        connect: Any = FastSocketClient,
        **options: Any,
    ) -> None:
        self.disk = Disk(path, *headers)
        self.client = connect(self.disk, limit=1, **options)
        self.client.site.startFactory()
        self.client.get()
        while b"000000000." not in self.client.received:
            self.client.turn()
            self.client.drain()
        self.client.turn(5)


@pytest.mark.parametrize("headers", [[], [length(SIZE)]], ids=["no length", "length"])
def test_a_file_that_is_truncated(headers, path, kernel, logged, tmp_path) -> None:
    """The response is cut, and nothing follows that could be taken for content."""
    log = tmp_path / "log"
    stalled = Stalled(path, *headers, access_log=str(log))
    os.truncate(path, 300_000)
    client = stalled.client
    client.read(200)
    content = client.body if headers else client.body.partition(b"\r\n")[2]

    assert content == CONTENT[:300_000]
    assert client.closed
    assert stalled.disk.closings == 1
    [failure] = logged.flush(BodyTooShort)
    assert "300000" in failure.getErrorMessage()
    client.site.stopFactory()
    assert log.read_text().split()[-4:-2] == ["200", "300000"]


def test_a_file_that_is_truncated_between_blocks(path: Path, kernel, logged) -> None:
    """While the pump does not rest: nothing of the next block is there."""

    def truncate() -> None:
        os.truncate(path, 0)

    kernel.before = truncate
    client = FastTCPClient(Disk(path))
    client.get()
    client.read()

    assert client.body == b"%x\r\n" % BLOCK
    assert client.closed
    assert len(logged.flush(BodyTooShort)) == 1


def test_a_truncated_file_for_http_1_0(path: Path, kernel, logged) -> None:
    """Only a reset can say that it is not complete."""
    kernel.before = lambda: os.truncate(path, 0)
    client = FastTCPClient(Disk(path))
    client.send(HTTP_1_0)
    client.read()

    assert client.was_reset
    assert len(logged.flush(BodyTooShort)) == 1


def test_a_file_that_the_application_closes(path: Path, kernel, logged) -> None:
    """Its number may be another file's: nothing more is sent of it."""
    stalled = Stalled(path)
    asked = kernel.asked
    stalled.disk.file.close()
    with path.open("rb"):  # Has the number.
        stalled.client.read(200)

    assert kernel.asked == asked
    assert stalled.client.closed
    assert not stalled.client.received.endswith(LAST_CHUNK)
    assert len(logged.flush(ValueError)) == 1


@pytest.mark.parametrize("moment", ["at once", "later"])
def test_a_file_that_cannot_be_read(moment, path, kernel, logged, monkeypatch) -> None:
    """It is the application's, and the response is cut."""
    disk = Disk(path, length(SIZE))
    client = FastTCPClient(disk)
    broken = OSError(errno.EIO, "broken")

    def pread(*arguments: int) -> bytes:
        raise broken

    def fail() -> None:
        if moment == "at once" or kernel.asked == 2:
            kernel.error = broken

    kernel.before = fail
    monkeypatch.setattr(os, "pread", pread)
    client.get()
    client.read()

    assert client.body == CONTENT[: 0 if moment == "at once" else kernel.size]
    assert client.closed
    assert disk.closings == 1
    [failure] = logged.flush(OSError)
    assert failure.value is broken


@pytest.mark.parametrize("code", ["EINVAL", "ENOSYS", "EOVERFLOW", "ENOTSUP"])
@pytest.mark.parametrize("headers", [[], [length(SIZE)]], ids=["no length", "length"])
@on_sockets
def test_what_the_kernel_cannot_send_is_read(
    connect, headers, code, path, kernel
) -> None:
    """Of some file systems; it is asked once."""
    kernel.error = OSError(getattr(errno, code), code)
    disk = Disk(path, *headers)
    client = connect(disk)
    client.get()

    assert client.read(300) == (CONTENT if headers else in_chunks(CONTENT))
    assert kernel.asked == 1
    assert disk.closings == 1


def test_a_client_leaves(path: Path, kernel: Kernel) -> None:
    """The file is closed at once."""
    stalled = Stalled(path)
    stalled.client.leave()
    stalled.client.turn(2)

    assert stalled.disk.closings == 1
    assert stalled.client.closed


def test_a_client_has_left(path: Path, kernel: Kernel) -> None:
    """The kernel says it, and the transport finds out."""
    disk = Disk(path)
    client = FastSocketClient(disk)
    kernel.before = client.leave
    client.get()
    client.turn(5)

    assert disk.closings == 1
    assert client.closed


def test_a_head_to_a_client_that_has_left(path: Path, kernel: Kernel) -> None:
    """Nothing of the file is sent, nor asked for."""

    def leave_and_write(environ, write) -> None:
        client.leave()
        write(b"x")

    disk = Disk(path, first=leave_and_write)
    client = FastSocketClient(disk)
    client.get()
    client.turn(5)

    assert kernel.asked == 0
    assert disk.closings == 1


def test_a_response_takes_too_long(path: Path, kernel, logged, tmp_path) -> None:
    """It is cut, and nothing more is sent of a file that is closed."""
    log = tmp_path / "log"
    stalled = Stalled(
        path,
        length(SIZE),
        limits=Limits(response_timeout=5.0),
        access_log=str(log),
    )
    stalled.client.wait(6)
    closings = stalled.disk.closings
    stalled.client.read(200)

    assert closings == 1
    assert stalled.client.closed
    assert stalled.client.body == CONTENT[: kernel.size]
    assert kernel.size < BLOCK
    stalled.client.site.stopFactory()
    assert log.read_text().split()[-4:-2] == ["200", str(kernel.size)]
    assert len(logged.at("warn")) == 1


def test_a_client_that_takes_nothing(path: Path, kernel: Kernel) -> None:
    """It is cut, but not one that takes a little now and then."""
    stalled = Stalled(path, limits=Limits(send_timeout=5.0))
    for _ in range(4):
        stalled.client.wait(3)
        stalled.client.drain()
    alive = not stalled.client.closed
    stalled.client.wait(7)

    assert alive
    assert stalled.client.closed
    assert stalled.disk.closings == 1


def test_others_have_their_turn(path: Path, kernel: Kernel) -> None:
    """After 2 ms, whatever the client would take."""
    client = FastSocketClient(Disk(path), limit=10 * SIZE)

    def passes() -> None:
        client.clock.rightNow += 0.003

    kernel.before = passes
    client.get()
    asked = []
    for _ in range(5):
        client.turn()
        asked.append(kernel.asked)
        client.drain()

    assert asked[:3] == [1, 2, 3]
    assert client.read() == in_chunks(CONTENT)


def test_memory_does_not_grow_with_the_file(tmp_path: Path, kernel: Kernel) -> None:
    """Nor with what the client has not taken."""
    path = tmp_path / "sparse"
    size = 256 << 20
    with path.open("wb") as file:
        file.truncate(size)
    disk = Disk(path, length(size))
    client = FastTCPClient(disk)
    received = 0
    tracemalloc.start()
    try:
        client.get()
        client.turn(5)
        while received < size:
            client.turn()
            try:
                received += len(client.socket.recv(1 << 18, socket.MSG_TRUNC))
            except BlockingIOError:
                continue
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    client.turn(3)

    assert kernel.size == size
    assert peak < 1 << 20
    assert disk.closings == 1


# --- what else the application may do


@pytest.mark.parametrize("what", ["flush", "suspend", "write"])
@on_sockets
def test_something_goes_before(connect, what, path: Path, kernel: Kernel) -> None:
    """The file follows in order."""

    def first(environ, write) -> None:
        if what == "flush":
            environ[FLUSH]()
        elif what == "suspend":
            environ[SUSPEND](1000)
        else:
            write(b"x" * 500_000)

    disk = Disk(path, first=first)
    client = connect(disk)
    client.get()

    before = chunks(b"x" * 500_000) if what == "write" else b""
    assert client.read(3000) == before + in_chunks(CONTENT)
    assert kernel.size == SIZE
    assert disk.closings == 1
    assert len(client.clock.getDelayedCalls()) < 3


def test_files_in_a_pipeline(path: Path, kernel: Kernel) -> None:
    """Each with its head before it."""
    client = FastTCPClient(Disk(path, length(SIZE)))
    for _ in range(3):
        client.get()
    client.read(200)

    assert client.received.count(b"HTTP/1.1 200 OK") == 3
    assert client.received.count(CONTENT) == 3


def test_a_block_size_is_asked_for(path: Path, kernel: Kernel) -> None:
    """It is for reading, which the kernel does by itself."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](path.open("rb"), 10)

    client = FastTCPClient(application)
    client.get()

    assert client.read() == in_chunks(CONTENT)
