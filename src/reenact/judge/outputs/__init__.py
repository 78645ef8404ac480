"""Compare two files that runs left, by what they say rather than by their bytes."""
