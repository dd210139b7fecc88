"""The kept inputs, one by one: seeds are taken, what was once a fault is none any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz.corpus import CORPUS, inputs
from tests.fuzz.growth import SECONDS, machine_factor, seconds
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

PATHS = [path for directory in sorted(CORPUS.iterdir()) for path in inputs(directory.name)]
# Far from the law, for a machine that has others to serve: what was slow was so by thousands.
SLACK = 10


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_input__runs_again(path: Path) -> None:
    """A kept input is taken or refused, and soon."""
    target = TARGETS[path.parent.name]

    assert seconds(target, path.read_bytes()) < SLACK * SECONDS * machine_factor()
