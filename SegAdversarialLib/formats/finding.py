"""Which file a network's path means: the file itself, a built-in network, or the one network in a folder."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import builtin
from SegAdversarialLib.formats.described import described
from SegAdversarialLib.formats.fetching.catalogue import CATALOGUE, is_catalogued
from SegAdversarialLib.formats.recognition import recognise, recognise_folder
from SegAdversarialLib.formats.settings import settings_beside
from SegAdversarialLib.formats.unopened import NotOpened
from SegAdversarialLib.volumes.files import is_file

_ENDINGS = (".ts", ".torchscript", ".pt", ".pt2", ".pth", ".ckpt", ".safetensors")
_LARGEST_SETTINGS = 1 << 20


def is_name(path: object) -> bool:
    """Whether a network is named, and no path: a built-in one, or one of the catalogue (see `fetching`)."""
    return isinstance(path, str) and (builtin.is_builtin(path) or is_catalogued(path))


def network_file(path: str | Path) -> Path:
    """The network file that a path means.

    Args:
        path: a file, a built-in network's name, or a folder that holds one network.

    Raises:
        InputError: there is no such file or folder, or the folder holds no network or several.
    """
    if builtin.is_builtin(str(path)):
        return builtin.settings_file(str(path))
    found = Path(path)
    if os.path.isdir(found):
        return _in_folder(found)
    if not is_file(found):
        near = [x for x in CATALOGUE if x.lower() == str(path).lower()]
        raise InputError(f"There is no network file {found}; give a file, or {' or '.join([*builtin.names(), *near])}.")
    return found


def described_file(settings: Path) -> Path | None:
    """The network file beside a settings file and named like it; None: there is none, or there are several."""
    stem = settings.with_suffix("")
    found = [x for x in (stem, *(stem.with_name(stem.name + ending) for ending in _ENDINGS)) if is_file(x)]
    return found[0] if len(found) == 1 else None


def _in_folder(folder: Path) -> Path:
    try:
        files = sorted(x for x in folder.iterdir() if is_file(x) and not x.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"The folder {folder} cannot be read ({error.strerror or error}); give the network's file."
        ) from error
    settings = {x: _content(x) for x in files if x.suffix.lower() == ".json"}
    ensembles = [x for x, data in settings.items() if isinstance(data.get("members"), list)]
    if len(ensembles) == 1:  # its members may lie beside it
        return ensembles[0]
    complete = [x for x, data in settings.items() if isinstance(data.get("network"), dict) and data.get("weights")]
    belonging = {folder / str(settings[x].get("weights")) for x in complete}
    networks = [x for x in files if x.suffix.lower() in _ENDINGS and x not in belonging and settings_beside(x) not in complete]
    said = complete + [x for x in networks if settings_beside(x) is not None]
    if not (candidates := said or [x for x in networks if recognise(x).kind == "torchscript"]):
        if foreign := recognise_folder(folder):
            raise foreign.refusal(folder)
        candidates = networks  # what one is, and what it lacks, is said of the file
    if not said:
        candidates = candidates + _folders_of_networks(folder)
    if len(candidates) == 1 and candidates[0] in files:
        return candidates[0]
    if candidates:
        programs = [y for x in candidates for y in _programs(folder / str(settings.get(x, {}).get("weights") or x.name))]
        raise _which(folder, candidates, programs)
    shown = ", ".join(x.name for x in files[:5]) + (f" and {len(files) - 5} more files" if len(files) > 5 else "")
    raise InputError(
        f"The folder {folder} holds no network (found: {shown or 'no files'}); a JSON file that names a network and its "
        "weights, one TorchScript file, or the files of nnU-Net or of a MONAI bundle would be right."
    )


def _which(folder: Path, candidates: Sequence[Path], programs: Sequence[Path]) -> NotOpened:
    """Why a folder is not opened that holds several networks, or one in a folder of its own."""
    names = ", ".join(x.name for x in candidates)
    count = f"{len(candidates)} network{'s' if len(candidates) > 1 else ''}"
    which = "one of them, such as " if len(candidates) > 1 else ""
    message = f"The folder {folder} holds {count} ({names}); give {which}{candidates[0]}."
    lines = " or ".join(f"segadversarial info {shlex.quote(str(x))}" for x in candidates)
    runs = [f"the program in {x.relative_to(folder)}" for x in programs]
    what = f"a folder of {count} ({names})"
    return NotOpened(message, folder, what, ["which of them"], lines, programs=programs, runs=runs)


def _folders_of_networks(folder: Path) -> list[Path]:
    """The folders in a folder that are networks of other tools, also those of which something is missing."""
    return [x for x in sorted(folder.iterdir()) if os.path.isdir(x) and not x.name.startswith(".") and _is_network(x)]


def _is_network(folder: Path) -> bool:
    try:
        return described(folder) is not None
    except InputError:
        return True
    except OSError:
        return False


def _programs(path: Path) -> tuple[Path, ...]:
    """The files of a network that could run code."""
    try:
        if (foreign := described(path)) is not None:
            return foreign.files if foreign.runs else ()
        return (path,) if is_file(path) and recognise(path).kind == "torchscript" else ()
    except InputError:  # what is wrong with it is said when it is named
        return ()


def _content(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing if that is no object: other files may lie in a network's folder."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig")) if path.stat().st_size <= _LARGEST_SETTINGS else None
    except (OSError, ValueError, RecursionError):
        data = None
    return data if isinstance(data, dict) else {}
