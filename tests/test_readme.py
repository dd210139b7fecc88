"""The README's commands, run as a newcomer would: a fresh checkout, an empty HOME, nothing else."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.checkout import fresh_checkout, fresh_environment
from tests.docs.pages import DOCS, README, ROOT, blocks
from tests.peers import require_peer
from tests.sample_server import sample_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry import Registry

INSTALL_SECONDS = 240
# `make test` of the checkout must not come back here, and has been run as a whole by whoever runs
# this: a part of the suite tells whether the command works. So few tests cover less than all do.
PART = {
    "PYTEST_ADDOPTS": "-m 'not peer' tests/spec tests/test_errors.py",
    "LEAST_CORE_COVERAGE": "0",
    "LEAST_COVERAGE": "0",
}
# What the printed curl lines get, in their order.
PROMISED = (
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
)


def commands() -> list[str]:
    """Return the commands of the README's shell blocks, without comments."""
    lines = "".join(blocks(README, "sh")).splitlines()
    return [shlex.join(words) for line in lines if (words := shlex.split(line, comments=True))]


def test_readme__two_commands() -> None:
    """The README's shell blocks hold two commands; the test below runs just these."""
    assert commands() == ["make run", "make test"]


@pytest.mark.parametrize("page", [README, DOCS / "quickstart.md"], ids=lambda page: str(page.name))
async def test_configuration__of_a_newcomer_serves(
    registry: Registry, tmp_path: Path, page: Path
) -> None:
    """The configuration that a newcomer copies passes its check and serves, where nothing is yet.

    Only the upstream and the ports are others.
    """
    (tmp_path / "config.yaml").write_text(blocks(page, "yaml")[0], encoding="utf-8")
    here = {
        "REGSHIM_UPSTREAM__URL": registry.url,
        "REGSHIM_LISTEN__PORT": "0",
        "REGSHIM_ADMIN__PORT": "0",
    }

    async def start(command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", command, "-c", "config.yaml"),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **here},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    check = await start("check")
    said, _ = await check.communicate()
    serve = await start("serve")
    assert serve.stderr is not None
    line = await serve.stderr.readline()
    if serve.returncode is None:
        serve.terminate()
    await serve.communicate()

    assert 0 == check.returncode, said.decode()
    assert b'"event": "serving"' in line, line
    assert 0 == serve.returncode
    assert (tmp_path / "signing-key.pem").is_file()


@pytest.mark.peer
def test_readme__commands_work(tmp_path: Path) -> None:
    """`make run` serves what its printed curl lines promise; `make test` passes.

    Both run in a fresh checkout with an empty HOME. `make test` is limited to a part of the
    suite by PYTEST_ADDOPTS, without this test: it would run itself without end.
    """
    for peer in ("make", "curl", "bash"):
        require_peer(peer)
    home = tmp_path / "home"
    home.mkdir()
    environment = fresh_environment(home)
    checkout = fresh_checkout(tmp_path / "regshim")
    run, test = commands()

    with sample_server(
        shlex.split(run), cwd=checkout, env=environment, seconds=INSTALL_SECONDS
    ) as said:
        printed = [line.strip() for line in said.replace("\\\n", " ").splitlines()]
        curls = [line for line in printed if line.startswith("curl ")]
        replies = [
            subprocess.run(["bash", "-c", line], env=environment, capture_output=True, check=True)
            for line in curls
        ]
    types = [re.search(rb"(?im)^content-type: (\S+)\r$", reply.stdout) for reply in replies]

    assert [promised.encode() for promised in PROMISED] == [found and found[1] for found in types]
    assert all(reply.stdout.startswith(b"HTTP/1.1 200 ") for reply in replies)

    tested = subprocess.run(
        shlex.split(test),
        cwd=checkout,
        env={**environment, **PART},
        capture_output=True,
        text=True,
        check=False,
    )

    assert tested.returncode == 0, (tested.stdout + tested.stderr)[-4000:]
    assert re.search(r"=+ [0-9]+ passed.* in ", tested.stdout)


async def test_make_run__config_with_a_blank_in_its_name() -> None:
    """`make run CONFIG=` takes any file name."""
    process = await asyncio.create_subprocess_exec(
        *("make", "--dry-run", "--no-print-directory", "run", "CONFIG=my config.yaml"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()

    assert said.decode().rstrip().endswith("serve --config 'my config.yaml'")
