"""A stream."""

from django.http import StreamingHttpResponse

from .models import Document


def listing(request):
    """Send a line for each document, each as soon as it is read."""

    def lines():
        for document in Document.objects.order_by("title").iterator():
            yield f"{document.title}: {document.file.size} bytes\n"

    return StreamingHttpResponse(lines(), content_type="text/plain; charset=utf-8")
