"""Targets: manifests, config blobs, signatures, and whole translations of them."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

from proxy.errors import RegistryError
from proxy.manifest.config_blob import MAX_ENTRIES, read_config
from proxy.manifest.gojson_reader import InvalidJSON, go_string, read_object
from proxy.manifest.image import ImageManifest
from proxy.manifest.index import Index, is_image
from proxy.manifest.parse import parse, sniff, stored_type
from proxy.manifest.schema1 import payload_of
from proxy.spec.descriptor import ContentDescriptor, Platform
from proxy.spec.digest import digest_of
from proxy.spec.media_types import DOCKER_CONFIG, MediaType, manifest_type
from proxy.translate import jws
from proxy.translate.docker_oci import translate_image
from proxy.translate.gojson import encode_map, quote
from proxy.translate.index import Child, child_type, translate_index
from proxy.translate.platforms import select
from proxy.translate.to_schema1 import to_schema1
from tests import libtrust
from tests.fuzz.target import Target, text_of
from tests.image_strategies import images, wild_configs
from tests.schema1_images import make_schema1
from tests.strategies import drawn, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLATFORMS = (Platform(os="linux", architecture="arm", variant="v7"),)
_LAYER = ContentDescriptor(
    media_type="application/vnd.docker.image.rootfs.diff.tar.gzip",
    size=32,
    digest=sha256(b"a layer"),
)
_DIGEST = sha256(b"").encode()


@cache
def _key() -> jws.SigningKey:
    return jws.SigningKey(libtrust.test_key())


def _manifests(content: bytes) -> None:
    shown = sniff(content)
    assert stored_type(content, None) is shown
    for media_type in MediaType:
        try:
            manifest = parse(content, media_type)
        except RegistryError:
            continue
        assert manifest.raw == content
        assert manifest.digest.startswith("sha256:")


def _config_blobs(content: bytes) -> None:
    config = read_config(content)
    assert config.raw == content
    assert len(config.history) <= MAX_ENTRIES


def _go_json(content: bytes) -> None:
    members = read_object(content)
    # What Go would write of it, Go reads to the same names and values.
    written = encode_map({name: raw for name, raw, _ in members})
    again = read_object(written.encode("utf-8", "surrogateescape"))
    assert {name for name, _, _ in again} == {name for name, _, _ in members}
    assert json.loads(quote(text_of(content))) == text_of(content)
    for _, raw, value in members:
        if type(value) is str:
            go_string(value)
            assert raw.startswith('"')


def _to_schema1(content: bytes) -> None:
    config = read_config(content)
    # As many layers as its history wants, so that the way does not end at a contradiction.
    count = sum(not entry.empty_layer for entry in config.history) or config.layers or 0
    manifest = ImageManifest(
        b"",
        digest_of(b""),
        MediaType.SCHEMA2,
        ContentDescriptor(media_type=DOCKER_CONFIG, size=len(content), digest=digest_of(content)),
        (_LAYER,) * min(count, MAX_ENTRIES),
    )
    made = to_schema1(manifest, content, repository="lib/app", tag="1", key=_key())
    payload = libtrust.verify(made.body)
    assert made.digest == digest_of(payload)
    assert len(json.loads(payload)["history"]) >= 1


def _between_docker_and_oci(content: bytes) -> None:
    for media_type, target in (
        (MediaType.SCHEMA2, MediaType.OCI_MANIFEST),
        (MediaType.OCI_MANIFEST, MediaType.SCHEMA2),
    ):
        try:
            image = parse(content, media_type)
            assert isinstance(image, ImageManifest)
            made = translate_image(image, target, zstd=True)
        except RegistryError:
            continue
        again = parse(made.body, target)
        assert isinstance(again, ImageManifest)
        assert [layer.digest for layer in image.layers] == [layer.digest for layer in again.layers]


def _indexes(content: bytes) -> None:
    for media_type, target in (
        (MediaType.DOCKER_LIST, MediaType.OCI_INDEX),
        (MediaType.OCI_INDEX, MediaType.DOCKER_LIST),
    ):
        try:
            index = parse(content, media_type)
            assert isinstance(index, Index)
            found = [child for child in index.manifests if is_image(child)]
            if found:
                select(found, _PLATFORMS)
        except RegistryError:
            continue
        kind = child_type(target)
        children = [
            Child(manifest_type(one.media_type) or kind, one.size, one.digest, one.platform)
            for one in found
        ]
        try:
            made = translate_index(children, target)
        except RegistryError:
            continue
        again = parse(made.body, target)
        assert isinstance(again, Index)
        assert len(again.manifests) <= len(found)


def _signatures(content: bytes) -> None:
    payload = payload_of(content)
    assert len(payload) <= 2 * len(content)


# --- seeds ------------------------------------------------------------------------------


def _config_seeds() -> Iterator[bytes]:
    yield from (image.config for image in drawn(images(), 12))
    yield from drawn(wild_configs(), 6)
    yield b'{"history":[{"empty_layer":true}],"rootfs":{"diff_ids":[]},"x":1e999,"y":"\\ud800"}'


def _image_seeds() -> Iterator[bytes]:
    image = drawn(images(), 1)[0]
    yield from (image.manifest(form) for form in ("schema2", "oci"))
    yield (
        b'{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json",'
        b'"digest":"%b","size":1,"data":"e30="},"layers":[{"mediaType":"application/vnd.oci.image.'
        b'layer.v1.tar+zstd","digest":"%b","size":1,"urls":["https://a/b"],"annotations":{"a":"b"}'
        b'}],"artifactType":"a/b","subject":null}' % (_DIGEST, _DIGEST)
    )


def _index_seeds() -> Iterator[bytes]:
    child = (
        b'{"mediaType":"%b","size":2,"digest":"' + _DIGEST + b'","platform":{"architecture":"arm",'
        b'"os":"linux","variant":"v7","os.version":"1","features":["a"],"os.features":[]}}'
    )
    for index, manifest in (
        (MediaType.DOCKER_LIST, MediaType.SCHEMA2),
        (MediaType.OCI_INDEX, MediaType.OCI_MANIFEST),
    ):
        one = child % manifest.encode()
        yield b'{"schemaVersion":2,"mediaType":"%b","manifests":[%b,%b]}' % (
            index.encode(),
            one,
            one.replace(b'"arm"', b'"unknown"').replace(b'"linux"', b'"unknown"'),
        )


def _schema1_seeds() -> Iterator[bytes]:
    yield make_schema1().manifest
    yield make_schema1().payload
    yield make_schema1(keys=[libtrust.test_key(), libtrust.test_key()]).manifest


def _manifest_seeds() -> Iterator[bytes]:
    yield from _image_seeds()
    yield from _index_seeds()
    yield from _schema1_seeds()


# --- the list ---------------------------------------------------------------------------

_JSON_WORDS = (
    b'"', b"\\", rb"\"", rb"\u0000", rb"\ud800", b"{", b"[", b"[]", b"{}", b"{},", b"[],", b"[{",
    b'{"":', b'"a":', b'"a":1,', b"1", b"1,", b"0.", b"1e1", b"-", b"null,", b'"",', b"]", b"}",
    b"\xff", b"\xf0\x9f\x98\x80", b"\n", b"[[],", b"\t,", b"'", b"/", b"<", b"\xe2\x80\xa8",
)  # fmt: skip
_JSON_FRAMES = ((b"", b""), (b'{"a":', b"}"), (b'{"a":"', b'"}'), (b'{"a":[', b"0]}"), (b"{", b"}"))
_DESCRIPTOR = b'{"mediaType":"a","size":1,"digest":"' + _DIGEST + b'"}'
_VERSION = b'{"schemaVersion":2,'
_SIGNED = make_schema1().manifest
_BLOCK = json.dumps(json.loads(_SIGNED)["signatures"][0]).encode()
_CONFIG_WORDS = (
    *_JSON_WORDS, b'"history":', b'"rootfs":', b'"diff_ids":', b'"empty_layer":true', b'"created":',
    b'"created_by":', b'"config":', b'{"empty_layer":true},', b'"0001-01-01T00:00:00Z"',
    b'{"a":1},', b'"History":[],', b'"history":[{}],', b'"rootfs":{},',
)  # fmt: skip
_CONFIG_FRAMES = (
    *_JSON_FRAMES,
    (b'{"history":[', b'{"empty_layer":true}]}'),
    (b'{"history":[{"created_by":"', b'"}],"rootfs":{"diff_ids":[""]}}'),
    (b'{"history":[{"created":"0001-01-01T00:00:00.', b'Z"}],"rootfs":{"diff_ids":[""]}}'),
    (b'{"rootfs":{"diff_ids":[', b'""]}}'),
    (b'{"rootfs":{"diff_ids":[""]},"config":{"Labels":{', b'"a":"b"}}}'),
    (b'{"rootfs":{"diff_ids":[""]},"x":"', b'"}'),
    (b'{"rootfs":{"diff_ids":[""]},"x":[', b"0]}"),
    (b'{"rootfs":{"diff_ids":[""]},"architecture":"', b'"}'),
)

TARGETS = (
    Target(
        "manifests",
        _manifests,
        _manifest_seeds,
        words=(*_JSON_WORDS, _DESCRIPTOR + b","),
        frames=(
            *_JSON_FRAMES,
            (_VERSION + b'"manifests":[', _DESCRIPTOR + b"]}"),
            (_VERSION + b'"config":' + _DESCRIPTOR + b',"layers":[', _DESCRIPTOR + b"]}"),
            (_VERSION + b'"mediaType":"', b'"}'),
            (b'{"schemaVersion":1,"signatures":[', b'{"protected":"e30"}]}'),
            (b'{"schemaVersion":1,"signatures":[{"protected":"', b'"}]}'),
            (b'{"schemaVersion":', b"}"),
        ),
        readings=8,
    ),
    Target("config-blobs", _config_blobs, _config_seeds, _CONFIG_WORDS, _CONFIG_FRAMES),
    Target(
        "go-json",
        _go_json,
        _config_seeds,
        _JSON_WORDS,
        _JSON_FRAMES,
        refusals=(InvalidJSON,),
        readings=2,
    ),
    Target("to-schema1", _to_schema1, _config_seeds, _CONFIG_WORDS, _CONFIG_FRAMES, readings=4),
    Target(
        "docker-and-oci",
        _between_docker_and_oci,
        _image_seeds,
        words=(*_JSON_WORDS, _DESCRIPTOR + b","),
        frames=(
            (_VERSION + b'"config":' + _DESCRIPTOR + b',"layers":[', _DESCRIPTOR + b"]}"),
            (
                _VERSION
                + b'"config":'
                + _DESCRIPTOR.replace(b'"a"', b'"' + DOCKER_CONFIG.encode() + b'"')
                + b',"layers":['
                + _DESCRIPTOR[:-1].replace(b'"a"', b'"' + _LAYER.media_type.encode() + b'"')
                + b',"urls":["',
                b'"]}]}',
            ),
        ),
        readings=4,
    ),
    Target(
        "indexes",
        _indexes,
        _index_seeds,
        words=(*_JSON_WORDS, _DESCRIPTOR + b","),
        frames=(
            (_VERSION + b'"manifests":[', _DESCRIPTOR + b"]}"),
            (_VERSION + b'"manifests":[' + _DESCRIPTOR[:-1] + b',"platform":{', b'"os":"a"}}]}'),
        ),
        readings=4,
    ),
    Target(
        "signatures",
        _signatures,
        _schema1_seeds,
        words=(*_JSON_WORDS, b'{"protected":"e30"},', b"A", b"=", _BLOCK + b","),
        frames=(
            (_SIGNED[: _SIGNED.index(b'[\n      {\n         "header') + 1], _BLOCK + b"]}"),
            (b'{"signatures":[', b'{"protected":"e30"}]}'),
            (b'{"signatures":[{"protected":"', b'"}]}'),
            *_JSON_FRAMES,
        ),
        readings=2,
    ),
)
