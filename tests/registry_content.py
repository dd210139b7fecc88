"""What the in-process registry holds, and its answers: the OCI distribution spec without sockets.

It behaves as a modern registry does: bytes are sent as they are stored whatever Accept says, and
nothing is known about schema 1 but that its digest is that of the payload without signatures.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict

from tests.libtrust import payload_of
from tests.registry_auth import error
from tests.registry_faults import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def sha256(data: bytes) -> str:
    """Return the digest of these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of(body: bytes, media_type: str) -> str:
    """Return the digest of a manifest: of a signed schema 1, that of its payload."""
    if media_type == SCHEMA1:
        return sha256(payload_of(body))
    return sha256(body)


def json_reply(document: object, *, media_type: str = "application/json") -> Reply:
    """Return a reply with a JSON body."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return Reply(200, body, CIMultiDict({"Content-Type": media_type}))


def content(body: bytes, media_type: str, digest: str, known: str | None) -> Reply:
    """Return a manifest or blob, or 304 if the client says that it holds it."""
    headers = CIMultiDict({"Docker-Content-Digest": digest, "Etag": f'"{digest}"'})
    if known is not None and known in {digest, f'"{digest}"'}:
        return Reply(304, b"", headers)
    headers["Content-Type"] = media_type
    return Reply(200, body, headers)


def ranged(reply: Reply, wanted: str | None) -> Reply:
    """Return the part of a blob that a Range header asks for (RFC 9110, one range)."""
    if reply.status != 200:
        return reply
    reply.headers["Accept-Ranges"] = "bytes"
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
    if match is None or match.group(0) == "bytes=-":
        return reply
    size = len(reply.body)
    first = int(match[1]) if match[1] else max(0, size - int(match[2]))
    last = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
    if first > last:
        refused = error(416, "RANGE_INVALID", "invalid content range")
        refused.headers["Content-Range"] = f"bytes */{size}"
        return refused
    reply.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Reply(206, reply.body[first : last + 1], reply.headers)


def page(items: Iterable[str], query: Mapping[str, str]) -> tuple[list[str], str | None]:
    """Return at most `n` sorted items after `last`, and where the next page starts."""
    names = [item for item in sorted(items) if item > query.get("last", "")]
    if "n" not in query:
        return names, None
    count = int(query["n"])
    if count == 0:
        return [], None
    return names[:count], names[count - 1] if len(names) > count else None


@dataclass
class Upload:
    """An upload under way."""

    data: bytearray = field(default_factory=bytearray)


@dataclass
class Repository:
    """One repository and its answers."""

    name: str
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def put_manifest(self, body: bytes, media_type: str, tag: str | None = None) -> str:
        """Store a manifest as it is."""
        digest = digest_of(body, media_type)
        self.manifests[digest] = (body, media_type)
        if tag is not None:
            self.tags[tag] = digest
        return digest

    def get_manifest(self, reference: str, known: str | None) -> Reply:
        """Return the stored manifest, whatever Accept said."""
        digest = self.tags.get(reference, reference)
        if digest not in self.manifests:
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        body, media_type = self.manifests[digest]
        return content(body, media_type, digest, known)

    def push_manifest(self, reference: str, body: bytes, media_type: str | None) -> Reply:
        """PUT of a manifest: checked as the spec asks."""
        try:
            document = json.loads(body)
        except ValueError:
            return error(400, "MANIFEST_INVALID", "manifest invalid")
        if media_type is None:
            # Docker up to 1.9 pushes schema 1 without a Content-Type.
            fallback = SCHEMA1 if "signatures" in document else ""
            media_type = str(document.get("mediaType", fallback))
        media_type = media_type.partition(";")[0].strip()
        digest = digest_of(body, media_type)
        if reference.startswith("sha256:") and reference != digest:
            return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        for blob in _blobs_of(document):
            if blob not in self.blobs:
                return error(404, "MANIFEST_BLOB_UNKNOWN", f"blob unknown to registry: {blob}")
        self.put_manifest(body, media_type, None if reference == digest else reference)
        headers = CIMultiDict(
            {
                "Location": f"/v2/{self.name}/manifests/{digest}",
                "Docker-Content-Digest": digest,
            }
        )
        subject = document.get("subject")
        if isinstance(subject, dict):
            headers["OCI-Subject"] = subject["digest"]
        return Reply(201, b"", headers)

    def delete_manifest(self, reference: str) -> Reply:
        """Return a tag goes alone, a digest with its tags."""
        if reference in self.tags:
            del self.tags[reference]
            return Reply(202)
        if reference not in self.manifests:
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        del self.manifests[reference]
        self.tags = {tag: digest for tag, digest in self.tags.items() if digest != reference}
        return Reply(202)

    def referrers(self, digest: str, artifact_type: str | None) -> Reply:
        """Return the index of what names this digest as its subject."""
        found: list[dict[str, Any]] = []
        for known, (body, media_type) in self.manifests.items():
            document = json.loads(body)
            subject = document.get("subject")
            if not isinstance(subject, dict) or subject.get("digest") != digest:
                continue
            kind = document.get("artifactType") or document.get("config", {}).get("mediaType")
            entry = {"mediaType": media_type, "digest": known, "size": len(body)}
            entry |= {"artifactType": kind} if kind else {}
            entry |= {"annotations": document["annotations"]} if "annotations" in document else {}
            if artifact_type in {None, kind}:
                found.append(entry)
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        reply = json_reply(document, media_type=OCI_INDEX)
        if artifact_type is not None:
            reply.headers["OCI-Filters-Applied"] = "artifactType"
        return reply

    def get_blob(self, digest: str, known: str | None, wanted: str | None) -> Reply:
        """Return a blob or a part of it."""
        if digest not in self.blobs:
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        whole = content(self.blobs[digest], "application/octet-stream", digest, known)
        return ranged(whole, wanted)

    def delete_blob(self, digest: str) -> Reply:
        """Forget a blob."""
        if self.blobs.pop(digest, None) is None:
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        return Reply(202)

    def store_blob(self, digest: str, data: bytes) -> Reply:
        """End of an upload: the bytes must have the digest that was told."""
        if not DIGEST.fullmatch(digest) or sha256(data) != digest:
            return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.blobs[digest] = data
        return self.blob_created(digest)

    def blob_created(self, digest: str) -> Reply:
        """201 for an upload or a mount."""
        location = f"/v2/{self.name}/blobs/{digest}"
        lines = CIMultiDict({"Location": location, "Docker-Content-Digest": digest})
        return Reply(201, b"", lines)

    def start_upload(self) -> Reply:
        """202 with the place to send the bytes to."""
        name = f"upload-{next(self._numbers)}"
        self.uploads[name] = Upload()
        return self._progress(name)

    def upload_status(self, name: str) -> Reply:
        """How far an upload has come."""
        if name not in self.uploads:
            return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        reply = self._progress(name)
        reply.status = 204
        return reply

    def append(self, name: str, data: bytes, content_range: str | None) -> Reply:
        """PATCH: the next chunk, in order."""
        upload = self.uploads.get(name)
        if upload is None:
            return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if content_range is not None:
            match = re.fullmatch(r"(?:bytes )?(\d+)-(\d+)", content_range)
            if match is None or int(match[1]) != len(upload.data):
                return error(416, "RANGE_INVALID", "invalid content range")
        upload.data += data
        return self._progress(name)

    def finish(self, name: str, data: bytes, digest: str) -> Reply:
        """PUT: the last bytes and the digest of all of them."""
        upload = self.uploads.get(name)
        if upload is None:
            return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        reply = self.store_blob(digest, bytes(upload.data) + data)
        if reply.status == 201:
            del self.uploads[name]
        return reply

    def cancel(self, name: str) -> Reply:
        """DELETE of an upload."""
        if self.uploads.pop(name, None) is None:
            return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        return Reply(204)

    def _progress(self, name: str) -> Reply:
        size = len(self.uploads[name].data)
        lines = CIMultiDict(
            {
                "Location": f"/v2/{self.name}/blobs/uploads/{name}?_state=s{size}",
                "Docker-Upload-UUID": name,
                "Range": f"0-{max(0, size - 1)}",
            }
        )
        return Reply(202, b"", lines)


def _blobs_of(document: dict[str, Any]) -> list[str]:
    """Return the blobs that must precede the manifest: config, layers, schema 1 fsLayers."""
    found = [document["config"]["digest"]] if "config" in document else []
    # A layer with urls lives elsewhere.
    found += [layer["digest"] for layer in document.get("layers", []) if "urls" not in layer]
    found += [layer["blobSum"] for layer in document.get("fsLayers", [])]
    return found
