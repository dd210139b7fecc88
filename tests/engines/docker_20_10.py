"""Docker 20.10.24: Docker and OCI formats; a tag is resolved by HEAD and pulled by digest.

So what HEAD advertises must be servable by that digest. A HEAD that fails, or tells no digest, is
followed by a GET of the tag, and then by the GET by digest all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tests.engines.docker_1_10 import (
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA1,
    SCHEMA2,
    Docker1103,
    Manifest,
    sha256,
)
from tests.engines.engine import Refused, is_digest, pull_scope
from tests.engines.errors import EngineError, read_refusal
from tests.libtrust import payload_of

if TYPE_CHECKING:
    from tests.engines.wire import Reply

LAYER_FAMILIES = (
    "application/vnd.oci.image",
    "application/vnd.docker.image",
    "application/vnd.docker.container.image",
    "application/vnd.docker.distribution",
)


class Docker2010(Docker1103):
    """Docker 20.10.24."""

    version = "20.10.24"
    types: ClassVar[tuple[str, ...]] = (*Docker1103.types, OCI_MANIFEST, OCI_INDEX)
    resumes = True
    no_platform = "no matching manifest for {os}/{arch} in the manifest list entries"

    async def resolve(self, repository: str, reference: str) -> Manifest:
        """Resolve a tag to a digest, then fetch that."""
        if is_digest(reference):
            return await self.fetch(repository, reference)
        path = f"/v2/{repository}/manifests/{reference}"
        accept, scope = self.accept(), pull_scope(repository)
        reply = await self.send("HEAD", path, accept, scope=scope)
        if reply.status >= 400 or reply.get("Docker-Content-Digest") is None:
            reply = await self.send("GET", path, accept, scope=scope)
            if reply.status >= 400:
                raise Refused(read_refusal(reply, self.version))
        return await self.fetch(repository, self._digest(reply))

    def _digest(self, reply: Reply) -> str:
        if not reply.get("Content-Type"):
            raise EngineError("missing or empty Content-Type header")
        told = reply.get("Docker-Content-Digest")
        if told is None:
            signed = self.read_type(reply) == SCHEMA1
            return sha256(payload_of(reply.body) if signed else reply.body)
        if not reply.get("Content-Length"):
            raise EngineError("missing or empty Content-Length header")
        return told

    def check_document(self, media_type: str, document: dict[str, Any]) -> None:
        """Check that a manifest is of the type under which it came, and its layers' types."""
        super().check_document(media_type, document)
        found = document.get("mediaType", "")
        # OCI may leave its own type out, Docker may not.
        wrong = {SCHEMA2: found != SCHEMA2, OCI_MANIFEST: found not in {"", OCI_MANIFEST}}
        if wrong.get(media_type, False):
            prefix = "" if media_type == SCHEMA2 else "if present, "
            raise EngineError(
                f"{prefix}mediaType in manifest should be '{media_type}' not '{found}'"
            )
        for layer in document.get("layers", []):
            name = str(layer.get("mediaType", "")).lower()
            if not any(name.startswith(f"{family}.") for family in LAYER_FAMILIES):
                raise EngineError(f"unsupported media type {layer.get('mediaType')}")

    def choose(self, children: list[dict[str, Any]]) -> str:
        """Return the best child: own variant, then lower ones from high to low."""
        matches = []
        for child in children:
            platform = child.get("platform", {})
            variant = platform.get("variant", "")
            if (platform.get("os"), platform.get("architecture")) != (self.os, self.arch):
                continue
            if not self.variant or not variant or variant <= self.variant:
                matches.append((variant, str(child["digest"])))
        if not matches:
            raise EngineError(self.no_platform.format(os=self.os, arch=self.arch))
        # max keeps the first of equals.
        return max(matches, key=lambda match: match[0])[1]
