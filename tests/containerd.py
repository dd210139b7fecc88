"""Debian's containerd, alone: a daemon of the test's own, asked with `ctr`."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.peers import Result, free_port, require_peer, run, running

if TYPE_CHECKING:
    from collections.abc import Iterator

# The metrics port is what tells that it serves: its own API is on a unix socket.
CONFIG = """\
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{directory}/containerd.sock"
[ttrpc]
address = "{directory}/containerd.sock.ttrpc"
[metrics]
address = "127.0.0.1:{port}"
"""


@dataclass(frozen=True)
class Ctr:
    """A running containerd."""

    directory: Path

    def mirror(self, registry: str, hosts_toml: str) -> None:
        """Write the hosts.toml of a registry, as an administrator does."""
        directory = self.directory / "certs.d" / registry
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "hosts.toml").write_text(hosts_toml)

    async def __call__(self, *arguments: str) -> Result:
        """Run `ctr`, whatever comes of it."""
        socket = str(self.directory / "containerd.sock")
        return await run(require_peer("ctr"), "--address", socket, "--namespace", "t", *arguments)

    async def pull(self, image: str) -> Result:
        """Pull and unpack an image by the hosts.toml files."""
        hosts = str(self.directory / "certs.d")
        snapshotter = ("--snapshotter", "native")  # needs nothing of the file system
        return await self("images", "pull", "--hosts-dir", hosts, *snapshotter, image)


@contextmanager
def containerd() -> Iterator[Ctr]:
    """Run a containerd until the end of the block."""
    program = require_peer("containerd")
    port = free_port()
    # Not pytest's directory: the path of a unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="containerd-") as name:
        directory = Path(name)
        config = directory / "config.toml"
        config.write_text(CONFIG.format(directory=directory, port=port))
        with running([program, "--config", str(config)], port, directory):
            yield Ctr(directory)
