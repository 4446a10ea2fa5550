"""Many cases from one folder, laid out as `segadversarial phantom` writes them: a folder for each subject."""

from __future__ import annotations

import re
from pathlib import Path

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.jobs.sources import CaseSource

_ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
_LABEL = re.compile(r"(^|[_-])(label|labels|seg|segmentation)$", re.IGNORECASE)


def subjects_in(folder: str | Path) -> list[CaseSource]:
    """The subjects of a folder, in the order of their names.

    Each subject is a folder of image files: one that is called label, seg, labels or segmentation (or ends so: P1_seg.nii.gz)
    holds the reference, each other is a channel of its file's name, without what all files of the subject begin with
    (P1_T1.nii.gz is T1).

    Raises:
        InputError: there is no such folder, or no subject in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; give one that holds a folder of image files for each subject.")
    found = [x for x in (_subject(place) for place in sorted(folder.iterdir()) if place.is_dir()) if x is not None]
    if not found:
        raise InputError(
            f"The folder {folder} holds no subjects; each must be a folder of image files in it, such as "
            f"{folder.name}/subject-1/T1.nii.gz and {folder.name}/subject-1/label.nii.gz."
        )
    return found


def _subject(folder: Path) -> CaseSource | None:
    files = {stem: path for path in sorted(folder.iterdir()) if path.is_file() and (stem := _stem(path))}
    labels = [stem for stem in files if _LABEL.search(stem)]
    if len(labels) > 1:
        raise InputError(f"The subject {folder} has several references ({', '.join(labels)}); leave one of them there.")
    channels = [stem for stem in files if stem not in labels]
    if not channels:
        return None
    common = _beginning([*files]) if len(files) > 1 else ""
    return CaseSource(
        channels={stem.removeprefix(common): str(files[stem]) for stem in channels},
        label=str(files[labels[0]]) if labels else None,
        name=folder.name,
    )


def _stem(path: Path) -> str:
    """A file's name without the ending of an image format; nothing for other files."""
    return next((path.name[: -len(ending)] for ending in _ENDINGS if path.name.lower().endswith(ending)), "")


def _beginning(names: list[str]) -> str:
    """What all names begin with, up to their last dash or underscore."""
    first, last = min(names), max(names)
    size = next((n for n, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))
    return first[: max(first[:size].rfind("_"), first[:size].rfind("-")) + 1]
