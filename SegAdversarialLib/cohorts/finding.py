"""One name for many cases: `brats:FOLDER`, `csv:FILE`, `phantom:32`, or a path whose layout its content says."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.cohorts import brats, folders, manifest, msd, nnunet, phantoms, pictures, results
from SegAdversarialLib.cohorts.cohort import Cohort
from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.phantom import CHANNELS


class Layout(NamedTuple):
    """A way in which cases lie in files: what it is in words, and what finds its cases at a path (none: it is another)."""

    words: str
    entries: Callable[[Path], list[Entry]]


FOLDERS = {
    "msd": Layout(msd.WORDS, msd.entries),
    "nnunet": Layout(nnunet.WORDS, nnunet.entries),
    "results": Layout(results.WORDS, results.entries),
    "brats": Layout(brats.WORDS, brats.entries),
    "pictures": Layout(pictures.WORDS, pictures.entries),
    "folders": Layout(folders.WORDS, folders.entries),
}
"""The layouts of folders, in the order in which they are looked for."""

_CSV, _PHANTOM = "csv", "phantom"
_KINDS = (*FOLDERS, _CSV, _PHANTOM)


@checked(name="the path of a folder or a CSV file, or a name such as phantom:32")
def find(
    name: str | Path,
    *,
    label_names: Mapping[Any, str] | None = None,
    channels: Mapping[str, str] | None = None,
    resample: bool = False,
    replace_nonfinite: float | None = None,
    prefer: Literal["sform", "qform"] | None = None,
) -> Cohort:
    """Find the cases that a name stands for. Names and, of pictures, headers are read; nothing else is loaded.

    Args:
        name: a folder or a CSV file, or one of these with its layout before it: "brats:FOLDER", "msd:FOLDER",
            "nnunet:FOLDER", "results:FOLDER", "pictures:FOLDER", "folders:FOLDER", "csv:FILE"; or synthetic subjects:
            "phantom:32" (those of the seeds 0 to 31), "phantom:0-31@48" (at 48 voxels a side), "phantom:3,7".
        label_names: other names for label values, by the value or by the name that the layout gives it: {3: "ignore"},
            {"non-enhancing tumor": "necrotic core"}; an empty one takes a name away, so that the number counts.
        channels: other names for channels: {"T1w": "T1", "t1gd": "T1ce"}.
        resample, replace_nonfinite, prefer: how each case is read; see `Case.read`.

    Raises:
        InputError: there is nothing at the path, or no case in it; the message says what was looked for.
    """
    text = str(name)
    kind, place = _parts(text)
    if not place.strip():
        raise InputError(f'"{text}" names no folder or file; give one, or synthetic subjects such as phantom:32.')
    if kind == _PHANTOM:
        entries = phantoms.entries(place)
    else:
        kind, entries = _entries(kind, Path(place).absolute())
    changes: dict[str, object] = {"resample": resample, "replace_nonfinite": replace_nonfinite, "prefer": prefer}
    names = {str(key): value for key, value in (label_names or {}).items()}
    _check_renamed(channels or {}, entries, text)
    entries = [_changed(x, channels or {}, names, changes if x.phantom is None else {}) for x in _without_doubles(entries)]
    return Cohort.of(text, kind, entries)


def located(name: str, folder: Path) -> str:
    """A cohort's name with an absolute path; a relative one is meant from `folder`."""
    kind, place = _parts(name)
    if kind == _PHANTOM or not place.strip():
        return name
    return f"{kind}{':' if kind else ''}{(folder / place).absolute()}"


def _parts(text: str) -> tuple[str, str]:
    """The layout that a name gives, or nothing, and the rest."""
    kind, colon, place = text.partition(":")
    if colon and kind.lower() in _KINDS and not os.path.exists(text):
        return kind.lower(), place
    return "", text


def _entries(kind: str, path: Path) -> tuple[str, list[Entry]]:
    """The layout and the cases of what lies at a path."""
    if not path.exists():
        known = f"; before a colon may stand {', '.join(_KINDS)}" if ":" in path.name else ""
        raise InputError(f"There is no folder or file {path}; check the path{known}.")
    if path.is_file():
        if kind in ("", _CSV) and (kind or path.suffix.lower() in (".csv", ".tsv")):
            found = manifest.entries(path)
            if not found:
                raise InputError(f"The manifest {path} lists no case; give each case a line below the columns' names.")
            return _CSV, found
        raise InputError(f"{path} is a file, not a folder; a cohort is {_known()}.")
    if kind == _CSV:
        raise InputError(f"{path} is a folder; csv: takes {manifest.WORDS}.")
    for each, layout in FOLDERS.items():
        if kind in ("", each) and (found := layout.entries(path)):
            return each, found
    if kind:
        raise InputError(f"{path} holds no case of the layout {kind}: looked for was {FOLDERS[kind].words}.")
    raise InputError(f"{path} holds no case that is known: looked for was {_known()}.")


def _known() -> str:
    return "; ".join([*(x.words for x in FOLDERS.values()), manifest.WORDS, phantoms.WORDS])


def _check_renamed(channels: Mapping[str, str], entries: Sequence[Entry], cohort: str) -> None:
    """Refuse other names for channels that no case has, unless a channel is called so anyway.

    Raises:
        InputError: there is one.
    """
    known = dict.fromkeys(x for entry in entries for key in entry.channels for x in key.split(","))
    if not known:  # synthetic subjects
        known = dict.fromkeys(CHANNELS)
    called = {channels.get(x, x) for x in known}
    for name, wanted in channels.items():
        if name not in known and wanted not in called:
            shown = ", ".join(known)
            raise InputError(f"No case of {cohort} has a channel {name} that could be called {wanted}; it has {shown}.")


def _changed(entry: Entry, channels: Mapping[str, str], label_names: dict[str, str], changes: dict[str, object]) -> Entry:
    """The case as the user wants it read."""
    named = {",".join(channels.get(x, x) for x in key.split(",")): path for key, path in entry.channels.items()}
    names = dict(entry.label_names)
    for key, answer in label_names.items() if entry.phantom is None else ():
        values = [value for value, name in entry.label_names.items() if name.casefold() == key.casefold()] or [key]
        names |= dict.fromkeys(values, answer)
    names = {value: name for value, name in names.items() if name}
    return entry.model_copy(update={"channels": named, "label_names": names, **changes})


def _without_doubles(entries: list[Entry]) -> list[Entry]:
    """The cases; of several with one name all but the first are wrong, and get a name of their own."""
    seen: dict[str, int] = {}
    found = []
    for entry in entries:
        count = seen[entry.name.lower()] = seen.get(entry.name.lower(), 0) + 1
        if count > 1:
            problem = f"another case is called {entry.name}, too"
            entry = entry.model_copy(update={"name": f"{entry.name} ({count})", "problem": problem})
        found.append(entry)
    return found
