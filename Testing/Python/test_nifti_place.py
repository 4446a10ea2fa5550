"""Where a NIfTI file's voxels are: its sform, its qform, its voxel sizes, and what is done where they disagree."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from nifti_helpers import VOXELS, affine_at, refused, turned_affine, write_nifti

from SegAdversarialLib import Case, InputError
from SegAdversarialLib.volumes.geometry import affine_of_itk, qform_rounding, same_grid
from SegAdversarialLib.volumes.reading import read_channel

HERE, BESIDE = affine_at(10, 20, -30), affine_at(18, 20, -30)


def test_one_space_at_two_places_is_refused_until_one_is_preferred(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_nifti(tmp_path / "two.nii", sform=(BESIDE, 1), qform=(HERE, 1))
    sentence = refused({"T1": path})
    forms = ("sform (code 1, scanner", "(18, 20, -30)", "qform (code 1, scanner", "(10, 20, -30)")
    assert all(part in sentence for part in ("two.nii", *forms, "8 mm", "--prefer"))
    for prefer, expected in (("sform", BESIDE), ("qform", HERE)):
        caplog.clear()
        case = Case.read({"T1": path}, prefer=prefer)
        np.testing.assert_allclose(case.affine, expected, atol=1e-5)
        assert f"its {prefer} (code 1, scanner) was taken" in caplog.text
        # whoever preferred one has said that the other is wrong: what is written has one place for all readers
        written = case.write(tmp_path / prefer)["T1"]
        np.testing.assert_allclose(nibabel.load(written).affine, expected, atol=1e-5)
        np.testing.assert_allclose(affine_of_itk(SimpleITK.ReadImage(str(written))), expected, atol=1e-5)
    assert "sform" in refused({"T1": path}, prefer="both")


def test_two_spaces_are_both_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A scan in MNI coordinates that still says where it lay in the scanner: no contradiction."""
    path = write_nifti(tmp_path / "mni.nii", sform=(BESIDE, 4), qform=(HERE, 1))
    case = Case.read({"T1": path})
    np.testing.assert_allclose(case.affine, nibabel.load(path).affine)
    assert "two spaces" in caplog.text and "code 4, MNI" in caplog.text and "8 mm" in caplog.text
    written = nibabel.load(case.with_image(case.image + 1).write(tmp_path / "out")["T1"])
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (4, 1)
    np.testing.assert_allclose(written.get_sform(), BESIDE, atol=1e-5)
    np.testing.assert_allclose(written.get_qform(), HERE, atol=1e-5)
    np.testing.assert_allclose(Case.read({"T1": path}, prefer="qform").affine, HERE, atol=1e-5)
    caplog.clear()
    read_channel(written.get_filename(), case.grid)
    assert not caplog.text  # the case's grid decides, and it was said once


def test_channels_whose_sforms_differ_are_not_on_one_grid(tmp_path: Path) -> None:
    one = write_nifti(tmp_path / "t1.nii", sform=(HERE, 1), qform=(HERE, 1))
    other = write_nifti(tmp_path / "t2.nii", sform=(BESIDE, 2), qform=(HERE, 1))
    sentence = refused({"T1": one, "T2": other})
    assert "8 mm apart" in sentence and "--prefer qform" in sentence
    assert Case.read({"T1": one, "T2": other}, prefer="qform").image.shape == (2, 8, 7, 6)


def test_a_label_map_at_two_places_fits_a_case_at_one_of_them(tmp_path: Path) -> None:
    case = Case.read({"T1": write_nifti(tmp_path / "t1.nii", sform=(HERE, 1))})
    mask = write_nifti(tmp_path / "mask.nii", sform=(BESIDE, 1), qform=(HERE, 1))
    np.testing.assert_array_equal(read_channel(mask, case.grid), VOXELS)
    moved = write_nifti(tmp_path / "moved.nii", sform=(BESIDE, 1), qform=(affine_at(0, 0, 5), 1))
    with pytest.raises(InputError, match=r"image .*moved.nii lies on another grid .* mm apart"):
        read_channel(moved, case.grid)


@pytest.mark.parametrize(("axis", "value"), [(3, 0.0), (1, -2.0), (3, -3.0), (2, np.nan), (2, np.inf)])
def test_a_pixdim_that_is_no_size_does_not_touch_the_sform(
    axis: int, value: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_nifti(tmp_path / "x.nii", sform=(HERE, 2), **{f"pixdim_{axis}": value})
    np.testing.assert_allclose(Case.read({"T1": path}).affine, HERE)
    assert f"pixdim[{axis}]" in caplog.text
    only = write_nifti(tmp_path / "q.nii", qform=(HERE, 1), **{f"pixdim_{axis}": value})
    assert f"pixdim[{axis}], a voxel size, is" in refused({"T1": only})


def test_a_pixdim_that_contradicts_the_sform_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "x.nii", sform=(HERE, 2), pixdim_3=5)
    sentence = refused({"T1": path})
    assert "along k" in sentence and "5 mm" in sentence and "2 mm" in sentence and "--prefer sform" in sentence
    np.testing.assert_allclose(Case.read({"T1": path}, prefer="sform").affine, HERE)


def test_sheared_axes_are_refused_with_a_way_out(tmp_path: Path) -> None:
    sheared = HERE.copy()
    sheared[1, 2] = 0.5
    only = write_nifti(tmp_path / "tilt.nii", sform=(sheared, 1))
    sentence = refused({"CT": only}, prefer="sform")
    assert "tilt.nii has sheared axes" in sentence and "between j and k" in sentence and "resample" in sentence
    registered = write_nifti(tmp_path / "mni.nii", sform=(sheared, 4), qform=(HERE, 1))
    assert "--prefer qform" in refused({"CT": registered})
    np.testing.assert_allclose(Case.read({"CT": registered}, prefer="qform").affine, HERE, atol=1e-5)
    # onto a right-angled first channel a sheared one can be resampled
    straight = write_nifti(tmp_path / "straight.nii", sform=(HERE, 1))
    assert Case.read({"CT": straight, "PET": only}, prefer="sform", resample=True).image.shape == (2, 8, 7, 6)


def test_forms_that_give_no_place_are_refused(tmp_path: Path) -> None:
    flat = np.diag([0.0, 0.0, 0.0, 1.0])
    assert "srow_x" in refused({"A": write_nifti(tmp_path / "a.nii", sform=(flat, 1))})
    assert "--prefer qform" in refused({"A": write_nifti(tmp_path / "b.nii", sform=(flat, 1), qform=(HERE, 1))})
    assert "quatern_b" in refused({"A": write_nifti(tmp_path / "c.nii", qform=(HERE, 1), quatern_b=3)})
    spoilt = write_nifti(tmp_path / "d.nii", sform=(HERE, 1), qform=(HERE, 1), qoffset_x=np.nan)
    assert "--prefer sform" in refused({"A": spoilt})
    np.testing.assert_allclose(Case.read({"A": spoilt}, prefer="sform").affine, HERE)


@pytest.mark.parametrize("degrees", [(3, -2, 180), (180, 1, 2), (0.5, 180, -0.25), (0, 0, 180), (30, 20, 10)])
def test_rounding_of_a_quaternion_is_no_other_grid(degrees: tuple[float, float, float], tmp_path: Path) -> None:
    affine, shape = turned_affine(degrees), (60, 80, 90)
    image = write_nifti(tmp_path / "t1.nii", np.zeros(shape, np.uint8), sform=(affine, 1))
    label = write_nifti(tmp_path / "seg.nii", np.ones(shape, np.uint8), qform=(affine, 1))
    both = write_nifti(tmp_path / "both.nii", np.zeros(shape, np.uint8), sform=(affine, 1), qform=(affine, 1))
    assert Case.read({"T1": image, "T2": both}, label).label.all()
    read, others = (
        Case.read({"T1": label}).affine,
        (nibabel.load(label).affine, affine_of_itk(SimpleITK.ReadImage(str(label)))),
    )
    assert same_grid(shape, read, shape, others[0])
    np.testing.assert_allclose(read, others[1], atol=1e-5)
    # twice what rounding explains is another grid, and the sentence says how far apart they are
    angle = 2.5 * qform_rounding(affine)
    other = affine.copy()
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    other[:3, :3] = turn @ affine[:3, :3]
    if angle > 1e-4:
        sentence = refused({"T1": image}, label=write_nifti(tmp_path / "off.nii", np.ones(shape, np.uint8), sform=(other, 1)))
        assert "mm apart" in sentence and sentence.count("directions") == 2


def test_a_shift_is_never_taken_for_rounding(tmp_path: Path) -> None:
    affine = turned_affine((3, -2, 180))
    moved = affine.copy()
    moved[0, 3] += 0.01
    files = [write_nifti(tmp_path / f"{n}.nii", sform=(x, 1)) for n, x in enumerate((affine, moved))]
    sentence = refused({"A": files[0], "B": files[1]})
    assert "0.01 mm apart" in sentence and "100.01" in sentence and "origin (100," in sentence


@pytest.mark.parametrize(("code", "factor", "word"), [(1, 1000, "metres"), (3, 0.001, "micrometres"), (0, 1, ""), (2, 1, "")])
def test_units_of_length(code: int, factor: float, word: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, forms in (("s.nii", {"sform": (HERE, 1)}), ("q.nii", {"qform": (HERE, 1)})):
        caplog.clear()
        affine = Case.read({"A": write_nifti(tmp_path / name, xyzt_units=code + 8, **forms)}).affine
        np.testing.assert_allclose(affine[:3], HERE[:3] * factor, rtol=1e-6)
        assert word in caplog.text if word else not caplog.text
    assert "xyzt_units" in refused({"A": write_nifti(tmp_path / "bad.nii", xyzt_units=5)})


def test_unknown_stays_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """METHOD 1 of the standard: sizes only. What is written looks to every reader as what was read."""
    path = write_nifti(tmp_path / "x.nii", pixdim_1=1, pixdim_2=1.5, pixdim_3=2)
    case = Case.read({"T1": path})
    np.testing.assert_array_equal(case.affine, np.diag([1, 1.5, 2, 1]))
    assert "qform_code and sform_code are 0" in caplog.text
    for ending in (".nii", ".nii.gz"):
        written = case.write(tmp_path / "out", ending)["T1"]
        image = nibabel.load(written)
        assert int(image.header["qform_code"]) == 0 and int(image.header["sform_code"]) == 0
        np.testing.assert_allclose(image.affine, nibabel.load(path).affine)
        before, after = (affine_of_itk(SimpleITK.ReadImage(str(x))) for x in (path, written))
        np.testing.assert_allclose(after, before)
        np.testing.assert_array_equal(Case.read({"T1": written}).affine, case.affine)
    text = case.write(tmp_path / "out", ".nrrd")["T1"].read_bytes().split(b"\n\n")[0]
    assert b"space" not in text.replace(b"spacings", b"")
    again = Case.read({"T1": tmp_path / "out" / "T1.nrrd"})
    np.testing.assert_array_equal(again.affine, case.affine)
    np.testing.assert_array_equal(again.image, case.image)
    assert not again.space.known


def test_slices_keep_their_place_and_thickness(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    axial = np.diag([1.0, 1.0, 5.0, 1.0])
    axial[:3, 3] = 1, 2, 40
    coronal = np.array([[1, 0, 0, 5], [0, 0, -3, 7], [0, 1, 0, 9], [0, 0, 0, 1.0]])
    for affine in (axial, coronal):
        path = tmp_path / "slice.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.ones((6, 7), np.float32), affine), path)
        case = Case.read({"T1": path})
        assert case.shape == (1, 7, 6)
        np.testing.assert_allclose(case.affine, affine, atol=1e-6)
    flat = write_nifti(tmp_path / "flat.nii", VOXELS[0], pixdim_1=2, pixdim_2=3, pixdim_3=0)
    assert Case.read({"T1": flat}).spacing == (2, 3, 1) and "how thick" in caplog.text


def test_codes_are_written_as_they_were_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for name, forms, expected in (
        ("aligned", {"sform": (HERE, 2)}, (2, 2)),
        ("talairach", {"sform": (HERE, 3), "qform": (HERE, 1)}, (3, 1)),
        ("scanner", {"qform": (HERE, 1)}, (1, 1)),
        ("template", {"sform": (HERE, 5)}, (5, 5)),
    ):
        written = Case.read({"A": write_nifti(tmp_path / f"{name}.nii", **forms)}).write(tmp_path / name)["A"]
        header = nibabel.load(written).header
        assert (int(header["sform_code"]), int(header["qform_code"])) == expected
        np.testing.assert_allclose(header.get_sform(), HERE, atol=1e-5)
        np.testing.assert_allclose(header.get_qform(), HERE, atol=1e-5)
    assert not caplog.text
