"""What every fuzzing target is: a parser of the proxy, fed with bytes by whoever calls it.

One list of targets serves hypothesis, atheris, the corpus and the measurement of growth.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from proxy.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

_T = TypeVar("_T")

# What aiohttp reads of one message, on both sides of the proxy.
MOST_HEADERS = 128


@dataclass(frozen=True)
class Target:
    """A function that is to end, for any bytes, or raise one of `refusals`.

    `seeds` are inputs that it takes. `frames` are (before, after) around what is repeated many
    times to see how its time grows; `words` are what it gives a meaning to. `readings` is
    how often the function has an input read, for its time to be that of one reading. `patience`
    is how many times as long as others it may take, `memory` how many bytes for one of its
    input, and `size` how many bytes that is measured with.
    """

    name: str
    function: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    words: tuple[bytes, ...]
    frames: tuple[tuple[bytes, bytes], ...] = ()
    refusals: tuple[type[Exception], ...] = (RegistryError,)
    readings: int = 1
    patience: float = 1.0
    memory: int = 128
    size: int = 25_000

    def __call__(self, content: bytes) -> None:
        """Run on these bytes; any exception but a refusal is a fault."""
        with suppress(*self.refusals):
            self.function(content)


def text_of(content: bytes) -> str:
    """Return bytes as the text of a header; those that are no UTF-8 as the client shows them."""
    return content.decode("utf-8", "replace")


def lines_of(content: bytes) -> list[str]:
    """Return the lines of a header that is there several times, as often as a message may be."""
    return text_of(content).split("\n", MOST_HEADERS)[:MOST_HEADERS]


def pairs_of(content: bytes) -> list[tuple[str, str]]:
    """Return headers, one in a line."""
    return [(name, value.strip()) for name, _, value in map(_parted, lines_of(content)) if name]


def _parted(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def result_of(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        result: _T = ended.value
        return result
    coroutine.close()
    raise AssertionError("it waits for something")
