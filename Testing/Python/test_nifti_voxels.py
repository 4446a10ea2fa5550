"""The voxels of NIfTI files: whole or refused, scaled as the header says, NaN and infinities found in every kind of file."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nifti_helpers import VOXELS, affine_at, refused, write_nifti

from SegAdversarialLib import Case, InputError
from SegAdversarialLib.volumes.reading import checked_label

PLACE: dict[str, Any] = {"sform": (affine_at(), 1)}


def packed(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data))
    return path


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9, 0.999])
def test_a_file_that_ends_early_is_refused(dtype: str, share: float, tmp_path: Path) -> None:
    whole = write_nifti(tmp_path / "whole.nii", VOXELS.astype(dtype) + 1, **PLACE)
    data, squeezed = whole.read_bytes(), gzip.compress(whole.read_bytes())
    plain, cut, named = tmp_path / "cut.nii", tmp_path / "cut.nii.gz", tmp_path / "named.nii.gz"
    plain.write_bytes(data[: int(len(data) * share)])
    cut.write_bytes(squeezed[: int(len(squeezed) * share)])
    packed(named, data[: int(len(data) * share)])  # cut before it was packed
    for path in (plain, cut, named):
        assert "incomplete" in refused({"CT": path}), path
        assert "incomplete" in refused({"CT": whole}, label=path), path


def test_damaged_packing_is_refused(tmp_path: Path) -> None:
    squeezed = bytearray(gzip.compress(write_nifti(tmp_path / "x.nii", **PLACE).read_bytes()))
    for at in (-8, -4, len(squeezed) // 2):  # check sum, length, content
        spoilt = bytearray(squeezed)
        spoilt[at] ^= 0x55
        (tmp_path / "x.nii.gz").write_bytes(spoilt)
        assert "x.nii.gz is damaged" in refused({"A": tmp_path / "x.nii.gz"})


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "x.nii", **PLACE, dim_1=32767, dim_2=32767, dim_3=32767)
    assert "incomplete: it holds 1024 bytes" in refused({"A": path})
    assert "incomplete: it holds at most" in refused({"A": packed(tmp_path / "x.nii.gz", path.read_bytes())})


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    for dtype in (np.int16, np.float32):
        plain = write_nifti(tmp_path / "plain.nii.gz", VOXELS.astype(dtype), **PLACE)
        squeezed = packed(tmp_path / "squeezed.nii", plain.read_bytes())
        capitals = packed(tmp_path / "CAPITALS.NII.GZ", plain.read_bytes())
        for path in (plain, squeezed, capitals):
            np.testing.assert_array_equal(Case.read({"A": path}).image[0], VOXELS)
    halves = plain.read_bytes()
    (tmp_path / "members.nii.gz").write_bytes(gzip.compress(halves[:400]) + gzip.compress(halves[400:]))
    np.testing.assert_array_equal(Case.read({"A": tmp_path / "members.nii.gz"}).image[0], VOXELS)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)
def test_types_orders_and_versions(version: int, order: str, dtype: str, tmp_path: Path) -> None:
    array = VOXELS.astype(dtype)
    path = write_nifti(tmp_path / "x.nii", array, version=version, order=order, **PLACE)
    case = Case.read({"A": path})
    np.testing.assert_array_equal(case.image[0], array)
    assert case.dtypes == (dtype if array.dtype.kind in "iu" else "float32",)
    np.testing.assert_allclose(case.affine, affine_at())


def test_pairs(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(VOXELS.T, affine_at()), tmp_path / "pair.img")
    nibabel.save(nibabel.Nifti1Pair(VOXELS.T, affine_at()), tmp_path / "small.img.gz")
    for name in ("pair.hdr", "pair.img", "small.hdr.gz", "small.img.gz"):
        np.testing.assert_array_equal(Case.read({"A": tmp_path / name}).image[0], VOXELS)
    voxels = tmp_path / "pair.img"
    voxels.write_bytes(voxels.read_bytes()[:-1])
    assert "pair.img is incomplete" in refused({"A": tmp_path / "pair.hdr"})
    voxels.unlink()
    assert "pair.img is not beside it" in refused({"A": tmp_path / "pair.hdr"})


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"),
    [(0, 5, VOXELS), (np.nan, np.nan, VOXELS), (1, 0, VOXELS), (2, -7, VOXELS * 2.0 - 7), (1, -1024, VOXELS - 1024.0)],
)
def test_scaling(slope: float, intercept: float, expected: np.ndarray, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "x.nii", **PLACE, scl_slope=slope, scl_inter=intercept)
    case = Case.read({"A": path})
    np.testing.assert_array_equal(case.image[0], expected)
    np.testing.assert_array_equal(case.image[0], nibabel.load(path).get_fdata().T)
    assert case.dtypes == ("int16" if expected is VOXELS else "float32",)


@pytest.mark.parametrize(("slope", "intercept"), [(np.inf, 0), (-np.inf, 0), (1, np.nan), (2, np.inf)])
def test_a_scaling_that_is_not_finite_is_refused(slope: float, intercept: float, tmp_path: Path) -> None:
    assert "scl_slope" in refused({"A": write_nifti(tmp_path / "x.nii", **PLACE, scl_slope=slope, scl_inter=intercept)})


def test_nan_and_infinities_in_every_kind_of_file(tmp_path: Path) -> None:
    spoilt = np.full((8, 7, 6), 50, np.float32)
    spoilt[3, 2, 1], spoilt[4, 4, 4], spoilt[0, 0, 0] = np.nan, np.inf, -np.inf
    nibabel.save(nibabel.Nifti1Pair(spoilt.T, affine_at()), tmp_path / "pair.img")
    files = {
        "plain": write_nifti(tmp_path / "plain.nii", spoilt, **PLACE),
        "double": write_nifti(tmp_path / "double.nii", spoilt.astype(np.float64), **PLACE),
        "one frame": write_nifti(tmp_path / "frame.nii", spoilt[None], **PLACE),
        "five dimensions": write_nifti(tmp_path / "five.nii", spoilt[None, None], **PLACE),
        "pair": tmp_path / "pair.hdr",
        "scaled": write_nifti(tmp_path / "scaled.nii", spoilt, **PLACE, scl_slope=2),
        "newer": write_nifti(tmp_path / "newer.nii", spoilt, version=2, **PLACE),
        "big": write_nifti(tmp_path / "big.nii", spoilt, order=">", **PLACE),
    }
    for what, path in files.items():
        assert "Channel A holds 3 voxel(s) that are NaN or infinite" in refused({"A": path}), what
        mended = Case.read({"A": path}, replace_nonfinite=-1024).image[0]
        assert (mended[~np.isfinite(spoilt)] == -1024).all() and mended[1, 1, 1] in (50, 100), what
    for shape in ((2, 1, 8, 7, 6), (2, 8, 7, 6)):  # two values for each voxel, two frames
        both = write_nifti(tmp_path / "both.nii", np.stack([spoilt, spoilt + 1]).reshape(shape), intent_code=1007, **PLACE)
        assert "NaN" in refused({"A,B": both})
        mended = Case.read({"A,B": both}, replace_nonfinite=7).image
        assert (mended[:, ~np.isfinite(spoilt)] == 7).all() and mended[1, 1, 1, 1] == 51


def test_frames_and_values(tmp_path: Path) -> None:
    three = np.stack([VOXELS, VOXELS + 1, VOXELS + 2])
    for shape in ((3, 8, 7, 6), (3, 1, 8, 7, 6)):
        path = write_nifti(tmp_path / "three.nii", three.reshape(shape), **PLACE)
        np.testing.assert_array_equal(Case.read({"A,B,C": path}).image, three)
        assert "holds 3 channel(s), but 1" in refused({"A": path})
    single = write_nifti(tmp_path / "single.nii", VOXELS.reshape(1, 1, 1, 1, 8, 7, 6), **PLACE)
    np.testing.assert_array_equal(Case.read({"A": single}).image[0], VOXELS)
    for shape in ((3, 2, 8, 7, 6), (2, 1, 1, 8, 7, 6), (2, 1, 1, 1, 8, 7, 6)):
        many = write_nifti(tmp_path / "many.nii", np.zeros(shape, np.int16), **PLACE)
        assert "in a file of their own" in refused({"A,B": many})


def test_colours_and_complex_numbers(tmp_path: Path) -> None:
    colours = np.zeros((8, 7, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["R"], colours["G"], colours["B"] = VOXELS % 256, 5, 7
    path = write_nifti(tmp_path / "colours.nii", colours, **PLACE, scl_slope=3)  # a scaling does not count for colours
    case = Case.read({"R,G,B": path})
    np.testing.assert_array_equal(case.image, np.stack([colours[x].astype(np.float32) for x in "RGB"]))
    assert "holds 3 channel(s), but 1" in refused({"T1": path})
    assert "holds 3 channel(s), but 1" in refused({"T1": write_nifti(tmp_path / "t1.nii", **PLACE)}, label=path)
    for dtype in ("complex64", "complex128"):
        assert "complex numbers" in refused({"A": write_nifti(tmp_path / "c.nii", VOXELS.astype(dtype), **PLACE)})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dim_0": 0}, "dim[0]"),
        ({"dim_0": 8}, "dim[0]"),
        ({"dim_0": -3}, "dim[0]"),
        ({"dim_2": 0}, "dim[2] is 0"),
        ({"dim_1": -6}, "dim[1] is -6"),
        ({"datatype": 1}, "datatype 1"),
        ({"datatype": 0}, "datatype 0"),
        ({"datatype": 1536}, "datatype 1536"),
        ({"datatype": 9999}, "datatype 9999"),
        ({"vox_offset": 100}, "vox_offset"),
        ({"vox_offset": 352.5}, "vox_offset"),
        ({"vox_offset": -1}, "vox_offset"),
        ({"vox_offset": np.nan}, "vox_offset"),
        ({"vox_offset": 10000}, "incomplete"),
        ({"magic": b"ni1"}, "lie in another file"),
        ({"magic": b""}, "Analyze 7.5"),
        ({"sizeof_hdr": 349}, "no NIfTI file"),
    ],
)
def test_fields_that_cannot_be_right(fields: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in refused({"A": write_nifti(tmp_path / "x.nii", **PLACE, **fields)})


def test_what_stands_between_header_and_voxels_is_skipped(tmp_path: Path) -> None:
    data = bytearray(write_nifti(tmp_path / "x.nii", **PLACE).read_bytes())
    struct.pack_into("<f", data, 108, 352 + 64)
    (tmp_path / "x.nii").write_bytes(data[:352] + b"\1" * 64 + data[352:] + b"more")
    np.testing.assert_array_equal(Case.read({"A": tmp_path / "x.nii"}).image[0], VOXELS)
    nothing = write_nifti(tmp_path / "nothing.nii", **PLACE, vox_offset=0)
    np.testing.assert_array_equal(Case.read({"A": nothing}).image[0], VOXELS)


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32"])
@pytest.mark.parametrize("top", [3, 4, 7, 104])
def test_labels_saved_with_a_scaling(kind: str, top: int, tmp_path: Path) -> None:
    """nibabel stores floats as integers with a slope: they come back beside whole numbers, by rounding or by much."""
    labels = np.zeros((8, 7, 6))
    labels[2:], labels[4:], labels[6:] = 1, 2, top
    image = nibabel.Nifti1Image(labels.T, affine_at())
    image.set_data_dtype(kind)
    nibabel.save(image, tmp_path / "seg.nii.gz")
    stored = np.asarray(nibabel.load(tmp_path / "seg.nii.gz").dataobj)
    files = {"CT": write_nifti(tmp_path / "ct.nii", **PLACE)}
    if np.abs(stored - np.rint(stored)).max() > 1e-3:
        sentence = refused(files, label=tmp_path / "seg.nii.gz")
        assert "seg.nii.gz must hold whole numbers" in sentence and "beside a whole one" in sentence
    else:
        np.testing.assert_array_equal(Case.read(files, tmp_path / "seg.nii.gz").label, labels)


def test_labels_that_are_none() -> None:
    whole = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(checked_label(whole + 2e-10, whole.shape), whole)
    for spoilt, words in (
        (whole + 0.5, "0.5 beside a whole one"),
        (whole * 1.01, "beside a whole one"),
        (np.where(whole == 5, np.nan, whole), "NaN"),
        (np.where(whole == 5, np.inf, whole), "infinities"),
        (whole * 10000, "-32768 to 32767"),
        (whole.astype(np.uint64) + 2**40, "-32768 to 32767"),
    ):
        with pytest.raises(InputError, match=words):
            checked_label(spoilt, whole.shape)
