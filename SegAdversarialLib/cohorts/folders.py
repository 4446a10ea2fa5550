"""A folder of subject folders, in each a file for each channel and perhaps a reference, as `Case.write` writes them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.cohorts.listing import VOLUMES, ending_of, folders_below, stem_of, visible

WORDS = "a folder for each subject (T1.nii.gz, FLAIR.nii.gz, label.nii.gz)"

_REFERENCE = re.compile(r"label|labels|labelmap|seg|segm|segmentation|mask|lesions?|gt|groundtruth", re.IGNORECASE)


def entries(folder: Path) -> list[Entry]:
    """The subjects below a folder: each folder that holds volumes, called by them without what all their names share."""
    found = []
    for place in folders_below(folder):
        files = [x for x in visible(place) if ending_of(x.name, VOLUMES) and x.is_file()]
        if files:
            name = place.relative_to(folder).as_posix().replace("/", "_") if place != folder else folder.resolve().name
            found.append(_entry(name, files))
    return found


def is_reference(stem: str) -> bool:
    """Whether a word in a file's name says that it is a reference: "label", "seg_consensus", "case-mask"."""
    return any(_REFERENCE.fullmatch(word) for word in re.split(r"[\W_]+", stem))


def _entry(name: str, files: list[Path]) -> Entry:
    stems = [stem_of(x.name) for x in files]
    shared = _shared_start(stems)
    named = {stem[len(shared) :]: path for stem, path in zip(stems, files)}
    references = [x for x in named if is_reference(x)]
    channels = {x.replace(",", " "): str(path) for x, path in named.items() if x not in references}
    problem = f"several references: {', '.join(references)}" if len(references) > 1 else ""
    if len(named) < len(files):
        problem = "several files of one name that differ in their endings only"
    return Entry(
        name=name,
        patient=name,
        channels=channels,
        label=str(named[references[0]]) if references else None,
        problem=problem,
    )


def _shared_start(stems: list[str]) -> str:
    """What all names begin with, up to a sign between words: "subject1_" of subject1_t1 and subject1_t2."""
    shared = os.path.commonprefix(stems) if len(stems) > 1 else ""
    end = max((n + 1 for n, letter in enumerate(shared) if letter in "_-. "), default=0)
    return shared[:end] if all(len(x) > end for x in stems) else ""
