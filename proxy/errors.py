"""What can go wrong, each with the wire code and status that a client is told.

The tree (status, code):

    RegistryError
    ├── NameInvalid                  400 NAME_INVALID
    ├── TagInvalid                   400 TAG_INVALID
    ├── DigestInvalid                400 DIGEST_INVALID
    ├── RequestInvalid               400 UNSUPPORTED
    ├── MethodNotAllowed             405 UNSUPPORTED
    ├── HeadersTooLarge              431 UNSUPPORTED
    ├── ClientTooSlow                408 UNSUPPORTED
    ├── NotFound                     404 UNSUPPORTED
    ├── Unauthorized                 401 UNAUTHORIZED       the proxy itself asks who it is
    ├── Denied                       403 DENIED             the proxy's own credentials do not do
    ├── NotTranslatable              406 MANIFEST_INVALID   "it is there, but not for you"
    │   ├── NoTranslation            the client reads nothing that this can become
    │   ├── Contradiction            config blob and manifest tell different stories
    │   ├── UnreadableConfig         a config field that this engine cannot decode
    │   ├── ZstdLayer  UnknownCompression  ForeignLayer  EncryptedLayer
    │   ├── Artifact                 the config is no image config
    │   ├── NotLinux                 schema 1 knows Linux only
    │   ├── NoPlatform               the index has no image for this client's platform
    │   └── UnsuitableIndex          nothing but attestations, nested too deep, too many
    ├── UpstreamError                502 UNKNOWN
    │   ├── UpstreamUnreachable      refused, reset, DNS, TLS
    │   ├── UpstreamTimeout          504
    │   ├── UpstreamInvalid          answered with something that is no manifest
    │   ├── UpstreamTooLarge         past a limit of the config
    │   ├── NoCredentials            the proxy's own credentials cannot be had
    │   └── DigestMismatch           bytes that are not what their digest says
    └── Overloaded                   503 TOOMANYREQUESTS

406 MANIFEST_INVALID is the one refusal whose message Docker 1.8 and 1.9 print; with
MANIFEST_UNKNOWN, 401 or any 5xx they try the v1 protocol and print "image not found".
"""

from typing import ClassVar, Final


class ConfigError(Exception):
    """The configuration cannot be used; the message names the key path and what was expected."""


class RegistryError(Exception):
    """An error that a registry client is told as `{"errors": [{code, message, detail}]}`.

    `message` is written for the person at the client; it never holds a secret. `detail` is
    any JSON value.
    """

    code: ClassVar[str] = "UNKNOWN"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, detail: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class NameInvalid(RegistryError):
    """The repository name breaks the grammar of the distribution spec."""

    code, status = "NAME_INVALID", 400


class TagInvalid(RegistryError):
    """The reference is neither a tag nor a digest."""

    code, status = "TAG_INVALID", 400


class DigestInvalid(RegistryError):
    """The digest breaks its grammar."""

    code, status = "DIGEST_INVALID", 400


class RequestInvalid(RegistryError):
    """The request cannot be forwarded as it is without changing what it means."""

    code, status = "UNSUPPORTED", 400


class MethodNotAllowed(RegistryError):
    """No endpoint of the registry API has this method."""

    code, status = "UNSUPPORTED", 405


class HeadersTooLarge(RegistryError):
    """The request line or a header is longer, or the headers are more, than is read here."""

    code, status = "UNSUPPORTED", 431


class ClientTooSlow(RegistryError):
    """The client kept its request waiting for longer than `listen.timeouts` allow."""

    code, status = "UNSUPPORTED", 408


class NotFound(RegistryError):
    """The path is not one of the registry API."""

    code, status = "UNSUPPORTED", 404


class Unauthorized(RegistryError):
    """The client must say who it is; `challenges` are the `WWW-Authenticate` lines."""

    code, status = "UNAUTHORIZED", 401

    def __init__(self, message: str, *, challenges: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.challenges = challenges


class Denied(RegistryError):
    """The upstream refuses to the proxy's own credentials what the client asks for."""

    code, status = "DENIED", 403


class NotTranslatable(RegistryError):
    """The manifest is there, but this client can be given no honest form of it.

    `stored` is the format that it is stored in, empty where that is not known.
    """

    code, status = "MANIFEST_INVALID", 406
    stored = ""


class NoTranslation(NotTranslatable):
    """The client reads no format that the stored one can become."""


class Contradiction(NotTranslatable):
    """The config blob and the manifest contradict each other, or themselves."""


class UnreadableConfig(NotTranslatable):
    """A config field has a JSON type that this client's engine cannot decode."""


class ZstdLayer(NotTranslatable):
    """A layer is compressed with zstd and the client cannot read that."""


class UnknownCompression(NotTranslatable):
    """A layer's media type names a compression that nobody here knows."""


class ForeignLayer(NotTranslatable):
    """A layer is not distributed by the registry (foreign, non-distributable)."""


class EncryptedLayer(NotTranslatable):
    """A layer is encrypted; only a client with OCIcrypt reads it."""


class Artifact(NotTranslatable):
    """The manifest's config is no image config: an artifact, not an image."""


class NotLinux(NotTranslatable):
    """Schema 1 describes Linux images only."""


class NoPlatform(NotTranslatable):
    """The index holds no image for the client's platform."""


class UnsuitableIndex(NotTranslatable):
    """The index cannot be walked to an image: empty, nested too deep or too large."""


class UpstreamError(RegistryError):
    """The upstream registry did not answer as a registry does."""

    status = 502


class UpstreamUnreachable(UpstreamError):
    """No connection, or the connection broke before the reply was whole."""


class UpstreamTimeout(UpstreamError):
    """The upstream was silent for longer than the configured timeout."""

    status = 504


class UpstreamInvalid(UpstreamError):
    """The upstream's reply is no manifest, blob or redirect that can be used."""


class UpstreamTooLarge(UpstreamError):
    """A document is larger than the configured limit."""


class NoCredentials(UpstreamError):
    """The credentials that the proxy is to use for the upstream cannot be read just now."""


class DigestMismatch(UpstreamError):
    """The upstream sent bytes whose digest is not the one asked for."""


class Overloaded(RegistryError):
    """The proxy has as much to do as it may; the client should come again."""

    code, status = "TOOMANYREQUESTS", 503


OF_ONE_DOCUMENT: Final = (UpstreamInvalid, UpstreamTooLarge, DigestMismatch)
"""What is wrong with one document, where all others of the same upstream may be well."""
