"""
A head that is sent at once, and a body that takes its time: x-wsgiorg.flush.

wsgiflush examples/early_head.py

With `curl -N --include http://127.0.0.1:8080/` the headers are there a second before
the body; a browser would fetch the style sheet that they name meanwhile.
"""

HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Link", "</style.css>; rel=preload; as=style"),
]


def application(environ, start_response):
    start_response("200 OK", HEADERS)
    yield environ["x-wsgiorg.flush"]()
    environ["x-wsgiorg.suspend"](1000)  # Whatever takes so long.
    yield b""
    yield b"<!DOCTYPE html><title>Early</title><p>The headers came a second before.\n"
