"""The learned attack: drawing from a generator, keeping the worst, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generator_helpers import subject, toy_generator, toy_model

from SegAdversarialLib import Case, InputError, open_model, phantom
from SegAdversarialLib.attacks import GenerativeAttack, make_attack
from SegAdversarialLib.formats import builtin


def attack(**settings: Any) -> GenerativeAttack:
    return GenerativeAttack(**{"generator": toy_generator(), "samples": 3, **settings})


def test_the_worst_draw_is_kept_and_the_reference_moves_along() -> None:
    model, case = toy_model(), subject()
    far = toy_generator(largest_displacement=5.0, smoothing=5.0)
    far.network.deformation.levels[-1].conv.bias.data.fill_(5.0)
    result = attack(generator=far, keep="all")(model, case)
    rows = result.trace
    assert [row["iteration"] for row in rows] == [0, 1, 2] == [x.iteration for x in result.snapshots]
    worst = min(rows, key=lambda row: row["dice mean"])
    assert result.iteration == worst["iteration"] and result.kept_row == worst
    np.testing.assert_array_equal(result.snapshots[result.iteration].image, result.adversarial.image)
    done = result.perturbation
    assert done.displacement is not None and 0.5 < done.max_displacement() <= 5 and done.min_jacobian(case.affine) > 0
    again = done.apply(case, warp_label=True)
    np.testing.assert_allclose(again.image, result.adversarial.image, atol=1e-2)
    np.testing.assert_array_equal(again.label, result.adversarial.label)
    assert (result.adversarial.label != case.label).any()
    said = model.segment(result.adversarial)
    dice = []
    for n in (1, 2):
        wanted = result.adversarial.label == n
        dice.append(2 * ((said == n) & wanted).sum() / ((said == n).sum() + wanted.sum()))
    assert worst["dice mean"] == pytest.approx(np.mean(dice))
    only = attack(generator=far)(model, case)
    assert not only.snapshots
    np.testing.assert_array_equal(only.adversarial.image, result.adversarial.image)


def test_parts() -> None:
    model, case = toy_model(), subject()
    both, moved, shaded = (attack(parts=x, samples=1)(model, case) for x in ("both", "deformation", "intensity"))
    np.testing.assert_array_equal(both.perturbation.displacement, moved.perturbation.displacement)
    assert moved.perturbation.additive is None and shaded.perturbation.displacement is None
    np.testing.assert_array_equal(shaded.adversarial.label, case.label)
    largest = np.abs(shaded.perturbation.additive).max((1, 2, 3))
    assert (largest > 0).all() and (largest <= case.image.std((1, 2, 3)) * (1 + 1e-5)).all()


@pytest.mark.parametrize("nothing", [{"scale": 0.0}, {"xi": 0.0}])
def test_zero_changes_nothing_bit_for_bit(nothing: dict[str, float]) -> None:
    case = subject()
    result = attack(**nothing)(toy_model(), case)
    np.testing.assert_array_equal(result.adversarial.image, case.image)
    np.testing.assert_array_equal(result.adversarial.label, case.label)
    assert attack(**nothing).does_nothing


def test_channels_and_region() -> None:
    model, case = toy_model(), subject()
    region = np.zeros(case.shape, bool)
    region[2:9, 2:11, 2:13] = True
    shaded = attack(channels="B", parts="intensity", region=region)(model, case)
    np.testing.assert_array_equal(shaded.adversarial.image[0], case.image[0])
    np.testing.assert_array_equal(shaded.adversarial.image[1][~region], case.image[1][~region])
    assert (shaded.adversarial.image[1][region] != case.image[1][region]).any()
    result = attack(region=region, scale=0.5)(model, case)
    np.testing.assert_array_equal(result.adversarial.image[:, ~region], case.image[:, ~region])
    np.testing.assert_array_equal(result.adversarial.label[~region], case.label[~region])
    assert not result.perturbation.displacement[:, ~region].any()
    assert 0 < result.perturbation.max_displacement() <= 0.75 and result.perturbation.min_jacobian(case.affine) > 0
    np.testing.assert_allclose(result.perturbation.apply(case).image, result.adversarial.image, atol=1e-2)


def test_without_reference_and_in_whole_numbers() -> None:
    case = subject()
    bare = Case(case.image, case.channels, case.affine, name="bare", dtypes=case.dtypes)
    result = attack(quantize=True)(toy_model(), bare)
    assert result.adversarial.label is None
    np.testing.assert_array_equal(result.adversarial.image, np.rint(result.adversarial.image))
    assert all("dice mean" in row for row in result.trace)


def test_seeds_files_and_descriptions(tmp_path: Path) -> None:
    model, case = toy_model(), subject()
    path = tmp_path / "g.safetensors"
    toy_generator().write(path)
    one, same, other = (attack(generator=path, seed=seed)(model, case) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.adversarial.image, same.adversarial.image)
    assert (one.adversarial.image != other.adversarial.image).any()
    described = json.loads(json.dumps(one.describe()["attack"]))
    assert described["fingerprint"] == toy_generator().fingerprint
    again = make_attack(described.pop("attack"), described)
    np.testing.assert_array_equal(again(model, case).adversarial.image, one.adversarial.image)
    assert attack().describe()["generator"] == {"fingerprint": toy_generator().fingerprint}
    toy_generator(seed=1).write(path)
    with pytest.raises(InputError, match="another one"):
        again(model, case)
    assert attack(xi=None, parts="intensity", scale=0.5).summary() == (
        "Learned generator, greatest xi, intensity only, times 0.5, all channels"
    )


def test_what_the_attack_refuses() -> None:
    model, case = toy_model(), subject()
    lacking = Case(case.image[:1].copy(), ("A",), case.affine, case.label)
    wide = Case(np.stack([*case.image, case.image[0]]), ("A", "B", "C"), case.affine, case.label)
    fixed = toy_generator(xi=(2.0, 2.0))
    for one, of, message in (
        (attack(), lacking, "lacks B; it has A"),
        (attack(xi=4.0), case, "trained for xi from 0.5 to 3, not 4"),
        (attack(generator=fixed, xi=1.0), case, "trained for xi of 2, not 1"),
        (attack(generator=fixed, xi=0.0), case, "trained for xi of 2, not 0"),
        (attack(channels="C"), wide, "does not take the channel"),
        (attack(channels="B"), case, "moves all channels of subject 0"),
    ):
        with pytest.raises(InputError, match=message):
            one(model, of)
    attack(generator=fixed, xi=None)(model, case)
    for settings, message in (
        ({"generator": 7}, "must be a file"),
        ({"generator": " "}, "must be a file"),
        ({"scale": 2}, "scale"),
    ):
        with pytest.raises(InputError, match=message):
            make_attack("generative", settings)


def test_the_built_in_generator() -> None:
    """It does what its dial says, on phantoms that it has not seen: less Dice for more xi, and hardly to be seen."""
    assert builtin.generator_names() == ["builtin:brain-tumour-phantom"]
    assert builtin.generator_file("builtin:brain-tumour-phantom").stat().st_size < 5e6
    model = open_model("builtin:brain-tumour-phantom", device="cpu")
    dice: dict[float, list[float]] = {0.0: [], 0.5: [], 3.0: []}
    for case in phantom.cohort((200, 201), (64, 64, 64)):
        for xi, values in dice.items():
            result = GenerativeAttack(xi=xi, samples=1)(model, case)
            values.append(result.trace[0]["dice mean"])
            assert result.perturbation.perceptibility(case).mean() < 0.1
    assert np.mean(dice[0.0]) > np.mean(dice[0.5]) > np.mean(dice[3.0]) + 0.1
