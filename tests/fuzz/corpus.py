"""The inputs that are kept: seeds, and every input that has once been a fault.

tests/corpus/TARGET/ holds one file for each. `python -m tests.fuzz.corpus` writes the seeds that
are missing; a fault is copied there under a name that says what it was.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent.parent / "corpus"


def inputs(name: str) -> list[Path]:
    """Return the kept inputs of a target."""
    return sorted((CORPUS / name).iterdir())


def write_seeds() -> None:
    """Write the seeds of all targets that are not kept yet."""
    for target in TARGETS.values():
        directory = CORPUS / target.name
        directory.mkdir(parents=True, exist_ok=True)
        for seed in target.seeds():
            name = hashlib.sha256(seed).hexdigest()[:12]
            (directory / f"seed-{name}").write_bytes(seed)


if __name__ == "__main__":
    write_seeds()
