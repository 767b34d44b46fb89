"""Flask's hello, as its quickstart has it."""

from __future__ import annotations

from flask import Flask, Response

from .applications import HELLO

application = Flask(__name__)


@application.route("/")
def hello() -> Response:
    """The same answer as ``applications.hello``."""
    return Response(HELLO, mimetype="text/plain")
