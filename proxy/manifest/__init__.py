"""The documents of a registry: raw bytes kept beside a typed view of them."""
