"""TLS with real sockets: versions, suites, certificates that are swapped, wrong or expired."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from proxy.config.listen import ListenTls
from proxy.config.upstream import Upstream
from proxy.config.values import Url
from proxy.errors import ConfigError
from proxy.tls import ServerTls, load_certificate, upstream_context
from tests.certificates import GO_1_4, OLD, Authority, Pair, handshake, listen, speaking
from tests.running import running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry import Registry


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Give an authority of the test's own."""
    return Authority(tmp_path)


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    """Give an RSA key, made once: it takes a while."""
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    """Give a certificate for 127.0.0.1."""
    return authority.issue("server")


def settings(pair: Pair) -> ListenTls:
    """Return the settings that serve this certificate."""
    return ListenTls(cert_file=pair.cert_file, key_file=pair.key_file)


@pytest.mark.parametrize("minimum", [None, "1.0", "1.1", "1.2", "1.3"])
@pytest.mark.parametrize("spoken", ["1.0", "1.1", "1.2", "1.3"])
async def test_server__versions(
    registry: Registry, authority: Authority, pair: Pair, minimum: str | None, spoken: str
) -> None:
    """From the configured version on, by default from TLS 1.2 on; nothing older."""
    version = {
        "1.0": ssl.TLSVersion.TLSv1,
        "1.1": ssl.TLSVersion.TLSv1_1,
        "1.2": ssl.TLSVersion.TLSv1_2,
        "1.3": ssl.TLSVersion.TLSv1_3,
    }[spoken]
    more: dict[str, Any] = {} if minimum is None else {"min_version": minimum}
    more |= {"old_suites": True} if minimum in {"1.0", "1.1"} else {}
    async with running(registry, listen=listen(pair, **more)) as url:
        if spoken < (minimum or "1.2"):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await handshake(url, speaking(authority, version))
        else:
            told, *_ = await handshake(url, speaking(authority, version))

            assert "TLSv" + spoken.removesuffix(".0") == told


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_2])
@pytest.mark.parametrize("suite", GO_1_4)
async def test_server__old_suites(
    registry: Registry,
    authority: Authority,
    rsa_key: rsa.RSAPrivateKey,
    version: ssl.TLSVersion,
    suite: str,
) -> None:
    """Each suite of Go 1.4 that modern servers lack, with the kind of key that it needs."""
    pair = authority.issue("server", key=None if "ECDSA" in suite else rsa_key)
    context = speaking(authority, version, suite)
    async with running(registry, listen=listen(pair, **OLD)) as url:
        _, used, _ = await handshake(url, context)
    async with running(registry, listen=listen(pair)) as url:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await handshake(url, context)

    assert suite == used


@pytest.mark.parametrize("suite", ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"])
async def test_server__the_modern_suites_of_go_1_4_need_no_setting(
    registry: Registry, authority: Authority, rsa_key: rsa.RSAPrivateKey, suite: str
) -> None:
    """Docker 1.8 and 1.9 offer AES-GCM too: with TLS 1.2 they need nothing old."""
    pair = authority.issue("server", key=None if "ECDSA" in suite else rsa_key)
    context = speaking(authority, ssl.TLSVersion.TLSv1_2, suite)
    async with running(registry, listen=listen(pair)) as url:
        _, used, _ = await handshake(url, context)

    assert suite == used


async def test_server__no_weak_suites(registry: Registry, pair: Pair, authority: Authority) -> None:
    """Even with the old suites there is no RC4, no 3DES and nothing anonymous."""
    context = speaking(authority, ssl.TLSVersion.TLSv1_2, "aNULL:eNULL:3DES:RC4:PSK:DHE")
    async with running(registry, listen=listen(pair, **OLD)) as url:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await handshake(url, context)


def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_show__new_handshakes_see_the_new_certificate(
    authority: Authority, pair: Pair, name: str
) -> None:
    """A handshake is shown the new certificate at once, with and without SNI."""
    tls = ServerTls(settings(pair))
    server = await asyncio.start_server(_hang_up, "127.0.0.1", 0, ssl=tls.context)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        before = (await handshake(url, authority.client_context(), name))[2]
        first = pair.serial
        authority.issue("server", lasts=timedelta(days=9))
        tls.show(load_certificate(settings(pair)))
        after = (await handshake(url, authority.client_context(), name))[2]

    assert (first, pair.serial) == (before, after)
    assert before != after


def test_show__not_before_it_is_told(authority: Authority, pair: Pair) -> None:
    """`expires` is that of the certificate which is shown, and loading one shows nothing yet."""
    tls = ServerTls(settings(pair))
    before = tls.expires
    authority.issue("server", lasts=timedelta(days=9))
    certificate = load_certificate(settings(pair))
    unshown = tls.expires
    tls.show(certificate)

    assert before == unshown
    assert certificate.expires == tls.expires != before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("no cert", "listen.tls.cert_file: {cert} cannot be read: No such file"),
        ("no key", "listen.tls.key_file: {key} cannot be read: No such file"),
        ("cert nonsense", "listen.tls.cert_file: {cert} holds no certificate in PEM"),
        ("key nonsense", "listen.tls.key_file: {key} holds no private key"),
        ("key encrypted", "listen.tls.key_file: {key} holds no private key in PEM without a pass"),
        ("key of another", "listen.tls.key_file: {key} is not the key of {cert}"),
        ("key of another kind", "listen.tls.key_file: {key} is not the key of {cert}"),
        ("weak", "listen.tls.cert_file: {cert} is too weak: ee key too small"),
    ],
)
def test_server__wrong_files_are_named(
    authority: Authority, pair: Pair, change: str, expected: str
) -> None:
    """At the start, a file that cannot be used is named by its config key and its path."""
    match change:
        case "no cert":
            pair.cert_file.unlink()
        case "no key":
            pair.key_file.unlink()
        case "cert nonsense":
            pair.cert_file.write_text("-----BEGIN CERTIFICATE-----")
        case "key nonsense":
            pair.key_file.write_text("-----BEGIN PRIVATE KEY-----")
        case "key of another":
            pair.key_file.write_bytes(authority.issue("other").key_file.read_bytes())
        case "key of another kind":
            other = authority.issue("other", key=rsa.generate_private_key(65537, 2048))
            pair.key_file.write_bytes(other.key_file.read_bytes())
        case "weak":
            authority.issue("server", key=rsa.generate_private_key(65537, 1024))
        case "key encrypted":
            key = serialization.load_pem_private_key(pair.key_file.read_bytes(), None)
            pair.key_file.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.BestAvailableEncryption(b"planted-hunter2"),
                )
            )
    with pytest.raises(ConfigError) as error:
        ServerTls(settings(pair))

    expected = expected.format(cert=pair.cert_file, key=pair.key_file)
    assert str(error.value).startswith(expected)


@pytest.mark.parametrize("name", ["ca_file", "client_cert_file", "client_key_file"])
@pytest.mark.parametrize("content", [None, "nonsense"])
def test_upstream__wrong_files_are_named(pair: Pair, name: str, content: str | None) -> None:
    """So are the files for the upstream."""
    wrong = pair.cert_file.with_name("wrong.pem")
    if content is not None:
        wrong.write_text(content)
    upstream = Upstream(
        url=Url("https://a"), client_cert_file=pair.cert_file, client_key_file=pair.key_file
    )
    with pytest.raises(ConfigError, match=rf"^upstream\.{name}: {wrong} (holds no|cannot be)"):
        upstream_context(msgspec.structs.replace(upstream, **{name: wrong}))
