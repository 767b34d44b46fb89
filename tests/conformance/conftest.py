"""
The servers that the conformance suite asks, each started once for a door.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
import wire
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@pytest.fixture(scope="session", params=wire.DOORS, ids=str)
def door(request: pytest.FixtureRequest) -> wire.Door:
    """One of the package's servers; each goes through the whole suite."""
    found: wire.Door = request.param
    return found


@pytest.fixture(scope="session")
def server(door: wire.Door) -> Iterator[wire.Server]:
    """The application at the root of a TCP server."""
    with wire.serving(door, wire.TCP) as server:
        yield server


@pytest.fixture(scope="session")
def mounted(door: wire.Door) -> Iterator[wire.Server]:
    """The application at ``/mounted/here``."""
    with wire.serving(door, wire.TCP, "--mount", "/mounted/here") as server:
        yield server


@pytest.fixture(scope="session")
def debugging(door: wire.Door) -> Iterator[wire.Server]:
    """The application with ``--debug``."""
    with wire.serving(door, wire.TCP, "--debug") as server:
        yield server


@pytest.fixture(scope="session")
def streaming(door: wire.Door) -> Iterator[wire.Server]:
    """Applications that are called when the header is there, not the body."""
    application = "wire_streaming_applications:application"
    with wire.serving(
        door, wire.TCP, "--stream-input", application=application
    ) as server:
        yield server


@pytest.fixture(scope="session")
def unix(
    door: wire.Door, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[wire.Server]:
    """The application behind a UNIX socket."""
    path = tmp_path_factory.mktemp("unix") / "socket"
    with wire.serving(door, f"unix:{path}") as server:
        yield server


@pytest.fixture(scope="session")
def tls(
    door: wire.Door, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[wire.Server]:
    """The application behind TLS."""
    pem = tmp_path_factory.mktemp("tls") / "localhost.pem"
    write_certificate(pem)
    endpoint = f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}"
    with wire.serving(door, endpoint) as server:
        yield server


@pytest.fixture
def transport(request: pytest.FixtureRequest, door: wire.Door) -> wire.Server:
    """The server that the test's table names: ``server``, ``unix`` or ``tls``."""
    found: wire.Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture(autouse=True)
def logged() -> None:
    """In place of the check for what this process logs: nothing runs here."""


@pytest.fixture(autouse=True)
def still_alive() -> Iterator[None]:
    """Whatever a client sends or an application does, the servers stay."""
    yield
    for server in wire.RUNNING:
        server.assert_alive()


def write_certificate(path: Path) -> None:
    """Write a key and a certificate for localhost, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
