"""
PostgreSQL by psycopg's non-blocking protocol and x-wsgiorg.fdevent, for postgres.py.

What takes time is a generator of empty blocks, to ``yield from``.
"""

import select

from psycopg import NotSupportedError, OperationalError, pq

RESULTS = [
    pq.ExecStatus.TUPLES_OK,
    pq.ExecStatus.COMMAND_OK,
    pq.ExecStatus.EMPTY_QUERY,
    pq.ExecStatus.FATAL_ERROR,
]


class Connection:
    pg = None

    def connect(self, environ):
        self.pg = pq.PGconn.connect_start(b"")  # PGHOST and so on tell where.
        while (status := self.pg.connect_poll()) != pq.PollingStatus.OK:
            if status == pq.PollingStatus.FAILED:
                raise OperationalError(self.pg.get_error_message())
            reading = status == pq.PollingStatus.READING
            wait = "readable" if reading else "writable"
            yield environ[f"x-wsgiorg.fdevent.{wait}"](self.pg.socket)
        self.pg.nonblocking = 1
        # Else PostgreSQL finishes the query of a client that has left.
        yield from self.query(environ, b"SET client_connection_check_interval = 100")

    def query(self, environ, sql, *values):
        """The rows; every value in and out is bytes."""
        if self.pg is None:
            yield from self.connect(environ)
        self.pg.send_query_params(sql, values)
        while self.pg.flush():
            # PostgreSQL may write before it reads on (libpq, "PQflush").
            yield environ["x-wsgiorg.fdevent.writable"](self.pg.socket, 0.1)
            self.pg.consume_input()
        results = []
        while not results or results[-1]:  # The last is None.
            while self.pg.is_busy():
                yield environ["x-wsgiorg.fdevent.readable"](self.pg.socket)
                self.pg.consume_input()
            results.append(self.pg.get_result())
            if results[-1] and results[-1].status not in RESULTS:
                # Of COPY there would be no end; the pool drops the connection.
                raise NotSupportedError(pq.ExecStatus(results[-1].status).name)
        result = results[0]
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise OperationalError(result.get_error_message())
        rows, columns = range(result.ntuples), range(result.nfields)
        return [[result.get_value(row, column) for column in columns] for row in rows]

    def has_ended(self):
        """Whether PostgreSQL has said something unasked, which is mostly farewell."""
        poll = select.poll()
        if self.pg is not None:
            poll.register(self.pg.socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self):
        """What is not committed is rolled back, and nobody waits for that."""
        if self.pg is not None:
            self.pg.finish()
            self.pg = None
