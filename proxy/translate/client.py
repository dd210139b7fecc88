"""What a client understands: its Accept headers, corrected by what is known of its engine.

Accept is a set over all header lines: Docker sends one line per type, in random order and
without q-values. The User-Agent tells the engine, its version, its os and architecture; the
rules below say where Accept is not the whole truth. Each rule is data with its reason, so
that `RULES` can be read as a table and a config can add to it.
"""

import re
from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec

from proxy.spec.descriptor import Platform, normalised
from proxy.spec.media_types import Format, MediaType, manifest_type, normalise
from proxy.translate.platforms import same

ALL_FORMATS: Final = frozenset(Format)
ALL_INDEXES: Final = frozenset({MediaType.DOCKER_LIST, MediaType.OCI_INDEX})
_SCHEMA1_ALONE: Final = frozenset({Format.SCHEMA1})
# `*` is what containerd before 1.3 meant by `*/*`.
_WILDCARDS: Final = frozenset({"*/*", "*", "application/*"})
# Engines name a dozen media types; what comes after so many is not read.
_MOST_RANGES: Final = 256
# Engines say what they are in fewer characters, their API client included. A rule is any regular
# expression: the time of one with three wildcards grows with the third power of what it reads.
_LONGEST_USER_AGENT: Final = 256


class Client(msgspec.Struct, frozen=True):
    """What one client understands, and why.

    `formats` are the image manifests it reads, `indexes` the indexes. `others` are media
    types beyond those of this proxy that it named: what is stored as one of them is sent as
    it is; so is every foreign document to who takes `anything`. `platforms` are those that it
    runs, best first. `zstd`, `string_commands` and `only_empty_layers` tell whether it reads
    zstd layers, a string where a list of arguments is the rule (Cmd, Entrypoint), and an image
    without any real layer. `never_zstd` is more than not `zstd`, which may be a guess: a rule
    says so, and what goes as stored is looked at for it too. `engine` is such as
    `docker/1.9.1`, empty if the User-Agent names none. `reasons` are for people.
    """

    formats: frozenset[Format]
    indexes: frozenset[MediaType]
    platforms: tuple[Platform, ...]
    others: frozenset[str] = frozenset()
    anything: bool = False
    zstd: bool = False
    never_zstd: bool = False
    string_commands: bool = True
    only_empty_layers: bool = True
    engine: str = ""
    reasons: tuple[str, ...] = ()

    def accepts(self, content_type: str) -> bool:
        """Tell whether the client named exactly this media type, one of `others`."""
        return normalise(content_type) in self.others

    @property
    def words(self) -> str:
        """How a message to a person names what the client reads."""
        names = [_FORMAT_WORDS[one] for one in Format if one in self.formats]
        return " and ".join(names) or "no image format"


_FORMAT_WORDS: Final = {
    Format.SCHEMA1: "Docker schema 1",
    Format.SCHEMA2: "Docker schema 2",
    Format.OCI: "OCI images",
}


class Rule(msgspec.Struct, frozen=True):
    """A correction for the clients whose User-Agent matches; None leaves a point as it is.

    `formats` are what such a client reads, whatever it says; `never` takes formats away from
    what it says. `indexes` likewise; without it, those that it says, or all if it says nothing,
    as far as they are of the formats that are left. `source` says where the fact is from. Later
    rules see what earlier ones left.
    """

    name: str
    user_agent: re.Pattern[str]
    reason: str
    source: str
    formats: frozenset[Format] | None = None
    never: frozenset[Format] = frozenset()
    indexes: frozenset[MediaType] | None = None
    zstd: bool | None = None
    string_commands: bool | None = None
    only_empty_layers: bool | None = None
    platform: Platform | None = None


# 0.0.0 is not old but new: Docker's nightly builds are called so. The 0.x of old knew no /v2/.
RULES: Final = (
    Rule(
        name="docker-before-1.10",
        user_agent=re.compile(r"docker/1\.[0-9](?![0-9])"),
        reason="Docker before 1.10 reads schema 1 only",
        source="moby 1.10 release notes; measured on 1.6.2, 1.7.1, 1.8.3, 1.9.1",
        formats=frozenset({Format.SCHEMA1}),
    ),
    Rule(
        name="docker-before-1.7",
        user_agent=re.compile(r"docker/1\.[0-6](?![0-9])"),
        reason="Docker before 1.7 cannot decode a string Cmd or Entrypoint",
        source="measured on 1.6.2",
        string_commands=False,
    ),
    Rule(
        name="docker-1.10",
        user_agent=re.compile(r"docker/1\.10(?![0-9])"),
        reason="Docker 1.10 crashes on a schema 1 image that has only empty layers",
        source="measured on 1.10.3",
        only_empty_layers=False,
    ),
    Rule(
        name="docker-19.03.0-19.03.4",
        user_agent=re.compile(r"docker/19\.03\.[0-4](?![0-9])"),
        reason="Docker 19.03.0 to 19.03.4 ask for OCI manifests and then refuse them",
        source="moby issue 39727",
        never=frozenset({Format.OCI}),
    ),
    Rule(
        name="docker-before-23",
        user_agent=re.compile(r"docker/(?:[1-9]|1[0-9]|2[0-2])\."),
        reason="Docker before 23.0 cannot read zstd layers",
        source="moby 23.0 release notes; measured up to 20.10",
        zstd=False,
    ),
)

_ENGINE: Final = re.compile(r"([A-Za-z][A-Za-z0-9_-]{0,30})/v?([0-9][0-9A-Za-z.+~-]{0,40})")
_OS: Final = re.compile(r"(?:^| )os/([a-z0-9]{1,20})(?= |$)")
_ARCHITECTURE: Final = re.compile(r"(?:^| )arch/([A-Za-z0-9_]{1,20})(?= |$)")


class Settings(msgspec.Struct, frozen=True):
    """What a config says of clients.

    `no_accept` is what a client reads that names neither a manifest type nor a wildcard:
    Docker up to 1.9 sends no Accept at all, and distribution answers such a client with
    schema 1. `fallbacks` are platforms that another one runs too, best first.
    """

    default_platform: Platform = Platform(os="linux", architecture="amd64")
    no_accept: frozenset[Format] = _SCHEMA1_ALONE
    rules: tuple[Rule, ...] = RULES
    fallbacks: dict[Platform, tuple[Platform, ...]] = {}


def understand(accept: Iterable[str], user_agent: str, settings: Settings) -> Client:
    """Return what a client understands; `accept` holds the values of all Accept lines.

    Of a User-Agent the first 256 characters are read.
    """
    user_agent = user_agent[:_LONGEST_USER_AGENT]
    accepted = _accepted(accept, settings.no_accept)
    formats, indexes, anything = accepted.formats, accepted.indexes, accepted.anything
    reasons = [accepted.reason]
    zstd: bool | None = None
    traits = {"string_commands": True, "only_empty_layers": True}
    platform = platform_of(user_agent)
    # Before formats take any away: a later rule may give another format back.
    named = indexes if accepted.by_name else ALL_INDEXES
    for rule in settings.rules:
        if rule.user_agent.match(user_agent) is None:
            continue
        named = named if rule.indexes is None else rule.indexes
        if rule.formats is not None:
            formats, anything, indexes = rule.formats, False, named
        formats -= rule.never
        indexes = _indexes(indexes if rule.indexes is None else rule.indexes, formats)
        reasons.append(f"{rule.name}: {rule.reason}{_without_effect(rule, indexes)}")
        zstd = zstd if rule.zstd is None else rule.zstd
        for trait, before in traits.items():
            told = getattr(rule, trait)
            traits[trait] = before if told is None else told
        platform = rule.platform or platform
    platform = platform or settings.default_platform
    return Client(
        formats=formats,
        indexes=indexes,
        platforms=(platform, *_fallbacks(platform, settings)),
        others=accepted.others,
        anything=anything,
        # zstd layers came with OCI: an engine that must be given another format has none.
        zstd=Format.OCI in formats if zstd is None else zstd,
        never_zstd=zstd is False,
        **traits,
        engine=engine_of(user_agent),
        reasons=tuple(reasons),
    )


def _without_effect(rule: Rule, indexes: frozenset[MediaType]) -> str:
    lost = sorted((rule.indexes or frozenset()) - indexes)
    if not lost:
        return ""
    return f" (without effect for {', '.join(lost)}: it does not read the images in them)"


def _fallbacks(platform: Platform, settings: Settings) -> tuple[Platform, ...]:
    # A User-Agent tells no variant, a config may.
    return next((then for one, then in settings.fallbacks.items() if same(one, platform)), ())


def _indexes(indexes: frozenset[MediaType], formats: frozenset[Format]) -> frozenset[MediaType]:
    return frozenset(one for one in indexes if one.image_format in formats)


def engine_of(user_agent: str) -> str:
    """Return the engine that a User-Agent names first, such as `docker/1.9.1`; empty if none."""
    engine = _ENGINE.match(user_agent)
    return engine.group() if engine else ""


def platform_of(user_agent: str) -> Platform | None:
    """Return the platform that a Docker User-Agent tells (`os/linux arch/amd64`), or None."""
    os, architecture = _OS.search(user_agent), _ARCHITECTURE.search(user_agent)
    if os is None or architecture is None:
        return None
    return normalised(Platform(os=os[1], architecture=architecture[1]))


class _Accepted(msgspec.Struct, frozen=True):
    """What Accept says, before any rule; `by_name` if it names manifest types."""

    formats: frozenset[Format]
    indexes: frozenset[MediaType]
    others: frozenset[str]
    anything: bool
    by_name: bool
    reason: str


def _accepted(accept: Iterable[str], no_accept: frozenset[Format]) -> _Accepted:
    """Read Accept as a set."""
    named, refused = _media_ranges(accept)
    types = {known for text in named if (known := manifest_type(text)) is not None}
    others = frozenset(text for text in named if manifest_type(text) is None) - _WILDCARDS
    anything = not named.isdisjoint(_WILDCARDS)
    if types:
        formats = frozenset(one.image_format for one in types if not one.is_index)
        indexes = frozenset(one for one in types if one.is_index)
        reason = "its Accept header names these types"
        return _Accepted(formats, indexes, others, anything, True, reason)
    never = {known for text in refused if (known := manifest_type(text)) is not None}
    formats = ALL_FORMATS if anything else no_accept
    indexes = ALL_INDEXES if formats == ALL_FORMATS else frozenset()
    formats -= {one.image_format for one in never if not one.is_index}
    # Whoever takes no image of a format has no use for an index of such.
    indexes = _indexes(indexes - never, formats)
    what = "takes anything" if anything else "names no manifest type"
    return _Accepted(formats, indexes, others, anything, False, f"its Accept header {what}")


def _media_ranges(accept: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the media ranges of all Accept lines, normalised: those wanted, those of q=0."""
    ranges: set[str] = set()
    refused: set[str] = set()
    items = (item for line in accept for item in line.split(","))
    for item in islice(items, _MOST_RANGES):
        text = normalise(item)
        if text:
            (refused if _is_refused(item) else ranges).add(text)
    return ranges - refused, refused


def _is_refused(item: str) -> bool:
    for parameter in item.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value) == 0
            except ValueError:
                return False
    return False
