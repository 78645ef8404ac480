"""Find out a script's flags by reading it: command lines of many frameworks, or its globals."""

from reenact.project.detect.script import detect

__all__ = ["detect"]
