"""What is to be reached, as ratios in one run, and whether it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from .samples import Figure, Row
from .servers import SERVERS
from .workloads import WORKLOADS

Results: TypeAlias = Mapping[str, Mapping[str, Row]]
"""The rows by the names of the workload and the server, in the order of the run."""

AT_LEAST = "at least"
GO_FOR = "go for"

# Stands for the best of all that are not ours, nor the limit.
BEST_PEER = "the best peer"


@dataclass(frozen=True)
class Target:
    """
    :param level: what it means when it is missed.
    :param times: of ``than``; or an absolute figure when that is ``None``.
    :param figure: the first of the workload's unless it is named.
    """

    workload: str
    server: str
    level: str
    times: float
    than: str | None = None
    figure: str | None = None


@dataclass(frozen=True)
class Verdict:
    """
    A target, and what there is of it.

    :param reached: the figure; ``None`` when it was not measured.
    :param ratio: to the target, so that 1 reaches it, and more is better.
    """

    target: Target
    figure: Figure
    wanted: str
    reached: float | None
    ratio: float | None


def ratios(
    workload: str, level: str, *wanted: tuple[float, str], server: str = "fast"
) -> list[Target]:
    """Several for one server."""
    return [Target(workload, server, level, times, than) for times, than in wanted]


TARGETS = [
    *ratios(
        *("hello", AT_LEAST, (7, "twisted.web.wsgi"), (1.2, "uvicorn"), (0.5, "limit"))
    ),
    *ratios("hello", GO_FOR, (12, "twisted.web.wsgi"), (1.5, "uvicorn")),
    *ratios("hello", GO_FOR, (1, "granian"), (1, "bjoern")),
    *ratios(
        *("hello", AT_LEAST, (2.2, "twisted.web.wsgi"), (0.88, "twisted.web")),
        server="resource",
    ),
    *ratios("hello", GO_FOR, (1, "twisted.web"), server="resource"),
    *(
        target
        for workload in ("generator", "echo", "headers")
        for target in (
            *ratios(workload, AT_LEAST, (1.1, "uvicorn")),
            *ratios(workload, GO_FOR, (1, "granian")),
        )
    ),
    *ratios("blocks", AT_LEAST, (1, "bjoern")),
    *ratios("blocks", GO_FOR, (1.5, "bjoern")),
    *(
        target
        for workload in ("flask", "django")
        for target in (
            *ratios(workload, AT_LEAST, (2, "twisted.web.wsgi"), (1, "granian")),
            *ratios(workload, GO_FOR, (1, "bjoern")),
        )
    ),
    *(
        target
        for workload in ("stream", "chunked")
        for target in (
            *ratios(workload, AT_LEAST, (2, "uvicorn")),
            *ratios(workload, GO_FOR, (1, BEST_PEER)),
        )
    ),
    Target("streams", "fast", AT_LEAST, 10_000, figure="held"),
    Target("streams", "fast", AT_LEAST, 8),
    Target("streams", "fast", AT_LEAST, 100, figure="first"),
    Target("streams", "fast", GO_FOR, 6),
    Target("streams", "fast", GO_FOR, 1, "twisted.web"),
    Target("unread", "fast", AT_LEAST, 256),
    Target("unread", "fast", AT_LEAST, 20, figure="worst"),
    Target("unread", "fast", GO_FOR, 128),
    Target("log", "fast-logged", AT_LEAST, 0.85, "fast"),
]


def verdicts(results: Results) -> list[Verdict]:
    """Of the targets whose workload was run, with the server that they are about."""
    return [
        judge(target, results[target.workload])
        for target in TARGETS
        if target.server in results.get(target.workload, {})
    ]


def judge(target: Target, rows: Mapping[str, Row]) -> Verdict:
    """Whether a target is reached."""
    figures = {figure.name: figure for figure in WORKLOADS[target.workload].figures}
    figure = figures[target.figure] if target.figure else next(iter(figures.values()))
    reached = _value(rows, target.server, figure.name)
    wanted: float | None = target.times
    sign = "≤" if figure.less else "≥"
    words = f"{target.times:,g}"
    if target.than is not None:
        peer = _peer(rows, target.than, figure.name)
        wanted = None if peer is None else peer * target.times
        title = SERVERS[target.than].title if target.than in SERVERS else target.than
        words = f"{target.times:g} x {title}"
    ratio = None
    if reached is not None and wanted is not None:
        ratio = wanted / max(reached, 1e-9) if figure.less else reached / wanted
    return Verdict(target, figure, f"{sign} {words}", reached, ratio)


def _value(rows: Mapping[str, Row], server: str, figure: str) -> float | None:
    return rows[server].value(figure) if server in rows else None


def _peer(rows: Mapping[str, Row], server: str, figure: str) -> float | None:
    if server != BEST_PEER:
        return _value(rows, server, figure)
    peers = [name for name in rows if not SERVERS[name].ours and name != "limit"]
    values = [_value(rows, name, figure) for name in peers]
    return max((value for value in values if value is not None), default=None)
