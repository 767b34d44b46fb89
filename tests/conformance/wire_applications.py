"""
The applications that the conformance suite has served; ``X-App`` chooses one.

Nothing here imports the package under test.  Time is spent by ``time.sleep`` on
purpose: the applications are the plain, blocking ones of PEP 3333.
"""

from __future__ import annotations

import ast
import base64
import collections
import contextvars
import hashlib
import io
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
Application = Callable[[Environ, StartResponse], Any]

APPLICATIONS: dict[str, Application] = {}
EVENTS: dict[str, list[str]] = collections.defaultdict(list)
CALLS: collections.deque[tuple[str, str]] = collections.deque(maxlen=2000)
KIB = 1024
GIB = 1024**3


def named(name: str) -> Callable[[Application], Application]:
    """Offer the application under this name."""

    def offer(application: Application) -> Application:
        APPLICATIONS[name] = application
        return application

    return offer


def application(environ: Environ, start_response: StartResponse) -> Any:
    """Pass the request on to the application that it names."""
    CALLS.append((environ.get("PATH_INFO", ""), environ.get("HTTP_X_TOKEN", "")))
    chosen = APPLICATIONS[environ.get("HTTP_X_APP", "environ")]
    return chosen(environ, start_response)


def note(environ: Environ, event: str) -> None:
    """Keep the event, for the test that made this request, and of many the last."""
    events = EVENTS[environ.get("HTTP_X_TOKEN", "")]
    if len(events) == 1000:
        events.pop()
    events.append(event)


def spec_of(environ: Environ) -> dict[str, Any]:
    """Return what the test wants of the application."""
    coded = environ.get("HTTP_X_SPEC", "")
    found: dict[str, Any] = ast.literal_eval(base64.b64decode(coded).decode() or "{}")
    return found


def query_of(environ: Environ) -> dict[str, str]:
    """Return the query's fields, each once."""
    return {k: v[0] for k, v in parse_qs(environ["QUERY_STRING"], True).items()}


def answer_json(start_response: StartResponse, value: object) -> list[bytes]:
    """Answer with a value, as JSON."""
    body = json.dumps(value).encode("ascii")
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
    ]
    start_response("200 OK", headers)
    return [body]


# --- containers for blocks


class Tracked:
    """An iterator that notes each ``next`` and ``close``."""

    def __init__(self, environ: Environ, blocks: Iterable[Any]) -> None:
        self.environ = environ
        self.blocks = iter(blocks)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        block = next(self.blocks)
        note(self.environ, "next")
        return block

    def close(self) -> None:
        """Note it."""
        note(self.environ, "close")


class TrackedIterable:
    """An iterable whose iterator is another object; only it has ``close``."""

    def __init__(self, environ: Environ, blocks: Iterable[Any]) -> None:
        self.environ = environ
        self.blocks = blocks

    def __iter__(self) -> Iterator[Any]:
        note(self.environ, "iter")
        return iter(self.blocks)

    def close(self) -> None:
        """Note it."""
        note(self.environ, "close")


class TrackedList(list[Any]):
    """A list that has ``close``."""

    environ: Environ

    def close(self) -> None:
        """Note it."""
        note(self.environ, "close")


class OldSequence:
    """An iterable by ``__getitem__`` alone."""

    def __init__(self, blocks: list[Any]) -> None:
        self.blocks = blocks

    def __getitem__(self, index: int) -> Any:
        return self.blocks[index]


class Sized:
    """An iterable that knows its length, and is no list."""

    def __init__(self, blocks: list[Any]) -> None:
        self.blocks = blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.blocks)


def generated(environ: Environ, blocks: Iterable[Any]) -> Iterator[Any]:
    """Generate the blocks, and note when that is over."""
    try:
        for block in blocks:
            note(environ, "next")
            yield block
    finally:
        note(environ, "close")


def contained(environ: Environ, kind: str, blocks: list[Any]) -> Any:
    """Return the blocks in a container of that kind."""
    if kind == "tracked list":
        tracked = TrackedList(blocks)
        tracked.environ = environ
        return tracked
    kinds: dict[str, Callable[[], Any]] = {
        "list": lambda: blocks,
        "tuple": lambda: tuple(blocks),
        "set": lambda: set(blocks),
        "deque": lambda: collections.deque(blocks),
        "iterator": lambda: iter(blocks),
        "map": lambda: map(bytes, blocks),
        "generator": lambda: generated(environ, blocks),
        "tracked": lambda: Tracked(environ, blocks),
        "tracked iterable": lambda: TrackedIterable(environ, blocks),
        "old sequence": lambda: OldSequence(blocks),
        "sized": lambda: Sized(blocks),
        "BytesIO": lambda: io.BytesIO(b"".join(blocks)),
    }
    return kinds[kind]()


# --- what the tests ask about the past


@named("hello")
def hello(environ: Environ, start_response: StartResponse) -> Any:
    """Answer as shortly as it can be done."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


@named("events")
def events(environ: Environ, start_response: StartResponse) -> Any:
    """Tell the events noted for the token in the query."""
    return answer_json(start_response, EVENTS[environ["QUERY_STRING"]])


@named("calls")
def calls(environ: Environ, start_response: StartResponse) -> Any:
    """Tell the calls that had the token of the query in path or header."""
    token = environ["QUERY_STRING"]
    found = [path for path, name in CALLS if token in path or token in name]
    return answer_json(start_response, found)


# --- environ


@named("environ")
def show_environ(environ: Environ, start_response: StartResponse) -> Any:
    """Tell all of environ: strings as they are, the rest by ``repr``."""
    note(environ, "called")
    shown = {k: v if type(v) is str else repr(v) for k, v in environ.items()}
    types = {k: type(v).__name__ for k, v in environ.items()}
    offers = {
        k: [name for name in dir(environ[k]) if not name.startswith("_")]
        for k in ("wsgi.input", "wsgi.errors")
        if k in environ
    }
    return answer_json(
        start_response,
        {
            "environ": shown,
            "types": types,
            "offers": offers,
            "dict": type(environ) is dict,
            "keys": all(type(key) is str for key in environ),
            "process": os.getpid(),
        },
    )


@named("spoil environ")
def spoil_environ(environ: Environ, start_response: StartResponse) -> Any:
    """Change whatever can be changed in environ."""
    environ["spoilt"] = "yes"
    environ["SCRIPT_NAME"] = "/spoilt"
    del environ["REQUEST_METHOD"]
    start_response("200 OK", [])
    return [b"spoilt"]


@named("errors")
def write_errors(environ: Environ, start_response: StartResponse) -> Any:
    """Write to ``wsgi.errors`` in all the ways there are."""
    token = environ["HTTP_X_TOKEN"]
    stream = environ["wsgi.errors"]
    stream.write(f"{token} written\n")
    stream.writelines([f"{token} line one\n", f"{token} line two\n"])
    print(f"{token} printed \xfc \u20ac", file=stream)
    stream.write(f"{token} without an end")
    stream.flush()
    start_response("200 OK", [])
    return [b"done"]


def mirror(environ: Environ, start_response: StartResponse) -> Any:
    """Answer with all that a client says, and nothing that depends on when."""
    said = sorted((k, v) for k, v in environ.items() if k.startswith("HTTP_"))
    keys = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "CONTENT_LENGTH", "RAW_URI")
    said += [(key, environ.get(key, "")) for key in keys]
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return answer_json(start_response, [said, body.decode("latin-1")])


APPLICATIONS["mirror"] = mirror


# --- responses as the test wants them


@named("respond")
def respond(environ: Environ, start_response: StartResponse) -> Any:
    """Respond as the spec says."""
    spec = spec_of(environ)
    headers = spec.get("headers", [])
    write = start_response(spec.get("status", "200 OK"), headers)
    for block in spec.get("write", ()):
        write(block)
    return contained(environ, spec.get("kind", "list"), spec.get("blocks", []))


@named("respond late")
def respond_late(environ: Environ, start_response: StartResponse) -> Any:
    """Call ``start_response`` only when the first block is asked for."""
    spec = spec_of(environ)
    start_response(spec.get("status", "200 OK"), spec.get("headers", []))
    yield from spec.get("blocks", [])


@named("attempt")
def attempt(environ: Environ, start_response: StartResponse) -> Any:
    """Try ``start_response`` as the spec says; tell what it raised."""
    spec = spec_of(environ)
    try:
        start_response(spec["status"], spec["headers"])
    except Exception as error:
        raised = type(error).__mro__[-3].__name__
        start_response("200 OK", [("X-Raised", raised)])
        return [b"refused"]
    return [b"accepted"]


@named("attempt with generator")
def attempt_generator(environ: Environ, start_response: StartResponse) -> Any:
    """Give the headers as a generator."""
    start_response("200 OK", (h for h in [("X-Generated", "yes")]))
    return [b"body"]


@named("mutate headers")
def mutate_headers(environ: Environ, start_response: StartResponse) -> Any:
    """Change the list after it was checked."""
    headers = [("X-First", "1")]
    start_response("200 OK", headers)
    headers.append(("X-Late", "1\r\nX-Injected: 1"))
    return [b"body"]


@named("write result")
def write_result(environ: Environ, start_response: StartResponse) -> Any:
    """Tell whether ``write`` is callable, and what it returns."""
    write = start_response("200 OK", [])
    return [repr((callable(write), write(b"written "))).encode()]


@named("write bad")
def write_bad(environ: Environ, start_response: StartResponse) -> Any:
    """Write something that is not bytes."""
    spec = spec_of(environ)
    write = start_response("200 OK", [])
    write(spec["block"])
    return []


@named("write in generator")
def write_in_generator(environ: Environ, start_response: StartResponse) -> Any:
    """Mix ``write`` and ``yield``."""
    write = start_response("200 OK", [])
    write(b"1")
    yield b"2"
    write(b"3")
    write(b"")
    yield b""
    yield b"4"


KEPT: list[Callable[[bytes], object]] = []


@named("keep write")
def keep_write(environ: Environ, start_response: StartResponse) -> Any:
    """Keep ``write`` for another request to misuse."""
    KEPT.append(start_response("200 OK", []))
    return [b"kept"]


@named("use kept write")
def use_kept_write(environ: Environ, start_response: StartResponse) -> Any:
    """Call the ``write`` of a response that is over; tell what it raised."""
    try:
        KEPT.pop()(b"from another response")
        raised = "nothing"
    except Exception as error:
        raised = type(error).__name__
    start_response("200 OK", [])
    return [raised.encode()]


@named("start twice")
def start_twice(environ: Environ, start_response: StartResponse) -> Any:
    """Call ``start_response`` a second time, without ``exc_info``."""
    start_response("200 OK", [("X-Call", "first")])
    start_response("201 Created", [("X-Call", "second")])
    return [b"body"]


@named("start never")
def start_never(environ: Environ, start_response: StartResponse) -> Any:
    """Return blocks without a call of ``start_response``."""
    return contained(environ, query_of(environ)["kind"], [b"body"])


@named("start never, no blocks")
def start_never_empty(environ: Environ, start_response: StartResponse) -> Any:
    """Return nothing without a call of ``start_response``."""
    return contained(environ, query_of(environ)["kind"], [])


@named("start late by empty block")
def start_late(environ: Environ, start_response: StartResponse) -> Any:
    """Replace the headers after an empty block; none were sent yet."""
    start_response("200 OK", [("X-Call", "first"), ("X-Old", "1")])
    yield b""
    yield b""
    try:
        raise ValueError("an error to report")
    except ValueError:
        start_response("503 Later", [("X-Call", "second")], sys.exc_info())
    yield b"replaced"


@named("exc_info")
def with_exc_info(environ: Environ, start_response: StartResponse) -> Any:
    """Replace the headers before any block."""
    start_response("200 OK", [("X-Call", "first"), ("Content-Length", "3")])
    try:
        raise ValueError("an error to report")
    except ValueError:
        write = start_response("500 Mine", [("X-Call", "second")], sys.exc_info())
    return [repr(callable(write)).encode()]


@named("exc_info at first")
def exc_info_first(environ: Environ, start_response: StartResponse) -> Any:
    """Give ``exc_info`` in the only call."""
    try:
        raise ValueError("an error to report")
    except ValueError:
        start_response("500 Mine", [("X-Call", "only")], sys.exc_info())
    return [b"body"]


@named("exc_info None")
def exc_info_none(environ: Environ, start_response: StartResponse) -> Any:
    """Give ``exc_info`` as ``None``: that is a second call without it."""
    start_response("200 OK", [])
    start_response("201 Created", [], None)
    return [b"body"]


@named("exc_info late")
def exc_info_late(environ: Environ, start_response: StartResponse) -> Any:
    """Call with ``exc_info`` after the headers were sent; note what it raised."""
    start_response("200 OK", [("X-Call", "first")])
    yield b"first block"
    try:
        raise LookupError(environ["HTTP_X_TOKEN"])
    except LookupError:
        try:
            start_response("500 Mine", [("X-Call", "second")], sys.exc_info())
        except BaseException as error:
            note(environ, f"raised {type(error).__name__} {error}")
            raise
    yield b"never to be sent"


@named("start twice late")
def start_twice_late(environ: Environ, start_response: StartResponse) -> Any:
    """Call without ``exc_info`` after the headers were sent."""
    start_response("200 OK", [])
    yield b"first block"
    start_response("200 OK", [])
    yield b"never to be sent"


# --- input


def perform(stream: Any, operation: list[Any]) -> Any:
    """Perform one operation on ``wsgi.input``; return what JSON can hold."""
    name, *arguments = operation
    if name == "iterate":
        result: Any = list(stream)
    elif name == "next":
        result = next(iter(stream))
    else:
        result = getattr(stream, name)(*arguments)
    if isinstance(result, list):
        assert all(type(line) is bytes for line in result)
        return [line.decode("latin-1") for line in result]
    assert type(result) is bytes, type(result)
    return result.decode("latin-1")


@named("input")
def read_input(environ: Environ, start_response: StartResponse) -> Any:
    """Perform the spec's operations on ``wsgi.input``; tell the results."""
    stream = environ["wsgi.input"]
    results = [perform(stream, operation) for operation in spec_of(environ)["ops"]]
    return answer_json(
        start_response,
        {
            "results": results,
            "CONTENT_LENGTH": environ.get("CONTENT_LENGTH"),
            "HTTP_TRANSFER_ENCODING": environ.get("HTTP_TRANSFER_ENCODING"),
        },
    )


@named("digest")
def digest(environ: Environ, start_response: StartResponse) -> Any:
    """Read the input in pieces to its end; tell length and checksum."""
    size = int(query_of(environ).get("size", "65536"))
    seen = hashlib.sha256()
    length = 0
    while block := environ["wsgi.input"].read(size):
        seen.update(block)
        length += len(block)
    found = {"length": length, "sha256": seen.hexdigest()}
    found["CONTENT_LENGTH"] = environ.get("CONTENT_LENGTH", "")
    return answer_json(start_response, found)


@named("echo")
def echo(environ: Environ, start_response: StartResponse) -> Any:
    """Send back the body, as its CONTENT_LENGTH tells it."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@named("echo while reading")
def echo_while_reading(environ: Environ, start_response: StartResponse) -> Any:
    """Read a line of the body for each block."""
    start_response("200 OK", [])
    yield from environ["wsgi.input"]


# --- files


class TrackedFile(io.BytesIO):
    """A file in memory that notes its ``close``."""

    environ: Environ

    def close(self) -> None:
        """Note it."""
        if not self.closed:
            note(self.environ, "close")
        super().close()


class OnlyRead:
    """The least that PEP 3333 asks of a file: ``read``."""

    def __init__(self, content: bytes) -> None:
        self.content = io.BytesIO(content)
        self.read = self.content.read


@named("file")
def send_file(environ: Environ, start_response: StartResponse) -> Any:
    """Send a file by ``wsgi.file_wrapper`` as the spec says."""
    spec = spec_of(environ)
    content = b"0123456789" * spec.get("tens", 1)
    file: Any
    if spec["file"] == "disk":
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the wrapper closes it
        file.write(content)
        file.seek(0)
    elif spec["file"] == "memory":
        file = TrackedFile(content)
        file.environ = environ
    else:
        file = OnlyRead(content)
    if spec.get("seek"):
        file.seek(spec["seek"])
    start_response("200 OK", spec.get("headers", []))
    wrapper = environ["wsgi.file_wrapper"](file, *spec.get("size", ()))
    if spec.get("inside") == "generator":
        return (block for block in wrapper)
    if spec.get("inside") == "list":
        return list(wrapper)
    return wrapper


def note_close(file: Any, environ: Environ) -> None:
    """Have a file note each ``close``, though its class stays as it is."""
    close = file.close

    def noted() -> None:
        note(environ, "close")
        close()

    file.close = noted


@named("big file")
def send_big_file(environ: Environ, start_response: StartResponse) -> Any:
    """Send what the spec names: a file at a path, from an offset, or a pipe."""
    spec = spec_of(environ)
    file: Any
    if spec.get("pipe"):
        reading, writing = os.pipe()
        os.write(writing, spec["pipe"])
        os.close(writing)
        file = io.FileIO(reading)
    else:
        file = open(spec["path"], "rb")  # noqa: SIM115 - the wrapper closes it
        file.seek(spec.get("seek", 0))
    note_close(file, environ)
    start_response("200 OK", spec.get("headers", []))
    if spec.get("flush"):
        environ["x-wsgiorg.flush"]()
    if spec.get("suspend"):
        environ["x-wsgiorg.suspend"](1000)
    note(environ, "opened")
    return environ["wsgi.file_wrapper"](file, *spec.get("size", ()))


@named("sparse")
def send_sparse(environ: Environ, start_response: StartResponse) -> Any:
    """Send a file of 1 GiB that takes no room."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the wrapper closes it
    file.truncate(GIB)
    start_response("200 OK", [("Content-Length", str(GIB))])
    return environ["wsgi.file_wrapper"](file, 64 * KIB)


# --- streams


@named("slow")
def slow(environ: Environ, start_response: StartResponse) -> Any:
    """Spend time, blocking, before each block."""
    query = query_of(environ)
    size = int(query.get("size", "8"))
    count = int(query.get("count", "3"))
    headers = [("Content-Length", str(size * count))] if "length" in query else []
    start_response("200 OK", headers)
    for index in range(count):
        if index or "eager" not in query:
            time.sleep(float(query["gap"]))
        yield b"block %d" % index + b"." * (size - 7)


@named("slow write")
def slow_write(environ: Environ, start_response: StartResponse) -> Any:
    """Spend time, blocking, before each ``write``."""
    write = start_response("200 OK", [])
    for index in range(3):
        time.sleep(float(query_of(environ)["gap"]))
        write(b"block %d." % index)
    return []


@named("slow end")
def slow_end(environ: Environ, start_response: StartResponse) -> Any:
    """Give a block, then spend time, blocking, before the end."""
    start_response("200 OK", [])
    yield b"block 0."
    time.sleep(float(query_of(environ)["gap"]))


@named("endless")
def endless(environ: Environ, start_response: StartResponse) -> Any:
    """Give blocks without end."""
    spec = spec_of(environ)
    block = b"x" * spec.get("size", 100)
    start_response("200 OK", spec.get("headers", []))
    if spec.get("kind") == "generator":
        return generated(environ, itertools.repeat(block))
    return Tracked(environ, itertools.repeat(block))


@named("huge")
def huge(environ: Environ, start_response: StartResponse) -> Any:
    """Give 1 GiB in blocks."""
    spec = spec_of(environ)
    size = spec.get("size", 64 * KIB)
    block = b"x" * size
    headers = [("Content-Length", str(GIB))] if spec.get("length", True) else []
    start_response("200 OK", headers)
    return Tracked(environ, itertools.repeat(block, GIB // size))


@named("flushed")
def flushed(environ: Environ, start_response: StartResponse) -> Any:
    """Flush the head, then spend time, blocking, before the block."""
    start_response("200 OK", [])
    environ["x-wsgiorg.flush"]()
    time.sleep(float(query_of(environ)["gap"]))
    return [b"block 0."]


@named("suspended")
def suspended(environ: Environ, start_response: StartResponse) -> Any:
    """Wait without blocking, before the head or after a block; tell of the end."""
    spec = spec_of(environ)
    note(environ, "called")
    try:
        if not spec.get("late"):
            start_response("200 OK", spec.get("headers", []))
        yield from spec.get("before", [])
        for milliseconds in spec["waits"]:
            environ["x-wsgiorg.suspend"](milliseconds)
            yield b""
        if spec.get("late"):
            start_response("200 OK", spec.get("headers", []))
        yield from spec.get("blocks", [b"waited"])
        note(environ, "finished")
    finally:
        note(environ, "close")


@named("large")
def large(environ: Environ, start_response: StartResponse) -> Any:
    """Give numbered blocks."""
    spec = spec_of(environ)
    start_response("200 OK", [])
    for index in range(spec["count"]):
        yield (b"%08d" % index) * (spec["size"] // 8)


# --- contexts

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME", default="nobody")
STEPS: dict[str, collections.Counter[str]] = collections.defaultdict(
    collections.Counter
)


class InContext:
    """Blocks that tell the context's name, in step with another request."""

    def __init__(self, environ: Environ, group: str, name: str) -> None:
        self.environ = environ
        self.name = name
        self.steps = STEPS[group]
        self.steps[name] = 0
        self.deadline = time.monotonic() + 5

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if time.monotonic() > self.deadline:
            raise TimeoutError("the other request does not come")
        mine = self.steps[self.name]
        if len(self.steps) < 2 or mine > min(self.steps.values()):
            return b""
        self.steps[self.name] += 1
        if mine == 20:
            raise StopIteration
        return f"{NAME.get()}\n".encode()

    def close(self) -> None:
        """Note whose context this runs in."""
        note(self.environ, f"closed in the context of {NAME.get()}")


@named("context")
def in_context(environ: Environ, start_response: StartResponse) -> Any:
    """Set a context variable, and tell it with each block."""
    query = query_of(environ)
    note(environ, f"called in the context of {NAME.get()}")
    NAME.set(query["name"])
    start_response("200 OK", [])
    return InContext(environ, query["group"], query["name"])


@named("context before")
def context_before(environ: Environ, start_response: StartResponse) -> Any:
    """Tell the name in the context, then change it."""
    found = NAME.get()
    NAME.set("somebody")
    start_response("200 OK", [])
    return [found.encode()]


# --- errors


class OwnError(Exception):
    """An error that no server knows."""


class BareError(BaseException):
    """An error outside ``Exception``."""


ERRORS: dict[str, Callable[[str], BaseException]] = {
    "OwnError": OwnError,
    "BareError": BareError,
    "SystemExit": SystemExit,
    "GeneratorExit": GeneratorExit,
    "MemoryError": MemoryError,
    "RecursionError": RecursionError,
    "OSError": OSError,
    "ConnectionResetError": ConnectionResetError,
}


class Failing:
    """Blocks with an error among them, or in ``__iter__``, or in ``close``."""

    def __init__(self, environ: Environ, stage: str, error: BaseException) -> None:
        self.environ = environ
        self.stage = stage
        self.error = error
        before: dict[str, list[bytes]] = {
            "after an empty block": [b"", b""],
            "after a block": [b"first block"],
            "after two blocks": [b"first ", b"block"],
            "in close": [b"first block"],
        }
        self.blocks = iter(before.get(stage, []))

    def __iter__(self) -> Iterator[bytes]:
        if self.stage == "in iter":
            raise self.error
        return self

    def __next__(self) -> bytes:
        for block in self.blocks:
            return block
        if self.stage == "in close":
            raise StopIteration
        raise self.error

    def close(self) -> None:
        """Note it, and perhaps fail."""
        note(self.environ, "close")
        if self.stage == "in close":
            raise self.error


@named("fail")
def fail(environ: Environ, start_response: StartResponse) -> Any:
    """Raise an error where the spec says."""
    spec = spec_of(environ)
    error = ERRORS[spec.get("error", "OwnError")](spec.get("message", "the message"))
    stage = spec["stage"]
    if stage == "when called":
        raise error
    write = start_response("200 OK", spec.get("headers", [("X-Call", "first")]))
    if stage == "after start_response":
        raise error
    if stage == "after write":
        write(b"first block")
        raise error
    return Failing(environ, stage, error)


@named("return")
def return_bad(environ: Environ, start_response: StartResponse) -> Any:
    """Return what is no iterable of blocks."""
    start_response("200 OK", [("X-Call", "first")])
    return spec_of(environ)["value"]


@named("bad block")
def bad_block(environ: Environ, start_response: StartResponse) -> Any:
    """Give, perhaps after a good block, one that is not bytes."""
    spec = spec_of(environ)
    block = spec["block"]
    if spec.get("as"):
        block = {"bytearray": bytearray, "memoryview": memoryview}[spec["as"]](block)
    start_response("200 OK", [])
    return contained(environ, spec["kind"], [*spec.get("before", []), block])


@named("write much")
def write_much(environ: Environ, start_response: StartResponse) -> Any:
    """Write two blocks that are larger than what a request could carry."""
    spec = spec_of(environ)
    write = start_response("200 OK", spec["headers"])
    write(b"a" * spec["times"])
    write(b"b" * spec["times"])
    return []
