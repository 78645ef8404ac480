"""Reenact: run it again, get the same result, and prove it."""
