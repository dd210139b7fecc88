"""What the commands of cli.py do, but for `serve`: they look at a config, or ask what it serves."""
