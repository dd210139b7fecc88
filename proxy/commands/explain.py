"""What a client would get of a tag, step by step and why: the code that serves, with a listener.

The client is an engine of engines.py; an explicit Accept replaces what that is known to send.
"""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from proxy.answer import PullRequest
from proxy.causes import for_operators
from proxy.commands.engines import accept_of, engine_named, user_agent_of
from proxy.config.client_rules import client_settings
from proxy.config.config import Cache, Config
from proxy.connecting import connected
from proxy.errors import ConfigError, RegistryError, RequestInvalid
from proxy.keyfile import at_hand
from proxy.metrics import Metrics
from proxy.pull import Puller
from proxy.spec.error_body import errors_of
from proxy.spec.reference import Repository, Tag, parse_reference, parse_repository
from proxy.translate.client import Client, Settings, platform_of, understand
from proxy.upstream.credentials import Read


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


def parse_image(image: str) -> tuple[Repository, Tag]:
    """Return repository and tag of `REPOSITORY[:TAG]`; RegistryError if it is something else."""
    if "@" in image:
        raise RequestInvalid("what is asked for by digest is never translated; name a tag")
    host, _, path = image.partition("/")
    if path and ":" in host:  # a host without a port may well be a part of the repository's name
        raise RequestInvalid(f"name the image without its registry: {path.lstrip('/')}")
    name, _, tag = image.partition(":")
    return parse_repository(name), Tag(parse_reference(tag or "latest"))


def refused_with(status: int, body: bytes) -> str:
    """Return how the upstream refused, with its own words where they are a registry's."""
    told = f"the upstream answers {status}"
    for error in errors_of(body)[:1]:
        told += f": {error.code}: {error.message}".removesuffix(": ")
    return told


async def explain_alone(
    config: Config,
    image: str,
    *,
    client: str,
    architecture: str,
    accept: Sequence[str] | None = None,
    login: Read | None = None,
) -> Explanation:
    """Return what `client` gets of `image` from a proxy with `config`; nothing is kept.

    It may be root who asks, before the proxy has ever run: a file made here, of a key or of a
    store, would be one that the proxy's own user cannot read. ConfigError if the client is no
    engine that is known, or the config cannot be used.
    """
    try:
        engine = engine_named(client)
    except ConfigError as error:
        raise ConfigError(f"--client: {error}") from None
    key = at_hand(config.translate.signing_key_file)
    alone = replace(config, cache=Cache())
    async with connected(alone, key, Metrics(), login=login) as connections:
        return await explain(
            connections.puller,
            client_settings(config),
            image,
            engine=engine,
            architecture=architecture,
            accept=accept,
        )


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
        result = replace(result, reasons=(*result.reasons, reason))
    try:
        answer = await puller.by_tag(request, tag)
    except RegistryError as error:
        refusal = f"{error.code}: {for_operators(error)}"
        return replace(result, steps=tuple(steps), status=error.status, refusal=refusal)
    served = answer.manifest
    if served is None:
        told = None if answer.status == 200 else refused_with(answer.status, answer.body)
        return replace(
            result, steps=tuple(steps), status=answer.status, size=len(answer.body), refusal=told
        )
    return replace(
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
