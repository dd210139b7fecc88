"""regshim: a reverse proxy that translates image manifests for old container clients."""

__version__ = "0.1.0"
