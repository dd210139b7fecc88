"""From the command to a proxy that is ready: `python -m bench.start`.

Ready is when the admin port answers /readyz with 200, its upstream reached. The second table
says which imports that time goes to.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from bench.command import command
from bench.figures import Figure, Report, table
from bench.processes import cpu_seconds, place
from bench.static import static
from tests.peers import HOST, free_port

if TYPE_CHECKING:
    from pathlib import Path

_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")
_PATIENCE = 20.0
_MOST = 12
_IMPORTS = "import proxy.process.server, proxy.process.serving"


def until_ready(directory: Path, upstream: str) -> tuple[float, float]:
    """Start a proxy and end it; return the seconds until it is ready, and the processor's."""
    port, admin_port = free_port(), free_port()
    config = directory / f"start-{port}.yaml"
    sections = {
        "upstream": {"url": upstream},
        "listen": {"port": port},
        "admin": {"port": admin_port},
        "log": {"level": "error"},
    }
    config.write_text(json.dumps(sections), encoding="utf-8")
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "proxy", "serve", "-c", str(config)]) as process:
        try:
            while not _is_ready(admin_port):
                if process.poll() is not None or time.perf_counter() - began > _PATIENCE:
                    raise RuntimeError("the proxy did not become ready")
                time.sleep(0.002)
            return time.perf_counter() - began, cpu_seconds(process.pid)
        finally:
            process.terminate()


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def imports() -> list[tuple[str, ...]]:
    """Return the packages whose import takes longest, their own dependencies aside."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", _IMPORTS],
        capture_output=True,
        text=True,
        check=True,
    )
    return [(name, f"{ms:.0f} ms") for name, ms in by_package(done.stderr)[:_MOST]]


def by_package(report: str) -> list[tuple[str, float]]:
    """Return (top-level package, own milliseconds of its modules) of an importtime report."""
    times: dict[str, float] = {}
    for own, _, _, module in _LINE.findall(report):
        package = module.partition(".")[0]
        times[package] = times.get(package, 0.0) + int(own) / 1e3
    return sorted(times.items(), key=lambda pair: -pair[1])


def report(rounds: int) -> Report:
    """Start it so often, and tell where the time of the imports goes."""
    with place() as directory, static(directory) as upstream:
        times = [until_ready(directory, upstream.url) for _ in range(rounds)]
    seconds, processor = zip(*times, strict=True)
    return Report(
        table(("import of the package", "own time"), imports()),
        [
            Figure.of("start: from the command to /readyz, seconds", seconds, most=0.7),
            Figure.of("start: processor seconds of it", processor),
        ],
    )


def main() -> None:
    """Read the arguments and print the tables."""
    command(__doc__, report, rounds=9)


if __name__ == "__main__":
    main()
