"""How the time and the memory of a target grow with its input, measured.

The law: at most 10 ms for 100 KB, on the machine that `machine_factor` is 1 on, and no more than
twice the time for twice the input. Inputs are made of one word repeated inside a frame, for each
word and frame of a target and for what is hostile to most parsers.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.target import Target

LARGE = 100_000
SECONDS = 0.010
# What a target may hold at once, however short its input.
MEMORY_BASE = 1 << 20
_WORDS = (
    b"\\", b"(", b"[", b"{", b",", b";", b'"', b"'", b"=", b":", b"/", b"%", b"<", b">", b"&", b"-",
    b".", b"*", b"+", b"0", b"9", b"a", b" ", b"\t", b"\n", b"\x00", b"\xff", b"a=", b"a,", b"a ",
    b'\\"', b"[]", b"((", b"%2", b"\xc3\xa4", b"\xf0\x9f\x98\x80",
)  # fmt: skip
_TRIES = 5


class Attack(NamedTuple):
    """One word, many times, inside a frame."""

    before: bytes
    word: bytes
    after: bytes

    def of(self, size: int) -> bytes:
        """Return this attack in about so many bytes."""
        room = max(0, size - len(self.before) - len(self.after))
        return self.before + self.word * (room // len(self.word)) + self.after


class Numbered(NamedTuple):
    """Many words that differ by a number, such as the members of an object."""

    before: bytes
    word: bytes
    after: bytes

    def of(self, size: int) -> bytes:
        """Return this attack in about so many bytes."""
        room = max(0, size - len(self.before) - len(self.after))
        count = room // (len(self.word % 10_000))
        return self.before + b"".join(self.word % number for number in range(count)) + self.after


def attacks(target: Target) -> Iterator[Attack | Numbered]:
    """Yield the attacks on a target."""
    words = dict.fromkeys((*target.words, *_WORDS))
    for before, after in target.frames:
        for word in words:
            yield Attack(before, word, after)
        for word in (
            b"a%d,",
            b'"a%d":%d,' % (1, 1) + b'"b%d":1,',
            b"a%d: 1\n",
            b"%d,",
            b"\na%d: b",
        ):
            yield Numbered(before, word, after)


def seconds(target: Target, content: bytes, tries: int = _TRIES) -> float:
    """Return the processor time of one reading of an input, the best of several tries."""
    best = float("inf")
    gc.disable()  # a collection of all that was there before may fall into the time
    try:
        for _ in range(tries):
            began = time.thread_time()
            target(content)
            best = min(best, time.thread_time() - began)
            if best < SECONDS / 10:
                break
    finally:
        gc.enable()
    return best / target.readings / target.patience


def peak(target: Target, content: bytes) -> int:
    """Return how many bytes a target holds at once at most, beside what it held before."""
    target(content)  # what is made once is not of this input
    tracemalloc.start()
    try:
        target(content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def machine_factor() -> float:
    """Return how many times longer this machine takes than the one that the law is written for."""
    text = "x" * 50
    best = float("inf")
    for _ in range(5):
        began = time.thread_time()
        for number in range(20_000):
            text.partition(str(number))
        best = min(best, time.thread_time() - began)
    return max(1.0, best / _REFERENCE_SECONDS)


_REFERENCE_SECONDS = 0.0045
