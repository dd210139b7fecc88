"""What can be configured: every key has its place, and no config contradicts itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from proxy.config.config import Cache, ClientRule, Config, Inventory, Limits, Log
from proxy.config.listen import Listen, ListenTls
from proxy.config.reading import parse
from proxy.config.upstream import Timeouts, Upstream
from proxy.config.values import Bytes, Seconds, TlsVersion, Url
from tests.configs import HELD, MINIMAL, refused, with_auth

ROOT = Path(__file__).parents[2]


def keys_of(document: dict[str, Any], prefix: str = "") -> set[str]:
    """Return the paths of all keys."""
    found = set()
    for key, value in document.items():
        found.add(prefix + key)
        if isinstance(value, dict):
            found |= keys_of(value, f"{prefix}{key}.")
    return found


def test_config__every_key() -> None:
    """Every key that a file may have arrives where it belongs, in the type that it stands for."""
    text = """
    listen:
      host: 0.0.0.0
      port: 5002
      tls: {cert_file: /tls.crt, key_file: /tls.key, min_version: "1.0", old_suites: true}
    upstream:
      url: http://127.0.0.1:8080/mirror/
      ca_file: /etc/ca.pem
      client_cert_file: /client.crt
      client_key_file: /client.key
      timeouts: {connect: 500ms, idle: 1.5m, commit: 1h}
      blob_redirects: pass
      splice: false
    translate:
      default_platform: linux/arm/v7
      no_accept: stored
      signing_key_file: key.pem
      platform_fallbacks: {linux/amd64: [linux/386]}
      clients:
        - {user_agent: '^docker/17', formats: [schema1, schema2], zstd: false}
    cache: {memory: 1GiB}
    inventory:
      enabled: false
      max_entries: 7
      retention: 30d
      hash_addresses: true
      trust_forwarded_for: true
    limits: {manifest: 4096, config_blob: 64KiB, index_children: 3}
    log: {level: debug, format: console}
    """
    config = parse(text, {})

    assert config.listen == Listen(
        host="0.0.0.0",
        port=5002,
        tls=ListenTls(
            cert_file=Path("/tls.crt"),
            key_file=Path("/tls.key"),
            min_version=TlsVersion("1.0"),
            old_suites=True,
        ),
    )
    assert config.upstream == Upstream(
        url=Url("http://127.0.0.1:8080/mirror"),
        ca_file=Path("/etc/ca.pem"),
        client_cert_file=Path("/client.crt"),
        client_key_file=Path("/client.key"),
        timeouts=Timeouts(connect=Seconds(0.5), idle=Seconds(90.0), commit=Seconds(3600.0)),
        blob_redirects="pass",
        splice=False,
    )
    assert config.translate.default_platform == "linux/arm/v7"
    assert config.translate.no_accept == "stored"
    assert config.translate.signing_key_file == Path("key.pem")
    assert config.translate.platform_fallbacks == {"linux/amd64": ("linux/386",)}
    (rule,) = config.translate.clients
    assert (rule.user_agent, rule.formats, rule.zstd) == (
        "^docker/17",
        ("schema1", "schema2"),
        False,
    )
    assert config.cache == Cache(memory=Bytes(1 << 30))
    assert config.limits == Limits(
        manifest=Bytes(4096), config_blob=Bytes(64 << 10), index_children=3
    )
    assert config.inventory == Inventory(
        enabled=False,
        max_entries=7,
        retention=Seconds(30 * 86400.0),
        hash_addresses=True,
        trust_forwarded_for=True,
    )
    assert config.log == Log(level="debug", format="console")


def test_example__is_the_default_with_every_key() -> None:
    """The example file shows every key there is, each with its default."""
    text = (ROOT / "config.example.yaml").read_text(encoding="utf-8")
    config = parse(text, {})
    written = keys_of(yaml.safe_load(text))
    exist = {
        f"{section}.{key}"
        for section in Config.__struct_fields__
        for key in getattr(config, section).__struct_fields__
    }

    assert config == Config(upstream=Upstream(url=config.upstream.url))
    assert exist <= written


@pytest.mark.parametrize(
    ("listen", "admin", "collide"),
    [
        ("port: 5001", "", True),
        ("host: 0.0.0.0, port: 5001", "", True),
        ("host: 192.0.2.1, port: 5001", "host: '::'", True),
        ("host: localhost, port: 5001", "", True),
        ("host: '::1', port: 5001", "host: localhost", True),
        ("host: 192.0.2.1, port: 5001", "", False),
        ("host: 192.0.2.1, port: 5001", "host: localhost", False),
        ("port: 0", "port: 0", False),
    ],
)
def test_config__ports_collide(listen: str, admin: str, collide: bool) -> None:
    """Workers would share the port of both, and show clients the admin port."""
    text = MINIMAL + f"listen: {{{listen}}}\nadmin: {{{admin}}}"
    if collide:
        assert "f.yaml: admin.port: 5001 is listen.port already" == refused(text)
    else:
        assert parse(text, {}).admin.port == parse(text, {}).listen.port


def test_config__cannot_be_changed() -> None:
    """A config is a value: whoever holds it can rely on it."""
    config = parse(MINIMAL, {})
    for section in (config, config.upstream, config.listen):
        with pytest.raises(AttributeError):
            section.host = "x"  # type: ignore[union-attr,misc]
    assert msgspec.structs.replace(config) == config
    assert ClientRule.__struct_config__.frozen


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        (MINIMAL + "limits: {index_children: 0}", "limits.index_children", ">= 1"),
        (MINIMAL + "limits: {requests: 0}", "limits.requests", ">= 1"),
        (MINIMAL + "limits: {queue: -1}", "limits.queue", ">= 0"),
        (MINIMAL + "log: {level: loud}", "log.level", "loud"),
        (MINIMAL + "log: {format: xml}", "log.format", "xml"),
        (MINIMAL + "translate: {no_accept: x}", "translate.no_accept", "x"),
        (MINIMAL + "translate: {clients: [{user_agent: a}]}", "clients[0]", "changes nothing"),
        (
            MINIMAL + "translate: {clients: [{user_agent: a, formats: []}]}",
            "clients[0]",
            "`formats` is empty",
        ),
        (
            MINIMAL + "translate: {clients: [{user_agent: a, formats: [oci], indexes: [docker]}]}",
            "clients[0]",
            "docker indexes but not the schema2 images",
        ),
        (
            MINIMAL + "translate: {clients: [{user_agent: a, formats: [schema1], zstd: true}]}",
            "clients[0]",
            "only schema 1",
        ),
        (
            MINIMAL
            + "translate: {clients: [{user_agent: a, formats: [schema1, schema1], zstd: true}]}",
            "clients[0]",
            "only schema 1",
        ),
    ],
)
def test_section__refuses(text: str, path: str, expected: str) -> None:
    """A value that its section cannot mean is refused at its path, with what was expected."""
    message = refused(text)

    assert message.startswith("f.yaml: ")
    assert f"{path}:" in message
    assert expected in message


@pytest.mark.parametrize("auth", [HELD, "mode: docker-config, config_file: /c"])
@pytest.mark.parametrize(
    "listen",
    [
        "",
        "host: localhost",
        "host: 127.0.0.2",
        "host: '::1'",
        "host: 0.0.0.0, htpasswd: /h",
        "host: 0.0.0.0, open: true",
    ],
)
def test_auth__held_credentials_are_guarded(auth: str, listen: str) -> None:
    """The proxy's own credentials are for this machine, for known users, or openly for all."""
    assert parse(with_auth(auth, listen), {}).upstream.auth.holds_credentials


@pytest.mark.parametrize("host", ["0.0.0.0", "'::'", "192.0.2.1", "registry.example.com", "''"])
def test_auth__held_credentials_for_everybody(host: str) -> None:
    """Whoever can connect would use the proxy's credentials: that is refused unless said."""
    message = refused(with_auth(HELD, f"host: {host}"))

    assert message.startswith(f"f.yaml: listen.host: {yaml.safe_load(host)} is no loopback address")
    assert "listen.htpasswd" in message
    assert "listen.open: true" in message


@pytest.mark.parametrize(
    "rule", ["zstd: false", "formats: [oci], indexes: [oci], zstd: true", "platform: linux/386"]
)
def test_clients__a_rule_may_change_one_thing(rule: str) -> None:
    """A rule is valid if it changes anything and does not contradict itself."""
    text = MINIMAL + f"translate: {{clients: [{{user_agent: '^a', {rule}}}]}}"

    assert len(parse(text, {}).translate.clients) == 1


def test_platform_fallbacks__key_is_no_platform() -> None:
    """A key that names no platform is refused with its section, as a value is."""
    message = refused(MINIMAL + "translate: {platform_fallbacks: {linux: [linux/386]}}")

    assert message.startswith("f.yaml: translate: expected os/architecture")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///var/lib/t.db",
        "redis://host:6379/0",
        "rediss://:secret@host/0",
        "redis+sentinel://host/0",
        "unix:///run/redis.sock",
    ],
)
def test_store__of_a_known_kind(url: str) -> None:
    """A store is named by its URL; where the config is shown, its kind is all that is."""
    store = parse(MINIMAL + f"cache: {{store: '{url}'}}", {}).cache.store

    assert store == url
    assert repr(store) == f"{url.partition('://')[0]}://…"


@pytest.mark.parametrize("url", ["secret", "sqlite://secret.db", "mysql://u:secret@h", "''", "5"])
def test_store__of_no_known_kind(url: str) -> None:
    """Any other URL is refused, and not repeated."""
    message = refused(MINIMAL + f"cache: {{store: {url}}}")

    assert "cache.store:" in message
    assert "secret" not in message
