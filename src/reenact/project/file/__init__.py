"""The project file: read, validated, with everything that it inherits filled in."""
