"""TLS on both sides: the certificate that clients are shown, and whom the upstream must be.

Law: a certificate that cannot be used is found before it is used. At the start it is a
ConfigError that names its key; on a reload the one in use stays.

Engines up to Docker 1.9 (crypto/tls of Go 1.4) speak TLS 1.0 to 1.2, with the suites in
`_OLD_SUITES`. OpenSSL takes TLS before 1.2 only at security level 0, for its signatures hash
with MD5 and SHA-1.
"""

import ssl
import warnings
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from proxy.config.listen import ListenTls
from proxy.config.upstream import Upstream
from proxy.errors import ConfigError

_VERSIONS: Final = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
_SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL:!aPSK:!aDSS"
_OLD_SUITES: Final = (
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-SHA",
    "AES256-SHA",
)
_NO_PASSWORD: Final = ""  # an encrypted key is refused; without it OpenSSL asks the terminal


class Certificate(NamedTuple):
    """What a handshake is answered with; `expires` is the end of it, in UTC."""

    context: ssl.SSLContext
    expires: datetime


def load_certificate(settings: ListenTls) -> Certificate:
    """Return the certificate in the files of `settings`; ConfigError if they cannot be used."""
    if settings.cert_file is None or settings.key_file is None:
        raise ConfigError("listen.tls.cert_file: is not set")
    context = _server_context(settings)
    pair = (settings.cert_file, settings.key_file)
    return Certificate(context, _load_pair(context, *pair, names="listen.tls.{}_file"))


class ServerTls:
    """The certificate that clients are shown; the next handshake can be shown a new one.

    `context` is for the server and stays the same. ConfigError if the files cannot be used.
    """

    def __init__(self, settings: ListenTls) -> None:
        self._current = load_certificate(settings)
        self.context = self._current.context
        self.context.sni_callback = self._choose

    @property
    def expires(self) -> datetime:
        """The end of the current certificate, in UTC."""
        return self._current.expires

    def show(self, certificate: Certificate) -> None:
        """Answer the next handshakes with this certificate."""
        self._current = certificate

    def _choose(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        """Give a handshake the current certificate; OpenSSL asks with and without SNI."""
        # Not load_cert_chain on the context in use: it could fail between certificate and key.
        connection.context = self._current.context


def _server_context(settings: ListenTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    suites = ":".join((_SUITES, *_OLD_SUITES)) if settings.old_suites else _SUITES
    if settings.min_version in {"1.0", "1.1"}:
        suites += ":@SECLEVEL=0"
    context.set_ciphers(suites)
    with warnings.catch_warnings():
        # Python warns of TLS before 1.2; here somebody has asked for it.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = _VERSIONS[settings.min_version]
    # A renegotiation is work that a client can ask for again and again.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    return context


class UpstreamTls(NamedTuple):
    """What https servers are checked with, and shown: the upstream, and all others.

    None: by the system's authorities, and nothing is shown.
    """

    upstream: ssl.SSLContext | None
    others: ssl.SSLContext | None


def load_upstream_tls(upstream: Upstream) -> UpstreamTls:
    """Read the files of `upstream`; ConfigError if they cannot be used."""
    return UpstreamTls(
        upstream_context(upstream), upstream_context(upstream, client_certificate=False)
    )


def upstream_context(
    upstream: Upstream, *, client_certificate: bool = True
) -> ssl.SSLContext | None:
    """Return what an https upstream is checked with; ConfigError if a file cannot be used.

    None: by the system's authorities, which aiohttp has read for every process already; each
    further copy of them takes 1 MiB and 20 ms.

    Without `client_certificate` it shows none: for hosts that are not the upstream itself.
    """
    path = upstream.ca_file
    shows = client_certificate and upstream.client_cert_file is not None
    if path is None and not shows:
        return None
    try:
        context = ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise ConfigError(f"upstream.ca_file: {path} holds no certificate in PEM") from error
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"upstream.ca_file: {path} cannot be read: {reason}") from error
    # Whoever names an authority trusts it. Python 3.13 and later want extensions of its
    # certificates that many do not have, which engines and Python before do not ask for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not client_certificate:
        return context
    if upstream.client_cert_file is not None and upstream.client_key_file is not None:
        pair = (upstream.client_cert_file, upstream.client_key_file)
        _load_pair(context, *pair, names="upstream.client_{}_file")
    return context


def _load_pair(context: ssl.SSLContext, cert_file: Path, key_file: Path, *, names: str) -> datetime:
    """Load certificate and key into a context and return when the certificate ends.

    ConfigError, which begins with the config key of the file that is wrong: `names` with
    `cert` or `key` in it.
    """
    cert_name, key_name = names.format("cert"), names.format("key")
    from cryptography import x509  # noqa: PLC0415  most proxies are given no certificate

    content = _read(cert_file, cert_name)
    _read(key_file, key_name)
    try:
        certificate = x509.load_pem_x509_certificates(content)[0]
    except ValueError as error:
        raise ConfigError(f"{cert_name}: {cert_file} holds no certificate in PEM") from error
    try:
        context.load_cert_chain(cert_file, key_file, password=_NO_PASSWORD)
    except ssl.SSLError as error:
        reason = error.reason or ""
        if reason in _KEY_OF_ANOTHER:
            message = f"{key_name}: {key_file} is not the key of {cert_file}"
        elif reason.startswith(("EE_KEY", "CA_")):
            message = f"{cert_name}: {cert_file} is too weak: {reason.lower().replace('_', ' ')}"
        else:
            message = f"{key_name}: {key_file} holds no private key in PEM without a password"
        raise ConfigError(message) from error
    return certificate.not_valid_after_utc


# The last one where the two are not even of the same kind, RSA and EC.
_KEY_OF_ANOTHER: Final = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: {path} cannot be read: {error.strerror}") from error
