"""Where a redirect of the upstream leads, what of the request may go there, what may come back.

A registry redirects blobs to object storage. Credentials are for the registry alone: sent
along, they would be disclosed, and S3 refuses a request that carries them beside a presigned
query ("Only one auth mechanism allowed"). They are not only in Authorization and cookies: there
are API keys in headers of a registry's own. So another host is sent what is known to be none.

And it is not heard in the registry's name: a client would answer its challenge with the password
that it has for the registry, at a token service of that host's choice.
"""

from typing import Final

import httpx
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.errors import UpstreamInvalid
from proxy.spec.http_headers import CONDITIONS

_FOR_ANYBODY: Final = CONDITIONS | {
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "pragma",
    "traceparent",
    "tracestate",
    "user-agent",
}
# What a host says of itself, and of how it will be spoken to (RFC 9110 11.6, RFC 6265, RFC 6797).
_OF_ITS_HOST: Final = frozenset(
    {
        "alt-svc",
        "authentication-info",
        "clear-site-data",
        "set-cookie",
        "strict-transport-security",
        "www-authenticate",
    }
)
_PORTS: Final = {"http": 80, "https": 443}
_LONGEST: Final = 8192  # a presigned URL has less than half; it is quoted character by character


def next_hop(
    url: httpx.URL,
    target: str,
    location: str | None,
    headers: list[tuple[str, str]],
    *,
    plain: bool = True,
) -> tuple[httpx.URL, str, list[tuple[str, str]]]:
    """Return (url, target, headers) of the request that follows a redirect.

    `plain` allows the way from https to http: for what is verified by its digest, not for what
    is believed because of who says it. UpstreamInvalid for a Location that is missing, no URL,
    or not of a scheme that is allowed; the message does not repeat it, for its query may be a
    presigned secret.
    """
    if not location:
        raise UpstreamInvalid("the upstream redirected without a Location")
    if len(location.encode()) > _LONGEST:
        raise UpstreamInvalid(f"the upstream redirected to a URL of more than {_LONGEST} bytes")
    try:
        here = url.copy_with(raw_path=target.encode("ascii"))
        there = here.join(location)
        host = there.host  # decodes an internationalised name
    except (httpx.InvalidURL, ValueError) as error:
        raise UpstreamInvalid("the upstream redirected to something that is no URL") from error
    if there.scheme not in _PORTS or not host:
        raise UpstreamInvalid(f"the upstream redirected to a forbidden scheme: {there.scheme[:20]}")
    if url.scheme == "https" and there.scheme == "http" and not plain:
        raise UpstreamInvalid("the upstream is asked over https, it redirected to http")
    if origin_of(there) != origin_of(url):
        headers = [pair for pair in headers if pair[0].lower() in _FOR_ANYBODY]
    return there, there.raw_path.decode("ascii"), headers


def not_of_host(headers: CIMultiDictProxy[str]) -> CIMultiDictProxy[str]:
    """Return reply headers without those that another host than the registry has for itself."""
    kept = [pair for pair in headers.items() if pair[0].lower() not in _OF_ITS_HOST]
    return CIMultiDictProxy(CIMultiDict(kept))


def origin_of(url: httpx.URL) -> tuple[str, str, int]:
    """Return (scheme, host, port) of an http or https URL."""
    return url.scheme, url.host, url.port or _PORTS[url.scheme]
