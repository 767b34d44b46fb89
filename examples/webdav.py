"""
A folder that anyone may read and write, by WebDAV: $FOLDER, or ./shared.

FOLDER=/srv/files wsgiflush examples/webdav.py
"""

import os

from wsgidav.fs_dav_provider import FilesystemProvider
from wsgidav.wsgidav_app import WsgiDAVApp

folder = os.path.abspath(os.environ.get("FOLDER", "shared"))
os.makedirs(folder, exist_ok=True)

application = WsgiDAVApp(
    {
        "provider_mapping": {"/": FilesystemProvider(folder)},
        "simple_dc": {"user_mapping": {"*": True}},  # no accounts
        "verbose": 1,
    }
)
