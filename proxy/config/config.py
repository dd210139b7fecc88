"""What can be configured: one frozen Config, a type for each section.

The types here, and those of the two larger sections in listen.py and upstream.py, are the
reference of the configuration: names, defaults and docstrings are what docs/configuration.md
shows. Each refuses values that contradict each other, with a ValueError; so there is no Config
that contradicts itself, wherever it comes from.
"""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from proxy.config.listen import AdminPort, Listen
from proxy.config.section import Section
from proxy.config.upstream import Upstream
from proxy.config.values import Bytes, PlatformName, Regex, Seconds, StoreUrl, Url
from proxy.spec.descriptor import parse_platform

_ANY_ADDRESS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  nothing is bound here
_LOCALHOST: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_Places = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class ClientRule(Section, frozen=True):
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


class Translate(Section, frozen=True):
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
    platform_fallbacks: dict[PlatformName, tuple[PlatformName, ...]] = msgspec.field(
        default_factory=dict
    )
    clients: tuple[ClientRule, ...] = ()

    def __post_init__(self) -> None:
        """Refuse keys that are no platforms: msgspec reads the words of values alone."""
        for name in self.platform_fallbacks:
            parse_platform(name)


class Cache(Section, frozen=True):
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


class Inventory(Section, frozen=True):
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


class Limits(Section, frozen=True):
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


class TracingTo(Section, frozen=True):
    """Where OpenTelemetry traces are sent, if anywhere; needs the extra `otel`.

    An `endpoint` without a path is a collector, asked at `/v1/traces`. `sample` is the share of
    traces that is kept where the client has not decided it.
    """

    endpoint: Url | None = None
    service: str = "regshim"
    sample: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class Log(Section, frozen=True):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class Config(Section, frozen=True):
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
        """Refuse what no section can see: ports that collide, and credentials for everybody."""
        listen = self.listen
        # Workers would share it: clients would be answered by the admin port, each second time.
        if self.admin.port == listen.port != 0 and _meet(self.admin.host, listen.host):
            raise ValueError(f"admin.port: {self.admin.port} is listen.port already")
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


def _meet(one: str, other: str) -> bool:
    """Tell whether two hosts to listen on have an address in common, as far as names tell."""
    hosts = {one, other}
    named = "localhost" in hosts and hosts <= _LOCALHOST
    return one == other or named or bool(hosts & _ANY_ADDRESS)
