"""What takes part in a measurement, each a process on 127.0.0.1, ended by its pid."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from tests.peers import HOST, ROOT, Peer, free_port, require_peer, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TICKS = os.sysconf("SC_CLK_TCK")
_NGINX = """\
daemon off;
master_process off;
worker_processes 1;
error_log stderr error;
pid {directory}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{http}
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A running proxy process."""

    port: int
    admin_port: int
    pid: int

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://{HOST}:{self.port}"

    def metrics(self) -> Metrics:
        """Return what it has counted so far."""
        url = f"http://{HOST}:{self.admin_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as reply:
            return samples(reply.read().decode())


Metrics = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Metrics:
    """Return a Prometheus exposition as (name, labels) → value."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(metrics: Metrics, name: str, **labels: str) -> float:
    """Return the sum of a metric over all label sets that have these labels."""
    wanted = set(labels.items())
    return sum(
        value for (sample, pairs), value in metrics.items() if sample == name and wanted <= pairs
    )


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """Give a directory that is gone afterwards, also if this process is told to end."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with TemporaryDirectory(prefix="regshim-bench-") as name:
        yield Path(name)


@contextlib.contextmanager
def proxy(directory: Path, upstream: str, /, **sections: Mapping[str, Any]) -> Iterator[Proxy]:
    """Run a proxy in front of `upstream`; `sections` are sections of its config file."""
    port, admin_port = free_port(), free_port()
    document: dict[str, Any] = {"log": {"level": "error"}, **sections}
    document["upstream"] = {"url": upstream, **document.get("upstream", {})}
    document["listen"] = {"port": port, **document.get("listen", {})}
    document["admin"] = {"port": admin_port}
    home = directory / f"proxy-{port}"
    home.mkdir()
    config = home / "config.yaml"
    config.write_text(json.dumps(document), encoding="utf-8")
    command = [sys.executable, "-m", "proxy", "serve", "-c", str(config)]
    with running(command, port, home) as peer:
        yield Proxy(port, admin_port, peer.pid)


@contextlib.contextmanager
def generated(directory: Path, *, layers: int) -> Iterator[Peer]:
    """Run the upstream that makes its images up."""
    port = free_port()
    home = directory / f"upstream-{port}"
    home.mkdir()
    command = [sys.executable, "-m", "bench.upstream", "--port", str(port), "--layers", str(layers)]
    with running(["env", f"PYTHONPATH={ROOT}", *command], port, home) as peer:
        yield peer


@contextlib.contextmanager
def hello(directory: Path, upstream: str | None = None) -> Iterator[Peer]:
    """Run aiohttp's hello-world, or the least proxy made of aiohttp in front of `upstream`."""
    port = free_port()
    home = directory / f"hello-{port}"
    home.mkdir()
    command = [sys.executable, "-m", "bench.hello", "--port", str(port)]
    if upstream is not None:
        command += ["--upstream", upstream]
    with running(["env", f"PYTHONPATH={ROOT}", *command], port, home) as peer:
        yield peer


@contextlib.contextmanager
def nginx(directory: Path, http: str) -> Iterator[Peer]:
    """Run nginx, one process, with these lines in its http block; `{port}` is its port."""
    port = free_port()
    home = directory / f"nginx-{port}"
    home.mkdir()
    config = home / "nginx.conf"
    config.write_text(_NGINX.format(directory=home, http=http.replace("{port}", str(port))))
    command = [require_peer("nginx"), "-p", str(home), "-c", str(config)]
    with running(command, port, home) as peer:
        yield peer


@contextlib.contextmanager
def redis(directory: Path) -> Iterator[Peer]:
    """Run an empty redis that writes nothing to disk."""
    port = free_port()
    home = directory / f"redis-{port}"
    home.mkdir()
    program = require_peer("redis-server")
    command = [program, "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no"]
    with running(command, port, home) as peer:
        yield peer


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used so far, in the kernel and out of it."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int, name: str = "VmRSS") -> int:
    """Return VmRSS (now), RssAnon (of it, of no file) or VmHWM (peak) of a process in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise ValueError(f"there is no {name} of process {pid}")


def machine() -> str:
    """Return what the figures were measured on, in one line."""
    cores = os.cpu_count()
    load = os.getloadavg()[0]
    return f"{cores} cores, load {load:.1f} when it began; Python {sys.version.split()[0]}"
