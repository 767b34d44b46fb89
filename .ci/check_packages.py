"""Checks what is in the wheel and the sdist: check_packages.py DIRECTORY."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

PLUGIN = "twisted/plugins/twisted_wsgiflush_plugin.py"

directory = Path(sys.argv[1])
(wheel,) = directory.glob("*.whl")
(sdist,) = directory.glob("*.tar.gz")

with zipfile.ZipFile(wheel) as archive:
    in_wheel = set(archive.namelist())
with tarfile.open(sdist) as archive:
    in_sdist = {name.partition("/")[2] for name in archive.getnames()}

# The plugin is all that we put into Twisted's package.
foreign = {
    name
    for name in in_wheel
    if not name.startswith("twisted_wsgiflush") and name != PLUGIN
}
faults = [f"{wheel.name} has {name}" for name in sorted(foreign)]
faults += [
    f"{wheel.name} lacks {name}"
    for name in (PLUGIN, "twisted_wsgiflush/__init__.py", "twisted_wsgiflush/py.typed")
    if name not in in_wheel
]
faults += [
    f"{sdist.name} lacks {name}"
    for name in ("tests", "examples", "docs", "Makefile", "LICENSE", PLUGIN)
    if not any(entry == name or entry.startswith(f"{name}/") for entry in in_sdist)
]
print("\n".join(faults) or f"{wheel.name} and {sdist.name} hold what they should")
sys.exit(bool(faults))
