"""What the proxy's memory can come to, for whoever bounds it from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.config.config import Config

FORMULA = "60 MiB + cache.memory + (transfers + requests) × 2.5 MiB + connections × 32 KiB"  # noqa: RUF001
"""As docs/operating.md has it."""

_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 1 << 10, "m": 1 << 20, "G": 1 << 30}


def worst_case(config: Config) -> int:
    """Return how many bytes a config allows, all clients together keeping it waiting."""
    limits = config.limits
    places = limits.transfers + limits.requests
    process = (
        (60 << 20) + config.cache.memory + places * (5 << 19) + limits.connections * (32 << 10)
    )
    return config.listen.workers * process


def quantity(text: str) -> int:
    """Return the bytes that Kubernetes or systemd mean: `512Mi`, `1G`."""
    number = text.rstrip("GKMikm")
    return int(number) * _UNITS[text.removeprefix(number)]
