"""The SBOM of an installed wheel: CycloneDX JSON of regshim and what it runs on, extras included.

`python -m tools.sbom DIST` installs the wheel of this version that is in DIST into an empty
environment and writes DIST/regshim-VERSION.cdx.json. Names, versions and licenses are told, but
no addresses: where a package was downloaded is the affair of the machine that did it.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any, Final

import msgspec

from proxy import __version__

ROOT: Final = Path(__file__).parent.parent
_EXTRAS: Final = "otel,redis,uvloop"


def write_sbom(dist: Path) -> Path:
    """Write the SBOM of this version's wheel in `dist` beside it; return its path."""
    wheel = dist / f"regshim-{__version__}-py3-none-any.whl"
    target = dist / f"regshim-{__version__}.cdx.json"
    with tempfile.TemporaryDirectory() as directory:
        # Without pip, so that only what the wheel asks for is in it.
        venv.create(directory, with_pip=False)
        python = Path(directory) / "bin" / "python"
        constraints = ROOT / "constraints.txt"
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        _run(*pip, "--constraint", str(constraints), f"{wheel.resolve()}[{_EXTRAS}]")
        pyproject = ROOT / "pyproject.toml"
        listed = _run(
            *(sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"),
            *("--pyproject", str(pyproject), str(python)),
        )
    target.write_bytes(msgspec.json.format(_finished(listed), indent=2) + b"\n")
    return target


def _finished(listed: bytes) -> bytes:
    """Return the SBOM with the version, which pyproject.toml leaves to the code, and no address."""
    document: dict[str, Any] = msgspec.json.decode(listed)
    metadata = document["metadata"]
    metadata["component"]["version"] = __version__
    for component in (*document["components"], *metadata["tools"]["components"]):
        component.pop("externalReferences", None)
    return msgspec.json.encode(document)


def _run(*command: str) -> bytes:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout  # noqa: S603  our own command


if __name__ == "__main__":
    sys.stdout.write(f"{write_sbom(Path(sys.argv[1]))}\n")
