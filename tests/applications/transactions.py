"""
Applications with one connection to PostgreSQL and a transaction: see test_postgres.

The connection is that of ``examples/``; the query string is the value to insert.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "examples"))

from pgpool import Pool
from postgres import awaited

from twisted_wsgiflush.coroutines import asynchronous

PLAIN = [("Content-Type", "text/plain")]
pool = Pool(size=1)


def begun(environ, start_response):
    """Insert, then answer within the transaction, and do not come to its end."""

    def work(query):
        yield from query(b"INSERT INTO notes VALUES ($1)", value(environ))
        start_response("200 OK", PLAIN)
        yield environ["x-wsgiorg.flush"]()
        environ["x-wsgiorg.suspend"]()
        yield b""

    yield from pool.transaction(environ, work)


@asynchronous
async def begun_by_coroutine(environ, start_response):
    await awaited(begun(environ, start_response))


def sleeping(environ, start_response):
    """Be in a query for a minute."""
    yield from pool.transaction(environ, lambda query: query(b"SELECT pg_sleep(60)"))


def copying(environ, start_response):
    """Ask for what the connection cannot do, and excuse that."""
    copy = b"COPY (SELECT 'much') TO STDOUT"
    try:
        yield from pool.transaction(environ, lambda query: query(copy))
    except Exception as error:
        start_response("200 OK", PLAIN)
        yield repr(error).encode()


def failing(environ, start_response):
    """Insert, then fail, and excuse that."""

    def work(query):
        yield from query(b"INSERT INTO notes VALUES ($1)", value(environ))
        yield from query(b"SELECT 1 / 0")

    try:
        yield from pool.transaction(environ, work)
    except Exception as error:
        start_response("200 OK", PLAIN)
        yield str(error).encode()


def committed(environ, start_response):
    """Insert."""

    def work(query):
        yield from query(b"INSERT INTO notes VALUES ($1)", value(environ))

    yield from pool.transaction(environ, work)
    start_response("200 OK", PLAIN)
    yield b"committed"


@asynchronous
async def committed_by_coroutine(environ, start_response):
    def work(query):
        yield from query(b"INSERT INTO notes VALUES ($1)", value(environ))

    await awaited(pool.transaction(environ, work))
    start_response("200 OK", PLAIN)
    return [b"committed"]


def value(environ):
    return environ["QUERY_STRING"].encode()


def application(environ, start_response):
    """Each has its name for a path."""
    return globals()[environ["PATH_INFO"].strip("/")](environ, start_response)
