"""Networks that the real nnU-Net trained (make_nnunet_networks.py): our answers are nnUNetv2_predict's, our gradients exact.

The networks in Testing/networks: slices along i with CT's normalisation and two folds; 2D with two channels; regions with an
ignore label, trained on all cases without mirroring. One more may lie elsewhere (SEGADVERSARIAL_NETWORKS names the folder).
"""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from SegAdversarialLib import Case, SegmentationModel, attacks, objectives
from SegAdversarialLib.formats import describe_file, open_model

pytest.importorskip("dynamic_network_architectures.architectures.unet", reason="nnU-Net's networks are not installed")

NETWORKS = Path(__file__).parents[1] / "networks"
ELSEWHERE = Path(os.environ.get("SEGADVERSARIAL_NETWORKS", NETWORKS / "not there")) / "nnunet-regions-3d"
ANSWERS = sorted(NETWORKS.glob("nnunet-*/predicted/*.nii.gz"))


def case_of(folder: Path, name: str, model: SegmentationModel) -> Case:
    images = folder / "imagesTs" if (folder / "imagesTs").is_dir() else folder
    return Case.read({channel: images / f"{name}_{n:04d}.nii.gz" for n, channel in enumerate(model.channels)})


def dice(some: np.ndarray, other: np.ndarray) -> float:
    return float(2 * np.count_nonzero(some & other) / (np.count_nonzero(some) + np.count_nonzero(other)))


def check_same_answer(folder: Path, name: str) -> None:
    """Dice of at least 0.999 for each structure, none of which nnU-Net left empty."""
    model = open_model(folder, device="cpu")
    found = model.segment(case_of(folder / "cases", name, model))
    said = np.asarray(nibabel.load(folder / "predicted" / f"{name}.nii.gz").dataobj).transpose(2, 1, 0)
    for n in model.head.foreground:
        label = model.head.labels[n]
        assert np.count_nonzero(said == label) > 20
        assert dice(found == label, said == label) >= 0.999, model.head.names[n]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda x: f"{x.parts[-3]}-{x.name.partition('.')[0]}")
def test_we_say_what_nnunet_says(answer: Path) -> None:
    check_same_answer(answer.parents[1], answer.name.removesuffix(".nii.gz"))


def test_all_three_networks_are_there() -> None:
    assert {x.parts[-3] for x in ANSWERS} == {"nnunet-regions", "nnunet-sagittal", "nnunet-slices"}


@pytest.mark.skipif(not ELSEWHERE.is_dir(), reason="nnunet-regions-3d is not there (SEGADVERSARIAL_NETWORKS)")
@pytest.mark.parametrize("name", ["ts_000", "ts_001"])
def test_we_say_what_nnunet_says_of_nested_regions(name: str) -> None:
    check_same_answer(ELSEWHERE, name)


def test_what_their_files_say() -> None:
    sagittal = describe_file(NETWORKS / "nnunet-sagittal")
    assert sagittal.content == "a network trained with nnU-Net (3d_fullres, folds 0 and 1)"
    folds = [x.stat().st_size for x in (NETWORKS / "nnunet-sagittal").glob("fold_*/checkpoint_final.pth")]
    assert len(folds) == 2 and sagittal.size_bytes == sum(folds)
    assert (sagittal.preprocessing.axes, sagittal.window, sagittal.needs_trust) == ("ikj", (12, 40, 40), False)
    slices = describe_file(NETWORKS / "nnunet-slices" / "fold_0" / "checkpoint_final.pth")
    assert (slices.preprocessing.axes, slices.preprocessing.spacing, slices.channels) == (
        "ji",
        (*slices.preprocessing.spacing[:2], None),
        ("T1ce", "FLAIR"),
    )
    regions = describe_file(NETWORKS / "nnunet-regions")
    assert [(x.label, x.name, x.stands_for) for x in regions.classes] == [(1, "head", (1, 2)), (2, "tumour", (2,))]
    assert (regions.head, regions.content) == ("sigmoid", "a network trained with nnU-Net (3d_fullres, fold all)")


@pytest.mark.parametrize(
    "path, mirror, part",
    [
        ("nnunet-sagittal/fold_0", "i", np.s_[:, 5:45, 12:42, 10:22]),
        ("nnunet-slices", "j", np.s_[:, 16:20, 8:48, 8:44]),
        ("nnunet-regions", "", np.s_[:, 5:39, 10:34, 8:36]),
    ],
)
def test_the_gradient_goes_through_all_of_it(path: str, mirror: str, part: tuple[slice, ...]) -> None:
    """Crop, normalisation, splines, windows, flips, and all of it back: against finite differences, in double precision."""
    opened = open_model(NETWORKS / path, device="cpu", mirror=mirror)
    model = opened.with_network(opened.network.double())
    folder = NETWORKS / path.partition("/")[0]
    whole = case_of(folder / "cases", "case-500", model)
    said = np.asarray(nibabel.load(folder / "predicted" / "case-500.nii.gz").dataobj).transpose(2, 1, 0).astype(np.int16)
    generator = np.random.default_rng(0)
    image = whole.image[part].astype(np.float64)
    inside = image != 0  # what is 0 is cropped away, or told from the rest
    # whole numbers lie on the edges of CT's range, and are the largest or smallest of a slice several times
    image += inside * generator.uniform(-0.4, 0.4, image.shape)
    case = Case(image.astype(np.float32), model.channels, whole.affine)
    step = torch.from_numpy(generator.standard_normal(image.shape) * inside)
    with model.on(case) as bound:
        loss = objectives.SoftDice(np.roll(said[part[1:]], 3, axis=1)).bind(model.head, model.device, model.dtype)
        middle = bound.image.clone()
        _, gradient, _ = bound.differentiate(middle, loss)
        ahead, behind = (float(loss(bound.logits(middle + sign * 1e-5 * step))) for sign in (1, -1))
    expected = (ahead - behind) / 2e-5  # a larger step crosses the kinks of ReLUs
    assert float((gradient * step).sum()) == pytest.approx(expected, rel=1e-4)
    assert abs(expected) > 1e-7
    assert int(gradient.count_nonzero()) > 1000


def test_they_are_attacked_on_the_image_as_it_lies_in_the_file() -> None:
    """One gradient step against the network's own answer, on a few of the slices."""
    model = open_model(NETWORKS / "nnunet-slices", device="cpu", mirror="")
    whole = case_of(NETWORKS / "nnunet-slices" / "cases", "case-500", model)
    case = Case(whole.image[:, 16:20], model.channels, whole.affine)
    before = model.segment(case)
    result = attacks.FGSM(epsilon=0.1, against="prediction")(model, case)
    assert result.adversarial.shape == case.shape
    after = model.segment(result.adversarial)
    assert dice(before == 1, after == 1) < 0.96
