"""File descriptors: how many this process may have open at once."""

import resource
from contextlib import suppress


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
