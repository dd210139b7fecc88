"""`realm: proxy`: token requests go through the proxy, to the service that the upstream names."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
from yarl import URL

from tests.images import make_image, push
from tests.registry import BasicAuth, Registry, TokenAuth, basic_authorization
from tests.running import running

if TYPE_CHECKING:
    import aiohttp

MANIFEST = "/v2/lib/app/manifests/1"
AUTH = {"auth": {"realm": "proxy"}}
QUERY = "service=registry.test&scope=repository%3Alib%2Fapp%3Apull&account=u"
USER = {"Authorization": basic_authorization("u", "p")}


def token_url(url: str) -> URL:
    """Return where to ask for a token, with the query as Go's client encodes it."""
    return URL(f"{url}/token?{QUERY}", encoded=True)


def token_auth() -> TokenAuth:
    """Return an auth that lets u pull lib."""
    auth = TokenAuth(users={"u": "p"})
    auth.allow("u", "lib/*", "pull")
    return auth


@pytest.mark.parametrize(
    ("headers", "realm"),
    [
        ({}, "{url}/token"),
        ({"Host": "mirror.test:5000"}, "http://mirror.test:5000/token"),
        (
            {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "mirror.test"},
            "https://mirror.test/token",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/v2/", MANIFEST, "/v2/lib/app/tags/list"])
async def test_realm__on_the_clients_own_host(
    http: aiohttp.ClientSession, path: str, headers: dict[str, str], realm: str
) -> None:
    """Every challenge names the proxy as the client called it; the rest of it stays."""
    async with Registry(auth=token_auth()) as registry, running(registry, upstream=AUTH) as url:
        direct = await http.get(registry.url + path)
        reply = await http.get(url + path, headers=headers)
        body = await reply.read()

        assert await direct.read() == body
    theirs = direct.headers["WWW-Authenticate"]
    expected = theirs.replace(f"{registry.url}/token", realm.format(url=url))
    assert (401, expected) == (reply.status, reply.headers["WWW-Authenticate"])
    assert theirs != expected


async def test_realm__basic_challenges_stay(http: aiohttp.ClientSession) -> None:
    """A Basic realm is a name, no address: it is left alone."""
    async with (
        Registry(auth=BasicAuth({}, realm="r")) as registry,
        running(registry, upstream=AUTH) as url,
        http.get(url + "/v2/") as reply,
    ):
        assert 'Basic realm="r"' == reply.headers["WWW-Authenticate"]


async def test_token__asked_through_the_proxy(http: aiohttp.ClientSession) -> None:
    """The query and the client's credentials reach the service; its token opens the upstream."""
    async with Registry(auth=token_auth()) as registry, running(registry, upstream=AUTH) as url:
        await push(registry, "lib/app", "1", make_image())
        async with http.get(token_url(url), headers=USER) as reply:
            document = await reply.json()
        bearer = {"Authorization": f"Bearer {document['token']}"}
        pulled = await http.get(url + MANIFEST, headers=bearer)

        assert (200, 200) == (reply.status, pulled.status)
    seen = next(one for one in registry.requests if one.path_qs.startswith("/token"))
    assert (f"/token?{QUERY}", USER["Authorization"]) == (seen.path_qs, seen.authorization)
    # A replica that has not seen the challenge asks for it by a ping of its own.
    assert ("/v2/", None) == (registry.requests[0].path_qs, registry.requests[0].authorization)


async def test_token__oauth2_post(http: aiohttp.ClientSession) -> None:
    """The POST form goes on with its body."""
    auth = token_auth()
    auth.identities = {"identity": "u"}
    form = {
        "grant_type": "refresh_token",
        "service": "registry.test",
        "scope": "repository:lib/app:pull",
        "refresh_token": "identity",
    }
    async with (
        Registry(auth=auth) as registry,
        running(registry, upstream=AUTH) as url,
        http.post(f"{url}/token", data=form) as reply,
    ):
        document = await reply.json()

    assert (200, "planted-token-u-1") == (reply.status, document["access_token"])
    assert ["identity+"] == list(auth.identities)


async def test_token__body_of_a_get_goes_no_further(http: aiohttp.ClientSession) -> None:
    """A service that does not read it would take it for the next request."""
    async with (
        Registry(auth=token_auth()) as registry,
        running(registry, upstream=AUTH) as url,
        http.get(f"{url}/token?{QUERY}", data=b"GET / HTTP/1.1\r\n\r\n") as reply,
    ):
        await reply.read()

    told = [request.headers for request in registry.requests if request.path_qs != "/v2/"]
    assert 1 == len(told)
    assert not {"Content-Length", "Transfer-Encoding"} & set(told[0])


@pytest.mark.parametrize("status", [401, 403, 429, 500])
async def test_token__refusals_pass_as_they_are(http: aiohttp.ClientSession, status: int) -> None:
    """What the service answers is the answer, its challenge unchanged."""
    challenge = 'Bearer realm="http://service.test/token"'
    async with Registry(auth=token_auth()) as registry, running(registry, upstream=AUTH) as url:
        headers = {"WWW-Authenticate": challenge, "Retry-After": "7"}
        registry.fault("GET", "^/token", status=status, body=b"no", headers=headers)
        async with http.get(f"{url}/token?{QUERY}") as reply:
            body = await reply.read()

    assert (status, b"no") == (reply.status, body)
    assert (challenge, "7") == (reply.headers["WWW-Authenticate"], reply.headers["Retry-After"])


async def test_token__no_cookies_either_way(http: aiohttp.ClientSession) -> None:
    """To a client both are one host: it would show the registry what the service has set."""
    async with Registry(auth=token_auth()) as registry, running(registry, upstream=AUTH) as url:
        told = {"Set-Cookie": "a=b", "Cache-Control": "no-store"}
        registry.fault("GET", "^/token", status=200, body=b"{}", headers=told)
        async with http.get(token_url(url), headers={**USER, "Cookie": "c=d"}) as reply:
            assert "no-store" == reply.headers["Cache-Control"]
            assert "Set-Cookie" not in reply.headers

    assert "Cookie" not in registry.requests[-1].headers


async def test_token__a_client_cannot_name_the_service(
    http: aiohttp.ClientSession, registry: Registry
) -> None:
    """Whatever a client sends, only the upstream says where its credentials go."""
    async with (
        Registry(auth=token_auth()) as behind,
        running(behind, upstream=AUTH) as url,
    ):
        registry.fault(None, "", status=200, body=b"{}")
        evil = registry.url.removeprefix("http://")
        headers = {**USER, "Host": evil, "X-Forwarded-Host": evil, "Forwarded": f"host={evil}"}
        for path in (f"/token?realm={registry.url}", f"/token?{QUERY}&ns={evil}"):
            async with http.get(url + path, headers=headers) as reply:
                assert 200 == reply.status
        # A storage that answers with a challenge of its own teaches nothing.
        behind.fault("GET", "blobs", status=307, headers={"Location": f"{registry.url}/x"})
        registry.faults.insert(0, registry.fault(None, "^/x", status=401))
        registry.faults[0].headers = {"WWW-Authenticate": f'Bearer realm="{registry.url}/token"'}
        digest = "sha256:" + "0" * 64
        async with http.get(f"{url}/v2/lib/app/blobs/{digest}") as redirected:
            assert 401 == redirected.status
        async with http.get(token_url(url), headers=USER) as reply:
            assert 200 == reply.status

    assert ["/x"] == [one.path_qs for one in registry.requests]
    assert {None} == {one.authorization for one in registry.requests}


async def test_token__realm_with_a_query(http: aiohttp.ClientSession) -> None:
    """The realm's own query stays in front of the client's."""
    auth = token_auth()
    async with Registry(auth=auth) as registry, running(registry, upstream=AUTH) as url:
        auth.realm = f"{registry.url}/token?tenant=a%2Fb"
        async with http.get(token_url(url), headers=USER) as reply:
            assert 200 == reply.status
    seen = registry.requests[-1].path_qs

    assert f"/token?tenant=a%2Fb&{QUERY}" == seen
    assert ["a/b"] == parse_qs(seen.partition("?")[2])["tenant"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD"])
async def test_token__get_and_post_alone(http: aiohttp.ClientSession, method: str) -> None:
    """Nothing else is asked of a token service."""
    async with (
        Registry(auth=token_auth()) as registry,
        running(registry, upstream=AUTH) as url,
        http.request(method, f"{url}/token") as reply,
    ):
        assert 405 == reply.status
    assert [] == registry.requests


@pytest.mark.parametrize("auth", [None, BasicAuth({"u": "p"})])
async def test_token__no_service(http: aiohttp.ClientSession, auth: BasicAuth | None) -> None:
    """An upstream without a token service is a 404, and nobody is told the credentials."""
    async with (
        Registry(auth=auth) as registry,
        running(registry, upstream=AUTH) as url,
        http.get(token_url(url), headers=USER) as reply,
    ):
        assert 404 == reply.status
    assert {None} == {one.authorization for one in registry.requests}


async def test_token__not_there_without_the_setting(http: aiohttp.ClientSession) -> None:
    """With `realm: upstream` challenges are the upstream's and `/token` is no path of ours."""
    async with Registry(auth=token_auth()) as registry, running(registry) as url:
        direct = await http.get(f"{registry.url}/v2/")
        reply = await http.get(f"{url}/v2/")
        token = await http.get(f"{url}/token?{QUERY}")

    assert direct.headers["WWW-Authenticate"] == reply.headers["WWW-Authenticate"]
    assert 404 == token.status
    assert 0 == registry.count(path_regex="^/token")
