"""The admin, and the stream."""

from django.contrib import admin
from django.urls import path
from documents.views import listing

urlpatterns = [
    path("admin/", admin.site.urls),
    path("documents.txt", listing),
]
