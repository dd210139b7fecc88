"""Translations, kept by key and by digest. What fails here is a miss, never an error."""
