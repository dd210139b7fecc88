"""Whether a configuration works: each part tried once, with what to do about it if not."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from proxy.answer import PullRequest
from proxy.client_rules import client_settings
from proxy.config import Config
from proxy.connecting import connected
from proxy.errors import ConfigError, RegistryError
from proxy.explain import parse_image
from proxy.htpasswd import Htpasswd
from proxy.keyfile import load_or_create
from proxy.manifest.parse import stored_type
from proxy.metrics import Metrics
from proxy.spec.challenge import challenge_schemes
from proxy.store.durable import open_durable
from proxy.store.entries import StoreFailedError
from proxy.tls import ServerTls
from proxy.translate.client import understand
from proxy.upstream.client import UpstreamRegistry

_EVERYTHING: Final = ("*/*",)
_PROBE: Final = "check"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was tried: whether it works, what was found, what to do if it does not."""

    name: str
    works: bool
    found: str
    advice: str = ""


def check_files(config: Config) -> Iterator[Finding]:
    """Yield what can be told without a network: key, certificates, htpasswd."""
    yield _tried(
        "signing key",
        lambda: _key(config.translate.signing_key_file),
        "make its directory writable for the proxy, or put a PEM key of P-256 there",
    )
    if config.listen.tls.cert_file is not None:
        yield _tried(
            "listen.tls",
            lambda: f"certificate good until {ServerTls(config.listen.tls).expires.isoformat()}",
            "give a PEM certificate chain and its key",
        )
    htpasswd = config.listen.htpasswd
    if htpasswd is not None:
        yield _tried(
            "listen.htpasswd",
            lambda: _readable(htpasswd),
            "make it with `htpasswd -B`: bcrypt is the one format that is read",
        )


async def check_services(config: Config, image: str | None) -> AsyncIterator[Finding]:
    """Yield what the upstream and the store say; `image` is one to look at, REPOSITORY[:TAG]."""
    key = load_or_create(None)
    try:
        async with connected(config, key, Metrics()) as connections:
            async for finding in _check_upstream(config, connections.upstream):
                yield finding
            if image is not None:
                yield await _check_image(config, connections.upstream, image)
    except ConfigError as error:
        yield Finding("upstream", works=False, found=str(error), advice="mend this key first")
    if config.cache.store is not None:
        yield await _check_store(config)


async def _check_upstream(config: Config, upstream: UpstreamRegistry) -> AsyncIterator[Finding]:
    try:
        stream = await upstream.open("GET", "/v2/", [])
        await stream.close()
    except RegistryError as error:
        yield Finding(
            "upstream", works=False, found=error.message, advice="see upstream.url and ca_file"
        )
        return
    status = stream.status
    yield Finding(
        "upstream",
        works=status in {200, 401, 403},
        found=f"answers {status}",
        advice="a registry answers 200 or 401 to /v2/: is the path in upstream.url right?",
    )
    version = stream.headers.get("Docker-Distribution-Api-Version")
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
        found = f"the upstream answers {document.status}"
        return Finding(image, works=False, found=found, advice=advice)
    stored = stored_type(document.body, document.headers.get("Content-Type"))
    found = f"stored is {stored.words}" if stored else "stored is no image"
    return Finding(image, works=stored is not None, found=found, advice="name an image")


async def _check_store(config: Config) -> Finding:
    cache = config.cache
    try:
        kind, entries = open_durable(
            cache.store or "",
            max_bytes=cache.store_size,
            ttl=cache.store_ttl,
            timeout=cache.store_timeout,
        )
    except ConfigError as error:
        return Finding("store", works=False, found=str(error), advice="see cache.store")
    try:
        await entries.put({_PROBE: b"1"})
        kept = await entries.get(_PROBE) == b"1"
    except StoreFailedError as error:
        return Finding(
            "store", works=False, found=str(error), advice="pulls work without, more slowly"
        )
    finally:
        await entries.close()
    found = f"{kind} keeps what is put" if kept else f"{kind} forgets what is put"
    return Finding("store", works=kept, found=found, advice="is there room in it?")


def _key(path: Path | None) -> str:
    kid = load_or_create(path).kid
    return (
        f"{kid}" if path else "made anew at each start: set translate.signing_key_file to keep it"
    )


def _readable(htpasswd: Path) -> str:
    Htpasswd.load(htpasswd)
    return "readable"


def _tried(name: str, attempt: Callable[[], str], advice: str) -> Finding:
    try:
        return Finding(name, works=True, found=attempt())
    except ConfigError as error:
        return Finding(name, works=False, found=str(error), advice=advice)
