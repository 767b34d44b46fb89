"""
The states of a response, and what may happen to it in each: tables, no code.

What is done upon an event is decided in ``_response``.
"""

from __future__ import annotations

import enum

from .errors import (
    AlreadyStarted,
    ApplicationError,
    ResponseOver,
    StartResponseMissing,
)


class State(enum.Enum):
    """Where a response is, in PEP 3333's words."""

    WAITING = "start_response has not been called"
    HEADERS_SET = "headers are set and may still be replaced"
    HEADERS_SENT = "headers are sent"
    FINISHED = "the response is complete"
    ABORTED = "the response was cut short"

    __hash__ = object.__hash__  # An Enum's own is written in Python.


class Event(enum.Enum):
    """What happens to a response."""

    START = "start_response was called"
    RESTART = "start_response was called with exc_info"
    BLOCK = "the application gave a block that is not empty"
    EXHAUSTED = "the application has no more blocks"
    FAILED = "the application raised an error"
    LOST = "the client has gone away"

    __hash__ = object.__hash__


# To reach a member through its Enum takes Python 3.11 as long as three calls.
WAITING, HEADERS_SET, HEADERS_SENT, FINISHED, ABORTED = State
START, RESTART, BLOCK, EXHAUSTED, FAILED, LOST = Event

# In this state, upon this event, go to that state.  A pair that is not here is
# the application's error, see REFUSALS.
TRANSITIONS: dict[State, dict[Event, State]] = {
    State.WAITING: {
        Event.START: State.HEADERS_SET,
        Event.RESTART: State.HEADERS_SET,
        Event.FAILED: State.FINISHED,
        Event.LOST: State.ABORTED,
    },
    State.HEADERS_SET: {
        Event.RESTART: State.HEADERS_SET,
        Event.BLOCK: State.HEADERS_SENT,
        Event.EXHAUSTED: State.FINISHED,
        Event.FAILED: State.FINISHED,
        Event.LOST: State.ABORTED,
    },
    State.HEADERS_SENT: {
        Event.BLOCK: State.HEADERS_SENT,
        Event.EXHAUSTED: State.FINISHED,
        Event.FAILED: State.ABORTED,
        Event.LOST: State.ABORTED,
    },
    State.FINISHED: {
        Event.FAILED: State.FINISHED,
        Event.LOST: State.FINISHED,
    },
    State.ABORTED: {
        Event.BLOCK: State.ABORTED,
        Event.FAILED: State.ABORTED,
        Event.LOST: State.ABORTED,
    },
}

# What the application is told for a pair that is not in TRANSITIONS.
REFUSALS: dict[State, type[ApplicationError]] = {
    State.WAITING: StartResponseMissing,
    State.HEADERS_SET: AlreadyStarted,
    State.HEADERS_SENT: AlreadyStarted,
    State.FINISHED: ResponseOver,
    State.ABORTED: ResponseOver,
}
