"""Links in the upstream's replies: which of them lead to its API, and so to the proxy.

Law: what the proxy serves is reached through it, and what it does not serve is not said to be
here. A link below the upstream's `/v2/` becomes one of the proxy; any other comes out as the
absolute URL that the upstream means, for the client to reach by itself.
"""

import re
from typing import Final
from urllib.parse import urljoin, urlsplit

from proxy.handlers.routing import is_api, is_list, repository_of

_PRINTABLE: Final = re.compile(r"[!-~]+")
_PORTS: Final = {"http": ":80", "https": ":443"}


def outward(link: str, target: str, status: int, origin: str, base_path: str) -> str:
    """Return a link to the upstream's API as path and query, `/v2/…`; any other absolute.

    `target` is that of the request whose reply, with `status`, holds the link; `origin` and
    `base_path` are the upstream's, as it is reached. What is no URL is returned as it is.

    Some registries take the scheme, port, name and path of their links from a configuration that
    knows nothing of how they are reached. So in a reply that is no redirect a path without
    `base_path` will do, and a link below the very repository that was asked for, or to the very
    list whose next page it is, is the upstream's own wherever it says it is. A redirect there is
    one away from here: taken for a link to here, the client would come back for ever.
    """
    if _PRINTABLE.fullmatch(link) is None:
        return link
    try:
        parts = urlsplit(link)
    except ValueError:
        return link
    is_made_here = 200 <= status < 300
    if parts.netloc:
        path = link.partition("//")[2][len(parts.netloc) :]
        path = path if path.startswith("/") else f"/{path}"
    elif parts.scheme:
        return link  # a URN, or the like
    else:
        path = link if link.startswith("/") else urljoin(base_path + target, link)
    below = path
    if path.startswith(base_path):
        below = path.removeprefix(base_path)
    elif not is_made_here:
        below = ""
    if parts.netloc:
        scheme = parts.scheme or origin.partition(":")[0]
        is_own = _plain(f"{scheme}://{parts.netloc}") == _plain(origin)
        if not is_own and not (is_made_here and _is_about(target, below)):
            return link if parts.scheme else f"{scheme}:{link}"
    return below if is_api(below) else origin + path


def _is_about(target: str, path: str) -> bool:
    """Tell whether a path is below the repository of a target, or a page of the same list."""
    repository = repository_of(target)
    if repository:
        return path.startswith(f"/v2/{repository}/")
    return is_list(target) and path.partition("?")[0] == target.partition("?")[0]


def _plain(origin: str) -> str:
    """Return an origin in lower case and without the port that its scheme has anyway."""
    lower = origin.lower()
    return lower.removesuffix(_PORTS.get(lower.partition(":")[0], ""))
