"""NRRD, MetaImage and the other formats that SimpleITK reads: what its readers pass over is checked, and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from nifti_helpers import affine_at, refused, write_nifti

from SegAdversarialLib import Case
from SegAdversarialLib.volumes.nrrd_header import NrrdHeader

VOXELS = np.arange(24, dtype="<i2").reshape(4, 3, 2) + 300
NRRD = "NRRD0004\ntype: short\nencoding: raw\nendian: little\n"
PLACED = "space directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (5,6,7)\n"
METAIMAGE = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nElementType = MET_SHORT\n"


def nrrd(path: Path, fields: str, shape: str = "dimension: 3\nsizes: 2 3 4\n") -> Path:
    path.write_bytes((NRRD + shape + fields).encode() + b"\n" + VOXELS.tobytes())
    return path


def metaimage(path: Path, tags: str, sizes: str = "2 3 4") -> Path:
    path.write_bytes(f"{METAIMAGE}DimSize = {sizes}\n{tags}ElementDataFile = LOCAL\n".encode() + VOXELS.tobytes())
    return path


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("scanner-xyz", (-1, -1, 1)),
        ("3D-right-handed", (-1, -1, 1)),
    ],
)
def test_spaces_of_nrrd(space: str, signs: tuple[int, int, int], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    case = Case.read({"A": nrrd(tmp_path / "x.nrrd", f"space: {space}\n{PLACED}")})
    np.testing.assert_array_equal(case.affine[:3], np.array(signs)[:, None] * [[1, 0, 0, 5], [0, 2, 0, 6], [0, 0, 3, 7]])
    np.testing.assert_array_equal(case.image[0], VOXELS)
    assert (space in caplog.text and "nothing about the patient" in caplog.text) == (
        space in ("scanner-xyz", "3D-right-handed")
    )


def test_a_space_without_a_name_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Case.read({"A": nrrd(tmp_path / "x.nrrd", f"space dimension: 3\n{PLACED}")})
    assert "not named" in caplog.text


def test_sizes_alone_are_no_orientation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    case = Case.read({"A": nrrd(tmp_path / "x.nrrd", "spacings: 1 2 3\n")})
    np.testing.assert_array_equal(case.affine, np.diag([1, 2, 3, 1]))
    assert "no space directions" in caplog.text and not case.space.known


@pytest.mark.parametrize(
    ("spacings", "sizes"), [("spacings: 4 nan 3\n", [4, 1, 3]), ("", [1, 1, 1]), ("spacings: 4 5 3\n", None)]
)
def test_voxels_without_a_size_are_said(
    spacings: str, sizes: list[int] | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = Case.read({"A": nrrd(tmp_path / "x.nrrd", spacings)})
    assert ("(spacings): 1 mm" in caplog.text) == (sizes is not None)
    assert list(case.spacing) == (sizes or [4, 5, 3])
    caplog.clear()
    Case.read({"A": metaimage(tmp_path / "y.mha", "" if sizes else "ElementSize = 4 5 3\n")})
    assert ("(ElementSpacing); 1 mm" in caplog.text) == (sizes is not None)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("m", 1000), ("cm", 10), ("um", 0.001), ("micrometers", 0.001)])
def test_units_of_nrrd(unit: str, factor: float, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    units = f'space: RAS\nspace units: "{unit}" "{unit}" "{unit}"\n'
    affine = Case.read({"A": nrrd(tmp_path / "x.nrrd", units + PLACED)}).affine
    np.testing.assert_allclose(affine[:3], np.array([[1, 0, 0, 5], [0, 2, 0, 6], [0, 0, 3, 7]]) * factor)
    assert ("turned into mm" in caplog.text) == (factor != 1)
    spacings = nrrd(tmp_path / "y.nrrd", f'spacings: 1 2 3\nunits: "{unit}" "{unit}" "{unit}"\n')
    np.testing.assert_allclose(Case.read({"A": spacings}).spacing, np.array([1, 2, 3]) * factor)


def test_units_that_are_none(tmp_path: Path) -> None:
    assert '"furlong"' in refused({"A": nrrd(tmp_path / "x.nrrd", f'space: RAS\nspace units: "furlong" "mm" "mm"\n{PLACED}')})
    assert "differ" in refused({"A": nrrd(tmp_path / "y.nrrd", f'space: RAS\nspace units: "mm" "mm" "cm"\n{PLACED}')})
    assert "DistanceUnits" in refused({"A": metaimage(tmp_path / "z.mha", "DistanceUnits = parsec\n")})


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("um", 0.001), ("cm", 10), ("?", 1)])
def test_units_of_metaimage(unit: str, factor: float, tmp_path: Path) -> None:
    tags = f"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 5 6 7\nElementSpacing = 1 2 3\nDistanceUnits = {unit}\n"
    affine = Case.read({"A": metaimage(tmp_path / "x.mha", tags)}).affine
    np.testing.assert_allclose(affine[:3], np.array([[-1, 0, 0, -5], [0, -2, 0, -6], [0, 0, 3, 7]]) * factor)


def test_what_metaimage_readers_pass_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "ElementToIntensityFunctionSlope = 2" in refused(
        {"A": metaimage(tmp_path / "x.mha", "ElementToIntensityFunctionSlope = 2\n")}
    )
    assert Case.read({"A": metaimage(tmp_path / "y.mha", "ElementToIntensityFunctionSlope = 1\n")}).image.sum() == VOXELS.sum()
    caplog.clear()
    Case.read({"A": metaimage(tmp_path / "z.mha", "AnatomicalOrientation = LPI\n")})
    assert "no directions" in caplog.text and "LPI" in caplog.text


@pytest.mark.parametrize("ending", ["nrrd", "mha", "vtk", "gipl", "gipl.gz", "mrc", "mnc", "hdf5"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_that_ends_early_is_refused(ending: str, compressed: bool, tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.random.default_rng(0).integers(1, 900, (6, 7, 8)).astype(np.int16))
    path = tmp_path / f"x.{ending}"
    SimpleITK.WriteImage(image, str(path), useCompression=compressed)
    np.testing.assert_array_equal(Case.read({"A": path}).image[0], SimpleITK.GetArrayFromImage(image))
    data = path.read_bytes()
    for kept in (len(data) // 2, len(data) - 2):
        path.write_bytes(data[:kept])
        sentence = refused({"A": path})
        assert "incomplete" in sentence or ending in ("mnc", "hdf5")


@pytest.mark.parametrize("ending", ["nhdr", "mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_voxels_in_a_file_of_their_own(ending: str, compressed: bool, tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.random.default_rng(0).integers(1, 900, (6, 7, 8)).astype(np.int16))
    path = tmp_path / f"x.{ending}"
    SimpleITK.WriteImage(image, str(path), useCompression=compressed)
    assert Case.read({"A": path}).shape == (6, 7, 8)
    (voxels,) = (x for x in tmp_path.iterdir() if x != path)
    voxels.write_bytes(voxels.read_bytes()[:-9])
    assert "incomplete" in refused({"A": path})
    voxels.unlink()
    assert voxels.name in refused({"A": path}) or "cannot be read" in refused({"A": path})


def test_damaged_compression_is_not_read_as_whatever_lies_in_memory(tmp_path: Path) -> None:
    assert "damaged" in refused({"A": metaimage(tmp_path / "x.mha", "CompressedData = True\nCompressedDataSize = 48\n")})


def test_numbers_as_text(tmp_path: Path) -> None:
    header = (
        "# vtk DataFile Version 3.0\nx\nASCII\nDATASET STRUCTURED_POINTS\nDIMENSIONS 2 3 4\nSPACING 1 1 1\nORIGIN 0 0 0\n"
        "POINT_DATA 24\nSCALARS s short 1\nLOOKUP_TABLE default\n"
    )
    path = tmp_path / "x.vtk"
    path.write_text(header + " ".join(map(str, VOXELS.ravel())))
    np.testing.assert_array_equal(Case.read({"A": path}).image[0], VOXELS)
    path.write_text(header + " ".join(map(str, VOXELS.ravel()[:12])))
    assert "12 numbers" in refused({"A": path})


def test_sheared_axes_are_refused_before_any_work(tmp_path: Path) -> None:
    sheared = nrrd(tmp_path / "tilt.nrrd", "space: LPS\nspace directions: (1,0,0) (0,1,0) (0,0.5,2)\n")
    assert "tilt.nrrd has sheared axes" in refused({"CT": sheared}) and "resample" in refused({"CT": sheared})
    assert "sheared" in refused({"CT": metaimage(tmp_path / "x.mha", "TransformMatrix = 1 0 0 0 1 0 0 0.3 1\n")})


def test_complex_numbers_and_slices_in_space_are_refused(tmp_path: Path) -> None:
    values = nrrd(tmp_path / "x.nrrd", "kinds: complex domain domain domain\n", "dimension: 4\nsizes: 2 3 2 2\n")
    assert "x.nrrd" in refused({"A": values})
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.complex64))
    for name in ("complex.mha", "complex.nrrd"):
        try:
            SimpleITK.WriteImage(image, str(tmp_path / name))
        except RuntimeError:
            continue
        assert "complex" in refused({"A": tmp_path / name})
    flat = nrrd(tmp_path / "flat.nrrd", "space: LPS\nspace directions: (1,0,0) (0,0,3)\n", "dimension: 2\nsizes: 6 4\n")
    assert "slice" in refused({"A": flat}) and "third axis" in refused({"A": flat})


def test_values_and_frames(tmp_path: Path) -> None:
    first = nrrd(
        tmp_path / "first.nrrd",
        "space: LPS\nspace directions: none (1,0,0) (0,2,0) (0,0,3)\nkinds: list domain domain domain\n",
        "dimension: 4\nsizes: 2 3 2 2\n",
    )
    stored = VOXELS.reshape(2, 2, 3, 2)
    np.testing.assert_array_equal(Case.read({"A,B": first}).image, np.moveaxis(stored, -1, 0))
    last = nrrd(
        tmp_path / "last.nrrd",
        "space: LPS\nspace directions: (1,0,0) (0,2,0) (0,0,3) none\nkinds: domain domain domain list\n",
        "dimension: 4\nsizes: 3 2 2 2\n",
    )
    case = Case.read({"A,B": last})
    np.testing.assert_array_equal(case.image, VOXELS.reshape(2, 2, 2, 3))
    assert case.spacing == (1, 2, 3)


def test_the_thickness_of_a_slice_is_said_to_be_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    flat = SimpleITK.GetImageFromArray(VOXELS[0])
    SimpleITK.WriteImage(flat, str(tmp_path / "flat.mha"))
    assert Case.read({"A": tmp_path / "flat.mha"}).shape == (1, 3, 2)
    assert "how thick" in caplog.text


def test_warnings_of_itk_are_said_by_the_library(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    """ITK warns of an unknown unit of resolution in a TIFF, for example, on the terminal only."""
    from SegAdversarialLib.volumes import itk_files

    with itk_files._warnings() as found:
        SimpleITK.ReadImage(str(_warned_of(tmp_path)))
    assert any("sform" in text for text in found)
    assert "sform" not in capfd.readouterr().err


def _warned_of(folder: Path) -> Path:
    """A NIfTI file, as ITK has something to say of one whose sform has other voxel sizes than pixdim."""
    return write_nifti(folder / "x.nii", sform=(affine_at(), 1), qform=(affine_at(sizes=(2.0, 2.0, 2.0)), 1))


def test_keys_of_a_header(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "x.nrrd", "# a remark: none\nSegment0_Name:=left: kidney\nkey:=a:=b\nspace: LPS\n" + PLACED)
    header = NrrdHeader.read(path)
    assert header.keys == {"Segment0_Name": "left: kidney", "key": "a:=b"}
    assert header.fields["sizes"] == "2 3 4" and header.oriented
