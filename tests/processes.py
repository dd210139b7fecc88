"""`regshim serve` as a process of its own, as users run it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.peers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

START_SECONDS = 20


class Served:
    """A running proxy; `config` is its file, `document` what was written there."""

    def __init__(
        self, config: Path, document: dict[str, Any], process: asyncio.subprocess.Process
    ) -> None:
        self.config, self.document, self.process = config, document, process
        self.port: int = document["listen"]["port"]
        self.admin = f"http://127.0.0.1:{document['admin']['port']}"
        self.pid = process.pid
        self.url = f"http://127.0.0.1:{self.port}"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to it."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    def memory(self, name: str) -> int:
        """Return VmRSS (now) or VmHWM (peak) in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) << 10

    def configure(self, **sections: Mapping[str, Any]) -> None:
        """Write keys of these sections into its config file, which it reads when it is told to."""
        for name, section in sections.items():
            self.document[name] = {**self.document.get(name, {}), **section}
        self.config.write_text(json.dumps(self.document), encoding="utf-8")

    async def line(self, event: str, **values: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return its next log line with this event and these values."""
        assert self.process.stderr is not None
        async with asyncio.timeout(START_SECONDS):
            async for text in self.process.stderr:
                entry: dict[str, Any] = json.loads(text)
                if {"event": event, **values}.items() <= entry.items():
                    return entry
        raise AssertionError(f"the process ended without {event!r}")

    async def kill(self) -> None:
        """End it as a lost machine would: at once, in the middle of whatever it does."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


@asynccontextmanager
async def serving(
    directory: Path, upstream: str, /, **sections: Mapping[str, Any]
) -> AsyncIterator[Served]:
    """Run the proxy in front of `upstream`; `sections` are sections of its config file."""
    async with _serving(directory, upstream, sections, None) as served:
        yield served


@asynccontextmanager
async def telling(
    directory: Path, upstream: str, /, **sections: Mapping[str, Any]
) -> AsyncIterator[Served]:
    """Run the proxy as `serving` does, with a log that the test reads: `Served.line`."""
    async with telling_after("", directory, upstream, **sections) as served:
        yield served


@asynccontextmanager
async def telling_after(
    command: str, directory: Path, upstream: str, /, **sections: Mapping[str, Any]
) -> AsyncIterator[Served]:
    """Run the proxy as `telling` does, in a shell that has run this command."""
    sections = {"log": {"level": "info"}, **sections}
    pipe = asyncio.subprocess.PIPE
    async with _serving(directory, upstream, sections, pipe, after=command) as served:
        yield served


def fill(into: int) -> None:
    """Leave no room in a pipe: whoever writes to it stands still until somebody reads."""
    os.set_blocking(into, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(into, bytes(4096)):
            pass
    os.set_blocking(into, True)


@asynccontextmanager
async def unread(
    directory: Path, upstream: str, /, **sections: Mapping[str, Any]
) -> AsyncIterator[Served]:
    """Run the proxy as `telling` does, but nobody reads its log: it is a pipe that is full."""
    sections = {"log": {"level": "info"}, **sections}
    out, into = os.pipe()
    try:
        fill(into)
        async with _serving(directory, upstream, sections, into) as served:
            yield served
    finally:
        os.close(out)
        os.close(into)


@asynccontextmanager
async def _serving(
    directory: Path,
    upstream: str,
    sections: Mapping[str, Mapping[str, Any]],
    stderr: int | None,
    *,
    after: str = "",
) -> AsyncIterator[Served]:
    port = free_port()
    document: dict[str, Any] = {"log": {"level": "error"}, **sections}
    document["upstream"] = {"url": upstream, **document.get("upstream", {})}
    document["listen"] = {"port": port, **document.get("listen", {})}
    document["admin"] = {"port": free_port(), **document.get("admin", {})}
    config = directory / f"config-{port}.yaml"
    config.write_text(json.dumps(document), encoding="utf-8")
    # Variables of the tests themselves begin with our prefix too, but are no keys.
    shell = ("sh", "-c", f'{after} && exec "$@"', "sh") if after else ()
    process = await asyncio.create_subprocess_exec(
        *(*shell, sys.executable, "-m", "proxy", "serve", "-c", str(config)),
        env=dict(os.environ),
        stderr=stderr,
    )
    served = Served(config, document, process)
    try:
        await _answering(served)
        yield served
    finally:
        await served.stop()


async def _answering(served: Served) -> None:
    """Wait until the process listens; there is nothing else to wait for than its port."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                _, writer = await served.connect()
            except ConnectionRefusedError:
                assert served.process.returncode is None, "the proxy did not start"
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return
