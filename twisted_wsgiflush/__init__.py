"""
A non-threaded WSGI container for Twisted.
"""

from __future__ import annotations

from ._version import VERSION
from .limits import Limits
from .resource import WSGIResource
from .site import WSGISite

__version__ = VERSION

__all__ = ["Limits", "WSGIResource", "WSGISite", "__version__"]
