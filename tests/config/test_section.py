"""What every section is: a value whose keys are known."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from proxy.config.section import Section, both_or_none

A_FILE = Path("/f")


class _Example(Section, frozen=True):
    name: str = ""


def test_section__a_value_with_known_keys() -> None:
    """A key that it does not know is refused, and nobody can change it."""
    section = msgspec.convert({"name": "a"}, _Example)

    assert _Example(name="a") == section
    with pytest.raises(msgspec.ValidationError, match="unknown field `nmae`"):
        msgspec.convert({"nmae": "a"}, _Example)
    with pytest.raises(AttributeError):
        section.name = "b"  # type: ignore[misc]


@pytest.mark.parametrize("file", [None, A_FILE])
def test_both_or_none__a_pair(file: Path | None) -> None:
    """Two files that go together are given, or neither is."""
    both_or_none("a", file, "b", file)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(A_FILE, None, "a is given without b"), (None, A_FILE, "b is given without a")],
)
def test_both_or_none__half_a_pair(one: Path | None, other: Path | None, expected: str) -> None:
    """The one that is missing is named."""
    with pytest.raises(ValueError, match=expected):
        both_or_none("a", one, "b", other)
