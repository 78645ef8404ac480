"""What lives inside the user's Python processes: standard library only, Python 3.8 syntax."""
