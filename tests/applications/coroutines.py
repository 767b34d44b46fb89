"""
Awaits what the path names, on whatever reactor it is served; see test_coroutines.
"""

from __future__ import annotations

import asyncio
import time

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from twisted_wsgiflush.coroutines import asynchronous, pass_on


async def deferred(environ):
    """A Deferred that the reactor fires."""
    return await deferLater(environ["twisted.reactor"], 0.01, str, "fired")


async def deferreds(environ):
    """Several at a time."""
    reactor = environ["twisted.reactor"]
    return await gatherResults([deferLater(reactor, 0.01, str, n) for n in "ab"])


async def thread(environ):
    """What runs in a thread of Twisted's."""
    return await deferToThread(lambda: time.sleep(0.01) or "slept")


async def timed_out(environ):
    """The extensions themselves."""
    environ["x-wsgiorg.suspend"](10)
    await pass_on(b"")
    return bool(environ["x-wsgiorg.suspend_status"])


async def sleep(environ):
    """What asyncio's loop calls later."""
    return await asyncio.sleep(0.01, "slept")


async def wait_for(environ):
    """What is too late."""
    try:
        await asyncio.wait_for(asyncio.sleep(60), 0.01)
    except asyncio.TimeoutError:
        return "timed out"


async def gather(environ):
    """Deferreds and coroutines at a time."""
    later = deferLater(environ["twisted.reactor"], 0.01, str, "fired")
    future = later.asFuture(asyncio.get_running_loop())
    return await asyncio.gather(future, asyncio.sleep(0.01, "slept"))


async def asyncio_thread(environ):
    """What runs in a thread of asyncio's."""
    return await asyncio.to_thread(lambda: time.sleep(0.01) or "slept")


ended: list[str] = []


async def for_ever(environ):
    """Until the client leaves."""
    ended.clear()
    try:
        await Deferred()
    finally:
        await deferLater(environ["twisted.reactor"], 0.01)
        ended.append(True)


async def until_ended(environ):
    """What has waited for ever has come to its end."""
    while not ended:
        await deferLater(environ["twisted.reactor"], 0.01)
    return "ended"


@asynchronous
async def application(environ, start_response):
    if environ["PATH_INFO"] == "/for_ever":
        start_response("200 OK", [])
        environ["x-wsgiorg.flush"]()
    answer = await globals()[environ["PATH_INFO"].strip("/")](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield str(answer).encode()
