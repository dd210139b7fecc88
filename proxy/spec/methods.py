"""The methods that some endpoint of the registry API has (OCI distribution spec 1.1)."""

from typing import Final

METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")

WITH_BODY: Final = frozenset({"PATCH", "POST", "PUT"})
"""Those whose body means anything (RFC 9110 9.3)."""
