"""WsgiDAV, as in examples/webdav.py, with curl."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from commandline import CHECKOUT, Server, serving

SIZE = 50_000_000


@pytest.fixture(scope="module", params=["fast", "twisted"])
def site(request: pytest.FixtureRequest) -> str:
    """Who speaks HTTP/1.1."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folder(site: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is served, anew for each."""
    return tmp_path_factory.mktemp("folder")


@pytest.fixture(scope="module")
def webdav(site: str, folder: Path) -> Iterator[Server]:
    """A server of the example."""
    wrapper = ["env", f"FOLDER={folder}"]
    with serving(
        "--site", site, "examples/webdav.py", cwd=CHECKOUT, wrapper=wrapper
    ) as server:
        yield server
        ended = server.stop()
    assert ended.status == 0
    assert "Traceback" not in ended.stderr


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 50 MB, no two blocks of which are the same."""
    path = tmp_path_factory.mktemp("large") / "large.bin"
    with path.open("wb") as file:
        for number in range(SIZE // 50_000):
            file.write(hashlib.shake_128(b"%d" % number).digest(50_000))
    return path


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def curl(server: Server, path: str, *options: str | Path) -> str:
    """What curl prints; a status of 400 or above fails."""
    command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "40"]
    url = f"http://127.0.0.1:{server.port}{path}"
    done = subprocess.run([*command, *options, url], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@pytest.mark.parametrize("options", [(), ("--header", "Transfer-Encoding: chunked")])
def test_put_and_get(
    webdav: Server, folder: Path, large: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """A large file is the same in the folder, and the same when it comes back."""
    curl(webdav, "/put.bin", "--upload-file", large, *options)
    assert checksum(folder / "put.bin") == checksum(large)
    curl(webdav, "/put.bin", "--output", tmp_path / "got.bin")
    assert checksum(tmp_path / "got.bin") == checksum(large)


def test_list(webdav: Server, folder: Path) -> None:
    """PROPFIND lists the files of the folder with their sizes."""
    (folder / "listed").mkdir()
    (folder / "listed" / "caf\u00e9.txt").write_bytes(b"twelve bytes")
    (folder / "listed" / "large.bin").write_bytes(bytes(SIZE))
    options = ["--request", "PROPFIND", "--header", "Depth: 1"]
    listing = ElementTree.fromstring(curl(webdav, "/listed/", *options))
    sizes = {
        response.findtext("{DAV:}href"): response.findtext(".//{DAV:}getcontentlength")
        for response in listing.iter("{DAV:}response")
    }
    assert sizes.pop("/listed/") is None
    assert sizes == {"/listed/caf%C3%A9.txt": "12", "/listed/large.bin": str(SIZE)}


def test_range(webdav: Server, folder: Path) -> None:
    """A part of a file, as video players ask for it."""
    (folder / "part.txt").write_bytes(b"0123456789")
    assert curl(webdav, "/part.txt", "--range", "3-5") == "345"


def test_make_move_and_delete(webdav: Server, folder: Path) -> None:
    """The methods that HTTP itself does not have reach the application."""
    curl(webdav, "/made/", "--request", "MKCOL")
    assert (folder / "made").is_dir()
    destination = f"Destination: http://127.0.0.1:{webdav.port}/moved/"
    curl(webdav, "/made/", "--request", "MOVE", "--header", destination)
    assert (folder / "moved").is_dir()
    curl(webdav, "/moved/", "--request", "DELETE")
    assert not (folder / "moved").exists()
