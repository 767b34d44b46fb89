"""
A body that is not made for who has it already: x-wsgiorg.flush and an ETag.

wsgiflush examples/not_modified.py

Twice `curl --include --etag-save tag --etag-compare tag http://127.0.0.1:8080/`: the
first response takes a second, the second is "304 Not Modified" and takes none.
"""

from time import sleep

VERSION = '"1"'  # Of what the body is made of: quickly told.


def body():
    sleep(1)  # A report over many tables, say.
    yield b"It took a second to make this.\n"


def application(environ, start_response):
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("ETag", VERSION)]
    start_response("200 OK", headers)
    environ["x-wsgiorg.flush"]()
    return body()  # Which is closed, and never asked for a block, after a 304.
