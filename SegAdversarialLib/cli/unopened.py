"""What `segadversarial info` shows of a file that does not open as it stands: what it is, what is missing, what to type."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.trust import digest
from SegAdversarialLib.formats.unopened import NotOpened
from SegAdversarialLib.formats.verdicts import imports, verdict
from SegAdversarialLib.formats.weight_sets import WeightSet, weight_sets

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
        return f"segadversarial segment --channel NAME={path} --model NETWORK --output FOLDER"
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


def _weights(found: NotOpened) -> tuple[list[WeightSet], str]:
    """The sets of weights in a file, and what is wrong with them or it; nothing in it runs."""
    try:
        return weight_sets(found.path)
    except InputError as error:
        return [], str(error)
