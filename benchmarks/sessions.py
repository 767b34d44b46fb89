"""
The processes of a session, which is what a server is together with all it has started.

    python -m benchmarks.sessions LEADER

ends a session as soon as nobody has this process's standard input open any more: the
one who started the server is done with it, or was killed.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path


def members(leader: int) -> list[int]:
    """The numbers of the processes."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        # One that has ended meanwhile is none.
        with suppress(OSError):
            # proc(5): pid (comm) state ppid pgrp session
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
            if fields[3] == str(leader) and fields[0] != "Z":
                found.append(int(directory.name))
    return found


def resident(leader: int) -> int:
    """The bytes of memory that they hold."""
    return sum(map(_resident, members(leader)))


def end(leader: int) -> None:
    """Kill them, those too that are started meanwhile."""
    while processes := members(leader):
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _resident(process: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    sys.stdin.read()
    end(int(sys.argv[1]))
