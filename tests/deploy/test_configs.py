"""Every config that deploy/ carries is one that the proxy starts with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from proxy.config.reading import parse
from proxy.errors import ConfigError
from tests.deploy.memory import FORMULA
from tests.deploy.programs import DEPLOY, ROOT

if TYPE_CHECKING:
    from pathlib import Path

CONFIGS = sorted(DEPLOY.rglob("*config.yaml"))
IMAGE = DEPLOY / "image-config.yaml"
UPSTREAM = {"REGSHIM_UPSTREAM__URL": "https://registry.example.com"}


def test_configs__are_found() -> None:
    """The walk sees them: an empty one would prove nothing."""
    places = {str(path.parent.relative_to(DEPLOY)) for path in CONFIGS}

    assert {
        ".",
        "compose",
        "kubernetes/base",
        "kubernetes/overlays/replicas",
        "kubernetes/overlays/sidecar",
        "systemd",
    } == places


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_config__is_accepted(path: Path) -> None:
    """Each is whole by itself; the image's own takes the upstream from the environment."""
    config = parse(path.read_text(encoding="utf-8"), UPSTREAM if path == IMAGE else {})

    assert (5000, 5001) == (config.listen.port, config.admin.port)
    assert not config.upstream.auth.holds_credentials  # or it would have to say who may use them


def test_image_config__asks_for_the_upstream() -> None:
    """Without the variable the start is refused, and the message names what is missing."""
    with pytest.raises(ConfigError, match="upstream"):
        parse(IMAGE.read_text(encoding="utf-8"), {})


def test_memory__docs_have_the_formula() -> None:
    """Whoever sets other bounds finds what the ones here were made with."""
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")

    assert FORMULA in text


def test_deploy__carries_no_secret() -> None:
    """Keys and passwords are made by whoever installs."""
    secret = re.compile(rb"PRIVATE KEY-----|^kind: Secret$", re.MULTILINE)
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]

    assert files
    assert [] == [path for path in files if secret.search(path.read_bytes())]
