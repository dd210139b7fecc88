"""What of an index one client takes, and whether it can use what goes to it as it is stored.

The image that a client takes is looked at for it, never all images of an index: an engine
that takes the index chooses among them itself, by the same platform.
"""

from collections.abc import Collection

import msgspec

from proxy.answer import PullRequest
from proxy.errors import OF_ONE_DOCUMENT, NoPlatform, NotTranslatable, UpstreamInvalid
from proxy.manifest.image import ImageManifest
from proxy.manifest.index import Index, is_image
from proxy.manifest.parse import parse
from proxy.sources import Sources, Stored
from proxy.spec.descriptor import Descriptor, Platform
from proxy.spec.media_types import MediaType, is_told, manifest_type
from proxy.translate.layers import check_stored
from proxy.translate.negotiate import Action, Plan, unread_image
from proxy.translate.platforms import runs, select


async def pick(sources: Sources, request: PullRequest, stored: Stored) -> Stored:
    """Return the image of an index that suits the client.

    NoPlatform if there is none; Artifact if what there is for its platform is no image.
    """
    index = parse(stored.body or b"", stored.media_type)
    assert isinstance(index, Index)  # noqa: S101  narrows: only indexes are picked from
    child = await _suiting(
        sources, request, await sources.images(request, index), request.client.platforms
    )
    request.note(f"pick the image for {child.platform or 'any platform'}: {child.digest}")
    return await sources.image(request, child)


async def _suiting(
    sources: Sources,
    request: PullRequest,
    images: list[Descriptor],
    platforms: tuple[Platform, ...],
) -> Descriptor:
    """Return what suits best: an image before anything else, its entry telling so or not."""
    told = [image for image in images if not is_foreign(image)]
    if not told:
        return images[0]
    try:
        return select(told, platforms)
    except NoPlatform:
        pass  # some may tell it themselves, though the index does not
    told = [await _asked(sources, request, image) for image in told]
    try:
        return select(told, platforms)
    except NoPlatform:
        for other in images:
            if is_foreign(other) and other.platform and runs(other.platform, platforms):
                return other
        raise


async def _asked(sources: Sources, request: PullRequest, image: Descriptor) -> Descriptor:
    """Return an entry of an index with the platform that its image says it is for, if it does."""
    if image.platform is not None:
        return image
    try:
        stored = await sources.image(request, image)
        platform = await sources.platform(request, stored)
    except (NotTranslatable, *OF_ONE_DOCUMENT):
        return image
    return msgspec.structs.replace(image, platform=platform)


def is_foreign(entry: Descriptor) -> bool:
    """Tell whether an entry of an index names a type that is none of this proxy's.

    OCI image spec 1.1 `image-index.md`: that must not be an error; such an entry is ignored.
    """
    return manifest_type(entry.media_type) is None and is_told(entry.media_type)


async def look(sources: Sources, request: PullRequest, stored: Stored, what: Plan) -> Plan:
    """Return what to do with a manifest that was to go out as stored, having looked inside.

    An index with images of a format that the client does not read is translated. ZstdLayer
    for an image that the client cannot unpack. What nobody can read goes out as it is.
    """
    body = stored.body or await sources.manifest(request, stored.digest)
    try:
        manifest = parse(body, stored.media_type)
    except UpstreamInvalid:
        return what
    if isinstance(manifest, Index):
        unread = unread_image(stored.media_type, request.client)
        images = [child for child in manifest.manifests if is_image(child)]
        if unread and any(unread is manifest_type(image.media_type) for image in images):
            request.note("it has images of a format that this client does not read")
            return Plan(Action.TRANSLATE, stored.media_type)
        await check_own_image(sources, request, manifest)
    elif isinstance(manifest, ImageManifest) and request.client.never_zstd:
        check_stored(manifest)
    return what


async def check_own_image(
    sources: Sources, request: PullRequest, index: Index, *, checked: Collection[str] = ()
) -> None:
    """Raise ZstdLayer if the client is known not to unpack the image that it will take.

    `checked` are digests of images that were made for it. Nested indexes are not followed,
    and what is missing, or not what it should be, is for the client to find out.
    """
    if not request.client.never_zstd:
        return
    images = [child for child in index.manifests if _is_plain_image(child)]
    try:
        stored = await sources.image(request, select(images, request.client.platforms))
        if stored.digest in checked:
            return
        body = stored.body or await sources.manifest(request, stored.digest)
        manifest = parse(body, stored.media_type)
    except (NoPlatform, *OF_ONE_DOCUMENT):
        return
    if isinstance(manifest, ImageManifest):
        check_stored(manifest)


def _is_plain_image(child: Descriptor) -> bool:
    media_type = manifest_type(child.media_type)
    return is_image(child) and media_type in {MediaType.SCHEMA2, MediaType.OCI_MANIFEST}
