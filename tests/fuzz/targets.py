"""All targets: every parser of the proxy that reads what somebody else has written."""

from __future__ import annotations

from tests.fuzz import documents, headers, planted, records, settings

TARGETS = {
    target.name: target
    for module in (headers, documents, settings, records)
    for target in module.TARGETS
}
# These are faults on purpose: what finds faults must find them.
PLANTED = {target.name: target for target in planted.TARGETS}
EVERY = TARGETS | PLANTED
