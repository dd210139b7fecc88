"""File descriptors: how many this process may have open at once."""

import resource


def allow(needed: int) -> int:
    """Raise the soft limit to `needed` as far as the hard one lets it; return what it is then.

    No further: what this process starts inherits it, and some programs cannot bear a large one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return needed if soft == resource.RLIM_INFINITY else soft
