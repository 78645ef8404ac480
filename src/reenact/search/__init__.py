"""Batches and searches: what flags are set to in which trial, and what the results say."""
