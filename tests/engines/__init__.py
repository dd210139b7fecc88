"""Models of old container engines: each pulls exactly as the real one was seen to do."""
