"""Every target, with inputs near to those that it takes: cut, repeated, with words in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.corpus import inputs
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from tests.fuzz.target import Target


@st.composite
def changed(draw: st.DrawFn, target: Target) -> bytes:
    """Return a kept input of a target with some of it cut, said twice or replaced."""
    content = draw(st.sampled_from([path.read_bytes() for path in inputs(target.name)]))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 40)))
        inserted = draw(
            st.sampled_from((b"", content[start:end] * 2, content[:start]))
            | st.sampled_from(target.words)
            | st.binary(max_size=4)
        )
        content = content[:start] + inserted + content[end:]
    return content


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_target__takes_or_refuses(target: Target) -> None:
    """Whatever the bytes are, a parser ends, with a result or with an error of its own."""

    @given(changed(target) | st.binary(max_size=100))
    def check(content: bytes) -> None:
        target(content)

    check()


def test_targets__every_one_has_inputs() -> None:
    """Each target has a folder of kept inputs, and there is no folder without a target."""
    assert set(TARGETS) == {path.parent.name for name in TARGETS for path in inputs(name)}
