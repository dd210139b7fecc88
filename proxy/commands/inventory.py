"""The inventory as it is kept in the durable store, for a command beside the running proxy."""

import time
from pathlib import Path
from typing import Final

import msgspec
import structlog

from proxy.config.config import Config
from proxy.config.values import Seconds, decode
from proxy.errors import ConfigError
from proxy.inventory.archives import open_archive, sqlite_path
from proxy.inventory.entry import Entry

_log: Final = structlog.get_logger()
# A person waits here, not a pull.
_TIMEOUT: Final = 5.0


async def kept_inventory(config: Config, since: str | None) -> list[Entry]:
    """Return the entries of the last `since` (`30d`), of all that is kept if it is None.

    ConfigError if there is no durable store, or no such time; StoreFailedError if the store
    cannot be read. A proxy that has written nothing yet has an empty inventory; the log says so.
    """
    store, settings = config.cache.store, config.inventory
    if store is None:
        raise ConfigError(
            "cache.store: is not set: the inventory is in the memory of the running proxy, "
            "whose admin port shows it"
        )
    if not settings.enabled:
        raise ConfigError("inventory.enabled: is false: nothing is recorded")
    length = settings.retention
    if since is not None:
        try:
            length = msgspec.convert(since, Seconds, dec_hook=decode)
        except msgspec.ValidationError as error:
            raise ConfigError(f"--since: {error}") from None
    path = sqlite_path(store)
    if path is not None and not _is_there(path):
        # Nobody on the list, or a path that is not the proxy's? Whoever reads it should know.
        _log.warning("there is no inventory yet", file=str(path))
        return []  # a file made here might not be the proxy's to write
    archive = open_archive(
        store, retention=settings.retention, max_entries=settings.max_entries, timeout=_TIMEOUT
    )
    try:
        return await archive.read(time.time() - length)
    finally:
        await archive.close()


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"cache.store: {path}: {error.strerror}") from error
    return True
