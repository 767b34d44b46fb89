"""
Waiting without a thread: x-wsgiorg.suspend.

wsgiflush examples/sleep.py

http://127.0.0.1:8080/?500 answers after 500 ms, to thousands at the same time. With
http://127.0.0.1:8080/wait a client waits until another one asks for /wake.
"""

from collections.abc import Callable

waiting: list[Callable[[], bool]] = []


def application(environ, start_response):
    if environ["PATH_INFO"] == "/wake":
        # How many there were: resume() tells whether its client still waits.
        text = f"{sum(resume() for resume in waiting)} woken\n"
        waiting.clear()
    else:
        milliseconds = int(environ["QUERY_STRING"] or 60_000)
        resume = environ["x-wsgiorg.suspend"](milliseconds)
        if environ["PATH_INFO"] == "/wait":
            waiting.append(resume)
        yield b""
        woken = bool(environ["x-wsgiorg.suspend_status"])
        text = "woken\n" if woken else f"{milliseconds} ms are over\n"
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    yield text.encode()
