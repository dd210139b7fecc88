"""Debian's podman, alone: all that it keeps and reads lies in a directory of its own.

Whatever it would ask of another address than 127.0.0.1 goes to a proxy that is not there.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.peers import Result, require_peer, run

if TYPE_CHECKING:
    from collections.abc import Iterator

NOWHERE = "http://127.0.0.1:1"

MIRROR = """\
unqualified-search-registries = []
[[registry]]
prefix = "{prefix}"
location = "{location}"
[[registry.mirror]]
location = "{mirror}"
insecure = true
"""


@dataclass(frozen=True)
class Podman:
    """Podman with its files in this directory."""

    directory: Path

    async def __call__(self, *arguments: str) -> Result:
        """Run a command; fail the test if it fails."""
        result = await self.attempt(*arguments)
        assert result.returncode == 0, result.stderr
        return result

    async def attempt(self, *arguments: str) -> Result:
        """Run a command, whatever comes of it."""
        home = self.directory
        environment = {
            "CONTAINERS_REGISTRIES_CONF": str(home / "registries.conf"),
            "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
            "HOME": str(home),
            "TMPDIR": str(home),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
            "NO_PROXY": "127.0.0.1",
        }
        first, *rest = arguments
        policy = ("--signature-policy", str(home / "policy.json"))
        return await run(
            require_peer("podman"),
            *("--root", str(home / "root"), "--runroot", str(home / "run")),
            *("--storage-driver", "vfs", "--events-backend", "none", "--log-level", "error"),
            first,
            *(policy if first in {"pull", "push"} else ()),
            *rest,
            env=environment,
        )

    async def inspect(self, image: str) -> dict[str, Any]:
        """Return what podman knows of an image that it has."""
        result = await self("image", "inspect", image)
        (entry,) = json.loads(result.stdout)
        assert isinstance(entry, dict)
        return entry


@contextmanager
def podman(registries_conf: str = "unqualified-search-registries = []\n") -> Iterator[Podman]:
    """Give a podman with an empty storage and this registries.conf."""
    # Not pytest's directory: a runroot has at most 50 characters.
    with tempfile.TemporaryDirectory(prefix="podman-") as name:
        home = Path(name)
        (home / "run").mkdir()
        (home / "registries.conf").write_text(registries_conf)
        (home / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        (home / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\nrunroot = "{home}/run"\ngraphroot = "{home}/root"\n'
        )
        yield Podman(home)
