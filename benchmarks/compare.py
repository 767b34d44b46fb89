"""
Compares servers, each alone with one process on one processor, their clients on
another, and tells medians and ratios.

    python -m benchmarks.compare [--write] [--workloads NAMES] [--servers NAMES]
        [--rounds N] [--seconds S] [--quick]

``make benchmark`` runs it in an environment that has the peers.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from . import wrk
from .processes import CLIENTS_PROCESSOR, NotStarted, started
from .report import report, write
from .samples import Row, Wrong
from .servers import LOGGED, SERVERS, Server
from .targets import Results
from .workloads import WORKLOADS, Workload

ROUNDS = 3
SECONDS = 2.0
QUICK_SECONDS = 0.2


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for, and print it or write it down."""
    options = _options(arguments)
    _prepare()
    results = {
        workload.name: compare(workload, servers, options.rounds, options.seconds)
        for workload, servers in plan(options.workloads, options.servers)
    }
    given = sys.argv[1:] if arguments is None else arguments
    command = f"make benchmark ARGS={shlex.quote(shlex.join(given))}"
    short = options.rounds < ROUNDS or options.seconds < SECONDS
    text = report(results, command if given else "make benchmark", short=short)
    if options.write:
        write(text)
    else:
        print(text)
    raise SystemExit(0 if complete(results) else 1)


def plan(
    workloads: Sequence[str], servers: Sequence[str]
) -> Iterator[tuple[Workload, list[Server]]]:
    """The servers of each workload that serve it."""
    known = {**SERVERS, **LOGGED}
    for workload in map(WORKLOADS.__getitem__, workloads):
        chosen = [name for name in workload.only or SERVERS if wanted(name, servers)]
        able = [known[name] for name in chosen if known[name].kind in workload.kinds]
        if able:
            yield workload, able


def wanted(name: str, servers: Sequence[str]) -> bool:
    """Whether a server was chosen; one with a log is chosen with the one without."""
    return name.removesuffix("-logged") in servers


def compare(
    workload: Workload, servers: Sequence[Server], rounds: int, seconds: float
) -> dict[str, Row]:
    """Each server in each round, in another order, so that no one is always first."""
    rows = {server.name: Row() for server in servers}
    if workload.rounds is not None:
        rounds = min(rounds, workload.rounds)
    for turn in range(rounds):
        first = turn * len(servers) // rounds
        for server in [*servers[first:], *servers[:first]]:
            print(
                f"{workload.name}, round {turn + 1} of {rounds}: {server.name}",
                file=sys.stderr,
            )
            take(workload, server, seconds, rows[server.name])
    return rows


def take(workload: Workload, server: Server, seconds: float, row: Row) -> None:
    """One measurement; a server that cannot be measured is no reason to end."""
    try:
        with started(server, workload.application) as running:
            workload.check(running)
            row.samples.append(workload.measure(running, seconds))
    except NotStarted as error:
        row.problem = f"missing: {error}"
    except Wrong as error:
        row.problem = f"wrong answer: {error}"
    except OSError as error:
        row.problem = f"fails: {error}"
    if row.problem:
        print(f"  {row.problem}", file=sys.stderr)


def complete(results: Results) -> bool:
    """Whether everything of ours was measured, without errors."""
    known = {**SERVERS, **LOGGED}
    return all(
        row.samples and not row.problem and not row.errors
        for rows in results.values()
        for name, row in rows.items()
        if known[name].ours
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=(__doc__ or "").partition("\n\n")[0],
    )
    parser.add_argument(
        "--write", action="store_true", help="write docs/benchmarks.md, do not print"
    )
    for name, known in (("workloads", WORKLOADS), ("servers", SERVERS)):
        parser.add_argument(
            f"--{name}",
            type=lambda text: text.split(","),
            default=list(known),
            metavar="NAMES",
            help=f"only these, comma separated, of: {', '.join(known)}",
        )
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help=f"how many [{ROUNDS}]"
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"of a measurement [{SECONDS}]"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"one round of {QUICK_SECONDS} s: to see that it works, not how fast",
    )
    options = parser.parse_args(arguments)
    for name in options.workloads:
        if name not in WORKLOADS:
            parser.error(f"there is no workload {name!r}")
    for name in options.servers:
        if name not in SERVERS:
            parser.error(f"there is no server {name!r}")
    if options.quick:
        options.rounds, options.seconds = 1, QUICK_SECONDS
    return options


def _prepare() -> None:
    try:
        wrk.version()
    except FileNotFoundError:
        raise SystemExit("wrk is missing; on Debian: apt-get install wrk") from None
    # A signal ends the servers as every other end does.
    signal.signal(signal.SIGTERM, _end)
    # For many streams; what this process may have, the servers may have too.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # The clients', and wrk's, which is started from here.
    os.sched_setaffinity(0, {CLIENTS_PROCESSOR})


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
