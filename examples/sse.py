"""
Server-sent events: what anyone writes on the page is on everyone's page at once.

wsgiflush examples/sse.py

Readers wait without a thread, and are resumed when there is something to tell.
"""

import json
from collections import deque
from pathlib import Path
from time import time
from types import SimpleNamespace

PAGE = Path(__file__).parent / "sse" / "index.html"
EVENTS = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")]
notes: deque[tuple[str, object]] = deque(maxlen=50)
readers: list[SimpleNamespace] = []


def events(environ, start_response):
    start_response("200 OK", EVENTS)
    reader = SimpleNamespace(unread=deque(notes, maxlen=200), resume=bool)
    readers.append(reader)
    tell(("readers", len(readers)))
    try:
        while True:
            while reader.unread:
                event, data = reader.unread.popleft()
                yield f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()
            reader.resume = environ["x-wsgiorg.suspend"](15_000)
            yield b""
            if not environ["x-wsgiorg.suspend_status"]:
                yield b": still here\n\n"  # So that proxies keep the connection.
    finally:
        readers.remove(reader)
        tell(("readers", len(readers)))


def tell(event):
    for reader in readers:
        reader.unread.append(event)
        reader.resume()


def application(environ, start_response):
    if environ["PATH_INFO"] == "/events":
        return events(environ, start_response)
    if environ["REQUEST_METHOD"] == "POST":
        text = environ["wsgi.input"].read(1000).decode(errors="replace")
        notes.append(("note", {"text": text[:200], "at": time()}))
        tell(notes[-1])
        start_response("204 No Content", [])
        return []
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [PAGE.read_bytes()]
