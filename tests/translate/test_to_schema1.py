"""to_schema1: images become signed schema 1 manifests that every old engine takes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import (
    Artifact,
    Contradiction,
    EncryptedLayer,
    ForeignLayer,
    NotLinux,
    NoTranslation,
    NotTranslatable,
    UnknownCompression,
    UnreadableConfig,
    ZstdLayer,
)
from proxy.manifest.schema1 import payload_of
from proxy.spec.empty_layer import EMPTY_LAYER_DIGEST
from proxy.spec.media_types import MediaType
from proxy.translate.to_schema1 import to_schema1
from tests import libtrust
from tests.strategies import BLOBS, CONFIG, GeneratedImage, sha256
from tests.translate.convert import KEY, convert, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DIFF = b'"rootfs":{"type":"layers","diff_ids":["a","b"]}'
ONE_DIFF = b'"rootfs":{"type":"layers","diff_ids":["a"]}'


def image(*members: bytes, layers: int = 2) -> GeneratedImage:
    """Return an image whose config has these members."""
    return GeneratedImage(b"{" + b",".join(members) + b"}", BLOBS[:layers], "library/app", "1.0")


def document(found: GeneratedImage) -> dict[str, Any]:
    """Return the payload's JSON, with each v1Compatibility decoded."""
    payload = json.loads(payload_of(convert(found).body))
    payload["history"] = [json.loads(entry["v1Compatibility"]) for entry in payload["history"]]
    return dict(payload)


# --- golden -----------------------------------------------------------------------------


def test_to_schema1__golden() -> None:
    """The payload of the example in docs/schema1.md, to the byte."""
    found = image(
        b'"architecture":"amd64", "os":"linux", "created":"2024-05-06T07:08:10Z"',
        b'"config":{ "Cmd":["sh", "-c", "a && b"] }',
        b'"history":[{"created":"2024-05-06T07:08:09.10Z","created_by":"ADD <rootfs> /"},'
        b'{"created":"2024-05-06T07:08:10Z","created_by":"CMD a","empty_layer":true}]',
        ONE_DIFF,
        layers=1,
    )
    translated = convert(found)
    base = hashlib.sha256(f"{sha256(BLOBS[0])[7:]} ".encode()).hexdigest()
    top = hashlib.sha256(f"{EMPTY_LAYER_DIGEST[7:]} {base} ".encode() + found.config).hexdigest()

    assert payload_of(translated.body).decode() == (
        "{\n"
        '   "schemaVersion": 1,\n'
        '   "name": "library/app",\n'
        '   "tag": "1.0",\n'
        '   "architecture": "amd64",\n'
        '   "fsLayers": [\n'
        "      {\n"
        f'         "blobSum": "{EMPTY_LAYER_DIGEST}"\n'
        "      },\n"
        "      {\n"
        f'         "blobSum": "{sha256(BLOBS[0])}"\n'
        "      }\n"
        "   ],\n"
        '   "history": [\n'
        "      {\n"
        r'         "v1Compatibility": "{\"architecture\":\"amd64\",'
        r"\"config\":{\"Cmd\":[\"sh\",\"-c\",\"a \\u0026\\u0026 b\"]},"
        rf"\"created\":\"2024-05-06T07:08:10Z\",\"id\":\"{top}\",\"os\":\"linux\","
        rf'\"parent\":\"{base}\",\"throwaway\":true}}"'
        "\n      },\n"
        "      {\n"
        rf'         "v1Compatibility": "{{\"id\":\"{base}\",'
        r"\"created\":\"2024-05-06T07:08:09.1Z\","
        r'\"container_config\":{\"Cmd\":[\"ADD \\u003crootfs\\u003e /\"]}}"'
        "\n      }\n"
        "   ]\n"
        "}"
    )
    told = (ROOT / "docs" / "schema1.md").read_text(encoding="utf-8")
    for part in (found.config, payload_of(translated.body), translated.digest.encode()):
        assert part.decode() in told
    assert translated.media_type is MediaType.SCHEMA1_SIGNED
    assert translated.digest == sha256(payload_of(translated.body))


def test_to_schema1__time_of_the_signature() -> None:
    """The signature's time is the image's, or zero where it has none."""
    for member, expected in [
        (b'"created":"2024-05-06T07:08:10.10+02:00"', "2024-05-06T07:08:10.1+02:00"),
        (b'"created":null', "0001-01-01T00:00:00Z"),
        (b'"x":1', "0001-01-01T00:00:00Z"),
    ]:
        body = convert(image(member, b'"history":[{},{}]', DIFF)).body
        protected = json.loads(body)["signatures"][0]["protected"]
        header = json.loads(libtrust._decode(protected))

        assert header["time"] == expected


ONLY_EMPTY = image(b'"history":[{"empty_layer":true}],"rootfs":{}', layers=0)


# --- missing history --------------------------------------------------------------------


@pytest.mark.parametrize("member", [b'"x":1', b'"history":null', b'"history":[]', b'"HISTORY":[]'])
def test_missing_history__one_entry_per_layer(member: bytes) -> None:
    """Without history there is one entry per layer, in order, as old as the image."""
    created = "2024-05-06T07:08:10.5Z"
    found = document(image(member, f'"created":"{created}"'.encode(), DIFF))

    assert [layer["blobSum"] for layer in found["fsLayers"]] == [sha256(BLOBS[1]), sha256(BLOBS[0])]
    assert [entry["created"] for entry in found["history"]] == [created, created]
    assert found["history"][1]["container_config"] == {"Cmd": [""]}


# --- refusals ---------------------------------------------------------------------------


def refusals() -> Iterator[tuple[type[NotTranslatable], str, GeneratedImage]]:
    """Yield what is refused, why, and the image."""
    good = b'"history":[{},{}]'
    yield NotLinux, "the image is for 'windows';", image(b'"os":"windows"', good, DIFF)
    yield NotLinux, "the image is for 'wasi';", image(b'"OS":"wasi"', good, DIFF)
    base = b'"rootfs":{"base_layer":"x","diff_ids":["a","b"]}'
    yield NotLinux, "base_layer, which only Windows", image(good, base)
    yield UnreadableConfig, "no JSON object", replace(image(good), config=b"x")
    yield UnreadableConfig, r"history\[0\].created", image(b'"history":[{"created":"x"},{}]', DIFF)
    yield UnreadableConfig, "config.Env", image(b'"config":{"Env":{}}', good, DIFF)
    yield (
        UnreadableConfig,
        "config.ExposedPorts",
        image(b'"config":{"ExposedPorts":[]}', good, DIFF),
    )
    yield UnreadableConfig, "created", image(b'"created":"today"', good, DIFF)
    yield UnreadableConfig, "Parent", image(b'"Parent":1', good, DIFF)
    yield Contradiction, "2 layers, the config's rootfs.diff_ids 1", image(good, ONE_DIFF)
    yield Contradiction, "2 layers, the config's rootfs.diff_ids 0", image(good, b'"rootfs":{}')
    yield Contradiction, "the config has no rootfs", image(good)
    empty_only = b'"history":[{"empty_layer":true}]'
    yield Contradiction, "the config has no rootfs", image(empty_only, layers=0)
    yield Contradiction, "2 layers, the config's history names 1", image(b'"history":[{}]', DIFF)
    yield Contradiction, "history names 3", image(b'"history":[{},{},{}]', DIFF)
    empty = b'"history":[{"empty_layer":true},{}]'
    yield Contradiction, "history names 1", image(empty, DIFF)
    one = (b'"history":[{}]', ONE_DIFF)
    yield Contradiction, "names a parent", image(b'"parent":"p"', *one, layers=1)
    yield Contradiction, "names a parent", image(b'"PARENT":"p"', *one, layers=1)
    yield Contradiction, "says throwaway", image(b'"throwaway":true', good, DIFF)
    yield Contradiction, "says throwaway", image(b'"ThrowAway":true', good, DIFF)
    yield NoTranslation, "neither layers nor history", image(b'"rootfs":{}', layers=0)
    escaped = b'":"' + b"<" * (3 << 20) + b'"'
    yield NoTranslation, "more than 16 MiB of text", image(b'"x' + escaped, good, DIFF)
    told = b'"history":[{"created_by' + escaped + b"},{}]"
    yield NoTranslation, "more than 16 MiB of text", image(told, DIFF)


@pytest.mark.parametrize(("error", "reason", "found"), list(refusals()))
def test_to_schema1__refuses(
    error: type[NotTranslatable], reason: str, found: GeneratedImage
) -> None:
    """What no engine could run is refused, with a reason that a stranger can act on."""
    with pytest.raises(error, match=reason) as caught:
        convert(found)

    assert (caught.value.status, caught.value.code) == (406, "MANIFEST_INVALID")
    assert type(caught.value) is error


@pytest.mark.parametrize("member", [b'"parent":""', b'"parent":null', b'"throwaway":false'])
def test_to_schema1__empty_claims_are_none(member: bytes) -> None:
    """A parent that names nobody, and a layer that is not thrown away, contradict nothing."""
    found = image(member, b'"history":[{}]', ONE_DIFF, layers=1)

    assert len(document(found)["history"]) == 1


@pytest.mark.parametrize("name", ["id", "parent", "throwaway"])
def test_to_schema1__overridden_members_may_be_anything(name: str) -> None:
    """What the translation overwrites is not decoded by anyone, so its type does not matter."""
    empty = b'"history":[{},{},{"empty_layer":true}]'
    found = document(image(f'"{name}":[5]'.encode(), empty, DIFF))

    assert found["history"][0][name] not in ([5], None)


@pytest.mark.parametrize("field", ["Cmd", "Entrypoint"])
def test_to_schema1__string_commands(field: str) -> None:
    """A string command is refused only for an engine that cannot read it, by its field."""
    found = image(f'"config":{{"{field}":"run"}}'.encode(), b'"history":[{},{}]', DIFF)

    assert document(found)["history"][0]["config"] == {field: "run"}
    with pytest.raises(
        UnreadableConfig, match=rf"config\.{field} .* list of strings, got a string"
    ):
        convert(found, string_commands=False)


def test_to_schema1__only_empty_layers() -> None:
    """An image of nothing but empty layers is refused only for the engine that panics on it."""
    assert [layer["blobSum"] for layer in document(ONLY_EMPTY)["fsLayers"]] == [EMPTY_LAYER_DIGEST]
    with pytest.raises(NoTranslation, match="no layer but empty ones"):
        convert(ONLY_EMPTY, only_empty_layers=False)


GOOD = image(b'"history":[{},{}]', DIFF)
SHA512 = "sha512:" + "0" * 128


@pytest.mark.parametrize(
    ("old", "new", "error", "reason"),
    [
        ("tar+gzip", "tar+zstd", ZstdLayer, "layer 1 of 2 is compressed with zstd"),
        ("tar+gzip", "tar+gzip+encrypted", EncryptedLayer, "layer 1 of 2 is encrypted"),
        ("tar+gzip", "tar+br", UnknownCompression, "unknown type"),
        (".layer.", ".layer.nondistributable.", ForeignLayer, "layer 1 of 2 is foreign"),
        (CONFIG["oci"], "application/vnd.x.config+json", Artifact, "of type 'application/vnd.x"),
        ('"layers":', '"artifactType":"a/b","layers":', Artifact, "an artifact of type 'a/b'"),
        (sha256(BLOBS[1]), SHA512, NoTranslation, "layer 2 of 2 has a sha512 digest"),
        ('"size": 6,', '"size": 0,', NoTranslation, "layer 1 of 2 has no bytes"),
    ],
)  # fmt: skip
def test_to_schema1__refuses_manifests(
    old: str, new: str, error: type[NotTranslatable], reason: str
) -> None:
    """Layers that no old engine unpacks and things that are no images are refused, by number."""
    text = GOOD.manifest("oci").decode()
    assert old in text

    with pytest.raises(error, match=reason):
        to_schema1(
            parsed(text.replace(old, new).encode(), "oci"),
            GOOD.config,
            repository="a",
            tag="b",
            key=KEY,
        )
