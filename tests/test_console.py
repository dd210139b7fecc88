"""What the commands print; without a terminal, plain lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.check import Finding
from proxy.console import show_explanation, show_finding, show_inventory, show_warmed
from proxy.explain import Explanation
from proxy.inventory.entry import Entry
from proxy.inventory.report import COLUMNS
from proxy.warm import Warmed

if TYPE_CHECKING:
    import pytest

EXPLANATION = Explanation(
    image="lib/app:1",
    engine="docker/1.9.1",
    user_agent="docker/1.9.1 os/linux arch/amd64",
    accept=(),
    reads=("schema1",),
    indexes=(),
    platforms=("linux/amd64",),
    reasons=("a rule [that] looks like markup",),
    steps=("stored is an OCI image", "translate it"),
    status=200,
    media_type="application/x",
    digest="sha256:" + "0" * 64,
    size=7,
)


def test_show_explanation__answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Each part is a line that can be searched for, brackets and all."""
    show_explanation(EXPLANATION)
    out = capsys.readouterr().out

    for words in ("lib/app:1", "(sends no Accept)", "[that]", "step 2", "sha256:" + "0" * 64):
        assert words in out
    assert "\x1b" not in out


def test_show_explanation__refusal(capsys: pytest.CaptureFixture[str]) -> None:
    """A refusal is told with its status; a reply that is no manifest by its status."""
    from msgspec.structs import replace  # noqa: PLC0415  for this test alone

    show_explanation(replace(EXPLANATION, status=406, refusal="MANIFEST_INVALID: because"))
    show_explanation(replace(EXPLANATION, media_type=None, digest=None))
    out = capsys.readouterr().out

    assert "406 MANIFEST_INVALID: because" in out
    assert "status 200" in out


def test_show_finding__advice(capsys: pytest.CaptureFixture[str]) -> None:
    """What works is marked so; what does not, with what to do."""
    show_finding(Finding("key", works=True, found="ABCD", advice="nothing"))
    show_finding(Finding("store", works=False, found="down", advice="start it"))

    assert "✓ key: ABCD\n✗ store: down\n  → start it\n" == capsys.readouterr().out


def test_show_warmed__table(capsys: pytest.CaptureFixture[str]) -> None:
    """Each image and engine is a line."""
    show_warmed(
        [
            Warmed("lib/app:1", "docker-1.9", "application/x", None),
            Warmed("lib/app:2", "docker-1.9", None, "no such tag"),
        ]
    )
    out = capsys.readouterr().out

    assert "application/x" in out
    assert "nothing: no such tag" in out


def test_show_inventory__lines_for_other_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal each entry is one line, tabs between, under a line of heads."""
    entry = Entry("docker/1.9.1", "10.0.0.1", "lib/app", 0, 60, 2, {"oci→schema1": 2})
    show_inventory([entry])
    heads, line = capsys.readouterr().out.splitlines()

    assert "\t".join(COLUMNS) == heads
    assert "docker/1.9.1\t10.0.0.1\tlib/app\t2\toci→schema1 (2)\t0\t\t\t1970" in line
