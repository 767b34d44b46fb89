"""The exceptions, by whose fault it is."""

from __future__ import annotations

import inspect

import pytest

from twisted_wsgiflush import errors
from twisted_wsgiflush.errors import (
    AlreadyLifted,
    AlreadyReading,
    AlreadyStarted,
    AlreadySuspended,
    ApplicationError,
    BodyTooShort,
    CannotBlock,
    InputLost,
    InputNotHere,
    InvalidHeaders,
    InvalidStatus,
    ResponseError,
    ResponseOver,
    StartResponseMissing,
    TooDeep,
    TooManyOpen,
    WrongType,
    WSGIFlushError,
)

# Each with its bases: whose fault it is, and what else it may be caught as.
TREE: list[tuple[type[Exception], tuple[type[Exception], ...]]] = [
    (WSGIFlushError, (Exception,)),
    (ApplicationError, (WSGIFlushError,)),
    (InvalidStatus, (ApplicationError, ValueError)),
    (InvalidHeaders, (ApplicationError, ValueError)),
    (WrongType, (ApplicationError, TypeError)),
    (StartResponseMissing, (ApplicationError,)),
    (AlreadyStarted, (ApplicationError,)),
    (ResponseOver, (ApplicationError,)),
    (BodyTooShort, (ApplicationError,)),
    (AlreadySuspended, (ApplicationError,)),
    (AlreadyReading, (ApplicationError,)),
    (InputNotHere, (ApplicationError, BlockingIOError)),
    (ResponseError, (WSGIFlushError,)),
    (InputLost, (ResponseError, OSError)),
    (CannotBlock, (WSGIFlushError,)),
    (TooDeep, (WSGIFlushError,)),
    (TooManyOpen, (WSGIFlushError,)),
    (AlreadyLifted, (WSGIFlushError,)),
]


@pytest.mark.parametrize(("error", "bases"), TREE)
def test_whose_fault_it_is(
    error: type[Exception], bases: tuple[type[Exception], ...]
) -> None:
    """Each error has its place in the tree, and is a built-in one where that fits."""
    assert error.__bases__ == bases


def test_the_tree_is_all_there_is() -> None:
    """There is no error besides, so that one base catches them all."""
    classes = {value for value in vars(errors).values() if isinstance(value, type)}

    found = {value for value in classes if issubclass(value, Exception)}
    assert found == {error for error, _ in TREE}


@pytest.mark.parametrize("error", [error for error, _ in TREE])
def test_every_error_is_explained(error: type[Exception]) -> None:
    """Who sees an error finds in one sentence of its own what it means."""
    assert error.__doc__ is not None
    assert inspect.cleandoc(error.__doc__).split("\n\n")[0].endswith(".")
