"""The sections of the two ports: what contradicts itself is refused."""

from __future__ import annotations

import pytest

from proxy.config.reading import parse
from tests.configs import MINIMAL, refused, with_auth


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("port: 65536", ".port: Expected `int` <= 65535"),
        ("port: -1", ".port: Expected `int` >= 0"),
        ("timeouts: {head: 0s}", ".timeouts: a timeout of nothing would end every connection"),
        ("htpasswd: /h", ".htpasswd: needs upstream.auth.mode basic or docker-config"),
        ("htpasswd: /h, open: true", ": htpasswd and open: true contradict"),
        ("tls: {cert_file: /c}", ".tls: cert_file is given without key_file"),
        ("tls: {key_file: /k}", ".tls: key_file is given without cert_file"),
        ("tls: {min_version: '1.0'}", ".tls: min_version 1.0 needs old_suites: true"),
        ("tls: {min_version: '1.3', old_suites: true}", ".tls: old_suites needs"),
        ("tls: {min_version: 1.4}", ".tls.min_version: expected 1.0"),
    ],
)
def test_listen__refuses(listen: str, expected: str) -> None:
    """What cannot be, and keys that contradict each other, are refused with path and reason."""
    assert refused(with_auth("", listen)).startswith(f"f.yaml: listen{expected}")


def test_listen__open_to_clients_own_credentials() -> None:
    """With passthrough a client's credentials are the upstream's: every address may be served."""
    assert "0.0.0.0" == parse(MINIMAL + "listen: {host: 0.0.0.0}", {}).listen.host
