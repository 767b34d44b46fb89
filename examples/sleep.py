"""
Waiting without a thread: x-wsgiorg.suspend.

wsgiflush examples/sleep.py

http://127.0.0.1:8080/?500 answers after 500 ms, to thousands at the same time. With
http://127.0.0.1:8080/wait a client waits until another one asks for /wake.
"""

import re
from collections.abc import Callable

PLAIN = [("Content-Type", "text/plain; charset=utf-8")]
waiting: list[Callable[[], bool]] = []


def application(environ, start_response):
    # A server may omit either, and a CGI server does.
    path, query = environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
    if not re.fullmatch("[0-9]{0,7}", query):
        start_response("400 Bad Request", PLAIN)
        yield b"Ask for a number of milliseconds.\n"
        return
    if path == "/wake":
        # How many there were: resume() tells whether its client still waits.
        text = f"{sum(resume() for resume in waiting)} woken\n"
        waiting.clear()
    else:
        milliseconds = int(query or 60_000)
        resume = environ["x-wsgiorg.suspend"](milliseconds)
        if path == "/wait":
            waiting.append(resume)
        yield b""
        woken = bool(environ["x-wsgiorg.suspend_status"])
        text = "woken\n" if woken else f"{milliseconds} ms are over\n"
    start_response("200 OK", PLAIN)
    yield text.encode()
