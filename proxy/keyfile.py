"""The signing key's file: read, or made on first start. The only file that holds a secret.

Law: processes that start at once on one path end with one key, and nobody ever sees half of
it: the key is written to a file of its own, and the first `link` to the path wins. Such a draft
that a killed process has left behind holds a key too; the next start removes it.
"""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from proxy.errors import ConfigError
from proxy.translate.jws import SigningKey

# A key has less than 1 KiB; whatever is larger was not meant.
_MOST_BYTES: Final = 64 << 10


def load_or_create(path: Path | None) -> SigningKey:
    """Return the key in a file, made (mode 0600) if the file is missing; None: one in memory.

    ConfigError, which names the path and never the content, if it cannot be used.
    """
    if path is None:
        return _fresh()
    key = load(path)
    if key is None:
        try:
            _create(path, _fresh())
        except FileNotFoundError as error:
            raise ConfigError(
                f"the signing key file {path}: there is no directory {path.parent}: "
                "create it, writable for the proxy"
            ) from error
        except OSError as error:
            raise ConfigError(f"the signing key file {path}: {error.strerror}") from error
        # Not the key just made: another process may have been first.
        key = load(path)
    if key is None:
        raise ConfigError(f"the signing key file {path} was removed as soon as it was made")
    _remove_drafts(path)
    return key


def at_hand(path: Path | None) -> SigningKey:
    """Return the key in a file, or one in memory where there is none: no file is made.

    For who shows what would be signed and keeps nothing of it. ConfigError as above.
    """
    return (None if path is None else load(path)) or _fresh()


def load(path: Path) -> SigningKey | None:
    """Return the key in a file, None if the file is missing; ConfigError as above.

    PEM (PKCS#8 or `EC PRIVATE KEY`, EC P-256) and distribution's private JWK are read.
    """
    try:
        content = _read(path)
    except OSError as error:
        raise ConfigError(f"the signing key file {path}: {error.strerror}") from error
    if content is None:
        if path.is_symlink():
            raise ConfigError(f"the signing key file {path} is a link to nowhere")
        return None
    try:
        return _parse(content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _fresh() -> SigningKey:
    return SigningKey(ec.generate_private_key(ec.SECP256R1()))


def _parse(content: bytes) -> SigningKey:
    if len(content) > _MOST_BYTES:
        raise ConfigError("the file is too large for a signing key")
    is_jwk = content.lstrip().startswith(b"{")
    return SigningKey.from_jwk(content) if is_jwk else SigningKey.from_pem(content)


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None


def _remove_drafts(path: Path) -> None:
    """Remove what processes that were killed have left; there is a key, nobody needs another."""
    draft = re.compile(re.escape(f".{path.name}.") + "[0-9a-f]{16}")
    with suppress(OSError):  # a directory that cannot be read, or written to, is no reason to end
        for file in path.parent.iterdir():
            if draft.fullmatch(file.name):
                file.unlink(missing_ok=True)


def _create(path: Path, key: SigningKey) -> None:
    """Write the key to the path, whole and on disk, unless the path is there by then."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # Not left to the umask, which could only take more away than is wanted.
            os.fchmod(file.fileno(), 0o600)
            file.write(key.to_pem())
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link does not replace what another process was first to make.
        # Where it has taken the draft away, it had found a key.
        with suppress(FileExistsError, FileNotFoundError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
