"""What a network in training is shown: draws by their place, labels that move with images, caches that change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from conftest import oblique_affine
from monai.losses import FocalLoss
from training_helpers import CLASSES, TINY, assert_same, block, trained

from SegAdversarialLib import Case, Preprocessing, open_model
from SegAdversarialLib.training.augmentation import Augmentation
from SegAdversarialLib.training.cohort import Cohort, Item
from SegAdversarialLib.training.losses import loss_of
from SegAdversarialLib.training.samples import Sample
from SegAdversarialLib.training.settings import TrainingSettings
from SegAdversarialLib.training.task import Task

ANISOTROPIC = Preprocessing(orientation="LPS", spacing=(1.0, 1.2, 3.0))


def painted(shape: tuple[int, int, int] = (7, 10, 12)) -> Case:
    """An oblique case of which each channel shows a structure, so that an image says where its labels belong."""
    label = np.zeros(shape, np.int16)
    label[2:5, 2:6, 2:5] = 1
    label[1:6, 4:9, 7:11] = 2
    image = np.stack([100.0 * (label == n) for n in (1, 2)]).astype(np.float32)
    return Case(image, ("A", "B"), oblique_affine(), label=label, label_names=CLASSES, name="painted")


def cohort_of(case: Case, preprocessing: Preprocessing = ANISOTROPIC, **settings: Any) -> Cohort:
    task = Task.of(case, {"preprocessing": preprocessing})
    return Cohort([case], task, TrainingSettings(**settings))


@pytest.mark.parametrize("axes", ["kji", "ikj", "ji", "ik"])
@pytest.mark.parametrize("kind", ["axial", "mirror"])
def test_labels_move_with_images(kind: str, axes: str) -> None:
    """Where a channel is bright there is its structure, whatever was flipped and turned."""
    preprocessing = ANISOTROPIC.model_copy(update={"axes": axes})
    cohort = cohort_of(painted(), preprocessing, augmentation=kind, patches=3)
    seen = {}
    for epoch in range(8):
        sample = cohort.sample(Item(0, 0), epoch)
        assert sample.image.ndim == 1 + len(axes) and sample.image.shape[1:] == sample.targets.shape[1:]
        for n in (0, 1):
            bright = sample.image[n] > 50
            inside, outside = sample.targets[1 + n][bright], sample.targets[1 + n][sample.image[n] < 1]
            assert inside.float().mean() > 0.9 if len(inside) else True
            assert not outside.any() or outside.float().mean() < 0.02
        assert torch.equal(sample.targets.sum(0), torch.ones_like(sample.targets[0]))
        seen[sample.image.numpy().tobytes()] = epoch
    assert len(seen) > 2  # they are not all alike


@pytest.mark.parametrize("native", [True, False])
def test_an_oblique_case_is_turned_in_its_axial_plane(native: bool) -> None:
    """Image and label alike come in the eight placements of a square, slice by slice: on the case's own grid, which is not
    resampled for it, and on a straight one."""
    generator = np.random.default_rng(2)
    label = generator.integers(0, 3, (5, 8, 8)).astype(np.int16)
    image = (10 * label + generator.normal(size=(2, *label.shape))).astype(np.float32)
    case = Case(image, ("A", "B"), oblique_affine(), label=label, label_names=CLASSES, name="oblique")
    preprocessing = Preprocessing() if native else Preprocessing(orientation="LPS")
    plain = cohort_of(case, preprocessing).sample(Item(0, 0), 0)
    if native:
        np.testing.assert_array_equal(plain.image, image)
        np.testing.assert_array_equal(plain.targets.argmax(0), label)
    cohort = cohort_of(case, preprocessing, augmentation="axial")
    square = np.arange(64).reshape(8, 8)
    placements = [np.rot90(x, n) for x in (square, square.T) for n in range(4)]
    seen = set()
    for epoch in range(60):
        sample = cohort.sample(Item(0, 0), epoch)
        fitting = [
            n
            for n, order in enumerate(placements)
            if np.array_equal(sample.image.flatten(2), plain.image.flatten(2)[..., order.ravel()])
        ]
        assert len(fitting) == 1, "the same turn of every slice and channel"
        order = placements[fitting[0]].ravel().copy()
        assert torch.equal(sample.targets.flatten(2), plain.targets.flatten(2)[..., order])
        seen.add(fitting[0])
    assert len(seen) == 8


@pytest.mark.parametrize("kind", ["none", "axial", "mirror", "classic"])
def test_the_same_place_draws_the_same(kind: str) -> None:
    """In whatever order, and in whatever company, samples are asked for; another seed, epoch or part draws anew."""
    case = block(1)
    first, again, other = (cohort_of(case, augmentation=kind, patch=(3, 5, 6), patches=2, seed=n) for n in (4, 4, 5))
    places = [(part, epoch) for part in (0, 1) for epoch in (0, 1, 2)]
    forward = {place: first.sample(Item(0, place[0]), place[1]) for place in places}
    for part, epoch in reversed(places):
        torch.manual_seed(epoch)
        np.random.seed(epoch)
        sample = again.sample(Item(0, part), epoch)
        torch.testing.assert_close(sample.image, forward[part, epoch].image, rtol=0, atol=0)
        torch.testing.assert_close(sample.targets, forward[part, epoch].targets, rtol=0, atol=0)
    anew = [other.sample(Item(0, part), epoch) for part, epoch in places]
    assert any(not torch.equal(x.image, forward[place].image) for x, place in zip(anew, places))
    assert len({x.image.numpy().tobytes() for x in forward.values()}) > 1


def test_augmentation_leaves_what_it_is_given() -> None:
    image, targets = torch.randn(2, 6, 7, 8), torch.zeros(3, 6, 7, 8, dtype=torch.uint8)
    before = image.clone(), targets.clone()
    for n in range(4):
        Augmentation("classic", "kji")(Sample(image, targets, (1.0, 1.0, 1.0), "x"), np.random.SeedSequence(n))
    assert torch.equal(image, before[0]) and torch.equal(targets, before[1])


def test_no_cache_changes_the_weights(tmp_path: Path) -> None:
    """In memory, in part of it, on disk (made, then found there), or read again each time."""
    how = {"epochs": 2, "patch": (6, 6, 6), "augmentation": "mirror"}
    whole = trained(how)
    size = block(0).image.nbytes + 3 * block(0).image[0].size
    for settings in ({"cache": "none"}, {"cache_gib": 0}, {"cache_gib": 1.5 * size / 2**30}):
        assert_same(trained({**how, **settings}), whole)
    assert_same(trained({**how, "cache": "disk"}, folder=tmp_path / "disk"), whole)
    assert len(list((tmp_path / "disk" / "cache").iterdir())) == 3
    longer = trained({**how, "epochs": 3, "cache": "disk"}, folder=tmp_path / "disk")
    assert_same(longer, trained({**how, "epochs": 3}))


@pytest.mark.parametrize("axes", ["ji", "ki"])
def test_networks_of_slices(axes: str, tmp_path: Path) -> None:
    """A 2D network sees each slice along the axis that its axes leave out, or some that hold a structure."""
    case = block(2, shape=(6, 8, 10))
    steps = Preprocessing(axes=axes, normalization={"kind": "zscore"})
    every, some = (cohort_of(case, steps, patches=patches) for patches in (None, 4))
    across = {"ji": 6, "ki": 8}[axes]
    assert sorted(x.slice for x in every.items(0)) == list(range(across))
    drawn = [some.sample(item, 0) for item in some.items(0)]
    assert len(drawn) == 4 and all(x.targets[1:].any() for x in drawn)
    model = trained({"epochs": 1, "batch_size": 4}, network=TINY, cases=[case], preprocessing=steps, folder=tmp_path)
    opened = open_model(tmp_path, device="cpu")
    assert opened.preprocessing.axes == axes
    np.testing.assert_array_equal(opened.segment(case), model.segment(case))


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_losses_against_their_formulas(head: Literal["softmax", "sigmoid"]) -> None:
    source = torch.Generator().manual_seed(0)
    classes = CLASSES if head == "softmax" else {n: CLASSES[n] for n in (1, 2)}
    task = Task.of(block(), {"head": head, "classes": classes})
    logits = 2 * torch.randn(2, len(classes), 4, 5, 6, generator=source)
    drawn = torch.rand(logits.shape, generator=source)
    targets = (drawn == drawn.amax(1, keepdim=True)).float() if head == "softmax" else (drawn > 0.5).float()
    p = logits.softmax(1) if head == "softmax" else logits.sigmoid()
    if head == "softmax":
        entropy = -(targets * p.log()).sum(1).mean()
        focal = -(targets * (1 - p) ** 2 * p.log()).mean()
    else:
        entropy = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
        claimed = torch.where(targets > 0, p, 1 - p)
        focal = -((1 - claimed) ** 2 * claimed.log()).mean()
    structures = slice(1, None) if head == "softmax" else slice(None)
    one, other = p[:, structures].flatten(2), targets[:, structures].flatten(2)
    overlap = (1 - (2 * (one * other).sum(2) + 1e-5) / ((one + other).sum(2) + 1e-5)).mean()
    for kind, expected in (("ce", entropy), ("focal", focal), ("dice", overlap), ("dice-ce", overlap + entropy)):
        torch.testing.assert_close(loss_of(kind, task.head)(logits, targets), expected, rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]
    torch.testing.assert_close(FocalLoss(use_softmax=head == "softmax")(logits, targets), focal, rtol=1e-5, atol=1e-6)


def test_a_sigmoid_head_is_trained(tmp_path: Path) -> None:
    """Outputs of which several may claim a voxel: the whole holds both parts."""
    whole = {1: "whole", 2: "right"}
    how = {"epochs": 1, "loss": "focal"}
    model = trained(how, head="sigmoid", classes=whole, stands_for={"whole": (1, 2)}, folder=tmp_path, validation=[block(9)])
    opened = open_model(tmp_path, device="cpu")
    assert opened.head == model.head and opened.head.kind == "sigmoid" and opened.head.regions[0] == (1, 2)
    np.testing.assert_array_equal(opened.logits(block(4)), model.logits(block(4)))
