"""Classify wines by their chemistry."""
