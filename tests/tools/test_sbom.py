"""The SBOM is made of a real wheel: tests/test_release.py has the test, beside the wheel's own."""

from __future__ import annotations

import msgspec

from proxy import __version__
from tools.sbom import _finished


def test_finished__version_and_no_addresses() -> None:
    """The version is the code's, and no component tells where it came from."""
    component = {"name": "a", "externalReferences": [{"type": "distribution", "url": "https://x"}]}
    listed = {
        "components": [component],
        "metadata": {"component": {"name": "regshim"}, "tools": {"components": [component]}},
    }
    expected = {
        "components": [{"name": "a"}],
        "metadata": {
            "component": {"name": "regshim", "version": __version__},
            "tools": {"components": [{"name": "a"}]},
        },
    }

    assert expected == msgspec.json.decode(_finished(msgspec.json.encode(listed)))
