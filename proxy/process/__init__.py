"""The processes of `serve`: how each begins, listens, reloads and ends, and who looks after it."""
