"""How twist and twistd come to know the command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commandline import CHECKOUT, SCRIPTS, environment
from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin, getPlugins
from twisted.plugins import twisted_wsgiflush_plugin
from zope.interface.verify import verifyObject

from twisted_wsgiflush import service


def test_is_found() -> None:
    """Twisted finds one plugin of ours, where it looks for plugins."""
    found = [
        plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "wsgiflush"
    ]

    assert found == [twisted_wsgiflush_plugin.wsgiflush]


@pytest.mark.parametrize("interface", [IPlugin, IServiceMaker])
def test_makes_services(interface: type) -> None:
    """The plugin is what Twisted's runners ask for."""
    assert verifyObject(interface, twisted_wsgiflush_plugin.wsgiflush)


def test_has_no_logic() -> None:
    """The options and the service are those of every other door."""
    plugin = twisted_wsgiflush_plugin.wsgiflush

    assert plugin.options is service.Options
    assert plugin.makeService is service.makeService


def test_hides_no_other_plugin() -> None:
    """Our directory does not pass for Twisted's own package."""
    assert not (CHECKOUT / "twisted" / "__init__.py").exists()
    assert not (CHECKOUT / "twisted" / "plugins" / "__init__.py").exists()
    assert {"web", "wsgiflush"} <= {
        plugin.tapname for plugin in getPlugins(IServiceMaker)
    }


@pytest.mark.parametrize("runner", ["twist", "twistd"])
def test_is_listed(tmp_path: Path, runner: str) -> None:
    """The help of twist and twistd tells what the command is for."""
    done = subprocess.run(
        [SCRIPTS / runner, "--help"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    (line,) = (line for line in done.stdout.splitlines() if "wsgiflush" in line)
    assert line.split(maxsplit=1) == [
        "wsgiflush",
        "Serve a WSGI application on the reactor, without threads",
    ]


@pytest.mark.parametrize(
    "module",
    [
        "twisted.plugins.twisted_wsgiflush_plugin",
        "twisted_wsgiflush",
        "twisted_wsgiflush.__main__",
        "twisted_wsgiflush.service",
        "twisted_wsgiflush.testing",
    ],
)
def test_installs_no_reactor(tmp_path: Path, module: str) -> None:
    """Which reactor runs is still to be chosen when our modules are imported."""
    program = f"import sys, {module}; print('twisted.internet.reactor' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout == "False\n"
