"""The words for why something does not work."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from proxy.errors import ConfigError
from proxy.findings import Finding, cause_of, must_be_writable, tried

if TYPE_CHECKING:
    from pathlib import Path


def raised(inner: Exception, *, explicitly: bool) -> Exception:
    """Return an error that was raised for another one."""
    error = RuntimeError("outer")
    if explicitly:
        error.__cause__ = inner
    else:
        error.__context__ = inner
    return error


@pytest.mark.parametrize("explicitly", [True, False])
@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "connection refused"),
        (OSError(errno.ENETUNREACH, "x"), "the network is unreachable"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "its host name is not known"),
        (TimeoutError(), "no answer in time"),
    ],
)
def test_cause_of__innermost(inner: Exception, expected: str, *, explicitly: bool) -> None:
    """What the system said first is the cause, however libraries have wrapped it."""
    cause = cause_of(raised(inner, explicitly=explicitly))

    assert cause is not None
    assert cause.found.startswith(expected)
    assert cause.advice


def test_cause_of__something_else() -> None:
    """What did not come of the network has no such cause."""
    assert cause_of(raised(ValueError("x"), explicitly=True)) is None


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
