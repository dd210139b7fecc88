"""The programs that read what deploy/ carries, and where its files are.

Those that PyPI has are in `.peers/python`, an environment that the build server makes; without
it they are looked for on the PATH.
"""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.peers import require_peer

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "regshim"
_BIN = ROOT / ".peers" / "python" / "bin"

Document = dict[str, Any]
"""A resource of Kubernetes."""


def program(name: str) -> str:
    """Return the path of a program; skip the test without it, in CI fail it."""
    bundled = _BIN / name
    return str(bundled) if bundled.is_file() else require_peer(name)


def call(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever comes of it."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def output(*command: str | Path, cwd: Path | None = None) -> str:
    """Return what a program prints; fail the test if it fails."""
    result = call(*command, cwd=cwd)
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


@functools.cache
def kustomized(directory: str) -> tuple[Document, ...]:
    """Return what kustomize makes of a directory of deploy/kubernetes."""
    text = output(program("kubectl"), "kustomize", DEPLOY / "kubernetes" / directory)
    return tuple(yaml.safe_load_all(text))


# Helm's own Go code, as the package helm-python-sdk has it: no `helm` is run.
_RENDER = """\
import json, sys, helm_python
order = json.load(open(sys.argv[1]))
with helm_python.Chart.load(order["chart"]) as chart:
    try:
        chart.validate_schema(order["values"])
        made = chart.render(order["values"], name=order["release"], namespace="registry")
    except helm_python.HelmError as error:
        sys.exit(f"refused: {error}")
print(json.dumps({"files": made, "lint": helm_python.lint(order["chart"], order["values"])}))
"""


def helm(directory: Path, values: Document, *, release: str = "regshim") -> str:
    """Return what Helm says of the chart with these values, as JSON or `refused: …`.

    `directory` is the test's own. JSON: `files`, text by path, and the `lint` of the chart.
    """
    python = require_peer(str(_BIN / "python"))
    order = directory / "order.json"
    order.write_text(json.dumps({"chart": str(CHART), "values": values, "release": release}))
    result = call(python, "-c", _RENDER, order)
    return result.stdout if result.returncode == 0 else result.stderr


def helm_documents(
    directory: Path, values: Document, *, release: str = "regshim"
) -> list[Document]:
    """Return the resources that the chart makes with these values."""
    said = helm(directory, values, release=release)
    assert said.startswith("{"), said
    made = json.loads(said)["files"]
    texts = [text for path, text in sorted(made.items()) if path.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]
