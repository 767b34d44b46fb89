"""Twisted's own tests of its WSGI resource, run against ours."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Request
from twisted.web.test import test_wsgi

from twisted_wsgiflush import WSGIResource
from twisted_wsgiflush.testing import Turns


class Deviation(NamedTuple):
    """A test of Twisted's that does not pass: how it ends, and why that is right."""

    how: str
    why: str


THREADS = "issue 2, 'The resource': it runs in the reactor's thread and starts none"

# All others pass, among them those that Twisted has for what its threads write.
DEVIATIONS = {
    "ApplicationTests.test_applicationCalledInThread": Deviation(
        "assertNotIn(getThreadID(), invoked)", THREADS
    ),
    "EnvironTests.test_wsgiMultithread": Deviation("False != True", THREADS),
    "WSGIResourceTests.test_applicationAndRequestThrow": Deviation(
        "TypeError",
        f"{THREADS}; the test renders a request that never had a path, and breaks "
        "the way from a thread to the reactor",
    ),
    "WSGIResourceTests.test_unsupported": Deviation(
        "AssertionError",
        "issue 2, 'The resource': putChild works (Twisted's issues 5234 and 6554)",
    ),
    "StartResponseTests.test_applicationProvidedServerAndDate": Deviation(
        "b'Server: foo'",
        "issue 2, 'PEP 3333': Date and Server as the application says, else ours",
    ),
    "StartResponseTests.test_multipleStartResponse": Deviation(
        "AlreadyStarted: start_response was called, but headers are set",
        "PEP 3333, 'The start_response() Callable': 'it is a fatal error to call "
        "start_response without the exc_info argument if start_response has already "
        "been called'",
    ),
    "StartResponseTests.test_writeAcceptsOnlyByteStrings": Deviation(
        "AlreadyStarted: start_response was called, but headers are set",
        "as above; the test's own application calls it again after the TypeError",
    ),
    "StartResponseTests.test_write": Deviation(
        "b'' != b'foo'",
        "RFC 9110, 15.2: the test writes a body to '100 Foo', and a 1xx has none",
    ),
}


class Synchronous(SynchronousTestCase):
    assertFailure = TestCase.assertFailure


def fired(method: Callable[[Any], Deferred[object] | None]) -> Callable[[Any], None]:
    def test(self: Any) -> None:
        result = method(self)
        if result is not None:
            self.successResultOf(result)

    return test


def synchronous(cls: type[TestCase]) -> type[SynchronousTestCase]:
    """
    The same tests; each of their Deferreds has fired when they return.

    After a ``TestCase``, trial turns the reactor, and takes away all that it has to
    do; here that is the reactor which pytest runs in.
    """
    namespace = dict(vars(cls))
    for name in ("__dict__", "__weakref__"):
        namespace.pop(name, None)
    bases = tuple(Synchronous if base is TestCase else base for base in cls.__bases__)
    ours: type[SynchronousTestCase] = type(cls.__name__, bases, namespace)
    for name in unittest.defaultTestLoader.getTestCaseNames(ours):
        setattr(ours, name, fired(getattr(ours, name)))
    return ours


CASES = {
    f"{cls.__name__}.{name}": synchronous(cls)(name)
    for cls in vars(test_wsgi).values()
    if isinstance(cls, type) and issubclass(cls, TestCase) and cls is not TestCase
    for name in unittest.defaultTestLoader.getTestCaseNames(cls)
}


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Twisted's tests make our resource, and see each request to its end."""
    clock = Turns()
    monkeypatch.setattr(
        test_wsgi,
        "WSGIResource",
        lambda reactor, threadpool, application: WSGIResource(clock, application),
    )
    receive = Request.requestReceived

    def receive_and_answer(request: Request, *args: Any, **kwargs: Any) -> None:
        receive(request, *args, **kwargs)
        while clock.getDelayedCalls():
            clock.turn()

    monkeypatch.setattr(Request, "requestReceived", receive_and_answer)


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("name", CASES)
def test_does_what_twisted_expects_of_its_own(name: str, logged) -> None:
    """Each test of Twisted's resource passes with ours, but for those in the table."""
    result = unittest.TestResult()

    CASES[name].run(result)

    logged.flush(Exception)  # The case itself has failed for unexpected ones.
    ended = "\n".join(traceback for _, traceback in result.errors + result.failures)
    if name in DEVIATIONS:
        assert DEVIATIONS[name].how in ended
    else:
        assert ended == ""
    assert result.testsRun == 1
    assert not result.skipped


def test_deviates_only_where_there_is_a_test() -> None:
    """The table of deviations names only tests that Twisted has."""
    assert DEVIATIONS.keys() <= CASES.keys()
