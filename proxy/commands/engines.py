"""The engines that a command is told of: how each is named, and what it sends.

An engine is told by its name (`docker-1.9`) or as its User-Agent begins (`docker/1.9.1`), and
modelled after what such engines were recorded to send.
"""

import re
from typing import Final

from proxy.errors import ConfigError, RequestInvalid
from proxy.spec.media_types import MediaType
from proxy.translate.client import platform_of

_SCHEMA2: Final = (MediaType.SCHEMA2, MediaType.DOCKER_LIST)
_DOCKER: Final = (*_SCHEMA2, MediaType.SCHEMA1_SIGNED, "application/json")
_OCI: Final = (MediaType.OCI_MANIFEST, MediaType.OCI_INDEX)
# Engine → what it names in Accept, the first match wins. Docker up to 1.9 sends no Accept;
# 19.03 and later name OCI types, 19.03.0 to 19.03.4 without reading them.
_ACCEPTS: Final[tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]] = (
    (re.compile(r"containerd(?:/|$)"), (*_SCHEMA2, *_OCI, "*/*")),
    (re.compile(r"docker/1\.[0-9](?![0-9])"), ()),
    (re.compile(r"docker/(?:1\.|17\.|18\.)"), _DOCKER),
    (re.compile(r""), (*_DOCKER, *_OCI)),
)
# Engines of whom nothing but their name matters: what they read is what they say in Accept.
_OTHERS: Final = ("buildah", "containerd", "cri-o", "podman", "skopeo")
_NAME: Final = re.compile(rf"(docker(?=-)|{'|'.join(_OTHERS)})(?:-([0-9]+(?:\.[0-9A-Za-z]+)*))?")
_USER_AGENT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*/v?[0-9]\S*(?: .*)?")


def engine_named(name: str) -> str:
    """Return how the User-Agent of an engine begins: `docker/1.9` of `docker-1.9`.

    What begins as a User-Agent does, or is a whole one, is returned as it is. ConfigError if it
    is no engine that is known: taken for one that reads everything, it would be told so.
    """
    match = _NAME.fullmatch(name)
    if match is not None:
        version = match[2]
        if version is None:
            return name
        return f"{match[1]}/{version if '.' in version else version + '.0'}"
    if _USER_AGENT.fullmatch(name) is None:
        raise ConfigError(
            f"{name!r} is no engine that is known: docker-VERSION (docker-1.9), "
            f"{', '.join(_OTHERS)}, or how a User-Agent begins (docker/1.9.1)"
        )
    return name


def user_agent_of(engine: str, architecture: str) -> str:
    """Return the User-Agent of an engine such as `docker/1.9.1`, as far as it matters here.

    Only Docker tells its platform. A whole User-Agent that tells one keeps it. RequestInvalid for
    an architecture that none tells.
    """
    host = f"os/linux arch/{architecture}"
    if platform_of(host) is None:
        raise RequestInvalid(
            f"expected an architecture as engines tell it, such as arm64, got {architecture!r}; "
            "engines tell neither an os with it nor a variant"
        )
    as_it_is = not engine.startswith("docker/") or platform_of(engine) is not None
    return engine if as_it_is else f"{engine} {host}"


def accept_of(engine: str) -> tuple[str, ...]:
    """Return the media types that an engine names in Accept."""
    return next(accept for pattern, accept in _ACCEPTS if pattern.match(engine))
