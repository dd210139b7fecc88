"""What can be configured: one frozen Config, a type for each section.

The types below are the reference of the configuration: names, defaults and docstrings are what
docs/configuration.md shows. Each refuses values that contradict each other, with a ValueError;
so there is no Config that contradicts itself, wherever it comes from.
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from proxy.config_values import (
    Bytes,
    PlatformName,
    Regex,
    Seconds,
    StoreUrl,
    TlsVersion,
    Url,
)
from proxy.spec.descriptor import parse_platform

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
_Places = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]

# RFC 7617: a user name has no colon, and neither it nor a password control characters.
_USERNAME: Final = re.compile(r"[^:\x00-\x1f\x7f]+")


def _both_or_none(name: str, one: Path | None, other_name: str, other: Path | None) -> None:
    if (one is None) != (other is None):
        given, missing = (other_name, name) if one is None else (name, other_name)
        raise ValueError(f"{given} is given without {missing}")


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping of the file: unknown keys are refused, so that a typing error is seen."""


class ListenTls(_Section, frozen=True):
    """TLS towards clients, served if both files are given; SIGHUP reads them again.

    `old_suites` adds the ECDHE and RSA suites with AES-CBC and SHA-1 that engines up to
    Docker 1.9 offer. TLS before 1.2 has no others.
    """

    cert_file: Path | None = None
    key_file: Path | None = None
    min_version: TlsVersion = TlsVersion("1.2")
    old_suites: bool = False

    def __post_init__(self) -> None:
        """Refuse half a pair and versions without suites; msgspec adds the key path."""
        _both_or_none("cert_file", self.cert_file, "key_file", self.key_file)
        if self.min_version in {"1.0", "1.1"} and not self.old_suites:
            raise ValueError(f"min_version {self.min_version} needs old_suites: true")
        if self.min_version == "1.3" and self.old_suites:
            raise ValueError("old_suites needs a min_version of at most 1.2")


class ListenTimeouts(_Section, frozen=True):
    """How long a client may be waited for; there is no limit on a whole transfer.

    `head` is for a request's line and headers, `idle` for silence in a request: of a client that
    does not send the rest of a body, or does not read what is sent to it. `keep_alive` is how
    long a connection stays open without a request.
    """

    head: Seconds = Seconds(10.0)
    idle: Seconds = Seconds(60.0)
    keep_alive: Seconds = Seconds(120.0)

    def __post_init__(self) -> None:
        """Refuse what would end every connection; msgspec adds the key path."""
        if not all((self.head, self.idle, self.keep_alive)):
            raise ValueError("a timeout of nothing would end every connection")


class Listen(_Section, frozen=True):
    """Where clients connect, and how many processes serve them there.

    `htpasswd` (bcrypt) is for a proxy that holds credentials: without it whoever reaches the
    proxy may use them, which `open` must say for an address that is not loopback. `grace` is
    how long what is under way may take to end when the proxy is told to stop.
    """

    host: str = "127.0.0.1"
    port: Port = 5000
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    tls: ListenTls = ListenTls()
    timeouts: ListenTimeouts = ListenTimeouts()
    htpasswd: Path | None = None
    open: bool = False
    grace: Seconds = Seconds(20.0)

    def __post_init__(self) -> None:
        """Refuse what contradicts itself; msgspec adds the key path."""
        if self.workers > 1 and self.port == 0:
            raise ValueError("workers share a port: it cannot be chosen by the system")
        if self.open and self.htpasswd is not None:
            raise ValueError("htpasswd and open: true contradict each other")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect; of names, only `localhost` is trusted to say."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class AdminPort(_Section, frozen=True):
    """Where health and metrics are told; a port of its own, to be kept from clients."""

    host: str = "127.0.0.1"
    port: Port = 5001


class Timeouts(_Section, frozen=True):
    """How long the upstream may be silent; there is no limit on a whole transfer.

    `commit` is for the reply to an upload or a deletion, once it is sent: a registry says
    nothing while it checks or copies a large layer.
    """

    connect: Seconds = Seconds(10.0)
    idle: Seconds = Seconds(60.0)
    commit: Seconds = Seconds(600.0)

    def __post_init__(self) -> None:
        """Refuse what no upstream could meet; msgspec adds the key path."""
        if not all((self.connect, self.idle, self.commit)):
            raise ValueError("a timeout of nothing would end every request")


class Retries(_Section, frozen=True):
    """How often a GET or HEAD without a reply is sent, and until when; `attempts: 1` is once.

    No attempt starts later than `within` after the first. Uploads are always sent once.
    """

    attempts: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    within: Seconds = Seconds(10.0)


class Auth(_Section, frozen=True):
    """Whose credentials the upstream sees: the client's (`passthrough`) or the proxy's own.

    With `basic` those of `username` and `password_file`, with `docker-config` those that
    `config_file`, a Docker config.json, has for the upstream. For clients' own credentials,
    `realm: proxy` forwards token requests, and `ping_challenge` answers an open ping with the
    challenge of a repository.
    """

    mode: Literal["passthrough", "basic", "docker-config"] = "passthrough"
    username: str | None = None
    password_file: Path | None = None
    config_file: Path | None = None
    realm: Literal["upstream", "proxy"] = "upstream"
    ping_challenge: bool = False

    def __post_init__(self) -> None:
        """Refuse what contradicts the mode; msgspec adds the key path."""
        needed = {"basic": ("username", "password_file"), "docker-config": ("config_file",)}
        for name in ("username", "password_file", "config_file"):
            if getattr(self, name) is None and name in needed.get(self.mode, ()):
                raise ValueError(f"{name} is required with mode: {self.mode}")
            if getattr(self, name) is not None and name not in needed.get(self.mode, ()):
                raise ValueError(f"{name} has no meaning with mode: {self.mode}")
        if self.username is not None and not _USERNAME.fullmatch(self.username):
            raise ValueError("username is empty, or holds a colon or a control character")
        if self.holds_credentials and (self.realm == "proxy" or self.ping_challenge):
            name = "ping_challenge: true" if self.ping_challenge else "realm: proxy"
            raise ValueError(f"{name} needs mode: passthrough")

    @property
    def holds_credentials(self) -> bool:
        """Whether the upstream sees the proxy's own credentials."""
        return self.mode != "passthrough"


class Upstream(_Section, frozen=True):
    """The registry behind the proxy.

    `url` may have a path, which is put before `/v2/`. `blob_redirects` says who follows an
    upstream's redirect to object storage: the proxy (`follow`) or the client (`pass`).
    `splice` lets Linux move large bodies between plain sockets without this process reading
    them; what cannot be moved so is read and written as ever. An upload that was moved so is the
    last request of its connection. `ca_file` replaces the system's certificates; the client
    certificate is shown to whoever asks for one at `url`.
    """

    url: Url
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    blob_redirects: Literal["follow", "pass"] = "follow"
    splice: bool = True
    auth: Auth = Auth()

    def __post_init__(self) -> None:
        """Refuse half a pair; msgspec adds the key path."""
        _both_or_none(
            "client_cert_file", self.client_cert_file, "client_key_file", self.client_key_file
        )


class ClientRule(_Section, frozen=True):
    """What the clients whose User-Agent matches read, whatever their Accept says.

    Without `indexes` those that its Accept names, or all if it names nothing, as far as they are
    of the formats that are left; what is not given stays as it is.
    """

    user_agent: Regex
    formats: tuple[Literal["schema1", "schema2", "oci"], ...] | None = None
    indexes: tuple[Literal["docker", "oci"], ...] | None = None
    zstd: bool | None = None
    platform: PlatformName | None = None

    def __post_init__(self) -> None:
        """Refuse a rule that contradicts itself; msgspec adds the key path."""
        if (self.formats, self.indexes, self.zstd, self.platform) == (None, None, None, None):
            raise ValueError("the rule changes nothing")
        if self.formats is None:
            return
        if not self.formats:
            raise ValueError("`formats` is empty: such a client could be given nothing")
        needs = {"docker": "schema2", "oci": "oci"}
        for index in self.indexes or ():
            if needs[index] not in self.formats:
                raise ValueError(f"reads {index} indexes but not the {needs[index]} images in them")
        if self.zstd and set(self.formats) == {"schema1"}:
            raise ValueError("reads zstd layers but only schema 1, which cannot name them")


class Translate(_Section, frozen=True):
    """How it is decided what a client gets.

    `default_platform` is for clients whose User-Agent tells none. `no_accept` is what a
    client gets that names no manifest type. `signing_key_file` is made on the first start;
    without it each start signs with a key of its own. `platform_fallbacks` are platforms that
    another one runs too: `{linux/amd64: [linux/386]}`. `clients` are asked in their order,
    after the built-in rules.
    """

    default_platform: PlatformName = PlatformName("linux/amd64")
    no_accept: Literal["schema1", "stored"] = "schema1"
    signing_key_file: Path | None = None
    platform_fallbacks: dict[PlatformName, tuple[PlatformName, ...]] = {}
    clients: tuple[ClientRule, ...] = ()

    def __post_init__(self) -> None:
        """Refuse keys that are no platforms: msgspec reads the words of values alone."""
        for name in self.platform_fallbacks:
            parse_platform(name)


class Cache(_Section, frozen=True):
    """Where translations are kept: in memory, and in a durable store that outlives a restart.

    `store` is `sqlite:///absolute/path` for one host or `redis://host:port/db` for many
    replicas; with TLS, Sentinel or Cluster as docs/scaling.md#urls-of-redis says. `store_size`
    bounds a sqlite file; `store_ttl` is how long redis keeps what nobody uses; a store that
    takes longer than `store_timeout` counts as a miss.
    """

    memory: Bytes = Bytes(64 << 20)
    store: StoreUrl | None = None
    store_size: Bytes = Bytes(1 << 30)
    store_ttl: Seconds = Seconds(30 * 86400.0)
    store_timeout: Seconds = Seconds(0.25)

    def __post_init__(self) -> None:
        """Refuse durations that no store can keep; msgspec adds the key path."""
        if self.store_ttl < 1:
            raise ValueError("store_ttl is less than a second")
        if self.store_timeout <= 0:
            raise ValueError("store_timeout is nothing: every store would fail")


class Inventory(_Section, frozen=True):
    """The list of clients that still need the proxy (docs/inventory.md).

    It is kept in the durable store if there is one, at most `max_entries` clients and
    repositories, each until `retention` after it was last seen. `hash_addresses` lists clients
    by a hash of their address, keyed with the signing key. `trust_forwarded_for` takes the
    address from the last hop of X-Forwarded-For, for a proxy in front that sets it; under
    overload it is this address that shares places then (docs/operating.md#overload), whether
    the list is `enabled` or not.
    """

    enabled: bool = True
    max_entries: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    retention: Seconds = Seconds(90 * 86400.0)
    hash_addresses: bool = False
    trust_forwarded_for: bool = False


class Limits(_Section, frozen=True):
    """What one process takes on (docs/operating.md#overload), and the largest documents it reads.

    Under way at once are at most `transfers` blobs and uploads and `requests` of everything
    else; of each, `queue` more wait up to `queue_wait`. Of the places, and of the `connections`,
    a client's address is given as many as are still free: one alone gets half.
    """

    manifest: Bytes = Bytes(4 << 20)
    config_blob: Bytes = Bytes(8 << 20)
    index_children: Annotated[int, msgspec.Meta(ge=1)] = 256
    requests: _Places = 1000
    transfers: _Places = 2000
    queue: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1000
    queue_wait: Seconds = Seconds(10.0)
    connections: _Places = 10_000


class TracingTo(_Section, frozen=True):
    """Where OpenTelemetry traces are sent, if anywhere; needs the extra `otel`.

    `sample` is the share of traces that is kept where the client has not decided it.
    """

    endpoint: Url | None = None
    service: str = "regshim"
    sample: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class Log(_Section, frozen=True):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class Config(_Section, frozen=True):
    """The whole configuration."""

    upstream: Upstream
    listen: Listen = Listen()
    admin: AdminPort = AdminPort()
    translate: Translate = Translate()
    cache: Cache = Cache()
    inventory: Inventory = Inventory()
    limits: Limits = Limits()
    log: Log = Log()
    tracing: TracingTo = TracingTo()

    def __post_init__(self) -> None:
        """Refuse credentials for everybody, and a guard that clients' own would collide with."""
        listen = self.listen
        if not self.upstream.auth.holds_credentials:
            if listen.htpasswd is not None:
                raise ValueError(
                    "listen.htpasswd: needs upstream.auth.mode basic or docker-config; with "
                    "passthrough a client's credentials are for the upstream"
                )
        elif listen.htpasswd is None and not listen.open and not listen.is_loopback:
            raise ValueError(
                f"listen.host: {listen.host} is no loopback address, and whoever connects would "
                "use the credentials of upstream.auth; give listen.htpasswd, or say "
                "listen.open: true"
            )
