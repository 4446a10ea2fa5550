"""Cases: reading, writing, geometry, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from conftest import oblique_affine, toy_case
from hypothesis import given, settings
from hypothesis import strategies as st

from SegAdversarialLib import Case, InputError
from SegAdversarialLib.volumes.geometry import Reorientation, affine_of_itk, itk_image, orientation_of
from SegAdversarialLib.volumes.reading import read_channel, subject_of

CODES = [a + b + c for a in "RL" for b in "AP" for c in "SI"] + ["SRA", "PIL", "ASL", "IRP"]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"T1": "ts_000_0000.nii.gz", "T2": "ts_000_0001.nii.gz"}, "ts_000"),
        ({"T1": "sub-01_t1.nii.gz", "FLAIR": "sub-01_flair.nii.gz"}, "sub-01"),
        ({"T1w": "sub-01_T1w.nii", "T2w": "sub-01_T2w.nii"}, "sub-01"),
        ({"CT": "p.1.CT.NII.GZ", "PET": "p.1.PET.nrrd"}, "p.1"),
        ({"CT": "sub-01.nii.gz", "PET": "sub-01_pet.nii.gz"}, "sub-01"),
        ({"CT": "ct/ab1.mha", "PET": "pet/ab1.mha"}, "ab1"),
        ({"CT": "liver_3_0000.nii.gz"}, "liver_3"),
        ({"CT": "liver_3 ct.nii.gz"}, "liver_3"),
        ({"CT": "scan.nii.gz"}, "here"),
        ({"T1": "t1.nii.gz", "T1 ce": "t1_ce.nii.gz"}, "here"),
        ({"A": "t1.nii.gz", "B": "t1ce.nii.gz"}, "here"),
        ({"A": "one_ct.nii.gz", "B": "two_ct.nii.gz"}, "here"),
    ],
)
def test_a_subject_is_called_by_what_its_files_share(files: dict[str, str], name: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    assert subject_of({channel: here / x for channel, x in files.items()}) == name


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd", ".mha"])
def test_round_trip(extension: str, tmp_path: Path) -> None:
    case = toy_case(affine=oblique_affine())
    written = case.write(tmp_path, extension)
    again = Case.read({"A": written["A"], "B": written["B"]}, written["label"], name="toy")
    assert again.name == "toy" and Case.read({"A": written["A"], "B": written["B"]}).name == tmp_path.name
    np.testing.assert_array_equal(again.image, case.image)
    np.testing.assert_array_equal(again.label, case.label)
    np.testing.assert_allclose(again.affine, case.affine, atol=1e-5)
    assert again.channels == case.channels and again.dtypes == case.dtypes
    image = SimpleITK.ReadImage(str(written["A"]))
    point = np.array(image.TransformIndexToPhysicalPoint((3, 5, 7)))
    np.testing.assert_allclose(point * [-1, -1, 1], (case.affine @ [3, 5, 7, 1])[:3], atol=1e-4)
    assert image.GetPixel(3, 5, 7) == case.image[0, 7, 5, 3]
    assert sorted(x.name for x in tmp_path.iterdir()) == sorted(x.name for x in written.values())


def test_only_nii_gz_is_compressed(tmp_path: Path) -> None:
    case = toy_case().with_image(np.zeros_like(toy_case().image))
    sizes = {x: case.write(tmp_path / x, x)["A"].stat().st_size for x in (".nii.gz", ".nii", ".nrrd", ".mha")}
    content = case.image[0].size * 2
    assert sizes[".nii.gz"] < content / 10 and min(sizes[x] for x in (".nii", ".nrrd", ".mha")) >= content


def test_one_channel_on_a_cases_grid(tmp_path: Path) -> None:
    case = toy_case(affine=oblique_affine())
    written = case.write(tmp_path, ".nrrd")
    np.testing.assert_array_equal(read_channel(written["B"], case.grid), case.image[1])
    with pytest.raises(InputError, match="lies on another grid"):
        read_channel(written["B"], toy_case().grid)
    image = itk_image(np.full(case.shape, np.nan, np.float32), case.affine)
    SimpleITK.WriteImage(image, str(tmp_path / "nan.nrrd"))
    with pytest.raises(InputError, match="NaN"):
        read_channel(tmp_path / "nan.nrrd", case.grid)


def test_fractions_are_stored_as_float(tmp_path: Path) -> None:
    case = toy_case()
    written = case.with_image(case.image + np.float32(0.25)).write(tmp_path)
    assert SimpleITK.ReadImage(str(written["A"])).GetPixelID() == SimpleITK.sitkFloat32
    assert Case.read({"A": written["A"]}).image[0, 0, 0, 0] == case.image[0, 0, 0, 0] + np.float32(0.25)


def test_files_of_several_channels(tmp_path: Path) -> None:
    case = toy_case()
    parts = [itk_image(values, case.affine) for values in case.image]
    stacked, vector = tmp_path / "stacked.nii.gz", tmp_path / "vector.nrrd"
    SimpleITK.WriteImage(SimpleITK.JoinSeries(parts), str(stacked))
    SimpleITK.WriteImage(SimpleITK.Compose(parts), str(vector))
    for path in (stacked, vector):
        for key in ("A,B", ("A", "B")):
            again = Case.read({key: path})
            np.testing.assert_array_equal(again.image, case.image)
            np.testing.assert_allclose(again.affine, case.affine, atol=1e-5)
    with pytest.raises(InputError, match=r"holds 2 channel\(s\), but 3 were named"):
        Case.read({"A,B,C": stacked})


def test_flat_images_are_one_slice(tmp_path: Path) -> None:
    flat = SimpleITK.GetImageFromArray(np.arange(12, dtype=np.int16).reshape(3, 4))
    flat.SetSpacing((0.5, 2.0))
    SimpleITK.WriteImage(flat, str(tmp_path / "flat.mha"))
    case = Case.read({"A": tmp_path / "flat.mha"})
    assert case.shape == (1, 3, 4) and case.spacing == (0.5, 2.0, 1.0)


def test_grids_that_differ(tmp_path: Path) -> None:
    case = toy_case(affine=oblique_affine())
    moved = case.affine.copy()
    moved[:3, 3] += 1.0
    case.write(tmp_path / "one")
    Case(case.image, case.channels, moved, case.label, dtypes=case.dtypes).write(tmp_path / "other")
    files = {"A": tmp_path / "one" / "A.nii.gz", "B": tmp_path / "other" / "B.nii.gz"}
    with pytest.raises(InputError) as caught:
        Case.read(files)
    for part in ("Channel B", "18x16x14 voxels of 0.9x1.1x2.5 mm", "axes LPS", "(31.5, -12.25, 70)", "(32.5, -11.25, 71)"):
        assert part in str(caught.value)
    resampled = Case.read(files, resample=True)
    expected = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(
            SimpleITK.ReadImage(str(files["B"]), SimpleITK.sitkFloat32),
            SimpleITK.ReadImage(str(files["A"])),
            SimpleITK.Transform(),
            SimpleITK.sitkLinear,
            float(case.image[1].min()),  # what lies beyond the image is air, not 0
        )
    )
    np.testing.assert_array_equal(resampled.image[1], np.rint(expected))  # ITK alone would cut the fractions off
    with pytest.raises(InputError, match="The label map .* lies on another grid"):
        Case.read({"A": files["A"]}, label=tmp_path / "other" / "label.nii.gz")


def test_what_is_refused(tmp_path: Path) -> None:
    case = toy_case()
    spoilt = case.image.copy()
    spoilt[1, 2, 3, :2] = [np.nan, np.inf]
    with pytest.raises(InputError, match=r"Channel B holds 2 voxel\(s\) that are NaN or infinite"):
        Case(spoilt, ("A", "B"), case.affine)
    SimpleITK.WriteImage(itk_image(spoilt[1], case.affine), str(tmp_path / "spoilt.nii.gz"))
    with pytest.raises(InputError, match="Channel T1 holds 2"):
        Case.read({"T1": tmp_path / "spoilt.nii.gz"})
    assert Case.read({"T1": tmp_path / "spoilt.nii.gz"}, replace_nonfinite=-1).image[0, 2, 3, 0] == -1
    for number in (np.nan, -np.inf, 1e39):
        with pytest.raises(InputError, match="replace_nonfinite must be a finite number"):
            Case.read({"T1": tmp_path / "spoilt.nii.gz"}, replace_nonfinite=number)
    large = np.where(np.isfinite(spoilt[1]), spoilt[1], -1).astype(np.float64)
    large[0, 0, 0] = 1e39
    SimpleITK.WriteImage(itk_image(large, case.affine), str(tmp_path / "large.nii.gz"))
    (tmp_path / "text.nii.gz").write_text("not an image")
    refused = [
        (lambda: Case.read({"A": tmp_path / "large.nii.gz"}), "large.nii.gz. holds numbers beyond 3.4e.38"),
        (lambda: Case.read({"A": tmp_path / "large.nii.gz"}, replace_nonfinite=0), "holds numbers beyond"),
        (lambda: read_channel(tmp_path / "large.nii.gz", case.grid), "holds numbers beyond"),
        (lambda: Case.read({"A": tmp_path / "none.nii.gz"}), "There is no file .*none.nii.gz"),
        (lambda: Case.read({"A": tmp_path / "text.nii.gz"}), "text.nii.gz cannot be read as an image"),
        (lambda: Case.read({"A": tmp_path}), "is a folder"),
        (lambda: Case.read({}), "No image"),
        (lambda: Case(case.image, ("A", "A"), case.affine), "must differ"),
        (lambda: Case(case.image[0], ("A",), case.affine), "must have the shape"),
        (lambda: Case(case.image, ("A", "B"), np.zeros((4, 4))), "affine"),
        (lambda: Case(case.image, ("A", "B"), case.affine, case.label[:3]), "label map has the shape"),
        (lambda: Case(case.image, ("A", "B"), case.affine, case.label + 0.5), "whole numbers"),
        (lambda: Case(case.image, ("A", "B"), case.affine, case.label.astype(complex)), "its type is complex128"),
        (lambda: Case(case.image, ("A", "B"), case.affine, case.label.astype(str)), "whole numbers"),
        (lambda: Case(case.image * 1j, ("A", "B"), case.affine), "not complex"),
        (lambda: Case(case.image, ("A", "B"), case.affine, dtypes=("int16", "short int")), "no voxel type short int"),
        (lambda: case.channel("T9"), "no channel T9"),
    ]
    for call, message in refused:
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code", CODES)
def test_orientation_is_itks(code: str) -> None:
    """Turned to a code, array and geometry are what SimpleITK's own reorientation gives."""
    case = toy_case((3, 4, 5), affine=oblique_affine())
    filter = SimpleITK.DICOMOrientImageFilter()
    # ITK names where axes come from in LPS letters, as nibabel names where they point
    filter.SetDesiredCoordinateOrientation(code)
    turned = filter.Execute(itk_image(case.image[0], case.affine))
    assert orientation_of(affine_of_itk(turned)) == code
    turn = Reorientation.between(orientation_of(case.affine), code)
    import torch

    ours = turn.apply(torch.from_numpy(case.image))
    np.testing.assert_array_equal(ours[0].numpy(), SimpleITK.GetArrayFromImage(turned))
    assert turn.shape(case.shape) == tuple(ours.shape[1:])
    np.testing.assert_array_equal(turn.undo(ours).numpy(), case.image)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(CODES), st.sampled_from(CODES))
def test_orientation_there_and_back(have: str, want: str) -> None:
    import torch

    volume = torch.arange(24).reshape(1, 2, 3, 4)
    there = Reorientation.between(have, want)
    back = Reorientation.between(want, have)
    assert torch.equal(back.apply(there.apply(volume)), volume)
    assert torch.equal(there.undo(there.apply(volume)), volume)


def test_large_whole_numbers_are_resampled_exactly() -> None:
    """Single precision knows no odd numbers above 2^24."""
    from SegAdversarialLib.volumes.geometry import Grid
    from SegAdversarialLib.volumes.reading import _resampled
    from SegAdversarialLib.volumes.volume import Volume

    values = np.full((4, 4, 4), 2**24 + 1, np.int32)
    found = _resampled(Volume(values, np.eye(4)), Grid((4, 4, 4), np.eye(4)), linear=True)
    assert found.dtype == np.int32 and (found == 2**24 + 1).all()
