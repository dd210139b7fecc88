"""The transport that adds the proxy's credentials, in front of the in-process registry."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from proxy.errors import Denied, Overloaded, UpstreamInvalid
from proxy.upstream.auth import Credentials, Secret
from proxy.upstream.authorizing import AuthorizingTransport
from proxy.upstream.deadline import DeadlineTransport
from proxy.upstream.stream import Stream
from proxy.upstream.transport import AiohttpTransport
from tests.images import make_image, push, sha256
from tests.raw import Connection, raw_server
from tests.registry import BasicAuth, Registry, TokenAuth
from tests.upstream.test_tokens import Clock, Known

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.registry_faults import Reply

USER = Credentials("u", Secret("p"))
MANIFEST = "/v2/lib/app/manifests/1"
CLIENT = {"Authorization": "Basic Y2xpZW50OmNsaWVudA==", "Cookie": "client=1"}


class Upload(httpx.AsyncByteStream):
    """A request body that can be sent once."""

    def __init__(self, data: bytes) -> None:
        self.data: bytes | None = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body."""
        assert self.data is not None, "the body was sent twice"
        yield self.data
        self.data = None


@asynccontextmanager
async def authorizing(
    url: str, known: Known | None = None, clock: Clock | None = None
) -> AsyncIterator[AuthorizingTransport]:
    """Give a transport with the credentials of u, or others."""
    inner = AiohttpTransport(connect=5, idle=5)
    transport = AuthorizingTransport(inner, url, known or Known(USER), clock=clock or Clock())
    try:
        yield transport
    finally:
        await transport.aclose()


async def ask(
    transport: AuthorizingTransport, url: str, method: str = "GET", body: bytes | None = None
) -> tuple[int, bytes, httpx.Headers]:
    """Send a request as a client with credentials and cookies of its own; return the reply."""
    headers = {**CLIENT, **({} if body is None else {"Content-Length": str(len(body))})}
    stream = Upload(body or b"")
    request = httpx.Request(method, url, headers=headers, stream=stream)
    response = await transport.handle_async_request(request)
    return response.status_code, await Stream(response).read(1 << 20, "reply"), response.headers


def token_auth(*actions: str) -> TokenAuth:
    """Return an auth that lets u do this below lib."""
    auth = TokenAuth(users={"u": "p"})
    auth.allow("u", "lib/*", *(actions or ("pull",)))
    return auth


def seen(registry: Registry) -> list[tuple[str, str]]:
    """Return method and path of what the registry was asked, in order."""
    return [(one.method, one.path_qs.partition("?")[0]) for one in registry.requests]


async def test_send__token_of_the_proxy() -> None:
    """The ping tells the demand, the token is fetched, the request is sent once."""
    async with Registry(auth=token_auth()) as registry, authorizing(registry.url) as transport:
        await push(registry, "lib/app", "1", make_image())
        status, body, _ = await ask(transport, registry.url + MANIFEST)
        again, _, _ = await ask(transport, registry.url + MANIFEST)

    assert (200, 200, make_image().manifest) == (status, again, body)
    asked = [("GET", "/v2/"), ("GET", "/token"), ("GET", MANIFEST), ("GET", MANIFEST)]
    assert asked == seen(registry)
    # Nothing of the client went anywhere.
    assert {None, "Basic dTpw", "Bearer planted-token-u-1"} == {
        o.authorization for o in registry.requests
    }
    assert not any("Cookie" in one.headers for one in registry.requests)


@pytest.mark.parametrize("end", ["expire", "revoke"])
async def test_send__token_that_ended_early(end: str) -> None:
    """A token that the upstream does not know any more is replaced by one retry."""
    auth = token_auth()
    async with Registry(auth=auth) as registry, authorizing(registry.url) as transport:
        await push(registry, "lib/app", "1", make_image())
        await ask(transport, registry.url + MANIFEST)
        if end == "expire":
            auth.expire()
        else:
            auth.revoke("planted-token-u-1")
        registry.reset()
        status, _, _ = await ask(transport, registry.url + MANIFEST)

    assert 200 == status
    assert [("GET", MANIFEST), ("GET", "/token"), ("GET", MANIFEST)] == seen(registry)


async def test_send__refreshed_before_its_end() -> None:
    """A token whose life is almost over is not sent any more: no 401 is needed to notice."""
    auth, clock = token_auth(), Clock()
    async with (
        Registry(auth=auth) as registry,
        authorizing(registry.url, clock=clock) as transport,
    ):
        await push(registry, "lib/app", "1", make_image())
        await ask(transport, registry.url + MANIFEST)
        clock.now += auth.expires_in - 10
        registry.reset()
        status, _, _ = await ask(transport, registry.url + MANIFEST)

    assert 200 == status
    assert [("GET", "/token"), ("GET", MANIFEST)] == seen(registry)


async def test_send__many_waiters_one_token() -> None:
    """A crowd costs one ping and one token, and after a revocation one more token."""
    auth = token_auth()
    async with Registry(auth=auth) as registry, authorizing(registry.url) as transport:
        await push(registry, "lib/app", "1", make_image())

        async def crowd() -> set[int]:
            replies = await asyncio.gather(
                *(ask(transport, registry.url + MANIFEST) for _ in range(50))
            )
            return {status for status, _, _ in replies}

        assert {200} == await crowd()
        assert (1, 1) == (registry.count("GET", "^/v2/$"), registry.count("GET", "^/token"))
        auth.expire()
        assert {200} == await crowd()
        assert 2 == registry.count("GET", "^/token")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_send__denied(method: str) -> None:
    """What the proxy may not read is 403 to the client, with no challenge to answer."""
    async with Registry(auth=token_auth()) as registry, authorizing(registry.url) as transport:
        registry.fault(None, "manifests", status=401, headers={"WWW-Authenticate": "Basic x"})
        status, body, headers = await ask(transport, registry.url + MANIFEST, method)

    assert 403 == status
    assert "WWW-Authenticate" not in headers
    assert (b'"DENIED"' in body) == (method == "GET")
    assert 2 == registry.count(method, "manifests")


async def test_send__wrong_password() -> None:
    """Wrong credentials are Denied, with one token request and no word of them."""
    known = Known(Credentials("u", Secret("planted-hunter2")))
    async with (
        Registry(auth=token_auth()) as registry,
        authorizing(registry.url, known) as transport,
    ):
        with pytest.raises(Denied) as error:
            await ask(transport, registry.url + MANIFEST)

    assert "planted-hunter2" not in str(error.value)
    assert [("GET", "/v2/"), ("GET", "/token")] == seen(registry)


async def test_send__basic() -> None:
    """Basic credentials are sent with each request; a changed password is noticed at a 401."""
    known, clock = Known(USER), Clock()
    async with (
        Registry(auth=BasicAuth({"u": "p"})) as registry,
        authorizing(registry.url, known, clock) as transport,
    ):
        await push(registry, "lib/app", "1", make_image())
        first, _, _ = await ask(transport, registry.url + MANIFEST)
        registry.auth = BasicAuth({"u": "q"})
        known.credentials = Credentials("u", Secret("q"))
        clock.now += 10
        second, _, _ = await ask(transport, registry.url + MANIFEST)
        known.credentials = None
        clock.now += 1000
        third, _, _ = await ask(transport, registry.url + MANIFEST)

    assert (200, 200, 403) == (first, second, third)
    sent = [one.authorization for one in registry.requests]
    assert [None, "Basic dTpw", "Basic dTpw", "Basic dTpx", None] == sent


async def test_send__token_service_that_is_gone() -> None:
    """An upstream whose token service gives no token is asked anew what it demands."""
    clock = Clock()
    async with (
        Registry(auth=token_auth()) as registry,
        authorizing(registry.url, clock=clock) as transport,
    ):
        await push(registry, "lib/app", "1", make_image())
        await ask(transport, registry.url + MANIFEST)
        registry.auth = BasicAuth({"u": "p"})
        registry.fault("GET", "/token", status=404)
        clock.now += 1000
        with pytest.raises(UpstreamInvalid):
            await ask(transport, registry.url + MANIFEST)
        status, _, _ = await ask(transport, registry.url + MANIFEST)

    assert 200 == status


async def test_send__identity_token() -> None:
    """An identity token goes to the token service in a POST, and its successor the next time."""
    auth = token_auth()
    auth.identities = {"identity": "u"}
    known = Known(Credentials(identity_token=Secret("identity")))
    async with Registry(auth=auth) as registry, authorizing(registry.url, known) as transport:
        await push(registry, "lib/app", "1", make_image())
        replies = []
        for _ in range(2):
            replies.append(await ask(transport, registry.url + MANIFEST))
            auth.expire()

    assert [200, 200] == [status for status, _, _ in replies]
    assert [("POST", "/token")] * 2 == [one for one in seen(registry) if one[1] == "/token"]
    assert ["identity++"] == list(auth.identities)


async def test_send__identity_token_for_several_at_once() -> None:
    """One that is good for a single use is used once, by one after the other."""
    auth = token_auth()
    auth.identities = {"identity": "u"}
    known = Known(Credentials(identity_token=Secret("identity")))
    async with Registry(auth=auth) as registry, authorizing(registry.url, known) as transport:
        names = [f"lib/{number}" for number in range(10)]
        for name in names:
            await push(registry, name, "1", make_image())
        replies = await asyncio.gather(
            *(ask(transport, f"{registry.url}/v2/{name}/manifests/1") for name in names)
        )

    assert [200] * 10 == [status for status, _, _ in replies]
    assert ["identity" + "+" * 10] == list(auth.identities)


async def test_send__identity_token_of_who_leaves() -> None:
    """Its successor is not lost with whoever leaves before it is told."""
    auth = token_auth()
    auth.identities = {"identity": "u"}
    known = Known(Credentials(identity_token=Secret("identity")))
    go = asyncio.Event()
    async with Registry(auth=auth) as registry, authorizing(registry.url, known) as transport:
        await push(registry, "lib/app", "1", make_image())
        told = registry.fault("POST", "^/token", wait_body=go, times=1)
        leaving = asyncio.create_task(ask(transport, registry.url + MANIFEST))
        await told.arrived.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
        go.set()
        status, _, _ = await ask(transport, registry.url + MANIFEST)

    assert 200 == status
    assert ["identity++"] == list(auth.identities)


@pytest.mark.parametrize(
    ("refused", "status"),
    [(b"GET /v2/ .*", 200), (b"GET /v2/lib(?!.*Authorization: ).*", 200), (b".*", 403)],
    ids=["ping", "first request", "all"],
)
async def test_send__challenge_with_an_endless_body(refused: bytes, status: int) -> None:
    """The body of a 401 that comes byte by byte is left after a time, and all goes on."""
    challenge = b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic x\r\nContent-Length: 60000\r\n\r\n"

    async def talk(connection: Connection) -> None:
        while not re.fullmatch(refused, await connection.head(), re.DOTALL):
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await connection.send(challenge)
        while True:
            await connection.send(b"x")
            await asyncio.sleep(0.01)

    inner = DeadlineTransport(AiohttpTransport(connect=60, idle=60), connect=60, idle=0.2)
    async with raw_server(talk) as server:
        transport = AuthorizingTransport(inner, server.url, Known(USER), clock=Clock())
        try:
            async with asyncio.timeout(60):
                answer, _, _ = await ask(transport, server.url + MANIFEST)
        finally:
            await transport.aclose()

    assert status == answer


@pytest.mark.parametrize("refused", [b"GET /v2/ .*", b"GET /v2/lib.*"], ids=["ping", "request"])
async def test_send__cancelled_while_a_challenge_is_read(refused: bytes) -> None:
    """Who leaves while the body of a 401 is read takes its connection along."""
    challenged, ended = asyncio.Event(), asyncio.Event()

    async def talk(connection: Connection) -> None:
        while not re.fullmatch(refused, await connection.head(), re.DOTALL):
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await connection.send(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nn")
        await connection.silence()
        ended.set()

    class Telling(AiohttpTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            if response.status_code == 401:
                challenged.set()
            return response

    async with raw_server(talk) as server:
        inner = Telling(connect=60, idle=60)
        transport = AuthorizingTransport(inner, server.url, Known(USER), clock=Clock())
        asking = asyncio.create_task(ask(transport, server.url + MANIFEST))
        await challenged.wait()
        asking.cancel()
        async with asyncio.timeout(30):
            await ended.wait()
        await transport.aclose()

    assert asking.cancelled()


async def test_send__upload_once_with_a_token() -> None:
    """A body goes once, with a token that was got before it."""
    auth, blob = token_auth("pull", "push"), b"blob" * 10000
    async with Registry(auth=auth) as registry, authorizing(registry.url) as transport:
        url = f"{registry.url}/v2/lib/app/blobs/uploads/?digest={sha256(blob)}"
        status, _, _ = await ask(transport, url, "POST", blob)

    assert 201 == status
    assert [
        ("GET", "/v2/"),
        ("GET", "/token"),
        ("POST", "/v2/lib/app/blobs/uploads/"),
    ] == seen(registry)
    assert blob == registry.repository("lib/app").blobs[sha256(blob)]


async def test_send__upload_with_a_revoked_token() -> None:
    """If the token of an upload has ended the client must come again, and is then served."""
    auth, blob = token_auth("pull", "push"), b"blob"
    async with Registry(auth=auth) as registry, authorizing(registry.url) as transport:
        url = f"{registry.url}/v2/lib/app/blobs/uploads/?digest={sha256(blob)}"
        await ask(transport, url, "POST", blob)
        auth.expire()
        with pytest.raises(Overloaded):
            await ask(transport, url, "POST", blob)
        status, _, _ = await ask(transport, url, "POST", blob)

    assert 201 == status
    assert (2, 3) == (registry.count("GET", "^/token"), registry.count("POST"))


async def test_send__push_by_who_may_only_pull() -> None:
    """A registry that challenges whoever lacks a permission is not asked for ever: 403 at once."""

    class Challenging(TokenAuth):
        def refuse(self, url: str, authorization: str | None, scope: str | None) -> Reply | None:
            refusal = super().refuse(url, authorization, scope)
            if refusal is not None and refusal.status == 403:
                return self._challenge(url, scope, "insufficient_scope")
            return refusal

    auth = Challenging(users={"u": "p"})
    auth.allow("u", "lib/*", "pull")
    async with Registry(auth=auth) as registry, authorizing(registry.url) as transport:
        await push(registry, "lib/app", "1", make_image())
        url = registry.url + "/v2/lib/app/manifests/2"
        for _ in range(2):
            status, body, _ = await ask(transport, url, "PUT", make_image().manifest)

            assert (403, "DENIED") == (status, json.loads(body)["errors"][0]["code"])
        status, _, _ = await ask(transport, registry.url + MANIFEST)

    assert 200 == status


async def test_send__another_origin_gets_nothing() -> None:
    """Object storage sees no credentials, neither the proxy's nor the client's; its 401 is ours."""
    async with (
        Registry(auth=BasicAuth({"u": "p"})) as elsewhere,
        Registry(auth=token_auth()) as registry,
        authorizing(registry.url) as transport,
    ):
        await ask(transport, registry.url + MANIFEST)
        status, _, headers = await ask(transport, elsewhere.url + MANIFEST)

    assert 403 == status
    assert "WWW-Authenticate" not in headers
    assert [None] == [one.authorization for one in elsewhere.requests]


async def test_send__cookies_are_the_proxys() -> None:
    """A session that the upstream opens for the proxy is not handed to a client."""
    async with Registry(auth=token_auth()) as registry, authorizing(registry.url) as transport:
        await push(registry, "lib/app", "1", make_image())
        registry.fault("GET", "manifests", headers={"Set-Cookie": "sid=1", "X-Kept": "1"})
        status, _, headers = await ask(transport, registry.url + MANIFEST)

    assert (200, "1") == (status, headers["X-Kept"])
    assert "Set-Cookie" not in headers


async def test_send__open_upstream_is_not_pinged_all_the_time(registry: Registry) -> None:
    """An upstream that challenges nobody is asked once a minute whether that is still so."""
    clock = Clock()
    async with authorizing(registry.url, clock=clock) as transport:
        await push(registry, "lib/app", "1", make_image())
        for _ in range(3):
            await ask(transport, registry.url + MANIFEST)
        clock.now += 61
        await ask(transport, registry.url + MANIFEST)

    assert (2, 4) == (registry.count("GET", "^/v2/$"), registry.count("GET", "manifests"))
    assert {None} == {one.authorization for one in registry.requests}


async def test_send__upstream_below_a_path(registry: Registry) -> None:
    """Ping and scopes are those of the registry below its path."""
    registry.fault("GET", "^/prefix/v2/$", status=401, headers={"WWW-Authenticate": "Basic x"})
    registry.fault("GET", "^/prefix/v2/lib/app/tags/list$", status=200)
    async with authorizing(f"{registry.url}/prefix") as transport:
        status, _, _ = await ask(transport, f"{registry.url}/prefix/v2/lib/app/tags/list")

    assert 200 == status
    assert [None, "Basic dTpw"] == [one.authorization for one in registry.requests]
