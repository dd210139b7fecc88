"""Whole pulls through the proxy: models of real engines, and real clients and registries."""
