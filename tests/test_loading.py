"""What may be named on a command line, and what is said when it cannot be had."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.python.usage import UsageError

from twisted_wsgiflush._loading import load_application

APPLICATION = """
def application(environ, start_response):
    return [{answer!r}]
"""


@pytest.fixture(autouse=True)
def _imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test has imported, and where from."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a file into the current directory, which is empty before."""
    monkeypatch.chdir(tmp_path)

    def write(path: str, text: str) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


def answer_of(name: str, app_dir: str = ".", *, factory: bool = False) -> object:
    """What the application that is named answers."""
    application = load_application(name, app_dir, factory=factory)
    return next(iter(application({}, lambda *arguments: lambda block: None)))


# Each file's application answers with the file's own name.
FILES = {
    "single.py": "def application(environ, start_response): return [b'single']",
    "short.py": "def app(environ, start_response): return [b'short']",
    "both.py": """
def app(environ, start_response): return [b'app']
def application(environ, start_response): return [b'application']
""",
    "my-site.v2.py": "def application(environ, start_response): return [b'my-site']",
    "nested.py": """
class site:
    class wsgi:
        @staticmethod
        def entry(environ, start_response): return [b'entry']
""",
    "package/__init__.py": "def app(environ, start_response): return [b'package']",
    "package/module.py": "def app(environ, start_response): return [b'module']",
    "sub/directory/neighbour.py": "answer = b'neighbour'",
    "sub/directory/file.py": """
import neighbour
def app(environ, start_response): return [neighbour.answer]
""",
}


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("single:application", b"single"),
        ("single.application", b"single"),
        ("single", b"single"),
        ("short", b"short"),
        ("both", b"application"),
        ("both:app", b"app"),
        ("both.app", b"app"),
        ("nested:site.wsgi.entry", b"entry"),
        ("package", b"package"),
        ("package:app", b"package"),
        ("package.app", b"package"),
        ("package.module", b"module"),
        ("package.module:app", b"module"),
        ("package.module.app", b"module"),
        ("single.py", b"single"),
        ("./single.py", b"single"),
        ("short.py", b"short"),
        ("both.py:app", b"app"),
        ("my-site.v2.py", b"my-site"),
        ("nested.py:site.wsgi.entry", b"entry"),
        ("sub/directory/file.py", b"neighbour"),
        ("sub/directory/file.py:app", b"neighbour"),
    ],
)
def test_names(write, name: str, answer: bytes) -> None:
    """A module or a file, and maybe an attribute, name an application."""
    for path, text in FILES.items():
        write(path, text)

    assert answer_of(name) == answer


def test_absolute_path(write) -> None:
    """A file may be named by its whole path, from anywhere."""
    file = write("elsewhere/single.py", FILES["single.py"])

    assert answer_of(str(file)) == b"single"


def test_app_dir(write) -> None:
    """A module is looked for in the directory that --app-dir names."""
    write("somewhere/single.py", FILES["single.py"])

    assert answer_of("single", "somewhere") == b"single"


def test_app_dir_is_searched_first(write) -> None:
    """A module of the application's wins over one with its name elsewhere."""
    write("elsewhere/contested.py", "def app(environ, start): return [b'elsewhere']")
    write("mine/contested.py", "def app(environ, start): return [b'mine']")
    sys.path.insert(0, "elsewhere")

    assert answer_of("contested", "mine") == b"mine"


def test_modules_beside_the_application(write) -> None:
    """An application may import its neighbours when it is called, too."""
    write("mine/neighbour_of_lazy.py", "answer = b'neighbour'")
    write(
        "mine/lazy.py",
        """
def app(environ, start_response):
    import neighbour_of_lazy
    return [neighbour_of_lazy.answer]
""",
    )

    assert answer_of("lazy", "mine") == b"neighbour"


def test_file_can_be_imported(write) -> None:
    """What a file defines can be found by its module's name, as pickle does."""
    write("pickled.py", "def app(environ, start_response): return [__name__.encode()]")

    application = load_application("pickled.py", ".", factory=False)

    assert sys.modules[application.__module__].app is application
    assert application.__module__ == "pickled"


def test_factory(write) -> None:
    """With --factory, what is named is called, and gives the application."""
    write(
        "made.py",
        """
def create():
    return lambda environ, start_response: [b'made']
""",
    )

    assert answer_of("made:create", factory=True) == b"made"


@pytest.mark.parametrize(
    ("name", "factory", "message"),
    [
        (
            "absent",
            False,
            "cannot import 'absent': there is no such module in {cwd!r} (see "
            "--app-dir) nor in the rest of Python's path",
        ),
        (
            "absent:app",
            False,
            "cannot import 'absent': there is no such module in {cwd!r} (see "
            "--app-dir) nor in the rest of Python's path",
        ),
        (
            "absent.app",
            False,
            "cannot import 'absent': there is no such module in {cwd!r} (see "
            "--app-dir) nor in the rest of Python's path",
        ),
        (
            "package.absent:app",
            False,
            "cannot import 'package.absent': there is no such module in {cwd!r} (see "
            "--app-dir) nor in the rest of Python's path",
        ),
        (
            ":app",
            False,
            "cannot import '': there is no such module in {cwd!r} (see --app-dir) nor "
            "in the rest of Python's path",
        ),
        ("single:", False, "single:: there is no attribute after the colon"),
        ("absent.py", False, "there is no file 'absent.py'"),
        ("a/directory.py", False, "there is no file 'a/directory.py'"),
        (
            "single:absent",
            False,
            "single:absent: 'single' ({cwd}/single.py) has no 'absent'",
        ),
        (
            "nested:site.absent.entry",
            False,
            "nested:site.absent.entry: 'nested' ({cwd}/nested.py) has no "
            "'site.absent.entry'",
        ),
        (
            "single.py:absent",
            False,
            "single.py:absent: 'single' ({cwd}/single.py) has no 'absent'",
        ),
        (
            "nested",
            False,
            "nested: 'nested' ({cwd}/nested.py) has no 'application' and no 'app'; "
            "name the attribute after a colon",
        ),
        (
            "numbers_only:app",
            False,
            "numbers_only:app is no WSGI application: 7 (int) is not callable",
        ),
        (
            "numbers_only:app",
            True,
            "numbers_only:app: --factory wants a callable, not 7",
        ),
        (
            "numbers_only:create",
            True,
            "numbers_only:create is no WSGI application: 7 (int) is not callable",
        ),
    ],
)
def test_mistakes_in_the_name(
    write, tmp_path: Path, capsys, name: str, factory: bool, message: str
) -> None:
    """What cannot be found, or is no application, is told of in one line."""
    for path, text in FILES.items():
        write(path, text)
    write("numbers_only.py", "app = 7\ndef create(): return 7")
    write("a/directory.py/file", "")

    with pytest.raises(UsageError) as caught:
        load_application(name, ".", factory=factory)

    assert str(caught.value) == message.format(cwd=str(tmp_path.resolve()))
    assert capsys.readouterr() == ("", "")


def test_no_app_dir(write) -> None:
    """An --app-dir that is not there is told of, not searched."""
    write("file", "")

    with pytest.raises(UsageError) as caught:
        load_application("single", "file", factory=False)

    assert str(caught.value) == "--app-dir: there is no directory 'file'"


BROKEN = {
    "broken.py": """
def deeper():
    raise RuntimeError("not today")
deeper()
def app(environ, start_response): return []
""",
    "unwritten.py": "import broken\n",
    "wrong.py": "def app(:\n",
    "exiting.py": "import sys\nsys.exit('no')\n",
    "needy.py": "import absent_dependency\n",
    "halves/__init__.py": "import broken\n",
    "halves/whole.py": "def app(environ, start_response): return []\n",
    "needs/__init__.py": "import absent_dependency\n",
    "needs/whole.py": "def app(environ, start_response): return []\n",
    "values/__init__.py": "raise ValueError('no value')\n",
    "values/whole.py": "def app(environ, start_response): return []\n",
    # Not the import system, whatever its name.
    "importlib_site/broken.py": "raise ValueError('no value')\n",
    "lazy.py": """
def __getattr__(name):
    raise RuntimeError("no settings")
""",
    "late.py": """
def create():
    raise LookupError("no settings")
""",
    "greedy.py": "def create(settings): pass\n",
}


@pytest.mark.parametrize(
    ("name", "what", "error", "frames"),
    [
        (
            "broken:app",
            "cannot import 'broken'",
            "RuntimeError: not today",
            [("broken.py", 4), ("broken.py", 3)],
        ),
        (
            "broken.app",
            "cannot import 'broken'",
            "RuntimeError: not today",
            [("broken.py", 4), ("broken.py", 3)],
        ),
        (
            "broken.py",
            "cannot import '{cwd}/broken.py'",
            "RuntimeError: not today",
            [("broken.py", 4), ("broken.py", 3)],
        ),
        (
            "unwritten",
            "cannot import 'unwritten'",
            "RuntimeError: not today",
            [("unwritten.py", 1), ("broken.py", 4), ("broken.py", 3)],
        ),
        (
            "halves.whole:app",
            "cannot import 'halves'",
            "RuntimeError: not today",
            [("halves/__init__.py", 1), ("broken.py", 4), ("broken.py", 3)],
        ),
        (
            "wrong:app",
            "cannot import 'wrong'",
            "SyntaxError: invalid syntax",
            [("wrong.py", 1)],
        ),
        (
            "exiting",
            "cannot import 'exiting'",
            "SystemExit: no",
            [("exiting.py", 2)],
        ),
        (
            "needy",
            "cannot import 'needy'",
            "ModuleNotFoundError: No module named 'absent_dependency'",
            [("needy.py", 1)],
        ),
        (
            "needs.whole:app",
            "cannot import 'needs'",
            "ModuleNotFoundError: No module named 'absent_dependency'",
            [("needs/__init__.py", 1)],
        ),
        (
            "values.whole:app",
            "cannot import 'values'",
            "ValueError: no value",
            [("values/__init__.py", 1)],
        ),
        (
            "values.whole.app",
            "cannot import 'values'",
            "ValueError: no value",
            [("values/__init__.py", 1)],
        ),
        (
            "importlib_site/broken.py",
            "cannot import '{cwd}/importlib_site/broken.py'",
            "ValueError: no value",
            [("importlib_site/broken.py", 1)],
        ),
        (
            "lazy:app",
            "lazy:app: no 'app'",
            "RuntimeError: no settings",
            [("lazy.py", 3)],
        ),
        (
            "lazy",
            "lazy: no 'application'",
            "RuntimeError: no settings",
            [("lazy.py", 3)],
        ),
    ],
)
def test_failing_imports(
    write,
    tmp_path: Path,
    capsys,
    name: str,
    what: str,
    error: str,
    frames: list[tuple[str, int]],
) -> None:
    """An application that fails when it is imported shows its own traceback."""
    for path, text in BROKEN.items():
        write(path, text)

    with pytest.raises(UsageError) as caught:
        load_application(name, ".", factory=False)

    stdout, stderr = capsys.readouterr()
    assert str(caught.value).startswith(f"{what.format(cwd=tmp_path)}: {error}")
    assert frames_of(stderr) == [(str(tmp_path / path), line) for path, line in frames]
    assert stderr.splitlines()[-1] == error
    assert stdout == ""


@pytest.mark.parametrize(
    ("name", "error", "frames"),
    [
        ("late:create", "LookupError: no settings", [("late.py", 3)]),
        (
            "greedy:create",
            "TypeError: create() missing 1 required positional argument: 'settings'",
            [],
        ),
    ],
)
def test_failing_factories(
    write,
    tmp_path: Path,
    capsys,
    name: str,
    error: str,
    frames: list[tuple[str, int]],
) -> None:
    """A factory that fails shows its own traceback, too."""
    for path, text in BROKEN.items():
        write(path, text)

    with pytest.raises(UsageError) as caught:
        load_application(name, ".", factory=True)

    stderr = capsys.readouterr().err
    assert str(caught.value) == f"{name}: the factory failed: {error}"
    assert frames_of(stderr) == [(str(tmp_path / path), line) for path, line in frames]
    assert stderr.splitlines()[-1] == error


def test_chained(write, capsys) -> None:
    """The cause of a failure is shown, too, and its frames are the application's."""
    chained = write(
        "chained.py",
        """
try:
    import absent_dependency
except ImportError as error:
    raise RuntimeError("cannot work") from error
""",
    )

    with pytest.raises(UsageError):
        load_application("chained", ".", factory=False)

    stderr = capsys.readouterr().err
    assert "ModuleNotFoundError: No module named 'absent_dependency'" in stderr
    assert "direct cause" in stderr
    assert frames_of(stderr) == [(str(chained), 3), (str(chained), 5)]


def test_in_a_handler(write, capsys) -> None:
    """What a failure happened in the course of is shown, too."""
    during = write(
        "during.py",
        """
try:
    {}["absent"]
except KeyError:
    raise RuntimeError("cannot work")
""",
    )

    with pytest.raises(UsageError):
        load_application("during", ".", factory=False)

    stderr = capsys.readouterr().err
    assert "KeyError: 'absent'" in stderr
    assert "During handling" in stderr
    assert frames_of(stderr) == [(str(during), 3), (str(during), 5)]


def frames_of(traceback: str) -> list[tuple[str, int]]:
    """The file and line of each frame that a traceback shows."""
    return [
        (file, int(line))
        for file, line in re.findall(
            r'^  File "(.+)", line ([0-9]+)', traceback, re.MULTILINE
        )
    ]


def test_an_interrupted_import(write) -> None:
    """Who is tired of waiting for it sees no complaint about the application."""
    write("slow.py", "raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        load_application("slow", ".", factory=False)
