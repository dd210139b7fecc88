"""Images that a translated index does not have, and what their clients are told.

Who takes another image of the index is served; who would take just the missing one gets the
error that it was left out for, and so does everybody if nothing is left.
"""

from collections.abc import Sequence
from typing import Final

from proxy.errors import (
    OF_ONE_DOCUMENT,
    NoPlatform,
    NoTranslation,
    NotTranslatable,
    RegistryError,
)
from proxy.manifest.index import Index
from proxy.manifest.parse import parse
from proxy.spec.descriptor import Platform
from proxy.store.record import LeftOut, Translation
from proxy.translate.platforms import runs, select

_UNKNOWN: Final = Platform("unknown", "unknown")
# What is kept names an error; whatever else it may name is read as the first of them.
_ERRORS: Final[dict[str, type[RegistryError]]] = {
    error.__name__: error for error in (*NotTranslatable.__subclasses__(), *OF_ONE_DOCUMENT)
}


def leave_out(platform: Platform | None, error: RegistryError) -> LeftOut:
    """Return the note of an image that is left out because of `error`."""
    return LeftOut(platform or _UNKNOWN, error.message, type(error).__name__)


def is_for_good(image: LeftOut) -> bool:
    """Tell whether an image is left out for what it is, not for what the upstream lacks today."""
    return image.error not in {error.__name__ for error in OF_ONE_DOCUMENT}


def refusal(left_out: Sequence[LeftOut], platforms: Sequence[Platform]) -> RegistryError:
    """Return the error of the image that runs on one of `platforms`, else of the first."""
    image = next((one for one in left_out if runs(one.platform, platforms)), left_out[0])
    which = "" if image.platform == _UNKNOWN else f"the image for {image.platform}: "
    return _ERRORS.get(image.error, NoTranslation)(which + image.reason)


def must_suit(translation: Translation, platforms: Sequence[Platform]) -> None:
    """Raise if a translated index lacks just the image that a client would take of it."""
    if not any(runs(image.platform, platforms) for image in translation.left_out):
        return
    index = parse(translation.body, translation.media_type)
    assert isinstance(index, Index)  # noqa: S101  narrows: images have nothing to leave out
    try:
        select(index.manifests, platforms)
    except NoPlatform:
        raise refusal(translation.left_out, platforms) from None
