"""The application; the README has the commands."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
# On the asyncio reactor Django would take this thread for one that must not block.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
application = get_wsgi_application()
