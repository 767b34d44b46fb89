"""
A Flask view that waits without a thread, through Flask and two middlewares.

wsgiflush examples/flask_late.py

http://127.0.0.1:8080/app/ shows blocks half a second apart, to any number of clients.
"""

from flask import Flask, Response, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)


@app.route("/")
def late():
    environ = request.environ

    def blocks():
        for number in range(6):
            environ["x-wsgiorg.suspend"](500)
            yield b""  # Flask and the middlewares pass it on.
            yield f"block {number}\n".encode()

    return Response(blocks(), mimetype="text/plain")


application = ProxyFix(DispatcherMiddleware(Flask("not found"), {"/app": app}))
