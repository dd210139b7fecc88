"""A modern client sees no difference: the same script against two equal upstreams, one proxied.

Every reply is compared: status, body bytes, and all headers but those named in DIFFERENT.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientPayloadError

from tests.images import EMPTY_LAYER, make_image, make_index, make_schema1, push, sha256
from tests.pulling import READS
from tests.registry import Registry
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import aiohttp

    from tests.peers import StartRegistry

# Header → why it may differ.
DIFFERENT = {
    "Connection": "belongs to the connection, not to the reply",
    "Date": "the two replies are made at different times",
    "Keep-Alive": "belongs to the connection, not to the reply",
}
# Header → to which replies the proxy adds it where the upstream has none.
ADDED = {
    # On the ping: old engines look for it.
    "docker-distribution-api-version": re.compile(r"[A-Z]+ /v2/$"),
    # On manifests by tag: their digest, which is what a client compares.
    "etag": re.compile(r"(?:GET|HEAD) /v2/.+/manifests/(?!sha256:)[^/]+$"),
    # On manifests by tag, or their absence: they depend on Accept and User-Agent.
    "vary": re.compile(r"(?:GET|HEAD) /v2/.+/manifests/(?!sha256:)[^/]+$"),
}
EVERYTHING = [("Accept", ", ".join(READS["everything"]))]
CONTENT = [bytes([number]) * (1000 + number) for number in range(4)]
EMPTY = sha256(EMPTY_LAYER)
WITHOUT_EMPTY_LAYER = "a/b/c/d"  # asked for it a client sees more than the upstream has
UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TOKEN = re.compile(rb"_state=[^\"&>; ]+|(?<=uploads/)[0-9A-Za-z]+")


@dataclass
class Step:
    """A request; `at` is a path, or None for the Location of the last upload."""

    method: str
    at: str | None
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | None = None
    query: str = ""
    chunked: bool = False


@dataclass
class Seen:
    """A reply, with what cannot be equal made equal."""

    status: int
    headers: dict[str, list[str]]
    body: bytes


OCI = make_image(layers=2)
DOCKER = make_image(layers=3, format="schema2")
INDEX = make_index([make_image(), make_image(architecture="arm64")])
NAMES = ("lib/app", "a/b/c/d", "manifests", "blobs", "x/manifests/y", "with_under-score.dot/app")


def reading(name: str) -> Iterator[Step]:
    """Yield requests that change nothing."""
    for method in ("GET", "HEAD"):
        for reference in ("oci", "docker", "index", "absent", OCI.digest, "sha256:" + "0" * 64):
            yield Step(method, f"/v2/{name}/manifests/{reference}", EVERYTHING)
        blob = sha256(OCI.layers[0])
        yield Step(method, f"/v2/{name}/blobs/{blob}")
        yield Step(method, f"/v2/{name}/blobs/sha256:{'1' * 64}")
    for wanted in ("bytes=0-9", "bytes=5-", "bytes=-3", "bytes=100000-", "nonsense"):
        yield Step("GET", f"/v2/{name}/blobs/{blob}", [("Range", wanted)])
    if name != WITHOUT_EMPTY_LAYER:
        for headers in ([], [("Range", "bytes=0-3")], [("If-None-Match", f'"{EMPTY}"')]):
            yield Step("GET", f"/v2/{name}/blobs/{EMPTY}", headers)
            yield Step("HEAD", f"/v2/{name}/blobs/{EMPTY}", headers)
    yield Step("GET", f"/v2/{name}/manifests/{OCI.digest}")
    yield Step("GET", f"/v2/{name}/tags/list")
    for query in ("?n=1", "?n=1&last=docker", "?last=zzz", "?n=2&x=%20y"):
        yield Step("GET", f"/v2/{name}/tags/list", query=query)
    yield Step("GET", f"/v2/{name}/manifests/oci", EVERYTHING, query="?ns=docker.io")


def elsewhere() -> Iterator[Step]:
    """Yield requests beside the repositories, and wrong ones."""
    for path in ("/v2/", "/v2/_catalog", "/v2/absent/tags/list", "/v2/lib/app/nonsense"):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            yield Step(method, path)
    for query in ("?n=1", "?n=2&last=blobs"):
        yield Step("GET", "/v2/_catalog", query=query)
    digest = INDEX.digest
    yield Step("GET", f"/v2/lib/app/referrers/{digest}")
    yield Step("GET", f"/v2/lib/app/referrers/{digest}", query="?artifactType=application/x")


def writing(name: str) -> Iterator[Step]:
    """Yield uploads of every kind, manifests, and deletions."""
    octets = [("Content-Type", "application/octet-stream")]
    first, second, third, _ = CONTENT
    yield Step("POST", f"/v2/{name}/blobs/uploads/")
    yield Step("PATCH", None, octets, first, chunked=True)
    yield Step("GET", None)
    yield Step("PUT", None, query=f"digest={sha256(first)}")
    yield Step("POST", f"/v2/{name}/blobs/uploads/")
    half = len(second) // 2
    yield Step("PATCH", None, [*octets, ("Content-Range", f"0-{half - 1}")], second[:half])
    yield Step(
        "PATCH", None, [*octets, ("Content-Range", f"{half}-{len(second) - 1}")], second[half:]
    )
    yield Step("PUT", None, query=f"digest={sha256(second)}")
    yield Step("POST", f"/v2/{name}/blobs/uploads/")
    yield Step("PUT", None, octets, third, query=f"digest={sha256(third)}")
    yield Step("POST", f"/v2/{name}/blobs/uploads/")
    yield Step("DELETE", None)
    yield Step("GET", None)
    yield Step("POST", f"/v2/{name}/blobs/uploads/")
    yield Step("PUT", None, octets, third, query=f"digest=sha256:{'2' * 64}")
    other = "lib/app" if name != "lib/app" else "a/b/c/d"
    blob = sha256(OCI.layers[0])
    yield Step("POST", f"/v2/{name}/blobs/uploads/", query=f"?mount={blob}&from={other}")
    yield Step("POST", f"/v2/{name}/blobs/uploads/", query=f"?mount=sha256:{'3' * 64}&from={other}")
    kind = [("Content-Type", DOCKER.media_type)]
    yield Step("PUT", f"/v2/{name}/manifests/pushed", kind, DOCKER.manifest)
    yield Step("PUT", f"/v2/{name}/manifests/{DOCKER.digest}", kind, DOCKER.manifest)
    yield Step("PUT", f"/v2/{name}/manifests/broken", kind, b"{")
    yield Step("HEAD", f"/v2/{name}/manifests/pushed", EVERYTHING)
    yield Step("DELETE", f"/v2/{name}/blobs/{sha256(first)}")
    yield Step("HEAD", f"/v2/{name}/blobs/{sha256(first)}")
    yield Step("DELETE", f"/v2/{name}/manifests/{DOCKER.digest}")
    yield Step("GET", f"/v2/{name}/manifests/{DOCKER.digest}", EVERYTHING)


def script() -> list[Step]:
    """Return the whole script."""
    reads = [step for name in NAMES for step in reading(name)]
    writes = [step for name in ("lib/app", "manifests") for step in writing(name)]
    return [*elsewhere(), *reads, *writes]


def same(text: bytes, address: str) -> bytes:
    """Return a header or body without what differs between two upstreams that are equal."""
    text = text.replace(address.encode(), b"HOST")
    return TOKEN.sub(b"TOKEN", UUID.sub(b"UUID", text))


async def play(http: aiohttp.ClientSession, url: str) -> AsyncIterator[tuple[Step, Seen]]:
    """Send the script to `url` and yield what is seen."""
    address = urlsplit(url).netloc
    upload = ""
    for step in script():
        at = url + step.at if step.at is not None else upload
        joint = "" if not step.query or step.query[0] == "?" else "&" if "?" in at else "?"
        data = (part async for part in pieces(step.body or b"")) if step.chunked else step.body
        async with http.request(
            step.method,
            at + joint + step.query,
            headers=step.headers,
            data=data,
            allow_redirects=False,
        ) as reply:
            try:
                body = await reply.read()
            except ClientPayloadError:
                # docker-registry says 416 with the length of the blob, and cuts; so must we.
                body = b"CUT"
        if reply.status == 202 and "Location" in reply.headers:
            location = reply.headers["Location"]
            upload = location if location.startswith("http") else url + location
        headers: dict[str, list[str]] = {}
        for name in sorted(set(reply.headers) - set(DIFFERENT)):
            values = [
                same(value.encode(), address).decode() for value in reply.headers.getall(name)
            ]
            headers[name.lower()] = values
        yield step, Seen(reply.status, headers, same(body, address))


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body in three pieces."""
    third = len(body) // 3 + 1
    for start in range(0, len(body), third):
        yield body[start : start + third]


async def fill(url: str) -> None:
    """Put the same images into an upstream."""
    for name in NAMES:
        await push(url, name, "oci", OCI)
        await push(url, name, "docker", DOCKER)
        await push(url, name, "index", INDEX)
        if name != WITHOUT_EMPTY_LAYER:
            await push(url, name, "schema1", make_schema1(name=name, tag="schema1"))


def difference(step: Step, direct: Seen, proxied: Seen) -> list[str]:
    """Return what the proxied reply has otherwise than the direct one."""
    found = []
    if direct.status != proxied.status:
        found.append(f"status {direct.status} → {proxied.status}")
    if direct.body != proxied.body:
        found.append(f"body {direct.body[:200]!r} → {proxied.body[:200]!r}")
    asked = f"{step.method} {step.at}"
    allowed = {name for name, where in ADDED.items() if where.match(asked)}
    for name in sorted({*direct.headers, *proxied.headers}):
        before, after = direct.headers.get(name), proxied.headers.get(name)
        if before is None and name in allowed:
            continue
        if name == "location" and before and after:
            # The proxy makes a Location absolute, on the client's own host.
            before = [re.sub(r"^http://HOST", "", value) for value in before]
            after = [re.sub(r"^http://HOST", "", value) for value in after]
        if name == "link" and before and after:
            before = [value.replace("http://HOST", "") for value in before]
        if before != after:
            found.append(f"{name}: {before} → {after}")
    return found


async def compare(http: aiohttp.ClientSession, direct: str, proxied: str) -> int:
    """Play the script on both, fail with all differences, return the number of requests."""
    await asyncio.gather(fill(direct), fill(proxied))
    problems, count = [], 0
    async with running(proxied) as url:
        right = [pair async for pair in play(http, url)]
    left = [pair async for pair in play(http, direct)]
    for (step, before), (_, after) in zip(left, right, strict=True):
        count += 1
        found = difference(step, before, after)
        if found:
            problems.append(f"{step.method} {step.at} {step.query}: " + "; ".join(found))

    assert not problems, "\n".join(problems)
    return count


@pytest.mark.peer
async def test_transparency__docker_registry(
    http: aiohttp.ClientSession, start_docker_registry: StartRegistry
) -> None:
    """Against docker-registry: more than 150 requests, no difference but those that are named."""
    direct, proxied = await start_docker_registry(), await start_docker_registry()

    assert await compare(http, direct.url, proxied.url) > 150


async def test_transparency__in_process_registry(http: aiohttp.ClientSession) -> None:
    """Against a registry with referrers and all of OCI distribution 1.1: no difference."""
    async with AsyncExitStack() as stack:
        direct = await stack.enter_async_context(Registry())
        proxied = await stack.enter_async_context(Registry())

        assert await compare(http, direct.url, proxied.url) > 150


def test_script__is_long_enough() -> None:
    """The script covers every endpoint: more than 150 requests, each method among them."""
    steps = script()

    assert len(steps) > 150
    assert {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"} == {
        step.method for step in steps
    }
