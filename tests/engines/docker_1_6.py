"""Docker 1.6.2 and 1.7.1: schema 1 only, verified signatures, everything else is "not found".

Seen on the wire: `GET /v2/` twice, `GET manifests/REF` without Accept, then one GET per image id,
all at once. Blobs need a Content-Length. A failed v2 pull goes on to the v1 protocol.
"""

from __future__ import annotations

import hashlib

from tests.engines.engine import Engine, Pulled, Refused, everything, is_digest, pull_scope
from tests.engines.errors import EngineError
from tests.engines.layers import LayerError, read_layer
from tests.engines.schema1_checks import check_schema1
from tests.engines.wire import WireError

API = "registry/2.0"


class Docker162(Engine):
    """Docker 1.6.2."""

    version = "1.6.2"

    async def pull(self, repository: str, reference: str) -> Pulled:
        """Pull; the true reason of a failure is only in the daemon's log (`__cause__`)."""
        try:
            return await self._pull_v2(repository, reference)
        except (EngineError, Refused, WireError) as problem:
            raise await self.give_up(repository, reference) from problem

    async def give_up(self, repository: str, reference: str) -> EngineError:
        """Return what the user sees."""
        return await self.v1_fallback(repository, reference)

    async def _pull_v2(self, repository: str, reference: str) -> Pulled:
        for _ in range(2):
            ping = await self.ping()
            versions = (ping.get("Docker-Distribution-Api-Version") or "").split()
            if ping.status not in {200, 401} or API not in versions:
                raise EngineError("registry does not speak v2")
        scope = pull_scope(repository)
        reply = await self.send("GET", f"/v2/{repository}/manifests/{reference}", scope=scope)
        if reply.status != 200:
            raise EngineError(
                f"Server error: {reply.status} trying to fetch for {repository}:{reference}"
            )
        digest = reference if is_digest(reference) else None
        checked = check_schema1(reply.body, reply.headers, self.version, digest)
        # An id that is being pulled is waited for, not pulled again.
        sums = {entry.id: entry.blob_sum for entry in reversed(checked.entries)}
        pulls = [self._layer(repository, blob_sum) for blob_sum in sums.values()]
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
        scope = pull_scope(repository)
        reply = await self.send("GET", f"/v2/{repository}/blobs/{digest}", scope=scope)
        if reply.status != 200:
            raise EngineError(
                f"Server error: {reply.status} trying to pull {repository} blob - {digest}"
            )
        if reply.get("Content-Length") is None:
            raise EngineError('strconv.ParseInt: parsing "": invalid syntax')
        if "sha256:" + hashlib.sha256(reply.body).hexdigest() != digest:
            raise EngineError(f'image layer digest verification failed for "{digest}"')
        try:
            read_layer(reply.body, empty=False)
        except LayerError as problem:
            raise EngineError(f"Untar error on re-exec cmd: {problem}") from problem
        return reply.body


class Docker171(Docker162):
    """Docker 1.7.1: as 1.6.2, but by digest it does not try v1."""

    version = "1.7.1"

    async def give_up(self, repository: str, reference: str) -> EngineError:
        """Return what the user sees."""
        if is_digest(reference):
            return EngineError("pulling with digest reference failed from v2 registry")
        return await self.v1_fallback(repository, reference)
