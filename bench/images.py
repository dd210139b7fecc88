"""Images for measurements, made from a number: the same number, the same bytes."""

from __future__ import annotations

import hashlib
import json

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
TIME = "2024-05-06T07:08:09.123456789Z"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_ENVIRONMENT = [f"VARIABLE_{number}=/usr/local/share/some/place/{number}" for number in range(20)]


def digest(data: str | bytes) -> str:
    """Return the digest of a text or of bytes."""
    return "sha256:" + hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def make(layers: int, number: int) -> tuple[bytes, bytes]:
    """Return manifest and config of an image of BuildKit's kind, with half as many empty steps."""
    history: list[dict[str, object]] = []
    for step in range(layers):
        command = f"RUN /bin/sh -c apt-get update && apt-get install thing-{step} >/log # buildkit"
        history.append(
            {"created": TIME, "created_by": command, "comment": "buildkit.dockerfile.v0"}
        )
        if step % 2:
            entry = {"created": TIME, "created_by": f"ENV STEP={step}", "empty_layer": True}
            history.append(entry)
    config = json.dumps(
        {
            "architecture": "amd64",
            "config": {"Env": _ENVIRONMENT, "Cmd": ["/bin/sh"], "Labels": {"number": str(number)}},
            "created": TIME,
            "history": history,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(f"{step}") for step in range(layers)]},
        },
        separators=(",", ":"),
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "size": len(config), "digest": digest(config)},
        "layers": [
            {"mediaType": _LAYER, "size": 1, "digest": digest(f"layer {step}")}
            for step in range(layers)
        ],
    }
    return json.dumps(manifest).encode(), config
