"""
A page in which streams arrive while they are made, all of them by one thread.

make demo, or: wsgiflush examples/demo.py
"""

import json
import math
import struct
from pathlib import Path

PAGE = Path(__file__).with_suffix("")
FILES = {"/": "index.html", "/style.css": "style.css", "/script.js": "script.js"}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
WIDTH, HEIGHT = 720, 450
# By query string: how many blocks each stream that is open was asked for.
streams: dict[str, int] = {}


def counted(name, blocks):
    streams[name] = 0
    try:
        for block in blocks:
            streams[name] += 1
            yield block
    finally:  # also when the client leaves
        streams.pop(name, None)


def colour(point):
    z = 0j
    for count in range(120):
        z = z * z + point
        if abs(z) > 8:
            turns = (count - math.log2(math.log2(abs(z)))) / 24
            waves = (math.cos(math.tau * (turns + phase)) for phase in (0.2, 0.1, 0))
            return bytes(int(127.5 - 127.5 * wave) for wave in waves)
    return bytes(3)


def picture():
    """Make the Mandelbrot set as a BMP file: its header, then a row at a time."""
    head = (40, WIDTH, -HEIGHT, 1, 24, 0, 0, 0, 0, 0, 0)
    size = 54 + WIDTH * HEIGHT * 3
    yield struct.pack("<2sIIIIiiHHIIiiII", b"BM", size, 0, 54, *head)
    for y in range(HEIGHT):
        points = (complex(x / 200 - 2.45, y / 200 - 1.125) for x in range(WIDTH))
        yield b"".join(map(colour, points))


def application(environ, start_response):
    path, name = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path in FILES:
        file = PAGE / FILES[path]
        content_type = TYPES[file.suffix] + "; charset=utf-8"
        body = environ["wsgi.file_wrapper"](file.open("rb"))
    elif path == "/picture.bmp":
        content_type, body = "image/bmp", counted(name, picture())
    elif path == "/blocks":  # 256 MiB, for a client that reads slowly
        content_type = "application/octet-stream"
        body = counted(name, [bytes(65536)] * 4096)
    elif path == "/streams":
        content_type, body = "application/json", [json.dumps(streams).encode()]
    else:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"There is no such page.\n"]
    headers = [("Content-Type", content_type), ("Cache-Control", "no-store")]
    start_response("200 OK", headers)
    return body
