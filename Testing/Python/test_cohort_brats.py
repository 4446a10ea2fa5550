"""BraTS' folders of all years are found by their names, and their label values mean what they meant in that year."""

from __future__ import annotations

import string
from pathlib import Path

import nibabel
import numpy as np
import pytest
from cohort_helpers import write_brats, write_image, write_label
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from SegAdversarialLib import InputError, cohorts
from SegAdversarialLib.phantom import LABEL_NAMES
from SegAdversarialLib.structures.output_head import OutputHead

CHANNELS = ("T1", "T1ce", "T2", "FLAIR")


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("Brats17_TCIA_117_1", "Brats17_TCIA_117"),
        ("Brats18_CBICA_AAB_1", "Brats18_CBICA_AAB"),
        ("BraTS19_TCIA10_103_1", "BraTS19_TCIA10_103"),
        ("BraTS19_2013_0_1", "BraTS19_2013_0"),
        ("BraTS20_Training_001", "BraTS20_Training_001"),
        ("BraTS2021_00495", "BraTS2021_00495"),
        ("BraTS-GLI-00000-000", "BraTS-GLI-00000"),
        ("BraTS-GLI-00005-101", "BraTS-GLI-00005"),
        ("BraTS-MET-00012-000", "BraTS-MET-00012"),
        ("BraTS-SSA-00002-000", "BraTS-SSA-00002"),
    ],
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_each_year_is_found_without_a_prefix(tmp_path: Path, name: str, patient: str, ending: str) -> None:
    place = write_brats(tmp_path / "HGG", name, ending=ending)
    cohort = cohorts.find(tmp_path)
    assert (cohort.kind, cohort.channels, cohort.labelled) == ("brats", CHANNELS, True)
    assert [(x.name, x.patient) for x in cohort.entries] == [(name, patient)]
    case = cohort[0]
    sign, flair = ("-", "t2f") if "-" in name else ("_", "flair")
    truth = np.asarray(nibabel.load(place / f"{name}{sign}{flair}{ending}").dataobj).T
    np.testing.assert_array_equal(case.channel("FLAIR"), truth)
    assert case.name == name


def test_high_and_low_grade_lie_in_one_cohort_and_mappings_are_left_alone(tmp_path: Path) -> None:
    write_brats(tmp_path / "MICCAI" / "HGG", "Brats18_TCIA01_131_1")
    write_brats(tmp_path / "MICCAI" / "LGG", "Brats18_2013_0_1")
    (tmp_path / "MICCAI" / "name_mapping.csv").write_text("Grade,BraTS_2018_subject_ID\nHGG,x\n")
    write_image(tmp_path / "MICCAI" / "HGG" / "Brats18_TCIA01_131_1" / "._Brats18_TCIA01_131_1_flair.nii.gz")
    cohort = cohorts.find(tmp_path)
    assert [x.name for x in cohort.entries] == ["Brats18_TCIA01_131_1", "Brats18_2013_0_1"]
    assert not cohort.check().wrong


def test_the_case_of_2020_whose_reference_has_another_name(tmp_path: Path) -> None:
    place = write_brats(tmp_path, "BraTS20_Training_355", leave_out=("seg",), ending=".nii")
    write_label(place / "W39_1998.09.19_Segm.nii")
    assert cohorts.find(tmp_path).entries[0].label == str(place / "W39_1998.09.19_Segm.nii")


def test_folders_that_are_called_like_files(tmp_path: Path) -> None:
    place = tmp_path / "BraTS2021_00714"
    for channel in ("t1", "t1ce", "t2", "flair"):
        write_image(place / f"BraTS2021_00714_{channel}.nii" / f"00000377_brain_{channel}.nii")
    write_label(place / "BraTS2021_00714_seg.nii" / "00000377_final_seg.nii")
    cohort = cohorts.find(tmp_path)
    assert len(cohort) == 1
    assert not cohort.check(labels=True).wrong
    assert cohort[0].label is not None


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("BraTS20_Training_001", (1, 2, 4), (1, 2, 4)),
        ("BraTS20_Training_001", (1, 2, 3), (1, 2, 4)),
        ("BraTS-GLI-00000-000", (1, 2, 3), (1, 2, 4)),
        ("BraTS2023-PED/BraTS-PED-00001-000", (1, 2, 3), (1, 2, 4)),
        ("BraTS-PEDs2024_Training/BraTS-PED-00023-000", (1, 4), (4, 2)),
    ],
)
def test_the_enhancing_tumour_is_the_same_class_whichever_its_number(
    tmp_path: Path, name: str, values: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    folder, _, case = name.rpartition("/")
    place = write_brats(tmp_path / folder, case)
    sign = "-" if "-" in case else "_"
    write_label(place / f"{case}{sign}seg.nii.gz", values)
    head = OutputHead.of(LABEL_NAMES)
    read = cohorts.find(tmp_path).entries[0].read(head)
    assert read.label is not None
    assert tuple(int(read.label[0, 0, n]) for n in range(len(values))) == expected


@pytest.mark.parametrize(("name", "value"), [("BraTS-PED-00023-000", 1), ("BraTS-GLI-00005-100", 4)])
def test_what_no_class_of_the_network_is_is_asked_for(tmp_path: Path, name: str, value: int) -> None:
    place = write_brats(tmp_path, name)
    write_label(place / f"{name}-seg.nii.gz", (value,))
    head = OutputHead.of(LABEL_NAMES)
    with pytest.raises(InputError, match="leaves open which class"):
        cohorts.find(tmp_path).entries[0].read(head)
    named = cohorts.find(tmp_path, label_names={value: "background"}).entries[0].read(head)
    assert named.label is not None
    assert not named.label.any()


def test_radiotherapy_of_meningiomas_has_one_channel(tmp_path: Path) -> None:
    place = tmp_path / "BraTS-MEN-RT-0004-1"
    write_image(place / "BraTS-MEN-RT-0004-1_t1c.nii.gz")
    write_label(place / "BraTS-MEN-RT-0004-1_gtv.nii.gz", (1,))
    cohort = cohorts.find(f"brats:{tmp_path}")
    assert (cohort.channels, cohort.entries[0].patient) == (("T1ce",), "BraTS-MEN-RT-0004")
    assert cohort[0].label_names == {1: "gross tumor volume"}


def test_a_missing_channel_and_a_missing_reference_are_listed(tmp_path: Path) -> None:
    for n in range(3):
        write_brats(tmp_path, f"BraTS2021_0000{n}")
    write_brats(tmp_path, "BraTS2021_00003", leave_out=("t2",))
    write_brats(tmp_path, "BraTS2021_00004", leave_out=("seg",))
    wrong = cohorts.find(tmp_path).check().wrong
    assert list(wrong) == ["BraTS2021_00003", "BraTS2021_00004"]
    assert "channel T2 missing" in wrong["BraTS2021_00003"]
    assert wrong["BraTS2021_00004"] == "no reference"


ID = st.text(string.ascii_letters + string.digits + "_-.", min_size=1, max_size=12)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(ID, min_size=1, max_size=4, unique_by=str.lower), late=st.booleans(), seed=st.integers(0, 10**6))
def test_any_name_is_taken_apart_as_it_was_put_together(tmp_path: Path, ids: list[str], late: bool, seed: int) -> None:
    start, sign = ("BraTS-GLI-", "-") if late else ("BraTS20_", "_")
    channels = dict(zip(("t1n", "t1c", "t2w", "t2f") if late else ("t1", "t1ce", "t2", "flair"), CHANNELS))
    root = tmp_path / f"{abs(hash((tuple(ids), late, seed)))}"
    for name in ids:
        place = root / f"{start}{name}"
        place.mkdir(parents=True, exist_ok=True)
        for word in (*channels, "seg"):
            (place / f"{start}{name}{sign}{word}.nii.gz").touch()
    cohort = cohorts.find(root)
    assert sorted(x.name for x in cohort.entries) == sorted(f"{start}{x}" for x in ids)
    for entry in cohort.entries:
        assert {Path(path).name for path in entry.channels.values()} == {f"{entry.name}{sign}{x}.nii.gz" for x in channels}
        assert [Path(entry.channels[y]).name for y in channels.values()] == [f"{entry.name}{sign}{x}.nii.gz" for x in channels]
        assert entry.label == str(root / entry.name / f"{entry.name}{sign}seg.nii.gz")
