"""What the commands print; without a terminal, plain lines."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from msgspec.structs import replace

from proxy.commands.console import show_explanation, show_finding, show_inventory, show_warmed
from proxy.commands.explain import Explanation
from proxy.commands.findings import Finding
from proxy.commands.warm import Warmed
from proxy.inventory.entry import Entry
from proxy.inventory.report import COLUMNS
from tests.terminal import run_on_terminal

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
    """Without a terminal each part is a line of its own, name and value, nothing around it."""
    show_explanation(replace(EXPLANATION, accept=("a/b", "c/" + "d" * 200)))

    assert [
        "image\tlib/app:1",
        "client\tdocker/1.9.1 os/linux arch/amd64",
        "accepts\ta/b",
        "accepts\tc/" + "d" * 200,
        "reads\tschema1",
        "indexes\tnone",
        "runs\tlinux/amd64",
        "because\ta rule [that] looks like markup",
        "step 1\tstored is an OCI image",
        "step 2\ttranslate it",
        "gets\tapplication/x",
        "digest\tsha256:" + "0" * 64,
        "size\t7 bytes",
    ] == capsys.readouterr().out.splitlines()


def test_show_explanation__refusal(capsys: pytest.CaptureFixture[str]) -> None:
    """A refusal is told with its status; a reply that is no manifest by its status."""
    show_explanation(replace(EXPLANATION, status=406, refusal="MANIFEST_INVALID: because"))
    show_explanation(replace(EXPLANATION, media_type=None, digest=None))
    out = capsys.readouterr().out

    assert "accepts\t(sends no Accept)" in out
    assert "refused\t406 MANIFEST_INVALID: because" in out
    assert "gets\tstatus 200" in out


def test_show_finding__advice(capsys: pytest.CaptureFixture[str]) -> None:
    """What works is marked so; what does not, with what to do."""
    show_finding(Finding("key", works=True, found="ABCD", advice="nothing"))
    show_finding(Finding("store", works=False, found="down", advice="start it"))

    show_finding(Finding("format", works=None, found="not looked at", advice="look"))

    assert (
        "✓ key: ABCD\n✗ store: down\n  → start it\n· format: not looked at\n  → look\n"
    ) == capsys.readouterr().out


def test_show_finding__without_such_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the encoding has no such signs, words stand for them."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    show_finding(Finding("key", works=True, found="ABCD"))
    show_finding(Finding("store", works=False, found="down", advice="start it"))
    out.seek(0)

    assert "ok key: ABCD\nno store: down\n  -> start it\n" == out.read()


WARMED = [
    Warmed("lib/app:1", "docker-1.9", "application/" + "x" * 200, None),
    Warmed("lib/app:2", "docker-1.9", None, "no such tag"),
]


def test_show_warmed__lines_for_other_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Each image and engine is a line, tabs between, nothing of it cropped."""
    show_warmed(WARMED)

    assert [
        "image\tfor\tis sent",
        "lib/app:1\tdocker-1.9\tapplication/" + "x" * 200,
        "lib/app:2\tdocker-1.9\tnothing: no such tag",
    ] == capsys.readouterr().out.splitlines()


def test_show_inventory__lines_for_other_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal each entry is one line, tabs between, under a line of heads."""
    entry = Entry("docker/1.9.1", "10.0.0.1", "lib/app", 0, 60, 2, {"oci→schema1": 2})
    show_inventory([entry])
    heads, line = capsys.readouterr().out.splitlines()

    assert "\t".join(COLUMNS) == heads
    assert "docker/1.9.1\t10.0.0.1\tlib/app\t2\toci→schema1 (2)\t0\t\t\t1970" in line


HOSTILE = "linux\x1b[2J\x9b1m\u202e\nforged: line"
SHOWN = r"linux\x1b[2J\x9b1m\u202e\nforged: line"


def show_hostile() -> None:
    """Print what others have named, in every way that there is."""
    show_explanation(replace(EXPLANATION, engine=HOSTILE, platforms=(HOSTILE,), reasons=(HOSTILE,)))
    show_explanation(replace(EXPLANATION, steps=(HOSTILE,), refusal=HOSTILE, image=HOSTILE))
    show_finding(Finding("store", works=False, found=HOSTILE, advice=HOSTILE))
    show_warmed([Warmed(HOSTILE, "docker-1.9", None, HOSTILE)])
    show_inventory(
        [Entry(HOSTILE, HOSTILE, HOSTILE, 0, 60, 2, {HOSTILE: 1}, {HOSTILE: 1}, HOSTILE)]
    )


def test_show__nothing_that_commands_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe escape sequences, and line ends of others, are shown as escapes."""
    show_hostile()
    out = capsys.readouterr().out

    assert all(one.isprintable() for one in out.replace("\n", "").replace("\t", ""))
    assert SHOWN in out
    assert not [line for line in out.splitlines() if line.startswith("forged")]


SHOW_HOSTILE = "from tests.commands.test_console import show_hostile; show_hostile()"


def test_show__nothing_that_commands_the_terminal_itself() -> None:
    """Nor on a terminal."""
    code, out = run_on_terminal("-c", SHOW_HOSTILE, columns=300)

    assert 0 == code, out
    assert all(one.isprintable() for one in out.replace("\n", ""))
    assert SHOWN in out


SHOW_WARMED = (
    "from tests.commands.test_console import *; show_warmed(WARMED); show_explanation(EXPLANATION)"
)


def test_show__whole_on_a_terminal() -> None:
    """A value that is longer than the terminal is wide goes on in the next line."""
    _, out = run_on_terminal("-c", SHOW_WARMED, columns=60)
    whole = "".join(out.split())

    assert "lib/app:1fordocker-1.9:application/" + "x" * 200 in whole
    assert "\n✗ lib/app:2 for docker-1.9: nothing: no such tag\n" in out
    assert "sha256:" + "0" * 64 in whole
    assert "…" not in out
