"""Token requests through the proxy, for clients that cannot reach or trust the token service.

The realm of every Bearer challenge becomes `/token` of the proxy, on the host and scheme that
the client used; what is asked there goes to the token service that the upstream names.
"""

from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from proxy.errors import MethodNotAllowed
from proxy.handlers.exchange import own_origin, relay, upstream_headers
from proxy.handlers.request_body import has_body
from proxy.spec.challenge import with_realm
from proxy.spec.http_headers import end_to_end
from proxy.upstream.challenges import Challenges

PATH: Final = "/token"
_CHALLENGE: Final = "WWW-Authenticate"


async def show_own_realm(request: web.Request, response: web.StreamResponse) -> None:
    """Make the proxy the realm of a reply's Bearer challenges (an on_response_prepare signal)."""
    lines = response.headers.getall(_CHALLENGE, [])
    if not lines or request.raw_path.partition("?")[0] == PATH:
        return
    realm = own_origin(request) + PATH
    del response.headers[_CHALLENGE]
    for line in lines:
        response.headers.add(_CHALLENGE, with_realm(line, realm))


class TokenRequests:
    """Forwards token requests: GET, and POST with an OAuth2 form."""

    def __init__(self, challenges: Challenges) -> None:
        self._challenges = challenges

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer with the reply of the token service."""
        if request.method not in {"GET", "POST"}:
            raise MethodNotAllowed("tokens are asked for by GET or POST")
        # Cookies are between a client and the registry: to it this is the host of both.
        headers = upstream_headers(request, without=frozenset({"cookie"}))
        body = request.content.iter_any() if has_body(request) else None
        if body is not None and "Content-Length" not in request.headers:
            headers.append(("Transfer-Encoding", "chunked"))
        query = request.raw_path.partition("?")[2]
        stream = await self._challenges.ask_token_service(request.method, query, headers, body)
        told = end_to_end(stream.headers.items(), without=frozenset({"set-cookie"}))
        reply_headers = CIMultiDict(told)
        return await relay(request, stream.status, reply_headers, stream)
