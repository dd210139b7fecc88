"""File descriptors: how many this process may have open at once."""

import resource
from contextlib import suppress
from typing import Final

# A connection to the upstream, a pipe, and a socket of each side once more, for which a download's
# connection has gone (an upload takes one more); listening, stores, libraries.
_OF_A_TRANSFER: Final = 4
_OF_ITSELF: Final = 100


def needed_for(connections: int, requests: int, *, transfers: int) -> int:
    """Return how many it takes to serve so many at once."""
    return connections + requests + _OF_A_TRANSFER * transfers + _OF_ITSELF


def possible_with(allowed: int, connections: int) -> int:
    """Return how many of these connections there can be with fewer descriptors than it takes.

    Half of them: the others are for what is done on the connections, and for the admin port.
    """
    return min(connections, max((allowed - _OF_ITSELF) // 2, 1))


def allow(needed: int) -> int:
    """Raise the soft limit to `needed` as far as the hard one lets it; return what it is then.

    No further: what this process starts inherits it, and some programs cannot bear a large one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        # A sandbox may refuse it, and so does a kernel whose own limit has been lowered.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return needed if soft == resource.RLIM_INFINITY else soft
