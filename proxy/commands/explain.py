"""What a client would get of a tag, step by step and why: the code that serves, with a listener.

The client is told by its name (`docker/1.9.1`) and modelled after what such engines were
recorded to send; an explicit Accept replaces that.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.answer import PullRequest
from proxy.causes import for_operators
from proxy.errors import ConfigError, RegistryError, RequestInvalid
from proxy.pull import Puller
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Repository, Tag, parse_reference, parse_repository
from proxy.translate.client import Client, Settings, platform_of, understand

_SCHEMA2: Final = (MediaType.SCHEMA2, MediaType.DOCKER_LIST)
_DOCKER: Final = (*_SCHEMA2, MediaType.SCHEMA1_SIGNED, "application/json")
_OCI: Final = (MediaType.OCI_MANIFEST, MediaType.OCI_INDEX)
# Engine → what it names in Accept, the first match wins. Docker up to 1.9 sends no Accept;
# 19.03 and later name OCI types, 19.03.0 to 19.03.4 without reading them.
_ACCEPTS: Final[tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]] = (
    (re.compile(r"containerd/"), (*_SCHEMA2, *_OCI, "*/*")),
    (re.compile(r"docker/1\.[0-9](?![0-9])"), ()),
    (re.compile(r"docker/(?:1\.|17\.|18\.)"), _DOCKER),
    (re.compile(r""), (*_DOCKER, *_OCI)),
)


# Engines of whom nothing but their name matters: what they read is what they say in Accept.
_OTHERS: Final = ("buildah", "containerd", "cri-o", "podman", "skopeo")
_NAME: Final = re.compile(rf"(docker(?=-)|{'|'.join(_OTHERS)})(?:-([0-9]+(?:\.[0-9A-Za-z]+)*))?")
_USER_AGENT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*/v?[0-9]\S*(?: .*)?")


class Explanation(msgspec.Struct, frozen=True):
    """What one client gets of one tag.

    `status` is the HTTP status that it is sent; `media_type`, `digest` and `size` (bytes) are
    those of the manifest, None where there is none; `refusal` is the error's message then.
    """

    image: str
    engine: str
    user_agent: str
    accept: tuple[str, ...]
    reads: tuple[str, ...]
    indexes: tuple[str, ...]
    platforms: tuple[str, ...]
    reasons: tuple[str, ...]
    steps: tuple[str, ...]
    status: int
    media_type: str | None = None
    digest: str | None = None
    size: int | None = None
    refusal: str | None = None


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


def parse_image(image: str) -> tuple[Repository, Tag]:
    """Return repository and tag of `REPOSITORY[:TAG]`; RegistryError if it is something else."""
    if "@" in image:
        raise RequestInvalid("what is asked for by digest is never translated; name a tag")
    host, _, path = image.partition("/")
    if path and ":" in host:  # a host without a port may well be a part of the repository's name
        raise RequestInvalid(f"name the image without its registry: {path.lstrip('/')}")
    name, _, tag = image.partition(":")
    return parse_repository(name), Tag(parse_reference(tag or "latest"))


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    errors: list[_Error]


def refused_with(status: int, body: bytes) -> str:
    """Return how the upstream refused, with its own words where they are a registry's."""
    told = f"the upstream answers {status}"
    try:
        error = msgspec.json.decode(body, type=_Errors).errors[0]
    except (msgspec.DecodeError, RecursionError, IndexError):
        return told
    return f"{told}: {error.code}: {error.message}".removesuffix(": ")


async def explain(
    puller: Puller,
    settings: Settings,
    image: str,
    *,
    engine: str,
    architecture: str = "amd64",
    accept: Sequence[str] | None = None,
) -> Explanation:
    """Return what `engine` gets of `image`.

    An error that the client would be told is part of the result; other errors are raised.
    """
    repository, tag = parse_image(image)
    user_agent = user_agent_of(engine, architecture)
    named = accept_of(engine) if accept is None else tuple(accept)
    client = understand(named, user_agent, settings)
    steps: list[str] = []
    request = PullRequest(
        "GET", repository, (("User-Agent", user_agent),), client, note=steps.append
    )
    result = _described(f"{repository}:{tag}", user_agent, named, client)
    if platform_of(user_agent) is None and client.platforms[0] == settings.default_platform:
        reason = "it does not tell its platform: translate.default_platform"
        result = msgspec.structs.replace(result, reasons=(*result.reasons, reason))
    try:
        answer = await puller.by_tag(request, tag)
    except RegistryError as error:
        refusal = f"{error.code}: {for_operators(error)}"
        return msgspec.structs.replace(
            result, steps=tuple(steps), status=error.status, refusal=refusal
        )
    served = answer.manifest
    if served is None:
        told = None if answer.status == 200 else refused_with(answer.status, answer.body)
        return msgspec.structs.replace(
            result, steps=tuple(steps), status=answer.status, size=len(answer.body), refusal=told
        )
    return msgspec.structs.replace(
        result,
        steps=tuple(steps),
        status=answer.status,
        media_type=str(served.media_type),
        digest=served.digest,
        size=served.size,
    )


def _described(image: str, user_agent: str, accept: tuple[str, ...], client: Client) -> Explanation:
    return Explanation(
        image=image,
        engine=client.engine,
        user_agent=user_agent,
        accept=tuple(str(one) for one in accept),
        reads=tuple(sorted(one.value for one in client.formats)),
        indexes=tuple(sorted(str(one) for one in client.indexes)),
        platforms=tuple(str(one) for one in client.platforms),
        reasons=client.reasons,
        steps=(),
        status=0,
    )
