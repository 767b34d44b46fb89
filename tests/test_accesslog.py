"""The access log of a ``WSGISite``: its lines, and when they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.logger import formatEvent

from twisted_wsgiflush._accesslog import AccessLog, what_is_asked
from twisted_wsgiflush._types import Environ
from twisted_wsgiflush.testing import Turns

WHEN = "[21/Nov/2026:10:00:00 +0000]"


@pytest.fixture
def clock() -> Turns:
    return Turns()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def environ_of(target: str = "/", **more: str) -> Environ:
    return {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": target,
        "SERVER_PROTOCOL": "HTTP/1.1",
        **more,
    }


ASKED = what_is_asked(environ_of())


# -- the lines ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "who", "code", "sent", "line"),
    [
        (
            environ_of("/a?b=c", HTTP_REFERER="/d", HTTP_USER_AGENT="e f"),
            "192.0.2.1",
            200,
            5,
            f'"192.0.2.1" - - {WHEN} "GET /a?b=c HTTP/1.1" 200 5 "/d" "e f"\n',
        ),
        (environ_of(), "", 304, 0, f'"-" - - {WHEN} "GET / HTTP/1.1" 304 - "-" "-"\n'),
    ],
)
def test_a_line(
    clock: Turns,
    path: Path,
    environ: Environ,
    who: str,
    code: int,
    sent: int,
    line: str,
) -> None:
    """It is in the combined log format, with a dash for what there is none of."""
    log = AccessLog(clock, str(path))
    log.open()

    log.write(who, WHEN, what_is_asked(environ), code, sent)
    log.close()

    assert path.read_text() == line


@pytest.mark.parametrize(
    ("agent", "quoted"),
    [
        ("a b/c (d; e)", '"a b/c (d; e)"'),
        ('a" 200 - "', r'"a\" 200 - \""'),
        ("a\\", r'"a\\"'),
        ("a\tb", r'"a\tb"'),
        ("a\nb\r", r'"a\nb\r"'),
        ("\x1b[31m\x00", r'"\x1b[31m\x00"'),
        ("\xc3\xa9", r'"\xc3\xa9"'),
        ("'", '"\'"'),
        ("'\"", r'''"\'\""'''),
        ("", '""'),
    ],
)
def test_what_clients_say_stays_in_its_quotes(agent: str, quoted: str) -> None:
    """Nothing of it ends them, nor the line, nor tells the terminal what to do."""
    asked = what_is_asked(environ_of(HTTP_USER_AGENT=agent, HTTP_REFERER=agent))

    assert asked == ('"GET / HTTP/1.1"', f"{quoted} {quoted}")


# -- when they are written ------------------------------------------------------------


def test_the_lines_of_a_turn_are_written_in_the_next_one(
    clock: Turns, path: Path
) -> None:
    """So that they cost one call of the kernel; and they wait no longer."""
    log = AccessLog(clock, str(path))
    log.open()

    log.write("a", WHEN, ASKED, 200, 1)
    log.write("b", WHEN, ASKED, 200, 2)
    assert path.read_text() == ""

    clock.turn()
    assert [line[:3] for line in path.read_text().splitlines()] == ['"a"', '"b"']

    log.write("c", WHEN, ASKED, 200, 3)
    clock.turn()
    assert len(path.read_text().splitlines()) == 3
    assert not clock.getDelayedCalls()
    log.close()


def test_what_is_left_is_written_at_the_end(clock: Turns, path: Path) -> None:
    """A log that is closed waits for no turn."""
    log = AccessLog(clock, str(path))
    log.open()
    log.write("a", WHEN, ASKED, 200, 1)

    log.close()

    assert len(path.read_text().splitlines()) == 1
    assert not clock.getDelayedCalls()


def test_it_is_appended_to_what_is_there(clock: Turns, path: Path) -> None:
    """Opened twice, it is one file; closed twice, it is closed."""
    path.write_text("before\n")
    log = AccessLog(clock, str(path))
    log.open()
    log.open()
    log.write("a", WHEN, ASKED, 200, 1)

    log.close()
    log.close()

    assert path.read_text().startswith('before\n"a" - - ')


def test_a_log_that_is_closed(clock: Turns, path: Path) -> None:
    """What ends after that is not logged, and no error."""
    log = AccessLog(clock, str(path))
    log.open()
    log.close()

    log.write("a", WHEN, ASKED, 200, 1)
    clock.turn()

    assert path.read_text() == ""


def test_standard_output(clock: Turns, capfd: pytest.CaptureFixture[str]) -> None:
    """A dash is that of the process; it stays open when the log is closed."""
    log = AccessLog(clock, "-")
    log.open()
    log.write("a", WHEN, ASKED, 200, 1)
    log.close()
    log.open()
    log.write("b", WHEN, ASKED, 200, 1)
    log.close()

    lines = capfd.readouterr().out.splitlines()
    assert [line[:3] for line in lines] == ['"a"', '"b"']


# -- when they cannot be --------------------------------------------------------------


def test_a_file_that_cannot_be_opened(clock: Turns, tmp_path: Path) -> None:
    """Whoever opens it is told."""
    with pytest.raises(FileNotFoundError):
        AccessLog(clock, str(tmp_path / "absent" / "access.log")).open()


def test_a_disk_that_is_full(clock: Turns, logged) -> None:
    """It is told of in the log of errors, and the responses go on."""
    log = AccessLog(clock, "/dev/full")
    log.open()

    log.write("a", WHEN, ASKED, 200, 1)
    clock.turn()
    log.write("b", WHEN, ASKED, 200, 1)
    clock.turn()
    log.close()

    told = [formatEvent(event) for event in logged.take("error")]
    assert (
        told == ["Cannot write the access log: [Errno 28] No space left on device"] * 3
    )
