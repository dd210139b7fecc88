"""compose.yaml: a registry and the proxy in front of it, as Docker Compose reads it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml

from proxy.config.listen import Listen
from proxy.config.reading import parse
from tests.deploy.memory import worst_case
from tests.deploy.programs import DEPLOY, ROOT, call, output, program

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY = DEPLOY / "compose"
STOP_SECONDS = Listen().grace + 10  # the grace, and to close what is open


@pytest.fixture
def project() -> dict[str, Any]:
    """Give the project as Docker Compose has read and completed it."""
    text = output(
        program("docker-compose"), "-f", DIRECTORY / "compose.yaml", "config", "--format", "json"
    )
    project: dict[str, Any] = json.loads(text)
    return project


@pytest.mark.peer
def test_compose__is_accepted(project: dict[str, Any]) -> None:
    """Docker Compose itself reads it: two services, of which one is ours."""
    assert {"registry", "regshim"} == set(project["services"])


@pytest.mark.peer
def test_compose__refuses_a_typing_error(tmp_path: Path) -> None:
    """The check can fail: a key that does not exist is found."""
    document = yaml.safe_load((DIRECTORY / "compose.yaml").read_text(encoding="utf-8"))
    document["services"]["regshim"]["readonly"] = True
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(yaml.safe_dump(document), encoding="utf-8")
    result = call(program("docker-compose"), "-f", wrong, "config")

    assert result.returncode != 0
    assert "readonly" in result.stderr


@pytest.mark.peer
def test_compose__publishes_to_this_host_alone(project: dict[str, Any]) -> None:
    """The proxy's two ports on 127.0.0.1; the registry's own on none."""
    ports = project["services"]["regshim"]["ports"]

    assert {("127.0.0.1", "5000", 5000), ("127.0.0.1", "5001", 5001)} == {
        (port["host_ip"], port["published"], port["target"]) for port in ports
    }
    assert "ports" not in project["services"]["registry"]


@pytest.mark.peer
def test_compose__gives_the_proxy_no_rights(project: dict[str, Any]) -> None:
    """A root that is read-only, no capability, none to be gained, and time to finish."""
    service = project["services"]["regshim"]

    assert service["read_only"] is True
    assert ["ALL"] == service["cap_drop"]
    assert ["no-new-privileges:true"] == service["security_opt"]
    assert f"{STOP_SECONDS:g}s" == service["stop_grace_period"]


@pytest.mark.peer
def test_compose__config_fits(project: dict[str, Any]) -> None:
    """The mounted config names the registry of the same project, and files in a volume."""
    service = project["services"]["regshim"]
    mounts = {volume["target"]: volume for volume in service["volumes"]}
    config = parse((DIRECTORY / "config.yaml").read_text(encoding="utf-8"), {})

    assert str(DIRECTORY / "config.yaml") == mounts["/etc/regshim/config.yaml"]["source"]
    assert urlsplit(config.upstream.url).hostname in project["services"]
    assert "volume" == mounts["/var/lib/regshim"]["type"]
    assert worst_case(config) <= int(service["mem_limit"])
    assert str(config.translate.signing_key_file).startswith("/var/lib/regshim/")
    assert {"context": str(ROOT), "dockerfile": "deploy/Dockerfile"} == service["build"]
