"""Data sets as others lay them out: the Decathlon, nnU-Net, a CSV file, pictures with masks, a folder for each subject."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from cohort_helpers import SHAPE, write_image, write_label
from dicom_helpers import CT, new_file, save
from PIL import Image

from SegAdversarialLib import InputError, attacks, cohorts, phantom
from SegAdversarialLib.structures.output_head import OutputHead

MODALITY = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
DECATHLON = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}


def write_json(path: Path, **content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_decathlon(root: Path) -> None:
    for name in ("BRATS_457", "BRATS_306"):
        write_image(root / "imagesTr" / f"{name}.nii.gz", shape=(*SHAPE, 4))
        write_image(root / "imagesTr" / f"._{name}.nii.gz")
        write_label(root / "labelsTr" / f"{name}.nii.gz", (1, 2, 3))
    write_image(root / "imagesTs" / "BRATS_485.nii.gz", shape=(*SHAPE, 4))
    pairs = [{"image": f"./imagesTr/{x}.nii.gz", "label": f"./labelsTr/{x}.nii.gz"} for x in ("BRATS_457", "BRATS_306")]
    test = ["./imagesTs/BRATS_485.nii.gz"]
    write_json(root / "dataset.json", modality=MODALITY, labels=DECATHLON, training=pairs, test=test)


def test_the_decathlon_keeps_all_channels_in_one_file(tmp_path: Path) -> None:
    write_decathlon(tmp_path)
    cohort = cohorts.find(tmp_path)
    assert (cohort.kind, [x.name for x in cohort.entries]) == ("msd", ["BRATS_457", "BRATS_306"])
    assert cohort.channels == ("FLAIR", "T1w", "t1gd", "T2w")
    assert not cohort.check(labels=True).wrong
    truth = np.asarray(nibabel.load(tmp_path / "imagesTr" / "BRATS_306.nii.gz").dataobj)
    np.testing.assert_array_equal(cohort[1].channel("t1gd"), truth[..., 2].T)
    assert cohort[1].label_names == {1: "edema", 2: "non-enhancing tumor", 3: "enhancing tumour"}


def test_the_decathlons_test_cases_have_no_reference(tmp_path: Path) -> None:
    write_decathlon(tmp_path)
    cohort = cohorts.find(tmp_path / "imagesTs")
    assert ([x.name for x in cohort.entries], cohort.labelled) == (["BRATS_485"], False)
    assert not cohort.check().wrong


def test_channels_get_the_names_that_a_network_has(tmp_path: Path) -> None:
    write_decathlon(tmp_path)
    head = OutputHead.of(phantom.LABEL_NAMES)
    channels = {"T1w": "T1", "t1gd": "T1ce", "T2w": "T2"}
    with pytest.raises(InputError, match='meant by "non-enhancing tumor"'):
        cohorts.find(tmp_path).entries[0].read(head)
    for key in (2, "Non-enhancing tumor"):
        cohort = cohorts.find(f"msd:{tmp_path}", channels=channels, label_names={key: "necrotic core"})
        read = cohort.entries[0].read(head)
        assert read.channels == ("FLAIR", "T1", "T1ce", "T2")
        assert read.label is not None
        # oedema, core, enhancing tumour are 1, 2, 3 there, and 2, 1, 4 here
        assert read.label[0, 0, :3].tolist() == [2, 1, 4]


def test_nnunets_first_version_lists_files_that_are_called_otherwise(tmp_path: Path) -> None:
    for n in range(2):
        write_image(tmp_path / "imagesTr" / f"liver_000{n}.nii.gz", seed=n)
    write_label(tmp_path / "labelsTr" / "liver.nii.gz", (1,))
    pair = {"image": "./imagesTr/liver.nii.gz", "label": "./labelsTr/liver.nii.gz"}
    write_json(tmp_path / "dataset.json", modality={"0": "CT", "1": "PET"}, labels={"1": "liver"}, training=[pair])
    case = cohorts.find(tmp_path)[0]
    assert case.channels == ("CT", "PET")
    np.testing.assert_array_equal(
        case.channel("PET"), np.asarray(nibabel.load(tmp_path / "imagesTr" / "liver_0001.nii.gz").dataobj).T
    )


def write_nnunet(root: Path, labels: dict[str, Any]) -> None:
    for n in range(2):
        for channel in range(2):
            write_image(root / "imagesTr" / f"case_{n}_{channel:04d}.nii.gz", seed=2 * n + channel)
        write_label(root / "labelsTr" / f"case_{n}.nii.gz", (1, 2, 3))
    write_image(root / "imagesTs" / "other_0000.nii.gz")
    write_image(root / "imagesTs" / "other_0001.nii.gz")
    names = {"1": "T2", "0": "T1"}
    write_json(root / "dataset.json", channel_names=names, labels=labels, file_ending=".nii.gz", numTraining=2)


def test_nnunet_keeps_each_channel_in_a_file(tmp_path: Path) -> None:
    write_nnunet(tmp_path, {"background": 0, "edema": 1, "necrosis": 2, "ignore": 3})
    cohort = cohorts.find(tmp_path)
    assert (cohort.kind, cohort.channels, len(cohort)) == ("nnunet", ("T1", "T2"), 2)
    truth = np.asarray(nibabel.load(tmp_path / "imagesTr" / "case_1_0001.nii.gz").dataobj)
    np.testing.assert_array_equal(cohort[1].channel("T2"), truth.T)
    assert cohort[1].label_names == {1: "edema", 2: "necrosis", 3: "ignore"}
    assert [x.name for x in cohorts.find(tmp_path / "imagesTs").entries] == ["other"]


def test_regions_name_a_value_after_the_innermost(tmp_path: Path) -> None:
    write_nnunet(tmp_path, {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3})
    entry = cohorts.find(tmp_path).entries[0]
    assert entry.label_names == {"1": "whole tumor", "2": "tumor core", "3": "enhancing tumor"}
    # BraTS' labels of the phantom: oedema 2, core 1, enhancing 4
    head = OutputHead.of({1: "TC", 2: "WT", 4: "ET"}, "sigmoid", {2: (1, 2, 4), 1: (1, 4), 4: (4,)})
    read = entry.read(head)
    assert read.label is not None
    assert read.label[0, 0, :3].tolist() == [2, 1, 4]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no JSON", "no readable JSON"),
        ("[]", "must be a JSON object"),
        ('{"channel_names": ["T1"], "labels": {}, "file_ending": ".nii.gz"}', "channel_names must be an object"),
        ('{"channel_names": {"0": "T1"}, "labels": 3, "file_ending": ".nii.gz"}', "labels must be an object"),
        ('{"channel_names": {"0": "T1"}, "labels": {}}', "file_ending must be"),
        ('{"modality": {"0": "CT"}, "labels": {}, "training": 7}', "training must be a list"),
        ('{"modality": {"0": "CT"}, "labels": {}, "training": [{"picture": 1}]}', "training must hold"),
    ],
)
def test_a_dataset_file_that_says_what_cannot_be(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(InputError, match=said) as error:
        cohorts.find(tmp_path)
    assert str(tmp_path / "dataset.json") in str(error.value)


def test_a_manifest_lists_cases(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / "files" / f"{name}1.nii.gz")
        write_label(tmp_path / "files" / f"{name}seg.nii.gz")
    text = (
        "Name;Patient;T1;label\nfirst;p1;files/a1.nii.gz;files/aseg.nii.gz\n\n"
        "second;p1;files/b1.nii.gz;files/bseg.nii.gz\nthird;;files/c1.nii.gz;\n"
    )
    (tmp_path / "cohort.csv").write_text(text, encoding="utf-8-sig")
    cohort = cohorts.find(tmp_path / "cohort.csv")
    assert [(x.name, x.patient) for x in cohort.entries] == [("first", "p1"), ("second", "p1"), ("third", "third")]
    assert (cohort.channels, cohort[1].channels) == (("T1",), ("T1",))
    wrong = cohort.check().wrong
    assert list(wrong) == ["third"]
    assert f"line 5, column T1: there is no {tmp_path / 'files' / 'c1.nii.gz'}" in wrong["third"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: the columns are none"),
        ("T1,label\n", "line 1: the columns are T1, label; name"),
        ("name,label\n", "line 1: the columns are name, label"),
        ("name,T1,T1\n", 'line 1: the column "T1" comes twice'),
        ("name,T1,\n", "line 1: column 3 has no name"),
        ("name,T1\na,b,c\n", "line 2: 3 cells for 2 columns"),
        ("name,T1\na,b\n,c\n", "line 3, column name: it is empty"),
        ("name,T1\n", "lists no case"),
    ],
)
def test_what_is_wrong_with_a_manifest_says_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "cohort.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        cohorts.find(tmp_path / "cohort.csv")


def test_cases_of_one_name_are_told_apart_and_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nii.gz")
    (tmp_path / "cohort.csv").write_text("name,T1\nx,a.nii.gz\nX,a.nii.gz\n")
    assert cohorts.find(tmp_path / "cohort.csv").check().wrong == {"X (2)": "another case is called X, too"}


def write_picture(path: Path, mode: str = "L", mask: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(0, 255, (8, 9) + ((3,) if mode == "RGB" else ()), np.uint8)
    if mask:
        values = np.where(np.arange(72).reshape(8, 9) > 30, 255, 0).astype(np.uint8)
    Image.fromarray(values, mode).save(path)
    return path


def test_pictures_and_masks_in_two_folders(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        for ending in ("png", "tif"):
            write_picture(tmp_path / "images" / patient / f"s_{ending}.{ending}", "RGB")
            write_picture(tmp_path / "masks" / patient / f"s_{ending}_mask.png", mask=True)
    cohort = cohorts.find(tmp_path)
    assert (cohort.kind, cohort.channels) == ("pictures", ("R", "G", "B"))
    assert [(x.name, x.patient) for x in cohort.entries] == [
        (f"{patient}_s_{x}", patient) for patient in ("p1", "p2") for x in ("png", "tif")
    ]
    assert not cohort.check(labels=True).wrong
    case = cohort[0]
    assert case.label is not None
    assert (case.shape, np.unique(case.label).tolist()) == ((1, 8, 9), [0, 1])


def test_volumes_and_labels_in_two_folders(tmp_path: Path) -> None:
    write_image(tmp_path / "Images" / "a.nii.gz")
    write_label(tmp_path / "Labels" / "a.nii.gz")
    cohort = cohorts.find(tmp_path)
    assert (cohort.channels, [x.name for x in cohort.entries], cohort.check(labels=True).wrong) == (("image",), ["a"], {})


def test_nnunet_keeps_the_colours_of_a_picture_in_one_file(tmp_path: Path) -> None:
    write_picture(tmp_path / "imagesTr" / "road_0000.png", "RGB")
    write_picture(tmp_path / "labelsTr" / "road.png", mask=True)
    names = {"0": "R", "1": "G", "2": "B"}
    write_json(tmp_path / "dataset.json", channel_names=names, labels={"background": 0, "road": 1}, file_ending=".png")
    cohort = cohorts.find(tmp_path)
    assert (cohort.kind, cohort.channels, cohort.check(labels=True).wrong) == ("nnunet", ("R", "G", "B"), {})
    assert cohort[0].label_names == {1: "road"}


def test_pictures_beside_their_masks_grouped_by_patient(tmp_path: Path) -> None:
    for n in range(3):
        write_picture(tmp_path / f"colon-07_slice_{n}.png")
        write_picture(tmp_path / f"colon-07_slice_{n}_mask.png", mask=True)
    write_picture(tmp_path / "lumbar.jpg")
    cohort = cohorts.find(tmp_path)
    assert cohort.channels == ("image",)
    assert cohort.patients == ("colon-07", "lumbar")
    assert cohort.check().wrong == {"lumbar": "no reference"}


def test_dicom_slices_with_masks(tmp_path: Path) -> None:
    pixels = np.arange(72, dtype=np.int16).reshape(8, 9)
    save(new_file(tmp_path / "x.dcm", CT, pixels, PixelSpacing=[1, 1]), tmp_path / "images" / "x.dcm")
    write_picture(tmp_path / "masks" / "x.png", mask=True)
    cohort = cohorts.find(tmp_path)
    assert (cohort.kind, cohort.channels) == ("pictures", ("image",))
    assert not cohort.check(labels=True).wrong
    np.testing.assert_array_equal(cohort[0].image[0, 0], pixels)


def test_subjects_as_this_software_writes_them(tmp_path: Path) -> None:
    subjects = [phantom.subject(seed, (32, 32, 32)) for seed in (1, 2)]
    for case in subjects:
        case.write(tmp_path / case.name)
    cohort = cohorts.find(tmp_path)
    assert (cohort.kind, len(cohort)) == ("folders", 2)
    for read, case in zip(cohort, subjects):
        assert read.name == case.name
        for channel in case.channels:
            np.testing.assert_array_equal(read.channel(channel), case.channel(channel))
        np.testing.assert_array_equal(read.label, case.label)


def test_files_that_are_called_after_their_subject(tmp_path: Path) -> None:
    for subject in ("sub-01", "sub-02"):
        for channel in ("T1", "T2"):
            write_image(tmp_path / subject / f"{subject}_{channel}.nii.gz")
        write_label(tmp_path / subject / f"{subject}_seg_consensus.nii.gz")
    cohort = cohorts.find(tmp_path)
    assert (cohort.channels, cohort.labelled) == (("T1", "T2"), True)
    assert cohort[0].channels == ("T1", "T2")


def test_attacked_images_are_cases_of_the_patient(tmp_path: Path) -> None:
    from SegAdversarialLib.cli import main

    case = phantom.subject(3, (32, 32, 32))
    written = case.write(tmp_path / "case")
    words = [f"--channel={x}={written[x]}" for x in case.channels]
    words += ["--label", str(written["label"]), "--name", "subject", "--attack", "uniform-noise", "--set", "channels=T1"]
    assert main(["attack", *words, "--device", "cpu", "--output", str(tmp_path / "results")]) == 0
    cohort = cohorts.find(tmp_path / "results")
    assert (cohort.kind, cohort.patients) == ("results", ("subject",))
    assert [x.name for x in cohort.entries] == [f"subject-{attacks.attack_class('uniform-noise').name}-T1"]
    read = cohort[0]
    assert not np.array_equal(read.channel("T1"), case.channel("T1"))
    np.testing.assert_array_equal(read.channel("FLAIR"), case.channel("FLAIR"))
    np.testing.assert_array_equal(read.label, case.label)
    job = json.loads((tmp_path / "results" / "job.json").read_text())
    job["case"]["n4"] = True  # the attack then saw all channels without their bias fields, and kept only T1
    (tmp_path / "results" / "job.json").write_text(json.dumps(job))
    (problem,) = (x.problem for x in cohorts.find(tmp_path / "results").entries)
    assert problem.startswith("T1ce, T2, FLAIR: not attacked, and not kept as the attack saw it")
