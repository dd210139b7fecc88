"""Translation: documents in, documents out. Nothing here waits, reads a clock or logs."""
