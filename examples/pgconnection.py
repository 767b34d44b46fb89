"""
PostgreSQL by psycopg's non-blocking protocol and x-wsgiorg.fdevent, for postgres.py.

What takes time is a generator of empty blocks, to ``yield from``.
"""

from psycopg import OperationalError, pq


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

    def query(self, environ, sql, *values):
        """The rows; every value in and out is bytes."""
        if self.pg is None:
            yield from self.connect(environ)
        self.pg.send_query_params(sql, values)
        while self.pg.flush():
            yield environ["x-wsgiorg.fdevent.writable"](self.pg.socket)
        results = []
        while not results or results[-1]:  # The last is None.
            while self.pg.is_busy():
                yield environ["x-wsgiorg.fdevent.readable"](self.pg.socket)
                self.pg.consume_input()
            results.append(self.pg.get_result())
        result = results[0]
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise OperationalError(result.get_error_message())
        rows, columns = range(result.ntuples), range(result.nfields)
        return [[result.get_value(row, column) for column in columns] for row in rows]

    def close(self):
        """What is not committed is rolled back, and nobody waits for that."""
        if self.pg is not None:
            self.pg.finish()
            self.pg = None
