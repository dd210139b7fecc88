"""What a config says of clients."""

from __future__ import annotations

from proxy.config.client_rules import client_settings
from proxy.spec.descriptor import parse_platform
from proxy.spec.media_types import Format, MediaType
from proxy.translate.client import ALL_FORMATS, RULES, Settings, understand
from tests.running import config_for

URL = "http://127.0.0.1:1"


def test_client_settings__defaults() -> None:
    """Without a word in the config the settings are the built-in ones."""
    assert Settings() == client_settings(config_for(URL))


def test_client_settings__each_key() -> None:
    """Each key of `translate` arrives where clients are judged by it."""
    rule = {
        "user_agent": r"docker/17\.",
        "formats": ["schema1", "schema2"],
        "indexes": ["docker"],
        "zstd": True,
        "platform": "linux/s390x",
    }
    settings = client_settings(
        config_for(
            URL,
            translate={
                "default_platform": "linux/arm/v6",
                "no_accept": "stored",
                "platform_fallbacks": {"linux/s390x": ["linux/s390"]},
                "clients": [rule],
            },
        )
    )
    client = understand([], "docker/17.03.2-ce os/linux arch/amd64", settings)

    assert parse_platform("linux/arm/v6") == settings.default_platform
    assert ALL_FORMATS == settings.no_accept
    assert RULES == settings.rules[:-1]
    assert {Format.SCHEMA1, Format.SCHEMA2} == client.formats
    assert {MediaType.DOCKER_LIST} == client.indexes
    assert client.zstd
    assert ["linux/s390x", "linux/s390"] == [str(one) for one in client.platforms]
    assert client.reasons[-1].startswith("translate.clients[0]")


def test_client_settings__rule_that_says_little() -> None:
    """What a rule does not give stays as the client and the built-in rules have it."""
    settings = client_settings(
        config_for(URL, translate={"clients": [{"user_agent": "docker/1[.]9", "zstd": False}]})
    )
    plain = understand([], "docker/1.9.1", Settings())
    ruled = understand([], "docker/1.9.1", settings)

    assert (plain.formats, plain.indexes, plain.platforms) == (
        ruled.formats,
        ruled.indexes,
        ruled.platforms,
    )
