"""The section of the registry behind the proxy: how it is reached, and with whose credentials."""

import re
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from proxy.config.section import Section, both_or_none
from proxy.config.values import Seconds, Url

# RFC 7617: a user name has no colon, and neither it nor a password control characters.
_USERNAME: Final = re.compile(r"[^:\x00-\x1f\x7f]+")


class Timeouts(Section, frozen=True):
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


class Retries(Section, frozen=True):
    """How often a GET or HEAD without a reply is sent, and until when; `attempts: 1` is once.

    No attempt starts later than `within` after the first. Uploads are always sent once.
    """

    attempts: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    within: Seconds = Seconds(10.0)


class Auth(Section, frozen=True):
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


class Upstream(Section, frozen=True):
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
        both_or_none(
            "client_cert_file", self.client_cert_file, "client_key_file", self.client_key_file
        )
