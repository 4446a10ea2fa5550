"""Pictures (PNG, JPEG, TIFF, BMP) as images of one slice.

A picture has no place: its dots per inch say how large it would be printed, not where its pixels were in a body. Its grid is
its pixels, 1 mm each, rows from top to bottom and columns from left to right (towards posterior and left, as DICOM slices are
shown). Pillow reads them: ITK's readers give a picture that was cut off as if it were whole, and palettes in 16 bits.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.volumes.geometry import Grid, orientation_of
from SegAdversarialLib.volumes.volume import ALIGNED, Space, Volume

if TYPE_CHECKING:
    from PIL import Image

_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
_SHOWN = ("LP", "PI", "LI")
"""Where columns and rows point in slices that are stored as radiologists see them: axial, sagittal, coronal."""
_ORIENTATION, _BITS = 274, 258
"""Tags of Exif and TIFF."""
_MODES = {
    "1": "L",
    **{mode: mode for mode in ("L", "I", "F", "RGB", "LA", "RGBA")},
    **{mode: mode for mode in ("I;16", "I;16B", "I;16L", "I;16N")},
    "PA": "RGBA",
}
"""What a picture of each of Pillow's modes is read as."""
_LARGE = 64 << 20
"""Bytes of a file whose content may really want more memory than there is."""
_COLOURED = {"P", "PA", "RGB", "RGBA"}
"""Modes that are read as three channels."""


def is_picture(path: str | Path) -> bool:
    """Whether a file is a picture, by its first bytes."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(4)
    except OSError:
        return False
    return start.startswith(_STARTS) and (not start.startswith(b"BM") or Path(path).suffix.lower() == ".bmp")


def read_picture(path: Path, names: Sequence[str]) -> list[Volume]:
    """The channels of a picture, one for each name: (1, rows, columns) each.

    Raises:
        InputError: it is damaged, has other channels than were named, transparent pixels, several pages, or is to be turned.
    """
    channels = _channels(path)
    if len(names) == 1 and len(channels) == 3:
        if not all(np.array_equal(channels[0], x) for x in channels[1:]):
            raise InputError(
                f"{path} is a colour picture, but one channel was named for it ({names[0]}); name its three channels "
                f"(R,G,B={path}), or convert it to grey."
            )
        channels = channels[:1]
    if len(channels) != len(names):
        raise InputError(f"{path} holds {len(channels)} channel(s), but {len(names)} were named for it: {', '.join(names)}.")
    return [_volume(channel) for channel in channels]


def read_picture_mask(path: Path) -> Volume:
    """A label map from a picture: its grey values; black and white (0 and the largest value) become labels 0 and 1.

    Raises:
        InputError: as `read_picture`, or it has colours, or a JPEG's noise.
    """
    channels = _channels(path)
    if any(not np.array_equal(channels[0], x) for x in channels[1:]):
        count = len(np.unique(np.stack(channels).reshape(len(channels), -1), axis=1).T)
        raise InputError(
            f"The mask {path} is a colour picture ({count} colours), and colours say no label; "
            "save it as a grey picture whose values are the labels."
        )
    values = channels[0]
    found = np.unique(values)
    white = np.iinfo(values.dtype).max if values.dtype in (np.uint8, np.uint16) else 255
    if set(found.tolist()) <= {0, white}:
        values = (values > 0).astype(np.uint8)
    elif _is_jpeg(path):
        raise InputError(
            f"The mask {path} holds {len(found)} values from {found[0]} to {found[-1]}: JPEG blurs masks; give it as PNG from "
            "before, or, if it is black and white, save it as PNG after a threshold at half."
        )
    return _volume(values)


def picture_grid(path: Path) -> tuple[Grid, int]:
    """Where the pixels of a picture are, and how many channels it has without an alpha channel; none of them is read.

    Raises:
        InputError: it is damaged, has several pages, or is to be turned.
    """
    with _opened(path) as picture:
        columns, rows = picture.size
        bands = 3 if picture.mode in _COLOURED else 1
    return Grid((1, rows, columns), _AFFINE), bands


def fits_pixels(grid: Grid, path: str | Path | None, other: Grid, other_path: str | Path) -> bool:
    """Whether a picture lies on another image pixel for pixel; False where neither is a picture, and places decide.

    Args:
        grid, path: an image and its file; None: a case, whose file is not known.
        other, other_path: what is to lie on the same pixels.

    Raises:
        InputError: one of them is a picture, and they do not fit.
    """
    files = [path or "the case", other_path]
    pictured = [is_picture(x) for x in files]
    if not any(pictured):
        return False
    sizes = ["x".join(str(n) for n in reversed(x.shape)) for x in (grid, other)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"{files[1]} has {sizes[1]} pixels, {files[0]} {sizes[0]}: a picture has no place, and lies on another pixel for "
            "pixel; bring both to the same number of pixels."
        )
    for placed, file, is_one in zip((grid, other), files, pictured):
        if not is_one and orientation_of(placed.affine)[:2] not in _SHOWN:
            raise InputError(
                f"{files[pictured.index(True)]} is a picture without a place, and the axes of {file} are "
                f"{orientation_of(placed.affine)}, not as a slice is shown: which way up they lie on each other is not known; "
                "give both in the same format."
            )
    return True


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"The picture {path} is damaged or of a rare kind ({detail_of(error)}); save it as PNG.")


def _volume(pixels: np.ndarray) -> Volume:
    return Volume(pixels[None], _AFFINE, Space.of(ALIGNED))


def _channels(path: Path) -> list[np.ndarray]:
    """The channels of a picture as (rows, columns), without an alpha channel in which all is opaque."""
    with _opened(path) as picture:
        mode = _MODES.get(picture.mode)
        if "transparency" in picture.info:
            mode = "LA" if picture.mode == "L" else "RGBA"
        elif picture.mode == "P":
            mode = "RGB"
        if mode is None:
            raise InputError(f"{path} is a picture in {picture.mode} colours; convert it to RGB or to grey.")
        pixels = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    channels = [pixels] if pixels.ndim == 2 else list(np.moveaxis(pixels, -1, 0))
    if len(channels) in (2, 4):
        clear = int((channels[-1] != 255).sum())
        if clear:
            raise InputError(
                f"{path} holds {clear} pixel(s) that are not opaque, whose intensity depends on what lies behind; "
                "save it without an alpha channel."
            )
        channels = channels[:-1]
    return channels


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A picture that is what it seems to be; a damaged one is refused, here or in the block."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a damaged header, Pillow warns and goes on
            with Image.open(path) as picture:
                _check(picture, path)
                yield picture
    except InputError:
        raise
    except MemoryError as error:
        if path.stat().st_size > _LARGE:
            raise
        raise _damaged(path, error) from error  # its header promises more than it can hold
    except Exception as error:  # Pillow raises whatever a damaged header leads to
        raise _damaged(path, error) from error


def _check(picture: Image.Image, path: Path) -> None:
    """Refuse what Pillow would read as something else than it is."""
    pages = int(getattr(picture, "n_frames", 1))
    if pages > 1:
        raise InputError(
            f"{path} holds {pages} pages and does not say whether they are slices or channels; save slices as a volume with "
            "its spacing (NIfTI, NRRD), channels as one picture each."
        )
    turned = picture.getexif().get(_ORIENTATION, 1)
    if turned not in (0, 1):
        raise InputError(
            f"{path} is stored turned (Exif orientation {turned}), and programs differ in whether they turn it back; "
            "save it the way it is to be read."
        )
    bits = getattr(picture, "tag_v2", {}).get(_BITS, (8,))
    if len(picture.getbands()) > 1 and (max(bits) > 8 or _png_bits(path) > 8):
        raise InputError(f"{path} has 16 bits for each colour, of which 8 would be lost; save each colour as a grey picture.")


def _png_bits(path: Path) -> int:
    """The bits of each channel of a PNG (its header's ninth byte); of other files 8."""
    with path.open("rb") as file:
        start = file.read(25)
    return start[24] if start.startswith(b"\x89PNG") and len(start) == 25 else 8


def _is_jpeg(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(3) == b"\xff\xd8\xff"
