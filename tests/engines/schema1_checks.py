"""Engine rules as a law: what each old engine checks in a schema 1 manifest, measured.

`check_schema1` is a plain function of bytes and headers, so that a manifest can be held against
every engine without a network. Versions without a rule of their own follow their generation.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.engines.errors import EngineError, numbers
from tests.libtrust import SignatureError, parse, payload_of, verify

if TYPE_CHECKING:
    from collections.abc import Mapping

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
ID = re.compile(r"[0-9a-f]{64}")
RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?P<fraction>\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII
)

STRINGS, SET, MAP = "list of strings", "set", "object of strings"
CONFIG: dict[str, object] = {
    "Hostname": str,
    "Domainname": str,
    "User": str,
    "AttachStdin": bool,
    "AttachStdout": bool,
    "AttachStderr": bool,
    "PortSpecs": STRINGS,
    "ExposedPorts": SET,
    "PublishService": str,
    "Tty": bool,
    "OpenStdin": bool,
    "StdinOnce": bool,
    "Env": STRINGS,
    "Cmd": STRINGS,
    "ArgsEscaped": bool,
    "Image": str,
    "Volumes": SET,
    "VolumeDriver": str,
    "WorkingDir": str,
    "Entrypoint": STRINGS,
    "NetworkDisabled": bool,
    "MacAddress": str,
    "OnBuild": STRINGS,
    "Labels": MAP,
    "StopSignal": str,
}
CONFIG_OF_1_6: dict[str, object] = {
    "Memory": int,
    "MemorySwap": int,
    "CpuShares": int,
    "Cpuset": str,
}
V1_IMAGE: dict[str, object] = {
    "id": str,
    "parent": str,
    "comment": str,
    "container": str,
    "docker_version": str,
    "author": str,
    "architecture": str,
    "os": str,
    "os.version": str,
    "os.features": STRINGS,
    "Size": int,
    "parent_id": str,
    "layer_id": str,
    "throwaway": bool,
}


@dataclass(frozen=True)
class Entry:
    """One layer of a manifest that passed."""

    blob_sum: str
    id: str
    throwaway: bool


@dataclass(frozen=True)
class Checked:
    """A manifest that passed: its payload, that payload's digest, its layers top first."""

    payload: bytes
    digest: str
    entries: tuple[Entry, ...]
    document: dict[str, Any] = field(repr=False)


class Members(dict[str, Any]):
    """A JSON object; `members` are all of them, for Go decodes each of several of one name."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        self.members = members


def check_schema1(
    body: bytes, headers: Mapping[str, str], version: str, by_digest: str | None = None
) -> Checked:
    """Check a schema 1 manifest as this engine does; EngineError with its reason if it refuses.

    `headers` are those of the reply, `by_digest` is the digest if it was asked for by one.
    """
    payload = _payload(body, headers, version, by_digest)
    reference = by_digest or "latest"
    document = _decode(payload, version, reference)
    entries = _entries(document, version)
    if numbers(version) < (1, 8):
        _check_graph(entries, version)
    else:
        entries = _folded(entries)
    for _, entry in entries:
        # What is no sha256 digest is refused when the layer is asked for.
        if not DIGEST.fullmatch(entry.blob_sum):
            raise EngineError(f"invalid checksum digest format: {entry.blob_sum}")
    if version.startswith("1.10.") and all(entry.throwaway for _, entry in entries):
        raise EngineError("EOF")  # it panics on an image without any layer
    # What is printed is the payload's digest even where the payload was not what was read.
    return Checked(
        payload, _sha256(payload_of(body)), tuple(entry for _, entry in entries), document
    )


def _sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _payload(body: bytes, headers: Mapping[str, str], version: str, by_digest: str | None) -> bytes:
    """Return the bytes that count, after the version's checks of signature and digest."""
    told = {name.lower(): value for name, value in headers.items()}.get("docker-content-digest")
    try:
        if numbers(version) < (1, 8):
            payload = verify(body)
        elif numbers(version) < (1, 10):
            # Neither looks at the signatures, and a broken block makes the body the payload.
            payload = payload_of(body) if by_digest else body
        else:
            payload = parse(body)
    except SignatureError as problem:
        prefix = "error verifying manifest: " if numbers(version) < (1, 8) else ""
        raise EngineError(f"{prefix}{problem}") from problem
    if numbers(version) < (1, 8):
        if told is not None and told != _sha256(payload):
            raise EngineError(f"error verifying manifest: verification of {told} failed")
        if told is None and by_digest is not None and numbers(version) < (1, 7):
            raise EngineError("error verifying manifest: remote digest is missing")
    if by_digest is not None and by_digest != _sha256(payload):
        raise EngineError(f"image verification failed for digest {by_digest}")
    return payload


def _decode(payload: bytes, version: str, reference: str) -> dict[str, Any]:
    """Decode the payload into the engine's struct."""
    try:
        document = json.loads(payload)
    except ValueError as problem:
        raise EngineError(f"invalid JSON: {problem}") from problem
    layers, history = document.get("fsLayers") or [], document.get("history") or []
    if document.get("schemaVersion") != 1:
        found = document.get("schemaVersion", 0)
        raise EngineError(f'unsupported schema version {found} for tag "{reference}"')
    if len(layers) != len(history):
        raise EngineError(f'length of history not equal to number of layers for tag "{reference}"')
    if not layers:
        raise EngineError(f'no FSLayers in manifest for tag "{reference}"')
    if numbers(version) < (1, 8) and not document.get("name"):
        raise EngineError("runtime error: index out of range")  # it panics
    for name in ("name", "tag", "architecture"):
        if not isinstance(document.get(name, ""), str):
            raise EngineError(f"json: cannot unmarshal value into field {name} of type string")
    return dict(document)


def _entries(document: dict[str, Any], version: str) -> list[tuple[str, Entry]]:
    """Return (parent, entry) of each layer, top first."""
    found = []
    for layer, item in zip(document["fsLayers"], document["history"], strict=True):
        text = item.get("v1Compatibility", "")
        if not isinstance(text, str) or not isinstance(layer.get("blobSum", ""), str):
            raise EngineError("json: cannot unmarshal object into Go value of type string")
        try:
            image = json.loads(text, object_pairs_hook=Members)
        except ValueError as problem:
            raise EngineError(f"failed to parse json: {problem}") from problem
        check_image(image, version)
        if not ID.fullmatch(image.get("id") or ""):
            raise EngineError(f"image ID '{image.get('id') or ''}' is invalid")
        entry = Entry(layer.get("blobSum", ""), image["id"], bool(image.get("throwaway")))
        found.append((image.get("parent") or "", entry))
    return found


def check_image(image: object, version: str) -> None:
    """Decode one v1Compatibility, read with `Members`, into Docker's struct."""
    if not isinstance(image, Members):
        raise EngineError("json: cannot unmarshal value into Go value of type image.Image")
    _check_members(image, V1_IMAGE, version)
    for created in _fields(image, "created"):
        if created is not None and not _is_rfc3339(created):
            raise EngineError(f'parsing time "{created}" as RFC 3339: cannot parse')
    types = CONFIG if numbers(version) >= (1, 7) else CONFIG | CONFIG_OF_1_6
    for name in ("config", "container_config"):
        for config in _fields(image, name):
            if config is None:
                continue
            if not isinstance(config, Members):
                raise EngineError(f"json: cannot unmarshal value into Go field {name}")
            _check_members(config, types, version)


def _fields(document: Members, name: str) -> list[Any]:
    """Return the values of all members that Go decodes into this field, whatever their case."""
    return [value for member, value in document.members if _fold(member) == _fold(name)]


def _fold(name: str) -> str:
    # By Unicode's simple folding, in which two more letters fold to ASCII.
    return name.replace("\u017f", "s").replace("\u212a", "k").lower()


def _is_rfc3339(text: object) -> bool:
    match = RFC3339.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return False
    try:
        # Go reads nanoseconds, Python's reader would stumble over them.
        datetime.fromisoformat(match[0].replace(match["fraction"] or "", ""))
    except ValueError:
        return False
    return True


def _check_members(document: Members, types: Mapping[str, object], version: str) -> None:
    for name, kind in types.items():
        for value in _fields(document, name):
            # Null leaves a Go field as it is, whatever its type.
            if value is not None and not _fits(value, kind, name, version):
                raise EngineError(f"json: cannot unmarshal value into Go field {name}")


def _fits(value: object, kind: object, name: str, version: str) -> bool:
    if kind in {SET, MAP}:
        inner = dict if kind == SET else str
        return isinstance(value, dict) and all(
            item is None or isinstance(item, inner) for item in value.values()
        )
    if kind == STRINGS:
        if isinstance(value, str):
            # From 1.7 on these two may be one string.
            return name in {"Cmd", "Entrypoint"} and numbers(version) >= (1, 7)
        items = value if isinstance(value, list) else [0]
        return all(item is None or isinstance(item, str) for item in items)
    if kind is int:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return is_whole and value in range(-(2**63), 2**63)
    return isinstance(value, str if kind is str else bool)


def _check_graph(entries: list[tuple[str, Entry]], version: str) -> None:
    """1.6 and 1.7 register images bottom first: a parent must be there already."""
    known: set[str] = set()
    last = ""
    for parent, entry in reversed(entries):
        if entry.id != last and entry.id in known and numbers(version) < (1, 7):
            raise EngineError(f"conflict: image {entry.id} is being pulled already")
        if entry.id not in known and parent and parent not in known:
            raise EngineError(f"could not find image: no such id: {parent}")
        last = entry.id
        known.add(last)


def _folded(entries: list[tuple[str, Entry]]) -> list[tuple[str, Entry]]:
    """From 1.8 on: the chain must be whole; adjacent repeats are folded."""
    if entries[-1][0]:
        raise EngineError("Invalid parent ID in the base layer of the image.")
    seen: set[str] = set()
    last = ""
    for _, entry in entries:
        if entry.id != last and entry.id in seen:
            raise EngineError(f"ID {entry.id} appears multiple times in manifest")
        last = entry.id
        seen.add(last)
    kept = [entries[-1]]
    for parent, entry in reversed(entries[:-1]):
        below = kept[0][1].id
        if entry.id == below:
            # The upper one goes; its parent is never looked at.
            continue
        if parent != below:
            raise EngineError(f"Invalid parent ID. Expected {below}, got {parent}.")
        kept.insert(0, (parent, entry))
    return kept
