"""Repository names and references: the grammar of the OCI distribution spec 1.1.

A reference is a tag or a digest. The grammar admits nothing that a path could be bent
with: no dot segment, no percent sign, no upper case in names.
"""

import re
from typing import Final, NewType

from proxy.errors import NameInvalid, TagInvalid
from proxy.spec.digest import Digest, parse_digest

Repository = NewType("Repository", str)
Tag = NewType("Tag", str)

# Possessive quantifiers: a name that does not match is told so in linear time. But for groups:
# before 3.11.5 Python did not give back what their last, failed turn had read.
_COMPONENT: Final = r"[a-z0-9]++(?:(?:\.|__?|-++)[a-z0-9]++)*"
_REPOSITORY: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
# Of a sha512 digest, too, the spec takes 64 characters.
_REFERRERS_TAG: Final = re.compile(r"sha(?:256|512)-[0-9a-f]{64}(?:\..*)?")
_LONGEST_NAME: Final = 255


def parse_repository(text: str) -> Repository:
    """Return `text` as a repository name; NameInvalid if it breaks the grammar."""
    if len(text) > _LONGEST_NAME or _REPOSITORY.fullmatch(text) is None:
        raise NameInvalid(
            "invalid repository name: expected lower-case path components such as "
            "library/nginx, 255 characters at most"
        )
    return Repository(text)


def parse_reference(text: str) -> Tag | Digest:
    """Return `text` as a tag or a digest; TagInvalid or DigestInvalid if it is neither."""
    if ":" in text:
        return parse_digest(text)
    if _TAG.fullmatch(text) is None:
        raise TagInvalid(
            "invalid tag: expected up to 128 letters, digits, '_', '.' or '-', "
            "not beginning with '.' or '-'"
        )
    return Tag(text)


def is_referrers_tag(reference: str) -> bool:
    """Tell whether a tag is of the referrers fallback schema (`sha256-<64 hex>[.suffix]`, sha512).

    What stands behind it are signatures, attestations and indexes of them, made for tools
    and not for engines; translating it would break their digests.
    """
    return _REFERRERS_TAG.fullmatch(reference) is not None
