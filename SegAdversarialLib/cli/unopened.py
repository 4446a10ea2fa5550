"""What `segadversarial info` shows of a file that does not open as it stands: what it is, what is missing, what to type."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from SegAdversarialLib.cohorts import folders
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.trust import digest
from SegAdversarialLib.formats.unopened import NotOpened
from SegAdversarialLib.formats.verdicts import imports, verdict
from SegAdversarialLib.formats.weight_sets import WeightSet, weight_sets
from SegAdversarialLib.volumes.dicom_frames import is_dicom
from SegAdversarialLib.volumes.headers import read_header

_WORDS = {"network": "the architecture that its weights belong to"}
_SETTINGS = ("network", "channels", "classes")


def unopened(found: NotOpened, said: Sequence[str] = ()) -> dict[str, Any]:
    """What a file is, by names of what is shown; `said` are the options with which it was described."""
    is_file = found.path.is_file()
    weights, problem = _weights(found) if "network" in found.missing else ([], "")
    programs = list(found.programs)
    runs = [*found.runs, *(imports(*programs) if found.never else [])]
    shown: dict[str, Any] = {
        "file": found.what,
        "files": [str(found.path)],
        "bytes": found.path.stat().st_size if is_file else None,
        "opens": "no" if found.never else "not yet",
        "missing": [_WORDS.get(x, x) for x in found.missing],
        "holds": [str(x) for x in weights],
        "problem": problem or found.problem,
        "could_run": runs,
        "scan": verdict(*programs) if programs else "",
        "sha256": [digest(x) for x in programs],
        "not_run": found.spared,
        "open_with": line_for(found, weights, said),
    }
    known = ("could_run",) if found.never else ("missing", "could_run")
    return {key: value for key, value in shown.items() if value not in ("", None, []) or key in known}


def line_for(found: NotOpened, weights: Sequence[WeightSet] = (), said: Sequence[str] = ()) -> str:
    """The one line that would open it, with capitals for what only its makers know; where no command does, what would."""
    path = shlex.quote(str(found.path))
    if any(x in found.what.partition("(")[0] for x in ("image", "picture")):
        return f"segadversarial segment {' '.join(_of_images(found.path))} --model NETWORK --output FOLDER"
    if found.what.startswith("a checkpoint of nnU-Net") or not found.missing or not set(found.missing) <= set(_SETTINGS):
        return found.way_out
    known = weights[0] if weights else None
    words = ["segadversarial", "info", path, *map(shlex.quote, said)]
    if found.runs:
        words.append("--trust")
    if "network" in found.missing:
        dimensions = f'"spatial_dims": {known.dimensions}, ' if known else ""
        words.append(f"""--architecture '{{"name": "UNet", "arguments": {{{dimensions}...}}}}'""")
        if len(weights) > 1:
            words.append(f"--weights-within {known.where}" if known else "")
    if "channels" in found.missing:
        words.append(f"--model-channels {','.join(f'CHANNEL{n}' for n in range(1, 1 + (known.channels if known else 1)))}")
    if "classes" in found.missing:
        names = [f"{n}=NAME{n}" for n in range(1, known.outputs if known else 2)]
        words.append(f"--classes {','.join(['0=background', *names])}")
    return " ".join(words)


def _of_images(path: Path) -> list[str]:
    """The options that give an image file, the series in a folder, or a folder's files, of which names say what each is."""
    named, reference = {"NAME": path}, ""
    if path.is_dir() and not any(is_dicom(x) for x in path.iterdir() if x.is_file()):
        entry = next((x for x in folders.entries(path) if x.name == path.resolve().name), None)
        if entry is None:
            return [f"--channel NAME={shlex.quote(str(path))}/FILE"]
        named, reference = {name: Path(x) for name, x in entry.channels.items()}, entry.label or ""
    options = [f"--channel {shlex.quote(f'{_names(name, place)}={place}')}" for name, place in named.items()]
    return [*options, *([f"--label {shlex.quote(reference)}"] if reference else [])]


def _names(name: str, path: Path) -> str:
    """A name for each channel in a file; one where its header cannot be read."""
    try:
        count = read_header(path).channels
    except InputError:
        count = 1
    return name if count == 1 else ",".join(f"{name}{n}" for n in range(1, 1 + count))


def _weights(found: NotOpened) -> tuple[list[WeightSet], str]:
    """The sets of weights in a file, and what is wrong with them or it; nothing in it runs."""
    try:
        return weight_sets(found.path)
    except InputError as error:
        return [], str(error)
