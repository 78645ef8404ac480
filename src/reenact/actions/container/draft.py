"""A container's context on its way: its directory, and the recipe as far as it is known."""

from __future__ import annotations

import os
from typing import NamedTuple

from reenact.interop.container import Copy, Execute

OWN = "/opt/reenact"
"""Where in a container lies what is not the user's."""


class Mount(NamedTuple):
    """Data that is not part of the image.

    Attributes:
        source: where it is on this machine; None where it is not to be found.
        target: where the run looks for it.
        size_bytes: how much it is.
    """

    source: str | None
    target: str
    size_bytes: int


class Written(NamedTuple):
    """What was written.

    Attributes:
        directory: the context.
        image: name for the image.
        base: what it begins with.
        copied: how many inputs are part of it.
        mounts: inputs that are not.
        command: what it does.
        remarks: what is not as it was in the run.
    """

    directory: str
    image: str
    base: str
    copied: int
    mounts: tuple[Mount, ...]
    command: tuple[str, ...]
    remarks: tuple[str, ...]


class Draft:
    """What the parts of a context are added to.

    Args:
        directory: of the context, under the name that it has until it is complete.

    Attributes:
        steps: of the recipe, in their order.
        variables: of the container's processes.
        remarks: what is not as it was in the run.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.steps: list[Copy | Execute] = []
        self.variables: dict[str, str] = {}
        self.remarks: list[str] = []

    def copy(self, source: str, target: str, *, is_users: bool = False) -> None:
        """Let something of the context get into the image."""
        self.steps.append(Copy(source, target, is_users))

    def execute(self, *words: str) -> None:
        """Let a program be executed while the image is made."""
        self.steps.append(Execute(words))

    def write(self, name: str, content: str | bytes, mode: int | None = None) -> None:
        """Write one of its files."""
        data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
        path = f"{self.directory}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        if mode is not None:
            os.chmod(path, mode | 0o600)
