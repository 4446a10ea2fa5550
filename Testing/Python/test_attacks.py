"""What every attack must keep, from one table that drives all of them; and each attack against its paper's formula."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import oblique_affine, tiny_network, toy_case
from hypothesis import given, settings
from hypothesis import strategies as st

from SegAdversarialLib import Case, InputError, SegmentationModel, attacks, objectives
from SegAdversarialLib.errors import Cancelled

VARIANTS: dict[str, dict[str, Any]] = {
    "fgsm": {},
    "ifgsm": {"steps": 3},
    "tifgsm": {"steps": 3},
    "inverse-fgsm": {},
    "pgd": {"steps": 3, "restarts": 2},
    "pgd-random": {"attack": "pgd", "steps": 3, "random_start": True},
    "pgd-l2": {"attack": "pgd", "norm": "l2", "epsilon": 3.0, "steps": 3},
    "universal-random-perturbation": {},
    "universal-normal": {"attack": "universal-random-perturbation", "vector": "normal", "radius": 5.0},
    "uniform-noise": {},
    "square": {"queries": 30},
    "universal-perturbation": {},
    "momentum-ifgsm": {"steps": 3},
    "segpgd": {"steps": 3},
    "cospgd": {"steps": 3, "norm": "l2", "epsilon": 3.0},
    "apgd": {"steps": 8, "restarts": 2},
    "apgd-l2": {"attack": "apgd", "norm": "l2", "epsilon": 3.0, "steps": 8, "shrinking": False, "loss": "soft_dice"},
    "worst-case": {"gradient_budget": 9, "restarts": 2},
    "transfer": {"method": {"attack": "pgd", "steps": 3, "restarts": 2}},
}

WITHOUT_EPSILON = {
    *("generative", "bias-field", "deformation", "affine", "chain", "physics-artefact"),
    *("worst-of-k", "least-budget", "frequency"),
}
"""Attacks with another kind of budget, which have tests of their own."""


def made(variant: str, shape: tuple[int, int, int] = (14, 16, 18), **changes: Any) -> attacks.Attack:
    settings = {**VARIANTS[variant], **changes}
    if variant == "universal-perturbation":
        settings["perturbation"] = np.random.default_rng(0).uniform(-1, 1, (2, *shape))
    if variant == "transfer":
        settings["source"] = toy_model()
    return attacks.make_attack(settings.pop("attack", variant), settings)


def toy_model(channels: tuple[str, ...] = ("A", "B"), **settings: Any) -> SegmentationModel:
    network = tiny_network(len(channels)).float()
    return SegmentationModel.from_network(network, channels=channels, classes=["background", "core", "rim"], **settings)


def unit_of(attack: attacks.Attack, case: Case) -> np.ndarray:
    largest = np.abs(case.image).max((1, 2, 3))
    return largest if attack.epsilon_units == "relative" else np.ones_like(largest)


def assert_within_budget(attack: attacks.Attack, case: Case, additive: np.ndarray) -> None:
    unit = unit_of(attack, case)
    rounding = 1e-6 * np.abs(case.image).max()
    if attack.bounded_norm == "l2":
        scaled = additive.astype(np.float64) / unit[:, None, None, None]
        assert np.linalg.norm(scaled) <= attack.epsilon * (1 + 1e-5) + rounding
    elif math.isfinite(attack.budget):
        assert (np.abs(additive).max((1, 2, 3)) <= attack.budget * unit + rounding).all()


def test_the_table_drives_every_attack() -> None:
    assert {settings.get("attack", name) for name, settings in VARIANTS.items()} | WITHOUT_EPSILON == set(attacks.ATTACKS)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("units", ["relative", "absolute"])
def test_budget_channels_and_region(variant: str, units: str) -> None:
    case, model = toy_case(), toy_model()
    region = np.zeros(case.shape, dtype=bool)
    region[3:9, 4:12, 5:15] = True
    epsilon = {"relative": 0.04, "absolute": 12.0}[units] * (40 if made(variant).bounded_norm == "l2" else 1)
    attack = made(variant, channels=("B",), region=region, epsilon=epsilon, epsilon_units=units)
    result = attack(model, case)
    additive = result.perturbation.additive
    assert additive is not None and additive[1][region].any()
    np.testing.assert_array_equal(result.adversarial.image[0], case.image[0])
    np.testing.assert_array_equal(result.adversarial.image[1][~region], case.image[1][~region])
    np.testing.assert_array_equal(result.adversarial.affine, case.affine)
    assert_within_budget(attack, case, additive)


@settings(max_examples=30, deadline=None)
@given(
    variant=st.sampled_from(list(VARIANTS)),
    seed=st.integers(0, 2**63 - 1),
    epsilon=st.floats(0, 0.5),
    clip=st.booleans(),
    quantize=st.booleans(),
)
def test_laws_for_any_seed_and_budget(variant: str, seed: int, epsilon: float, clip: bool, quantize: bool) -> None:
    case, model = toy_case((8, 9, 10), seed=seed % 5), toy_model()
    attack = made(variant, case.shape, seed=seed, epsilon=epsilon, clip=clip, quantize=quantize)
    result = attack(model, case)
    assert result.perturbation.additive is not None
    assert_within_budget(attack, case, result.perturbation.additive)
    if clip:
        for before, after in zip(case.image, result.adversarial.image):
            assert before.min() <= after.min() and after.max() <= before.max()
    if quantize:
        np.testing.assert_array_equal(result.adversarial.image, np.rint(result.adversarial.image))
    again = attack(model, case)
    np.testing.assert_array_equal(again.adversarial.image, result.adversarial.image)
    assert again.trace == result.trace


@pytest.mark.parametrize("variant", ["pgd-random", "segpgd", "universal-random-perturbation", "uniform-noise", "square"])
def test_another_seed_is_another_result(variant: str) -> None:
    case, model = toy_case(), toy_model()
    torch.manual_seed(1)
    first = made(variant, seed=1)(model, case).adversarial.image
    torch.manual_seed(2)
    assert (made(variant, seed=2)(model, case).adversarial.image != first).any()
    np.testing.assert_array_equal(made(variant, seed=1)(model, case).adversarial.image, first)


@pytest.mark.parametrize("variant", VARIANTS)
def test_zero_budget_changes_nothing(variant: str) -> None:
    case = toy_case()
    changes = {"radius": 0.0} if "radius" in type(made(variant)).model_fields else {}
    result = made(variant, epsilon=0.0, **changes)(toy_model(), case)
    np.testing.assert_array_equal(result.adversarial.image, case.image)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd", ".mha"])
def test_quantized_results_survive_files(variant: str, extension: str, tmp_path: Path) -> None:
    """Saved in the input's integer type and read again, the image is the one whose effect was reported."""
    case, model = toy_case(affine=oblique_affine()), toy_model()
    attack = made(variant, quantize=True)
    result = attack(model, case)
    written = result.adversarial.write(tmp_path, extension)
    again = Case.read({"A": written["A"], "B": written["B"]}, label=written["label"])
    assert again.dtypes == ("int16", "int16")
    np.testing.assert_array_equal(again.image, result.adversarial.image)
    np.testing.assert_allclose(again.affine, case.affine, atol=1e-5)
    np.testing.assert_array_equal(model.segment(again), model.segment(result.adversarial))
    if result.trace:
        said = model.segment(again)
        for n, name in ((1, "core"), (2, "rim")):
            expected = 2 * ((said == n) & (case.label == n)).sum() / ((said == n).sum() + (case.label == n).sum())
            assert result.kept_row[f"dice {name}"] == pytest.approx(expected)


def test_fgsm_is_the_papers_formula() -> None:
    """X + epsilon * sign(grad loss), with the loss written out again and differentiated by autograd."""
    case, model = toy_case(), toy_model()
    leaf = torch.from_numpy(case.image.copy()).requires_grad_(True)
    claimed = model.network(leaf[None])[0].softmax(0)
    total = torch.zeros(())
    for n in (1, 2):
        wanted = torch.from_numpy((case.label == n).astype(np.float32))
        total = total + (2 * (claimed[n] * wanted).sum() + 1e-5) / (claimed[n].sum() + wanted.sum() + 1e-5)
    (1 - total / 3).backward()
    assert leaf.grad is not None
    step = 0.05 * np.abs(case.image).max((1, 2, 3), keepdims=True) * np.sign(leaf.grad.numpy())
    result = attacks.FGSM(epsilon=0.05, clip=False)(model, case)
    np.testing.assert_allclose(result.adversarial.image, case.image + step, rtol=1e-6)
    inverse = attacks.InverseFGSM(epsilon=0.05, clip=False, loss="soft_dice")(model, case)
    np.testing.assert_allclose(inverse.adversarial.image, case.image - step, rtol=1e-6)


def test_directions() -> None:
    """ti-FGSM and Inverse FGSM lower their loss, the others raise it, more with more steps' freedom."""
    case, model = toy_case(), toy_model()
    for variant in ("fgsm", "ifgsm", "pgd", "pgd-l2", "momentum-ifgsm", "apgd-l2"):
        trace = made(variant, restarts=1)(model, case).trace
        assert trace[-1]["loss"] > trace[0]["loss"]
    for variant in ("tifgsm", "inverse-fgsm"):
        trace = made(variant)(model, case).trace
        assert trace[-1]["loss"] < trace[0]["loss"]


@pytest.mark.parametrize("variant", [x for x in VARIANTS if "snapshot_every" in type(made(x)).model_fields])
def test_snapshots_hold_what_the_network_says_of_their_images(variant: str) -> None:
    """Also where the result is rounded to whole numbers, and the images on the way to it are not."""
    case, model = toy_case(), toy_model()
    case = replace(case, image=np.rint(case.image / 8), dtypes=("int16", "int16"))
    result = made(variant, quantize=True, snapshot_every=1)(model, case)
    for snapshot in result.snapshots:
        segmentation = model.segment(case.with_image(snapshot.image))
        np.testing.assert_array_equal(snapshot.segmentation, segmentation, err_msg=str(snapshot.iteration))
    np.testing.assert_array_equal(result.snapshots[-1].image, result.adversarial.image)


def test_counts_and_trace() -> None:
    case, model = toy_case(), toy_model()
    result = attacks.PGD(steps=4, restarts=3, snapshot_every=2)(model, case)
    assert result.gradient_evaluations == 12 and result.forward_evaluations == 3
    assert [row["iteration"] for row in result.trace] == [0, 1, 2, 3, 4] * 3
    assert [x.iteration for x in result.snapshots] == sorted({0, 2, 4, result.iteration} & set(range(result.iteration + 1)))
    np.testing.assert_array_equal(result.snapshots[-1].image, result.adversarial.image)
    np.testing.assert_array_equal(result.snapshots[-1].segmentation, model.segment(result.adversarial))
    value, _ = model.value_and_gradient(result.adversarial, objectives.SoftDice(case.label))
    assert value == pytest.approx(result.kept_row["loss"], rel=1e-5)


def test_trace_measures_what_it_says() -> None:
    case, model = toy_case(), toy_model()
    result = attacks.FGSM(channels=("A",))(model, case)
    said = model.segment(result.adversarial)
    for n, name in ((1, "core"), (2, "rim")):
        expected = 2 * ((said == n) & (case.label == n)).sum() / ((said == n).sum() + (case.label == n).sum())
        assert result.trace[-1][f"dice {name}"] == pytest.approx(expected)
    span = case.image[0].max() - case.image[0].min()
    error = (((result.adversarial.image[0] - case.image[0]) / span) ** 2).mean()
    assert result.trace[-1]["psnr"] == pytest.approx(-10 * np.log10(error), rel=1e-4)
    assert result.trace[0]["psnr"] == math.inf


def test_against_the_prediction_needs_no_label() -> None:
    labelled, model = toy_case(), toy_model()
    case = Case(labelled.image, labelled.channels, labelled.affine, name="unlabelled")
    with pytest.raises(InputError, match=r"no label map; give one \(--label FILE.* \(--set against=prediction\)"):
        attacks.FGSM()(model, case)
    result = attacks.FGSM(against="prediction")(model, case)
    assert result.trace[0]["dice mean"] == 1.0
    assert result.trace[-1]["dice mean"] < 1.0
    assert result.forward_evaluations == 2


def test_rescaled_logits_revive_a_saturated_network() -> None:
    """A network with hundredfold logits has no soft-Dice gradient in float32; rescaled it has its old one back."""

    class Saturated(torch.nn.Module):
        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return 1e4 * self.network(batch)

    case, plain = toy_case(), toy_model()
    saturated = SegmentationModel.from_network(
        Saturated(plain.network), channels=("A", "B"), classes=["background", "core", "rim"]
    )
    expected = attacks.FGSM()(plain, case)
    stuck = attacks.FGSM()(saturated, case)
    revived = attacks.FGSM(temperature=1e4)(saturated, case)
    measured = attacks.FGSM(temperature="auto")(saturated, case)
    agreement = (np.sign(revived.perturbation.additive) == np.sign(expected.perturbation.additive)).mean()
    assert agreement > 0.99
    assert revived.trace[-1]["dice mean"] < stuck.trace[-1]["dice mean"]
    assert measured.trace[-1]["dice mean"] < stuck.trace[-1]["dice mean"]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("fgsm", {"epsilon": -0.1}, "epsilon: it must be 0 or more"),
        ("fgsm", {"epsilon": 5}, "between 0 and 1"),
        ("fgsm", {"epsilon": float("nan")}, "epsilon"),
        ("fgsm", {"steps": 3}, "no setting steps"),
        ("pgd", {"norm": "l1"}, "norm"),
        ("pgd", {"temperature": 0}, "temperature"),
        ("pgd", {"restarts": 0}, "restarts"),
        ("fgsmm", {}, 'no attack "fgsmm"; the nearest name is fgsm'),
    ],
)
def test_wrong_settings_get_one_sentence(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        attacks.make_attack(name, settings)
    assert "\n" not in str(caught.value)
    if name in attacks.ATTACKS:
        with pytest.raises(InputError):
            attacks.ATTACKS[name](**settings)


def test_wrong_cases_get_one_sentence(tmp_path: Path) -> None:
    case, model = toy_case(), toy_model()
    wrong = [
        (attacks.FGSM(channels=("C",)), case, "no channel C"),
        (attacks.FGSM(region=np.ones((2, 2, 2))), case, "region has the shape"),
        (attacks.FGSM(region=np.zeros(case.shape)), case, "region is empty"),
        (attacks.FGSM(region=str(tmp_path / "none.nii.gz")), case, "no file .*foreground"),
        (attacks.FGSM(classes=("liver",)), case, "no class liver"),
        (attacks.TIFGSM(target=9), case, "no class 9"),
        (attacks.FGSM(), toy_case(labels=5), "none of the network's classes"),
        (attacks.FGSM(quantize=True), case.with_image(case.image + 0.5), "holds fractions"),
    ]
    for attack, subject, message in wrong:
        with pytest.raises(InputError, match=message):
            attack(model, subject)
    with pytest.raises(InputError, match="needs a network"):
        attacks.FGSM()(None, case)
    three = Case(np.stack([*case.image, case.image[0]]), ("A", "B", "C"), case.affine, case.label)
    with pytest.raises(InputError, match="does not take the channel"):
        attacks.FGSM(channels=("C",))(model, three)


def test_progress_and_cancel() -> None:
    case, model, seen = toy_case(), toy_model(), []
    attacks.IFGSM(steps=4)(model, case, progress=lambda fraction, text: seen.append((fraction, text)))
    fractions = [x for x, _ in seen]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    # ten passes forth and back and a last answer: half of the steps are nearly half of the work
    begun = next(x for x, text in seen if "step 3 of 4" in text)
    assert 0.4 < begun < 0.5 and all(text for _, text in seen)
    with pytest.raises(Cancelled):
        attacks.IFGSM(steps=4)(model, case, cancel=lambda: len(seen) > 3)


def test_configuration_makes_the_same_attack_again() -> None:
    for name in attacks.ATTACKS:
        attack = attacks.make_attack(name, {"seed": 5, "channels": ["A"]})
        described = attack.describe()
        assert attacks.make_attack(described.pop("attack"), described) == attack
        schema = attacks.ATTACKS[name].model_json_schema()["properties"]
        assert all(field["description"] for field in schema.values())
        assert attacks.ATTACKS[name].citation and attack.one_line() and attack.summary()


def test_one_class_or_channel_needs_no_list() -> None:
    assert attacks.FGSM(classes="rim").classes == ("rim",) and attacks.FGSM(classes=4).classes == (4,)
    assert attacks.FGSM(channels=1).channels == ("1",)
    for empty in ({"classes": []}, {"channels": []}):
        with pytest.raises(InputError):
            attacks.make_attack("fgsm", empty)


def test_targets() -> None:
    """A class by label or name, a map; anything else is refused before any work."""
    case, model = toy_case(), toy_model()
    by_label = attacks.TIFGSM(steps=1)(model, case).adversarial.image
    for target in ("core", np.int64(1), np.ones(case.shape, np.int16)):
        attack = attacks.TIFGSM(steps=1, target=target)
        np.testing.assert_array_equal(attack(model, case).adversarial.image, by_label)
        assert attack.describe()["target"] is not None
    for target, message in ((np.ones((1, 2, 2), np.int16), "target has the shape"), (np.full(case.shape, 8), "none of the")):
        with pytest.raises(InputError, match=message):
            attacks.TIFGSM(target=target).check(model, case)
    unlabelled = Case(case.image, case.channels, case.affine)
    result = attacks.TIFGSM(steps=2)(model, unlabelled)
    said, clean = model.segment(result.adversarial), model.segment(case)
    expected = np.mean([2 * ((said == n) & (clean == n)).sum() / ((said == n).sum() + (clean == n).sum()) for n in (1, 2)])
    assert result.kept_row["dice mean"] == pytest.approx(expected)


def test_empty_channels_stay_empty() -> None:
    case = toy_case()
    case = case.with_image(np.stack([case.image[0], np.zeros_like(case.image[1])]))
    for variant in ("universal-normal", "pgd-l2", "fgsm"):
        result = made(variant, epsilon_units="relative", epsilon=0.05)(toy_model(), case)
        assert not result.adversarial.image[1].any() and np.isfinite(result.adversarial.image).all()


def test_an_attack_without_effect_says_so(caplog: pytest.LogCaptureFixture) -> None:
    attacks.FGSM(epsilon=1e-5, quantize=True)(toy_model(), toy_case())
    assert "FGSM changed nothing" in caplog.text


def test_snapshots_are_bounded() -> None:
    result = attacks.IFGSM(steps=200, snapshot_every=1, keep="last")(toy_model(), toy_case((4, 4, 4)))
    assert len(result.snapshots) <= 51 and result.snapshots[-1].iteration == 200


def test_the_kept_restart_and_step_are_known() -> None:
    for keep, counted in (("best", (1, 2, 3)), ("last", (3,))):
        result = attacks.PGD(steps=3, restarts=4, keep=keep)(toy_model(), toy_case())
        rows = [row for row in result.trace if row["iteration"] in counted]
        assert result.kept_row["dice mean"] == min(row["dice mean"] for row in rows)
        assert result.kept_row in rows and result.kept_row["restart"] == result.restart
