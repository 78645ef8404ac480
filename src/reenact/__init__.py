"""Reenact: run it again, get the same result, and prove it."""

__version__ = "0.1.0"
