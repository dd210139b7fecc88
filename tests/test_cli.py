"""The command: what it prints, and the status that it ends with."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import shutil
import signal
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from proxy import __version__
from proxy.cli import main
from proxy.inventory.archives import open_archive
from proxy.inventory.entry import Entry
from proxy.keyfile import load_or_create
from tests.images import make_image, push
from tests.inventory.contract import DAY, entry_of
from tests.peers import run
from tests.terminal import on_terminal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp
    from typer.testing import Result

    from tests.registry import Registry

pytestmark = pytest.mark.usefixtures("log_restored")

PYTHON = sys.executable
MINIMAL = "upstream: {url: 'http://127.0.0.1:1'}\n"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what would override the config of a test."""
    for name in os.environ:
        if name.startswith("REGSHIM_"):
            monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Give a valid config file."""
    return written(tmp_path / "config.yaml", MINIMAL)


def written(file: Path, text: str) -> Path:
    """Return the file, with that text in it."""
    file.write_text(text, encoding="utf-8")
    return file


def invoke(*arguments: str | Path, stdin: str | None = None) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


@asynccontextmanager
async def started(*arguments: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command as a process of its own; it has ended when the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, "-m", "proxy", *map(str, arguments)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def event(process: asyncio.subprocess.Process, name: str) -> dict[str, Any]:
    """Return the next log line with that event; fail with all that was said if it ends."""
    assert process.stderr is not None
    said = b""
    async for line in process.stderr:
        said += line
        entry: dict[str, Any] = json.loads(line)
        if entry["event"] == name:
            return entry
    pytest.fail(f"the command ended without saying {name!r}:\n{said.decode()}")


@pytest.mark.parametrize("asked", [["version"], ["--version"], ["--version", "serve"]])
def test_version__printed(asked: list[str]) -> None:
    """It prints its name and version, however it is asked."""
    result = invoke(*asked)

    assert (result.exit_code, result.stdout) == (0, f"regshim {__version__}\n")


async def test_module__is_the_command() -> None:
    """`python -m proxy` is the command."""
    result = await run(PYTHON, "-m", "proxy", "version")

    assert (result.returncode, result.stdout) == (0, f"regshim {__version__}\n".encode())


def test_help__shows_every_command() -> None:
    """Without arguments it tells what it can do."""
    result = invoke()

    for command in ("serve", "explain", "key", "version"):
        assert command in result.output
    assert "..." not in result.output.partition("Commands:")[2], "a summary is cut short"


def test_help__by_one_letter() -> None:
    """`-h` is help, of a command too."""
    assert invoke("--help").output == invoke("-h").output
    assert invoke("key", "show", "--help").output == invoke("key", "show", "-h").output


COMMANDS = (
    *(["serve"], ["explain"], ["check"], ["warm"], ["inventory"]),
    *(["key", "show"], ["config", "schema"], ["version"]),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help__has_an_example(command: list[str]) -> None:
    """The help of every command shows one that can be typed, and draws no frames around it."""
    shown = invoke(*command, "--help").output

    assert f"Example: regshim {' '.join(command)}" in shown
    assert set("╭│─") & set(shown) == set()


def test_help__of_every_command_is_looked_at() -> None:
    """The list above is whole."""
    names = {
        command.name or getattr(command.callback, "__name__", "")
        for command in main.registered_commands
    }
    groups = {group.name for group in main.registered_groups}

    assert names | groups == {command[0] for command in COMMANDS}


async def test_encoding__without_such_signs(config: Path, tmp_path: Path) -> None:
    """An output that can show ASCII alone is given that, and data all the same."""
    await asyncio.to_thread(inventory_of, config, tmp_path, [entry_of("10.0.0.1", at=time.time())])
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    outputs = []
    for command in (["check", "--offline"], ["inventory"], ["inventory", "--json"]):
        result = await run(PYTHON, "-m", "proxy", *command, "-c", str(config), env=ascii_only)
        assert (0, "") == (result.returncode, result.stderr)
        outputs.append(result.stdout.decode())
    checked, lines, document = outputs

    assert checked.startswith("ok configuration: ")
    assert r"oci\u2192schema1 (1)" in lines
    assert {"oci→schema1": 1} == json.loads(document)[0]["formats"]


@pytest.mark.parametrize("arguments", [["serve"], ["serve", "--sample", "--config", "x"]])
def test_serve__a_config_or_the_sample(arguments: list[str]) -> None:
    """Exactly one of --config and --sample is needed."""
    result = invoke(*arguments)

    assert result.exit_code == 2
    assert "give either --config FILE or --sample\n" in result.stderr


@pytest.mark.parametrize("port", ["5000", "6000"])
async def test_serve__port_of_a_config(config: Path, port: str) -> None:
    """A port beside a config is not passed over: the config says where to listen."""
    options = ("-c", str(config), "--port", port)
    result = await run(PYTHON, "-m", "proxy", "serve", *options)

    assert 2 == result.returncode
    assert "a configuration has listen.port\n" in result.stderr


@pytest.mark.parametrize(
    "command",
    [["explain", "a:b"], ["check"], ["warm", "a:b"], ["inventory"], ["key", "show"]],
)
def test_config__wrong_ends_with_2_and_the_key_path(config: Path, command: list[str]) -> None:
    """A wrong config ends any command with status 2 and one line that names file and key."""
    written(config, MINIMAL + "listen: {prot: 1}")
    result = invoke(*command, "-c", config)

    assert (2, "") == (result.exit_code, result.stdout)
    assert f"regshim: {config}: listen.prot: unknown key\n" == result.stderr


@pytest.mark.parametrize("command", [["explain", "a:b"], ["key", "show"]])
def test_key__unusable_ends_with_2(config: Path, tmp_path: Path, command: list[str]) -> None:
    """A key file that holds no key ends with status 2, its path, and nothing of its content."""
    key_file = tmp_path / "key.pem"
    written(key_file, "-----BEGIN planted-hunter2-----")
    written(config, f"{MINIMAL}translate: {{signing_key_file: {key_file}}}")
    result = invoke(*command, "-c", config)

    assert result.exit_code == 2
    assert str(key_file) in result.stderr
    assert "planted-hunter2" not in result.output


def test_key_show__made_on_first_use(config: Path, tmp_path: Path) -> None:
    """It prints the key id and the public JWK of the file, which is made if it is not there."""
    key_file = tmp_path / "key.pem"
    written(config, f"{MINIMAL}translate: {{signing_key_file: {key_file}}}")
    result = invoke("key", "show", "-c", config)
    key = load_or_create(key_file)
    first, second = result.stdout.splitlines()

    assert result.exit_code == 0
    assert first == f"kid: {key.kid}"
    assert json.loads(second.removeprefix("public JWK: ")) == key.public_jwk()
    assert '"d"' not in second


def test_key_show__no_file_configured(config: Path) -> None:
    """Without a key file there is no key to show."""
    result = invoke("key", "show", "-c", config)

    assert result.exit_code == 2
    assert "translate.signing_key_file: is not set" in result.stderr


async def test_explain__json(registry: Registry, config: Path) -> None:
    """--json prints what the client would get as one document."""
    await push(registry, "lib/app", "1", make_image())
    written(config, f"upstream: {{url: '{registry.url}'}}")
    result = await asyncio.to_thread(invoke, "explain", "lib/app:1", "-c", config, "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["media_type"] == SCHEMA1


async def test_explain__retries_are_not_in_the_document(registry: Registry, config: Path) -> None:
    """However it came to its answer, standard output holds the answer alone."""
    await push(registry, "lib/app", "1", make_image())
    registry.fault("GET", "/v2/lib/app/manifests/1", status=503, times=1)
    written(config, f"upstream: {{url: '{registry.url}'}}")
    result = await run(PYTHON, "-m", "proxy", "explain", "lib/app:1", "-c", str(config), "--json")

    assert (0, "") == (result.returncode, result.stderr)
    assert json.loads(result.stdout)["media_type"] == SCHEMA1


async def test_explain__makes_no_file(registry: Registry, config: Path, tmp_path: Path) -> None:
    """Neither the signing key nor the store: they are to belong to the user of the proxy."""
    await push(registry, "lib/app", "1", make_image())
    written(
        config,
        f"upstream: {{url: '{registry.url}'}}\n"
        f"translate: {{signing_key_file: '{tmp_path}/key.pem'}}\n"
        f"cache: {{store: 'sqlite:///{tmp_path}/translations.db'}}\n",
    )
    result = await asyncio.to_thread(invoke, "explain", "lib/app:1", "-c", config)

    assert result.exit_code == 0, result.output
    assert [config] == await asyncio.to_thread(lambda: list(tmp_path.iterdir()))


async def test_explain__for_a_person(registry: Registry, config: Path) -> None:
    """Without it, a table says the same in words."""
    await push(registry, "lib/app", "1", make_image())
    written(config, f"upstream: {{url: '{registry.url}'}}")
    result = await asyncio.to_thread(invoke, "explain", "lib/app:1", "-c", config)

    assert result.exit_code == 0, result.output
    assert "docker/1.9.1" in result.stdout
    assert SCHEMA1 in result.stdout


async def test_explain__refused_ends_with_1(registry: Registry, config: Path) -> None:
    """An image that the client cannot be given ends with status 1 and the reason."""
    await push(registry, "lib/app", "1", make_image(compression="zstd"))
    written(config, f"upstream: {{url: '{registry.url}'}}")
    result = await asyncio.to_thread(invoke, "explain", "lib/app:1", "-c", config)

    assert result.exit_code == 1, result.output
    assert "406" in result.stdout
    assert "zstd" in result.stdout


async def test_explain__upstream_away(config: Path) -> None:
    """An upstream that cannot be reached: 502 as the client would be told, and why; status 1."""
    result = await asyncio.to_thread(invoke, "explain", "lib/app:1", "-c", config)

    assert result.exit_code == 1
    assert "502" in result.stdout
    assert "cannot be reached: connection refused" in result.stdout


@pytest.mark.parametrize("image", ["", "lib/app:-", "LIB:1", "LIB"])
async def test_explain__no_image_ends_with_2(config: Path, image: str) -> None:
    """What names no image ends with status 2 and says what was expected."""
    result = await asyncio.to_thread(invoke, "explain", image, "-c", config)

    assert result.exit_code == 2
    assert "expected" in result.stderr


def test_explain__no_engine_ends_with_2(config: Path) -> None:
    """A client that is none is not taken for one that reads everything."""
    result = invoke("explain", "lib/app:1", "--client", "dokcer-1.9", "-c", config)

    assert result.exit_code == 2
    assert "--client: 'dokcer-1.9' is no engine that is known" in result.stderr


async def test_explain__engine_as_the_metrics_name_it(registry: Registry, config: Path) -> None:
    """`docker-1.9`, as `warm` takes it and a dashboard shows it, is Docker 1.9."""
    await push(registry, "lib/app", "1", make_image())
    written(config, f"upstream: {{url: '{registry.url}'}}")
    arguments = ("explain", "lib/app:1", "--client", "docker-1.9", "-c", config)
    result = await asyncio.to_thread(invoke, *arguments)

    assert result.exit_code == 0, result.output
    assert SCHEMA1 in result.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serve__until_a_signal(
    registry: Registry, http: aiohttp.ClientSession, config: Path, number: signal.Signals
) -> None:
    """It says where it serves, serves there, and ends with status 0 at SIGTERM or SIGINT."""
    text = f"{{upstream: {{url: '{registry.url}'}}, listen: {{port: 0}}}}"
    written(config, text)
    async with started("serve", "-c", config) as process:
        serving = await event(process, "serving")
        async with http.get(f"http://{serving['address']}/v2/") as ping:
            assert ping.status == 200
        access = await event(process, "request")
        process.send_signal(number)
        await event(process, "stopping")

        assert await process.wait() == 0
        assert serving["upstream"] == registry.url
        assert (access["method"], access["path"], access["status"]) == ("GET", "/v2/", 200)


async def test_serve__port_in_use_ends_with_2(registry: Registry, config: Path) -> None:
    """An address that cannot be served on ends with status 2 and is named."""
    port = registry.url.rpartition(":")[2]
    written(config, MINIMAL + f"listen: {{port: {port}}}")
    result = await run(PYTHON, "-m", "proxy", "serve", "-c", str(config))

    assert result.returncode == 2
    assert result.stderr.startswith(f"regshim: listen.port: 127.0.0.1:{port} is in use: ")


async def test_serve__sample_port_in_use_says_what_to_do(registry: Registry) -> None:
    """Something else on port 5000 is what a newcomer meets first: told with the way out."""
    result = await run(
        *(PYTHON, "-m", "proxy", "serve", "--sample", "--port", registry.url.rpartition(":")[2])
    )

    assert 2 == result.returncode
    said = "Address already in use; try another one: --port 5050, or make run PORT=5050"
    assert said in result.stderr


async def test_serve__certificates_missing_end_with_2(config: Path) -> None:
    """Certificates that cannot be read end with status 2, not with a traceback."""
    text = "upstream: {url: 'https://127.0.0.1:1', ca_file: /nonexistent/ca.pem}\nlisten: {port: 0}"
    written(config, text)
    result = await run(PYTHON, "-m", "proxy", "serve", "-c", str(config))

    assert result.returncode == 2
    assert "ca_file" in result.stderr
    assert "Traceback" not in result.stderr


def test_check__offline(config: Path, tmp_path: Path) -> None:
    """Offline the config and its files alone are looked at: no upstream is needed."""
    good = invoke("check", "-c", config, "--offline")
    key = written(tmp_path / "key.pem", "no key")
    text = f"{MINIMAL}translate: {{signing_key_file: '{key}'}}\n"
    bad = invoke("check", "-c", written(tmp_path / "bad.yaml", text), "--offline")

    assert (0, True) == (good.exit_code, "✓ configuration" in good.output)
    assert (1, True) == (bad.exit_code, "✗ signing key" in bad.output)


async def test_check__online(registry: Registry, tmp_path: Path) -> None:
    """With an upstream all is tried; without one the exit code says so."""
    file = written(tmp_path / "c.yaml", f"upstream: {{url: '{registry.url}'}}\n")
    good = await run(PYTHON, "-m", "proxy", "check", "-c", str(file))
    away = await run(
        PYTHON, "-m", "proxy", "check", "-c", str(written(tmp_path / "d.yaml", MINIMAL))
    )

    assert (0, 1) == (good.returncode, away.returncode)
    assert "✓ upstream: answers 200" in good.stdout.decode()
    assert "✗ upstream: the upstream cannot be reached" in away.stdout.decode()


async def test_warm__into_the_store(registry: Registry, tmp_path: Path) -> None:
    """Warming fills the durable store; without one there is nowhere to keep anything."""
    await push(registry, "lib/app", "1", make_image())
    store = tmp_path / "store.db"
    file = written(
        tmp_path / "c.yaml",
        f"upstream: {{url: '{registry.url}'}}\ncache: {{store: 'sqlite:///{store}'}}\n",
    )
    images = ("lib/app:1", "lib/app:absent")
    good = await run(PYTHON, "-m", "proxy", "warm", images[0], "-c", str(file))
    mixed = await run(PYTHON, "-m", "proxy", "warm", *images, "-c", str(file))
    none = written(tmp_path / "d.yaml", MINIMAL)
    without = await asyncio.to_thread(invoke, "warm", images[0], "-c", none)

    assert (0, 1, 2) == (good.returncode, mixed.returncode, without.exit_code)
    assert SCHEMA1 in good.stdout.decode()
    assert "the upstream answers 404" in mixed.stdout.decode()
    assert "cache.store" in without.output
    assert store.exists()


@pytest.mark.parametrize(
    ("store", "engines", "expected"),
    [
        ("sqlite:///{tmp}/absent/x.db", "docker-17", "cache.store: there is no directory"),
        ("redis://127.0.0.1:1/0", "docker-17", "cache.store: redis: ConnectionError"),
        ("sqlite:///{tmp}/x.db", "bogus-1", "--for: 'bogus-1' is no engine"),
        ("sqlite:///{tmp}/x.db", "", "--for: '' is no engine"),
    ],
)
def test_warm__cannot_begin(
    config: Path, tmp_path: Path, store: str, engines: str, expected: str
) -> None:
    """A store that does not keep, or an engine that nobody knows, ends it before it begins."""
    url = store.format(tmp=tmp_path)
    written(config, f"{MINIMAL}cache: {{store: '{url}'}}")
    result = invoke("warm", "lib/app:1", "--for", engines, "-c", config)

    assert (2, "") == (result.exit_code, result.stdout)
    assert expected in result.stderr


async def test_warm__store_lost_meanwhile(registry: Registry, config: Path, tmp_path: Path) -> None:
    """A store that is gone by the end has kept nothing, and that is said."""
    await push(registry, "lib/app", "1", make_image())
    directory = tmp_path / "store"
    await asyncio.to_thread(directory.mkdir)
    text = f"upstream: {{url: '{registry.url}'}}\ncache: {{store: 'sqlite:///{directory}/x.db'}}"
    written(config, text)
    asked = registry.fault("GET", "/v2/lib/app/manifests/1", wait=asyncio.Event())
    assert asked.wait is not None
    async with started("warm", "lib/app:1", "--for", "docker-1.9", "-c", config) as process:
        await asked.arrived.wait()
        await asyncio.to_thread(shutil.rmtree, directory)
        asked.wait.set()
        said, complaint = await process.communicate()

    assert 1 == process.returncode
    assert SCHEMA1 in said.decode()
    assert "not all of it is kept: cache.store: there is no directory" in complaint.decode()


def test_config_schema__json() -> None:
    """The schema is JSON that names the keys."""
    result = invoke("config", "schema")

    assert 0 == result.exit_code
    assert "upstream" in json.loads(result.output)["properties"]


def inventory_of(config: Path, directory: Path, entries: list[Entry]) -> None:
    """Make this the config of a proxy that has written an inventory of these entries."""
    store = f"sqlite:///{directory}/t.db"
    written(config, f"{MINIMAL}cache: {{store: '{store}'}}\ninventory: {{retention: 9999d}}")

    async def write() -> None:
        archive = open_archive(store, retention=9e9, max_entries=10, timeout=1)
        await archive.add(entries)
        await archive.close()

    asyncio.run(write())


@pytest.fixture
def inventoried(config: Path, tmp_path: Path) -> Path:
    """Give the config of a proxy that has written an inventory."""
    now = time.time()
    entries = [entry_of("10.0.0.1", at=now - 60), entry_of("10.0.0.2", at=now - 40 * DAY)]
    inventory_of(config, tmp_path, entries)
    return config


def test_inventory__json(inventoried: Path) -> None:
    """--json is an array, the latest first, of all that is kept."""
    result = invoke("inventory", "-c", inventoried, "--json")

    assert 0 == result.exit_code, result.output
    assert ["10.0.0.1", "10.0.0.2"] == [one["address"] for one in json.loads(result.stdout)]


def test_inventory__csv_since(inventoried: Path) -> None:
    """--csv is a table for a spreadsheet; --since leaves out who has not come for long."""
    result = invoke("inventory", "-c", inventoried, "--csv", "--since", "30d")
    (row,) = csv.DictReader(io.StringIO(result.stdout))

    assert ("docker/1.9.1", "10.0.0.1", "oci→schema1 (1)") == (
        row["engine"],
        row["address"],
        row["formats"],
    )


def test_inventory__plain_without_a_terminal(inventoried: Path) -> None:
    """In a pipe it is lines with tabs, and no escape sequence."""
    result = invoke("inventory", "-c", inventoried)

    assert 3 == len(result.stdout.splitlines())
    assert "docker/1.9.1\t10.0.0.1\tlib/app" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_inventory__whole_on_a_terminal(config: Path, tmp_path: Path, columns: int) -> None:
    """However wide a terminal is, all of an entry is there to be read, and words stay whole."""
    reason = (
        "layer 3 of lib/app is compressed with zstd, which Docker before 23.0 cannot read: "
        "push the image again with gzip layers"
    )
    entry = Entry(
        "docker/1.9.1",
        "fd00:1234:5678:9abc::1:2:3",
        "department/team/a-rather-long-name",
        1_800_000_000,
        1_800_086_400,
        12,
        {"oci→schema1": 11, "schema1 as stored": 1},
        {"ZstdLayer": 3},
        reason,
    )
    inventory_of(config, tmp_path, [entry])
    code, shown = on_terminal("inventory", "-c", config, columns=columns)
    first, *lines, last = shown.splitlines()

    assert (0, "1 client on the list") == (code, last)
    assert f"{entry.engine}  {entry.address}  {entry.repository}" == first
    assert all(line.startswith("  ") for line in lines)
    assert max(map(len, shown.splitlines())) <= columns
    assert (
        "seen 2027-01-15T08:00:00Z to 2027-01-16T08:00:00Z, 12 pulls: oci→schema1 (11); "
        f"schema1 as stored (1) refused 3: ZstdLayer (3): {reason}"
    ) == " ".join(" ".join(lines).split())


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        (MINIMAL, [], "cache.store: is not set"),
        (MINIMAL, ["--since", "soon"], "cache.store: is not set"),
        (f"{MINIMAL}cache: {{store: 'redis://127.0.0.1:1/0'}}", [], "redis"),
        (f"{MINIMAL}cache: {{store: 'sqlite:///x'}}", ["--since", "soon"], "--since: expected"),
        (MINIMAL, ["--json", "--csv"], "either --json or --csv"),
    ],
)
def test_inventory__unusable_ends_with_2(
    config: Path, text: str, arguments: list[str], expected: str
) -> None:
    """Without a durable store that answers, or with a wrong option, it ends with status 2."""
    result = invoke("inventory", "-c", written(config, text), *arguments)

    assert (2, "") == (result.exit_code, result.stdout)
    assert expected in result.stderr
