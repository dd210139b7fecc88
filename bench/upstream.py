"""A fast upstream registry of endless images: `python -m bench.upstream --port 5000`.

Tag `tN` of any repository is image number N, an OCI image that no file holds. The server
speaks just enough HTTP/1.1 for that, so that it costs a fraction of what the proxy does.
`/counts` tells how often each kind of document was asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
from typing import cast

from bench.images import OCI_CONFIG, OCI_MANIFEST, digest, make

_MANIFEST = re.compile(rb"/v2/.+/manifests/(?:t([0-9]{1,9})|(sha256:[0-9a-f]{64}))")
_BLOB = re.compile(rb"/v2/.+/blobs/(sha256:[0-9a-f]{64})")
_KNOWN = re.compile(rb'\r\nIf-None-Match: ("[^"]+")', re.IGNORECASE)
_NOT_FOUND = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"not here","detail":null}]}'
Reply = tuple[bytes, bytes]
"""Head and body of a reply."""


def reply(status: bytes, media_type: str, body: bytes) -> Reply:
    """Return a whole reply; its digest is that of its body."""
    head = (
        f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n"
        f"Docker-Distribution-Api-Version: registry/2.0\r\n"
        f'Docker-Content-Digest: {digest(body)}\r\nETag: "{digest(body)}"\r\n\r\n'
    )
    return b"HTTP/1.1 " + status + b"\r\n" + head.encode("ascii"), body


class Images:
    """Replies about images of so many layers, made when they are first asked for."""

    def __init__(self, layers: int) -> None:
        self._layers = layers
        self._by_tag: dict[int, Reply] = {}
        self._by_digest: dict[bytes, Reply] = {}
        self.counts = {"manifest": 0, "config": 0, "other": 0}

    def answer(self, target: bytes) -> Reply:
        """Return the reply to a GET of this path."""
        manifest = _MANIFEST.fullmatch(target)
        if manifest is not None:
            self.counts["manifest"] += 1
            return self._tag(int(manifest[1])) if manifest[1] else self._known(manifest[2])
        blob = _BLOB.fullmatch(target)
        if blob is not None:
            self.counts["config"] += 1
            return self._known(blob[1])
        if target == b"/counts":
            return reply(b"200 OK", "application/json", json.dumps(self.counts).encode())
        self.counts["other"] += 1
        if target == b"/v2/":
            return reply(b"200 OK", "application/json", b"{}")
        return self._known(b"")

    def _tag(self, number: int) -> Reply:
        known = self._by_tag.get(number)
        if known is None:
            manifest, config = make(self._layers, number)
            known = self._by_tag[number] = reply(b"200 OK", OCI_MANIFEST, manifest)
            self._by_digest[digest(manifest).encode()] = known
            self._by_digest[digest(config).encode()] = reply(b"200 OK", OCI_CONFIG, config)
        return known

    def _known(self, wanted: bytes) -> Reply:
        missing = reply(b"404 Not Found", "application/json", _NOT_FOUND)
        return self._by_digest.get(wanted) or missing


class Connection(asyncio.Protocol):
    """One connection: requests without bodies, answered in order."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is there to its end."""
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for request in requests:
            method, target, _ = request.split(b" ", 2)
            head, body = self._images.answer(target.partition(b"?")[0])
            known = _KNOWN.search(request)
            if known is not None and known[1] in head:
                self._transport.write(b"HTTP/1.1 304 Not Modified\r\nETag: %s\r\n\r\n" % known[1])
            else:
                self._transport.write(head if method == b"HEAD" else head + body)


async def serve(port: int, layers: int) -> None:
    """Serve until ended."""
    images = Images(layers)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(images), "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--layers", type=int, default=10)
    arguments = parser.parse_args()
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415  an extra; the server is faster with it

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(serve(arguments.port, arguments.layers))


if __name__ == "__main__":
    main()
