"""GET and HEAD of a manifest: what this client gets of it, and the headers that say so."""

from functools import lru_cache, partial
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from proxy.answer import Answer, PullRequest, Served
from proxy.errors import NotTranslatable
from proxy.handlers.by_digest import ByDigest
from proxy.handlers.exchange import ACCESS, VARY, keep_as_is, send, upstream_headers
from proxy.handlers.passthrough import Passthrough
from proxy.handlers.recording import Recorder
from proxy.handlers.routing import ManifestRoute
from proxy.pull import Puller
from proxy.spec.digest import is_digest
from proxy.spec.http_headers import CONDITIONS, REPRESENTATION
from proxy.spec.reference import Tag
from proxy.translate.client import Client, Settings, understand

_MOST_KEPT: Final = 1000
_LONGEST_KEPT: Final = 2000  # characters of Accept and User-Agent

# What a client says of its copy is compared here, with what this client would be sent.
_ANSWERED_HERE: Final = CONDITIONS | {
    "accept",
    "accept-encoding",
    "content-length",
    "content-type",
}
# Set anew for every manifest: registries are known to send wrong ones, or none.
_OF_THE_MANIFEST: Final = frozenset(
    {"content-length", "content-type", "docker-content-digest", "etag"}
)


class Manifests:
    """Answers GET and HEAD of manifests; `settings` can be replaced, for the requests to come."""

    def __init__(
        self,
        puller: Puller,
        settings: Settings,
        passthrough: Passthrough,
        by_digest: ByDigest,
        recorder: Recorder,
    ) -> None:
        self._puller = puller
        self._recorder = recorder
        self._passthrough = passthrough
        self._by_digest = by_digest
        self.settings = settings

    @property
    def settings(self) -> Settings:
        """What the config says of clients."""
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._settings = settings
        self._understood = lru_cache(_MOST_KEPT)(partial(understand, settings=settings))

    async def answer(self, request: web.Request, route: ManifestRoute) -> web.StreamResponse:
        """Answer a pull by tag or by digest."""
        access = request[ACCESS]
        access.repository, access.reference = route.repository, route.reference
        client, headers = self._client(request), upstream_headers(request)
        pull = PullRequest(
            method=request.method,
            repository=route.repository,
            headers=tuple(pair for pair in headers if pair[0].lower() not in _ANSWERED_HERE),
            client=client,
            query=_query(request),
        )
        answer: Answer | None
        if is_digest(route.reference):
            # Who asks by digest has been told what those bytes are: they come unchanged.
            answer = await self._puller.by_digest(pull, route.reference)
            if answer is None:
                return await self._by_digest.answer(request, headers)
        else:
            try:
                answer = await self._puller.by_tag(pull, Tag(route.reference))
            except NotTranslatable as error:
                self._recorder.refused(request, route, client, error)
                raise
        if answer.manifest is not None:
            self._recorder.sent(request, route, client, answer.manifest)
        return await self._response(request, answer)

    def _client(self, request: web.Request) -> Client:
        """Return what the client understands; a fleet is a few kinds of clients, all day."""
        accept = tuple(request.headers.getall("Accept", ()))
        user_agent = request.headers.get("User-Agent", "")
        if sum(map(len, accept), len(user_agent)) > _LONGEST_KEPT:
            return understand(accept, user_agent, self._settings)
        return self._understood(accept, user_agent)

    async def _response(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        served = answer.manifest
        access = request[ACCESS]
        if served is None:
            headers = self._passthrough.client_headers(
                request, answer.status, answer.headers.items()
            )
            if answer.body:  # else HEAD may have been told nothing of what GET is sent
                headers.setdefault("Content-Length", str(len(answer.body)))
            headers.add("Vary", VARY)
        else:
            access.outcome = served.outcome
            stale = REPRESENTATION if served.source else _OF_THE_MANIFEST
            headers = self._passthrough.client_headers(
                request, answer.status, answer.headers.items(), without=stale
            )
            _describe(headers, served)
            if _client_has_it(request, served):
                keep_as_is(request, headers)
                return web.Response(status=304, headers=headers)
            headers["Content-Type"] = served.media_type
            headers["Content-Length"] = str(served.size)
        if request.method == "HEAD":
            keep_as_is(request, headers)
            return web.Response(status=answer.status, headers=headers)
        return await send(request, answer.status, headers, answer.body)


def _describe(headers: CIMultiDict[str], served: Served) -> None:
    """Add the headers that name the manifest and say what the proxy did with it."""
    headers["Docker-Content-Digest"] = served.digest
    headers["ETag"] = f'"{served.digest}"'
    headers.add("Vary", VARY)
    if served.source is not None:
        headers["Regshim-Source-Digest"] = served.source
    if served.source_type is not None:
        source, target = served.source_type.image_format, served.media_type.image_format
        what = f"from {source.value} to {target.value}"
        headers.add("Warning", f'299 - "regshim translated this manifest {what}"')


def _client_has_it(request: web.Request, served: Served) -> bool:
    """Tell whether If-None-Match names the manifest that this client would be sent."""
    lines = request.headers.getall("If-None-Match", ())
    tags = {tag.strip().removeprefix("W/").strip('"') for line in lines for tag in line.split(",")}
    return not tags.isdisjoint({served.digest, "*"})


def _query(request: web.Request) -> str:
    _, mark, query = request.raw_path.partition("?")
    return mark + query
