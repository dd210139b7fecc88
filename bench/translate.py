"""What a translation to schema 1 costs in process: `python -m bench.translate`.

Cold: every translation is of a config that was not seen before. From parsed manifest and
config bytes to signed body; no network, no store.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from bench.figures import Report, show, table
from bench.images import TIME, make
from proxy.manifest.image import ImageManifest
from proxy.manifest.parse import parse
from proxy.manifest.schema1 import payload_of
from proxy.spec.media_types import MediaType
from proxy.translate.jws import SigningKey, sign
from proxy.translate.to_schema1 import to_schema1

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

REPEAT = 200
MICRO = 1e6
LAYERS = (5, 30, 127)
KEY = SigningKey(ec.generate_private_key(ec.SECP256R1()))


def microseconds(task: Callable[..., object], inputs: Iterable[tuple[object, ...]]) -> float:
    """Return the median time of a task over these inputs."""
    times = []
    for values in inputs:
        start = time.perf_counter()
        task(*values)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * MICRO


def parsed_image(manifest: bytes) -> ImageManifest:
    """Return a manifest parsed."""
    image = parse(manifest, MediaType.OCI_MANIFEST)
    if not isinstance(image, ImageManifest):
        raise TypeError
    return image


def translate(image: ImageManifest, config: bytes) -> bytes:
    """Return the signed manifest."""
    return to_schema1(image, config, repository="library/app", tag="1.0", key=KEY).body


def measure(layers: int) -> tuple[int, float, float, float]:
    """Return the payload's size, and the times of parsing, translating and signing."""
    images = [make(layers, number) for number in range(REPEAT)]
    parsed = [(parsed_image(manifest), config) for manifest, config in images]
    payloads = [payload_of(translate(*image)) for image in parsed]
    parsing = microseconds(parsed_image, ((manifest,) for manifest, _ in images))
    whole = microseconds(translate, parsed)
    signing = microseconds(sign, ((payload, KEY, TIME) for payload in payloads))
    return len(payloads[0]), parsing, whole, signing


def report() -> Report:
    """Measure images of few layers and of many."""
    rows = []
    for layers in LAYERS:
        size, parsing, whole, signing = measure(layers)
        rows.append(
            (
                f"{layers} layers",
                f"{size:,}",
                f"{parsing:.0f}",
                f"{whole:.0f}",
                f"{signing:.0f} ({signing / whole:.0%})",
            )
        )
    header = (
        f"translation to schema 1, cold, median of {REPEAT}",
        "payload, bytes",
        "parse µs",
        "translate µs",
        "of it signing µs",
    )
    return Report(table(header, rows), [])


def main() -> None:
    """Print the table."""
    show(report())


if __name__ == "__main__":
    main()
