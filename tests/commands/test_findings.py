"""What a check finds, and what it says to do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from proxy.commands.findings import Finding, must_be_writable, tried
from proxy.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_must_be_writable__says_what_to_do(tmp_path: Path) -> None:
    """A directory that is missing, or no directory, is to be created."""
    must_be_writable(tmp_path)
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(ConfigError, match=f"no directory {path}: create it"):
            must_be_writable(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_must_be_writable__of_somebody_else(tmp_path: Path) -> None:
    """One that may not be written to is told so."""
    tmp_path.chmod(0o500)

    with pytest.raises(ConfigError, match="is not writable"):
        must_be_writable(tmp_path)


def test_tried__a_config_error_is_a_finding() -> None:
    """What cannot be used is told, with advice."""

    def fail() -> str:
        raise ConfigError("no")

    assert Finding("a", works=True, found="well") == tried("a", lambda: "well", "mend it")
    assert Finding("a", works=False, found="no", advice="mend it") == tried("a", fail, "mend it")
