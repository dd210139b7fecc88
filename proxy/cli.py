"""The `regshim` command."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from proxy import __version__, log
from proxy.app import connected
from proxy.client_rules import client_settings
from proxy.config import Config, load
from proxy.errors import ConfigError, RegistryError
from proxy.explain import Explanation, explain
from proxy.keyfile import load_or_create
from proxy.metrics import Metrics
from proxy.serving import serve, serve_sample
from proxy.translate.jws import SigningKey
from proxy.workers import WORKER, Supervisor, worker_command

main: Final = typer.Typer(
    name="regshim",
    help="Let old container clients pull from a modern OCI registry.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback with local variables may show secrets
)
key_commands: Final = typer.Typer(help="The key that schema 1 manifests are signed with.")
main.add_typer(key_commands, name="key")

_REFUSED: Final = 1
_UNUSABLE: Final = 2

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="The YAML configuration.")
]


def _load(config_file: Path) -> Config:
    try:
        return load(config_file, os.environ)
    except ConfigError as error:
        raise _unusable(error) from None


def _unusable(error: Exception) -> typer.Exit:
    typer.echo(f"regshim: {error}", err=True)
    return typer.Exit(_UNUSABLE)


@main.command("serve")
def serve_command(
    config_file: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="The configuration.")
    ] = None,
    *,
    sample: Annotated[
        bool, typer.Option("--sample", help="Serve in front of an embedded sample registry.")
    ] = False,
) -> None:
    """Serve until stopped."""
    if sample == (config_file is not None):
        raise typer.BadParameter("give either --config FILE or --sample")
    if config_file is None:
        log.configure("info", "console")
        asyncio.run(serve_sample(typer.echo))
        return
    config = _load(config_file)
    log.configure(config.log.level, config.log.format)
    try:
        code = asyncio.run(_serve(config, config_file))
    except (ConfigError, OSError) as error:
        raise _unusable(error) from None
    raise typer.Exit(code)


async def _serve(config: Config, config_file: Path) -> int:
    """Serve in this process, or look after several that do."""
    if WORKER in os.environ:
        await serve(config, SigningKey.from_pem(sys.stdin.buffer.read()))
        return 0
    key = load_or_create(config.translate.signing_key_file)
    if config.listen.workers == 1:
        await serve(config, key)
        return 0
    command = worker_command(config_file)
    ports = [(config.listen.host, config.listen.port), (config.admin.host, config.admin.port)]
    return await Supervisor(config.listen.workers, command, key.to_pem(), ports).run()


@main.command("explain")
def explain_command(
    image: Annotated[str, typer.Argument(metavar="REPO:TAG")],
    config_file: ConfigFile,
    *,
    client: Annotated[
        str, typer.Option(help="The client, as its User-Agent begins: docker/1.9.1.")
    ] = "docker/1.9.1",
    arch: Annotated[str, typer.Option(help="The architecture of its host.")] = "amd64",
    accept: Annotated[
        list[str] | None, typer.Option(metavar="TYPE", help="Instead of what it is known to send.")
    ] = None,
    username: Annotated[str | None, typer.Option(help="For an upstream with Basic auth.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a client would get of an image, step by step, and why.

    Example: regshim explain team/app:1 --client docker/1.9.1 --arch arm64 -c config.yaml
    """
    config = _load(config_file)
    password = sys.stdin.readline().rstrip("\n") if password_stdin else ""
    basic = None if username is None else (username, password)

    async def run() -> Explanation:
        key = load_or_create(config.translate.signing_key_file)
        async with connected(config, key, Metrics()) as connections:
            return await explain(
                connections.puller,
                client_settings(config),
                image,
                engine=client,
                architecture=arch,
                accept=accept,
                basic=basic,
            )

    try:
        explanation = asyncio.run(run())
    except (ConfigError, RegistryError) as error:
        raise _unusable(error) from None
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(explanation), indent=2))
    else:
        _show(explanation)
    if explanation.refusal is not None:
        raise typer.Exit(_REFUSED)


def _show(explanation: Explanation) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("image", explanation.image)
    table.add_row("client", explanation.user_agent)
    table.add_row("accepts", "\n".join(explanation.accept) or "(sends no Accept)")
    table.add_row("reads", ", ".join(explanation.reads) or "nothing")
    table.add_row("indexes", "\n".join(explanation.indexes) or "none")
    table.add_row("runs", ", ".join(explanation.platforms))
    table.add_row("because", "\n".join(explanation.reasons))
    for number, step in enumerate(explanation.steps, 1):
        table.add_row(f"step {number}", step)
    if explanation.refusal is not None:
        table.add_row("refused", f"{explanation.status} {explanation.refusal}")
    else:
        table.add_row("gets", explanation.media_type or f"status {explanation.status}")
        table.add_row("digest", explanation.digest or "")
        table.add_row("size", f"{explanation.size} bytes")
    Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty()).print(table)


@key_commands.command("show")
def key_show(config_file: ConfigFile) -> None:
    """Print the key's id and its public part as a JWK; make the key if there is none yet."""
    config = _load(config_file)
    path = config.translate.signing_key_file
    if path is None:
        raise _unusable(ConfigError("translate.signing_key_file: is not set: no key is kept"))
    try:
        key = load_or_create(path)
    except ConfigError as error:
        raise _unusable(error) from None
    jwk = msgspec.json.encode(key.public_jwk()).decode()
    typer.echo(f"kid: {key.kid}\npublic JWK: {jwk}")


@main.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"regshim {__version__}")
