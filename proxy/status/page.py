"""The status page: one HTML document that needs nothing else.

Style and script stand in it, and the content security policy names them by their hashes: nothing
that a client sends can run or load anything, were it ever written out without being escaped. All
text is escaped by Jinja.
"""

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Final

import msgspec

from proxy.errors import NotTranslatable
from proxy.inventory import report
from proxy.inventory.entry import Entry
from proxy.status.activity import Hour
from proxy.status.drawing import CHART_HEIGHT, CHART_WIDTH, FLOW_HEIGHT, FLOW_WIDTH, bars, flow
from proxy.status.listing import OF_EACH_ENGINE, engine_name, listing

if TYPE_CHECKING:
    import jinja2

_FORMATS: Final = {
    "oci": "OCI",
    "schema2": "schema 2",
    "schema1": "schema 1",
    "index": "image of an index",
    "other": "other",
    "": "refused",
}
_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"))


class Facts(msgspec.Struct, frozen=True):
    """What no request changes.

    `config` has (key, value, changed) of every key; `scope` says whose counts the page shows.
    """

    version: str
    upstream: str
    started: float
    config: Sequence[tuple[str, str, bool]]
    scope: str


class View(msgspec.Struct, frozen=True):
    """What the page shows now.

    `entries` are the inventory, the latest first; None if it is switched off. `retention` is for
    how many seconds each is kept, `durable` tells whether they outlive this process, `whole`
    whether what was kept could be read.
    """

    now: float
    ready: bool
    checks: dict[str, str]
    hour: Hour
    entries: Sequence[Entry] | None = None
    retention: float = 0.0
    durable: bool = False
    whole: bool = True


def render(facts: Facts, view: View) -> str:
    """Return the page."""
    return _template().render(
        facts=facts,
        view=view,
        listing=listing(view.entries or ()),
        of_each=OF_EACH_ENGINE,
        charts=[
            ("pulls", "Pulls", "tags answered", view.hour.pulls),
            ("translations", "Translated", "sent in another format", view.hour.translations),
            ("refusals", "Refused", "no honest translation", view.hour.refusals),
        ],
        flow=flow(view.hour.flows),
        reasons=sorted(view.hour.reasons.items(), key=lambda item: (-item[1], item[0])),
        size=(CHART_WIDTH, CHART_HEIGHT, FLOW_WIDTH, FLOW_HEIGHT),
    )


@cache
def policy() -> str:
    """Return the Content-Security-Policy of the page."""
    style, script = (_hash(_source(name)) for name in ("status.css", "status.js"))
    return (
        f"default-src 'none'; style-src '{style}'; script-src '{script}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> "jinja2.Environment":
    import jinja2  # noqa: PLC0415  a proxy whose page nobody looks at has no need of it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("proxy.status"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": _ago,
        "span": _span,
        "bars": bars,
        "iso": report.moment,
        "moment": _moment,
        "clock": lambda minute: f"{_utc(minute * 60):%H:%M}",
        "day": lambda seconds: f"{_utc(seconds):%-d %B %Y}",
        "format": lambda name: _FORMATS.get(name, name),
        "way": _way,
        "meaning": _meaning,
        "engine": engine_name,
        "number": lambda number: f"{number:,}",
        "plural": lambda number, word: word if number == 1 else f"{word}s",
    }
    return environment


@cache
def _template() -> "jinja2.Template":
    environment = _environment()
    # Written out as they are: their hashes are in the policy.
    environment.globals |= {"style": _source("status.css"), "script": _source("status.js")}
    return environment.get_template("status.html")


@cache
def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None  # noqa: S101  narrows: it was just given
    return environment.loader.get_source(environment, name)[0]


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment(seconds: float) -> str:
    return f"{_utc(seconds):%Y-%m-%d %H:%M:%S} UTC"


def _ago(seconds: float, now: float) -> str:
    """Return how long ago something was, in the largest unit."""
    lasting = now - seconds
    return f"{_span(lasting)} ago" if lasting >= 60 else "just now"


def _span(seconds: float) -> str:
    """Return how long something lasts, in the largest unit: `90 days`."""
    size, word = next((unit for unit in _UNITS if seconds >= unit[0]), (1, "second"))
    count = int(seconds // size)
    return f"{count} {word}{'' if count == 1 else 's'}"


def _way(way: str) -> str:
    """Return a way of the inventory in words: `oci→schema1` is `OCI → schema 1`."""
    source, arrow, target = way.partition("→")
    if not arrow:
        name, _, rest = way.partition(" ")
        return f"{_FORMATS.get(name, name)} {rest}".strip()
    return f"{_FORMATS.get(source, source)} → {_FORMATS.get(target, target)}"


@cache
def _meanings() -> dict[str, str]:
    found, waiting = {}, [NotTranslatable]
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = (kind.__doc__ or kind.__name__).partition("\n")[0]
        waiting += kind.__subclasses__()
    return found


def _meaning(name: str) -> str:
    """Return what a refusal means: the contract of its class."""
    return _meanings().get(name, name)
