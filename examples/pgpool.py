"""
Some connections to PostgreSQL, each for one transaction at a time, for postgres.py.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

from pgconnection import Connection


class Pool:
    def __init__(self, size):
        self.idle = [Connection() for _ in range(size)]
        self.waiting: deque[Callable[[], bool]] = deque()

    def transaction(self, environ, work):
        """Do ``work(query)`` and commit it, in a generator of empty blocks."""
        try:
            while not self.idle:
                self.waiting.append(environ["x-wsgiorg.suspend"]())
                yield b""
            connection = self.idle.pop()
        finally:  # Another one may go on when this one's client has left.
            self.wake()
        query = partial(connection.query, environ)
        try:
            if connection.has_ended():
                connection.close()  # It connects again.
            yield from query(b"BEGIN")
            result = yield from work(query)
            yield from query(b"COMMIT")
            return result
        except BaseException:  # An error, or GeneratorExit when the client leaves.
            connection.close()
            raise
        finally:
            self.idle.append(connection)
            self.wake()

    def wake(self):
        """Let one go on that waits; resume() tells whether its client is there."""
        while self.idle and self.waiting and not self.waiting.popleft()():
            pass
