"""The upstream that makes its images up: the same number, the same bytes, true digests."""

from __future__ import annotations

import asyncio
import hashlib
import json

from bench.images import digest, make
from bench.upstream import Connection, Images, Reply


class _Transport(asyncio.WriteTransport):
    """Remembers what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))


def _body(reply: Reply) -> bytes:
    head, body = reply
    assert f"Content-Length: {len(body)}\r\n".encode() in head
    assert f"sha256:{hashlib.sha256(body).hexdigest()}".encode() in head
    return body


def test_make__same_number_same_bytes() -> None:
    """A number is an image, in every process; another number is another one."""
    assert make(3, 7) == make(3, 7)
    assert make(3, 7)[0] != make(3, 8)[0]


def test_images__tag_config_and_digest_fit_together() -> None:
    """What the manifest of a tag points to is served under its digest, and so is it itself."""
    images = Images(layers=3)
    manifest = _body(images.answer(b"/v2/any/name/manifests/t5"))
    config = json.loads(manifest)["config"]

    assert _body(images.answer(f"/v2/a/manifests/{digest(manifest)}".encode())) == manifest
    assert (
        digest(_body(images.answer(f"/v2/a/blobs/{config['digest']}".encode())))
        == (config["digest"])
    )


def test_images__counts_what_was_asked() -> None:
    """`/counts` tells every kind, itself not counted."""
    images = Images(layers=1)
    for target in (b"/v2/", b"/v2/a/manifests/t1", b"/v2/a/manifests/t1", b"/v2/a/blobs/x"):
        images.answer(target)

    expected = {"manifest": 2, "config": 0, "other": 2}
    assert json.loads(_body(images.answer(b"/counts"))) == expected


def test_images__unknown_is_404() -> None:
    """A digest that no tag has led to is not there."""
    head, _ = Images(layers=1).answer(b"/v2/a/manifests/sha256:" + b"0" * 64)

    assert head.startswith(b"HTTP/1.1 404 ")


def test_connection__requests_in_pieces_and_in_a_row() -> None:
    """Two requests in three pieces are two replies; HEAD has no body."""
    transport = _Transport()
    connection = Connection(Images(layers=1))
    connection.connection_made(transport)
    for piece in (b"HEAD /v2/ HTT", b"P/1.1\r\n\r\nGET /v2/ ", b"HTTP/1.1\r\nHost: a\r\n\r\n"):
        connection.data_received(piece)

    assert [written.partition(b"\r\n\r\n")[2] for written in transport.written] == [b"", b"{}"]
