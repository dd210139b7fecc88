"""The proxy itself, served on a free port of 127.0.0.1 in front of an upstream of the test."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec

from proxy.app import build
from proxy.config.reading import parse
from proxy.process.serving import serving
from proxy.tls import ServerTls
from proxy.translate.jws import SigningKey
from tests.registry import Registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from proxy.config.config import Config

KEY = SigningKey(ec.derive_private_key(2, ec.SECP256R1()))
"""The same key in every run, so that a digest in a failing test means the same tomorrow."""


def config_for(url: str, /, **sections: Mapping[str, Any]) -> Config:
    """Return a config as its file would make it; `sections` are sections of the file.

    `config_for(url, upstream={"timeouts": {"idle": "100ms"}}, limits={"manifest": 1000})`

    Without `retries` each request is sent once, so that a test counts what it asked for.
    """
    document = {name: dict(section) for name, section in sections.items()}
    upstream = document.setdefault("upstream", {})
    upstream["url"] = url
    upstream.setdefault("retries", {"attempts": 1})
    return parse(json.dumps(document), {})


@asynccontextmanager
async def running(
    behind: Registry | str, /, *, key: SigningKey = KEY, **sections: Mapping[str, Any]
) -> AsyncIterator[str]:
    """Serve the proxy in front of a registry or URL and yield its own base URL."""
    url = behind.url if isinstance(behind, Registry) else behind
    config = config_for(url, **sections)
    tls = None if config.listen.tls.cert_file is None else ServerTls(config.listen.tls)
    async with serving(build(config, key), "127.0.0.1", 0, tls=tls) as port:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
