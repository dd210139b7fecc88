"""Which requests have a body."""

import httpx


def has_body(request: httpx.Request) -> bool:
    """Tell whether a body is sent with a request.

    The extension `upload` is that body, None for a request without one; where the extension is
    not there, the headers tell.
    """
    if "upload" in request.extensions and request.extensions["upload"] is None:
        return False
    headers = request.headers
    return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers
