"""Placeholder until the real module lands (being written)."""
class MetricFileTail:
    def __init__(self, path): self.rejected = []
    def poll(self): return []
