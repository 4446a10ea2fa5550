"""Where a user's own files of this software lie on this kind of computer."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

_WINDOWS = {"config": ("APPDATA", "Roaming"), "cache": ("LOCALAPPDATA", "Local")}
_MAC = {"config": "Application Support", "cache": "Caches"}
_OTHERS = {"config": ("XDG_CONFIG_HOME", ".config"), "cache": ("XDG_CACHE_HOME", ".cache")}


def users_folder(kind: Literal["config", "cache"]) -> Path:
    """The folder for what a user has decided ("config"), or for what can be had again ("cache"); it need not be there."""
    if sys.platform == "win32":
        variable, name = _WINDOWS[kind]
        home = Path(os.environ.get(variable) or Path.home() / "AppData" / name)
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / _MAC[kind]
    else:
        variable, name = _OTHERS[kind]
        home = Path(os.environ.get(variable) or Path.home() / name)
    return home / "SegAdversarial"
