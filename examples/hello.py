"""
The smallest application with a stream: each block is sent before the next is made.

wsgiflush examples/hello.py
"""


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    yield b"Hello, world.\n"
    for number in range(1, 4):
        yield f"This is block {number}.\n".encode()
