"""A Puller in front of the in-process registry, without HTTP before it, and who pulls with it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from proxy.answer import PullRequest
from proxy.connecting import connected
from proxy.metrics import Metrics
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Repository, Tag
from proxy.translate.client import Settings, understand
from tests.images import Image, Index, Schema1, make_image, make_index, make_schema1
from tests.running import KEY, config_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from typing import Any

    from proxy.pull import Puller
    from tests.registry import Registry

DOCKER = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/json",
)
OCI = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json")
READS = {
    "schema1": (),
    "schema2": DOCKER,
    "oci": OCI,
    "everything": (*DOCKER, *OCI),
    "schema2 without lists": DOCKER[:1],
}
"""What a client that reads this names in Accept."""

TAG = Tag("1")
STORED: dict[str, Image | Schema1] = {
    "schema1": make_schema1(),
    "schema2": make_image(format="schema2", empty_layers=(1,)),
    "oci": make_image(empty_layers=(1,)),
}
"""An image in each format."""


@asynccontextmanager
async def pulling(registry: Registry, **sections: Mapping[str, Any]) -> AsyncIterator[Puller]:
    """Give a Puller in front of this registry."""
    async with connected(config_for(registry.url, **sections), KEY, Metrics()) as connections:
        yield connections.puller


def request(
    reads: str | Sequence[str] = "schema1",
    *,
    method: str = "GET",
    repository: str = "lib/app",
    user_agent: str = "",
    authorization: str | None = None,
    note: Callable[[str], None] = lambda _: None,
    settings: Settings | None = None,
) -> PullRequest:
    """Return the request of a client that reads this, a key of READS or Accept lines."""
    accept = READS[reads] if isinstance(reads, str) else reads
    headers = [] if authorization is None else [("Authorization", authorization)]
    client = understand(accept, user_agent, settings or Settings())
    return PullRequest(method, Repository(repository), tuple(headers), client, note=note)


def pushed(registry: Registry) -> bytes:
    """Return the manifest that the tag has now."""
    repository = registry.repository("lib/app")
    return repository.manifests[repository.tags[TAG]][0]


def index(*, attestations: bool = True, media_type: str = MediaType.OCI_INDEX) -> Index:
    """Return an index of three platforms."""
    children = [
        make_image(architecture=architecture, variant=variant, layers=layers)
        for architecture, variant, layers in (
            ("amd64", None, 1),
            ("arm64", None, 2),
            ("arm", "v7", 3),
        )
    ]
    return make_index(children, media_type, attestations=attestations)
