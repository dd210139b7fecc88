"""Who may use the proxy: an htpasswd file with bcrypt hashes, and nothing else in it.

A hash takes long to check, and on purpose. So it is checked in a thread, one check for many
requests with the same credentials, and what was right is remembered for some minutes, by a
keyed hash. An unknown user takes as long as a known one. Whoever tries passwords keeps nobody else
waiting: checks are shared out by address, and their threads do nothing else.
"""

import asyncio
import base64
import binascii
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import bcrypt
from cachetools import TTLCache

from proxy.admission import Admission
from proxy.errors import ConfigError
from proxy.flights import Flights

_HASH: Final = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_REMEMBERED_FOR: Final = 300.0
_REMEMBERED: Final = 4096
_AT_ONCE: Final = 3  # of which one address has two
_WAITING: Final = 64
_LONGEST_WAIT: Final = 10.0
# All that bcrypt reads of a password.
_LONGEST: Final = 72


class Htpasswd:
    """The users of an htpasswd file: user → bcrypt hash."""

    def __init__(
        self, hashes: Mapping[str, bytes], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hashes = hashes
        # Nobody's hash, as costly as the costliest one here.
        cost = max(int(one[4:6]) for one in hashes.values())
        self._nobody = f"$2b${cost:02}$".encode() + b"." * 53
        self._key = secrets.token_bytes(32)
        self._known: TTLCache[bytes, bool] = TTLCache(_REMEMBERED, _REMEMBERED_FOR, clock)
        self._flights: Flights[bool] = Flights()
        self._admission = Admission(_AT_ONCE, queue=_WAITING, wait=_LONGEST_WAIT)
        # Not those that resolve host names: a check that has begun goes on when its client leaves.
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="htpasswd")

    @classmethod
    def load(cls, path: Path) -> "Htpasswd":
        """Read a file; ConfigError names the line that is no `user:` with a bcrypt hash."""
        try:
            # With the byte order mark before it that some editors write.
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{path} is no UTF-8 text") from None
        hashes: dict[str, bytes] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            user, colon, found = line.strip().partition(":")
            if not user or not colon or _HASH.fullmatch(found) is None:
                raise ConfigError(
                    f"{path} line {number}: expected user:hash with a bcrypt hash, "
                    "as `htpasswd -B` writes it"
                )
            if user in hashes:
                raise ConfigError(f"{path} line {number}: this user has a line already")
            hashes[user] = found.encode("ascii")
        if not hashes:
            raise ConfigError(f"{path} names no user")
        return cls(hashes)

    async def admits(self, authorization: str | None, address: str) -> bool:
        """Tell whether an Authorization header, of a client at `address`, proves one of the users.

        Overloaded if too many credentials are waiting to be checked.
        """
        pair = _basic(authorization)
        if pair is None:
            return False
        key = hashlib.blake2b(b":".join(pair), key=self._key).digest()
        if key in self._known:
            return True
        right = await self._flights.join(key, lambda: self._check(*pair, address))
        if right:
            self._known[key] = True
        return right

    async def _check(self, user: bytes, password: bytes, address: str) -> bool:
        await self._admission.enter(address)
        try:
            found = self._hashes.get(user.decode("utf-8", "replace"))
            right = await asyncio.get_running_loop().run_in_executor(
                self._threads, bcrypt.checkpw, password[:_LONGEST], found or self._nobody
            )
        finally:
            self._admission.leave(address)
        return right and found is not None


def _basic(authorization: str | None) -> tuple[bytes, bytes] | None:
    """Return user and password of a Basic Authorization (RFC 7617), None if it is none."""
    scheme, _, encoded = (authorization or "").strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    user, colon, password = pair.partition(b":")
    return (user, password) if colon else None
