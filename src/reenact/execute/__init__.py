"""Stage, supervise and close a run."""
