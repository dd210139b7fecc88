"""The coverage-guided run: a minute of it over all targets, and the proof that it finds things."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import MISSING

ROOT = Path(__file__).parent.parent.parent
# Of all processes together. Always from the same seed: a failure here is one everywhere.
SECONDS = 60
SEED = 1
PATIENCE_SECONDS = 300

if os.environ.get("CI") != "true":
    pytestmark = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason=MISSING)


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the fuzzer as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


def test_fuzz__finds_nothing(tmp_path: Path) -> None:
    """A minute over all targets finds no fault, and every target runs."""
    jobs = os.cpu_count() or 1
    ran = fuzz(f"--seconds={SECONDS / jobs}", f"--seed={SEED}", f"--out={tmp_path / 'out'}")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " - runs" not in ran.stdout


@pytest.mark.parametrize(
    ("target", "kind"), [("deliberate-exception", "crash-"), ("deliberate-delay", "slow-")]
)
def test_fuzz__finds_what_is_deliberate(tmp_path: Path, target: str, kind: str) -> None:
    """An exception and a delay are found, and told with the command that runs the input again."""
    ran = fuzz("--seconds=3", f"--seed={SEED}", f"--out={tmp_path / 'out'}", target)

    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert f"FAULT: {kind}" in ran.stdout
    assert f"python -m tests.fuzz --again {target} {tmp_path}" in ran.stdout


def test_fuzz__again(tmp_path: Path) -> None:
    """A found input is run again by itself, and fails as it did."""
    (tmp_path / "input").write_bytes(b"fault")

    ran = fuzz("--again", "deliberate-exception", str(tmp_path / "input"))

    assert ran.returncode == 1
    assert "ZeroDivisionError" in ran.stderr
