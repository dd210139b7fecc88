"""The JSON Schema of the configuration agrees with what is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from proxy.config_reading import parse
from proxy.config_schema import json_schema
from proxy.errors import ConfigError

EXAMPLE = Path(__file__).parents[1] / "config.example.yaml"


def valid(document: object) -> bool:
    """Tell whether the schema takes a document."""
    return bool(jsonschema.Draft202012Validator(json_schema()).is_valid(document))


def test_schema__is_a_schema() -> None:
    """It is valid itself, and plain JSON."""
    schema = json_schema()

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema == json.loads(json.dumps(schema))
    assert (
        "linux/amd64"
        == (schema["properties"]["translate"]["properties"]["default_platform"]["default"])
    )


def test_schema__takes_the_example() -> None:
    """The example with every key is valid."""
    assert valid(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"upstream": {}},
        {"upstream": {"url": "http://x"}, "unknown": 1},
        {"upstream": {"url": "http://x"}, "listen": {"port": 70000}},
        {"upstream": {"url": "http://x"}, "listen": {"port": "5000"}},
        {"upstream": {"url": "http://x", "blob_redirects": "maybe"}},
        {"upstream": {"url": "http://x"}, "translate": {"clients": {}}},
        {"upstream": {"url": 1}},
    ],
)
def test_schema__refuses_what_the_reader_refuses(document: dict[str, Any]) -> None:
    """What the schema refuses the reader refuses too."""
    assert not valid(document)
    with pytest.raises(ConfigError):
        parse(json.dumps(document), {})
