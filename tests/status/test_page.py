"""What the page says, and that nothing that a client sent can do anything on it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from proxy.errors import NotTranslatable
from proxy.inventory.entry import Entry
from proxy.status.listing import MOST_ROWS, OF_EACH_ENGINE
from proxy.status.page import policy, render
from tests.status.pages import COUNTS, ENTRIES, FACTS, NOW, page, view_of

HOSTILE = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}"


class Document(HTMLParser):
    """The elements of a page in order, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.parts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember an element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Remember text, but of style and script."""
        if not self.elements or self.elements[-1][0] not in {"style", "script"}:
            self.parts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements of that name."""
        return [attributes for name, attributes in self.elements if name == tag]


def test_page__who_and_until_when() -> None:
    """It begins with how many clients still need the proxy, the last one, and the day to go."""
    text = Document(page()).text

    assert "3 clients still need this proxy." in text
    assert "The last was docker/1.9.1 at 10.0.0.9 , for lib/app, 4 minutes ago" in text
    assert "the list is empty on 15 April 2027" in text


def test_page__one_client_counts_once() -> None:
    """A client that pulls from two repositories is one client."""
    first = ENTRIES[0]
    other = Entry(first.engine, first.address, "other", NOW - 9, NOW - 9, 1)

    assert "1 client still needs this proxy." in Document(page(view_of([first, other]))).text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"entries": ()}, "Nobody is on the list."),
        ({"entries": ()}, "none is left of the 90 days before"),
        ({"entries": (), "retention": 3600.0}, "translation has been seen for 1 hour."),
        ({"entries": (), "durable": False}, "since this process started, 2 hours ago ."),
        ({"durable": False}, "The list is kept in the memory of the process"),
        ({"whole": False}, "The durable store does not answer"),
        ({"entries": None}, "The inventory is switched off."),
        ({"ready": False}, "Not ready"),
        ({"counts": ()}, "No pull by tag in the last hour."),
        ({"counts": ()}, "Nothing was refused."),
    ],
)
def test_page__says_how_it_is(changes: dict[str, object], expected: str) -> None:
    """Each state is told in words; an empty list claims no more than is known."""
    assert expected in Document(page(view_of(**changes))).text  # type: ignore[arg-type]


def test_page__figures_of_the_hour() -> None:
    """Totals, peaks and reasons are those of the hour; a refusal is explained."""
    document = Document(page())
    labels = [svg["aria-label"] for svg in document.all("svg")]

    assert [
        "Pulls in each minute of the last hour: 21 in all, 12 at most.",
        "Translated in each minute of the last hour: 5 in all, 3 at most.",
        "Refused in each minute of the last hour: 4 in all, 4 at most.",
    ] == labels[:3]
    assert "4 ZstdLayer A layer is compressed with zstd" in document.text
    assert "OCI schema 1 3 OCI refused 4" in document.text


def test_page__every_refusal_is_explained() -> None:
    """There are words for each way to be refused."""
    kinds, waiting = [], [NotTranslatable]
    while waiting:
        kinds.append(waiting.pop())
        waiting += kinds[-1].__subclasses__()
    for kind in kinds:
        count = COUNTS[3].__class__(COUNTS[3].minute, "oci", "", kind.__name__, 1)
        text = Document(page(view_of(counts=[count]))).text

        assert f"{kind.__name__} {(kind.__doc__ or '').splitlines()[0]}" in text


def test_page__the_inventory() -> None:
    """Each entry is a row, in words and with the exact times."""
    html = page()
    text = Document(html).text

    assert (
        "docker/1.13.1 10.0.0.10 team/api OCI → schema 2 1,204 2 \N{MULTIPLICATION SIGN} ZstdLayer"
        in text
    )
    assert "layer 1 is compressed with zstd" in text
    assert "unnamed 10.0.0.2 lib/zoo schema 1 as stored 30" in text
    assert 'datetime="2027-01-15T07:56:00Z"' in html


def test_page__seen_by_digest_alone() -> None:
    """A client that asks for no tag has no pull, and the page says why it is listed."""
    entry = Entry("docker/1.13.1", "10.0.0.9", "lib/app", NOW, NOW, 0, {"oci→schema2": 0})

    assert "OCI → schema 2 0 by digest" in Document(page(view_of([entry]))).text


def test_page__a_long_list_is_cut() -> None:
    """A page has the latest entries and some of the oldest engines, and says what is missing."""
    entries = [Entry("docker/1.9.1", f"10.0.{n}", "a", NOW, NOW, 1) for n in range(MOST_ROWS + 5)]
    entries += [Entry("docker/1.6.2", "10.1.0.1", f"{n}", NOW - n, NOW - n) for n in range(1, 13)]
    document = Document(page(view_of(entries)))

    assert MOST_ROWS == sum("data-engine" in row for row in document.all("tr"))
    assert "This page has 500 of 517 entries" in document.text
    assert "regshim inventory lists all." in document.text
    assert "506 clients still need this proxy." in document.text
    assert (
        f"docker/1.6.2 · {OF_EACH_ENGINE} of 12"
        f" docker/1.9.1 · {MOST_ROWS - OF_EACH_ENGINE} of {MOST_ROWS + 5}"
    ) in document.text


def test_page__says_where_all_of_a_long_list_is() -> None:
    """The command reads the durable store: without one it has nothing to list."""
    entries = [Entry("docker/1.9.1", f"10.0.{n}", "a", NOW, NOW, 1) for n in range(MOST_ROWS + 1)]
    text = Document(page(view_of(entries, durable=False))).text

    assert "With cache.store regshim inventory lists all." in " ".join(text.split())


def test_page__a_whole_list_has_no_such_note() -> None:
    """Where all entries are on the page, nothing is said to be missing; engines say how many."""
    text = Document(page()).text

    assert "This page has" not in text
    assert "Entries by engine docker/1.9.1 · 1 docker/1.13.1 · 1 unnamed · 1" in text


def test_page__hostile_text_is_text() -> None:
    """Whatever a client calls itself, asks for or is told stands there as text."""
    entry = Entry(HOSTILE, HOSTILE, HOSTILE, NOW, NOW, 1, {HOSTILE: 1}, {HOSTILE: 1}, HOSTILE)
    count = COUNTS[3].__class__(COUNTS[3].minute, HOSTILE, "", HOSTILE, 1)
    view = view_of([entry], [count], checks={"upstream": HOSTILE})
    hostile, harmless = Document(render(FACTS, view)), Document(page())

    assert HOSTILE in hostile.text
    assert [] == hostile.all("img")
    assert len(harmless.all("script")) == len(hostile.all("script")) == 1
    assert not any(name.startswith("on") for _, element in hostile.elements for name in element)
    assert "49" not in hostile.text.replace(HOSTILE, "").split()


def test_page__is_whole() -> None:
    """It names nothing of another host, and has no style or script but those of the policy."""
    document = Document(page())
    links = [
        value or ""
        for _, element in document.elements
        for name, value in element.items()
        if name in {"href", "src", "action", "srcset", "data", "poster"}
    ]

    assert {"#inventory", "metrics", "readyz", "livez"} == {
        link for link in links if not link.startswith("data:image/svg+xml,")
    }
    assert not any("style" in element for _, element in document.elements)
    assert "@import" not in page()
    assert "url(" not in page()


def test_policy__names_what_the_page_has() -> None:
    """The hashes of the policy are those of the style and the script of the page."""
    html = page()
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        found = re.search(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert found is not None
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()

        assert f"{directive} 'sha256-{digest}'" in policy()
    assert policy().startswith("default-src 'none';")
    assert "unsafe" not in policy()


def test_page__landmarks_and_heads() -> None:
    """It has a language, a title, landmarks, one first heading, and tables with heads."""
    document = Document(page())
    tags = [tag for tag, _ in document.elements]

    assert [{"lang": "en"}] == document.all("html")
    assert "<title>regshim · ready · 3 on the list</title>" in page()
    assert [1] * 4 == [tags.count(tag) for tag in ("header", "main", "footer", "h1")]
    assert all(head.get("scope") in {"col", "row"} for head in document.all("th"))
    assert ["descending"] == [
        head["aria-sort"] for head in document.all("th") if "aria-sort" in head
    ]
