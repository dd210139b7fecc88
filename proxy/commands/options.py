"""What the commands can be told: each option and argument, with its word of help.

A type for each, for typer to read in a command's signature; several commands share some.
"""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="The YAML configuration.")
]
ConfigFileOrSample = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="The configuration.")
]
Sample = Annotated[
    bool, typer.Option("--sample", help="Serve in front of an embedded sample registry.")
]
SamplePort = Annotated[
    int | None,
    typer.Option("--port", metavar="PORT", min=0, max=65535, help="The port of --sample; 5000."),
]

Image = Annotated[str, typer.Argument(metavar="REPO:TAG")]
Images = Annotated[list[str], typer.Argument(metavar="REPO:TAG...")]
StoredImage = Annotated[
    str | None,
    typer.Option("--image", metavar="REPO:TAG", help="Tell in which format this is stored."),
]
Client = Annotated[
    str,
    typer.Option(
        "--client",
        metavar="ENGINE",
        help="The client: docker-1.9, or as its User-Agent begins, docker/1.9.1.",
    ),
]
Engines = Annotated[
    str, typer.Option("--for", metavar="ENGINE,...", help="Such as docker-1.9,docker-17.")
]
Architecture = Annotated[
    str,
    typer.Option(
        "--arch", metavar="ARCH", help="The architecture of its host, where it tells that."
    ),
]
Accept = Annotated[
    list[str] | None,
    typer.Option("--accept", metavar="TYPE", help="Instead of what it is known to send."),
]
Username = Annotated[
    str | None,
    typer.Option(
        "--username",
        metavar="NAME",
        help="To log in to the upstream with, instead of as configured.",
    ),
]
PasswordStdin = Annotated[
    bool,
    typer.Option(
        "--password-stdin", help="Read the password from standard input; else it is asked for."
    ),
]

Offline = Annotated[
    bool, typer.Option("--offline", help="Look at the configuration and its files alone.")
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Seen in the last … such as 30d or 12h."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
