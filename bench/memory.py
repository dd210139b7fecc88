"""Memory of one process: idle, with 500 downloads, with 100,000 translations.

`python -m bench.memory`. Downloads are measured twice: all 500 read as fast as they can, and
all 500 stalled after their first byte, which is the most that a proxy may ever have to hold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time

from bench.blobs import GIB, MIB, read
from bench.figures import table
from bench.images import digest, make
from bench.load import OLD_DOCKER, Load, apply
from bench.processes import machine, memory, place, proxy
from bench.static import BLOBS, MANIFESTS, static
from proxy.keyfile import load_or_create
from proxy.manifest.image import ImageManifest
from proxy.manifest.parse import parse
from proxy.spec.digest import Digest
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Repository, Tag
from proxy.store.memory import MemoryEntries
from proxy.store.record import Translation, TranslationKey
from proxy.store.translations import Translations
from proxy.translate.to_schema1 import to_schema1

BLOB = "sha256:" + "a" * 64
_SETTLE = 3.0


def stall(port: int, path: str, streams: int, seconds: float) -> None:
    """GET a path on so many connections, read the beginning of each reply, and wait."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(streams):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(request)
            connections.append(connection)
        for connection in connections:
            connection.settimeout(60)
            if not connection.recv(1):
                raise RuntimeError("a download ended before it began")
        time.sleep(seconds)


def downloads(count: int, mib: int) -> list[tuple[str, ...]]:
    """Return the rows about a process that idles, and one with so many downloads."""
    with place() as directory, static(directory, images=1, blobs={BLOB: mib * MIB}) as upstream:
        rows: list[tuple[str, ...]] = []
        with proxy(directory, upstream.url) as ours:
            idle = memory(ours.pid)
            rows.append(("idle, just started", _mib(idle), "≤ 60"))
            load = Load(port=ours.port, path=MANIFESTS + "t0", headers=OLD_DOCKER, requests=5000)
            apply(load)
            warm = memory(ours.pid)
            rows.append(("idle, after 5,000 pulls", _mib(warm), "≤ 60"))
            read(ours.port, BLOBS + BLOB, count)
            peak = memory(ours.pid, "VmHWM")
            rows.append((f"{count} downloads that flow, added peak", _mib(peak - warm), "≤ 100"))
        with proxy(directory, upstream.url) as ours:
            idle = memory(ours.pid)
            stall(ours.port, BLOBS + BLOB, count, _SETTLE)
            peak = memory(ours.pid, "VmHWM")
            rows.append((f"{count} downloads that stall, added peak", _mib(peak - idle), ""))
    return rows


def entries(count: int) -> dict[str, float]:
    """Keep so many translations in memory; return bytes each: counted, and of the process."""
    manifest, config = make(10, 0)
    image = parse(manifest, MediaType.OCI_MANIFEST)
    assert isinstance(image, ImageManifest)
    repository = Repository("bench/app")
    made = to_schema1(image, config, repository=repository, tag=Tag("t0"), key=load_or_create(None))
    store = MemoryEntries(64 * GIB)
    translations = Translations(store)
    before = memory(os.getpid())

    async def fill() -> None:
        for number in range(count):
            source = Digest(digest(f"source {number}"))
            translation = Translation(
                body=made.body,
                media_type=made.media_type,
                digest=Digest(digest(f"translated {number}")),
                repository=repository,
                source=source,
                source_type=MediaType.OCI_MANIFEST,
                tag=f"t{number}",
            )
            key = TranslationKey(repository, source, made.media_type, f"t{number}")
            await translations.put(key, translation)

    asyncio.run(fill())
    return {
        "body": len(made.body),
        "counted": store.size / count,
        "real": (memory(os.getpid()) - before) / count,
    }


def _mib(size: float) -> str:
    return f"{size / MIB:.0f} MiB"


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--downloads", type=int, default=500)
    parser.add_argument("--mib", type=int, default=8, help="size of the blob")
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--only-entries", action="store_true", help="print them as JSON")
    arguments = parser.parse_args()
    if arguments.only_entries:
        print(json.dumps(entries(arguments.entries)))
        return
    print(machine())
    rows = downloads(arguments.downloads, arguments.mib)
    # In a process of its own, where nothing else takes or frees memory.
    command = [sys.executable, "-m", "bench.memory", "--only-entries"]
    command += ["--entries", str(arguments.entries)]
    each = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    what = f"{arguments.entries:,} translations of {each['body']:,.0f} bytes, each"
    rows += [
        (f"{what}: counted by cache.memory", f"{each['counted']:,.0f} bytes", ""),
        (f"{what}: really", f"{each['real']:,.0f} bytes", "≤ counted"),
        ("translations in the default 64 MiB", f"{64 * MIB / each['counted']:,.0f}", ""),
    ]
    print(table(("memory of one process", "measured", "target"), rows))


if __name__ == "__main__":
    main()
