"""Where a user's configuration is: looked for by every run, and mostly there is none."""

from __future__ import annotations

import os
from collections.abc import Mapping

PROJECT_NAMES = ("reenact-config.yml", "guild-config.yml")
"""A file of the project that replaces the user's; of two the first counts."""

VARIABLE = "REENACT_CONFIG"
"""Names the file that replaces both; empty: there is none."""


def find_user_config(directory: str, env: Mapping[str, str]) -> str | None:
    """Return the path of the configuration that counts in a project; None if there is none."""
    told = env.get(VARIABLE)
    if told is not None:
        return os.path.abspath(os.path.expanduser(told)) if told else None
    base = env.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    for path in (*(f"{directory}/{name}" for name in PROJECT_NAMES), f"{base}/reenact/config.yml"):
        if os.path.isfile(path):
            return path
    return None
