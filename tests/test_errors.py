"""Every error tells a registry client something that it knows."""

from __future__ import annotations

import re

import pytest

from proxy import errors
from proxy.errors import ConfigError, NotTranslatable, RegistryError, UpstreamError

# The codes of the OCI distribution spec 1.1, and distribution's two that are older than it.
CODES = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DENIED",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "TAG_INVALID",
    "TOOMANYREQUESTS",
    "UNAUTHORIZED",
    "UNKNOWN",
    "UNSUPPORTED",
}


def tree(kind: type[RegistryError]) -> list[type[RegistryError]]:
    """Return a class and all below it."""
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


TREE = [kind for kind in tree(RegistryError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", TREE)
def test_error__code_and_status_of_a_registry(kind: type[RegistryError]) -> None:
    """The code is one of the spec's and the status is that of an error."""
    assert kind.code in CODES
    assert 400 <= kind.status < 600


@pytest.mark.parametrize("kind", TREE)
def test_error__stands_in_the_drawn_tree(kind: type[RegistryError]) -> None:
    """The module's docstring names every class, under the one that it is derived from."""
    drawn = errors.__doc__ or ""
    assert re.search(rf"\b{kind.__name__}\b", drawn)
    parent = kind.__bases__[0]
    if parent is not Exception:
        assert drawn.index(parent.__name__) < drawn.index(kind.__name__)


def test_tree__what_is_drawn_exists_and_says_so() -> None:
    """Each drawn name is a class, and each drawn status and code is the one of its class."""
    drawn = re.findall(
        r"[├└]── ((?:[A-Z]\w+ *)+?)(?: {2}(.*))?$", errors.__doc__ or "", re.MULTILINE
    )
    names = {name for names, _ in drawn for name in names.split()}
    by_name = {kind.__name__: kind for kind in TREE}
    assert names | {"RegistryError"} == set(by_name)
    for text, says in drawn:
        kind = by_name[text.split()[0]]
        status = re.match(r"\s*(\d{3})(?: ([A-Z_]+))?", says)
        if status is not None:
            assert (kind.status, kind.code) == (int(status[1]), status[2] or kind.code)


def test_not_translatable__is_what_old_engines_print() -> None:
    """To be there, but not for this client, is 406 MANIFEST_INVALID in every form of it."""
    assert {(kind.status, kind.code) for kind in tree(NotTranslatable)} == {
        (406, "MANIFEST_INVALID")
    }


def test_upstream_error__is_a_gateway_error() -> None:
    """What the upstream did wrong is 502, or 504 for its silence."""
    statuses = {kind.__name__: kind.status for kind in tree(UpstreamError)}

    assert statuses.pop("UpstreamTimeout") == 504
    assert set(statuses.values()) == {502}


def test_registry_error__carries_message_and_detail() -> None:
    """The message is the exception's text too; the detail is any JSON value, or none."""
    error = NotTranslatable("no form of it", detail={"stored": "oci"})

    assert (error.message, str(error), error.detail) == (
        "no form of it",
        "no form of it",
        {"stored": "oci"},
    )
    assert RegistryError("x").detail is None


def test_config_error__is_never_told_to_a_client() -> None:
    """A ConfigError stops the start; it is no RegistryError, so no handler renders it."""
    assert not issubclass(ConfigError, RegistryError)
