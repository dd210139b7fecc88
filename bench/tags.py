"""Warm pulls by tag, translated: `python -m bench.tags`.

Against docker-registry 2.8 that converts the same images (schema 2 to schema 1) itself, and in
front of fast upstreams. What docker-registry takes to send the image as it is stored is the
floor: that much the proxy waits for it. Every answer of the proxy is confirmed by the upstream
first; identical requests that are under way at the same time share that call.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bench.command import command
from bench.figures import Figure, Report, ratios, table
from bench.load import MODERN, OLD_DOCKER, Load, apply
from bench.processes import generated, place, proxy
from bench.static import MANIFESTS, static
from tests.images import make_image, push
from tests.peers import run_docker_registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.figures import Better
    from bench.load import Outcome

_PUSHED_AT_ONCE = 8
_LAYERS = 10
_MORE_LAYERS = (30, 60)
"""The more layers, the longer converting takes; asking whether a tag has changed does not."""


@dataclass(frozen=True)
class Case:
    """One way to ask, and what of the outcome is compared."""

    name: str
    load: Load
    figure: Callable[[Outcome], float]
    better: Better
    target: float
    unit: str


def _rate(outcome: Outcome) -> float:
    return outcome.rate


def _p50(outcome: Outcome) -> float:
    return outcome.p50 * 1e3


def cases(distinct: int, seconds: float) -> list[Case]:
    """Return the cases; their ports are set later."""
    one = Load(port=0, path=f"{MANIFESTS}t{{n}}", headers=OLD_DOCKER, seconds=seconds)
    alone = replace(one, connections=1)
    many = replace(one, distinct=distinct)
    larger = [
        Case(
            f"one tag, {layers} layers, 1 connection",
            replace(alone, path=f"{MANIFESTS}layers{layers}"),
            _p50,
            "lower",
            0.6,
            "ms, p50",
        )
        for layers in _MORE_LAYERS
    ]
    return [
        Case("one tag, 16 connections", one, _rate, "higher", 4.0, "requests/s"),
        Case("one tag, 1 connection", alone, _p50, "lower", 0.6, "ms, p50"),
        *larger,
        Case(f"{distinct:,} tags, 16 connections", many, _rate, "higher", 1.0, "requests/s"),
    ]


async def fill(url: str, count: int) -> None:
    """Push images `bench/app:t0` … to a registry, and `bench/app:layers30` with so many layers."""
    bound = asyncio.Semaphore(_PUSHED_AT_ONCE)

    async def one(tag: str, layers: int) -> None:
        # No two images share a layer: the registry loses a blob that is pushed twice at once.
        files = [{f"{tag}-{layer}": b""} for layer in range(layers)]
        image = make_image(layers=files, format="schema2", empty_layers=(1, 3))
        async with bound:
            await push(url, "bench/app", tag, image)

    images = {f"t{number}": _LAYERS for number in range(count)}
    images |= {f"layers{layers}": layers for layers in _MORE_LAYERS}
    await asyncio.gather(*(one(tag, layers) for tag, layers in images.items()))


def against_docker_registry(directory: Path, distinct: int, rounds: int, seconds: float) -> Report:
    """Measure the proxy beside the registry's own conversion."""
    home = directory / "registry"
    home.mkdir()
    with run_docker_registry(home) as registry, proxy(directory, registry.url) as ours:
        asyncio.run(fill(registry.url, distinct))
        rows = []
        measured = []
        for case in cases(distinct, seconds):
            # On one connection: docker-registry refuses some images (400) while it converts
            # two for the first time, for both put the empty layer into its storage.
            warm = replace(case.load, connections=1, requests=max(case.load.distinct, 50))
            for port in (registry.port, ours.port):
                apply(replace(warm, port=port))
            theirs = replace(case.load, port=registry.port)
            loads = (theirs, replace(theirs, headers=MODERN), replace(theirs, port=ours.port))
            figures = [[case.figure(apply(load)) for load in loads] for _ in range(rounds)]
            converting, plain, own = (list(values) for values in zip(*figures, strict=True))
            rows.append(
                (
                    f"{case.name} ({case.unit})",
                    *(f"{statistics.median(one):,.1f}" for one in (converting, plain, own)),
                    ratios(own, converting).text(),
                )
            )
            measured.append(
                Figure.ratio(
                    f"warm tag GET, {case.name} ({case.unit}) ÷ docker-registry converting",
                    own,
                    converting,
                    better=case.better,
                    target=case.target,
                )
            )
    header = (
        "warm tag GET",
        "docker-registry converts",
        "it sends as stored",
        "regshim",
        "ratio to converting",
    )
    return Report(table(header, rows), measured)


def against_fast_upstreams(directory: Path, distinct: int, rounds: int, seconds: float) -> Report:
    """Measure one process in front of upstreams that cost next to nothing."""
    loads = [case.load for case in cases(distinct, seconds)]
    one, many = loads[0], loads[-1]
    measured = []
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(static(directory, images=1))
        made = stack.enter_context(generated(directory, layers=10))
        for name, peer, load in (
            ("nginx with files behind, one tag", files, one),
            (f"generated upstream behind, {distinct:,} tags", made, many),
        ):
            ours = stack.enter_context(proxy(directory, peer.url))
            load = replace(load, port=ours.port)  # noqa: PLW2901  the case's own port
            apply(replace(load, requests=max(load.distinct, 50)))
            rates = [apply(load).rate for _ in range(rounds)]
            figure = f"warm tag GET, 16 connections, {name}: requests/s"
            measured.append(Figure.of(figure, rates, least=2500, digits=0))
    return Report("", measured)


def report(rounds: int, seconds: float, distinct: int) -> Report:
    """Measure both."""
    with place() as directory:
        slow = against_docker_registry(directory, distinct, rounds, seconds)
        fast = against_fast_upstreams(directory, distinct, rounds, seconds)
    return Report(slow.text, slow.figures + fast.figures)


def main() -> None:
    """Read the arguments and print the tables."""
    command(__doc__, report, rounds=5, seconds=2.0, distinct=1000)


if __name__ == "__main__":
    main()
