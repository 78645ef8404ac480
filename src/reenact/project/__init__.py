"""What can be run and with which flags: operations, flag detection, overrides in source."""
