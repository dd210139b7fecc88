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
from bench.figures import Figure, Report, show, table
from bench.images import digest, make
from bench.load import OLD_DOCKER, Load, apply
from bench.processes import hello, machine, memory, place, proxy
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


def downloads(count: int, mib: int) -> list[Figure]:
    """Return the figures of a process that idles, and of one with so many downloads, in MiB."""
    with place() as directory, static(directory, images=1, blobs={BLOB: mib * MIB}) as upstream:
        with proxy(directory, upstream.url) as ours:
            time.sleep(_SETTLE)
            idle = memory(ours.pid)
            anonymous = memory(ours.pid, "RssAnon")
            with hello(directory) as world:
                time.sleep(_SETTLE)
                least = memory(world.pid)
            load = Load(port=ours.port, path=MANIFESTS + "t0", headers=OLD_DOCKER, requests=5000)
            apply(load)
            warm = memory(ours.pid)
            read(ours.port, BLOBS + BLOB, count)
            flowing = memory(ours.pid, "VmHWM") - warm
        with proxy(directory, upstream.url) as ours:
            before = memory(ours.pid)
            stall(ours.port, BLOBS + BLOB, count, _SETTLE)
            stalled = memory(ours.pid, "VmHWM") - before
    return [
        _mib("memory, idle, just started", idle, 60),
        _mib("of it shared with no file", anonymous),
        Figure.ratio("memory, idle ÷ aiohttp's hello-world", [idle], [least], better="lower"),
        _mib("memory, idle, after 5,000 pulls", warm, 60),
        _mib(f"{count} downloads that flow: added peak", flowing, 100),
        _mib(f"{count} downloads that stall: added peak", stalled),
    ]


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


def _mib(name: str, size: float, most: float | None = None) -> Figure:
    return Figure.of(f"{name}, MiB", [size / MIB], most=most, digits=0)


def report(count: int, mib: int, translations: int) -> Report:
    """Measure processes that idle and stream, and one that keeps translations."""
    figures = downloads(count, mib)
    # In a process of its own, where nothing else takes or frees memory.
    command = [sys.executable, "-m", "bench.memory", "--only-entries"]
    command += ["--entries", str(translations)]
    each = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    rows = [
        ("its body", f"{each['body']:,.0f}"),
        ("counted by cache.memory", f"{each['counted']:,.0f}"),
        ("really", f"{each['real']:,.0f}"),
        ("how many the default 64 MiB hold", f"{64 * MIB / each['counted']:,.0f}"),
    ]
    share = [each["real"] / each["counted"]]
    figures.append(Figure.of("a translation in memory: real ÷ counted bytes", share, most=1.0))
    return Report(table((f"one of {translations:,} translations", "bytes"), rows), figures)


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
    show(report(arguments.downloads, arguments.mib, arguments.entries))


if __name__ == "__main__":
    main()
