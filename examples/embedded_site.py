"""
One process: an application on the fast door, files beside it, and an end that waits
for the responses that are not complete.

python examples/embedded_site.py [ENDPOINT]
"""

import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.web.static import File

from twisted_wsgiflush import Limits, WSGISite


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    for number in range(3, 0, -1):
        yield b"%d\n" % number
        environ["x-wsgiorg.suspend"](500)
        yield b""
    yield b"Files are at /static.\n"


async def main(reactor, endpoint="tcp:8080:interface=127.0.0.1"):
    site = WSGISite(reactor, application, limits=Limits(body_size=2**20))
    site.putChild(b"static", File(Path(__file__).parent))
    port = await serverFromString(reactor, endpoint).listen(site)
    host = port.getHost()
    print(f"web: {host.host}:{host.port}", flush=True)

    async def stop():
        await port.stopListening()
        await site.drain(timeout=10)

    reactor.addSystemEventTrigger(
        "before", "shutdown", lambda: Deferred.fromCoroutine(stop())
    )
    await Deferred()  # until it is interrupted


if __name__ == "__main__":
    react(main, sys.argv[1:])
