"""What a user sees when a pull fails, engine by engine, as it was measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.docker_1_6 import Docker162, Docker171
from tests.engines.docker_1_8 import Docker183, Docker191
from tests.engines.docker_1_10 import Docker1103, Docker1126, Docker1703
from tests.engines.docker_20_10 import Docker2010
from tests.engines.errors import EngineError
from tests.engines.fleet import BY_VERSION, SCHEMA1_ENGINES
from tests.images import EMPTY_LAYER, make_image, make_schema1, push, sha256
from tests.layers import compress, make_layer, make_tar
from tests.registry import BasicAuth, Registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.engines.engine import Engine

MEASURED = (
    Docker162,
    Docker171,
    Docker183,
    Docker191,
    Docker1103,
    Docker1126,
    Docker1703,
    Docker2010,
)
GONE = "image lib/app:1 not found"
LOGIN = "Cannot perform an interactive login from a non TTY device"
HTTP = "eceived unexpected HTTP status: "
IMAGE = make_image(format="schema2")


def errors(code: str, message: str) -> bytes:
    """Return a registry error."""
    body = {"errors": [{"code": code, "message": message, "detail": None}]}
    return json.dumps(body).encode()


NO_JSON = "invalid character 'o' in literal null (expecting 'u'): \"not json\""
PLAIN = "invalid character 'p' looking for beginning of value: \"plain text\""
PARSING = "Error parsing HTTP response: "
DENIED = "requested access to the resource is denied"
NOT_FOR_YOU = "manifest invalid: cannot translate this image"
OCI_TYPE = "application/vnd.oci.image.manifest.v1+json"
SCHEMA2_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
NOT_OCI = f"if present, mediaType in manifest should be '{OCI_TYPE}' not '{SCHEMA2_TYPE}'"


def spread(old: str, ten: str, twelve: str, twenty: str) -> dict[type[Engine], str]:
    """Return what is printed by 1.8 and 1.9, by 1.10, by 1.12 and 17.03, and by 20.10."""
    found: dict[type[Engine], str] = {Docker162: GONE, Docker171: GONE}
    found |= {Docker183: old, Docker191: old, Docker1103: ten}
    return found | {Docker1126: twelve, Docker1703: twelve, Docker2010: twenty}


def status_line(text: str) -> dict[type[Engine], str]:
    """Return what is printed of a reply that is no registry error."""
    return spread(GONE, f"R{HTTP}{text}", f"r{HTTP}{text}", f"r{HTTP}{text}")


def unparsed(status: int, text: str) -> dict[type[Engine], str]:
    """Return what is printed of a client error that is no JSON."""
    later = f"error parsing HTTP {status} response body: {text}"
    return spread(GONE, PARSING + text, later, later)


# What the manifest is answered with, and what each engine prints then.
MANIFEST_REPLIES: dict[str, tuple[int, bytes, dict[type[Engine], str]]] = {
    "13 unknown": (
        404,
        errors("MANIFEST_UNKNOWN", "manifest unknown"),
        spread(GONE, *["manifest unknown"] * 3),
    ),
    "14 not json": (404, b"not json", unparsed(404, NO_JSON)),
    "15 unauthorized": (
        401,
        errors("UNAUTHORIZED", "authentication required"),
        spread(GONE, "unauthorized", LOGIN, "unauthorized"),
    ),
    "16 denied": (403, errors("DENIED", DENIED), spread(f"unknown: {DENIED}", *["denied"] * 3)),
    "17 not for you": (
        406,
        errors("MANIFEST_INVALID", "cannot translate this image"),
        spread(*[NOT_FOR_YOU] * 4),
    ),
    "18 plain": (406, b"plain text", unparsed(406, PLAIN)),
    "19 bad": (400, errors("MANIFEST_INVALID", "bad"), spread(*["manifest invalid: bad"] * 4)),
    "20 slow down": (
        429,
        errors("TOOMANYREQUESTS", "slow down"),
        spread(*["unknown: slow down"] * 2, *["toomanyrequests: slow down"] * 2),
    ),
    "21 boom": (500, errors("UNKNOWN", "boom"), status_line("500 Internal Server Error")),
    "22 gateway": (502, b"bad gateway", status_line("502 Bad Gateway")),
    "23 later": (503, errors("UNAVAILABLE", "later"), status_line("503 Service Unavailable")),
    "no words of its own": (
        406,
        errors("MANIFEST_INVALID", "manifest invalid"),
        spread(GONE, *["manifest invalid"] * 3),
    ),
}


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    """Give a registry that holds the image for each generation."""
    async with Registry() as running:
        await push(running, "lib/app", "2", IMAGE)
        await push(running, "lib/app", "1", make_schema1())
        yield running


def tag(engine: type[Engine]) -> str:
    """Return the tag of what this engine reads best."""
    return "1" if engine in SCHEMA1_ENGINES else "2"


async def outcome(registry: Registry, engine: type[Engine], reference: str = "") -> str:
    """Return what the engine prints; nothing if it pulls."""
    try:
        await engine(registry.url).pull("lib/app", reference or tag(engine))
    except EngineError as problem:
        return str(problem).replace("lib/app:2", "lib/app:1")
    return ""


@pytest.mark.parametrize("engine", MEASURED)
@pytest.mark.parametrize("row", MANIFEST_REPLIES)
async def test_manifest_refused(registry: Registry, engine: type[Engine], row: str) -> None:
    """Each engine prints what it was seen to print."""
    status, body, told = MANIFEST_REPLIES[row]
    registry.fault("GET|HEAD", "/manifests/", status=status, body=body)
    printed = await outcome(registry, engine)

    assert told[engine] == printed
    fell_back = registry.count("GET", "^/v1/repositories/lib/app/images$")
    assert fell_back == (1 if printed == GONE else 0)


@pytest.mark.parametrize("engine", MEASURED)
@pytest.mark.parametrize(
    "fault",
    [{"status": 404}, {"status": 500}, {"headers": {"Docker-Distribution-Api-Version": None}}],
    ids=["31", "32", "33"],
)
async def test_ping__needed_up_to_1_9(
    registry: Registry, engine: type[Engine], fault: dict[str, Any]
) -> None:
    """Up to 1.9 the ping must be right, header and all; later engines do not mind."""
    registry.fault("GET", r"^/v2/$", **fault)

    assert await outcome(registry, engine) == (GONE if engine in SCHEMA1_ENGINES else "")


@pytest.mark.parametrize(
    ("content_type", "since_1_10", "last"),
    [
        (None, "missing signature key", "missing or empty Content-Type header"),
        ("application/json", *["missing signature key"] * 2),
        ("text/plain", *["missing signature key"] * 2),
        ("application/vnd.docker.distribution.manifest.v1+json", *["missing signature key"] * 2),
        (
            "application/vnd.docker.distribution.manifest.v1+prettyjws; charset=utf-8",
            *["missing signature key"] * 2,
        ),
        (OCI_TYPE, "missing signature key", NOT_OCI),
    ],
)
async def test_content_type__of_a_schema2_manifest(
    registry: Registry, content_type: str | None, since_1_10: str, last: str
) -> None:
    """Old engines do not look at it; from 1.10 on a wrong one makes schema 2 unreadable."""
    registry.fault("GET|HEAD", "/manifests/", headers={"Content-Type": content_type})
    for engine in MEASURED:
        expected = last if engine is Docker2010 else since_1_10
        assert await outcome(registry, engine) == ("" if engine in SCHEMA1_ENGINES else expected)


@pytest.mark.parametrize("engine", MEASURED)
async def test_basic_auth__without_credentials(engine: type[Engine]) -> None:
    """1.10 and 20.10 tell why, the others that there is no such image."""
    async with Registry(auth=BasicAuth({"u": "p"})) as registry:
        registry.fault("GET", "^/v1/", status=404)
        url = f'"{registry.url}/v2/lib/app/manifests/{tag(engine)}"'
        expected: dict[type[Engine], str] = {
            Docker1103: f"Get {url}: no basic auth credentials",
            Docker2010: f"Head {url}: no basic auth credentials",
        }
        assert await outcome(registry, engine) == expected.get(engine, GONE)


async def test_schema2_by_digest__fails_up_to_1_9(registry: Registry) -> None:
    """A schema 2 digest is of no use to engines that read schema 1 alone."""
    digest = IMAGE.digest
    told = f'unsupported schema version 2 for tag "{digest}"'
    expected = (
        f"image lib/app@{digest} not found",
        "pulling with digest reference failed from v2 registry",
        told,
        told,
        *[""] * 4,
    )
    actual = tuple([await outcome(registry, engine, digest) for engine in MEASURED])

    assert expected == actual


@pytest.mark.parametrize(
    ("method", "status", "times", "expected"),
    [
        ("GET", 404, None, "unknown blob"),
        ("GET", 500, None, f"{HTTP}500 Internal Server Error"),
        ("GET", 503, 1, ""),
        ("HEAD", 404, None, ""),
    ],
)
async def test_blob_refused(
    registry: Registry, method: str, status: int, times: int | None, expected: str
) -> None:
    """1.10 and later try again and then say why; up to 1.9 it is as if there were no image."""
    blobs = f"/blobs/({sha256(IMAGE.layers[0])}|{sha256(make_schema1().layers[0])})"
    for engine in MEASURED:
        registry.reset()
        registry.fault(method, blobs, status=status, times=times)
        printed = await outcome(registry, engine)
        no_head = method == "HEAD" and engine in {Docker162, Docker171}
        if engine in SCHEMA1_ENGINES:
            assert printed == ("" if no_head else GONE)
        else:
            assert printed.endswith(expected)
            assert bool(printed) is bool(expected)


@pytest.mark.parametrize("engine", MEASURED)
async def test_blob__corrupted_is_never_taken(registry: Registry, engine: type[Engine]) -> None:
    """Bytes that are not those of the digest fail the pull."""
    registry.fault("GET", "/blobs/", corrupt=True)

    assert await outcome(registry, engine) != ""


@pytest.mark.parametrize("engine", MEASURED)
async def test_blob__content_encoding_breaks_the_digest(
    registry: Registry, engine: type[Engine]
) -> None:
    """A layer under Content-Encoding: gzip is inflated by Go, and is another blob then."""
    registry.fault("GET", "/blobs/", headers={"Content-Encoding": "gzip"})

    assert await outcome(registry, engine) != ""


TAR = make_tar({"a": b"1"})
GZIP = make_layer({"a": b"1"})
LAYERS = {
    "l-tar": (TAR, "+++++"),
    "l-bz2": (compress(TAR, "bzip2"), "+++++"),
    "l-xz": (compress(TAR, "xz"), "+++++"),
    "l-zstd": (compress(TAR, "zstd"), "-----"),
    "l-gzmulti": (compress(TAR[:700], "gzip") + compress(TAR[700:], "gzip"), "+++++"),
    "l-gztrail": (GZIP + bytes(64), "-----"),
    "l-gztrunc": (GZIP[:-12], "-----"),
    "l-nulltrail": (compress(TAR + bytes(1 << 16), "gzip"), "+++++"),
    "l-noend": (compress(TAR[:1024], "gzip"), "+++++"),
    "l-empty0": (b"", "----+"),
    "l-emptytar": (bytes(1024), "+++++"),
    "l-emptygz": (compress(b"", "gzip"), "+++++"),
}


@pytest.mark.parametrize("row", LAYERS)
async def test_layer__readable_or_not(registry: Registry, row: str) -> None:
    """Each stored form of a layer passes and fails where it did."""
    layer, expected = LAYERS[row]
    layers = [make_layer({"base": b"0"}), layer, EMPTY_LAYER]
    await push(registry, "lib/app", "layer", make_schema1(layers=layers))
    verdicts = [bool(await outcome(registry, engine, "layer")) for engine in MEASURED[:5]]

    assert expected == "".join("-" if failed else "+" for failed in verdicts)


async def test_blob__unknown_to_the_registry(registry: Registry) -> None:
    """A manifest that names a blob which is not there fails everywhere."""
    del registry.repository("lib/app").blobs[sha256(make_schema1().layers[1])]
    del registry.repository("lib/app").blobs[sha256(IMAGE.layers[1])]
    for engine in MEASURED:
        assert await outcome(registry, engine) != ""


async def test_schema2__config_that_contradicts_the_layers(registry: Registry) -> None:
    """Diff ids are those of the uncompressed layers, or the image is refused."""
    image = make_image(format="schema2", extras={"rootfs": {"diff_ids": ["sha256:0"] * 3}})
    await push(registry, "lib/app", "rootfs", image)

    expected = "layers from manifest don't match image configuration"
    assert await outcome(registry, BY_VERSION["1.10.3"], "rootfs") == expected
