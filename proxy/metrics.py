"""Prometheus instruments: what is counted, under which labels.

Every label has a bounded set of values, whatever clients send: routes and methods are ours,
engines are told by their first two version numbers and only if they are known.

With several worker processes prometheus-client's multiprocess mode merges what they count: it
is on where PROMETHEUS_MULTIPROC_DIR is set before this module is imported. Each keeps files there
under its number as a worker, and whoever takes its place goes on with them: named by process, as
the library does by itself, the files of all that ever died would be read with each look.
"""

import os
import re
from datetime import datetime
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

from proxy import __version__
from proxy.spec.methods import METHODS

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
MULTIPROCESS_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
# Set for a worker: its number.
WORKER: Final = "REGSHIM_WORKER"

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
_DOCKER: Final = re.compile(r"docker/(1\.[0-9]{1,2}|[12][0-9]\.[01][0-9])(?![0-9])")
_DOCKER_RECENT: Final = re.compile(r"docker/([2-9][0-9])\.")
_OTHERS: Final = frozenset(
    {
        "buildah",
        "buildkit",
        "containerd",
        "containers",
        "cri-o",
        "crane",
        "curl",
        "podman",
        "skopeo",
    }
)

# Two series for each counter, and with several workers none: nobody asks when a series began.
disable_created_metrics()  # type: ignore[no-untyped-call]
if MULTIPROCESS_DIRECTORY in os.environ and WORKER in os.environ:
    values.ValueClass = values.MultiProcessValue(lambda: os.environ[WORKER])  # type: ignore[no-untyped-call]


class Metrics:
    """The instruments of one process."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self._multiprocess = MULTIPROCESS_DIRECTORY in os.environ
        registry = self.registry
        build = Gauge(
            "regshim_build_info",
            "The version that runs; its value is 1.",
            ["version"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        build.labels(__version__).set(1)
        self.requests = Counter(
            "regshim_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "regshim_request_duration_seconds",
            "Time to answer a request, its body included.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.inflight = Gauge(
            "regshim_inflight_requests",
            "Requests under way.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.waiting = Gauge(
            "regshim_waiting_requests",
            "Requests that wait for a place.",
            ["kind"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.overloads = Counter(
            "regshim_overloads",
            "Requests and connections turned away because of too many others.",
            ["kind"],
            registry=registry,
        )
        self.connections = Gauge(
            "regshim_connections",
            "Connections of clients.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.slow_clients = Counter(
            "regshim_slow_clients",
            "Clients given up, by what they kept waiting.",
            ["awaited"],
            registry=registry,
        )
        # Looked at when somebody asks, by the process that answers: it knows no other's loop.
        self.tasks = Gauge(
            "regshim_asyncio_tasks",
            "Tasks in the event loop of the process that answers this.",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.translations = Counter(
            "regshim_translations",
            "Manifests answered in another format than they are stored in, or of an index.",
            ["source", "target", "result"],
            registry=registry,
        )
        self.refusals = Counter(
            "regshim_refusals",
            "Manifests for which there is no honest translation.",
            ["reason"],
            registry=registry,
        )
        self.client_pulls = Counter(
            "regshim_client_pulls",
            "Manifests sent, by the client's engine and the format that it got.",
            ["engine", "target"],
            registry=registry,
        )
        self.blob_bytes = Counter(
            "regshim_blob_bytes",
            "Bytes of blobs passed on to clients (down) and to the upstream (up).",
            ["direction"],
            registry=registry,
        )
        self.upstream_requests = Counter(
            "regshim_upstream_requests",
            "Requests sent to the upstream; status is 0 where no reply came.",
            ["kind", "status"],
            registry=registry,
        )
        self.upstream_seconds = Histogram(
            "regshim_upstream_duration_seconds",
            "Time until the upstream's reply began.",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.upstream_retries = Counter(
            "regshim_upstream_retries",
            "Requests sent to the upstream once more.",
            ["kind", "reason"],
            registry=registry,
        )
        self._store_events = {
            event: Counter(
                f"regshim_store_{plural}",
                f"{plural.capitalize()} of the store of translations.",
                ["tier"],
                registry=registry,
            )
            for event, plural in (("hit", "hits"), ("miss", "misses"), ("error", "errors"))
        }
        self.inventory_errors = Counter(
            "regshim_inventory_errors",
            "Failures to write or read the durable inventory.",
            registry=registry,
        )

        # prometheus-client looks a set of labels up behind a lock, at every count.
        self._request = cache(self.requests.labels)
        self._request_seconds = cache(self.request_seconds.labels)
        self._translation = cache(self.translations.labels)
        self._client_pull = cache(self.client_pulls.labels)
        self._upstream_request = cache(self.upstream_requests.labels)
        self._upstream_seconds = cache(self.upstream_seconds.labels)
        self._store_event = {name: cache(one.labels) for name, one in self._store_events.items()}
        if self._multiprocess:
            # The one kind of which all have labels. Each kind's file is opened with the first
            # value: not in the middle of a request, when the directory may be gone.
            self._request_seconds("other")

    def store(self, tier: str, event: str) -> None:
        """Count a hit, miss or error of a tier of the store."""
        self._store_event[event](tier).inc()

    def upstream(self, kind: str, status: int, seconds: float) -> None:
        """Count a request to the upstream; status 0 if no reply came."""
        self._upstream_request(kind, status).inc()
        self._upstream_seconds(kind).observe(seconds)

    def pull(self, engine: str, target: str) -> None:
        """Count a manifest sent to an engine, in a format."""
        self._client_pull(engine_label(engine), target).inc()

    def translation(self, source: str, target: str, result: str) -> None:
        """Count a manifest sent in another format than it is stored in; `new` or `cached`.

        An image of an index, sent as it is, has the source `index` and the result `picked`.
        """
        self._translation(source, target, result).inc()

    def upstream_retry(self, kind: str, reason: str) -> None:
        """Count a request that is sent to the upstream once more."""
        self.upstream_retries.labels(kind, reason).inc()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        known = method if method in METHODS else "other"
        self._request(route, known, status).inc()
        self._request_seconds(route).observe(seconds)

    def certificate_expires(self, at: datetime) -> None:
        """Tell the end of the certificate that clients are shown; `at` has a time zone."""
        self._certificate_expiry.set(at.timestamp())

    @cached_property
    def _certificate_expiry(self) -> Gauge:
        # Made where there is a certificate: elsewhere it would tell of one that ended in 1970.
        return Gauge(
            "regshim_certificate_expiry_timestamp_seconds",
            "Unix time at which the certificate that clients are shown ends.",
            registry=self.registry,
            # The first to end: a worker that could not read the new one still shows the old one.
            multiprocess_mode="livemin",
        )

    def exposition(self) -> bytes:
        """Return all values as Prometheus reads them, those of other workers included."""
        if not self._multiprocess:
            return generate_latest(self.registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        return generate_latest(merged)


def workers_directory() -> Path | None:
    """Return where worker processes keep what they tell each other; None for a process alone."""
    directory = os.environ.get(MULTIPROCESS_DIRECTORY)
    return Path(directory) if directory else None


@lru_cache(maxsize=256)
def engine_label(engine: str) -> str:
    """Return a bounded name of an engine: `docker-1.9`, `docker-20.10`, `docker-28`, `other`."""
    recent = _DOCKER_RECENT.match(engine)
    if recent is not None and int(recent[1]) >= 23:
        return f"docker-{recent[1]}"
    docker = _DOCKER.match(engine)
    if docker is not None:
        return f"docker-{docker[1]}"
    name = engine.partition("/")[0].lower()
    if not name:
        return "none"
    return name if name in _OTHERS else "other"
