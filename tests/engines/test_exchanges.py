"""The models ask what the engines were seen to ask, and take what they took."""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.engines.containerd import Containerd
from tests.engines.docker_1_6 import Docker162, Docker171
from tests.engines.docker_1_8 import Docker191
from tests.engines.docker_1_10 import Docker1103, Docker1126, Docker1903
from tests.engines.docker_20_10 import Docker2010
from tests.engines.errors import EngineError
from tests.engines.fleet import ENGINES, OCI_ENGINES, SCHEMA1_ENGINES, SCHEMA2_ENGINES
from tests.images import make_image, make_index, make_schema1, push, sha256
from tests.registry import ANONYMOUS, BasicAuth, Registry, TokenAuth

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.engines.engine import Engine
    from tests.engines.wire import Sent
    from tests.images import Image, Schema1
    from tests.peers import Peer

LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKERS = [engine for engine in ENGINES if engine is not Containerd]


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    """Give a registry without auth."""
    async with Registry() as running:
        yield running


def short(requests: list[Sent]) -> list[str]:
    """Return requests as "METHOD what", digests cut."""
    asked = (f"{request.method} {request.target}" for request in requests)
    return [re.sub(r"sha256:([0-9a-f]{6})[0-9a-f]{58}", r"\1", line) for line in asked]


def hex6(data: bytes) -> str:
    """Return the beginning of the digest of these bytes."""
    return sha256(data)[7:13]


@pytest.mark.parametrize("engine", SCHEMA1_ENGINES)
async def test_schema1_engine__exchange(registry: Registry, engine: type[Engine]) -> None:
    """Ping, the manifest without Accept, then every layer at once, HEAD first from 1.8 on."""
    image = make_schema1()
    await push(registry, "lib/app", "1", image)
    pulled = await engine(registry.url).pull("lib/app", "1")
    asked = short(pulled.requests)
    blobs = [f"/v2/lib/app/blobs/{hex6(layer)}" for layer in image.layers]
    pings = 2 if engine in {Docker162, Docker171} else 1
    methods = ["GET"] if engine in {Docker162, Docker171} else ["HEAD", "GET"]

    assert asked[: pings + 1] == ["GET /v2/"] * pings + ["GET /v2/lib/app/manifests/1"]
    expected = sorted(f"{method} {path}" for method in methods for path in blobs)
    assert sorted(asked[pings + 1 :]) == expected
    assert all(not request.all("Accept") for request in pulled.requests)
    assert (pulled.digest, pulled.layers) == (image.digest, list(image.layers))
    agent = pulled.requests[0].all("User-Agent")[0]
    assert agent.startswith(f"docker/{engine.version} go/go1.4")
    assert agent.endswith("os/linux arch/amd64")


async def test_docker_1_9__same_blob_as_often_as_it_stands_there(registry: Registry) -> None:
    """1.8 and 1.9 do not notice that two entries share a blob."""
    layer = make_schema1().layers[0]
    await push(registry, "lib/app", "1", make_schema1(layers=[layer, layer]))
    await Docker191(registry.url).pull("lib/app", "1")

    assert registry.count("HEAD", "/blobs/") == registry.count("GET", "/blobs/") == 2


@pytest.mark.parametrize("engine", SCHEMA2_ENGINES)
async def test_schema2_engine__exchange(registry: Registry, engine: type[Engine]) -> None:
    """Ping, the manifest with each type on its own line, the config and each layer once."""
    image = make_image(format="schema2")
    await push(registry, "lib/app", "1", image)
    pulled = await engine(registry.url, rng=Random(7)).pull("lib/app", "1")
    asked = short(pulled.requests)

    assert asked[:2] == ["GET /v2/", "GET /v2/lib/app/manifests/1"]
    blobs = (image.config, *image.layers)
    assert sorted(asked[2:]) == sorted(f"GET /v2/lib/app/blobs/{hex6(blob)}" for blob in blobs)
    accept = pulled.requests[1].all("Accept")
    assert sorted(accept) == sorted(engine.types)  # type: ignore[attr-defined]
    assert pulled.config == image.config
    upstream = "UpstreamClient(" in pulled.requests[0].all("User-Agent")[0]
    assert upstream is (engine is not Docker1103)


async def test_docker_1_10__accept_in_random_order(registry: Registry) -> None:
    """The order is the random one that the test injects."""
    await push(registry, "lib/app", "1", make_image(format="schema2"))
    orders = set()
    for seed in range(5):
        pulled = await Docker1103(registry.url, rng=Random(seed)).pull("lib/app", "1")
        orders.add(tuple(pulled.requests[1].all("Accept")))

    assert len(orders) > 1


async def test_docker_1_10__throwaway_layers_are_not_fetched(registry: Registry) -> None:
    """Of a schema 1 image, 1.10 skips what is throwaway."""
    image = make_schema1()
    await push(registry, "lib/app", "1", image)
    pulled = await Docker1103(registry.url).pull("lib/app", "1")

    assert pulled.layers == list(image.layers[:2])
    assert registry.count(None, "/blobs/") == 2


async def test_docker_20_10__head_then_get_by_digest(registry: Registry) -> None:
    """What HEAD of the tag tells is fetched by digest."""
    image = make_image()
    await push(registry, "lib/app", "1", image)
    pulled = await Docker2010(registry.url).pull("lib/app", "1")

    assert short(pulled.requests)[:3] == [
        "GET /v2/",
        "HEAD /v2/lib/app/manifests/1",
        f"GET /v2/lib/app/manifests/{hex6(image.manifest)}",
    ]
    assert len(pulled.requests[1].all("Accept")) == 6


async def test_docker_20_10__head_fails_or_tells_no_digest(registry: Registry) -> None:
    """Then the tag is fetched too, and the digest after it all the same."""
    await push(registry, "lib/app", "1", make_image())
    for fault in ({"status": 503}, {"headers": {"Docker-Content-Digest": None}}):
        registry.reset()
        registry.fault("HEAD", "/manifests/1", **fault)
        pulled = await Docker2010(registry.url).pull("lib/app", "1")
        methods = [request.method for request in pulled.requests if "manifests" in request.url]
        assert methods == ["HEAD", "GET", "GET"]


async def test_containerd__one_accept_line_and_no_ping(registry: Registry) -> None:
    """HEAD by tag with a wildcard at the end, then GET of that type by digest."""
    image = make_image(compression="zstd")
    await push(registry, "lib/app", "1", image)
    engine = Containerd(registry.url)
    engine.namespace = "docker.io"
    pulled = await engine.pull("lib/app", "1")

    assert short(pulled.requests)[:2] == [
        "HEAD /v2/lib/app/manifests/1?ns=docker.io",
        f"GET /v2/lib/app/manifests/{hex6(image.manifest)}?ns=docker.io",
    ]
    assert pulled.requests[0].all("Accept")[0].endswith(", */*")
    assert pulled.requests[1].all("Accept") == [f"{image.media_type}, */*"]


@pytest.mark.parametrize("engine", [*SCHEMA2_ENGINES[:3], Docker2010])
async def test_manifest_list__own_platform_by_digest(
    registry: Registry, engine: type[Engine]
) -> None:
    """The first child for the engine's own platform is fetched by digest; none is an error."""
    children = [make_image(format="schema2", architecture=arch) for arch in ("amd64", "arm64")]
    index = make_index(children, LIST, attestations=False)
    await push(registry, "lib/app", "1", index)
    pulled = await engine(registry.url, arch="arm64").pull("lib/app", "1")

    assert pulled.config == children[1].config
    assert pulled.digest == index.digest
    assert registry.count("GET", f"/manifests/{children[1].digest}") == 1
    with pytest.raises(EngineError, match=r"in (the )?manifest list"):
        await engine(registry.url, arch="s390x").pull("lib/app", "1")


async def test_docker_20_10__best_variant(registry: Registry) -> None:
    """An arm v7 host takes v7 before v6, and never v8."""
    children = [make_image(architecture="arm", variant=variant) for variant in ("v6", "v7", "v8")]
    await push(registry, "lib/app", "1", make_index(children))
    for variant, expected in {"v7": children[1], "v6": children[0]}.items():
        engine = Docker2010(registry.url, arch="arm", variant=variant)
        assert (await engine.pull("lib/app", "1")).config == expected.config


async def test_docker_19_03__claims_oci_and_refuses_it(registry: Registry) -> None:
    """It asks for OCI manifests and cannot read them."""
    await push(registry, "lib/app", "1", make_image())
    with pytest.raises(EngineError, match="mediaType in manifest should be"):
        await Docker1903(registry.url).pull("lib/app", "1")
    accepted = registry.requests[-1].headers.getall("Accept")
    assert "application/vnd.oci.image.manifest.v1+json" in accepted


@pytest.mark.parametrize("engine", ENGINES)
async def test_basic_auth__credentials_after_the_challenge(engine: type[Engine]) -> None:
    """Every engine sends its credentials once it was challenged, and only then."""
    async with Registry(auth=BasicAuth({"u": "p"})) as registry:
        await push(registry, "lib/app", "1", _readable(engine))
        await engine(registry.url, credentials=("u", "p")).pull("lib/app", "1")

    first, last = registry.requests[0], registry.requests[-1]
    assert (first.authorization, last.authorization) == (None, "Basic dTpw")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("credentials", [None, ("u", "p")])
async def test_token_auth__one_token_for_the_pull(
    engine: type[Engine], credentials: tuple[str, str] | None
) -> None:
    """A token for the repository is fetched once, anonymously or with an account."""
    auth = TokenAuth(users={"u": "p"})
    auth.allow("u" if credentials else ANONYMOUS, "lib/*", "pull")
    async with Registry(auth=auth) as registry:
        await push(registry, "lib/app", "1", _readable(engine))
        pulled = await engine(registry.url, credentials=credentials).pull("lib/app", "1")

    tokens = [request for request in pulled.requests if request.target.startswith("/token")]
    account = "account=u&" if credentials else ""
    query = f"{account}scope=repository%3Alib%2Fapp%3Apull&service=registry.test"
    assert [token.target for token in tokens] == [f"/token?{query}"]
    assert bool(tokens[0].all("Authorization")) is (credentials is not None)


@pytest.mark.parametrize("engine", ENGINES)
async def test_redirect__credentials_stay_behind(engine: type[Engine]) -> None:
    """Blobs elsewhere are asked for without Authorization."""
    async with Registry(auth=BasicAuth({"u": "p"}), redirect_blobs=True) as registry:
        await push(registry, "lib/app", "1", _readable(engine))
        await engine(registry.url, credentials=("u", "p")).pull("lib/app", "1")
        stored = registry.storage.requests

    assert stored
    assert {request.authorization for request in stored} == {None}


@pytest.mark.parametrize("engine", DOCKERS)
async def test_tls_probe__shrugged_off(registry: Registry, engine: type[Engine]) -> None:
    """A ClientHello on the plain port first does no harm."""
    await push(registry, "lib/app", "1", _readable(engine))
    pulled = await engine(registry.url, tls_probe=True).pull("lib/app", "1")

    assert pulled.layers


async def test_blob__resumed_where_it_was_cut(registry: Registry) -> None:
    """1.12 asks for the rest of a cut blob, 1.10 for all of it, 1.9 gives up."""
    image = make_image(format="schema2", layers=[{"a": bytes(range(256)) * 100}])
    await push(registry, "lib/app", "1", image)
    blob = f"/blobs/{sha256(image.layers[0])}"
    for engine, ranges in ((Docker1126, ["bytes=100-"]), (Docker1103, [])):
        registry.reset()
        registry.fault("GET", blob, truncate=100, times=1)
        pulled = await engine(registry.url).pull("lib/app", "1")
        asked = [request for request in pulled.requests if blob in request.url]
        assert len(asked) == 2
        assert asked[1].all("Range") == ranges
        assert pulled.layers == list(image.layers)
    await push(registry, "old", "1", make_schema1(layers=image.layers))
    registry.fault("GET", blob, truncate=100)
    with pytest.raises(EngineError, match=r"image old:1 not found"):
        await Docker191(registry.url).pull("old", "1")


@pytest.mark.peer
@pytest.mark.parametrize("engine", ENGINES)
async def test_docker_registry__every_engine_pulls(
    docker_registry_session: Peer, engine: type[Engine]
) -> None:
    """From a real registry every engine pulls an image in a format that it reads."""
    url = docker_registry_session.url
    name = f"engines/{engine.version}"
    image = make_image(format="oci" if engine in OCI_ENGINES else "schema2", empty_layers=[1])
    await push(url, name, "1", image)
    pulled = await engine(url, tls_probe=engine is not Containerd).pull(name, "1")

    assert [layer for layer in pulled.layers if layer in image.layers] == list(image.layers)
    again = await engine(url).pull(name, pulled.digest) if engine in DOCKERS[4:] else pulled
    assert again.digest == pulled.digest


def _readable(engine: type[Engine]) -> Image | Schema1:
    """Return an image that this engine reads as it is."""
    if engine in SCHEMA1_ENGINES:
        return make_schema1()
    return make_image(format="oci" if engine in OCI_ENGINES else "schema2")
