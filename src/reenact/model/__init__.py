"""Frozen values that every layer speaks in: runs, operations, flags, metrics; and their JSON."""
