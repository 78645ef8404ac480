"""What is true before a run: source tree, version control, environment, machine."""
