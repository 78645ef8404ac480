"""What a file is by the place where it lies: data, or something that every run reads.

Decided by the path alone, so that the same run comes to the same inputs everywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

SYSTEM = (
    "/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/", "/etc/", "/proc/",
    "/sys/", "/dev/", "/boot/", "/run/user/", "/run/systemd/", "/run/lock/",
    "/var/lib/", "/var/cache/", "/var/run/", "/snap/", "/nix/store/", "/gnu/store/", "/System/",
    "/Library/", "/opt/homebrew/",
)  # fmt: skip
"""What is installed, or made up by the system."""

_REENACT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_PACKAGES = re.compile(
    r"/(site-packages|dist-packages|node_modules|__pycache__|conda-meta)/"
    r"|/lib/python\d[.\d]*/|/R/[^/]*-library/|/\.(julia|m2|cargo|rustup|pyenv|nvm|conda|venv)/"
)

_OF_PYTHON = (".pyc", ".pyo", "/pyvenv.cfg")

_SETTINGS = tuple(
    f".{name}"
    for name in """cache/ config/ local/ matplotlib/ ipython/ jupyter/ keras/keras.json nv/ triton/
    aws/ ssh/ gnupg/ netrc gitconfig git-credentials bashrc bash_profile profile zshrc Rprofile
    Renviron Rhistory condarc npmrc npm/ java/ pki/ pythonrc python_history""".split()
)
"""Below the home directory."""

_CACHES = (
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "MPLCONFIGDIR", "IPYTHONDIR",
    "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "NUMBA_CACHE_DIR", "TRITON_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "CUDA_CACHE_PATH", "PIP_CACHE_DIR",
    "UV_CACHE_DIR", "PYTHONPYCACHEPREFIX", "CONDA_PKGS_DIRS", "R_LIBS_USER", "R_LIBS",
)  # fmt: skip
"""Variables that name directories of settings, caches and packages."""

_HUBS = (
    # Who, variables that name the directory, and where it is below the home directory otherwise.
    ("huggingface", ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE",
                     "TRANSFORMERS_CACHE"), ".cache/huggingface"),
    ("torch", ("TORCH_HOME",), ".cache/torch"),
    ("kagglehub", ("KAGGLEHUB_CACHE",), ".cache/kagglehub"),
    ("sklearn", ("SCIKIT_LEARN_DATA",), "scikit_learn_data"),
    ("keras", (), ".keras/datasets"),
    ("keras", (), ".keras/models"),
    ("nltk", ("NLTK_DATA",), "nltk_data"),
    ("tensorflow_datasets", ("TFDS_DATA_DIR",), "tensorflow_datasets"),
    ("tensorflow_hub", ("TFHUB_CACHE_DIR",), ".cache/tfhub_modules"),
    ("seaborn", ("SEABORN_DATA",), ".cache/seaborn"),
    ("openml", ("OPENML_CACHE_DIR",), ".cache/openml"),
    ("modelscope", ("MODELSCOPE_CACHE",), ".cache/modelscope"),
    ("whisper", (), ".cache/whisper"),
    ("clip", (), ".cache/clip"),
    ("gensim", ("GENSIM_DATA_DIR",), "gensim-data"),
    ("statsmodels", ("STATSMODELS_DATA",), "statsmodels_data"),
)  # fmt: skip


_OF_HUBS = frozenset("token stored_tokens trusted_list CACHEDIR.TAG version.txt".split())
_OF_HUBS_ENDINGS = (".lock", ".incomplete", ".tmp", ".partial", "-wal", "-shm", "-journal")


def is_of_hub_itself(path: str) -> bool:
    """Tell whether a file in a hub's cache is no data: a lock, a half download, who is logged in."""
    return path.endswith(_OF_HUBS_ENDINGS) or path.rpartition("/")[2] in _OF_HUBS


class Whereabouts(NamedTuple):
    """The directories of one run, each with a slash at its end.

    Attributes:
        own: of interpreters, and of Reenact: the probe is in every process.
        modules: where interpreters look for modules; what is no code in them may be data.
        hubs: origin and directory of caches in which data is kept that came from a network.
        settings: of programs, and their caches, where variables name them.
        home: the user's.
        temporary: where files are made that nobody wants to keep.
    """

    own: tuple[str, ...]
    modules: tuple[str, ...]
    hubs: tuple[tuple[str, str], ...]
    settings: tuple[str, ...]
    home: str
    temporary: tuple[str, ...]

    def origin(self, path: str) -> str | None:
        """Return which hub's cache a file is in, or None."""
        for origin, directory in self.hubs:
            if path.startswith(directory):
                return origin
        return None

    def what(self, path: str) -> str | None:
        """Return `system`, `packages`, `source` or `settings` for what is no data, None for what may be."""
        if path.startswith(SYSTEM):
            return "system"
        if path.startswith(self.own) or _PACKAGES.search(path) or path.endswith(_OF_PYTHON):
            return "packages"
        if path.endswith(".py") and path.startswith(self.modules):
            return "source"
        if path.startswith(self.settings):
            return "settings"
        if path.startswith(self.home) and path[len(self.home) :].startswith(_SETTINGS):
            return "settings"
        return None

    def is_temporary(self, path: str) -> bool:
        """Tell whether a file is where files do not stay."""
        return path.startswith(self.temporary)


def whereabouts(
    env: Mapping[str, str], hellos: Iterable[Mapping[str, object]], project: str
) -> Whereabouts:
    """Find out where things are for a run.

    Args:
        env: its environment.
        hellos: what the probe said in the Python processes that took part.
        project: its project's root: an interpreter's directory that holds it is not left out.
    """
    home = env.get("HOME") or os.path.expanduser("~")
    own = {_REENACT}
    modules: set[str] = set()
    for hello in hellos:
        own.update(str(hello[name]) for name in ("prefix", "base_prefix") if hello.get(name))
        path = hello.get("path")
        modules.update(str(entry) for entry in path if entry) if isinstance(path, list) else None
    hubs = []
    for origin, variables, place in _HUBS:
        named = [env[name] for name in variables if env.get(name)]
        hubs += [(origin, directory) for path in named for directory in path.split(os.pathsep)]
        hubs.append((origin, f"{home}/{place}"))
        if env.get("XDG_CACHE_HOME") and place.startswith(".cache/"):
            hubs.append((origin, f"{env['XDG_CACHE_HOME']}/{place[len('.cache/') :]}"))
    named = [at for name in _CACHES for at in env.get(name, "").split(os.pathsep)]
    temporary = [env.get("TMPDIR") or "/tmp", "/var/tmp", "/dev/shm"]  # noqa: S108
    return Whereabouts(
        own=tuple(sorted(f"{at}/" for at in own if not f"{project}/".startswith(f"{at}/"))),
        modules=tuple(sorted(f"{at}/" for at in modules if at.startswith("/"))),
        hubs=tuple((o, f"{os.path.normpath(d)}/") for o, d in hubs if d.startswith("/")),
        settings=tuple(f"{os.path.normpath(at)}/" for at in named if at.startswith("/")),
        home=f"{os.path.normpath(home)}/",
        temporary=tuple(f"{os.path.normpath(path)}/" for path in temporary),
    )
