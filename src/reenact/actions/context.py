"""Where an action takes place: the environment, the directory, the store, the project."""

from __future__ import annotations

import os
from collections.abc import Mapping

from reenact.errors import ReenactError
from reenact.model.run import Project
from reenact.snapshot.project_root import ProjectRoot, find_root, identify
from reenact.store.store import Store, locate_store


class Context:
    """What is true around a command. Everything is found when it is first asked for."""

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        directory: str | None = None,
        store: str | None = None,
    ) -> None:
        """Stand somewhere.

        Args:
            env: the environment; this process's own when None.
            directory: the working directory; this process's own when None.
            store: the store's directory; found as `locate_store` says when None.
        """
        self.env: Mapping[str, str] = dict(os.environ) if env is None else env
        try:
            self.directory = os.path.abspath(directory or ".")
        except FileNotFoundError:
            raise ReenactError(
                "the working directory is gone", hint="`cd` to one that exists"
            ) from None
        self.home = os.path.expanduser("~")
        self._store = Store(os.path.abspath(store)) if store else None
        self._root: ProjectRoot | None = None
        self._project: Project | None = None

    @property
    def store(self) -> Store:
        """The store that commands given here use; it may not exist yet."""
        if self._store is None:
            self._store = Store(locate_store(self.env, self.directory))
        return self._store

    @property
    def root(self) -> ProjectRoot:
        """Where the project is that this directory belongs to."""
        if self._root is None:
            self._root = find_root(self.directory, self.home)
        return self._root

    @property
    def project(self) -> Project:
        """The identity of that project."""
        if self._project is None:
            self._project = identify(self.root, self.env, self.store.cache_directory)
        return self._project
