"""
A non-threaded WSGI container for Twisted.
"""

from __future__ import annotations

from .resource import WSGIResource

__version__ = "0.1.0"

__all__ = ["WSGIResource", "__version__"]
