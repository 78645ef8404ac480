"""Switches by which frameworks compute without chance where they can: `reenact run --deterministic`.

They are set when a framework has been imported; what only its environment says, the supervisor has
set. Operations of PyTorch that have no deterministic form warn, and each such warning is noted with
the line of the script that led to it.

Covered: PyTorch 1.11 and later (algorithms, cuDNN), TensorFlow 2.8 and later.
Not covered: warnings that the script's own filters hold back.
"""

import os
import sys

from _reenact import chances

_MARK = " does not have a deterministic implementation"


def after(name, module):
    """Switch a framework that has just been imported."""
    if name == "torch":
        module.use_deterministic_algorithms(True, warn_only=True)
        module.backends.cudnn.benchmark = False
        module.backends.cudnn.deterministic = True
        _watch_warnings()
    elif name == "tensorflow" and os.environ.get("REENACT_SEED", "").isdigit():
        # Without a seed TensorFlow refuses then to draw anything.
        module.config.experimental.enable_op_determinism()


def _watch_warnings():
    import warnings

    show = warnings._showwarnmsg

    def _showwarnmsg(message):
        try:
            _look_at(str(message.message))
        except Exception as error:
            from _reenact import journal

            journal.failure("warnings of nondeterministic operations", error)
        show(message)

    warnings._showwarnmsg = _showwarnmsg


def _look_at(text):
    operation, mark, _ = text.partition(_MARK)
    if mark and len(operation) < 200:
        chances.note("operation", operation.split()[-1], sys._getframe(2), True)
