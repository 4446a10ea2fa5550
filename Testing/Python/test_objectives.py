"""Objectives against the papers' formulas written out, torch's own losses, and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from SegAdversarialLib import InputError, objectives
from SegAdversarialLib.objectives import voxelwise
from SegAdversarialLib.structures.output_head import OutputHead

SOFTMAX = OutputHead.of({0: "background", 1: "core", 2: "oedema", 4: "rim"})
SIGMOID = OutputHead.of({2: "WT", 1: "TC", 4: "ET"}, "sigmoid", {2: (1, 2, 4), 1: (1, 4)})


def sample(outputs: int, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    generator = np.random.default_rng(seed)
    label = generator.choice([0, 1, 2, 4], (3, 4, 5)).astype(np.int16)
    return torch.from_numpy(generator.normal(0, 2, (outputs, 3, 4, 5))), label


def value(objective: objectives.Objective, logits: torch.Tensor, head: OutputHead = SOFTMAX) -> float:
    return float(objective.bind(head, "cpu", torch.float64)(logits))


def test_soft_dice_is_lius() -> None:
    """Equation 5 with loops over voxels, N counting the background."""
    logits, label = sample(4)
    shares = torch.softmax(logits, 0).numpy()
    total = 0.0
    for n, wanted in ((1, 1), (2, 2), (3, 4)):
        overlap = claimed = truth = 0.0
        for voxel in np.ndindex(label.shape):
            y = float(label[voxel] == wanted)
            overlap, claimed, truth = overlap + shares[(n, *voxel)] * y, claimed + shares[(n, *voxel)], truth + y
        total += (2 * overlap + 0.01) / (claimed + truth + 0.01)
    assert value(objectives.SoftDice(label, gamma=0.01), logits) == pytest.approx(1 - total / 4, rel=1e-12)


def test_cross_entropy_is_torchs() -> None:
    logits, label = sample(4)
    indices = torch.from_numpy(np.searchsorted([0, 1, 2, 4], label))
    expected = torch.nn.functional.cross_entropy(logits[None], indices[None])
    assert value(objectives.CrossEntropy(label), logits) == pytest.approx(float(expected), rel=1e-12)
    only = torch.nn.functional.cross_entropy(logits[:, label == 4].T, indices[label == 4])
    assert value(objectives.CrossEntropy(label, classes=("rim",)), logits) == pytest.approx(float(only), rel=1e-12)
    targets = torch.stack([torch.from_numpy(np.isin(label, x)) for x in ((1, 2, 4), (1, 4), (4,))]).double()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:3], targets)
    assert value(objectives.CrossEntropy(label), logits[:3], SIGMOID) == pytest.approx(float(expected), rel=1e-12)


def test_masked_cross_entropy_is_chens() -> None:
    """Equation 5: the foreground of S0 times the cross-entropy, over the foreground; S0 may be soft."""
    logits, label = sample(4)
    log_shares = torch.log_softmax(logits, 0).numpy()
    for soft in (False, True):
        reference = torch.softmax(sample(4, seed=1)[0], 0).numpy() if soft else np.stack([label == x for x in (0, 1, 2, 4)])
        weight = reference[1:].sum(0)
        expected = -(weight * (reference * log_shares).sum(0)).sum() / weight.sum()
        given_as = reference if soft else label
        assert value(objectives.MaskedCrossEntropy(given_as), logits) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
@pytest.mark.parametrize("head", [SOFTMAX, SIGMOID], ids=["softmax", "sigmoid"])
@pytest.mark.parametrize("settings", [{}, {"classes": (4, 2)}, {"temperature": 3.0}, {"region": True}], ids=str)
def test_gradients(name: str, head: OutputHead, settings: dict[str, Any]) -> None:
    logits, label = sample(len(head.labels))
    if settings.get("region"):
        settings = {"region": np.arange(60).reshape(3, 4, 5) % 3 == 0}
    bound = objectives.OBJECTIVES[name](label, **settings).bind(head, "cpu", torch.float64)
    bound.progress = 0.5
    if name != "cospgd":
        assert torch.autograd.gradcheck(bound, (logits.requires_grad_(True),))
        return
    # its weights have no gradient of their own: finite differences with the weights held where they are
    (gradient,) = torch.autograd.grad(bound(logits.requires_grad_(True)), logits)
    temperature = settings.get("temperature", 1.0)
    weights = cosines(logits.detach() / temperature, label, head)
    differences = torch.zeros_like(gradient)
    for place in np.ndindex(gradient.shape):
        step = torch.zeros_like(gradient)
        step[place] = 1e-6
        ahead, behind = (
            weighted(weights, (logits.detach() + sign * step) / temperature, label, head, settings) for sign in (1, -1)
        )
        differences[place] = (ahead - behind) / 2e-6
    assert torch.allclose(gradient, differences, rtol=1e-5, atol=1e-8)


def cosines(logits: torch.Tensor, label: np.ndarray, head: OutputHead) -> torch.Tensor:
    """Of the probabilities and the one-hot reference, (P, K, J, I)."""
    targets = head.masks(torch.from_numpy(label)).double()
    if head.kind == "softmax":
        shares = logits.softmax(0)
        return ((shares * targets).sum(0) / shares.norm(dim=0))[None]
    yes = logits.sigmoid()
    right = torch.where(targets > 0, yes, 1 - yes)
    return right / (yes**2 + (1 - yes) ** 2).sqrt()


def weighted(
    weights: torch.Tensor, logits: torch.Tensor, label: np.ndarray, head: OutputHead, settings: dict[str, Any]
) -> torch.Tensor:
    """The mean of weights times cross-entropy over the voxels that count."""
    targets = head.masks(torch.from_numpy(label)).double()
    outputs = sorted(head.output(x) for x in settings.get("classes", ())) or list(range(len(targets)))
    if head.kind == "softmax":
        entropy = torch.nn.functional.cross_entropy(logits[None], targets.argmax(0)[None], reduction="none")
        counted = targets[outputs].sum(0)[None]
    else:
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        counted = torch.zeros_like(targets)
        counted[outputs] = 1
    if "region" in settings:
        counted = counted * torch.from_numpy(settings["region"])
    return (weights * entropy * counted).sum() / counted.sum()


def test_balanced_masked_cross_entropy_counts_structures_not_voxels() -> None:
    """By hand: the cross-entropy of the voxels that are right, averaged over each structure, then over structures."""
    logits, label = sample(4)
    log_shares, said = torch.log_softmax(logits, 0).numpy(), logits.argmax(0).numpy()
    parts = []
    for n, wanted in ((1, 1), (2, 2), (3, 4)):
        inside = label == wanted
        parts.append((-log_shares[n] * (said == n))[inside].mean())
    assert value(objectives.BalancedMaskedCrossEntropy(label), logits) == pytest.approx(np.mean(parts), rel=1e-12)
    everywhere = objectives.BalancedMaskedCrossEntropy(label, balanced=False)
    indices = np.searchsorted([0, 1, 2, 4], label)
    right = np.take_along_axis(-log_shares, indices[None], 0)[0] * (said == indices)
    assert value(everywhere, logits) == pytest.approx(right.mean(), rel=1e-12)


def test_jensen_shannon_is_scipys() -> None:
    """SciPy's is the square root of the divergence."""
    from scipy.spatial.distance import jensenshannon

    logits, label = sample(4)
    one_hot = np.stack([label == x for x in (0, 1, 2, 4)]).astype(float)
    divergence = jensenshannon(torch.softmax(logits, 0).numpy(), one_hot, axis=0) ** 2
    assert value(objectives.JensenShannon(label, balanced=False), logits) == pytest.approx(divergence.mean(), rel=1e-9)
    parts = [divergence[label == x].mean() for x in (1, 2, 4)]
    assert value(objectives.JensenShannon(label), logits) == pytest.approx(np.mean(parts), rel=1e-9)
    wrong = torch.from_numpy(60.0 * np.roll(one_hot, 1, 0))
    assert value(objectives.JensenShannon(label), wrong) == pytest.approx(np.log(2), rel=1e-9)


def test_margin_is_the_lead_of_the_best_wrong_answer() -> None:
    logits, label = sample(4)
    indices, z = np.searchsorted([0, 1, 2, 4], label), logits.numpy()
    leads = [max(z[n][v] for n in range(4) if n != indices[v]) - z[indices[v]][v] for v in np.ndindex(label.shape)]
    expected = np.minimum(leads, 0.25).mean()
    assert value(objectives.Margin(label, most=0.25, balanced=False), logits) == pytest.approx(expected, rel=1e-12)


def test_segpgd_moves_its_weight_to_what_is_wrong() -> None:
    """Gu et al. 2022: 1 - lambda for right voxels, lambda for wrong ones, lambda from 0 to 1/2."""
    logits, label = sample(4)
    indices = np.searchsorted([0, 1, 2, 4], label)
    entropy = np.take_along_axis(-torch.log_softmax(logits, 0).numpy(), indices[None], 0)[0]
    right = logits.argmax(0).numpy() == indices
    bound = objectives.SegPGDWeighted(label).bind(SOFTMAX, "cpu", torch.float64)
    for progress, share in ((0.0, 0.0), (0.5, 0.25), (1.0, 0.5)):
        bound.progress = progress
        assert float(bound(logits)) == pytest.approx((np.where(right, 1 - share, share) * entropy).mean(), rel=1e-12)


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
@pytest.mark.parametrize("head", [SOFTMAX, SIGMOID], ids=["softmax", "sigmoid"])
def test_outside_the_region_nothing_counts(name: str, head: OutputHead) -> None:
    logits, label = sample(len(head.labels))
    region = np.zeros(label.shape, dtype=bool)
    region[1:, :2] = True
    bound = objectives.OBJECTIVES[name](label, region=region).bind(head, "cpu", torch.float64)
    (gradient,) = torch.autograd.grad(bound(logits.requires_grad_(True)), logits)
    assert not gradient[:, ~torch.from_numpy(region)].any()
    inside = objectives.OBJECTIVES[name](label[1:, :2]).bind(head, "cpu", torch.float64)
    logits = logits.detach()
    assert float(bound(logits)) == pytest.approx(float(inside(logits[:, 1:, :2])), rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(0.5, 50))
def test_laws(seed: int, temperature: float) -> None:
    """Confident and right is best; a temperature is a division of the logits; one-hot and label map agree."""
    logits, label = sample(4, seed)
    one_hot = np.stack([label == x for x in (0, 1, 2, 4)])
    right = torch.from_numpy(60.0 * one_hot)
    for kind in objectives.OBJECTIVES.values():
        best = value(kind(label), right)
        assert best <= value(kind(label), logits) + 1e-12
        scaled = value(kind(label, temperature=temperature), logits)
        assert scaled == pytest.approx(value(kind(label), logits / temperature), rel=1e-12)
        assert value(kind(one_hot), logits) == pytest.approx(value(kind(label), logits), rel=1e-12)
    assert value(objectives.SoftDice(label), right) == pytest.approx(0.25, abs=1e-6)


def test_automatic_temperature() -> None:
    """Measured once, so that the winner leads by 2 on average; never below 1."""
    _, label = sample(4)
    one_hot = torch.from_numpy(np.stack([label == x for x in (0, 1, 2, 4)])).double()
    bound = objectives.SoftDice(label, temperature="auto").bind(SOFTMAX, "cpu", torch.float64)
    bound(500.0 * one_hot)
    assert bound.temperature == pytest.approx(250)
    bound(1.0 * one_hot)
    assert bound.temperature == pytest.approx(250)
    calm = objectives.SoftDice(label, temperature="auto").bind(SOFTMAX, "cpu", torch.float64)
    calm(0.5 * one_hot)
    assert calm.temperature == 1


def test_what_is_refused() -> None:
    _, label = sample(4)
    with pytest.raises(InputError, match="value.* 4, which none"):
        objectives.SoftDice(label).bind(OutputHead.of(["background", "a", "b"]), "cpu", torch.float64)
    with pytest.raises(InputError, match="no class liver"):
        objectives.SoftDice(label, classes=["liver"]).bind(SOFTMAX, "cpu", torch.float64)
    with pytest.raises(InputError, match="temperature"):
        objectives.SoftDice(label, temperature=0)
    with pytest.raises(InputError, match="region has the shape"):
        objectives.SoftDice(label, region=np.ones((2, 2, 2), bool))
    with pytest.raises(InputError, match="gamma"):
        objectives.SoftDice(label, gamma=0)


def test_label_maps_of_heads() -> None:
    """Exclusive classes by the largest logit, regions painted in the outputs' order."""
    logits = torch.tensor([[1.0, 1.0, 1.0, -1.0], [-1.0, 1.0, 1.0, -1.0], [-1.0, -1.0, 2.0, -2.0]]).reshape(3, 1, 1, 4)
    assert SIGMOID.label_map(logits).tolist() == [[[2, 1, 4, 0]]]
    swapped = OutputHead.of({1: "TC", 2: "WT", 4: "ET"}, "sigmoid", {2: (1, 2, 4), 1: (1, 4)})
    assert swapped.label_map(logits[[1, 0, 2]]).tolist() == [[[2, 1, 4, 0]]]  # the larger region never hides the smaller
    assert OutputHead.of(["a", "b"], "sigmoid").labels == (1, 2)
    ties = torch.tensor([[0.0, 1.0], [0.0, 1.0], [-1.0, 2.0], [0.0, 2.0]]).reshape(4, 1, 1, 2)
    assert SOFTMAX.predicted(ties).int().flatten(1).tolist() == [[1, 0], [0, 0], [0, 1], [0, 0]]  # the first wins, as argmax
    merging = OutputHead.of({0: "background", 1: "whole"}, regions={1: (1, 2, 4)})
    assert merging.merged(np.array([0, 1, 2, 4])).tolist() == [0, 1, 1, 1]
    assert SOFTMAX.label_map(torch.cat([logits, torch.zeros(1, 1, 1, 4)])).tolist() == [[[0, 0, 2, 4]]]
    reference = SIGMOID.masks(torch.tensor([[[0, 1, 2, 4]]]))
    assert reference.int().flatten(1).tolist() == [[0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("classes", "settings", "message"),
    [
        (["background"], {}, "at least two"),
        ({0: "a", 1: "a"}, {}, "different names"),
        ({0: "background", 40000: "core"}, {}, "between 0 and 32767"),
        ({0: "background", 1: "core"}, {"regions": {3: (1,)}}, "no classes"),
        ({0: "background", 1: "core"}, {"regions": {1: (0, 1)}}, "something other than 0"),
        ({0: "background", 1: "core"}, {"regions": {1: ()}}, "some reference label"),
        ({0: "WT", 1: "TC"}, {"kind": "sigmoid"}, "no background"),
    ],
)
def test_wrong_classes_are_refused(classes: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OutputHead.of(classes, **settings)


@pytest.mark.parametrize("head", [SOFTMAX, SIGMOID], ids=["softmax", "sigmoid"])
@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_objectives_that_pull_together(head: OutputHead, progress: float) -> None:
    """By autograd: each gradient over its own sum, weighted; whatever the losses' own scales are. The value is their mean."""
    logits, label = sample(len(head.labels), seed=4)
    single = [objectives.CrossEntropy(label), objectives.SoftDice(label), objectives.Margin(label)]
    last = (1.0, 2.0, 0.0)
    joint = objectives.JointObjective([objectives.Part(x, weight) for x, weight in zip(single, last)])
    bound = joint.bind(head, "cpu", torch.float64)
    bound.progress = progress
    leaf = logits.clone().requires_grad_(True)
    found = bound(leaf)
    (gradient,) = torch.autograd.grad(found, leaf)
    expected = torch.zeros_like(logits)
    for objective, weight in zip(single, last):
        alone = logits.clone().requires_grad_(True)
        (pull,) = torch.autograd.grad(objective.bind(head, "cpu", torch.float64)(alone), alone)
        expected += (1 + (weight - 1) * progress) * pull / pull.abs().sum()
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)
    mean = np.mean([value(x, logits, head) for x in single])
    assert float(found.detach()) == pytest.approx(mean, rel=1e-12)
    assert float(bound(logits)) == pytest.approx(mean, rel=1e-12)


def test_a_stuck_objective_leaves_the_others_alone() -> None:
    """Logits that are saturated have no cross-entropy gradient, but a margin; sharpness is the logits' factor in the end."""
    logits, label = sample(4)
    stuck = 1e4 * torch.nn.functional.one_hot(torch.from_numpy(np.searchsorted([0, 1, 2, 4], label)), 4).permute(3, 0, 1, 2)
    stuck = (stuck.double() + logits).requires_grad_(True)
    parts = [objectives.Part(objectives.CrossEntropy(label)), objectives.Part(objectives.Margin(label))]
    (gradient,) = torch.autograd.grad(objectives.JointObjective(parts).bind(SOFTMAX, "cpu", torch.float64)(stuck), stuck)
    (alone,) = torch.autograd.grad(objectives.Margin(label).bind(SOFTMAX, "cpu", torch.float64)(stuck), stuck)
    assert (alone != 0).any()
    torch.testing.assert_close(gradient, alone / alone.abs().sum())
    sharp = objectives.JointObjective([objectives.Part(objectives.SoftDice(label), last_sharpness=3.0)])
    bound = sharp.bind(SOFTMAX, "cpu", torch.float64)
    bound.progress = 1.0
    assert float(bound(logits)) == pytest.approx(value(objectives.SoftDice(label), 3 * logits), rel=1e-12)


def plain_weighted_mean(name: str, bound: objectives.BoundObjective, logits: torch.Tensor) -> torch.Tensor:
    """The weighted mean over all voxels, whether they count or not."""
    kind = bound.objective
    assert isinstance(kind, voxelwise.VoxelwiseObjective)
    weights = (voxelwise._balanced_weights if kind.balanced else voxelwise._equal_weights)(bound)
    lost = kind.lost(logits, bound)
    return lost.mean() if weights is None else (weights * lost).sum()


def few_voxels(shape: tuple[int, int, int], seed: int, outputs: int) -> tuple[torch.Tensor, np.ndarray]:
    """Logits in single precision, and a label map in which hardly any voxel counts."""
    generator = np.random.default_rng(seed)
    label = generator.choice([0, 1, 2, 4], shape, p=[0.92, 0.04, 0.02, 0.02]).astype(np.int16)
    return torch.from_numpy(generator.normal(0, 3, (outputs, *shape)).astype(np.float32)), label


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from([x for x, kind in objectives.OBJECTIVES.items() if issubclass(kind, voxelwise.VoxelwiseObjective)]),
    head=st.sampled_from([SOFTMAX, SIGMOID]),
    shape=st.tuples(*[st.integers(1, 24)] * 3),
    seed=st.integers(0, 1000),
    how=st.sampled_from(["all", "classes", "region"]),
)
def test_voxels_that_do_not_count_are_left_out_to_the_last_bit(
    name: str, head: OutputHead, shape: tuple[int, int, int], seed: int, how: str
) -> None:
    logits, label = few_voxels(shape, seed, len(head.labels))
    more: dict[str, Any] = {
        "classes": {"classes": (1,)},
        "region": {"region": np.random.default_rng(seed).random(shape) < 0.1},
    }.get(how, {})
    bound = objectives.OBJECTIVES[name](label, **more).bind(head, "cpu", torch.float32)
    for bound.progress in (0.0, 0.7):
        found, expected = [], []
        for ask, kept in ((bound, found), (lambda x: plain_weighted_mean(name, bound, x), expected)):
            leaf = logits.clone().requires_grad_(True)
            value = ask(leaf)
            kept += [value.detach(), *torch.autograd.grad(value, leaf)]
        assert all(torch.equal(x, y) for x, y in zip(found, expected))


def test_what_is_kept_of_targets_is_not_used_for_others() -> None:
    logits, label = few_voxels((16, 16, 16), 0, 4)
    other = few_voxels((16, 16, 16), 1, 4)[1]
    bound, fresh = (objectives.Margin(x).bind(SOFTMAX, "cpu", torch.float32) for x in (label, other))
    bound(logits)
    bound.targets = fresh.targets.clone()
    assert torch.equal(bound(logits), fresh(logits))


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_joint_objective_is_the_plain_sum_to_the_last_bit(progress: float) -> None:
    logits, label = few_voxels((20, 24, 16), 5, 4)
    parts = [
        objectives.Part(objectives.BalancedMaskedCrossEntropy(label)),
        objectives.Part(objectives.Margin(label), last_weight=0.0),
        objectives.Part(objectives.SoftDice(label), last_weight=2.0, last_sharpness=3.0),
    ]
    joint = objectives.JointObjective(parts).bind(SOFTMAX, "cpu", torch.float32)
    joint.progress = progress
    leaf = logits.clone().requires_grad_(True)
    value = joint(leaf)
    (gradient,) = torch.autograd.grad(value, leaf)
    pull, losses = torch.zeros_like(logits), []
    for part in parts:
        bound = part.objective.bind(SOFTMAX, "cpu", torch.float32)
        bound.sharpness = 1 + (part.last_sharpness - 1) * progress
        own = logits.clone().requires_grad_(True)
        losses.append(bound(own))
        (found,) = torch.autograd.grad(losses[-1], own)
        pull.add_(found / found.abs().sum(), alpha=1 + (part.last_weight - 1) * progress)
    linear, mean = (pull * logits).sum(), torch.stack(losses).mean()
    assert torch.equal(gradient, pull) and torch.equal(value, linear + (mean - linear))
    (thrice,) = torch.autograd.grad(3 * joint(leaf), leaf)
    assert torch.equal(thrice, 3 * pull)


@pytest.mark.parametrize("head", [SOFTMAX, SIGMOID])
def test_cospgd_weighs_by_torchs_cosine_to_the_last_bit(head: OutputHead) -> None:
    """Its targets' half of the cosine is worked out once."""
    logits, label = few_voxels((9, 10, 11), 2, len(head.labels))
    targets = torch.softmax(few_voxels((9, 10, 11), 3, len(head.labels))[0], 0)
    bound = objectives.CosPGDWeighted(label).bind(head, "cpu", torch.float32)
    for wanted in (bound.targets, targets, targets.flip(1)):
        bound.targets = wanted
        for step in (logits, logits.flip(1)):
            shares = voxelwise._log_probabilities(step, bound).exp()
            agreement = torch.nn.functional.cosine_similarity(shares, voxelwise._distributions(bound), dim=1)
            assert torch.equal(bound(step), (agreement * voxelwise._cross_entropy(step, bound)).mean())
