"""
Server-sent events: what anyone writes on the page is on everyone's page at once.

wsgiflush examples/sse.py

Readers wait without a thread, and are resumed when there is something to tell.
"""

import json
from collections import deque
from pathlib import Path
from types import SimpleNamespace

PAGE = Path(__file__).parent / "sse" / "index.html"
EVENTS = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")]
notes: deque[str] = deque(maxlen=20)
readers: list[SimpleNamespace] = []


def events(environ, start_response):
    start_response("200 OK", EVENTS)
    yield environ["x-wsgiorg.flush"]()
    reader = SimpleNamespace(unread=deque(notes, maxlen=100), resume=bool)
    readers.append(reader)
    try:
        while True:
            while reader.unread:
                yield f"data: {json.dumps(reader.unread.popleft())}\n\n".encode()
            reader.resume = environ["x-wsgiorg.suspend"](15_000)
            yield b""
            if not environ["x-wsgiorg.suspend_status"]:
                yield b": still here\n\n"  # So that proxies keep the connection.
    finally:
        readers.remove(reader)


def tell(note):
    notes.append(note)
    for reader in readers:
        reader.unread.append(note)
        reader.resume()


def application(environ, start_response):
    if environ["PATH_INFO"] == "/events":
        return events(environ, start_response)
    if environ["REQUEST_METHOD"] == "POST":
        tell(environ["wsgi.input"].read(1000).decode(errors="replace")[:200])
        start_response("204 No Content", [])
        return []
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [PAGE.read_bytes()]
