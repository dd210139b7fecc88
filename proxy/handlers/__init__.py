"""HTTP in, HTTP out. No translation, no httpx, no store."""
