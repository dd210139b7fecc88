"""The configuration: every key has its place, every error names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import (
    Auth,
    Cache,
    ClientRule,
    Config,
    Inventory,
    Limits,
    Listen,
    ListenTls,
    Log,
    Timeouts,
    Translate,
    Upstream,
    load,
    parse,
)
from proxy.config_values import Bytes, Seconds, TlsVersion, Url
from proxy.errors import ConfigError
from proxy.upstream.client import UpstreamRegistry

ROOT = Path(__file__).parent.parent
URL = Url("https://registry.example.com")
MINIMAL = f"upstream: {{url: '{URL}'}}\n"
SECTIONS = ["upstream", "listen", "translate", "cache", "inventory", "limits", "log"]


def refused(text: str, environment: dict[str, str] | None = None) -> str:
    """Return the message of the ConfigError that this config is."""
    with pytest.raises(ConfigError) as error:
        parse(text, environment or {}, name="f.yaml")
    return str(error.value)


def keys_of(document: dict[str, Any], prefix: str = "") -> set[str]:
    """Return the paths of all keys."""
    found = set()
    for key, value in document.items():
        found.add(prefix + key)
        if isinstance(value, dict):
            found |= keys_of(value, f"{prefix}{key}.")
    return found


def test_parse__upstream_url_is_enough() -> None:
    """All but the upstream's URL has a default."""
    assert parse(MINIMAL, {}) == Config(upstream=Upstream(url=URL))


def test_parse__every_key() -> None:
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


AUTH = "username: u, password_file: /p"


def with_auth(auth: str, listen: str = "") -> str:
    """Return a config with these keys of upstream.auth and of listen."""
    return f"upstream: {{url: '{URL}', auth: {{{auth}}}}}\nlisten: {{{listen}}}\n"


def test_auth__passthrough_unless_said() -> None:
    """The client's own credentials are the default; the proxy holds none."""
    auth = parse(MINIMAL, {}).upstream.auth

    assert auth == Auth(mode="passthrough")
    assert not auth.holds_credentials


@pytest.mark.parametrize("auth", [f"mode: basic, {AUTH}", "mode: docker-config, config_file: /c"])
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


@pytest.mark.parametrize("host", ["0.0.0.0", "'::'", "192.0.2.1", "registry.example.com"])
def test_auth__held_credentials_for_everybody(host: str) -> None:
    """Whoever can connect would use the proxy's credentials: that is refused unless said."""
    message = refused(with_auth(f"mode: basic, {AUTH}", f"host: {host}"))

    assert message.startswith("f.yaml: listen.host: ")
    assert "listen.open: true" in message


@pytest.mark.parametrize(
    ("auth", "listen", "expected"),
    [
        ("mode: none", "", "upstream.auth.mode: "),
        ("mode: basic, username: u", "", "upstream.auth: password_file is required"),
        ("mode: basic, password_file: /p", "", "upstream.auth: username is required"),
        ("mode: docker-config", "", "upstream.auth: config_file is required"),
        (AUTH, "", "upstream.auth: username has no meaning with mode: passthrough"),
        (
            "mode: docker-config, config_file: /c, password_file: /p",
            "",
            "upstream.auth: password_file has no meaning",
        ),
        ("mode: basic, username: 'a:b', password_file: /p", "", "upstream.auth: username is empty"),
        ("mode: basic, username: '', password_file: /p", "", "upstream.auth: username is empty"),
        (f"mode: basic, {AUTH}, realm: proxy", "", "upstream.auth: realm: proxy needs"),
        (f"mode: basic, {AUTH}, ping_challenge: true", "", "ping_challenge: true needs"),
        ("", "htpasswd: /h", "listen.htpasswd: needs upstream.auth.mode"),
        ("", "htpasswd: /h, open: true", "listen: htpasswd and open: true contradict"),
        ("", "tls: {cert_file: /c}", "listen.tls: cert_file is given without key_file"),
        ("", "tls: {key_file: /k}", "listen.tls: key_file is given without cert_file"),
        ("", "tls: {min_version: '1.0'}", "listen.tls: min_version 1.0 needs old_suites: true"),
        ("", "tls: {min_version: '1.3', old_suites: true}", "listen.tls: old_suites needs"),
        ("", "tls: {min_version: 1.4}", "listen.tls.min_version: expected 1.0"),
    ],
)
def test_auth__contradictions(auth: str, listen: str, expected: str) -> None:
    """Keys that contradict each other are refused, with their path and the reason."""
    assert expected in refused(with_auth(auth, listen))


def test_upstream__half_a_client_certificate() -> None:
    """A client certificate without its key, or a key without one, is refused."""
    for one, other in (("cert", "key"), ("key", "cert")):
        text = f"upstream: {{url: '{URL}', client_{one}_file: /f}}"

        assert f"client_{one}_file is given without client_{other}_file" in refused(text)


@pytest.mark.parametrize(
    "rule", ["zstd: false", "formats: [oci], indexes: [oci], zstd: true", "platform: linux/386"]
)
def test_clients__a_rule_may_change_one_thing(rule: str) -> None:
    """A rule is valid if it changes anything and does not contradict itself."""
    text = MINIMAL + f"translate: {{clients: [{{user_agent: '^a', {rule}}}]}}"

    assert len(parse(text, {}).translate.clients) == 1


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


def test_example__is_the_default_with_every_key() -> None:
    """The example file shows every key there is, each with its default."""
    text = (ROOT / "config.example.yaml").read_text(encoding="utf-8")
    config = parse(text, {})
    written = keys_of(yaml.safe_load(text))
    exist = {
        f"{section}.{key}"
        for section in SECTIONS
        for key in getattr(config, section).__struct_fields__
    }

    assert config == Config(upstream=Upstream(url=config.upstream.url))
    assert exist <= written


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("upstreem: {}", "upstreem", "unknown key"),
        ("upstream: {urll: x}", "upstream.urll", "unknown key"),
        ("{}", "upstream", "is required"),
        ("", "upstream", "is required"),
        ("upstream: {}", "upstream.url", "is required"),
        ("upstream: {url: 5}", "upstream.url", "http or https URL"),
        ("upstream: {url: registry.example.com}", "upstream.url", "expected http://host"),
        ("upstream: {url: 'ftp://a'}", "upstream.url", "expected http://host"),
        ("upstream: {url: 'https://'}", "upstream.url", "expected http://host"),
        ("upstream: {url: 'http://a:b'}", "upstream.url", "expected http://host"),
        ("upstream: {url: 'http://a:99999'}", "upstream.url", "expected http://host"),
        ("upstream: {url: 'http://[a'}", "upstream.url", "expected http://host"),
        ("upstream: {url: 'http://a b'}", "upstream.url", "expected http://host"),
        ("upstream: {url: 'http://a/?'}", "upstream.url", "without credentials, query"),
        ("upstream: {url: 'http://a/#b'}", "upstream.url", "without credentials, query"),
        ("upstream: {url: 'http://a/?b=c'}", "upstream.url", "without credentials, query"),
        ("upstream: [1]", "upstream", "object"),
        (MINIMAL + "listen: {port: x}", "listen.port", "int"),
        (MINIMAL + "listen: {port: '5000'}", "listen.port", "int"),
        (MINIMAL + "listen: {port: 65536}", "listen.port", "65535"),
        (MINIMAL + "listen: {port: -1}", "listen.port", "0"),
        (MINIMAL + "listen: {port: true}", "listen.port", "int"),
        (MINIMAL + "cache: {memory: -1}", "cache.memory", "size"),
        (MINIMAL + "cache: {memory: true}", "cache.memory", "size"),
        (MINIMAL + "cache: {memory: 1.5}", "cache.memory", "size"),
        (MINIMAL + "cache: {memory: 64MB}", "cache.memory", "64MiB"),
        (MINIMAL + "cache: {memory: null}", "cache.memory", "size"),
        (MINIMAL + "limits: {index_children: 0}", "limits.index_children", ">= 1"),
        (MINIMAL + "limits: {requests: 0}", "limits.requests", ">= 1"),
        (MINIMAL + "limits: {queue: -1}", "limits.queue", ">= 0"),
        (MINIMAL + "listen: {timeouts: {head: 0s}}", "listen.timeouts", "every connection"),
        (MINIMAL + "log: {level: loud}", "log.level", "loud"),
        (MINIMAL + "log: {format: xml}", "log.format", "xml"),
        (MINIMAL + "translate: {default_platform: linux}", "translate.default_platform", "os/arch"),
        (MINIMAL + "translate: {no_accept: x}", "translate.no_accept", "x"),
        (MINIMAL + "translate: {signing_key_file: 1}", "translate.signing_key_file", ""),
        (MINIMAL + "translate: {clients: [{user_agent: '('}]}", "clients[0].user_agent", "regular"),
        (MINIMAL + "translate: {clients: [{zstd: true}]}", "clients[0].user_agent", "is required"),
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
        ("upstream: {url: 'http://a', timeouts: {idle: 5}}", "upstream.timeouts.idle", "duration"),
        ("upstream: {url: 'http://a', timeouts: {idle: 0s}}", "upstream.timeouts", "of nothing"),
        ("upstream: {url: 'http://a', timeouts: {commit: 0s}}", "upstream.timeouts", "of nothing"),
        (
            "upstream: {url: 'http://a', retries: {attempts: 0}}",
            "upstream.retries.attempts",
            ">= 1",
        ),
        (
            "upstream: {url: 'http://a', retries: {within: 10}}",
            "upstream.retries.within",
            "duration",
        ),
        ("upstream: {url: 'http://a', timeouts: {idle: 5 s x}}", "upstream.timeouts.idle", "10s"),
        ("upstream: {url: 'http://a', timeouts: {idle: -5s}}", "upstream.timeouts.idle", "10s"),
    ],
)
def test_parse__an_error_names_file_key_and_what_was_expected(
    text: str, path: str, expected: str
) -> None:
    """A wrong config stops the start with the file, the key path and what was expected."""
    message = refused(text)

    assert message.startswith("f.yaml: ")
    assert f"{path}:" in message
    assert expected in message


@pytest.mark.parametrize(
    "text",
    ["a: [", "\0", "[]", "text", "5", "&a [*a]", "a: 2001-99-99", "? {a: b}\n: c", "[" * 9999],
)
def test_parse__no_mapping_at_all(text: str) -> None:
    """What is no YAML, or no mapping of keys, is a ConfigError that names the file."""
    assert refused(text).startswith("f.yaml: ")


@pytest.mark.parametrize(
    "url",
    [
        "https://user:planted-hunter2@registry.example.com",
        "https://planted-hunter2@registry.example.com",
        "https://user:planted-hunter2/@registry.example.com",
        "https://user:planted-hunter2@exam℀ple.com",
        "https://user:planted-hunter2@[",
        "https://registry.example.com/?token=planted-hunter2",
        "user:planted-hunter2@registry.example.com",
    ],
)
def test_parse__a_password_in_the_url_is_never_repeated(url: str) -> None:
    """Credentials do not belong into the URL, and the message does not show them."""
    message = refused(yaml.safe_dump({"upstream": {"url": url}}))

    assert "upstream.url:" in message
    assert "planted-hunter2" not in message


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("10s", 10.0),
        ("1.5m", 90.0),
        ("1h", 3600.0),
        (" 30 d ", 2592000.0),
        ("0s", 0.0),
    ],
)
def test_seconds__units(text: str, seconds: float) -> None:
    """Durations are written with their unit."""
    config = parse(f"upstream: {{url: 'http://a', retries: {{within: '{text}'}}}}", {})

    assert config.upstream.retries.within == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("'4096'", 4096), ("1B", 1), ("64 KiB", 65536), ("2GiB", 1 << 31)],
)
def test_bytes__units(text: str, size: int) -> None:
    """Sizes are plain numbers of bytes or have a unit of 1024."""
    assert parse(MINIMAL + f"cache: {{memory: {text}}}", {}).cache.memory == size


def test_environment__sets_any_key() -> None:
    """REGSHIM_A__B is a.b, read as YAML, and goes before the file."""
    config = parse(
        MINIMAL + "listen: {port: 1, host: h}",
        {
            "REGSHIM_UPSTREAM__URL": "http://other",
            "REGSHIM_UPSTREAM__TIMEOUTS__IDLE": "5s",
            "REGSHIM_LISTEN__PORT": "7",
            "REGSHIM_LOG__LEVEL": "debug",
            "REGSHIM_TRANSLATE__SIGNING_KEY_FILE": "/key.pem",
            "OTHER_LISTEN__PORT": "8",
            "regshim_listen__port": "9",
        },
    )

    assert config.upstream.url == "http://other"
    assert config.upstream.timeouts.idle == 5.0
    assert config.listen == Listen(host="h", port=7)
    assert config.log == Log(level="debug")
    assert config.translate == Translate(signing_key_file=Path("/key.pem"))


def test_environment__without_a_section_is_somebody_else_s() -> None:
    """Kubernetes sets REGSHIM_PORT and the like for a Service of that name: they are no keys."""
    others = {"REGSHIM_PORT": "tcp://10.0.0.1:5000", "REGSHIM_": "x", "REGSHIM_SERVICE_HOST": "h"}

    assert parse(MINIMAL, others) == parse(MINIMAL, {})


@pytest.mark.parametrize("text", ["1.0", "'1.0'"])
def test_tls_version__with_and_without_quotes(text: str) -> None:
    """A version of TLS may be written as YAML's number, as the environment would have it."""
    variables = {"REGSHIM_LISTEN__TLS": f"{{min_version: {text}, old_suites: true}}"}

    assert parse(MINIMAL, variables).listen.tls.min_version == "1.0"


def test_environment__is_enough() -> None:
    """An empty file and the environment make a config."""
    assert parse("", {"REGSHIM_UPSTREAM__URL": URL}) == Config(upstream=Upstream(url=URL))


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("REGSHIM_UPSTREAM__URLL", "x", "upstream.urll: unknown key"),
        ("REGSHIM___", "x", "unknown key"),
        ("REGSHIM_UPSTREAM__URL__X", "x", "REGSHIM_UPSTREAM__URL__X: url is no section"),
        ("REGSHIM_LISTEN__PORT", "x", "listen.port"),
        ("REGSHIM_LISTEN__PORT", "[", "REGSHIM_LISTEN__PORT: is not valid YAML, line 1: "),
        ("REGSHIM_LISTEN__PORT", "[" * 9999, "REGSHIM_LISTEN__PORT: is not valid YAML, line 1: "),
        ("REGSHIM_LOG__LEVEL", "2001-99-99", "log.level: "),
    ],
)
def test_environment__errors(variable: str, value: str, expected: str) -> None:
    """A variable that sets nothing valid is refused, by its name or by its key path."""
    assert expected in refused(MINIMAL, {variable: value})


yaml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=5,
)
known_keys = st.sampled_from(
    [*SECTIONS, "url", "port", "timeouts", "idle", "memory", "clients", "user_agent", "formats"]
)
near_configs = st.dictionaries(
    known_keys, yaml_values | st.dictionaries(known_keys, yaml_values), max_size=4
)


@given(st.one_of(st.text(), near_configs.map(yaml.safe_dump)))
def test_parse__any_text(text: str) -> None:
    """Any text is a Config, or a ConfigError that begins with the file's name."""
    try:
        config = parse(text, {}, name="f.yaml")
    except ConfigError as error:
        message = str(error)
    else:
        message = "f.yaml: "
        assert isinstance(config, Config)

    assert message.startswith("f.yaml: ")


@given(st.dictionaries(st.text().map("REGSHIM_".__add__), st.text(), max_size=3))
def test_environment__any_variables(environment: dict[str, str]) -> None:
    """Any variables make a Config or a ConfigError."""
    try:
        config = parse(MINIMAL, environment)
    except ConfigError:
        return

    assert isinstance(config, Config)


@dataclass
class _NoTransport:
    """Stands where a transport would."""


url_texts = st.text(alphabet="htps:/@[]?#%.a1 \t\n\\ä_", max_size=12)


@given(st.one_of(st.text(), url_texts).map("http://".__add__))
def test_url__what_is_accepted_can_be_used(text: str) -> None:
    """A URL that the config takes is one that the upstream client takes too."""
    try:
        config = parse(yaml.safe_dump({"upstream": {"url": text}}), {})
    except ConfigError:
        return
    upstream = UpstreamRegistry(
        _NoTransport(),  # type: ignore[arg-type]  # it is never called
        config.upstream.url,
        manifest_limit=1,
    )

    assert upstream.origin.startswith("http://")
    assert upstream.base_path.isascii()


def test_load__file_and_environment(tmp_path: Path) -> None:
    """A file is read as UTF-8 and the environment goes before it."""
    file = tmp_path / "config.yaml"
    file.write_text(f"# ä\n{MINIMAL}", encoding="utf-8")

    assert load(file, {"REGSHIM_LISTEN__PORT": "7"}) == Config(
        upstream=Upstream(url=URL), listen=Listen(port=7)
    )


def test_load__cannot_be_read(tmp_path: Path) -> None:
    """A file that is missing, a directory, or no UTF-8 is named."""
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path / "missing.yaml", tmp_path, binary):
        with pytest.raises(ConfigError) as error:
            load(path, {})

        assert str(error.value).startswith(f"{path}: cannot be read")


def test_load__wrong_file_is_named(tmp_path: Path) -> None:
    """An error in a file begins with its path."""
    file = tmp_path / "config.yaml"
    file.write_text("a: b", encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load(file, {})

    assert str(error.value).startswith(f"{file}: ")


def test_config__cannot_be_changed() -> None:
    """A config is a value: whoever holds it can rely on it."""
    config = parse(MINIMAL, {})
    for section in (config, config.upstream, config.listen):
        with pytest.raises(AttributeError):
            section.host = "x"  # type: ignore[union-attr,misc]
    assert msgspec.structs.replace(config) == config
    assert ClientRule.__struct_config__.frozen


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("{mode: basic}", "username is required with mode: basic"),
        ("{mode: basic, username: u}", "password_file is required with mode: basic"),
        ("{mode: basic, password_file: p}", "username is required"),
        ("{mode: docker-config}", "config_file is required with mode: docker-config"),
        ("{mode: docker-config, config_file: c, username: u}", "username has no meaning"),
        ("{mode: basic, username: u, password_file: p, config_file: c}", "config_file has no"),
        ("{password_file: p}", "password_file has no meaning with mode: passthrough"),
        ("{mode: basic, username: 'a:b', password_file: p}", "username is empty, or holds a colon"),
        ("{mode: basic, username: '', password_file: p}", "username is empty"),
        ("{mode: basic, username: u, password_file: p, realm: proxy}", "realm: proxy needs"),
        ("{mode: docker-config, config_file: c, ping_challenge: true}", "ping_challenge: true nee"),
    ],
)
def test_auth__contradictions_name_their_key(auth: str, expected: str) -> None:
    """What contradicts the mode stops the start with its key path."""
    message = refused(f"upstream: {{url: 'http://a', auth: {auth}}}")

    assert f"f.yaml: upstream.auth: {expected}" in message


HELD = "upstream: {url: 'http://a', auth: {mode: basic, username: u, password_file: p}}\n"


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("{host: 0.0.0.0}", "listen.host: 0.0.0.0 is no loopback address"),
        ("{host: '::'}", "listen.host: :: is no loopback address"),
        ("{host: 192.0.2.1}", "listen.host: 192.0.2.1 is no loopback address"),
        ("{host: proxy.example.com}", "listen.host: proxy.example.com is no loopback"),
        ("{host: ''}", "listen.host: "),
        ("{htpasswd: h, open: true}", "listen: htpasswd and open: true contradict"),
    ],
)
def test_auth__credentials_for_everybody_are_refused(listen: str, expected: str) -> None:
    """A proxy that holds credentials is on loopback, guarded, or said to be open."""
    message = refused(HELD + f"listen: {listen}")

    assert f"f.yaml: {expected}" in message
    assert "htpasswd" in message
    assert "open: true" in message


@pytest.mark.parametrize(
    "listen",
    [
        "{}",
        "{host: 127.0.0.2}",
        "{host: '::1'}",
        "{host: localhost}",
        "{host: 0.0.0.0, htpasswd: h}",
        "{host: 0.0.0.0, open: true}",
    ],
)
def test_auth__credentials_behind_a_guard(listen: str) -> None:
    """Loopback, an htpasswd file or the explicit word are enough."""
    assert parse(HELD + f"listen: {listen}", {}).upstream.auth.holds_credentials


def test_auth__no_guard_over_clients_own_credentials() -> None:
    """With passthrough a client's credentials are the upstream's: there is nothing to guard."""
    message = refused(MINIMAL + "listen: {htpasswd: h}")

    assert "f.yaml: listen.htpasswd: needs upstream.auth.mode basic or docker-config" in message
    assert not parse(MINIMAL + "listen: {host: 0.0.0.0}", {}).upstream.auth.holds_credentials


def test_platform_fallbacks__key_is_no_platform() -> None:
    """A key that names no platform is refused with its section, as a value is."""
    message = refused(MINIMAL + "translate: {platform_fallbacks: {linux: [linux/386]}}")

    assert message.startswith("f.yaml: translate: expected os/architecture")


def test_load__too_long(tmp_path: Path) -> None:
    """Of a file that cannot be a config no more is read than shows that."""
    path = tmp_path / "f.yaml"
    path.write_text(MINIMAL + "#" * (64 << 10), encoding="utf-8")

    with pytest.raises(ConfigError, match="is longer than 64 KiB"):
        load(path, {})
