"""The load that wrk makes, and what it says of it."""

from __future__ import annotations

import math
import re
import signal
import subprocess
import time
from pathlib import Path

from .samples import Sample

SCRIPTS = Path(__file__).parent

# All are kept alive, if the server does that.
CONNECTIONS = 64

# Seconds before the ones that count, in which connections and caches are made.
WARM_UP = 0.2
# Seconds that a server has for its first answers.
LONGEST = 10.0
# Seconds that wrk waits for one answer, and that it may take to end.
END = 20.0

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


def load(url: str, seconds: float, script: str | None) -> Sample:
    """
    Keep the connections busy, until there are answers.

    :param script: the name of a Lua file beside this module.
    """
    run(url, WARM_UP, script)
    sample = parse(run(url, seconds, script))
    while not sample.answered and seconds < LONGEST:
        # A slow one, whose first answers take longer than that.
        seconds *= 4
        sample = parse(run(url, seconds, script))
    return sample


def run(url: str, seconds: float, script: str | None) -> str:
    """What wrk prints."""
    # Its own clock counts whole seconds; told to end earlier, it still divides by
    # the time that it has run.
    duration = f"{math.ceil(seconds) + 1}s"
    command = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", duration]
    command += ["--latency", "--timeout", f"{END:.0f}s"]
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
    note = "" if answered else "it answers nothing in time"
    return Sample(figures, answered, errors, note)
