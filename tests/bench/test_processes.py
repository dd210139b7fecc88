"""What is read of processes: metrics, memory, processor time."""

from __future__ import annotations

import os

from bench.processes import cpu_seconds, memory, samples, total

EXPOSITION = """\
# TYPE regshim_translations_total counter
regshim_translations_total{source="oci",target="schema1",result="new"} 3.0
regshim_translations_total{source="oci",target="schema1",result="cached"} 40.0
regshim_translations_total{source="schema2",target="schema1",result="new"} 2.0
"""


def test_total__sums_what_has_these_labels() -> None:
    """Labels that are not named are summed over; a metric that is not there is 0."""
    metrics = samples(EXPOSITION)

    assert total(metrics, "regshim_translations_total", result="new") == 5
    assert total(metrics, "regshim_translations_total") == 45
    assert total(metrics, "regshim_other_total") == 0


def test_process__own_memory_and_time() -> None:
    """This process uses both, and less now than at its peak."""
    pid = os.getpid()

    assert 1 << 20 < memory(pid) <= memory(pid, "VmHWM")
    assert cpu_seconds(pid) > 0
