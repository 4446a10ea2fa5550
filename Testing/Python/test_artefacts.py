"""Images that are merely bad: what artefacts do, how much, and the worst of several draws."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from conftest import oblique_affine, tiny_network, toy_case
from scipy.ndimage import gaussian_filter

from SegAdversarialLib import Case, InputError, SegmentationModel, attacks, evaluate
from SegAdversarialLib.attacks import make_attack
from SegAdversarialLib.attacks.artefacts import Kind, PhysicsArtefact
from SegAdversarialLib.attacks.worst_of_k import WorstOfK
from SegAdversarialLib.metrics import dice, psnr

SHAPE = (14, 18, 20)
HAS_TORCHIO = importlib.util.find_spec("torchio") is not None
KINDS = [
    pytest.param(kind, marks=pytest.mark.skipif(kind in ("motion", "ghosting") and not HAS_TORCHIO, reason="no torchio"))
    for kind in get_args(Kind)
]


def case_(dtype: str = "int16", shape: tuple[int, int, int] = SHAPE, smooth: float = 1.5) -> Case:
    """Two smooth channels in whole numbers with air around them."""
    generator = np.random.default_rng(0)
    image = np.stack([gaussian_filter(generator.normal(size=shape), smooth) for _ in range(2)])
    image = np.rint(400 + 80 * image / image.std()).clip(0).astype(np.float32)
    image[:, :, :3] = image[:, :, -3:] = 0
    label = (image[0] > 450).astype(np.int16) + (image[0] > 600).astype(np.int16)
    return Case(image, ("A", "B"), oblique_affine(), label, name="smooth", dtypes=(dtype, dtype))


def model_() -> SegmentationModel:
    scaled = torch.nn.Sequential(tiny_network().float())
    scaled.register_forward_pre_hook(lambda module, inputs: (inputs[0] / 300,))
    return SegmentationModel.from_network(scaled, channels=("A", "B"), classes=["background", "core", "rim"])


def quality(artefact: PhysicsArtefact, case: Case) -> float:
    """Mean PSNR over channels and draws."""
    found = [artefact.model_copy(update={"seed": seed})(None, case).adversarial.image for seed in range(4)]
    return float(np.mean([psnr(before, after) for image in found for before, after in zip(case.image, image)]))


@pytest.mark.parametrize("kind", KINDS)
def test_severity_is_a_scale(kind: Any) -> None:
    case = case_(shape=(24, 30, 32), smooth=4)  # structures larger than a patient's movements
    by_severity = [quality(PhysicsArtefact(kind=kind, severity=severity), case) for severity in (1, 3, 5)]
    assert by_severity[0] > by_severity[1] > by_severity[2]
    nothing = PhysicsArtefact(kind=kind, severity=0)
    assert nothing.does_nothing
    np.testing.assert_array_equal(nothing(None, case).adversarial.image, case.image)


@pytest.mark.parametrize("kind", KINDS)
def test_channels_region_range_and_seed(kind: Any) -> None:
    case = case_()
    region = np.zeros(SHAPE, bool)
    region[3:9, 4:12, 5:15] = True
    attack = PhysicsArtefact(kind=kind, severity=5, channels="B", region=region, quantize=True)
    image = attack(None, case).adversarial.image
    np.testing.assert_array_equal(image[0], case.image[0])
    np.testing.assert_array_equal(image[1][~region], case.image[1][~region])
    assert (image[1][region] != case.image[1][region]).any()
    assert case.image[1].min() <= image[1].min() and image[1].max() <= case.image[1].max()
    np.testing.assert_array_equal(image, np.rint(image))
    torch.manual_seed(7)
    np.random.seed(7)
    np.testing.assert_array_equal(attack(None, case).adversarial.image, image)
    others = [attack.model_copy(update={"seed": seed})(None, case).adversarial.image for seed in (1, 2, 3)]
    assert any((other != image).any() for other in others)  # two resolutions may round to the same coarse grid
    # a channel's artefact does not depend on what else is attacked
    both = PhysicsArtefact(kind=kind, severity=5, region=region, quantize=True)(None, case).adversarial.image
    np.testing.assert_array_equal(both[1], image[1])


def test_artefacts_are_what_they_are_called() -> None:
    case = case_("float32")

    def made(kind: Any) -> np.ndarray:
        return PhysicsArtefact(kind=kind, severity=5, clip=False)(None, case).adversarial.image[0]

    before = case.image[0]
    assert np.abs(np.diff(made("blur"))).mean() < 0.9 * np.abs(np.diff(before)).mean()
    assert np.abs(np.diff(made("low_resolution"))).mean() < 0.9 * np.abs(np.diff(before)).mean()
    order = np.argsort(before.ravel())
    assert (np.diff(made("gamma").ravel()[order]) >= -1e-3).all()  # contrast changes, ranks do not
    assert made("rician")[before == 0].min() >= 0 and made("rician")[before == 0].mean() > 10
    wave = np.abs(np.fft.fftn(made("spike") - before))
    assert np.sort(wave.ravel())[-2:].sum() > 0.5 * wave.sum()  # one frequency and its conjugate
    lost, kept = (np.abs(np.fft.fftshift(np.fft.fftn(x))) for x in (made("gibbs"), before))
    assert lost[0, 0, 0] < 0.1 * kept[0, 0, 0] and lost[7, 9, 10] == pytest.approx(kept[7, 9, 10], rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_where_air_is_not_zero_it_takes_the_place_of_zero(kind: Any) -> None:
    """A CT's air of -1000 HU is no signal: what is done to an image is done to the same image 1000 lower."""
    case = case_("float32")
    noise = np.random.default_rng(1).integers(0, 5, case.image.shape)  # else the border is padding, which no artefact hits
    case = case.with_image((case.image + noise).astype(np.float32))
    lower = case.with_image(case.image - 1000)
    attack = PhysicsArtefact(kind=kind, severity=5, clip=False)
    found, expected = attack(None, lower).adversarial.image, attack(None, case).adversarial.image - 1000
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_a_blur_darkens_no_border() -> None:
    flat = case_("float32").with_image(np.full((2, *SHAPE), 300, np.float32))
    blurred = PhysicsArtefact(kind="blur", severity=5, clip=False)(None, flat).adversarial.image
    np.testing.assert_allclose(blurred, 300, rtol=1e-5)


def test_flat_channels_and_single_slices() -> None:
    case = case_()
    flat = case.with_image(np.stack([case.image[0], np.zeros_like(case.image[1])]))
    for kind in ("spike", "rician", "gamma"):
        image = PhysicsArtefact(kind=kind)(None, flat).adversarial.image
        assert np.isfinite(image).all() and not image[1].any()
    single = toy_case((1, 18, 20))
    for kind in ("spike", "gibbs", "rician", "gamma", "blur", "low_resolution"):
        assert np.isfinite(PhysicsArtefact(kind=kind)(None, single).adversarial.image).all()


@pytest.mark.parametrize("kind", [x for x in KINDS if x.values[0] in ("motion", "spike")])
@pytest.mark.parametrize("flat", [0, 2])
def test_in_a_single_slice_nothing_leaves_its_plane(kind: Any, flat: int) -> None:
    shape = [24, 24]
    shape.insert(flat, 1)
    case = case_("float32", (shape[0], shape[1], shape[2]), 1.0)
    for seed in range(8):  # of a motion out of the plane nothing is left, and a spike across it changes the mean
        image = PhysicsArtefact(kind=kind, severity=5, seed=seed, clip=False)(None, case).adversarial.image
        np.testing.assert_allclose(image.mean((1, 2, 3)), case.image.mean((1, 2, 3)), rtol=0.1)
        assert all(psnr(before, after) < 45 for before, after in zip(case.image, image))


@pytest.mark.parametrize("kind", [x for x in KINDS if x.values[0] in ("motion", "ghosting")])
@pytest.mark.parametrize(
    "shape", [(2, 40, 44), (3, 40, 44), (4, 44, 40), (40, 9, 44), (8, 40, 44), (9, 8, 7), (64, 64, 64)], ids=str
)
def test_the_centre_of_k_space_stays_right(kind: Any, shape: tuple[int, int, int]) -> None:
    """Its middle is the image's mean: stacks of few slices, too, are moved and ghosted, not emptied and darkened."""
    case = case_("float32", shape, 1.0)
    for seed in range(12):
        image = PhysicsArtefact(kind=kind, severity=5, seed=seed, clip=False)(None, case).adversarial.image
        np.testing.assert_allclose(image.mean((1, 2, 3)), case.image.mean((1, 2, 3)), rtol=1e-4)
        assert all(psnr(before, after) < 60 for before, after in zip(case.image, image))


@pytest.mark.skipif(not HAS_TORCHIO, reason="no torchio")
@pytest.mark.parametrize("shape", [(3, 40, 44), (2, 12, 14)], ids=str)
def test_ghosts_of_a_stack_lie_within_its_slices(shape: tuple[int, int, int]) -> None:
    """What is done to each slice depends on this slice alone, and what was taken away are planes of its own k-space."""
    case = case_("float32", shape, 1.0)
    alone = case.with_image(np.stack([np.pad(x[1:2], ((1, shape[0] - 2), (0, 0), (0, 0))) for x in case.image]))
    for seed in range(6):
        attack = PhysicsArtefact(kind="ghosting", severity=5, seed=seed, clip=False)
        whole, single = (attack(None, x).adversarial.image for x in (case, alone))
        np.testing.assert_allclose(whole[:, 1], single[:, 1], atol=0.05)


@pytest.mark.skipif(not HAS_TORCHIO, reason="no torchio")
def test_a_motion_is_the_same_wherever_the_scanner_counts_from() -> None:
    case = case_("float32")
    far = replace(case, affine=case.affine + np.array([[0, 0, 0, 300.0]] * 3 + [[0] * 4]))
    motion = PhysicsArtefact(kind="motion", severity=5)
    images = [motion(None, x).adversarial.image for x in (case, far)]
    np.testing.assert_allclose(*images, atol=0.05)


@pytest.mark.parametrize("kind", ["motion", "ghosting"])
def test_without_torchio_one_sentence_says_what_to_do(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="install torchio") as caught:
        PhysicsArtefact(kind=kind).check(None, case_())
    assert "\n" not in str(caught.value)
    PhysicsArtefact(kind="blur").check(None, case_())


# the worst of K


@pytest.mark.parametrize("against", ["label", "prediction"])
def test_the_worst_draw_is_kept(against: Any) -> None:
    case, model = case_(), model_()
    attack = WorstOfK(method={"attack": "physics-artefact", "kind": "spike", "severity": 5}, draws=6, against=against)
    result = attack(model, case)
    clean = model.predict(case).masks
    wanted = {n: case.label == n if against == "label" else clean[n] for n in (1, 2)}
    values = []
    for number in range(6):
        said = model.predict(attack.draw(number)(None, case).adversarial).masks
        values.append(np.mean([dice(said[n], wanted[n]) for n in (1, 2)]))
    assert len(set(values)) == 6
    assert result.restart == int(np.argmin(values)) and [row["restart"] for row in result.trace] == list(range(6))
    assert result.kept_row["loss"] == pytest.approx(1 - min(values))
    worst = attack.draw(result.restart)(None, case)
    np.testing.assert_array_equal(result.adversarial.image, worst.adversarial.image)
    assert result.gradient_evaluations == 0
    again = attack(model, case)
    np.testing.assert_array_equal(again.adversarial.image, result.adversarial.image)


@pytest.mark.parametrize("method", ["bias-field", "uniform-noise"])
@pytest.mark.parametrize("against", ["label", "prediction"])
def test_all_that_the_network_is_asked_for_the_draws_is_counted(method: str, against: Any) -> None:
    model, asked = model_(), []
    model.examine()
    model.network.register_forward_hook(lambda *_: asked.append(1))
    result = WorstOfK(method=method, draws=3, against=against)(model, case_())
    assert (result.gradient_evaluations, result.forward_evaluations) == (0, len(asked))
    assert result.attack.cost.answers == len(asked)  # type: ignore[attr-defined]


def test_draws_that_move_the_anatomy_take_the_reference_along() -> None:
    case, model = case_(), model_()
    method = attacks.AdversarialDeformation(max_displacement=4, spacing_mm=12)
    result = WorstOfK(method=method, draws=4)(model, case)
    assert (result.adversarial.label != case.label).any() and result.perturbation.displacement is not None
    evaluation = evaluate(result, model, regions={})
    assert result.kept_row["dice rim"] == pytest.approx(evaluation.get("rim", "Dice")["after"])
    assert result.kept_row["dice mean"] == min(row["dice mean"] for row in result.trace)
    unlabelled = WorstOfK(method=method, draws=2, against="prediction")(model, replace(case, label=None))
    assert unlabelled.adversarial.label is None and unlabelled.kept_row["dice mean"] < 1


def test_common_settings_reach_the_draws() -> None:
    case, model = case_(), model_()
    result = WorstOfK(method="uniform-noise", draws=2, channels="B", region="reference", quantize=True)(model, case)
    np.testing.assert_array_equal(result.adversarial.image[0], case.image[0])
    outside = case.label == 0
    np.testing.assert_array_equal(result.adversarial.image[1][outside], case.image[1][outside])
    np.testing.assert_array_equal(result.adversarial.image, np.rint(result.adversarial.image))
    assert not WorstOfK(method="bias-field").clip and WorstOfK(method="bias-field", clip=True).clip
    assert WorstOfK(method={"attack": "bias-field", "seed": 3}).seed == 3
    with pytest.raises(InputError, match="moves"):
        WorstOfK(method="deformation", channels="B")(model, case)


@pytest.mark.parametrize(
    "method", ["uniform-noise", '{"attack": "bias-field", "max_bias": 0.1}', {"attack": "physics-artefact", "kind": "blur"}]
)
def test_configurations_make_the_same_attack_again(method: Any) -> None:
    attack = WorstOfK(method=method, draws=3, seed=4)
    described = attack.describe()
    assert make_attack(described.pop("attack"), described) == attack
    assert attack.summary().startswith("Worst of 3: ")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("pgd", "not one random draw"),
        ("worst-of-k", "not one random draw"),
        ({"attack": "deformation", "steps": 5}, "not one random draw"),
        ("blurr", 'no attack "blurr"'),
        ("{", "no JSON"),
        ({"kind": "blur"}, "Method must be an attack"),
        ({"attack": "physics-artefact", "severity": 9}, "severity"),
    ],
)
def test_wrong_methods_get_one_sentence(method: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_attack("worst-of-k", {"method": method})
    assert "\n" not in str(caught.value)


def test_a_setting_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match="Seed is given twice"):
        make_attack("worst-of-k", {"method": {"attack": "uniform-noise", "seed": 1}, "seed": 2})
