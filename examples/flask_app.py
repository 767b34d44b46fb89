"""
A Flask application: JSON, a form, an upload, a stream, a session and errors.

wsgiflush examples/flask_app.py
"""

import hashlib
import os

from flask import Flask, jsonify, request, session, stream_with_context

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY") or os.urandom(16)


@app.post("/sum")
def add():
    return jsonify(sum=sum(request.get_json()["numbers"]))


@app.post("/greeting")
def greet():
    return f"Hello, {request.form['name']}.\n"


@app.post("/upload")
def upload():
    file = request.files["file"]
    digest, size = hashlib.sha256(), 0
    while block := file.stream.read(2**16):
        digest.update(block)
        size += len(block)
    return jsonify(name=file.filename, size=size, sha256=digest.hexdigest())


@app.get("/letter")
def letter():
    # The generator runs after this function has returned, and still knows its
    # own request, however many streams are made at the same time.
    @stream_with_context
    def lines():
        for number in range(request.args.get("lines", 10, type=int)):
            yield f"{number} {request.args['to']}\n"

    return lines(), {"Content-Type": "text/plain; charset=utf-8"}


@app.get("/visits")
def visits():
    session["visits"] = session.get("visits", 0) + 1
    return jsonify(visits=session["visits"])


@app.get("/broken")
def broken():
    raise RuntimeError("this page is broken")


@app.errorhandler(404)
def not_found(error):
    return jsonify(error="there is nothing at " + request.path), 404
