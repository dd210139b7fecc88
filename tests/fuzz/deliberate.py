"""Faults on purpose, one of each kind that the runner and the measurements are to find."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from tests.fuzz.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

_QUADRATIC = re.compile(rb"a*b")


def _raises(content: bytes) -> None:
    if b"fault" in content:
        raise ZeroDivisionError


def _takes_long(content: bytes) -> None:
    until = time.thread_time() + (0.2 if b"fault" in content else 0.0)
    while time.thread_time() < until:
        pass


def _is_quadratic(content: bytes) -> None:
    _QUADRATIC.search(content)


def _is_large(content: bytes) -> None:
    bytearray(1000 * len(content))


def _seeds() -> Iterator[bytes]:
    yield b"a"


TARGETS = (
    Target("deliberate-exception", _raises, _seeds, words=(b"fault",)),
    Target("deliberate-delay", _takes_long, _seeds, words=(b"fault",)),
    Target(
        "deliberate-quadratic",
        _is_quadratic,
        _seeds,
        words=(b"a",),
        frames=((b"", b""),),
        size=4000,
    ),
    Target("deliberate-memory", _is_large, _seeds, words=(b"a",), frames=((b"", b""),)),
)
