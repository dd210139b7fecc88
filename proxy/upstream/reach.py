"""An httpx transport that knows the upstream from everybody else.

To the upstream of the config the proxy goes wherever that lives, and shows it the client
certificate. To hosts that only the upstream has named (redirects, token services) it goes under
the rule of addresses.py, and without the certificate.
"""

from typing import Final

import httpx
import structlog

from proxy.upstream.failures import AddressError
from proxy.upstream.redirects import origin_of

log: Final = structlog.get_logger()


class Reach(httpx.AsyncBaseTransport):
    """Sends requests for the origin of `url` through `upstream`, all others through `others`."""

    def __init__(
        self, url: str, *, upstream: httpx.AsyncBaseTransport, others: httpx.AsyncBaseTransport
    ) -> None:
        self._origin = origin_of(httpx.URL(url))
        self._upstream = upstream
        self._others = others

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; AddressError, and a log line, for a host that is refused."""
        if origin_of(request.url) == self._origin:
            return await self._upstream.handle_async_request(request)
        try:
            return await self._others.handle_async_request(request)
        except AddressError as error:
            # Not the URL: its query may be a presigned secret.
            log.warning("address refused", host=request.url.host, reason=error.reason)
            raise

    async def aclose(self) -> None:
        """Close all connections."""
        await self._upstream.aclose()
        await self._others.aclose()
