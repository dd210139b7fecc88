"""Certificates made for a test: an authority, and what it signs for whom until when."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GO_1_4 = (
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "AES128-SHA",
    "AES256-SHA",
)
"""The CBC suites that crypto/tls of Go 1.4 offers and a modern server does not have."""
OLD = {"min_version": "1.0", "old_suites": True}
_FOR_SIGNING = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    cert_file: Path
    key_file: Path

    @property
    def serial(self) -> int:
        """The number that a client sees."""
        return x509.load_pem_x509_certificate(self.cert_file.read_bytes()).serial_number

    @property
    def expires(self) -> float:
        """The end of it, as Unix time."""
        certificate = x509.load_pem_x509_certificate(self.cert_file.read_bytes())
        return certificate.not_valid_after_utc.timestamp()

    def server_context(self) -> ssl.SSLContext:
        """Return a context for a server that shows this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_file, self.key_file)
        return context


class Authority:
    """A certificate authority of the test's own, in a directory of the test's own.

    One that is `lax` is made as `openssl req -x509` made them for years: its certificates lack
    what RFC 5280 wants in them, and a strict client minds.
    """

    def __init__(self, directory: Path, name: str = "authority", *, lax: bool = False) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(name)
        self._lax = lax
        public = self._key.public_key()
        builder = (
            _valid(x509.CertificateBuilder(), timedelta(days=1))
            .subject_name(self._subject)
            .issuer_name(self._subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=not lax)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        if not lax:
            builder = builder.add_extension(_FOR_SIGNING, critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        hosts: Sequence[str] = ("127.0.0.1", "localhost"),
        *,
        key: PrivateKey | None = None,
        lasts: timedelta = timedelta(days=1),
    ) -> Pair:
        """Return a certificate for these hosts, for servers and clients; `lasts` may be past."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = (
            _valid(x509.CertificateBuilder(), lasts)
            .subject_name(_name(name))
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), False)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
        )
        if not self._lax:
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(issuer, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        pair = Pair(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        pair.cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair

    def client_context(self, pair: Pair | None = None) -> ssl.SSLContext:
        """Return a context for a client that trusts this authority alone."""
        context = ssl.create_default_context(cafile=self.file)
        if pair is not None:
            context.load_cert_chain(pair.cert_file, pair.key_file)
        return context


def listen(pair: Pair, **more: Any) -> dict[str, Any]:  # noqa: ANN401  values of the config
    """Return the section `listen` that serves this certificate."""
    files = {"cert_file": str(pair.cert_file), "key_file": str(pair.key_file)}
    return {"tls": files | more}


def speaking(
    authority: Authority, version: ssl.TLSVersion | None = None, suite: str = "ALL"
) -> ssl.SSLContext:
    """Return a client's context for one version of TLS and one suite, however old."""
    context = authority.client_context()
    context.set_ciphers(f"{suite}:@SECLEVEL=0")
    if version is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
    return context


async def handshake(
    url: str, context: ssl.SSLContext, name: str = "127.0.0.1"
) -> tuple[str, str, int]:
    """Return TLS version, suite and the serial number of the certificate shown.

    A name that is no address is sent as SNI.
    """
    port = int(url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    shown = writer.get_extra_info("ssl_object")
    certificate = x509.load_der_x509_certificate(shown.getpeercert(binary_form=True))
    result = shown.version(), shown.cipher()[0], certificate.serial_number
    writer.transport.abort()
    return result


def certificate_expiry(exposition: bytes) -> float:
    """Return what a proxy's metrics tell as the end of its certificate."""
    (family,) = (
        family
        for family in text_string_to_metric_families(exposition.decode())
        if family.name == "regshim_certificate_expiry_timestamp_seconds"
    )
    (sample,) = family.samples
    return float(sample.value)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _valid(builder: x509.CertificateBuilder, lasts: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    start = now - timedelta(days=2)
    return builder.not_valid_before(start).not_valid_after(now + lasts)
