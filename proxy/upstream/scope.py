"""What a request asks permission for, as a token scope (distribution, `docs/spec/auth/scope`).

The upstream's own challenge has the last word; this is what to ask for before there is one.
"""

import re
from typing import Final
from urllib.parse import parse_qs

from proxy.errors import NameInvalid
from proxy.spec.reference import parse_repository

# Whatever is below `blobs/`: uploads go on where the registry says, GHCR's at `blobs/upload/…`.
_ENDPOINT: Final = re.compile(
    r"/v2/(?P<name>.+)/(?:manifests/[^/]+|blobs/.+|tags/list|referrers/[^/]+)",
    re.DOTALL,
)
_ACTIONS: Final = {"GET": "pull", "HEAD": "pull", "OPTIONS": "pull", "DELETE": "delete"}


def scope_of(method: str, target: str) -> str:
    """Return the scopes of a request, separated by spaces; empty if it needs none we know.

    `target` is path and query. A mount also reads the repository that it mounts from.
    """
    path, _, query = target.partition("?")
    if path == "/v2/_catalog":
        return "registry:catalog:*"
    match = _ENDPOINT.fullmatch(path)
    if match is None or not _is_repository(match["name"]):
        return ""
    scope = f"repository:{match['name']}:{_ACTIONS.get(method, 'pull,push')}"
    sources = parse_qs(query).get("from", []) if method == "POST" else []
    if sources and sources[0] != match["name"] and _is_repository(sources[0]):
        scope += f" repository:{sources[0]}:pull"
    return scope


def _is_repository(name: str) -> bool:
    try:
        parse_repository(name)
    except NameInvalid:
        return False
    return True
