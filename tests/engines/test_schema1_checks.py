"""The law of the engines: every measured manifest passes or fails as it did on the real ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.engines.errors import EngineError
from tests.engines.schema1_checks import check_schema1
from tests.images import EMPTY_LAYER, encode_schema1, make_layer, schema1_document, sha256
from tests.libtrust import payload_of, sign

if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[dict[str, Any]], object]

VERSIONS = ("1.6.2", "1.7.1", "1.8.3", "1.9.1", "1.10.3")
LAYERS = [make_layer({"a": b"1"}), make_layer({"b": b"2"}), EMPTY_LAYER]
OTHER = "sha256:" + "0" * 64


def document() -> dict[str, Any]:
    """Return the plain valid payload, top first: the empty layer, b, a."""
    return schema1_document("lib/app", "1", LAYERS)


def entry(image: dict[str, Any], number: int) -> dict[str, Any]:
    """Return one v1Compatibility to alter; 0 is the top."""
    found: dict[str, Any] = image["history"][number]["v1Compatibility"]
    return found


def member(number: int, name: str, value: object) -> Change:
    """Set a member of one entry."""
    return lambda image: entry(image, number).update({name: value})


def without(name: str, *entries: int) -> Change:
    """Take a member away from these entries (all if none is named)."""

    def change(image: dict[str, Any]) -> None:
        for number in entries or range(3):
            entry(image, number).pop(name, None)

    return change


def top(name: str, value: object) -> Change:
    """Set a member of the payload."""
    return lambda image: image.update({name: value})


def config(name: str, value: object) -> Change:
    """Set a member of the top entry's config."""
    return lambda image: entry(image, 0)["config"].update({name: value})


def ids(make: Callable[[str], str]) -> Change:
    """Rewrite every id and parent."""

    def change(image: dict[str, Any]) -> None:
        for number in range(3):
            for name in ("id", "parent"):
                if name in entry(image, number):
                    entry(image, number)[name] = make(entry(image, number)[name])

    return change


def cut(history: int | None, layers: int | None) -> Change:
    """Keep the lowest so many history entries and layers."""

    def change(image: dict[str, Any]) -> None:
        image["history"] = image["history"][3 - history :] if history else []
        image["fsLayers"] = image["fsLayers"][3 - layers :] if layers else []

    return change


def repeat(image: dict[str, Any]) -> None:
    """Let the middle entry stand there twice in a row."""
    image["history"].insert(1, image["history"][1])
    image["fsLayers"].insert(1, image["fsLayers"][1])


def repeat_apart(image: dict[str, Any]) -> None:
    """Give the top the id of the bottom."""
    entry(image, 0)["id"] = entry(image, 2)["id"]


def blob(text: str) -> Change:
    """Set the middle layer's digest."""
    return lambda image: image["fsLayers"][1].update({"blobSum": text})


def nothing(_: dict[str, Any]) -> None:
    """Change nothing."""


PAYLOADS: list[tuple[str, str, Any]] = [
    ("ok", "+++++", nothing),
    ("name-other", "+++++", top("name", "other/repository")),
    ("name-host", "+++++", top("name", "registry.test/lib/app")),
    ("name-empty", "--+++", top("name", "")),
    ("tag-other", "+++++", top("tag", "2")),
    ("tag-empty", "+++++", top("tag", "")),
    ("arch-none", "+++++", lambda image: image.pop("architecture")),
    ("arch-arm", "+++++", top("architecture", "arm64")),
    ("schema2", "-----", top("schemaVersion", 2)),
    ("extra", "+++++", top("unknown", {"extra": [1]})),
    ("hist-short", "-----", cut(2, 3)),
    ("empty-lists", "-----", cut(None, None)),
    ("one", "+++++", cut(1, 1)),
    ("parent-missing", "++---", without("parent", 1)),
    ("parent-wrong", "-----", member(1, "parent", "f" * 64)),
    ("base-parent", "-----", member(2, "parent", "f" * 64)),
    ("id-missing", "-----", without("id", 1)),
    ("id-short", "-----", ids(lambda text: text[:12])),
    ("id-upper", "-----", ids(str.upper)),
    ("id-prefix", "-----", ids("sha256:{}".format)),
    ("dup-adjacent", "+++++", repeat),
    ("dup-far", "-+---", repeat_apart),
    ("created-none", "+++++", without("created")),
    ("created-bad", "-----", member(1, "created", "yesterday")),
    ("created-null", "+++++", member(1, "created", None)),
    ("cc-none", "+++++", without("container_config")),
    ("cmd-str", "-++++", config("Cmd", "/bin/sh")),
    ("ep-str", "-++++", config("Entrypoint", "/bin/sh")),
    ("cfg-null", "+++++", member(0, "config", None)),
    ("cfg-healthcheck", "+++++", config("Healthcheck", {"Test": ["CMD", "true"]})),
    ("cfg-badports", "-----", config("ExposedPorts", ["80/tcp"])),
    ("cfg-envobj", "-----", config("Env", {"PATH": "/bin"})),
    ("no-throwaway", "+++++", without("throwaway")),
    ("dockerversion", "+++++", member(0, "docker_version", "20.10.0")),
    ("size", "+++++", member(1, "Size", 3147029)),
    ("throwaway-real", "+++++", member(1, "throwaway", True)),
    (
        "v1-notjson",
        "-----",
        lambda image: image["history"][1].update({"v1Compatibility": "not json"}),
    ),
    ("blob-sha512", "-----", blob("sha512:" + "0" * 128)),
    ("blob-tarsum", "-----", blob("tarsum.v1+sha256:" + "0" * 64)),
    ("blob-bad", "-----", blob("garbage")),
    ("l-onlyempty", "++++-", lambda image: image.update(document_of_nothing())),
]


def document_of_nothing() -> dict[str, Any]:
    """Return a payload with no layer but the empty one."""
    return schema1_document("lib/app", "1", [EMPTY_LAYER])


def signed(payload: bytes | None = None) -> tuple[bytes, str]:
    """Return a signed manifest and its digest."""
    payload = payload or encode_schema1(document())
    return sign(payload), sha256(payload)


def unsigned() -> bytes:
    """Return the payload alone."""
    return encode_schema1(document())


def spoiled(change: Callable[[dict[str, Any]], object], *, indent: int | None = 3) -> bytes:
    """Return a signed manifest that is altered and written anew."""
    whole = json.loads(signed()[0])
    change(whole)
    return json.dumps(whole, indent=indent).encode()


def swap_signature(whole: dict[str, Any]) -> None:
    """Alter the signature's bytes."""
    block = whole["signatures"][0]
    block["signature"] = block["signature"][10:] + block["signature"][:10]


def keys_of(*kinds: str) -> bytes:
    """Return the plain manifest under these kinds of keys."""
    return sign(
        unsigned(),
        *(
            rsa.generate_private_key(65537, 2048)
            if kind == "rsa"
            else ec.generate_private_key(ec.SECP256R1())
            for kind in kinds
        ),
    )


BODY, DIGEST = signed()
COMPACTED = json.dumps(json.loads(BODY), separators=(",", ":")).encode()
COMPACT = encode_schema1(document(), indent=None)

# Name, verdicts, body, Docker-Content-Digest (None: not sent; "=": the right one), by digest.
ENVELOPES: list[tuple[str, str, bytes, str | None, str | None]] = [
    ("ok-rsa", "+++++", keys_of("rsa"), "=", None),
    ("ok-two", "+++++", keys_of("ec", "rsa"), "=", None),
    ("ok-compact", "+++++", sign(COMPACT), "=", None),
    ("ok-nodcd", "+++++", BODY, None, None),
    ("dcd-full", "--+++", BODY, sha256(BODY), None),
    ("dcd-bogus", "--+++", BODY, OTHER, None),
    ("sig-bad", "--+++", spoiled(swap_signature), "=", None),
    ("pay-bad", "--+++", BODY.replace(b"amd64", b"amd65", 1), "=", None),
    ("nosig", "--++-", unsigned(), "=", None),
    ("nosig-ct", "--++-", unsigned(), None, None),
    ("sig-empty", "--++-", spoiled(lambda whole: whole.update(signatures=[])), "=", None),
    ("resp-compact", "--++-", COMPACTED, "=", None),
    ("dg-payload", "+++++", BODY, "=", DIGEST),
    ("dg-full", "-----", BODY, "=", sha256(BODY)),
    ("dg-nosig", "--++-", unsigned(), "=", sha256(unsigned())),
    ("dg-wrong", "-----", BODY, "=", OTHER),
    ("dg-nodcd", "-++++", BODY, None, DIGEST),
    ("dg-dcd-other", "--+++", BODY, OTHER, DIGEST),
]


def verdict(body: bytes, headers: dict[str, str], version: str, by_digest: str | None) -> str:
    """Return + if the engine takes it, - if it refuses with a reason."""
    try:
        check_schema1(body, headers, version, by_digest)
    except EngineError as problem:
        return "-" if str(problem) else "?"
    return "+"


@pytest.mark.parametrize(("expected", "change"), [pytest.param(*r[1:], id=r[0]) for r in PAYLOADS])
def test_check_schema1__payload(expected: str, change: Callable[[Any], object]) -> None:
    """Each payload, properly signed and told, passes and fails where it did."""
    image = document()
    change(image)
    body, digest = signed(encode_schema1(image))
    headers = {"Docker-Content-Digest": digest}
    actual = "".join(verdict(body, headers, version, None) for version in VERSIONS)

    assert expected == actual


@pytest.mark.parametrize(
    ("expected", "body", "told", "by_digest"), [pytest.param(*r[1:], id=r[0]) for r in ENVELOPES]
)
def test_check_schema1__envelope(
    expected: str, body: bytes, told: str | None, by_digest: str | None
) -> None:
    """Each envelope, digest header and way of asking passes and fails where it did."""
    digest = sha256(payload_of(body)) if told == "=" else told
    headers = {} if digest is None else {"docker-content-digest": digest}
    actual = "".join(verdict(body, headers, version, by_digest) for version in VERSIONS)

    assert expected == actual


@pytest.mark.parametrize("version", VERSIONS)
def test_check_schema1__v1_object(version: str) -> None:
    """A v1Compatibility that is an object, not a string, decodes nowhere."""
    whole = json.loads(unsigned())
    whole["history"][1]["v1Compatibility"] = json.loads(whole["history"][1]["v1Compatibility"])
    body, digest = signed(json.dumps(whole, indent=3).encode())

    assert verdict(body, {"Docker-Content-Digest": digest}, version, None) == "-"


def test_check_schema1__adjacent_repeats_are_folded() -> None:
    """From 1.8 on, an entry that stands there twice in a row is one layer."""
    image = document()
    repeat(image)
    body, digest = signed(encode_schema1(image))
    checked = check_schema1(body, {}, "1.9.1")

    assert [entry.blob_sum for entry in checked.entries] == [sha256(x) for x in LAYERS[::-1]]
    assert checked.digest == check_schema1(body, {}, "1.10.3").digest == digest
