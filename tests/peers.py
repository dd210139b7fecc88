"""Real peers for the tests marked `peer`: started by a test, on 127.0.0.1, ended by their pid.

A peer that is missing skips the test with its name; where CI=true it fails it, so that a machine
that is to run everything cannot quietly run less.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
_PORTS = (10_000, 30_000)  # Linux takes those of outgoing connections from 32,768 on
_ANY = random.SystemRandom()  # of its own: property tests seed the common one
START_SECONDS = 15
STOP_SECONDS = 5
ROOT = Path(__file__).parent.parent


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; in CI every peer must be there")
    pytest.skip(reason)


def require_peer(name: str) -> str:
    """Return the path of a program; skip the test without it, in CI fail it."""
    # nginx lives in sbin, which is not on every user's PATH.
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        _missing(f"the peer {name!r} is not installed")
    return found or ""


def npm_module(name: str) -> Path:
    """Return the directory of an npm package, from NODE_PATH or `.peers/node_modules`."""
    places = [Path(place) for place in os.environ.get("NODE_PATH", "").split(":") if place]
    for place in (*places, ROOT / ".peers" / "node_modules"):
        if (place / name / "package.json").is_file():
            return place / name
    _missing(f"the npm package {name!r} is neither in NODE_PATH nor in .peers/node_modules")
    raise AssertionError


def free_port() -> int:
    """Return a port that was free a moment ago, and that no outgoing connection is given."""
    while True:
        port = _ANY.randrange(*_PORTS)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind((HOST, port))
            return port


@dataclass(frozen=True)
class Peer:
    """A running peer."""

    port: int
    pid: int
    directory: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

    @property
    def address(self) -> str:
        """Host and port, as image names begin."""
        return f"{HOST}:{self.port}"


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until the peer listens; its own log says why if it does not."""
    deadline = time.monotonic() + START_SECONDS
    while not _answers(port):
        # The peer offers nothing to wait for but its port: its end, or a short while, between.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
        if process.poll() is not None or time.monotonic() > deadline:
            text = log.read_text(errors="replace")[-2000:]
            pytest.fail(f"{process.args!r} did not start on port {port}:\n{text}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the peer and whatever it has started: it leads a session of its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGTERM:
                process.send_signal(number)
            else:
                os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            return


@contextlib.contextmanager
def running(command: list[str], port: int, directory: Path) -> Iterator[Peer]:
    """Run a peer that will listen on this port until the end of the block."""
    log = directory / "peer.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_port(process, port, log)
        yield Peer(port, process.pid, directory)
    finally:
        _stop(process)


def registry_config(directory: Path, port: int, **options: object) -> dict[str, Any]:
    """Return docker-registry's configuration: deletes and schema 1 pushes allowed, quiet."""
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(directory / "registry")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"{HOST}:{port}"},
        "compatibility": {"schema1": {"enabled": True}},
    }
    config.update(options)
    return config


# docker-registry reads nothing but bcrypt, which Python's standard library cannot make.
HTPASSWD_U_P = "u:$2y$05$abcdefghijklmnopqrstuuqwWMzKt5N8p.u2GX5MuH1t19BMWuLOW"
"""The htpasswd line of user u with password p."""


@contextlib.contextmanager
def run_docker_registry(
    directory: Path, *, htpasswd: str | None = None, **options: object
) -> Iterator[Peer]:
    """Run Debian's docker-registry.

    `htpasswd` is the text of such a file (bcrypt; `HTPASSWD_U_P` is user u with password p);
    `options` replace top-level keys of its configuration.
    """
    program = require_peer("docker-registry")
    port = free_port()
    if htpasswd is not None:
        (directory / "htpasswd").write_text(htpasswd + "\n")
        auth = {"htpasswd": {"realm": "registry", "path": str(directory / "htpasswd")}}
        options = {"auth": auth, **options}
    config = directory / "config.yml"
    config.write_text(yaml.safe_dump(registry_config(directory, port, **options)))
    with running([program, "serve", str(config)], port, directory) as peer:
        yield peer


class StartRegistry(Protocol):
    """Starts a docker-registry that ends with the test."""

    async def __call__(self, *, htpasswd: str | None = None, **options: object) -> Peer:
        """Start one."""


class StartNginx(Protocol):
    """Starts an nginx that ends with the test."""

    async def __call__(self, http: str, *, port: int | None = None) -> Peer:
        """Start one with these lines in its http block; `{port}` in them is its port."""


@pytest.fixture
def start_docker_registry(tmp_path: Path) -> Iterator[StartRegistry]:
    """Give a function that starts a docker-registry with options."""
    with contextlib.ExitStack() as stack:

        async def start(*, htpasswd: str | None = None, **options: object) -> Peer:
            directory = Path(tempfile.mkdtemp(prefix="registry-", dir=tmp_path))
            peer = run_docker_registry(directory, htpasswd=htpasswd, **options)
            # In a thread: the wait for its port must not stop the loop of the test.
            return await asyncio.to_thread(stack.enter_context, peer)

        yield start


@pytest.fixture
def docker_registry(tmp_path: Path) -> Iterator[Peer]:
    """Give an empty docker-registry of the test's own."""
    directory = Path(tempfile.mkdtemp(prefix="registry-", dir=tmp_path))
    with run_docker_registry(directory) as peer:
        yield peer


@pytest.fixture(scope="session")
def docker_registry_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """Give a docker-registry that all tests share: use repository names of your own in it."""
    with run_docker_registry(tmp_path_factory.mktemp("docker-registry")) as peer:
        yield peer


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Peer]:
    """Give an empty Redis that keeps nothing."""
    program = require_peer("redis-server")
    port = free_port()
    directory = Path(tempfile.mkdtemp(prefix="redis-", dir=tmp_path))
    command = [program, "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no"]
    with running(command, port, directory) as peer:
        yield peer


NGINX = """\
daemon off;
master_process off;
worker_processes 1;
error_log stderr error;
pid {directory}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{http}
}}
"""


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[StartNginx]:
    """Give a function that starts nginx."""
    program = require_peer("nginx")
    with contextlib.ExitStack() as stack:

        async def start(http: str, *, port: int | None = None) -> Peer:
            directory = Path(tempfile.mkdtemp(prefix="nginx-", dir=tmp_path))
            port = port or free_port()
            lines = http.replace("{port}", str(port))
            config = directory / "nginx.conf"
            config.write_text(NGINX.format(directory=directory, http=lines))
            command = [program, "-p", str(directory), "-c", str(config)]
            peer = running(command, port, directory)
            return await asyncio.to_thread(stack.enter_context, peer)

        yield start


@dataclass(frozen=True)
class Result:
    """What a program said."""

    returncode: int
    stdout: bytes
    stderr: str


async def run(*command: str, env: dict[str, str] | None = None) -> Result:
    """Run a program to its end without stopping the loop that it may be talking to."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    try:
        stdout, stderr = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return Result(process.returncode or 0, stdout, stderr.decode(errors="replace"))


async def skopeo(*arguments: str) -> Result:
    """Run skopeo, trusting every image: signatures are not what is tested."""
    return await run(require_peer("skopeo"), "--insecure-policy", *arguments)


async def node(script: str, *arguments: str, modules: tuple[Path, ...] = ()) -> Result:
    """Run a script in Node.js with the directories of these `npm_module`s to require from."""
    path = ":".join(str(module.parent) for module in modules)
    return await run(require_peer("node"), "-e", script, *arguments, env={"NODE_PATH": path})
