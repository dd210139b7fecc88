"""An OCI registry with truth in it, inside the test process, on a free port of 127.0.0.1.

Real digests, tokens, redirects; every request is recorded; whatever can go wrong in the field
can be made to go wrong (`Registry.fault`). The answers themselves are in registry_content.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from aiohttp import web

from tests.registry_auth import (
    ANONYMOUS,
    Auth,
    BasicAuth,
    TokenAuth,
    basic_authorization,
    error,
)
from tests.registry_content import Repository, json_reply, page, ranged, sha256
from tests.registry_faults import BEFORE_HEADERS, Fault, Reply, apply_headers, send

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from multidict import CIMultiDictProxy

__all__ = [
    "ANONYMOUS",
    "BEFORE_HEADERS",
    "BasicAuth",
    "Fault",
    "Registry",
    "Request",
    "TokenAuth",
    "basic_authorization",
]

NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
ROUTE = re.compile(
    rf"/v2/(?P<name>{NAME}(?:/{NAME})*)/"
    r"(?P<kind>tags/list|manifests|referrers|blobs/uploads|blobs)(?:/(?P<rest>[^/]*))?"
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived."""

    method: str
    path_qs: str
    """As it stood in the request line."""
    headers: CIMultiDictProxy[str]
    authorization: str | None


class _Server:
    """Records requests, meets faults, sends replies."""

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.url = ""
        self._tls = tls
        self._port = port
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._serve)
        app.on_response_prepare.append(apply_headers)
        # A test that leaves a reply waiting must not hold up the end of the test.
        # aiohttp waits for the rest of a body that it has refused even when its sender has gone.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, lingering_time=1.0)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, "127.0.0.1", self._port, ssl_context=self._tls, reuse_address=True
        )
        await site.start()
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def count(self, method: str | None = None, path_regex: str | None = None) -> int:
        """How many requests had this method and a path and query that the regex finds."""
        return sum(
            method in {None, request.method}
            and (path_regex is None or re.search(path_regex, request.path_qs) is not None)
            for request in self.requests
        )

    def reset(self) -> None:
        """Forget requests and faults; what is stored stays."""
        self.requests.clear()
        self.faults.clear()

    def fault(self, method: str | None, path: str, **what: Any) -> Fault:  # noqa: ANN401
        """Add a fault; `what` are the fields of `Fault`. The first that meets a request counts."""
        fault = Fault(method, path, **what)
        self.faults.append(fault)
        return fault

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path_qs = request.raw_path
        authorization = request.headers.get("Authorization")
        self.requests.append(Request(request.method, path_qs, request.headers, authorization))
        fault = next((f for f in self.faults if f.meets(request.method, path_qs)), None)
        if fault is not None:
            fault.hits += 1
            fault.arrived.set()
            if fault.wait is not None:
                await fault.wait.wait()
        if fault is not None and fault.status is not None:
            reply = fault.alter(Reply())
        else:
            reply = await self.answer(request)
            if fault is not None:
                reply = fault.alter(reply)
        return await send(request, reply, fault)

    async def answer(self, request: web.Request) -> Reply:
        """Return the true reply."""
        raise NotImplementedError


class ObjectStorage(_Server):
    """Where redirected blobs live: an S3 that is as picky as the real one."""

    def __init__(self, *, get_only: bool, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.objects: dict[str, bytes] = {}
        self.get_only = get_only

    async def answer(self, request: web.Request) -> Reply:
        """Return the object, unless the request is one that a presigned URL does not cover."""
        if "Authorization" in request.headers:
            return Reply(400, b"<Error><Message>Only one auth mechanism allowed</Message></Error>")
        if request.method == "HEAD" and self.get_only:
            return Reply(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        data = self.objects.get(unquote(request.path).lstrip("/"))
        if data is None:
            return Reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
        reply = Reply(200, data)
        reply.headers["Content-Type"] = "binary/octet-stream"
        return ranged(reply, request.headers.get("Range"))


class Registry(_Server):
    """The registry. Use it as an async context manager."""

    def __init__(
        self,
        *,
        auth: Auth | None = None,
        api_version_header: bool = True,
        redirect_blobs: bool = False,
        presigned_get_only: bool = False,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(tls, port)
        self.auth = auth
        self.api_version_header = api_version_header
        self.redirect_blobs = redirect_blobs
        self.storage = ObjectStorage(get_only=presigned_get_only, tls=tls)
        self.repositories: dict[str, Repository] = {}

    async def __aenter__(self) -> Self:
        await self.storage.__aenter__()
        return await super().__aenter__()

    async def __aexit__(self, *what: object) -> None:
        await super().__aexit__(*what)
        await self.storage.__aexit__(*what)

    def repository(self, name: str) -> Repository:
        """Return the repository, made if it is not there."""
        return self.repositories.setdefault(name, Repository(name))

    def put_blob(self, repository: str, data: bytes) -> str:
        """Store a blob, past HTTP."""
        digest = sha256(data)
        self.repository(repository).blobs[digest] = data
        return digest

    def put_manifest(
        self, repository: str, body: bytes, media_type: str, tag: str | None = None
    ) -> str:
        """Store a manifest without any check, past HTTP."""
        return self.repository(repository).put_manifest(body, media_type, tag)

    async def answer(self, request: web.Request) -> Reply:
        """Authenticate, then route."""
        path = urlsplit(request.raw_path).path
        query = dict(parse_qsl(urlsplit(request.raw_path).query, keep_blank_values=True))
        authorization = request.headers.get("Authorization")
        if path == "/token" and isinstance(self.auth, TokenAuth):
            body = await request.read()
            return self.auth.serve(request.method, request.raw_path, authorization, body)
        reply = self._refused(request, path, authorization)
        if reply is None:
            reply = await self._route(request, unquote(path), query)
        if self.api_version_header and path.startswith("/v2"):
            reply.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        return reply

    def _refused(self, request: web.Request, path: str, authorization: str | None) -> Reply | None:
        if self.auth is None:
            return None
        match = ROUTE.fullmatch(unquote(path))
        scope = None
        if match is not None:
            actions = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}
            scope = f"repository:{match['name']}:{actions.get(request.method, 'pull,push')}"
        return self.auth.refuse(self.url, authorization, scope)

    async def _route(self, request: web.Request, path: str, query: Mapping[str, str]) -> Reply:
        if path in {"/v2", "/v2/"}:
            return json_reply({})
        if path == "/v2/_catalog":
            names, more = page(self.repositories, query)
            return _linked(json_reply({"repositories": names}), path, query, more)
        match = ROUTE.fullmatch(path)
        if match is None:
            return error(404, "NOT_FOUND", "page not found")
        name, kind, rest = match["name"], match["kind"], match["rest"] or ""
        if kind == "blobs/uploads":
            return await self._upload(request, self.repository(name), rest, query)
        if name not in self.repositories and request.method != "PUT":
            return error(404, "NAME_UNKNOWN", "repository name not known to registry")
        repository = self.repository(name)
        if kind == "tags/list":
            tags, more = page(repository.tags, query)
            return _linked(json_reply({"name": name, "tags": tags}), path, query, more)
        if kind == "referrers":
            return repository.referrers(rest, query.get("artifactType"))
        if kind == "manifests":
            return await self._manifest(request, repository, rest)
        return self._blob(request, repository, rest)

    async def _manifest(self, request: web.Request, repository: Repository, rest: str) -> Reply:
        if request.method in {"GET", "HEAD"}:
            return repository.get_manifest(rest, request.headers.get("If-None-Match"))
        if request.method == "DELETE":
            return repository.delete_manifest(rest)
        if request.method == "PUT":
            media_type = request.headers.get("Content-Type")
            return repository.push_manifest(rest, await request.read(), media_type)
        return error(405, "UNSUPPORTED", "method not allowed")

    def _blob(self, request: web.Request, repository: Repository, digest: str) -> Reply:
        if request.method == "DELETE":
            return repository.delete_blob(digest)
        if request.method not in {"GET", "HEAD"}:
            return error(405, "UNSUPPORTED", "method not allowed")
        if self.redirect_blobs and digest in repository.blobs:
            key = f"blobs/{digest}"
            self.storage.objects[key] = repository.blobs[digest]
            # A signature with signs in it that a proxy must not touch.
            location = f"{self.storage.url}/{quote(key)}?X-Sig=planted-a%2Fb%2Bc%3D&X-Method=GET"
            reply = Reply(307)
            reply.headers["Location"] = location
            return reply
        known, wanted = request.headers.get("If-None-Match"), request.headers.get("Range")
        return repository.get_blob(digest, known, wanted)

    async def _upload(
        self, request: web.Request, repository: Repository, name: str, query: Mapping[str, str]
    ) -> Reply:
        if request.method == "POST":
            return await self._start_upload(request, repository, query)
        if request.method == "GET":
            return repository.upload_status(name)
        if request.method == "PATCH":
            chunk = request.headers.get("Content-Range")
            return repository.append(name, await request.read(), chunk)
        if request.method == "PUT":
            return repository.finish(name, await request.read(), query.get("digest", ""))
        if request.method == "DELETE":
            return repository.cancel(name)
        return error(405, "UNSUPPORTED", "method not allowed")

    async def _start_upload(
        self, request: web.Request, repository: Repository, query: Mapping[str, str]
    ) -> Reply:
        if "digest" in query:
            return repository.store_blob(query["digest"], await request.read())
        source = self.repositories.get(query.get("from", ""))
        mount = query.get("mount", "")
        if source is not None and mount in source.blobs:
            repository.blobs[mount] = source.blobs[mount]
            return repository.blob_created(mount)
        return repository.start_upload()


def _linked(reply: Reply, path: str, query: Mapping[str, str], more: str | None) -> Reply:
    """With the Link to the next page, relative as the spec has it."""
    if more is not None:
        reply.headers["Link"] = f'<{path}?last={quote(more)}&n={query["n"]}>; rel="next"'
    return reply
