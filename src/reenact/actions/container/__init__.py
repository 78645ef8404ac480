"""Containers that run a run again: what is written for one, and what it makes of it."""
