"""containerd 1.6: HEAD by tag, GET by digest, no ping; a 401 is answered where it comes up.

Accept is one line that ends in `*/*`. With a mirror configured every request carries `?ns=`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from tests.engines.docker_1_10 import MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST, SCHEMA2, sha256
from tests.engines.engine import (
    Challenge,
    Engine,
    Pulled,
    Refused,
    everything,
    is_digest,
    pull_scope,
)
from tests.engines.errors import EngineError
from tests.engines.layers import LayerError, read_layer
from tests.engines.wire import WireError

if TYPE_CHECKING:
    from tests.engines.wire import Reply


class Containerd(Engine):
    """containerd 1.6.20."""

    version = "1.6.20"
    types: ClassVar[tuple[str, ...]] = (SCHEMA2, MANIFEST_LIST, OCI_MANIFEST, OCI_INDEX, "*/*")
    namespace: str | None = None
    """The registry that a mirror is asked for, sent as `ns`."""

    def user_agent(self) -> str:
        """Return its User-Agent, which tells no platform."""
        return f"containerd/{self.version}"

    async def pull(self, repository: str, reference: str) -> Pulled:
        """Pull by tag or digest."""
        try:
            return await self._pull(repository, reference)
        except (Refused, WireError) as problem:
            raise EngineError(str(problem)) from problem

    async def _request(
        self, method: str, repository: str, rest: str, accept: str | None = None
    ) -> Reply:
        path = f"/v2/{repository}/{rest}" + (f"?ns={self.namespace}" if self.namespace else "")
        lines = [("Accept", accept)] if accept else []
        scope = pull_scope(repository)
        reply = await self.send(method, path, lines, scope=scope)
        header = reply.get("WWW-Authenticate")
        if reply.status == 401 and header is not None:
            self.challenge = Challenge.read(header)
            self.tokens.clear()
            reply = await self.send(method, path, lines, scope=scope)
        if reply.status > 299:
            url = self.base_url + path
            if reply.status == 404:
                raise EngineError(f"{repository}: {rest}: not found")
            raise EngineError(
                f"unexpected status from {method} request to {url}: {reply.status_line}"
            )
        return reply

    async def _pull(self, repository: str, reference: str) -> Pulled:
        media_type, digest = await self._resolve(repository, reference)
        body = await self._manifest(repository, media_type, digest)
        document = json.loads(body)
        image = document
        if media_type in {MANIFEST_LIST, OCI_INDEX}:
            child = self._choose(document["manifests"])
            image = json.loads(
                await self._manifest(repository, child["mediaType"], child["digest"])
            )
        elif media_type not in {SCHEMA2, OCI_MANIFEST}:
            raise EngineError(f"unsupported media type {media_type}")
        blobs = [image["config"]["digest"], *(layer["digest"] for layer in image["layers"])]
        config, *layers = await everything(self._blob(repository, blob) for blob in blobs)
        try:
            diff_ids = [sha256(read_layer(layer, zstd=True)) for layer in layers]
        except LayerError as problem:
            raise EngineError(f"failed to extract layer: {problem}") from problem
        if diff_ids != json.loads(config)["rootfs"]["diff_ids"]:
            raise EngineError("mismatched image rootfs and manifest layers")
        return Pulled(media_type, digest, body, config, layers, self.wire.sent)

    async def _resolve(self, repository: str, reference: str) -> tuple[str, str]:
        accept = ", ".join(self.types)
        rest = f"manifests/{reference}"
        reply = await self._request("HEAD", repository, rest, accept)
        digest = reply.get("Docker-Content-Digest")
        if digest is None:
            reply = await self._request("GET", repository, rest, accept)
            digest = sha256(reply.body)
        if is_digest(reference) and digest != reference:
            raise EngineError(f"{reference}: got digest {digest}")
        return (reply.get("Content-Type") or "").partition(";")[0], digest

    async def _manifest(self, repository: str, media_type: str, digest: str) -> bytes:
        rest = f"manifests/{digest}"
        reply = await self._request("GET", repository, rest, f"{media_type}, */*")
        if sha256(reply.body) != digest:
            raise EngineError(f"unexpected commit digest {sha256(reply.body)}, expected {digest}")
        return reply.body

    async def _blob(self, repository: str, digest: str) -> bytes:
        reply = await self._request("GET", repository, f"blobs/{digest}")
        if sha256(reply.body) != digest:
            raise EngineError(f"unexpected commit digest {sha256(reply.body)}, expected {digest}")
        return reply.body

    def _choose(self, children: list[dict[str, Any]]) -> dict[str, Any]:
        for child in children:
            platform = child.get("platform", {})
            if (platform.get("os"), platform.get("architecture")) == (self.os, self.arch):
                return child
        raise EngineError("no match for platform in manifest: not found")
