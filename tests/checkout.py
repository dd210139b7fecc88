"""A fresh checkout, and the environment of somebody who has just made one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.peers import _missing, require_peer

ROOT = Path(__file__).parent.parent


def fresh_checkout(directory: Path) -> Path:
    """Copy the files that git tracks, as they are in the working tree, into an empty directory.

    A file that nobody has added to git is missing in it, as it would be for everybody else.
    """
    git = require_peer("git")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        _missing("this is no git repository: nobody can tell what a checkout of it would hold")
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, directory / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return directory


def fresh_environment(home: Path) -> dict[str, str]:
    """Return the environment of a new user with an empty HOME; only pip's index is as here."""
    # The interpreter itself comes first: a version manager's `python3` needs the old HOME.
    python = Path(sys.base_prefix) / "bin"
    environment = {"HOME": str(home), "PATH": f"{python}:/usr/bin:/bin", "LANG": "C.UTF-8"}
    environment |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    config = Path.home() / ".config" / "pip" / "pip.conf"
    if config.is_file():
        environment.setdefault("PIP_CONFIG_FILE", str(config))
    return environment
