"""Tests of manifest/, one file per module."""
