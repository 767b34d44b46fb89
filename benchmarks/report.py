"""
The tables, in Markdown, and their place in the documentation: between two marks in
``docs/benchmarks.md``.  What stands outside of them is written by hand.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import date
from importlib import metadata
from pathlib import Path

from . import wrk
from .samples import Figure, Row
from .servers import LOGGED, SERVERS
from .targets import Results, verdicts
from .workloads import WORKLOADS, Workload

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BEGIN = "<!-- what `make benchmark` has measured begins here -->\n"
END = "<!-- and ends here -->\n"

# The peers that all are compared with.
COMPARED = ("twisted.web.wsgi", "uvicorn", "granian", "bjoern", "limit")
SHORT = {"limit": "the limit"}

# What is measured with, beside the servers themselves.
BESIDES = ("flask", "django", "httptools", "uvloop", "greenlet")


SHORT_RUN = "**A short run**: it shows that everything works, not how fast it is.\n"


def report(results: Results, command: str, *, short: bool = False) -> str:
    """
    All that was measured.

    :param command: what measured it.
    :param short: whether the figures are worth less than usual.
    """
    parts = [SHORT_RUN if short else "", environment(command), targets(results)]
    parts += [table(WORKLOADS[name], rows) for name, rows in results.items()]
    return "\n".join(part for part in parts if part)


def write(text: str, page: Path = PAGE) -> None:
    """Replace what the page has between the marks."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has no marks to write between")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def environment(command: str) -> str:
    """When, by which command, on which machine, with which versions."""
    versions = sorted({server.package for server in SERVERS.values()} | {*BESIDES})
    packages = [_version(name) for name in versions]
    return "\n".join(
        [
            f"Measured on {date.today().isoformat()} by",
            "",
            f"    {command}",
            "",
            f"on Linux {platform.release()}, {_processor()}, with Python "
            f"{platform.python_version()}, {wrk.version()}, "
            f"{', '.join(filter(None, packages))}.",
            "",
        ]
    )


def targets(results: Results) -> str:
    """What is to be reached, and whether it is."""
    rows = []
    for verdict in verdicts(results):
        server = {**SERVERS, **LOGGED}[verdict.target.server]
        ratio = verdict.ratio
        rows.append(
            [
                verdict.target.workload,
                server.title,
                verdict.target.level,
                verdict.figure.unit,
                verdict.wanted,
                verdict.figure.text(verdict.reached),
                "-" if ratio is None else f"{ratio:.2f}",
                "not measured" if ratio is None else "yes" if ratio >= 1 else "**no**",
            ]
        )
    if not rows:
        return ""
    head = [
        "workload",
        "server",
        "level",
        "figure",
        "target",
        "reached",
        "ratio",
        "met",
    ]
    return _section("Targets", _table(head, rows))


def table(workload: Workload, rows: Mapping[str, Row]) -> str:
    """One workload: a line for each server, the peers' ratios, what went wrong."""
    first = workload.figures[0]
    compared = [name for name in COMPARED if not first.less and _has(rows, name, first)]
    head = ["server", *(figure.unit for figure in workload.figures)]
    if any(len(row.samples) > 1 for row in rows.values()):
        head.append("from, to")
    head += [f"x {SHORT.get(name, name)}" for name in compared]
    head += ["errors", "open streams", "remarks"]
    lines = []
    for name, row in rows.items():
        server = {**SERVERS, **LOGGED}[name]
        cells = [server.title]
        cells += [figure.text(row.value(figure.name)) for figure in workload.figures]
        if "from, to" in head:
            spread = row.spread(first.name)
            cells.append(" - ".join(map(first.text, spread)) if spread else "-")
        cells += [_ratio(row, rows[peer], first) for peer in compared]
        remarks = "; ".join(filter(None, [server.remark, row.note]))
        cells += [f"{row.errors:,}", server.streams, remarks]
        lines.append(cells)
    return _section(workload.title, _table(head, lines))


def _has(rows: Mapping[str, Row], name: str, figure: Figure) -> bool:
    return name in rows and rows[name].value(figure.name) is not None


def _ratio(row: Row, peer: Row, figure: Figure) -> str:
    ours, theirs = row.value(figure.name), peer.value(figure.name)
    if ours is None or not theirs:
        return "-"
    return f"{ours / theirs:.2f}"


def _section(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"### {title}", "", *lines, ""])


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    rule = ["---" if name in _WORDS else "---:" for name in head]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


_WORDS = {
    "server",
    "workload",
    "level",
    "figure",
    "target",
    "met",
    "open streams",
    "remarks",
}


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return found[1].strip() if found else f"{platform.machine()} ({sys.platform})"
