"""Docker 1.8.3 and 1.9.1: schema 1 only, signatures unread, HEAD and GET of every layer.

Seen on the wire: `GET /v2/`, `GET manifests/REF` without Accept, then for every fsLayers entry
HEAD and GET, all entries at once, the same blob as often as it stands there, nothing retried.
By tag, what is no registry error with a message of its own makes it try the v1 protocol.
"""

from __future__ import annotations

import hashlib

from tests.engines.engine import Engine, Pulled, Refused, everything, is_digest, pull_scope
from tests.engines.errors import EngineError, read_refusal
from tests.engines.layers import LayerError, read_layer
from tests.engines.schema1_checks import check_schema1
from tests.engines.wire import WireError

API = "registry/2.0"


class Docker183(Engine):
    """Docker 1.8.3."""

    version = "1.8.3"

    async def pull(self, repository: str, reference: str) -> Pulled:
        """Pull by tag or digest."""
        try:
            return await self._pull_v2(repository, reference)
        except Refused as problem:
            if not problem.refusal.fallback or is_digest(reference):
                raise EngineError(problem.refusal.text) from problem
            raise await self.v1_fallback(repository, reference) from problem
        except (EngineError, WireError) as problem:
            # Whatever is no registry error counts as one more reason for v1, which has no digests.
            if is_digest(reference):
                raise EngineError(str(problem)) from problem
            raise await self.v1_fallback(repository, reference) from problem

    async def _pull_v2(self, repository: str, reference: str) -> Pulled:
        ping = await self.ping()
        versions = (ping.get("Docker-Distribution-Api-Version") or "").split()
        if ping.status not in {200, 401} or API not in versions:
            raise EngineError("endpoint does not support v2 API")
        scope = pull_scope(repository)
        reply = await self.send("GET", f"/v2/{repository}/manifests/{reference}", scope=scope)
        if reply.status != 200:
            raise Refused(read_refusal(reply, self.version))
        digest = reference if is_digest(reference) else None
        checked = check_schema1(reply.body, reply.headers, self.version, digest)
        entries = reversed(checked.entries)
        pulls = [self._layer(repository, entry.blob_sum) for entry in entries]
        layers = await everything(pulls)
        return Pulled(
            media_type=reply.get("Content-Type") or "",
            digest=checked.digest,
            manifest_bytes=reply.body,
            config=None,
            layers=layers,
            requests=self.wire.sent,
        )

    async def _layer(self, repository: str, digest: str) -> bytes:
        path, scope = f"/v2/{repository}/blobs/{digest}", pull_scope(repository)
        head = await self.send("HEAD", path, scope=scope)
        if head.status != 200:
            raise EngineError("unknown blob" if head.status == 404 else head.status_line)
        if not (head.get("Content-Length") or "").isdigit():
            raise EngineError("error parsing content-length")
        reply = await self.send("GET", path, scope=scope)
        if reply.status != 200:
            raise EngineError(f"unexpected status: {reply.status_line}")
        if "sha256:" + hashlib.sha256(reply.body).hexdigest() != digest:
            raise EngineError(f"filesystem layer verification failed for digest {digest}")
        if len(reply.body) != int(head.get("Content-Length") or 0):
            raise EngineError("HEAD and GET of a blob tell two lengths")
        try:
            read_layer(reply.body, empty=False)
        except LayerError as problem:
            raise EngineError(f"Untar error on re-exec cmd: {problem}") from problem
        return reply.body


class Docker191(Docker183):
    """Docker 1.9.1: as 1.8.3."""

    version = "1.9.1"
