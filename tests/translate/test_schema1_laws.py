"""Laws of to_schema1: what holds for every image, by engines' rules and independent readers."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import NoTranslation, NotTranslatable, UnreadableConfig
from proxy.spec.digest import digest_of
from proxy.translate.jws import SigningKey
from proxy.translate.translated import TranslatedManifest
from tests import libtrust
from tests.engines.errors import EngineError
from tests.engines.schema1_checks import (
    CONFIG,
    CONFIG_OF_1_6,
    V1_IMAGE,
    Members,
    check_image,
    check_schema1,
)
from tests.image_strategies import images, wild_configs
from tests.peers import node, npm_module
from tests.strategies import BLOBS, GeneratedImage, sha256
from tests.translate.convert import KEY, SHORT_X, SHORT_Y, convert
from tests.translate.test_to_schema1 import DIFF, GOOD, ONLY_EMPTY, document, image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

P256 = ec.SECP256R1()
ENGINES = ("1.6.2", "1.7.1", "1.8.3", "1.9.1", "1.10.3")


@pytest.mark.parametrize("version", ENGINES)
@given(data=st.data())
def test_to_schema1__engines_take_it(version: str, data: st.DataObject) -> None:
    """Whatever is emitted for an engine passes every check that this engine makes."""
    old, panics = version.startswith("1.6."), version.startswith("1.10.")
    found = data.draw(images(string_commands=not old))
    only_empty = not found.layers
    if only_empty and panics:
        with pytest.raises(NoTranslation, match="no layer but empty ones"):
            convert(found, only_empty_layers=False)
        return
    translated = convert(found, string_commands=not old, only_empty_layers=not panics)
    headers = {"Docker-Content-Digest": translated.digest}

    checked = check_schema1(translated.body, headers, version)
    again = check_schema1(translated.body, headers, version, by_digest=translated.digest)

    assert checked.entries == again.entries
    assert again.digest == translated.digest
    assert [entry.blob_sum for entry in checked.entries] == [
        layer["blobSum"] for layer in json.loads(translated.body)["fsLayers"]
    ]


@pytest.mark.parametrize("version", ENGINES)
@given(config=wild_configs())
def test_to_schema1__wild_configs_break_no_engine(version: str, config: bytes) -> None:
    """A config of any shape is refused, or becomes what the engine takes."""
    found = GeneratedImage(config, BLOBS[:2], "a", "b")
    try:
        translated = convert(found, string_commands=not version.startswith("1.6."))
    except NotTranslatable:
        return

    checked = check_schema1(translated.body, {"Docker-Content-Digest": translated.digest}, version)

    assert len(checked.entries) == 2


VALUES = (
    "null", "true", "1", "-1.5", "1e3", "9223372036854775808", '"text"', "[]", "[null]", '["a"]',
    "[1]", "{}", '{"a":{}}', '{"a":{"b":1}}', '{"a":null}', '{"a":"b"}', '{"a":1}', '[{"a":"b"}]',
)  # fmt: skip
# What the translation writes itself, and what it reads before any engine does.
OWN = {"id", "parent", "throwaway", "os"}


@pytest.mark.parametrize("version", ["1.6.2", "1.9.1"])
@pytest.mark.parametrize(
    "template",
    [
        *(f'"{name}":%s' for name in V1_IMAGE if name not in OWN),
        *(f'"config":{{"{name}":%s}}' for name in CONFIG | CONFIG_OF_1_6),
        '"container_config":{"ENV":%s,"env":[]}',
        '"config":{"CMD":%s}',
        '"CONFIG":{"Labels":{},"labels":%s}',
        '"Container_Config":%s',
        r'"\u017fize":%s',
    ],
)
def test_to_schema1__refuses_just_what_an_engine_cannot_decode(version: str, template: str) -> None:
    """A field of any type is refused exactly where this engine's struct cannot hold it."""
    for value in VALUES:
        member = template % value
        try:
            check_image(json.loads(f"{{{member}}}", object_pairs_hook=Members), version)
            expected = None
        except EngineError:
            expected = UnreadableConfig
        found = image(member.encode(), b'"history":[{},{}]', DIFF)
        try:
            convert(found, string_commands=version != "1.6.2")
            refusal = None
        except NotTranslatable as error:
            refusal = type(error)

        assert expected is refusal, member


@given(images())
def test_to_schema1__oci_is_schema_2(found: GeneratedImage) -> None:
    """The same layers and config give the same bytes, whichever format stores them."""
    assert convert(found, "oci") == convert(found, "schema2")


@given(images())
@example(ONLY_EMPTY)
def test_to_schema1__ids_are_a_chain(found: GeneratedImage) -> None:
    """Each parent is the id below, the bottom has none, and no id comes twice.

    Not even where blobs repeat: an id is a hash of all that is below it.
    """
    history = document(found)["history"]
    ids = [entry["id"] for entry in history]

    assert [entry.get("parent") for entry in history] == [*ids[1:], None]
    assert len(set(ids)) == len(ids)


@given(images(), images())
def test_to_schema1__same_layers_same_ids(one: GeneratedImage, other: GeneratedImage) -> None:
    """Below the top, an id depends on the layers alone, so that engines share what they have."""
    mixed = replace(one, repository=other.repository, tag="other")
    ids = [entry["id"] for entry in document(one)["history"]]

    assert [entry["id"] for entry in document(mixed)["history"]] == ids


@given(images())
def test_to_schema1__signature_is_verified(found: GeneratedImage) -> None:
    """An independent libtrust verifies every manifest and finds the payload of its digest."""
    translated = convert(found)

    assert sha256(libtrust.verify(translated.body)) == translated.digest


SCRIPT = """
import sys
from proxy.manifest.parse import parse
from proxy.spec.media_types import MediaType
from proxy.translate.jws import SigningKey
from proxy.translate.to_schema1 import to_schema1
manifest, config, key = (open(name, "rb").read() for name in sys.argv[1:4])
image = parse(manifest, MediaType.OCI_MANIFEST)
translated = to_schema1(
    image, config, repository="a/b", tag="c", key=SigningKey.from_pem(key)
)
sys.stdout.buffer.write(translated.body)
"""


@pytest.mark.parametrize("seed", ["0", "1"])
def test_to_schema1__same_bytes_in_another_process(tmp_path: Path, seed: str) -> None:
    """Another process with the same key answers the same bytes, whatever its hash seed."""
    found = image(b'"x":1,"a":{"b":2},"created":"2024-05-06T07:08:10Z"', b'"history":[{},{}]', DIFF)
    found = replace(found, repository="a/b", tag="c")
    for name, content in [
        ("manifest", found.manifest("oci")),
        ("config", found.config),
        ("key", KEY.to_pem()),
    ]:
        (tmp_path / name).write_bytes(content)
    names = [str(tmp_path / name) for name in ("manifest", "config", "key")]
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names],
        capture_output=True,
        check=True,
        env={"PYTHONHASHSEED": seed},
        cwd=".",
    )

    assert result.stdout == convert(found, "oci").body


VERIFY = """
const client = require("docker-registry-client");
const [address, ...tags] = process.argv.slice(1);
const registry = client.createClientV2({name: `http://${address}/library/app`, insecure: true});
const next = () => {
    if (tags.length === 0) { registry.close(); return; }
    const ref = tags.shift();
    registry.getManifest({ref}, (error, manifest) => {
        console.log(ref, error ? String(error) : manifest.history.length);
        next();
    });
};
next();
"""
HEADERS = {"Docker-Distribution-Api-Version": "registry/2.0"}


@pytest.mark.peer
async def test_to_schema1__npm_client_verifies_it() -> None:
    """The npm docker-registry-client takes the signatures of many keys, and no spoiled one."""
    found = replace(GOOD, tag="key")
    bodies = {
        f"key{number}": convert(found, key=SigningKey(ec.derive_private_key(number, P256)))
        for number in (*range(1, 9), SHORT_X, SHORT_Y)
    }
    good = bodies["key1"]
    spoiled = good.body.replace(b'"tag": "key"', b'"tag": "kex"')
    bodies["spoiled"] = replace_body(good, spoiled)

    async def ping(_: web.Request) -> web.Response:
        return web.Response(headers=HEADERS)

    async def manifest(request: web.Request) -> web.Response:
        reply = bodies[request.match_info["tag"]]
        headers = HEADERS | {
            "Content-Type": str(reply.media_type),
            "Docker-Content-Digest": reply.digest,
        }
        return web.Response(body=reply.body, headers=headers)

    app = web.Application()
    app.router.add_get("/v2/", ping)
    app.router.add_get("/v2/library/app/manifests/{tag}", manifest)
    async with serving(app) as address:
        result = await node(
            VERIFY, address, *bodies, modules=(npm_module("docker-registry-client"),)
        )
    lines = dict(line.split(" ", 1) for line in result.stdout.decode().splitlines())

    assert lines.keys() == bodies.keys(), result.stderr
    assert "failed verification" in lines.pop("spoiled")
    assert set(lines.values()) == {"2"}


def replace_body(translated: TranslatedManifest, body: bytes) -> TranslatedManifest:
    """Return a translation with another body, and the digest that fits it."""
    return TranslatedManifest(body, translated.media_type, digest_of(libtrust.parse(body)))


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """Serve an application and give its address."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        # Also where the test is skipped, or fails: another one would be blamed for the socket.
        await runner.cleanup()
