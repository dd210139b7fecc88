"""The configuration as people may see it: everything in effect, nothing secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.config.shown import MASK, shown, store_words
from proxy.config.values import StoreUrl
from tests.running import config_for

if TYPE_CHECKING:
    from proxy.config.config import Config

URL = "https://registry.example.com"


def values(config: Config) -> dict[str, str]:
    """Return the shown values by key."""
    return {row.key: row.value for row in shown(config)}


def test_shown__every_key_in_words() -> None:
    """Values are written as in the file: units, lists, what is not set."""
    rows = values(
        config_for(
            URL,
            cache={"memory": "1GiB", "store_timeout": "250ms"},
            limits={"manifest": 4097},
            inventory={"retention": "36h"},
            translate={
                "clients": [{"user_agent": "^x", "zstd": False}],
                "platform_fallbacks": {"linux/amd64": ["linux/386"]},
            },
        )
    )

    assert {
        "upstream.url": URL,
        "upstream.ca_file": "not set",
        "upstream.timeouts.idle": "1m",
        "cache.memory": "1GiB",
        "cache.store_timeout": "0.25s",
        "limits.manifest": "4097B",
        "inventory.retention": "36h",
        "inventory.enabled": "true",
        "listen.port": "5000",
        "listen.open": "false",
    }.items() <= rows.items()
    assert '"user_agent":"^x"' in rows["translate.clients"]
    assert '{"linux/amd64":["linux/386"]}' == rows["translate.platform_fallbacks"]


def test_shown__what_was_set() -> None:
    """Keys that differ from their default are told apart."""
    changed = {row.key for row in shown(config_for(URL, listen={"port": 5002})) if row.changed}

    assert {"upstream.url", "upstream.retries.attempts", "listen.port"} == changed


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///var/lib/t.db", "sqlite:///var/lib/t.db"),
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("redis://:planted-hunter2@cache:6379/0", f"redis://{MASK}@cache:6379/0"),
        (
            "rediss://u:planted-hunter2@cache/0?password=planted-hunter2",
            f"rediss://{MASK}@cache/0?{MASK}",
        ),
        ("redis+sentinel://u:hun@ter2@a:1,b:2/m/0", f"redis+sentinel://{MASK}@a:1,b:2/m/0"),
        ("unix://u:planted-hunter2@/run/redis.sock?db=0", f"unix://{MASK}@/run/redis.sock?{MASK}"),
    ],
)
def test_store_words__without_secrets(url: str, expected: str) -> None:
    """Of a store's URL its user, password and query are masked."""
    assert expected == store_words(url)
    assert expected == values(config_for(URL, cache={"store": url}))["cache.store"]


def test_shown__no_secret_of_a_whole_config() -> None:
    """Whatever may hold a secret is masked; the path of a file that does is shown."""
    config = config_for(
        URL,
        upstream={"auth": {"mode": "basic", "username": "robot", "password_file": "/run/pw"}},
        cache={"store": "redis://u:planted-hunter2@cache/0"},
    )
    rows = values(config)

    assert "planted-hunter2" not in "".join(rows.values())
    assert "/run/pw" == rows["upstream.auth.password_file"]
    assert isinstance(config.cache.store, StoreUrl)
