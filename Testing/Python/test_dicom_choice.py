"""Folders of several DICOM series, and series of several volumes: what is listed, and how one is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_helpers import MR, PET, write_series

from SegAdversarialLib import Case, InputError
from SegAdversarialLib.jobs.opening import open_case
from SegAdversarialLib.jobs.specification import CaseSource
from SegAdversarialLib.volumes.files import split_choice

SAGITTAL = (0, 1, 0, 0, 0, -1)


def constant(value: int, slices: int = 4) -> np.ndarray:
    return np.full((slices, 5, 7), value, np.int16)


def value_of(path: str | Path) -> set[float]:
    """The intensities of what is read."""
    return set(np.unique(Case.read({"A": path}).image).tolist())


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A localizer, a T1 and a T2, as an export names them."""
    for number, name, value, uid in (
        (1, "localizer", 1, "1.2.1"),
        (301, "T1 MPRAGE", 2, "1.2.2"),
        (402, "T2 TSE", 3, "1.2.3"),
    ):
        values: dict[str, Any] = {
            "SeriesNumber": number,
            "SeriesDescription": name,
            "SeriesInstanceUID": uid,
            "Modality": "MR",
        }
        write_series(tmp_path / "study" / f"S{number}", constant(value, 4 if number > 1 else 3), kind=MR, **values)
    return tmp_path / "study"


def test_a_folder_of_several_series_lists_them(study: Path) -> None:
    with pytest.raises(InputError) as caught:
        Case.read({"A": study})
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        f'{study} holds 3 DICOM series; choose one after a #, such as "{study}#301": ',
        '1 ("localizer", MR, 3 slices of 7x5)',
        '301 ("T1 MPRAGE", MR, 4 slices of 7x5)',
        '402 ("T2 TSE", MR, 4 slices of 7x5)',
    ):
        assert part in message


@pytest.mark.parametrize("choice", ["301", "1.2.2", "T1 MPRAGE", "t1 mprage"])
def test_a_series_is_chosen_by_number_uid_or_description(choice: str, study: Path) -> None:
    assert value_of(f"{study}#{choice}") == {2}
    assert value_of(Path(f"{study}#{choice}")) == {2}


def test_what_is_not_there_is_listed(study: Path) -> None:
    with pytest.raises(InputError, match=r'holds no DICOM series "7"; it holds: 1 \("localizer"'):
        Case.read({"A": f"{study}#7"})
    with pytest.raises(InputError, match="There is no file .*nowhere#3"):
        Case.read({"A": study / "nowhere#3"})
    (study / "text.txt").write_text("x")
    with pytest.raises(InputError, match="is no DICOM file, and has no series to choose from; leave out #1"):
        Case.read({"A": f"{study / 'text.txt'}#1"})


def test_a_path_with_a_number_sign_is_a_path(tmp_path: Path) -> None:
    """Only what is no path as it stands is taken apart, from its end."""
    folder = tmp_path / "study#1" / "scan #2"
    write_series(folder, constant(7), kind=MR, SeriesNumber=5)
    assert value_of(folder) == value_of(f"{folder}#5") == value_of(f"{tmp_path / 'study#1'}#5") == {7}
    assert split_choice(f"{folder}#5") == (folder, "5") and split_choice(folder) == (folder, "")


def test_numbers_that_are_not_unique_give_way_to_uids(tmp_path: Path) -> None:
    for n, uid in enumerate(("1.2.1", "1.2.2")):
        write_series(tmp_path / uid, constant(n), kind=MR, SeriesInstanceUID=uid, SeriesNumber=3, SeriesDescription="same")
    for choice in ("", "#3", "#same"):
        with pytest.raises(InputError, match=r'1\.2\.1 \("same", CT.*1\.2\.2 \("same"'):
            Case.read({"A": f"{tmp_path}{choice}"})
    assert value_of(f"{tmp_path}#1.2.2") == {1}


def two(first: dict[str, Any], second: dict[str, Any], folder: Path, **places: Any) -> None:
    """Two volumes under one series UID, of values 1 and 2."""
    for n, values in enumerate((first, second)):
        place = {"origin": places["origins"][n]} if "origins" in places else {}
        common = {"SeriesInstanceUID": "1.2.5", "SeriesNumber": 4, "Modality": "MR", "prefix": f"V{n}-"}
        write_series(folder, constant(n + 1), kind=places.get("kind", MR), **{**common, **place, **values})


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"EchoTime": 11}, {"EchoTime": 88}, ("echo time 11.0", "echo time 88.0")),
        ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, ("acquisition 1", "acquisition 2")),
        ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}, ("time point 1", "time point 2")),
        (
            {"ImageType": ["ORIGINAL", "PRIMARY", "M"]},
            {"ImageType": ["ORIGINAL", "PRIMARY", "P"]},
            ("PRIMARY\\M", "PRIMARY\\P"),
        ),
        ({"DiffusionBValue": 0.0}, {"DiffusionBValue": 1000.0}, ("b-value 0.0", "b-value 1000.0")),
        ({"axes": (1, 0, 0, 0, 1, 0)}, {"axes": SAGITTAL}, ("axial", "sagittal")),
        ({"ConvolutionKernel": "B30f"}, {"ConvolutionKernel": "B70f"}, ("kernel B30f", "kernel B70f")),
    ],
)
def test_several_volumes_in_one_series(first: Any, second: Any, words: tuple[str, str], tmp_path: Path) -> None:
    two(first, second, tmp_path)
    with pytest.raises(InputError, match='holds 2 volumes; choose one after a #, such as ".*#4:1"') as caught:
        Case.read({"A": tmp_path})
    for n, word in enumerate(words):
        assert f'4:{n + 1} ("body", MR, 4 slices of 7x5, ' in str(caught.value) and word in str(caught.value)
        assert value_of(f"{tmp_path}#4:{n + 1}") == value_of(f"{tmp_path}#1.2.5:{n + 1}") == {n + 1}
    with pytest.raises(InputError, match='holds 2 volumes as "4"; choose one'):
        Case.read({"A": f"{tmp_path}#4"})


def test_acquisitions_between_each_others_slices_are_two(tmp_path: Path) -> None:
    """No slice lies on another, and all distances are even: taken together they would be one volume that never was."""
    two({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, tmp_path, origins=[(0, 0, 0), (0, 0, 1.5)])
    with pytest.raises(InputError, match="holds 2 volumes.*acquisition 1.*acquisition 2"):
        Case.read({"A": tmp_path})
    assert Case.read({"A": f"{tmp_path}#4:2"}).spacing[2] == pytest.approx(3)


def test_acquisitions_one_above_the_other_are_one(tmp_path: Path) -> None:
    """CT in steps gives each step a number of its own."""
    two({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, tmp_path, origins=[(0, 0, 0), (0, 0, 12)])
    case = Case.read({"A": tmp_path})
    np.testing.assert_array_equal(case.image[0].max((1, 2)), [1, 1, 1, 1, 2, 2, 2, 2])
    assert case.spacing[2] == pytest.approx(3)


def test_a_slice_taken_twice_is_not_told_apart_by_its_time(tmp_path: Path) -> None:
    def edit(data: pydicom.Dataset, k: int) -> None:
        data.AcquisitionTime = f"1200{k:02d}"

    write_series(tmp_path, constant(1, 5), kind=PET, SeriesInstanceUID="1.2.5", edit=edit)
    write_series(tmp_path, constant(2, 1), kind=PET, SeriesInstanceUID="1.2.5", AcquisitionTime="121500", prefix="again")
    with pytest.raises(InputError, match="IM0000 and .*again0000 lie at the same place"):
        Case.read({"A": tmp_path})


def test_a_localizer_in_the_series_is_listed_apart(tmp_path: Path) -> None:
    write_series(tmp_path, constant(1, 6), SeriesInstanceUID="1.2.5")
    write_series(
        tmp_path,
        constant(2, 1),
        SeriesInstanceUID="1.2.5",
        axes=SAGITTAL,
        prefix="scout",
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )
    with pytest.raises(InputError, match="6 slices of 7x5, axial.*1 slice of 7x5, sagittal"):
        Case.read({"A": tmp_path})
    assert value_of(f"{tmp_path}#1:1") == {1 - 1024}


def test_a_job_knows_the_folder_that_it_reads(study: Path) -> None:
    """So that no result is written over what it was made from; and the choice stays where the job is run again."""
    source = CaseSource(channels={"T1": f"{study}#301"})
    assert source.files == [study]
    assert source.anywhere().channels == {"T1": f"{study}#301"}
    np.testing.assert_array_equal(open_case(source).image[0], constant(2))
