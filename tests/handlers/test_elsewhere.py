"""Uploads that the upstream lets go on outside of its API: through the proxy, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from proxy.handlers.elsewhere import Elsewhere, Place
from tests.images import sha256
from tests.peers import HTPASSWD_U_P
from tests.registry import Registry, TokenAuth, basic_authorization
from tests.running import running

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp
    from aiohttp import web

    from tests.registry_faults import Reply

ORIGIN = "https://registry.example"
UPLOADS = "/v2/team/app/blobs/uploads/"
PATH = "/artifacts-uploads/namespaces/team/repositories/app/uploads/AJ-x_y=="
ELSEWHERE = Elsewhere(ORIGIN, b"a secret")
DATA = bytes(range(256)) * 1024
OURS = "/v2/lib/app/blobs/uploads/"
THEIRS = "/artifacts-uploads/repositories/app/uploads/"


class GoogleLike(Registry):
    """A registry whose uploads to lib/app go on outside of its API, at its root."""

    absolute = False

    async def answer(self, request: web.Request) -> Reply:
        """Answer uploads where they go on, and send them there."""
        if request.raw_path.startswith(THEIRS):
            request = request.clone(rel_url=request.raw_path.replace(THEIRS, OURS))
        reply = await super().answer(request)
        place = reply.headers.get("Location", "").replace(OURS, THEIRS)
        if place.startswith(THEIRS):
            reply.headers["Location"] = self.url + place if self.absolute else place
        return reply


async def pushed(http: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> list[str]:
    """Upload DATA in two chunks, ask in between, and return all places that were told."""
    half = len(DATA) // 2
    async with http.post(url + OURS, headers=headers) as started:
        assert started.status == 202
        places = [started.headers["Location"]]
    for chunk in (DATA[:half], DATA[half:]):
        async with http.patch(places[-1], data=chunk, headers=headers) as sent:
            assert sent.status == 202
            places.append(sent.headers["Location"])
        async with http.get(places[-1], headers=headers) as told:
            assert told.status == 204
            places.append(told.headers["Location"])
    async with http.put(f"{places[-1]}&digest={sha256(DATA)}", headers=headers) as done:
        assert done.status == 201
        places.append(done.headers["Location"])
    return places


@pytest.mark.parametrize("absolute", [False, True])
async def test_upload__goes_on_through_the_proxy(
    http: aiohttp.ClientSession, *, absolute: bool
) -> None:
    """Every place that the client is told leads to the proxy, and each is the upstream's own."""
    async with GoogleLike() as registry, running(registry) as url:
        registry.absolute = absolute
        places = await pushed(http, url, {})

        assert {sha256(DATA): DATA} == registry.repository("lib/app").blobs
        assert all(place.startswith(f"{url}/v2/lib/app/blobs/") for place in places)
        assert registry.count("PATCH", f"^{THEIRS}upload-0.*_state=s") == 2
        assert registry.count("PUT", f"^{THEIRS}upload-0.*_state=s.*&digest=sha256:") == 1


async def test_upload__below_a_base_path(http: aiohttp.ClientSession) -> None:
    """The place is at the upstream's root, wherever its API is."""

    class Based(GoogleLike):
        async def answer(self, request: web.Request) -> Reply:
            below = request.raw_path.removeprefix("/base")
            assert below != request.raw_path or below.startswith(THEIRS)
            return await super().answer(request.clone(rel_url=below))

    async with Based() as registry, running(f"{registry.url}/base") as url:
        await pushed(http, url, {})

        assert {sha256(DATA): DATA} == registry.repository("lib/app").blobs


async def test_upload__with_the_proxys_own_credentials(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """At a place elsewhere the proxy shows a token for the repository, as for any upload."""

    class Guarded(GoogleLike):
        def _refused(
            self, request: web.Request, path: str, authorization: str | None
        ) -> Reply | None:
            return super()._refused(request, path.replace(THEIRS, OURS), authorization)

    (tmp_path / "htpasswd").write_text(HTPASSWD_U_P)
    (tmp_path / "password").write_text("held")
    auth = TokenAuth(users={"robot": "held"})
    auth.allow("robot", "lib/*", "pull", "push")
    own = {"mode": "basic", "username": "robot", "password_file": str(tmp_path / "password")}
    async with (
        Guarded(auth=auth) as registry,
        running(
            registry, upstream={"auth": own}, listen={"htpasswd": str(tmp_path / "htpasswd")}
        ) as url,
    ):
        places = await pushed(http, url, {"Authorization": basic_authorization("u", "p")})
        async with http.get(places[0]) as stranger:
            assert stranger.status == 401

        assert {sha256(DATA): DATA} == registry.repository("lib/app").blobs
        # One for what is sent, one for what is asked.
        assert registry.count("GET", "^/token.*scope=repository%3Alib%2Fapp%3Apull") == 2
        assert registry.count("GET", "^/token") == 2


async def test_upload__to_no_place_that_the_upstream_has_not_named(
    http: aiohttp.ClientSession,
) -> None:
    """What has another seal, or none, is a path of the API: the upstream knows none there."""
    async with GoogleLike() as registry, running(registry) as url:
        async with http.post(url + OURS) as started:
            place = urlsplit(started.headers["Location"]).path
        seal, here, last = place.partition(THEIRS)
        wrong = [
            f"{seal}{here}{last}x",
            f"{seal}/admin",
            f"{seal[:-1]}0{here}{last}" if seal[-1] != "0" else f"{seal[:-1]}1{here}{last}",
            place.replace("lib/app", "lib/other"),
            f"{OURS}regshim-{'0' * 32}/admin",
            OURS.removesuffix("/") + THEIRS + last,
        ]
        for path in wrong:
            async with http.get(url + path) as reply:
                assert reply.status == 404

        assert wrong == [request.path_qs for request in registry.requests[1:]]


async def test_upload__to_no_place_that_the_client_has_named(http: aiohttp.ClientSession) -> None:
    """Artifactory makes its links of a header: what that says is not the registry's word."""

    class Steered(Registry):
        async def answer(self, request: web.Request) -> Reply:
            reply = await super().answer(request)
            base = request.headers.get("X-JFrog-Override-Base-Url", "")
            reply.headers["Location"] = base + reply.headers.get("Location", "")
            return reply

    async with Steered() as registry, running(registry) as url:
        named = f"{registry.url}/api/security/users?x="
        headers = {"X-JFrog-Override-Base-Url": named}
        async with http.post(url + OURS, headers=headers) as started:
            assert (202, named) == (started.status, started.headers["Location"].partition(OURS)[0])


@pytest.mark.parametrize(
    "query", ["", "?_state=a%2Fb&c=%zz", "?digest=sha256:0", "?a=/v2/x/blobs/uploads/"]
)
def test_show__and_found_again(query: str) -> None:
    """A place comes back as it was, with whatever query the client has made of it."""
    shown = ELSEWHERE.show(UPLOADS, ORIGIN + PATH)

    assert shown.startswith(f"{UPLOADS}regshim-")
    assert ELSEWHERE.show(UPLOADS, ORIGIN + PATH + query) == shown + query
    assert Place(PATH + query, "team/app") == ELSEWHERE.find(shown + query)
    assert Place(f"/{query}", "team/app") == ELSEWHERE.find(
        ELSEWHERE.show(UPLOADS, f"{ORIGIN}/{query}")
    )


def test_show__the_next_place_of_the_same_upload() -> None:
    """A reply from a place elsewhere names the next one, in the same repository."""
    shown = ELSEWHERE.show(UPLOADS, f"{ORIGIN}/a/blobs/b/c")

    assert ELSEWHERE.show(UPLOADS, ORIGIN + PATH) == ELSEWHERE.show(shown, ORIGIN + PATH)


def test_find__with_the_clients_own_escapes() -> None:
    """Go's clients write a path anew: what is escaped otherwise is the same place."""
    shown = ELSEWHERE.show(UPLOADS, ORIGIN + PATH)

    escaped = Place(PATH.replace("=", "%3D"), "team/app")
    assert escaped == ELSEWHERE.find(shown.replace("=", "%3D"))


def test_find__by_whoever_has_the_same_secret() -> None:
    """Replicas that share a key know each other's places; no other proxy does."""
    shown = ELSEWHERE.show(UPLOADS, ORIGIN + PATH)

    assert Place(PATH, "team/app") == Elsewhere(ORIGIN, b"a secret").find(shown)
    assert Elsewhere(ORIGIN, b"another").find(shown) is None


@pytest.mark.parametrize(
    ("target", "link"),
    [
        (UPLOADS, "https://other.example" + PATH),
        (UPLOADS, f"{ORIGIN}.example{PATH}"),
        (UPLOADS, f"{ORIGIN}@other.example{PATH}"),
        (UPLOADS, ORIGIN),
        (UPLOADS, f"{ORIGIN}/a/../b"),
        (UPLOADS, f"{ORIGIN}//b"),
        (UPLOADS, f"{ORIGIN}/a%2fb"),
        (UPLOADS, f"{ORIGIN}/a b"),
        (UPLOADS, f"{ORIGIN}/a?b c"),
        (UPLOADS, f"{ORIGIN}/a/blobs/b"),
        (UPLOADS, f"{ORIGIN}/a/manifests/b"),
        (UPLOADS, "/v2/team/app/blobs/uploads/1"),
        (UPLOADS, ""),
        ("/v2/team/app/manifests/1", ORIGIN + PATH),
        ("/v2/team/app/tags/list", ORIGIN + PATH),
        ("/v2/", ORIGIN + PATH),
        ("/v2/team/app/blobs/sha256:" + "0" * 64, ORIGIN + PATH),
    ],
)
def test_show__nothing_else(target: str, link: str) -> None:
    """What is elsewhere altogether, no upload's, or could be read as another path stays."""
    assert link == ELSEWHERE.show(target, link)
