"""What one measurement of one server is, and what several come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median


class Wrong(Exception):
    """A server answers something else than what is measured; no fault of ours."""


@dataclass(frozen=True)
class Figure:
    """
    A column of a table.

    :param unit: what stands above it.
    :param digits: how many behind the point.
    :param less: whether less is better.
    """

    name: str
    unit: str
    digits: int = 0
    less: bool = False

    def text(self, value: float | None) -> str:
        """The value as the tables have it."""
        return "-" if value is None else f"{value:,.{self.digits}f}"


@dataclass
class Sample:
    """
    What was measured in one round.

    :param figures: by the name of their figure; one that does not apply is not there.
    :param answered: how many requests, or streams.
    :param errors: how many of what wrk or the client counts as such.
    :param note: what has to be said of it.
    """

    figures: dict[str, float]
    answered: int
    errors: int = 0
    note: str = ""


@dataclass
class Row:
    """
    A server's samples in one workload.

    :param problem: why there are none, or not as many as there are rounds.
    """

    samples: list[Sample] = field(default_factory=list)
    problem: str = ""

    def value(self, figure: str) -> float | None:
        """The median of a figure; ``None`` when there is none."""
        values = self._values(figure)
        return median(values) if values else None

    def spread(self, figure: str) -> tuple[float, float] | None:
        """The smallest and the largest."""
        values = self._values(figure)
        return (min(values), max(values)) if values else None

    @property
    def answered(self) -> int:
        """In all rounds."""
        return sum(sample.answered for sample in self.samples)

    @property
    def errors(self) -> int:
        """In all rounds."""
        return sum(sample.errors for sample in self.samples)

    @property
    def note(self) -> str:
        """What has to be said of it, once."""
        return "; ".join(_unique([self.problem, *(s.note for s in self.samples)]))

    def _values(self, figure: str) -> list[float]:
        return [s.figures[figure] for s in self.samples if figure in s.figures]


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))
