"""
From what is named on a command line to a WSGI application.

Every failure is a :class:`twisted.python.usage.UsageError` of one line, preceded by
the traceback when it is the application's own code that failed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from twisted.python.usage import UsageError

from ._types import WSGIApplication

_T = TypeVar("_T")

# The attributes to try when none is named.
_USUAL = ("application", "app")

_MISSING = object()

_NOT_THE_APPLICATION = (__file__, importlib.__file__)


def load_application(name: str, app_dir: str, *, factory: bool) -> WSGIApplication:
    """
    Import the application that ``name`` names.

    :param name: ``module:attribute``, ``module.attribute``, ``module``,
        ``path/to/file.py`` or ``path/to/file.py:attribute``.
    :param app_dir: is searched for modules first, and stays on ``sys.path``.
    :param factory: what is named is called, without arguments, for the application.
    :raises UsageError: in one line, what was wrong.
    """
    if not Path(app_dir).is_dir():
        raise UsageError(f"--app-dir: there is no directory {app_dir!r}")
    sys.path.insert(0, str(Path(app_dir).resolve()))
    module, attribute = _find_module(name, app_dir)
    application = _find_attribute(module, attribute, name)
    if factory:
        if not callable(application):
            raise UsageError(f"{name}: --factory wants a callable, not {application!r}")
        application = _running(application, f"{name}: the factory failed")
    if not callable(application):
        raise UsageError(
            f"{name} is no WSGI application: {application!r} "
            f"({type(application).__name__}) is not callable"
        )
    return application  # type: ignore[no-any-return]  # callable is all one can ask


def _find_module(name: str, app_dir: str) -> tuple[ModuleType, str]:
    """The module, and what is named in it: maybe nothing."""
    path, colon, attribute = name.rpartition(":") if ":" in name else (name, "", "")
    if colon and not attribute:
        raise UsageError(f"{name}: there is no attribute after the colon")
    if path.endswith(".py"):
        return _import_file(Path(path)), attribute
    if colon or _spec(path) is not None:
        return _import_module(path, app_dir), attribute
    parent, dot, attribute = path.rpartition(".")
    return _import_module(parent if dot else path, app_dir), attribute


def _spec(module_name: str) -> ModuleSpec | None:
    parent = module_name.rpartition(".")[0]
    if parent:
        if _spec(parent) is None:
            return None
        _import(parent)
    try:
        return importlib.util.find_spec(module_name)
    except (ImportError, ValueError):
        return None  # Its parent is no package, or this is no name of a module.


def _import(module_name: str) -> ModuleType:
    return _running(
        lambda: importlib.import_module(module_name), f"cannot import {module_name!r}"
    )


def _import_module(module_name: str, app_dir: str) -> ModuleType:
    if _spec(module_name) is None:
        raise UsageError(
            f"cannot import {module_name!r}: there is no such module in "
            f"{str(Path(app_dir).resolve())!r} (see --app-dir) nor in the rest of "
            f"Python's path"
        )
    return _import(module_name)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}")
    path = path.resolve()
    sys.path.insert(0, str(path.parent))  # As ``python path`` would.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # It ends in .py.
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    execute = partial(spec.loader.exec_module, module)
    _running(execute, f"cannot import {str(path)!r}")
    return module


def _find_attribute(module: ModuleType, attribute: str, name: str) -> Any:
    if not attribute:
        for usual in _USUAL:
            found = _attribute(module, usual, name)
            if found is not _MISSING:
                return found
        raise UsageError(
            f"{name}: {module.__name__!r} ({module.__file__}) has no "
            f"{' and no '.join(map(repr, _USUAL))}; name the attribute after a colon"
        )
    found = module
    for part in attribute.split("."):
        found = _attribute(found, part, name)
        if found is _MISSING:
            raise UsageError(
                f"{name}: {module.__name__!r} ({module.__file__}) has no {attribute!r}"
            )
    return found


def _attribute(owner: Any, attribute: str, name: str) -> Any:
    return _running(
        lambda: getattr(owner, attribute, _MISSING), f"{name}: no {attribute!r}"
    )


def _running(call: Callable[[], _T], failure: str) -> _T:
    """Run the application's code; show its own traceback when it fails."""
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        report = traceback.TracebackException.from_exception(error)
        _leave_only_the_application(report)
        sys.stderr.write("".join(report.format()))
        raise UsageError(f"{failure}: {type(error).__name__}: {error}") from error


def _leave_only_the_application(report: Any) -> None:
    """Take the frames of this module and of the import system out of a traceback."""
    if report is None:
        return
    frames = [
        frame
        for frame in report.stack
        if frame.filename not in _NOT_THE_APPLICATION
        and not frame.filename.startswith("<frozen importlib")
    ]
    report.stack = traceback.StackSummary.from_list(frames) if frames else None
    _leave_only_the_application(report.__cause__)
    _leave_only_the_application(report.__context__)
