"""An upstream at which things go wrong: `python -m bench.faulty --port 5000`.

The tests' registry, with numbered images and some blobs, where a share of all requests meets a
fault that is drawn for it. What it holds follows from the numbers in its arguments alone, so that
clients know what is right without asking it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from typing import TYPE_CHECKING

from bench.images import OCI_MANIFEST, digest, make
from tests.registry import BEFORE_HEADERS, Fault, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

IMAGES, BLOBS, ARTIFACT = "soak/images", "soak/blobs", "artifact"
LAYERS = 6
_KIB = 1 << 10
_BLOB_SIZES = tuple(size * _KIB for size in (1, 30, 200, 1000, 3000))
_LONGEST_WAIT = 0.5


def blob(number: int) -> bytes:
    """Return the bytes of a blob; its size is one of five."""
    return random.Random(number).randbytes(_BLOB_SIZES[number % len(_BLOB_SIZES)])


def artifact() -> bytes:
    """Return the manifest of something that is no image."""
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": digest("{}")}
    return json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty, "layers": [empty]}
    ).encode()


class Faulty(Registry):
    """A registry that meets a share of all requests with a fault of some kind."""

    def __init__(self, *, share: float, seed: int, redirect_blobs: bool, port: int) -> None:
        super().__init__(redirect_blobs=redirect_blobs, port=port)
        self._share = share
        self._random = random.Random(seed)

    def stock(self, images: int, blobs: int) -> None:
        """Store so many images and blobs, and an artifact."""
        for number in range(images):
            manifest, config = make(LAYERS, number)
            self.put_blob(IMAGES, config)
            self.put_manifest(IMAGES, manifest, OCI_MANIFEST, f"t{number}")
        self.put_blob(IMAGES, b"{}")
        self.put_manifest(IMAGES, artifact(), OCI_MANIFEST, ARTIFACT)
        for number in range(blobs):
            self.put_blob(BLOBS, blob(number))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.clear()  # nobody looks at them, and there are many
        self.faults[:] = [self._draw()] if self._random.random() < self._share else []
        return await super()._serve(request)

    def _draw(self) -> Fault:
        draw = self._random
        faults: list[Callable[[], Fault]] = [
            lambda: Fault(None, "", reset=BEFORE_HEADERS),
            lambda: Fault(None, "", reset=draw.randrange(2000)),
            lambda: Fault("GET", "", truncate=draw.randrange(100_000)),
            lambda: Fault(None, "", status=draw.choice((500, 502, 503))),
            lambda: Fault(None, "", status=429, headers={"Retry-After": "1"}),
            lambda: Fault(None, "", wait=self._soon()),
            lambda: Fault("GET", "", wait_body=self._soon()),
            # Blobs are the engine's to verify, config blobs the proxy's.
            lambda: Fault("GET", f"/{IMAGES}/blobs/", corrupt=True),
        ]
        return draw.choice(faults)()

    def _soon(self) -> asyncio.Event:
        event = asyncio.Event()
        wait = self._random.uniform(0, _LONGEST_WAIT)
        asyncio.get_running_loop().call_later(wait, event.set)
        return event


async def _serve(arguments: argparse.Namespace) -> None:
    registry = Faulty(
        share=arguments.share,
        seed=arguments.seed,
        redirect_blobs=arguments.redirect,
        port=arguments.port,
    )
    registry.stock(arguments.images, arguments.blobs)
    async with registry:
        await asyncio.Event().wait()


def main() -> None:
    """Read the arguments and serve until told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--blobs", type=int, default=20)
    parser.add_argument("--share", type=float, default=0.05, help="of requests that meet a fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--redirect", action="store_true", help="blobs to another port")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
