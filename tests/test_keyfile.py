"""keyfile: the signing key's file, read or made."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization as der
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from proxy.errors import ConfigError
from proxy.keyfile import _create, at_hand, load, load_or_create
from tests.translate.convert import KEY

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ"


def test_load_or_create__no_path_no_file() -> None:
    """Without a path every call makes a key of its own, in memory."""
    assert load_or_create(None).kid != load_or_create(None).kid


def test_load_or_create__makes_a_private_file(tmp_path: Path) -> None:
    """A missing file is made with mode 0600, alone in its directory, and read the next time."""
    path = tmp_path / "key.pem"
    made = load_or_create(path)

    assert load_or_create(path).kid == made.kid
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == made.to_pem()
    assert list(tmp_path.iterdir()) == [path]


def test_load__makes_nothing(tmp_path: Path) -> None:
    """A missing file is no key, and stays missing; one that is there is read."""
    path = tmp_path / "key.pem"

    assert load(path) is None
    assert list(tmp_path.iterdir()) == []
    made = load_or_create(path)
    read = load(path)
    assert read is not None
    assert read.kid == made.kid


def test_at_hand__makes_no_file(tmp_path: Path) -> None:
    """The key of a file if there is one, else one in memory; one that is none is told."""
    path = tmp_path / "key.pem"

    assert at_hand(path).kid != at_hand(path).kid != at_hand(None).kid
    assert list(tmp_path.iterdir()) == []
    assert load_or_create(path).kid == at_hand(path).kid
    path.write_bytes(b"no key")
    with pytest.raises(ConfigError, match="no PEM private key"):
        at_hand(path)


def test_load_or_create__reads_every_form(tmp_path: Path) -> None:
    """PKCS#8, `EC PRIVATE KEY` (after its parameters too) and distribution's JWK are one key."""
    private = ec.derive_private_key(0x5EED, ec.SECP256R1())

    def pem(form: der.PrivateFormat) -> bytes:
        return private.private_bytes(der.Encoding.PEM, form, der.NoEncryption())

    traditional = pem(der.PrivateFormat.TraditionalOpenSSL)
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    jwk = json.dumps({**KEY.public_jwk(), "d": "A" * 40 + "Xu0"}, indent=3).encode()
    forms = (pem(der.PrivateFormat.PKCS8), traditional, parameters + traditional, b"\n" + jwk)
    for number, content in enumerate(forms):
        path = tmp_path / str(number)
        path.write_bytes(content)

        assert load_or_create(path).kid == KEY.kid, number
        assert path.read_bytes() == content


START = """
import sys
from pathlib import Path
from proxy.keyfile import load_or_create
print("ready", flush=True)
sys.stdin.readline()
print(load_or_create(Path(sys.argv[1])).kid)
"""


def test_load_or_create__started_at_once(tmp_path: Path) -> None:
    """Processes that start at once on a missing file end with the same key, and no litter."""
    path = tmp_path / "key.pem"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    kids = {process.communicate(timeout=30)[0] for process in processes}

    assert kids == {load_or_create(path).kid + "\n"}
    assert list(tmp_path.iterdir()) == [path]


def test_create__the_first_file_wins(tmp_path: Path) -> None:
    """A file that is there by the time ours is written is kept, and no draft is left."""
    path = tmp_path / "key.pem"
    _create(path, KEY)
    _create(path, load_or_create(None))

    assert path.read_bytes() == KEY.to_pem()
    assert list(tmp_path.iterdir()) == [path]


def wrong_files() -> dict[str, tuple[bytes, str]]:
    """Return contents that are no key, and what is said of them."""
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(der.Encoding.PEM, der.PrivateFormat.PKCS8, der.NoEncryption())
    return {
        "rsa": (pem, "is RSA; expected EC P-256"),
        "nothing": (b"", "no PEM private key"),
        "jwk of rsa": (b'{"kty":"RSA","d":"' + SECRET.encode() + b'"}', "is RSA; expected"),
        "broken jwk": (b' {"d":"' + SECRET.encode(), "no JWK"),
        "too large": (b"-" * 100_000, "too large for a signing key"),
        "no key inside": (f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n".encode(), "no PEM private"),
    }  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), wrong_files().values(), ids=wrong_files())
def test_load_or_create__refuses(tmp_path: Path, content: bytes, reason: str) -> None:
    """A wrong key stops the start with the path and the reason; nothing of it is shown."""
    path = tmp_path / "key.pem"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=reason) as caught:
        load_or_create(path)
    text = "".join(traceback.format_exception(caught.value))

    assert str(path) in str(caught.value)
    assert SECRET not in text
    assert path.read_bytes() == content


def test_load_or_create__names_the_path_in_every_failure(tmp_path: Path) -> None:
    """A directory that is missing, a path that is one, a dead link: ConfigError with the path."""
    dead = tmp_path / "dead"
    dead.symlink_to(tmp_path / "nowhere")
    for path, reason in [
        (tmp_path / "missing" / "key.pem", f"no directory {tmp_path}/missing: create it"),
        (tmp_path, "Is a directory"),
        (dead, "is a link to nowhere"),
    ]:
        with pytest.raises(ConfigError, match=reason) as caught:
            load_or_create(path)

        assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == [dead]
