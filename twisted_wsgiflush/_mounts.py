"""
Which resource has which part of a site's paths, for the command line.
"""

from __future__ import annotations

from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from twisted.web.static import File

from ._stock import segments, to_origin_form


class Mounts(Resource):
    """
    The root of a site whose parts are mounted at paths of any depth.

    The longest path that fits has a request; what none fits is not found.
    """

    def __init__(self) -> None:
        super().__init__()
        self._mounts: dict[tuple[bytes, ...], IResource] = {}

    def mount(self, path: str, resource: IResource) -> None:
        """
        Give a resource a path and all below it.

        :param path: begins with a slash, and is not percent-encoded.
        :raises ValueError: when it does not, or is another's already.
        """
        if not path.startswith("/"):
            raise ValueError(f"{path!r} must begin with a slash")
        stripped = path.strip("/").encode()
        key = tuple(stripped.split(b"/")) if stripped else ()
        if key in self._mounts:
            raise ValueError(f"there is something at {path!r} already")
        self._mounts[key] = resource

    def find(self, path: tuple[bytes, ...]) -> tuple[IResource | None, int]:
        """
        Find the longest mount that a path begins with.

        :param path: its segments.
        :returns: its resource, if there is one, and how many segments lead to it.
        """
        for length in range(len(path), -1, -1):
            resource = self._mounts.get(path[:length])
            if resource is not None:
                return resource, length
        return None, 0

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """Find the longest mount; the path below it is left to its resource."""
        to_origin_form(request)
        prepath, postpath = segments(request)
        path_segments = (*prepath, *postpath)
        resource, length = self.find(path_segments)
        if resource is None:
            return notFound()
        prepath[:] = path_segments[:length]
        postpath[:] = path_segments[length:]
        return resource


class Files(File):
    """A directory of files, of which no listing is given."""

    def getChild(self, path: bytes, request: Request) -> IResource:
        """A file or directory below this one."""
        if b"\0" in path:  # Which no file system has.
            return self.childNotFound
        found: IResource = super().getChild(path, request)
        return found

    def directoryListing(self) -> IResource:
        """What there is in place of a listing."""
        return self.childNotFound
