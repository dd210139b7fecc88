"""What is released: sdist, wheel and SBOM, made from a fresh checkout as `make sbom` makes them."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.parser import Parser
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import msgspec
import pytest
from packaging.specifiers import SpecifierSet

from proxy import __version__
from tests.checkout import ROOT, fresh_checkout, fresh_environment
from tests.peers import require_peer
from tests.sample_server import sample_server

CHANGELOG = ROOT / "CHANGELOG.md"
RELEASED = re.compile(r"## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def normalised(name: str) -> str:
    """Return a package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the directory of what `make sbom` makes, with the tools of this environment."""
    checkout = fresh_checkout(tmp_path_factory.mktemp("checkout"))
    tools = Path(sys.prefix) / "bin"
    # `-o`: the environment is the one that runs this test; another would take its time.
    made = subprocess.run(
        [require_peer("make"), "-o", ".venv/.ready", f"BIN={tools}", "sbom"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, (made.stdout + made.stderr)[-4000:]
    return checkout / "dist"


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the bin directory of an empty environment with nothing but the wheel installed."""
    directory = tmp_path_factory.mktemp("installed")
    venv.create(directory, with_pip=False)
    python = str(directory / "bin" / "python")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
            *("--constraint", str(ROOT / "constraints.txt")),
            str(dist / f"regshim-{__version__}-py3-none-any.whl"),
        ],
        capture_output=True,
        check=True,
    )
    return directory / "bin"


def test_version__in_one_place() -> None:
    """pyproject.toml takes the version from the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "proxy.__version__"}


def test_constraints__take_the_oldest_python() -> None:
    """No pinned package asks for more than the oldest Python that the project promises."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    # One with a marker is for some Pythons alone.
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^([^=\s]+)==([^;\s]+)$", constraints, re.MULTILINE)
    pinned = {(normalised(name), version) for name, version in pins}
    asked = {
        f"{one.name}=={one.version}": SpecifierSet(one.metadata["Requires-Python"])
        for one in distributions()
        if (normalised(one.name), one.version) in pinned and "Requires-Python" in one.metadata
    }

    assert asked
    assert [pin for pin, pythons in asked.items() if oldest not in pythons] == []


def test_changelog__form() -> None:
    """Keep a Changelog: Unreleased first, then versions with their dates, the known kinds."""
    heads = re.findall(r"^## .*$", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    kinds = re.findall(r"^### (.*)$", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)

    assert heads[0] == "## [Unreleased]"
    assert [head for head in heads[1:] if RELEASED.fullmatch(head) is None] == []
    assert kinds
    assert set(kinds) <= KINDS


@pytest.mark.peer
def test_sdist__is_the_repository(dist: Path) -> None:
    """The sdist holds what is needed to build it, test it and read about it."""
    with tarfile.open(dist / f"regshim-{__version__}.tar.gz") as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}

    assert {
        *("CHANGELOG.md", "LICENSE", "Makefile", "README.md", "config.example.yaml"),
        *("constraints.txt", "docs/index.md", "docs/picture.svg", "mkdocs.yml", "pyproject.toml"),
        *("proxy/py.typed", "tests/test_release.py", "tools/sbom.py"),
    } <= names


@pytest.mark.peer
def test_wheel__holds_all_of_the_package_and_nothing_else(dist: Path) -> None:
    """Every file of `proxy/`, be it code, type marker or template; no tests, no tools."""
    checkout = dist.parent
    package = {
        str(path.relative_to(checkout))
        for path in (checkout / "proxy").rglob("*")
        if path.is_file()
    }
    with zipfile.ZipFile(dist / f"regshim-{__version__}-py3-none-any.whl") as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert names == {name for name in package if "__pycache__" not in name}


@pytest.mark.peer
def test_wheel__installs_and_serves(installed: Path, tmp_path: Path) -> None:
    """In an empty environment the wheel brings a command that tells its version and serves."""
    environment = fresh_environment(tmp_path)
    command = str(installed / "regshim")
    told = subprocess.run(
        [command, "version"], cwd=tmp_path, env=environment, capture_output=True, check=True
    )

    assert told.stdout.decode().strip() == f"regshim {__version__}"

    with sample_server(
        [command, "serve", "--sample"], cwd=tmp_path, env=environment, seconds=30
    ) as said:
        address = re.search(r"http://\S+", said)
        assert address is not None
        reply = subprocess.run(
            [require_peer("curl"), "-sS", "-H", "Accept:", address[0]],
            capture_output=True,
            check=True,
        )

    assert msgspec.json.decode(reply.stdout)["schemaVersion"] == 1


@pytest.mark.peer
def test_wheel__is_typed(installed: Path, tmp_path: Path) -> None:
    """The types of the installed package count: mypy finds a wrong use of it."""
    program = tmp_path / "user.py"
    program.write_text("from proxy.config.reading import parse\nnumber: int = parse('', {})\n")
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file="),
            *("--python-executable", str(installed / "python"), str(program)),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 'expression has type "Config", variable has type "int"' in checked.stdout


@pytest.mark.peer
def test_sbom__lists_what_the_wheel_asks_for(dist: Path) -> None:
    """CycloneDX: all requirements of the wheel by name and version, no tool, no address."""
    content = (dist / f"regshim-{__version__}.cdx.json").read_text(encoding="utf-8")
    document: dict[str, Any] = msgspec.json.decode(content)
    with zipfile.ZipFile(dist / f"regshim-{__version__}-py3-none-any.whl") as wheel:
        metadata = wheel.read(f"regshim-{__version__}.dist-info/METADATA").decode()
    required = {
        normalised(re.split(r"[<>=!~;\[ ]", line)[0])
        for line in Parser().parsestr(metadata).get_all("Requires-Dist", [])
        if re.search(r"extra == .(dev|docs|fuzz|release)\b", line) is None
    }
    listed = {normalised(component["name"]): component for component in document["components"]}

    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["version"] == __version__
    assert required <= listed.keys()
    assert {"pip", "pytest", "mkdocs", "build"}.isdisjoint(listed)
    assert all(component["version"] for component in listed.values())
    assert "externalReferences" not in content
    assert "file:" not in content
