"""What the build needs and nobody installs: run as `python -m tools.NAME` from the repository."""
