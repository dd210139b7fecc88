"""What a client understands: Accept as a set, corrected by rules over the User-Agent."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.spec.descriptor import Platform, parse_platform
from proxy.spec.media_types import Format, MediaType
from proxy.translate.client import (
    ALL_FORMATS,
    RULES,
    Rule,
    Settings,
    platform_of,
    understand,
)

SETTINGS = Settings()
SCHEMA1, SCHEMA2, OCI = Format.SCHEMA1, Format.SCHEMA2, Format.OCI
DOCKER = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/json",
)
EVERYTHING = (
    *DOCKER,
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)


def docker(version: str, arch: str = "amd64") -> str:
    """Return a Docker User-Agent as recorded."""
    return f"docker/{version} go/go1.4.3 git-commit/a34a1d5 kernel/5.10.0 os/linux arch/{arch}"


def oci_for(pattern: str) -> Settings:
    """Return settings with one rule: who matches reads OCI only."""
    told = Rule("mine", re.compile(pattern), "a test", "a test", formats=frozenset({OCI}))
    return Settings(rules=(told,))


def test_understand__reads_the_beginning_of_a_user_agent() -> None:
    """What stands behind 256 characters is seen by no rule and tells no platform."""
    client = docker("20.10.24") + r" UpstreamClient(Docker-Client/20.10.24 \(linux\))"
    long = "docker/1.13.1 " + "a" * 237 + " x"
    behind = "docker/1.13.1 " + "a" * 240 + " os/linux arch/arm64"

    assert {OCI} == understand([], client, oci_for(r"docker/.*\(linux")).formats
    assert {OCI} == understand([], long, oci_for(r"docker/.* .*x$")).formats
    assert {SCHEMA1} == understand([], behind, oci_for(r"docker/.* arch/")).formats
    assert "amd64" == understand([], behind, SETTINGS).platforms[0].architecture


@pytest.mark.parametrize(
    ("accept", "formats"),
    [
        ([], {SCHEMA1}),
        ([""], {SCHEMA1}),
        (["application/json"], {SCHEMA1}),
        (["text/html, image/png"], {SCHEMA1}),
        (["*/*"], ALL_FORMATS),
        (["*"], ALL_FORMATS),
        (["application/*"], ALL_FORMATS),
        (["*/*;q=0"], {SCHEMA1}),
        ([f"{MediaType.OCI_MANIFEST};q=0, */*"], {SCHEMA1, SCHEMA2}),
        (list(DOCKER), {SCHEMA1, SCHEMA2}),
        ([", ".join(DOCKER)], {SCHEMA1, SCHEMA2}),
        ([MediaType.OCI_MANIFEST, "*/*"], {OCI}),
        ([MediaType.OCI_MANIFEST.upper()], {OCI}),
        ([f" {MediaType.SCHEMA2} ; charset=utf-8 ; q=0.5 "], {SCHEMA2}),
        ([f"{MediaType.SCHEMA2};q=0, {MediaType.OCI_MANIFEST}"], {OCI}),
        ([f"{MediaType.SCHEMA2};q=0.0", MediaType.SCHEMA2], {SCHEMA1}),
        ([f"{MediaType.SCHEMA2};q=nonsense"], {SCHEMA2}),
        ([MediaType.SCHEMA1], {SCHEMA1}),
        ([", ".join(f"application/x-{n}" for n in range(100)) + f", {MediaType.OCI_INDEX}"], set()),
    ],
)
def test_understand__accept_is_a_set(accept: list[str], formats: set[Format]) -> None:
    """All lines count together; wildcards only if no manifest type is named; q=0 excludes."""
    client = understand(accept, "curl/8", SETTINGS)

    assert formats == client.formats


@given(st.permutations(EVERYTHING), st.integers(0, 5))
def test_understand__order_and_lines_do_not_matter(types: list[str], cut: int) -> None:
    """The same types in any order, on any number of lines, mean the same."""
    lines = [", ".join(types[:cut]), *types[cut:]]

    assert understand(EVERYTHING, "x", SETTINGS) == understand(lines, "x", SETTINGS)


@given(st.lists(st.text(max_size=60), max_size=8), st.text(max_size=200))
def test_understand__never_fails(accept: list[str], user_agent: str) -> None:
    """Whatever a client sends, there is a result that offers it something or says nothing."""
    client = understand(accept, user_agent, SETTINGS)

    assert client.formats <= ALL_FORMATS
    assert client.platforms


@pytest.mark.parametrize(
    ("accept", "indexes"),
    [
        (["*/*"], {MediaType.DOCKER_LIST, MediaType.OCI_INDEX}),
        ([f"*/*, {MediaType.OCI_INDEX};q=0"], {MediaType.DOCKER_LIST}),
        ([f"*/*, {MediaType.OCI_MANIFEST};q=0"], {MediaType.DOCKER_LIST}),
        ([f"*/*, {MediaType.SCHEMA2};q=0"], {MediaType.OCI_INDEX}),
        ([f"{MediaType.SCHEMA2};q=0"], {MediaType.OCI_INDEX}),
    ],
)
def test_understand__refused_format_takes_its_index(
    accept: list[str], indexes: set[MediaType]
) -> None:
    """Of a format with q=0 neither images nor indexes are left, whatever else is taken."""
    client = understand(accept, "", Settings(no_accept=ALL_FORMATS))

    assert indexes == client.indexes


def test_understand__rule_for_a_client_that_names_nothing() -> None:
    """Formats that a rule gives come with their indexes, unless Accept names what it reads."""
    rule = Rule("mine", re.compile("docker/"), "", "", formats=frozenset({SCHEMA1, SCHEMA2}))
    settings = Settings(rules=(*RULES, rule))

    assert {MediaType.DOCKER_LIST} == understand([], docker("1.9.1"), settings).indexes
    assert set() == understand([MediaType.SCHEMA2], docker("1.12.6"), settings).indexes
    # What a rule before it took away with the formats is no word about indexes.
    both = [MediaType.SCHEMA2, MediaType.DOCKER_LIST]
    assert {MediaType.DOCKER_LIST} == understand(both, docker("1.9.1"), settings).indexes


def test_understand__formats_leave_the_indexes_of_an_earlier_rule() -> None:
    """Formats alone say nothing about indexes: what was said of them stays."""
    rules = (
        Rule("none", re.compile("docker/1\\.9"), "so", "", indexes=frozenset()),
        Rule("all", re.compile("docker/"), "so", "", formats=frozenset({Format.SCHEMA2})),
    )
    settings = Settings(rules=(*RULES, *rules))

    assert set() == understand([], docker("1.9.1"), settings).indexes
    assert {MediaType.DOCKER_LIST} == understand([], docker("1.12.6"), settings).indexes


def test_understand__rule_without_effect() -> None:
    """Indexes of images that the client does not read are of no use, and that is told."""
    rule = Rule("mine", re.compile("docker/"), "so", "", indexes=frozenset({MediaType.DOCKER_LIST}))
    settings = Settings(rules=(*RULES, rule))
    old, new = (understand([], docker(version), settings) for version in ("1.9.1", "1.12.6"))
    listing = understand(DOCKER, docker("1.12.6"), settings)

    for client in (old, new):
        assert set() == client.indexes
        assert client.reasons[-1].startswith("mine: so (without effect for application/vnd.docker")
    assert (frozenset({MediaType.DOCKER_LIST}), "mine: so") == (
        listing.indexes,
        listing.reasons[-1],
    )


@pytest.mark.parametrize(
    ("user_agent", "zstd", "never"),
    [
        (docker("20.10.24"), False, True),
        (docker("23.0.0"), True, False),
        ("containerd/1.6", True, False),
    ],
)
def test_understand__never_zstd(user_agent: str, *, zstd: bool, never: bool) -> None:
    """Only a rule makes it certain that a client reads no zstd."""
    client = understand(EVERYTHING, user_agent, SETTINGS)
    guessed = understand([MediaType.SCHEMA2], "", SETTINGS)

    assert (zstd, never) == (client.zstd, client.never_zstd)
    assert (False, False) == (guessed.zstd, guessed.never_zstd)


def test_understand__anything() -> None:
    """A wildcard beside named types takes what is foreign to both, unless a rule has the word."""
    rule = Rule("mine", re.compile("x"), "", "", formats=frozenset({SCHEMA2}))
    accept = [f"{MediaType.OCI_MANIFEST}, */*"]

    assert understand(accept, "", SETTINGS).anything
    assert understand([f"{MediaType.OCI_MANIFEST}, *"], "", SETTINGS).anything
    assert not understand([MediaType.OCI_MANIFEST], "", SETTINGS).anything
    assert not understand(accept, "x", Settings(rules=(rule,))).anything


def test_understand__stored_setting() -> None:
    """With no_accept: stored, a client that names nothing is sent whatever is stored."""
    client = understand([], "", Settings(no_accept=ALL_FORMATS))

    assert ALL_FORMATS == client.formats
    assert {MediaType.DOCKER_LIST, MediaType.OCI_INDEX} == client.indexes


@pytest.mark.parametrize(
    ("version", "formats", "zstd", "string_commands"),
    [
        ("1.6.2", {SCHEMA1}, False, False),
        ("1.7.1", {SCHEMA1}, False, True),
        ("1.9.1", {SCHEMA1}, False, True),
        ("1.10.3", {SCHEMA1, SCHEMA2, OCI}, False, True),
        ("17.03.2-ce", {SCHEMA1, SCHEMA2, OCI}, False, True),
        ("19.03.0", {SCHEMA1, SCHEMA2}, False, True),
        ("19.03.4-ce", {SCHEMA1, SCHEMA2}, False, True),
        ("19.03.5", {SCHEMA1, SCHEMA2, OCI}, False, True),
        ("19.03.40", {SCHEMA1, SCHEMA2, OCI}, False, True),
        ("20.10.24", {SCHEMA1, SCHEMA2, OCI}, False, True),
        ("22.06.0-beta", {SCHEMA1, SCHEMA2, OCI}, False, True),
        ("23.0.0", {SCHEMA1, SCHEMA2, OCI}, True, True),
        ("29.1.0", {SCHEMA1, SCHEMA2, OCI}, True, True),
        ("0.0.0-20200612010203-f61e0f7", {SCHEMA1, SCHEMA2, OCI}, True, True),
    ],
)
def test_understand__docker_versions(
    version: str, formats: frozenset[Format], zstd: bool, string_commands: bool
) -> None:
    """The built-in rules know which Docker reads what, whatever its Accept claims."""
    client = understand(EVERYTHING, docker(version), SETTINGS)

    assert (formats, zstd, string_commands) == (client.formats, client.zstd, client.string_commands)
    assert f"docker/{version}" == client.engine


def test_understand__format_taken_away_takes_its_index() -> None:
    """Docker 19.03.2 reads no OCI images, so an OCI index is of no use to it either."""
    client = understand(EVERYTHING, docker("19.03.2"), SETTINGS)

    assert {MediaType.DOCKER_LIST} == client.indexes
    assert any("39727" in rule.source for rule in RULES if rule.name in " ".join(client.reasons))


def test_understand__config_rule_overrides() -> None:
    """A rule of the config has the last word, on formats, indexes, zstd and platform."""
    rule = Rule(
        name="mine",
        user_agent=re.compile(r"docker/1\.9"),
        reason="patched",
        source="config",
        formats=frozenset({SCHEMA2, OCI}),
        indexes=frozenset({MediaType.OCI_INDEX}),
        zstd=True,
        platform=parse_platform("linux/s390x"),
    )
    client = understand([], docker("1.9.1"), Settings(rules=(*RULES, rule)))

    assert {SCHEMA2, OCI} == client.formats
    assert {MediaType.OCI_INDEX} == client.indexes
    assert client.zstd
    assert (Platform("s390x", "linux"),) == client.platforms
    assert "mine: patched" in client.reasons


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        (docker("1.9.1", "arm"), "linux/arm"),
        (docker("1.12.6", "aarch64"), "linux/arm64"),
        (docker("1.12.6") + " UpstreamClient(Docker-Client/1.12.6 \\(linux\\))", "linux/amd64"),
        ("docker/1.9.1 os/windows arch/amd64", "windows/amd64"),
        ("docker/1.9.1 os/linux", None),
        ("containerd/1.6.8", None),
        ("", None),
        ("x os/linux/arch/amd64", None),
    ],
)
def test_platform_of__user_agent(user_agent: str, expected: str | None) -> None:
    """Docker tells its platform in the User-Agent; nobody else does."""
    platform = platform_of(user_agent)

    assert expected == (None if platform is None else str(platform))


def test_understand__default_platform_and_fallbacks() -> None:
    """Who tells no platform has the default one, with what that runs besides."""
    amd64, i386 = parse_platform("linux/amd64"), parse_platform("linux/386")
    settings = Settings(default_platform=amd64, fallbacks={amd64: (i386,)})

    assert (amd64, i386) == understand([], "containerd/1.6", settings).platforms
    assert (amd64, i386) == understand([], docker("1.9.1"), settings).platforms
    assert (parse_platform("linux/arm"),) == understand(
        [], docker("1.9.1", "arm"), settings
    ).platforms


@pytest.mark.parametrize("key", ["linux/arm64", "linux/arm64/v8", "linux/aarch64"])
def test_understand__fallbacks_however_spelled(key: str) -> None:
    """A User-Agent tells no variant; a config that does means the same platform."""
    arm = parse_platform("linux/arm/v7")
    settings = Settings(fallbacks={parse_platform(key): (arm,)})

    assert (parse_platform("linux/arm64"), arm) == understand(
        [], docker("1.9.1", "arm64"), settings
    ).platforms


def test_accepts__other_types() -> None:
    """A type that this proxy does not know is remembered, to be sent as stored."""
    artifact = "application/vnd.oci.artifact.manifest.v1+json"
    client = understand([f"{artifact}, {MediaType.SCHEMA2}"], "oras/1", SETTINGS)

    assert client.accepts(artifact.upper() + "; charset=utf-8")
    assert not client.accepts("text/html")
    assert {artifact} == client.others


def test_words__for_people() -> None:
    """A message names what a client reads, best known first."""
    assert "Docker schema 1 and Docker schema 2" == understand(DOCKER, "", SETTINGS).words
    assert "no image format" == understand([MediaType.OCI_INDEX], "", SETTINGS).words


def test_understand__most_media_types() -> None:
    """Of an Accept no more than 256 media types are read, over all its lines."""
    accept = [f"a/{number}" for number in range(300)]

    assert len(understand(accept, "", Settings()).others) == 256
