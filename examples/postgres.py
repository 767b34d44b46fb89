"""
A database without a thread: in a plain generator, and in a coroutine at /coroutine.

PGHOST=localhost PGUSER=me wsgiflush examples/postgres.py

Each request sleeps in PostgreSQL, 20 at a time. See pgpool.py and pgconnection.py. It
needs psycopg.
"""

from pgpool import Pool

from twisted_wsgiflush.coroutines import asynchronous, pass_on

PLAIN = [("Content-Type", "text/plain; charset=utf-8")]
pool = Pool(size=20)


def sleep(query):
    yield from query(b"SELECT pg_sleep(0.2)")
    return (yield from query(b"SELECT $1 || now()", b"It is "))


def plain(environ, start_response):
    rows = yield from pool.transaction(environ, sleep)
    start_response("200 OK", PLAIN)
    yield rows[0][0] + b"\n"


async def awaited(generator):
    """The result of a generator of empty blocks, in a coroutine."""
    try:
        while True:
            await pass_on(next(generator))
    except StopIteration as stop:
        return stop.value
    finally:
        generator.close()


@asynchronous
async def coroutine(environ, start_response):
    rows = await awaited(pool.transaction(environ, sleep))
    start_response("200 OK", PLAIN)
    return [rows[0][0] + b"\n"]


def application(environ, start_response):
    respond = coroutine if environ["PATH_INFO"] == "/coroutine" else plain
    return respond(environ, start_response)
