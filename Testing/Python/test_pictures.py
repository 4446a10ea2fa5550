"""Pictures (PNG, JPEG, TIFF, BMP) as images of one slice, and masks beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import tifffile
from dicom_helpers import write_series
from PIL import Image

from SegAdversarialLib import Case, InputError
from SegAdversarialLib.volumes.reading import read_channel, read_label

GREY = np.random.default_rng(0).integers(1, 255, (5, 7), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(1, 255, (5, 7, 3), dtype=np.uint8)
LABEL = (GREY > 128).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    (Image.fromarray(pixels) if mode is None else Image.fromarray(pixels).convert(mode)).save(path, **options)
    return path


def opened(path: Path) -> np.ndarray:
    """One channel's pixels, (rows, columns)."""
    case = Case.read({"A": path})
    assert case.image.shape[:2] == (1, 1)
    return case.image[0, 0]


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_grey_pictures(ending: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"grey.{ending}", GREY, dpi=(300, 150))
    case = Case.read({"A": path})
    np.testing.assert_array_equal(case.image[0, 0], GREY)
    assert case.spacing == (1, 1, 1) and case.dtypes == ("uint8",)


def test_what_jpeg_keeps_is_read_as_pillow_does(tmp_path: Path) -> None:
    path = save(tmp_path / "grey.jpg", GREY, dpi=(72, 72))
    np.testing.assert_array_equal(opened(path), np.asarray(Image.open(path)))
    path = save(tmp_path / "colour.jpg", COLOUR)
    np.testing.assert_array_equal(Case.read({"R,G,B": path}).image[:, 0], np.asarray(Image.open(path)).transpose(2, 0, 1))


def test_more_than_eight_bits(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 257
    for path in (save(tmp_path / "deep.png", deep), save(tmp_path / "deep.tif", deep)):
        np.testing.assert_array_equal(opened(path), deep)
    fractions = GREY.astype(np.float32) / 3
    np.testing.assert_array_equal(opened(save(tmp_path / "fractions.tif", fractions)), fractions)


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_colours_are_three_channels(ending: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"colour.{ending}", COLOUR)
    case = Case.read({"R,G,B": path})
    np.testing.assert_array_equal(case.image[:, 0], COLOUR.transpose(2, 0, 1))
    assert case.channels == ("R", "G", "B")
    with pytest.raises(InputError, match=r"is a colour picture, but one channel was named .*\(R,G,B=.*convert it to grey"):
        Case.read({"T1": path})
    with pytest.raises(InputError, match="holds 3 channel.*2 were named"):
        Case.read({"R,G": path})


def test_three_equal_channels_are_grey(tmp_path: Path) -> None:
    path = save(tmp_path / "equal.png", np.dstack([GREY] * 3))
    np.testing.assert_array_equal(opened(path), GREY)
    np.testing.assert_array_equal(Case.read({"R,G,B": path}).image[:, 0], np.stack([GREY] * 3))


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_palettes_are_what_they_look_like(ending: str, tmp_path: Path) -> None:
    """The palette counts, not the numbers of its colours: here 0 is white."""
    picture = Image.fromarray(LABEL, "P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(tmp_path / f"palette.{ending}")
    np.testing.assert_array_equal(opened(tmp_path / f"palette.{ending}"), 255 - 255 * LABEL)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.save(tmp_path / f"palette.{ending}")
    case = Case.read({"R,G,B": tmp_path / f"palette.{ending}"})
    np.testing.assert_array_equal(case.image[:, 0], [255 - 255 * LABEL, 0 * LABEL, 255 * LABEL])


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_one_bit(ending: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"bits.{ending}", LABEL * 255, "1")
    np.testing.assert_array_equal(opened(path), LABEL * 255)
    np.testing.assert_array_equal(Case.read({"A": path}, path).label[0], LABEL)


def test_opaque_is_no_channel_and_clear_is_refused(tmp_path: Path) -> None:
    opaque, clear = np.full_like(GREY, 255), np.where(LABEL, 255, 0).astype(np.uint8)
    for ending in ("png", "tif"):
        path = save(tmp_path / f"rgba.{ending}", np.dstack([COLOUR, opaque]))
        np.testing.assert_array_equal(Case.read({"R,G,B": path}).image[:, 0], COLOUR.transpose(2, 0, 1))
        path = save(tmp_path / f"la.{ending}", np.dstack([GREY, opaque]))
        np.testing.assert_array_equal(opened(path), GREY)
        path = save(tmp_path / f"clear.{ending}", np.dstack([GREY, clear]))
        with pytest.raises(InputError, match=rf"holds {int((LABEL == 0).sum())} pixel\(s\) that are not opaque"):
            Case.read({"A": path})
    path = save(tmp_path / "key.png", GREY, transparency=int(GREY[0, 0]))
    with pytest.raises(InputError, match="not opaque"):
        Case.read({"A": path})


def test_what_is_refused(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[274] = 6
    tifffile.imwrite(tmp_path / "deep.tif", COLOUR.astype(np.uint16) * 257, photometric="rgb")
    tifffile.imwrite(tmp_path / "double.tif", GREY / 7.0)
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([GREY] * 4), photometric="minisblack")
    deep = SimpleITK.Compose([SimpleITK.GetImageFromArray(COLOUR[..., n].astype(np.uint16) * 257) for n in range(3)])
    SimpleITK.WriteImage(deep, str(tmp_path / "deep.png"))
    noise = np.random.default_rng(0).integers(0, 255, (90, 90), dtype=np.uint8)
    for ending in ("jpg", "png", "tif", "bmp"):
        whole = save(tmp_path / f"whole.{ending}", noise)
        (tmp_path / f"half.{ending}").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    refused = [
        ("deep.png", "16 bits for each colour"),
        ("deep.tif", "16 bits for each colour"),
        ("double.tif", "damaged or of a rare kind"),
        ("stack.tif", "holds 4 pages and does not say"),
        *((f"half.{ending}", "damaged or of a rare kind") for ending in ("jpg", "png", "tif", "bmp")),
        (save(tmp_path / "turned.jpg", COLOUR, exif=turned).name, "stored turned"),
        (save(tmp_path / "turned.tif", GREY, tiffinfo={274: 3}).name, "stored turned"),
        (save(tmp_path / "print.jpg", COLOUR, "CMYK").name, "CMYK colours"),
    ]
    for name, message in refused:
        with pytest.raises(InputError, match=message) as caught:
            Case.read({"R,G,B": tmp_path / name})
        assert "\n" not in str(caught.value)


def test_black_and_white_is_background_and_foreground(tmp_path: Path) -> None:
    image = save(tmp_path / "image.png", GREY)
    for name, mask in (
        ("grey", LABEL * 255),
        ("colour", np.dstack([LABEL * 255] * 3)),
        ("deep", LABEL.astype(np.uint16) * 65535),
    ):
        path = save(tmp_path / f"{name}.png", mask)
        np.testing.assert_array_equal(Case.read({"A": image}, path).label[0], LABEL)
    for value in (0, 255):  # a mask of nothing, and of all
        path = save(tmp_path / "one.png", np.full_like(GREY, value))
        assert np.unique(Case.read({"A": image}, path).label).tolist() == [value // 255]
    np.testing.assert_array_equal(read_label(tmp_path / "grey.png", Case.read({"A": image}).grid)[0], LABEL)


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 1), (0, 127, 255), (3, 255)])
def test_other_grey_values_are_labels_as_they_are(values: tuple[int, ...], tmp_path: Path) -> None:
    mask = np.array(values, np.uint8)[GREY.astype(int) % len(values)]
    image = save(tmp_path / "image.png", GREY)
    np.testing.assert_array_equal(Case.read({"A": image}, save(tmp_path / "mask.png", mask)).label[0], mask)


def test_masks_that_are_none(tmp_path: Path) -> None:
    image = save(tmp_path / "image.png", np.tile(GREY, (8, 8)))
    edges = np.roll(np.kron(LABEL, np.ones((8, 8), np.uint8)) * 255, 3, axis=(0, 1))  # not along JPEG's blocks
    noisy = save(tmp_path / "mask.jpg", edges, quality=60)
    count = len(np.unique(np.asarray(Image.open(noisy))))
    assert count > 2
    with pytest.raises(InputError, match=f"holds {count} values from 0 to 255: JPEG blurs masks; .*as PNG after a threshold"):
        Case.read({"A": image}, noisy)
    sharp = save(tmp_path / "sharp.jpg", np.kron(LABEL, np.ones((8, 8), np.uint8)) * 255, quality=95)
    assert set(np.unique(np.asarray(Image.open(sharp)))) == {0, 255}
    np.testing.assert_array_equal(Case.read({"A": image}, sharp).label[0], np.kron(LABEL, np.ones((8, 8), int)))
    colours = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)[edges // 255]
    with pytest.raises(InputError, match=r"is a colour picture \(2 colours\)"):
        Case.read({"A": image}, save(tmp_path / "colours.png", colours))


@pytest.mark.parametrize("resample", [False, True])
def test_pixels_decide_not_dots_per_inch(resample: bool, tmp_path: Path) -> None:
    image = save(tmp_path / "image.jpg", GREY, dpi=(96, 96))
    mask = save(tmp_path / "mask.png", LABEL * 255, dpi=(300, 300))
    case = Case.read({"A": image, "B": save(tmp_path / "other.tif", GREY, dpi=(72, 72))}, mask, resample=resample)
    np.testing.assert_array_equal(case.label[0], LABEL)
    np.testing.assert_array_equal(case.image[1, 0], GREY)
    smaller = save(tmp_path / "smaller.png", LABEL[:4])
    with pytest.raises(InputError, match="smaller.png has 7x4x1 pixels, .*image.jpg 7x5x1: .*same number of pixels"):
        Case.read({"A": image}, smaller, resample=resample)


def test_a_mask_beside_a_slice_with_a_place(tmp_path: Path) -> None:
    """A DICOM slice lies as it is shown, and so does a NIfTI slice with its axes; others could be any way up."""
    mask = save(tmp_path / "mask.png", LABEL * 255)
    (slice_file,) = write_series(tmp_path / "ct", GREY[None].astype(np.int16), spacing=(0.7, 0.7, 5))
    case = Case.read({"CT": slice_file}, mask)
    np.testing.assert_array_equal(case.label[0], LABEL)
    assert case.spacing == pytest.approx((0.7, 0.7, 5))
    np.testing.assert_array_equal(read_label(mask, case.grid)[0], LABEL)
    np.testing.assert_array_equal(Case.read({"A": mask}, case.write(tmp_path / "nifti")["label"]).label[0], LABEL)
    upright = Case(GREY[None, None], ("A",), np.diag([1.0, 1.0, 1.0, 1.0])).write(tmp_path / "ras")["A"]
    with pytest.raises(InputError, match="mask.png is a picture without a place, and the axes of .* are RAS"):
        Case.read({"A": upright}, mask)


def test_what_is_written_fits_the_picture(tmp_path: Path) -> None:
    image, mask = save(tmp_path / "image.png", COLOUR), save(tmp_path / "mask.png", LABEL * 255)
    case = Case.read({"R,G,B": image}, mask)
    written = case.write(tmp_path / "results")
    again = Case.read({"R": written["R"], "G": written["G"], "B": written["B"]}, written["label"])
    np.testing.assert_array_equal(again.image, case.image)
    np.testing.assert_array_equal(again.label, case.label)
    assert again.dtypes == case.dtypes == ("uint8",) * 3
    np.testing.assert_array_equal(read_channel(written["G"], case.grid)[0], COLOUR[..., 1])
