"""All targets: every parser of the proxy that reads what somebody else has written."""

from __future__ import annotations

from tests.fuzz import deliberate, documents, headers, records, settings

TARGETS = {
    target.name: target
    for module in (headers, documents, settings, records)
    for target in module.TARGETS
}
# These are faults on purpose: what finds faults must find them.
DELIBERATE = {target.name: target for target in deliberate.TARGETS}
EVERY = TARGETS | DELIBERATE
