"""
What ``WSGISite`` takes of its clients, and how long it waits for them.

It decides the values only; each is kept where its name is read.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Limits"]


class Limits(NamedTuple):
    """
    The limits of a site; None for none.

    Times are in seconds, and looked at once a second: a client has up to one more.
    """

    request_line_size: int | None = 8192
    """Bytes of a request line, with its line break; more is answered with 414."""

    header_size: int | None = 32768
    """Bytes of a request's fields, with line breaks; more is answered with 431."""

    header_count: int | None = 200
    """Fields of a request; more are answered with 431."""

    body_size: int | None = 2**30
    """Bytes of a request's body; more are answered with 413."""

    header_timeout: float | None = 10
    """
    From the first byte of a request to the last of its header, however they trickle;
    then it is answered with 408.  Also from the beginning of a connection.
    """

    body_timeout: float | None = 20
    """
    In which :data:`BODY_PROGRESS` bytes of a body have to come, or the rest of it;
    else it is answered with 408.  Not counted while the application does not read.
    """

    keep_alive_timeout: float | None = 15
    """From a response to the next request; then the connection is closed."""

    send_timeout: float | None = 60
    """In which a client has to take something; or else the connection is cut."""

    response_timeout: float | None = None
    """
    From the call of the application to the end of its response; then the client gets
    503, or the response is cut short.
    """

    suspend_timeout: float | None = None
    """How long an application may be suspended at a time; then as above."""

    half_close_timeout: float | None = 0.75
    """
    How long a response may send nothing when its client has closed its half of the
    connection, for it cannot be told from one that has left; then it is taken for one.
    """

    max_connections: int | None = None
    """
    Connections at a time; one more is answered with 503.  None for as many as the
    process may have descriptors, less some for the application.
    """


BODY_PROGRESS = 1024
"""Bytes; see :attr:`Limits.body_timeout`."""
