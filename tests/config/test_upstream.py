"""The section of the upstream: its URL, and whose credentials it sees."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.reading import parse
from proxy.config.upstream import Auth
from proxy.errors import ConfigError
from proxy.upstream.client import UpstreamRegistry
from tests.configs import HELD, MINIMAL, URL, refused, with_auth


def test_auth__passthrough_unless_said() -> None:
    """The client's own credentials are the default; the proxy holds none."""
    auth = parse(MINIMAL, {}).upstream.auth

    assert auth == Auth(mode="passthrough")
    assert not auth.holds_credentials


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("mode: none", ".mode: "),
        ("mode: basic", ": username is required with mode: basic"),
        ("mode: basic, username: u", ": password_file is required with mode: basic"),
        ("mode: basic, password_file: /p", ": username is required with mode: basic"),
        ("mode: docker-config", ": config_file is required with mode: docker-config"),
        ("mode: docker-config, config_file: /c, username: u", ": username has no meaning"),
        ("mode: docker-config, config_file: /c, password_file: /p", ": password_file has no"),
        (f"{HELD}, config_file: /c", ": config_file has no meaning with mode: basic"),
        ("username: u, password_file: /p", ": username has no meaning with mode: passthrough"),
        ("password_file: /p", ": password_file has no meaning with mode: passthrough"),
        ("mode: basic, username: 'a:b', password_file: /p", ": username is empty, or holds a"),
        ("mode: basic, username: '', password_file: /p", ": username is empty"),
        (f"{HELD}, realm: proxy", ": realm: proxy needs mode: passthrough"),
        (f"{HELD}, ping_challenge: true", ": ping_challenge: true needs mode: passthrough"),
        ("mode: docker-config, config_file: /c, ping_challenge: true", ": ping_challenge: true"),
    ],
)
def test_auth__contradictions(auth: str, expected: str) -> None:
    """What contradicts the mode is refused, with its path and the reason."""
    assert refused(with_auth(auth)).startswith(f"f.yaml: upstream.auth{expected}")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("timeouts: {idle: 0s}", ".timeouts: a timeout of nothing"),
        ("timeouts: {commit: 0s}", ".timeouts: a timeout of nothing"),
        ("retries: {attempts: 0}", ".retries.attempts: Expected `int` >= 1"),
    ],
)
def test_upstream__refuses(key: str, expected: str) -> None:
    """What no upstream could meet is refused, with its path and the reason."""
    message = refused(f"upstream: {{url: '{URL}', {key}}}")

    assert message.startswith(f"f.yaml: upstream{expected}")


def test_upstream__half_a_client_certificate() -> None:
    """A client certificate without its key, or a key without one, is refused."""
    for one, other in (("cert", "key"), ("key", "cert")):
        text = f"upstream: {{url: '{URL}', client_{one}_file: /f}}"

        assert f"client_{one}_file is given without client_{other}_file" in refused(text)


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
