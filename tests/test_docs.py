"""The documentation: what it points at is there, and its lists are complete."""

from __future__ import annotations

import re
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest

from twisted_wsgiflush import Limits, WSGISite
from twisted_wsgiflush.service import Options
from twisted_wsgiflush.testing import serve

CHECKOUT = Path(__file__).parent.parent
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])

# [text](target) and ![text](target); a target may be followed by a title.
LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)")
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[str]:
    return LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """The names by which the headings of a page can be linked to."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(CHECKOUT)) for page in PAGES]
)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link names a file that is there, and a heading in it."""
    dead = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def in_tables(page: str, pattern: str) -> set[str]:
    """What tables of a page have in their first column, in backquotes."""
    text = (CHECKOUT / "docs" / page).read_text(encoding="utf-8")
    return set(re.findall(rf"^\| `{pattern}` \|", text, re.MULTILINE))


def test_the_readme_shows_the_smallest_example() -> None:
    """The program in the README is the text of the example that it names."""
    example = (CHECKOUT / "examples" / "hello.py").read_text(encoding="utf-8")
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")

    assert FENCED.findall(readme) == [f"```python\n{example}```"]
    assert "examples/hello.py" in FENCED.sub("", readme)


def test_pages_hold_no_programs() -> None:
    """A program is an example that the tests run, and is named in the pages."""
    pages = CHECKOUT.glob("docs/**/*.md")

    assert [page.name for page in pages if "```" in page.read_text("utf-8")] == []


def test_every_example_is_named() -> None:
    """Each program in the examples is linked to from the page that lists them."""
    page = CHECKOUT / "docs" / "index.md"
    programs = {
        program.relative_to(CHECKOUT / "examples").parts[0]
        for program in CHECKOUT.glob("examples/**/*")
        if program.suffix in (".py", ".cgi")
    }

    linked = {Path(link).name for link in links(page) if "/examples/" in link}
    assert linked == programs


def test_every_key_of_environ_is_explained() -> None:
    """The page names what a request's environ has, and nothing else."""
    keys = {"HTTP_..."}

    def application(environ, start_response):
        keys.update(key for key in environ if not key.startswith("HTTP_"))
        start_response("200 OK", [])
        return []

    serve(application)
    assert in_tables("environ.md", r"([A-Za-z_.-]+)") == keys


def test_every_option_is_explained() -> None:
    """The page names what ``wsgiflush --help`` does, and nothing else."""
    options = re.findall(r"^ +(--[a-z-]+)", Options().getUsage(), re.MULTILINE)

    assert in_tables("commandline.md", r"(--[a-z-]+)[^`]*") == set(options)


def test_every_argument_of_a_site_is_explained() -> None:
    """The page names what ``WSGISite`` takes, with its defaults, and nothing else."""
    arguments = {
        name if value.default is value.empty else f"{name}={value.default!r}"
        for name, value in signature(WSGISite).parameters.items()
    }

    explained = in_tables("site.md", r"(\w+(?:=[^`]*)?)")
    assert {each.replace('"', "'") for each in explained} == arguments


def test_every_limit_is_explained() -> None:
    """The page has each limit with its option and its default, and nothing else."""
    page = (CHECKOUT / "docs" / "limits.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `--([a-z-]+)` \| \w+ \| (\S+) \|", page, re.M)

    assert rows == [
        (name, name.replace("_", "-"), "none" if value is None else str(value))
        for name, value in Limits()._asdict().items()
    ]


def test_the_defaults_of_the_limits_are_those_of_the_command() -> None:
    """What the command's page says of an option is what its help says."""
    page = (CHECKOUT / "docs" / "commandline.md").read_text(encoding="utf-8")
    rows = dict(
        re.findall(r"^\| `--([a-z-]+) [A-Z]+` \| `?(\w[\w.]*)`? \|", page, re.M)
    )

    assert {name.replace("_", "-") for name in Limits._fields} <= rows.keys()
    for name, value in Limits()._asdict().items():
        assert rows[name.replace("_", "-")] == ("none" if value is None else str(value))


def test_every_module_has_its_place() -> None:
    """The plan of the house names each module, and no other."""
    page = CHECKOUT / "docs" / "design" / "architecture.md"
    modules = {path.stem for path in (CHECKOUT / "twisted_wsgiflush").glob("*.py")}

    text = page.read_text(encoding="utf-8")
    rooms = text.partition("\n## Rooms\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*`) \|", rooms, re.M)
    command = rooms.partition("And the command: ")[2].partition(".")[0]
    named = re.findall(r"`(\w+)`", " ".join([*cells, command]))
    assert sorted(named) == sorted(modules - {"__init__"})


def test_the_states_are_drawn_as_they_are() -> None:
    """The page of the states is what its program makes of the tables today."""
    design = CHECKOUT / "docs" / "design"

    drawn = subprocess.run(
        [sys.executable, design / "draw_states.py"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert (design / "states.md").read_text(encoding="utf-8") == drawn.stdout
