"""
What every test is checked for, whatever it asserts: an error that nobody handled,
and a reactor that still has something to do.
"""

from __future__ import annotations

import datetime
import gc
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from doors import DOORS, Current, Door
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

# By which coverage has Python measure a process from its start.
_COVERAGE = "COVERAGE_PROCESS_CONFIG"
_coverage_of_processes = pytest.StashKey["str | None"]()


def pytest_configure(config: pytest.Config) -> None:
    """Servers that tests start in processes of their own run on the same reactor."""
    os.environ["REACTOR_OF_SERVERS"] = config.getoption("reactor")
    if hasattr(config, "workerinput"):
        config.stash[_coverage_of_processes] = os.environ.pop(_COVERAGE, None)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """What has nothing to do with the reactor runs on the default one only."""
    if config.getoption("reactor") != "default":
        once = [item for item in items if item.get_closest_marker("one_reactor")]
        config.hook.pytest_deselected(items=once)
        items[:] = [item for item in items if item not in set(once)]


@cache
def freeze_before(module: str) -> None:
    """
    What is there by now stays, and is not looked at after each test of a module.

    Else half of the suite's time would be the collector's.
    """
    gc.collect()
    gc.freeze()


@implementer(ILogObserver)
class Logged:
    """The log events of a test."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        """An event was logged."""
        self.events.append(event)

    def flush(self, *errors: type[BaseException]) -> list[Failure]:
        """Take away the failures of these types, which are then no fault."""
        flushed, kept = [], []
        for event in self.events:
            failure = event.get("log_failure")
            if failure is not None and failure.check(*errors):
                flushed.append(failure)
            else:
                kept.append(event)
        self.events[:] = kept
        return flushed

    def at(self, level: str) -> list[LogEvent]:
        """The events of a level, such as "warn"."""
        wanted = LogLevel.levelWithName(level)
        return [event for event in self.events if event["log_level"] is wanted]

    def take(self, level: str) -> list[LogEvent]:
        """Take away the events of a level, which are then no fault."""
        taken = self.at(level)
        self.events[:] = [event for event in self.events if event not in taken]
        return taken


@pytest.fixture(autouse=True)
def logged(request: pytest.FixtureRequest) -> Iterator[Logged]:
    """
    Fail the test for a failure in the log that it did not flush.

    pytest-twisted does not: an unhandled error in a Deferred is only logged, when
    the Deferred is collected.
    """
    logged = Logged()
    globalLogPublisher.addObserver(logged)
    try:
        freeze_before(request.node.nodeid.partition("::")[0])
        yield logged
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(logged)
    left = [e["log_failure"] for e in logged.events if "log_failure" in e]
    assert not left, "\n".join(failure.getTraceback() for failure in left)


@pytest.fixture
def measured(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let coverage measure the processes, too, that the test starts.

    It is for those who run what no other test does in its own process: measured, a
    server takes twice as long.
    """
    value = pytestconfig.stash.get(_coverage_of_processes, None)
    if value is not None:
        monkeypatch.setenv(_COVERAGE, value)


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    """Through which door ``doors.serve`` leads."""
    before, Current.door = Current.door, request.param
    yield request.param
    Current.door = before


@pytest.fixture
def sockets_closed() -> Iterator[None]:
    """The connections of all clients of ``connections`` are closed after the test."""
    from connections import FastClient, OverSocket

    yield
    while FastClient.clients:
        client = FastClient.clients.pop()
        client.site.abort()
        client.turn(3)
    while OverSocket.sockets:
        OverSocket.sockets.pop().close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key, and a certificate for localhost that is signed by it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path
