"""Placeholder until the real module lands (being written)."""
class EventDirectoryTail:
    def __init__(self, directory): pass
    def poll(self): return []
