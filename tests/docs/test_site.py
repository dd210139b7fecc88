"""The documentation as a site: built strictly, and it asks no other host for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import DOCS, ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# What a browser loads by itself; a link in the text it does not.
LOADED = {"src", "srcset", "poster", "data", "action"}
LOADED_LINKS = {
    "icon",
    "manifest",
    "modulepreload",
    "preconnect",
    "prefetch",
    "preload",
    "stylesheet",
}
# What the theme's own script asks other hosts for, where a page has it: diagrams and star counts.
TRIGGERS = re.compile(r'class="mermaid"|data-md-component="source"')
OTHER_HOST = re.compile(r"\s*(?:[a-z]+:)?//", re.IGNORECASE)


class Loaded(HTMLParser):
    """Collects what a page makes a browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Look at the attributes of a tag."""
        values = {name: value or "" for name, value in attrs}
        self.addresses += [values[name] for name in LOADED & values.keys()]
        if tag == "link" and LOADED_LINKS & set(values.get("rel", "").split()):
            self.addresses.append(values.get("href", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the built site."""
    directory = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return directory


def test_build__strict_and_whole(site: Path) -> None:
    """Without a warning every page is built: all links and anchors lead somewhere."""
    assert {page.stem for page in DOCS.glob("*.md")} <= {page.stem for page in site.glob("*.html")}


def test_pages__load_nothing_from_other_hosts(site: Path) -> None:
    """What a browser loads for a page comes from where the page came from."""
    pages = list(site.rglob("*.html"))
    found: dict[str, list[str]] = {}
    for page in pages:
        loaded = Loaded()
        text = page.read_text(encoding="utf-8")
        loaded.feed(text)
        assert loaded.addresses, page
        others = [address for address in loaded.addresses if OTHER_HOST.match(address)]
        others += TRIGGERS.findall(text)
        if others:
            found[page.name] = others

    assert found == {}


def test_styles__load_nothing_from_other_hosts(site: Path) -> None:
    """No style sheet and no picture names another host to load from."""
    loads = re.compile(r"""(?:url\(|@import\s)\s*["']?(?:[a-z]+:)?//[^)"']+""", re.IGNORECASE)
    files = [*site.rglob("*.css"), *site.glob("*.svg")]

    assert files
    assert {str(file): loads.findall(file.read_text(encoding="utf-8")) for file in files} == {
        str(file): [] for file in files
    }


@pytest.mark.parametrize("picture", sorted(DOCS.glob("*.svg")), ids=lambda path: str(path.name))
def test_picture__is_read_aloud_and_in_the_dark(picture: Path) -> None:
    """A picture has a title and a description for those who do not see it, and dark colours."""
    text = picture.read_text(encoding="utf-8")

    assert all(
        part in text for part in ('role="img"', "<title", "<desc", "prefers-color-scheme: dark")
    )
