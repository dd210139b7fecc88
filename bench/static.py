"""The fastest upstream there is: nginx that serves manifests and blobs as files."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from bench.images import OCI_MANIFEST, digest, make
from bench.processes import nginx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.certificates import Pair
    from tests.peers import Peer

MANIFESTS = "/v2/bench/app/manifests/"
BLOBS = "/v2/bench/app/blobs/"
_CHUNK = 1 << 20
_HTTP = """\
    map_hash_bucket_size 256;
    map_hash_max_size 65536;
    open_file_cache max=10000;
    map $uri $digest {{
        default "";
{digests}
    }}
    server {{
        listen 127.0.0.1:{{port}} backlog=4096{tls};
        root {root};
        types {{}}
        add_header Docker-Content-Digest $digest;
        add_header Docker-Distribution-Api-Version registry/2.0;
        location {manifests} {{ default_type {media_type}; }}
        location {blobs} {{ default_type application/octet-stream; }}
    }}
"""


@contextlib.contextmanager
def static(
    directory: Path,
    *,
    images: int = 0,
    layers: int = 10,
    blobs: Mapping[str, int] | None = None,
    certificate: Pair | None = None,
) -> Iterator[Peer]:
    """Serve images `t0`, `t1` … by tag and digest, and blobs: digest → size, any bytes.

    With a certificate over TLS.

    The bytes of those blobs do not match their digests: nothing between nginx and the client
    of a blob is to verify them.
    """
    root = directory / "files"
    (root / MANIFESTS[1:]).mkdir(parents=True)
    (root / BLOBS[1:]).mkdir(parents=True)
    digests: dict[str, str] = {}
    for number in range(images):
        manifest, config = make(layers, number)
        (root / BLOBS[1:] / digest(config)).write_bytes(config)
        digests[BLOBS + digest(config)] = digest(config)
        for name in (f"t{number}", digest(manifest)):
            (root / MANIFESTS[1:] / name).write_bytes(manifest)
            digests[MANIFESTS + name] = digest(manifest)
    for name, size in (blobs or {}).items():
        digests[BLOBS + name] = name
        with (root / BLOBS[1:] / name).open("wb") as file:
            for _ in range(size // _CHUNK):
                file.write(os.urandom(_CHUNK))
    lines = "\n".join(f"        {path} {value};" for path, value in digests.items())
    tls = ""
    if certificate is not None:
        pair = (
            f"ssl_certificate {certificate.cert_file}; ssl_certificate_key {certificate.key_file}"
        )
        tls = f" ssl; {pair}"
    http = _HTTP.format(
        digests=lines,
        root=root,
        manifests=MANIFESTS,
        blobs=BLOBS,
        media_type=OCI_MANIFEST,
        tls=tls,
    )
    with nginx(directory, http) as peer:
        yield peer
