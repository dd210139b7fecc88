"""Docker 1.10 to 19.03: schema 2 and manifest lists, no OCI; schema 1 still read.

Seen on the wire: `GET /v2/` (whatever it answers), `GET manifests/REF` with every type on an
Accept line of its own in random order; for a manifest list the child by digest; then the config
blob and the layers, three at a time, each digest once. Cut blobs are asked for again, from 1.12
on with a Range. The waits between attempts (5 s and more) are left out.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

from tests.engines.engine import Engine, Pulled, Refused, everything, is_digest, pull_scope
from tests.engines.errors import EngineError, numbers, read_refusal
from tests.engines.layers import LayerError, read_layer
from tests.engines.schema1_checks import check_schema1
from tests.engines.wire import CutError, WireError

if TYPE_CHECKING:
    from tests.engines.wire import Reply

SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE_CONFIGS = frozenset(
    {
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.oci.image.config.v1+json",
        "application/octet-stream",
        "application/json",
        "text/html",
        "",
    }
)
ATTEMPTS = 5
DOWNLOADS = 3


@dataclass(frozen=True)
class Manifest:
    """A manifest as it was fetched."""

    media_type: str
    body: bytes
    reply: Reply
    by_digest: str | None


def sha256(data: bytes) -> str:
    """Return the digest of these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Docker1103(Engine):
    """Docker 1.10.3."""

    version = "1.10.3"
    types: ClassVar[tuple[str, ...]] = (SCHEMA2, MANIFEST_LIST, SCHEMA1, "application/json")
    resumes = False
    no_platform = "no supported platform found in manifest list"

    async def pull(self, repository: str, reference: str) -> Pulled:
        """Pull by tag or digest."""
        try:
            await self.ping()
            manifest = await self.resolve(repository, reference)
            return await self._image(repository, manifest)
        except Refused as problem:
            raise await self.refused(problem, repository, reference) from problem
        except WireError as problem:
            raise EngineError(str(problem)) from problem

    async def refused(self, problem: Refused, repository: str, reference: str) -> EngineError:
        """Return what the user sees of a refusal."""
        del repository, reference
        return EngineError(problem.refusal.text)

    async def resolve(self, repository: str, reference: str) -> Manifest:
        """Fetch the manifest that the user asked for."""
        return await self.fetch(repository, reference)

    def accept(self) -> list[tuple[str, str]]:
        """Return the Accept lines in the random order of a Go map."""
        types = list(self.types)
        (self.rng or Random(0)).shuffle(types)
        return [("Accept", name) for name in types]

    async def fetch(self, repository: str, reference: str) -> Manifest:
        """GET a manifest and tell its type as distribution's client does."""
        path = f"/v2/{repository}/manifests/{reference}"
        reply = await self.send("GET", path, self.accept(), scope=pull_scope(repository))
        if reply.status != 200:
            raise Refused(read_refusal(reply, self.version))
        media_type = self.read_type(reply)
        digest = reference if is_digest(reference) else None
        return Manifest(media_type, reply.body, reply, digest)

    def read_type(self, reply: Reply) -> str:
        """Return the media type; what is unknown or missing is parsed as schema 1."""
        found = reply.get("Content-Type") or ""
        if ";" in found:
            # The engines are held to the bare type: with parameters it counts as broken.
            raise EngineError("missing signature key")
        return found if found in self.types and found != "application/json" else SCHEMA1

    async def _image(self, repository: str, manifest: Manifest) -> Pulled:
        if manifest.media_type == SCHEMA1:
            return await self._schema1(repository, manifest)
        document = self._document(manifest)
        digest = sha256(manifest.body)
        if manifest.media_type not in {MANIFEST_LIST, OCI_INDEX}:
            return await self._schema2(repository, manifest, document)
        chosen = self.choose(document.get("manifests") or [])
        child = await self.fetch(repository, chosen)
        if child.media_type in {MANIFEST_LIST, OCI_INDEX}:
            raise EngineError("unsupported manifest format")
        pulled = await self._image(repository, child)
        return Pulled(
            media_type=manifest.media_type,
            digest=digest,
            manifest_bytes=manifest.body,
            config=pulled.config,
            layers=pulled.layers,
            requests=self.wire.sent,
        )

    def _document(self, manifest: Manifest) -> dict[str, Any]:
        if manifest.by_digest not in {None, sha256(manifest.body)}:
            raise EngineError(f"manifest verification failed for digest {manifest.by_digest}")
        try:
            document = json.loads(manifest.body)
        except ValueError as problem:
            raise EngineError(f"invalid JSON: {problem}") from problem
        self.check_document(manifest.media_type, document)
        return dict(document)

    def check_document(self, media_type: str, document: dict[str, Any]) -> None:
        """Check what the engine checks of a manifest's own words."""
        if document.get("schemaVersion") != 2:
            raise EngineError(f"unsupported schema version {document.get('schemaVersion')}")
        config_type = document.get("config", {}).get("mediaType", "")
        checks = media_type == SCHEMA2 and numbers(self.version) >= (1, 13)
        if checks and config_type not in IMAGE_CONFIGS:
            raise EngineError(f'Encountered remote "{config_type}"(unknown) when fetching')

    def choose(self, children: list[dict[str, Any]]) -> str:
        """Return the digest of the first child for the engine's own platform."""
        for child in children:
            platform = child.get("platform", {})
            if (platform.get("os"), platform.get("architecture")) == (self.os, self.arch):
                return str(child["digest"])
        raise EngineError(self.no_platform.format(os=self.os, arch=self.arch))

    async def _schema1(self, repository: str, manifest: Manifest) -> Pulled:
        headers = manifest.reply.headers
        checked = check_schema1(manifest.body, headers, self.version, manifest.by_digest)
        sums = [entry.blob_sum for entry in reversed(checked.entries) if not entry.throwaway]
        layers = await self._layers(repository, sums)
        return Pulled(
            media_type=SCHEMA1,
            digest=checked.digest,
            manifest_bytes=manifest.body,
            config=None,
            layers=[layer for layer, _ in layers],
            requests=self.wire.sent,
        )

    async def _schema2(
        self, repository: str, manifest: Manifest, document: dict[str, Any]
    ) -> Pulled:
        digests = [layer["digest"] for layer in document["layers"]]
        config_digest = document["config"]["digest"]
        config_task = asyncio.create_task(self._blob(repository, config_digest))
        layers_task = asyncio.create_task(self._layers(repository, digests))
        # The config's error is the more interesting one, so it is looked at first.
        await asyncio.wait([config_task, layers_task])
        problem = layers_task.exception()
        config = config_task.result()
        if problem is not None:
            raise problem
        layers = layers_task.result()
        if sha256(config) != config_digest:
            raise EngineError(f"image config verification failed for digest {config_digest}")
        rootfs = json.loads(config).get("rootfs")
        if rootfs is None:
            raise EngineError("invalid rootfs in image configuration")
        if [sha256(tar) for _, tar in layers] != rootfs.get("diff_ids", []):
            raise EngineError("layers from manifest don't match image configuration")
        return Pulled(
            media_type=manifest.media_type,
            digest=sha256(manifest.body),
            manifest_bytes=manifest.body,
            config=config,
            layers=[layer for layer, _ in layers],
            requests=self.wire.sent,
        )

    async def _layers(self, repository: str, digests: list[str]) -> list[tuple[bytes, bytes]]:
        """Return (layer, its tar) for each digest; each is fetched once."""
        slots = asyncio.Semaphore(DOWNLOADS)

        async def one(digest: str) -> bytes:
            async with slots:
                return await self._blob(repository, digest)

        names = list(dict.fromkeys(digests))
        found = dict(zip(names, await everything(one(name) for name in names), strict=True))
        tars = {}
        for name, data in found.items():
            if sha256(data) != name:
                raise EngineError(f"filesystem layer verification failed for digest {name}")
            try:
                tars[name] = read_layer(data, zstd=self.reads_zstd())
            except LayerError as problem:
                raise EngineError(f"failed to register layer: {problem}") from problem
        return [(found[name], tars[name]) for name in digests]

    def reads_zstd(self) -> bool:
        """Tell whether the engine can unpack Zstandard."""
        return numbers(self.version) >= (23,)

    async def _blob(self, repository: str, digest: str) -> bytes:
        """GET a blob, again if it fails, from where it was cut if the engine can resume."""
        received = b""
        problem: Exception = WireError("no attempt")
        for _ in range(ATTEMPTS):
            lines = [("Range", f"bytes={len(received)}-")] if received else []
            path = f"/v2/{repository}/blobs/{digest}"
            try:
                reply = await self.send("GET", path, lines, scope=pull_scope(repository))
            except CutError as cut:
                problem = cut
                received = received + cut.received if self.resumes else b""
                continue
            except WireError as failed:
                problem = failed
                continue
            if reply.status == 206 and received:
                match = re.fullmatch(r"bytes (\d+)-\d+/\d+", reply.get("Content-Range") or "")
                if match is None or int(match[1]) != len(received):
                    raise EngineError("received Content-Range that does not follow the request")
                return received + reply.body
            if reply.status == 200:
                return reply.body
            refusal = read_refusal(reply, self.version)
            problem = EngineError("unknown blob" if reply.status == 404 else refusal.text)
            if reply.status == 404 and numbers(self.version) >= (17,):
                break
        raise problem if isinstance(problem, EngineError) else EngineError(str(problem))


class Docker1126(Docker1103):
    """Docker 1.12.6: resumes, and knows v1 as the last way out without credentials."""

    version = "1.12.6"
    resumes = True

    async def refused(self, problem: Refused, repository: str, reference: str) -> EngineError:
        """Return what the user sees of a refusal."""
        if problem.refusal.unauthorized:
            # The command line would ask for a password now, but nobody sits there.
            return EngineError("Cannot perform an interactive login from a non TTY device")
        if "no basic auth credentials" in problem.refusal.text:
            return await self.v1_fallback(repository, reference)
        return EngineError(problem.refusal.text)


class Docker1703(Docker1126):
    """Docker 17.03.2-ce."""

    version = "17.03.2-ce"


class Docker1903(Docker1103):
    """Docker 19.03.2: claims OCI manifests in Accept and then refuses them (moby #39727)."""

    version = "19.03.2"
    types: ClassVar[tuple[str, ...]] = (*Docker1103.types, OCI_MANIFEST, OCI_INDEX)
    resumes = True
    no_platform = "no matching manifest for {os}/{arch} in the manifest list entries"

    def check_document(self, media_type: str, document: dict[str, Any]) -> None:
        """Parse an OCI manifest as if it were schema 2, which it is not."""
        found = document.get("mediaType", "")
        if media_type in {SCHEMA2, OCI_MANIFEST} and found != SCHEMA2:
            raise EngineError(f"mediaType in manifest should be '{SCHEMA2}' not '{found}'")
        super().check_document(media_type, document)
