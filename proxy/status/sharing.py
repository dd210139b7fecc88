"""Worker processes tell each other what they counted, so that each can show the sum.

Each writes a small file of its own, some seconds after it counted, and reads those of the others
when it is asked for the page. What a worker that died has written is shown until it is an hour
old, and then removed. What cannot be written or read is not shown: it is a picture, and no record.
"""

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Final

import msgspec

from proxy.later import Later
from proxy.status.activity import MINUTES, Activity, Count

_LONGEST_SHOWN: Final = MINUTES * 60
_counts: Final = msgspec.json.Decoder(list[Count])


class Shared:
    """The activity of all workers; `directory` is theirs, None for a process alone."""

    def __init__(self, activity: Activity, directory: Path | None, *, pause: float = 2.0) -> None:
        self._activity, self._directory = activity, directory
        self._later = Later(self._write, pause=pause)

    def sent(self, source: str, target: str) -> None:
        """Count a pull that was answered with a manifest."""
        self._activity.sent(source, target)
        self._later.ask()

    def refused(self, source: str, refusal: str) -> None:
        """Count a pull that was refused."""
        self._activity.refused(source, refusal)
        self._later.ask()

    async def counts(self) -> list[Count]:
        """Return what all workers counted in the last hour."""
        own = self._activity.counts()
        if self._directory is None:
            return own
        return own + await asyncio.to_thread(_others, self._directory)

    def writing(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Tell the others while the context lasts."""
        return contextlib.nullcontext() if self._directory is None else self._later.working()

    async def _write(self) -> bool:
        if self._directory is not None:
            content = msgspec.json.encode(self._activity.counts())
            with contextlib.suppress(OSError):
                await asyncio.to_thread(_replace, _own(self._directory), content)
        return False


def _own(directory: Path) -> Path:
    return directory / f"activity-{os.getpid()}.json"


def _replace(file: Path, content: bytes) -> None:
    """Write a file that is never seen half."""
    draft = file.with_suffix(".draft")
    draft.write_bytes(content)
    draft.replace(file)


def _others(directory: Path) -> list[Count]:
    counts: list[Count] = []
    for file in directory.glob("activity-*.json"):
        if file == _own(directory):
            continue
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            if time.time() - file.stat().st_mtime > _LONGEST_SHOWN:
                file.unlink()
            else:
                counts += _counts.decode(file.read_bytes())
    return counts
