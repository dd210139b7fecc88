"""SIGHUP: the config file is read anew, and what can change while the proxy runs changes.

Law: all or nothing. The config and the files that it names are read and checked first; only
then is everything put in place, in one turn of the event loop. Whatever cannot be used leaves
all as it was. What cannot change at run time keeps its value until a restart, and the log
names its keys. A request under way keeps what it began with.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec
import structlog

from proxy.config.config import Config
from proxy.errors import ConfigError

RELOADED: Final = frozenset(
    {
        "listen.htpasswd",
        "listen.tls.cert_file",
        "listen.tls.key_file",
        "log.level",
        "translate.clients",
        "translate.default_platform",
        "translate.no_accept",
        "translate.platform_fallbacks",
        "upstream.ca_file",
        "upstream.client_cert_file",
        "upstream.client_key_file",
    }
)
"""The keys that can change while the proxy runs. A file in them cannot come or go: without it
there is no TLS, or no guard, at all, or other authorities count."""

Follow = Callable[[], None]
Prepare = Callable[[Config], Follow]
"""Reads and checks what a part needs to follow a config, ConfigError if that cannot be used,
and returns what makes it follow, which cannot fail. It runs in a thread of its own."""

_Section = TypeVar("_Section", bound=msgspec.Struct)
log: Final = structlog.get_logger()


class Difference(NamedTuple):
    """What a running config becomes: keys that change, and those that need a restart."""

    config: Config
    changed: list[str]
    needs_restart: list[str]


def difference(running: Config, wanted: Config) -> Difference:
    """Return what comes of `running` where `wanted` is asked for.

    ConfigError if the two do not go together: it would be a config that nobody wrote.
    """
    changed: list[str] = []
    needs_restart: list[str] = []

    def merged(old: _Section, new: _Section, prefix: str) -> _Section:
        values = {}
        for field in msgspec.structs.fields(old):
            key = prefix + field.name
            mine, theirs = getattr(old, field.name), getattr(new, field.name)
            if isinstance(mine, msgspec.Struct):
                mine = merged(mine, theirs, f"{key}.")
            elif mine != theirs:
                if key in RELOADED and (mine is None) == (theirs is None):
                    changed.append(key)
                    mine = theirs
                else:
                    needs_restart.append(key)
            values[field.name] = mine
        return type(old)(**values)

    try:
        config = merged(running, wanted, "")
    except ValueError as error:
        raise ConfigError(f"{error} (without a restart, which would change the rest too)") from None
    return Difference(config, changed, needs_restart)


class Reloader:
    """Keeps what runs as the config file has it, each time it is asked to.

    `read` reads the config anew; `parts` prepare for it, and all of them follow or none does.
    `config` is the one in effect.
    """

    def __init__(
        self, config: Config, read: Callable[[], Config], parts: Sequence[Prepare]
    ) -> None:
        self.config = config
        self._read, self._parts = read, parts
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Ask for a reload, soon; for another one, if one is under way."""
        self._asked.set()

    async def run(self) -> None:
        """Reload whenever asked to, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.reload()

    async def reload(self) -> None:
        """Follow the config file, or say in the log why not."""
        try:
            to, steps = await asyncio.to_thread(self._prepare)
        except ConfigError as error:
            log.error("reload refused", reason=str(error))  # noqa: TRY400  no traceback
            return
        except Exception:  # a defect here must not end what serves
            log.exception("reload refused", reason="unexpected error")
            return
        self.config = to.config
        for follow in steps:
            follow()
        log.info("reloaded", changed=to.changed)
        if to.needs_restart:
            log.warning("a restart is needed", keys=to.needs_restart)

    def _prepare(self) -> tuple[Difference, list[Follow]]:
        to = difference(self.config, self._read())
        return to, [prepare(to.config) for prepare in self._parts]
