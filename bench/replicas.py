"""Replicas behind nginx with one redis: `python -m bench.replicas`.

1, 2 and 4 proxy processes share a signing key and a redis; 64 clients (Docker 1.9, no Accept)
pull 10,000 distinct tags of OCI images of 10 layers: once cold, then in warm passes, each tag
once per pass in another order. Warm passes alternate over the numbers of replicas. A warm pull
still asks the upstream whether this client may read the manifest.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace
from redis import Redis

from bench.figures import Report, table
from bench.load import OLD_DOCKER, Load, Outcome, apply
from bench.processes import (
    Metrics,
    Proxy,
    cpu_seconds,
    generated,
    machine,
    nginx,
    place,
    proxy,
    redis,
    total,
)
from proxy.keyfile import load_or_create

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.peers import Peer

MIB, GIB = 1 << 20, 1 << 30
# How nginx spreads pulls: in turn, or each image always to the same replica.
BALANCE = {"turn": "", "hash": "hash $uri consistent;"}
_FRONT = """\
    upstream replicas {{ {balance} {servers} keepalive 128; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{{port}};
        location / {{
            proxy_pass http://replicas;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
    }}
"""


@dataclass(frozen=True)
class Pass:
    """One pass over all tags; what was counted is of all replicas together."""

    outcome: Outcome
    new: float
    cached: float
    from_memory: float
    """Share of lookups in the store that memory answered."""
    cpu: dict[str, float]
    """Processor seconds, by what used them."""


@dataclass
class Setup:
    """Some replicas, with what is around them."""

    front: Peer
    proxies: list[Proxy]
    redis: Peer
    upstream: Peer
    empty: int
    cold: list[Pass] = field(default_factory=list)
    warm: list[Pass] = field(default_factory=list)

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over the replicas."""
        return sum(total(one.metrics(), name, **labels) for one in self.proxies)

    def run(self, load: Load) -> Pass:
        """Apply a load and tell what it did."""
        before = [one.metrics() for one in self.proxies]
        cpu = self._cpu()
        outcome = apply(replace(load, port=self.front.port))
        cpu = {name: used - cpu[name] for name, used in self._cpu().items()}
        cpu["load"] = outcome.cpu
        after = [one.metrics() for one in self.proxies]

        def counted(name: str, **labels: str) -> float:
            return _sum(after, name, **labels) - _sum(before, name, **labels)

        hits = counted("regshim_store_hits_total", tier="memory")
        misses = counted("regshim_store_misses_total", tier="memory")
        return Pass(
            outcome=outcome,
            new=counted("regshim_translations_total", result="new"),
            cached=counted("regshim_translations_total", result="cached"),
            from_memory=hits / (hits + misses),
            cpu=cpu,
        )

    def _cpu(self) -> dict[str, float]:
        pids = {
            "proxies": [one.pid for one in self.proxies],
            "nginx": [self.front.pid],
            "redis": [self.redis.pid],
            "upstream": [self.upstream.pid],
        }
        return {name: sum(map(cpu_seconds, group)) for name, group in pids.items()}


def _sum(metrics: list[Metrics], name: str, **labels: str) -> float:
    return sum(total(one, name, **labels) for one in metrics)


def used_memory(server: Peer) -> int:
    """Return the bytes that a redis says it uses."""
    with Redis(host="127.0.0.1", port=server.port) as client:
        return int(client.info("memory")["used_memory"])


@contextlib.contextmanager
def replicas(
    directory: Path, count: int, upstream: Peer, *, memory: str, balance: str
) -> Iterator[Setup]:
    """Run `count` proxies behind nginx with one redis; `balance` is a line for nginx."""
    key = directory / "signing-key.pem"
    load_or_create(key)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(redis(directory))
        empty = used_memory(server)
        proxies = [
            stack.enter_context(
                proxy(
                    directory,
                    upstream.url,
                    cache={"memory": memory, "store": f"redis://127.0.0.1:{server.port}/0"},
                    translate={"signing_key_file": str(key)},
                )
            )
            for _ in range(count)
        ]
        servers = " ".join(f"server 127.0.0.1:{one.port};" for one in proxies)
        front = stack.enter_context(
            nginx(directory, _FRONT.format(servers=servers, balance=balance))
        )
        yield Setup(front, proxies, server, upstream, empty)


HEADER = (
    "replicas, pass",
    "pulls/s",
    "p50 ms",
    "p99 ms",
    "hit rate",
    "lookups from memory",
    "translations per image",
    "CPU ms per pull: replicas",
    "all else",
)


def row(name: str, passes: list[Pass], translations: float) -> tuple[str, ...]:
    """Return a row of the table: of several passes the medians."""
    pulls = passes[0].outcome.requests

    def median(values: list[float], digits: int) -> str:
        return f"{statistics.median(values):,.{digits}f}"

    return (
        name,
        median([one.outcome.rate for one in passes], 0),
        median([one.outcome.p50 * 1e3 for one in passes], 1),
        median([one.outcome.p99 * 1e3 for one in passes], 1),
        median([one.cached / (one.cached + one.new) * 100 for one in passes], 1) + " %",
        median([one.from_memory * 100 for one in passes], 0) + " %",
        f"{translations:.3f}",
        median([one.cpu["proxies"] / pulls * 1e3 for one in passes], 2),
        median([(sum(one.cpu.values()) - one.cpu["proxies"]) / pulls * 1e3 for one in passes], 2),
    )


def cost(setup: Setup, images: int) -> str:
    """Return what redis holds of these images, in words."""
    used = used_memory(setup.redis) - setup.empty
    with Redis(host="127.0.0.1", port=setup.redis.port) as client:
        keys = int(client.dbsize())
    each = used / images
    return (
        f"redis behind {len(setup.proxies)}: {keys:,} keys, {used / MIB:.1f} MiB: "
        f"{each:,.0f} bytes per translation, {each * 1e6 / GIB:.1f} GiB per million"
    )


def measure(counts: list[int], load: Load, passes: int, **options: str) -> str:
    """Return the table and what redis held; `load` is one pass, its port and seed aside."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(place())
        upstream = stack.enter_context(generated(directory, layers=10))
        setups = [
            stack.enter_context(replicas(directory, count, upstream, **options)) for count in counts
        ]
        for setup in setups:
            setup.cold.append(setup.run(load))
        costs = [cost(setup, load.distinct) for setup in setups]
        for number in range(passes):
            for setup in setups:
                setup.warm.append(setup.run(replace(load, seed=load.seed + 1 + number)))
        rows = []
        for setup in setups:
            new = setup.sum("regshim_translations_total", result="new") / load.distinct
            count = len(setup.proxies)
            rows.append(row(f"{count}, cold", setup.cold, new))
            if setup.warm:
                rows.append(row(f"{count}, warm", setup.warm, new))
    return "\n".join((table(HEADER, rows), "", *costs))


def report(images: int, passes: int) -> Report:
    """Measure 1, 2 and 4 replicas with the default memory, in turn."""
    return Report(
        measure([1, 2, 4], load_of(images, 64), passes, memory="64MiB", balance=BALANCE["turn"]), []
    )


def load_of(images: int, clients: int) -> Load:
    """Return one pass over so many images, its port aside."""
    return Load(
        port=0,
        path="/v2/bench/app/manifests/t{n}",
        headers=OLD_DOCKER,
        connections=clients,
        distinct=images,
        requests=images,
    )


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--passes", type=int, default=3, help="warm passes")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--memory", default="64MiB", help="cache.memory of each replica")
    parser.add_argument("--balance", choices=BALANCE, default="turn")
    arguments = parser.parse_args()
    print(machine())
    load = load_of(arguments.images, arguments.clients)
    print(
        measure(
            arguments.replicas,
            load,
            arguments.passes,
            memory=arguments.memory,
            balance=BALANCE[arguments.balance],
        )
    )


if __name__ == "__main__":
    main()
