"""The voxels of NIfTI files: single files, pairs, compressed or not, whatever their names say."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.completeness import MOST_SQUEEZED, damaged, incomplete, is_gzip
from SegAdversarialLib.volumes.files import is_file
from SegAdversarialLib.volumes.geometry import Grid
from SegAdversarialLib.volumes.nifti_header import LONGEST_HEADER, NiftiHeader, read_header
from SegAdversarialLib.volumes.nifti_place import Prefer
from SegAdversarialLib.volumes.volume import Volume

_PAIRS = {".hdr": ".img", ".hdr.gz": ".img.gz", ".img": ".hdr", ".img.gz": ".hdr.gz"}


def is_nifti(path: Path) -> bool:
    """Whether a file's name is that of a NIfTI file, or of one of a pair."""
    return path.name.lower().endswith((".nii", ".nii.gz", *_PAIRS))


def read_nifti(path: Path, prefer: Prefer | None = None) -> list[Volume]:
    """The volumes in a NIfTI file: one, or one for each frame, value or colour of a voxel.

    Args:
        path: a .nii or .nii.gz file, or either file of a pair.
        prefer: the position to take of a file that gives two.

    Raises:
        InputError: the file is incomplete or no NIfTI file, or what its header says cannot be right.
    """
    header_path, header = _header_of(path)
    voxels_path = header_path if header.single else _voxels_beside(header_path)
    affine, space, notes = header.place.affine(prefer)
    stored = _voxels(voxels_path, header)
    if stored.dtype.names is not None:
        parts = [np.ascontiguousarray(stored[colour]) for colour in stored.dtype.names]
        parts = [frame for part in parts for frame in part] if header.frames == 1 else []
        if not parts:
            raise InputError(
                f"{path} holds {header.frames} frames in colour; save the one that you want in a file of its own."
            )
    else:
        parts = [_scaled(frame, header) for frame in stored]
    return [Volume(part, affine, space, notes) for part in parts]


def nifti_grid(path: Path, prefer: Prefer | None = None) -> tuple[Grid, int]:
    """Where the voxels of a NIfTI file are, and how many volumes it holds; nothing but its header is read.

    Raises:
        InputError: it is no NIfTI file, or what its header says cannot be right.
    """
    header = _header_of(path)[1]
    i, j, k = header.shape
    colours = len(header.dtype.names) if header.dtype.names is not None else 1
    return Grid((k, j, i), header.place.affine(prefer)[0]), header.frames * colours


def _header_of(path: Path) -> tuple[Path, NiftiHeader]:
    """The header, and the file that it is in."""
    header_path = path if _partner_kind(path) != ".hdr" else _partner(path)
    with _opened(header_path) as file:
        header = read_header(header_path, _read(file, LONGEST_HEADER, header_path))
    if header.single and header_path != path:
        raise InputError(f"{header_path} says that the voxels follow in it, and {path} is no part of it; give {header_path}.")
    return header_path, header


def _scaled(frame: np.ndarray, header: NiftiHeader) -> np.ndarray:
    if header.scaling is None:
        return frame
    slope, intercept = header.scaling
    return frame.astype(np.float64) * slope + intercept


def _voxels(path: Path, header: NiftiHeader) -> np.ndarray:
    """The stored numbers (frames, K, J, I) in the machine's byte order."""
    i, j, k = header.shape
    count = header.frames * math.prod(header.shape)
    needed = header.offset + count * header.dtype.itemsize
    with _opened(path) as file:
        packed = isinstance(file, gzip.GzipFile)
        held = path.stat().st_size * (MOST_SQUEEZED if packed else 1)
        if held < needed:  # asked before memory is taken for what a damaged header promises
            raise incomplete(path, f"at most {held}" if packed else held, needed)
        skipped = len(_read(file, header.offset, path))
        voxels = np.empty(count, header.dtype)
        buffer, filled = voxels.view(np.uint8).data, 0
        try:
            while filled < len(buffer) and (got := file.readinto(buffer[filled:])):  # type: ignore[attr-defined]
                filled += got
            while packed and file.read(1 << 20):  # to the end, where gzip compares its check sum
                pass
        except (EOFError, OSError, zlib.error) as error:
            raise damaged(path, error) from error
    if skipped + filled < needed:
        raise incomplete(path, skipped + filled, needed)
    return voxels.astype(header.dtype.newbyteorder("="), copy=False).reshape(header.frames, k, j, i)


def _opened(path: Path) -> IO[bytes]:
    """The file, unpacked where its content is packed: names are not to be relied on."""
    return gzip.open(path) if is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def _read(file: IO[bytes], count: int, path: Path) -> bytes:
    try:
        return file.read(count)
    except (EOFError, OSError, zlib.error) as error:
        raise damaged(path, error) from error


def _partner_kind(path: Path) -> str | None:
    name = path.name.lower()
    return ".hdr" if name.endswith((".img", ".img.gz")) else ".img" if name.endswith((".hdr", ".hdr.gz")) else None


def _partner(path: Path) -> Path:
    """The other file of a pair."""
    name = path.name
    ending = next(x for x in (".img.gz", ".hdr.gz", ".img", ".hdr") if name.lower().endswith(x))
    stem, other = name[: -len(ending)], ".hdr" if "img" in ending else ".img"
    candidates = [path.with_name(stem + x) for x in (_PAIRS[ending], other, f"{other}.gz", other.upper())]
    found = next((x for x in candidates if is_file(x)), None)
    if found is None:
        raise InputError(f"{path} is one file of a pair, but {candidates[0]} is not beside it; put both into one folder.")
    return found


def _voxels_beside(header_path: Path) -> Path:
    if _partner_kind(header_path) is None:
        raise InputError(
            f"{header_path} says that its voxels lie in another file (magic ni1 or ni2); name the pair .hdr and .img."
        )
    return _partner(header_path)
