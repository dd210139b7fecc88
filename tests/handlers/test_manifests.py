"""Manifests over HTTP: headers, conditions, errors; HEAD tells what GET sends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from proxy.spec.media_types import MediaType
from tests.images import Image, Schema1, make_image, make_index, make_schema1, push, sha256
from tests.pulling import READS
from tests.raw import raw_exchange, raw_server, replying
from tests.running import running

if TYPE_CHECKING:
    import aiohttp

    from tests.registry import Registry

URL = "/v2/lib/app/manifests/1"
DOCKER_1_9 = {"User-Agent": "docker/1.9.1 go/go1.4.3 os/linux arch/amd64"}
IMAGES: dict[str, Image | Schema1] = {
    "schema1": make_schema1(),
    "schema2": make_image(format="schema2"),
    "oci": make_image(),
}


def accept(reads: str) -> list[tuple[str, str]]:
    """Return one Accept line per type, as Docker sends them."""
    return [("Accept", name) for name in READS[reads]]


@pytest.mark.parametrize("stored", ["schema1", "schema2", "oci", "index"])
@pytest.mark.parametrize("reads", ["schema1", "schema2", "oci", "everything"])
async def test_answer__head_equals_get(
    registry: Registry, http: aiohttp.ClientSession, stored: str, reads: str
) -> None:
    """HEAD has the status and every header of GET, and no body."""
    image = make_index([make_image()]) if stored == "index" else IMAGES[stored]
    await push(registry, "lib/app", "1", image)
    async with running(registry) as url:
        # Cold HEAD first, so that it has to find out by itself.
        cold = await http.head(url + URL, headers=accept(reads))
        get = await http.get(url + URL, headers=accept(reads))
        body = await get.read()
        warm = await http.head(url + URL, headers=accept(reads))

    for head in (cold, warm):
        assert get.status == head.status
        for name in ("Content-Type", "Content-Length", "Docker-Content-Digest", "ETag", "Vary"):
            assert get.headers.get(name) == head.headers.get(name), name
        assert b"" == await head.read()
    assert len(body) == int(get.headers["Content-Length"])
    if get.status == 200 and stored != "schema1" and "v1+prettyjws" not in get.content_type:
        assert sha256(body) == get.headers["Docker-Content-Digest"]


async def test_answer__translated_headers(registry: Registry, http: aiohttp.ClientSession) -> None:
    """A translated reply says so, and what it was made of; its Content-Type is bare."""
    image = IMAGES["oci"]
    await push(registry, "lib/app", "1", image)
    async with running(registry) as url:
        reply = await http.get(url + URL, headers=DOCKER_1_9)

    assert MediaType.SCHEMA1_SIGNED == reply.headers["Content-Type"]
    assert "Accept, User-Agent" == reply.headers["Vary"]
    assert image.digest == reply.headers["Regshim-Source-Digest"]
    assert reply.headers["Warning"].startswith('299 - "')
    assert f'"{reply.headers["Docker-Content-Digest"]}"' == reply.headers["ETag"]


async def test_answer__as_stored_says_nothing_of_translation(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """What is sent as stored has no word of the proxy's but Vary."""
    await push(registry, "lib/app", "1", IMAGES["oci"])
    async with running(registry) as url:
        reply = await http.get(url + URL, headers=accept("everything"))
        direct = await http.get(registry.url + URL, headers=accept("everything"))

        assert await direct.read() == await reply.read()
    added = set(reply.headers) - set(direct.headers)
    assert {"Vary", "ETag"} >= added


@pytest.mark.parametrize("reads", ["schema1", "schema2", "oci"])
@pytest.mark.parametrize("shape", ['"{}"', 'W/"{}"', '"x", "{}"', "*"])
async def test_answer__if_none_match_is_of_what_this_client_gets(
    registry: Registry, http: aiohttp.ClientSession, reads: str, shape: str
) -> None:
    """304 if the client has what it would be sent now, and not if it has what is stored."""
    image = IMAGES["oci"]
    await push(registry, "lib/app", "1", image)
    async with running(registry) as url:
        told = (await http.get(url + URL, headers=accept(reads))).headers["Docker-Content-Digest"]
        condition = ("If-None-Match", shape.format(told))
        same = await http.get(url + URL, headers=[*accept(reads), condition])
        other = await http.get(
            url + URL,
            headers=[*accept(reads), ("If-None-Match", f'"{"0" * 64}", "{image.digest}"')],
        )

        assert (304, b"") == (same.status, await same.read())
    assert told == same.headers["Docker-Content-Digest"]
    assert (304 if reads == "oci" else 200) == other.status


async def test_answer__if_none_match_on_many_lines(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """The lines of If-None-Match are one list (RFC 9110, 5.3): whichever names it counts."""
    await push(registry, "lib/app", "1", IMAGES["oci"])
    async with running(registry) as url:
        told = (await http.get(url + URL, headers=accept("schema1"))).headers["ETag"]
        lines = [("If-None-Match", '"x"'), ("If-None-Match", told), ("If-None-Match", '"y"')]
        same = await http.get(url + URL, headers=[*accept("schema1"), *lines])

    assert 304 == same.status


async def test_answer__translated_digest_over_http(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """HEAD by tag, then GET by the digest that it told: what newer engines do."""
    await push(registry, "lib/app", "1", IMAGES["oci"])
    async with running(registry) as url:
        told = (await http.head(url + URL, headers=accept("schema2"))).headers
        digest = told["Docker-Content-Digest"]
        reply = await http.get(f"{url}/v2/lib/app/manifests/{digest}", headers=accept("schema2"))
        body = await reply.read()

    assert (200, digest, MediaType.SCHEMA2) == (reply.status, sha256(body), reply.content_type)
    assert digest == reply.headers["Docker-Content-Digest"]


async def test_answer__stored_digest_unchanged(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """By digest the bytes, type, digest and status are the upstream's, whatever is accepted."""
    digest = await push(registry, "lib/app", "1", IMAGES["oci"])
    path = f"/v2/lib/app/manifests/{digest}"
    async with running(registry) as url:
        for reads in ("schema1", "oci"):
            reply = await http.get(url + path, headers=accept(reads))

            assert (200, IMAGES["oci"].manifest) == (reply.status, await reply.read())
            assert MediaType.OCI_MANIFEST == reply.content_type
        assert 404 == (await http.get(url + path[:-1] + "0")).status


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v2/lib/app/manifests/absent", 404, "MANIFEST_UNKNOWN"),
        ("/v2/lib/app/manifests/-x", 400, "TAG_INVALID"),
        ("/v2/lib/app/manifests/" + "x" * 129, 400, "TAG_INVALID"),
        ("/v2/lib/app/manifests/sha256:short", 400, "DIGEST_INVALID"),
        ("/v2/Lib/App/manifests/1", 400, "NAME_INVALID"),
    ],
)
async def test_answer__bad_references(
    registry: Registry, http: aiohttp.ClientSession, path: str, status: int, code: str
) -> None:
    """A reference that breaks the grammar is a 400 with its code; an unknown one the upstream's."""
    await push(registry, "lib/app", "1", IMAGES["oci"])
    async with running(registry) as url:
        reply = await http.get(url + path)
        errors = json.loads(await reply.read())["errors"]

    assert (status, code) == (reply.status, errors[0]["code"])
    assert (status == 404) == bool(registry.count())


async def test_answer__refusal_is_406_with_its_reason(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """Docker 1.8 and 1.9 print the message of exactly this answer."""
    await push(registry, "lib/app", "1", IMAGES["schema1"])
    async with running(registry) as url:
        get = await http.get(url + URL, headers=accept("oci"))
        head = await http.head(url + URL, headers=accept("oci"))
        error = json.loads(await get.read())["errors"][0]

    assert (406, 406, "application/json") == (get.status, head.status, head.content_type)
    assert "MANIFEST_INVALID" == error["code"]
    assert "stored here is a Docker schema 1 image, this client reads OCI" in error["message"]


async def test_answer__contradicting_config_is_406(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """A config blob that contradicts the manifest is refused, naming the contradiction."""
    await push(registry, "lib/app", "1", make_image(history="long"))
    async with running(registry) as url:
        reply = await http.get(url + URL, headers=DOCKER_1_9)
        message = json.loads(await reply.read())["errors"][0]["message"]

    assert 406 == reply.status
    assert "history" in message


@pytest.mark.parametrize("limit", [500, 5000])
async def test_answer__oversize_manifest(
    registry: Registry, http: aiohttp.ClientSession, limit: int
) -> None:
    """A manifest past the limit is a 502 that says so; within it, it is served."""
    await push(registry, "lib/app", "1", IMAGES["oci"])
    async with running(registry, limits={"manifest": limit}) as url:
        reply = await http.get(url + URL, headers=DOCKER_1_9)
        body = await reply.read()

    assert (502 if limit == 500 else 200) == reply.status
    assert (b"larger than 500 bytes" in body) == (limit == 500)


async def test_answer__query_is_kept(registry: Registry, http: aiohttp.ClientSession) -> None:
    """The query of a mirror's client reaches the upstream."""
    await push(registry, "lib/app", "1", IMAGES["oci"])
    async with running(registry) as url:
        await http.get(url + URL + "?ns=docker.io", headers=accept("everything"))

    assert [URL + "?ns=docker.io"] == [seen.path_qs for seen in registry.requests]


async def test_answer__what_the_upstream_sees(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """The upstream sees the client's credentials and User-Agent, and no condition of its."""
    await push(registry, "lib/app", "1", IMAGES["oci"])
    sent = {"Authorization": "Basic dTpw", "If-None-Match": "*", "Range": "bytes=0-1", **DOCKER_1_9}
    async with running(registry) as url:
        await http.get(url + URL, headers=sent)
    seen = registry.requests[0].headers

    assert ("Basic dTpw", DOCKER_1_9["User-Agent"]) == (seen["Authorization"], seen["User-Agent"])
    assert {"If-None-Match", "Range"}.isdisjoint(seen)
    assert {*MediaType} == set(seen["Accept"].split(", "))


@pytest.mark.parametrize("size", [64 << 10, (64 << 10) + 1, 1 << 20])
async def test_answer__of_any_size(
    registry: Registry, http: aiohttp.ClientSession, size: int
) -> None:
    """A large manifest, which is written otherwise than a small one, has the same headers."""
    empty = make_image(manifest_extras={"annotations": {"a": ""}})
    note = "a" * (size - len(empty.manifest))
    image = make_image(manifest_extras={"annotations": {"a": note}})
    await push(registry, "lib/app", "1", image)
    async with running(registry) as url:
        get = await http.get(url + URL, headers=accept("oci"))
        body = await get.read()
        head = await http.head(url + URL, headers=accept("oci"))

    assert (size, image.manifest) == (len(body), body)
    same = [{**reply.headers, "Date": "", "X-Request-Id": ""} for reply in (get, head)]
    assert same[0] == same[1]


@pytest.mark.parametrize("length", [b"", b"Content-Length: 77\r\n"])
async def test_answer__head_of_an_error_invents_no_length(length: bytes) -> None:
    """What HEAD was not told of the length of an error is not told on."""
    head = b"HTTP/1.1 404 Not Found\r\n" + length + b"\r\n"
    async with raw_server(replying(head)) as server, running(server.url) as url:
        request = f"HEAD {URL} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        replied = await raw_exchange(url, request.encode())

    assert replied.startswith(b"HTTP/1.1 404 ")
    assert length in replied
    assert bool(length) == (b"content-length" in replied.lower())
