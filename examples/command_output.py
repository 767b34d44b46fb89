"""
The output of a command as it comes, without a thread: x-wsgiorg.fdevent.

wsgiflush examples/command_output.py

`curl -N http://127.0.0.1:8080/`: a line each second, and the command is ended when the
client leaves.
"""

import os
import subprocess

COMMAND = ["sh", "-c", "for i in 1 2 3 4 5; do echo line $i; sleep 1; done"]


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE) as process:
        output = process.stdout.fileno()
        try:
            while True:
                yield environ["x-wsgiorg.fdevent.readable"](output, 10)
                if environ["x-wsgiorg.fdevent.timeout"]:
                    yield b"Nothing for ten seconds.\n"
                    break
                if not (block := os.read(output, 4096)):
                    break
                yield block
        finally:
            process.kill()
