"""Explaining: the same answer as serving, with the way to it."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from proxy.commands.engines import accept_of, user_agent_of
from proxy.commands.explain import explain, explain_alone, parse_image, refused_with
from proxy.connecting import connected
from proxy.errors import ConfigError, RegistryError
from proxy.metrics import Metrics
from proxy.spec.media_types import MediaType
from proxy.translate.client import Settings
from proxy.upstream.credentials import given
from tests.engines.fleet import ENGINES
from tests.images import make_image, make_index, make_schema1, push
from tests.pulling import pulling
from tests.registry import BasicAuth, Registry
from tests.running import KEY, config_for, running

if TYPE_CHECKING:
    import aiohttp

    from tests.images import Image, Index, Schema1

STORED: dict[str, Image | Index | Schema1] = {
    "schema1": make_schema1(),
    "schema2": make_image(format="schema2"),
    "oci": make_image(),
    "zstd": make_image(compression="zstd"),
    "artifact": make_image(manifest_extras={"artifactType": "application/vnd.example"}),
    "no-history": make_image(history="none"),
    "contradiction": make_image(history="short"),
    "windows": make_image(os="windows"),
    "index": make_index([make_image(), make_image(architecture="arm64")]),
    "list": make_index([make_image(format="schema2")], MediaType.DOCKER_LIST, attestations=False),
}
CLIENTS = [
    *(f"docker/{engine.version}" for engine in ENGINES if engine.version[0].isdigit()),
    "docker/28.0.1",
    "containerd/1.7.2",
    "skopeo/1.9.3",
]
CASES = 200


async def test_explain__agrees_with_serve(registry: Registry, http: aiohttp.ClientSession) -> None:
    """In 200 random cases explain says what a client is really sent."""
    for name, image in STORED.items():
        await push(registry, f"lib/{name}", "1", image)
    rng = random.Random(1914)
    outcomes = set()
    async with running(registry) as url, pulling(registry) as puller:
        for _ in range(CASES):
            name, engine = rng.choice([*STORED, "absent"]), rng.choice(CLIENTS)
            arch = rng.choice(["amd64", "arm64", "s390x"])
            accept = rng.sample(list(MediaType), rng.randint(0, 6)) if rng.random() < 0.5 else None
            told = await explain(
                puller,
                Settings(),
                f"lib/{name}:1",
                engine=engine,
                architecture=arch,
                accept=accept,
            )
            lines = [("Accept", one) for one in (accept_of(engine) if accept is None else accept)]
            reply = await http.get(
                f"{url}/v2/lib/{name}/manifests/1",
                headers=[*lines, ("User-Agent", user_agent_of(engine, arch))],
            )
            body = await reply.read()
            outcomes.add(reply.status)

            assert told.status == reply.status, (name, engine, arch, accept)
            if reply.status == 200:
                assert (told.media_type, told.digest, told.size) == (
                    reply.headers["Content-Type"],
                    reply.headers["Docker-Content-Digest"],
                    len(body),
                )
            elif reply.status == 406:
                error = json.loads(body)["errors"][0]

                assert told.refusal == f"{error['code']}: {error['message']}"

    assert {200, 404, 406} == outcomes


async def test_explain__tells_why(registry: Registry) -> None:
    """Rules, platform and each step are in the explanation."""
    await push(registry, "lib/app", "1", STORED["index"])
    async with pulling(registry) as puller:
        told = await explain(
            puller, Settings(), "lib/app:1", engine="docker/1.9.1", architecture="arm64"
        )

    assert (("schema1",), (), ("linux/arm64",)) == (told.reads, told.indexes, told.platforms)
    assert any("docker-before-1.10" in reason for reason in told.reasons)
    # Stored, picked, translated to, image fetched, config blob fetched.
    assert 5 == len(told.steps)


async def test_explain__platform_that_is_not_told(registry: Registry) -> None:
    """For a client that does not tell its platform, whatever --arch says, the reason is named."""
    await push(registry, "lib/app", "1", STORED["index"])
    reasons = []
    for engine in ("containerd/1.7.2", "docker/1.9.1"):
        async with pulling(registry) as puller:
            told = await explain(
                puller, Settings(), "lib/app:1", engine=engine, architecture="arm64"
            )
        reasons.append(any("translate.default_platform" in reason for reason in told.reasons))

    assert [True, False] == reasons


async def test_explain_alone__as_a_proxy_with_this_config(registry: Registry) -> None:
    """The config decides as it would for the proxy; one that is no engine is told."""
    await push(registry, "lib/app", "1", STORED["oci"])
    rule = {"user_agent": "^docker/1[.]9", "formats": ["oci"]}
    config = config_for(registry.url, translate={"clients": [rule]})
    told = await explain_alone(config, "lib/app:1", client="docker-1.9", architecture="amd64")
    with pytest.raises(ConfigError, match=r"^--client: 'docker' is no engine"):
        await explain_alone(config, "lib/app:1", client="docker", architecture="amd64")

    assert (("oci",), str(MediaType.OCI_MANIFEST)) == (told.reads, told.media_type)


async def test_explain__basic_credentials() -> None:
    """A user name and password reach the upstream; without them its refusal is told."""
    async with Registry(auth=BasicAuth({"u": "p"})) as registry:
        await push(registry, "lib/app", "1", STORED["oci"])
        config = config_for(registry.url)
        answers = []
        for login in (None, given("u", "p")):
            async with connected(config, KEY, Metrics(), login=login) as connections:
                told = await explain(
                    connections.puller, Settings(), "lib/app:1", engine="docker/1.9.1"
                )
                answers.append(told)
    refused, allowed = answers

    said = "the upstream answers 401: UNAUTHORIZED: authentication required"
    assert (401, said) == (refused.status, refused.refusal)
    assert 200 == allowed.status


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"errors":[{"code":"NAME_UNKNOWN","message":"no such"}]}', ": NAME_UNKNOWN: no such"),
        (b'{"errors":[{"code":"DENIED"}]}', ": DENIED"),
        (b'{"errors":[]}', ""),
        (b'{"errors":[{"code":1}]}', ""),
        (b"<html>", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_refused_with__the_words_of_a_registry(body: bytes, words: str) -> None:
    """What the upstream says is told if it is a registry's error; of a page the status alone."""
    assert f"the upstream answers 404{words}" == refused_with(404, body)


@pytest.mark.parametrize(
    "image", ["Lib/app:1", "lib/app:-", f"lib/app@sha256:{'0' * 64}", ":1", ""]
)
def test_parse_image__bad(image: str) -> None:
    """What is no REPOSITORY[:TAG] is an error that says so."""
    with pytest.raises(RegistryError):
        parse_image(image)


@pytest.mark.parametrize("host", ["127.0.0.1:5000/", "localhost:5000/", "docker://"])
def test_parse_image__with_a_registry(host: str) -> None:
    """An image's name as `docker pull` takes it is told from one that the registry has."""
    with pytest.raises(RegistryError, match=r"without its registry: lib/app:1$"):
        parse_image(f"{host}lib/app:1")

    assert ("quay.io/lib/app", "1") == parse_image("quay.io/lib/app:1")


def test_parse_image__default_tag() -> None:
    """Without a tag it is latest, as everywhere."""
    assert ("lib/app", "latest") == parse_image("lib/app")
