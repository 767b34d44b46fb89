"""The load that wrk makes, and what it says of it."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

from .samples import Sample

SCRIPTS = Path(__file__).parent

# Seconds before the ones that count, in which connections and caches are made.
WARM_UP = 0.2
# How long wrk may take to end.
END = 15.0

# 12.34us, 1.23ms, 1.00s
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


def version() -> str:
    """
    What wrk calls itself.

    :raises FileNotFoundError: when it is not there.
    """
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"wrk (\S+)", said.stdout + said.stderr)
    return f"wrk {found[1]}" if found else "wrk"


def load(url: str, connections: int, seconds: float, script: str | None) -> Sample:
    """
    Keep so many connections busy.

    :param script: the name of a Lua file beside this module.
    """
    run(url, connections, WARM_UP, script)
    return parse(run(url, connections, seconds, script))


def run(url: str, connections: int, seconds: float, script: str | None) -> str:
    """What wrk prints."""
    # Its own clock counts whole seconds; told to end earlier, it still divides by
    # the time that it has run.
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", "600s", "--latency"]
    if script is not None:
        command += ["-s", str(SCRIPTS / script)]
    with subprocess.Popen([*command, url], stdout=subprocess.PIPE, text=True) as wrk:
        try:
            time.sleep(seconds)
            wrk.send_signal(signal.SIGINT)
            printed, _ = wrk.communicate(timeout=END)
        finally:
            wrk.kill()
    return printed


def parse(printed: str) -> Sample:
    """
    Requests a second and the latency of the slowest in a hundred.

    What is answered with another status than 2xx, and what is not answered, is an
    error.
    """
    errors = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", printed)))
    for line in re.findall(r"Socket errors: (.*)", printed):
        errors += sum(map(int, re.findall(r"\d+", line)))
    found = re.search(r"(\d+) requests in", printed)
    answered = int(found[1]) if found else 0
    figures = {}
    rate = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    if rate and answered:
        figures["rate"] = float(rate[1])
    slow = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", printed)
    if slow and answered:
        figures["slow"] = float(slow[1]) * _MILLISECONDS[slow[2]]
    return Sample(figures, answered, errors)
