"""Images with masks: folders `images/` and `masks/` with files of the same names, or `x.png` beside `x_mask.png`.

So lie the data of Pervin et al. 2023 (colon cancer and lumbar CT, slices as pictures), and most sets of single slices; in two
folders also volumes.
"""

from __future__ import annotations

import re
from pathlib import Path

from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.cohorts.listing import DICOM, ENDINGS, PICTURES, ending_of, folders_below, stem_of, visible
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.pictures import is_picture, picture_grid

WORDS = "pictures (images/x.png and masks/x.png, or x.png and x_mask.png)"

_IMAGES = ("images", "image", "imgs", "img")
_MASKS = ("masks", "mask", "labels", "label", "annotations", "ground_truth", "gt")
_MASK = re.compile(r"(?P<image>.+?)[_\- ](?:mask|seg|segmentation|label|gt)", re.IGNORECASE)
_SLICE = re.compile(r"(?P<patient>.+?)[_\- ](?:slice|slc|frame|z)[_\- ]?\d+", re.IGNORECASE)


def entries(folder: Path) -> list[Entry]:
    """The images with masks below a folder; none where no image has a mask."""
    found: list[Entry] = []
    paired: set[Path] = set()
    for place in folders_below(folder):
        if paired & {place, *place.parents}:
            continue
        names = {x.name.lower(): x for x in visible(place) if x.is_dir()}
        images = next((names[x] for x in _IMAGES if x in names), None)
        masks = next((names[x] for x in _MASKS if x in names), None)
        if images is not None and masks is not None:
            found += _in_two_folders(folder, images, masks)
            paired |= {images, masks}
        else:
            found += _side_by_side(folder, place)
    return found if any(x.label for x in found) else []


def _files(folder: Path, endings: tuple[str, ...] = ENDINGS) -> dict[str, Path]:
    """The images directly in a folder, by their names without endings."""
    return {stem_of(x.name): x for x in visible(folder) if ending_of(x.name, endings) and x.is_file()}


def _in_two_folders(root: Path, images: Path, masks: Path) -> list[Entry]:
    """The images in one folder, and below, with the masks at the same places in the other; `root` is the cohort's."""
    found = []
    for place in folders_below(images):
        inside = place.relative_to(images)
        own = _files(masks / inside)
        by_image = {(match["image"] if (match := _MASK.fullmatch(x)) else x): path for x, path in own.items()}
        start = images.parent.relative_to(root) / inside
        found += [_entry(start, x, path, by_image.get(x) or own.get(x)) for x, path in _files(place).items()]
    return found


def _side_by_side(root: Path, place: Path) -> list[Entry]:
    """The images directly in a folder, with the masks beside them."""
    files = _files(place, (*PICTURES, *DICOM))
    masks = {match["image"]: path for x, path in files.items() if (match := _MASK.fullmatch(x))}
    return [_entry(place.relative_to(root), x, path, masks.get(x)) for x, path in files.items() if path not in masks.values()]


def _entry(start: Path, stem: str, image: Path, mask: Path | None) -> Entry:
    """A case; its name is made of the folders from the cohort's on (`start`) and of the file's name without ending."""
    name = "_".join([*start.parts, stem])
    match = _SLICE.fullmatch(stem)
    patient = "_".join([*start.parts, *([match["patient"]] if match else [])]) or stem
    channels, problem = "image", ""
    try:
        if is_picture(image) and picture_grid(image)[1] == 3:
            channels = "R,G,B"
    except InputError as error:
        problem = str(error).rstrip(".")
    return Entry(
        name=name, patient=patient, channels={channels: str(image)}, label=str(mask) if mask else None, problem=problem
    )
