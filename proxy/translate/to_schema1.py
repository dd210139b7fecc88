"""Schema 2 or OCI image → signed schema 1, as distribution 2.8.2 converts.

Law: for every image that distribution converts and that an engine can run, the payload is
distribution's byte for byte, so the digest is the same; docs/schema1.md has the format and
the table of wanted differences.
Source: distribution 2.8 `manifest/schema1/config_builder.go`, `sign.go`.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from proxy.errors import Contradiction, NotLinux, NoTranslation
from proxy.manifest.config_blob import ConfigBlob, HistoryEntry, read_config
from proxy.manifest.go_time import ZERO_TIME, go_time
from proxy.manifest.gojson_reader import fold
from proxy.manifest.image import ImageManifest
from proxy.spec.descriptor import ContentDescriptor
from proxy.spec.digest import digest_of
from proxy.spec.empty_layer import EMPTY_LAYER_DIGEST
from proxy.spec.media_types import MediaType
from proxy.translate.engine_structs import check_top_entry
from proxy.translate.gojson import embed, encode_map, quote
from proxy.translate.jws import SigningKey, sign
from proxy.translate.layers import check_image
from proxy.translate.translated import TranslatedManifest

# Escapes make six bytes of one, twice. A bound that no image comes near.
MAX_TEXT: Final = 16 << 20

# The top entry: member → (raw value, value).
_Entry = dict[str, tuple[str, object]]


def to_schema1(
    image: ImageManifest,
    config: bytes,
    *,
    repository: str,
    tag: str,
    key: SigningKey,
    string_commands: bool = True,
    only_empty_layers: bool = True,
) -> TranslatedManifest:
    """Return an image manifest and its config blob as a signed schema 1 manifest.

    What one engine cannot read is refused for it alone: without `string_commands` (Docker
    1.6) a string Cmd or Entrypoint, without `only_empty_layers` (Docker 1.10, which crashes)
    an image of nothing but empty layers.
    Raises a NotTranslatable that says why: Artifact, NotLinux, EncryptedLayer, ForeignLayer,
    ZstdLayer, UnknownCompression, UnreadableConfig, Contradiction, NoTranslation.
    """
    check_image(image, zstd=False, foreign=False)
    blobs = _blobs(image.layers)
    view = read_config(config)
    _refuse_other_systems(view)
    top = _members(view)
    created = _created(top)
    steps = _steps(view, blobs, created)
    if not only_empty_layers and all(entry.empty_layer for entry, _ in steps):
        raise NoTranslation("the image has no layer but empty ones; this client crashes on it")
    entries, parent = _entries_below(steps)
    step, blob = steps[-1]
    identity = _id(f"{blob} {parent} ".encode() + config)
    _place(top, identity, parent, empty=step.empty_layer)
    check_top_entry(top, string_commands=string_commands)
    entries.append(encode_map({name: raw for name, (raw, _) in top.items()}))
    if sum(map(len, entries)) > MAX_TEXT:
        raise NoTranslation(f"the image's history would be more than {MAX_TEXT >> 20} MiB of text")
    payload = _payload(repository, tag, view.architecture, steps, entries)
    return TranslatedManifest(
        sign(payload, key, created), MediaType.SCHEMA1_SIGNED, digest_of(payload)
    )


def _blobs(layers: Sequence[ContentDescriptor]) -> list[str]:
    """Return the layers' hashes in hex; NoTranslation for one that no old engine can pull."""
    blobs = []
    for number, layer in enumerate(layers, 1):
        algorithm, _, blob = layer.digest.partition(":")
        if algorithm != "sha256":
            raise NoTranslation(
                f"layer {number} of {len(layers)} has a {algorithm} digest; "
                "this client knows sha256 only"
            )
        if layer.size == 0:
            raise NoTranslation(
                f"layer {number} of {len(layers)} has no bytes; this client needs a tar"
            )
        blobs.append(blob)
    return blobs


def _refuse_other_systems(view: ConfigBlob) -> None:
    if view.os not in {"", "linux"}:
        raise NotLinux(f"the image is for {view.os[:40]!r}; this client runs Linux images only")
    if view.base_layer:
        raise NotLinux("the config's rootfs has a base_layer, which only Windows images have")


def _members(view: ConfigBlob) -> _Entry:
    """Return the config's outermost members without those that schema 1 does not know."""
    # Go decodes into a map, where the last duplicate wins and names differ by case, and
    # deletes `rootfs` and `history` in this spelling only.
    members: _Entry = {name: (raw, value) for name, raw, value in view.members}
    members.pop("rootfs", None)
    members.pop("history", None)
    # A wanted difference: Go 1.4 cannot decode null as a time.
    for name in [name for name, (raw, _) in members.items() if raw == "null"]:
        if fold(name) == "created":
            del members[name]
    return members


def _created(top: _Entry) -> str:
    """Return when the image was made: the time of its signature and of synthesised steps."""
    times = [value for name, (_, value) in top.items() if fold(name) == "created"]
    return (go_time(str(times[-1])) if times else None) or ZERO_TIME


def _steps(view: ConfigBlob, blobs: list[str], created: str) -> list[tuple[HistoryEntry, str]]:
    """Return the history, bottom first, each entry with the hash of its layer."""
    if view.layers is None:
        raise Contradiction("the config has no rootfs, which every image's config has")
    if view.layers != len(blobs):
        raise Contradiction(
            f"the manifest has {len(blobs)} layers, the config's rootfs.diff_ids {view.layers}"
        )
    history = view.history
    if not history:
        if not blobs:
            raise NoTranslation("the image has neither layers nor history; this client needs one")
        # A wanted difference: images without history are common (jib, buildpacks, nix).
        history = tuple(HistoryEntry(created=created) for _ in blobs)
    filled = sum(not entry.empty_layer for entry in history)
    if filled != len(blobs):
        raise Contradiction(
            f"the manifest has {len(blobs)} layers, the config's history names {filled}"
        )
    rest, empty = iter(blobs), EMPTY_LAYER_DIGEST.partition(":")[2]
    return [(entry, empty if entry.empty_layer else next(rest)) for entry in history]


def _payload(
    repository: str,
    tag: str,
    architecture: str,
    steps: list[tuple[HistoryEntry, str]],
    entries: list[str],
) -> bytes:
    """Return the manifest as Go's MarshalIndent writes it, top first."""
    layers = ",\n".join(
        f'      {{\n         "blobSum": "sha256:{blob}"\n      }}' for _, blob in reversed(steps)
    )
    history = ",\n".join(
        f'      {{\n         "v1Compatibility": {embed(entry)}\n      }}'
        for entry in reversed(entries)
    )
    return (
        '{\n   "schemaVersion": 1,\n'
        f'   "name": {quote(repository)},\n'
        f'   "tag": {quote(tag)},\n'
        f'   "architecture": {quote(architecture)},\n'
        f'   "fsLayers": [\n{layers}\n   ],\n'
        f'   "history": [\n{history}\n   ]\n}}'
    ).encode()


def _entries_below(steps: list[tuple[HistoryEntry, str]]) -> tuple[list[str], str]:
    """Return the entries below the top, bottom first, and the id of the last one."""
    entries: list[str] = []
    parent = ""
    for step, blob in steps[:-1]:
        identity = _id(f"{blob} {parent}".encode())
        entries.append(_entry(step, identity, parent))
        parent = identity
    return entries, parent


def _id(source: bytes) -> str:
    # An id is of all that is below it: no two entries of an image have the same one, and the
    # same layers have the same ids in every image, which Docker 1.6 and 1.7 rely on.
    return hashlib.sha256(source).hexdigest()


def _entry(step: HistoryEntry, identity: str, parent: str) -> str:
    """Return an entry below the top, in the order of distribution's v1Compatibility struct."""
    text = f'{{"id":"{identity}"'
    if parent:
        text += f',"parent":"{parent}"'
    if step.comment:
        text += f',"comment":{quote(step.comment)}'
    # Go's omitempty leaves no struct out: container_config is there for no command, too.
    text += f',"created":"{step.created}","container_config":{{"Cmd":[{quote(step.created_by)}]}}'
    if step.author:
        text += f',"author":{quote(step.author)}'
    if step.empty_layer:
        text += ',"throwaway":true'
    return text + "}"


def _place(top: _Entry, identity: str, parent: str, *, empty: bool) -> None:
    """Give the top entry its place in the chain; Contradiction if the config claims another."""
    top["id"] = (f'"{identity}"', identity)
    if parent:
        top["parent"] = (f'"{parent}"', parent)
    elif _claims(top, "parent"):
        raise Contradiction("the image has one history entry, but its config names a parent")
    if empty:
        top["throwaway"] = ("true", True)
    elif _claims(top, "throwaway"):
        # Docker 1.10 would leave the layer out of the image.
        raise Contradiction("the config says throwaway, but the top history entry has a layer")


def _claims(top: _Entry, field: str) -> bool:
    return any(value for name, (_, value) in top.items() if fold(name) == field)
