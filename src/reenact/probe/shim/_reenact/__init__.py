"""The probe: what Reenact does inside each of the user's Python processes.

Standard library only, Python 3.8 and later. Nothing here may raise into the script, change what it
computes or keep a file descriptor open.
"""
