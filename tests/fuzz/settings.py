"""Targets: what an operator writes: the config, the environment, and files that it names."""

from __future__ import annotations

import atexit
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.config.client_rules import client_settings
from proxy.config.reading import load, parse
from proxy.config.shown import shown
from proxy.errors import ConfigError
from proxy.htpasswd import Htpasswd
from proxy.keyfile import load_or_create
from proxy.translate.client import understand
from proxy.upstream.credentials import load_docker_config, load_password
from tests import libtrust
from tests.fuzz.target import Target, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config.config import Config

ROOT = Path(__file__).parent.parent.parent
MINIMAL = "upstream: {url: 'https://registry.example.com'}\n"


@cache
def _file() -> Path:
    """Return a file of this process to write inputs to."""
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)
    return Path(directory.name) / "input"


def _written(content: bytes) -> Path:
    path = _file()
    path.write_bytes(content)
    return path


def _use(config: Config) -> None:
    """Take from a config what the start takes, short of connecting."""
    assert httpx.URL(config.upstream.url).host
    understand([], "docker/1.9.1", client_settings(config))
    shown(config)


def _configs(content: bytes) -> None:
    with warnings.catch_warnings():
        # Python warns of regular expressions that a later version may read otherwise.
        warnings.simplefilter("ignore", FutureWarning)
        _use(load(_written(content), {}))


def _config_seeds() -> Iterator[bytes]:
    yield (ROOT / "config.example.yaml").read_bytes()
    yield MINIMAL.encode()
    yield MINIMAL.encode() + (
        b"translate:\n  clients:\n  - {user_agent: '^docker/17', formats: [schema1], zstd: false}\n"
        b"  platform_fallbacks: {linux/amd64: [linux/386]}\nlisten: {tls: {min_version: 1.2}}\n"
        b"cache: {memory: 64MiB, store: redis://127.0.0.1:1/0, store_ttl: 30d}\n"
    )
    yield b"a: &a [x]\nb: {<<: {c: *a}}\n? d\n: !!int 0x1_0\n--- \n"


def _environments(content: bytes) -> None:
    pairs = (line.partition("=") for line in text_of(content).split("\n"))
    environment = {f"REGSHIM_{name}": value for name, _, value in pairs}
    _use(parse(MINIMAL, environment))


def _environment_seeds() -> Iterator[bytes]:
    yield b"UPSTREAM__URL=http://10.0.0.1:5000\nLISTEN__TLS__MIN_VERSION=1.2\nPORT=1"
    yield b"TRANSLATE__PLATFORM_FALLBACKS={linux/amd64: [linux/386]}\nLIMITS__MANIFEST=4MiB"


def _docker_configs(content: bytes) -> None:
    for credentials in load_docker_config(_written(content)).auths.values():
        assert credentials.basic.isascii()


def _docker_config_seeds() -> Iterator[bytes]:
    yield (
        b'{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},'
        b'"a:5000":{"username":"a","password":"b"}}}'
    )
    yield (
        b'{"auths":{"a":{"identitytoken":"x"},"b/v2/":null},'
        b'"credHelpers":{"c":"ecr-login"},"credsStore":"pass"}'
    )


def _passwords(content: bytes) -> None:
    assert load_password(_written(content))


def _password_seeds() -> Iterator[bytes]:
    yield from (b"secret\r\n", "p\u00e4ss w\u00f6rd".encode())


def _htpasswds(content: bytes) -> None:
    Htpasswd.load(_written(content))


def _htpasswd_seeds() -> Iterator[bytes]:
    one = b"$2y$05$" + b"./AZaz09" * 6 + b"ABCDE"
    yield b"# users\n\nalice:" + one + b"\r\nb:" + one.replace(b"$05$", b"$12$") + b"\n"


def _signing_keys(content: bytes) -> None:
    key = load_or_create(_written(content))
    assert key.public_jwk()["kid"] == key.kid


def _signing_key_seeds() -> Iterator[bytes]:
    key = libtrust.test_key()
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        yield key.private_bytes(Encoding.PEM, form, NoEncryption())
    d = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAXu1e7V7t"
    yield b'{"kty":"EC","crv":"P-256","d":"%b"}' % d.encode()


# PyYAML reads some 80 KB in a second, into nodes that remember where they stood. A config is the
# operator's own, read at the start, and at most 64 KiB.
_PATIENCE, _MEMORY, _SIZE = 150.0, 2048, 2000
_YAML_WORDS = (
    b": ", b"- ", b"? ", b"[", b"]", b"{", b"}", b", ", b"&a ", b"*a", b"*a, ", b"<<: ", b"!!int ",
    b"!!timestamp ", b"!!binary ", b"!!set ", b"!!bool ", b"!!float ", b"!", b"'", b"''", b'"',
    b"\\", b"#", b"|", b">", b"\n", b"\n  ", b"\n- a", b"a: 1\n", b"---\n", b"%", b":1", b"1",
    b"1_", b".", b"0x", b"~", b"=", b"<", b"a", b" ", b"\t", b"\xc2\x85", b"\xef\xbb\xbf", b"\x00",
)  # fmt: skip
_JSON_WORDS = (b'"', b"\\", b"{", b"}", b"[", b":", b",", b'"a":{},', b'"a":', b"[[", b"1", b" ")

TARGETS = (
    Target(
        "configs",
        _configs,
        _config_seeds,
        words=_YAML_WORDS,
        frames=(
            (b"", b""),
            (MINIMAL.encode() + b"a: ", b"\n"),
            (b"upstream: {url: 'http://", b"'}"),
            (b"upstream: {url: ", b"}"),
            (MINIMAL.encode() + b"translate: {clients: [{user_agent: '", b"', zstd: true}]}"),
            (MINIMAL.encode() + b"limits: {manifest: ", b"}"),
            (MINIMAL.encode() + b"cache: {store_ttl: ", b"s}"),
        ),
        refusals=(ConfigError,),
        patience=_PATIENCE,
        memory=_MEMORY,
        size=_SIZE,
    ),
    Target(
        "environments",
        _environments,
        _environment_seeds,
        words=(*_YAML_WORDS, b"__", b"__=", b"\nA__B=", b"\nUPSTREAM__URL="),
        frames=((b"A__B=", b""), (b"", b"=1"), (b"UPSTREAM__URL=http://", b"")),
        refusals=(ConfigError,),
        patience=_PATIENCE,
        memory=_MEMORY,
        size=_SIZE,
    ),
    Target(
        "docker-configs",
        _docker_configs,
        _docker_config_seeds,
        words=(*_JSON_WORDS, b'"auths":', b'"auth":', "\u00e4".encode(), b"YTpi"),
        frames=(
            (b"", b""),
            (b'{"auths":{', b'"a":{}}}'),
            (b'{"auths":{"', b'":{"auth":"YTpi"}}}'),
            (b'{"auths":{"a":{"auth":"', b'"}}}'),
        ),
        refusals=(ConfigError,),
    ),
    Target(
        "password-files",
        _passwords,
        _password_seeds,
        words=(b"\r", b"\n", b"\0"),
        frames=((b"a", b""), (b"a", b"b")),
        refusals=(ConfigError,),
    ),
    Target(
        "htpasswd-files",
        _htpasswds,
        _htpasswd_seeds,
        words=(b":", b"$", b"$2y$", b"\n", b"#", b" "),
        frames=((b"a:$2y$05$", b""), (b"", b"")),
        refusals=(ConfigError,),
    ),
    Target(
        "signing-keys",
        _signing_keys,
        _signing_key_seeds,
        words=(
            b"-----BEGIN PRIVATE KEY-----\n",
            b"-----END PRIVATE KEY-----\n",
            b"EC PRIVATE KEY",
            b"ENCRYPTED ",
            b"-----BEGIN RSA PRIVATE KEY-----\n",
            b"A",
            *_JSON_WORDS,
            b'"kty":"EC",',
        ),
        frames=((b"", b""), (b'{"kty":"EC","crv":"P-256","d":"', b'"}'), (b"-----BEGIN ", b"")),
        refusals=(ConfigError,),
    ),
)
