"""A sample registry for `serve --sample`: in process, read-only, one real image for two CPUs.

The image is made here, byte by byte: a root filesystem whose only program says hello through
two system calls. It is stored as a modern build tool stores it, as an OCI index with OCI
images, so that an old engine can pull and run it only by way of a translation.
"""

import gzip
import io
import json
import struct
import tarfile
from typing import Final

import msgspec
from aiohttp import web

from proxy.spec.digest import digest_of
from proxy.spec.media_types import OCI_CONFIG, MediaType

REPOSITORY: Final = "sample/hello"
TAG: Final = "latest"
_MESSAGE: Final = b"Hello from an OCI image, pulled through regshim.\n"
_CREATED: Final = "2026-01-01T00:00:00Z"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"


def application() -> web.Application:
    """Return the sample registry."""
    content = _Content()
    architectures = {"amd64": _amd64(_MESSAGE), "arm64": _arm64(_MESSAGE)}
    children = [content.add_image(name, program) for name, program in architectures.items()]
    content.add_manifest(
        {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": children},
        MediaType.OCI_INDEX,
        tag=TAG,
    )
    app = web.Application()
    app.router.add_get("/v2/", _ping)
    app.router.add_get(f"/v2/{REPOSITORY}/tags/list", _tags)
    app.router.add_get(f"/v2/{REPOSITORY}/manifests/{{reference}}", content.manifest)
    app.router.add_get(f"/v2/{REPOSITORY}/blobs/{{reference}}", content.blob)
    return app


def demonstration(address: str, admin: str) -> str:
    """Return the lines that show a translation, for a proxy and its admin port."""
    image = f"{address}/{REPOSITORY}:{TAG}"
    url = f"http://{address}/v2/{REPOSITORY}/manifests/{TAG}"
    return f"""
regshim serves {address} in front of a sample registry that holds an OCI index.

As Docker 1.9 asks, without an Accept header: signed schema 1 comes back.
  curl -i -H 'Accept:' {url}

As Docker 1.12 asks: schema 2.
  curl -i -H 'Accept: {MediaType.SCHEMA2}' \\
    {url}

As a modern client asks: the OCI index, as it is stored.
  curl -i -H 'Accept: {MediaType.OCI_INDEX}' \\
    {url}

With an engine, however old:
  docker pull {image} && docker run --rm {image}

What it has done, and for whom: the status page, in a browser.
  http://{admin}/

Stop with Ctrl-C.
"""


class _Content:
    """What the registry holds: blobs by digest, manifests by digest and tag."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._manifests: dict[str, tuple[bytes, str]] = {}

    def add_image(self, architecture: str, program: bytes) -> dict[str, object]:
        """Add an image of one program and return its descriptor."""
        layers = [
            _tar({"etc/os-release": b"NAME=sample\nID=sample\n"}),
            _tar({"hello": program}, mode=0o755),
        ]
        config = {
            "created": _CREATED,
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/hello"], "Env": ["PATH=/"], "Labels": {"sample": "regshim"}},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
            "history": [
                {"created": _CREATED, "created_by": "COPY os-release /etc/"},
                {"created": _CREATED, "created_by": "ENV PATH=/", "empty_layer": True},
                {"created": _CREATED, "created_by": "COPY hello /"},
            ],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MediaType.OCI_MANIFEST,
            "config": self._add_blob(json.dumps(config).encode(), OCI_CONFIG),
            "layers": [self._add_blob(gzip.compress(layer, mtime=0), _LAYER) for layer in layers],
        }
        platform = {"architecture": architecture, "os": "linux"}
        return {**self.add_manifest(manifest, MediaType.OCI_MANIFEST), "platform": platform}

    def add_manifest(
        self, document: object, media_type: str, *, tag: str | None = None
    ) -> dict[str, object]:
        """Add a manifest and return its descriptor."""
        body = msgspec.json.encode(document)
        self._manifests[digest_of(body)] = (body, media_type)
        if tag is not None:
            self._manifests[tag] = (body, media_type)
        return {"mediaType": media_type, "size": len(body), "digest": digest_of(body)}

    def _add_blob(self, content: bytes, media_type: str) -> dict[str, object]:
        self._blobs[digest_of(content)] = content
        return {"mediaType": media_type, "size": len(content), "digest": digest_of(content)}

    async def manifest(self, request: web.Request) -> web.Response:
        """Answer GET and HEAD of a manifest with what is stored, whatever was accepted."""
        found = self._manifests.get(request.match_info["reference"])
        if found is None:
            return _unknown("MANIFEST_UNKNOWN", "manifest unknown")
        body, media_type = found
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest_of(body)}
        return web.Response(body=body, headers=headers)

    async def blob(self, request: web.Request) -> web.Response:
        """Answer GET and HEAD of a blob."""
        digest = request.match_info["reference"]
        content = self._blobs.get(digest)
        if content is None:
            return _unknown("BLOB_UNKNOWN", "blob unknown to registry")
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        return web.Response(body=content, headers=headers)


async def _ping(_: web.Request) -> web.Response:
    return web.json_response({})


async def _tags(_: web.Request) -> web.Response:
    return web.json_response({"name": REPOSITORY, "tags": [TAG]})


def _unknown(code: str, message: str) -> web.Response:
    error = {"code": code, "message": message, "detail": None}
    return web.json_response({"errors": [error]}, status=404)


def _tar(files: dict[str, bytes], *, mode: int = 0o644) -> bytes:
    """Return a tar of `files`, the same bytes every time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _amd64(message: bytes) -> bytes:
    """Return an x86-64 Linux program that writes `message` and exits."""
    after_load = struct.pack("<BI", 0xBA, len(message))  # mov edx, length
    after_load += b"\x0f\x05"  # syscall: write
    after_load += b"\xb8\x3c\x00\x00\x00" + b"\x31\xff" + b"\x0f\x05"  # exit(0)
    code = b"\xb8\x01\x00\x00\x00" + b"\xbf\x01\x00\x00\x00"  # eax = write, edi = stdout
    code += b"\x48\x8d\x35" + struct.pack("<i", len(after_load))  # lea rsi, [rip + …]
    return _elf(0x3E, code + after_load + message)


def _arm64(message: bytes) -> bytes:
    """Return an AArch64 Linux program that writes `message` and exits."""
    distance = 7 * 4  # from the adr, the second of eight instructions, to the message
    instructions = (
        0xD2800020,  # mov x0, #1
        0x10000001 | (distance & 3) << 29 | (distance >> 2) << 5,  # adr x1, message
        0xD2800002 | len(message) << 5,  # mov x2, #length
        0xD2800808,  # mov x8, #64: write
        0xD4000001,  # svc #0
        0xD2800000,  # mov x0, #0
        0xD2800BA8,  # mov x8, #93: exit
        0xD4000001,  # svc #0
    )
    return _elf(0xB7, struct.pack("<8I", *instructions) + message)


def _elf(machine: int, code: bytes) -> bytes:
    """Return a static 64-bit little-endian ELF executable of one loaded segment."""
    base, headers = 0x400000, 64 + 56
    size = headers + len(code)
    identification = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x10000)
    return identification + header + segment + code
