"""Multi-frame (enhanced) DICOM: each frame has its own place, slope and kind, whatever its order in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_helpers import ENHANCED_CT, new_file, save, write_enhanced, write_series
from hypothesis import given, settings
from hypothesis import strategies as st

from SegAdversarialLib import Case, InputError


def frames(count: int = 4) -> np.ndarray:
    """Frame n holds whole numbers around 100 n."""
    return np.random.default_rng(1).integers(0, 50, (count, 6, 8)).astype(np.int16) + 100 * np.arange(count)[:, None, None]


def scaling(slope: float, intercept: float = 0) -> dict[str, dict[str, Any]]:
    return {"PixelValueTransformationSequence": {"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "US"}}


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(5)))
def test_positions_decide_the_order_of_frames(order: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("enhanced") / "file.dcm"
    volume = frames(5).astype(np.int16)
    write_enhanced(path, volume[order], [30 + 2.5 * k for k in order])
    case = Case.read({"A": path})
    np.testing.assert_array_equal(case.image[0], volume)
    expected = [[-0.7, 0, 0, -10], [0, -0.5, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(case.affine, expected, atol=1e-9)


def test_a_multi_frame_file_is_the_series_of_its_slices(tmp_path: Path) -> None:
    volume = frames().astype(np.int16)
    shared = {"PixelValueTransformationSequence": {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}}
    path = write_enhanced(tmp_path / "file", volume, [30, 33, 36, 39], kind=ENHANCED_CT, shared=shared, Modality="CT")
    write_series(tmp_path / "series", volume, origin=(10, 20, 30))
    one, other = Case.read({"CT": path}), Case.read({"CT": tmp_path / "series"})
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_allclose(one.affine, other.affine)
    assert one.dtypes == other.dtypes == ("int16",)


def test_a_missing_frame(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "file.dcm", frames(), [30, 33, 39, 42])
    with pytest.raises(
        InputError, match=r"Between .*\(frame 2\) and .*\(frame 3\) lie 6 mm, between other slices 3 mm: 1 slice"
    ):
        Case.read({"A": path})


@pytest.mark.parametrize("slopes", [(1, 2, 3, 4), (0.25, 1, 1.75, 3)])
def test_each_frame_has_its_own_slope_and_intercept(slopes: tuple[float, ...], tmp_path: Path) -> None:
    volume = frames()
    own = [scaling(slope, 10 * n) for n, slope in enumerate(slopes)]
    path = write_enhanced(tmp_path / "file.dcm", volume[::-1], [39, 36, 33, 30], frames=own[::-1])
    expected = [pixels * slope + 10 * n for n, (pixels, slope) in enumerate(zip(volume, slopes))]
    np.testing.assert_allclose(Case.read({"A": path}).image[0], expected, rtol=1e-6)


def test_a_shared_slope_and_one_frame_without(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "shared.dcm", frames(), [30, 33, 36, 39], shared=scaling(2, 5))
    np.testing.assert_array_equal(Case.read({"A": path}).image[0], frames() * 2 + 5)
    own = [scaling(2), scaling(2), {}, scaling(2)]
    path = write_enhanced(tmp_path / "own.dcm", frames(), [30, 33, 36, 39], frames=own)
    with pytest.raises(InputError, match="differ in what their values mean"):
        Case.read({"A": path})


@pytest.mark.parametrize(
    ("group", "keyword", "values"),
    [
        ("MREchoSequence", "EffectiveEchoTime", (10.0, 90.0)),
        ("FrameContentSequence", "StackID", ("1", "2")),
        ("FrameContentSequence", "TemporalPositionIndex", (1, 2)),
        ("MRDiffusionSequence", "DiffusionBValue", (0.0, 800.0)),
        ("MRImageFrameTypeSequence", "FrameType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "PHASE"])),
    ],
)
def test_several_stacks_in_one_file(group: str, keyword: str, values: tuple[Any, Any], tmp_path: Path) -> None:
    """Two volumes of two slices, their frames taken in turns."""
    volume = frames()
    own = [{group: {keyword: values[n % 2]}} for n in range(4)]
    path = write_enhanced(tmp_path / "file.dcm", volume, [30, 30, 33, 33], frames=own)
    with pytest.raises(
        InputError, match=r'holds 2 volumes; choose one after a #, such as ".*file.dcm#1:1": 1:1 \(MR, 2 slices'
    ):
        Case.read({"A": path})
    for n in range(2):
        np.testing.assert_array_equal(Case.read({"A": f"{path}#1:{n + 1}"}).image[0], volume[n::2])


def test_frames_at_one_place_with_nothing_to_tell_them_apart(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "file.dcm", frames(), [30, 30, 33, 33])
    with pytest.raises(InputError, match=r"\(frame 1\) and .*\(frame 2\) lie at the same place \(30 mm"):
        Case.read({"A": path})


def test_files_of_time_points_are_told_apart(tmp_path: Path) -> None:
    for n in range(2):
        write_enhanced(tmp_path / f"time{n}", frames() + n, [30, 33, 36, 39], SeriesInstanceUID="1.2.5", InstanceNumber=n)
    with pytest.raises(InputError, match="holds 2 volumes.*file time0.*file time1"):
        Case.read({"A": tmp_path})
    np.testing.assert_array_equal(Case.read({"A": f"{tmp_path}#1:2"}).image[0], frames() + 1)


def test_frames_without_places(tmp_path: Path) -> None:
    """A film of ultrasound or angiography: the one position at its top is not that of all its frames."""
    data = new_file(tmp_path, "1.2.840.10008.5.1.4.1.1.3.1", frames(), Modality="US", NumberOfFrames=4)
    data.ImagePositionPatient, data.ImageOrientationPatient, data.PixelSpacing = [0, 0, 0], [1, 0, 0, 0, 1, 0], [1, 1]
    path = save(data, tmp_path / "film.dcm")
    with pytest.raises(InputError, match=r"film.dcm \(frame 1\) says nothing of its place"):
        Case.read({"A": path})


def test_damaged_files(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "file.dcm", frames(), [30, 33, 36])
    with pytest.raises(InputError, match="says that it holds 4 frames, but describes 3"):
        Case.read({"A": path})
    data = pydicom.dcmread(write_enhanced(tmp_path / "file.dcm", frames(), [30, 33, 36, 39]))
    data.PixelData = data.PixelData[:-96]
    save(data, path)
    with pytest.raises(InputError, match="holds 288 bytes of pixels, its header says 384"):
        Case.read({"A": path})
