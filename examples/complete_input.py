"""
An application that wants its input complete, where others have it as it arrives.

wsgiflush --stream-input examples/complete_input.py

Flask, as most frameworks, cannot wait for a form. Here it is called when all of it has
come: `curl -F file=@FILE http://127.0.0.1:8080/` tells the file's size.
"""

from contextlib import closing
from tempfile import SpooledTemporaryFile

from flask import Flask, request
from werkzeug.wsgi import ClosingIterator

from twisted_wsgiflush.coroutines import asynchronous


def complete_input(app):
    @asynchronous
    async def application(environ, start_response):
        with SpooledTemporaryFile(65536) as body:
            async for block in environ["wsgi.input"]:
                body.write(block)
            environ["CONTENT_LENGTH"] = str(body.tell())
            environ["wsgi.input"] = body
            environ["wsgi.input_terminated"] = True
            body.seek(0)
            with closing(ClosingIterator(app(environ, start_response))) as blocks:
                for block in blocks:
                    yield block

    return application


flask = Flask(__name__)
application = complete_input(flask)


@flask.post("/")
def size():
    return f"{len(request.files['file'].read())} bytes\n"
