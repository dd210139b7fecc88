"""Tests of translate/, one file per module."""
