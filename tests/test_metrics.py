"""What is counted, and under which labels."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import __version__
from proxy.app import build, build_admin
from proxy.metrics import MULTIPROCESS_DIRECTORY, Metrics, engine_label, workers_directory
from proxy.process.serving import serving
from tests.certificates import Authority, certificate_expiry, handshake, listen
from tests.engines.docker_1_8 import Docker191
from tests.images import make_image, make_index, make_schema1, push
from tests.peers import require_peer, run
from tests.processes import telling
from tests.running import KEY, config_for

if TYPE_CHECKING:
    import aiohttp

    from tests.registry import Registry


@pytest.mark.parametrize(
    ("engine", "label"),
    [
        ("docker/1.9.1", "docker-1.9"),
        ("docker/1.13.0", "docker-1.13"),
        ("docker/17.03.2-ce", "docker-17.03"),
        ("docker/20.10.24", "docker-20.10"),
        ("docker/28.0.1", "docker-28"),
        ("docker/1.999.1", "other"),
        ("containerd/1.7.2", "containerd"),
        ("Skopeo/1.9", "skopeo"),
        ("evil/1", "other"),
        ("", "none"),
    ],
)
def test_engine_label__known_engines(engine: str, label: str) -> None:
    """An engine is named by its first two numbers if it is known, else it is `other`."""
    assert label == engine_label(engine)


@given(st.text(max_size=60), st.integers(0, 10**6), st.integers(0, 10**6))
def test_engine_label__bounded(text: str, major: int, minor: int) -> None:
    """Whatever clients call themselves, the labels stay few."""
    for engine in (text, f"docker/{major}.{minor}", f"docker/{text}"):
        label = engine_label(engine)

        assert len(label) <= 12
        assert label.isascii()


async def counted(
    registry: Registry, http: aiohttp.ClientSession, *paths: tuple[str, dict[str, str]]
) -> str:
    """Send requests through the proxy and one engine's pull, and return the metrics."""
    app = build(config_for(registry.url), KEY)
    async with (
        serving(app, "127.0.0.1", 0) as port,
        serving(build_admin(app), "127.0.0.1", 0) as admin,
    ):
        url = f"http://127.0.0.1:{port}"
        await Docker191(url).pull("lib/app", "1")
        for path, headers in paths:
            await http.get(url + path, headers=headers)
        reply = await http.get(f"http://127.0.0.1:{admin}/metrics")
        return (await reply.read()).decode()


async def test_metrics__tell_what_happened(registry: Registry, http: aiohttp.ClientSession) -> None:
    """Each kind of event is counted under its labels."""
    image = make_image(empty_layers=(1,))
    await push(registry, "lib/app", "1", image)
    await push(registry, "lib/app", "old", make_schema1())
    await push(registry, "lib/app", "list", make_index([make_image(format="schema2")]))
    schema2 = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    oci = {"Accept": "application/vnd.oci.image.manifest.v1+json", "User-Agent": "x/1"}
    text = await counted(
        registry,
        http,
        ("/v2/lib/app/manifests/old", oci),
        ("/v2/lib/app/manifests/list", schema2),
        ("/v2/lib/app/manifests/1", {"User-Agent": "docker/1.9.1"}),
    )

    for line in (
        'regshim_requests_total{method="GET",route="manifest",status="200"} 3.0',
        'regshim_requests_total{method="GET",route="manifest",status="406"} 1.0',
        'regshim_translations_total{result="new",source="oci",target="schema1"} 1.0',
        'regshim_translations_total{result="cached",source="oci",target="schema1"} 1.0',
        'regshim_translations_total{result="picked",source="index",target="schema2"} 1.0',
        'regshim_client_pulls_total{engine="docker-1.9",target="schema1"} 2.0',
        'regshim_refusals_total{reason="NoTranslation"} 1.0',
        'regshim_upstream_requests_total{kind="manifest",status="200"} 4.0',
        'regshim_upstream_requests_total{kind="manifest",status="304"} 1.0',
        'regshim_upstream_requests_total{kind="config",status="200"} 1.0',
        'regshim_store_hits_total{tier="memory"}',
        "regshim_inflight_requests 0.0",
        f'regshim_build_info{{version="{__version__}"}} 1.0',
        'regshim_request_duration_seconds_count{route="blob"}',
    ):
        assert line in text
    assert "_created" not in text
    blobs = sum(map(len, image.layers)) + 32
    assert f'regshim_blob_bytes_total{{direction="down"}} {blobs:.1f}' in text


async def test_metrics__unreachable_upstream() -> None:
    """A request that brought no reply is counted with status 0."""
    metrics = Metrics()
    metrics.upstream("manifest", 0, 0.1)

    assert (
        b'regshim_upstream_requests_total{kind="manifest",status="0"} 1.0' in metrics.exposition()
    )


def test_certificate_expires__told_where_there_is_one() -> None:
    """Without a certificate there is no such metric: 0 would be one that ended in 1970."""
    metrics = Metrics()
    without = metrics.exposition()
    metrics.certificate_expires(datetime(2030, 1, 1, tzinfo=UTC))

    assert b"certificate" not in without
    assert 1893456000 == certificate_expiry(metrics.exposition())


async def test_metrics__end_of_the_certificate_in_use(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """It is of the certificate that is shown, whatever stands in the file: SIGHUP changes both."""
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    seen = []
    async with telling(tmp_path, registry.url, listen=listen(pair)) as served:

        async def look(event: str) -> None:
            await served.line(event)
            async with http.get(f"{served.admin}/metrics") as reply:
                told = certificate_expiry(await reply.read())
            shown = (await handshake(served.url, authority.client_context()))[2]
            seen.append((told, shown))

        await look("certificate")
        first = (pair.expires, pair.serial)
        authority.issue("server", lasts=timedelta(days=9))
        second = (pair.expires, pair.serial)
        served.process.send_signal(signal.SIGHUP)
        await look("certificate")
        authority.issue("server", lasts=timedelta(days=30))
        pair.key_file.write_text("nonsense", encoding="ascii")
        served.process.send_signal(signal.SIGHUP)
        await look("reload refused")

    assert [first, second, second] == seen
    assert first[0] < second[0] < pair.expires


def test_workers_directory__of_workers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers have a directory between them, a process alone has none."""
    monkeypatch.delenv(MULTIPROCESS_DIRECTORY, raising=False)
    alone = workers_directory()
    monkeypatch.setenv(MULTIPROCESS_DIRECTORY, "/run/workers")

    assert (None, Path("/run/workers")) == (alone, workers_directory())


@pytest.mark.peer
async def test_metrics__promtool(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Prometheus' own linter finds nothing to say of the metrics of a used proxy."""
    program = require_peer("promtool")
    await push(registry, "lib/app", "1", make_image())
    text = await counted(registry, http)
    file = tmp_path / "metrics.txt"
    file.write_text(text, encoding="utf-8")
    result = await run("sh", "-c", f"{program} check metrics < {file}")

    assert (0, b"", "") == (result.returncode, result.stdout, result.stderr)
