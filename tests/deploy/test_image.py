"""The container image: what is copied into it, who runs it, how it is asked whether it lives.

The image itself is not built here: there is no registry to take its base from. hadolint reads
the Dockerfile, and what it runs is run.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from proxy.config.reading import parse
from tests.deploy.programs import DEPLOY, ROOT, call, program
from tests.peers import free_port, run
from tests.processes import serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry import Registry

DOCKERFILE = DEPLOY / "Dockerfile"
HEALTHCHECK = DEPLOY / "healthcheck.py"


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions in order, lines joined."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    found = [line.partition(" ") for line in lines if line.strip()]
    return [(name, rest.strip()) for name, _, rest in found]


def final_stage() -> dict[str, str]:
    """Return the last stage's instructions by name; the last of each."""
    every = instructions()
    start = max(i for i, (name, _) in enumerate(every) if name == "FROM")
    return dict(every[start:])


@pytest.mark.peer
def test_dockerfile__hadolint_finds_nothing() -> None:
    """No finding of any weight, and no rule is switched off."""
    result = call(program("hadolint"), "--failure-threshold", "ignore", DOCKERFILE, cwd=DEPLOY)

    assert (0, "") == (result.returncode, result.stdout + result.stderr)
    assert "hadolint" not in DOCKERFILE.read_text(encoding="utf-8")


@pytest.mark.peer
def test_dockerfile__hadolint_would_find_something(tmp_path: Path) -> None:
    """The check can fail: an untagged base is found."""
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python\nRUN cd /tmp\n", encoding="utf-8")
    result = call(program("hadolint"), "--failure-threshold", "ignore", wrong)

    assert result.returncode != 0
    assert "DL3006" in result.stdout


def test_dockerfile__builds_in_one_stage_and_runs_in_another() -> None:
    """What is needed to build is not in the image: it takes the environment from the first."""
    every = instructions()
    stages = [rest for name, rest in every if name == "FROM"]

    assert 2 == len(stages)
    assert stages[0] == f"{stages[1]} AS build"
    assert ("COPY", "--from=build /opt/regshim /opt/regshim") in every


def test_dockerfile__runs_as_a_number() -> None:
    """Kubernetes checks runAsNonRoot by the number; a name would be refused."""
    user, group = final_stage()["USER"].split(":")

    assert int(user) == int(group) == 10001


def test_dockerfile__sets_no_key_of_the_config() -> None:
    """The environment is over the file: a key set here could not be changed in a config."""
    assert [] == [rest for name, rest in instructions() if name == "ENV" and "REGSHIM_" in rest]


def test_dockerfile__its_ports_and_files_are_those_of_its_config() -> None:
    """EXPOSE, VOLUME and CMD say what the config in the image says."""
    environment = {"REGSHIM_UPSTREAM__URL": "https://registry.example.com"}
    text = (DEPLOY / "image-config.yaml").read_text(encoding="utf-8")
    config = parse(text, environment)
    stage = final_stage()

    assert f"{config.listen.port} {config.admin.port}" == stage["EXPOSE"]
    assert str(config.translate.signing_key_file).startswith(stage["VOLUME"] + "/")
    assert ["serve", "--config", "/etc/regshim/config.yaml"] == json.loads(stage["CMD"])
    assert ("COPY", "deploy/image-config.yaml /etc/regshim/config.yaml") in instructions()


def test_dockerignore__lets_through_what_is_copied_and_no_more() -> None:
    """All is left out but the sources of COPY, each of which exists."""
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    allowed = {pattern[1:] for pattern in patterns if pattern.startswith("!")}

    assert "*" == patterns[0]
    assert copied == allowed
    assert [] == [source for source in copied if not (ROOT / source).exists()]


async def test_healthcheck__alive_proxy(registry: Registry, tmp_path: Path) -> None:
    """The command of HEALTHCHECK answers 0 in front of a proxy, though its upstream is gone."""
    check = final_stage()["HEALTHCHECK"]
    command = json.loads(check[check.index("[") :])
    async with serving(tmp_path, registry.url) as served:
        port = served.admin.rpartition(":")[2]
        registry.fault(None, ".*", status=503)
        result = await run(
            sys.executable, "-I", str(HEALTHCHECK), env={"REGSHIM_ADMIN__PORT": port}
        )

    assert ["/opt/regshim/bin/python", "-I", "/opt/regshim/healthcheck.py"] == command
    assert (0, "") == (result.returncode, result.stderr)


async def test_healthcheck__nobody_listens() -> None:
    """It answers 1, without a traceback."""
    env = {"REGSHIM_ADMIN__PORT": str(free_port())}
    result = await run(sys.executable, "-I", str(HEALTHCHECK), env=env)

    assert (1, "") == (result.returncode, result.stderr)


async def test_healthcheck__somebody_else_listens(registry: Registry) -> None:
    """A server that has no /livez is not the proxy's admin port."""
    env = {"REGSHIM_ADMIN__PORT": registry.url.rpartition(":")[2]}
    result = await run(sys.executable, "-I", str(HEALTHCHECK), env=env)

    assert (1, "") == (result.returncode, result.stderr)
