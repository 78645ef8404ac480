"""Bundles: runs with all that they need in one file, written, read and reproduced."""
