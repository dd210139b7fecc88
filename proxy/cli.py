"""The `regshim` command, and the commands that it has.

Each command imports what it runs: `serve` needs next to nothing of it, for it hands over to
another process, and is to be there at once. From its first line on it ends well if told to stop.
"""

from __future__ import annotations

import sys

from proxy.process.beginning import end_well_if_told, fill_standard_streams, hold_back

if sys.argv[1:2] == ["serve"]:
    end_well_if_told()

import io
import os
from typing import Annotated, Final

import typer

from proxy import __version__
from proxy.commands import options  # noqa: TC001  typer reads the annotations
from proxy.commands.command import REFUSED, config_of, login_of, result_of, unusable
from proxy.errors import ConfigError

_SAMPLE_PORT: Final = 5000

main: Final = typer.Typer(
    name="regshim",
    help="Let old container clients pull from a modern OCI registry.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # frames of it would stand in logs and pipes, and fold what they hold
    pretty_exceptions_enable=False,  # a traceback with local variables may show secrets
)
key_commands: Final = typer.Typer(help="The key that schema 1 manifests are signed with.")
main.add_typer(key_commands, name="key")
config_commands: Final = typer.Typer(help="The configuration file.")
main.add_typer(config_commands, name="config")


def _show_version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


@main.callback()
def _begin(
    *,
    asked: Annotated[  # noqa: ARG001  told to the callback
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    fill_standard_streams()
    # What an encoding lacks is shown as an escape: no reason to end with a traceback.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@main.command("serve")
def serve_command(
    config_file: options.ConfigFileOrSample = None,
    *,
    sample: options.Sample = False,
    port: options.SamplePort = None,
) -> None:
    """Serve until stopped.

    Example: regshim serve -c config.yaml

    Example: regshim serve --sample
    """
    if sample == (config_file is not None):
        raise typer.BadParameter("give either --config FILE or --sample")
    if config_file is None:
        _serve_sample(_SAMPLE_PORT if port is None else port)
        return
    if port is not None:
        raise typer.BadParameter("--port is that of --sample; a configuration has listen.port")
    hold_back()
    # -P: whatever lies in the current directory is not what is meant.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "proxy.process.server", str(config_file)])  # noqa: S606  no shell is wanted


def _serve_sample(port: int) -> None:
    import asyncio

    from proxy import log
    from proxy.process.serving import serve_sample

    log.configure("info", "console")
    try:
        asyncio.run(serve_sample(typer.echo, port=port))
    except OSError as error:
        raise unusable(
            OSError(
                f"port {port} cannot be listened on: {os.strerror(error.errno or 0)}; "
                "try another one: --port 5050, or make run PORT=5050"
            )
        ) from None


@main.command("explain")
def explain_command(
    image: options.Image,
    config_file: options.ConfigFile,
    *,
    client: options.Client = "docker/1.9.1",
    arch: options.Architecture = "amd64",
    accept: options.Accept = None,
    username: options.Username = None,
    password_stdin: options.PasswordStdin = False,
    as_json: options.AsJson = False,
) -> None:
    """Show step by step what a client would get of an image.

    Nothing is kept: no key is made, no store is used.

    Example: regshim explain team/app:1 --client docker/1.9.1 --arch arm64 -c config.yaml
    """
    import msgspec

    from proxy.commands.console import show_explanation
    from proxy.commands.explain import explain_alone
    from proxy.printable import printable_json

    config = config_of(config_file)
    login = login_of(username, password_stdin=password_stdin)
    explanation = result_of(
        explain_alone(config, image, client=client, architecture=arch, accept=accept, login=login)
    )
    if as_json:
        typer.echo(printable_json(msgspec.json.format(msgspec.json.encode(explanation), indent=2)))
    else:
        show_explanation(explanation)
    if explanation.refusal is not None:
        raise typer.Exit(REFUSED)


@main.command("check")
def check_command(
    config_file: options.ConfigFile,
    *,
    offline: options.Offline = False,
    image: options.StoredImage = None,
) -> None:
    """Try each part of a configuration, and say what to mend.

    Exit code 0 if all works, 1 if something does not, 2 if the configuration is no valid one.

    Example: regshim check -c config.yaml --image team/app:1
    """
    from proxy.commands.check import check
    from proxy.commands.console import show_finding
    from proxy.commands.findings import Finding

    config = config_of(config_file)

    async def run() -> bool:
        works = True
        async for finding in check(config, image, offline=offline):
            show_finding(finding)
            works = works and finding.works is not False
        return works

    show_finding(Finding("configuration", works=True, found=f"{config_file} is valid"))
    if not result_of(run()):
        raise typer.Exit(REFUSED)


@main.command("warm")
def warm_command(
    images: options.Images,
    config_file: options.ConfigFile,
    *,
    engines: options.Engines = "docker-1.9,docker-17",
    arch: options.Architecture = "amd64",
    username: options.Username = None,
    password_stdin: options.PasswordStdin = False,
) -> None:
    """Translate images ahead of time, into the durable store.

    Exit code 0 if all is kept, 1 if some is not, 2 if there is nothing to begin with.

    Example: regshim warm team/app:1 team/app:2 --for docker-1.9,docker-17 -c config.yaml
    """
    from rich.console import Console
    from rich.progress import Progress

    from proxy.commands.console import show_warmed
    from proxy.commands.warm import warm_store

    config = config_of(config_file)
    login = login_of(username, password_stdin=password_stdin)
    with Progress(disable=not sys.stderr.isatty(), console=Console(stderr=True)) as bar:
        task = bar.add_task("translating", total=None)
        work = warm_store(
            config,
            images,
            engines,
            architecture=arch,
            login=login,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
        warmed, problem = result_of(work)
    show_warmed(warmed)
    if problem is not None:
        typer.echo(f"regshim: not all of it is kept: {problem}", err=True)
    if problem is not None or any(one.problem is not None for one in warmed):
        raise typer.Exit(REFUSED)


@main.command("inventory")
def inventory_command(
    config_file: options.ConfigFile,
    *,
    since: options.Since = None,
    as_json: options.AsJson = False,
    as_csv: options.AsCsv = False,
) -> None:
    """List the clients that still need this proxy.

    They are read from the durable store, the latest first.

    Example: regshim inventory --since 30d --csv -c config.yaml
    """
    from proxy.commands.console import show_inventory
    from proxy.commands.inventory import kept_inventory
    from proxy.inventory import report
    from proxy.printable import printable_json

    if as_json and as_csv:
        raise typer.BadParameter("give either --json or --csv")
    config = config_of(config_file)
    entries = result_of(kept_inventory(config, since))
    if as_json:
        typer.echo(printable_json(report.as_json(entries)))
    elif as_csv:
        typer.echo(report.as_csv(entries).encode(), nl=False)
    else:
        show_inventory(entries)


@config_commands.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of the configuration, for editors.

    Example: regshim config schema > regshim.schema.json
    """
    import msgspec

    from proxy.config.schema import json_schema

    typer.echo(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2))


@key_commands.command("show")
def key_show(config_file: options.ConfigFile) -> None:
    """Print the key's id and its public part, a JWK.

    The key is made if there is none yet.

    Example: regshim key show -c config.yaml
    """
    import msgspec

    from proxy.keyfile import load_or_create

    config = config_of(config_file)
    path = config.translate.signing_key_file
    if path is None:
        raise unusable(ConfigError("translate.signing_key_file: is not set: no key is kept"))
    try:
        key = load_or_create(path)
    except ConfigError as error:
        raise unusable(error) from None
    jwk = msgspec.json.encode(key.public_jwk()).decode()
    typer.echo(f"kid: {key.kid}\npublic JWK: {jwk}")


@main.command()
def version() -> None:
    """Print the version.

    Example: regshim version
    """
    typer.echo(f"regshim {__version__}")
