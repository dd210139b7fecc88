"""One process at a time: the lock beside a file."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from proxy.store.alone import alone
from proxy.store.entries import StoreFailedError

if TYPE_CHECKING:
    from pathlib import Path


def test_alone__one_after_the_other(tmp_path: Path) -> None:
    """Who comes while another holds the lock goes on when that one is done."""
    told: list[str] = []

    def come() -> None:
        with alone(tmp_path / "f"):
            told.append("second")

    thread = threading.Thread(target=come)
    with alone(tmp_path / "f"):
        thread.start()
        thread.join(0.05)
        told.append("first")
    thread.join()

    assert ["first", "second"] == told


def test_alone__another_keeps_it(tmp_path: Path) -> None:
    """A lock that is not let go is a failure after a second, and whoever fails holds nothing."""
    with (
        alone(tmp_path / "f"),
        pytest.raises(StoreFailedError, match="lock file"),
        alone(tmp_path / "f"),
    ):
        raise AssertionError
    with alone(tmp_path / "f"):
        pass

    assert (tmp_path / "f.lock").exists()


def test_alone__no_place_for_a_lock(tmp_path: Path) -> None:
    """Where no lock file can be, it goes on without; what fails inside is told as it is."""
    with pytest.raises(KeyError) as failed, alone(tmp_path / "absent" / "f"):
        raise KeyError

    # Else the lock would be named as what the store failed of.
    assert failed.value.__context__ is None
