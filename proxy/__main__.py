"""`python -m proxy` is the `regshim` command."""

from proxy.cli import main

main()
