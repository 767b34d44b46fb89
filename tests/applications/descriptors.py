"""
Waits for a descriptor of the kind that the path names; see test_descriptors.

The reactor makes it ready in a turn of its own, and the application says whether it
was, or timed out.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
from contextlib import closing

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer


def fill(number):
    """Leave no room to write."""
    os.set_blocking(number, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(number, b"x" * 65536)


def empty(number):
    """Make room to write."""
    os.set_blocking(number, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.read(number, 65536)


class Pipe:
    """A pipe; either of its ends may be closed before it."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        self.open = [self.reader, self.writer]

    def close_end(self, number):
        self.open.remove(number)
        os.close(number)

    def close(self):
        for number in self.open:
            os.close(number)


def wait(environ, direction, fd, timeout=5.0):
    """What comes of waiting for a descriptor."""
    yield environ[f"x-wsgiorg.fdevent.{direction}"](fd, timeout)
    return "timed out" if environ["x-wsgiorg.fdevent.timeout"] else "ready"


def soon(environ, function, *arguments):
    """Call it when the application is suspended."""
    environ["twisted.reactor"].callLater(0.02, function, *arguments)


def pipe_to_read(environ):
    with closing(Pipe()) as pipe:
        soon(environ, os.write, pipe.writer, b"x")
        return (yield from wait(environ, "readable", pipe.reader))


def pipe_to_write(environ):
    with closing(Pipe()) as pipe:
        fill(pipe.writer)
        soon(environ, empty, pipe.reader)
        return (yield from wait(environ, "writable", pipe.writer))


def socket_to_read(environ):
    ours, other = socket.socketpair()
    with ours, other:
        soon(environ, other.send, b"x")
        return (yield from wait(environ, "readable", ours))


def socket_to_write(environ):
    ours, other = socket.socketpair()
    with ours, other:
        fill(ours.fileno())
        soon(environ, empty, other.fileno())
        return (yield from wait(environ, "writable", ours))


def hung_up_to_read(environ):
    with closing(Pipe()) as pipe:
        soon(environ, pipe.close_end, pipe.writer)
        return (yield from wait(environ, "readable", pipe.reader))


def hung_up_to_write(environ):
    with closing(Pipe()) as pipe:
        fill(pipe.writer)
        soon(environ, pipe.close_end, pipe.reader)
        return (yield from wait(environ, "writable", pipe.writer))


def socket_closed_to_read(environ):
    ours, other = socket.socketpair()
    with ours, other:
        soon(environ, other.close)
        return (yield from wait(environ, "readable", ours))


def socket_closed_to_write(environ):
    ours, other = socket.socketpair()
    with ours, other:
        fill(ours.fileno())
        soon(environ, other.close)
        return (yield from wait(environ, "writable", ours))


def file_to_read(environ):
    with tempfile.TemporaryFile() as file:
        return (yield from wait(environ, "readable", file))


def file_to_write(environ):
    with tempfile.TemporaryFile() as file:
        return (yield from wait(environ, "writable", file))


def null_to_read(environ):
    with open(os.devnull, "rb") as null:
        return (yield from wait(environ, "readable", null))


def null_to_write(environ):
    with open(os.devnull, "wb") as null:
        return (yield from wait(environ, "writable", null))


def directory_to_read(environ):
    number = os.open(os.curdir, os.O_RDONLY)
    try:
        return (yield from wait(environ, "readable", number))
    finally:
        os.close(number)


def never_to_read(environ):
    with closing(Pipe()) as pipe:
        return (yield from wait(environ, "readable", pipe.reader, 0.02))


def never_to_write(environ):
    with closing(Pipe()) as pipe:
        fill(pipe.writer)
        return (yield from wait(environ, "writable", pipe.writer, 0.02))


def at_once_to_read(environ):
    with closing(Pipe()) as pipe:
        os.write(pipe.writer, b"x")
        return (yield from wait(environ, "readable", pipe.reader, 0))


def at_once_to_write(environ):
    with closing(Pipe()) as pipe:
        return (yield from wait(environ, "writable", pipe.writer, 0))


def closed_meanwhile(environ):
    with closing(Pipe()) as pipe:
        soon(environ, pipe.close_end, pipe.reader)
        soon(environ, os.write, pipe.writer, b"x")
        return (yield from wait(environ, "readable", pipe.reader))


def closed_before(environ):
    pipe = Pipe()
    pipe.close()
    try:
        return (yield from wait(environ, "readable", pipe.reader))
    except OSError as error:
        return type(error).__name__


@implementer(IReadDescriptor)
class Watched:
    """What the reactor watches itself."""

    def __init__(self, pipe):
        self.pipe = pipe
        self.read = 0

    def fileno(self):
        return self.pipe.reader

    def logPrefix(self):
        return "watched"

    def doRead(self):
        self.read += 1

    def connectionLost(self, reason):
        """It never is."""


def watched_by_the_reactor(environ):
    reactor = environ["twisted.reactor"]
    with closing(Pipe()) as pipe:
        watched = Watched(pipe)
        reactor.addReader(watched)
        soon(environ, os.write, pipe.writer, b"x")
        result = yield from wait(environ, "readable", pipe.reader)
        before = watched.read
        environ["x-wsgiorg.suspend"](20)
        yield b""
        reactor.removeReader(watched)
    return f"{result}, {before > 0}, {watched.read > before}"


def in_a_thread(environ):
    """No descriptor; but it takes a reactor to be woken by one."""
    resume = environ["x-wsgiorg.suspend"](5000)
    returned = []
    thread = threading.Timer(0.02, lambda: returned.append(resume()))
    thread.start()
    yield b""
    thread.join()
    return f"{bool(environ['x-wsgiorg.suspend_status'])}, {returned}"


shared = Pipe()
waiting: list[object] = []


def share(environ):
    waiting.append(environ)
    result = yield from wait(environ, "readable", shared.reader)
    waiting.remove(environ)
    return result


def feed_the_shared(environ):
    while len(waiting) < 2:
        environ["x-wsgiorg.suspend"](10)
        yield b""
    os.write(shared.writer, b"x")
    return "fed"


def for_ever(environ):
    waiting.append(environ)
    try:
        with closing(Pipe()) as pipe:
            return (yield from wait(environ, "readable", pipe.reader, None))
    finally:
        waiting.remove(environ)


def until_waiting(environ):
    while not waiting:
        environ["x-wsgiorg.suspend"](10)
        yield b""
    return "waiting"


def until_nobody_waits(environ):
    while waiting:
        environ["x-wsgiorg.suspend"](10)
        yield b""
    return "nobody"


def descriptors(environ):
    yield b""
    return str(len(os.listdir("/dev/fd")))


def reactor(environ):
    yield b""
    return type(environ["twisted.reactor"]).__name__


def application(environ, start_response):
    answer = yield from globals()[environ["PATH_INFO"].strip("/")](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield answer.encode()
