"""
``wsgiflush`` and ``python -m twisted_wsgiflush``: the same service as with
``twist wsgiflush``, without a runner around it.
"""

from __future__ import annotations

import sys

from twisted.logger import (
    FilteringLogObserver,
    LimitedHistoryLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    globalLogPublisher,
    textFileLogObserver,
)

from .service import Options, makeService


def main() -> None:
    """Serve what the command line says until a signal comes, then exit."""
    options = Options()
    options.parseOptions()
    level = LogLevel.debug if options["debug"] else LogLevel.info
    observer = FilteringLogObserver(
        textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(level)]
    )
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    service = makeService(options)

    from twisted.internet import reactor

    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    # Twisted tells of a UNIX port before it listens, and of any port before the next
    # one may fail; then the line that says so is to be the only one.
    held = LimitedHistoryLogObserver()
    globalLogPublisher.removeObserver(observer)
    globalLogPublisher.addObserver(held)
    service.startService()
    globalLogPublisher.removeObserver(held)
    held.replayTo(observer)
    globalLogPublisher.addObserver(observer)
    reactor.run()
    raise SystemExit(service.exit_status)


if __name__ == "__main__":
    main()
