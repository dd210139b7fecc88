"""Targets: what stores, token services and credential helpers answer."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.errors import Denied, NoCredentials, UpstreamInvalid
from proxy.inventory.entry import Entry
from proxy.inventory.redis import _entry
from proxy.inventory.sqlite import MIGRATIONS, _add, _read
from proxy.spec.descriptor import Platform
from proxy.spec.digest import digest_of, is_digest
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Repository
from proxy.store.entries import StoreFailedError
from proxy.store.record import LeftOut, Translation, TranslationKey
from proxy.store.sqlite_file import _open
from proxy.store.translations import Translations
from proxy.upstream.auth import Demand
from proxy.upstream.credential_helper import read_credentials
from proxy.upstream.token_service import token_dialogue
from tests.fuzz.target import Target, result_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DIGEST = digest_of(b"")
_REPOSITORY = Repository("lib/app")
_KEY = TranslationKey(_REPOSITORY, _DIGEST, MediaType.SCHEMA2)
_TRANSLATION = Translation(
    body=b"{}",
    media_type=MediaType.SCHEMA1_SIGNED,
    digest=_DIGEST,
    repository=_REPOSITORY,
    source=_DIGEST,
    source_type=MediaType.OCI_INDEX,
    children=(_DIGEST,),
    left_out=(LeftOut(Platform(os="windows", architecture="amd64"), "NotLinux"),),
    tag="latest",
    platform="linux/amd64",
)


class _Answers:
    """Entries that hold the same bytes under every name, and keep what is put."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.kept: list[bytes] = []

    async def get(self, name: str) -> bytes | None:
        assert name
        return self._content

    reread = get

    async def put(self, entries: Mapping[str, bytes]) -> None:
        self.kept += entries.values()

    async def swap(self, name: str, old: bytes | None, entries: Mapping[str, bytes]) -> bool:
        assert name in entries
        assert old == self._content
        self.kept += entries.values()
        return True

    async def close(self) -> None:
        pass


def _translations(content: bytes) -> None:
    entries = _Answers(content)
    store = Translations(entries)
    for found in (
        result_of(store.get_by_digest(_REPOSITORY, _DIGEST)),
        result_of(store.get(_KEY)),
    ):
        if found is not None:
            assert is_digest(found.source)
            assert is_digest(found.digest)
    result_of(store.put(_KEY, _TRANSLATION))
    assert len(entries.kept) == 2


def _translation_seeds() -> Iterator[bytes]:
    entries = _Answers(b"")
    result_of(Translations(entries).put(_KEY, _TRANSLATION))
    yield from entries.kept


def _inventory_hashes(content: bytes) -> None:
    lines = (line.partition(b"=") for line in content.split(b"\n"))
    entry = _entry({name: value for name, _, value in lines}, 1.0)
    assert entry is None or isinstance(entry.refused, int)


def _inventory_hash_seeds() -> Iterator[bytes]:
    yield (
        b"engine=docker/1.9.1\naddress=10.0.0.1\nrepository=lib/app\nfirst_seen=1700000000.5\n"
        b"pulls=3\nformat:oci\xe2\x86\x92schema1=2\nrefusal:ZstdLayer=1\nreason=layer 1 of 2"
    )


def _inventory_rows(content: bytes) -> None:
    formats, _, refusals = content.partition(b"\n")
    with closing(_open(Path(":memory:"), MIGRATIONS)) as connection:
        # sqlite keeps whatever is put into a column, bytes that are no UTF-8 as well.
        connection.execute(
            "INSERT INTO inventory VALUES ('a', 'b', 'c', 1, 2, 3, CAST(? AS TEXT), ?, '')",
            (formats, refusals.decode("utf-8", "replace")),
        )
        change = Entry("a", "b", "c", 2.0, 3.0, 1, {"oci": 1})
        _add(connection, change)
        assert [entry.key for entry in _read(connection, 0.0)] == [change.key]


def _inventory_row_seeds() -> Iterator[bytes]:
    yield b'{"oci\xe2\x86\x92schema1":3}\n{"ZstdLayer":1}'
    yield b'{"a":99999999999999999999}\n{}'


def _token_replies(content: bytes) -> None:
    dialogue = token_dialogue(Demand("https://auth.example.com/token"), None)
    next(dialogue)
    token = None
    try:
        dialogue.send((200, content))
    except StopIteration as ended:
        token = ended.value
    assert token is not None
    assert f"Bearer {token.token}".isascii()
    assert 0 < token.lifetime <= 3600


def _token_reply_seeds() -> Iterator[bytes]:
    yield b'{"token":"abc","expires_in":300,"issued_at":"2024-01-01T00:00:00Z"}'
    yield b'{"access_token":"abc","expires_in":"1e3","refresh_token":"x","scope":null}'


def _helper_replies(content: bytes) -> None:
    assert read_credentials("docker-credential-x", content).basic.isascii()


def _helper_reply_seeds() -> Iterator[bytes]:
    yield b'{"ServerURL":"https://a","Username":"alice","Secret":"b"}'
    yield b'{"Username":"<token>","Secret":"b"}'


_JSON_WORDS = (
    b'"', b"\\", rb"\ud800", b"{", b"}", b"[", b"[[", b":", b",", b'"a":', b'"a":1,', b"1", b"e",
    b".",
)  # fmt: skip

TARGETS = (
    Target(
        "kept-translations",
        _translations,
        _translation_seeds,
        words=(b"\x91", b"\x81\xa1a", b"\xdd\xff\xff\xff\xff", b"\xc4\x01", b"\xd9\xff", b"\xff"),
        frames=((b"", b""), (b"\x81\xa4body", b""), (b"\xdd\x00\x00\xff\xff", b"")),
    ),
    Target(
        "inventory-hashes",
        _inventory_hashes,
        _inventory_hash_seeds,
        words=(b"\n", b"=", b"9", b"e9", b"_", b"-", b"\nformat:", b"\nrefusal:a=", b"nan", b"inf"),
        frames=((b"pulls=", b""), (b"first_seen=", b""), (b"", b"=1"), (b"format:a=", b"")),
        refusals=(StoreFailedError,),
    ),
    Target(
        "inventory-rows",
        _inventory_rows,
        _inventory_row_seeds,
        words=_JSON_WORDS,
        frames=((b"", b""), (b'{"a":', b"}\n{}"), (b"{", b'"a":1}\n{}')),
        refusals=(StoreFailedError,),
    ),
    Target(
        "token-replies",
        _token_replies,
        _token_reply_seeds,
        words=(*_JSON_WORDS, b'"token":"a",', b'"expires_in":', b"nan", b"Infinity", b"-"),
        frames=(
            (b"", b""),
            (b'{"token":"a","expires_in":', b"}"),
            (b'{"token":"a","expires_in":"', b'"}'),
            (b'{"token":"', b'"}'),
            (b'{"x":', b"}"),
        ),
        refusals=(UpstreamInvalid, Denied),
    ),
    Target(
        "helper-replies",
        _helper_replies,
        _helper_reply_seeds,
        words=_JSON_WORDS,
        frames=((b"", b""), (b'{"Username":"a","Secret":"', b'"}'), (b'{"x":', b"}")),
        refusals=(NoCredentials,),
    ),
)
