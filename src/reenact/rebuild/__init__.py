"""Make the environment of a run again, from what its record says of it."""
