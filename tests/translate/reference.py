"""docker-registry as the reference: what it makes of an image for a client without Accept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp

from proxy.manifest.schema1 import payload_of
from tests.strategies import BLOBS, MANIFEST, sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.strategies import GeneratedImage

CONNECTIONS = 8


class Reference:
    """Asks a docker-registry for the schema 1 payloads of images."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._pushed: dict[tuple[str, bytes], asyncio.Task[None]] = {}

    async def push(self, image: GeneratedImage) -> None:
        """Push the image under its tag."""
        for blob in (*BLOBS, image.config):
            await self._blob(image.repository, blob)
        headers = {"Content-Type": MANIFEST["schema2"]}
        async with (
            self._free,
            self._session.put(self._at(image), data=image.manifest(), headers=headers) as reply,
        ):
            assert reply.status == 201, await reply.text()

    async def payload(self, image: GeneratedImage) -> bytes | None:
        """Return the payload that it serves, None if it fails on the image."""
        try:
            async with self._free, self._session.get(self._at(image)) as reply:
                return payload_of(await reply.read()) if reply.status == 200 else None
        except aiohttp.ServerDisconnectedError:
            # It panics where rootfs is missing.
            return None

    def _at(self, image: GeneratedImage) -> str:
        return f"{self._url}/v2/{image.repository}/manifests/{image.tag}"

    async def _blob(self, repository: str, blob: bytes) -> None:
        # Once: a second push of a blob empties its link for a moment, in which the
        # registry calls a manifest that names it invalid.
        if (repository, blob) not in self._pushed:
            self._pushed[repository, blob] = asyncio.create_task(self._push(repository, blob))
        await self._pushed[repository, blob]

    async def _push(self, repository: str, blob: bytes) -> None:
        async with self._free:
            await self._push_blob(repository, blob)

    async def _push_blob(self, repository: str, blob: bytes) -> None:
        async with self._session.post(f"{self._url}/v2/{repository}/blobs/uploads/") as reply:
            assert reply.status == 202, await reply.text()
            location = reply.headers["Location"]
        address = f"{location}&digest={sha256(blob)}"
        async with self._session.put(address, data=blob) as reply:
            assert reply.status == 201, await reply.text()


async def payloads(url: str, images: Sequence[GeneratedImage]) -> list[bytes | None]:
    """Return the reference's payload of each image, None where it fails."""
    # Where it panics it ends the connection: another request must not be the one to find out.
    connector = aiohttp.TCPConnector(force_close=True)
    # Not even `Accept: */*`, which aiohttp would send.
    async with aiohttp.ClientSession(connector=connector, skip_auto_headers={"Accept"}) as session:
        reference = Reference(url, session)
        # All are there before the first is asked for: images that differ in the tag alone are
        # one manifest, and each push of it empties the manifest's link for a moment.
        await asyncio.gather(*(reference.push(image) for image in images))
        found = await asyncio.gather(*(reference.payload(image) for image in images))
        # It puts the empty layer into its storage whenever it converts, and refuses an image
        # while another conversion is at that. So what it refused is asked for again, alone.
        return [
            payload or await reference.payload(image) or await reference.payload(image)
            for image, payload in zip(images, found, strict=True)
        ]
