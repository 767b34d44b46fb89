#!/usr/bin/env python3
"""
The application of sleep.py as a CGI program, where each request has a process.

twist web --path examples/cgi

http://127.0.0.1:8080/sleep.cgi?500 answers after 500 ms, when the python3 on
the PATH finds twisted_wsgiflush. Unchanged, the application runs under gunicorn,
waitress and so on: portable() provides what a server does not.
"""

import sys
from pathlib import Path
from wsgiref.handlers import CGIHandler

sys.path.insert(0, str(Path(__file__).parent.parent))

from sleep import application  # noqa: E402

from twisted_wsgiflush.portable import portable  # noqa: E402

CGIHandler().run(portable(application))
