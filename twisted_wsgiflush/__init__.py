"""
A non-threaded WSGI container for Twisted.
"""

from __future__ import annotations

from ._version import VERSION
from .resource import WSGIResource

__version__ = VERSION

__all__ = ["WSGIResource", "__version__"]
