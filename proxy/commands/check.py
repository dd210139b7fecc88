"""Whether a configuration works: each part tried once, with what to do about it if not."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

import msgspec

from proxy.answer import PullRequest
from proxy.causes import cause_of
from proxy.commands.check_files import check_files, check_store
from proxy.commands.explain import parse_image, refused_with
from proxy.commands.findings import Finding
from proxy.config.client_rules import client_settings
from proxy.config.config import Cache, Config
from proxy.connecting import connected
from proxy.errors import ConfigError, RegistryError
from proxy.keyfile import load_or_create
from proxy.manifest.parse import stored_type
from proxy.metrics import Metrics
from proxy.spec.challenge import challenge_schemes
from proxy.translate.client import understand
from proxy.upstream.client import UpstreamRegistry

_EVERYTHING: Final = ("*/*",)
_VERSION: Final = "Docker-Distribution-Api-Version"
_LONGEST_REPLY: Final = 1 << 20
_COLLECTOR_SECONDS: Final = 5.0


async def check(
    config: Config, image: str | None = None, *, offline: bool = False
) -> AsyncIterator[Finding]:
    """Yield what is found of every part; `offline`, of what needs no network alone.

    `image` is one to look at, REPOSITORY[:TAG].
    """
    for finding in check_files(config):
        yield finding
    if not offline:
        async for finding in check_upstream(config, image):
            yield finding
        if config.tracing.endpoint is not None:
            yield await check_collector(config.tracing.endpoint)
    store = await check_store(config.cache, offline=offline)
    if store is not None:
        yield store


async def check_collector(endpoint: str) -> Finding:
    """Return whether something listens where traces are sent; it is sent none."""
    there = urlsplit(endpoint)
    port = there.port or (443 if there.scheme == "https" else 80)
    try:
        async with asyncio.timeout(_COLLECTOR_SECONDS):
            _, writer = await asyncio.open_connection(there.hostname, port)
    except OSError as error:
        cause = cause_of(error)
        return Finding(
            "collector",
            works=False,
            found=cause.found if cause else "cannot be reached",
            advice=f"see tracing.endpoint: {cause.advice if cause else 'is it right?'} "
            "requests work without it, but their traces are lost",
        )
    writer.close()
    return Finding("collector", works=True, found=f"listens on port {port} of {there.hostname}")


async def check_upstream(config: Config, image: str | None = None) -> AsyncIterator[Finding]:
    """Yield what the upstream says, and in which format it keeps `image`."""
    key = load_or_create(None)
    # The store is tried by itself: whatever is wrong with it says nothing of the upstream.
    config = msgspec.structs.replace(config, cache=Cache())
    try:
        async with connected(config, key, Metrics()) as connections:
            works = True
            async for finding in _ping(config, connections.upstream):
                yield finding
                works = works and finding.works is True
            if image is not None:
                yield await _check_image(config, connections.upstream, image)
            elif works:
                yield Finding(
                    "stored format",
                    works=None,
                    found="not looked at: schema 1, schema 2 or OCI, which registries keep or not",
                    advice="give --image REPO:TAG to see in which format one is stored",
                )
    except ConfigError as error:
        yield Finding("upstream", works=False, found=str(error), advice="mend this key first")


async def _ping(config: Config, upstream: UpstreamRegistry) -> AsyncIterator[Finding]:
    try:
        stream = await upstream.open("GET", "/v2/", [])
        body = await stream.read(_LONGEST_REPLY, "reply to /v2/")
    except RegistryError as error:
        yield _unreachable(error, config.upstream.url)
        return
    status, version = stream.status, stream.headers.get(_VERSION)
    if status == 200 and version is None and not _is_json(body):
        found = "answers 200, but with something that is no registry's: neither JSON nor "
        yield _no_registry(found + _VERSION, config.upstream.url)
        return
    if status not in {200, 401, 403}:
        yield _no_registry(f"answers {status}", config.upstream.url)
        return
    yield Finding("upstream", works=True, found=f"answers {status}")
    yield Finding("API version", works=True, found=version or "not told; the proxy adds it")
    schemes = challenge_schemes(stream.headers.getall("WWW-Authenticate", []))
    if config.upstream.auth.holds_credentials:
        yield Finding(
            "credentials",
            works=status == 200,
            found="accepted" if status == 200 else f"refused with {status}",
            advice="see upstream.auth",
        )
    else:
        found = " and ".join(schemes) or "none asked for on /v2/"
        yield Finding("authentication", works=True, found=f"{found}; the clients' own are used")


def _unreachable(error: RegistryError, url: str) -> Finding:
    cause = cause_of(error)
    if cause is not None:
        advice = f"see upstream.url: {cause.advice}"
    elif url.lower().startswith("https:"):
        advice = "see upstream.url and ca_file: does this port speak TLS, and who signed for it?"
    else:
        advice = "see upstream.url: does this port want https?"
    found = f"{error.message}: {cause.found}" if cause else error.message
    return Finding("upstream", works=False, found=found, advice=advice)


def _no_registry(found: str, url: str) -> Finding:
    advice = "a registry answers 200 or 401 to /v2/: are host and path in upstream.url right?"
    if url.rstrip("/").endswith("/v2"):
        advice = "leave /v2 out of upstream.url: the proxy adds it"
    return Finding("upstream", works=False, found=found, advice=advice)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


async def _check_image(config: Config, upstream: UpstreamRegistry, image: str) -> Finding:
    advice = "name an image that the proxy's or anonymous credentials may read"
    try:
        repository, tag = parse_image(image)
        client = understand(_EVERYTHING, "", client_settings(config))
        accept = PullRequest("GET", repository, (), client).accept
        document = await upstream.manifest("GET", repository, tag, [("Accept", accept)])
    except RegistryError as error:
        return Finding(image, works=False, found=error.message, advice=advice)
    if document.status != 200:
        found = refused_with(document.status, document.body)
        return Finding(image, works=False, found=found, advice=advice)
    stored = stored_type(document.body, document.headers.get("Content-Type"))
    found = f"stored is {stored.words}" if stored else "stored is no image"
    return Finding(image, works=stored is not None, found=found, advice="name an image")
