"""The configuration reference: it is made of the types, and the committed page is the latest."""

from __future__ import annotations

import re

import msgspec
import pytest
import yaml

from proxy.config.config import Config
from proxy.config.reading import parse
from tools.configuration_page import EXAMPLE, PAGE, page

ROW = re.compile(r"^\| `([a-z0-9_.]+)` \| (.+) \| (?:`(.+)`|required) \|$", re.MULTILINE)
ROWS = {key: (kind, default) for key, kind, default in ROW.findall(page())}


def value_at(document: object, key: str) -> object:
    """Return the value at a dotted path of mappings or of structs."""
    for name in key.split("."):
        document = document[name] if isinstance(document, dict) else getattr(document, name)
    return document


def test_page__is_committed() -> None:
    """docs/configuration.md is what the generator makes; `make docs` makes it anew."""
    assert page() == PAGE.read_text(encoding="utf-8"), "run `make docs`"


def test_page__names_every_key_of_the_example() -> None:
    """Each plain value in config.example.yaml has its row, and each row stands in the example."""

    def keys(document: object, path: str = "") -> set[str]:
        if not isinstance(document, dict) or not document:
            return {path}
        return {
            key for name in document for key in keys(document[name], f"{path}.{name}".strip("."))
        }

    example = keys(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")))

    assert example == {key for key in ROWS if not key.startswith("translate.clients.")}


# There is no rule for clients by default, so its keys have no place of their own.
DEFAULTS = sorted(key for key in ROWS if ROWS[key][1] and not key.startswith("translate.clients."))


@pytest.mark.parametrize("key", DEFAULTS)
def test_page__defaults_are_read_as_defaults(key: str) -> None:
    """A default, written into a file as the page has it, is the default that the proxy takes."""
    *sections, last = key.split(".")
    document: dict[str, object] = {last: yaml.safe_load(ROWS[key][1])}
    for section in reversed(sections):
        document = {section: document}
    upstream = document.setdefault("upstream", {})
    assert isinstance(upstream, dict)
    upstream["url"] = "https://registry.example.com"
    config = parse(msgspec.json.encode(document).decode(), {})

    assert value_at(Config(upstream=config.upstream), key) == value_at(config, key)
