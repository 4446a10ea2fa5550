"""What lies in folders: image files by their names, hidden ones and those of other programs left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

NIFTI = (".nii.gz", ".nii")
VOLUMES = (*NIFTI, ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr.gz", ".hdr", ".gipl.gz", ".gipl")
PICTURES = (".png", ".jpeg", ".jpg", ".tiff", ".tif", ".bmp")
DICOM = (".dcm", ".dicom", ".ima")
ENDINGS = (*VOLUMES, *PICTURES, *DICOM)
"""Endings of image files; longer ones before those that they end in."""


def ending_of(name: str, endings: tuple[str, ...] = ENDINGS) -> str:
    """The ending of an image file's name, nothing where it is none."""
    lowered = name.lower()
    return next((name[-len(x) :] for x in endings if lowered.endswith(x) and len(name) > len(x)), "")


def stem_of(name: str) -> str:
    """An image file's name without its ending."""
    return name.removesuffix(ending_of(name))


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, by name; hidden files left out, such as the ._ files that macOS puts beside others.

    A folder that cannot be entered is empty.
    """
    try:
        return sorted((x for x in folder.iterdir() if not x.name.startswith(".")), key=lambda x: x.name)
    except OSError:
        return []


def folders_below(folder: Path, deep: int = 6) -> Iterator[Path]:
    """A folder and all below it, down to `deep` levels; folders that are called like NIfTI files are files (`unpacked`)."""
    yield folder
    if deep:
        for path in visible(folder):
            if not ending_of(path.name, NIFTI) and os.path.isdir(path):
                yield from folders_below(path, deep - 1)


def unpacked(path: Path) -> Path:
    """The file itself, or the one NIfTI file in a folder that is called like it, as some programs unpack archives."""
    if not path.is_dir():
        return path
    inside = [x for x in visible(path) if ending_of(x.name, NIFTI) and x.is_file()]
    return inside[0] if len(inside) == 1 else path
