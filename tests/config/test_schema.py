"""The JSON Schema of the configuration agrees with what is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from proxy.config.reading import parse
from proxy.config.schema import json_schema
from proxy.config.values import (
    PATTERNS,
    Bytes,
    PlatformName,
    Seconds,
    StoreUrl,
    TlsVersion,
    Url,
    decode,
)
from proxy.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"


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
        {"upstream": {"url": "x"}},
        {"upstream": {"url": "http://x?a=b"}},
        {"upstream": {"url": "http://x"}, "cache": {"store": "mysql://x"}},
        {"upstream": {"url": "http://x"}, "cache": {"memory": "64 apples"}},
        {"upstream": {"url": "http://x"}, "cache": {"store_ttl": "30 moons"}},
        {"upstream": {"url": "http://x"}, "listen": {"tls": {"min_version": "2"}}},
        {"upstream": {"url": "http://x"}, "translate": {"default_platform": "linux"}},
    ],
)
def test_schema__refuses_what_the_reader_refuses(document: dict[str, Any]) -> None:
    """What the schema refuses the reader refuses too."""
    assert not valid(document)
    with pytest.raises(ConfigError):
        parse(json.dumps(document), {})


WORDS = {
    Bytes: ("4096", "64MiB", " 1 GiB ", "1B"),
    Seconds: ("250ms", "10s", "1.5m", " 30 d ", "0s"),
    Url: ("http://x", "HTTPS://registry.example.com:5000/base/", "http://[::1]:5000/a@b"),
    StoreUrl: ("sqlite:////var/x.db", "sqlite:///x", "redis://h:1/0", "rediss+sentinel://a,b/m"),
    TlsVersion: ("1.0", "1.3"),
    PlatformName: ("linux/amd64", "linux/arm/v7"),
}


def test_patterns__samples_of_every_word() -> None:
    """Each word that the schema has a pattern for is tried below."""
    assert set(PATTERNS) == set(WORDS)


@pytest.mark.parametrize("kind", WORDS)
def test_patterns__take_what_is_read(kind: type) -> None:
    """The schema refuses nothing that is read."""
    for text in WORDS[kind]:
        decode(kind, text)

        assert jsonschema.Draft202012Validator({"pattern": PATTERNS[kind]}).is_valid(text), text
