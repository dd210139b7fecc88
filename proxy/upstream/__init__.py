"""The registry behind the proxy: the only users of httpx."""
