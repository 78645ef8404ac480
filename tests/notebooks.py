"""Make notebooks as Jupyter writes them."""

from __future__ import annotations

import json
from typing import Any


def notebook(*cells: str | dict[str, Any], metadata: dict[str, Any] | None = None) -> str:
    """Return the content of a notebook with these code cells; a dictionary adds to a cell."""
    made = []
    for number, cell in enumerate(cells):
        more = {"source": cell} if isinstance(cell, str) else cell
        made.append(
            {
                "cell_type": "code",
                "execution_count": None,
                "id": f"cell-{number}",
                "metadata": {},
                "outputs": [],
                **more,
            }
        )
    document = {"cells": made, "metadata": metadata or {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def tagged(source: str, *tags: str) -> dict[str, Any]:
    """Return a cell with tags."""
    return {"source": source, "metadata": {"tags": list(tags)}}
