"""One module for each framework; each says below which modules it waits for.

A module of this package has a function `after_<trigger with dots as underscores>(module)` for each
of its triggers. It is called once, right after that module has been executed. What it raises is
recorded and means "not captured"; the script does not notice.
"""

TRIGGERS = {}
"""Module that is imported -> module of this package."""


def apply(patch, trigger, module):
    """Let the module `patch` work on `module`, which has just been imported as `trigger`."""
    # `__import__` with a list of names returns the submodule; importlib is not loaded for it.
    known = __import__("_reenact.patches." + patch, None, None, ["*"])
    getattr(known, "after_" + trigger.replace(".", "_"))(module)
