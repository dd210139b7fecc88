"""The guard of a proxy that holds credentials: who may use them, by `listen.htpasswd`.

Whatever a client proves itself with is for this proxy, and ends here.
"""

from typing import Final

from aiohttp import web

from proxy.errors import NotFound, Unauthorized
from proxy.handlers.exchange import HOLDER, NOT_FORWARDED, STEERING
from proxy.handlers.middleware import Handler
from proxy.handlers.routing import is_api
from proxy.htpasswd import Htpasswd

_CHALLENGE: Final = 'Basic realm="regshim"'
# With the proxy's credentials the upstream is not to be told by a client where its links lead.
_OF_THE_CLIENT: Final = STEERING | {"authorization", "cookie"}


class Guard:
    """A middleware; without `users` whoever reaches the proxy may use it. They can be replaced."""

    __middleware_version__ = 1

    def __init__(self, users: Htpasswd | None) -> None:
        self.users = users

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Pass a request on if it is of a user; Unauthorized if not, NotFound outside the API."""
        if self.users is not None and not await self.users.admits(
            request.headers.get("Authorization"), request[HOLDER]
        ):
            if not is_api(request.raw_path):
                # Old engines try the v1 protocol next, and are to see at once that there is none.
                raise NotFound("this is a registry: its API is below /v2/")
            raise Unauthorized("authentication required", challenges=(_CHALLENGE,))
        request[NOT_FORWARDED] = _OF_THE_CLIENT
        return await handler(request)
