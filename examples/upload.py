"""
An upload that is answered while it arrives: wsgi.input, block by block.

wsgiflush --stream-input examples/upload.py

`curl -N -T FILE http://127.0.0.1:8080/` tells of each MiB that has come, and then what
the SHA-256 of it all is.  Without the option that comes when the upload is complete.
"""

import hashlib

from twisted_wsgiflush.coroutines import asynchronous

STEP = 1 << 20


@asynchronous
async def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    digest = hashlib.sha256()
    size = told = 0
    async for block in environ["wsgi.input"]:
        digest.update(block)
        size += len(block)
        if size - told >= STEP:
            told = size
            yield f"{size} bytes so far\n".encode()
    yield f"{size} bytes, SHA-256 {digest.hexdigest()}\n".encode()
