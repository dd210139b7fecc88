"""What every section of the configuration is, and what several of them check."""

from pathlib import Path

import msgspec


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping of the file: unknown keys are refused, so that a typing error is seen."""


def both_or_none(name: str, one: Path | None, other_name: str, other: Path | None) -> None:
    """Raise ValueError if one of two files that go together is given without the other."""
    if (one is None) != (other is None):
        given, missing = (other_name, name) if one is None else (name, other_name)
        raise ValueError(f"{given} is given without {missing}")
