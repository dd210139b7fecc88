"""The `regshim` command."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Final

import typer

from proxy import __version__, log
from proxy.app import serve, serve_sample
from proxy.config import load
from proxy.errors import ConfigError
from proxy.keyfile import load_or_create

main: Final = typer.Typer(
    name="regshim",
    help="Let old container clients pull from a modern OCI registry.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback with local variables may show secrets
)
_CONFIG_UNUSABLE: Final = 2

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="The YAML configuration.")
]


@main.command("serve")
def serve_command(
    config_file: ConfigFile = None,
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
    try:
        config = load(config_file, os.environ)
        key = load_or_create(config.translate.signing_key_file)
    except ConfigError as error:
        typer.echo(f"regshim: {error}", err=True)
        raise typer.Exit(_CONFIG_UNUSABLE) from None
    log.configure(config.log.level, config.log.format)
    asyncio.run(serve(config, key))


@main.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"regshim {__version__}")
