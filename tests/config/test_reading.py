"""The configuration as it is read: from a file and the environment; every error names its key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.config import Config, Log, Translate
from proxy.config.listen import Listen
from proxy.config.reading import load, parse
from proxy.config.upstream import Upstream
from proxy.errors import ConfigError
from tests.configs import MINIMAL, URL, refused


def test_parse__upstream_url_is_enough() -> None:
    """All but the upstream's URL has a default."""
    assert parse(MINIMAL, {}) == Config(upstream=Upstream(url=URL))


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
        (MINIMAL + "listen: {port: true}", "listen.port", "int"),
        (MINIMAL + "cache: {memory: -1}", "cache.memory", "size"),
        (MINIMAL + "cache: {memory: true}", "cache.memory", "size"),
        (MINIMAL + "cache: {memory: 1.5}", "cache.memory", "size"),
        (MINIMAL + "cache: {memory: 64MB}", "cache.memory", "64MiB"),
        (MINIMAL + "cache: {memory: null}", "cache.memory", "size"),
        (MINIMAL + "translate: {default_platform: linux}", "translate.default_platform", "os/arch"),
        (MINIMAL + "translate: {signing_key_file: 1}", "translate.signing_key_file", ""),
        (MINIMAL + "translate: {clients: [{user_agent: '('}]}", "clients[0].user_agent", "regular"),
        (MINIMAL + "translate: {clients: [{zstd: true}]}", "clients[0].user_agent", "is required"),
        (
            MINIMAL + "log: {level: WARN}",
            "log.level",
            "expected debug, error, info or warning, got 'WARN'",
        ),
        (MINIMAL + "log: {level: 5}", "log.level", "str"),
        (
            MINIMAL + "translate: {clients: [{user_agent: a, formats: [oci, v1]}]}",
            "translate.clients[0].formats[1]",
            "expected oci, schema1 or schema2, got 'v1'",
        ),
        (
            "upstream: {url: 'http://a', auth: {mode: x}}",
            "upstream.auth.mode",
            "expected basic, docker-config or",
        ),
        ("upstream: {url: 'http://a', timeouts: {idle: 5}}", "upstream.timeouts.idle", "duration"),
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
    [
        *Config.__struct_fields__,
        "url",
        "port",
        "timeouts",
        "idle",
        "memory",
        "clients",
        "user_agent",
        "formats",
    ]
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

        assert str(error.value).startswith(f"{path}: cannot be read: ")
        assert "Errno" not in str(error.value)


def test_load__wrong_file_is_named(tmp_path: Path) -> None:
    """An error in a file begins with its path."""
    file = tmp_path / "config.yaml"
    file.write_text("a: b", encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load(file, {})

    assert str(error.value).startswith(f"{file}: ")


def test_load__too_long(tmp_path: Path) -> None:
    """Of a file that cannot be a config no more is read than shows that."""
    path = tmp_path / "f.yaml"
    path.write_text(MINIMAL + "#" * (64 << 10), encoding="utf-8")

    with pytest.raises(ConfigError, match="is longer than 64 KiB"):
        load(path, {})
