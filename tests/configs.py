"""Configs as somebody writes them, and what is said of one that cannot be used."""

from __future__ import annotations

import pytest

from proxy.config.reading import parse
from proxy.config.values import Url
from proxy.errors import ConfigError

URL = Url("https://registry.example.com")
HELD = "mode: basic, username: u, password_file: /p"
MINIMAL = f"upstream: {{url: '{URL}'}}\n"


def refused(text: str, environment: dict[str, str] | None = None) -> str:
    """Return the message of the ConfigError that this config is."""
    with pytest.raises(ConfigError) as error:
        parse(text, environment or {}, name="f.yaml")
    return str(error.value)


def with_auth(auth: str, listen: str = "") -> str:
    """Return a config with these keys of upstream.auth and of listen."""
    return f"upstream: {{url: '{URL}', auth: {{{auth}}}}}\nlisten: {{{listen}}}\n"
