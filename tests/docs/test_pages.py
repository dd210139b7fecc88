"""What the pages say is what the code does, wherever a machine can tell."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import structlog
import yaml
from prometheus_client import Counter, Gauge, Histogram

from proxy.cli import main
from proxy.config.config import Config
from proxy.config.reading import parse
from proxy.errors import NotTranslatable, RegistryError
from proxy.inventory.entry import Entry
from proxy.inventory.redis import RedisArchive
from proxy.manifest.config_blob import MAX_ENTRIES
from proxy.manifest.gojson_reader import MAX_CONTAINERS, MAX_DEPTH, MAX_MEMBERS, MAX_VALUES
from proxy.metrics import Metrics
from proxy.store.redis import RedisEntries, connect
from proxy.translate.client import RULES
from proxy.translate.to_schema1 import MAX_TEXT
from tests.docs.pages import DOCS, PAGES, README, ROOT, blocks, code, table
from tests.peers import free_port, require_peer, running

if TYPE_CHECKING:
    from pathlib import Path

SECTIONS = {field.name for field in msgspec.structs.fields(Config)}
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
# Where a page leaves out what its example needs to be complete, it stands here.
COMPLETED = {"listen": {"tls": {"cert_file": "/c", "key_file": "/k"}, "htpasswd": "/h"}}


def mapping(text: str) -> dict[str, Any]:
    """Return the mapping that a YAML text is; an empty one for any other, such as a template."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return document if isinstance(document, dict) else {}


def documents() -> list[tuple[str, str]]:
    """Return (page, text) of all YAML blocks that are a part of our configuration."""
    return [
        (page.name, text)
        for page in PAGES
        for text in blocks(page, "yaml")
        if (document := mapping(text)) and document.keys() <= SECTIONS
    ]


def subclasses(kind: type[RegistryError]) -> set[type[RegistryError]]:
    """Return all classes below an error."""
    below = set(kind.__subclasses__())
    return below.union(*(subclasses(one) for one in below)) if below else below


@pytest.mark.parametrize(("page", "text"), documents())
def test_configuration__of_every_page_is_read(page: str, text: str) -> None:
    """A YAML example is a configuration that the proxy takes, once it has an upstream."""
    document: dict[str, Any] = yaml.safe_load(text)
    upstream = document.setdefault("upstream", {})
    upstream.setdefault("url", "https://registry.example.com")
    listen = document.get("listen", {})
    tls = listen.get("tls", {})
    if tls and "cert_file" not in tls:
        tls.update(COMPLETED["listen"]["tls"])

    assert parse(yaml.safe_dump(document), {}).upstream.url == upstream["url"], page


def test_configuration__examples_are_found() -> None:
    """The walk finds examples on several pages: an empty one would prove nothing."""
    assert {"README.md", "authentication.md", "clients.md", "tls.md"} <= {
        page for page, _ in documents()
    }


def test_metrics__table_is_complete() -> None:
    """operating.md names each metric with its labels, and none that there is not."""
    documented = {
        tuple(code(name) + code(labels))
        for name, labels, *_ in table(DOCS / "operating.md", "| metric ")
    }
    metrics = Metrics()
    metrics.certificate_expires(datetime.now(UTC))
    # The registry knows its collectors by name; there is no public way to their labels.
    collectors = set(metrics.registry._collector_to_names)
    actual = {
        (
            collector._name + ("_total" if isinstance(collector, Counter) else ""),
            *collector._labelnames,
        )
        for collector in collectors
        if isinstance(collector, Counter | Gauge | Histogram)
    }

    assert actual == documented


def test_refusals__table_is_complete() -> None:
    """operating.md names the reason of every refusal."""
    documented = {
        name for row in table(DOCS / "operating.md", "| `reason`") for name in code(row[0])
    }

    assert {kind.__name__ for kind in subclasses(NotTranslatable)} == documented


def test_statuses__table_is_complete() -> None:
    """reliability.md has each status above 405 that the proxy gives to a pull."""
    rows = table(DOCS / "reliability.md", "| status ")
    documented = {(int(row[0]), code(row[1])[0]) for row in rows if row[0].isdigit()}
    actual = {(kind.status, kind.code) for kind in subclasses(RegistryError)}

    assert documented == {
        (status, name) for status, name in actual if status > 405 and status != 431
    }


def test_schema1__bounds_are_those_of_the_reader() -> None:
    """The table of wanted differences names every bound on a config blob."""
    page = (DOCS / "schema1.md").read_text(encoding="utf-8")
    bounds = (
        f"{MAX_DEPTH} levels of JSON",
        f"{MAX_CONTAINERS:,} objects and lists",
        f"{MAX_VALUES:,} strings or values",
        f"{MAX_MEMBERS:,} members outermost",
        f"{MAX_ENTRIES:,} history entries",
        f"{MAX_TEXT >> 20} MiB of history",
    )

    assert [bound for bound in bounds if bound not in page] == []


@pytest.mark.peer
async def test_redis__account_needs_no_other_commands(tmp_path: Path) -> None:
    """An account that may do what scaling.md lists can keep translations, and the inventory."""
    rows = table(DOCS / "scaling.md", "| for | commands ")
    rights = [[f"+{name.lower()}" for name in code(row[1])] for row in rows]
    port = free_port()
    command = [require_peer("redis-server"), "--bind", "127.0.0.1", "--port", str(port)]
    for user, allowed in zip(("store", "list"), rights, strict=True):
        command += ["--user", user, "on", ">secret", "~regshim:*", *allowed]
    with (
        running([*command, "--user", "default", "off"], port, tmp_path),
        structlog.testing.capture_logs() as logs,
    ):
        url = "redis://{}:secret@127.0.0.1:" + str(port)
        store = RedisEntries(connect(url.format("store"), timeout=5), ttl=60)
        archive = RedisArchive(connect(url.format("list"), timeout=5), retention=60, max_entries=1)
        try:
            await store.put({"a": b"1"})

            assert await store.swap("a", b"1", {"a": b"2"})
            assert b"2" == await store.get("a")
            now = time.time()
            changes = [Entry("", name, "", now, now, 1, {"a": 1}, {"b": 1}, "c") for name in "de"]
            await archive.add(changes)

            assert 1 == len(await archive.read(0))
        finally:
            await store.close()
            await archive.close()

    assert [] == logs


def test_commands__table_is_complete() -> None:
    """operating.md names every command, and none that there is not."""
    commands = {
        command.name or getattr(command.callback, "__name__", "")
        for command in main.registered_commands
    }
    groups = {group.name for group in main.registered_groups}
    documented = {code(row[0])[0].split()[1] for row in table(DOCS / "operating.md", "| command ")}

    assert commands | groups == documented


def test_rules__table_is_complete() -> None:
    """clients.md names every built-in rule."""
    rows = re.findall(r"^ *\| (docker-[^ ]+) \|", (DOCS / "clients.md").read_text(), re.MULTILINE)

    assert [rule.name for rule in RULES] == rows


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_links__lead_to_files(page: Path) -> None:
    """A relative link of a page, read on a code host, leads to a file of the repository."""
    links = LINK.findall(page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_tests__that_pages_name_are_there() -> None:
    """A page that says which test shows something names a file."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"`(tests/[a-z0-9_/]+\.py)`", text))

    assert named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_readme__comparison_is_that_of_the_docs() -> None:
    """Each cell of the README's comparison begins a cell of the sourced one."""
    sourced = {
        re.sub(r"\[([^]]+)\]\[\w+\]", r"\1", row[0]): row
        for row in table(DOCS / "index.md", "| | an OCI")
    }
    for name, *cells in table(README, "| | an OCI image, for"):
        full = next(
            row for key, row in sourced.items() if key.replace("`", "") == name.replace("`", "")
        )
        assert all(long.startswith(short) for short, long in zip(cells, full[1:], strict=True)), (
            name
        )
