"""
One process: an application, files, and a line protocol that tells of both.

python examples/embedded.py [WEB_ENDPOINT [LINES_ENDPOINT]]
"""

import sys
from collections import Counter
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.protocols.basic import LineReceiver
from twisted.web.server import Site
from twisted.web.static import File

from twisted_wsgiflush import WSGIResource

WEB = "tcp:8080:interface=127.0.0.1"
LINES = "tcp:8081:interface=127.0.0.1"

# How often the application was asked for each path; no lock, all is one thread.
asked: Counter[str] = Counter()


def application(environ, start_response):
    asked[environ["PATH_INFO"]] += 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Files are at /static; requests for anything else are counted.\n"]


class Count(LineReceiver):
    delimiter = b"\n"

    def lineReceived(self, line):
        path = line.strip().decode("latin-1")
        self.sendLine(b"%d" % asked[path])


async def main(reactor, web=WEB, lines=LINES):
    root = WSGIResource(reactor, application)
    root.putChild(b"static", File(Path(__file__).parent))
    site = Site(root, parsePOSTFormSubmission=False)
    count = Factory.forProtocol(Count)
    for name, endpoint, factory in ("web", web, site), ("lines", lines, count):
        port = await serverFromString(reactor, endpoint).listen(factory)
        host = port.getHost()
        print(f"{name}: {host.host}:{host.port}", flush=True)
    await Deferred()  # until it is interrupted


if __name__ == "__main__":
    react(main, sys.argv[1:])
