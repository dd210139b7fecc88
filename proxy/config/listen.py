"""The sections of the two ports that the proxy listens on: the clients' and the admin port."""

import ipaddress
from pathlib import Path
from typing import Annotated

import msgspec

from proxy.config.section import Section, both_or_none
from proxy.config.values import Seconds, TlsVersion

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class ListenTls(Section, frozen=True):
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
        both_or_none("cert_file", self.cert_file, "key_file", self.key_file)
        if self.min_version in {"1.0", "1.1"} and not self.old_suites:
            raise ValueError(f"min_version {self.min_version} needs old_suites: true")
        if self.min_version == "1.3" and self.old_suites:
            raise ValueError("old_suites needs a min_version of at most 1.2")


class ListenTimeouts(Section, frozen=True):
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


class Listen(Section, frozen=True):
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


class AdminPort(Section, frozen=True):
    """Where health and metrics are told; a port of its own, to be kept from clients."""

    host: str = "127.0.0.1"
    port: Port = 5001
