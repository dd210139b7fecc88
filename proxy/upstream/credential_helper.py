"""Docker's credential helpers: `docker-credential-NAME get`, the registry's name on its input.

The protocol is that of docker-credential-helpers: a JSON object on standard output, or
status 1 and a sentence. What a helper says goes into no message and no log.
"""

import asyncio
import contextlib
import os
import signal
from typing import Final

import msgspec

from proxy.errors import NoCredentials
from proxy.upstream.auth import Credentials, Secret

_LONGEST: Final = 30.0
_LARGEST: Final = 256 << 10
_NOT_FOUND: Final = b"credentials not found"
# The user name that says that the secret is an identity token.
_IS_TOKEN: Final = "<token>"  # noqa: S105  the protocol's word, no secret


class _Found(msgspec.Struct, rename="pascal"):
    username: str
    secret: str


async def ask_helper(name: str, server: str, *, longest: float = _LONGEST) -> Credentials | None:
    """Return what the helper `name` knows of a registry, None if it knows nothing.

    NoCredentials if it is missing, fails, says something else or takes longer than `longest`.
    """
    program = f"docker-credential-{name}"
    try:
        async with asyncio.timeout(longest):
            status, said = await _run(program, server)
    except TimeoutError:
        raise NoCredentials(f"{program} did not answer in time") from None
    except OSError as error:
        raise NoCredentials(f"{program} cannot be run: {error.strerror}") from None
    if status != 0:
        if _NOT_FOUND in said:
            return None
        raise NoCredentials(f"{program} failed with status {status}")
    return read_credentials(program, said)


def read_credentials(program: str, said: bytes) -> Credentials:
    """Return the credentials in what a helper says; NoCredentials if there are none in it."""
    try:
        found = msgspec.json.decode(said, type=_Found)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise NoCredentials(f"{program} answered with something else than credentials") from None
    if found.username == _IS_TOKEN:
        return Credentials(identity_token=Secret(found.secret))
    return Credentials(username=found.username, password=Secret(found.secret))


async def _run(program: str, server: str) -> tuple[int, bytes]:
    process = await asyncio.create_subprocess_exec(
        *(program, "get"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None  # noqa: S101  narrows: it is a pipe
    assert stdout is not None  # noqa: S101  narrows: it is a pipe
    try:
        # A helper that answers without reading has closed its end by now.
        with contextlib.suppress(ConnectionError):
            stdin.write(server.encode())
            await stdin.drain()
        stdin.close()
        said = b""
        while len(said) <= _LARGEST and (piece := await stdout.read(_LARGEST)):
            said += piece
        if len(said) > _LARGEST:
            raise NoCredentials(f"{program} answered with something else than credentials")
        return await process.wait(), said
    finally:
        if process.returncode is None:
            # With all that it has started: they would hold its output open.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
