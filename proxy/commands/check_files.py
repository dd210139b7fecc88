"""Whether the files and extras that a configuration needs are there: no network is.

Law: each is read by the very function that serving reads it with. Nothing is made that the
proxy would make: whoever checks may be another user, whose files the proxy could not read.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote

from proxy.app import tracing_of, users_of
from proxy.causes import cause_of
from proxy.commands.findings import Finding, must_be_writable, tried
from proxy.config.config import Cache, Config, TracingTo
from proxy.config.values import StoreUrl
from proxy.connecting import own_credentials
from proxy.errors import ConfigError
from proxy.keyfile import load
from proxy.store.durable import open_durable, sqlite_file
from proxy.store.entries import StoreFailedError
from proxy.tls import ServerTls, upstream_context
from proxy.tracing import traces_url

_PROBE: Final = "check"
_MADE_LATER: Final = "will be made at the first start"
_NO_STORE: Final = "see cache.store; pulls work without it, but nothing outlives a restart"
_NO_START: Final = "mend cache.store, or install that: the proxy does not start without it"


def check_files(config: Config) -> Iterator[Finding]:
    """Yield whether keys, certificates, passwords and extras can be used."""
    listen, upstream, tracing = config.listen, config.upstream, config.tracing
    yield tried(
        "signing key",
        lambda: _key(config.translate.signing_key_file),
        "the proxy makes it in a directory that it may write to; or put a PEM key of P-256 there",
    )
    if listen.tls.cert_file is not None:
        yield tried(
            "certificate",
            lambda: f"certificate good until {ServerTls(listen.tls).expires.isoformat()}",
            "give a PEM certificate chain and its key",
        )
    if listen.htpasswd is not None:
        yield tried(
            "users",
            lambda: _readable(users_of(listen.htpasswd)),
            "make it with `htpasswd -B`: bcrypt is the one format that is read",
        )
    if upstream.ca_file is not None or upstream.client_cert_file is not None:
        yield tried(
            "upstream certificates",
            lambda: _readable(upstream_context(upstream)),
            "give PEM files: authorities for ca_file, the proxy's own for client_cert_file",
        )
    if upstream.auth.holds_credentials:
        yield tried(
            "upstream credentials",
            lambda: _readable(own_credentials(upstream)),
            "give the file that it names, readable for the proxy",
        )
    endpoint = tracing.endpoint
    if endpoint is not None:
        yield tried(
            "tracing",
            lambda: _tracing(tracing, endpoint),
            "install regshim with the extra, or leave tracing.endpoint away",
        )


def _key(path: Path | None) -> str:
    if path is None:
        return "made anew at each start: set translate.signing_key_file to keep it"
    key = load(path)
    if key is not None:
        return key.kid
    must_be_writable(path.parent)
    return f"{path} {_MADE_LATER}"


def _tracing(tracing: TracingTo, endpoint: str) -> str:
    tracing_of(tracing).close()
    return f"spans go to {traces_url(endpoint)}"


def _readable(_found: object) -> str:
    return "can be used"


async def check_store(cache: Cache, *, offline: bool = False) -> Finding | None:
    """Return whether the durable store keeps what is put into it; None if there is no store.

    Where a sqlite file is still to be made, one beside it is tried and removed.
    """
    if cache.store is None:
        return None
    try:
        return await _store(cache, cache.store, offline=offline)
    except (ConfigError, OSError) as error:  # OSError: of the directory that its file is in
        return Finding("store", works=False, found=str(error), advice=_NO_STORE)
    except StoreFailedError as error:
        cause = cause_of(error)
        advice = f"{cause.advice} {_NO_STORE}" if cause else _NO_STORE
        return Finding("store", works=False, found=str(error), advice=advice)


async def _store(cache: Cache, url: StoreUrl, *, offline: bool) -> Finding:
    file = sqlite_file(url)
    if file is None:
        return await _tried(cache, url, offline=offline)
    if file.exists():
        return await _tried(cache, url)
    must_be_writable(file.parent)
    with TemporaryDirectory(prefix=".regshim-check-", dir=file.parent) as directory:
        found = await _tried(cache, f"sqlite://{quote(f'{directory}/{file.name}')}")
    if not found.works:
        return found
    return Finding("store", works=True, found=f"{file} {_MADE_LATER}; {found.found}")


async def _tried(cache: Cache, url: str, *, offline: bool = False) -> Finding:
    """Return whether a store keeps a value; StoreFailedError if it cannot be asked."""
    try:
        kind, entries = open_durable(
            url, max_bytes=cache.store_size, ttl=cache.store_ttl, timeout=cache.store_timeout
        )
    except ConfigError as error:
        found = str(error).removeprefix("cache.store: ")
        return Finding("store", works=False, found=found, advice=_NO_START)
    try:
        if offline:
            return Finding(
                "store",
                works=None,
                found=f"{kind} was not asked",
                advice="leave --offline away to try it",
            )
        await entries.put({_PROBE: b"1"})
        kept = await entries.get(_PROBE) == b"1"
    finally:
        await entries.close()
    found = f"{kind} keeps what is put" if kept else f"{kind} forgets what is put"
    return Finding("store", works=kept, found=found, advice="is there room in it?")
