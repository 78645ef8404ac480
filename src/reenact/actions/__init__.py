"""One use case per module: the public Python API and what the command line calls; never prints."""
