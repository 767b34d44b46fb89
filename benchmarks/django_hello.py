"""Django's hello: one view, with the middleware that a new project has."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

from .applications import HELLO


def hello(request: Any) -> HttpResponse:
    """The same answer as ``applications.hello``."""
    return HttpResponse(HELLO, content_type="text/plain")


urlpatterns = [path("", hello)]

# Of what `django-admin startproject` lists, those that want no database.
settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of no use to anybody",
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
)
application = get_wsgi_application()
