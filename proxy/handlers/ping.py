"""The ping, for engines that send credentials only if the ping asked for them (Docker ≤ 1.9).

Some registries let everybody ping and challenge on repositories alone. Their challenge is then
the answer to the ping of whoever shows no credentials.
"""

import contextlib
from typing import Final

from aiohttp import web

from proxy.errors import RegistryError, Unauthorized
from proxy.handlers.passthrough import Passthrough
from proxy.spec.challenge import without_scope
from proxy.upstream.challenges import Challenges

PATH: Final = "/v2/"


class Ping:
    """Answers `/v2/`."""

    def __init__(self, challenges: Challenges, passthrough: Passthrough) -> None:
        self._challenges = challenges
        self._passthrough = passthrough

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Challenge a client without credentials, if the upstream does so on repositories."""
        if request.method == "GET" and "Authorization" not in request.headers:
            lines: tuple[str, ...] = ()
            # An upstream that cannot be asked now is asked again by the ping itself.
            with contextlib.suppress(RegistryError):
                lines = await self._challenges.of_repository()
            if lines:
                challenges = tuple(without_scope(line) for line in lines)
                raise Unauthorized("authentication required", challenges=challenges)
        return await self._passthrough.forward(request)
