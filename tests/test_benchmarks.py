"""The benchmark works: what it says of speed is not looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import open_streams, unread
from benchmarks.commands import Place
from benchmarks.compare import plan, take
from benchmarks.processes import started
from benchmarks.report import BEGIN, END, SHORT_RUN, write
from benchmarks.samples import Row, Sample
from benchmarks.servers import SERVERS, Kind, Server
from benchmarks.targets import TARGETS, verdicts
from benchmarks.workloads import WORKLOADS
from benchmarks.wrk import parse

# What is measured runs on reactors of its own choice.
pytestmark = pytest.mark.one_reactor

CHECKOUT = Path(__file__).parent.parent

# Of a run with a server that is too slow, and sometimes wrong.
PRINTED = """
Running 2s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.00ms    1.10ms  21.60ms   90.00%
    Req/Sec    30.00k     1.20k   32.00k    70.00%
  Latency Distribution
     50%    1.90ms
     99%    1.50s
  60000 requests in 2.00s, 5.90MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 50
Requests/sec:  30000.50
Transfer/sec:      2.95MB
"""


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.compare", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def rows(printed: str, title: str) -> dict[str, list[str]]:
    """A table's lines by their first cell."""
    table = printed.partition(f"### {title}\n\n")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.split("|")] for line in table.split("\n")]
    return {first: rest for _, first, *rest in cells[2:]}


def row(**figures: float) -> Row:
    return Row([Sample(figures, 1)])


def test_every_server_has_its_row() -> None:
    """A quick run has the servers that were asked for, and they have answered."""
    done = compare("--quick", "--workloads", "hello", "--servers", "stock,resource")

    assert done.returncode == 0, done.stderr
    assert SHORT_RUN in done.stdout
    table = rows(done.stdout, WORKLOADS["hello"].title)
    assert list(table) == [SERVERS["stock"].title, SERVERS["resource"].title]
    for requests, _, errors, *_ in table.values():
        assert int(requests.replace(",", "")) > 0
        assert errors == "0"


def test_a_server_that_is_not_there_is_told() -> None:
    """One that cannot be started has the reason in its row, and is no error."""

    def command(place: Place) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('no such server')"]

    summary = Row()
    take(WORKLOADS["hello"], Server("none", "none", command, "", ""), 0.1, summary)

    assert summary.samples == []
    assert summary.note == "missing: no such server"


def test_a_wrong_answer_is_not_measured() -> None:
    """A server that answers something else has that in its row."""
    summary = Row()
    wrong = replace(WORKLOADS["headers"], application="hello")
    take(wrong, SERVERS["limit"], 0.1, summary)

    assert summary.samples == []
    assert summary.note.startswith("wrong answer: ")


def test_nothing_is_left_of_a_server() -> None:
    """All that a server has started has ended when it is no longer wanted."""
    child = "import time; print('started', flush=True); time.sleep(600)"
    code = (
        "import socket, subprocess, sys\n"
        "port, code = sys.argv[1:]\n"
        "with subprocess.Popen([sys.executable, '-c', code], stdout=-1) as child:\n"
        "    child.stdout.readline()\n"
        "    listening = socket.create_server(('127.0.0.1', int(port)))\n"
        "    while True:\n"
        "        client, _ = listening.accept()\n"
        "        client.sendall(b'%d' % child.pid)\n"
    )

    def command(place: Place) -> list[str]:
        return [sys.executable, "-c", code, str(place.port), child]

    server = Server("two", "two", command, "none", "none")
    with started(server, "hello") as running, running.connect(20) as client:
        process = int(client.recv(100))
        assert running.resident() > 0
        os.kill(process, 0)

    status = Path(f"/proc/{process}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"


@pytest.mark.parametrize("name", WORKLOADS)
def test_our_applications_answer_what_is_expected(name: str) -> None:
    """The check that each peer has to pass is passed by our own resource."""
    workload = WORKLOADS[name]

    with started(SERVERS["resource"], workload.application) as running:
        workload.check(running)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_resource_answers_the_same(name: str) -> None:
    """So it is by a plain resource, for what it can serve."""
    workload = WORKLOADS[name]
    able = Kind.RESOURCE in workload.kinds

    assert able == (":" not in workload.application and name != "log")
    if able:
        with started(SERVERS["twisted.web"], workload.application) as running:
            workload.check(running)


def test_open_streams_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that has its first event, and is still open, is held."""
    monkeypatch.setattr(open_streams, "PATIENCE", 60.0)

    with started(SERVERS["resource"], "events") as running:
        sample = open_streams.measure(running, 0, wanted=100)

    assert sample.figures["held"] == 100
    assert sample.note == ""


def test_others_are_served_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """With clients that do not read, those that do are answered."""
    monkeypatch.setattr(unread, "PATIENCE", 60.0)

    with started(SERVERS["resource"], "unread") as running:
        sample = unread.measure(running, 0, clients=5)

    assert sample.answered == 5 + unread.OTHERS
    assert sample.note == ""


def test_what_wrk_prints_is_read() -> None:
    """The rate, the slowest of a hundred in milliseconds, and every kind of error."""
    sample = parse(PRINTED)

    assert sample.figures == {"rate": 30000.5, "slow": 1500.0}
    assert sample.answered == 60000
    assert sample.errors == 60


def test_nothing_answered_is_no_figure() -> None:
    """A run without an answer is told, and has no rate."""
    sample = parse("  0 requests in 2.00s, 0.00B read\nRequests/sec:      0.00\n")

    assert sample.figures == {}
    assert sample.note


def test_a_row_is_the_median_of_its_rounds() -> None:
    """Of its figures; answers and errors are added up."""
    samples = [Sample({"rate": rate}, 10, 1) for rate in (1.0, 5.0, 2.0)]

    summary = Row(samples)
    assert summary.value("rate") == 2.0
    assert summary.spread("rate") == (1.0, 5.0)
    assert (summary.answered, summary.errors) == (30, 3)
    assert Row().value("rate") is None


def test_targets_are_judged() -> None:
    """More is better, or less; what was not measured is not judged."""
    results = {
        "blocks": {"fast": row(rate=300.0), "bjoern": row(rate=200.0)},
        "streams": {"fast": row(held=10_000, memory=7.0)},
    }

    judged = {(v.target.workload, v.wanted): v.ratio for v in verdicts(results)}
    assert judged == {
        ("blocks", "≥ 1 x bjoern"): 1.5,
        ("blocks", "≥ 1.5 x bjoern"): 1.0,
        ("streams", "≥ 10,000"): 1.0,
        ("streams", "≤ 8"): pytest.approx(8 / 7),
        ("streams", "≤ 100"): None,
        ("streams", "≤ 6"): pytest.approx(6 / 7),
        ("streams", "≤ 1 x a plain twisted.web Resource"): None,
    }


def test_the_best_peer_is_none_of_ours() -> None:
    """Nor the limit, which is no server."""
    rates = {"fast": 100.0, "fast-uvloop": 400.0, "granian": 200.0, "limit": 900.0}
    results = {"stream": {name: row(throughput=rates[name]) for name in rates}}

    judged = {verdict.wanted: verdict.ratio for verdict in verdicts(results)}
    assert judged["≥ 1 x the best peer"] == 0.5


def test_targets_name_what_there_is() -> None:
    """Each is about a workload and servers that are measured in it."""
    measured = {
        workload.name: {server.name for server in servers}
        for workload, servers in plan(list(WORKLOADS), list(SERVERS))
    }

    for target in TARGETS:
        assert target.server in measured[target.workload]
        assert target.than in {None, "the best peer", *measured[target.workload]}


def test_what_is_written_by_hand_stays(tmp_path: Path) -> None:
    """The tables stand between two marks, and what is around them is kept."""
    page = tmp_path / "benchmarks.md"
    page.write_text(f"# Before\n{BEGIN}the last tables\n{END}# After\n")

    write("new tables", page)

    assert page.read_text() == f"# Before\n{BEGIN}\nnew tables\n{END}# After\n"


def test_the_page_has_its_marks() -> None:
    """So that there is a place to write to."""
    page = (CHECKOUT / "docs" / "benchmarks.md").read_text(encoding="utf-8")

    assert page.index(BEGIN) < page.index(END)


def test_every_workload_is_explained() -> None:
    """The page says what each is about, under its name."""
    page = (CHECKOUT / "docs" / "benchmarks.md").read_text(encoding="utf-8")

    for name in WORKLOADS:
        assert f"`{name}`" in page


@pytest.mark.parametrize("option", ["--workloads", "--servers"])
def test_unknown_names_are_refused(option: str) -> None:
    """A name that is not there is said, and nothing is measured."""
    done = compare(option, "hello,nothing")

    assert done.returncode == 2
    assert "'nothing'" in done.stderr or "'hello'" in done.stderr
