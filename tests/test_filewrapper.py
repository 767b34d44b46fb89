"""``wsgi.file_wrapper``: a file as a response body."""

from __future__ import annotations

import io
from pathlib import Path
from wsgiref.validate import validator

import pytest
from doors import serve

pytestmark = pytest.mark.usefixtures("door")


class Disk:
    """A file that never ends, and tells what was asked of it."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.closings = 0

    def read(self, size: int, /) -> bytes:
        assert not self.closings
        self.sizes.append(size)
        return b"x" * size

    def close(self) -> None:
        self.closings += 1


class Drawer:
    """Something to read that cannot be closed."""

    def __init__(self, *blocks: bytes) -> None:
        self._blocks = list(blocks)

    def read(self, size: int, /) -> bytes:
        return self._blocks.pop(0)


def test_a_file_is_sent(tmp_path: Path) -> None:
    """The bytes of a file on disk arrive, and the file is closed."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 20_000)
    opened = []

    def application(environ, start_response):
        file = path.open("rb")
        opened.append(file)
        start_response("200 OK", [("Content-Length", "200000")])
        return environ["wsgi.file_wrapper"](file)

    served = serve(application)
    response = served.read()

    assert response.partition(b"\r\n\r\n")[2] == path.read_bytes()
    assert opened[0].closed
    assert not served.closed


def test_a_file_is_sent_from_where_it_stands() -> None:
    """What the application has read already is not sent."""

    def application(environ, start_response):
        file = io.BytesIO(b"0123456789")
        file.seek(7)
        start_response("200 OK", [("Content-Length", "3")])
        return environ["wsgi.file_wrapper"](file)

    response = serve(application).read()

    assert response.endswith(b"\r\n\r\n789")


def test_blocks_are_of_the_size_asked_for() -> None:
    """A file is read and sent in blocks, of which the last may be smaller."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"0123456789"), 4)

    served = serve(application)
    sent = []
    for _ in range(6):
        served.turn()
        if read := served.drain():
            sent.append(read)

    assert sent[0].endswith(b"\r\n\r\n4\r\n0123\r\n")
    assert sent[1:] == [b"4\r\n4567\r\n", b"2\r\n89\r\n", b"0\r\n\r\n"]


@pytest.mark.parametrize(
    ("arguments", "size"), [((), 65536), ((8192,), 8192)], ids=repr
)
def test_a_block_is_read_when_the_client_has_taken_the_last(
    arguments: tuple[int, ...], size: int
) -> None:
    """A client that does not read costs a block of memory, however large the file."""
    disk = Disk()

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "1000000")])
        return environ["wsgi.file_wrapper"](disk, *arguments)

    served = serve(application, limit=size - 1)
    served.turn(10)
    unread = list(disk.sizes)
    served.drain()
    served.turn(10)

    assert unread == [size]
    assert disk.sizes == [size, size]


def test_the_file_is_closed_when_the_client_leaves() -> None:
    """The file is closed at once, and only once."""
    disk = Disk()

    def application(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](disk)

    served = serve(application)
    served.turn(3)

    served.leave()

    assert disk.closings == 1
    assert served.clock.getDelayedCalls() == []


def test_the_file_is_closed_at_the_end() -> None:
    """The file is closed once when all that was promised is sent."""
    disk = Disk()

    def application(environ, start_response):
        start_response("204 No Content", [])
        return environ["wsgi.file_wrapper"](disk)

    serve(application).read()

    assert disk.closings == 1


def test_something_that_cannot_be_closed() -> None:
    """PEP 3333 asks for read, and for no more."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "6")])
        return environ["wsgi.file_wrapper"](Drawer(b"abc", b"def", b""))

    served = serve(application)
    response = served.read()

    assert response.endswith(b"\r\n\r\nabcdef")
    assert not served.closed


def test_the_wrapper_iterates_over_itself() -> None:
    """Middleware may iterate over it, in more than one place."""
    results = []

    def application(environ, start_response):
        wrapper = environ["wsgi.file_wrapper"](io.BytesIO(b"0123456789"), 4)
        results.extend([next(wrapper), list(wrapper), list(wrapper)])
        wrapper.close()
        start_response("200 OK", [])
        return []

    serve(application)

    assert results == [b"0123", [b"4567", b"89"], []]


def test_middleware_finds_the_file() -> None:
    """The file and the block size can be told from the wrapper."""
    disk = Disk()
    wrappers = []

    def application(environ, start_response):
        wrappers.append(environ["wsgi.file_wrapper"](disk, block_size=512))
        start_response("204 No Content", [])
        return wrappers[0]

    serve(application)

    assert wrappers[0].filelike is disk
    assert wrappers[0].block_size == 512


def test_what_pep_3333_asks_for() -> None:
    """wsgiref's validator has nothing against a wrapped file."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"0123456789"), 4)

    response = serve(validator(application)).read()

    assert response.endswith(b"4\r\n0123\r\n4\r\n4567\r\n2\r\n89\r\n0\r\n\r\n")
